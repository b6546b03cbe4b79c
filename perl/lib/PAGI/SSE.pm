package PAGI::SSE;

use strict;
use warnings;

our $VERSION = '0.1.0';

use parent 'PAGI::SSE::Request';

use Carp ();
use Future ();
use Future::AsyncAwait;
use JSON::MaybeXS ();
use Scalar::Util ();
use overload ();

use PAGI::SSE::Delivery ();
use PAGI::SSE::FFI      ();
use PAGI::SSE::Foreign  ();
use PAGI::SSE::Inbox    ();
use PAGI::SSE::Outbox   ();
use PAGI::SSE::Shared   ();

# Errors point at the application's line, not at ours.
$Carp::Internal{$_}++ for __PACKAGE__, map { __PACKAGE__ . "::$_" }
    qw(Delivery FFI Foreign Hosted Inbox Outbox Request);

my $CLOSED = 'Cannot send on closed SSE connection';
# As the native library numbers them; the last one is the embedded server
# giving an ordinary response.
my @STATES = qw(pending started closed closed);
my %DEFAULT = (
    text             => $ENV{PAGI_SSE_TEXT} || 'octets',
    max_body         => 1_048_576,
    max_queue_events => 1_000,
    max_queue_bytes  => 1_048_576,
);

my $json = JSON::MaybeXS->new(utf8 => 1, allow_nonref => 1, convert_blessed => 1);

my $TRUE    = Future->done(1);
my $FALSE   = Future->done(0);
my $NOTHING = Future->done;

sub new {
    my ($class, $scope, $receive, $send, %options) = @_;
    Carp::croak 'PAGI::SSE requires scope hashref'   unless ref $scope eq 'HASH';
    Carp::croak 'PAGI::SSE requires receive coderef' unless _is_code($receive);
    Carp::croak 'PAGI::SSE requires send coderef'    unless _is_code($send);
    my $type = defined $scope->{type} ? $scope->{type} : '';
    Carp::croak "PAGI::SSE requires scope type 'sse', got '$type'" unless $type eq 'sse';

    my $cached = $scope->{'pagi.sse'};
    return $cached->_unpark($scope, $receive, $send) if Scalar::Util::blessed($cached) && $cached->isa(__PACKAGE__);

    for my $option (sort keys %options) {
        Carp::croak "PAGI::SSE: unknown option '$option' of new" unless exists $DEFAULT{$option};
    }
    %options = (%DEFAULT, %options);
    Carp::croak "PAGI::SSE: text must be 'octets' or 'characters', got '$options{text}'"
        unless $options{text} =~ /\A(?:octets|characters)\z/;
    for my $limit (qw(max_body max_queue_events max_queue_bytes)) {
        Carp::croak "PAGI::SSE: $limit must be a whole number, got '$options{$limit}'"
            unless $options{$limit} =~ /\A[0-9]+\z/;
    }

    my $self = bless { scope => $scope, _on_close => [], _on_error => [] }, $class;

    # The short way only when it is certain that nobody stands in between.
    my $exchange = ref $send eq 'PAGI::SSE::Server::Send' && PAGI::SSE::Server::Exchange->of($send);
    if ($exchange) {
        require PAGI::SSE::Hosted;
        $self->{wire} = PAGI::SSE::Hosted->new($self, exchange => $exchange, send => $send);
        # The server tells us of the end by itself.
        $self->{told_of_end} = ref $receive eq 'PAGI::SSE::Server::Receive';
    }
    else {
        $self->{wire} = PAGI::SSE::Foreign->new(
            $self,
            send       => $send,
            text       => $options{text},
            max_events => $options{max_queue_events},
            max_bytes  => $options{max_queue_bytes},
        );
    }
    $self->{inbox} = PAGI::SSE::Inbox->new($self, receive => $receive, max_body => $options{max_body});

    Scalar::Util::weaken($scope->{'pagi.sse'} = $self);
    return $self;
}

# The scope cache. Object to scope is a strong reference, scope to object a
# weak one. When the last reference to the object goes while the scope lives
# on, the two swap: the object is parked in the scope.

sub DESTROY {
    my ($self) = @_;
    return if $self->{parked} || ${^GLOBAL_PHASE} eq 'DESTRUCT';
    Scalar::Util::weaken($self->{scope});
    my $scope  = $self->{scope}       or return;    # it goes with us
    my $cached = $scope->{'pagi.sse'} or return;    # somebody removed us
    return unless Scalar::Util::refaddr($cached) == Scalar::Util::refaddr($self);
    $scope->{'pagi.sse'} = $self;
    $self->{parked} = 1;
    $self->{$_}->park for qw(inbox wire);
    return;
}

sub _unpark {
    my ($self, $scope, $receive, $send) = @_;
    # When only a copy of the scope is left, that is the scope from now on.
    my $home = $self->{scope} || $scope;
    if (delete $self->{parked}) {
        $self->{scope} = $home;
        $self->{inbox}->unpark($receive);
        $self->{wire}->unpark($send);
    }
    my $cached = $home->{'pagi.sse'};
    Scalar::Util::weaken($home->{'pagi.sse'})
        if ref $cached
        && Scalar::Util::refaddr($cached) == Scalar::Util::refaddr($self)
        && !Scalar::Util::isweak($home->{'pagi.sse'});
    return $self;
}

# An object cannot be cloned into another thread; its handle is of this one.
sub CLONE_SKIP { 1 }

# --- state ---

sub connection_state {
    my ($self) = @_;
    return 'closed' if $self->{ended};
    my $state = $self->{wire}->state;
    return $state < 0 ? 'closed' : $STATES[$state];    # < 0: forked
}

sub is_started   { $_[0]->connection_state eq 'started' }
sub is_closed    { $_[0]->connection_state eq 'closed' }
sub is_connected { $_[0]->connection_state ne 'closed' }

sub disconnect_reason {
    my ($self) = @_;
    return $self->{ended} ? $self->{reason} : $self->{wire}->reason;
}

# --- life ---

sub start {
    my ($self, %options) = @_;
    return $self->_itself if $self->is_closed;
    my $status  = defined $options{status} ? $options{status} : 200;
    my $headers = $options{headers};
    my $problem = _bad_response($status, $headers);
    return _failure("start: $problem") if $problem;
    return $self->_sent($self->{wire}->start($status, $headers));
}

sub close {
    my ($self, @args) = @_;
    my %args = @args % 2 ? (reason => @args) : @args;
    if (!$self->{ended}) {
        my $reason = $args{reason};
        $self->_end(
            reason   => defined $reason ? $reason : 'app_closed',
            given    => $reason,
            announce => 1,
        );
        return $self->{closing} || $self->_itself;
    }
    return $self->{closing} || $self->_itself unless $self->{callbacks_pending};
    # A callback may be the one who asks: it must not wait for itself.
    return $self->_sent($self->{announcement});
}

sub run {
    my ($self) = @_;
    $self->{wire}->notice_end unless $self->{ended};
    return PAGI::SSE::Shared::lasting($NOTHING) if $self->is_closed;
    if (my $start = $self->{wire}->ensure_started('run')) {
        # A start that fails is an end like any other, but is not kept quiet.
        $start->on_settled(sub { $self->_report($_[0]) if $_[0]{error} && !$_[0]{closed} });
    }
    $self->_listen;
    return PAGI::SSE::Shared::lasting($NOTHING) if $self->is_closed;
    return $self->_until_end;
}

sub decline {
    my ($self, %options) = @_;
    my ($status, $headers, $body) = @options{qw(status headers body)};
    $status = 204 unless defined $status;
    my $problem = _bad_response($status, $headers);
    $problem = "a response with status $status has no body; name another status"
        if !$problem && defined $body && ($status == 204 || $status == 304);
    return _failure("decline: $problem") if $problem;

    my $state = $self->connection_state;
    return _failure('decline: the SSE connection is closed')       if $state eq 'closed';
    return _failure('decline: the event stream has already started') if $state eq 'started';

    require PAGI::SSE::Text;
    return $self->_held($self->_decline(
        { type => 'sse.http.response.start', status => $status, headers => $headers || [] },
        {
            type => 'sse.http.response.body',
            body => defined $body ? PAGI::SSE::Text::octets($body) : '',
            more => 0,
        },
    ));
}

async sub _decline {
    my ($self, $head, $body) = @_;
    my $wire = $self->{wire};
    $wire->begin_decline;
    if (!eval { await $self->_sent($wire->put($head, beyond_limits => 1, quiet => 1)); 1 }) {
        my $error = $@;
        # A server that does not know the event has sent nothing.
        $wire->undo_decline unless $self->{ended};
        die $error;
    }
    if (!eval { await $self->_sent($wire->put($body, beyond_limits => 1, quiet => 1)); 1 }) {
        my $error = $@;
        $self->_end(reason => 'write_error');
        die $error;
    }
    $self->_end(reason => 'app_closed', declined => 1);
    return $self;
}

# --- sending ---

# {open} on a wire: nothing to ask, nothing to start, $send it is. ASCII text
# is left alone by the text rule.

sub send {
    my ($self, $data) = @_;
    my $wire     = $self->{wire};
    my $delivery =
          !defined $data || ref $data                   ? $self->_send_odd($data, 'send')
        : $wire->{open} && $data !~ /[[:^ascii:]]/ ? PAGI::SSE::Outbox::put($wire, { type => 'sse.send', data => $data })
        :                                            $wire->send($data, 'send');
    return $self->_sent($delivery) if $delivery;
    my $itself = $self->{itself} or return $self->_itself;
    delete $itself->{revoke_when_ready};    # see PAGI::SSE::Shared
    return $itself;
}

sub try_send {
    my ($self, $data) = @_;
    my $wire     = $self->{wire};
    my $delivery =
          !defined $data || ref $data                   ? $self->_send_odd($data, 'try_send')
        : $wire->{open} && $data !~ /[[:^ascii:]]/ ? PAGI::SSE::Outbox::put($wire, { type => 'sse.send', data => $data })
        :                                            $wire->send($data, 'try_send');
    return $delivery ? $self->_tried($delivery) : PAGI::SSE::Shared::lasting($TRUE);
}

sub send_json {
    my ($self, $value) = @_;
    return $self->_sent($self->_send_json($value, 'send_json'));
}

sub try_send_json {
    my ($self, $value) = @_;
    return $self->_tried($self->_send_json($value, 'try_send_json'));
}

sub send_event {
    my ($self)   = @_;
    my $delivery = &_send_event;
    return $self->_sent($delivery) if $delivery;
    my $itself = $self->{itself} or return $self->_itself;
    delete $itself->{revoke_when_ready};
    return $itself;
}

sub try_send_event {
    my ($self)   = @_;
    my $delivery = &_send_event;
    return $delivery ? $self->_tried($delivery) : PAGI::SSE::Shared::lasting($TRUE);
}

sub send_comment {
    my ($self, $comment) = @_;
    return $self->_sent($self->_send_comment($comment, 'send_comment'));
}

sub try_send_comment {
    my ($self, $comment) = @_;
    return $self->_tried($self->_send_comment($comment, 'try_send_comment'));
}

sub keepalive {
    my ($self, $interval, $comment) = @_;
    return _failure('keepalive: the interval must be a number of seconds from 0 to 86400, got '
            . _shown($interval))
        unless _is_number($interval) && $interval >= 0 && $interval <= 86_400;
    return _failure('keepalive: the comment must be text, got ' . _shown($comment)) if ref $comment;
    return _failure($CLOSED) if $self->is_closed;
    return $self->_sent($self->{wire}->keepalive($interval + 0, $comment));
}

# Each of these gives a delivery, or nothing when the event was accepted.

sub _send_odd {
    my ($self, $data, $method) = @_;
    return _bad_argument("$method requires data") unless defined $data;
    return _bad_argument("$method: data must be text, got "
            . _shown($data) . '; send_json and send_event encode references')
        unless _is_stringy($data);
    return $self->{wire}->send("$data", $method);
}

sub _send_json {
    my ($self, $value, $method) = @_;
    my $octets;
    eval { $octets = $json->encode($value); 1 } or return _bad_argument("$method: " . _reason($@));
    return $self->{wire}->send($octets, $method);
}

sub _send_event {
    return _bad_argument('send_event takes name => value pairs') unless @_ % 2;
    my ($self, %event) = @_;
    my ($data, $name, $id) = @event{qw(data event id)};
    my $wire = $self->{wire};

    # Printable ASCII in the fields that we know, and no other: nothing to
    # encode, nothing that could be refused.
    if ($wire->{open} && defined $data && !ref $data && $data !~ /[[:^ascii:]]/) {
        my $fields = 1;
        $fields++ if defined $name && !ref $name && $name !~ /[^ -~]/;
        $fields++ if defined $id   && !ref $id   && $id   !~ /[^ -~]/;
        if ($fields == keys %event) {
            $event{type} = 'sse.send';
            return PAGI::SSE::Outbox::put($wire, \%event);
        }
    }

    return _bad_argument("send_event requires 'data'") unless defined $data;
    if (ref $data) {
        my $octets;
        eval { $octets = _is_stringy($data) ? "$data" : $json->encode($data); 1 }
            or return _bad_argument('send_event: data: ' . _reason($@));
        $data = $octets;
    }
    for ($name, $id) {
        return _bad_argument('send_event: event and id must be text, got ' . _shown($_))
            if ref && !_is_stringy($_);
    }
    my $retry = $event{retry};
    if (defined $retry) {
        return _bad_argument('send_event: retry must be a whole number of milliseconds, got ' . _shown($retry))
            unless $retry =~ /\A[0-9]{1,15}\z/;
        $retry += 0;
    }
    return $wire->send_event('send_event', $data, $name, $id, $retry);
}

sub _send_comment {
    my ($self, $comment, $method) = @_;
    return _bad_argument("$method requires a comment") unless defined $comment;
    return _bad_argument("$method: a comment must be text, got " . _shown($comment))
        if ref $comment && !_is_stringy($comment);
    return $self->{wire}->comment($comment, $method);
}

# --- iteration ---

sub each {
    my ($self, $items, $callback) = @_;
    return _failure('each requires an array reference or a code reference, got ' . _shown($items))
        unless ref $items eq 'ARRAY' || _is_code($items);
    return _failure('each requires a callback') unless _is_code($callback);
    return $self->_held($self->_each($items, $callback));
}

async sub _each {
    my ($self, $items, $callback) = @_;
    return $self if $self->is_closed;
    await $self->_sent($self->{wire}->ensure_started('each'));

    my $index = 0;
    my $fine  = eval {
        while (!$self->is_closed) {
            my $item;
            if (ref $items eq 'ARRAY') {
                last if $index >= @$items;
                $item = $items->[$index];
            }
            else {
                my $next = $items->();
                $next = await $self->_unless_ended($next) if _is_future($next);
                last unless defined $next;
                $item = $next;
                last if $self->is_closed;
            }
            my $event = $callback->($item, $index++);
            $event = await $self->_unless_ended($event) if _is_future($event);
            last if $self->is_closed;
            await $self->send_event(%$event) if ref $event eq 'HASH';
        }
        1;
    };
    $self->_callback_died($@) unless $fine;
    return $self;
}

sub every {
    my ($self, $interval, $callback) = @_;
    return _failure('every requires an interval in seconds > 0, got ' . _shown($interval))
        unless _is_number($interval) && $interval > 0;
    return _failure('every requires a callback') unless _is_code($callback);
    return _failure('every requires Future::IO, which is not installed (cpanm Future::IO)')
        unless eval { require Future::IO; 1 };
    return $self->_held($self->_every($interval, $callback));
}

async sub _every {
    my ($self, $interval, $callback) = @_;
    return $self if $self->is_closed;
    await $self->_sent($self->{wire}->ensure_started('every'));
    $self->_listen;

    while (!$self->is_closed) {
        my $fine = eval {
            my $result = $callback->();
            await $self->_unless_ended($result) if _is_future($result);
            1;
        };
        $self->_callback_died($@) unless $fine;
        last if $self->is_closed;

        my $sleep = Future::IO->sleep($interval);
        my $wait  = $self->_unless_ended($sleep);
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
    return if $self->{ended} && "$error" =~ /\Q$CLOSED\E/;
    $self->_end(reason => 'server_error', given => 'server_error', announce => 1);
    die $error;
}

# --- the request body ---

sub body {
    my ($self) = @_;
    my $inbox = $self->{inbox};
    $inbox->listen('body') unless $inbox->is_complete || $self->is_closed;
    my $known = $self->_known_body;
    return $known if $known;
    my $pending = $self->_pending;
    $self->_remember($self->{body_waiters} ||= [], $pending);
    return $pending;
}

sub json {
    my ($self) = @_;
    return $self->body->then(sub {
        my ($octets) = @_;
        my $value;
        return Future->done($value) if eval { $value = $json->decode($octets); 1 };
        return _failure('json: the request body is not JSON: ' . _reason($@));
    });
}

# The body's Future when it is known how it ended.
sub _known_body {
    my ($self) = @_;
    my $inbox = $self->{inbox};
    return _failure("body: body_too_large: the request body exceeds $inbox->{max_body} octets (max_body)")
        if $inbox->is_too_large;
    return Future->done($inbox->body) if $inbox->is_complete;
    return _failure('body: the connection ended before the end of the request body') if $self->is_closed;
    return;
}

# --- callbacks ---

sub on_close {
    my ($self, $callback) = @_;
    Carp::croak 'PAGI::SSE: on_close requires a code reference' unless _is_code($callback);
    if ($self->{ended}) { $self->_call_on_close($callback) }
    else                { push @{ $self->{_on_close} }, $callback }
    return $self;
}

sub on_error {
    my ($self, $callback) = @_;
    Carp::croak 'PAGI::SSE: on_error requires a code reference' unless _is_code($callback);
    push @{ $self->{_on_error} }, $callback unless $self->{ended};
    return $self;
}

sub on {
    my ($self, $event, $callback) = @_;
    $event = '' unless defined $event;
    return $self->on_close($callback) if $event eq 'close';
    return $self->on_error($callback) if $event eq 'error';
    Carp::croak "PAGI::SSE: Unknown event type '$event' (on knows 'close' and 'error')";
}

# --- flow control ---

sub buffered_amount {
    my ($self) = @_;
    my $transport = $self->scope->{'pagi.transport'};
    return $transport ? $transport->buffered_amount : $self->{wire}->buffered || 0;
}

sub high_water_mark {
    my $transport = $_[0]->scope->{'pagi.transport'} or return undef;
    return $transport->high_water_mark;
}

sub low_water_mark {
    my $transport = $_[0]->scope->{'pagi.transport'} or return undef;
    return $transport->low_water_mark;
}

sub on_high_water {
    my ($self, $callback) = @_;
    my $transport = $self->scope->{'pagi.transport'};
    $transport->on_high_water($callback) if $transport;
    return $self;
}

sub on_drain {
    my ($self, $callback) = @_;
    my $transport = $self->scope->{'pagi.transport'};
    $transport->on_drain($callback) if $transport;
    return $self;
}

sub is_writable {
    my ($self) = @_;
    return !!0 if $self->is_closed;
    my $high = $self->high_water_mark;
    return !!1 unless defined $high;
    return $self->buffered_amount < $high;
}

# --- what others around the object call ---

# The client has gone, or the server ended the connection.
sub _note_disconnected {
    my ($self, $code, $reason) = @_;
    $self->_end(reason => $reason);
    return $self;
}

sub _set_state {
    my ($self, $state) = @_;
    return $self->_set_closed if $state eq 'closed';
    delete @$self{qw(ended reason closing announcement)};
    $self->{wire}->force_state($state);
    return $self;
}

# Without the callbacks: they run when the end is observed or close is called.
sub _set_closed {
    my ($self) = @_;
    $self->{wire}->mark_closed(undef) unless $self->is_closed;
    $self->{wire}->release(1);
    $self->_wake;
    return $self;
}

# --- what our own parts call ---

sub write_failed {
    my ($self, $delivery) = @_;
    # Whoever is told of the error must be so although the end comes first.
    $delivery->{reporters} = [ @{ $self->{_on_error} } ];
    $self->_end(reason => 'write_error');
    return;
}

sub read_failed {
    my ($self, $error) = @_;
    return if $self->{ended};
    $self->_report(PAGI::SSE::Delivery->failed($error));
    $self->_end(reason => 'read_error', given => 'read_error', announce => 1);
    return;
}

sub body_complete {
    my ($self) = @_;
    my $waiters = delete $self->{body_waiters} or return;
    for my $waiter (grep { !$_->is_ready } @$waiters) {
        my $known = $self->_known_body;
        my @error = $known->failure;
        _guarded(sub { @error ? $waiter->fail(@error) : $waiter->done($known->result) });
    }
    return;
}

# A failed delivery for an event that the native library refused.
sub refused {
    my ($self, $method, $code, $fields) = @_;
    # To send to somebody who has gone is ordinary for try_*: no message yet.
    return PAGI::SSE::Delivery->gone($CLOSED) if $code == PAGI::SSE::FFI::CLOSED();

    my $text = PAGI::SSE::FFI::result_text($code);
    my %field = (
        PAGI::SSE::FFI::EVENT_NEWLINE() => 'event',
        PAGI::SSE::FFI::ID_NEWLINE()    => 'id',
        PAGI::SSE::FFI::ID_NUL()        => 'id',
    );
    my $field = $field{$code};
    $text .= ', got ' . _shown($fields->{$field}) if $field && $fields;
    return _bad_argument("$method: $text");
}

# For events that were still waiting when the end came.
sub closed_message { "PAGI::SSE: $CLOSED\n" }

sub overflow_message {
    my ($self, $events, $bytes) = @_;
    return _message("queue_overflow: the server has not yet accepted an earlier event, and the queue"
            . " of $events events or $bytes octets (max_queue_events, max_queue_bytes) is full");
}

# --- the end ---

# Every end comes through here, once. reason: what disconnect_reason says;
# given: the reason that sse.close carries; announce: send sse.close.
sub _end {
    my ($self, %end) = @_;
    return if $self->{ended};
    my $wire  = $self->{wire};
    my $known = $wire->reason;
    $self->{reason} = defined $known ? $known : $end{reason};
    my $announcement;
    if    ($end{announce})  { $announcement = $wire->close($end{given}) }
    elsif (!$end{declined}) { $wire->mark_closed(defined $end{reason} ? $end{reason} : 'unknown') }
    # Only now: an sse.close that fails at once must find us open no more.
    $self->{ended} = 1;
    $self->{announcement} = $announcement if $announcement && !$announcement->{settled};

    my @pending   = grep { $_ } map { $self->_call_on_close($_) } splice @{ $self->{_on_close} };
    my $prototype = $pending[0];
    @{ $self->{_on_error} } = ();

    if ($self->{announcement} || @pending) {
        my $closing = $self->{closing} = $prototype ? PAGI::SSE::Shared::alike($prototype) : $self->_pending;
        my $left    = @pending + ($self->{announcement} ? 1 : 0);
        $self->{callbacks_pending} = @pending;
        my $finish = sub {
            return if --$left;
            delete $self->{announcement};
            _guarded(sub { $closing->done($self) }) unless $closing->is_ready;
            # The object keeps this Future, so it must not keep the object.
            delete $self->{closing} unless PAGI::SSE::Shared::weakened($closing);
            undef $closing;
        };
        $self->{announcement}->on_settled($finish) if $self->{announcement};
        for my $future (@pending) {
            $future->on_ready(sub { $self->{callbacks_pending}--; $finish->() });
        }
    }

    $wire->release(!$end{announce});
    $self->_wake;
    $self->{inbox}->retire;
    if (my $last = $self->{announcement}) { $last->on_settled(sub { $wire->retire }) }
    else                                  { $wire->retire }
    return;
}

sub _wake {
    my ($self) = @_;
    $self->{inbox}->stop;
    $self->body_complete;
    my $waiters = delete $self->{waiters} or return;
    for my $waiter (@$waiters) {
        _guarded(sub { $waiter->done }) unless $waiter->is_ready;
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
        or return _warning("an $name callback died: $@");
    return unless _is_future($future);
    my $check = sub {
        my ($failure) = $_[0]->is_cancelled ? () : $_[0]->failure;
        _warning("an $name callback failed: $failure") if defined $failure;
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
    my $error     = $delivery->{error}[0];
    my $reporters = $delivery->{reporters} || $self->{_on_error};
    return grep { $_ } map { $self->_call($_, 'on_error', $error) } @$reporters if @$reporters;
    _warning($error);
    return;
}

# --- Futures ---

# A Future of $self, already done. The object keeps it, so the Future refers
# to the object weakly; whoever takes the result has a strong reference.
sub _itself {
    my ($self) = @_;
    return PAGI::SSE::Shared::lasting($self->{itself}) if $self->{itself};
    my $future = Future->done($self);
    $self->{itself} = PAGI::SSE::Shared::weakened($future);
    return $future;
}

# A pending Future, of the server's class where there is one to copy.
sub _pending {
    my ($self) = @_;
    return $self->{wire}->new_future || $self->{inbox}->new_future || Future->new;
}

# For send*: done with the object, or failed.
sub _sent {
    my ($self, $delivery) = @_;
    return $self->_itself unless $delivery;
    if ($delivery->{settled}) {
        return $self->_itself unless $delivery->{error};
        return _failure($CLOSED) if $delivery->{closed};
        return Future->fail(@{ $delivery->{error} });
    }
    my $pending = $self->_pending;
    $delivery->on_settled(sub {
        my ($delivery) = @_;
        return if $pending->is_ready;    # cancelled
        $delivery->{error} ? $pending->fail(@{ $delivery->{error} }) : $pending->done($self);
    });
    return $pending;
}

# For try_*: done with 1 or 0, after on_error.
sub _tried {
    my ($self, $delivery) = @_;
    return PAGI::SSE::Shared::lasting($TRUE) unless $delivery;
    if ($delivery->{settled}) {
        return PAGI::SSE::Shared::lasting($TRUE) unless $delivery->{error};
        my @reports = $delivery->{closed} ? () : $self->_report($delivery);
        return PAGI::SSE::Shared::lasting($FALSE) unless @reports;
        my $pending = PAGI::SSE::Shared::alike($reports[0]);
        _when_all(sub { $pending->done(0) unless $pending->is_ready }, @reports);
        return $pending;
    }
    my $pending = $self->_pending;
    $delivery->on_settled(sub {
        my ($delivery) = @_;
        my $ok = $delivery->{error} ? 0 : 1;
        my @reports = $ok || $delivery->{closed} ? () : $self->_report($delivery);
        _when_all(sub { $pending->done($ok) unless $pending->is_ready }, @reports);
    });
    return $pending;
}

# A Future that is done at the end of the connection.
sub _until_end {
    my ($self) = @_;
    my $pending = $self->_pending;
    $self->_remember($self->{waiters} ||= [], $pending);
    return $pending;
}

# A view of a Future that is done at the end of the connection, too. The
# original is neither cancelled nor lost.
sub _unless_ended {
    my ($self, $future) = @_;
    return $future if $future->is_ready;
    return $self->_itself if $self->is_closed;
    $self->_held($future);
    my $view = PAGI::SSE::Shared::alike($future);
    $self->_remember($self->{waiters} ||= [], $view);
    $future->on_ready(sub {
        my ($future) = @_;
        return if $view->is_ready;
        if    ($future->is_cancelled)       { $view->cancel }
        elsif (my @failure = $future->failure) { $view->fail(@failure) }
        else                                { $view->done($future->result) }
    });
    return $view;
}

# Keep a Future until it is ready, and the object as long.
sub _held {
    my ($self, $future) = @_;
    return $future if $future->is_ready;
    my $key = Scalar::Util::refaddr($future);
    $self->{held}{$key} = $future;
    $future->on_ready(sub { delete $self->{held}{$key} });
    return $future;
}

# Put a pending Future of ours in a list; it keeps the object until it is
# ready.
sub _remember {
    my ($self, $list, $future) = @_;
    @$list = grep { !$_->is_ready } @$list;
    push @$list, $future;
    $future->on_ready(sub { undef $self });
    return;
}

sub _listen {
    my ($self) = @_;
    $self->{inbox}->listen('end') unless $self->{told_of_end};
    return;
}

# --- small things, none of them methods ---

sub _when_all {
    my ($then, @futures) = @_;
    my $left = @futures or return $then->();
    $_->on_ready(sub { $then->() unless --$left }) for @futures;
    return;
}

# Run what may end in somebody's callback. We may be inside of the server's
# done(), where an exception of ours has no business.
sub _guarded {
    my ($code) = @_;
    eval { $code->(); 1 } or _warning("a callback of a Future died: $@");
    return;
}

sub _warning {
    my ($text) = @_;
    $text = "PAGI::SSE: $text" unless $text =~ /\APAGI::SSE/;
    $text .= "\n" unless $text =~ /\n\z/;
    warn $text;
    return;
}

sub _message { Carp::shortmess("PAGI::SSE: $_[0]") }
sub _failure { Future->fail(_message($_[0])) }

sub _bad_argument { PAGI::SSE::Delivery->failed(_message($_[0])) }

# An exception's text without its place in some module.
sub _reason {
    my ($error) = @_;
    $error =~ s/ at \S+ line \d+\.?\n\z//;
    return $error;
}

# A value for a message, in one short line.
sub _shown {
    my ($value) = @_;
    return 'undef' unless defined $value;
    return 'a reference (' . ref($value) . ')' if ref $value;
    my $shown = length $value > 60 ? substr($value, 0, 57) . '...' : $value;
    $shown =~ s/([^\x20-\x7E])/sprintf '\\x{%X}', ord $1/ge;
    return "'$shown'";
}

sub _bad_response {
    my ($status, $headers) = @_;
    return 'status must be a whole number from 200 to 599, got ' . _shown($status)
        unless $status =~ /\A[2-5][0-9][0-9]\z/;
    return unless defined $headers;
    return 'headers must be a reference to an array of [name, value] pairs'
        if ref $headers ne 'ARRAY'
        || grep { ref $_ ne 'ARRAY' || @$_ != 2 || grep { !defined } @$_ } @$headers;
    for my $header (@$headers) {
        my ($name, $value) = @$header;
        return 'a header name must be a token, got ' . _shown($name)
            if $name !~ /\A[!#\$%&'*+\-.^_`|~0-9A-Za-z]+\z/;
        return "a header value must not contain CR, LF or NUL, got $name: " . _shown($value)
            if $value =~ /[\r\n\0]/;
    }
    return;
}

sub _is_code {
    my ($code) = @_;
    my $type = Scalar::Util::reftype($code);
    return 1 if defined $type && $type eq 'CODE';
    return Scalar::Util::blessed($code) && overload::Method($code, '&{}');
}

sub _is_future {
    my ($future) = @_;
    return Scalar::Util::blessed($future) && $future->can('on_ready') && $future->can('is_ready');
}

# An object that is made to be used as a string.
sub _is_stringy {
    my ($value) = @_;
    return Scalar::Util::blessed($value)
        && !$value->can('TO_JSON')
        && overload::Method($value, '""');
}

sub _is_number {
    my ($number) = @_;
    return Scalar::Util::looks_like_number($number) && $number == $number && $number < 9**9**9;
}

1;
