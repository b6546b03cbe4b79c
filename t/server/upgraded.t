use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Inc;
use Test2::V0 -no_srand => 1;

# Event streams in scopes of type http: by upgrade => 1, or by hand, an ordinary
# response of type text/event-stream. They begin and end as those of sse scopes.

use Future;
use Future::AsyncAwait;
use PAGI::SSE      ();
use PAGI::SSE::FFI ();
use PAGI::SSE::Hub ();
use Socket         qw(SHUT_WR);
use T::Host        ();
use T::Middleware  ();
use Time::HiRes    qw(time);

my $base = PAGI::SSE::FFI::handle_count();

# A server with $handler->($sse, \@told), wrapped in that $how.
sub serve {
    my ($how, $handler, %option) = @_;
    my @told;
    my $host = T::Host->new(
        async sub {
            my ($scope, @io) = @_;
            die "no lifespan\n" if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, T::Middleware::around($how, @io), upgrade => 1);
            $sse->on_close(sub { push @told, $_[1] });
            await $handler->($sse, \@told);
            push @told, 'returned';
        },
        %option
    );
    return $host, \@told;
}

my %handler = (
    run   => async sub { my ($sse) = @_; await $sse->send('x'); await $sse->run },
    every => async sub {
        my ($sse) = @_;
        await $sse->send('x');
        await $sse->every(60, sub { Future->done });
    },
);

for my $how (T::Middleware::ways()) {
    for my $accept ('*/*', 'text/event-stream') {
        subtest "a stop ends it at once, as whole, and its handler has its turn ($how, $accept)" => sub {
            for my $name (sort keys %handler) {
                my ($host, $told) = serve($how, $handler{$name});
                my $client = $host->get('/', "Accept: $accept");
                $host->until(sub { $client->body }, 'an event');
                my $began = time;
                my $stopped = $host->server->stop(15);
                ok $host->until(sub { $stopped->is_ready && $client->eof }), "$name: stopped";
                ok time - $began < 5,                                        "$name: at once" or diag time - $began;
                is $told,           ['server_shutdown', 'returned'], "$name: on_close, then the handler";
                is [$client->body], ["data: x\n\n",     1],          "$name: all of it and the last chunk";
                is [$host->log],    [], "$name: the log";
            }
        };
    }

    subtest "what was sent before the stop arrives ($how)" => sub {
        my $last;
        my ($host) = serve(
            $how => async sub {
                my ($sse) = @_;
                $last = $sse->try_send($_ x 10_000) for 'a' .. 'z';
                await $sse->run;
            }
        );
        my $client = $host->get('/');
        # A wrapper before the server's $send still has what that has not accepted.
        $host->until(sub { $last && $last->is_ready && length $client->head }, 'accepted');
        my $stopped = $host->server->stop(15);
        ok $host->until(sub { $stopped->is_ready && $client->eof }), 'stopped';
        my $all = join '', map { 'data: ' . $_ x 10_000 . "\n\n" } 'a' .. 'z';
        my ($body, $is_whole) = $client->body;
        ok $body eq $all, 'all of it';
        ok $is_whole,     'and the last chunk';
    };

    subtest "a server that goes, and a stop without time, end it the same ($how)" => sub {
        for my $way ('undef', 0) {
            my ($host, $told) = serve($how, $handler{run});
            my $client = $host->get('/');
            $host->until(sub { $client->body }, 'an event');
            if ($way eq 'undef') {
                my $dummy = PAGI::SSE::Server->new(app => sub { });
                $dummy->stop(0);
                $host->{server} = $dummy;
            }
            else { $host->server->stop(0) }
            ok $host->until(sub { $client->eof }), "$way: ended";
            is $told->[0],      'server_shutdown',  "$way: on_close";
            is [$client->body], ["data: x\n\n", 1], "$way: the last chunk";
        }
    };

    subtest "one that begins while the server stops ends where it begins ($how)" => sub {
        my $hub = PAGI::SSE::Hub->new;
        # What is wrapped starts by one event and sends by the next.
        my $sent = $how =~ /plain|receive/ ? qr/\Adata: x\n\n\z/ : qr/\A\z/;
        my %begin = (
            start => [sub { $_[0]->start },                                 qr/\A\z/],
            send  => [sub { $_[0]->send('x') },                             $sent],
            hub   => [sub { $hub->subscribe($_[0], 'news'); Future->done }, qr/\A(?:id: \S+\n\n)?\z/],
            # These begin it, and return at its end.
            run  => [sub { $_[0]->run }, qr/\A\z/, 'over'],
            each => [
                sub {
                    $_[0]->each(sub { 1 }, sub { Future->done });
                },
                qr/\A\z/,
                'over'
            ],
            every => [
                sub {
                    $_[0]->every(60, sub { Future->done });
                },
                qr/\A\z/,
                'over'
            ],
        );
        for my $name (sort keys %begin) {
            my ($begin, $body, @over) = @{ $begin{$name} };
            my $gate = Future->new;
            my $asked;
            my ($host, $told) = serve(
                $how => async sub {
                    my ($sse, $told) = @_;
                    $asked++;
                    await $gate;
                    await $begin->($sse);
                    push @$told, @over;
                    await $sse->run;
                }
            );
            my $client = $host->get('/');
            $host->until(sub { $asked }, 'the request');
            my $began = time;
            my $stopped = $host->server->stop(15);
            $host->until(sub { $host->server->{stopping} && $host->server->{stopping}{phase} eq 'streams' },
                'the streams');
            $gate->done;
            ok $host->until(sub { $hub->dispatch; $stopped->is_ready && $client->eof }), "$name: stopped";
            ok time - $began < 5,                                                        "$name: at once";
            is $told, ['server_shutdown', @over, 'returned'], "$name: on_close";
            my ($got, $is_whole) = $client->body;
            is [$client->status, $is_whole], [200, 1], "$name: whole";
            like $got, $body, "$name: what went with its start";
        }
    };

    subtest "the head arrives before any event ($how)" => sub {
        my %first = (
            run       => async sub { await $_[0]->run },
            start     => async sub { await $_[0]->start(headers => [['x-mine', 1]]); await Future->new },
            keepalive => async sub { await $_[0]->keepalive(60);                     await $_[0]->run },
        );
        for my $name (sort keys %first) {
            my ($host, $told) = serve($how, $first{$name});
            my $client = $host->get('/');
            ok $host->until(sub { length $client->head }), "$name: the head";
            is $client->header('content-type'), 'text/event-stream', "$name: its type";
            is scalar $client->body,            '',                  "$name: nothing else";
        }
    };

    for my $method ('GET', 'POST') {
        subtest "the client's end is noticed before any event ($how, $method)" => sub {
            for my $end (qw(close reset half)) {
                for my $sent (0, 20_000, 300_000, 600_000) {
                    next if $sent && $method eq 'GET';
                    my ($host, $told) = serve($how => async sub { await $_[0]->run });
                    my $client = $host->connect("$method / HTTP/1.1\r\nHost: x\r\n"
                            . ($method eq 'GET' ? "\r\n" : "Content-Length: 600000\r\n\r\n"));
                    $client->write('x' x $sent);
                    $host->until(sub { $client->head || $method eq 'POST' && $host->server->{exchanges} });
                    if ($end eq 'half') { shutdown $client->{socket}, SHUT_WR }
                    else                { $client->$end }
                    ok $host->until(sub { @$told == 2 }), "$end after $sent";
                    is [sort @$told], ['client_closed', 'returned'], "$end after $sent: on_close";
                }
            }
        };
    }

    subtest "HEAD has its head, and the stream its end ($how)" => sub {
        my ($host, $told) = serve($how => async sub { await $_[0]->run });
        my $client = $host->connect("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ok $host->until(sub { length $client->head && @$told == 2 }), 'ended';
        is $client->status, 200,                        'the status';
        is [sort @$told],   ['app_closed', 'returned'], 'the server has closed, not the client';
    };
}

# ---- by hand: no PAGI::SSE

# An application that sends these heads at once, and no more till $gate.
sub by_hand {
    my ($type, $gate, %start) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} eq 'lifespan';
            await $send->({ type => 'http.response.start', headers => [['Content-Type', $type]], %start });
            await $gate->($receive, $send);
        }
    );
}

subtest 'by hand: the head of a stream goes at once, others with the first of the body' => sub {
    my $gate = Future->new;
    my $more = async sub {
        my ($receive, $send) = @_;
        await $gate;
        await $send->({ type => 'http.response.body', body => 'x' });
    };
    my %host = map { $_ => by_hand($_, $more) } 'text/event-stream', 'Text/Event-Stream ; charset=utf-8', 'text/plain';
    my %client = map { $_ => $host{$_}->get('/') } keys %host;
    for my $type (grep { /event/i } sort keys %host) {
        ok $host{$type}->until(sub { length $client{$type}->head }), "$type: the head";
        is $client{$type}->header('content-type'), $type, 'as it was given';
    }
    my $plain = $client{'text/plain'};
    $host{'text/plain'}->until(sub { %{ $host{'text/plain'}->server->{exchanges} } });
    is $plain->raw, '', 'text/plain: nothing';
    $gate->done;
    for my $type (sort keys %host) {
        ok $host{$type}->until(sub { $client{$type}->body }), "$type: the body";
        is [$client{$type}->body], ['x', 1], "$type: whole";
    }
    is $plain->header('content-length'),                          1,         'text/plain: in one piece';
    is $client{'text/event-stream'}->header('transfer-encoding'), 'chunked', 'the stream: in chunks';
};

subtest 'by hand: a stop ends a stream, and says so by http.disconnect' => sub {
    my @got;
    my $host = by_hand(
        'text/event-stream',
        async sub {
            my ($receive, $send) = @_;
            await $send->({ type => 'http.response.body', body => "data: 1\n\n", more => 1 });
            for my $i (1 .. 2) { push @got, await $receive->() }
            await $send->({ type => 'http.response.body', body => 'lost' });
        }
    );
    my $client = $host->get('/');
    $host->until(sub { $client->body }, 'an event');
    my $began = time;
    my $stopped = $host->server->stop(15);
    ok $host->until(sub { $stopped->is_ready && $client->eof }), 'stopped';
    ok time - $began < 5,                                        'at once';
    is $got[1], { type => 'http.disconnect', reason => 'server_shutdown' }, 'told';
    is [$client->body], ["data: 1\n\n", 1], 'whole';
    is [$host->log],    [],                 'nothing in the log';
};

subtest 'a stream with a length that it does not have is cut, not ended' => sub {
    my $host = by_hand(
        'text/event-stream',
        async sub {
            my ($receive, $send) = @_;
            await $send->({ type => 'http.response.body', body => 'abc', more => 1 });
            await Future->new;
        },
        headers => [['content-type', 'text/event-stream'], ['content-length', 10]]
    );
    my $client = $host->get('/');
    $host->until(sub { $client->body }, 'a piece');
    my $stopped = $host->server->stop(15);
    ok $host->until(sub { $client->eof }), 'ended';
    is [$client->body], ['abc', bool(0)], 'not whole';
    $host->server->stop(0);
    $host->until(sub { $stopped->is_ready });
};

subtest 'a stop waits for other responses' => sub {
    my $gate = Future->new;
    my $host = by_hand(
        'text/plain',
        async sub {
            my ($receive, $send) = @_;
            await $send->({ type => 'http.response.body', body => 'a', more => 1 });
            await $gate;
            await $send->({ type => 'http.response.body', body => 'b' });
        }
    );
    my $client = $host->get('/');
    $host->until(sub { $client->body }, 'a piece');
    my $stopped = $host->server->stop(15);
    $host->until(sub { $host->server->{stopping} && $host->server->{stopping}{phase} eq 'streams' });
    $gate->done;
    ok $host->until(sub { $stopped->is_ready && $client->eof }), 'stopped';
    is [$client->body], ['ab', 1], 'whole';
};

{
    my $end = time + 10;
    PAGI::SSE::Server->new(app => sub { })->stop(0) while PAGI::SSE::FFI::handle_count() != $base && time < $end;
    is PAGI::SSE::FFI::handle_count(), $base, 'no handle is left';
}

done_testing;
