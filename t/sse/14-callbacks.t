use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;

subtest 'on* return the object' => sub {
    my $sse = peer()->sse;
    ref_is $sse->on_close(sub { }),      $sse, 'on_close';
    ref_is $sse->on_error(sub { }),      $sse, 'on_error';
    ref_is $sse->on(close => sub { }),   $sse, 'on close';
    ref_is $sse->on(error => sub { }),   $sse, 'on error';
    ref_is $sse->on_drain(sub { }),      $sse, 'on_drain';
    ref_is $sse->on_high_water(sub { }), $sse, 'on_high_water';
};

subtest 'async on_error callbacks are awaited before try_* resolves' => sub {
    my $sse = peer()->sse;
    my @callbacks = (Future->new, Future->new);
    for my $future (@callbacks) {
        $sse->on_error(sub { $future });
    }
    my $try = $sse->try_send([]);
    ok !$try->is_ready, 'waiting';
    $callbacks[1]->done;
    ok !$try->is_ready, 'for both';
    $callbacks[0]->done;
    is result_of($try), 0, 'then 0';
};

subtest 'async on_error callbacks after a $send that fails later' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $callback = Future->new;
    $sse->on_error(sub { $callback });
    my $try = $sse->try_send(1);
    $peer->accept(1)->refuse;
    ok $sse->is_closed, 'closed';
    ok !$try->is_ready, 'waiting';
    $callback->done;
    is result_of($try), 0, 'then 0';
};

subtest 'an on_error callback that dies or fails is warned about' => sub {
    my $sse = peer()->sse;
    my $ran = 0;
    $sse->on_error(sub { die "oops\n" })->on_error(async sub { die "async\n" })->on_error(sub { $ran++ });
    my @warnings = warnings_of { is result_of($sse->try_send([])), 0, '0' };
    is \@warnings, ["PAGI::SSE: an on_error callback died: oops\n", "PAGI::SSE: an on_error callback failed: async\n"],
        'warnings';
    is $ran, 1, 'the last one ran';
};

subtest 'send* leave errors to their Future' => sub {
    my $sse = peer()->sse;
    my $ran = 0;
    $sse->on_error(sub { $ran++ });
    is [warnings_of { $sse->send([])->failure }], [], 'no warning';
    is $ran,                                      0,  'no on_error';
};

# Every way a connection ends sets one reason, once, and runs the callbacks
# once, in order.
my %end = (
    'disconnect'  => ['client_closed',   sub { $_[1]->disconnect('client_closed') }],
    'server stop' => ['server_shutdown', sub { $_[1]->disconnect('server_shutdown') }],
    'close'       => ['app_closed',      sub { $_[0]->close }],
    'failed send' => ['write_error',     sub { $_[1]->mode('fail'); $_[0]->send(1)->failure }],
    'failed try'  => [
        'write_error',
        sub {
            $_[1]->mode('fail');
            $_[0]->on_error(sub { });
            $_[0]->try_send(1);
        }
    ],
    'failed receive' => [
        'read_error',
        sub {
            $_[0]->on_error(sub { });
            $_[1]->incoming('x');
        }
    ],
    'each' => [
        'server_error',
        sub {
            $_[0]->each([1], sub { die 'x' })->failure;
        }
    ],
    'every' => [
        'server_error',
        sub {
            $_[0]->every(1, sub { die 'x' })->failure;
        }
    ],
    'told' => ['idle_timeout', sub { $_[0]->_note_disconnected(undef, 'idle_timeout') }],
);
for my $name (sort keys %end) {
    subtest "one end only: $name" => sub {
        my ($reason, $first) = @{ $end{$name} };
        for my $second (sort keys %end) {
            my $peer = peer();
            my $sse = $peer->sse;
            my @log;
            $sse->on_close(sub { push @log, "1 $_[1]" });
            $sse->on_close(sub { push @log, "2 $_[1]" });
            my $run = $sse->run;
            $first->($sse, $peer);
            warnings_of { $end{$second}[1]->($sse, $peer) };
            is \@log,                   ["1 $reason", "2 $reason"], "then $second: callbacks";
            is $sse->disconnect_reason, $reason,                    "then $second: reason";
            ok $run->is_done, "then $second: run";
        }
    };
}

subtest 'a try_* that fails inside of on_error is a warning' => sub {
    my $peer = peer(send => 'pending', options => [max_queue_events => 1]);
    my $sse = $peer->sse;
    my $calls = 0;
    $sse->on_error(sub { $calls++; $_[0]->try_send_event(event => 'error', data => $_[1]) });
    $sse->$_ for qw(start);
    $sse->send(1);
    my @warnings = warnings_of { is result_of($sse->try_send(2)), 0, '0' };
    is $calls, 1, 'no recursion';
    like \@warnings, [qr/\APAGI::SSE: queue_overflow/], 'the warning';
    warnings_of { $sse->try_send(3) };
    is $calls, 2, 'the next one is told again';
};

done_testing;
