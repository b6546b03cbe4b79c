package PAGI::SSE::Wire::Foreign;

use strict;
use warnings;

use parent qw(PAGI::SSE::Wire PAGI::SSE::Wire::Outbox);

use Scalar::Util qw(weaken);

use PAGI::SSE::Check          ();
use PAGI::SSE::FFI            ();
use PAGI::SSE::Futures        ();
use PAGI::SSE::Text           qw(octets characters decoded);
use PAGI::SSE::Wire::Delivery ();
use PAGI::SSE::Wire::Handle   ();

our $VERSION = '0.003000';

# A function call is cheaper than looking the method up for every event.
*put = \&PAGI::SSE::Wire::Outbox::put;
*waiting = \&PAGI::SSE::Wire::Outbox::waiting;

# The wire of a connection whose server is somebody else's: events go out as
# the documented hashes, state and validation are the native library's. One
# FFI call per event.
#
# Methods that send return nothing when the server accepted at once, else a
# PAGI::SSE::Wire::Delivery.

sub new {
    my ($class, $owner, %args) = @_;
    my $self = $class->PAGI::SSE::Wire::Outbox::new(%args);
    $self->{guard} = PAGI::SSE::Wire::Handle->new($owner);
    $self->{handle} = ${ $self->{guard} };
    $self->{text} = $args{text} eq 'characters' ? \&characters : \&octets;
    weaken($self->{owner} = $owner);
    # Our own server, behind whatever middleware, takes an id without data.
    $self->{id_alone} = 1 if $args{server};
    return $self;
}

sub reason        { undef }
sub buffered      { undef }
sub notice_end    { }
sub note_on_close { }

# A pending Future of the server's class, when one is known.
sub new_future {
    $_[0]{in_flight} && PAGI::SSE::Futures::alike($_[0]{in_flight});
}

sub start {
    my ($self, $status, $headers) = @_;
    my $code = PAGI::SSE::FFI::conn_start_list($self->{handle}, $status, $headers || []);
    return $self->refused('start', $code) if $code < 0;
    return $self->{starting} unless $code;
    return $self->_put_start($status, $headers, 'start');
}

# Everything that starts the stream by itself.
sub ensure_started {
    my ($self, $method) = @_;
    my $code = PAGI::SSE::FFI::conn_admit($self->{handle});
    return $self->refused($method, $code) if $code < 0;
    return $self->{starting} unless $code;
    return $self->_put_start(200, undef, $method);
}

# ASCII, nearly everything, is left alone by the text rule: no call for it.
# {open} spares the library being asked again and again: once it has admitted
# an event, all that ends that goes through us. Never while a hub sends here.

sub send {
    my ($self, $data, $method, $is_encoded) = @_;
    my $text = $self->_text($data, $is_encoded);
    if (!$self->{open}) {
        my $refused = $self->_open($method, PAGI::SSE::FFI::conn_admit($self->{handle}));
        return $refused if $refused;
    }
    return $self->_put_own({ type => 'sse.send', data => $text }, $method);
}

# What is encoded already, as JSON is, is octets and not asked about again.
sub _text {
    my ($self, $data, $is_encoded) = @_;
    return $data if $data !~ /[[:^ascii:]]/;
    return $self->{text}->($data) if !$is_encoded;
    return $self->{text} == \&octets ? $data : decoded($data);
}

sub send_event {
    my ($self, $method, $data, $name, $id, $retry, $is_encoded) = @_;
    my $text = $self->{text};
    my $event = { type => 'sse.send', data => $self->_text($data, $is_encoded) };
    $event->{event} = $text->($name) if defined $name;
    $event->{id} = $text->($id) if defined $id;
    $event->{retry} = $retry if defined $retry;

    no warnings 'uninitialized';
    if ("$name$id" =~ tr/\0-\x7F//c) {
        $_ = octets($_) for grep { defined } $name, $id;
    }
    my $checked = PAGI::SSE::FFI::event(undef, $name, $id, undef, $retry, 0);
    my $code = PAGI::SSE::FFI::conn_admit_event($self->{handle}, $checked);
    if ($code || !$self->{open}) {
        my $refused = $self->_open($method, $code, $event);
        return $refused if $refused;
    }
    return $self->_put_own($event, $method);
}

sub comment {
    my ($self, $comment, $method) = @_;
    my $text = $self->{text}->($comment);
    if (!$self->{open}) {
        my $refused = $self->_open($method, PAGI::SSE::FFI::conn_admit($self->{handle}));
        return $refused if $refused;
    }
    return $self->_put_own({ type => 'sse.comment', comment => $text }, $method);
}

sub keepalive {
    my ($self, $interval, $comment) = @_;
    my $text = $self->{text}->($comment);
    # There are servers that put the colon before the first line only.
    $text =~ s/(?>\r\n?|\n)(:?)/\n:/g;
    return put($self, { type => 'sse.keepalive', interval => $interval, comment => $text });
}

# The native connection that a hub publishes to; what comes out of it comes
# back to us by publish.
sub hub_conn {
    my ($self) = @_;
    $self->{bridge} ||= PAGI::SSE::Hub::Bridge->new($self);
    $self->{open} = 0;
    return $self->{bridge}->conn;
}

sub hub_subscribed {
    my ($self, $hub) = @_;
    $hub->_attach_bridge;
    $self->{bridge}->note_subscribed;
    return;
}

# The bridge may be of a subscription before.
sub hub_refused {
    my ($self) = @_;
    $self->leave_hub if !$self->{bridge}->was_subscribed;
    return;
}

sub catch_up {
    my ($self) = @_;
    $self->{bridge}->catch_up if $self->{bridge};
    return;
}

sub leave_hub {
    my ($self) = @_;
    my $bridge = delete $self->{bridge} or return;
    $bridge->end;
    return;
}

# An event of the application's own, behind all that a hub has published by
# now. If the queue has no room for it, that stays where its own limits are.
sub _put_own {
    my ($self, $event, $method) = @_;
    my @reports = (reports => $method =~ /\Atry_/ ? 1 : 0);    # to on_error, when $send fails
    my $bridge = $self->{bridge} or return put($self, $event, @reports);
    return $self->refuse_full if $self->is_full($event);
    $bridge->catch_up;
    # That may have been the end.
    return $self->refused($method, PAGI::SSE::FFI::CLOSED()) if !$self->{bridge};
    return put($self, $event, @reports, beyond_limits => 1);
}

# A hub's event, checked already. Bounded by its subscription.
sub publish {
    my ($self, $event) = @_;
    my $text = $self->{text};
    $_ = $text->($_) for @$event{ grep { defined $event->{$_} } qw(data event id) };
    $event->{type} = 'sse.send';
    return put($self, $event, beyond_limits => 1);
}

# Close the native side. What is queued or published still goes out, then
# sse.close; but nobody waits for it any more, except for the last.
sub close {
    my ($self, $reason) = @_;
    $self->catch_up;
    $self->mark_closed($reason);
    @{ $self->{released} } = $self->waiting;
    # A server that does not know sse.close is no reason to complain.
    my %event =
        (type => 'sse.close', defined $reason ? (reason => $reason) : ());
    return put($self, \%event, beyond_limits => 1, quiet => 1);
}

# After the end: whoever still waits is told.
sub release {
    my ($self, $lost) = @_;
    if ($lost) {
        $self->drop($self->closed_message);
    }
    else {
        $_->settle for @{ delete $self->{released} || [] };
    }
    return;
}

sub mark_closed {
    my ($self, $reason) = @_;
    $self->{open} = 0;
    $self->leave_hub;
    $reason = PAGI::SSE::Check::short_reason($reason) if defined $reason;
    PAGI::SSE::FFI::conn_close($self->{handle}, $reason, length($reason // ''));
    return;
}

# For test tools, which set a state by hand.
sub force_state {
    my ($self, $state) = @_;
    $self->{open} = 0;
    $self->{guard} = PAGI::SSE::Wire::Handle->new($self->{owner});
    $self->{handle} = ${ $self->{guard} };
    PAGI::SSE::FFI::conn_admit($self->{handle}) if $state eq 'started';
    return;
}

# While an ordinary response is under way nothing else may go out.
sub begin_decline { $_[0]->mark_closed('app_closed') }
sub undo_decline  { $_[0]->force_state('pending') }

# Act on what conn_admit said: go on, start the stream first, or refuse.
# Returns a delivery when the event cannot go out.
sub _open {
    my ($self, $method, $code, $event) = @_;
    return $self->refused($method, $code, $event) if $code < 0;
    $self->{open} = !$self->{bridge};
    return unless $code;
    my $start = $self->_put_start(200, undef, $method) or return;
    return $start->{error} ? $start : undef;
}

sub _put_start {
    my ($self, $status, $headers, $method) = @_;
    my %event = (
        type   => 'sse.start',
        status => $status,
        $headers ? (headers => $headers) : ()
    );
    my $start = put($self, \%event, beyond_limits => 1, reports => $method =~ /\A(?:try_|run|subscribe)/ ? 1 : 0);
    $self->{owner}->_listen_from_start;
    return if !$start;
    unless ($start->{settled}) {
        $self->{starting} = $start;
        weaken(my $weak = $self);
        $start->on_settled(sub { delete $weak->{starting} if $weak });
    }
    return $start;
}

# A start that failed has sent nothing, so it can be tried again, by whoever is
# told of the failure. What nobody is told of (try_*, run, a hub) ends with it.
sub _may_start_again {
    my ($self, $delivery) = @_;
    return
           $delivery->{event}{type} eq 'sse.start'
        && !$self->{bridge}
        && !$self->{owner}{ended}
        && !grep { $_->{reports} } $delivery, @{ $self->{queue} };
}

sub _start_again {
    my ($self, $start, $settle) = @_;
    my @behind = splice @{ $self->{queue} };
    delete $self->{starting};
    $self->force_state('pending');
    PAGI::SSE::Wire::Starting->begin_with_owner($self) if $self->{plain};
    # A setting of the keepalive may come before the start.
    @{ $self->{queue} } = grep { $_->{event}{type} eq 'sse.keepalive' } @behind;
    $self->{bytes} = 0;
    $self->{bytes} += $_->{size} for @{ $self->{queue} };
    $settle->();
    $_->settle(@{ $start->{error} }) for grep { $_->{event}{type} ne 'sse.keepalive' } @behind;
    return;
}

sub overflow {
    my ($self) = @_;
    return 'queue_overflow: the server has not yet accepted an earlier event, and the queue'
        . " of $self->{max_events} events or $self->{max_bytes} octets (max_queue_events, max_queue_bytes) is full";
}

sub drained {
    my ($self) = @_;
    my $owner = $self->{owner} or return;
    $owner->_full_over;
    return;
}

sub failed {
    my ($self, $delivery, $settle, $is_later) = @_;
    my $owner = $self->{owner} or return $settle->();
    return $self->_start_again($delivery, $settle) if $self->_may_start_again($delivery);
    if ($owner->{ended}) {    # what the end let go out behind it goes nowhere either
        $settle->();
        return $self->drop($self->closed_message);
    }
    $owner->_write_failed($delivery, $settle, $is_later);
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Foreign - the wire of a connection under any PAGI server (internal)

=head1 DESCRIPTION

State and validation come from the native library, events go to the server's
C<$send> as the hashes that PAGI documents, in order. Internal; used by
L<PAGI::SSE>.

=cut
