use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;

subtest 'middleware that copies the scope and wraps $send' => sub {
    my $peer = peer();
    my $send = $peer->send;
    my $outer = PAGI::SSE->new($peer->scope, $peer->receive, $send);
    my $wrapped = async sub {
        my ($event) = @_;
        $event = { %$event, data => uc $event->{data} } if defined $event->{data};
        return await $send->($event);
    };
    my $inner = PAGI::SSE->new({ type => 'sse' }, $peer->receive, $wrapped);
    $inner->send('x')->get;
    is $peer->data, ['X'], 'the wrapped $send is used';
    my $same = PAGI::SSE->new({ %{ $peer->scope }, more => 1 }, $peer->receive, $wrapped);
    ref_is $same, $outer, 'a copied scope gives the object that was there first';
};

subtest 'middleware that swallows events' => sub {
    my $peer = peer();
    my $send = $peer->send;
    my $sse =
        PAGI::SSE->new($peer->scope, $peer->receive, sub { $_[0]{type} eq 'sse.comment' ? Future->done : $send->(@_) });
    $sse->$_('x')->get for qw(send_comment send);
    is $peer->types,           [qw(sse.start sse.send)], 'the rest arrives';
    is $sse->connection_state, 'started',                'the state does not depend on it';
};

for my $mode (qw(nothing plain)) {
    subtest "a \$send that returns $mode counts as done" => sub {
        my $peer = peer(send => $mode);
        my $sse = $peer->sse;
        ref_is result_of($sse->send(1)), $sse, 'send';
        is result_of($sse->try_send(2)), 1, 'try_send';
        ok $sse->close->is_done, 'close';
        is $peer->data, [1, 2], 'the events';
    };
}

subtest 'a $send that returns odd things' => sub {
    for my $odd (0, '', [], {}, bless({}, 'Not::A::Future')) {
        my $sse = PAGI::SSE->new(scope(), sub { }, sub { $odd });
        ref_is result_of($sse->send(1)), $sse, ref $odd || "'$odd'";
    }
};

subtest 'a $send that dies with an object, or with nothing much' => sub {
    my $object = bless {}, 'My::Error';
    for my $error ($object, [], 0) {
        my $sse = PAGI::SSE->new(scope(), sub { Future->new }, sub { $_[0]{type} eq 'sse.start' or die $error });
        my ($failure) = $sse->send(1)->failure;
        ref $error ? ref_is($failure, $error, 'as it is') : like($failure, qr/\A0 at/, 'as perl has it');
        is $sse->disconnect_reason, 'write_error', 'write_error';
    }
};

subtest 'a subclass that overrides send sees what it should' => sub {
    package Loud {
        our @ISA = 'PAGI::SSE';
        sub send { my ($self, $data) = @_; return $self->SUPER::send("$data!") }
    }
    my $peer = peer();
    my $sse = Loud->new($peer->scope, $peer->receive, $peer->send);
    ref_is result_of($sse->send('x')), $sse, 'the result';
    is $peer->data, ['x!'], 'the event';
    package Quiet {
        our @ISA = 'PAGI::SSE';
        sub send { my ($self, @data) = @_; return $self->SUPER::send(@data) }
    }
    my $other = peer();
    like failure_of(Quiet->new($other->scope, $other->receive, $other->send)->send([])), qr/ at \Q$0\E line/,
        'errors point past the subclass';
};

subtest 'an object that is a Future by duck typing' => sub {
    package Duck {
        sub new          { bless { @_[1 .. $#_] }, $_[0] }
        sub is_ready     { $_[0]{ready} }
        sub is_done      { $_[0]{ready} }
        sub is_cancelled { 0 }
        sub failure      { }
        sub result       { }
        sub on_ready     { push @{ $_[0]{then} }, $_[1]; $_[0] }
        sub finish       { $_[0]{ready} = 1;             $_->($_[0]) for @{ $_[0]{then} } }
    }
    my $duck = Duck->new;
    my @sent;
    my $sse = PAGI::SSE->new(scope(), sub { }, sub { push @sent, $_[0]{type}; $duck });
    $duck->{ready} = 1;
    $sse->start->get;
    $duck->{ready} = 0;
    my $waiting = eval { $sse->try_send(1) };
    ok $waiting && !$waiting->is_ready, 'waits for it';
    $duck->finish;
    is result_of($waiting), 1, 'until it is done';
};

done_testing;
