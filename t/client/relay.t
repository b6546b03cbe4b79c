use strict;
use warnings;
use utf8;

# A stream that is passed on: from a scripted upstream, through an application
# of the embedded server, to a raw client.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;
use JSON::MaybeXS qw(decode_json);
use PAGI::SSE::Client;
use PAGI::SSE::Relay;
use T::Host;
use T::Scripted;

my $base = PAGI::SSE::FFI::handle_count();

# The application: what the relay gave, and the client of the upstream.
my %last;

sub relaying {
    my ($upstream, %how) = @_;
    my $url = ref $upstream ? $upstream->url : $upstream;
    return async sub {
        my ($scope, $receive, $send) = @_;
        die "no lifespan\n" if $scope->{type} ne 'sse';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        my $client = $last{client} = PAGI::SSE::Client->new(
            url    => $url,
            method => 'POST',
            body   => 'x',
            proxy  => 0,
            @{ $how{client} || [] }
        );
        my $relay = PAGI::SSE::Relay->new($sse, @{ $how{relay} || [] });
        @last{qw(error is_over)} = (await($relay->from($client, $how{callback} || ())), 1);
    };
}

# The raw client, at the end of its response.
sub relayed {
    my ($upstream, %how) = @_;
    %last = ();
    my $host = T::Host->new(relaying($upstream, %how));
    my $client = $host->stream('/');
    $host->until(sub { $last{is_over} && ($client->ended || ($client->status // 0) == 204) },
        'the end of the response');
    return $client;
}

sub octets { utf8::encode(my $octets = $_[0]); return $octets }

subtest 'events go along: type, data, a changed id, retry' => sub {
    my $client = relayed(T::Scripted->new(stream(octets(
              ": thinking\n\ndata: one\n\nid: 1\nevent: price\ndata: {\"é\":1}\n\ndata: a\ndata:  b\n\n"
            . "id: 2\nretry: 700\ndata\n\nretry: 9999999999999999\n\ndata: Ã©\n\nid\ndata: none\n\ndata: [DONE]\n\ndata: unfinished"
    ))));
    is $client->status,                 200,                 'a stream';
    is $client->header('content-type'), 'text/event-stream', 'of events';
    is scalar $client->body,
        octets("data: one\n\nevent: price\nid: 1\ndata: {\"é\":1}\n\ndata: a\ndata:  b\n\n"
            . "id: 2\nretry: 700\ndata: \n\ndata: Ã©\n\nid: \ndata: none\n\ndata: [DONE]\n\n"), 'each as it came';
    is $last{error}, undef, 'no failure';
};

subtest 'a callback chooses' => sub {
    my %answer = (
        keep   => sub { $_[0] },
        drop   => sub { undef },
        change => sub { return { data => { was => $_[0]->data }, event => 'x' } },
        later  => sub { Future->done($_[0]) },
    );
    my $client = relayed(T::Scripted->new(stream(join '', map { "data: $_\n\n" } qw(keep drop change later))),
        callback => sub { $answer{ $_[0]->data }->($_[0]) });
    is scalar $client->body, "data: keep\n\nevent: x\ndata: {\"was\":\"change\"}\n\ndata: later\n\n", 'as it says';
};

subtest 'an upstream that refuses: its own status and body' => sub {
    my $json = '{"error":{"message":"slow down"}}';
    for my $status (400, 401, 429, 503) {
        my $client = relayed(
            T::Scripted->new(answer($status, $json, 'content-type: application/json', 'retry-after: 7', 'x-secret: 1'))
        );
        is $client->status, $status, $status;
        is [map { $client->header($_) } qw(content-type retry-after x-secret content-length)],
            ['application/json', 7, undef, length $json], 'what belongs to it, and nothing else';
        is scalar $client->body,                       $json,               'its body';
        is [$last{error}->kind, $last{error}->status], ['status', $status], 'the error';
    }
};

subtest 'an upstream that gives no answer that could be passed on' => sub {
    my $refused = 'http://127.0.0.1:1/';
    my @case = (
        ['nobody there', $refused, 502, 'the upstream cannot be reached', 'connect'],
        [
            'a page', T::Scripted->new(answer(200, 'x', 'content-type: text/html')),
            502,      'the upstream gave no stream',
            'content_type'
        ],
        [
            'octets', T::Scripted->new(answer(500, "\xFF", 'content-type: text/plain')),
            500, 'the upstream refused the request', 'status'
        ],
        [
            'an image', T::Scripted->new(answer(500, 'GIF', 'content-type: image/gif')),
            500, 'the upstream refused the request', 'status'
        ],
        [
            'compressed', T::Scripted->new(answer(500, 'x', 'content-type: application/json', 'content-encoding: br')),
            500, 'the upstream refused the request', 'status'
        ],
        [
            'too long', T::Scripted->new(answer(500, 'x' x 70_000, 'content-type: text/plain')),
            500, 'the upstream refused the request', 'status'
        ],
        [
            'no status', T::Scripted->new(answer(999, 'x', 'content-type: text/plain')),
            502, 'the upstream refused the request', 'status'
        ],
        [
            'no place', T::Scripted->new(answer(305, 'x', 'content-type: text/plain')),
            502, 'the upstream refused the request', 'status'
        ],
        ['no HTTP', T::Scripted->new("hello\r\n\r\n"), 502, 'the upstream gave no stream', 'http'],
        [
            'no head in time', T::Scripted->new({ hold => 1 }), 504, 'the upstream did not answer in time',
            'head_timeout'
        ],
    );
    for my $case (@case) {
        my ($name, $upstream, $status, $message, $kind) = @$case;
        my $client = relayed($upstream, client => [head_timeout => 0.3], relay => [shape => 'openai']);
        is $client->status,                 $status,            $name;
        is $client->header('content-type'), 'application/json', 'JSON';
        is decode_json($client->body),
            { error => { code => $kind, message => $message, param => undef, type => 'upstream_error' } },
            'in our words';
        is $last{error}->kind, $kind, 'the error';
    }
};

subtest 'a GET, which the client would try again: refused at once, too' => sub {
    my $client = relayed('http://127.0.0.1:1/', client => [method => 'GET', body => undef]);
    is [$client->status, scalar $client->body], [502, '{"error":{"message":"the upstream cannot be reached"}}'],
        'refused';
};

subtest 'a status that the client may try again' => sub {
    my $upstream = T::Scripted->new(answer(503, '', 'retry-after: 0'), stream("data: at last\n\n"));
    my $client = relayed($upstream, client => [retry_on => [503], retry => 100]);
    is [$client->status, scalar $client->body], [200, "data: at last\n\n"], 'is';
};

subtest '204 from upstream is one of ours' => sub {
    my $client = relayed(T::Scripted->new(T::Scripted::NO_CONTENT));
    is [$client->status, $last{error}], [204, undef], '204';
};

# A stream that says how long it is and is shorter.
my $broken = answer(200, "data: one\n\n", 'content-type: text/event-stream', 'content-length: 100');
my $message = 'the connection to the upstream broke';
my %shape = (
    plain  => ['upstream_error', { error => { message => $message } }],
    openai =>
        [undef, { error => { code => 'network', message => $message, param => undef, type => 'upstream_error' } }],
    anthropic => ['error', { type => 'error', error => { type => 'api_error', message => $message } }],
);
subtest 'an upstream that breaks in the stream: an event' => sub {
    for my $name (sort keys %shape) {
        my $client = relayed(T::Scripted->new($broken), relay => [shape => $name]);
        my ($type, $json) = $client->body =~ /\Adata: one\n\n(?:event: (\w+)\n)?data: (.*)\n\n\z/;
        is [$type, decode_json($json)], $shape{$name}, $name;
        is $last{error}->kind,          'network',     'the error';
    }
    my $client = relayed(T::Scripted->new($broken),
        relay => [error_event => 'oh', shape => sub { return { said => $_[0], kind => $_[1]->kind } }]);
    like scalar $client->body, qr/\Adata: one\n\nevent: oh\ndata: \{.*"kind":"network".*\}\n\n\z/,
        'of another name and shape';
};

subtest 'a client that leaves cancels the upstream' => sub {
    my $upstream = T::Scripted->new({ octets => stream("data: one\n\n"), hold => 1 });
    %last = ();
    my $host = T::Host->new(relaying($upstream));
    my $client = $host->stream('/');
    ok $host->until(sub { $client->body eq "data: one\n\n" }, 'the event'), 'it streams';
    $client->close;
    ok $host->until(sub { $upstream->left && $last{is_over} }, 'the end upstream'), 'the upstream is told';
    is $last{error}, undef, 'and that is no failure';
};

subtest 'before the stream, too' => sub {
    my $upstream = T::Scripted->new({ hold => 1 });
    %last = ();
    my $host = T::Host->new(relaying($upstream));
    my $client = $host->stream('/');
    ok $host->until(sub { scalar $upstream->requests }, 'the request'), 'it has asked';
    $client->close;
    ok $host->until(sub { $upstream->left && $last{is_over} }, 'the end upstream'), 'the upstream is told';
};

subtest 'unless it is to be read to its end' => sub {
    my @seen;
    my $upstream = T::Scripted->new({ octets => stream(join '', map { "data: $_\n\n" } 1 .. 5) });
    %last = ();
    my ($host, $client);
    $host = T::Host->new(relaying(
        $upstream,
        relay    => [on_disconnect => 'detach'],
        callback => sub {
            push @seen, $_[0]->data;
            # Gone after the first: the rest is for the application.
            $client->close if @seen == 1;
            return PAGI::SSE::Loop->sleep(0.05)->then_done($_[0]);
        }
    ));
    $client = $host->stream('/');
    ok $host->until(sub { $last{is_over} }, 'the end'), 'it ends';
    is \@seen,       [1 .. 5], 'the callback had all';
    is $last{error}, undef,    'no failure';
};

subtest 'comments keep our stream alive while the upstream thinks' => sub {
    my $upstream = T::Scripted->new({ octets => stream(''), hold => 1 });
    my $host = T::Host->new(relaying($upstream, relay => [keepalive => 0.1]));
    my $client = $host->stream('/');
    ok $host->until(sub { $client->body =~ /\A(?::[^\n]*\n\n){3}/ }, 'comments'), 'comments' or diag $client->body;
    $client->close;
    $host->until(sub { $upstream->left }, 'the end');
};

subtest 'an upstream that does not answer for long: our stream begins, and its failure is an event' => sub {
    my $client = relayed(
        T::Scripted->new({ hold => 1 }),
        client => [head_timeout => 1],
        relay  => [start_after  => 0.1]
    );
    is $client->status, 200, 'begun';
    is scalar $client->body,
        qq(event: upstream_error\ndata: {"error":{"message":"the upstream did not answer in time"}}\n\n), 'an event';
};

subtest 'a slow client holds the upstream back' => sub {
    my $upstream = T::Scripted->new({ octets => stream(''), flood => 'data: ' . 'x' x 1000 . "\n\n" });
    my $host = T::Host->new(relaying($upstream));
    my $client = $host->stream('/');
    $host->until(sub { length $client->body > 10_000 }, 'some events');
    $client->{paused} = 1;
    # The kernel's buffers, ours, and the queue: then nothing more is taken.
    my ($taken, $calm) = (-1, 0);
    $host->until(
        sub {
            my $now = $upstream->flooded;
            $calm = $now == $taken ? $calm + 1 : 0;
            $taken = $now;
            return $calm > 40;
        },
        'the flood to stop'
    );
    ok $calm > 40,                'it stops';
    ok $taken < 64 * 1024 * 1024, 'soon enough' or diag $taken;
    $client->{paused} = 0;
    ok $host->until(sub { $upstream->flooded > $taken + 100_000 }, 'more'), 'and goes on';
    $client->close;
    $host->until(sub { $upstream->left }, 'the end');
};

subtest 'a callback that dies ends both sides' => sub {
    my $upstream = T::Scripted->new({ octets => stream("data: one\n\n"), hold => 1 });
    my $host = T::Host->new(relaying($upstream, callback => sub { die "oh\n" }));
    my $client = $host->stream('/');
    ok $host->until(sub { $client->eof && $upstream->left }, 'the end'), 'both end';
    ok !$client->ended, 'our client does not take the part for the whole';
    is [grep { /oh/ } $host->log], ["error: the application died (GET /): oh"], 'and the error comes out';
};

subtest 'a server that is not ours' => sub {
    my $upstream = T::Scripted->new({ octets => stream("data: one\n\n"), hold => 1 });
    my $peer = peer();
    my $client = PAGI::SSE::Client->new(url => $upstream->url, proxy => 0);
    my $over = PAGI::SSE::Relay->new($peer->sse, keepalive => 0)->from($client);
    ok wait_until { PAGI::SSE::Loop->sleep(0.01)->get; "@{ $peer->data }" eq 'one' }, 'it streams';
    $peer->disconnect('client_closed');
    is $over->get, undef, 'the end is no failure';
    ok wait_until { $upstream->left }, 'the upstream is told';
};

subtest 'what it cannot do' => sub {
    my $sse = PAGI::SSE->new(scope(), sub { Future->new }, sub { Future->done });
    for my $case (
        [[undef],                'needs the PAGI::SSE object of a connection, not undef'],
        [[$sse, 'x'],            qr/name => value pairs/],
        [[$sse, colour => 1],    qr/colour/],
        [[$sse, shape => 'xml'], q{'shape' must be one of anthropic, openai, plain, or a code reference, not 'xml'}],
        [[$sse, on_disconnect => 'stay'], q{'on_disconnect' must be cancel or detach, not 'stay'}],
        [[$sse, keepalive => -1],         qr/\A'keepalive': .*-1/],
        [[$sse, start_after => 'soon'],   qr/\A'start_after': .*soon/],
        )
    {
        my ($arguments, $why) = @$case;
        my $line = __LINE__ + 1;
        my $error = dies { PAGI::SSE::Relay->new(@$arguments) };
        my ($said) = $error =~ /\APAGI::SSE::Relay->new: (.*) at \Q${\__FILE__}\E line $line\.\n\z/ or diag $error;
        ref $why ? like($said, $why) : is($said, $why);
    }
    my $relay = PAGI::SSE::Relay->new($sse);
    like failure_of($relay->from('x')), qr/\APAGI::SSE::Relay->from: needs a PAGI::SSE::Client, not 'x' at /,
        'no client';
};

%last = ();
is PAGI::SSE::FFI::handle_count(), $base, 'nothing is left behind';

done_testing;
