use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use IO::Socket::INET;

# A server that the application drives by start, fileno and dispatch, in loops
# that know nothing of Future::IO; and hosts that are not ours. Each in a
# process of its own, as a process has one loop.

sub outcome {
    my ($program) = @_;
    my @inc = map { "-I$_" } grep { !ref } @INC;
    my $pid = open my $out, '-|', $^X, @inc, '-e', "alarm 30; $program" or die $!;
    my @lines = map { s/\n//r } <$out>;
    close $out;
    push @lines, "status $?" if $?;
    return \@lines;
}

my $SERVER = <<'PERL';
use strict; use warnings; use Future::AsyncAwait; use IO::Socket::INET;
use PAGI::SSE; use PAGI::SSE::Server;
my $over;
sub app {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    $send = wrapped($send) if $ENV{T_WRAPPED};
    return stream(PAGI::SSE->new($scope, $receive, $send));
}
sub wrapped { my ($send) = @_; return sub { $send->(@_) } }
async sub stream {
    my ($sse) = @_;
    my $ticks = 0;
    await $sse->every(0.01, async sub { await $sse->send(++$ticks); await $sse->close if $ticks == 5 });
    print "ticks $ticks\n";
    $over = 1;
}
my $server = PAGI::SSE::Server->new(app => \&app, listen => '127.0.0.1:0')->start;
my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die $!;
print {$client} "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
PERL

my $SELECT = <<'PERL';
until ($over) {
    vec(my $fds = '', $server->fileno, 1) = 1;
    select $fds, undef, undef, undef;
    $server->dispatch;
}
PERL

my $WATCH_IO = <<'PERL';
open my $fh, '<&', $server->fileno or die $!;
my $loop = IO::Async::Loop->new;
$loop->watch_io(handle => $fh, on_read_ready => sub { $server->dispatch });
$server->dispatch;
$loop->loop_once until $over;
PERL

my $IMPL = 'print "impl ", $Future::IO::IMPL // "undecided", "\n"; require Future::IO::Impl::IOAsync; print "loads\n";';

for my $wrapped (0, 1) {
    local $ENV{T_WRAPPED} = $wrapped;
    my $how = $wrapped ? ', $send wrapped' : '';

    is outcome("$SERVER $SELECT $IMPL"), ['ticks 5', 'impl undecided', 'loads'], "every in a loop by select$how";

    is outcome("require IO::Async::Loop; $SERVER $SELECT"), ['ticks 5'],
        "every in a loop by select, where some module has loaded IO::Async$how";

    is outcome("BEGIN { unshift \@INC, sub { die 'not here' if \$_[1] =~ m{^Future/IO} } } $SERVER $SELECT"),
        ['ticks 5'],
        "every in a loop by select, without Future::IO$how";

    is outcome("\$INC{'EV.pm'} = 'loaded'; $SERVER $SELECT"), ['ticks 5'], "every in a loop like EV's$how";

    for my $loop (qw(Select Poll Epoll)) {
        local $ENV{IO_ASYNC_LOOP} = $loop;
        is outcome("use IO::Async::Loop; $SERVER $WATCH_IO $IMPL"),
            ['ticks 5', 'impl undecided', 'loads'],
            "every by watch_io of IO::Async's $loop loop$how";
    }
}

my $FOREIGN = <<'PERL';
use strict; use warnings; use PAGI::SSE; use Future;
my $ticks = 0;
my $sse = PAGI::SSE->new({ type => 'sse' }, sub { Future->new }, sub { Future->done });
my $every = $sse->every(0.01, sub { $sse->close if ++$ticks == 5 });
PERL

my $REPORT = 'print "ticks $ticks\n";';

for my $loop (qw(Select Poll Epoll)) {
    local $ENV{IO_ASYNC_LOOP} = $loop;
    is outcome("use IO::Async::Loop; $FOREIGN IO::Async::Loop->new->loop_once until \$every->is_ready; $REPORT $IMPL"),
        ['ticks 5', 'impl Future::IO::Impl::IOAsync', 'loads'],
        "another host under IO::Async's $loop loop, where nobody has told Future::IO";
}

is outcome("use IO::Async::Loop; BEGIN { unshift \@INC, sub { die 'not here' if \$_[1] =~ m{^Future/IO} } }"
        . " $FOREIGN IO::Async::Loop->new->loop_once until \$every->is_ready; $REPORT"),
    ['ticks 5'], 'the same, where Future::IO is not installed';

is outcome("use IO::Async::Loop; use Future::IO; IO::Async::Loop->new; \$Future::IO::IMPL = 'Future::IO::_DefaultImpl';"
        . " $FOREIGN IO::Async::Loop->new->loop_once until \$every->is_ready; $REPORT"),
    ['ticks 5'], 'the same, where Future::IO has settled for its own implementation';

is outcome("use Future::IO; $FOREIGN \$every->get; $REPORT $IMPL"), ['ticks 5', 'impl undecided', 'loads'],
    'a program that waits by get; what it loads later is not refused';

is outcome("use Future::IO; package My::Impl; our \@ISA = 'Future::IO::_DefaultImpl'; package main;"
        . " require IO::Async::Loop; \$Future::IO::IMPL = 'My::Impl'; $FOREIGN \$every->get; $REPORT print \$Future::IO::IMPL"
    ),
    ['ticks 5', 'My::Impl'], 'an implementation that the application has set, though IO::Async is loaded';

is outcome("\$INC{'EV.pm'} = 'loaded'; $FOREIGN print \$every->failure"),
    ['PAGI::SSE: every requires Future::IO to know the event loop: EV is loaded. Load Future::IO::Impl::IOAsync and'
        . ' an IO::Async loop, or another Future::IO::Impl, or set $Future::IO::IMPL at -e line 4.'
    ], 'another host under EV';

done_testing;
