use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# A start that the server did not take has sent nothing: whoever is told of that
# may try again. Nobody is told by try_* and run, for which it is the end.

use Future;
use PAGI::SSE::FFI ();

package My::SSE {
    our @ISA = 'PAGI::SSE';
    sub start { my ($self, %options) = @_; $self->{my_starts}++; return $self->SUPER::start(%options, status => 201) }
}

package main;

my $base = PAGI::SSE::FFI::handle_count();

my %call = (
    start        => sub { $_[0]->start },
    send         => sub { $_[0]->send('x') },
    send_json    => sub { $_[0]->send_json('x') },
    send_event   => sub { $_[0]->send_event(data => 'x', id => 1) },
    send_comment => sub { $_[0]->send_comment('x') },
    each         => sub {
        $_[0]->each(['x'], sub { { data => $_[0] } });
    },
    every => sub {
        my ($sse) = @_;
        $sse->every(60, sub { $sse->send('x') });
    },
);
my %scope = (sse => [], http => [upgrade => 1]);

for my $type (sort keys %scope) {
    for my $method (sort keys %call) {
        for my $mode (qw(die fail later)) {
            subtest "$type: $method, whose start $mode" => sub {
                my $peer = peer(scope => { type => $type })->mode($mode eq 'later' ? 'pending' : $mode);
                my $sse = $peer->sse(@{ $scope{$type} });
                my @log;
                $sse->on_close(sub { push @log, "close $_[1]" })->on_error(sub { push @log, "error $_[1]" });
                my $future = $call{$method}->($sse);
                $peer->refuse if $mode eq 'later';
                is failure_of($future), "the wire broke\n", 'fails with the error of the server';
                is [$sse->connection_state, $sse->disconnect_reason, @log], ['pending', undef], 'and nothing else';
                $peer->mode('done');
                $future = $call{$method}->($sse);
                ok $sse->is_started, 'the second time it starts';
                is scalar @{ $peer->events }, $method eq 'start' ? 1 : 2, 'and all goes out';
                $sse->close->get;
                ok $future->is_done, 'done';
                is \@log, ['close app_closed'], 'on_close once, at the end';
            };
        }
    }
}

subtest 'events that were waiting behind the start fail with it, settings stay' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @sent = ($sse->start, $sse->send('a'), $sse->keepalive(5), $sse->send_comment('b'));
    $peer->refuse;
    is [map { $_->is_ready ? scalar $_->failure : 'pending' } @sent],
        ["the wire broke\n", "the wire broke\n", 'pending', "the wire broke\n"], 'the Futures';
    $peer->accept;
    is $peer->types, ['sse.keepalive'], 'the setting';
    $peer->mode('done');
    $sse->send('c')->get;
    is $peer->types, [qw(sse.keepalive sse.start sse.send)], 'and a new start';
};

for my $method (qw(try_send run)) {
    subtest "$method, whose start fails, ends the connection" => sub {
        my $peer = peer(send => 'fail');
        my $sse = $peer->sse;
        my @log;
        $sse->on_close(sub { push @log, "close $_[1]" })->on_error(sub { push @log, "error $_[1]" });
        my $future = $method eq 'run' ? $sse->run : $sse->try_send('x');
        ok $future->is_done, 'no failure';
        is \@log, ["error the wire broke\n", 'close write_error'], 'on_error, then on_close';
    };
}

subtest 'a class with its own start is asked again' => sub {
    my $peer = peer(send => 'fail');
    my $sse = My::SSE->new($peer->scope, $peer->receive, $peer->send);
    is failure_of($sse->send($_)), "the wire broke\n", "try $_" for 1, 2;
    $peer->mode('done');
    $sse->send(3)->get;
    is [$sse->{my_starts}, $peer->events->[0]{status}, @{ $peer->data }], [3, 201, 3], 'each time';
};

subtest 'close after a failed start' => sub {
    for my $type (sort keys %scope) {
        my $peer = peer(send => 'fail', scope => { type => $type });
        my $sse = $peer->sse(@{ $scope{$type} });
        failure_of($sse->start);
        $peer->mode('done');
        $sse->close->get;
        is $peer->types, $type eq 'sse' ? ['sse.close'] : [qw(http.response.start http.response.body)], $type;
    }
};

ok wait_until { PAGI::SSE::FFI::handle_count() == $base }, 'no handle is left';

done_testing;
