package T::PAGI;

# The base of every Perl test: finds the modules (blib when prove was told so,
# perl/lib otherwise), loads Test2::V0, and fakes the other side of PAGI.

use strict;
use warnings;

use T::Inc;

use Future       ();
use Scalar::Util qw(blessed);
use Time::HiRes  ();

use PAGI::SSE ();

our @EXPORT = qw(peer scope warnings_of failure_of result_of wait_until slow root);

sub import {
    my $caller = caller;
    strict->import;
    warnings->import;
    no strict 'refs';
    *{"${caller}::$_"} = \&$_ for @EXPORT;
    return;
}

sub root { T::Inc::root() }

# Time limits are for a machine that is busy: a factor from the environment.
sub slow { $_[0] * ($ENV{T_SLOW} || 1) }

# Poll until the condition holds; returns its value, false after the deadline.
sub wait_until(&;$) {
    my ($condition, $seconds) = @_;
    my $deadline = Time::HiRes::time() + slow($seconds || 10);
    while (1) {
        my $value = $condition->();
        return $value if $value || Time::HiRes::time() > $deadline;
        Time::HiRes::sleep(0.01);
    }
}

sub scope { return { type => 'sse', path => '/events', headers => [], @_ } }

# The warnings of a block, as a list of strings.
sub warnings_of(&) {
    my ($code) = @_;
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, $_[0] };
    $code->();
    return @warnings;
}

# What a ready Future says; dies when it is pending.
sub failure_of { my ($future) = @_; die "pending\n" unless $future->is_ready; return scalar $future->failure }
sub result_of  { my ($future) = @_; die "pending\n" unless $future->is_ready; return $future->result }

# A server and a client in one: peer(send => MODE, receive => MODE, scope => {}).
# MODE of send: done (default), pending, nothing, plain, die, fail.
# MODE of receive: pending (default), or a coderef.
sub peer { return T::PAGI::Peer->new(@_) }

package T::PAGI::Peer;

sub new {
    my ($class, %args) = @_;
    return bless {
        mode          => $args{send}    || 'done',
        receive       => $args{receive} || 'pending',
        scope         => T::PAGI::scope(%{ $args{scope} || {} }),
        options       => $args{options} || [],
        error         => defined $args{error} ? $args{error} : "the wire broke\n",
        events        => [],
        in_flight     => 0,
        most          => 0,     # calls of $send in flight at the same time
        pending       => [],    # Futures of sends
        receives      => 0,
        most_receives => 0,
        incoming      => [],
    }, $class;
}

sub scope { $_[0]{scope} }
sub mode  { $_[0]{mode} = $_[1]; $_[0] }
sub class { 'Future' }

sub send {
    my ($self) = @_;
    return sub {
        my ($event) = @_;
        die "unknown event\n" if $self->{unknown}{ $event->{type} };
        $self->{in_flight}++;
        $self->{most} = $self->{in_flight} if $self->{most} < $self->{in_flight};
        my $mode = ref $self->{mode} ? $self->{mode}->($event) : $self->{mode};
        if ($mode eq 'pending') {
            push @{ $self->{pending} }, [my $future = T::PAGI::Future->new, $event];
            return $future;
        }
        $self->{in_flight}--;
        die $self->{error} if $mode eq 'die';
        return Future->fail($self->{error}, 'wire', 42) if $mode eq 'fail';
        push @{ $self->{events} }, {%$event};
        return if $mode eq 'nothing';
        return 'accepted' if $mode eq 'plain';
        return Future->done;
    };
}

# Complete the first N pending sends (default: all, those that follow too).
sub accept {
    my ($self, $n) = @_;
    while (!defined $n || $n-- > 0) {
        my $next = shift @{ $self->{pending} } or last;
        $self->{in_flight}--;
        push @{ $self->{events} }, { %{ $next->[1] } };
        $next->[0]->done;
    }
    return $self;
}

sub refuse {
    my ($self) = @_;
    my $next = shift @{ $self->{pending} };
    $self->{in_flight}--;
    $next->[0]->fail($self->{error}, 'wire', 42);
    return $self;
}

sub receive {
    my ($self) = @_;
    return $self->{receive} if ref $self->{receive} eq 'CODE';
    return sub {
        $self->{receives}++;
        my $future = T::PAGI::Future->new;
        if (my $event = shift @{ $self->{incoming} }) { return $future->done($event) }
        push @{ $self->{receiving} }, $future;
        return $future;
    };
}

# Let the application receive an event, now or with its next $receive.
sub incoming {
    my ($self, $event) = @_;
    my $future = shift @{ $self->{receiving} };
    if   ($future) { $future->done($event) }
    else           { push @{ $self->{incoming} }, $event }
    return $self;
}

sub receiving { $_[0]{receiving} || [] }

sub disconnect {
    my ($self, $reason) = @_;
    return $self->incoming({ type => 'sse.disconnect', defined $reason ? (reason => $reason) : () });
}

sub sse {
    my ($self, @options) = @_;
    return PAGI::SSE->new($self->scope, $self->receive, $self->send, @{ $self->{options} }, @options);
}

sub events { $_[0]{events} }
sub types  { [map { $_->{type} } @{ $_[0]{events} }] }
sub data   { [map { $_->{data} } grep { $_->{type} eq 'sse.send' } @{ $_[0]{events} }] }

# What a server's own Future class looks like: it can wait, and it notes when
# somebody cancels one.
package T::PAGI::Future;

our @ISA = 'Future';
our @CANCELLED;

sub cancel {
    my ($self) = @_;
    push @CANCELLED, $self unless $self->is_ready || $self->{ours};
    return $self->SUPER::cancel;
}

# Futures made from this one are the wrapper's, and may be cancelled.
sub new {
    my ($proto) = @_;
    my $self = $proto->Future::new;
    $self->{ours} = 1 if ref $proto;
    return $self;
}

1;
