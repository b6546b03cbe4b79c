use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;
use PAGI::SSE::FFI;

# The end of subscriptions, and connections that cannot have one.

on_each_server 'close ends the streams of a topic, or all, with a reason' => sub {
    my ($server) = @_;
    my $hub = hub();
    my @closed;
    my $comes = sub {
        my (@topics) = @_;
        return $server->client(
            async sub {
                my ($sse) = @_;
                $sse->on_close(sub { push @closed, "@topics $_[1]" });
                $hub->subscribe($sse, @topics);
                await $sse->run;
            }
        );
    };
    my %client = map { $_ => $comes->(split / /) } 'a', 'a b', 'b', 'c', 'all';
    $hub->publish($_, data => $_) for qw(a b);
    is $hub->close('a', reason => 'x-over'), 2, 'how many';
    $hub->publish('a', data => 'late');
    $client{a}->ends;
    $client{a}->gets(cursor(0) . block(1, 'a'), 'what was published before arrives');
    $client{'a b'}->ends;
    $client{'a b'}->gets(cursor(0) . block(1, 'a') . block(2, 'b'), 'of all its topics');
    until_ok($server, sub { @closed == 2 }, 'on_close');
    is [sort @closed],        ['a b x-over', 'a x-over'], 'with the reason';
    is $hub->close('a'),      0,                          'nobody there';
    is $hub->close('nobody'), 0,                          'nor here';
    is $hub->close('all'),    1,                          'a topic may be called so';
    $client{all}->ends;
    is $hub->close('b', reason => undef), 1, 'without a reason';
    until_ok($server, sub { @closed == 4 }, 'on_close');
    is [sort @closed[2, 3]], ['all app_closed', 'b app_closed'], 'app_closed';
    $comes->('b');
    is $hub->close(reason => 'x-all'), 2, 'all of them';
    $client{c}->ends;
    until_ok($server, sub { @closed == 6 }, 'on_close');
    is [sort @closed[4, 5]],       ['b x-all', 'c x-all'], 'with the reason';
    is $hub->close,                0,                      'none is left';
    is $hub->stats->{connections}, 0,                      'connections';
};

on_each_server 'unsubscribe ends the events, not the stream; another subscription may follow' => sub {
    my ($server) = @_;
    my $hub = hub();
    my ($sse, $sub);
    my $client = $server->client(async sub { ($sse) = @_; $sub = $hub->subscribe($sse, 't'); await $sse->run });
    my @got = cursor(0);
    my $gets = sub { push @got, $_[0]; $client->gets(join('', @got), $_[1]) };
    $hub->publish('t', data => 1);
    ref_is $sub->unsubscribe, $sub, 'unsubscribe returns the object';
    $hub->publish('t', data => 2);
    $gets->(block(1, 1), 'what was published before, and no more');
    ref_is $sub->unsubscribe, $sub, 'twice';
    is $sub->stats->{active},  F(), 'it is over';
    is $hub->subscribers('t'), 0,   'nobody';
    ok $sse->is_started, 'the stream is not';
    $sse->send('direct');
    $gets->("data: direct\n\n", 'a send');
    my $next = $hub->subscribe($sse, ['u'], { last_event_id => undef });
    $hub->publish('u', data => 3);
    $hub->publish('t', data => 4);
    $gets->(cursor(2) . block(3, 3), 'other topics now');
    $sub->unsubscribe;
    is $next->stats->{active}, T(), 'the first one has no say in that';
    $next->unsubscribe;
    $hub->subscribe($sse, ['t'], { last_event_id => 'e.1' });
    $gets->(block(2, 2) . block(4, 4), 'and resumed where it left');
};

on_each_server 'a connection has one subscription: a second one is refused, and changes nothing' => sub {
    my ($server) = @_;
    my ($hub, $other) = (hub(), hub(epoch => 'other'));
    my $sse;
    my $client = $server->client(async sub { ($sse) = @_; $hub->subscribe($sse, 'a'); await $sse->run });
    my $handles = PAGI::SSE::FFI::handle_count();
    for ([$hub, 'b'], [$hub, 'a'], [$other, 'a']) {
        my ($of, $topic) = @$_;
        like dies { $of->subscribe($sse, $topic) },
            qr/\APAGI::SSE::Hub->subscribe: the connection has a subscription already at \Q$0\E/, 'subscribe';
        like failure_of($of->serve($sse, $topic)), qr/->serve: the connection has a subscription already at/, 'serve';
    }
    is PAGI::SSE::FFI::handle_count(), $handles, 'no handle';
    is [$hub->topics],                 ['a'],    'no topic';
    is [$other->topics],               [],       'nor there';
    $hub->publish($_, data => $_) for qw(b a);
    $client->gets(cursor(0) . block(2, 'a'), 'the first goes on');
};

on_each_server 'a hub that goes leaves the streams open, for another one perhaps' => sub {
    my ($server) = @_;
    my $hub = hub();
    my ($sse, $sub);
    my $client = $server->client(async sub { ($sse) = @_; $sub = $hub->subscribe($sse, 't'); await $sse->run });
    $hub->publish('t', data => 1);
    undef $hub;
    $client->gets(cursor(0) . block(1, 1), 'what was published arrives');
    ok $sse->is_started, 'open';
    is $sub->stats->{active}, F(), 'not active';
    $hub = hub(epoch => 'next');
    $hub->subscribe($sse, 't');
    $hub->publish('t', data => 2);
    $client->gets(cursor(0) . block(1, 1) . "id: next.0\n\nid: next.1\ndata: 2\n\n", 'the next one');
};

on_each_server 'a connection that has ended gets a subscription that has ended, and no error' => sub {
    my ($server) = @_;
    my $hub = hub();
    my @done;
    for my $how (qw(close decline)) {
        $server->client(
            async sub {
                my ($sse) = @_;
                await $sse->$how;
                my $handles = PAGI::SSE::FFI::handle_count();
                my $sub = $hub->subscribe($sse, ['t'], { last_event_id => 'f.1', on_reset => sub { fail 'on_reset' } });
                is $sub->stats, { delivered => 0, dropped => 0, queued_bytes => 0, active => F() }, "$how: it says so";
                is [$sub->is_resumed, $sub->reset_reason], [F(), undef], 'neither resumed nor reset';
                ref_is $sub->unsubscribe, $sub, 'nothing to end';
                await $hub->serve($sse, 't');
                is PAGI::SSE::FFI::handle_count(), $handles, 'no handle';
                push @done, $how;
            }
        );
    }
    is \@done,         [qw(close decline)], 'both';
    is [$hub->topics], [],                  'nothing has begun';
};

done_testing;
