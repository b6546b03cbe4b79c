package PAGI::SSE::Hub::Subscription;
use strict;
use warnings;

our $VERSION = '0.003000';

use PAGI::SSE::Check  ();
use PAGI::SSE::FFI    ();
use PAGI::SSE::Thread ();

my @RESET_REASON = (undef, undef, 'too_old', 'unknown_id');

sub new {
    my ($class, %field) = @_;    # handle, begin
    my $self = bless {%field}, $class;
    PAGI::SSE::Thread::own($field{handle}, $self) if $field{handle};
    return $self;
}

# Of a connection that had ended before: no object of the library's.
sub ended {
    my ($class) = @_;
    return $class->new(begin => 0);
}

sub _check {
    my ($method, $code) = @_;
    return if $code >= 0;
    my $why =
        $code == PAGI::SSE::FFI::HANDLE_FORKED()
        ? 'the subscription belongs to the parent process (fork)'
        : PAGI::SSE::FFI::result_text($code);
    die PAGI::SSE::Check::message("PAGI::SSE::Hub::Subscription->$method: $why");
}

sub unsubscribe {
    my ($self) = @_;
    _check('unsubscribe', PAGI::SSE::FFI::subscription_cancel($self->{handle})) if $self->{handle};
    return $self;
}

sub stats {
    my ($self) = @_;
    return { delivered => 0, dropped => 0, queued_bytes => 0, active => !!0 } if !$self->{handle};
    my ($code, $text) = PAGI::SSE::FFI::subscription_stats($self->{handle});
    _check('stats', $code);
    return PAGI::SSE::Check::decode_json($text);
}

sub is_resumed   { return $_[0]{begin} == 1 }
sub reset_reason { return $RESET_REASON[$_[0]{begin}] }

# The subscription itself ends with its connection, not with this object.
sub DESTROY {
    my ($self) = @_;
    return if !$self->{handle} || ${^GLOBAL_PHASE} eq 'DESTRUCT';
    PAGI::SSE::Thread::disown($self->{handle});
    PAGI::SSE::FFI::subscription_free($self->{handle});
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Hub::Subscription - a connection's subscription to topics of a hub

=head1 SYNOPSIS

    my $subscription = $hub->subscribe($sse, 'news');
    warn 'a slow client' if $subscription->stats->{dropped};
    $subscription->unsubscribe;

=head1 DESCRIPTION

What C<subscribe> of L<PAGI::SSE::Hub> returns. The subscription ends with its
connection; dropping this object does not end it. A connection has one at a
time. In a child of a fork C<unsubscribe> and C<stats> die.

=head1 METHODS

=head2 unsubscribe

Ends the subscription; the stream stays open, and may have another one. What was
published before is delivered. Returns the object; a second call does nothing.

=head2 stats

A hashref: C<delivered>, events that were given to the client's queue or socket,
those of the replay among them, and not taken back: whether the client has them
only the client knows; C<dropped>, those that the policy left out;
C<queued_bytes>, what waits; C<active>, whether the subscription has not ended.

=head2 is_resumed, reset_reason

Whether the client resumed after its id; why it could not: C<too_old>,
C<unknown_id>, or undef.

=cut
