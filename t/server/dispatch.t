use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;

# What one record does to the others of its batch.

async sub answer {
    my ($send, $body) = @_;
    await $send->({ type => 'http.response.start' });
    await $send->({ type => 'http.response.body', body => $body });
}

async sub hello {
    my ($scope, $receive, $send) = @_;
    die "not here\n" if $scope->{type} eq 'lifespan' || $scope->{path} eq '/die';
    await answer($send, 'ok');
}

sub status_of {
    my ($host, $path) = @_;
    my $client = $host->get($path);
    $host->until(sub { $client->ended }, 'an answer');
    return $client->status;
}

subtest 'an access_log that dies is logged, and the server still serves' => sub {
    my $host = T::Host->new(\&hello, access_log => sub { die "disk full\n" });
    is [map { status_of($host, '/') } 1 .. 3], [200, 200, 200];
    $host->until(sub { $host->log == 3 }, 'the log');
    is [$host->log], [('error: access_log died: disk full') x 3];
};

subtest 'a warn handler that dies, where there is no on_log, costs the line its handler alone' => sub {
    my $host = T::Host->new(\&hello, on_log => undef);
    my $said = '';
    {
        local $SIG{__WARN__} = sub { die "no warnings here\n" };
        open my $err, '>', \$said or die $!;
        local *STDERR = $err;
        is status_of($host, '/die'), 500;
    }
    is $said,                 "PAGI::SSE::Server: error: the application died (GET /die): not here\n";
    is status_of($host, '/'), 200;
};

subtest 'a request that cannot be handed over is answered with 500, and its handle is freed' => sub {
    my $host = T::Host->new(\&hello, access_log => sub { });
    {
        no warnings qw(redefine once);
        local *PAGI::SSE::Server::Request::bind = sub { die "broken\n" };
        is status_of($host, '/'), 500;
    }
    is [$host->log],          ['error: internal error in a record of type 1: broken'];
    is status_of($host, '/'), 200;
    $host->until(sub { PAGI::SSE::FFI::handle_count() == 1 }, 'the handles');
    is PAGI::SSE::FFI::handle_count(), 1, 'the server only';
};

subtest 'an application that waits inside a batch does not lose the ends of later requests in it' => sub {
    my ($host, $watcher, @events);
    $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            if ($scope->{type} eq 'sse') {
                push @events, 'watch';
                while (1) {
                    my $event = await $receive->();
                    push @events, $event->{reason} if $event->{type} eq 'sse.disconnect';
                    return if $event->{type} eq 'sse.disconnect';
                }
            }
            push @events, 'wait';
            $watcher->close;
            $host->until(sub { $events[-1] eq 'client_closed' }, 'the end of the other');
            await answer($send, 'ok');
        }
    );
    my $client = $host->get('/');
    $watcher = $host->stream;
    my $next = \&PAGI::SSE::FFI::server_next;
    my %batch;
    {
        no warnings 'redefine';
        # Both requests at once, in that order; then as ever.
        local *PAGI::SSE::FFI::server_next = sub {
            return $next->(@_) if @events;
            $batch{ unpack 'x9 C', $_ } = $_ for $next->(@_);
            return keys %batch == 2 ? @batch{ 0, 1 } : ();
        };
        $host->until(sub { $client->ended }, 'the answer');
    }
    is \@events,        ['wait', 'watch', 'client_closed'];
    is $client->status, 200;
};

done_testing;
