package PAGI::SSE::Hub::Bridge;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future                    ();
use Scalar::Util              qw(weaken);
use PAGI::SSE::Check          qw(message);
use PAGI::SSE::FFI            ();
use PAGI::SSE::FFI::Constants qw(KIND_CLOSED KIND_OUTPUT KIND_READY WIRE_EVENTS);
use PAGI::SSE::Runtime        ();
use PAGI::SSE::Thread         ();

# From a hub to a connection of somebody else's server. A native connection
# without a socket takes what is published, so that replay, order and policies
# are the library's; its bytes are taken out when the runtime's descriptor says
# so, and go to the server's $send as events, one at a time.

# What is taken out is beyond the policies: little at a time.
use constant READ_BYTES => 4096;

my %BRIDGE;     # by native connection, weak
my %PINNED;     # hubs whose application watches the descriptor itself
my $RUNTIME;    # a PAGI::SSE::Runtime, marked was_used, in_watch

sub new {
    my ($class, $wire) = @_;
    my $runtime = _runtime();
    my $code = PAGI::SSE::FFI::conn_open_queue($runtime->{handle}, WIRE_EVENTS, \my $conn);
    if ($code < 0) {
        _rest();
        die message('PAGI::SSE::Hub: no native connection: ' . PAGI::SSE::FFI::result_text($code));
    }
    my $self = bless { conn => $conn, rest => '' }, $class;
    weaken($self->{wire} = $wire);
    weaken($BRIDGE{$conn} = $self);
    PAGI::SSE::Thread::own($conn, $self);
    # Where nothing of the kind is installed, it is the application that calls
    # dispatch.
    $runtime->watch('PAGI::SSE::Hub', \&_note_readable) if !$runtime->{watch} && !%PINNED;
    return $self;
}

sub conn            { return $_[0]{conn} }
sub note_subscribed { $RUNTIME->{was_used} = $_[0]{was_subscribed} = 1; return }
sub was_subscribed  { return $_[0]{was_subscribed} }

# The wire has ended; who is in pump will notice.
sub end {
    my ($self) = @_;
    my $conn = delete $self->{conn} or return;
    delete $BRIDGE{$conn};
    PAGI::SSE::Thread::disown($conn);
    PAGI::SSE::FFI::conn_free($conn);    # in a child of a fork: stale, and fine
    _rest();
    return;
}

# Sends what there is until the server asks us to wait. The next event is taken
# only when the server has accepted the one before.
sub pump {
    my ($self) = @_;
    return if $self->{busy};
    $self->{busy} = 1;
    while (defined(my $block = $self->_next_block)) {
        my $wire = $self->{wire}                                         or return;
        my $delivery = $wire->publish(_event($block, $wire->{id_alone})) or next;
        if ($delivery->{settled}) {
            return if $delivery->{error};    # the wire has ended
            next;
        }
        weaken(my $weak = $self);
        $delivery->on_settled(sub {
            my ($delivery) = @_;
            my $self = $weak or return;
            $self->{busy} = 0;
            $self->pump if !$delivery->{error};
        });
        return;
    }
    $self->{busy} = 0;
    return;
}

# Sends all that was published by now, though the server makes us wait: an
# event of the application's own, or the end, is to follow. The wire's queue
# keeps the order, also when this is called in the middle of pump.
sub catch_up {
    my ($self) = @_;
    PAGI::SSE::FFI::conn_catch_up($self->{conn});
    my $wire = $self->{wire};
    while (defined(my $block = $self->_next_block)) { $wire->publish(_event($block, $wire->{id_alone})) }
    return;
}

# The native side has ended. What it still has comes first, but an overflow is
# a client that takes nothing: do not wait for it.
sub note_closed {
    my ($self, $reason) = @_;
    return $reason eq 'queue_overflow' ? $self->_close : $self->pump;
}

sub _close {
    my ($self) = @_;
    my $wire = $self->{wire}   or return;
    my $owner = $wire->{owner} or return;
    $owner->close(reason => PAGI::SSE::FFI::conn_reason($self->{conn}));
    return;
}

# The text of one event, or undef when nothing waits.
sub _next_block {
    my ($self) = @_;
    my $at;
    while (($at = index $self->{rest}, "\n\n") < 0) {
        return if !$self->{conn};
        # More at a time while an event is longer than that.
        my $cap = length $self->{rest};
        $cap = READ_BYTES if $cap < READ_BYTES;
        my $bytes = PAGI::SSE::FFI::conn_read($self->{conn}, $cap);
        if (!defined $bytes) {
            $self->_close;
            return;
        }
        return if $bytes eq '';
        $self->{rest} .= $bytes;
    }
    return if !$self->{conn};    # it has ended: what is left is for nobody
    my $block = substr $self->{rest}, 0, $at;
    substr $self->{rest}, 0, $at + 2, '';
    return $block;
}

# The library wrote this, in one form only: "name: value", each line ended by
# LF, no comment. The parser would not tell which event had the id and retry.
sub _event {
    my ($block, $id_alone) = @_;
    my (%event, @data);
    for (split /\n/, $block) {
        my ($name, $value) = /\A(\w+): (.*)\z/s or next;
        if ($name eq 'data') { push @data, $value }
        else                 { $event{$name} = $value }
    }
    $event{retry} += 0 if exists $event{retry};
    # Elsewhere sse.send must have data: an id alone is an event that nobody
    # listens to.
    @event{qw(event data)} = ('id', '') if !@data && !$id_alone;
    $event{data} = join "\n", @data if @data;
    return \%event;
}

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!, $?);
    $self->end;
    return;
}

# Of the runtime and of all bridges.
sub CLONE { undef $RUNTIME; %$_ = () for \%BRIDGE, \%PINNED; return }

# ---- the runtime of all of them

sub _runtime {
    _forget_parent();
    return $RUNTIME if $RUNTIME;
    ($RUNTIME, my $code) = PAGI::SSE::Runtime->new;
    return $RUNTIME || die message('PAGI::SSE::Hub: no native runtime: ' . PAGI::SSE::FFI::result_text($code));
}

# After a fork all of it is the parent's.
sub _forget_parent {
    return if !$RUNTIME || $RUNTIME->is_ours;
    undef $RUNTIME;
    %BRIDGE = ();
    return;
}

# Without a subscriber the loop need not watch, and may end. The thread stays
# for the next one, as it takes half a millisecond to start, while there is a hub.
sub _rest {
    _is_idle() or return;
    # Somebody may wait for what the last one has just made so.
    _take_all($RUNTIME->next);
    _is_idle() && !PAGI::SSE::Hub->_is_awaited or return;
    return _stop() if !$RUNTIME->{was_used} || !PAGI::SSE::Hub->_is_any;
    # A read that is under way ends by itself only; the watch with it.
    PAGI::SSE::FFI::runtime_wake($RUNTIME->{handle}, 0) if $RUNTIME->{watch} && !$RUNTIME->{in_watch};
    return;
}

sub _is_idle { return $RUNTIME && $RUNTIME->is_ours && !%BRIDGE && !%PINNED }

sub _stop {
    my $runtime = $RUNTIME;
    undef $RUNTIME;
    return $runtime->free;
}

# A pending Future that knows how to wait for the loop that drives us.
sub new_future {
    my $watch = $RUNTIME && $RUNTIME->{watch};
    return $watch ? $watch->new_future : Future->new;
}

# For a loop of the application's: it watches from now on.
sub pin {
    my ($class, $hub) = @_;
    $PINNED{$hub} = 1;
    return _runtime()->{fileno};
}

sub unpin {
    my ($class, $hub) = @_;
    delete $PINNED{$hub};
    _rest();
    return;
}

# Deals with all that the runtime has to say. Returns the number of records.
sub dispatch {
    _forget_parent();
    my $runtime = $RUNTIME or return 0;
    my @records = $runtime->next;
    _take_all(@records);
    _rest();
    return scalar @records;
}

# One record's trouble, a callback of the application's perhaps, is not the
# others', nor the loop's.
sub _take_all {
    for my $record (@_) {
        eval { _take($record); 1 } or PAGI::SSE::Check::warning("PAGI::SSE::Hub: a callback of a Future died: $@");
    }
    return;
}

sub _take {
    my ($record) = @_;
    my ($type, $id) = unpack 'C Q', $record;
    return PAGI::SSE::Hub->_note_ready($id) if $type == KIND_READY;
    my $self = $BRIDGE{$id} or return;
    if    ($type == KIND_OUTPUT) { $self->pump }
    elsif ($type == KIND_CLOSED) { $self->note_closed(unpack 'x9 L/a', $record) }
    return;
}

sub _note_readable {
    my ($runtime) = @_;
    return if !$RUNTIME || $RUNTIME != $runtime || !$runtime->is_ours;
    {
        local $runtime->{in_watch} = 1;
        dispatch();
    }
    return if !$RUNTIME || $RUNTIME != $runtime || !_is_idle() || PAGI::SSE::Hub->_is_awaited;
    return $runtime->unwatch;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Hub::Bridge - from a hub to a connection of any server (internal)

=head1 DESCRIPTION

Takes what a hub publishes out of the native library and hands it to a
C<$send> that is not ours, as events, one at a time. One thread and one
descriptor serve all of them, from the first one on, while there is a hub. Internal; used by
L<PAGI::SSE::Hub>.

=cut
