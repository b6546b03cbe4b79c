use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# What PAGI::Context::SSE, PAGI::Endpoint::SSE and test tools do to the object.

subtest '_note_disconnected ends the connection' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @told;
    $sse->on_close(sub { push @told, $_[1] });
    my $run = $sse->run;
    $sse->_note_disconnected(1006, 'idle_timeout');
    is \@told, ['idle_timeout'], 'on_close';
    ok $sse->is_closed && !$sse->is_connected, 'closed';
    is $sse->disconnect_reason, 'idle_timeout', 'reason';
    ok $run->is_done, 'run';
    is $peer->types, ['sse.start'], 'no sse.close';
    $sse->_note_disconnected(undef, 'client_closed');
    is \@told, ['idle_timeout'], 'once';
};

subtest '_set_state' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->_set_state('started');
    ok $sse->is_started, 'started';
    $sse->send(1)->get;
    is $peer->types, ['sse.send'], 'no sse.start is sent';
    $sse->_set_state('closed');
    ok $sse->is_closed, 'closed';
    is result_of($sse->try_send(2)), 0, 'no event';
    $sse->_set_state('pending');
    is $sse->connection_state, 'pending', 'pending';
    $sse->send(3)->get;
    is $peer->types, [qw(sse.send sse.start sse.send)], 'as new';
};

subtest '_set_closed marks; the callbacks stay for who runs them' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $ran = 0;
    $sse->on_close(sub { $ran++ });
    my $run = $sse->run;
    $sse->_set_closed;
    ok $sse->is_closed, 'closed';
    ok $run->is_done,   'run is woken';
    is $ran,                          0, 'no callback';
    is scalar @{ $sse->{_on_close} }, 1, 'it is still in the list';
    $sse->close;
    is $ran, 1, 'close runs it';
};

subtest 'the lists hold the callbacks' => sub {
    my $sse = peer()->sse;
    my ($close, $error) = (sub { 1 }, sub { 2 });
    $sse->on_close($close)->on_error($error);
    is $sse->{_on_close}, [exact_ref($close)], '_on_close';
    is $sse->{_on_error}, [exact_ref($error)], '_on_error';
};

subtest 'wrapping by delegation' => sub {
    package Wrapper {
        sub new { my ($class, @args) = @_; bless { sse => PAGI::SSE->new(@args) }, $class }
        our $AUTOLOAD;
        sub AUTOLOAD {
            my $self = shift;
            my $name = $AUTOLOAD =~ s/.*:://r;
            return if $name eq 'DESTROY';
            $self->{sse}->$name(@_);
        }
    }
    my $peer = peer();
    my $wrapper = Wrapper->new($peer->scope, $peer->receive, $peer->send);
    $wrapper->send_event(data => 1, event => 'e')->get;
    $wrapper->close(reason => 'x-w')->get;
    is $peer->types, [qw(sse.start sse.send sse.close)], 'the events';
};

subtest '_set_closed tells waiting sends' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my ($send, $try) = ($sse->send(1), $sse->try_send(2));
    $sse->_set_closed;
    like failure_of($send), qr/Cannot send on closed SSE connection/, 'send';
    is result_of($try), 0, 'try_send';
};

done_testing;
