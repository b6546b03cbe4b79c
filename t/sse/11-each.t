use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;

subtest 'an array: item and index, in order' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @got;
    ref_is result_of($sse->each(['a', 'b', undef, 0], async sub { push @got, [@_]; await $sse->send('x') })), $sse,
        'the result';
    is \@got,                   [['a', 0], ['b', 1], [undef, 2], [0, 3]], 'the calls';
    is scalar @{ $peer->data }, 4,                                        'what the callback sends';
};

subtest 'a hashref as result is sent as an event' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->each([1, 2],
        async sub { my ($item, $index) = @_; return { data => { n => $item }, event => 'item', id => $index } })->get;
    $sse->each([3], sub { return { data => 'plain' } })->get;
    $sse->each([4], sub { return 'not a hash' })->get;
    is [grep { $_->{type} eq 'sse.send' } @{ $peer->events }],
        [
        { type => 'sse.send', data => '{"n":1}', event => 'item', id => 0 },
        { type => 'sse.send', data => '{"n":2}', event => 'item', id => 1 },
        { type => 'sse.send', data => 'plain' },
        ],
        'the events';
};

subtest 'a coderef is called until it gives undef' => sub {
    my $sse = peer()->sse;
    my @items = (1, 0, '', 2);
    my @got;
    $sse->each(sub { shift @items }, sub { push @got, [@_]; return })->get;
    is \@got, [[1, 0], [0, 1], ['', 2], [2, 3]], 'the calls';
};

subtest 'a Future that a coderef returns is an item' => sub {
    my $sse = peer()->sse;
    my @futures = map { Future->new } 1 .. 3;
    my @queue = @futures;
    my @got;
    my $each = $sse->each(sub { shift @queue }, async sub { push @got, await $_[0]; return });
    $futures[0]->done('a');
    $futures[1]->done('b');
    ok !$each->is_ready, 'the callback waits for the third';
    $futures[2]->done('c');
    ok $each->is_done, 'undef is the end';
    is \@got, [qw(a b c)], 'what they brought';
};

subtest 'an empty list' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    ref_is result_of($sse->each([], sub { die })), $sse, 'the result';
    is $peer->types, ['sse.start'], 'the stream is started';
};

subtest 'ends when closed' => sub {
    my $sse = peer()->sse;
    my @got;
    my $each = $sse->each([1 .. 5], sub { push @got, $_[0]; $sse->close if $_[0] == 2; return { data => 'late' } });
    ref_is result_of($each), $sse, 'the result';
    is \@got, [1, 2], 'no further item';

    my $peer = peer(send => 'pending');
    my $other = $peer->sse;
    my $run = $other->run;
    $each = $other->each([1 .. 5], async sub { await $other->send($_[0]) });
    $peer->accept(2)->disconnect('client_closed');
    ok $each->is_ready, 'a disconnect while the callback sends';
    ref_is result_of($each), $other, 'is the end, not an error';
};

for my $how ('dies', 'fails') {
    subtest "a callback that $how: close, on_close, then the Future fails with that error" => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my @log;
        $sse->on_close(sub { push @log, $_[1] });
        my $each = $sse->each([1 .. 3], sub { $how eq 'dies' ? die "broken\n" : Future->fail("broken\n", 'cat', 7) });
        is [$each->failure],        $how eq 'dies' ? ["broken\n"] : ["broken\n", 'cat', 7], 'the error';
        is \@log,                   ['server_error'],                                       'on_close';
        is $sse->disconnect_reason, 'server_error',                                         'the reason';
        is $peer->types,            ['sse.start', 'sse.close'],                             'the stream is closed';
    };
}

subtest 'an iterator that dies' => sub {
    my $sse = peer()->sse;
    is failure_of($sse->each(sub { die "no more\n" }, sub { })), "no more\n",    'the error';
    is $sse->disconnect_reason,                                  'server_error', 'the reason';
};

subtest 'a failed $send inside' => sub {
    my $n = 0;
    my $peer = peer(send => sub { $n++ < 2 ? 'done' : 'fail' });
    my $sse = $peer->sse;
    is [$sse->each([1 .. 5], sub { return { data => $_[0] } })->failure], ["the wire broke\n", 'wire', 42],
        "the server's error";
    is $sse->disconnect_reason, 'write_error', 'write_error stays the reason';
};

subtest 'waits for each event before the next item' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @got;
    my $each = $sse->each([1, 2], sub { push @got, $_[0]; return { data => $_[0] } });
    is \@got, [], 'not before the stream is started';
    $peer->accept(1);
    is \@got, [1], 'the first';
    $peer->accept(1);
    is \@got, [1, 2], 'the second';
    $peer->accept(1);
    ok $each->is_done, 'done';
};

subtest 'an iterator that closes' => sub {
    my $sse = peer()->sse;
    my $calls = 0;
    ref_is result_of($sse->each(sub { $sse->close; 1 }, sub { $calls++ })), $sse, 'the result';
    is $calls, 0, 'its item is not handed on';
};

subtest 'waits for a start that is in flight' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $calls = 0;
    $sse->start;
    my $each = $sse->each([1], sub { $calls++; return });
    is $calls, 0, 'no call yet';
    $peer->accept;
    is $calls, 1, 'now';
    ok $each->is_done, 'done';
};

done_testing;
