use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# What an application publishes and what it sends to one connection arrive in
# the order of the calls, nothing awaited.

sub subscribed {
    my ($hub, $server, $sse, @option) = @_;
    return $server->client(async sub { $$sse = $_[0]; $hub->subscribe($$sse, ['t'], @option); await $$sse->run });
}

on_each_server 'publish, send, publish, close' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $client = subscribed($hub, $server, \my $sse);
    my @want = cursor(0);
    my $n = 0;
    my @send = (
        [sub { $_[0]->send('a') },                                    "data: a\n\n"],
        [sub { $_[0]->send("\x{263a}") },                             "data: \xE2\x98\xBA\n\n"],
        [sub { $_[0]->send_event(data => 'b', id => 'own') },         "id: own\ndata: b\n\n"],
        [sub { $_[0]->send_json([1]) },                               "data: [1]\n\n"],
        [sub { $_[0]->send_comment('c') },                            ":c\n\n"],
        [sub { $_[0]->try_send('d') },                                "data: d\n\n"],
        [sub { $_[0]->try_send_event(data => 'e', event => "\xe9") }, "event: \xC3\xA9\ndata: e\n\n"],
        [sub { $_[0]->try_send_comment('f') },                        ":f\n\n"],
    );
    for (@send, @send) {
        my ($send, $bytes) = @$_;
        $hub->publish('t', data => $_) for 1, 2;
        $send->($sse);
        push @want, block(++$n, 1), block(++$n, 2), $bytes;
    }
    $hub->publish('t', data => 'last');
    my $closing = $sse->close;
    $hub->publish('t', data => 'late');
    $client->ends;
    $client->gets(join('', @want, block(++$n, 'last')), 'in order');
    ok $closing->is_done, 'close';
    is $hub->subscribers('t'), 0, 'nobody is left';
};

on_each_server 'publish, unsubscribe, send' => sub {
    my ($server) = @_;
    my $hub = hub();
    my ($sse, $sub);
    my $client = $server->client(async sub { ($sse) = @_; $sub = $hub->subscribe($sse, 't'); await $sse->run });
    $hub->publish('t', data => 1);
    $sub->unsubscribe;
    $hub->publish('t', data => 2);
    $sse->send('direct');
    $client->gets(cursor(0) . block(1, 1) . "data: direct\n\n", 'in order');
};

on_each_server 'a send behind large events' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $client = subscribed($hub, $server, \my $sse);
    my $large = 'x' x 100_000;
    my $want = cursor(0);
    for my $n (1 .. 5) {
        $hub->publish('t', data => $large);
        $sse->send($n);
        $want .= block($n, $large) . "data: $n\n\n";
    }
    $client->gets($want, 'in order');
};

# ---- under another server, that makes us wait, fails, or sends itself

sub foreign {
    my ($name, $code) = @_;
    return subtest $name => sub {
        my $server = T::Hub::Foreign->new;
        my $hub = hub();
        my $client = subscribed($hub, $server, \my $sse);
        $code->($hub, $sse, $client->peer, $server);
        $client->peer->accept;
        $server->end;
    };
}

sub is_order { my ($peer, $want, $name) = @_; return is $peer->data, ['', @$want], $name }

foreign 'a server that makes us wait' => sub {
    my ($hub, $sse, $peer, $server) = @_;
    $peer->mode('pending');
    $hub->publish('t', data => $_) for 1 .. 3;
    until_ok($server, sub { @{ $peer->{pending} } }, 'the first is in flight');
    $hub->publish('t', data => $_) for 4, 5;
    my @sent = map { $sse->send($_) } 'a', 'b';
    $hub->publish('t', data => 6);
    push @sent, $sse->send('c');
    $hub->publish('t', data => 7);
    $server->turn for 1 .. 3;
    ok !grep({ $_->is_ready } @sent), 'the sends wait';

    for (1 .. 10) {
        is scalar @{ $peer->{pending} }, 1, 'one in flight';
        $peer->accept(1);
        $server->turn;
    }
    is_order($peer, [1 .. 5, qw(a b), 6, 'c', 7], 'in order');
    ok !grep({ !$_->is_done } @sent), 'the sends are done';
    is $peer->{most}, 1, 'never two in flight';
};

foreign 'close sends what was published before, though the server makes us wait' => sub {
    my ($hub, $sse, $peer, $server) = @_;
    $peer->mode('pending');
    my $large = 'x' x 20_000;
    $hub->publish('t', data => $_) for 1, $large, 3;
    $sse->send('a');
    $hub->publish('t', data => 4);
    $sse->close(reason => 'x-over');
    $hub->publish('t', data => 'late');
    ok $sse->is_closed, 'closed at once';
    $peer->accept;
    is_order($peer, [1, $large, 3, 'a', 4], 'all');
    is $peer->events->[-1], { type => 'sse.close', reason => 'x-over' }, 'and then the end';
};

foreign 'a full queue refuses a send, and leaves what is published to its policy' => sub {
    my ($hub, undef, undef, $server) = @_;
    my $peer = peer(options => [max_queue_events => 3]);
    my $sse = $peer->sse;
    my $sub = $hub->subscribe($sse, ['t'], { policy => 'drop_oldest', max_events => 2 });
    $peer->mode('pending');
    my @sent = map { $sse->send($_) } 'a' .. 'd';
    $hub->publish('t', data => $_) for 1 .. 5;
    like failure_of($sse->send('e')), qr/queue_overflow/, 'refused';
    until_ok($server, sub { $sub->stats->{dropped} }, 'the policy is in force');
    # Of the hub's events one may be in the queue by now.
    $peer->accept(2);
    push @sent, $sse->send('f');
    $hub->publish('t', data => 6);
    like failure_of($sse->send('g')), qr/queue_overflow/, 'what is published counts in the queue';
    ok !grep({ $_->is_failed } @sent), 'nothing else failed';
    until_ok($server, sub { $peer->accept(1); $peer->data->[-1] eq 6 }, 'all went');
    my @data = @{ $peer->data };
    is [grep { /[a-z]/ } @data], ['a' .. 'd', 'f'],                     'sends';
    is [grep { /\d/ } @data],    bag { item 6; etc },                   'and events, dropped ones aside';
    is $sub->stats,              hash { field queued_bytes => 0; etc }, 'nothing waits';
    $sse->close;
    $peer->accept;
};

foreign 'a $send that sends, publishes and closes in the middle' => sub {
    my ($hub, undef, undef, $server) = @_;
    my ($sse, @data, @sent);
    my $peer = peer();
    my %reaction = (
        1 => sub { $hub->publish('t', data => 4); push @sent, $sse->send('a'), $sse->send_comment('b') },
        a => sub { $hub->publish('t', data => 5); push @sent, $sse->send('c'); $hub->publish('t', data => 6) },
        6 => sub { push @sent, $sse->send('d'); $sse->close },
    );
    my $depth = 0;
    my $send = sub {
        my ($event) = @_;
        is ++$depth, 1, 'one call at a time';
        push @data, $event->{type} eq 'sse.send' ? $event->{data} : $event->{type};
        my $react = delete $reaction{ $data[-1] };
        $react->() if $react;
        $depth--;
        return Future->done;
    };
    $sse = PAGI::SSE->new($peer->scope, $peer->receive, $send);
    $hub->subscribe($sse, 't');
    $hub->publish('t', data => $_) for 1 .. 3;
    until_ok($server, sub { $sse->is_closed }, 'all');
    is \@data, ['sse.start', '', 1 .. 4, 'a', 'sse.comment', 5, 'c', 6, 'd', 'sse.close'], 'in order';
    is scalar(grep { !$_->is_done } @sent), 0,                                             'the sends are done';
};

foreign 'a $send that fails under what was published fails the send behind it' => sub {
    my ($hub, undef, undef, $server) = @_;
    for my $mode (qw(die fail)) {
        my $peer = peer();
        my $sse = $peer->sse;
        my @closed;
        $sse->on_close(sub { push @closed, $_[1] });
        my $sub = $hub->subscribe($sse, 't');
        my $before = @{ $peer->events };
        $peer->mode($mode);
        $hub->publish('t', data => 1);
        like failure_of($sse->send('a')), qr/Cannot send on closed SSE connection/, "$mode: the connection has ended";
        is \@closed,                  ['write_error'], 'with the reason';
        is scalar @{ $peer->events }, $before,         'nothing was sent';
        is $sub->stats->{active},     F(),             'the subscription has ended, too';
    }
    my $peer = peer();
    my $sse = $peer->sse;
    $hub->subscribe($sse, 't');
    $peer->mode('pending');
    $hub->publish('t', data => 1);
    my $sent = $sse->send('a');
    $peer->refuse;
    like failure_of($sent), qr/closed SSE connection/, 'later';
    is $sse->disconnect_reason, 'write_error', 'the reason';
};

# Random calls, and a server that accepts at random. SEED to repeat one.
foreign 'whatever the calls are' => sub {
    my ($hub, undef, undef, $server) = @_;
    my $seed = $ENV{SEED} || time ^ $$;
    srand $seed;
    note "SEED=$seed";
    my $faults = 0;
    for my $round (1 .. 30) {
        my $peer = peer();
        my $sse = $peer->sse;
        $hub->subscribe($sse, ['t'], { last_event_id => undef });
        my @want = '';
        my $n = 0;
        for (1 .. 40) {
            my $what = int rand 6;
            if    ($what < 2)  { $hub->publish('t', data => ++$n);               push @want, $n }
            elsif ($what == 2) { $sse->send(++$n);                               push @want, $n }
            elsif ($what == 3) { $sse->send_event(data => ++$n, event => 'x');   push @want, $n }
            elsif ($what == 4) { $peer->mode(rand() < 0.5 ? 'pending' : 'done'); $peer->accept(int rand 3) }
            else               { $server->turn if rand() < 0.2 }
        }
        $sse->close if $round % 2;
        $server->until(sub { $peer->mode('done')->accept; @{ $peer->data } >= @want });
        $faults++ if "@{ $peer->data }" ne "@want" || $peer->{most} > 1;
        $sse->close;
    }
    is $faults, 0, 'no fault';
};

done_testing;
