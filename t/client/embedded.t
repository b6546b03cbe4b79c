use strict;
use warnings;

# A client of our own server: in another process, in the same one, and within
# its applications.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;
use PAGI::SSE::Client;
use PAGI::SSE::Hub;
use PAGI::SSE::Server;
use T::Host;
use T::Serve;

my $base = PAGI::SSE::FFI::handle_count();

sub client { return PAGI::SSE::Client->new(retry => 100, proxy => 0, @_) }

# Counts from the last id on; three events a connection.
my $counts = async sub {
    my ($scope, $receive, $send) = @_;
    die "no lifespan\n" if $scope->{type} ne 'sse';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    my $from = $sse->last_event_id // 0;
    return await $sse->decline(status => 204) if $from >= 9;
    for my $n ($from + 1 .. $from + 3) { await $sse->send_event(data => "n$n", id => $n) }
};

subtest 'a server in another process' => sub {
    my $server = T::Serve->code(sub {
        my ($ready) = @_;
        my $server = PAGI::SSE::Server->new(app => $counts, listen => '127.0.0.1:0')->start;
        $ready->($server->port);
        $server->run;
    });
    my $client = client(url => $server->url);
    my @seen;
    while (defined(my $event = $client->next->get)) { push @seen, [$event->id, $event->data] }
    is \@seen, [map { [$_, "n$_"] } 1 .. 9], 'each once, over three connections';
    is $client->end_reason, 'no_content';
};

subtest 'a server in the same process, whose dispatch is the loop' => sub {
    my $host = T::Host->new($counts);
    my $client = client(url => $host->server->address . '/x');
    my @seen;
    my $reads = (
        async sub {
            while (defined(my $event = await $client->next)) { push @seen, $event->id }
        }
    )->();
    $host->until(sub { $reads->is_ready }, 'the end');
    is \@seen,            [1 .. 9];
    is [$reads->failure], [];
};

subtest 'an application passes another stream on, as its client takes it' => sub {
    my $upstream = T::Serve->code(sub {
        my ($ready) = @_;
        my $server = PAGI::SSE::Server->new(app => $counts, listen => '127.0.0.1:0')->start;
        $ready->($server->port);
        $server->run;
    });
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} ne 'sse';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            my $client = client(url => $upstream->url);
            while (defined(my $event = await $client->next)) {
                await $sse->send_event(data => $event->data, id => $event->id);
            }
        }
    );
    my $reader = $host->stream('/');
    $host->until(sub { $reader->ended }, 'the end');
    is scalar $reader->body, join '', map { "id: $_\ndata: n$_\n\n" } 1 .. 9;
};

subtest 'a hub resumes it where it was' => sub {
    my $hub = PAGI::SSE::Hub->new(epoch => 'e');
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} ne 'sse';
            await $hub->serve(PAGI::SSE->new($scope, $receive, $send), 'news');
        }
    );
    $hub->publish('news', data => $_) for 1 .. 3;
    my $client = client(url => $host->server->address . '/', last_event_id => 'e.1');
    my @seen;
    my $reads = (
        async sub {
            while (@seen < 3) { push @seen, (await $client->next)->data }
        }
    )->();
    $host->until(sub { @seen == 2 }, 'two');
    $hub->publish('news', data => 4);
    $host->until(sub { @seen == 3 }, 'three');
    is \@seen,                 [2, 3, 4];
    is $client->last_event_id, 'e.4';
    $client->close;
};

is PAGI::SSE::FFI::handle_count(), $base, 'every handle was given back';
done_testing;
