use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Under the embedded server: the short way, and when it must not be taken.

use Future;
use Future::AsyncAwait;
use T::Host;

# A server with one stream; $app gets the object. Returns host and client.
sub serve {
    my ($app, $request, %option) = @_;
    my $host = T::Host->new(
        sub {
            my ($scope, $receive, $send) = @_;
            return Future->fail('no lifespan') if $scope->{type} ne 'sse';
            return $app->($scope, $receive, $send);
        },
        %option
    );
    return ($host, $request ? $host->connect($request) : $host->stream('/'));
}

sub post {
    my ($body) = @_;
    return join "\r\n", 'POST / HTTP/1.1', 'Host: x', 'Accept: text/event-stream', 'Content-Length: ' . length $body,
        '', $body;
}

subtest "the server's own \$send: straight to the library" => sub {
    my $sse;
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            await $sse->send_event(data => "a\nb", event => 'e', id => 1, retry => 5);
            await $sse->run;
        }
    );
    $host->until(sub { $client->body =~ /\n\n/ });
    isa_ok $sse->{wire}, 'PAGI::SSE::Wire::Hosted';
    is scalar $client->body, "event: e\nid: 1\nretry: 5\ndata: a\ndata: b\n\n", 'on the wire';
    $client->close;
    $host->until(sub { $sse->is_closed && $sse->{ended} });
    is $sse->disconnect_reason, 'client_closed', 'the end';
};

subtest 'a wrapped $send: the wrapped one' => sub {
    my $sse;
    my ($host, $client) = serve(
        async sub {
            my ($scope, $receive, $send) = @_;
            $sse = PAGI::SSE->new(
                $scope, $receive,
                sub {
                    my ($event) = @_;
                    return $send->({ %$event, $event->{data} ? (data => uc $event->{data}) : () });
                }
            );
            await $sse->send("abc\xE9");
            await $sse->run;
        }
    );
    $host->until(sub { $client->body =~ /\n\n/ });
    isa_ok $sse->{wire}, 'PAGI::SSE::Wire::Foreign';
    is scalar $client->body, "data: ABC\xC3\xA9\n\n", 'on the wire';
    $client->close;
    ok $host->until(sub { $sse->{ended} }), 'run hears of the end by $receive';
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'a wrapped $receive with our own $send' => sub {
    my ($sse,  $asked);
    my ($host, $client) = serve(
        async sub {
            my ($scope, $receive, $send) = @_;
            $sse = PAGI::SSE->new($scope, sub { $asked++; $receive->() }, $send);
            await $sse->run;
        }
    );
    $host->until(sub { $asked });
    isa_ok $sse->{wire}, 'PAGI::SSE::Wire::Hosted';
    $client->close;
    ok $host->until(sub { $sse->{ended} }), 'the end';
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'above the high mark a send waits until the client has read' => sub {
    my ($sse,  $waiting);
    my ($host, $client) = serve(async sub { $sse = PAGI::SSE->new(@_); await $sse->start; await $sse->run });
    $host->until(sub { length $client->head });
    $client->{paused} = 1;
    my $sent = 0;
    while (!$waiting && $sent < 20_000) {
        my $future = $sse->send('x' x 1_000);
        $sent++;
        $waiting = $future if !$future->is_ready;
        if ($sent % 20 == 0) {
            my $once = 0;
            $host->until(sub { $once++ });
        }
    }
    ok $waiting,                                       "pending after $sent";
    ok $sse->buffered_amount >= $sse->high_water_mark, 'buffered_amount';
    ok !$sse->is_writable,                             'is_writable';
    my $cancelled = $sse->send('y');
    $cancelled->cancel;
    $client->{paused} = 0;
    ok $host->until(sub { $waiting->is_ready }), 'done when it has';
    ref_is $waiting->result, $sse, 'the result';
    ok $host->until(sub { ($client->body =~ tr/x//) == 1_000 * $sent && $client->body =~ /data: y\n/ }),
        'all of it arrives';
    $client->close;
    $host->until(sub { $sse->{ended} });
};

subtest 'a waiting send fails when the client goes, a waiting try_send gives 0' => sub {
    my $sse;
    my ($host, $client) = serve(async sub { $sse = PAGI::SSE->new(@_); await $sse->start; await $sse->run });
    $host->until(sub { length $client->head });
    $client->{paused} = 1;
    my $waiting;
    my $line = __LINE__ + 1;
    for (1 .. 20_000) { $waiting = $sse->send('x' x 1_000); last if $sse->buffered_amount >= $sse->high_water_mark }
    my $try = $sse->try_send('x');
    $client->reset;
    is [
        warnings_of {
            ok $host->until(sub { $waiting->is_ready && $try->is_ready }), 'woken'
        }
        ],
        [], 'without a warning';
    like scalar $waiting->failure, qr/\APAGI::SSE: Cannot send on closed SSE connection at \Q$0\E line $line\.\n\z/,
        'send, at its line';
    is $try->result, 0, 'try_send';
};

subtest 'try_send is false, and on_close runs, as soon as the client has gone' => sub {
    my ($sse,  @told);
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { push @told, $_[1] });
            await $sse->run;
        }
    );
    $host->until(sub { length $client->head });
    $client->close;
    # The server is not run: the library knows by itself.
    ok wait_until(sub { !$sse->try_send('x')->result }), 'false';
    is \@told, ['client_closed'], 'on_close ran';
    $host->until(sub { 1 });
    is \@told, ['client_closed'], 'once';
};

subtest 'the application returns, or dies: one reason' => sub {
    for my $case ([app_closed => async sub { await $_[0]->send('x') }],
        [server_error => async sub { await $_[0]->send('x'); die "broken\n" }])
    {
        my ($reason, $code) = @$case;
        my @told;
        my ($host, $client) = serve(sub {
            my $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { push @told, $_[1] });
            return $code->($sse);
        });
        ok $host->until(sub { $client->eof }), 'the stream ends';
        is !!$client->ended, $reason eq 'app_closed', 'whole, or broken off';
        is \@told,           [$reason],               $reason;
    }
};

subtest 'the body of a POST, then the disconnect' => sub {
    my ($sse,  $value);
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            $value = await $sse->json;
            await $sse->send('thanks');
            await $sse->run;
        },
        post('{"a":[1]}')
    );
    $host->until(sub { $client->body =~ /thanks/ });
    is $value, { a => [1] }, 'json';
    $client->close;
    ok $host->until(sub { $sse->{ended} }), 'run hears of the end';
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'decline' => sub {
    my ($sse,  @told);
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { push @told, $_[1] });
            await $sse->decline(status => 403, headers => [['content-type', 'text/plain']], body => "no\n");
        }
    );
    ok $host->until(sub { my (undef, $ended) = $client->body; $client->status && $ended }), 'answered';
    is [$client->status, $client->header('content-type'), scalar $client->body], [403, 'text/plain', "no\n"],
        'the response';
    is \@told,       ['app_closed'], 'on_close';
    is [$host->log], [],             'nothing to log';
};

subtest 'keepalive comes from the library' => sub {
    my $sse;
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            await $sse->keepalive(0.05, "ping \x{263A}");
            await $sse->send_comment("caf\xE9 \x{263A}");
            await $sse->run;
        }
    );
    ok $host->until(sub { $client->body =~ /:ping \xE2\x98\xBA\n/ }), 'comments arrive, in UTF-8';
    like $client->body, qr/:caf\xC3\xA9 \xE2\x98\xBA\n/, 'one by hand, too';
    $client->close;
    $host->until(sub { $sse->{ended} });
};

subtest 'connections leave nothing behind' => sub {
    my $running = 0;
    my $base = PAGI::SSE::FFI::handle_count();
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} ne 'sse';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            $sse->on_close(sub { $sse->stash->{gone} = 1; $running-- });
            $sse->on_error(sub { $sse });
            $running++;
            await $sse->send('x');
            await $sse->run if $running % 2;
        }
    );
    my $server = PAGI::SSE::FFI::handle_count();
    for (1 .. 20) {
        my @clients = map { $host->stream('/') } 1 .. 10;
        $host->until(sub {
            10 == grep { $_->body =~ /x/ } @clients;
        });
        $_->close for @clients;
        $host->until(sub { !$running });
        @{ $host->{clients} } = ();
    }
    ok $host->until(sub { PAGI::SSE::FFI::handle_count() == $server }), 'the handle table is as before';
};

subtest 'a $send that ends the connection by itself' => sub {
    my ($sse, @told);
    my $peer = peer();
    my $send = $peer->send;
    $sse =
        PAGI::SSE->new($peer->scope, $peer->receive, sub { $sse->close if $_[0]{type} =~ /send|close/; $send->(@_) });
    $sse->on_close(sub { push @told, $_[1] });
    ref_is $sse->send('x')->result, $sse, 'the send';
    is $peer->types, [qw(sse.start sse.send sse.close)], 'one sse.close, after it';
    is \@told,       ['app_closed'],                     'one end';
};

subtest 'the server stops' => sub {
    my ($sse,  @told);
    my ($host, $client) = serve(
        async sub {
            $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { push @told, $_[1] });
            await $sse->run;
        }
    );
    $host->until(sub { length $client->head });
    $host->server->stop(2);
    ok $host->until(sub { @told }), 'on_close';
    is \@told, ['server_shutdown'], 'the reason';
};

subtest 'a wrapped $receive that ends the connection' => sub {
    my ($sse,  @waiting);
    my ($host, $client) = serve(
        async sub {
            my ($scope, undef, $send) = @_;
            $sse = PAGI::SSE->new($scope, sub { push @waiting, my $future = Future->new; $future }, $send);
            await $sse->run;
        }
    );
    $host->until(sub { @waiting });
    $_->done({ type => 'sse.disconnect', reason => 'x-middleware' }) for @waiting;
    is $sse->disconnect_reason, 'x-middleware', 'is heard';
};

subtest 'close and run after the client has gone: the reason is its own' => sub {
    for my $method (qw(close run)) {
        my ($sse,  @told);
        my ($host, $client) = serve(
            async sub {
                $sse = PAGI::SSE->new(@_);
                $sse->on_close(sub { push @told, $_[1] });
                await $sse->run;
            }
        );
        $host->until(sub { length $client->head });
        $client->close;
        ok wait_until(sub { $sse->connection_state eq 'closed' }), 'the library knows, the server was not run';
        ok $sse->$method->is_done,                                 $method;
        is [@told, $sse->disconnect_reason], [('client_closed') x 2], "$method: reason";
    }
};

done_testing;
