package PAGI::SSE::Wire::Outbox;

use strict;
use warnings;

use Scalar::Util qw(blessed weaken);

use PAGI::SSE::Wire::Delivery ();
use PAGI::SSE::Futures        qw(FUTURE_IS_HASH let_go);

our $VERSION = '0.003000';

# A FIFO in front of somebody else's $send: at most one call of it is in
# flight, so events keep their order under any server. Subclasses provide
# overflow(), the message for a full queue, drained(), called when one that was
# full is empty again, and failed($delivery), called when $send failed, before those who wait for that delivery hear of it.

sub new {
    my ($class, %args) = @_;
    return bless {
        send       => $args{send},
        max_events => $args{max_events},
        max_bytes  => $args{max_bytes},
        queue      => [],
        bytes      => 0,                   # in the queue
        busy       => 0,                   # 1: a call of $send is in flight; 2: and more wait
    }, $class;
}

# put($event, %options): hand an event over, or queue it. Returns nothing when
# the server accepted it on the spot, else a delivery. Options: beyond_limits,
# always queue it; quiet, see PAGI::SSE::Wire::Delivery.
#
# Also called as a plain function: this is the hot path of every send.
sub put {
    my ($self, $event) = @_;
    return &_enqueue if $self->{busy};

    $self->{busy} = 1;
    my $answer = eval { $self->{send}->($event) };
    if (
        ref $answer eq 'Future'
        ? (FUTURE_IS_HASH ? $answer->{result} : $answer->is_done)
        : (blessed $answer && $answer->isa('Future') && $answer->is_done)
        )
    {
        $self->{busy} == 1 ? $self->{busy} = 0 : $self->_pump;
        return;
    }
    # The end came inside of the send before, of the start for one, and took $send.
    return PAGI::SSE::Wire::Delivery->gone(PAGI::SSE::Wire::CLOSED()) if !defined $answer && !$self->{send};
    my $delivery = PAGI::SSE::Wire::Delivery->new(@_[2 .. $#_], event => $event);
    $self->_answered($delivery, $answer, $@) and $self->_pump;
    return $delivery->{settled} && !$delivery->{error} ? undef : $delivery;
}

sub _enqueue {
    my ($self, $event, %options) = @_;
    return $self->refuse_full if !$options{beyond_limits} && $self->is_full($event);
    my $size = _size($event);
    my $delivery = PAGI::SSE::Wire::Delivery->new(
        %options,
        event => $event,
        size  => $size
    );
    $self->{bytes} += $size;
    push @{ $self->{queue} }, $delivery;
    $self->{busy} = 2;
    return $delivery;
}

sub _size {
    my ($event) = @_;
    my $size = 0;
    $size += length for grep { defined } map { $event->{$_} } qw(data event id comment);
    return $size;
}

# Whether the event would be refused now. One of any size fits when no other
# is queued, or it never would behind a start in flight.
sub is_full {
    my ($self, $event) = @_;
    return $self->{busy}
        && (@{ $self->{queue} } >= $self->{max_events}
        || $self->{bytes} && $self->{bytes} + _size($event) > $self->{max_bytes});
}

# From here until all has gone it is one episode.
sub refuse_full {
    my ($self) = @_;
    $self->{was_full} = 1;
    return $self->{full} ||= PAGI::SSE::Wire::Delivery->full($self->overflow);
}

# The deliveries in flight and queued, in order.
sub waiting {
    my ($self) = @_;
    return grep { defined } $self->{current}, @{ $self->{queue} };
}

# The wire is gone: forget everything, failing it with the error. What $send is
# still at goes on: an async $send must not find its Future lost.
sub drop {
    my ($self, @error) = @_;
    my @waiting = $self->waiting;
    let_go(delete $self->{in_flight});
    @{ $self->{queue} } = ();
    delete @$self{qw(current owner_in_flight)};
    $self->{bytes} = 0;
    for my $delivery (@waiting) {
        $delivery->{closed} = 1 unless $delivery->{settled};
        $delivery->settle(@error);
    }
    return;
}

# Deal with what $send did for a delivery: what it gave, or what it died with.
# Anything but a Future (nothing, a plain value) counts as done. True when the
# delivery is settled and the next may go out, false when we have to wait.
sub _answered {
    my ($self, $delivery, $answer, $died, $is_later) = @_;
    my @error;
    if (blessed $answer && $answer->can('is_ready')) {
        return $self->_wait_for($delivery, $answer) unless $answer->is_ready;
        if    ($answer->is_done) { }
        elsif ($answer->is_cancelled) {
            @error = ("the server cancelled the send\n");
        }
        else { @error = $answer->failure }
    }
    elsif (ref $died || length $died) {
        @error = ($died || "$died");    # a Future's failure is true
    }
    my $settle = sub { $delivery->settle(@error) };
    if (@error && !$delivery->{quiet}) {
        $delivery->{error} = \@error;
        $self->failed($delivery, $settle, $is_later);
    }
    else { $settle->() }
    return $delivery->{settled};
}

sub _wait_for {
    my ($self, $delivery, $future) = @_;
    $self->{current} = $delivery;
    $self->{in_flight} = $future;
    # Who sent and went away still gets its events delivered.
    $self->{owner_in_flight} = $self->{owner};
    weaken(my $weak = $self);
    $future->on_ready(sub {
        my ($future) = @_;
        my $self = $weak or return;
        return
            unless $self->{current}
            && $self->{current} == $delivery;    # dropped
        my $owner = delete $self->{owner_in_flight};
        delete @$self{qw(current in_flight)};
        $self->_answered($delivery, $future, '', 1) and $self->_pump;
    });
    return 0;
}

sub _pump {
    my ($self) = @_;
    $self->{busy} = 1;
    while (my $delivery = shift @{ $self->{queue} }) {
        $self->{bytes} -= $delivery->{size};
        my $answer = eval { $self->{send}->($delivery->{event}) };
        $self->_answered($delivery, $answer, $@) or return;
    }
    $self->{busy} = 0;
    $self->drained if delete $self->{was_full};
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Outbox - one call of $send at a time (internal)

=head1 DESCRIPTION

The bounded FIFO between a L<PAGI::SSE> object and a C<$send> that is not
ours. Internal; the base class of L<PAGI::SSE::Wire::Foreign>.

=cut
