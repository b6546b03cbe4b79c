use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Whatever starts the stream calls the class's own start, so that a subclass can
# add headers; once, under any server.

use Future;
use Future::AsyncAwait;
use PAGI::SSE::FFI ();
use PAGI::SSE::Hub ();
use T::Host        ();

package My::SSE {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';

    async sub start {
        my ($self, %options) = @_;
        push @{ $options{headers} }, ['x-accel-buffering', 'no'];
        return await $self->SUPER::start(%options);
    }
}

# Not async, and no Future.
package My::Plain {
    our @ISA = 'PAGI::SSE';

    sub start {
        my ($self, %options) = @_;
        $self->{my_starts}++;
        $self->SUPER::start(%options, status => 201);
        return;
    }
}

# Says hello as soon as the stream has started.
package My::Hello {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';

    async sub start {
        my ($self, %options) = @_;
        return $self if $self->is_started;
        await $self->SUPER::start(%options);
        await $self->send_comment('hello');
        await $self->send('welcome');
        return $self;
    }
}

# Looks something up first.
package My::Slow {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';
    our $lookup;

    async sub start {
        my ($self, %options) = @_;
        my $value = await $lookup;
        return await $self->SUPER::start(%options, headers => [['x-slow', $value]]);
    }
}

package main;

my $base = PAGI::SSE::FFI::handle_count();

sub sse {
    my ($class, $peer, @options) = @_;
    return $class->new($peer->scope, $peer->receive, $peer->send, @options);
}

# Each method that starts the stream, and what comes after sse.start.
my @item = ('item');
my $hub = PAGI::SSE::Hub->new;
my %starts = (
    send             => [sub { $_[0]->send('x') },                      'sse.send'],
    send_json        => [sub { $_[0]->send_json({}) },                  'sse.send'],
    send_event       => [sub { $_[0]->send_event(data => 1, id => 2) }, 'sse.send'],
    send_comment     => [sub { $_[0]->send_comment('x') },              'sse.comment'],
    try_send         => [sub { $_[0]->try_send('x') },                  'sse.send'],
    try_send_json    => [sub { $_[0]->try_send_json({}) },              'sse.send'],
    try_send_event   => [sub { $_[0]->try_send_event(data => 1) },      'sse.send'],
    try_send_comment => [sub { $_[0]->try_send_comment('x') },          'sse.comment'],
    run              => [sub { $_[0]->run }],
    each             => [
        sub {
            $_[0]->each(\@item, sub { { data => 1 } });
        },
        'sse.send'
    ],
    every => [
        sub {
            my ($sse) = @_;
            $sse->every(60, sub { $sse->send(1) });
        },
        'sse.send'
    ],
    start     => [sub { $_[0]->start }],
    subscribe => [sub { $hub->subscribe($_[0], 'news'); Future->done }],
    serve     => [sub { $hub->serve($_[0], 'news') }],
);

for my $method (sort keys %starts) {
    my ($call, @after) = @{ $starts{$method} };
    subtest "$method, under any PAGI server" => sub {
        my $peer = peer();
        my $sse = sse('My::SSE', $peer);
        my $future = $call->($sse);
        is $peer->events->[0],
            { type => 'sse.start', status => 200, headers => [['x-accel-buffering', 'no']] }, "start's header";
        is scalar(grep { $_ eq 'sse.start' } @{ $peer->types }), 1,         'once';
        is $peer->types->[1],                                    $after[0], 'then the event' if @after;
        ok $sse->is_started, 'is_started';
        $sse->close;
        ok $future->is_ready, 'and it ends';
        my $plain = peer();
        my $other = sse('My::Plain', $plain);
        $call->($other);
        is $plain->events->[0]{status}, 201, 'a start that returns no Future';
        $other->send('more')->get;
        is $other->{my_starts}, 1, 'is called once';
        $other->close;
    };
    subtest "$method, under the embedded server" => sub {
        my ($sse, $future);
        my $host = T::Host->new(
            async sub {
                my ($scope, @io) = @_;
                die 'no lifespan' if $scope->{type} ne 'sse';
                $sse = My::SSE->new($scope, @io);
                $future = $call->($sse);
                await $sse->run;
            }
        );
        my $client = $host->stream('/');
        ok $host->until(sub { length $client->head }), 'answered';
        is [$client->status, $client->header('x-accel-buffering')], [200, 'no'], "start's header";
        like $sse->{wire}, qr/\APAGI::SSE::Wire::Hosted=/, 'by the short way afterwards' if $method !~ /run|start/;
        $client->close;
        ok $host->until(sub { $sse->{ended} }), 'ended';
    };
}

subtest 'without a start of its own nothing is called, and nothing is in the way' => sub {
    my $peer = peer();
    package My::Other {
        our @ISA = 'PAGI::SSE';
        sub hello { 1 }
    }
    like sse('My::Other', $peer)->{wire}, qr/\APAGI::SSE::Wire::Foreign=/, 'the wire';
};

subtest 'what start sends comes before what it was called for' => sub {
    for my $mode (qw(done pending)) {
        my $peer = peer(send => $mode);
        my $sse = sse('My::Hello', $peer);
        my $sent = $sse->send('mine');
        $peer->accept;
        ok $sent->is_done, "$mode: done";
        $sse->send('more');
        $peer->accept;
        is [map { $_->{data} // $_->{comment} // $_->{type} } @{ $peer->events }],
            [qw(sse.start hello welcome mine more)], "$mode: the order";
    }
};

subtest 'un-awaited sends keep their order while start waits for the server' => sub {
    my $peer = peer(send => 'pending');
    my $sse = sse('My::Hello', $peer);
    my @sent = map { $sse->send($_) } 1 .. 5;
    $peer->accept(1);
    push @sent, map { $sse->send($_) } 6 .. 8;
    $peer->accept;
    is [grep { /\d/ } @{ $peer->data }],    [1 .. 8],  'in order';
    is [map { $_->is_done ? 1 : 0 } @sent], [(1) x 8], 'all are done';
    is $peer->{most},                       1,         'one at a time';
};

subtest 'sends wait for a start that looks something up first' => sub {
    local $My::Slow::lookup = Future->new;
    my $peer = peer();
    my $sse = sse('My::Slow', $peer);
    my @sent = ($sse->send('a'), $sse->try_send('b'), $sse->send_event(data => 'c', id => 3), $sse->send_comment('d'));
    my $run = $sse->run;
    is $peer->events, [], 'nothing has gone out';
    $My::Slow::lookup->done('v');
    is [map { $_->{data} // $_->{comment} // $_->{headers} } @{ $peer->events }], [[['x-slow', 'v']], 'a' .. 'd'],
        'then all of it, in order';
    is [map { $_->is_done ? 1 : 0 } @sent], [1, 1, 1, 1], 'the Futures';
    ref_is $sent[0]->result, $sse, 'of the object';
    is $sent[1]->result, 1, 'or 1';
    $sse->close;
    ok $run->is_done, 'run ends';
};

subtest 'what waits for a start is bounded' => sub {
    local $My::Slow::lookup = Future->new;
    my $sse = sse('My::Slow', peer());
    my @sent = map { $sse->send('x') } 1 .. 1_001;
    like failure_of($sent[-1]),
        qr/\APAGI::SSE: queue_overflow: the start of the stream is still pending.* at \Q$0\E line/,
        'events';
    my $other = sse('My::Slow', peer());
    my $large = 'y' x 700_000;
    my @large = map { $other->send($large) } 1, 2;
    ok !$large[0]->is_ready, 'one of any size fits';
    like failure_of($large[1]), qr/queue_overflow/, 'octets';
    $_->close for $sse, $other;
    $My::Slow::lookup->done(1);
};

subtest 'a start that never comes ends with the connection' => sub {
    for my $how (qw(close disconnect)) {
        local $My::Slow::lookup = Future->new;
        my $peer = peer();
        my $sse = sse('My::Slow', $peer);
        my ($send, $try, $run) = ($sse->send('a'), $sse->try_send('b'), $sse->run);
        $how eq 'close' ? $sse->close : $peer->disconnect;
        like failure_of($send), qr/Cannot send on closed SSE connection/, "$how: send";
        is result_of($try), 0, "$how: try_send";
        ok $run->is_done, "$how: run";
        $My::Slow::lookup->done(1);
        is [grep { $_ ne 'sse.close' } @{ $peer->types }], [], "$how: nothing goes out later";
    }
};

package My::Failing {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';
    our @failures;

    async sub start {
        my ($self, %options) = @_;
        my $failure = shift @failures;
        await $failure if $failure && ref $failure;
        die $failure if $failure;
        return await $self->SUPER::start(%options);
    }
}

subtest 'a start that dies fails the send, and is tried again' => sub {
    for my $later (0, 1) {
        my $reason = Future->new;
        local @My::Failing::failures = $later ? $reason : "not now\n";
        my $peer = peer();
        my $sse = sse('My::Failing', $peer);
        my @sent = map { $sse->send($_) } 1, $later ? 2 : ();
        $reason->fail("not now\n") if $later;
        is [map { failure_of($_) } @sent],               ["not now\n", $later ? "not now\n" : ()], 'the error';
        is [$sse->connection_state, @{ $peer->events }], ['pending'],                              'still pending';
        $sse->send('again')->get;
        is $peer->types, [qw(sse.start sse.send)], 'the second time';
    }
};

subtest 'the hub, while a start is pending' => sub {
    local $My::Slow::lookup = Future->new;
    my $peer = peer();
    my $sse = sse('My::Slow', $peer);
    my $subscription = $hub->subscribe($sse, 'slow');
    $hub->publish('slow', data => 'early');
    $hub->ready->get;
    $hub->dispatch;
    is $peer->events, [], 'nothing goes out before the start';
    $My::Slow::lookup->done('v');
    ok wait_until {
        $hub->dispatch;
        grep { $_ eq 'early' } @{ $peer->data }
    }, 'what was published comes';
    is $peer->types->[0], 'sse.start', 'after the start';
    $sse->close;
};

subtest 'under the embedded server a subscription needs the start to be over' => sub {
    local $My::Slow::lookup = Future->new;
    my ($sse, @said);
    my $host = T::Host->new(
        async sub {
            my ($scope, @io) = @_;
            die 'no lifespan' if $scope->{type} ne 'sse';
            $sse = My::Slow->new($scope, @io);
            push @said, dies { $hub->subscribe($sse, 'news') };
            await $sse->start;
            $hub->subscribe($sse, 'news');
            await $sse->run;
        }
    );
    my $client = $host->stream('/');
    ok $host->until(sub { @said }), 'called';
    like $said[0], qr/the start of the stream is still pending: await it first at \Q$0\E line/, 'says so';
    $My::Slow::lookup->done('v');
    ok $host->until(sub { length $client->head }), 'started';
    $hub->publish('news', data => 'x');
    ok $host->until(sub { $client->body =~ /^data: x$/m }), 'and subscribed';
    is $client->header('x-slow'), 'v', "start's header";
    $client->close;
    ok $host->until(sub { $sse->{ended} }), 'ended';
};

undef $hub;
ok wait_until { PAGI::SSE::FFI::handle_count() == $base }, 'no handle is left';

done_testing;
