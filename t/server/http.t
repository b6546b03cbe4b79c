use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;

my ($scope, @received);

async sub app {
    my ($seen, $receive, $send) = @_;
    die "no such scope\n" if $seen->{type} eq 'lifespan';
    $scope = $seen;
    @received = ();
    while (1) {
        my $event = await $receive->();
        push @received, $event;
        last if !$event->{more};
    }
    my $how = { map { split /=/, $_, 2 } split /&/, $seen->{query_string} };
    return if $how->{do} && $how->{do} eq 'nothing';
    die "asked for\n" if $how->{do} && $how->{do} eq 'die';
    await $send->({
        type    => 'http.response.start',
        status  => $how->{status} || 200,
        headers => [['content-type', 'text/plain'], ['x-two', 'a'], ['x-two', 'b']],
    });
    die "late\n" if $how->{do} && $how->{do} eq 'late';
    if ($how->{do} && $how->{do} eq 'later') {
        await $send->({ type => 'http.response.body', body => 'part', more => 1 });
        die "later\n";
    }
    if ($how->{do} && $how->{do} eq 'file') {
        my %part = map { defined $how->{$_} ? ($_ => $how->{$_}) : () } qw(offset length);
        await $send->({ type => 'http.response.body', file => __FILE__, %part });
    }
    elsif ($how->{do} && $how->{do} eq 'fh') {
        open my $fh, '<:raw', __FILE__ or die $!;
        await $send->({ type => 'http.response.body', fh => $fh });
    }
    elsif ($how->{do} && $how->{do} eq 'pieces') {
        for my $n (1 .. 3) {
            await $send->({ type => 'http.response.body', body => "piece $n\n", more => 1 });
        }
        await $send->({ type => 'http.response.body', body => '' });
    }
    else {
        await $send->({ type => 'http.response.body', body => 'ok' });
    }
}

my $host = T::Host->new(\&app, max_body => 1000);
my $file = do { local $/; open my $fh, '<:raw', __FILE__ or die $!; <$fh> };

sub answer {
    my ($client) = @_;
    $host->until(sub { $client->ended || $client->eof }, 'an answer');
    return $client;
}

subtest 'the scope says what the request said' => sub {
    my $client = answer(
        $host->connect(
            "GET /caf%C3%A9/%ff?a=%20b HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nX-A: one\r\nCookie: b=2\r\nX-A: two\r\n\r\n"
        )
    );
    is $client->status,        200;
    is $scope->{type},         'http';
    is $scope->{method},       'GET';
    is $scope->{path},         "/caf\xC3\xA9/\xFF", 'a path that is no UTF-8 stays octets';
    is $scope->{raw_path},     '/caf%C3%A9/%ff';
    is $scope->{query_string}, 'a=%20b';
    is [@$scope{qw(scheme http_version root_path)}], ['http', '1.1', ''];
    is $scope->{headers}, [[host => 'h'], ['x-a' => 'one'], ['x-a' => 'two'], [cookie => 'a=1; b=2']],
        'names in lower case, repeats kept, cookies joined';
    is $scope->{client},        ['127.0.0.1', $client->{socket}->sockport];
    is $scope->{server},        ['127.0.0.1', $host->server->port];
    is $scope->{pagi}{version}, '0.3';
    is \@received,              [{ type => 'http.request', body => '', more => 0 }];
    answer($host->get('/caf%C3%A9'));
    is $scope->{path}, "/caf\x{e9}", 'a path that is UTF-8 is characters';
};

subtest 'a request without header fields, and one with a cookie alone' => sub {
    for my $case (['', []], ["Cookie: a=1\r\n", [[cookie => 'a=1']]]) {
        my ($fields, $headers) = @$case;
        my $client = $host->connect("GET / HTTP/1.0\r\n$fields\r\n");
        $host->until(sub { $client->eof }, 'the answer');
        like $client->raw, qr{\AHTTP/1\.0 200 OK\r\n.*\r\n\r\nok\z}s;
        is $scope->{headers}, $headers;
    }
};

subtest 'an ordinary answer has its length, and the connection serves the next request' => sub {
    my $client = answer($host->get('/'));
    is $client->head =~ s/^date: [^\r]*\r\n//mr,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-two: a\r\nx-two: b\r\ncontent-length: 2\r\n\r\n";
    is scalar $client->body, 'ok';
    $client->{in} = '';
    $client->write("GET /again?status=404 HTTP/1.1\r\nHost: h\r\n\r\n");
    answer($client);
    is [$client->status, scalar $client->body], [404, 'ok'];
};

subtest 'a body in pieces, from a file, from a handle, and a part of a file' => sub {
    is scalar answer($host->get('/?do=pieces'))->body,                 "piece 1\npiece 2\npiece 3\n";
    is scalar answer($host->get('/?do=file'))->body,                   $file;
    is scalar answer($host->get('/?do=fh'))->body,                     $file;
    is scalar answer($host->get('/?do=file&offset=4&length=6'))->body, 'strict';
};

subtest 'HEAD has the head and no body' => sub {
    my $client = $host->connect("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    $host->until(sub { $client->eof }, 'the end');
    is $client->status, 200;
    is $client->raw,    $client->head;
};

subtest 'a request body arrives whole' => sub {
    my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 600\r\n\r\n" . 'a' x 300);
    $host->until(sub { @received && $received[0]{more} }, 'the first piece');
    $client->write('b' x 300);
    answer($client);
    is join('', map { $_->{body} } @received), 'a' x 300 . 'b' x 300;
    is $received[-1]{more},                    0;
    $client = answer(
        $host->connect(
            "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    );
    is join('', map { $_->{body} } @received), 'abcde', 'chunked too';
};

subtest 'a client that expects 100-continue is told to' => sub {
    my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    $host->until(sub { $client->raw eq "HTTP/1.1 100 Continue\r\n\r\n" }, '100');
    $client->{in} = '';
    $client->write('hi');
    is answer($client)->status, 200;
};

subtest 'what is too large or malformed is answered and does not reach the application' => sub {
    for my $case (
        ['a body by its length', "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413],
        [
            'a chunked body',
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3ea\r\n" . 'x' x 1002 . "\r\n0\r\n\r\n",
            413
        ],
        ['a head',     "GET / HTTP/1.1\r\nHost: h\r\nX: " . 'x' x 200_000 . "\r\n\r\n",                  431],
        ['fields',     "GET / HTTP/1.1\r\n" . "x: y\r\n" x 200 . "\r\n",                                 431],
        ['no HTTP',    "NONSENSE\r\n\r\n",                                                               400],
        ['a bad name', "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",                                          400],
        ['WebSocket',  "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 501],
        )
    {
        my ($what, $request, $status) = @$case;
        is answer($host->connect($request))->status, $status, $what;
    }
    is answer($host->get('/'))->status, 200, 'and the server still serves';
};

subtest 'an application that dies or says nothing gives a 500 and a log line' => sub {
    my $before = $host->log;
    is answer($host->get('/?do=die'))->status, 500;
    like [$host->log]->[-1], qr{^error: the application died \(GET /\): asked for};
    is answer($host->get('/?do=nothing'))->status, 500;
    like [$host->log]->[-1], qr/^error: the application returned without an answer \(GET \/\)/;
    is scalar($host->log), $before + 2;
};

subtest 'an application that dies before the first of the body gets a 500, later a cut that the client sees' => sub {
    is answer($host->get('/?do=late'))->status, 500;
    my $client = $host->get('/?do=later');
    $host->until(sub { $client->eof }, 'the end');
    unlike $client->raw, qr/\r\n0\r\n\r\n\z/, 'no end of the body';
};

subtest 'bad sends fail and name what is wrong' => sub {
    my @failures;
    my $bad = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            for my $event (
                'nothing',
                {},
                { type => 'http.nonsense' },
                { type => 'http.response.body',  body    => 'early' },
                { type => 'http.response.start', status  => 99 },
                { type => 'http.response.start', status  => 65_736 },
                { type => 'http.response.start', status  => 'abc' },
                { type => 'http.response.start', status  => "200\n" },
                { type => 'http.response.start', headers => [["bad name", 'x']] },
                { type => 'http.response.start', headers => [['x',        "a\r\nSet-Cookie: b"]] },
                { type => 'http.response.start', headers => [['x',        "a\0"]] },
                { type => 'http.response.start' },
                { type => 'http.response.start' },
                { type => 'http.response.body', body => "\x{263a}" },
                { type => 'http.response.body', body => 'a', file => 'b' },
                { type => 'http.response.body', file => '/no/such/file' },
                )
            {
                my $future = $send->($event);
                push @failures, $future->is_failed ? ($future->failure)[0] : undef;
            }
            await $send->({ type => 'http.response.body', body => 'fine' });
            push @failures, ($send->({ type => 'http.response.body', body => 'more' })->failure)[0];
        }
    );
    my $client = $bad->get('/');
    $bad->until(sub { $client->ended }, 'an answer');
    is [$client->status, scalar $client->body], [200, 'fine'], 'nothing half written';
    is \@failures,
        [
        match qr/an event must be a hashref with a 'type'/,
        match qr/an event must be a hashref with a 'type'/,
        match qr/Unknown event type 'http\.nonsense' for a scope of type 'http'/,
        match qr/no response is in progress/,
        match qr/\Qhttp.response.start: status must be a whole number from 200 to 599, got '99'/,
        match qr/status must be a whole number from 200 to 599, got '65736'/,
        match qr/status must be a whole number from 200 to 599, got 'abc'/,
        match qr/status must be a whole number from 200 to 599, got '200\\x\{A\}'/,
        match qr/a header name must be a token/,
        match qr/the value of header 'x' must be octets without CR, LF, NUL and other controls, got '/,
        match qr/the value of header 'x' must be octets without CR, LF, NUL and other controls, got '/,
        undef,
        match qr/an ordinary response was already chosen/,
        match qr/'body' must be octets, it has wide characters/,
        match qr/give one of 'body', 'file', 'fh', not body and file/,
        match qr{cannot read file '/no/such/file'},
        match qr/no response is in progress/,
        ];
};

subtest 'a client that leaves a request is told to the application' => sub {
    my @events;
    my $gone = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $connection = $scope->{'pagi.connection'};
            $connection->on_disconnect(sub { push @events, "callback $_[0]" });
            push @events, $connection->is_connected ? 'connected' : 'not connected';
            await $receive->();
            my $event = await $receive->();
            push @events, $event, $connection->is_connected ? 'connected' : 'not connected';
        }
    );
    my $client = $gone->get('/');
    $gone->until(sub { @events }, 'the request');
    $client->close;
    $gone->until(sub { @events == 4 }, 'the disconnect');
    my $received = { type => 'http.disconnect', reason => 'client_closed' };
    is \@events, bag { item $_ for 'connected', 'callback client_closed', $received, 'not connected'; end };
};

# A host of http scopes only.
sub http_host {
    my ($code) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} ne 'http';
            await $code->($scope, $receive, $send);
        }
    );
}

async sub respond {
    my ($send, %body) = @_;
    await $send->({ type => 'http.response.start' });
    await $send->({ type => 'http.response.body', body => 'ok', %body });
}

subtest 'a handle that decodes gives octets, or the send fails' => sub {
    require File::Temp;
    my $file = File::Temp->new;
    binmode $file, ':encoding(UTF-8)';
    print {$file} "\x{e9}" x 10, 'END', "\x{263a}";
    close $file or die $!;
    my $error;
    my $host = http_host(
        async sub {
            my ($scope, $receive, $send) = @_;
            open my $fh, '<:encoding(UTF-8)', "$file" or die $!;
            await $send->({ type => 'http.response.start' });
            await $send->({ type => 'http.response.body', fh => $fh, length => 13, more => 1 });
            $error = ($send->({ type => 'http.response.body', fh => $fh, more => 1 })->failure)[0];
            await $send->({ type => 'http.response.body', body => '.' });
        }
    );
    my $client = $host->get('/');
    $host->until(sub { $client->ended }, 'the answer');
    is scalar $client->body, "\xe9" x 10 . 'END.';
    like $error,
        qr{\APAGI::SSE::Server: http.response.body: 'fh' must be octets, it has wide characters at \Q$0\E line [0-9]+\.\n\z};
};

subtest '$receive after the answer gives the disconnect, again and again' => sub {
    my @events;
    my $host = http_host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await respond($send);
            for my $n (1 .. 3) { push @events, await $receive->() }
        }
    );
    my $client = $host->get('/');
    $host->until(sub { @events == 3 }, 'the events');
    my $gone = { type => 'http.disconnect', reason => 'app_closed' };
    is \@events, [{ type => 'http.request', body => '', more => 0 }, $gone, $gone];
};

subtest 'on_complete runs for an answer sent in full, on_disconnect for any other end' => sub {
    my (@events, $connection);
    my $host = http_host(
        async sub {
            my ($scope, $receive, $send) = @_;
            $connection = $scope->{'pagi.connection'};
            $connection->on_complete(sub { push @events, 'complete' });
            $connection->on_disconnect(sub { push @events, "disconnect $_[0]" });
            return if $scope->{path} eq '/nothing';
            await respond($send, more => $scope->{path} eq '/cut');
            await Future->new if $scope->{path} eq '/stay';
        }
    );
    for my $case (
        ['/'        => 'complete',                undef],
        ['/stay'    => 'complete',                undef],
        ['/nothing' => 'complete',                undef],
        ['/cut'     => 'disconnect server_error', 'server_error'],
        )
    {
        my ($path, $event, $reason) = @$case;
        @events = ();
        my $client = $host->get($path);
        $host->until(sub { @events }, 'a callback');
        is [\@events, $connection->disconnect_reason], [[$event], $reason], $path;
        ok !$connection->is_connected;
        $connection->on_complete(sub { push @events, 'late' })->on_disconnect(sub { push @events, "late $_[0]" });
        is $events[1], defined $reason ? "late $reason" : 'late', 'one that comes later runs at once';
        is scalar @events, 2;
    }
};

done_testing;
