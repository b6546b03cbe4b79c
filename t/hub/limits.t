use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;

# max_events and max_bytes of a subscription, to the event and to the byte, and
# what each policy does at them. The first event is in flight and does not
# count; the server accepts no other until it is told.

my $server = T::Hub::Foreign->new;

# Publishes [data, %more] one by one, so that each finds what the ones before
# have left in the queue. What the client gets in the end, and the figures.
sub at_limits {
    my ($option, @events) = @_;
    my $hub = hub();
    my $peer = peer();
    my $sse = $peer->sse;
    my $sub = $hub->subscribe($sse, [qw(t u)], $option);
    $peer->mode('pending');
    $hub->publish('t', data => 'first');
    $server->until(sub { @{ $peer->{pending} } });

    for my $event (@events) {
        my ($data, %more) = ref $event ? @$event : $event;
        my $topic = delete $more{topic} || 't';
        my $before = _counted($sub, $hub);
        $hub->publish($topic, data => $data, %more);
        $server->until(sub { _counted($sub, $hub) > $before });
    }
    $server->until(sub { defined $sse->disconnect_reason }) if $hub->stats->{overflows};
    my $reason = $sse->disconnect_reason;
    $peer->mode('done')->accept;
    $server->until(sub { !$sub->stats->{queued_bytes} });
    my @data = grep { $_ ne '' && $_ ne 'first' } @{ $peer->data };
    my $dropped = $sub->stats->{dropped};
    $sse->close;
    return [\@data, $dropped, $reason];
}

sub _counted {
    my ($sub, $hub) = @_;
    my $stats = $sub->stats;
    return $stats->{delivered} + 2 * $stats->{dropped} + $hub->stats->{overflows};
}

my $BYTES = length block(2, 'x');

for my $limit ([max_events => 3, 1], [max_bytes => 3 * $BYTES, $BYTES]) {
    my ($name, $three, $one) = @$limit;
    subtest "$name: so many wait, and no more" => sub {
        my @fit = (qw(a b c));
        my @more = (@fit, 'd');
        for my $policy (qw(disconnect drop_oldest drop_newest latest)) {
            my %set = (policy => $policy, $name => $three);
            is at_limits(\%set, @fit), [\@fit, 0, undef], "$policy: at the limit";
        }
        my $set = sub { return { policy => $_[0], $name => $three } };
        is at_limits({ $name => $three },   @more), [[], 0, 'queue_overflow'], 'disconnect is the default';
        is at_limits($set->('disconnect'),  @more), [[], 0, 'queue_overflow'], 'disconnect';
        is at_limits($set->('drop_oldest'), @more), [[qw(b c d)], 1, undef], 'drop_oldest';
        is at_limits($set->('drop_newest'), @more), [[qw(a b c)], 1, undef], 'drop_newest';
        is at_limits($set->('latest'),      @more), [[qw(b c d)], 1, undef], 'latest';
        is at_limits({ policy => 'drop_oldest', $name => $one }, @more), [['d'], 3, undef], 'of one';
    };
}

subtest 'the other limit holds, too' => sub {
    is at_limits({ max_events => 2, max_bytes => 3 * $BYTES, policy => 'drop_newest' }, qw(a b c)),
        [[qw(a b)], 1, undef],
        'events';
    is at_limits({ max_events => 3, max_bytes => 2 * $BYTES, policy => 'drop_newest' }, qw(a b c)),
        [[qw(a b)], 1, undef],
        'bytes';
    is at_limits({ max_bytes => 3 * $BYTES - 1, policy => 'drop_newest' }, qw(a b c)), [[qw(a b)], 1, undef],
        'one byte less';
    is at_limits({ max_events => 2**32 - 1, max_bytes => 999_999_999_999_999 }, qw(a b c)), [[qw(a b c)], 0, undef],
        'the largest limits';
};

subtest 'a single event may pass the limits' => sub {
    my $large = 'x' x 1000;
    is at_limits({ max_bytes => 10 }, $large), [[$large], 0, undef], 'when nothing waits';
    is at_limits({ max_bytes => 10, policy => 'drop_oldest' }, 'a', $large), [[$large], 1, undef], 'instead of others';
    is at_limits({ max_bytes => 10, policy => 'drop_newest' }, 'a', $large), [['a'], 1, undef], 'but not over others';
};

subtest 'latest keeps the newest of each topic and key, where the newest would be' => sub {
    my %key = (key => 'k');
    is at_limits({ policy => 'latest' }, [t1 => %key], [u1 => %key, topic => 'u'], 'plain', [t2 => %key]),
        [[qw(u1 plain t2)], 1, undef], 'one key on two topics';
    is at_limits(
        { policy => 'latest' },
        [a1 => key => 'a'],
        [b1 => key => 'b'],
        [a2 => key => 'a'],
        [b2 => key => 'b']
        ),
        [[qw(a2 b2)], 2, undef], 'two keys';
    is at_limits({ policy => 'drop_oldest' }, map { [$_ => %key] } 1, 2), [[1, 2], 0, undef],
        'others do not care for keys';
};

done_testing;
