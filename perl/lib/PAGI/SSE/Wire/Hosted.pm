package PAGI::SSE::Wire::Hosted;

use strict;
use warnings;

use parent 'PAGI::SSE::Wire';

use Scalar::Util qw(blessed weaken);

use PAGI::SSE::Wire::Delivery ();
use PAGI::SSE::FFI            ();
use PAGI::SSE::Text           qw(octets);

our $VERSION = '0.003000';

# The wire of a connection of the embedded server: everything goes straight to
# the native library, in one call and without a hash. Same interface as
# PAGI::SSE::Wire::Foreign.

sub new {
    my ($class, $owner, %args) = @_;
    my $exchange = $args{exchange};
    my $self = bless {
        exchange => $exchange,
        handle   => $exchange->handle,
        send     => $args{send},
    }, $class;
    weaken($self->{owner} = $owner);
    return $self;
}

# Why the native side ended, when it has.
sub reason {
    my ($self) = @_;
    return $self->state == PAGI::SSE::FFI::Constants::STATE_CLOSED()
        ? PAGI::SSE::FFI::conn_reason($self->{handle})
        : undef;
}

# A pending Future, of the class that this server's loop can wait for.
sub new_future { $_[0]{exchange}->new_future }

# The client may have gone without the server having said so yet.
sub notice_end {
    my ($self) = @_;
    $self->{owner}->_note_disconnected(undef, $self->reason)
        if $self->state == PAGI::SSE::FFI::Constants::STATE_CLOSED();
    return;
}

# The hub's native connection is this one; and who makes Futures for it.
sub hub_conn { return $_[0]{handle} }

sub hub_subscribed {
    my ($self, $hub) = @_;
    $hub->_attach_server($self->{exchange}{server});
    return;
}

sub hub_refused { }

# Who has a callback for the end is to be there then.
sub note_on_close { $_[0]{exchange}->keep($_[0]{owner}) }

sub buffered { PAGI::SSE::FFI::conn_buffered($_[0]{handle}) }

sub start {
    my ($self, $status, $headers) = @_;
    my $code = PAGI::SSE::FFI::conn_start_list($self->{handle}, $status, $headers || []);
    return $code < 0 ? $self->_outcome('start', $code) : undef;
}

sub ensure_started {
    my ($self, $method) = @_;
    my $code = PAGI::SSE::FFI::conn_start_list($self->{handle}, 200, []);
    return $code < 0 ? $self->_outcome($method, $code) : undef;
}

sub send {
    my ($self, $data, $method, $is_encoded) = @_;
    # The library reads the bytes of the string: ASCII is the same either way.
    $data = octets($data) if !$is_encoded && $data =~ /[[:^ascii:]]/;
    my $code = PAGI::SSE::FFI::conn_send($self->{handle}, $data, length $data);
    return $code ? $self->_outcome($method, $code) : undef;
}

sub send_event {
    my ($self, $method, $data, $name, $id, $retry, $is_encoded) = @_;
    return $self->send($data, $method, $is_encoded) unless defined $name || defined $id || defined $retry;
    $data = octets($data) if !$is_encoded && $data =~ /[[:^ascii:]]/;
    no warnings 'uninitialized';
    if ("$name$id" =~ tr/\0-\x7F//c) {
        $_ = octets($_) for grep { defined } $name, $id;
    }
    my $code = PAGI::SSE::FFI::conn_send_event(
        $self->{handle},
        defined $retry
        ? PAGI::SSE::FFI::event($data, $name, $id, undef, $retry, 0)
        : pack PAGI::SSE::FFI::PLAIN_EVENT,
        PAGI::SSE::FFI::EVENT_BYTES,
        $data,
        length $data,
        $name,
        length $name,
        $id,
        length $id
    );
    return $code
        ? $self->_outcome($method, $code, { event => $name, id => $id })
        : undef;
}

sub comment {
    my ($self, $comment, $method) = @_;
    my $octets = octets($comment);
    my $code = PAGI::SSE::FFI::conn_comment($self->{handle}, $octets, length $octets);
    return $code ? $self->_outcome($method, $code) : undef;
}

sub keepalive {
    my ($self, $interval, $comment) = @_;
    my $octets = octets($comment);
    my $code = PAGI::SSE::FFI::conn_keepalive($self->{handle}, PAGI::SSE::Check::milliseconds($interval),
        $octets, length $octets);
    return $code < 0
        ? $self->_outcome('keepalive', $code, { interval => $interval })
        : undef;
}

sub close {
    my ($self, $reason) = @_;
    $self->{exchange}{app_closed} = 1 if $self->mark_closed($reason) == 1;
    return;
}

sub mark_closed {
    my ($self, $reason) = @_;
    $reason = PAGI::SSE::Check::short_reason($reason) if defined $reason;
    return $self->{exchange}->way_to_close->($self->{handle}, $reason, length($reason // ''));
}

# After the end: whoever still waits is told.
sub release {
    my ($self, $lost) = @_;
    my @blocked = @{ delete $self->{blocked} || [] };
    my @error = $lost ? $self->closed_message : ();
    for my $delivery (@blocked) {
        $delivery->{closed} = 1 if $lost;
        $delivery->settle(@error);
    }
    return;
}

# For test tools, which set a state by hand: only forward, the wire is real.
sub force_state {
    my ($self, $state) = @_;
    $self->ensure_started('start') if $state eq 'started';
    return;
}

# The server's $send knows the response events and keeps their order.
sub put {
    my ($self, $event) = @_;
    my $delivery = PAGI::SSE::Wire::Delivery->new;
    my $future;
    eval { $future = $self->{send}->($event); 1 }
        or return PAGI::SSE::Wire::Delivery->failed($@);
    return if !blessed $future || $future->is_done;
    $self->{response} = $future;
    weaken(my $weak = $self);
    $future->on_ready(sub {
        my ($future) = @_;
        delete $weak->{response} if $weak;
        $delivery->settle(
              $future->is_done ? ()
            : $future->is_cancelled ? "cancelled\n"
            : $future->failure
        );
    });
    return $delivery;
}

sub begin_decline { }
sub undo_decline  { }

# 1: queued, but above the high mark; negative: refused.
sub _outcome {
    my ($self, $method, $code, $fields) = @_;
    if ($code == 1) {
        my $delivery = PAGI::SSE::Wire::Delivery->new;
        push @{ $self->{blocked} }, $delivery;    # above the high mark
        $self->_watch_drain;
        return $delivery->{settled} ? undef : $delivery;
    }
    if ($code == PAGI::SSE::FFI::QUEUE_OVERFLOW()) {
        $self->_watch_drain;
        return $self->{full} ||= PAGI::SSE::Wire::Delivery->full(PAGI::SSE::FFI::last_error());
    }
    my $owner = $self->{owner};
    if ($code == PAGI::SSE::FFI::CLOSED()) {
        $owner->_note_disconnected(undef, $self->reason);
    }
    return $self->refused($method, $code, $fields);
}

sub _watch_drain {
    my ($self) = @_;
    return if $self->{draining};
    my $drained = $self->{draining} = $self->{exchange}->drained;
    weaken(my $weak = $self);
    $drained->on_ready(sub {
        my $self = $weak or return;
        delete $self->{draining};
        # Drained, or over: then those who wait fail, see release.
        $self->notice_end if $self->{owner};
        my @blocked = @{ delete $self->{blocked} || [] };
        $_->settle for @blocked;
        $self->{owner}->_full_over if $self->{owner};
    });
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Hosted - the wire of a connection of the embedded server (internal)

=head1 DESCRIPTION

Hands events to the native library directly. Internal; used by L<PAGI::SSE>
when C<$send> is the very one of L<PAGI::SSE::Server>.

=cut
