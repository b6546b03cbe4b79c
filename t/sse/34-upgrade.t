use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# A stream in a scope of type http, which new takes with upgrade => 1: the head
# and the pieces of an ordinary response, under any server.

use Future;
use Future::AsyncAwait;
use Future::IO;
use PAGI::SSE::FFI ();
use PAGI::SSE::Hub ();
use T::Host        ();
use Time::HiRes    qw(time);

my $base = PAGI::SSE::FFI::handle_count();

sub http { my (%scope) = @_; return peer(scope => { type => 'http', method => 'GET', %scope }) }

my $head = {
    type    => 'http.response.start',
    status  => 200,
    headers => [['content-type', 'text/event-stream'], ['cache-control', 'no-cache'], ['x-accel-buffering', 'no']],
};
my $last = { type => 'http.response.body', body => '', more => 0 };
sub piece { return { type => 'http.response.body', body => $_[0], more => 1 } }

sub body {
    my ($peer) = @_;
    return join '', map { $_->{body} // '' } @{ $peer->events };
}

subtest 'without upgrade the type must be sse, with it http or sse' => sub {
    my ($receive, $send) = (sub { Future->new }, sub { Future->done });
    my $new = sub { my ($type, @options) = @_; PAGI::SSE->new({ type => $type }, $receive, $send, @options) };
    like dies { $new->('http') }, qr/\APAGI::SSE requires scope type 'sse', got 'http' at \Q$0\E/, 'http';
    like dies { $new->('http', upgrade => 0) }, qr/requires scope type 'sse', got 'http'/, 'http, upgrade => 0';
    like dies { $new->($_,     upgrade => 1) }, qr/requires scope type 'sse', got '$_'/, "$_, upgrade => 1"
        for qw(websocket lifespan);
    ok lives { $new->($_, upgrade => 1) }, "$_, upgrade => 1" for qw(http sse);
    my $peer = peer();
    $peer->sse(upgrade => 1)->send('x')->get;
    is $peer->types, [qw(sse.start sse.send)], 'a scope of type sse is as ever';
};

subtest 'the events are the pieces of a response, framed' => sub {
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    ref_is result_of($sse->send("a\r\nb\rc\nd")), $sse, 'send';
    $sse->send_event(data => { a => "\x{263A}" }, event => "caf\xE9", id => '7', retry => 1500)->get;
    $sse->send_json([1, undef])->get;
    $sse->send_comment("x\ny")->get;
    is result_of($sse->try_send('')), 1, 'try_send';
    $sse->close->get;
    is $peer->events,
        [
        $head,
        piece("data: a\ndata: b\ndata: c\ndata: d\n\n"),
        piece("event: caf\xC3\xA9\nid: 7\nretry: 1500\ndata: {\"a\":\"\xE2\x98\xBA\"}\n\n"),
        piece("data: [1,null]\n\n"),
        piece(":x\n:y\n\n"), piece("data: \n\n"), $last,
        ],
        'all of it';
    like failure_of($sse->send(1)), qr/Cannot send on closed SSE connection/, 'nothing after the end';
};

subtest 'an event of any size is one piece' => sub {
    my $peer = http();
    my $data = 'y' x 1_000_000;
    $peer->sse(upgrade => 1)->send($data)->get;
    ok $peer->events->[1]{body} eq "data: $data\n\n", 'all of it';
};

subtest 'octets go out even when the option text says characters' => sub {
    my $peer = http();
    $peer->sse(upgrade => 1, text => 'characters')->send("\x{263A}")->get;
    is body($peer), "data: \xE2\x98\xBA\n\n", 'UTF-8';
};

subtest "the application's headers come first, those that frame the message are the server's" => sub {
    my $peer = http();
    $peer->sse(upgrade => 1)->start(
        status  => 201,
        headers => [
            ['X-A',               1],
            ['Content-Type',      'text/event-stream; charset=utf-8'],
            ['Content-Length',    5],
            ['connection',        'close'],
            ['Transfer-Encoding', 'chunked']
        ]
    )->get;
    is $peer->events,
        [{
        type    => 'http.response.start',
        status  => 201,
        headers => [
            ['X-A',               1],
            ['Content-Type',      'text/event-stream; charset=utf-8'],
            ['cache-control',     'no-cache'],
            ['x-accel-buffering', 'no']
        ]
        }],
        'the head';
};

subtest 'one call of $send at a time, in order' => sub {
    my $peer = http()->mode('pending');
    my $sse = $peer->sse(upgrade => 1);
    my @sent = map { $sse->send($_) } 1 .. 50;
    my $closed = $sse->close;
    ok !$closed->is_ready, 'close waits';
    $peer->accept;
    ok $closed->is_done, 'until all is out';
    is body($peer),                          join('', map { "data: $_\n\n" } 1 .. 50), 'in order';
    is [$peer->{most}, $peer->events->[-1]], [1, $last], 'one at a time, the last piece last';
    my $slow = http()->mode('pending');
    my $other = $slow->sse(upgrade => 1, max_queue_events => 2);
    like failure_of([map { $other->send($_) } 1 .. 4]->[-1]), qr/queue_overflow/, 'bounded';
    $slow->accept;
};

my %end = (
    'http.disconnect' => [sub { { type => 'http.disconnect', reason => 'idle_timeout' } }, 'idle_timeout'],
    'http.disconnect without a reason' => [sub { { type => 'http.disconnect' } }, 'client_closed'],
);
for my $name (sort keys %end) {
    subtest "the end by $name" => sub {
        my ($event, $reason) = @{ $end{$name} };
        my $peer = http();
        my $sse = $peer->sse(upgrade => 1);
        my @told;
        $sse->on_close(sub { push @told, $_[1] });
        my @wait = ($sse->run, $sse->every(3600, sub { }));
        $peer->incoming({ type => 'http.request', body => '', more => 0 })->incoming($event->());
        is \@told, [$reason], 'on_close';
        ok $wait[0]->is_done && $wait[1]->is_done, 'run and every are woken';
        is $peer->events, [$head], 'no last piece to somebody who has gone';
    };
}

package Connection {
    sub new           { bless { callbacks => [] }, shift }
    sub on_disconnect { push @{ $_[0]{callbacks} }, $_[1]; $_[0] }
    sub disconnect    { my ($self, $reason) = @_; $_->($reason) for splice @{ $self->{callbacks} } }
}

subtest 'the end by pagi.connection, which nobody has to ask' => sub {
    my $connection = Connection->new;
    my $peer = http('pagi.connection' => $connection);
    my $sse = $peer->sse(upgrade => 1);
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    $sse->send(1)->get;
    $connection->disconnect('client_closed');
    is \@told,                       ['client_closed'], 'on_close';
    is result_of($sse->try_send(2)), 0,                 'closed';
    my $other = Connection->new;
    http('pagi.connection' => $other)->sse(upgrade => 1);
    ok lives { $other->disconnect('x') }, 'it does not keep the object';
    is(PAGI::SSE::FFI::handle_count(), $base + 1, 'nor its handle');
    ok lives { http('pagi.connection' => $_)->sse(upgrade => 1)->send(1)->get }, 'something else there is left alone'
        for { }
    , 'x', bless({}, 'Foreign::Thing');
};

subtest 'close before the start is an empty stream' => sub {
    for my $mode (qw(done pending nothing)) {
        my $peer = http()->mode($mode);
        my $closed = $peer->sse(upgrade => 1)->close;
        $peer->accept;
        ok $closed->is_done, "$mode: done";
        is $peer->events, [$head, $last], "$mode: head and last piece";
    }
};

subtest 'what is broken off has no last piece' => sub {
    for my $method (qw(each every)) {
        my $peer = http();
        my $sse = $peer->sse(upgrade => 1);
        my $dies = sub { die "broken\n" };
        my $future = $method eq 'each' ? $sse->each([1], $dies) : $sse->every(1, $dies);
        is failure_of($future),     "broken\n",     "$method fails";
        is $peer->events,           [$head],        "$method: no last piece";
        is $sse->disconnect_reason, 'server_error', "$method: reason";
    }
};

subtest 'decline is an ordinary response' => sub {
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    ref_is result_of($sse->decline(status => 403, headers => [['x-a', 'b']], body => "caf\x{e9}")), $sse, 'the result';
    is $peer->events,
        [
        { type => 'http.response.start', status => 403,           headers => [['x-a', 'b']] },
        { type => 'http.response.body',  body   => "caf\xC3\xA9", more    => 0 },
        ],
        'the response';
    is [$sse->connection_state, $sse->disconnect_reason], ['closed', 'app_closed'], 'the end';
    my $started = http()->sse(upgrade => 1);
    $started->start;
    like failure_of($started->decline), qr/decline: the event stream has already started/, 'not after the start';
};

subtest 'each, every, the body, the id and the accessors' => sub {
    my $peer = http(method => 'POST', headers => [['last-event-id', '41']], query_string => 'q=1');
    my $sse = $peer->sse(upgrade => 1);
    is [$sse->last_event_id, $sse->method, $sse->query_param('q')], ['41', 'POST', '1'], 'accessors';
    my $json = $sse->json;
    $peer->incoming({ type => 'http.request', body => '{"a"', more => 1 })
        ->incoming({ type => 'http.request', body => ':1}', more => 0 });
    is result_of($json), { a => 1 }, 'the body';
    my $n = 0;
    $sse->each([qw(a b)], sub { { data => $_[0], id => $_[1] } })->get;
    my $every = $sse->every(0.01, async sub { await $sse->send(++$n) });
    Future::IO->sleep(0.01)->get while $n < 2;
    $sse->close->get;
    $every->get;
    like body($peer), qr/\Aid: 0\ndata: a\n\nid: 1\ndata: b\n\ndata: 1\n\ndata: 2\n\n/, 'the stream';
};

sub wait_for(&) {
    my ($condition) = @_;
    my $end = time + slow(10);
    Future::IO->sleep(0.01)->get until $condition->() || time > $end;
    return $condition->();
}

subtest 'the keepalive is a timer of ours' => sub {
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    $sse->keepalive(0.03, "on\nward")->get;
    is $peer->events, [], 'it does not start the stream';
    Future::IO->sleep(0.08)->get;
    is $peer->events, [], 'nor does its time';
    $sse->start->get;
    my $comments = sub {
        scalar grep { $_->{body} // '' eq ":on\n:ward\n\n" } @{ $peer->events };
    };
    ok wait_for { $comments->() >= 2 }, 'comments';
    $sse->keepalive(0)->get;
    my $n = @{ $peer->events };
    Future::IO->sleep(0.1)->get;
    is scalar @{ $peer->events }, $n, 'off';
    $sse->keepalive(0.03)->get;
    ok wait_for { ($peer->events->[-1]{body} // '') eq ":\n\n" }, 'on again, an empty one';
    $sse->close->get;
    $n = @{ $peer->events };
    Future::IO->sleep(0.1)->get;
    is scalar @{ $peer->events }, $n, 'nothing after the end';
};

subtest 'a write puts the keepalive off; a client that takes nothing gets none' => sub {
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    $sse->keepalive(1);
    my $end = time + 1.3;
    while (time < $end) { $sse->send('x')->get; Future::IO->sleep(0.02)->get }
    unlike body($peer), qr/^:/m, 'busy';
    my $slow = http()->mode('pending');
    my $other = $slow->sse(upgrade => 1);
    $other->start;
    $other->keepalive(0.02);
    Future::IO->sleep(0.15)->get;
    is scalar @{ $slow->{pending} }, 1, 'slow: nothing is queued behind the start';
    $_->close for $sse, $other;
    $slow->accept;
};

subtest 'a keepalive that fails ends the stream' => sub {
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    my @log;
    $sse->on_close(sub { push @log, $_[1] });
    $sse->start->get;
    $peer->mode('fail');
    $sse->keepalive(0.01);
    my @warnings = warnings_of {
        wait_for { @log }
    };
    is \@log, ['write_error'], 'on_close';
};

subtest 'the object is the same by a copy of the scope, and parked without a reference' => sub {
    my $peer = http();
    my $send = $peer->send;
    PAGI::SSE->new($peer->scope, $peer->receive, $send, upgrade => 1)->send(1)->get;
    my $same =
        PAGI::SSE->new({ %{ $peer->scope }, path_params => { a => 'b' } }, sub { die }, sub { die }, upgrade => 1);
    is [$same->connection_state, $same->path_param('a')], ['started', 'b'], 'the same';
    $same->send(2)->get;
    is body($peer), "data: 1\n\ndata: 2\n\n", 'by the first $send';
};

subtest 'a $send and a $receive that hold the scope do not make a cycle' => sub {
    my $before = PAGI::SSE::FFI::handle_count();
    {
        my $scope = { type => 'http' };
        my $sse = PAGI::SSE->new(
            $scope,
            sub { $scope->{n}++; Future->new },
            sub { $scope->{n}++; Future->done },
            upgrade => 1
        );
        $sse->keepalive(30);
        $sse->send(1);
    }
    is(PAGI::SSE::FFI::handle_count(), $before, 'all has gone');
};

subtest 'a hub, under any server' => sub {
    my $hub = PAGI::SSE::Hub->new;
    my $peer = http();
    my $sse = $peer->sse(upgrade => 1);
    my $served = $hub->serve($sse, 'news');
    $hub->publish('news', data => "a\nb", event => 'e') for 1, 2;
    ok wait_for { $hub->dispatch; body($peer) =~ /(?:event: e\nid: \S+\ndata: a\ndata: b\n\n){2}/ }, 'the events';
    is $peer->events->[0], $head, 'after the head';
    $peer->incoming({ type => 'http.request', body => '', more => 0 })->incoming({ type => 'http.disconnect' });
    ok $served->is_done, 'serve waits for the end';
    is $hub->subscribers('news'), 0, 'and the subscription is over';
};

# ---- the embedded server, where only what is wrapped needs pieces

my %wrap = (
    plain   => [sub { $_[0] }, sub { $_[0] }],
    '$send' => [
        sub {
            my ($send) = @_;
            sub { $send->(@_) }
        },
        sub { $_[0] }
    ],
    '$receive' => [
        sub { $_[0] },
        sub {
            my ($receive) = @_;
            sub { $receive->(@_) }
        }
    ],
    both => [
        (sub {
            my ($code) = @_;
            sub { $code->(@_) }
        }) x 2
    ],
);

sub serve {
    my ($how,     $handler) = @_;
    my ($send_of, $receive_of) = @{ $wrap{$how} };
    my $server = {};
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} ne 'http';
            $server->{sse} =
                PAGI::SSE->new($scope, $receive_of->($receive), $send_of->($send), upgrade => 1);
            await $handler->($server->{sse});
        }
    );
    return $host, $host->get('/', 'Accept: text/html'), $server;
}

for my $how (sort keys %wrap) {
    subtest "embedded, $how: events, keepalive, and the client's end" => sub {
        my @told;
        my ($host, $client, $server) = serve(
            $how => async sub {
                my ($sse) = @_;
                $sse->on_close(sub { push @told, $_[1] });
                await $sse->keepalive(0.05, 'ping');
                await $sse->send_event(data => "a\nb", id => 1);
                await $sse->run;
                push @told, 'returned';
            }
        );
        ok $host->until(sub { $client->body =~ /\Aid: 1\ndata: a\ndata: b\n\n:ping\n\n:ping\n\n/ }), 'the stream';
        is [$client->status, $client->header('content-type'), $client->header('cache-control')],
            [200, 'text/event-stream', 'no-cache'], 'the head';
        $client->close;
        ok $host->until(sub { @told == 2 }), 'ended';
        is \@told, ['client_closed', 'returned'], 'on_close, then the handler';
    };

    subtest "embedded, $how: close ends it whole" => sub {
        my ($host, $client, $server) =
            serve($how => async sub { my ($sse) = @_; await $sse->send('x'); await $sse->close });
        ok $host->until(sub { $client->ended && !%{ $host->server->{exchanges} } }), 'ended';
        is scalar $client->body, "data: x\n\n", 'all of it';
        is [$host->log],         [],            'nothing in the log';
    };

    subtest "embedded, $how: an application that returns ends it whole, one that dies does not" => sub {
        my %ending = (
            returns => [sub { Future->done }, 1, 'app_closed'],
            dies    => [sub { die "oops\n" }, 0, 'server_error'],
            each    => [
                sub {
                    my ($sse) = @_;
                    $sse->each([1], sub { die "oops\n" });
                },
                0,
                'server_error'
            ],
        );
        for my $name (sort keys %ending) {
            my ($ending, $is_whole, $reason) = @{ $ending{$name} };
            my @told;
            my ($host, $client) = serve(
                $how => async sub {
                    my ($sse) = @_;
                    $sse->on_close(sub { push @told, $_[1] });
                    await $sse->send('x');
                    await $ending->($sse);
                }
            );
            ok $host->until(sub { @told && $client->eof || $client->ended && !%{ $host->server->{exchanges} } }), $name;
            is [scalar $client->body, $client->ended ? 1 : 0, \@told], ["data: x\n\n", $is_whole, [$reason]],
                "$name: the end";
            is scalar $host->log, $is_whole ? 0 : 1, "$name: the log";
        }
    };

    subtest "embedded, $how: decline" => sub {
        my ($host, $client) =
            serve($how => async sub { await $_[0]->decline(status => 404, body => "no\n") });
        ok $host->until(sub { $client->ended && !%{ $host->server->{exchanges} } }), 'ended';
        is scalar $client->body, "no\n", 'the body';
        is $client->status,      404,    'the status';
        is [$host->log],         [],     'nothing in the log';
    };

    subtest "embedded, $how: a hub" => sub {
        my $hub = PAGI::SSE::Hub->new;
        my ($host, $client, $server) = serve($how => async sub { await $hub->serve($_[0], 'news') });
        $host->until(sub { length $client->head });
        $hub->publish('news', data => $_) for 1 .. 3;
        ok $host->until(sub { $hub->dispatch; $client->body =~ /data: 1\n.*data: 2\n.*data: 3\n/s }), 'the events';
        $client->close;
        ok $host->until(sub { $hub->dispatch; !$hub->subscribers('news') && $server->{sse}{ended} }), 'and its end';
    };
}

subtest 'a subclass with a start of its own' => sub {
    package My::SSE {
        our @ISA = 'PAGI::SSE';
        sub start { my ($self, %options) = @_; $self->SUPER::start(%options, headers => [['x-mine', 1]]) }
    }
    my $peer = http();
    my $sse = My::SSE->new($peer->scope, $peer->receive, $peer->send, upgrade => 1);
    $sse->send('x')->get;
    is $peer->events->[0]{headers}[0], ['x-mine', 1], 'its header';
    is body($peer),                    "data: x\n\n", 'the event';
};

ok wait_until { PAGI::SSE::FFI::handle_count() == $base }, 'no handle is left'
    or diag PAGI::SSE::FFI::handle_count();

done_testing;
