use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use Future::IO;
use Time::HiRes qw(time);

subtest 'the first call is at once, the interval counts from the end of a call' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my (@began, @ended);
    my $every = $sse->every(
        0.1,
        async sub {
            push @began, time;
            await Future::IO->sleep(0.15);
            push @ended, time;
            $sse->close if @began == 3;
        }
    );
    is scalar @began, 1, 'at once';
    Future::IO->sleep(0.05)->get until $every->is_ready;
    ref_is result_of($every), $sse, 'the result';
    is scalar @began, 3, 'three calls';
    ok $began[$_] - $ended[$_ - 1] >= 0.095, "pause $_" for 1, 2;
};

subtest 'stops at the disconnect, without waiting for the interval' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $calls = 0;
    my $every = $sse->every(3600, sub { $calls++ });
    ok !$every->is_ready, 'sleeping';
    $peer->disconnect('client_closed');
    ok $every->is_done, 'at once';
    is $calls,                  1,               'one call';
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'a callback that is busy at the end is neither cancelled nor lost' => sub {
    for my $end (qw(disconnect close)) {
        my $peer = peer();
        my $sse = $peer->sse;
        my $work = Future->new;
        my $cleaned = 0;
        my $every = $sse->every(1, async sub { $sse->close if $end eq 'close'; await $work; $cleaned++ });
        $peer->disconnect if $end eq 'disconnect';
        ok !$every->is_ready, "$end: every waits for it";
        ok !$work->is_ready,  "$end: the work is not cancelled";
        $work->done;
        is $cleaned, 1, "$end: it goes on to its end";
        ok $every->is_done, "$end: then every is done";
    }
};

subtest 'it is cancelled when the caller cancels every or each' => sub {
    for my $method (qw(every each)) {
        my $sse = peer()->sse;
        my $work = Future->new;
        my $loop = $method eq 'every' ? $sse->every(1, sub { $work }) : $sse->each([1], sub { $work });
        $loop->cancel;
        ok $work->is_cancelled, $method;
        ok !$sse->is_closed,    "$method: the connection is as it was";
    }
};

for my $how ('dies', 'fails') {
    subtest "a callback that $how" => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my @log;
        $sse->on_close(sub { push @log, $_[1] });
        my $every = $sse->every(1, sub { $how eq 'dies' ? die "broken\n" : Future->fail("broken\n", 'cat') });
        is [$every->failure], $how eq 'dies' ? ["broken\n"] : ["broken\n", 'cat'], 'the error';
        is \@log,             ['server_error'],                                    'on_close ran';
        ok $sse->is_closed, 'closed';
        is $peer->events->[-1], { type => 'sse.close', reason => 'server_error' }, 'the stream, too';
    };
}

subtest 'after close: nothing' => sub {
    my $sse = peer()->sse;
    $sse->close;
    my $calls = 0;
    ref_is result_of($sse->every(1, sub { $calls++ })), $sse, 'the object';
    is $calls, 0, 'no call';
};

subtest 'a start that fails' => sub {
    my $peer = peer(send => 'fail');
    my $calls = 0;
    is failure_of($peer->sse->every(1, sub { $calls++ })), "the wire broke\n", "the server's error";
    is $calls,                                             0,                  'no call';
};

subtest 'without Future::IO it croaks, naming it' => sub {
    my $lib = $INC{'PAGI/SSE.pm'} =~ s{/PAGI/SSE\.pm\z}{}r;
    open my $out, '-|', $^X, "-I$lib", '-MPAGI::SSE', '-e', <<'    EOS' or die $!;
        unshift @INC, sub { die "not here\n" if $_[1] eq 'Future/IO.pm'; return };
        my $sse = PAGI::SSE->new({ type => 'sse' }, sub { Future->new }, sub { Future->done });
        print eval { $sse->every(1, sub { })->get } ? 'lives' : $@;
        print $sse->connection_state;
    EOS
    like do { local $/; scalar <$out> },
        qr/\APAGI::SSE: every requires Future::IO, which is not installed \(cpanm Future::IO\) at -e line 3\.\npending\z/,
        'the message';
};

subtest 'the sleep is cancelled with the end' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $sleep;
    {
        no warnings 'redefine';
        local *Future::IO::sleep = sub { $sleep = Future->new };
        $sse->every(60, sub { });
    }
    ok !$sleep->is_ready, 'sleeping';
    $peer->disconnect;
    ok $sleep->is_cancelled, 'no timer is left behind';
};

done_testing;
