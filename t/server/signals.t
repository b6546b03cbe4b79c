use strict;
use warnings;

# Signals reach the stop, whatever the loop and the application do.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use T::Serve;
use Test2::V0 -no_srand => 1;
use File::Temp;
use IO::Socket::INET;
use Time::HiRes qw(time);

my $APP = File::Temp->new(SUFFIX => '.pl');
print {$APP} <<'PERL';
use strict; use warnings; use Future::AsyncAwait; use Future::IO; use PAGI::SSE;
async sub app {
    my ($scope, $receive, $send) = @_;
    die "not here\n" if $scope->{type} ne 'sse';
    if ($scope->{path} eq '/busy') {    # never pauses
        await $send->({ type => 'sse.start' });
        while (1) { await $send->({ type => 'sse.send', data => 'x' }) }
    }
    if ($scope->{path} eq '/busy-http') {
        await $send->({ type => 'http.response.start' });
        while (1) { await $send->({ type => 'http.response.body', body => 'x', more => 1 }) }
    }
    if ($scope->{path} eq '/deaf') {    # goes on whatever happens
        await $send->({ type => 'sse.start' });
        while (1) {
            eval { $send->({ type => 'sse.send', data => 'x' }) };
            await Future::IO->sleep(0.01);
        }
    }
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    await $sse->every(0.1, async sub { await $sse->send('x') });
}
\&app;
PERL
close $APP;

my @LOOPS = ('Select', 'Poll', eval { require IO::Async::Loop::Epoll } ? 'Epoll' : ());

sub clients {
    my ($server, $path, $count) = @_;
    my @clients = map {
        my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die "connect: $!";
        syswrite $client, "GET $path HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
        $client;
    } 1 .. $count;
    sysread $_, my $head, 1 for @clients;
    return @clients;
}

for my $loop (@LOOPS) {
    subtest "$loop: 500 streams that send all the time" => sub {
        my $server = T::Serve->app("$APP", env => { IO_ASYNC_LOOP => $loop });
        my @clients = clients($server, '/', 500);
        is $server->signal('TERM')->wait(8), 0, 'it ends in order';
    };

    subtest "$loop: 500 handlers that run on after their clients went" => sub {
        my $server = T::Serve->app("$APP", args => ['--shutdown-timeout', 1], env => { IO_ASYNC_LOOP => $loop });
        my @clients = clients($server, '/deaf', 500);
        close $_ for splice @clients;
        my $began = time;
        is $server->signal('TERM')->wait(15), 0, 'it ends';
        ok time - $began >= 0.9, 'after the time-out';
        return if $loop ne $LOOPS[-1];
        $server = T::Serve->app("$APP", args => ['--shutdown-timeout', 1000], env => { IO_ASYNC_LOOP => $loop });
        @clients = clients($server, '/deaf', 500);
        close $_ for splice @clients;
        $server->signal('INT');
        # The stop has begun: a new client is turned away.
        my $end = time + 10;
        1 while time < $end && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port);
        is $server->signal('TERM')->wait(15), 0, 'a second signal ends it at once';
    };
}

for my $path ('/busy', '/busy-http') {
    subtest "a handler that sends without a pause to a client that has gone ($path)" => sub {
        my $server = T::Serve->app("$APP", args => ['--shutdown-timeout', 1]);
        close $_ for clients($server, $path, 1);
        is $server->signal('TERM')->wait(15), 0, 'it ends';
    };
}

subtest 'handlers are as before once the server has stopped' => sub {
    my @caught;
    local $SIG{USR1} = sub { push @caught, 'mine' };
    local $SIG{USR2} = 'IGNORE';
    local $SIG{WINCH};
    my $before = $SIG{USR1};
    my $server = PAGI::SSE::Server->new(app => sub { }, listen => '127.0.0.1:0')->stop_on(qw(USR1 USR2 WINCH));
    ok $SIG{USR1} != $before, 'watched';
    kill USR1 => $$;
    $server->run;
    ok $server->is_stopped, 'stopped by one that came before run';
    ref_is $SIG{USR1}, $before, 'a coderef';
    is $SIG{USR2},  'IGNORE', 'a name';
    is $SIG{WINCH}, undef,    'none';
    ok exists $SIG{WINCH}, 'and it is still a signal';
    kill USR1 => $$;
    is \@caught, ['mine'], 'it works';

    $server = PAGI::SSE::Server->new(app => sub { }, listen => '127.0.0.1:0')->stop_on('USR1');
    my $other = $SIG{USR1} = sub { };
    undef $server;
    ref_is $SIG{USR1}, $other, 'one that was set later stays';
};

subtest 'a child of a fork is not stopped by what stops its parent' => sub {
    local $SIG{USR1} = 'DEFAULT';
    my $server = PAGI::SSE::Server->new(app => sub { }, listen => '127.0.0.1:0')->stop_on('USR1')->start;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        kill USR1 => $$;
        select undef, undef, undef, 20;
        POSIX::_exit(7);
    }
    waitpid $pid, 0;
    is $? & 127, POSIX::SIGUSR1(), 'it dies of the signal as ever';
    ok !$server->is_stopped, 'the parent serves on';
};

subtest 'stop_on before a fork, start after it' => sub {
    local $SIG{USR1} = 'DEFAULT';
    my $server = PAGI::SSE::Server->new(app => sub { }, listen => '127.0.0.1:0')->stop_on('USR1');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $server->start;
        kill USR1 => $$;
        $server->run;
        POSIX::_exit(7);
    }
    waitpid $pid, 0;
    is $?, 7 << 8, 'the child stops in order';
};

subtest 'stop_on refuses what is no signal' => sub {
    is dies {
        PAGI::SSE::Server->new(app => sub { })->stop_on('TREM')
    }, "PAGI::SSE::Server->stop_on: 'TREM' is no signal at $0 line @{[__LINE__ - 1]}.\n";
};

done_testing;
