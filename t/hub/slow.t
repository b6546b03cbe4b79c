use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use PAGI::SSE;
use PAGI::SSE::Hub;

# Clients that stop reading, one for each policy, among many that do not.

use constant {
    CLIENTS => $ENV{HUB_CLIENTS} || 1000,
    EVENTS  => 200,
    BULK    => 16 * 1024,
};

# Events of a client's stream, as [id, data], complete ones only.
sub events_of {
    my ($client) = @_;
    my $body = $client->body;
    my @events;
    while ($body =~ /\G(.*?)\n\n/gs) {
        my $block = $1;
        my ($id) = $block =~ /^id: (?:e\.)?(.*)$/m;
        my ($data) = $block =~ /^data: (.*)$/m;
        push @events, [$id, $data] if defined $data;
    }
    return @events;
}

# Those of the topic that all clients have.
sub numbers {
    my ($client) = @_;
    return map { $_->[1] } grep { $_->[1] =~ /\A\d+\z/ } events_of($client);
}

# Fills the sockets of clients that do not read, and their queues.
sub stop_up {
    my ($host, $hub, @subs) = @_;
    my $published = 0;
    my $is_full = sub {
        !grep { $_->stats->{active} && $_->stats->{queued_bytes} < 5 * BULK } @subs;
    };
    $host->until(
        sub {
            return 1 if $is_full->();
            $hub->publish('bulk', data => 'x' x BULK) for 1 .. 4;
            $published += 4;
            return 0;
        },
        'full sockets'
    );
    return $published;
}

subtest 'one slow client of each policy costs ' . CLIENTS . ' others nothing' => sub {
    my $hub =
        PAGI::SSE::Hub->new(epoch => 'e', replay => { events => 100_000, bytes => 1 << 28 }, total_bytes => 1 << 29);
    my %set = (
        disconnect  => { max_events => 50 },
        drop_oldest => { max_events => 10 },
        drop_newest => { max_events => 10 },
        latest      => { max_events => 50 },
    );
    my (%sub, @closed);
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            my $policy = substr $sse->path, 1;
            if ($policy) {
                $sse->on_close(sub { push @closed, [$policy, $_[1]] });
                $sub{$policy} = $hub->subscribe($sse, [qw(t bulk)], { policy => $policy, %{ $set{$policy} } });
            }
            else { $hub->subscribe($sse, 't') }
            await $sse->run;
        }
    );
    my @clients = map { $host->stream } 1 .. CLIENTS;
    my %slow = map { $_ => $host->stream("/$_") } sort keys %set;
    $host->until(sub { $hub->subscribers('t') == CLIENTS + keys %set }, 'the subscriptions');
    $_->{paused} = 1 for values %slow;

    my $bulk = stop_up($host, $hub, values %sub);
    for my $n (1 .. EVENTS) {
        $hub->publish('t', data => $n, key => 'k' . $n % 5);
        $host->until(sub { 1 }) if !($n % 20);
    }
    my $last = 'data: ' . EVENTS . "\n\n";
    $host->until(
        sub {
            !grep { index($_->{in}, $last) < 0 } @clients;
        },
        'the others'
    );
    my @want = (1 .. EVENTS);
    is scalar(grep { "@want" ne join ' ', numbers($_) } @clients), 0, 'the others got each event, in order';

    $host->until(sub { @closed }, 'the overflow');
    is \@closed, [[disconnect => 'queue_overflow']], 'policy disconnect: the reason';
    # The record comes while the hub is still at it.
    $host->until(sub { $hub->stats->{overflows} && $hub->subscribers('t') == CLIENTS + 3 }, 'the count');
    is $hub->stats->{overflows}, 1,           'counted';
    is $hub->subscribers('t'),   CLIENTS + 3, 'the others of them stay';

    my $total = $bulk + EVENTS;
    my $dropped = 0;
    my $counted = sub { my $stats = $_[0]->stats; $stats->{delivered} + $stats->{dropped} };
    $host->until(
        sub {
            !grep { $counted->($sub{$_}) < $total } qw(drop_oldest drop_newest latest);
        },
        'all delivered'
    );
    for my $policy (qw(drop_oldest drop_newest latest)) {
        my $stats = $sub{$policy}->stats;
        $dropped += $stats->{dropped};
        is $stats->{delivered} + $stats->{dropped}, $total, "$policy: each event is counted";
        cmp_ok $stats->{dropped}, '>=', EVENTS - 50, 'most were dropped';
    }
    $host->until(sub { $hub->stats->{dropped} == $dropped }, 'the sum');
    is $hub->stats->{dropped}, $dropped, 'in sum, too';

    $_->{paused} = 0 for values %slow;
    $host->until(
        sub {
            !grep { $_->stats->{queued_bytes} } @sub{qw(drop_oldest drop_newest latest)};
        },
        'drained'
    );
    $hub->publish('t', data => 'end');
    $host->until(
        sub {
            !grep { $slow{$_}{in} !~ /data: end\n\n/ } qw(drop_oldest drop_newest latest);
        },
        'the end'
    );
    my %got = map { $_ => [numbers($slow{$_})] } keys %slow;
    is $got{drop_oldest}, [EVENTS - 9 .. EVENTS],        'drop_oldest: the newest';
    is $got{drop_newest}, [1 .. @{ $got{drop_newest} }], 'drop_newest: the oldest';
    cmp_ok scalar @{ $got{drop_newest} }, '<', 10;
    is $got{latest}, [EVENTS - 4 .. EVENTS], 'latest: the newest of each key';
    for my $policy (qw(drop_oldest drop_newest latest)) {
        my $delivered = grep { $_->[1] ne 'end' } events_of($slow{$policy});
        is $delivered, $sub{$policy}->stats->{delivered} - 1, "$policy: got what was counted as delivered";
    }

    $host->until(sub { $slow{disconnect}->eof }, 'the cut');
    my @seen = map { $_->[0] } events_of($slow{disconnect});
    is \@seen, [1 .. @seen], 'disconnect: no gap before';
    my $again = $host->stream('/disconnect', 'Last-Event-ID: e.' . ($seen[-1] || 0));
    $host->until(sub { $again->{in} =~ /data: end\n\n/ }, 'it comes back');
    my @rest = map { $_->[0] } events_of($again);
    is \@rest, [@seen + 1 .. $total + 1], 'and has all that it missed, once';
    ok $sub{disconnect}->is_resumed;
};

subtest 'ready pends while a client is above its high mark' => sub {
    my $hub = PAGI::SSE::Hub->new(epoch => 'e');
    my $sub;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            $sub = $hub->subscribe($sse, 'bulk');
            await $sse->run;
        }
    );
    ok $hub->ready->is_done, 'nobody there';
    for my $how (qw(drains leaves)) {
        undef $sub;
        my $client = $host->stream;
        $host->until(sub { $sub && $client->{in} }, 'the stream');
        $client->{paused} = 1;
        stop_up($host, $hub, $sub);
        is $hub->stats->{high}, 1, 'above its mark';
        my $ready = $hub->ready;
        my $turns = 0;
        $host->until(sub { $turns++ > 5 });
        ok !$ready->is_ready, 'pending';
        if   ($how eq 'drains') { $client->{paused} = 0 }
        else                    { $client->reset }
        $host->until(sub { $ready->is_ready }, 'ready');
        ok $ready->is_done, "done once it $how";
        is $hub->stats->{high}, 0;
        $client->close;
        $host->until(sub { !$hub->subscribers('bulk') }, 'nobody');
    }
};

done_testing;
