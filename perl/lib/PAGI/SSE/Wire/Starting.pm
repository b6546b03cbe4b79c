package PAGI::SSE::Wire::Starting;

use strict;
use warnings;

use Scalar::Util qw(weaken);

use PAGI::SSE::Check          ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# A class with a start of its own, to add headers perhaps, has it called by
# whatever starts the stream. Until the stream has started, its wire is blessed
# into one of these, so that nobody else pays for that.

@PAGI::SSE::Wire::Starting::Foreign::ISA = (__PACKAGE__, 'PAGI::SSE::Wire::Foreign');
@PAGI::SSE::Wire::Starting::Hosted::ISA = (__PACKAGE__, 'PAGI::SSE::Wire::Hosted');
@PAGI::SSE::Wire::Starting::Http::ISA = (__PACKAGE__, 'PAGI::SSE::Wire::Http');

use PAGI::SSE::FFI::Constants ();

use constant PENDING => PAGI::SSE::FFI::Constants::STATE_PENDING();

# What waits for a start: as much as may wait for a server.
use constant { MOST_EVENTS => 1_000, MOST_BYTES => 1_048_576 };

sub begin_with_owner {
    my ($class, $wire) = @_;
    $wire->{plain} ||= ref $wire;
    bless $wire, $class . '::' . $wire->{plain} =~ s/.*:://r;
    return;
}

sub send           { return shift->_begun(send           => @_) }
sub send_event     { return shift->_begun(send_event     => @_) }
sub comment        { return shift->_begun(comment        => @_) }
sub ensure_started { return shift->_begun(ensure_started => @_) }
sub publish        { return shift->_begun(publish        => @_) }

# What start sends goes before what waits for it; so does what it sends when it
# goes on after a wait for us.
sub start { return shift->_from_start(start => @_) }

# The library starts the stream when a hub's subscription begins.
sub hub_conn {
    my ($self) = @_;
    my $plain = $self->{plain}->can('hub_conn');
    if ($self->isa('PAGI::SSE::Wire::Hosted') && $self->state == PENDING) {
        my $delivery = $self->ensure_started('subscribe');
        die PAGI::SSE::Check::message(
            'PAGI::SSE::Hub->subscribe: the start of the stream is still pending: await it first')
            if $delivery && !$delivery->{settled};
        die $delivery->{error}[0] if $delivery && $delivery->{error};
    }
    return $self->$plain;
}

# After the end nobody waits any more.
sub release {
    my ($self, @lost) = @_;
    my $plain = $self->{plain}->can('release');
    for (@{ delete $self->{held} || [] }) {
        $_->[0]{closed} = 1;
        $_->[0]->settle($self->closed_message);
    }
    return $self->$plain(@lost);
}

sub _begun {
    my ($self, $method, @args) = @_;
    my $is_pending = $self->state == PENDING;
    return $self->_from_start($method, @args) if $self->{in_start} && !($is_pending && $method eq 'publish');
    if (!$is_pending) {
        $self->_let_go;
        return $self->_plainly($method, @args);
    }
    return $self->_hold($method, @args) if $self->{held};

    my $start = $self->_start_of_owner;
    return $start if ref $start eq 'PAGI::SSE::Wire::Delivery';    # it failed
    return $self->_plainly($method, @args) if $start->is_ready;
    $self->_wait($start);
    return $self->_hold($method, @args);
}

# The stream has started, or its start leaves that to us.
sub _plainly {
    my ($self, $method, @args) = @_;
    bless $self, $self->{plain} unless $self->{held};
    my $plain = $self->{plain}->can($method);
    my $delivery = $self->$plain(@args);
    $self->{open} = 0 if $self->{held};
    return $delivery;
}

sub _from_start {
    my ($self, $method, @args) = @_;
    my $plain = $self->{plain}->can($method);
    my $delivery = $self->$plain(@args);
    $self->{open} = 0;
    return $delivery if !$delivery || $delivery->{settled};
    my $view = PAGI::SSE::Wire::Delivery->new;
    weaken(my $weak = $self);
    $delivery->on_settled(sub {
        local $weak->{in_start} = 1 if $weak;
        _follow($view, $_[0]);
    });
    return $view;
}

# Calls it. Gives its Future, or a delivery that failed.
sub _start_of_owner {
    my ($self) = @_;
    my $future;
    local $self->{in_start} = 1;
    eval { $future = $self->{owner}->start; 1 } or return PAGI::SSE::Wire::Delivery->failed($@);
    return Future->done unless PAGI::SSE::Check::is_future($future);
    return _failed($future) || $future;
}

sub _failed {
    my ($future) = @_;
    return unless $future->is_ready;
    return PAGI::SSE::Wire::Delivery::refused('the start of the stream was cancelled') if $future->is_cancelled;
    my @error = $future->failure or return;
    return PAGI::SSE::Wire::Delivery->failed(@error);
}

sub _wait {
    my ($self, $start) = @_;
    $self->{held} = [];
    weaken(my $weak = $self);
    $self->{owner}->_held($start)->on_ready(sub {
        my $self = $weak            or return;
        my $held = $self->{held}    or return;                  # the end came first, or the stream has started
        my $failed = _failed($_[0]) or return $self->_let_go;
        delete $self->{held};
        _follow($_->[0], $failed) for @$held;
    });
    return;
}

sub _hold {
    my ($self, $method, @args) = @_;
    my $held = $self->{held};
    my $size = 0;
    $size += length for grep { defined && !ref } @args;
    return PAGI::SSE::Wire::Delivery->full('queue_overflow: the start of the stream is still pending, and '
            . "the queue of @{[MOST_EVENTS]} events or @{[MOST_BYTES]} octets is full")
        if @$held >= MOST_EVENTS || @$held && $self->{held_bytes} + $size > MOST_BYTES;
    $self->{held_bytes} = (@$held ? $self->{held_bytes} : 0) + $size;
    push @$held, [my $delivery = PAGI::SSE::Wire::Delivery->new, $method, @args];
    return $delivery;
}

# In their order, before anything else.
sub _let_go {
    my ($self) = @_;
    for (@{ delete $self->{held} || [] }) {
        my ($delivery, $method, @args) = @$_;
        my $plain = $self->{plain}->can($method);
        my $sent = $self->$plain(@args);
        if ($sent) {
            $sent->on_settled(sub { _follow($delivery, $_[0]) });
        }
        else { $delivery->settle }
    }
    $self->{owner}->_full_over if $self->{owner};
    return;
}

sub _follow {
    my ($view, $delivery) = @_;
    my %said = %$delivery;
    delete @said{qw(waiting settled)};
    @$view{ keys %said } = values %said;
    return $view->settle(@{ $said{error} || [] });
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Starting - the wire of a class with its own start (internal)

=head1 DESCRIPTION

Calls C<start> of a subclass of L<PAGI::SSE> before whatever starts the stream,
and keeps back what comes while that is pending. Internal.

=cut
