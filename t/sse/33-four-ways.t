use strict;
use warnings;

# The end of a stream on the embedded server, with nothing, and with middleware,
# around $send and $receive.

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Inc;
use T::Host;
use T::Middleware;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use Future::IO;
use PAGI::SSE;
use PAGI::SSE::Hub;
use Scalar::Util qw(refaddr weaken);

# A server whose streams are run by $handler->($sse).
sub serving {
    my ($around, $handler, %option) = @_;
    return T::Host->new(
        sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} ne 'sse';
            my @pair = T::Middleware::around($around, $receive, $send);
            return $handler->(PAGI::SSE->new({%$scope}, @pair));
        },
        %option
    );
}

# Time goes on for Future::IO as well.
sub until_true {
    my ($host, $condition, $what) = @_;
    return $host->until(sub { Future::IO->sleep(0.001)->get; $condition->() }, $what);
}

my %HANDLER = (
    run   => async sub { my ($sse) = @_; await $sse->run },
    every => async sub {
        my ($sse) = @_;
        await $sse->every(0.01, async sub { await $sse->send('x') });
    },
    'each, array' => async sub {
        my ($sse) = @_;
        await $sse->each([1 .. 5000], async sub { await $sse->send('x'); await Future::IO->sleep(0.01); return });
    },
    'each, coderef' => async sub {
        my ($sse) = @_;
        await $sse->each(sub { 1 }, async sub { await $sse->send('x'); await Future::IO->sleep(0.01); return });
    },
    'each, a source that gives nothing' => async sub {
        my ($sse) = @_;
        await $sse->send('x');
        my $source = Future->new;
        $sse->on_close(sub { $source->done });
        await $sse->each(sub { $source }, async sub { await $_[0] });
    },
    'while is_connected' => async sub {
        my ($sse) = @_;
        await $sse->send('x');
        await Future::IO->sleep(0.01) while $sse->is_connected;
    },
    'awaited sends' => async sub {
        my ($sse) = @_;
        while (await $sse->try_send('x')) { await Future::IO->sleep(0.01) }
    },
    'keepalive alone' => async sub {
        my ($sse) = @_;
        await $sse->keepalive(25);
        my $gone = Future->new;
        $sse->on_close(sub { $gone->done });
        await $sse->start;
        await $gone;
    },
);

for my $around (T::Middleware::ways()) {
    subtest "$around: a client that leaves ends the handler and is told of" => sub {
        for my $name (sort keys %HANDLER) {
            my (@closed, $over);
            my $host = serving(
                $around,
                async sub {
                    my ($sse) = @_;
                    $sse->on_close(sub { push @closed, $_[1] });
                    await $HANDLER{$name}->($sse);
                    $over++;
                }
            );
            my $client = $host->stream;
            until_true($host, sub { $client->head });
            until_true($host, sub { length $client->body }) if $name !~ /run|keepalive/;
            $client->close;
            ok until_true($host, sub { $over && @closed }), "$name: it ends";
            is \@closed,     ['client_closed'], "$name: the reason, once";
            is [$host->log], [],                "$name: nothing to complain about";
        }
    };

    subtest "$around: an application that ends tells its on_close callbacks" => sub {
        my %how = (
            'returns after a pause' =>
                [async sub { await $_[0]->send('x'); await Future::IO->sleep(0.01) }, 'app_closed'],
            'dies after a pause' =>
                [async sub { await $_[0]->send('x'); await Future::IO->sleep(0.01); die "oops\n" }, 'server_error'],
            'returns at once'        => [async sub { await $_[0]->send('x') },              'app_closed'],
            'returns without answer' => [async sub { return },                              'app_closed'],
            'dies without answer'    => [async sub { die "oops\n" },                        'server_error'],
            'pauses, then no answer' => [async sub { await Future::IO->sleep(0.01) },       'app_closed'],
            'declines'               => [async sub { await $_[0]->decline(status => 404) }, 'app_closed'],
        );
        for my $name (sort keys %how) {
            my ($handler, $reason) = @{ $how{$name} };
            my @closed;
            my $host = serving(
                $around,
                async sub {
                    my ($sse) = @_;
                    $sse->on_close(sub { push @closed, $_[1] });
                    await $handler->($sse);
                }
            );
            $host->stream;
            ok until_true($host, sub { @closed }), "$name: told";
            is \@closed, [$reason], "$name: the reason, once";
        }
    };

    subtest "$around: a client that has gone before the first send" => sub {
        for my $method (qw(send try_send send_json try_send_json send_comment try_send_comment keepalive start)) {
            my (@closed, $result, $client);
            my $host = serving(
                $around,
                async sub {
                    my ($sse) = @_;
                    $sse->on_close(sub { push @closed, $_[1] });
                    # It is the send that finds the client gone.
                    $client->reset;
                    my $end = time + 20;
                    select undef, undef, undef, 0.001 until $sse->scope->{'pagi.transport'}->state == 2 || time > $end;
                    $result = eval { await $sse->$method(25) };
                }
            );
            $client = $host->stream;
            my @warnings;
            local $SIG{__WARN__} = sub { push @warnings, @_ };
            ok until_true($host, sub { @closed && !%{ $host->server->{exchanges} } }), "$method: its end";
            is \@closed,                ['client_closed'], "$method: the reason";
            is $result,                 0,                 "$method: 0" if $method =~ /try/;
            is [$host->log, @warnings], [],                "$method: nothing to complain about";
        }
    };

    subtest "$around: a stop ends every handler with server_shutdown" => sub {
        my @closed;
        my $host = serving(
            $around,
            async sub {
                my ($sse) = @_;
                $sse->on_close(sub { push @closed, $_[1] });
                await $sse->start;
                await Future::IO->sleep(0.01) while $sse->is_connected;
            }
        );
        my $client = $host->stream;
        until_true($host, sub { $client->head });
        my $stopped = $host->server->stop(10);
        ok until_true($host, sub { $stopped->is_ready }), 'it stops';
        is \@closed, ['server_shutdown'], 'told';
        $host->wait(0.05), $client->read_some until $client->ended || $client->eof;
        ok $client->ended, 'the last chunk has come';
    };

    subtest "$around: a subscription goes with its client" => sub {
        my $hub = PAGI::SSE::Hub->new;
        my $host = serving(
            $around,
            async sub {
                my ($sse) = @_;
                my $subscription = $hub->subscribe($sse, 'news');
                my $never = Future->new;
                $sse->on_close(sub { $never->done });
                await $never;
            }
        );
        my @clients = map { $host->stream } 1 .. 3;
        until_true(
            $host,
            sub {
                3 == grep { $_->head } @clients;
            }
        );
        is $hub->subscribers('news'), 3, 'three';
        $_->close for @clients;
        ok until_true($host, sub { !$hub->subscribers('news') }), 'none';
    };
}

subtest '$send and $receive are plain coderefs' => sub {
    my @refs;
    my $host = T::Host->new(sub {
        my ($scope, @pair) = @_;
        push @refs, map { ref } @pair if $scope->{type} ne 'lifespan';
        return;
    });
    $_->() for sub { $host->stream }, sub { $host->get('/') };
    ok $host->until(sub { @refs == 4 }), 'both scope types';
    is \@refs, [('CODE') x 4], 'no class';
};

subtest 'two wrappers, of two copies of the scope, are both told' => sub {
    my @closed;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} ne 'sse';
            my @sse = map { PAGI::SSE->new({%$scope}, $receive, $send) } 1, 2;
            isnt refaddr($sse[0]), refaddr($sse[1]), 'they differ';
            for my $i (0, 1) {
                $sse[$i]->on_close(sub { push @closed, "$i $_[1]" });
            }
            await $sse[0]->run;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->head });
    $client->close;
    ok $host->until(sub { @closed == 2 }), 'both';
    is [sort @closed], ['0 client_closed', '1 client_closed'], 'the reason';
};

subtest 'a wrapper made after the end is told at once' => sub {
    my (@kept, @closed);
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} ne 'sse';
            @kept = ($scope, $receive, $send);
            await $send->({ type => 'sse.start' });
        }
    );
    my $client = $host->stream;
    ok $host->until(sub { $client->ended }), 'ended';
    my $sse = PAGI::SSE->new(@kept[0, 1], sub { die "not called\n" });
    $sse->on_close(sub { push @closed, $_[1] });
    is \@closed, ['app_closed'], 'told';
};

subtest 'nothing of a stream stays after its end' => sub {
    for my $around (T::Middleware::ways()) {
        my @weak;
        my $host = serving(
            $around,
            async sub {
                my ($sse) = @_;
                weaken($weak[$_] = ($sse, $sse->scope, $sse->scope->{'pagi.transport'})[$_]) for 0 .. 2;
                $sse->on_close(sub { });
                await $sse->send('x');
                await Future::IO->sleep(0.01);
            }
        );
        my $client = $host->stream;
        ok until_true(
            $host,
            sub {
                $client->ended && !grep { defined } @weak;
            }
        ), $around;
    }
};

done_testing;
