use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

subtest 'at most one call of $send is in flight, and the order is kept' => sub {
    for my $mode (qw(done pending)) {
        my $peer = peer(send => $mode);
        my $sse = $peer->sse;
        $sse->send($_) for 1 .. 50;
        $sse->keepalive(5);
        $sse->try_send_event(data => 51);
        is $peer->{most}, 1, "$mode: one in flight";
        $peer->accept(1) for 1 .. 100;
        is $peer->{most},      1,               "$mode: never more";
        is $peer->data,        [1 .. 51],       "$mode: in order";
        is $peer->types->[51], 'sse.keepalive', "$mode: keepalive in its place";
    }
};

subtest 'a $send that sends by itself (middleware that logs) keeps the order' => sub {
    my $peer = peer();
    my ($sse, $send, $deep) = (undef, $peer->send, 0);
    my $most = 0;
    $sse = PAGI::SSE->new(
        $peer->scope,
        $peer->receive,
        sub {
            my ($event) = @_;
            $most = $deep if ++$deep > $most;
            $sse->try_send("log: $event->{data}") if ($event->{data} || '') =~ /^\d/;
            my $future = $send->($event);
            $deep--;
            return $future;
        }
    );
    $sse->send(1);
    $sse->send(2);
    is $peer->data, [1, 'log: 1', 2, 'log: 2'], 'after what is being sent';
    is $most,       1,                          'no $send inside of $send';
};

subtest 'some are accepted at once, some later' => sub {
    my $n = 0;
    my $peer = peer(send => sub { $n++ % 3 ? 'done' : 'pending' });
    my $sse = $peer->sse;
    my @sent = map { $sse->send($_) } 1 .. 20;
    $peer->accept(1) for 1 .. 20;
    is $peer->data, [1 .. 20], 'in order';
    ok !(grep { !$_->is_done } @sent), 'all of them done';
};

for my $case (
    ['by number', [max_queue_events => 3],  'x',    3, '3 events or 1048576 octets'],
    ['by size',   [max_queue_bytes  => 10], 'four', 2, '1000 events or 10 octets'],
    )
{
    my ($name, $options, $data, $fit, $limits) = @$case;
    subtest "the queue is bounded $name" => sub {
        my $peer = peer(send => 'pending', options => $options);
        my $sse = $peer->sse;
        my @errors;
        $sse->on_error(sub { push @errors, $_[1] });
        $sse->start;    # in flight
        my @queued = map { $sse->send($data) } 1 .. $fit;
        ok !(grep { $_->is_ready } @queued), 'these fit';
        my $over = $sse->send($data);
        like failure_of($over), qr/\APAGI::SSE: queue_overflow: .*queue of $limits.* at \Q$0\E line/,
            'send fails, and says which limit';
        is result_of($sse->try_send($data)), 0, 'try_send gives 0';
        like $errors[0], qr/queue_overflow/, 'and on_error is told';
        ok !$sse->is_closed, 'the connection goes on';
        $peer->accept(2);
        ok !$sse->send($data)->is_ready, 'room again';
        $peer->accept;
        is $peer->data, [($data) x ($fit + 1)], 'what was accepted was sent';
    };
}

subtest 'one event of any size fits, or it never would behind a start in flight' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    ok !$sse->send('x' x 2_000_000)->is_ready, '2 MB wait';
    like failure_of($sse->send('x')), qr/queue_overflow/, 'nothing fits behind them';
    $peer->accept;
    is length $peer->data->[0], 2_000_000, 'sent';
};

subtest 'all text of an event counts' => sub {
    my %call = (
        event   => sub { $_[0]->send_event(data => 'four', event => 'four', id => 'abc') },
        comment => sub { $_[0]->send_comment('x' x 11) },
    );
    for my $name (sort keys %call) {
        my $sse = peer(send => 'pending', options => [max_queue_bytes => 11])->sse;
        $sse->start;
        $sse->send('x');
        like failure_of($call{$name}->($sse)), qr/queue_overflow/, $name;
    }
};

subtest 'the default limits are 1,000 events and 1 MiB' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    $sse->start;
    ok !(grep { $_->is_ready } map { $sse->send('x') } 1 .. 1_000), '1,000 fit';
    like failure_of($sse->send('x')), qr/queue_overflow/, '1,001 do not';
    my $big = peer(send => 'pending')->sse;
    $big->start;
    ok !$big->send('x' x 1_048_576)->is_ready, '1 MiB fits';
    like failure_of($big->send('x')), qr/queue_overflow/, 'one more octet does not';
};

subtest 'sse.start and sse.close are never refused' => sub {
    my $peer = peer(send => 'pending', options => [max_queue_events => 0]);
    my $sse = $peer->sse;
    $sse->send('x');
    my $close = $sse->close;
    $peer->accept;
    is $peer->types, [qw(sse.start sse.close)], 'both sent';
};

subtest 'a failure in the middle ends it: the rest is dropped' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @order;
    $sse->on_close(sub { push @order, "close $_[1]" });
    $sse->on_error(sub { push @order, "error $_[1]" });
    $sse->start;
    my ($first, $second, $third) = ($sse->send(1), $sse->send(2), $sse->try_send(3));
    $first->on_fail(sub { push @order, 'first' });
    $peer->accept(1)->refuse;
    is [$first->failure], ["the wire broke\n", 'wire', 42], "the failed one has the server's error, details included";
    like failure_of($second), qr/Cannot send on closed SSE connection/, 'the queued one';
    is result_of($third), 0,                              'the queued try';
    is \@order,           ['close write_error', 'first'], 'on_close before the Future';
    is $peer->{pending},  [],                             'nothing more is sent';
};

done_testing;
