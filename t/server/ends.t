use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;
use Time::HiRes qw(time);
use PAGI::SSE;
use PAGI::SSE::Hub;

# How requests and responses end when they do not end as they should.

my $SSE = "Accept: text/event-stream\r\n";

# An application for everything but the lifespan.
sub host {
    my ($app, %option) = @_;
    return T::Host->new(
        async sub {
            die if $_[0]{type} eq 'lifespan';
            await $app->(@_);
        },
        %option
    );
}

sub half_close { shutdown $_[0]{socket}, 1; return $_[0] }

my %LEAVE = (close => sub { $_[0]->close }, reset => sub { $_[0]->reset }, 'half-close' => \&half_close);

subtest 'clients that leave with their bodies unread are noticed, and give their places back' => sub {
    for my $type (qw(http sse)) {
        my ($handlers, %closed) = (0);
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                if ($scope->{path} eq '/') {
                    await $send->({ type => 'http.response.start' });
                    return await $send->({ type => 'http.response.body', body => 'place' });
                }
                $handlers++;
                PAGI::SSE->new($scope, $receive, $send)->on_close(sub { $closed{ $_[1] }++ }) if $type eq 'sse';
                $scope->{'pagi.connection'}->on_disconnect(sub { $closed{ $_[0] }++ }) if $type eq 'http';
                await Future->new;
            },
            max_connections => 6
        );
        my $request = "POST /deaf HTTP/1.1\r\nHost: x\r\n" . ($type eq 'sse' ? $SSE : '');
        for my $how (qw(close reset)) {
            my $before = $handlers;
            my @clients = map { $host->connect } 1 .. 6;
            syswrite $_->{socket}, "${request}Content-Length: 600000\r\n\r\n" . 'x' x 600_000 for @clients;
            $host->until(sub { $handlers == $before + 6 }, 'the requests');
            $LEAVE{$how}->($_) for @clients;
        }
        $host->until(sub { ($closed{client_closed} || 0) == 12 }, 'all ends');
        is \%closed, { client_closed => 12 }, $type;
        my $client = $host->get('/');
        $host->until(sub { $client->ended }, 'the answer');
        is scalar $client->body, 'place';
    }
};

# The events of $receive.
async sub received {
    my ($receive) = @_;
    my @events;
    while (1) {
        push @events, await $receive->();
        return \@events if $events[-1]{type} =~ /disconnect/;
    }
}

my %BROKEN = (
    chunked   => "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    counted   => "Content-Length: 10\r\n\r\nabc",
    malformed => "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
);

subtest 'a request body that breaks off is not complete: $receive' => sub {
    for my $type (qw(http sse)) {
        for my $how (sort keys %LEAVE) {
            for my $body (sort keys %BROKEN) {
                my ($pieces, $events) = ('');
                my $host = host(
                    async sub {
                        my ($scope, $receive, $send) = @_;
                        my $first = await $receive->();
                        $pieces = $first->{body};
                        $events = [$first, @{ await received($receive) }];
                    }
                );
                my $client =
                    $host->connect("POST / HTTP/1.1\r\nHost: x\r\n" . ($type eq 'sse' ? $SSE : '') . $BROKEN{$body});
                $host->until(sub { length $pieces }, 'the piece');
                $client->write("no chunk\r\n") if $body eq 'malformed';
                $LEAVE{$how}->($client);
                $host->until(sub { $events }, 'the end');
                my $reason = $body eq 'malformed' && $how ne 'reset' ? 'protocol_error' : $events->[-1]{reason};
                is $events,
                    [
                    { type => "$type.request",    body   => 'abc', more => 1 },
                    { type => "$type.disconnect", reason => $reason }
                    ],
                    "$type, $body, $how";
                like $reason, qr/\A(?:client_closed|protocol_error)\z/;
            }
        }
    }
};

subtest 'a request body that breaks off is not complete: body and json, and then the end' => sub {
    my $closed =
        qr/\APAGI::SSE: body: the connection ended before the end of the request body at \S+ends\.t line \d+\.\n\z/;
    for my $method (qw(body json)) {
        for my $begun (0, 1) {
            for my $body (qw(chunked counted)) {
                my ($asked, $failure, $end);
                my $host = host(
                    async sub {
                        my $sse = PAGI::SSE->new(@_);
                        $sse->on_close(sub { $end = $_[1] });
                        await $sse->start if $begun;
                        my $future = $sse->$method;
                        $future->on_fail(sub { $failure = $_[0] });
                        $asked = 1;
                        await $future;
                    }
                );
                my $client = $host->connect("POST / HTTP/1.1\r\nHost: x\r\n$SSE$BROKEN{$body}");
                $host->until(sub { $asked }, 'the call');
                $client->close;
                $host->until(sub { $end && $failure }, 'the end');
                is $end, 'client_closed', join ' ', $method, $body, $begun ? 'stream' : 'pending';
                like $failure, $closed;
            }
        }
    }
};

subtest 'a body that is whole stays so when its client goes' => sub {
    my ($go, $body) = (Future->new);
    my $host = host(
        async sub {
            my ($scope, $receive) = @_;
            await $go;
            $body = (await $receive->());
        }
    );
    my $client = $host->connect("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    $host->until(sub { %{ $host->server->{exchanges} } }, 'the request');
    $client->close;
    $go->done;
    $host->until(sub { $body }, 'the body');
    is $body, { type => 'http.request', body => 'abc', more => 0 };
};

subtest 'what hyper has taken is not what was sent: the access log, on_complete and on_disconnect' => sub {
    for my $pieces (1, 40) {
        my (@events, @lines);
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                $scope->{'pagi.connection'}->on_complete(sub { push @events, 'complete' });
                $scope->{'pagi.connection'}->on_disconnect(sub { push @events, $_[0] });
                await $send->({ type => 'http.response.start', headers => [['content-length', 20_000_000]] });
                my $piece = 'x' x (20_000_000 / $pieces);
                for my $n (1 .. $pieces) {
                    await $send->({ type => 'http.response.body', body => $piece, more => $n < $pieces });
                }
            },
            access_log => sub { push @lines, $_[0] }
        );
        my $client = $host->get('/');
        $client->{paused} = 1;
        my $got = '';
        $host->until(sub { sysread $client->{socket}, $got, 1024 }, 'some of it');
        is \@events, [], 'nothing has ended';
        $client->reset;
        $host->until(sub { @lines && @events }, 'the end');
        is \@events, ['client_closed'];
        my ($status, $bytes, $reason) = $lines[0] =~ /" (\S+) (\S+) "-" "-" \S+ (\S+)\n?\z/ or diag $lines[0];
        is [$status, $reason], [200, 'client_closed'];
        ok $bytes > 1000 && $bytes < 10_000_000, "$bytes bytes";
    }
};

subtest 'each awaited send of any size is taken' => sub {
    my $large = 'y' x 1_200_000;
    for my $wrapped (0, 1) {
        my ($sent, $error) = (0);
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                my $sse = PAGI::SSE->new($scope, $receive, $wrapped ? sub { $send->(@_) } : $send);
                for my $n (1 .. 40) {
                    await $sse->send($large)->on_fail(sub { $error = $_[0] });
                    $sent++;
                }
            }
        );
        my $client = $host->stream;
        $host->until(sub { $client->eof || $error }, 'the end');
        is [$sent, $error],      [40, undef],                            $wrapped ? 'a wrapped $send' : 'our $send';
        is length $client->body, 40 * (1_200_000 + length "data: \n\n"), 'all of it came';
    }
    my $sent = 0;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'http.response.start' });
            for my $n (1 .. 40) {
                await $send->({ type => 'http.response.body', body => $large, more => $n < 40 });
                $sent++;
            }
        }
    );
    my $client = $host->get('/', 'Connection: close');
    $host->until(sub { $client->eof && $sent == 40 }, 'the end');
    is [$sent, length $client->body], [40, 40 * 1_200_000], 'an ordinary response';
};

subtest 'also between events of a hub, whatever its policy' => sub {
    my ($large, $other) = ('y' x 1_200_000, 'h' x 100_000);
    for my $policy (qw(disconnect drop_oldest drop_newest latest)) {
        my $hub = PAGI::SSE::Hub->new;
        my ($sent, $error) = (0);
        my $host = host(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                $sse->on_error(sub { $error = $_[1] });
                $hub->subscribe($sse, 'topic', { policy => $policy });
                for my $n (1 .. 5) {
                    $hub->publish('topic', data => $other, key => 'k') for 1 .. 3;
                    await $sse->send($large);
                    $sent++;
                }
            }
        );
        my $client = $host->stream;
        $host->until(sub { $client->eof && $sent == 5 || $error }, 'the end');
        my @large = $client->body =~ /^data: y/mg;
        is [$sent, $error, scalar @large], [5, undef, 5], $policy;
    }
};

# Handlers that fail in the middle, and those that do not.
my %FAILS = (
    dies  => async sub { await $_[0]->send('part'); die "broken\n" },
    every => async sub {
        my ($sse) = @_;
        await $sse->every(0.01, async sub { await $sse->send('part'); die "broken\n" });
    },
    each => async sub {
        await $_[0]->each(['part', 'x'], sub { die "broken\n" if $_[1]; return { data => $_[0] } });
    },
    caught => async sub {
        eval {
            await $_[0]->each(['part', 'x'], sub { die "broken\n" if $_[1]; return { data => $_[0] } });
            1;
        };
    },
);
my %FINE = (
    returns => async sub { await $_[0]->send('part') },
    close   => async sub { await $_[0]->send('part'); await $_[0]->close(reason => 'x-done') },
);

subtest 'a handler that fails in mid-stream breaks it off; close and return do not' => sub {
    for my $way ([], ['send'], ['receive'], [qw(send receive)]) {
        for my $name (sort keys %FAILS, keys %FINE) {
            my $end;
            my $host = host(
                async sub {
                    my ($scope, $receive, $send) = @_;
                    my ($our_send, $our_receive) = ($send, $receive);
                    $send = sub { $our_send->(@_) }
                        if grep { $_ eq 'send' } @$way;
                    $receive = sub { $our_receive->(@_) }
                        if grep { $_ eq 'receive' } @$way;
                    my $sse = PAGI::SSE->new($scope, $receive, $send);
                    $sse->on_close(sub { $end = $_[1] });
                    await(($FAILS{$name} || $FINE{$name})->($sse));
                }
            );
            my $client = $host->stream;
            $host->until(sub { $client->eof && $end }, 'the end');
            my ($body, $whole) = $client->body;
            is [$body, $whole], ["data: part\n\n", $FINE{$name} ? 1 : 0], join ' ', $name, @$way;
            is $end, $FAILS{$name} ? 'server_error' : $name eq 'close' ? 'x-done' : 'app_closed';
        }
    }
};

subtest 'an ordinary response whose application fails or stops has no clean end' => sub {
    for my $headers ([], [['content-length', 10]]) {
        for my $how (qw(dies returns)) {
            my @lines;
            my $host = host(
                async sub {
                    my ($scope, $receive, $send) = @_;
                    await $send->({ type => 'http.response.start', headers => $headers });
                    await $send->({ type => 'http.response.body', body => 'part', more => 1 });
                    die "broken\n" if $how eq 'dies';
                },
                access_log => sub { push @lines, $_[0] }
            );
            my $client = $host->get('/');
            $host->until(sub { $client->eof && @lines }, 'the end');
            is [$client->status, $client->body], [200, 'part', @$headers ? F() : 0],
                "$how, " . (@$headers ? 'counted' : 'chunked');
            like $lines[0], qr{" 200 4 "-" "-" \S+ server_error\n?\z};
        }
    }
};

subtest 'a half-close leaves an ordinary response and a decline their client: 30 of 30' => sub {
    for my $type (qw(http sse)) {
        for my $late (0, 1) {
            my $go = Future->new;
            my $host = host(
                async sub {
                    my ($scope, $receive, $send) = @_;
                    await $go;
                    return await PAGI::SSE->new($scope, $receive, $send)->decline(status => 404, body => 'not here')
                        if $type eq 'sse';
                    await $send->({ type => 'http.response.start', status => 404 });
                    await $send->({ type => 'http.response.body',  body   => 'not ', more => 1 });
                    await $send->({ type => 'http.response.body',  body   => 'here' });
                }
            );
            my @clients = map {
                half_close($host->connect("GET / HTTP/1.1\r\nHost: x\r\n" . ($type eq 'sse' ? $SSE : '') . "\r\n"))
            } 1 .. 30;
            $host->until(sub { keys %{ $host->server->{exchanges} } == 30 }, 'the requests') if $late;
            $go->done;
            $host->until(
                sub {
                    !grep { !$_->eof } @clients;
                },
                'the answers'
            );
            my @fine = grep { $_->status == 404 && $_->body eq 'not here' } @clients;
            is scalar @fine, 30, $type . ($late ? ', chosen later' : '');
        }
    }
};

subtest 'but to a stream it is the end' => sub {
    my $end;
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { $end = $_[1] });
            await $sse->run;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->head }, 'the head');
    half_close($client);
    $host->until(sub { $end }, 'the end');
    is $end, 'client_closed';
};

subtest 'at its deadline a stop answers all requests in progress' => sub {
    my @lines;
    my $host = host(async sub { await Future->new }, access_log => sub { push @lines, $_[0] });
    my @clients = map { $host->get("/$_") } 1 .. 20;
    $host->until(sub { keys %{ $host->server->{exchanges} } == 20 }, 'the requests');
    $host->server->stop(0)->get;
    $host->until(
        sub {
            !grep { !$_->eof } @clients;
        },
        'the answers'
    );
    is [map { $_->status } @clients], [(503) x 20];
    is scalar(grep { /" 503 22 "-" "-" \S+ server_shutdown/ } @lines), 20, 'and writes that down';
};

subtest 'a stop does not wait for unfinished heads, nor for streams that nobody reads' => sub {
    my $large = 'x' x 4_000_000;
    my $sent;
    my $host = host(async sub { my $sse = PAGI::SSE->new(@_); $sent = $sse->send($large); await $sse->run });
    my @heads = map { $host->connect($_) } "GET / HT", "GET / HTTP/1.1\r\nX: ";
    my $stream = $host->stream;
    $stream->{paused} = 1;
    $host->until(sub { $sent }, 'the stream');
    my $from = time;
    my $stopped = $host->server->stop(60);
    $host->until(sub { $stopped->is_ready }, 'the stop');
    ok time - $from < 15;
};

done_testing;
