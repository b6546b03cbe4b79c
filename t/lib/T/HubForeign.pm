package T::HubForeign;

# A hub's subscribers under a server of somebody else's, for every loop that
# can drive them: T::HubForeign::run(sub { one turn of the loop }).

use T::PAGI;
use Test2::V0;
use Future::AsyncAwait;
use PAGI::SSE::Hub;
use POSIX ();
use T::Host;
use Time::HiRes qw(time);

my $turn;

sub hub { return PAGI::SSE::Hub->new(epoch => 'e', @_) }

# Runs the loop until the condition holds.
sub until_ok {
    my ($condition, $name) = @_;
    my $end = time + slow(10);
    $turn->() until $condition->() || time > $end;
    return ok $condition->(), $name;
}

# A few turns in which nothing may happen that the test would not want.
sub rest {
    $turn->() for 1 .. 5;
    return;
}

sub sent {
    my ($seq, $data, %more) = @_;
    return { type => 'sse.send', id => "e.$seq", data => $data, %more };
}

sub events_are {
    my ($peer, $want, $name) = @_;
    until_ok(sub { @{ $peer->events } >= @$want }, "$name: all came");
    return is $peer->events, $want, $name;
}

my $START = { type => 'sse.start', status => 200 };
sub cursor { return sent($_[0], '', event => 'id') }

# An application that has run in full: what it held must all be back.
sub clean {
    my ($name, $code) = @_;
    return subtest $name => sub {
        my $base = PAGI::SSE::FFI::handle_count();
        $code->();
        rest();
        is PAGI::SSE::FFI::handle_count(), $base, 'all handles are back';
    };
}

sub run {
    ($turn) = @_;

    clean 'events, as the hashes that PAGI documents, in order' => sub {
        my $hub = hub();
        my $peer = peer();
        my $sse = $peer->sse;
        my $sub = $hub->subscribe($sse, 'a', 'b');
        is $peer->events, [$START, cursor(0)], 'the start and an id at once';
        $hub->publish('a', data => 'one');
        $hub->publish('c', data => 'not his');
        $hub->publish('b', data => { x => "\x{263a}" }, event => 'named', retry => 5, id => 'mine');
        $hub->publish('a', data => "1\n\n2\r\n 3\n");
        events_are $peer,
            [
            $START, cursor(0),
            sent(1, 'one'),
            { type => 'sse.send', id => 'mine', event => 'named', retry => 5, data => qq({"x":"\xE2\x98\xBA"}) },
            sent(4, "1\n\n2\n 3\n"),
            ],
            'events';
        is $sub->stats, { delivered => 3, dropped => 0, queued_bytes => 0, active => T() }, 'figures';
        is $hub->subscribers('a'),                                                          1;
        my @before = @{ $peer->events };
        $peer->mode('pending');
        my $large = 'x' x 300_000;
        $hub->publish('a', data => $large) for 1 .. 3;
        until_ok(sub { @{ $peer->{pending} } }, 'a large event');
        $peer->mode('done')->accept;
        until_ok(sub { @{ $peer->events } == 8 }, 'three large events');
        ok eq_events($peer->events, [@before, map { sent($_, $large) } 5 .. 7]), 'as they were';
        my $run = $sse->run;
        $peer->disconnect('client_closed');
        ok $run->is_done,          'run is over';
        ok !$sub->stats->{active}, 'the subscription, too';
        is $hub->subscribers('a'), 0;
        $hub->publish('a', data => 'late');
        rest();
        is scalar @{ $peer->events }, 8, 'nothing follows';
    };

    clean 'for a server that wants characters' => sub {
        my $hub = hub();
        my $peer = peer();
        my $sse = $peer->sse(text => 'characters');
        $hub->subscribe($sse, 'a');
        $hub->publish('a', data => "\x{263a}", event => "\x{e9}");
        events_are $peer, [$START, cursor(0), sent(1, "\x{263a}", event => "\x{e9}")], 'characters';
    };

    clean 'one send in flight; what waits is subject to the policy' => sub {
        my $hub = hub();
        my %set = (
            drop_oldest => [[2 .. 30], [28, 29, 30], 26],
            drop_newest => [[2 .. 30], [2,  3,  4],  26],
            latest      => [[2 .. 30], [29, 30], 27],
        );
        for my $policy (sort keys %set) {
            my $hub = hub();
            my $peer = peer();
            my $sse = $peer->sse;
            my ($publish, $kept, $dropped) = @{ $set{$policy} };
            my $sub = $hub->subscribe($sse, ['t'], { policy => $policy, max_events => 3 });
            $peer->mode('pending');
            $hub->publish('t', data => 1, key => 'k1');
            until_ok(sub { @{ $peer->{pending} } == 1 }, 'the first is in flight');
            $hub->publish('t', data => $_, key => 'k' . $_ % 2) for @$publish;
            until_ok(sub { $sub->stats->{dropped} == $dropped }, 'the rest is limited');
            rest();
            is $peer->{most}, 1, "$policy: one in flight";

            for (@$kept) {
                $peer->accept(1);
                is scalar @{ $peer->{pending} }, 1, 'the next';
            }
            $peer->accept;
            rest();
            is $peer->data, ['', 1, @$kept], "$policy: what is left";
            is $sub->stats, { delivered => 1 + @$kept, dropped => $dropped, queued_bytes => 0, active => T() },
                'counted';
            until_ok(sub { $hub->stats->{dropped} == $dropped }, 'for the hub, too');
            is $peer->{most}, 1, 'still one at a time';
        }
    };

    clean 'a client that takes too little is disconnected, and resumes' => sub {
        my $hub = hub();
        my $peer = peer();
        my $sse = $peer->sse;
        my @closed;
        $sse->on_close(sub { push @closed, $_[1]; $hub->publish('t', data => 'from on_close') });
        my $sub = $hub->subscribe($sse, ['t'], { max_events => 5 });
        $peer->mode('pending');
        my $n = 0;
        until_ok(sub { $hub->publish('t', data => ++$n) if !@closed; @closed }, 'the end');
        is \@closed,                ['queue_overflow'];
        is $sse->disconnect_reason, 'queue_overflow';
        until_ok(sub { $hub->stats->{overflows} == 1 }, 'counted');
        $peer->mode('done')->accept;
        rest();
        is $peer->events->[-1], { type => 'sse.close', reason => 'queue_overflow' }, 'sse.close says why';
        my ($last) = map { $_->{id} } grep { defined $_->{id} } reverse @{ $peer->events };
        my ($seq) = $last =~ /\Ae\.(\d+)\z/;
        my $again = peer(scope => { headers => [['last-event-id', $last]] });
        my $back = $again->sse;
        $hub->subscribe($back, 't');
        events_are $again, [$START, (map { sent($_, $_) } $seq + 1 .. $n), sent($n + 1, 'from on_close')], 'no gap';
    };

    clean 'close delivers, then ends the stream with its reason' => sub {
        my $hub = hub();
        my @peers = map { peer() } 1 .. 2;
        my @sse = map { $_->sse } @peers;
        my @closed;
        for my $sse (@sse) {
            $sse->on_close(sub { push @closed, $_[1] });
            $hub->subscribe($sse, 't');
        }
        $_->mode('pending') for @peers;
        $hub->publish('t', data => $_) for 1 .. 3;
        is $hub->close('t', reason => 'x-over'), 2;
        until_ok(
            sub {
                2 == grep { @{ $_->{pending} } } @peers;
            },
            'the first are in flight'
        );
        is \@closed, [], 'not yet';
        $_->accept for @peers;
        my @want = ($START, cursor(0), (map { sent($_, $_) } 1 .. 3), { type => 'sse.close', reason => 'x-over' });
        is $_->events, \@want, 'all, and then the end' for @peers;
        is \@closed, [qw(x-over x-over)];
    };

    clean 'a send that fails is the end of the subscription' => sub {
        my $hub = hub();
        for my $mode (qw(die fail)) {
            my $peer = peer();
            my $sse = $peer->sse;
            my $sub = $hub->subscribe($sse, 't');
            $peer->mode($mode);
            $hub->publish('t', data => $_) for 1 .. 3;
            until_ok(sub { $sse->is_closed }, "$mode: the end");
            is $sse->disconnect_reason, 'write_error';
            until_ok(sub { !$sub->stats->{active} }, 'and of the subscription');
        }
    };

    clean 'ready pends while a client is above its high mark' => sub {
        my $hub = hub();
        for my $how (qw(drains leaves)) {
            my $peer = peer();
            my $sse = $peer->sse;
            $hub->subscribe($sse, 't');
            $peer->mode('pending');
            $hub->publish('t', data => 'x' x 10_000) for 1 .. 10;
            my $ready;
            until_ok(sub { $ready = $hub->ready; !$ready->is_ready && @{ $peer->{pending} } }, 'it is not');
            rest();
            ok !$ready->is_ready, 'it stays so';
            if   ($how eq 'drains') { $peer->mode('done')->accept }
            else                    { $sse->close; $peer->accept }
            until_ok(sub { $ready->is_ready }, "ready once it $how");
        }
        ok $hub->ready->is_done, 'at once';
    };

    clean '200 subscribers' => sub {
        my $hub = hub();
        my @peers = map { peer(send => $_ % 2 ? 'done' : 'pending') } 1 .. 200;
        my @sse = map { $_->sse } @peers;
        $hub->subscribe($_, 't') for @sse;
        is $hub->subscribers('t'), 200;
        for my $n (1 .. 50) {
            $hub->publish('t', data => $n);
            $turn->() if !($n % 10);
            $_->accept(1) for @peers;
        }
        until_ok(
            sub {
                $_->accept for @peers;
                !grep { @{ $_->events } < 52 } @peers;
            },
            'all came'
        );
        my @want = ($START, cursor(0), map { sent($_, $_) } 1 .. 50);
        is scalar(grep { !eq_events($_->events, \@want) } @peers), 0, 'each got each, in order';
        $_->close  for @sse;
        $_->accept for @peers;
    };

    clean 'a loop of the application: fileno and dispatch' => sub {
        my $hub = hub();
        my $fileno = $hub->fileno;
        is $hub->fileno, $fileno, 'it stays';
        my $peer = peer();
        my $sse = $peer->sse;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => 1);
        my $end = time + slow(10);

        while (@{ $peer->events } < 3 && time < $end) {
            my $readable = '';
            vec($readable, $fileno, 1) = 1;
            $hub->dispatch if select $readable, undef, undef, 1;
        }
        is $peer->events, [$START, cursor(0), sent(1, 1)];
    };

    clean 'a wrapped $send of the embedded server' => sub {
        my $hub = hub();
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                die if $scope->{type} eq 'lifespan';
                my $wrapped = sub {
                    my ($event) = @_;
                    return $send->({ %$event, exists $event->{data} ? (data => "<$event->{data}>") : () });
                };
                await $hub->serve(PAGI::SSE->new($scope, $receive, $wrapped), 't');
            }
        );
        my $client = $host->stream;
        $host->until(sub { $turn->(); $hub->subscribers('t') }, 'the subscription');
        $hub->publish('t', data => 'x');
        my $want = "id: e.0\n\nid: e.1\ndata: <x>\n\n";
        $host->until(sub { $turn->(); $client->body eq $want }, 'the event');
        is scalar $client->body, $want, 'went through the middleware';
        $client->close;
        $host->until(sub { $turn->(); !$hub->subscribers('t') }, 'the end');
        is $hub->subscribers('t'), 0, 'its end is noticed';
    };

    clean 'a stream in a scope of type http' => sub {
        my $hub = hub();
        my $peer = peer(scope => { type => 'http' }, options => [upgrade => 1]);
        my $sse = $peer->sse;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => "x\ny", event => 'z');
        my $bytes = sub {
            join '', map { $_->{body} // '' } @{ $peer->events };
        };
        my $want = "id: e.0\n\nevent: z\nid: e.1\ndata: x\ndata: y\n\n";
        until_ok(sub { $bytes->() eq $want }, 'the event');
        is $bytes->(), $want, 'the same bytes as everywhere, an id alone too';
        $sse->close;
    };

    clean 'a child of a fork has its own; the parent notices nothing' => sub {
        my $hub = hub();
        my $peer = peer();
        my $sse = $peer->sse;
        $hub->subscribe($sse, 't');
        my $child = fork // die "fork: $!";
        if (!$child) {
            my $fine = eval {
                my $own = hub();
                my $other = peer();
                my $mine = $other->sse;
                $own->subscribe($mine, 't');
                $own->publish('t', data => 1);
                wait_until { $own->dispatch; @{ $other->events } == 3 };
            };
            POSIX::_exit($fine ? 0 : 1);
        }
        waitpid $child, 0;
        is $?, 0, 'the child';
        $hub->publish('t', data => 1);
        events_are $peer, [$START, cursor(0), sent(1, 1)], 'the parent';
    };

    done_testing;
    return;
}

sub eq_events {
    my ($got, $want) = @_;
    my $text = sub {
        join "\n", map {
            my $event = $_;
            join ' ', map { "$_=$event->{$_}" } sort keys %$event
        } @{ $_[0] };
    };
    return $text->($got) eq $text->($want);
}

1;
