package PAGI::SSE::Subscription;
use strict;
use warnings;

our $VERSION = '0.1.0';

use JSON::MaybeXS  ();
use PAGI::SSE::FFI ();

my @RESET_REASON = (undef, undef, 'too_old', 'unknown_id');

sub new {
    my ($class, %field) = @_;    # handle, begin
    return bless { handle => $field{handle}, begin => $field{begin} }, $class;
}

sub unsubscribe {
    my ($self) = @_;
    PAGI::SSE::FFI::subscription_cancel($self->{handle});
    return $self;
}

sub stats { return JSON::MaybeXS::decode_json(PAGI::SSE::FFI::subscription_stats($_[0]{handle})) }

sub is_resumed   { return $_[0]{begin} == 1 }
sub reset_reason { return $RESET_REASON[$_[0]{begin}] }

# The subscription itself ends with its connection, not with this object.
sub DESTROY {
    my ($self) = @_;
    PAGI::SSE::FFI::subscription_free($self->{handle}) if ${^GLOBAL_PHASE} ne 'DESTRUCT';
    return;
}

sub CLONE_SKIP { return 1 }

1;

__END__

=head1 NAME

PAGI::SSE::Subscription - a connection's subscription to topics of a hub

=head1 DESCRIPTION

What C<subscribe> of L<PAGI::SSE::Hub> returns. The subscription ends with its
connection; dropping this object does not end it.

=head1 METHODS

=head2 unsubscribe

Ends the subscription; the stream stays open. Returns the object.

=head2 stats

A hashref: C<delivered>, events that the client has or that wait for it;
C<dropped>, those that the policy left out; C<queued_bytes>, what waits; C<active>,
whether the subscription has not ended.

=head2 is_resumed, reset_reason

Whether the client resumed after its id; why it could not: C<too_old>,
C<unknown_id>, or undef.

=cut
