package PAGI::SSE::Connection::End;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Futures        ();
use PAGI::SSE::Loop           ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# The end of a connection, and the callbacks that are told of it or of errors.

# Every end comes through here, once. reason: what disconnect_reason says;
# given: the reason that sse.close carries; announce: send sse.close.
sub _end {
    my ($self, %end) = @_;
    return if $self->{ended};
    my $wire = $self->{wire};
    # A send has failed and the turn is not over: there is nobody to announce to.
    @end{qw(reason announce)} = ('write_error', 0) if $self->{failing} && $end{announce};
    my $known = $wire->reason;
    $self->{reason} = defined $known ? $known : $end{reason};
    @$self{qw(ended in_callbacks)} = (1, 1);    # from here on, whatever the callbacks and the wire do
    delete $self->{failing};
    $self->_full_over;
    if ($end{announce}) {
        my $announcement = $self->{declining} || $wire->close($end{given});
        $self->{announcement} = $announcement if $announcement && !$announcement->{settled};
    }
    elsif (!$end{declined}) { $wire->mark_closed($end{reason} // 'unknown') }
    @{ $self->{_on_error} } = ();
    my $pending = $self->_run_callbacks;
    $self->_prepare_closing($pending);
    $wire->release(!$end{announce});
    $self->{inbox}->stop if $self->{inbox};
    $self->_body_complete;
    delete $self->{receive};

    if (my $last = $self->{announcement}) {
        $last->on_settled(sub { $wire->retire });
    }
    else { $wire->retire }
    $self->_over if !$pending;
    return;
}

# The on_close callbacks, one after the other: the next waits for the Future
# that the one before returned. Returns a Future that is pending.
sub _run_callbacks {
    my ($self) = @_;
    my $reason = defined $self->{reason} ? $self->{reason} : 'unknown';
    while (my $callback = shift @{ $self->{_on_close} }) {
        my $pending = $self->_call($callback, 'on_close', $reason) or next;
        $pending->on_ready(sub { $self->_run_callbacks || $self->_over });
        return $pending;
    }
    return;
}

# The server goes and waits no longer: what is running is cancelled. Callbacks
# behind it still get their turn, up to their first await.
sub _cancel_callbacks {
    my ($self) = @_;
    while (my @running = grep { !$_->is_ready } values %{ $self->{held} || {} }) {
        $_->cancel for @running;
    }
    return;
}

# One that was registered after the end runs at once, or behind those before it.
sub _call_late {
    my ($self) = @_;
    $self->{in_callbacks} = 1;
    $self->_run_callbacks || $self->_over;
    return;
}

# The callbacks are done: whoever waits for the end is woken.
sub _over {
    my ($self) = @_;
    delete $self->{in_callbacks};
    $self->_wake;
    $self->_closed;
    return;
}

sub _wake {
    my ($self) = @_;
    my $waiters = delete $self->{waiters} || [];
    for my $waiter (grep { !$_->is_ready } @$waiters) {
        PAGI::SSE::Futures::guarded(sub { $waiter->done });
    }
    return;
}

# What close returns, unless all of it has happened already.
sub _prepare_closing {
    my ($self, $pending) = @_;
    my $announcement = $self->{announcement};
    return if !$announcement && !$pending;
    $self->{closing} = $pending ? PAGI::SSE::Futures::alike($pending) : $self->_pending;
    $announcement->on_settled(sub { delete $self->{announcement}; $self->_closed }) if $announcement;
    return;
}

# sse.close is sent, and the callbacks are done.
sub _closed {
    my ($self) = @_;
    return if $self->{announcement} || $self->{in_callbacks};
    my $closing = delete $self->{closing} or return;
    PAGI::SSE::Futures::guarded(sub { $closing->done($self) }) unless $closing->is_ready;
    # The object keeps this Future, so it must not keep the object.
    $self->{closing} = $closing if PAGI::SSE::Futures::weakened($closing);
    return;
}

# Returns the callback's Future when it is still pending; holds it.
sub _call {
    my ($self, $callback, $name, @args) = @_;
    my $future;
    eval { $future = $callback->($self, @args); 1 }
        or return PAGI::SSE::Check::warning("an $name callback died: $@");
    return unless PAGI::SSE::Check::is_future($future);
    my $check = sub {
        my ($failure) = $_[0]->is_cancelled ? () : $_[0]->failure;
        PAGI::SSE::Check::warning("an $name callback failed: $failure") if defined $failure;
    };
    if ($future->is_ready) {
        $check->($future);
        return;
    }
    $self->_held($future)->on_ready($check);
    return $future;
}

# Tell on_error of a failed delivery. Returns the Futures to wait for.
sub _report {
    my ($self, $delivery) = @_;
    return @{ $delivery->{reported} } if $delivery->{reported};
    my $reporters = $self->{_on_error};
    # What fails inside of a callback is not for that callback.
    my $is_heard = @$reporters && !$self->{reporting};
    return $self->_count_full if $delivery->{full} && !$is_heard && defined $self->{full};
    my $error = $delivery->{error}[0];
    $error = PAGI::SSE::Check::message($error) if $delivery->{full};
    if ($is_heard) {
        local $self->{reporting} = 1;
        return grep { $_ }
            map { $self->_call($_, 'on_error', $error) } @$reporters;
    }
    PAGI::SSE::Check::warning($error);
    $self->{full} = 0 if $delivery->{full};
    return;
}

# Of events that found their queue full, when nobody hears of it but by
# warnings: one at the beginning of an episode, and how many more at its end.
sub _count_full {
    my ($self) = @_;
    $self->{full}++;
    return;
}

sub _full_over {
    my ($self) = @_;
    my $more = delete $self->{full} or return;
    PAGI::SSE::Check::warning("queue_overflow: $more more events were refused until "
            . ($self->{ended} ? 'the connection ended' : 'the queue was empty again'));
    return;
}

# A send failed. on_error comes before on_close, and both before $settle, which
# tells whoever waits for the send. When the failure came later, from a server's
# loop, the same turn may bring the reason by $receive.
sub _write_failed {
    my ($self, $delivery, $settle, $is_later) = @_;
    return $settle->() if $self->{ended};
    $self->{failing} = 1;
    $self->{wire}->mark_closed('write_error');
    @{ $delivery->{reported} } = $self->_report($delivery) if $delivery->{reports};
    my $end = sub {
        $self->_end(reason => 'write_error');
        $settle->();
    };
    my $may_know = $is_later && $self->{inbox} && $self->{inbox}->is_listening;
    my $server = $self->_server;
    return if $may_know && PAGI::SSE::Loop->is_known($server) && PAGI::SSE::Loop->later($end, $server);
    return $end->();
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::End - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
