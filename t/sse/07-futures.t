use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Scalar::Util qw(refaddr weaken);

my %returns = (
    start        => [sub { $_[0]->start },                 'object'],
    keepalive    => [sub { $_[0]->keepalive(1) },          'object'],
    send         => [sub { $_[0]->send(1) },               'object'],
    send_json    => [sub { $_[0]->send_json(1) },          'object'],
    send_event   => [sub { $_[0]->send_event(data => 1) }, 'object'],
    send_comment => [sub { $_[0]->send_comment(1) },       'object'],
    each         => [
        sub {
            $_[0]->each([1, 2], sub { });
        },
        'object'
    ],
    try_send         => [sub { $_[0]->try_send(1) },               1],
    try_send_json    => [sub { $_[0]->try_send_json(1) },          1],
    try_send_event   => [sub { $_[0]->try_send_event(data => 1) }, 1],
    try_send_comment => [sub { $_[0]->try_send_comment(1) },       1],
    close            => [sub { $_[0]->close },                     'object'],
);

subtest 'every method that is awaited returns a Future' => sub {
    for my $mode (qw(done pending)) {
        for my $name (sort keys %returns) {
            my $peer = peer(send => $mode);
            my $sse = $peer->sse;
            my ($call, $result) = @{ $returns{$name} };
            my $future = $call->($sse);
            isa_ok $future, 'Future';
            $peer->accept;
            is result_of($future), $result eq 'object' ? exact_ref($sse) : $result, "$name, $mode: the result";
        }
    }
};

subtest 'try_* give 0 after close, the rest fails; nothing is thrown' => sub {
    my $sse = peer()->sse;
    $sse->close->get;
    for my $name (grep { /^try_/ } sort keys %returns) {
        is [warnings_of { is result_of($returns{$name}[0]->($sse)), 0, $name }], [], "$name: no warning";
    }
    for my $name (qw(keepalive send send_json send_event send_comment)) {
        like failure_of($returns{$name}[0]->($sse)),
            qr/\APAGI::SSE: Cannot send on closed SSE connection at \Q$0\E line/, $name;
    }
    for my $name (qw(start each close)) {
        ref_is result_of($returns{$name}[0]->($sse)), $sse, "$name: the object";
    }
    is [result_of($sse->run)], [], 'run: nothing';
    ref_is result_of($sse->every(1, sub { die })), $sse, 'every: the object';
};

subtest 'run and every' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $run = $sse->run;
    my $every = $sse->every(60, sub { });
    ok !$run->is_ready && !$every->is_ready, 'pending';
    $peer->disconnect('client_closed');
    is [result_of($run)], [], 'run resolves to nothing';
    ref_is result_of($every), $sse, 'every to the object';
};

for my $name (qw(send try_send)) {
    subtest "a ready Future of $name is safe to share" => sub {
        my $sse = peer()->sse;
        my $call = $returns{$name}[0];
        my $expect = $name eq 'send' ? exact_ref($sse) : 1;
        $call->($sse)->cancel;
        is result_of($call->($sse)),                                  $expect,                      'cancel';
        is result_of($call->($sse)->then(sub { Future->done(@_) })),  $expect,                      'then';
        is result_of($call->($sse)->else(sub { die })),               $expect,                      'else';
        is result_of($call->($sse)->without_cancel),                  $expect,                      'without_cancel';
        is [Future->needs_all($call->($sse), $call->($sse))->result], [$expect, $expect],           'needs_all';
        is [map { $_->is_done } Future->wait_all($call->($sse), Future->done)->result], [T(), T()], 'wait_all';
        my $pending = Future->new;
        my $any = Future->wait_any($call->($sse), $pending);
        is result_of($any), $expect, 'wait_any';
        my $before = Future->new;
        my $later = $before->then(sub { $call->($sse) });
        $before->done;
        is result_of($later), $expect, 'from a sequence';
        $call->($sse)->on_ready(sub { });
        $call->($sse)->on_cancel(sub { });
        is result_of($call->($sse)), $expect, 'as good as new';
    };

    subtest "a Future of $name does not collect what passes by" => sub {
        my $sse = peer()->sse;
        my $call = $returns{$name}[0];
        for (1 .. 1_000) {
            my $before = Future->new;
            my $later = $before->then(sub { $call->($sse) });
            $before->done;
        }
        my $future = $call->($sse);
        is scalar @{ ($future->{revoke_when_ready} || []) }, 0, 'no notes left in it';
    };
}

subtest 'a Future that the object keeps does not keep the object' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @futures = map { $_->($sse) } map { $returns{$_}[0] } qw(start send send_event close);
    weaken(my $weak = $sse);
    undef $sse;
    %{ $peer->scope } = ();
    is $weak, undef, 'the object has gone';
};

subtest 'close with something to wait for does not keep the object' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $callback = Future->new;
    $sse->on_close(sub { $callback });
    my $close = $sse->close;
    $peer->accept;
    ok !$close->is_ready, 'waits for the callback';
    $callback->done;
    ref_is result_of($close), $sse, 'the result';
    weaken(my $weak = $sse);
    undef $sse;
    delete $peer->scope->{'pagi.sse'};
    undef $close;
    is $weak, undef, 'the object has gone';
};

subtest "a pending Future is of the server's class" => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my %pending = (send => $sse->send(1), try_send => $sse->try_send(1), close => $sse->close);
    isa_ok $pending{$_}, 'T::PAGI::Future' for sort keys %pending;
    my $other = peer()->sse;
    isa_ok $other->run,                            'T::PAGI::Future';
    isa_ok $other->body,                           'T::PAGI::Future';
    isa_ok $other->every(1, sub { Future->done }), 'Future';
    $peer->accept;
};

subtest 'events sent in void context are kept, and so is their Future' => sub {
    my $peer = peer(send => 'pending');
    my @warnings = warnings_of {
        my $sse = $peer->sse;
        $sse->send($_) for 1 .. 3;
        $sse->every(1, sub { $peer->{pending}[-1][0] });
        $sse->close;
        undef $sse;
        %{ $peer->scope } = ();    # no cache, no other reference
        $peer->accept;
    };
    is \@warnings,         [],          'no warning of a lost Future';
    is $peer->data,        [1, 2, 3],   'all sent';
    is $peer->types->[-1], 'sse.close', 'closed after them';
};

subtest "an exception in a callback of ours does not escape into the server's done" => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    $sse->send(1)->on_done(sub { die "in the application\n" });
    $sse->send(2);
    my $run = $sse->run;
    $run->on_done(sub { die "after run\n" });
    my @warnings = warnings_of {
        ok lives { $peer->accept }, 'done lives'
    };
    is \@warnings,  ["PAGI::SSE: a callback of a Future died: in the application\n"], 'warned';
    is $peer->data, [1, 2],                                                           'the rest goes on';
    @warnings = warnings_of {
        ok lives { $peer->disconnect }, 'the end, too'
    };
    is \@warnings, ["PAGI::SSE: a callback of a Future died: after run\n"], 'warned';
};

subtest 'what a callback waits for decides the class, too' => sub {
    my $sse = peer()->sse;
    isa_ok $sse->each([1], sub { T::PAGI::Future->new }), 'T::PAGI::Future';
};

subtest 'Futures of json that nobody keeps are not lost' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @warnings = warnings_of {
        $sse->json;
        $peer->incoming({ type => 'sse.request', body => '1' });
    };
    is \@warnings, [], 'no warning';
};

subtest 'Futures that were cancelled do not pile up' => sub {
    my $sse = peer()->sse;
    $sse->run->cancel for 1 .. 100;
    ok @{ $sse->{waiters} } < 3, 'the list stays short';
};

subtest 'an exception that is false' => sub {
    package False {
        use overload bool => sub { 0 }, '""' => sub { 'false' };
    }
    my $sse = PAGI::SSE->new(scope(), sub { }, sub { die bless {}, 'False' });
    is failure_of($sse->send(1)), 'false', 'is a failure all the same';
};

done_testing;
