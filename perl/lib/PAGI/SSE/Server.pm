package PAGI::SSE::Server;
use strict;
use warnings;

our $VERSION = '0.003000';

use Carp         ();
use Scalar::Util qw(refaddr weaken);

use PAGI::SSE        ();
use PAGI::SSE::Check ();
use PAGI::SSE::FFI   ();
use PAGI::SSE::FFI::Constants
    qw(KIND_ANSWERED KIND_BODY KIND_CLOSED KIND_DRAINED KIND_ENDED KIND_LOG KIND_READY KIND_REQUEST);
use PAGI::SSE::Futures             ();
use PAGI::SSE::Loop                ();
use PAGI::SSE::Loop::Turns         ();
use PAGI::SSE::Server::Application ();
use PAGI::SSE::Server::Clock       ();
use PAGI::SSE::Server::Exchange    ();
use PAGI::SSE::Server::Future      ();
use PAGI::SSE::Server::Lifespan    ();
use PAGI::SSE::Server::Options     ();
use PAGI::SSE::Server::Request     ();
use PAGI::SSE::Server::Sink        ();
use PAGI::SSE::Server::Stop        ();
use PAGI::SSE::Thread              ();

PAGI::SSE::Check::own_class(__PACKAGE__);
# Nor may a warning of the wrapper's wait.
my $stderr = PAGI::SSE::Server::Sink->new(\*STDERR);
PAGI::SSE::Check::warn_by($stderr);

use constant FREE_MS    => 1000;    # for threads to end
use constant MOST_SHOWN => 300;     # of an address: the path of a socket is longer than most values

sub new {
    my ($class, @option) = @_;
    my %option = PAGI::SSE::Server::Options::checked(@option);
    my $access_log = delete $option{access_log};
    my $self = bless { %option, exchanges => {}, held => {}, records => [], wakes => [], pid => $$ }, $class;
    if (defined $access_log) {
        require PAGI::SSE::Server::AccessLog;
        weaken(my $weak = $self);
        $self->{access_log} =
            PAGI::SSE::Server::AccessLog->new($access_log, sub { $weak->log(error => "access_log: $_[0]") if $weak });
    }
    if (defined $option{cancel_after_disconnect}) {
        require PAGI::SSE::Server::Grace;
        $self->{grace} = PAGI::SSE::Server::Grace->new($self, $option{cancel_after_disconnect});
    }
    return $self;
}

# ---- life

sub start {
    my ($self) = @_;
    Carp::croak('PAGI::SSE::Server: started already') if $self->{handle};
    Carp::croak('PAGI::SSE::Server: stopped') if $self->{is_stopped};
    my ($code, $handle) = PAGI::SSE::FFI::server_open(
        (map { $_ => $self->{$_} } qw(listen max_body max_connections max_queued_bytes workers log_level)),
        map { ($_ . '_ms' => $self->{$_} && 1000 * $self->{$_}) } @PAGI::SSE::Server::Options::TIMEOUTS,
    );
    if ($code < 0) {
        Carp::croak("PAGI::SSE::Server: cannot listen on "
                . PAGI::SSE::Check::shown($self->{listen}, MOST_SHOWN) . ': '
                . PAGI::SSE::FFI::last_error());
    }
    @$self{qw(handle pid)} = ($handle, $$);
    PAGI::SSE::Thread::own($handle, $self);
    $self->{signals}->adopt if $self->{signals};
    $self->{port} = PAGI::SSE::FFI::server_port($handle);
    $self->{bound} = PAGI::SSE::FFI::server_address($handle) if $self->{listen} =~ /\Afd:/;
    $self->{fileno} = PAGI::SSE::FFI::server_fd($handle);
    my $lifespan = $self->{lifespan} = PAGI::SSE::Server::Lifespan->new($self);
    {
        local $self->{will_die} = 1;
        $lifespan->start;
    }
    Carp::croak($lifespan->startup_error) if defined $lifespan->startup_error;
    return $self;
}

sub stop {
    my ($self, $deadline) = @_;
    $deadline = $self->{shutdown_timeout} if !defined $deadline;
    my $seconds = PAGI::SSE::Check::number($deadline);
    if (!defined $seconds || $seconds < 0) {
        return PAGI::SSE::Futures::failure(
            'PAGI::SSE::Server->stop: the deadline must be a number of seconds from 0 on, not '
                . PAGI::SSE::Check::shown($deadline));
    }
    return PAGI::SSE::Futures::failure("PAGI::SSE::Server->stop: the server is that of process $self->{pid}, not of $$")
        if $self->{handle} && $self->{pid} != $$;
    return $self->_stopping->begin($seconds);
}

sub port       { return $_[0]{port} }
sub fileno     { return $_[0]{fileno} }
sub is_stopped { return $_[0]{is_stopped} }

sub address {
    my ($self) = @_;
    my $bound = $self->{bound} // $self->{listen};
    return $bound if $bound =~ /\A(?:unix|fd):/;
    my ($host) = $bound =~ /\A\[?(.*?)\]?:[0-9]+\z/s;
    $host = "[$host]" if $host =~ /:/;
    return "http://$host:$self->{port}";
}

sub new_future {
    my ($self) = @_;
    return $self->{loop} ? $self->{loop}->new_future : PAGI::SSE::Server::Future->for_server($self);
}

# Never dies, whatever on_log or $SIG{__WARN__} does.
sub log {
    my ($self, $level, $message) = @_;
    local $@;
    $message = PAGI::SSE::Check::one_line($message);
    if ($self->{on_log}) {
        return if eval { $self->{on_log}->($level, $message); 1 };
        $message .= " (and on_log died: $@)";
    }
    PAGI::SSE::Check::warning("PAGI::SSE::Server: $level: $message");
    return;
}

# ---- what is running

# Kept until the server goes: what is running right now, as it stopped the
# server itself, must find its Future when it ends.
sub _cancel {
    my ($self, $future) = @_;
    return if !$future || $future->is_ready;
    push @{ $self->{cancelled} }, $future;
    shift @{ $self->{cancelled} } if @{ $self->{cancelled} } > $self->{max_connections};
    eval { $future->cancel; 1 } or $self->log(error => "an application's cancel died: $@");
    return;
}

# After the deadline, the same for callbacks of an end.
sub _cancel_callbacks {
    my ($self) = @_;
    for my $held (_take_all($self->{held})) {
        my ($future, $sse) = @$held;
        push @{ $self->{cancelled} }, $sse;
        eval { $sse->_cancel_callbacks; 1 } or $self->log(error => "an application's cancel died: $@");
        $self->_cancel($future);
    }
    return;
}

# ---- for the lifespan and the stop

sub _handle   { return $_[0]{handle} }
sub _lifespan { return $_[0]{lifespan} }
sub _stopping { return $_[0]{stopping} ||= PAGI::SSE::Server::Stop->new($_[0]) }

# Requests in progress, or callbacks of their end.
sub _is_busy { return %{ $_[0]{exchanges} } || %{ $_[0]{held} } }

# A Future that a stop waits for: the end of that wrapper's callbacks.
sub _hold {
    my ($self, $future, $sse) = @_;
    return if $future->is_ready;
    my $key = refaddr($future);
    $self->{held}{$key} = [$future, $sse];
    weaken(my $weak = $self);
    $future->on_ready(sub {
        delete $weak->{held}{$key} if $weak;
        $weak->_advance_soon if $weak;
    });
    return;
}

sub _take_exchanges { return _take_all($_[0]{exchanges}) }

sub _take_all {
    my ($list) = @_;
    my @left = values %$list;
    %$list = ();
    return @left;
}

# A dispatch will come in so many milliseconds.
sub _wake {
    my ($self, $ms) = @_;
    my $handle = $self->{handle} or return;
    push @{ $self->{wakes} }, PAGI::SSE::Server::Clock::now() + $ms / 1000 if $ms > 0;
    PAGI::SSE::FFI::server_wake($handle, $ms);
    return;
}

# The library keeps the earliest alone.
sub _wake_again {
    my ($self) = @_;
    my $now = PAGI::SSE::Server::Clock::now();
    my ($first, @rest) = sort { $a <=> $b } @{ $self->{wakes} };
    return if $first > $now + 0.001;
    @rest = grep { $_ > $now + 0.001 } @rest;
    $self->{wakes} = \@rest;
    PAGI::SSE::FFI::server_wake($self->{handle}, int(1000 * ($rest[0] - $now)) + 1) if @rest;
    return;
}

# For PAGI::SSE::Loop: whether somebody can call dispatch; timers by that.
sub _is_live { return $_[0]{handle} && $_[0]{pid} == $$ }
sub _turns   { return $_[0]{turns} ||= PAGI::SSE::Loop::Turns->new($_[0]) }

# In the next turn, as the application is still running.
sub _advance_soon {
    my ($self) = @_;
    $self->_wake(0) if $self->{stopping};
    return;
}

# The application has started up.
sub _open {
    my ($self) = @_;
    PAGI::SSE::FFI::server_start($self->{handle}) if $self->{handle} && !$self->{stopping};
    return;
}

# The application does not want to start.
sub _refused {
    my ($self, $error) = @_;
    $self->log(error => $error) if !$self->{will_die};    # else start, or run, dies of it
    $self->_stopping->finish;
    return;
}

sub _free {
    my ($self) = @_;
    $self->{is_stopped} = 1;
    delete $self->{signals};                              # their handlers are as before
    my $handle = delete $self->{handle} or return;
    $self->{access_log}->finish if $self->{access_log};
    PAGI::SSE::Thread::disown($handle);
    # A child of a fork answers "stale": the server is its parent's.
    PAGI::SSE::FFI::server_free($handle, FREE_MS);
    my $turns = delete $self->{turns} or return;
    $turns->end;
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    return $self->_free if ${^GLOBAL_PHASE} eq 'DESTRUCT' || $self->{pid} != $$;
    $self->_stopping->at_once if $self->{handle};
    return;
}

# ---- work

sub dispatch {
    my ($self) = @_;
    my $handle = $self->{handle} or return 0;
    return 0 if $self->{pid} != $$;
    PAGI::SSE::Loop->note_dispatch($self);
    local $PAGI::SSE::Loop::DISPATCHING = $self;
    # An application that waits by ->get brings us here in the middle of a
    # batch: what is left of it comes first.
    push @{ $self->{records} }, PAGI::SSE::FFI::server_next($handle);
    my $count = 0;
    while (defined(my $record = shift @{ $self->{records} })) {
        $count++;
        $self->_take($record);
    }
    for my $task (qw(turns signals grace)) {
        $self->{$task}->run if $self->{$task};
    }
    $self->_flush_logs if PAGI::SSE::Server::Sink->flush_all;
    $self->{stopping}->advance if $self->{stopping};
    $self->_wake_again if $self->{handle} && @{ $self->{wakes} };
    PAGI::SSE::FFI::server_flush($handle) if $self->{handle};
    return $count;
}

# What waits for a reader of the log is tried again a little later.
sub _flush_logs {
    my ($self) = @_;
    my $now = PAGI::SSE::Server::Clock::now();
    return if $now < ($self->{flush_at} || 0);
    $self->{flush_at} = $now + PAGI::SSE::Server::Sink::RETRY_MS / 1000;
    $self->_wake(PAGI::SSE::Server::Sink::RETRY_MS);
    return;
}

sub _next_record {
    my ($self) = @_;
    my $records = $self->{records};
    push @$records, PAGI::SSE::FFI::server_next($self->{handle}) if !@$records;
    return shift @$records;
}

# One record's trouble is not the others'.
sub _take {
    my ($self, $record) = @_;
    eval { $self->_act_on($record); 1 } or $self->_not_taken($record, $@);
    return;
}

sub _act_on {
    my ($self, $record) = @_;
    my ($type, $conn) = unpack 'C Q', $record;
    return $self->_request($conn, $record) if $type == KIND_REQUEST;
    return PAGI::SSE::Hub->_note_ready($conn) if $type == KIND_READY && PAGI::SSE::Hub->can('_note_ready');
    return $self->_log_record(unpack 'x9 L/a C', $record) if $type == KIND_LOG;
    return $self->_ended($conn, unpack 'x9 S Q Q L/a', $record) if $type == KIND_ENDED;
    return $self->_log_access(answered => $record) if $type == KIND_ANSWERED;
    my $exchange = $self->{exchanges}{$conn} or return;
    return $exchange->note_body if $type == KIND_BODY;
    return $exchange->note_drained if $type == KIND_DRAINED;
    $exchange->note_closed(unpack 'x9 L/a', $record) if $type == KIND_CLOSED;
    return;
}

sub _log_record {
    my ($self, $message, $level) = @_;
    return $self->log($PAGI::SSE::Server::Options::LEVELS[$level], $message);
}

# A request gets its answer.
sub _not_taken {
    my ($self, $record, $error) = @_;
    my ($type) = unpack 'C', $record;
    my $message = "internal error in a record of type $type: $error";
    my $conn = $self->_request_of($record) or return $self->log(error => $message);
    my $exchange = $self->{exchanges}{$conn} ||= PAGI::SSE::Server::Exchange->new(
        server => $self,
        handle => $conn,
        type   => 'http',
    );
    $exchange->refuse($message);
    return;
}

# The connection, if a record is a request.
sub _request_of {
    my ($self, $record) = @_;
    my ($type, $conn) = unpack 'C Q', $record;
    return $type == KIND_REQUEST ? $conn : undef;
}

sub _request {
    my ($self, $conn, $record) = @_;
    my $request = PAGI::SSE::Server::Request->new($record);
    my $scope = $request->scope($self->{lifespan}->state, $self->{sse});
    my $exchange = $self->{exchanges}{$conn} = PAGI::SSE::Server::Exchange->new(
        server   => $self,
        handle   => $conn,
        type     => $scope->{type},
        label    => $request->label,
        has_body => $request->has_body,
    );
    PAGI::SSE::Server::Request::bind($scope, $exchange);
    my $is_stream = $scope->{type} eq 'sse' ? 1 : 0;
    PAGI::SSE::FFI::conn_expect_stream($conn, $is_stream) if $is_stream != $request->is_sse;
    $self->_log_access(begin => $conn, $scope);
    my $error = $request->rule_error;

    if (defined $error) {
        $exchange->refuse($error);
        return $self->_forget($conn);
    }
    weaken(my $weak = $self);
    my $app = PAGI::SSE::Server::Application::call(
        $self,
        $scope,
        $exchange->receive_coderef,
        $exchange->send_coderef,
        # As little as can be: each idle stream keeps one.
        sub { $weak->_app_over($conn, @_) if $weak }
    );
    if   ($self->{exchanges}{$conn}) { $exchange->{app} = $app if $app }
    else                             { $self->_cancel($app) }              # it stopped the server
    return;
}

sub _app_over {
    my ($self, $conn, $future) = @_;
    my $exchange = $self->{exchanges}{$conn} or return;
    delete $exchange->{app};
    $self->{grace}->over($conn) if $self->{grace};
    $exchange->app_ended(PAGI::SSE::Server::Application::error($future));
    $self->_forget($conn);
    # Nothing else may come that would let the stop go on.
    $self->_advance_soon;
    return;
}

# It may be a while until its handler knows.
sub _client_left {
    my ($self, $conn) = @_;
    $self->{grace}->begin($conn) if $self->{grace} && $self->{exchanges}{$conn}{app};
    return;
}

# True if there was anything to cancel.
sub _abandon {
    my ($self, $conn) = @_;
    my $exchange = $self->{exchanges}{$conn} or return 0;
    my $app = $exchange->{app}               or return 0;
    $exchange->{abandoned} = 1;
    $self->_cancel($app);
    return 1;
}

sub _ended {
    my ($self, $conn, @result) = @_;    # status, octets, milliseconds, reason
    $self->_log_access(end => $conn, @result);
    my $exchange = $self->{exchanges}{$conn} or return;
    $exchange->note_ended($result[3]);
    $self->_forget($conn);
    return;
}

# Once the application and the transport are both done with it; before, when
# the stream was handed over: the end is still told to who has the wrapper.
sub _forget {
    my ($self, $conn) = @_;
    my $exchange = $self->{exchanges}{$conn} or return;
    if    ($exchange->is_over)  { delete $self->{exchanges}{$conn} }
    elsif ($exchange->is_loose) { weaken($self->{exchanges}{$conn}) }
    return;
}

sub _log_access {
    my ($self, $how, @what) = @_;
    my $access_log = $self->{access_log} or return;
    eval { $access_log->$how(@what); 1 } or $self->log(error => "access_log died: $@");
    return;
}

sub _log_cut {
    my ($self) = @_;
    $self->_log_access(end => @$_) for $self->{access_log} ? $self->{access_log}->left : ();
    return;
}

# ---- a loop of our own

# Chooses the loop that `run` will use, so that the application finds
# Future::IO ready when its lifespan begins.
sub prepare_loop {
    my ($self) = @_;
    $self->{loop} ||= PAGI::SSE::Loop->prepare;
    return $self;
}

sub stop_on {
    my ($self, @signals) = @_;
    for my $name (@signals) {
        Carp::croak('PAGI::SSE::Server->stop_on: ' . PAGI::SSE::Check::shown($name) . ' is no signal')
            if !exists $SIG{$name};
    }
    require PAGI::SSE::Server::Signals;
    $self->{signals} ||= PAGI::SSE::Server::Signals->new($self);
    $self->{signals}->watch(@signals);
    return $self;
}

sub run {
    my ($self) = @_;
    $self->prepare_loop;
    local $self->{will_die} = 1;
    # What the application prints for nobody to read is no reason to die. No
    # IGNORE, which its child processes would inherit.
    local $SIG{PIPE} = sub { }
        if !$SIG{PIPE} || $SIG{PIPE} eq 'DEFAULT';
    # Nor may a warning of the application's wait.
    local $SIG{__WARN__} = sub { $stderr->line($_[0]) }
        if !$SIG{__WARN__} || $SIG{__WARN__} eq 'DEFAULT';
    $self->start if !$self->{handle} && !$self->{is_stopped};
    return if $self->{is_stopped};
    # A duplicate, as closing this handle must not close the server's.
    open my $fh, '<&', $self->{fileno} or die "PAGI::SSE::Server: cannot duplicate the wake-up descriptor: $!\n";
    PAGI::SSE::Loop->drive($fh, sub { $self->dispatch }, sub { $self->{is_stopped} });
    my $error = $self->{lifespan} && $self->{lifespan}->startup_error;
    die "$error\n" if defined $error;
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server - a PAGI server whose engine is native

=head1 SYNOPSIS

    use PAGI::SSE::Server;

    my $server = PAGI::SSE::Server->new(app => \&app, listen => '127.0.0.1:5000');
    $server->run;

    # in an event loop of yours
    $server->start;
    watch_for_reading($server->fileno, sub { $server->dispatch });

=head1 DESCRIPTION

Serves a PAGI application over HTTP/1.1: scopes C<http>, C<sse> and
C<lifespan>. Sockets, HTTP, framing and keepalive comments are the native
library's, on threads of its own; the application runs in the one thread of
Perl, whenever C<dispatch> is called.

A request is C<sse> when its C<Accept> field includes C<text/event-stream>,
whatever its method; the option C<sse> names another rule. The client's end is
noticed while the stream is idle, and C<on_close> callbacks of L<PAGI::SSE> run
at the next C<dispatch>. An application may return, die or give no answer: they run as
well. Each scope has a C<pagi.stash> of its own. An application that returns a
promise of another kind (it has C<then>) is awaited; without an event loop of that
kind nothing will settle it.

A client may end its own side of the connection behind its request (a
half-close). An ordinary response and a decline still go to it; to a stream, and
to a response of type C<text/event-stream>, it is the client's end. When the
application has not chosen within a second, an HTTP/1.1 client that has ended its
side, or whose request body is not read, is sent C<100 Continue>: one that has
gone answers with a reset, and C<$receive> gives the disconnect. A request body
that breaks off is not complete: C<$receive> gives the disconnect in place of its
end.

A response of type C<text/event-stream> in a scope of type C<http> is a stream as
well: its head does not wait for the first of its body, and a stop ends it.

A stream whose application dies, or a response that is not given to its end, is
broken off: no last chunk follows, and the connection is closed. What has been
written to the socket is what C<on_complete>, C<on_disconnect> and the access log
tell of.

=head1 HTTP

Requests are held to RFC 9110 and RFC 9112. The application never sees one that
is refused:

=over

=item 400

a Host field that is missing (HTTP/1.1), malformed or there twice; a target that
is neither a path nor an C<http> URL (C<*> is for OPTIONS), has a fragment, or a
percent sign without two hexadecimal digits in its path; a folded or otherwise
malformed field; Content-Length that is no number, or differs; Content-Length
and Transfer-Encoding in one request; a coding after C<chunked>; a malformed
chunk; a body that breaks off, see below

=item 408, 413, 414, 431

a head or body that does not come in time (C<head_timeout>, C<body_timeout>); a
body above C<max_body>; a target above 32 KiB, a head above 64 KiB, or more than
128 fields

=item 421, 501, 505

an C<https> URL as target; CONNECT, WebSocket, a transfer coding other than
C<chunked>; another version than HTTP/1.1 or 1.0

=back

The application has such a request when the fault is in its body. An answer that
it has begun before a malformed chunk or too much has come goes on. To a body that
breaks off, as the client ends its side, the application may answer at any time,
with an ordinary response; the 400 is for one that reads of it and returns without
an answer, or begins a stream.

The connection is closed after such an answer; what the client still sends is
read for a while, so that the answer reaches it. With a whole URL as target, its
host is the C<host> header of the scope, whatever the Host field says.

=head1 METHODS

=head2 new

    my $server = PAGI::SSE::Server->new(app => $coderef, %options);

Dies for an option that it does not know or that is out of range.

=over

=item app

The PAGI application, a coderef. Required.

=item listen

C<HOST:PORT> (port 0: the kernel picks one), C<unix:PATH>, or C<fd:N>. Default
C<127.0.0.1:5000>.

C<fd:N> is a listening stream socket, by its descriptor's number: one of a
process manager's (systemd's sockets, as many as C<LISTEN_FDS> says, begin with
C<fd:3>), or one at which several processes accept (C<< 'fd:' . fileno $socket >>
in each, after C<fork>). C<start> makes a duplicate and sets the socket
non-blocking. A server that stops never shuts it down, and leaves those who wait
there to the others. C<port> and C<address> tell where it is bound.

=item host, port

The same in two pieces; an IPv6 address needs no brackets. Dies if C<listen> is
given too and says something else.

=item sse

Which requests are streams, scopes of the type C<sse>: C<accept>, the default
and PAGI's rule, those whose C<Accept> field includes C<text/event-stream>; a
regular expression, those whose decoded path matches; or a coderef, which gets
the scope (its C<type> is what C<accept> says) and returns true for a stream. If
it dies, the request is answered with 500. What has been chosen is what the
application sees; an ordinary answer, C<http.response.*>, is accepted on both.

=item shutdown_timeout

Seconds that C<stop> gives the application and the clients. Default 10.

=item cancel_after_disconnect

Seconds, 0 to 86400, that a handler may run on after its client has gone; then
its Future is cancelled, and the log has one line for all that are due. A handler
that closed its stream by itself is left alone. Default: none is cancelled.

=item max_body

Largest request body, octets; a larger one is answered with 413. Default 1 MiB.

=item max_connections

Connections open at a time, up to 1,000,000; further clients wait, when none of
them is idle (C<idle_timeout>). One whose client has gone does not count, though its handler runs on. While clients wait, a
closed stream is given up whose client has taken nothing for a second. Default
16384.

=item max_queued_bytes

Octets of memory that may wait in the output queues of all connections together;
an event of a hub that many have waiting counts once, and less than 4 KiB on a
connection does not count. Above it the connections that take most are closed
with the reason C<queue_overflow>, until the rest fits: also one whose client
does nothing wrong but to be sent something larger than this. The log says so.
Default 256 MiB.

=item write_timeout

Seconds, at least 0.001, after which a client that takes no octet is dropped,
with the reason C<write_timeout>. Default 30. What a client still says during a
stream is read and forgotten; more than 64 KiB of it within a minute end the
stream with the reason C<protocol_error>.

=item head_timeout

Seconds, at least 0.001, in which a request's head must come. A part of one is
answered with 408; one that has sent nothing yet is just closed. Default 30.

=item idle_timeout

Seconds, at least 0.001, in which the next request on a connection must begin
after an answer, else the connection is closed. Default 75. While
C<max_connections> are open, idle ones make room at once for clients that wait,
the longest idle first; a new one that has sent nothing yet, after 0.25 seconds.

=item body_timeout

Seconds, at least 0.001, in which a request's body must come in all, however
steadily it trickles; else the request is answered with 408, if the application
has not answered, and ends with the reason C<client_timeout>. A pause in it may
last C<write_timeout>. Default 300.

=item workers

Threads of the native library, up to 256. Default: the number of cores less one.

=item access_log

C<-> for STDOUT, a path to append to, a file handle, or a coderef that gets each
line. The combined format, then seconds and the reason of the end: C<-> for an
ordinary response that was sent in full. Octets are those of content that the
socket took, events and comments of a stream among them, without head and framing of
chunks. A stream that a HEAD asked for ends with C<app_closed>. What C<stop> cuts off has the reason
C<server_shutdown>, and C<-> for status and octets. Requests that the server
refused by itself have a line too, with the reason C<protocol_error>,
C<head_too_large>, C<body_too_large>, C<client_timeout>, C<not_implemented> or
C<server_shutdown>; one whose first line is malformed has that line in place of
method, target and version. Default: none.

Neither this log nor STDERR is ever waited for: what a pipe has no room for waits
in 256 KiB of memory; beyond that lines are left out, and one line says how many.
Those that the access log has not taken when the server stops are counted by
C<on_log>; when STDERR itself takes nothing, nobody is told.
While C<run> runs, warnings of the application go the same way, unless it has a
handler for them. A
pipe whose reader has left costs its lines, not the server.

=item on_log

Coderef that gets a level (C<error>, C<warning>, C<info>, C<debug>) and a message, one line:
control characters in it are escaped. Default: C<warn>. What clients can cause
at will (a refused request, TLS or HTTP/2 on this port, a head or body that does
not come in time, C<max_connections> or C<max_queued_bytes> reached, a failed accept) is said once,
then counted, with one line of a kind a second.

=item log_level

What the log has beside errors and warnings: C<warning>, the default, nothing
more; C<info>, what the server is at and what hubs have let go, for streams of
this server; C<debug>, also the begin and the end of each connection, each
subscription and each queue that is cut off, and each message that else would be
counted. Of a request, method and path (200 characters), not the query. What is
not taken in time is counted, and leaves room to warnings.

=back

=head2 start

    $server->start;

Binds the address, starts the threads, and starts the application's lifespan;
connections are accepted as soon as that is complete. Returns the server. Dies
when the address cannot be bound, with the system's reason, or the application
refuses to start. An application whose lifespan dies or returns before it has
taken C<lifespan.startup> knows no lifespan; one that dies later, or returns
without C<lifespan.startup.complete>, is logged, and served all the same.

=head2 port, address

The TCP port after C<start> (0 for a Unix socket); the address as a URL, an
IPv6 one in brackets (C<http://[::1]:5000>), or C<unix:PATH>.

=head2 run

    $server->run;

Serves until stopped; calls C<start> if need be. Uses L<IO::Async> where it is
installed, else L<Future::IO>; with IO::Async, Future::IO is made to use it
too, unless the application has chosen an implementation of its own, which then
drives everything.

=head2 prepare_loop

    $server->prepare_loop->start;

Chooses C<run>'s loop before C<start>, for programs that call both.

=head2 stop_on

    $server->stop_on(qw(INT TERM))->run;

The first of these signals calls C<stop>, a second one C<stop(0)>, in the next
C<dispatch>. Sets handlers in C<%SIG>, under any loop; they are as before once
the server has stopped. In a child of a fork the signals do what they did before.

=head2 fileno, dispatch

    my $count = $server->dispatch;

For any event loop: C<fileno> is readable when there is work; C<dispatch> runs
what is ready, never waits, and returns how many records it took (requests,
body pieces, ends). It does not die: what an application or a callback dies of
is logged.

=head2 stop

    my $future = $server->stop($deadline);

Stops in order, within C<$deadline> seconds (default C<shutdown_timeout>): no
new connections; the application's C<lifespan.shutdown>; each stream is closed
with the reason C<server_shutdown>; ordinary requests are finished. A head
that is whole is answered; one of which only a part has come is not waited for: the
connection is closed, without an answer or a line in the access log. Nor does it wait more than a second for a
client that takes nothing. What is left then is answered with 503, and cancelled. What asynchronous C<on_close> callbacks do is waited for as
well. Returns a Future that is done when all is over. May be called again, to
shorten the deadline. A server that goes out of scope is stopped at once: streams
end with C<server_shutdown>, and the rest is cancelled.

=head2 is_stopped

True once all is over.

=head2 new_future, log, is_live, turns

For the modules of this distribution: a pending Future of the right class; a
line for the log; whether C<dispatch> can still be called; timers by it.

=head1 THREADS, FORK AND SIGNALS

The native threads have all signals blocked. Fork first, then C<start>; in a
child of a fork the parent's server does nothing, and C<stop> fails. A copy of a server in
another ithread dies at each call, see L<PAGI::SSE/FORK AND THREADS>.

=head1 SEE ALSO

L<PAGI::SSE>

=cut
