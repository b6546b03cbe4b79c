use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

sub response {
    my ($status, $headers, $body) = @_;
    return [
        { type => 'sse.http.response.start', status => $status, headers => $headers },
        { type => 'sse.http.response.body',  body   => $body,   more    => 0 },
    ];
}

subtest 'an ordinary response in place of a stream' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    ref_is result_of($sse->decline(status => 403, headers => [['content-type', 'text/plain']], body => "n\xF6")), $sse,
        'the result';
    is $peer->events, response(403, [['content-type', 'text/plain']], "n\xC3\xB6"), 'the events';
    ok $sse->is_closed, 'closed';
    is \@told, ['app_closed'], 'on_close ran';
    like failure_of($sse->send(1)), qr/Cannot send on closed/, 'no event afterwards';
    ok $sse->run->is_done,   'run returns';
    ok $sse->close->is_done, 'close is done';
    is scalar @{ $peer->events }, 2, 'and sends nothing';
};

subtest '204 by default' => sub {
    my $peer = peer();
    $peer->sse->decline->get;
    is $peer->events, response(204, [], ''), 'the events';
};

subtest 'while it is under way nothing else goes out' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $run;
    my $decline = $sse->decline(status => 429);
    is result_of($sse->try_send(1)), 0, 'no event';
    like failure_of($sse->decline), qr/decline: the SSE connection is closed/, 'no second decline';
    $peer->accept;
    ok $decline->is_done, 'done';
    is $peer->events, response(429, [], ''), 'the events';
};

subtest 'after the start it is too late' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->start;
    like failure_of($sse->decline), qr/\APAGI::SSE: decline: the event stream has already started at \Q$0\E/, 'fails';
    ok $sse->is_started, 'and leaves the stream alone';
};

subtest 'bad arguments' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    like failure_of($sse->decline(status => 42)), qr/decline: status must be a whole number from 200 to 599, got '42'/,
        'status';
    like failure_of($sse->decline(headers => [['a']])), qr/decline: headers must be/,                    'headers';
    like failure_of($sse->decline(403)),                qr/decline takes name => value pairs at \Q$0\E/, 'pairs';
    like failure_of($sse->decline(headers => [["a", $_]])), qr/decline: (?:the value of header 'a'|headers) must be/,
        'header value'
        for "a\r\nb", "\x{263A}", undef;
    like failure_of($sse->decline(body => 'x')), qr/a response with status 204 has no body; name another status/,
        'body';
    is $sse->connection_state, 'pending', 'the connection is pending';
    is $peer->events,          [],        'nothing sent';
};

subtest 'a server that does not know it: fails, and a stream is still possible' => sub {
    my $peer = peer();
    $peer->{unknown}{'sse.http.response.start'} = 1;
    my $sse = $peer->sse;
    like failure_of($sse->decline), qr/unknown event/, "the server's error";
    is $sse->connection_state, 'pending', 'pending again';
    $sse->start(status => 403)->get;
    $sse->close->get;
    is $peer->types, ['sse.start', 'sse.close'], 'the way around';
};

subtest 'a response that breaks off' => sub {
    my $peer = peer();
    $peer->{unknown}{'sse.http.response.body'} = 1;
    my $sse = $peer->sse;
    like failure_of($sse->decline), qr/unknown event/, "the server's error";
    is $sse->disconnect_reason, 'write_error', 'write_error';
};

subtest 'close meanwhile waits for the response' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    my $decline = $sse->decline(status => 403, body => 'no');
    my $close = $sse->close(reason => 'x-own');
    is \@told, ['x-own'], 'the end is now';
    ok !$close->is_ready, 'close waits';
    $peer->accept;
    ok $decline->is_done && $close->is_done, 'both are done';
    is $peer->events, response(403, [], 'no'), 'the whole response, and no sse.close';
    is \@told,        ['x-own'],               'one end';
};

subtest 'cancelled meanwhile, it is sent nevertheless' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    $sse->decline(status => 403, body => 'no')->cancel;
    $peer->accept;
    is $peer->events, response(403, [], 'no'), 'the whole response';
    is \@told,        ['app_closed'],          'and the end';
};

subtest 'the client goes meanwhile' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    $sse->body->on_fail(sub { });
    my $decline = $sse->decline(status => 403);
    $peer->disconnect('client_closed');
    like failure_of($decline), qr/Cannot send on closed SSE connection/, 'fails';
    is $sse->disconnect_reason, 'client_closed', 'reason';
    ok $sse->is_closed, 'and stays closed';
};

subtest 'a server that refuses it later' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $decline = $sse->decline;
    $peer->refuse;
    is failure_of($decline),   "the wire broke\n", "the server's error";
    is $sse->connection_state, 'pending',          'a stream is still possible';
    is $peer->{pending},       [],                 'no body follows';
};

done_testing;
