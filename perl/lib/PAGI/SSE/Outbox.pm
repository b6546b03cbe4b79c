package PAGI::SSE::Outbox;

use strict;
use warnings;

use Scalar::Util qw(blessed weaken);

use PAGI::SSE::Delivery ();

our $VERSION = '0.1.0';

# A FIFO in front of somebody else's $send: at most one call of it is in
# flight, so events keep their order under any server. Subclasses provide
# overflow(), the message for a full queue, and failed($delivery), called when
# $send failed, before those who wait for that delivery hear of it.

sub new {
    my ($class, %args) = @_;
    return bless {
        send       => $args{send},
        max_events => $args{max_events},
        max_bytes  => $args{max_bytes},
        queue      => [],
        bytes      => 0,                   # in the queue
        busy       => 0,                   # a call of $send is in flight
    }, $class;
}

# Hand an event over, or queue it. Returns nothing when the server accepted it
# on the spot, else a delivery. $size is in octets; undef is never refused.
sub put {
    my ($self, $event, $size, $quiet) = @_;
    if ($self->{busy}) {
        return PAGI::SSE::Delivery->failed($self->overflow)
            if defined $size
            && ( @{ $self->{queue} } >= $self->{max_events}
              || $self->{bytes} + $size > $self->{max_bytes});
        my $delivery = PAGI::SSE::Delivery->new(event => $event, size => $size || 0, quiet => $quiet);
        $self->{bytes} += $delivery->{size};
        push @{ $self->{queue} }, $delivery;
        return $delivery;
    }

    $self->{busy} = 1;
    my $answer;
    if (eval { $answer = $self->{send}->($event); 1 }
        && (ref $answer eq 'Future' ? $answer->is_done : !ref $answer || _is_done($answer))) {
        $self->{busy} = 0;
        $self->_pump if @{ $self->{queue} };
        return;
    }
    my $error    = $@;
    my $delivery = PAGI::SSE::Delivery->new(event => $event, size => $size || 0, quiet => $quiet);
    $self->_answered($delivery, $answer, $error) and $self->_pump;
    return $delivery;
}

# The deliveries in flight and queued, in order.
sub waiting {
    my ($self) = @_;
    return grep { defined } $self->{current}, @{ $self->{queue} };
}

# The wire is gone: forget everything, failing it with the error.
sub drop {
    my ($self, @error) = @_;
    my @waiting = $self->waiting;
    @{ $self->{queue} } = ();
    delete @$self{qw(current in_flight owner_in_flight)};
    $self->{bytes} = 0;
    for my $delivery (@waiting) {
        $delivery->{closed} = 1 unless $delivery->{settled};
        $delivery->settle(@error);
    }
    return;
}

# Anything but a Future (nothing, a plain value) counts as done.
sub _is_done {
    my ($answer) = @_;
    return !blessed $answer || !$answer->can('is_done') || $answer->is_done;
}

# Deal with what $send gave for a delivery. True when it is settled and the
# next may go out, false when we have to wait for it or have been dropped.
sub _answered {
    my ($self, $delivery, $future, $died) = @_;

    if ($future && !_is_done($future) && !$future->is_ready) {
        $self->{current}   = $delivery;
        $self->{in_flight} = $future;
        # Whoever sent and went away still gets its events delivered.
        $self->{owner_in_flight} = $self->{owner};
        weaken(my $weak = $self);
        $future->on_ready(sub {
            my $self = $weak or return;
            return unless $self->{current} && $self->{current} == $delivery;
            my $owner = delete $self->{owner_in_flight};
            delete @$self{qw(current in_flight)};
            $self->_answered($delivery, $_[0]) and $self->_pump;
        });
        return 0;
    }

    if (!$future ? !$died : _is_done($future)) {
        $delivery->settle;
        return 1;
    }
    my @error =
          !$future               ? ($died)
        : $future->is_cancelled  ? ("the server cancelled the send\n")
        :                          $future->failure;
    $self->failed($delivery) unless $delivery->{quiet};
    $delivery->settle(@error);
    return 1;
}

sub _pump {
    my ($self) = @_;
    $self->{busy} = 1;
    while (my $delivery = shift @{ $self->{queue} }) {
        $self->{bytes} -= $delivery->{size};
        my $answer;
        my $event = $delivery->{event};
        my $died  = eval { $answer = $self->{send}->($event); 1 } ? undef : $@;
        $answer = undef unless blessed $answer;
        $self->_answered($delivery, $answer, $died) or return;
    }
    $self->{busy} = 0;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Outbox - one call of $send at a time (internal)

=head1 DESCRIPTION

The bounded FIFO between a L<PAGI::SSE> object and a C<$send> that is not
ours. Internal; the base class of L<PAGI::SSE::Foreign>.

=cut
