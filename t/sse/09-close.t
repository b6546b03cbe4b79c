use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;

subtest 'before close returns all of it has happened' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->start->get;
    my @log;
    $sse->on_close(sub {
        my ($object, $reason) = @_;
        push @log, [1, $reason, $object == $sse, $sse->is_closed, $sse->disconnect_reason, $peer->types->[-1]];
    });
    $sse->on_close(sub { push @log, [2] });
    my $future = $sse->close;
    is \@log, [[1, 'app_closed', T(), T(), 'app_closed', 'sse.close'], [2]],
        'closed, reason, sse.close, then the callbacks in order';
    ok $sse->is_closed && !$sse->is_started && !$sse->is_connected, 'the state';
    is $sse->connection_state, 'closed', 'connection_state';
    ref_is result_of($future), $sse, 'the result';
    is $peer->events->[-1], { type => 'sse.close' }, 'sse.close has no reason when none was given';
    ref_is $sse->close, $future, 'a second close returns the same Future';
    is scalar @log,                                          2, 'and runs nothing again';
    is scalar(grep { $_ eq 'sse.close' } @{ $peer->types }), 1, 'one sse.close';
};

subtest 'close(reason => ...) is handed on' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @reason;
    $sse->on_close(sub { push @reason, $_[1] });
    $sse->close(reason => 'x-done')->get;
    is $peer->events, [{ type => 'sse.close', reason => 'x-done' }], 'closing before the start sends just sse.close';
    is $sse->disconnect_reason, 'x-done',                            'disconnect_reason';
    is \@reason,                ['x-done'],                          'the callback';
};

subtest 'its Future waits for sse.close and for async callbacks' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @callbacks = map { Future->new } 1, 2;
    for my $callback (@callbacks) {
        $sse->on_close(sub { $callback });
    }
    my $close = $sse->close;
    $callbacks[1]->done;
    ok !$close->is_ready, 'not yet';
    $peer->accept;
    ok !$close->is_ready, 'sse.close was accepted';
    $callbacks[0]->done;
    ref_is result_of($close), $sse,   'all done';
    ref_is $sse->close,       $close, 'still the same';
};

subtest 'a second close while sse.close is in flight returns the same' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $close = $sse->close;
    ref_is $sse->close, $close, 'the same';
    $peer->accept;
    ok $close->is_done, 'done';
};

subtest 'a server that does not know sse.close is ignored' => sub {
    for my $how (qw(die pending)) {
        my $peer = peer();
        my $sse = $peer->sse;
        $sse->start->get;
        $how eq 'die' ? ($peer->{unknown}{'sse.close'} = 1) : $peer->mode('pending');
        my @warnings = warnings_of {
            my $close = $sse->close;
            $peer->refuse if $how eq 'pending';
            ref_is result_of($close), $sse, "$how: the Future is done";
        };
        is \@warnings,              [],           "$how: no warning";
        is $sse->disconnect_reason, 'app_closed', "$how: the reason";
    }
};

subtest 'events that were accepted before are still delivered, then sse.close' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @sent = map { $sse->send($_) } 1 .. 3;
    my $try = $sse->try_send(4);
    my $close = $sse->close;
    ref_is result_of($_), $sse, 'a waiting send is woken' for @sent;
    is result_of($try), 1, 'a waiting try_send, too';
    ok !$close->is_ready, 'close waits';
    $peer->accept;
    is $peer->data,        [1 .. 4],    'all delivered';
    is $peer->types->[-1], 'sse.close', 'sse.close last';
    ok $close->is_done, 'done';
};

subtest 'events queued before the close that then fail are nobody\'s business' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    $sse->send($_) for 1 .. 3;
    my $close = $sse->close;
    my @warnings = warnings_of { $peer->accept(1)->refuse->accept };
    is \@warnings,              [],           'no warning';
    is $sse->disconnect_reason, 'app_closed', 'one reason, once';
    ok $close->is_done, 'closed';
};

subtest 'close wakes run, every, each and body' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my %wait = (run => $sse->run, every => $sse->every(60, sub { }));
    my @work = map { Future->new } 1, 2;
    my %busy = (every => $sse->every(60, sub { $work[0] }), each => $sse->each([1], sub { $work[1] }));
    my $body = $sse->body;
    $sse->close;
    ok $wait{$_}->is_done,   $_                                     for sort keys %wait;
    ok !$busy{$_}->is_ready, "$_ waits for what its callback is at" for sort keys %busy;
    $_->done for @work;
    ok $busy{$_}->is_done, "$_, when that is done" for sort keys %busy;
    like failure_of($body), qr/ended before the end of the request body/, 'body';
    ok !$peer->receiving->[0]->is_ready, 'the outstanding $receive is left alone';
};

subtest 'a disconnect drops what waits' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $run = $sse->run;
    my ($send, $try) = ($sse->send(1), $sse->try_send(2));
    my @warnings = warnings_of { $peer->disconnect('client_closed') };
    is \@warnings, [], 'no warning';
    like failure_of($send), qr/\APAGI::SSE: Cannot send on closed SSE connection/, 'send';
    is result_of($try),   0,  'try_send';
    is [result_of($run)], [], 'run';
    $peer->accept;
    is $peer->types, ['sse.start'], 'neither event nor sse.close is sent';
};

subtest 'callbacks may call any method, close included' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @log;
    $sse->on_close(sub { $_[0]->close; push @log, 'sync' });
    $sse->on_close(async sub { await $_[0]->close; push @log, 'async' });
    my $later = Future->new;
    $sse->on_close(async sub { my ($sse) = @_; await $later; await $sse->close; push @log, 'later' });
    $sse->on_close(sub {
        $_[0]->on_close(sub { push @log, 'nested' });
    });
    $sse->on_close(sub { $_[0]->$_ for qw(start run is_closed keepalive); $_[0]->try_send(1) });
    my $close = $sse->close;
    is \@log, [qw(sync async)], 'one after the other';
    $later->done;
    is \@log, [qw(sync async later nested)], 'no deadlock';
    ok $close->is_done, 'closed';
};

subtest 'a callback that dies is warned about and does not stop the rest' => sub {
    my $sse = peer()->sse;
    my $ran = 0;
    $sse->on_close(sub { die "oops\n" });
    $sse->on_close(async sub { die "async oops\n" });
    $sse->on_close(sub { Future->fail('failed later') });
    $sse->on_close(sub { $ran++ });
    my @warnings = warnings_of { ok $sse->close->is_done, 'close is done' };
    is \@warnings,
        [
        "PAGI::SSE: an on_close callback died: oops\n",
        "PAGI::SSE: an on_close callback failed: async oops\n",
        "PAGI::SSE: an on_close callback failed: failed later\n",
        ],
        'warnings';
    is $ran, 1, 'the last one ran';
};

subtest 'registering on_close after the end runs it at once' => sub {
    my $sse = peer()->sse;
    $sse->close(reason => 'x-y');
    my @got;
    ref_is $sse->on_close(sub { @got = @_ }), $sse, 'returns the object';
    is \@got, [exact_ref($sse), 'x-y'], 'object and reason';
    my @again;
    $sse->on(close => sub { push @again, $_[1] });
    is \@again, ['x-y'], 'on(close => ...), too';
};

subtest 'the callback lists are emptied' => sub {
    my $sse = peer()->sse;
    $sse->on_close(sub { $sse })->on_error(sub { $sse });
    $sse->close;
    is [$sse->{_on_close}, $sse->{_on_error}], [[], []], 'both';
};

subtest 'the positional form' => sub {
    my $peer = peer();
    $peer->sse->close('x-bye')->get;
    is $peer->events, [{ type => 'sse.close', reason => 'x-bye' }], 'close($reason)';
};

subtest 'a second close while callbacks run waits for sse.close only' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $callback = Future->new;
    $sse->on_close(sub { $callback });
    my ($first, $second) = ($sse->close, $sse->close);
    ok !$second->is_ready, 'waits';
    $peer->accept;
    ok $second->is_done && !$first->is_ready, 'for sse.close';
    $callback->done;
    ok $first->is_done, 'the first for both';
};

subtest 'on_error after the end is not kept' => sub {
    my $sse = peer()->sse;
    $sse->close;
    ref_is $sse->on_error(sub { $sse }), $sse, 'returns the object';
    is $sse->{_on_error}, [], 'no cycle';
};

done_testing;
