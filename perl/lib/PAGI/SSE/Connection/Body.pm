package PAGI::SSE::Connection::Body;

use strict;
use warnings;

use Future ();

use PAGI::SSE::Futures        ();
use PAGI::SSE::Wire::Delivery ();
use PAGI::SSE::Wire::Inbox    ();

our $VERSION = '0.003000';

use constant MAX_BODY => 1_048_576;    # octets, unless new was told otherwise

# The request body, and listening for what else the server has to say.

sub _inbox {
    my ($self) = @_;
    return $self->{inbox} ||=
        PAGI::SSE::Wire::Inbox->new($self, $self->{max_body} // MAX_BODY);
}

sub _listen {
    my ($self) = @_;
    $self->_inbox->listen('end') unless $self->{told_of_end};
    return;
}

# From the start of the stream on, whatever the application does. One that does
# not wait has no use for an end that is there already; nor may a $receive that
# is no good spoil its sends: that comes out in the next turn, or when it waits.
sub _listen_from_start {
    my ($self) = @_;
    $self->_inbox->listen('start') unless $self->{told_of_end} || $self->{ended};
    return;
}

# The body's Future when it is known how it ended.
sub _known_body {
    my ($self, $place) = @_;
    my $inbox = $self->_inbox;
    return Future->done($inbox->body) if $inbox->is_complete && !$inbox->is_too_large;
    my $why =
          $inbox->is_too_large ? "body_too_large: the request body exceeds $inbox->{max_body} octets (max_body)"
        : $self->is_closed ? 'the connection ended before the end of the request body'
        : return;
    return Future->fail("PAGI::SSE: body: $why$place");
}

sub _body_complete {
    my ($self) = @_;
    my $waiters = delete $self->{body_waiters} or return;
    for (@$waiters) {
        my ($waiter, $place) = @$_;
        next if $waiter->is_ready;    # cancelled
        my $known = $self->_known_body($place);
        my @error = $known->failure;
        PAGI::SSE::Futures::guarded(sub {
            @error ? $waiter->fail(@error) : $waiter->done($known->result);
        });
    }
    return;
}

sub _read_failed {
    my ($self, $error) = @_;
    return if $self->{ended};
    $self->_report(PAGI::SSE::Wire::Delivery->failed($error));
    $self->_end(reason => 'read_error', given => 'read_error', announce => 1);
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Body - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
