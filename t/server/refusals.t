use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Client;
use T::Host;
use T::Serve;
use Test2::V0;
use File::Temp ();
use Future;
use Future::AsyncAwait;
use IO::Socket::INET;
use Time::HiRes qw(time);

# Answers that come from the server rather than from the application: that they
# arrive, and that who runs it is told, in the access log and in the log, as
# often as is good for him.

my @lines;
my @KINDS = (['http', ''], ['sse', "Accept: text/event-stream\r\n"]);

sub host {
    my ($code, %option) = @_;
    @lines = ();
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            await $code->($scope, $receive, $send);
        },
        access_log => sub { push @lines, $_[0] },
        %option
    );
}

# Reads the whole body, then answers.
async sub reader {
    my ($scope, $receive, $send) = @_;
    while (1) {
        my $event = await $receive->();
        return if $event->{type} =~ /disconnect/;
        last if !$event->{more};
    }
    await answer($scope, $send);
}

async sub answer {
    my ($scope, $send, %start) = @_;
    my $prefix = $scope->{type} eq 'sse' ? 'sse.http' : 'http';
    await $send->({ type => "$prefix.response.start", status => 200, %start });
    await $send->({ type => "$prefix.response.body", body => 'ok' });
}

sub refusal {
    my ($status, $why) = @_;
    return
          "HTTP/1.1 $status\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: "
        . length($why)
        . "\r\n\r\n$why";
}

sub raw { return $_[0]->raw =~ s/^date: [^\r]*\r\n//mr }

# Without client, time and seconds.
sub short {
    return map { s/\A127\.0\.0\.1 - - \[[^]]+\] //r =~ s/ \d+\.\d{3} (\S+)\z/ $1/r } @_;
}

# Writes all of it, as simple clients do, before it reads.
sub feed {
    my ($host, $client, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $end = time + 20;
    while (length $bytes && time < $end) {
        my $n = syswrite $client->{socket}, $bytes, 65_536;
        if    ($n)         { substr $bytes, 0, $n, '' }
        elsif ($!{EAGAIN}) { $host->{server}->dispatch; select undef, undef, undef, 0.001 }
        else               { last }
    }
    return length $bytes;
}

subtest 'a 413 arrives whole though the client sends all of its body first' => sub {
    my $text = 'the request body is too large';
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        my $host = host(\&reader, max_body => 100_000);
        my $body = 'x' x 5_000_000;
        for my $case (
            ['by its length', 'Content-Length: ' . length $body, $body],
            ['in chunks',     'Transfer-Encoding: chunked',      sprintf("%x\r\n%s\r\n0\r\n\r\n", length $body, $body)],
            )
        {
            my ($what, $field, $bytes) = @$case;
            @lines = ();
            my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\n$accept$field\r\n\r\n");
            is feed($host, $client, $bytes), 0, "$what: all is taken ($name)";
            $host->until(sub { $client->eof && @lines }, 'the end');
            is raw($client),    refusal('413 Payload Too Large', $text);
            is [short(@lines)], [qq{"POST / HTTP/1.1" 413 29 "-" "-" body_too_large}];
            like [grep { /too large/ } $host->log], [qr/\Awarning: $text \(413 to 127\.0\.0\.1:\d+\)\z/],
                'the operator is told';
            @{ $host->{clients} } = ();
            $host->{log} = [];
            $host = host(\&reader, max_body => 100_000);
        }
    }
};

subtest 'a client that does not stop sending is dropped' => sub {
    my $host = host(\&reader, max_body => 10);
    my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
    my $piece = 'x' x 1_000_000;
    my $sent = 0;
    while ($sent < 500 && !feed($host, $client, $piece)) { $sent++ }
    ok $sent > 1 && $sent < 300, 'after a while' or diag $sent;
};

subtest 'a body that trickles in has a time in all' => sub {
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        for my $field ('Content-Length: 1000', 'Transfer-Encoding: chunked') {
            my $host = host(\&reader, body_timeout => 0.3);
            my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\n$accept$field\r\n\r\n");
            my $from = time;
            my $next = 0;
            $host->until(
                sub {
                    # A byte now and then, so that no pause is long.
                    local $SIG{PIPE} = 'IGNORE';
                    if (time > $next && !$client->eof) {
                        syswrite $client->{socket}, $field =~ /chunked/ ? "1\r\nx\r\n" : 'x';
                        $next = time + 0.02;
                    }
                    return $client->eof && @lines;
                },
                'the end'
            );
            ok time - $from >= 0.3, 'not before';
            is raw($client), refusal('408 Request Timeout', 'a request body did not come in time'), "$field ($name)";
            is [short(@lines)], ['"POST / HTTP/1.1" 408 35 "-" "-" client_timeout'];
            like [$host->log], [qr/\Awarning: a request body did not come in time \(408 to /];
        }
    }
};

subtest 'the time in which the application does not read is not the client\'s' => sub {
    my $read = Future->new;
    my $host = host(async sub { await $read; await reader(@_) }, body_timeout => 0.3, write_timeout => 0.3);
    my $client = $host->connect("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 600000\r\n\r\n");
    is feed($host, $client, 'x' x 600_000), 0;
    my $later = time + 0.7;
    $host->until(sub { time > $later }, 'a while');
    is $client->raw, '', 'no answer before';
    $read->done;
    $host->until(sub { $client->eof }, 'the answer');
    is raw($client), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
};

subtest 'a head that trickles in is answered, an idle connection is just closed' => sub {
    my $host = host(\&reader, head_timeout => 0.3, idle_timeout => 0.3);
    my @clients = map { $host->connect($_) } ("GET /a?b HTTP/1.1\r\nUser-Agent: slow\r\nX: ") x 3;
    my $idle = $host->connect;
    my $again = $host->connect("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    $host->until(
        sub {
            !grep { !$_->eof } @clients, $idle, $again;
        },
        'the ends'
    );
    is raw($_),     refusal('408 Request Timeout', 'a request head did not come in time') for @clients;
    is $idle->raw,  '',                                               'nothing was asked';
    is raw($again), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 'nor after an answer';
    $host->until(sub { @lines == 4 }, 'the lines');
    is [sort(short(@lines))],
        ['"GET / HTTP/1.1" 200 2 "-" "-" -', ('"GET /a?b HTTP/1.1" 408 35 "-" "slow" client_timeout') x 3];
    $host->until(sub { $host->log == 2 }, 'the count');
    like [$host->log],
        [
        qr/\Awarning: a request head did not come in time \(408 to 127\.0\.0\.1:\d+\)\z/,
        qr/\Awarning: a request head did not come in time: 2 more in the last second\z/,
        ],
        'one line of a kind, and their number';
};

subtest 'TLS and HTTP/2 on this port are named, once, and counted' => sub {
    my %hello = (
        'TLS on a port that speaks plain HTTP'  => ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . "\0" x 32, 400],
        'HTTP/2 on a port that speaks HTTP/1.1' => ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",       505],
    );
    for my $why (sort keys %hello) {
        my ($bytes, $status) = @{ $hello{$why} };
        my $host = host(\&reader);
        my @clients = map { $host->connect($bytes) } 1 .. 5;
        $host->until(
            sub {
                5 == grep { $_->eof } @clients;
            },
            'the ends'
        );
        is $clients[0]->status, $status, $why;
        $host->until(sub { $host->log == 2 && @lines == 5 }, 'the log');
        like [$host->log], [qr/\Awarning: \Q$why\E \($status to 127\.0\.0\.1:\d+\)\z/, qr/\Awarning: \Q$why\E: 4 more/];
        unlike "@lines", qr/[\x00-\x1f\x7f-\xff]/, 'the lines are text';
    }
};

subtest 'over a Unix socket the client has no address' => sub {
    require IO::Socket::UNIX;
    my $dir = File::Temp->newdir;
    my $host = host(\&reader, listen => "unix:$dir/socket");
    my $socket = IO::Socket::UNIX->new(Peer => "$dir/socket") or die $!;
    syswrite $socket, "GET / HTTP/1.1\r\n\r\n";
    $host->until(sub { @lines && $host->log }, 'the logs');
    like \@lines, [qr/\A- - - \[[^]]+\] "GET \/ HTTP\/1\.1" 400 13 "-" "-" \d+\.\d{3} protocol_error\z/];
    is [$host->log], ['warning: no Host field (400 to the Unix socket)'];
    is do { local $/; scalar(<$socket>) =~ s/^date: [^\r]*\r\n//mr }, refusal('400 Bad Request', 'no Host field');
};

subtest 'max_connections reached is said once, as long as it lasts' => sub {
    my $host = host(async sub { await $_[2]->({ type => 'sse.start' }); await Future->new }, max_connections => 2);
    my @open = map { $host->stream } 1 .. 5;
    $host->until(
        sub {
            2 == grep { $_->head } @open;
        },
        'two streams'
    );
    $host->until(sub { $host->log }, 'the line');
    $open[0]->close;
    $host->until(
        sub {
            2 == grep { $_->head } @open[1 .. 4];
        },
        'the next'
    );
    is [$host->log], ['warning: max_connections is reached: 2 are open, others wait'];
    $host->server->stop(0)->get;
};

subtest 'max_connections is not said to be reached while an idle connection makes room at once' => sub {
    my $host = host(\&reader, max_connections => 2);
    for my $path (map { "/$_" } 0 .. 5) {
        my $client = $host->connect("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
        $host->until(
            sub {
                grep { / $path / } @lines;
            },
            "the answer to $path"
        );
        push @{ $host->{kept} }, $client;
    }
    is [$host->log], [];
    $host->server->stop(0)->get;
};

subtest 'what a stop turns away has its line, too' => sub {
    my $hold = Future->new;
    my $host = host(async sub { await $hold; await answer(@_[0, 2]) });
    my @early = $host->crowd;
    my @late = map { $host->connect("GET /late HTTP/1.1\r\nHost: x\r\n$_->[1]\r\n") } @KINDS;
    my $stopped = $host->server->stop(10);
    $host->until(
        sub {
            2 == grep { $_->eof } @late;
        },
        'the answers'
    );
    is raw($late[0]), refusal('503 Service Unavailable', 'the server is stopping');
    is raw($late[1]),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    $hold->done;
    $host->until(sub { $stopped->is_ready }, 'the stop');
    is [sort(grep { m{ /late } } short(@lines))],
        ['"GET /late HTTP/1.1" 200 0 "-" "-" server_shutdown', '"GET /late HTTP/1.1" 503 22 "-" "-" server_shutdown',];
};

subtest 'a failed accept is said once a second at most' => sub {
    my $dir = File::Temp->newdir;
    open my $out, '>', "$dir/app.pl" or die $!;
    print {$out} <<'APP';
use Future::AsyncAwait;
use Future;
async sub { die if $_[0]{type} eq 'lifespan'; await $_[2]->({ type => 'sse.start' }); await Future->new };
APP
    close $out or die $!;
    my $server = T::Serve->program(
        'sh',    '-c', 'ulimit -n 40; exec "$@"',
        'sh',    $^X,  T::Serve->path(qw(perl bin pagi-sse)),
        'serve', '--shutdown-timeout', 1, '--listen', '127.0.0.1:0', "$dir/app.pl"
    );
    # Whoever runs it has the descriptors he needs once it serves.
    my $first = T::Client->stream(port => $server->port);
    is $first->status, 200;
    my $from = time;
    my @clients = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die } 1 .. 60;
    ok $server->wait_for_log(qr/accept failed: \d+ more in the last second/), 'the count';
    my $seconds = time - $from;
    my @said = $server->log =~ /^(.*accept failed.*)$/mg;
    is $said[0], 'PAGI::SSE::Server: warning: accept failed: Too many open files';
    ok @said <= $seconds + 2, 'one a second' or diag scalar(@said), " lines in $seconds s";
    close $_ for @clients;
    is $server->stop, 0, 'it goes on, and stops';
};

subtest 'a line feed begins no line of a log' => sub {
    my $forged = "x\nPAGI::SSE::Server: error: forged\r\e[2J";
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            if ($scope->{type} eq 'sse') {
                await $send->({ type => 'sse.start' });
                await $send->({ type => 'sse.close', reason => $forged });
                return;
            }
            die "$forged\n";
        }
    );
    my @clients = ($host->stream, $host->get("/a\xc2\x9b?b"));
    $host->until(sub { @lines == 2 && $host->log }, 'the logs');
    is scalar(grep { /[\x00-\x1f\x7f]/ } @lines, $host->log), 0;
    like [sort map { s/\A.*?"/"/r } @lines],
        [
        qr{\A"GET / HTTP/1\.1" 200 \d+ "-" "-" \d+\.\d{3} x\\nPAGI::SSE::Server: error: forged\\r\\u\{1b\}\[2J\z},
        qr{\A"GET /a\\xC2\\x9B\?b HTTP/1\.1" 500 22 "-" "-" \d+\.\d{3} -\z}
        ];
    like [$host->log], [qr/\Aerror: .*x\\nPAGI::SSE::Server: error: forged\\r\\x1B\[2J/];
    my $warned = '';
    local $SIG{__WARN__} = sub { $warned .= $_[0] };
    delete $host->server->{on_log};
    $host->server->log(error => $forged);
    is $warned, 'PAGI::SSE::Server: error: x\\nPAGI::SSE::Server: error: forged\\r\\x1B[2J' . "\n";
};

subtest 'an application whose lifespan dies after it has begun is in the log, and is served' => sub {
    for my $case (
        [sub { die "no such scope\n" },       []],
        [async sub { die "no such scope\n" }, []],
        [async sub { return },                []],
        [
            async sub { await $_[1]->(); die "no db\n" },
            ["error: the application's lifespan died after lifespan.startup: no db"]
        ],
        [
            async sub {
                await $_[1]->();
                await $_[2]->({ type => 'lifespan.startup.complete' });
                die "later\n";
            },
            ["error: the application's lifespan died: later"]
        ],
        )
    {
        my ($lifespan, $log) = @$case;
        my $host = T::Host->new(sub {
            return $_[0]{type} eq 'lifespan' ? $lifespan->(@_) : answer(@_[0, 2]);
        });
        is [$host->log], $log;
        my $client = $host->get('/');
        $host->until(sub { $client->ended }, 'an answer');
        is $client->status, 200;
    }
};

subtest 'statuses without a body have none' => sub {
    my %length = (
        204 => '',
        205 => "content-length: 0\r\n",
        304 => '',
    );
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        for my $status (sort keys %length) {
            for my $headers ([], [['content-length', '2']], [['transfer-encoding', 'chunked']]) {
                my $host = host(async sub { await answer(@_[0, 2], status => $status, headers => $headers) });
                my $get = "GET / HTTP/1.1\r\nHost: h\r\n$accept\r\n";
                my $client = $host->connect("$get$get");
                my $what = "$status with " . (@$headers ? $headers->[0][0] : 'no field') . " ($name)";
                $host->until(sub { @lines == 2 }, 'the lines');
                my $text = { 204 => 'No Content', 205 => 'Reset Content', 304 => 'Not Modified' }->{$status};
                my $want = "HTTP/1.1 $status $text\r\n$length{$status}\r\n" x 2;
                $host->until(sub { length($client->raw =~ s/^date: [^\r]*\r\n//mgr) >= length $want }, 'the answers');
                is $client->raw =~ s/^date: [^\r]*\r\n//mgr, $want, $what;
                is [short(@lines)], [(qq{"GET / HTTP/1.1" $status 0 "-" "-" -}) x 2];
            }
        }
    }
};

done_testing;
