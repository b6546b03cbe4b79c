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
    my $host   = T::Host->new($app);
    my $client = $host->get('/');
    my $turns  = 0;
    $host->until(sub { $turns++ > 3 });
    is \@events, ['lifespan.startup'], 'a request waits for the startup';
    $startup->done;
    $host->until(sub { $client->ended }, 'the answer');
    my $second = $host->get('/');
    $host->until(sub { $second->ended }, 'the answer');
    my $stopped = $host->server->stop(5);
    $host->until(sub { $stopped->is_ready }, 'the stop');
    is \@events, [ 'lifespan.startup', ('http handle') x 2, 'lifespan.shutdown' ];
};

subtest 'an application that refuses to start keeps the server from starting' => sub {
    my $app = async sub { await $_[2]->({ type => 'lifespan.startup.failed', message => 'no database' }) };
    like dies { T::Host->new($app) },
        qr/\APAGI::SSE::Server: the application refused to start: no database at /;
};

subtest 'stop closes each stream in order, tells callbacks, and finishes requests' => sub {
    my (@closed, $answer);
    $answer = Future->new;
    my $host = T::Host->new(async sub {
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
    });
    my @clients = map { $host->stream } 1 .. 3;
    my $http    = $host->get('/');
    $host->until(sub { !grep { !$_->body } @clients }, 'the streams');
    my $stopped = $host->server->stop(5);
    ok !$stopped->is_ready;
    $host->until(sub { $stopped->is_ready && !grep { !$_->eof } @clients, $http }, 'the stop');
    is \@closed, [ ('server_shutdown') x 3 ];
    is [ map { [ $_->body ] } @clients ], [ ([ "data: hello\n\n", 1 ]) x 3 ], 'with the last chunk';
    is scalar $http->body, 'late but whole';
    ok $host->server->is_stopped;
    ok !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->server->port), 'nobody listens';
    is $host->server->dispatch, 0, 'dispatch after the stop does nothing';
};

subtest 'the deadline cuts what does not end, and a second stop shortens it' => sub {
    for my $way (qw(deadline second)) {
        my $host = T::Host->new(async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            await $sse->send('x');
            await Future->new;    # deaf
        });
        my $client = $host->stream;
        $host->until(sub { $client->body }, 'the stream');
        my $from    = time;
        my $stopped = $host->server->stop($way eq 'second' ? 100 : 0.2);
        $host->server->stop(0.2) if $way eq 'second';
        $host->until(sub { $stopped->is_ready && $client->eof }, 'the stop');
        ok time - $from < 5, $way;
    }
};

subtest 'stop waits without a loop: get on its Future runs the server' => sub {
    my $host = T::Host->new(async sub { die });
    is [ $host->server->stop(5)->get ], [];
    ok $host->server->is_stopped;
    is [ $host->server->stop(5)->get ], [], 'twice is fine';
};

subtest 'a port in use, a bad address, bad options: clear errors at the caller' => sub {
    my $app  = async sub { die };
    my $host = T::Host->new($app);
    my $port = $host->server->port;
    my $here = quotemeta __FILE__;
    for my $case (
        [ { listen => "127.0.0.1:$port" }, qr/cannot listen on '127\.0\.0\.1:$port': the address is already in use/ ],
        [ { listen => '127.0.0.1' },       qr/cannot listen on '127\.0\.0\.1': the address must be HOST:PORT or unix:PATH/ ],
        [ { listen => '127.0.0.1:99999' }, qr/must be HOST:PORT/ ],
        [ { listen => 'unix:' },           qr/must be HOST:PORT or unix:PATH/ ],
        [ { listen => '192.0.2.1:0' },     qr/cannot listen on '192\.0\.2\.1:0': the address cannot be bound/ ],
        [ { colour => 'red' },             qr/unknown option 'colour'/ ],
        [ { max_body => -1 },              qr/'max_body' must be a whole number above 0, not '-1'/ ],
        [ { shutdown_timeout => 'soon' },  qr/'shutdown_timeout' must be from 0 to 86400 seconds, not 'soon'/ ],
        [ { app => 'name' },               qr/'app' must be a coderef/ ],
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
    my $path  = File::Temp->newdir . '/socket';
    my $dir   = File::Temp->newdir;
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
    is [ $scope->{server}, $scope->{client} ], [ [ $path, undef ], undef ];
    like dies { T::Host->new(sub { }, listen => "unix:$path") }, qr/already in use/;
    $host->server->stop(1)->get;
    ok !-e $path, 'removed';
};

done_testing;
