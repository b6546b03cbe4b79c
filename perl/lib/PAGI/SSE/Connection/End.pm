package PAGI::SSE::Connection::End;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Futures        ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# The end of a connection, and the callbacks that are told of it or of errors.

# Every end comes through here, once. reason: what disconnect_reason says;
# given: the reason that sse.close carries; announce: send sse.close.
sub _end {
    my ($self, %end) = @_;
    return if $self->{ended};
    my $wire = $self->{wire};
    my $declining = $self->{declining};
    my $known = $wire->reason;
    $self->{reason} = defined $known ? $known : $end{reason};
    $self->{ended} = 1;    # from here on, whatever the callbacks do
    my $announcement;

    if ($end{announce}) {
        $announcement = $declining || $wire->close($end{given});
    }
    elsif (!$end{declined}) {
        $wire->mark_closed($end{reason} // 'unknown');
    }
    $self->{announcement} = $announcement
        if $announcement && !$announcement->{settled};

    my @pending = grep { $_ }
        map { $self->_call_on_close($_) } splice @{ $self->{_on_close} };
    my $prototype = $pending[0];
    @{ $self->{_on_error} } = ();

    if ($self->{announcement} || @pending) {
        my $closing = $self->{closing} = $prototype ? PAGI::SSE::Futures::alike($prototype) : $self->_pending;
        my $left = @pending + ($self->{announcement} ? 1 : 0);
        $self->{callbacks_pending} = @pending;
        my $finish = sub {
            return if --$left;
            delete $self->{announcement};
            PAGI::SSE::Futures::guarded(sub { $closing->done($self) }) unless $closing->is_ready;
            # The object keeps this Future, so it must not keep the object.
            delete $self->{closing}
                unless PAGI::SSE::Futures::weakened($closing);
            undef $closing;
        };
        $self->{announcement}->on_settled($finish) if $self->{announcement};
        for my $future (@pending) {
            $future->on_ready(sub { $self->{callbacks_pending}--; $finish->() });
        }
    }

    $wire->release(!$end{announce});
    $self->_wake;
    delete $self->{receive};
    if (my $last = $self->{announcement}) {
        $last->on_settled(sub { $wire->retire });
    }
    else { $wire->retire }
    return;
}

sub _wake {
    my ($self) = @_;
    $self->{inbox}->stop if $self->{inbox};
    $self->_body_complete;
    my $waiters = delete $self->{waiters} or return;
    for my $waiter (@$waiters) {
        PAGI::SSE::Futures::guarded(sub { $waiter->done }) unless $waiter->is_ready;
    }
    return;
}

# Returns the callback's Future when it is still pending; holds it.
sub _call_on_close {
    my ($self, $callback) = @_;
    my $reason = defined $self->{reason} ? $self->{reason} : 'unknown';
    return $self->_call($callback, 'on_close', $reason);
}

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
    my $error = $delivery->{error}[0];
    my $reporters = $delivery->{reporters} || $self->{_on_error};
    # What fails inside of a callback is not for that callback.
    if (@$reporters && !$self->{reporting}) {
        local $self->{reporting} = 1;
        return grep { $_ }
            map { $self->_call($_, 'on_error', $error) } @$reporters;
    }
    PAGI::SSE::Check::warning($error);
    return;
}

sub _write_failed {
    my ($self, $delivery) = @_;
    # Whoever is told of the error must be so although the end comes first.
    $delivery->{reporters} = [@{ $self->{_on_error} }];
    $self->_end(reason => 'write_error');
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::End - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
