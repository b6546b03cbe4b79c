package PAGI::SSE::Connection::Outcome;

use strict;
use warnings;

use Future       ();
use Scalar::Util ();

use PAGI::SSE::Check   ();
use PAGI::SSE::Futures ();
use PAGI::SSE::Loop    ();
use PAGI::SSE::Wire    ();

our $VERSION = '0.003000';

# The Futures that the methods return.

our $TRUE = Future->done(1);
my $FALSE = Future->done(0);
my $NOTHING = Future->done;

sub _nothing { return PAGI::SSE::Futures::lasting($NOTHING) }

# A Future of $self, already done. The object keeps it, so the Future refers
# to the object weakly; whoever takes the result has a strong reference.
sub _itself {
    my ($self) = @_;
    return PAGI::SSE::Futures::lasting($self->{itself}) if $self->{itself};
    my $future = Future->done($self);
    $self->{itself} = PAGI::SSE::Futures::weakened($future);
    return $future;
}

# A pending Future, of the server's class where there is one to copy.
sub _pending {
    my ($self) = @_;
    return
           $self->{wire}->new_future
        || ($self->{inbox} && $self->{inbox}->new_future)
        || ($self->{exchange} ? $self->{exchange}->new_future : Future->new);
}

# The embedded server's side, whoever wrapped $send; and the server.
sub _exchange { return $_[0]{exchange} || $_[0]{wire}{exchange} }

sub _server {
    my $exchange = $_[0]->_exchange or return;
    return $exchange->{server};
}

# Of what was done at once, when that was much: the others' turn. Done with 1,
# or the object.
sub _give_way {
    my ($self, $one) = @_;
    return PAGI::SSE::Loop->give_way($self, $one, $self->_server)
        || ($one ? PAGI::SSE::Futures::lasting($TRUE) : $self->_itself);
}

# For send*: done with the object, or failed.
sub _sent {
    my ($self, $delivery) = @_;
    return --$PAGI::SSE::Loop::LEFT ? $self->_itself : $self->_give_way unless $delivery;
    if ($delivery->{settled}) {
        return $self->_itself unless $delivery->{error};
        return PAGI::SSE::Futures::failure(PAGI::SSE::Wire::CLOSED) if $delivery->{closed};
        # Many may come, one after the other: no call more than need be.
        return Future->fail("PAGI::SSE: $delivery->{error}[0]" . PAGI::SSE::Check::place()) if $delivery->{full};
        return Future->fail(@{ $delivery->{error} });
    }
    my $pending = $self->_pending;
    my $place = PAGI::SSE::Check::place();
    $delivery->on_settled(sub {
        my ($delivery) = @_;
        return if $pending->is_ready;    # cancelled
        if    ($delivery->{closed}) { $pending->fail('PAGI::SSE: ' . PAGI::SSE::Wire::CLOSED . $place) }
        elsif ($delivery->{error})  { $pending->fail(@{ $delivery->{error} }) }
        else                        { $pending->done($self) }
    });
    return $pending;
}

# For try_*: done with 1 or 0, after on_error.
sub _tried {
    my ($self, $delivery) = @_;
    return --$PAGI::SSE::Loop::LEFT ? PAGI::SSE::Futures::lasting($TRUE) : $self->_give_way(1) unless $delivery;
    if ($delivery->{settled}) {
        return PAGI::SSE::Futures::lasting($TRUE) unless $delivery->{error};
        my @reports = $delivery->{closed} ? () : $self->_report($delivery);
        return PAGI::SSE::Futures::lasting($FALSE) unless @reports;
        my $pending = PAGI::SSE::Futures::alike($reports[0]);
        PAGI::SSE::Futures::when_all(sub { $pending->done(0) unless $pending->is_ready }, @reports);
        return $pending;
    }
    my $pending = $self->_pending;
    $delivery->on_settled(sub {
        my ($delivery) = @_;
        my $ok = $delivery->{error} ? 0 : 1;
        my @reports =
            $ok || $delivery->{closed} ? () : $self->_report($delivery);
        PAGI::SSE::Futures::when_all(sub { $pending->done($ok) unless $pending->is_ready }, @reports);
    });
    return $pending;
}

# A Future that is done when the connection has ended and its on_close callbacks
# are done.
sub _until_over {
    my ($self) = @_;
    # The engine may know of it before anybody has told us.
    $self->{wire}->notice_end unless $self->{ended} || $self->{failing};
    # Closed without an end: this is a child of a fork.
    return $self->_nothing if $self->is_closed && !$self->{in_callbacks} && !$self->{failing};
    my $pending = $self->_pending;
    $self->_remember($self->{waiters} ||= [], $pending);
    return $pending;
}

# Keep a Future until it is ready, and the object as long.
sub _held {
    my ($self, $future) = @_;
    return $future if $future->is_ready;
    my $key = Scalar::Util::refaddr($future);
    $self->{held}{$key} = $future;
    $future->on_ready(sub { delete $self->{held}{$key} });
    return $future;
}

# Put a pending Future of ours in a list; it keeps the object until it is
# ready.
sub _remember {
    my ($self, $list, $future) = @_;
    @$list = grep { !$_->is_ready } @$list;
    push @$list, $future;
    $future->on_ready(sub { undef $self });
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Outcome - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
