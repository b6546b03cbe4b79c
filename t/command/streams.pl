# Streams for the tests of the commands: each path is a case.
use strict;
use warnings;

use Future::AsyncAwait;
use Future::IO     ();
use PAGI::SSE      ();
use PAGI::SSE::Hub ();

my $hub = PAGI::SSE::Hub->new;
my $tick;

my %stream = (
    '/mixed' => async sub {
        my ($sse) = @_;
        await $sse->send_event(data => 'one',            id    => '1');
        await $sse->send_event(data => { ACME => 1 },    event => 'price', retry => 1500);
        await $sse->send_event(data => "line 1\nline 2", id    => '3');
        await $sse->send_event(data => "\xE9",           event => 'note', id => '');
        await $sse->run;
    },
    '/echo' => async sub {
        my ($sse) = @_;
        my @said = $sse->method;
        for my $name (qw(last-event-id x-token content-type)) {
            push @said, "$name=" . $sse->header($name) if defined $sse->header($name);
        }
        my $body = await $sse->body;
        push @said, "body=$body" if length $body;
        await $sse->send("@said");
        await $sse->run;
    },
    # Ends after one event, and goes on where the client says.
    '/short' => async sub {
        my ($sse) = @_;
        my $id = $sse->last_event_id;
        if (defined $id) {
            await $sse->send("after $id");
            return await $sse->run;
        }
        await $sse->send_comment(' kept alive');
        await $sse->send_event(data => 'all', id => 's-1', retry => 10);
        await $sse->close;
    },
    '/endless' => async sub {
        my ($sse) = @_;
        await $sse->every(0.01, sub { $sse->try_send('tick') });
    },
    '/gone' => async sub { await $_[0]->decline },
    '/page' => async
        sub { await $_[0]->decline(status => 200, headers => [['content-type', 'text/html']], body => 'x') },
    '/lumps' => async sub {
        my ($sse) = @_;
        my $number = 0;
        await $sse->every(0.2, async sub { await $sse->send_event(data => 'x' x 100, id => ++$number, retry => 2000) });
    },
    '/silent' => async sub {
        await $_[0]->send('one')->then(sub { $_[0]->run });
    },
    '/kept' => async sub { await $_[0]->keepalive(0.5); await $_[0]->run },
    # All who read it get the same.
    '/shared' => async sub { await $hub->serve($_[0], 'ticks') },
    '/full'   => async sub { await $hub->serve($_[0], 'loud') },
);

async sub tick {
    while (1) {
        await Future::IO->sleep(0.2);
        $hub->publish('ticks', data => 'x' x 50);
        $hub->publish('loud',  data => 'x' x 400);
    }
}

async sub app {
    my ($scope, $receive, $send) = @_;
    $tick ||= tick();
    die "streams: unsupported scope type '$scope->{type}'\n" if $scope->{type} ne 'sse';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    my $stream = $stream{ $sse->path } or return await $sse->decline(status => 404, body => "no\n");
    await $stream->($sse);
}

\&app;
