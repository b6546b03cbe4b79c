use strict;
use warnings;

# The C examples, built as their heads say, each against a real HTTP client.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;
use T::Client;
use T::Serve;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();

use constant CLIENTS => 1_000;

sub example {
    my ($name, %option) = @_;
    return T::CAPI::build(T::CAPI::root() . "/examples/c/$name.c", %option);
}

subtest 'frame.c writes frames and says what it cannot write' => sub {
    my $program = example('frame');
    my ($output, $status) = T::CAPI::run([$program, 'one', "two\nlines"]);
    is $output, ":made by frame.c\n\nid: 1\ndata: one\n\nid: 2\ndata: two\ndata: lines\n\n";
    is $status, 0;
    ($output, $status) = T::CAPI::run([$program, "\xff"]);
    like $output, qr/event 1: the text is not well-formed UTF-8/;
    is $status, 1;
};

my $broadcast = example('broadcast');

# Its ids are those of its hub: EPOCH.NUMBER.
sub seq { my ($event) = @_; return $event->{id} =~ /\A[0-9]+\.([0-9]+)\z/ ? $1 : undef }

subtest 'broadcast.c serves its page and its clock' => sub {
    my $server = T::Serve->program($broadcast, '127.0.0.1:0', 20);
    my $page = T::Client->fetch($server->port, GET => '/');
    is $page->status, 200;
    like $page->received, qr/new EventSource\('\/events'\)/;

    my $client = T::Client->stream(port => $server->port);
    is $client->status,                 200;
    is $client->header('content-type'), 'text/event-stream';
    my @events = $client->events(3);
    like $_->{data}, qr/\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\z/, 'a time' for @events;
    is [map { seq($_) } @events], [map { seq($events[0]) + $_ } 0 .. 2], 'one after the other';
    like $client->received, qr/\Aid: [0-9]+\.[0-9]+\n\nid: $events[0]{id}\ndata: /, 'an id before the first event';

    if (my $curl = T::CAPI::command('curl')) {
        my ($output) =
            T::CAPI::run([$curl, '-sN', '--max-time', '1', '-H', 'Accept: text/event-stream', $server->url('/events')]);
        like $output, qr/\Aid: [0-9.]+\n\n(?:id: [0-9.]+\ndata: [\d :-]+\n\n)+\z/, 'curl sees the same';
    }
    is $server->stop, 0,            'SIGTERM ends it in order';
    is $client->end,  'last chunk', 'its client sees the end of the stream';
    like $server->log, qr/clients, \d+ ticks/;
};

subtest 'broadcast.c gives a client that comes back what it missed, and no more' => sub {
    my $server = T::Serve->program($broadcast, '127.0.0.1:0', 20);
    my ($stays, $leaves) = map { T::Client->stream(port => $server->port) } 1 .. 2;
    my $seen = ($leaves->events(2))[-1];
    my ($cursor) = $leaves->received =~ /\Aid: (\S+)\n\n/;
    $leaves->close;
    $stays->event_where(sub { seq($_) >= seq($seen) + 3 });
    my @ids = ($cursor, $seen->{id});
    my @back = map { T::Client->stream(port => $server->port, last_event_id => $_) } @ids;
    is [map { seq($_->event) - 1 } @back], [map { /\.([0-9]+)\z/ } @ids], 'the next one, not that of now';
    my $unknown = T::Client->stream(port => $server->port, last_event_id => '1.1');
    is $unknown->event, { event => 'reset', data => '{"reason":"unknown_id"}', last_id => '' }, 'an id of another run';

    is $server->stop, 0;
    is $_->end, 'last chunk' for $stays, @back, $unknown;
    for my $id (@ids) {
        my ($missed) = $stays->received =~ /^id: \Q$id\E\n(?:data: [^\n]*\n)?\n(.*)\z/ms;
        is shift(@back)->received, $missed, "after $id: the very bytes that the one that stayed got";
    }
    my ($all) = $unknown->received =~ /\Aevent: reset\ndata: \{"reason":"unknown_id"\}\n\n(.*)\z/s;
    my @numbers = $all =~ /\Gid: [0-9]+\.([0-9]+)\ndata: [\d :-]+\n\n/g;
    is \@numbers, [1 .. @numbers], 'who has an unknown one gets all, each once';
    like $server->log, qr/ clients, ${\ scalar @numbers} ticks$/m, 'to the last';
};

subtest 'broadcast.c has ' . CLIENTS . ' clients, and each gets every tick' => sub {
    # Each client is a descriptor here, and another in the server.
    my $files = (T::CAPI::run(['sh', '-c', 'ulimit -n']))[0];
    return skip_all("ulimit -n is $files") if $files =~ /^\d+$/ && $files < CLIENTS + 100;
    my $server = T::Serve->program($broadcast, '127.0.0.1:0', 200);
    my @clients = map { T::Client->stream(port => $server->port) } 1 .. CLIENTS;
    my $bad = grep { $_->status != 200 } @clients;
    is $bad, 0, 'all are answered';
    my %seen;

    for my $client (@clients) {
        my @ids = map { seq($_) } $client->events(4);
        $bad++ if @ids != 4 || grep { $ids[$_] != $ids[0] + $_ } 1 .. $#ids;
        $seen{ $ids[-1] }++;
    }
    is $bad, 0, 'four ticks each, none missing, none twice';
    $_->close for @clients[0 .. CLIENTS / 2 - 1];
    my $left = $clients[-1];
    # A tick after it has seen them go, which closes its descriptors.
    my $open = sub { scalar(() = glob "/proc/@{[$server->pid]}/fd/*") };
    my $by = time + 20;
    $left->events(1) while $open->() > CLIENTS / 2 + 50 && time < $by;
    $left->events(2);
    is $server->stop, 0;
    my ($count) = $server->log =~ /(\d+) clients, \d+ ticks/;
    is $count,     CLIENTS / 2,  'those who left are forgotten';
    is $left->end, 'last chunk', 'the others see the end';
};

subtest 'libev_host.c drives the wake-up descriptor from libev' => sub {
    my $program = eval { example('libev_host', flags => [], more => ['-lev']) };
    return skip_all('no libev: ' . ($@ =~ /(ev\.h[^\n]*|-lev[^\n]*)/)[0])
        if !defined $program && $@ =~ /\bev\.h|-lev\b/;
    ok defined $program, 'it builds' or return diag $@;
    my $server = T::Serve->program($program, 0);
    my @clients = map { T::Client->stream(port => $server->port) } 1 .. 20;
    for my $client (@clients) {
        my $event = $client->event;
        is $event->{event}, 'tick';
        like $event->{data}, qr/\A\{"now":\d+,"clients":\d+\}\z/, 'compacted';
    }
    $_->close for splice @clients, 0, 10;
    my $left = $clients[0];
    ok $left->event_where(sub { $_->{data} =~ /"clients":10\}/ }), 'it notices who leaves';
    is $server->stop, 0;
    is $left->end,    'last chunk';
};

done_testing;
