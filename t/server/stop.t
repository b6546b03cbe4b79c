use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;
use IO::Select;
use Time::HiRes qw(time);
use PAGI::SSE;

subtest 'lifespan: startup before the first request, state shared by copies, shutdown at the end' => sub {
    my (@events, $startup);
    my $app = async sub {
        my ($scope, $receive, $send) = @_;
        if ($scope->{type} eq 'lifespan') {
            push @events, (await $receive->())->{type};
            $scope->{state}{db} = 'handle';
            await $startup;
            await $send->({ type => 'lifespan.startup.complete' });
            push @events, (await $receive->())->{type};
            return await $send->({ type => 'lifespan.shutdown.complete' });
        }
        push @events, "$scope->{type} $scope->{state}{db}";
        $scope->{state}{db} = 'changed';
        await $send->({ type => 'http.response.start' });
        await $send->({ type => 'http.response.body', body => 'ok' });
    };
    $startup = Future->new;
    my $host = T::Host->new($app);
    my $client = $host->get('/');
    my $turns = 0;
    $host->until(sub { $turns++ > 3 });
    is \@events, ['lifespan.startup'], 'a request waits for the startup';
    $startup->done;
    $host->until(sub { $client->ended }, 'the answer');
    my $second = $host->get('/');
    $host->until(sub { $second->ended }, 'the answer');
    my $stopped = $host->server->stop(5);
    $host->until(sub { $stopped->is_ready }, 'the stop');
    is \@events, ['lifespan.startup', ('http handle') x 2, 'lifespan.shutdown'];
};

subtest 'an application that refuses to start keeps the server from starting' => sub {
    my $app = async sub { await $_[2]->({ type => 'lifespan.startup.failed', message => 'no database' }) };
    like dies { T::Host->new($app) }, qr/\APAGI::SSE::Server: the application refused to start: no database at /;
};

subtest 'an application that refuses later to start is said in the log, in one line' => sub {
    my $may = Future->new;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $may;
            await $send->({ type => 'lifespan.startup.failed', message => "no\ndatabase" });
        }
    );
    $may->done;
    ok $host->server->is_stopped, 'stopped';
    is [$host->log], ['error: PAGI::SSE::Server: the application refused to start: no\\ndatabase'], 'the line';
};

subtest 'a lifespan that takes its event and forgets the answer is said in the log, and served' => sub {
    for my $event ('startup', undef) {
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                if ($scope->{type} eq 'lifespan') {
                    await $receive->() if $event;
                    return;
                }
                await $send->({ type => 'http.response.start' });
                await $send->({ type => 'http.response.body', body => 'ok' });
            }
        );
        my $client = $host->get('/');
        $host->until(sub { $client->ended }, 'the answer');
        is $client->body, 'ok', 'served';
        is [$host->log],
            [
            (
                'warning: the application\'s lifespan returned after lifespan.startup without lifespan.startup.complete; it is served all the same'
            ) x !!$event
            ],
            $event ? 'said' : 'one that took no event knows no lifespan';
    }
};

subtest 'stop closes each stream in order, tells callbacks, and finishes requests' => sub {
    my (@closed, $answer);
    $answer = Future->new;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            if ($scope->{type} eq 'http') {
                await $answer;
                await $send->({ type => 'http.response.start' });
                return await $send->({ type => 'http.response.body', body => 'late but whole' });
            }
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            $sse->on_close(sub { push @closed, $_[1]; $answer->done if @closed == 3 });
            await $sse->send('hello');
            await $sse->run;
        }
    );
    my @clients = map { $host->stream } 1 .. 3;
    my $http = $host->get('/');
    $host->until(
        sub {
            !grep { !$_->body } @clients;
        },
        'the streams'
    );
    my $stopped = $host->server->stop(5);
    ok !$stopped->is_ready;
    $host->until(
        sub {
            $stopped->is_ready && !grep { !$_->eof } @clients, $http;
        },
        'the stop'
    );
    is \@closed,                      [('server_shutdown') x 3];
    is [map { [$_->body] } @clients], [(["data: hello\n\n", 1]) x 3], 'with the last chunk';
    is scalar $http->body,            'late but whole';
    ok $host->server->is_stopped;
    ok !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->server->port), 'nobody listens';
    is $host->server->dispatch, 0, 'dispatch after the stop does nothing';
};

subtest 'the deadline cuts what does not end, and a second stop shortens it' => sub {
    for my $way (qw(deadline second)) {
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                die if $scope->{type} eq 'lifespan';
                my $sse = PAGI::SSE->new($scope, $receive, $send);
                await $sse->send('x');
                await Future->new;    # deaf
            }
        );
        my $client = $host->stream;
        $host->until(sub { $client->body }, 'the stream');
        my $from = time;
        my $stopped = $host->server->stop($way eq 'second' ? 100 : 0.2);
        $host->server->stop(0.2) if $way eq 'second';
        $host->until(sub { $stopped->is_ready && $client->eof }, 'the stop');
        ok time - $from < 5, $way;
    }
};

subtest 'stop waits without a loop: get on its Future runs the server' => sub {
    my $host = T::Host->new(async sub { die });
    is [$host->server->stop(5)->get], [];
    ok $host->server->is_stopped;
    is [$host->server->stop(5)->get], [], 'twice is fine';
};

subtest 'so does get on Futures derived from it' => sub {
    my %get = (
        then => sub {
            $_[0]->then(sub { Future->done('over') })->get;
        },
        async => sub {
            (async sub { await $_[0]; return 'over' })->($_[0])->get;
        },
        needs_all => sub { Future->needs_all($_[0])->get; 'over' },
        else      => sub {
            $_[0]->else(sub { die })->then(sub { Future->done('over') })->get;
        },
    );
    for my $way (sort keys %get) {
        my $host = T::Host->new(async sub { die });
        is $get{$way}->($host->server->stop(5)), 'over', $way;
    }
};

subtest 'stop goes on when an application ends by something of its own' => sub {
    my ($told, $finish) = (0, Future->new);
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            await $sse->run;
            $told = 1;
            await $finish;
        }
    );
    my $client = $host->stream;
    my $server = $host->server;
    $host->until(sub { $client->head }, 'the stream');
    my $stopped = $server->stop(60);
    $host->until(sub { $told && $client->eof && !PAGI::SSE::FFI::server_busy($server->{handle}) }, 'its end');
    my $wakes = IO::Select->new($server->fileno);
    $server->dispatch while $wakes->can_read(0.1);
    ok !$stopped->is_ready;
    $finish->done;
    ok $wakes->can_read(10), 'the loop is woken';
    $server->dispatch;
    ok $stopped->is_ready;
};

# Lifespans after their startup: what the log says once all is over.
sub log_of_lifespan {
    my ($code) = @_;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} ne 'lifespan';
            await $receive->();
            await $send->({ type => 'lifespan.startup.complete' });
            await $code->($receive, $send);
            await $send->({ type => 'lifespan.shutdown.complete' });
        }
    );
    my $stopped = $host->server->stop(5);
    $host->until(sub { $stopped->is_ready }, 'the stop');
    return [$host->log];
}

subtest 'a callback of the lifespan that dies does not keep stop from its work' => sub {
    my $log = log_of_lifespan(
        async sub {
            my $told = Future->new;
            $_[0]->()->on_done(sub { $told->done })->on_done(sub { die "in a callback\n" });
            await $told;
        }
    );
    is $log, ["error: a callback of the application's lifespan died: in a callback"];
};

subtest 'a startup that fails after it was complete is an error of the send alone' => sub {
    my $error;
    my $log = log_of_lifespan(
        async sub {
            my ($receive, $send) = @_;
            $error = ($send->({ type => 'lifespan.startup.failed', message => 'late' })->failure)[0];
            await $receive->();
        }
    );
    like $error, qr/\APAGI::SSE::Server: lifespan\.startup\.failed: the startup is over at \Q$0\E line [0-9]+\.\n\z/;
    is $log, [];
};

subtest 'a callback of stop that dies is logged' => sub {
    my $host = T::Host->new(async sub { die });
    my $stopped = $host->server->stop(5);
    $stopped->on_done(sub { die "oh\n" });
    $host->until(sub { $host->server->is_stopped }, 'the stop');
    is [$host->log], ['error: a callback of stop died: oh'];
};

subtest 'an application may stop the server and wait for it, before or after its first await' => sub {
    for my $path (qw(/before /after)) {
        my $go = Future->new;
        my ($host, $over);
        my $warnings = warnings {
            $host = T::Host->new(
                async sub {
                    my ($scope) = @_;
                    die if $scope->{type} eq 'lifespan';
                    await $go if $scope->{path} eq '/after';
                    $host->server->stop(0)->get;
                    $over = 1;
                    await Future->new if $scope->{path} eq '/before';
                }
            );
            my $client = $host->get($path);
            $host->until(sub { $over || %{ $host->server->{exchanges} } }, 'the request');
            $go->done;
            $host->until(sub { $client->eof }, 'the end');
        };
        is $warnings, [], "$path: no warnings";
        ok $over;
        ok $host->server->is_stopped;
        undef $host;
        is PAGI::SSE::FFI::handle_count(), 0, 'and nothing is left';
    }
};

subtest 'an application may refuse to start after an await' => sub {
    my $go = Future->new;
    my $warnings = warnings {
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                await $receive->();
                await $go;
                await $send->({ type => 'lifespan.startup.failed', message => 'no database' });
            }
        );
        $go->done;
        ok $host->server->is_stopped;
    };
    is $warnings, [];
};

subtest 'a port in use, a bad address, bad options: clear errors at the caller' => sub {
    my $app = async sub { die };
    my $host = T::Host->new($app);
    my $port = $host->server->port;
    my $here = quotemeta __FILE__;
    for my $case (
        [{ listen => "127.0.0.1:$port" }, qr/cannot listen on '127\.0\.0\.1:$port': the address is already in use/],
        [
            { listen => '127.0.0.1' },
            qr/cannot listen on '127\.0\.0\.1': the address must be HOST:PORT, unix:PATH or fd:NUMBER/
        ],
        [{ listen   => '127.0.0.1:99999' }, qr/must be HOST:PORT/],
        [{ listen   => 'unix:' },           qr/must be HOST:PORT, unix:PATH or fd:NUMBER/],
        [{ listen   => '192.0.2.1:0' },     qr/cannot listen on '192\.0\.2\.1:0': the address cannot be bound/],
        [{ colour   => 'red' },             qr/unknown option 'colour'/],
        [{ max_body => -1 },                qr/'max_body' must be a whole number from 1 to 999999999999999, not '-1'/],
        [
            { max_connections => 4_294_967_297 },
            qr/'max_connections' must be a whole number from 1 to 1000000, not '4294967297'/
        ],
        [{ workers          => 257 },    qr/'workers' must be a whole number from 1 to 256, not '257'/],
        [{ write_timeout    => 0 },      qr/'write_timeout' must be from 0\.001 to 86400 seconds, not '0'/],
        [{ shutdown_timeout => 'soon' }, qr/'shutdown_timeout' must be from 0 to 86400 seconds, not 'soon'/],
        [{ app              => 'name' }, qr/'app' must be a coderef/],
        )
    {
        my ($option, $error) = @$case;
        my $message = dies { PAGI::SSE::Server->new(app => $app, %$option)->start };
        like $message, $error;
        like $message, qr/ at $here line \d+/, 'at our line';
    }
};

subtest 'a Unix socket serves, and a stale one is replaced' => sub {
    require File::Temp;
    require IO::Socket::UNIX;
    my $path = File::Temp->newdir . '/socket';
    my $dir = File::Temp->newdir;
    $path = "$dir/socket";
    IO::Socket::UNIX->new(Local => $path, Listen => 1)->close;
    ok -S $path, 'left over';
    my $scope;
    my $host = T::Host->new(
        async sub {
            $scope = $_[0];
            die if $scope->{type} eq 'lifespan';
            await $_[2]->({ type => 'http.response.start' });
            await $_[2]->({ type => 'http.response.body', body => 'ok' });
        },
        listen => "unix:$path"
    );
    my $socket = IO::Socket::UNIX->new(Peer => $path);
    $socket->blocking(0);
    my $client = bless { socket => $socket, in => '' }, 'T::Host::Client';
    push @{ $host->{clients} }, $client;
    $client->write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    $host->until(sub { $client->ended }, 'the answer');
    is [$scope->{server}, $scope->{client}], [[$path, undef], undef];
    like dies {
        T::Host->new(sub { }, listen => "unix:$path")
    }, qr/already in use/;
    $host->server->stop(1)->get;
    ok !-e $path, 'removed';
};

subtest 'a clock that is set back by an hour does not delay the deadline' => sub {
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} eq 'lifespan';
            await Future->new;
        }
    );
    $host->get('/');
    $host->until(sub { %{ $host->server->{exchanges} } }, 'the request');
    my $stopped = $host->server->stop(0.5);
    my $began = time;
    {
        no warnings 'redefine';
        my $time = \&Time::HiRes::time;
        local *Time::HiRes::time = sub { $time->() - 3600 };
        $host->until(sub { $stopped->is_ready }, 'the stop');
    }
    ok $stopped->is_ready;
    ok time - $began < 5, 'in time';
};

subtest 'a server that goes out of scope ends its streams as a stop does' => sub {
    for my $around (0, 1) {
        my (@closed, $cancelled);
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                die "not here\n" if $scope->{type} eq 'lifespan';
                my $sse = PAGI::SSE->new($scope, $receive, $around ? sub { $send->(@_) } : $send);
                $sse->on_close(sub { push @closed, $_[1] });
                await $sse->send('x');
                my $never = Future->new;
                $never->on_cancel(sub { $cancelled++ });
                await $never;
            }
        );
        my $client = $host->stream;
        $host->until(sub { $client->body }, 'an event');
        my $dummy = PAGI::SSE::Server->new(app => sub { });
        $dummy->stop(0);
        $host->{server} = $dummy;
        is \@closed,   ['server_shutdown'], 'on_close, with the reason';
        is $cancelled, 1,                   'the handler is cancelled';
        $host->wait(0.05), $client->read_some until $client->eof;
        is [$client->body], ["data: x\n\n", 1], 'the last chunk';
    }
};

# A server with one stream, run by $handler->($sse), with and without
# middleware around $send.
sub streaming {
    my ($around, $handler) = @_;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $around ? sub { $send->(@_) } : $send);
            await $sse->send('x');
            await $handler->($sse);
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'an event');
    return $host;
}

for my $around (0, 1) {
    my $how = $around ? ', with middleware' : '';

    subtest "a stop waits for asynchronous on_close callbacks, in their order$how" => sub {
        for my $own_close (0, 1) {
            my (@done, $first);
            my $host = streaming(
                $around,
                async sub {
                    my ($sse) = @_;
                    $sse->on_close(async sub { await($first = Future->new); push @done, 'first' });
                    $sse->on_close(sub { push @done, 'second' });
                    return await $sse->run if !$own_close;
                    $sse->close;
                }
            );
            my $stopped = $host->server->stop(15);
            ok $host->until(sub { $first }), 'the first has begun';
            my $turns = 0;
            $host->until(sub { $turns++ > 5 });
            ok !$stopped->is_ready, 'not stopped yet';
            is \@done, [], 'nor is the second one called';
            $first->done;
            ok $host->until(sub { $stopped->is_ready }), 'stopped';
            is \@done, ['first', 'second'], 'in order';
        }
    };

    subtest "a stop cancels what is left at its deadline$how" => sub {
        my ($left, $cancelled, @called);
        my $wait = sub {
            $left = Future->new;
            $left->on_cancel(sub { $cancelled++ });
            $left;
        };
        my %handler = (
            'the application'         => async sub { await $wait->() },
            'a callback of every'     => async sub { my ($sse) = @_; await $sse->every(1, $wait) },
            'the same, after its end' => async sub {
                my ($sse) = @_;
                await $sse->every(1, async sub { await $sse->close; await $wait->() });
            },
            'a callback of each'   => async sub { my ($sse) = @_; await $sse->each([1], $wait) },
            'an on_close callback' => async sub {
                my ($sse) = @_;
                $sse->on_close(async sub { await $wait->() });
                $sse->on_close(sub { push @called, 'the next one' });
                $sse->close;
            },
        );
        for my $name (sort keys %handler) {
            for my $deadline (0, 0.2) {
                ($left, $cancelled) = (undef, 0);
                my $host = streaming($around, $handler{$name});
                $host->until(sub { $left });
                my $stopped = $host->server->stop($deadline);
                ok $host->until(sub { $stopped->is_ready }), "$name: stopped";
                is $cancelled, 1, "$name: cancelled";
            }
        }
        is \@called, [('the next one') x 2], 'the callback behind it had its turn';
    };
}

subtest 'a part of a head does not hold up a stop, and has neither answer nor line' => sub {
    my @lines;
    my $host = T::Host->new(sub { die "no request\n" }, access_log => sub { push @lines, $_[0] });
    my @halves = map { $host->connect("GET / HTTP/1.1\r\nHost: $_") } 1 .. 5;
    my $last = $host->connect("NONSENSE\r\n\r\n");
    $host->until(sub { $last->eof && @lines }, 'the connections: they are accepted in order');
    @lines = ();
    my $began = time;
    my $stopped = $host->server->stop(10);
    ok $host->until(sub { $stopped->is_ready }), 'stopped';
    ok time - $began < 0.7,                      'at once' or diag time - $began;
    $host->until(
        sub {
            !grep { !$_->eof } @halves;
        },
        'the ends'
    );
    is [map { $_->raw } @halves], [('') x 5], 'no answer';
    is \@lines,                   [],         'no line';
};

subtest 'a deadline is a number of seconds' => sub {
    my $server = PAGI::SSE::Server->new(app => sub { });
    for my $bad (-1, 'x', 'nan', 'inf') {
        is [$server->stop($bad)->failure],
            ["PAGI::SSE::Server->stop: the deadline must be a number of seconds from 0 on, not '$bad' at $0 line "
                . (__LINE__ - 2) . ".\n"
            ], $bad;
    }
};

done_testing;
