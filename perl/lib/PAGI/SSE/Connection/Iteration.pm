package PAGI::SSE::Connection::Iteration;

use strict;
use warnings;

use Future::AsyncAwait;

use PAGI::SSE::Check ();
use PAGI::SSE::Loop  ();
use PAGI::SSE::Wire  ();

our $VERSION = '0.003000';

# The loops of each and every.

async sub _each {
    my ($self, $items, $callback) = @_;
    return $self if $self->is_closed;
    await $self->_sent($self->{wire}->ensure_started('each'));

    my $index = 0;
    my $fine = eval {
        while (!$self->is_closed) {
            --$PAGI::SSE::Loop::LEFT or await $self->_give_way;    # a callback need not send
            my $item;
            if (ref $items eq 'ARRAY') {
                last if $index >= @$items;
                $item = $items->[$index];
            }
            else {
                my $next = $items->();
                $next = await $self->_unless_ended($next) if PAGI::SSE::Check::is_future($next);
                last unless defined $next;
                $item = $next;
                last if $self->is_closed;
            }
            my $event = $callback->($item, $index++);
            $event = await $self->_unless_ended($event) if PAGI::SSE::Check::is_future($event);
            last if $self->is_closed;
            await $self->send_event(%$event) if ref $event eq 'HASH';
        }
        1;
    };
    $self->_callback_died($@) unless $fine;
    return $self;
}

async sub _every {
    my ($self, $interval, $callback) = @_;
    return $self if $self->is_closed;
    await $self->_sent($self->{wire}->ensure_started('every'));
    $self->_listen;

    while (!$self->is_closed) {
        my $fine = eval {
            my $result = $callback->();
            await $self->_unless_ended($result) if PAGI::SSE::Check::is_future($result);
            1;
        };
        $self->_callback_died($@) unless $fine;
        last if $self->is_closed;

        my $sleep = PAGI::SSE::Loop->sleep($interval, $self->_server);
        my $wait = $self->_unless_ended($sleep);
        # The sleep is ours, so it may go when nobody waits for it any more.
        $wait->on_ready(sub { $sleep->cancel });
        await $wait;
    }
    return $self;
}

# In each and every. What a callback says of a connection that has ended in
# the meantime is the end, not an error.
sub _callback_died {
    my ($self, $error) = @_;
    return if $self->{ended} && "$error" =~ /\Q${\PAGI::SSE::Wire::CLOSED}\E/;
    my $exchange = PAGI::SSE::Server::Exchange->can('of_scope');
    $exchange &&= PAGI::SSE::Server::Exchange->of_scope($self->{scope});
    $exchange->break_off if $exchange;
    $self->_end(
        reason   => 'server_error',
        given    => 'server_error',
        announce => 1
    );
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
