use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

my $start = { type => 'sse.start', status => 200 };

subtest 'start sends sse.start with a status, and resolves to the object' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    ref_is result_of($sse->start), $sse, 'the result';
    is $peer->events, [$start], 'the event: no headers, no key';
    ok $sse->is_started, 'is_started';
    is $sse->connection_state, 'started', 'connection_state';
};

subtest 'status and headers are handed on' => sub {
    my $peer = peer();
    $peer->sse->start(status => 201, headers => [['x-a', 'b']])->get;
    is $peer->events, [{ type => 'sse.start', status => 201, headers => [['x-a', 'b']] }], 'the event';
};

subtest 'start is idempotent' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->start->get;
    ref_is result_of($sse->start(status => 500)), $sse, 'the second';
    is $peer->events, [$start], 'one sse.start';
};

subtest 'one sse.start, before the first event, however many callers race' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @sent = ($sse->send('a'), $sse->start, $sse->send_comment('b'), $sse->start, $sse->try_send('c'));
    is [map { $_->is_ready ? 1 : 0 } @sent], [0, 0, 0, 0, 0], 'all of them wait';
    $peer->accept(1);
    is [map { $_->is_ready ? 1 : 0 } @sent], [0, 1, 0, 1, 0], 'start waits for sse.start only';
    $peer->accept;
    is $peer->types,                  [qw(sse.start sse.send sse.comment sse.send)], 'the order';
    is [map { result_of($_) } @sent], [(exact_ref($sse)) x 4, 1],                    'the results';
};

for my $case (
    [send         => sub { $_[0]->send('x') }],
    [send_json    => sub { $_[0]->send_json({}) }],
    [send_event   => sub { $_[0]->send_event(data => 'x') }],
    [send_comment => sub { $_[0]->send_comment('x') }],
    [try_send     => sub { $_[0]->try_send('x') }],
    [
        each => sub {
            $_[0]->each([], sub { });
        }
    ],
    [
        every => sub {
            $_[0]->every(10, sub { });
        }
    ],
    [run => sub { $_[0]->run }],
    )
{
    my ($name, $call) = @$case;
    subtest "$name starts the stream" => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my $future = $call->($sse);
        is $peer->events->[0], $start, 'first of all';
        ok $sse->is_started, 'is_started';
        $future->cancel unless $future->is_ready;
    };
}

subtest 'keepalive, body and decline never start it' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->keepalive(5)->get;
    my $body = $sse->body;
    is $sse->connection_state, 'pending',         'still pending';
    is $peer->types,           ['sse.keepalive'], 'no sse.start';
};

subtest 'start after close does nothing' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->close->get;
    ref_is result_of($sse->start), $sse, 'the result';
    is $peer->types, ['sse.close'], 'nothing was sent';
    ok !$sse->is_started, 'is_started is false after close';
};

subtest 'bad status and headers fail and leave the connection pending' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    like failure_of($sse->start(status => $_)),
        qr/\APAGI::SSE: start: status must be a whole number from 200 to 599, got/, "status $_"
        for '99', '600', '2e2', 'OK', '200 ';
    like failure_of($sse->start(headers => [["a\n", 'b']])), qr/header name must be a token, got 'a\\x\{A\}'/, 'name';
    like failure_of($sse->start(headers => [['a', "b\r\nc: d"]])),
        qr/the value of header 'a' must be octets without CR, LF, NUL and other controls, got 'b\\x/, 'value';
    like failure_of($sse->start(headers => [['a', $_]])), qr/the value of header 'a' must be octets/,
        'value: controls, wide'
        for "\x01", "\x7F", "\x{263A}";
    like failure_of($sse->start(headers => [['a', undef]])), qr/headers must be a reference to an array/,
        'value: undef';
    like failure_of($sse->start('status')), qr/\APAGI::SSE: start takes name => value pairs at \Q$0\E/, 'pairs';
    like failure_of($sse->start(headers => { a => 1 })), qr/headers must be a reference to an array/,   'shape';
    is $sse->connection_state, 'pending', 'pending';
    is $peer->events,          [],        'nothing sent';
};

subtest 'a start that the server refuses fails, and can be tried again' => sub {
    my $peer = peer(send => 'fail');
    my $sse = $peer->sse;
    my $f = $sse->send('x');
    is [$f->failure],          ["the wire broke\n", 'wire', 42], "the error is the server's";
    is $sse->connection_state, 'pending',                        'the state';
    $peer->mode('done');
    ref_is result_of($sse->send('x')), $sse, 'again';
};

done_testing;
