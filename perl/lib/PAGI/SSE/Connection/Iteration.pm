package PAGI::SSE::Connection::Iteration;

use strict;
use warnings;

use Future ();
use Future::AsyncAwait;

use PAGI::SSE::Check   ();
use PAGI::SSE::Futures ();
use PAGI::SSE::Loop    ();
use PAGI::SSE::Wire    ();

our $VERSION = '0.003000';

# The loops of each and every. What a callback returns is the application's: it
# is waited for, after the end of the connection too, and cancelled only with
# the Future of the loop. Then the loop waits for the on_close callbacks.

async sub _each {
    my ($self, $items, $callback, $place) = @_;
    # A callback of on_close may ask: it must not wait for itself.
    return $self if $self->{ended};
    await $self->_sent($self->{wire}->ensure_started('each')) unless $self->is_closed;
    $self->_listen;
    my $fine = eval {
        my $next = ref $items eq 'ARRAY' ? _of_list($items) : $items;
        my $index = 0;
        while (!$self->is_closed && defined(my $item = $next->())) {
            --$PAGI::SSE::Loop::LEFT or await $self->_give_way;    # a callback need not send
            last if $self->is_closed;
            my $event = $callback->(ref $items eq 'ARRAY' ? $$item : $item, $index++);
            $event = await _awaitable($event) if PAGI::SSE::Check::is_future($event);
            last if $self->is_closed;
            next if ref $event ne 'HASH';
            my $sent;
            { local $PAGI::SSE::Check::PLACE = $place; $sent = $self->send_event(%$event) }
            await $sent;
        }
        1;
    };
    $self->_callback_died($@) unless $fine;
    await $self->_until_over if $self->is_closed;
    return $self;
}

# References to the items, which may be undef.
sub _of_list {
    my ($items) = @_;
    my $index = 0;
    return sub { $index < @$items ? \$items->[$index++] : undef };
}

async sub _every {
    my ($self, $interval, $callback) = @_;
    return $self if $self->{ended};
    await $self->_sent($self->{wire}->ensure_started('every')) unless $self->is_closed;
    $self->_listen;
    while (!$self->is_closed) {
        my $fine = eval {
            my $result = $callback->();
            await _awaitable($result) if PAGI::SSE::Check::is_future($result);
            1;
        };
        $self->_callback_died($@) unless $fine;
        last if $self->is_closed;
        await $self->_sleep($interval);
    }
    await $self->_until_over;
    return $self;
}

# So many seconds, or until the end.
sub _sleep {
    my ($self, $seconds) = @_;
    my $sleep = PAGI::SSE::Loop->sleep($seconds, $self->_server);
    my $wait = PAGI::SSE::Futures::alike($sleep);
    $self->_remember($self->{waiters} ||= [], $wait);
    $sleep->on_ready($wait);
    # The sleep is ours, so it may go when nobody waits for it any more.
    $wait->on_ready(sub { $sleep->cancel });
    return $wait;
}

# await wants a Future of a class that knows it; others are one by their methods.
sub _awaitable {
    my ($future) = @_;
    return $future if $future->isa('Future') || $future->can('AWAIT_IS_READY');
    my $view = Future->new;
    $future->on_ready(sub {
        my ($future) = @_;
        return if $view->is_ready;
        my @failure = $future->failure;
        @failure ? $view->fail(@failure) : $view->done($future->result);
    });
    $view->on_cancel($future) if $future->can('cancel');
    return $view;
}

# What a callback says of a connection that has ended in the meantime is the
# end, not an error.
sub _callback_died {
    my ($self, $error) = @_;
    return if $self->{ended} && "$error" =~ /\Q${\PAGI::SSE::Wire::CLOSED}\E/;
    # The client is not to take the part for the whole.
    my $exchange = $self->_exchange;
    $exchange->break_off if $exchange;
    $self->_end(reason => 'server_error', given => 'server_error', announce => 1);
    die $error;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Iteration - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
