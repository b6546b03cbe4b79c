package PAGI::SSE::Loop;

use strict;
use warnings;

use Scalar::Util qw(weaken);

use PAGI::SSE::Futures     ();
use PAGI::SSE::Loop::Turns ();
use PAGI::SSE::Loop::Watch ();

our $VERSION = '0.003000';

# The one place that decides by which event loop we wait. In this order:
#
# - the embedded server: whoever drives it calls dispatch, and that is a clock
#   and a next turn under any loop (PAGI::SSE::Loop::Turns);
# - the implementation that Future::IO has been given;
# - IO::Async, when it is loaded; Future::IO is told so;
# - Future::IO's own, for programs that wait by get and await. Nobody but who
#   waits drives it, so in a program with another loop we say what is missing.
#
# A program that has an IO::Async loop, and has used Future::IO's own before it
# told it so, may drive either: there we wait by both.
#
# Nothing here makes Future::IO settle for its own implementation for good: a
# loop may be loaded later.

use constant OWN_IMPL => 'Future::IO::_DefaultImpl';

# Loops of which there is an implementation to load, and those of which not.
my @KNOWN = (['UV.pm' => 'Future::IO::Impl::UV'], ['Glib.pm' => 'Future::IO::Impl::Glib']);
my @UNKNOWN = qw(EV.pm AnyEvent.pm Mojo/IOLoop.pm POE/Kernel.pm Event.pm UV.pm Glib.pm);

our $DISPATCHING;    # the server whose dispatch is running
my $last;            # the one that was last dispatched, weak
my %held;            # sleeps, until they are done

# Why nothing here can wait, or undef.
sub problem {
    my ($class, $server) = @_;
    return defined _driver($server) ? undef : _sentence();
}

# Whether somebody is sure to drive us, though nobody waits by get or await.
sub is_known {
    my ($class, $server) = @_;
    $server ||= $DISPATCHING            || $last;
    return $server && $server->_is_live || defined _loop();
}

# A Future that is done after so many seconds; failed where nothing can wait.
# $server: the embedded server that the matter belongs to, if known.
sub sleep {
    my ($class, $seconds, $server) = @_;
    my $driver = _driver($server);
    return PAGI::SSE::Futures::failure(_sentence()) if !defined $driver;
    return $driver->sleep($seconds) if ref $driver;
    return _by_either($seconds) if _is_either($driver);
    return IO::Async::Loop->new->delay_future(after => $seconds) if $driver eq 'IO::Async';
    return _asking(sub { Future::IO->sleep($seconds) });
}

# Calls the code in the next turn of the loop, in the order of the calls. False
# where nothing can wait; then the code is not called.
sub later {
    my ($class, $code, $server) = @_;
    my $driver = _driver($server);
    return 0 if !defined $driver;
    if    (ref $driver)                                     { $driver->later($code) }
    elsif ($driver eq 'IO::Async' and !_is_either($driver)) { IO::Async::Loop->new->later($code) }
    else {
        my $turn = $class->sleep(0);
        $held{ 0 + $turn } = $turn;
        $turn->on_ready(sub { delete $held{ 0 + $_[0] }; PAGI::SSE::Futures::guarded($code) });
    }
    return 1;
}

# A pending Future that knows how to wait.
sub new_future {
    my ($class, $server) = @_;
    my $driver = _driver($server);
    return Future->new if !defined $driver;
    return $driver->new_future if ref $driver;
    return IO::Async::Loop->new->new_future if $driver eq 'IO::Async';
    my $sleep = $class->sleep(0);
    my $future = $sleep->new;
    $sleep->cancel;
    return $future;
}

# Calls the code whenever the handle is readable, until the watch is cancelled.
# The code makes it unreadable. Undef where nothing can wait.
sub watch {
    my ($class, $fh, $code) = @_;
    my $driver = _loop();
    return PAGI::SSE::Loop::Watch->by_look($fh, $code) if !defined $driver && !$class->problem;
    return if !defined $driver;
    return PAGI::SSE::Loop::Watch->by_io_async($fh, $code, _is_either($driver)) if $driver eq 'IO::Async';
    return PAGI::SSE::Loop::Watch->by_read($fh, $code) if Future::IO->HAVE_MULTIPLE_FILEHANDLES;
    return PAGI::SSE::Loop::Watch->by_look($fh, $code);
}

# Whether there is a better way by now than that of the watch.
sub is_outdone {
    my ($class, $watch) = @_;
    return 0 if !$watch->only_looks;
    my $driver = _loop();
    return defined $driver && ($driver eq 'IO::Async' || Future::IO->HAVE_MULTIPLE_FILEHANDLES);
}

# ---- giving way

# Sends that are done at once give nobody else a turn. So many are not even
# counted in time; those of one turn of the loop share so many seconds.
use constant { STEP => 64, TURN_SECONDS => 0.01 };

our $LEFT = STEP;    # whoever hands out a ready Future counts down, and at 0 calls give_way
my $since;           # from when on the present one's time counts
my $armed = 0;       # the next turn will be noticed
my $waiting = 0;     # how many wait for it
my $slice = TURN_SECONDS;

# A Future for the next turn, or undef when it is not time for that yet. Done
# with $value, or with the holder if that is undef. The holder is a hash, which
# keeps the Future: who does not wait gets the same one again.
sub give_way {
    my ($class, $holder, $value, $server) = @_;
    return if !_is_over($server);
    my $kept = \$holder->{giving_way}{ defined $value ? $value : '' };
    require B;
    return $$kept->{future} if $$kept && !$$kept->{future}->is_ready && B::svref_2object($$kept->{future})->REFCNT == 1;
    my $way = $$kept = { future => $class->new_future($server) };
    $waiting++;
    $class->later(
        sub {
            $waiting--;
            _begin();
            delete $holder->{giving_way};
            $way->{future}->done(defined $value ? $value || () : $holder) if !$way->{future}->is_ready;
        },
        $server
    );
    return $way->{future};
}

sub _is_over {
    my ($server) = @_;
    # Where it is not certain that somebody begins a next turn, none is waited for.
    if (!PAGI::SSE::Loop->is_known($server)) {
        $LEFT = 16 * STEP;
        return 0;
    }
    my $now = PAGI::SSE::Loop::Turns::now();
    if (!$armed) {
        $armed = PAGI::SSE::Loop->later(\&_turn, $server);
        undef $since;
    }
    $since = $now if !defined $since;
    my $is_over = $now - $since >= $slice;
    $LEFT = $is_over ? 1 : STEP;
    return $is_over;
}

sub _begin { $LEFT = STEP; undef $since; return }

sub _turn {
    $armed = 0;
    $slice = TURN_SECONDS / ($waiting || 1);
    _begin();
    return;
}

# ---- a server of ours is to be driven

# The server is in dispatch.
sub note_dispatch {
    my ($class, $server) = @_;
    return if $last && $last == $server;
    my $is_first = !$last || !$last->_is_live;
    weaken($last = $server);
    PAGI::SSE::Loop::Watch->look_anew if $is_first;
    return;
}

# Chooses what drive will use. An application that has set an implementation
# of Future::IO has chosen; else IO::Async, where it is installed: the loop.
sub prepare {
    my $have_future_io = eval { require Future::IO; 1 };
    my $chosen = _chosen();
    # Its own is somebody's choice, too: timers of the application are in it already.
    my $is_used =
        defined $chosen && $chosen eq OWN_IMPL && !($INC{'IO/Async/Loop.pm'} && $IO::Async::Loop::ONE_TRUE_LOOP);
    return if $is_used || defined $chosen && $chosen ne OWN_IMPL && $chosen ne 'Future::IO::Impl::IOAsync';
    # What the loop would load when it may have no descriptor left for that.
    return if !eval { require IO::Async::Loop; require IO::Async::Future; 1 };
    # Without this the application could not wait by Future::IO.
    return if $have_future_io && !_adopt('Future::IO::Impl::IOAsync');
    return IO::Async::Loop->new;
}

# Calls $dispatch whenever the handle is readable, until $is_over.
sub drive {
    my ($class, $fh, $dispatch, $is_over) = @_;
    if (my $loop = $class->prepare) {
        $loop->watch_io(handle => $fh, on_read_ready => $dispatch);
        $dispatch->();
        $loop->loop_once until $is_over->();
        $loop->unwatch_io(handle => $fh, on_read_ready => 1);
        return;
    }
    while (1) {
        $dispatch->();
        return if $is_over->();
        _until_readable($fh);
    }
}

sub _until_readable {
    my ($fh) = @_;
    # By now it is certain who drives Future::IO.
    return Future::IO->sysread($fh, 64)->await if $INC{'Future/IO.pm'};
    vec(my $readable = '', fileno $fh, 1) = 1;
    select $readable, undef, undef, undef;
    return;
}

# ---- the choice

# The Turns of a server, 'IO::Async', the implementation of Future::IO; undef
# when there is none.
sub _driver {
    my ($server) = @_;
    $server ||= $DISPATCHING;
    return $server->_turns if $server && $server->_is_live;
    my $loop = _loop();
    return $loop if defined $loop;
    return $last->_turns if $last && $last->_is_live;
    return if grep { $INC{$_} } @UNKNOWN and !defined _chosen();
    return eval { require Future::IO; 1 } ? OWN_IMPL : undef;
}

# A loop that others drive.
sub _loop {
    my $chosen = _chosen();
    if (defined $chosen && $chosen ne OWN_IMPL) {
        return 'IO::Async' if $chosen eq 'Future::IO::Impl::IOAsync' && eval { require IO::Async::Loop; 1 };
        return eval { require Future::IO; 1 } ? $chosen : undef;    # it may have been set beforehand
    }
    # It may be loaded by somebody's module only, in a program of another loop
    # that drives our server.
    if ($INC{'IO/Async/Loop.pm'}
        && ($IO::Async::Loop::ONE_TRUE_LOOP || !defined $chosen && !($last && $last->_is_live)))
    {
        _adopt('Future::IO::Impl::IOAsync') if !defined $chosen;
        return 'IO::Async';
    }
    for (grep { $INC{ $_->[0] } } @KNOWN) {
        return $_->[1] if !defined $chosen && _adopt($_->[1]);
    }
    return;
}

# Whether Future::IO's own may be what is driven as well.
sub _is_either { return $_[0] eq 'IO::Async' && (_chosen() // '') eq OWN_IMPL }

sub _by_either {
    my ($seconds) = @_;
    return Future->wait_any(IO::Async::Loop->new->delay_future(after => $seconds), Future::IO->sleep($seconds));
}

sub _chosen {
    no warnings 'once';
    return defined $Future::IO::IMPL ? "$Future::IO::IMPL" : undef;
}

# Tells Future::IO, whatever was so before.
sub _adopt {
    my ($impl) = @_;
    my $file = $impl =~ s{::}{/}gr . '.pm';
    no warnings 'once';
    {
        # It would refuse to be the second one.
        local $Future::IO::IMPL;
        eval { require Future::IO; require $file; 1 } or return 0;
    }
    $Future::IO::IMPL = $impl;
    return 1;
}

# Future::IO takes its own implementation for good on the first use.
sub _asking {
    my ($code) = @_;
    require Future::IO;
    local $Future::IO::IMPL = $Future::IO::IMPL;
    return $code->();
}

sub _sentence {
    my ($loop) = map { s{/}{::}gr =~ s/\.pm\z//r } grep { $INC{$_} } @UNKNOWN;
    return 'requires Future::IO, which is not installed (cpanm Future::IO)' if !eval { require Future::IO; 1 };
    return "requires Future::IO to know the event loop: $loop is loaded. Load Future::IO::Impl::IOAsync and an"
        . ' IO::Async loop, or another Future::IO::Impl, or set $Future::IO::IMPL';
}

# A thread has none of this.
sub CLONE {
    ($last, $DISPATCHING, %held) = ();
    ($armed, $waiting) = (0, 0);
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Loop - the one owner of the choice of an event loop (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=head1 METHODS

Class methods. The last argument C<$server>, a L<PAGI::SSE::Server>, may be left out; within its dispatch it is known.

=over

=item sleep($seconds, $server)

A Future; cancel it when it is not needed any more. It has failed already where nothing can wait.

=item later($code, $server)

Calls the code in the next turn; the code's exceptions are warned of. False, and nothing happens, where nothing can wait.

=item new_future($server)

A pending Future whose C<get> drives the loop.

=item is_known($server), problem($server)

Whether C<sleep> and C<later> come true though nobody waits by C<get>; the sentence that says what to load, or undef.

=item watch($handle, $code)

Calls the code whenever the handle is readable. C<cancel> of the object ends that.

=item is_outdone($watch)

Whether C<watch> would wait better now: a loop has been loaded since.

=item prepare, drive($handle, $dispatch, $is_over), note_dispatch($server)

For L<PAGI::SSE::Server>.

=back

=cut
