use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;

subtest 'one $receive is outstanding, begun with the stream, and shared' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->keepalive(10)->get;
    is $peer->{receives}, 0, 'not before the start';
    $sse->send(1)->get;
    is $peer->{receives}, 1, 'by a send';
    $sse->each([1], sub { })->get;
    my @wait = ($sse->run, $sse->run, $sse->every(60, sub { }), $sse->body);
    is $peer->{receives}, 1, 'one for all of them';
    $_->cancel for @wait;
    ok !$peer->receiving->[0]->is_ready, 'not cancelled with them';
    is \@T::PAGI::Future::CANCELLED, [], "no Future of the server's was cancelled";
    my $run = $sse->run;
    is $peer->{receives}, 1, 'kept for the next';
    $peer->disconnect('client_closed');
    ok $run->is_done, 'which hears of the end';
    is $peer->{receives}, 1, 'and asks no more';
};

my %end = (
    'client_closed'     => [{ type => 'sse.disconnect', reason => 'client_closed' }, 'client_closed', 'client_closed'],
    "the server's word" => [{ type => 'sse.disconnect', reason => 'x-own' },         'x-own',         'x-own'],
    'no reason'         => [{ type => 'sse.disconnect' }, 'client_closed', 'client_closed'],
);
for my $name (sort keys %end) {
    subtest "disconnect: $name" => sub {
        my ($event, $told, $reason) = @{ $end{$name} };
        my $peer = peer();
        my $sse = $peer->sse;
        my @told;
        $sse->on_close(sub { push @told, $_[1] }) for 1, 2;
        my $run = $sse->run;
        $peer->incoming($event);
        is [result_of($run)],       [],             'run returns';
        is \@told,                  [$told, $told], 'on_close ran, in order, once';
        is $sse->disconnect_reason, $reason,        'disconnect_reason';
        is $peer->types,            ['sse.start'],  'no sse.close';
        $sse->close;
        is scalar @told,            2,       'not again by close';
        is $sse->disconnect_reason, $reason, 'the first reason stays';
    };
}

subtest 'the callbacks have run before run returns' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @log;
    $sse->run->on_done(sub { push @log, 'run' });
    $sse->on_close(sub { push @log, 'on_close' });
    $peer->disconnect;
    is \@log, [qw(on_close run)], 'the order';
};

my %broken = (
    'dies'            => [sub { die "no more\n" },                      "no more\n"],
    'fails'           => [sub { Future->fail("no more\n", 'details') }, "no more\n"],
    'gives no hash'   => [sub { Future->done('x') }, "PAGI::SSE: \$receive must give a hash reference, got 'x'\n"],
    'gives an array'  => [sub { Future->done([]) },  "PAGI::SSE: \$receive must give a hash reference, got ARRAY\n"],
    'gives nothing'   => [sub { Future->done },      "PAGI::SSE: \$receive must give a hash reference, got nothing\n"],
    'returns nothing' => [sub { },                   "PAGI::SSE: \$receive must give a hash reference, got nothing\n"],
);
for my $name (sort keys %broken) {
    for my $when (qw(now later)) {
        my ($receive, $message) = @{ $broken{$name} };
        next if $when eq 'later' && $name =~ /dies|returns/;
        subtest "a \$receive that $name $when" => sub {
            my $later = Future->new;
            my $peer = peer(receive => $when eq 'now' ? $receive : sub { $later });
            my $finish = sub { $receive->()->on_ready($later) if $when eq 'later' };
            my $sse = $peer->sse;
            my @log;
            $sse->on_error(sub { push @log, "error $_[1]" });
            $sse->on_close(sub { push @log, "close $_[1]" });
            my $run = $sse->run;
            $finish->();
            is [result_of($run)], [],                                     'run returns normally';
            is \@log,             ["error $message", 'close read_error'], 'on_error, then on_close';
            is $peer->events->[-1], { type => 'sse.close', reason => 'read_error' }, 'the server is told';
        };
    }
}

subtest 'a failed $receive without on_error warns' => sub {
    my $peer = peer(receive => sub { die "no more\n" });
    my @warnings = warnings_of { $peer->sse->run };
    is \@warnings, ["PAGI::SSE: no more\n"], 'the warning';
};

subtest 'a $receive that the server cancels is an end by the client' => sub {
    my $future = Future->new;
    my $sse = peer(receive => sub { $future })->sse;
    my $run = $sse->run;
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    my @warnings = warnings_of { $future->cancel };
    ok $run->is_done, 'run returns';
    is [\@told, \@warnings, $sse->disconnect_reason], [['client_closed'], [], 'client_closed'], 'and no warning';
};

subtest 'a plain value counts as done' => sub {
    my @events = ({ type => 'sse.request', body => 'x' }, { type => 'sse.disconnect', reason => 'client_closed' });
    my $sse = peer(receive => sub { shift @events })->sse;
    ok $sse->run->is_done, 'run returns';
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'events of other types are passed over' => sub {
    my $peer = peer();
    my $run = $peer->sse->run;
    $peer->incoming({ type => 'sse.news' })->incoming({})->incoming({ type => 'sse.request' });
    ok !$run->is_ready, 'still running';
    $peer->disconnect;
    ok $run->is_done, 'until the end';
};

subtest 'a $receive that is always ready does not make us spin' => sub {
    for my $answer (
        { type => 'sse.request', body => '', more => 0 },
        { type => 'sse.request', body => '', more => 1 },
        { type => 'x' }
        )
    {
        my $calls = 0;
        my $sse = peer(receive => sub { $calls++; die 'spinning' if $calls > 10_000; Future->done($answer) })->sse;
        my $run = $sse->run;
        ok !$run->is_ready, 'run waits';
        ok $calls <= 1_000, "after $calls calls";
        $sse->close;
        ok $run->is_done, 'and is woken';
    }
};

subtest 'the pause is not the end of listening' => sub {
    require Future::IO;
    my $calls = 0;
    my $sse = peer(
        receive => sub {
            Future->done($calls++ < 250 ? { type => 'x' } : { type => 'sse.disconnect', reason => 'client_closed' });
        }
    )->sse;
    my $run = $sse->run;
    Future::IO->sleep(0.5)->get;
    ok $run->is_done, 'run hears of the disconnect';
};

done_testing;
