package PAGI::SSE::Loop::Turns;

use strict;
use warnings;

use POSIX        ();
use Scalar::Util qw(weaken);
use Time::HiRes  ();

use PAGI::SSE::Futures ();

our $VERSION = '0.003000';

# Timers, and what is due in the next turn, of an embedded server: whatever
# loop drives its descriptor, the engine makes that readable in time.

use constant MOST_MS => 86_400_000;

sub new {
    my ($class, $server) = @_;
    my $self = bless { next => [], now => [], timers => [], count => 0 }, $class;
    weaken($self->{server} = $server);
    return $self;
}

sub new_future { return $_[0]{server}->new_future }

sub later {
    my ($self, $code) = @_;
    $self->{server}->_wake(0) if !@{ $self->{next} };
    push @{ $self->{next} }, $code;
    return;
}

sub sleep {
    my ($self, $seconds) = @_;
    my $future = $self->new_future;
    my $timer = [now() + $seconds, $self->{count}++, $future];
    splice @{ $self->{timers} }, $self->_place($timer), 0, $timer;
    $self->_arm;
    weaken(my $weak = $self);
    weaken $timer;
    $future->on_cancel(sub { $weak->_remove($timer) if $weak && $timer });
    return $future;
}

# One turn. What comes up meanwhile is for the next one; but an application
# that waits by get brings us here in the middle, and what is left comes first.
sub run {
    my ($self) = @_;
    my ($now, $next, $timers) = @$self{qw(now next timers)};
    push @$now, splice @$next;
    PAGI::SSE::Futures::guarded($_) while defined($_ = shift @$now);
    my $time = @$timers ? now() : return;
    while (@$timers && $timers->[0][0] <= $time) {
        my $future = (shift @$timers)->[2];
        PAGI::SSE::Futures::guarded(sub { $future->done }) if !$future->is_ready;
    }
    delete $self->{armed} if defined $self->{armed} && $self->{armed} <= $time + 0.001;
    $self->_arm;
    return;
}

# The server has gone. Another loop takes over, where there is one.
sub end {
    my ($self) = @_;
    $self->run_last;
    for my $timer (splice @{ $self->{timers} }) {
        my ($due, undef, $future) = @$timer;
        next if $future->is_ready;
        my $left = $due - now();
        my $sleep = PAGI::SSE::Loop->sleep($left > 0 ? $left : 0);
        $future->on_cancel($sleep);
        $sleep->on_ready(sub {
            my ($sleep) = @_;
            return if $future->is_ready;
            PAGI::SSE::Futures::guarded(sub {
                $sleep->is_done ? $future->done : $future->fail('PAGI::SSE: the server that kept the time has gone');
            });
        });
    }
    return;
}

sub run_last {
    my ($self) = @_;
    my @codes = map { splice @$_ } @$self{qw(now next)};
    PAGI::SSE::Futures::guarded($_) for @codes;
    return;
}

# Not the wall clock: that may be set.
sub now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

# The index of a timer, or where it is to be: they are sorted.
sub _place {
    my ($self, $timer) = @_;
    my $timers = $self->{timers};
    my ($low, $high) = (0, scalar @$timers);
    while ($low < $high) {
        my $middle = ($low + $high) >> 1;
        my $other = $timers->[$middle];
        if ($other->[0] < $timer->[0] || $other->[0] == $timer->[0] && $other->[1] < $timer->[1]) {
            $low = $middle + 1;
        }
        else { $high = $middle }
    }
    return $low;
}

sub _remove {
    my ($self, $timer) = @_;
    my $at = $self->_place($timer);
    my $found = $self->{timers}[$at];
    splice @{ $self->{timers} }, $at, 1 if $found && $found == $timer;
    return;
}

# Asks for a wake-up only when none comes early enough.
sub _arm {
    my ($self) = @_;
    my $first = $self->{timers}[0] or return;
    return if defined $self->{armed} && $self->{armed} <= $first->[0];
    my $ms = POSIX::ceil(1000 * ($first->[0] - now()));
    $ms = $ms < 1 ? 1 : $ms > MOST_MS ? MOST_MS : $ms;
    $self->{armed} = $first->[0];
    $self->{server}->_wake($ms);
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Loop::Turns - timers and turns by an embedded server (internal)

=head1 DESCRIPTION

See the comment at the top. Internal; made by L<PAGI::SSE::Server>, used by L<PAGI::SSE::Loop>.

=cut
