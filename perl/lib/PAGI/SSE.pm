package PAGI::SSE;

use strict;
use warnings;

our $VERSION = '0.003000';

use Scalar::Util ();

use PAGI::SSE::Check          ();
use PAGI::SSE::FFI::Constants ();
use PAGI::SSE::Futures        ();
use PAGI::SSE::Loop           ();
use PAGI::SSE::Wire           ();
use PAGI::SSE::Wire::Foreign  ();
use PAGI::SSE::Wire::Outbox   ();

# The public methods are here, what they rest on is in PAGI::SSE::Connection::*:
# parts of the same object, each for one subject.
use parent 'PAGI::SSE::Request', map { "PAGI::SSE::Connection::$_" } qw(
    Body Decline End Event Iteration Outcome Publishing ScopeCache Tools
);

my $START = \&start;
my $TRUE = $PAGI::SSE::Connection::Outcome::TRUE;
my %STATE = (
    PAGI::SSE::FFI::Constants::STATE_PENDING()    => 'pending',
    PAGI::SSE::FFI::Constants::STATE_STARTED()    => 'started',
    PAGI::SSE::FFI::Constants::STATE_CLOSED()     => 'closed',
    PAGI::SSE::FFI::Constants::STATE_RESPONDING() => 'closed',
);

my %DEFAULT = (
    text             => $ENV{PAGI_SSE_TEXT} || 'octets',
    max_body         => PAGI::SSE::Connection::Body::MAX_BODY,
    max_queue_events => 1_000,
    max_queue_bytes  => 1_048_576,
    upgrade          => 0,
);

sub new {
    my ($class, $scope, $receive, $send, @options) = @_;
    die PAGI::SSE::Check::message('PAGI::SSE requires scope hashref, got ' . PAGI::SSE::Check::shown($scope))
        unless ref $scope eq 'HASH';
    die PAGI::SSE::Check::message('PAGI::SSE requires receive coderef, got ' . PAGI::SSE::Check::shown($receive))
        unless PAGI::SSE::Check::is_code($receive);
    die PAGI::SSE::Check::message('PAGI::SSE requires send coderef, got ' . PAGI::SSE::Check::shown($send))
        unless PAGI::SSE::Check::is_code($send);
    my $type = defined $scope->{type} ? $scope->{type} : '';
    my %options = $type eq 'http' ? _options(@options) : ();
    die PAGI::SSE::Check::message("PAGI::SSE requires scope type 'sse', got " . PAGI::SSE::Check::shown($type))
        unless $type eq 'sse' || $options{upgrade};

    my $cached = $scope->{'pagi.sse'};
    return $cached->_unpark($scope, $receive, $send) if Scalar::Util::blessed($cached) && $cached->isa(__PACKAGE__);

    %options = _options(@options) unless %options;
    my $self = bless { scope => $scope, _on_close => [], _on_error => [] }, $class;

    my $exchange = $INC{'PAGI/SSE/Server/Exchange.pm'} && PAGI::SSE::Server::Exchange->of_scope($scope);
    $self->_choose_wire($exchange, $send, \%options);
    if ($class->can('start') != $START) {
        require PAGI::SSE::Wire::Starting;
        PAGI::SSE::Wire::Starting->begin_with_owner($self->{wire});
    }
    # The inbox is made when something is to be received: under our server, which
    # tells of the end by itself, most never receive.
    $self->{receive} = $receive;
    $self->{max_body} = $options{max_body}
        if $options{max_body} != $DEFAULT{max_body};

    Scalar::Util::weaken($scope->{'pagi.sse'} = $self);
    if ($exchange) {
        # The server tells us of the end by itself; so may a $receive around its own.
        $self->{told_of_end} = $exchange->is_own_receive($receive);
        $self->{exchange} = $exchange unless $self->{wire}{exchange};
        $exchange->attach($self);
    }
    elsif ($type eq 'http') {
        $self->{wire}->watch($scope->{'pagi.connection'});
    }
    return $self;
}

sub _options {
    my %options = eval { %{ PAGI::SSE::Check::pairs(\@_, sort keys %DEFAULT) } };
    die PAGI::SSE::Check::message('PAGI::SSE: new: ' . PAGI::SSE::Check::reason($@)) if $@;
    $options{$_} //= $DEFAULT{$_} for keys %DEFAULT;
    die PAGI::SSE::Check::message(
        "PAGI::SSE: text must be 'octets' or 'characters', got " . PAGI::SSE::Check::shown($options{text}))
        unless $options{text} =~ /\A(?:octets|characters)\z/;
    for my $limit (qw(max_body max_queue_events max_queue_bytes)) {
        die PAGI::SSE::Check::message(
            "PAGI::SSE: $limit must be a whole number from 0 to ${\PAGI::SSE::Check::MOST_WHOLE}, got "
                . PAGI::SSE::Check::shown($options{$limit}))
            unless $options{$limit} =~ /\A[0-9]{1,15}\z/;
    }
    return %options;
}

sub _choose_wire {
    my ($self, $exchange, $send, $options) = @_;
    # The short way only when it is certain that nobody stands in between.
    if ($exchange && $exchange->is_own_send($send)) {
        require PAGI::SSE::Wire::Hosted;
        $self->{wire} = PAGI::SSE::Wire::Hosted->new(
            $self,
            exchange => $exchange,
            send     => $send
        );
        return;
    }
    my $is_http = $self->{scope}{type} eq 'http';
    require PAGI::SSE::Wire::Http if $is_http;
    my $class = $is_http ? 'PAGI::SSE::Wire::Http' : 'PAGI::SSE::Wire::Foreign';
    $self->{wire} = $class->new(
        $self,
        send       => $send,
        text       => $options->{text},
        max_events => $options->{max_queue_events},
        max_bytes  => $options->{max_queue_bytes},
        server     => $exchange && $exchange->{server},
    );
    return;
}

# --- state ---

sub connection_state {
    my ($self) = @_;
    return 'closed' if $self->{ended};
    my $state = $self->{wire}->state;
    return $STATE{$state} // 'closed';    # an error: forked
}

sub is_started   { $_[0]->connection_state eq 'started' }
sub is_closed    { $_[0]->connection_state eq 'closed' }
sub is_connected { $_[0]->connection_state eq 'started' }

sub disconnect_reason {
    my ($self) = @_;
    return $self->{ended} ? $self->{reason} : $self->{wire}->reason;
}

# --- life ---

sub start {
    my ($self, @options) = @_;
    return PAGI::SSE::Futures::failure('start takes name => value pairs') if @options % 2;
    return $self->_itself if $self->is_closed;
    my ($status, $headers);
    eval {
        my $option = PAGI::SSE::Check::pairs(\@options, qw(status headers));
        ($status, $headers) = PAGI::SSE::Check::response($option->{status} // 200, $option->{headers});
        1;
    } or return PAGI::SSE::Futures::failure('start: ' . PAGI::SSE::Check::reason($@));
    return $self->_sent($self->{wire}->start($status, $headers));
}

sub close {
    my ($self, @options) = @_;
    unshift @options, 'reason' if @options == 1;
    my $reason;
    eval {
        $reason = PAGI::SSE::Check::end_reason(PAGI::SSE::Check::pairs(\@options, 'reason')->{reason});
        1;
    } or return PAGI::SSE::Futures::failure('close: ' . PAGI::SSE::Check::reason($@));
    # In a child of a fork, or another thread, the connection goes on elsewhere.
    return $self->_itself if !$self->{ended} && $self->{wire}->state < 0;
    if (!$self->{ended}) {
        $self->_end(
            reason   => defined $reason ? $reason : 'app_closed',
            given    => $reason,
            announce => 1,
        );
        return $self->{closing} || $self->_itself;
    }
    # A callback may be the one who asks: it must not wait for itself.
    return $self->_sent($self->{announcement}) if $self->{in_callbacks};
    return $self->{closing} || $self->_itself;
}

sub run {
    my ($self) = @_;
    return $self->_until_over if $self->is_closed;
    if (my $start = $self->{wire}->ensure_started('run')) {
        # A start that fails is an end like any other, but is not kept quiet.
        $start->on_settled(sub { $self->_report($_[0]) if $_[0]{error} && !$_[0]{closed} });
    }
    $self->_listen;
    return $self->_until_over;
}

sub decline {
    my ($self, @options) = @_;
    return PAGI::SSE::Futures::failure('decline takes name => value pairs') if @options % 2;
    my @response = eval { $self->_response(@options) }
        or return PAGI::SSE::Futures::failure('decline: ' . PAGI::SSE::Check::reason($@));
    my $state = $self->connection_state;
    return PAGI::SSE::Futures::failure('decline: the SSE connection is closed') if $state eq 'closed';
    return PAGI::SSE::Futures::failure('decline: the event stream has already started') if $state eq 'started';
    return $self->_sent($self->_decline(@response));
}

# --- sending ---

# {open} on a wire: nothing to ask, nothing to start, $send it is. ASCII text
# is left alone by the text rule.

sub send {
    my ($self, $data) = @_;
    my $wire = $self->{wire};
    my $delivery;
    if (!defined $data || ref $data) {
        $delivery = $self->_send_odd($data, 'send');
    }
    elsif ($wire->{open} && $data !~ /[[:^ascii:]]/) {
        $delivery = PAGI::SSE::Wire::Outbox::put($wire, { type => 'sse.send', data => $data });
    }
    else {
        $delivery = $wire->send($data, 'send');
    }
    return $self->_sent($delivery) if $delivery;
    --$PAGI::SSE::Loop::LEFT     or return $self->_give_way;
    my $itself = $self->{itself} or return $self->_itself;
    delete $itself->{revoke_when_ready};    # see PAGI::SSE::Futures
    return $itself;
}

sub try_send {
    my ($self, $data) = @_;
    my $wire = $self->{wire};
    my $delivery;
    if (!defined $data || ref $data) {
        $delivery = $self->_send_odd($data, 'try_send');
    }
    elsif ($wire->{open} && $data !~ /[[:^ascii:]]/) {
        $delivery = PAGI::SSE::Wire::Outbox::put($wire, { type => 'sse.send', data => $data }, reports => 1);
    }
    else {
        $delivery = $wire->send($data, 'try_send');
    }
    return $self->_tried($delivery) if $delivery;
    --$PAGI::SSE::Loop::LEFT or return $self->_give_way(1);
    return PAGI::SSE::Futures::lasting($TRUE);
}

sub send_json {
    my ($self, $value) = @_;
    return $self->_sent($self->_send_json($value, 'send_json'));
}

sub try_send_json {
    my ($self, $value) = @_;
    return $self->_tried($self->_send_json($value, 'try_send_json'));
}

# Printable ASCII in fields that we know, and no other, no space in an id:
# nothing to encode, and nothing that could be refused. The same lines twice, for one call would cost
# as much as all of them.

sub send_event {
    return $_[0]->_sent($_[0]->_send_event('send_event', @_[1 .. $#_])) unless @_ % 2;
    my ($self, %event) = @_;
    my ($data, $name, $id) = @event{qw(data event id)};
    my $wire = $self->{wire};
    my $delivery;
    no warnings 'uninitialized';
    if (   $wire->{open}
        && defined $data
        && 1 + defined($name) + defined($id) == keys %event
        && !(ref $data || ref $name || ref $id)
        && $data !~ /[[:^ascii:]]/
        && $name !~ tr/ -~//c
        && $id   !~ tr/!-~//c
        && length $id <= PAGI::SSE::FFI::Constants::ID_BYTES)
    {
        $event{type} = 'sse.send';
        $delivery = PAGI::SSE::Wire::Outbox::put($wire, \%event);
    }
    else {
        $delivery = $self->_send_event('send_event', %event);
    }
    return $self->_sent($delivery) if $delivery;
    --$PAGI::SSE::Loop::LEFT     or return $self->_give_way;
    my $itself = $self->{itself} or return $self->_itself;
    delete $itself->{revoke_when_ready};
    return $itself;
}

sub try_send_event {
    return $_[0]->_tried($_[0]->_send_event('try_send_event', @_[1 .. $#_])) unless @_ % 2;
    my ($self, %event) = @_;
    my ($data, $name, $id) = @event{qw(data event id)};
    my $wire = $self->{wire};
    my $delivery;
    no warnings 'uninitialized';
    if (   $wire->{open}
        && defined $data
        && 1 + defined($name) + defined($id) == keys %event
        && !(ref $data || ref $name || ref $id)
        && $data !~ /[[:^ascii:]]/
        && $name !~ tr/ -~//c
        && $id   !~ tr/!-~//c
        && length $id <= PAGI::SSE::FFI::Constants::ID_BYTES)
    {
        $event{type} = 'sse.send';
        $delivery = PAGI::SSE::Wire::Outbox::put($wire, \%event, reports => 1);
    }
    else {
        $delivery = $self->_send_event('try_send_event', %event);
    }
    return $self->_tried($delivery) if $delivery;
    --$PAGI::SSE::Loop::LEFT or return $self->_give_way(1);
    return PAGI::SSE::Futures::lasting($TRUE);
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
    eval {
        $interval = PAGI::SSE::Check::interval($interval);
        $comment = PAGI::SSE::Check::text('the comment', $comment);
        1;
    } or return PAGI::SSE::Futures::failure('keepalive: ' . PAGI::SSE::Check::reason($@));
    return $self->_sent($self->{wire}->keepalive($interval, defined $comment ? $comment : '')) unless $self->is_closed;
    return $interval ? PAGI::SSE::Futures::failure(PAGI::SSE::Wire::CLOSED) : $self->_itself;
}

# --- iteration ---

sub each {
    my ($self, $items, $callback) = @_;
    return PAGI::SSE::Futures::failure(
        'each requires an array reference or a code reference, got ' . PAGI::SSE::Check::shown($items))
        unless ref $items eq 'ARRAY' || PAGI::SSE::Check::is_code($items);
    return PAGI::SSE::Futures::failure('each requires a callback, got ' . PAGI::SSE::Check::shown($callback))
        unless PAGI::SSE::Check::is_code($callback);
    return $self->_held($self->_each($items, $callback, PAGI::SSE::Check::place()));
}

sub every {
    my ($self, $interval, $callback) = @_;
    my $seconds = PAGI::SSE::Check::number($interval);
    return PAGI::SSE::Futures::failure(
        'every requires an interval in seconds > 0, got ' . PAGI::SSE::Check::shown($interval))
        unless defined $seconds && $seconds > 0;
    return PAGI::SSE::Futures::failure('every requires a callback, got ' . PAGI::SSE::Check::shown($callback))
        unless PAGI::SSE::Check::is_code($callback);
    my $problem = PAGI::SSE::Loop->problem($self->_server);
    return PAGI::SSE::Futures::failure("every $problem") if $problem;
    return $self->_held($self->_every($seconds, $callback));
}

# --- the request body ---

sub body {
    my ($self) = @_;
    my $inbox = $self->_inbox;
    $inbox->listen('body') unless $inbox->is_complete || $self->is_closed;
    my $place = PAGI::SSE::Check::place();
    my $known = $self->_known_body($place);
    return $known if $known;
    my $pending = $self->_pending;
    push @{ $self->{body_waiters} }, [$pending, $place];
    $pending->on_ready(sub { undef $self });
    return $pending;
}

sub json {
    my ($self) = @_;
    my $place = PAGI::SSE::Check::place();
    my $value = $self->body->then(sub {
        my ($octets) = @_;
        my $value;
        return Future->done($value)
            if eval { $value = PAGI::SSE::Check::decode_json($octets); 1 };
        return Future->fail('PAGI::SSE: json: the request body is not JSON: ' . PAGI::SSE::Check::reason($@) . $place);
    });
    return $self->_held($value);
}

# --- callbacks ---

sub on_close {
    my ($self, $callback) = @_;
    PAGI::SSE::Check::callback(on_close => $callback);
    push @{ $self->{_on_close} }, $callback;
    if    (!$self->{ended})        { $self->{wire}->note_on_close }
    elsif (!$self->{in_callbacks}) { $self->_call_late }
    return $self;
}

sub on_error {
    my ($self, $callback) = @_;
    PAGI::SSE::Check::callback(on_error => $callback);
    push @{ $self->{_on_error} }, $callback unless $self->{ended};
    return $self;
}

sub on {
    my ($self, $event, $callback) = @_;
    $event = '' unless defined $event;
    return $self->on_close($callback) if $event eq 'close';
    return $self->on_error($callback) if $event eq 'error';
    die PAGI::SSE::Check::message(
        'PAGI::SSE: Unknown event type ' . PAGI::SSE::Check::shown($event) . " (on knows 'close' and 'error')");
}

# --- flow control ---

sub buffered_amount {
    my ($self) = @_;
    my $amount = $self->_transport('buffered_amount');
    $amount = $self->{wire}->buffered unless defined $amount;
    return $amount || 0;
}

sub high_water_mark { return scalar $_[0]->_transport('high_water_mark') }
sub low_water_mark  { return scalar $_[0]->_transport('low_water_mark') }

sub on_high_water {
    my ($self, $callback) = @_;
    PAGI::SSE::Check::callback(on_high_water => $callback);
    $self->_transport('on_high_water', $callback);
    return $self;
}

sub on_drain {
    my ($self, $callback) = @_;
    PAGI::SSE::Check::callback(on_drain => $callback);
    $self->_transport('on_drain', $callback);
    return $self;
}

sub is_writable {
    my ($self) = @_;
    my $high = $self->high_water_mark;
    return !defined $high || $self->buffered_amount < $high;
}

# What the server's transport says, if there is one that knows the method.
sub _transport {
    my ($self, $method, @args) = @_;
    my $transport = $self->scope->{'pagi.transport'};
    return undef unless Scalar::Util::blessed($transport) && $transport->can($method);
    return $transport->$method(@args);
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE - Server-sent events under PAGI, with the engine in Rust

=head1 SYNOPSIS

    use PAGI::SSE;
    use Future::AsyncAwait;

    async sub app {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        # A comment every 25 seconds, for proxies that close what is silent
        await $sse->keepalive(25);

        $sse->on_close(sub {
            my ($sse, $reason) = @_;    # 'client_closed', 'write_error', ...
            remove_subscriber($sse->stash->{sub_id});
        });
        # What a reconnecting client has missed
        if (defined(my $last_id = $sse->last_event_id)) {
            await $sse->send_event(%$_) for get_events_since($last_id);
        }

        $sse->stash->{sub_id} = add_subscriber(sub {
            my ($event) = @_;
            $sse->try_send_json($event);
        });

        await $sse->run;    # until the client leaves
    }

=head1 DESCRIPTION

PAGI::SSE wraps one connection of type C<sse> of a PAGI server. State,
validation and keepalive settings are those of a native library (see
L<PAGI::SSE::FFI>); events go to the server's C<$send>, in order and one at a
time. Under the embedded server, L<PAGI::SSE::Server>, they go straight to the
library instead. The application is the same in both.

It is a drop-in for the class of this name in the PAGI toolkit on CPAN; what
differs is listed in F<docs/migration.md>.

=head2 Futures

Every method that is awaited returns a L<Future>; an error is a failed Future,
never an exception. C<new>, the C<on*> methods and the accessors die. Unless
the text says otherwise the Future resolves to the object, which makes calls
easy to chain, and a C<try_*> method's to 1 or 0.

Sends need not be awaited. They keep their order: one call of C<$send> is in
flight at a time, and later events wait in a queue of at most 1,000 events or
1 MiB. When it is full C<send*> fails, and C<try_*> gives 0, with a message that
contains C<queue_overflow> and the limit. Where nobody registered L</on_error>,
C<try_*> warns once, and says how many more were refused when the queue is empty
again or the connection has ended.

A Future of yours may be cancelled at any time. An event that was accepted is
sent nevertheless; Futures of the server's are never cancelled by us. Futures
that are done already are shared: treat them as read-only.

=head2 Errors

A message begins with C<PAGI::SSE>, names the value and the limit, and ends
with the place in the application. An argument error touches neither the wire
nor the connection's state. A C<$send> that fails closes the connection with
reason C<write_error>; the Future fails with the server's own error. If that was
the start, the connection stays as it was, for whoever is told by a Future: it
is the end for C<try_*>, L</run> and a hub. After the end, sends fail with C<Cannot send on closed SSE connection>.

=head2 Text

Text may be characters, or octets that were encoded already: see
L<PAGI::SSE::Text> for the rule. Into a foreign C<$send> go UTF-8 octets,
because PAGI::Server up to 0.002005 writes strings as they are. For a server
that encodes by itself, as the PAGI specification has it, give the option
C<text> to L</new> or set C<PAGI_SSE_TEXT=characters>.

=head1 CONSTRUCTOR

=head2 new

    my $sse = PAGI::SSE->new($scope, $receive, $send);
    my $sse = PAGI::SSE->new($scope, $receive, $send, text => 'characters');

Returns the object of this connection. C<$scope> is the hashref, of type
C<sse> (or C<http>, with L</UPGRADE>); C<$receive> and C<$send> are the server's coderefs, or what middleware
made of them. Nothing is sent or received yet.

Options:

=over 4

=item text

C<octets> (default) or C<characters>: what a foreign C<$send> is given. The
default is taken from C<PAGI_SSE_TEXT> when the module is loaded.

=item max_body

The size of a request body that L</body> accepts, in octets; 1,048,576.

=item max_queue_events, max_queue_bytes

The limits of the queue in front of a foreign C<$send>: 1,000 and 1,048,576. One
event of any size fits when nothing else waits.

=item upgrade

Whether a scope of type C<http> will do, too: see L</UPGRADE>. Off by default.

=back

One that is undef has its default.

The object is a singleton of its scope: C<new> on the same scope, or on a copy
of it, returns the same object, with its state, callbacks and reason, as long
as the scope lives, even if every other reference was dropped in between. The
first C<$receive> and C<$send>, and the first options, win; the accessors read
the scope that was given last, so they see what a router put into its copy.

Dies with C<requires scope>, C<requires receive>, C<requires send> or
C<requires scope type 'sse'>, checked in this order, and on an unknown option or
an odd number of them.

=head1 SCOPE ACCESSORS

They read the scope that L</new> was given last, and work at any time, after the
end too.

=head2 scope

    my $scope = $sse->scope;

The scope hashref.

=head2 path

    my $path = $sse->path;    # /events

The decoded path; C</> if the scope has none.

=head2 raw_path

    my $octets = $sse->raw_path;

The path as it came; where the scope does not have it, L</path>.

=head2 query_string

    my $octets = $sse->query_string;    # token=abc

What follows the C<?>, still escaped; C<''> if nothing does.

=head2 scheme

    my $scheme = $sse->scheme;

C<http> or C<https>; C<http> if the scope does not say.

=head2 http_version

    my $version = $sse->http_version;

C<1.1> if the scope does not say.

=head2 method

    my $method = $sse->method;

The request method; C<GET> if the scope does not say.

=head2 client

    my ($host, $port) = @{ $sse->client || [] };

The client's address as an array reference, or undef.

=head2 server

    my ($host, $port) = @{ $sse->server || [] };

The server's address as an array reference, or undef.

=head2 header

    my $value = $sse->header('authorization');

The last value of a header, or undef. The name's case does not matter. Dies
without a name.

=head2 header_all

    my @values = $sse->header_all('x-forwarded-for');

All values of a header, in order. Dies without a name.

=head2 headers

    my $headers = $sse->headers;

All headers as a L<Hash::MultiValue>, names in lower case.

=head2 last_event_id

    my $id = $sse->last_event_id;

The C<Last-Event-ID> that a reconnecting client sent, in octets, or undef.

=head2 stash

    $sse->stash->{user} = $user;

The hashref of this request, C<pagi.stash> in the scope, that middleware and
handlers share; one for all copies of the scope, unless a copy was given its own.

=head2 state

    my $db = $sse->state->{db};

The application's state, from C<state> or C<pagi.state> in the scope; an empty
hashref if there is none.

=head2 path_params

    my $params = $sse->path_params;

The hashref of what a router captured; empty if nothing.

=head2 path_param

    my $channel = $sse->path_param('channel');

One of them, or undef.

=head2 query_params

    my $params = $sse->query_params;
    my $params = $sse->query_params(strict => 1);
    my $params = $sse->query_params(raw => 1);

The parameters of the query string as a L<Hash::MultiValue>: C<+> and C<%XX>
decoded, C<&> and C<;> as separators, text decoded from UTF-8 with U+FFFD for
what is not valid. With C<strict> it dies on that, with C<raw> values are
octets. Dies on an unknown option.

=head2 query_param

    my $value = $sse->query_param('token', %options);

The last value of one parameter, or undef. Options as for L</query_params>.

=head2 raw_query_params

    my $params = $sse->raw_query_params;

The same as C<< query_params(raw => 1) >>.

=head2 raw_query_param

    my $octets = $sse->raw_query_param('token');

The last value of one parameter in octets, or undef.

=head1 REQUEST BODY

=head2 body

    my $octets = await $sse->body;

Reads the whole request body. Does not start the stream, and does not lose the
disconnect that may follow; L</run> and L</every> keep the body for it. Resolves
to octets, each time anew. Fails with C<body_too_large> over C<max_body>
octets, and when the connection ends before the body does. After close it
resolves if the body was complete.

=head2 json

    my $value = await $sse->json;

Reads the body and decodes it as JSON; any JSON value will do. Fails like
L</body>, and when the body is not JSON.

=head1 LIFECYCLE

=head2 start

    await $sse->start;
    await $sse->start(status => 200, headers => [ [ 'x-name', 'value' ] ]);

Starts the stream. C<send*>, L</run>, L</each> and L</every> do that by
themselves; a second C<start> does nothing. The status is a whole number from
200 to 599 (default 200), headers are pairs of octets. Fails when they are not, on other options,
or when C<$send> does; then nothing has been sent, and it can be tried again.
After close: does nothing.

=head2 close

    await $sse->close;
    await $sse->close(reason => 'x-maintenance');

Ends the stream, for a reason of at most 1024 octets. Before it returns the state
is closed, the reason is set (C<app_closed> if none is given), C<sse.close> is
sent, and the L</on_close> callbacks have begun. What was sent before is still
delivered, and C<sse.close> follows it. Whoever waits in L</run>, L</every>, L</each> or a
send is woken. The Future is done when the server has accepted C<sse.close> and
the callbacks are done; a server that does not know C<sse.close> is ignored.
While a L</decline> is under way, its response takes the place of C<sse.close>.
It fails on bad arguments only, and then does nothing. A second C<close> returns
the same Future, except while async callbacks run: then one that does not wait
for them, so that a callback may await it.

=head2 run

    await $sse->run;

Starts the stream and waits for the end of the connection, whatever it is, and
for the L</on_close> callbacks. Resolves to nothing. Does not fail: when C<$receive> or the start fails,
L</on_error> is told. After close: returns at once.

=head2 decline

    await $sse->decline(status => 403, headers => [...], body => $text);

Answers with an ordinary HTTP response in place of a stream. The status is 204
by default, which tells an EventSource not to come back; it allows no body. The
body is text, by the rule of L</Text>; do not send other octets this way.
The connection is closed afterwards, with reason C<app_closed>. Fails when the
stream has started or the connection is closed, on bad arguments (a
C<content-length> that is not the body's is one), and under a
server that does not know the event; in that last case a stream is still
possible.

=head1 CONNECTION STATE

=head2 connection_state

    my $state = $sse->connection_state;

C<pending>, C<started> or C<closed>.

=head2 is_started

    if ($sse->is_started) { ... }

True between the start and the end of the stream.

=head2 is_closed

    if ($sse->is_closed) { ... }

True after the end.

=head2 is_connected

    while ($sse->is_connected) { ... }

The same as L</is_started>: true between the start and the end of the stream.

=head2 disconnect_reason

    my $reason = $sse->disconnect_reason;

Why the connection ended; undef while it has not, or when the server gave no
reason. Common values:

=over 4

=item client_closed

The client went away, or the server dropped it without a reason, or with one that is no text.

=item app_closed

L</close> without a reason, L</decline>, or the application returned.

=item write_error

C<$send> failed.

=item read_error

C<$receive> failed, or gave something that is no event.

=item server_error

A callback of L</each> or L</every> died, or (under the embedded server) the
application.

=item server_shutdown, idle_timeout, send_timeout, client_timeout, queue_overflow ...

The server's own words: at most 1,024 octets of them, control characters as C<\n>,
C<\x00> and so on.

=back

=head1 SENDING

=head2 send

    await $sse->send("Hello world");

Sends an event that has just data: text, of any number of lines; an object that
overloads C<""> is text. undef is sent as empty, with perl's usual warning. Fails
on any other reference, and after close.

=head2 send_json

    await $sse->send_json({ type => 'update' });

Sends any value, undef included, as JSON: octets, in which what Unicode forbids
is U+FFFD. Objects are asked for C<TO_JSON>. Fails when one has none, when the
value cannot be encoded for another reason, and after close.

=head2 send_event

    await $sse->send_event(
        data  => $data,           # required; references become JSON
        event => 'notification',  # type
        id    => 'msg-123',       # '' resets the client's last id
        retry => 5000,            # milliseconds
    );

Sends an event with all its fields; undef means absent, and other names are
passed over, so that a record of yours can be sent as it is. As C<data>, an object
with C<TO_JSON> becomes JSON, and another that overloads C<""> is text. Of
C<retry> the whole part is sent. Fails without data, on CR or LF in C<event>, on
a C<retry> that is not a number from 0 to 999,999,999,999,999, and after close.

An C<id> comes back in the header C<Last-Event-ID>, as UTF-8, so one that no
header carries fails: control characters other than a tab within, white space at
its ends, more than 4,096 octets. Visible ASCII without C<"(),:;E<lt>E<gt>?@[\]{}>, of
at most 128 octets, spares a page of another origin a preflight.

=head2 send_comment

    await $sse->send_comment('ping');

Sends a comment, text of any number of lines, which clients ignore. undef is
sent as empty, with perl's usual warning. Fails on a reference that is not text,
and after close.

=head2 try_send

    my $ok = await $sse->try_send("Hello world");

Like L</send>, but resolves to 1 or 0 and never fails. 0 means that the event
did not go out: the connection has ended (of this nobody else is told), or it
failed, and L</on_error> is told before the Future resolves. After close: 0.

=head2 try_send_json

    my $ok = await $sse->try_send_json($value);

L</send_json> in the same way.

=head2 try_send_event

    my $ok = await $sse->try_send_event(%event);

L</send_event> in the same way; without data it sends empty data.

=head2 try_send_comment

    my $ok = await $sse->try_send_comment('ping');

L</send_comment> in the same way.

=head2 keepalive

    await $sse->keepalive(30);            # a comment every 30 seconds
    await $sse->keepalive(30, 'ping');    # this one
    await $sse->keepalive(0);             # off, as without an argument

Asks the server to send a comment at an interval, in seconds from 0 to 86,400.
The last setting wins. May come before the start and does not start the stream.
Fails on anything else, and after close, when it resolves for 0.

=head1 ITERATION

=head2 each

    await $sse->each(\@items, async sub {
        my ($item, $index) = @_;
        return { data => $item, id => $index };
    });
    await $sse->each(sub { next_item() }, async sub { ... });

Calls back for each item of an array, or for what a coderef returns, until that
is undef; a Future is an item, for the callback to await. A hashref that the
callback returns, or its Future brings, is sent as an event. Ends early when the
connection does. What the callback is at then it may finish, and the L</on_close>
callbacks: C<each> waits for both. Cancelling the Future of C<each> cancels the
callback's. When the callback or the coderef dies, the connection is closed with
reason C<server_error> (on the embedded server without the last chunk, so that the
client notices), the
L</on_close> callbacks run, and the Future fails with that error. After close:
does nothing.

=head2 every

    await $sse->every(2, async sub {
        await $sse->send_event(event => 'metrics', data => get_metrics());
    });

Calls back at once, and again each time the interval (in seconds, > 0) has
passed since the end of the last call, until the connection ends. What holds for
the callback of L</each> at the end, when cancelled, and when it dies, holds here. On the embedded server
that is the clock, whatever loop calls its C<dispatch>; elsewhere L<Future::IO>, which is told of L<IO::Async>
when that is loaded. Where neither is to be had, or another loop is loaded that Future::IO does not know, it
fails and says what to load. After close: does nothing.

=head1 CALLBACKS

=head2 on_close

    $sse->on_close(sub {
        my ($sse, $reason) = @_;
        ...
    });

Registers a callback for the end, whatever it is. Callbacks run once, one after
the other: where one is async, the next waits for it, and so do L</run>, L</each>,
L</every>, L</close> and the server's stop. They may call any method; a C<close>
or C<run> of theirs must not wait for the callback that it stands in: C<close>
does not, C<run> would. One that dies is warned about and does not stop the rest.
After the end a callback is called at once. Returns the object; dies unless given
a coderef.

=head3 Who notices the end

The embedded server tells of it, whoever wrapped C<$send> and C<$receive>. Under
another server the object asks C<$receive> from the start of the stream on, once
at a time, and keeps what it brings for L</body>. So read the body before you start
the stream, or by C<body>: a C<$receive> of yours would wait beside ours. A server
that cancels or drops the Future of its C<$receive> has given up on the client.

No server says that the application has returned. The embedded one acts on it
by itself; elsewhere the callbacks run, with C<app_closed>, when the object goes,
and with it the scope. What cannot be noticed: a server that forgets an
application's Future while an C<async sub> of its own still waits to answer
C<$receive>; perl keeps all of that, and us.

=head2 on_error

    $sse->on_error(sub {
        my ($sse, $error) = @_;
        ...
    });

Registers a callback for errors that no Future carries: of C<try_*> sends and of
C<$receive>. Without one they are warnings. Returns the object; dies unless
given a coderef. What fails inside of such a callback, or is wrong with the
arguments of a C<try_*> after the end, is a warning. After the end: does nothing.

=head2 on

    $sse->on(close => sub { ... });
    $sse->on(error => sub { ... });

The same by name. Dies with C<Unknown event type> on others.

=head1 FLOW CONTROL

From C<pagi.transport> in the scope, if the server offers it; after close, too.

=head2 buffered_amount

    my $octets = $sse->buffered_amount;

What is queued and not yet with the kernel; 0 without a transport.

=head2 high_water_mark

    my $octets = $sse->high_water_mark;

From here on sends wait; undef without a transport.

=head2 low_water_mark

    my $octets = $sse->low_water_mark;

Below it they go on; undef without a transport.

=head2 on_high_water

    $sse->on_high_water(sub { ... });

Calls back when the high mark is reached. Returns the object; does nothing
without a transport. Dies unless given a coderef.

=head2 on_drain

    $sse->on_drain(sub { ... });

Calls back when the amount has fallen below the low mark. Returns the object;
does nothing without a transport. Dies unless given a coderef.

=head2 is_writable

    if ($sse->is_writable) { ... }

True unless the high mark is reached; says nothing of the connection's end.

=head1 UPGRADE

    my $sse = PAGI::SSE->new($scope, $receive, $send, upgrade => 1);

PAGI gives a request the type C<sse> when it accepts C<text/event-stream>. Some
clients ask for a stream without saying so, or with a POST for JSON; theirs is a
scope of type C<http>. With C<upgrade> the object streams there by
C<http.response.start> and C<http.response.body>, under any server; under the
embedded one, with nobody between, straight by the library. A scope of type
C<sse> is as without it. All methods work; what such a scope cannot do:

=over 4

=item *

The keepalive is a timer in this process, put off by any write; L</keepalive>
fails, naming L<Future::IO>, where nothing can wait.

=item *

The end comes from C<pagi.connection> in the scope, or from C<$receive>.

=item *

Under other servers the response is whole only after L</close>: it sends the last
piece, which the server cannot do for an application that just returns.

=item *

A stream that is broken off, as a callback of L</each> or L</every> died, gets
no last piece. That the client hears of it is up to the server: let the failure
reach it.

=item *

The octets of a C<HEAD> request's stream are the server's to leave out.

=back

=head1 SUBCLASSING

Subclass as you like; C<new> on a scope that has an object already returns that
one, of whatever class. A C<start> of yours, which adds headers perhaps, is
called by whatever starts the stream; what it sends itself comes first, and
until its Future is done other sends wait. Under the embedded server
C<subscribe> of a hub cannot wait: await C<start> before. A C<DESTROY> of yours must call C<SUPER::DESTROY>, and
will be called each time the last reference goes while the scope lives. Prefix
fields and private methods of yours: other names in the object, and method names
that begin with an underscore, are ours.

=head1 FORK AND THREADS

A connection belongs to the process that made it. A child that inherits one does
no harm by letting it go, but must not use it: the server's C<$send> is the
parent's, and the native library refuses. L</close> of it does nothing there.

A thread (perl's ithreads) begins with copies of all objects. Those of ours belong
to the thread that made them: each method of a copy dies and says so, and
nothing is freed by it. Future::AsyncAwait itself crashes when a thread is created while
an async sub is suspended.

=head1 SEE ALSO

L<PAGI::SSE::Server>, the embedded server. L<PAGI::SSE::Hub>, publishing to many.
L<PAGI::SSE::Text>, the text rule.
F<docs/migration.md>, what differs from the toolkit's class.

=head1 LICENSE

Artistic-2.0 OR MIT.

=cut
