use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

subtest 'run starts the stream and waits for the end' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $run = $sse->run;
    ok $sse->is_started, 'started';
    ok !$run->is_ready,  'waiting';
    $sse->close;
    is [result_of($run)], [], 'nothing as result';
};

subtest 'several at a time, and after the end' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @runs = map { $sse->run } 1 .. 3;
    $peer->disconnect;
    ok $_->is_done, 'done' for @runs, $sse->run;
};

subtest 'a failed send ends run' => sub {
    my $n = 0;
    my $peer = peer(send => sub { $n++ ? 'fail' : 'done' });
    my $sse = $peer->sse;
    my $run = $sse->run;
    is failure_of($sse->send(1)), "the wire broke\n", 'send fails';
    is [result_of($run)],         [],                 'run returns';
};

subtest 'a failed try_send: on_error, write_error, on_close' => sub {
    my $n = 0;
    my $peer = peer(send => sub { $n++ ? 'die' : 'done' });
    my $sse = $peer->sse;
    my @log;
    $sse->on_error(sub { push @log, "error $_[1]" });
    $sse->on_close(sub { push @log, "close $_[1]" });
    my $run = $sse->run;
    is result_of($sse->try_send(1)), 0,                                               'gives 0';
    is [sort @log],                  ['close write_error', "error the wire broke\n"], 'both are called';
    is [result_of($run)],            [],                                              'run returns';
    is $peer->types,                 ['sse.start'],                                   'nothing more is sent';
};

subtest 'a start that fails is reported, and run returns' => sub {
    for my $how (qw(now later)) {
        my $peer = peer(send => $how eq 'now' ? 'fail' : 'pending');
        my $sse = $peer->sse;
        my @log;
        $sse->on_error(sub { push @log, "error $_[1]" });
        my $run = $sse->run;
        $peer->refuse if $how eq 'later';
        is [result_of($run)],       [],                         "$how: run returns";
        is \@log,                   ["error the wire broke\n"], "$how: on_error";
        is $sse->disconnect_reason, 'write_error',              "$how: reason";
    }
};

done_testing;
