use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;

# A server whose application is $code, for sse scopes only.
sub host {
    my ($code, %option) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "sse only\n" if $scope->{type} ne 'sse';
            await $code->($scope, $receive, $send);
        },
        %option
    );
}

my $HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    . "x-accel-buffering: no\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

sub head { return $_[0]->head =~ s/^date: [^\r]*\r\n//mr }

subtest 'raw events become exact bytes' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.start' });
            await $send->({ type => 'sse.send',    data    => "a\nb\r\nc\rd" });
            await $send->({ type => 'sse.send',    data    => '' });
            await $send->({ type => 'sse.send',    data    => ' x', event => 'e', id => '1', retry => 500 });
            await $send->({ type => 'sse.send',    data    => 'x',  id    => '' });
            await $send->({ type => 'sse.comment', comment => "hi\n:there\n" });
            await $send->({ type => 'sse.comment', comment => '' });
            await $send->({ type => 'sse.send',    data    => "caf\x{e9} \x{263a}" });
            await $send->({ type => 'sse.send',    data    => "caf\xC3\xA9" });
            await $send->({ type => 'sse.close',   reason  => 'enough' });
            await $send->({ type => 'sse.close' });
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->eof }, 'the end');
    is head($client), $HEAD;
    my ($body, $ended) = $client->body;
    ok $ended, 'the last chunk came';
    is $body,
          "data: a\ndata: b\ndata: c\ndata: d\n\n"
        . "data: \n\n"
        . "event: e\nid: 1\nretry: 500\ndata:  x\n\n"
        . "id: \ndata: x\n\n"
        . ":hi\n:there\n:\n\n" . ":\n\n"
        . "data: caf\xC3\xA9 \xE2\x98\xBA\n\n"
        . "data: caf\xC3\xA9\n\n";
};

subtest 'the application may set the head; what frames the message is ours' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({
                type    => 'sse.start',
                status  => 201,
                headers => [
                    ['Content-Type',      'text/event-stream; charset=utf-8'],
                    ['Cache-Control',     'no-store'],
                    ['X-Accel-Buffering', 'yes'],
                    ['Connection',        'keep-alive'],
                    ['Content-Length',    5],
                ],
            });
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->ended }, 'the end');
    is head($client), "HTTP/1.1 201 Created\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        . "cache-control: no-store\r\nx-accel-buffering: yes\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
};

subtest 'HTTP/1.0 gets a stream without chunks' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            is $scope->{http_version}, '1.0';
            await $send->({ type => 'sse.start' });
            await $send->({ type => 'sse.send', data => 'x' });
        }
    );
    my $client = $host->connect("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    $host->until(sub { $client->eof }, 'the end');
    is substr($client->raw, length $client->head), "data: x\n\n";
    unlike $client->head, qr/chunked/;
};

subtest 'HEAD of a stream is its head, and then the end' => sub {
    my $reason;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.start' });
            await $send->({ type => 'sse.send', data => 'x' });
            await $receive->();
            $reason = (await $receive->())->{reason};
        }
    );
    my $client = $host->connect("HEAD / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    $host->until(sub { $client->eof && $reason }, 'the end');
    is [$client->raw, $reason], [$client->head, 'app_closed'];
};

subtest 'invalid sends fail, say why, and write nothing' => sub {
    my @failures;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            my $try = sub { my $f = $send->($_[0]); push @failures, $f->is_failed ? ($f->failure)[0] : undef };
            $try->($_)
                for (
                { type => 'sse.send',    data    => 'early' },
                { type => 'sse.comment', comment => 'early' },
                { type => 'sse.start',   headers => [['x', "a\nb"]] },
                { type => 'sse.start',   status  => 700 },
                { type => 'sse.start',   status  => 65_736 },
                { type => 'sse.nonsense' },
                );
            await $send->({ type => 'sse.start' });
            $try->($_)
                for (
                { type => 'sse.start' },
                { type => 'sse.http.response.start', status => 404 },
                { type => 'sse.send' },
                { type => 'sse.send',      data     => 'x', event => "a\nb" },
                { type => 'sse.send',      data     => 'x', id    => "a\rb" },
                { type => 'sse.send',      data     => 'x', id    => "a\0b" },
                { type => 'sse.send',      data     => 'x', retry => -1 },
                { type => 'sse.send',      data     => 'x', retry => '1.5' },
                { type => 'sse.keepalive', interval => 'often' },
                { type => 'sse.keepalive', interval => -1 },
                );
            await $send->({ type => 'sse.close' });
            $try->({ type => 'sse.send', data => 'late' });
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->eof }, 'the end');
    is scalar $client->body, '', 'nothing was written';
    is \@failures,
        [
        match qr/sse\.send before sse\.start/,
        match qr/sse\.comment before sse\.start/,
        match qr/the value of header '[^']+' must be octets without CR, LF, NUL and other controls, got /,
        match qr/\Qsse.start: status must be a whole number from 200 to 599, got '700'/,
        match qr/status must be a whole number from 200 to 599, got '65736'/,
        match qr/Unknown event type 'sse\.nonsense' for a scope of type 'sse'/,
        match qr/the stream has already started/,
        match qr/the event stream has already started/,
        match qr/sse\.send requires 'data'/,
        match qr/event type must not contain CR or LF/,
        match qr/id must not contain CR or LF/,
        match qr/id must not contain NUL/,
        match qr/retry must be a number of milliseconds from 0 to 999999999999999, got '-1'/,
        match qr/'retry' must be a whole number of milliseconds, got 1\.5 /,
        match qr/the interval must be a number of seconds from 0 to 86400, got 'often'/,
        match qr/the interval must be a number of seconds from 0 to 86400, got '-1'/,
        match qr/the connection is closed/,
        ];
};

subtest 'a declined stream is an ordinary response, and no disconnect follows' => sub {
    my $after;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->(
                { type => 'sse.http.response.start', status => 403, headers => [['content-type', 'text/plain']] });
            await $send->({ type => 'sse.http.response.body', body => 'no' });
            $after = ($send->({ type => 'sse.start' })->failure)[0];
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->ended }, 'the answer');
    is [$client->status, $client->header('content-type'), scalar $client->body], [403, 'text/plain', 'no'];
    like $after, qr/ordinary response was already chosen|closed/;
};

subtest '$receive after the application\'s own close gives the disconnect with its reason' => sub {
    my @events;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.start' });
            push @events, await $receive->();
            my $waiting = $receive->();
            await $send->({ type => 'sse.close', reason => 'x-enough' });
            push @events, await $waiting;
            push @events, await $receive->();
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->eof && @events == 3 }, 'the events');
    my $gone = { type => 'sse.disconnect', reason => 'x-enough' };
    is \@events, [{ type => 'sse.request', body => '', more => 0 }, $gone, $gone];
};

subtest '$receive after a decline waits while the application runs, and is over with it' => sub {
    my $over = Future->new;
    my $waiting;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.http.response.start', status => 403 });
            await $send->({ type => 'sse.http.response.body',  body   => 'no' });
            await $receive->();
            $waiting = $receive->();
            await $over;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->ended && PAGI::SSE::FFI::server_busy($host->server->{handle}) <= 1 }, 'the answer');
    $client->close;
    $host->until(sub { !PAGI::SSE::FFI::server_busy($host->server->{handle}) }, 'its end');
    $host->server->dispatch;
    ok !$waiting->is_ready;
    $over->done;
    $host->until(sub { !%{ $host->server->{exchanges} } }, 'the end of the application');
    is $waiting->result, { type => 'sse.disconnect', reason => 'app_closed' };
};

subtest 'a $receive that was cancelled leaves nothing' => sub {
    my ($receive, $exchange);
    my $host = host(
        async sub {
            my $scope = $_[0];
            $receive = $_[1];
            $exchange = $scope->{'pagi.transport'};
            await $receive->();
            await Future->new;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $receive }, 'the request');
    $receive->()->cancel for 1 .. 100;
    my $last = $receive->();
    is scalar @{ $exchange->{receiving} }, 1;
    $client->close;
    $host->until(sub { $last->is_ready }, 'the disconnect');
    is $last->result->{reason}, 'client_closed';
};

subtest 'neither started nor declined is a 500 and a log line; closed before the start an empty stream' => sub {
    my $host = host(async sub { return });
    my $client = $host->stream('/quiet');
    $host->until(sub { $client->ended }, 'the answer');
    is $client->status, 500;
    like [$host->log]->[-1], qr{^error: the application returned without an answer \(GET /quiet\)};
    $host = host(async sub { await $_[2]->({ type => 'sse.close' }) });
    $client = $host->stream;
    $host->until(sub { $client->eof }, 'the answer');
    is [head($client), $client->body], [$HEAD, '', 1];
};

subtest 'a stream follows earlier answers on the connection, a POST body, 100-continue and pipelined bytes' => sub {
    my $body = '';
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            if ($scope->{type} eq 'http') {
                await $send->({ type => 'http.response.start' });
                return await $send->({ type => 'http.response.body', body => 'plain' });
            }
            while (1) {
                my $event = await $receive->();
                $body .= $event->{body};
                last if !$event->{more};
            }
            await $send->({ type => 'sse.start' });
            await $send->({ type => 'sse.send', data => "got $body" });
        }
    );
    my $client = $host->get('/');
    $host->until(sub { $client->ended }, 'the first answer');
    $client->{in} = '';
    $client->write(
        "POST / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    $host->until(sub { $client->raw eq "HTTP/1.1 100 Continue\r\n\r\n" }, '100');
    $client->{in} = '';
    $client->write("helloGET /pipelined HTTP/1.1\r\nHost: x\r\n\r\n");
    $host->until(sub { $client->eof }, 'the stream');
    is scalar $client->body, "data: got hello\n\n";
};

subtest 'a body may be read after the start' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.start' });
            my $n = 0;
            while (1) {
                my $event = await $receive->();
                $n += length $event->{body};
                last if !$event->{more};
            }
            await $send->({ type => 'sse.send', data => $n });
        }
    );
    my $client =
        $host->connect("POST / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 900000\r\n\r\n");
    $host->until(sub { 1 });
    $client->write('x' x 100_000) && $host->until(sub { 1 }) for 1 .. 9;
    $host->until(sub { $client->eof }, 'the stream');
    is scalar $client->body, "data: 900000\n\n";
};

subtest 'keepalive comments come from the library, also before the start and after a change' => sub {
    my $go;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.keepalive', interval => 1000, comment => 'slow' });
            await $send->({ type => 'sse.start' });
            await $send->({ type => 'sse.keepalive', interval => 0.02, comment => "a\ndata: b" });
            await $receive->();
            await $receive->();
        }
    );
    my $client = $host->stream;
    $host->until(sub { ($client->body)[0] =~ tr/a// >= 4 }, 'two comments');
    like scalar $client->body, qr/\A(?::a\n:data: b\n\n){2,}\z/, 'and no line of it is a field';
};

done_testing;
