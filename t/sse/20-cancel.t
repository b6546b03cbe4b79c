use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Cancelling the Future of a send, run or every leaves a usable object, and no
# Future of the server's is cancelled with it.

use Future;

sub untouched { is \@T::PAGI::Future::CANCELLED, [], "no Future of the server's was cancelled" }

subtest 'send and try_send' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @sent = ($sse->send(1), $sse->try_send(2), $sse->send(3));
    $_->cancel for @sent[0, 1];
    untouched();
    $peer->accept;
    is $peer->data, [1 .. 3], 'what was accepted is delivered';
    ok $sent[2]->is_done, 'the other Future is done';
    $peer->mode('done');
    ref_is result_of($sse->send(4)), $sse, 'usable';
};

subtest 'start, shared by several' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my ($one, $two) = ($sse->start, $sse->start);
    $one->cancel;
    ok !$two->is_ready, 'the other is not cancelled with it';
    $peer->accept;
    ok $two->is_done, 'and done in the end';
    untouched();
};

subtest 'run, every, each, body, close' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my %wait = (
        run   => $sse->run,
        every => $sse->every(60, sub { $sse->send(1) }),
        each  => $sse->each([1], sub { $sse->send(2) }),
        body  => $sse->body,
    );
    $_->cancel for values %wait;
    untouched();
    $peer->accept;
    my $run = $sse->run;
    ok !$run->is_ready, 'run again';
    is $peer->{receives}, 1, 'with the same $receive';
    my $close = $sse->close;
    $close->cancel;
    $peer->accept;
    untouched();
    ok $run->is_done, 'run is done';
    is $peer->types->[-1], 'sse.close', 'closed';
};

subtest 'every that sleeps, and one that calls' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $calls = 0;
    my $every = $sse->every(0.05, sub { $calls++ });
    $every->cancel;
    require Future::IO;
    Future::IO->sleep(0.15)->get;
    is $calls, 1, 'no further call';
    untouched();
    ok !$sse->is_closed, 'usable';
};

subtest 'racing with wait_any' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $timeout = Future->new;
    my $race = Future->wait_any($sse->run, $timeout);
    $timeout->done;
    untouched();
    $peer->disconnect('client_closed');
    is $sse->disconnect_reason, 'client_closed', 'the disconnect is still seen';
};

done_testing;
