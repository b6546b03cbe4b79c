package PAGI::SSE::Server;
use strict;
use warnings;

our $VERSION = '0.1.0';

use Carp ();
use Future;
use Scalar::Util qw(blessed looks_like_number weaken);
use Time::HiRes  ();

use PAGI::SSE::FFI              ();
use PAGI::SSE::Server::Exchange ();
use PAGI::SSE::Server::Future   ();

use constant {
    REQUEST => 1,
    BODY    => 2,
    DRAINED => 3,
    CLOSED  => 4,
    ENDED   => 5,
    LOG     => 6,
    READY   => 8
};    # src/rt/record.rs
use constant { HAS_BODY => 1, PATH_IS_TEXT => 2, UNIX => 4 };
use constant FREE_MS => 1000;    # for threads to end

my %MOST = (max_body => 999_999_999_999_999, max_connections => 1_000_000, workers => 256);
my %LEAST_SECONDS = (shutdown_timeout => 0, write_timeout => 0.001);    # 0 ms would mean the default

my %OPTION =
    map { $_ => 1 } qw(app listen shutdown_timeout max_body max_connections workers write_timeout access_log on_log);

sub new {
    my ($class, %option) = @_;
    if (my @unknown = sort grep { !$OPTION{$_} } keys %option) {
        Carp::croak("PAGI::SSE::Server->new: unknown option '$unknown[0]' (known: @{[sort keys %OPTION]})");
    }
    Carp::croak("PAGI::SSE::Server->new: 'app' must be a coderef") if ref $option{app} ne 'CODE';
    $option{listen} = '127.0.0.1:5000' if !defined $option{listen};
    for my $name (grep { defined $option{$_} } sort keys %MOST) {
        next if $option{$name} =~ /\A[1-9][0-9]{0,14}\z/ && $option{$name} <= $MOST{$name};
        Carp::croak(
            "PAGI::SSE::Server->new: '$name' must be a whole number from 1 to $MOST{$name}, not '$option{$name}'");
    }
    $option{shutdown_timeout} = 10 if !defined $option{shutdown_timeout};
    for my $name (grep { defined $option{$_} } sort keys %LEAST_SECONDS) {
        my ($seconds, $least) = ($option{$name}, $LEAST_SECONDS{$name});
        looks_like_number($seconds) && $seconds >= $least && $seconds <= 86_400
            or Carp::croak("PAGI::SSE::Server->new: '$name' must be from $least to 86400 seconds, not '$seconds'");
    }
    my $access_log = delete $option{access_log};
    my $self = bless { %option, exchanges => {}, records => [], pid => $$ }, $class;
    if (defined $access_log) {
        require PAGI::SSE::Server::AccessLog;
        $self->{access_log} = PAGI::SSE::Server::AccessLog->new($access_log);
    }
    return $self;
}

# ---- life

sub start {
    my ($self) = @_;
    Carp::croak('PAGI::SSE::Server: started already') if $self->{handle};
    Carp::croak('PAGI::SSE::Server: stopped') if $self->{is_stopped};
    my ($code, $handle) = PAGI::SSE::FFI::server_start(
        listen           => $self->{listen},
        max_body         => $self->{max_body},
        max_connections  => $self->{max_connections},
        workers          => $self->{workers},
        write_timeout_ms => $self->{write_timeout} && 1000 * $self->{write_timeout},
    );
    if ($code < 0) {
        Carp::croak("PAGI::SSE::Server: cannot listen on '$self->{listen}': " . PAGI::SSE::FFI::result_text($code));
    }
    @$self{qw(handle pid)} = ($handle, $$);
    $self->{port} = PAGI::SSE::FFI::server_port($handle);
    $self->{fileno} = PAGI::SSE::FFI::server_fd($handle);
    $self->_start_lifespan;
    Carp::croak($self->{startup_error}) if defined $self->{startup_error};
    return $self;
}

sub port       { return $_[0]{port} }
sub fileno     { return $_[0]{fileno} }
sub is_stopped { return $_[0]{is_stopped} }

sub address {
    my ($self) = @_;
    return $self->{listen} if $self->{listen} =~ /\Aunix:/;
    my ($host) = $self->{listen} =~ /\A(.*):/s;
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
    $message =~ s/\s+\z//;
    if ($self->{on_log}) {
        return if eval { $self->{on_log}->($level, $message); 1 };
        $message .= " (and on_log died: $@)";
    }
    my $line = "PAGI::SSE::Server: $level: $message\n";
    eval { warn $line; 1 } or print STDERR $line;
    return;
}

# Calls the application; $ended gets its Future when that is ready. Never dies.
sub _call_app {
    my ($self, $scope, $receive, $send, $ended) = @_;
    my $future;
    if (!eval { $future = $self->{app}->($scope, $receive, $send); 1 }) {
        $future = Future->fail(defined $@ && length $@ ? $@ : 'unknown error');
    }
    # An application that is no async sub is done when it returns.
    if (!blessed $future || !$future->can('on_ready')) { $future = Future->done }
    $future->on_ready($ended);
    return $future->is_ready ? undef : $future;
}

# Why an application ended, if it did not just return.
sub _app_error {
    my ($future) = @_;
    return $future->is_done ? undef : $future->is_cancelled ? 'its Future was cancelled' : ($future->failure)[0];
}

# Kept until the server goes: an application that is running right now, as it
# stopped the server itself, must find its Future when it ends.
sub _cancel {
    my ($self, $app) = @_;
    return if !$app || $app->is_ready;
    push @{ $self->{cancelled} }, $app;
    eval { $app->cancel; 1 } or $self->log(error => "an application's cancel died: $@");
    return;
}

# ---- lifespan

sub _start_lifespan {
    my ($self) = @_;
    $self->{state} = {};
    weaken(my $weak = $self);
    my $asked = 0;
    my $receive = sub {
        return Future->done({ type => 'lifespan.startup' }) if !$asked++;
        my $self = $weak or return Future->new;
        return $self->{lifespan_shutdown} ||= $self->new_future;
    };
    my $send = sub {
        my ($event) = @_;
        my $self = $weak or return Future->done;
        my $type = ref $event eq 'HASH' && defined $event->{type} ? $event->{type} : '';
        if    ($type eq 'lifespan.startup.complete') { $self->_open }
        elsif ($type eq 'lifespan.startup.failed') {
            return Future->fail("PAGI::SSE::Server: lifespan.startup.failed: the startup is over\n")
                if $self->{is_open} || $self->{is_stopped};
            $self->_startup_failed($event->{message});
        }
        elsif ($type eq 'lifespan.shutdown.complete') { $self->_lifespan_over }
        elsif ($type eq 'lifespan.shutdown.failed') {
            $self->log(error => 'lifespan shutdown failed: ' . (defined $event->{message} ? $event->{message} : ''));
            $self->_lifespan_over;
        }
        else { return Future->fail("PAGI::SSE::Server: Unknown event type '$type' for a scope of type 'lifespan'\n") }
        return Future->done;
    };
    my $scope = {
        type  => 'lifespan',
        pagi  => { version => '0.3', spec_version => '0.3', is_worker => 0, worker_num => 0 },
        state => $self->{state},
    };
    $self->{lifespan} = 1;
    $self->{lifespan_app} = $self->_call_app(
        $scope, $receive, $send,
        sub {
            my $error = _app_error(@_);
            my $self = $weak or return;
            # Dying or returning without an answer is how an application says
            # that it knows no lifespan.
            if (defined $error && $self->{is_open}) { $self->log(error => "the application's lifespan died: $error") }
            $self->_lifespan_over;
            $self->_open if !defined $self->{startup_error};
        }
    );
    $self->_cancel($self->{lifespan_app}) if $self->{is_stopped};
    return;
}

sub _open {
    my ($self) = @_;
    return if $self->{is_open}++ || !$self->{handle};
    PAGI::SSE::FFI::server_accept($self->{handle}) if !$self->{stopping};
    return;
}

sub _startup_failed {
    my ($self, $message) = @_;
    $self->{startup_error} = 'PAGI::SSE::Server: the application refused to start'
        . (defined $message && length $message ? ": $message" : '');
    delete $self->{lifespan};
    $self->log(error => $self->{startup_error}) if $self->{is_running};
    $self->_finish_stop;
    return;
}

sub _lifespan_over {
    my ($self) = @_;
    delete $self->{lifespan};
    # In the next turn: the application is still running.
    PAGI::SSE::FFI::server_wake($self->{handle}, 0) if $self->{stopping} && $self->{handle};
    return;
}

# ---- work

sub dispatch {
    my ($self) = @_;
    my $handle = $self->{handle} or return 0;
    return 0 if $self->{pid} != $$;
    # An application that waits by ->get brings us here in the middle of a
    # batch: what is left of it comes first.
    push @{ $self->{records} }, PAGI::SSE::FFI::server_next($handle);
    my $count = 0;
    while (defined(my $record = shift @{ $self->{records} })) {
        $count++;
        eval { $self->_take($record); 1 } or $self->_not_taken($record, $@);
    }
    $self->_advance_stop if $self->{stopping};
    PAGI::SSE::FFI::server_flush($handle) if $self->{handle};
    return $count;
}

sub _take {
    my ($self, $record) = @_;
    my ($type, $conn) = unpack 'C Q', $record;
    return $self->_request($conn, $record) if $type == REQUEST;
    return PAGI::SSE::Hub->_note_ready($conn) if $type == READY && PAGI::SSE::Hub->can('_note_ready');
    if ($type == LOG) {
        $self->log(warning => unpack 'x9 L/a', $record);
        return;
    }
    my $exchange = $self->{exchanges}{$conn};
    if ($type == ENDED) {
        my ($status, $bytes, $ms, $reason) = unpack 'x9 S Q Q L/a', $record;
        $self->_log_access($conn, $status, $bytes, $ms, $reason);
        return if !$exchange;
        $exchange->note_ended($reason);
        $self->_forget($conn);
        return;
    }
    return if !$exchange;
    return $exchange->note_body if $type == BODY;
    return $exchange->note_drained if $type == DRAINED;
    $exchange->note_closed(unpack 'x9 L/a', $record) if $type == CLOSED;
    return;
}

# One record's trouble is not the others'; a request gets its answer.
sub _not_taken {
    my ($self, $record, $error) = @_;
    my ($type, $conn) = unpack 'C Q', $record;
    $self->log(error => "internal error in a record of type $type: $error");
    return if $type != REQUEST;
    my $exchange = $self->{exchanges}{$conn} ||= PAGI::SSE::Server::Exchange->new(
        server => $self,
        handle => $conn,
        type   => 'http',
        label  => 'a request',
    );
    $exchange->app_ended('it could not be called');
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
    my ($self, $conn, @result) = @_;
    my $remembered = delete $self->{remembered}{$conn}           or return;
    eval { $self->{access_log}->write($remembered, @result); 1 } or $self->log(error => "access_log died: $@");
    return;
}

sub _request {
    my ($self, $conn, $record) = @_;
    my ($sse, $flags, $method, $version, $path, $raw_path, $query, $client, $client_port, $host, $port, $fields) =
        unpack 'x9 C C L/a L/a L/a L/a L/a L/a S L/a S a*', $record;
    # Apart, as a group dies of an empty rest.
    my @fields = length $fields ? unpack '(L/a)*', $fields : ();
    utf8::decode($path) if $flags & PATH_IS_TEXT;
    my $type = $sse ? 'sse' : 'http';
    my $exchange = PAGI::SSE::Server::Exchange->new(
        server   => $self,
        handle   => $conn,
        type     => $type,
        label    => "$method $raw_path",
        has_body => $flags & HAS_BODY,
    );
    $self->{exchanges}{$conn} = $exchange;
    my $scope = {
        type             => $type,
        pagi             => { version => '0.3', spec_version => '0.3' },
        http_version     => $version,
        method           => $method,
        scheme           => 'http',
        path             => $path,
        raw_path         => $raw_path,
        query_string     => $query,
        root_path        => '',
        headers          => [map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1],
        server           => $flags & UNIX ? [$host, undef] : [$host, $port],
        state            => { %{ $self->{state} } },
        extensions       => {},
        'pagi.transport' => $exchange,
        length $client ? (client => [$client, $client_port]) : (),
        $sse ? () : ('pagi.connection' => $exchange),
    };
    $self->{remembered}{$conn} = $self->{access_log}->remember($scope) if $self->{access_log};
    weaken(my $weak = $self);
    my $app = $self->_call_app(
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
    $exchange->app_ended(_app_error($future));
    $self->_forget($conn);
    # Nothing else may come that would let the stop go on.
    PAGI::SSE::FFI::server_wake($self->{handle}, 0) if $self->{stopping} && $self->{handle};
    return;
}

# ---- stopping: no new connections; the application's lifespan; streams;
# requests in progress; threads.

sub stop {
    my ($self, $deadline) = @_;
    $deadline = $self->{shutdown_timeout} if !defined $deadline;
    if (!looks_like_number($deadline) || $deadline < 0) {
        return Future->fail("PAGI::SSE::Server->stop: the deadline must be a number of seconds, not '$deadline'");
    }
    my $until = Time::HiRes::time() + $deadline;
    if (!$self->{stopped}) {
        $self->{stopped} = $self->new_future;
        $self->{stop_until} = $until;
        $self->{stopping} = 'lifespan';
        if (!$self->{handle}) {
            $self->_finish_stop;
            return $self->{stopped};
        }
        PAGI::SSE::FFI::server_drain($self->{handle});
        my $shutdown = $self->{lifespan_shutdown} ||= $self->new_future;
        if (!$shutdown->is_ready && !eval { $shutdown->done({ type => 'lifespan.shutdown' }); 1 }) {
            $self->log(error => "a callback of the application's lifespan died: $@");
        }
    }
    $self->{stop_until} = $until if $until < $self->{stop_until};
    if ($self->{handle}) {
        # In the next turns, as we may be inside the application, or a signal
        # handler.
        my $ms = 1000 * ($self->{stop_until} - Time::HiRes::time());
        PAGI::SSE::FFI::server_wake($self->{handle}, 0);
        PAGI::SSE::FFI::server_wake($self->{handle}, int($ms) + 1) if $ms > 0;
    }
    return $self->{stopped};
}

sub _advance_stop {
    my ($self) = @_;
    return if !$self->{handle} || $self->{advancing};
    local $self->{advancing} = 1;
    my $late = Time::HiRes::time() >= $self->{stop_until};
    if ($self->{stopping} eq 'lifespan' && ($late || !$self->{lifespan})) {
        $self->{stopping} = 'streams';
        PAGI::SSE::FFI::server_close_streams($self->{handle}, 'server_shutdown', length 'server_shutdown');
    }
    return if $self->{stopping} eq 'lifespan';
    my $busy = %{ $self->{exchanges} } || PAGI::SSE::FFI::server_busy($self->{handle}) > 0;
    return if $busy && !$late;
    $self->_finish_stop;
    return;
}

sub _finish_stop {
    my ($self) = @_;
    $self->{stopping} = 'done';
    $self->_take_last;
    my @left = values %{ $self->{exchanges} };
    %{ $self->{exchanges} } = ();
    for my $exchange (@left) {
        $exchange->cut;
        $self->_cancel(delete $exchange->{app});
    }
    $self->_cancel($self->{lifespan_app});
    delete $self->{lifespan_shutdown};
    $self->_log_cut;
    $self->_free;
    my $stopped = $self->{stopped} ||= Future->new;
    return if $stopped->is_ready || eval { $stopped->done; 1 };
    $self->log(error => "a callback of stop died: $@");
    return;
}

# What came before the end; new requests are refused.
sub _take_last {
    my ($self) = @_;
    return if !$self->{handle};
    while (1) {
        push @{ $self->{records} }, PAGI::SSE::FFI::server_next($self->{handle}) if !@{ $self->{records} };
        my $record = shift @{ $self->{records} };
        last if !defined $record;
        my ($type, $conn) = unpack 'C Q', $record;
        if ($type == REQUEST) { PAGI::SSE::Server::Exchange->new(handle => $conn)->cut }
        else {
            eval { $self->_take($record); 1 } or $self->_not_taken($record, $@);
        }
    }
    return;
}

# The library's totals of these are lost with it.
sub _log_cut {
    my ($self) = @_;
    my $now = Time::HiRes::time();
    my $remembered = $self->{remembered} or return;
    for my $conn (sort { $remembered->{$a}[1] <=> $remembered->{$b}[1] } keys %$remembered) {
        $self->_log_access($conn, undef, undef, 1000 * ($now - $remembered->{$conn}[1]), 'server_shutdown');
    }
    return;
}

sub _free {
    my ($self) = @_;
    $self->{is_stopped} = 1;
    my $handle = delete $self->{handle} or return;
    # A child of a fork answers "stale": the server is its parent's.
    PAGI::SSE::FFI::server_free($handle, FREE_MS);
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    $self->_free if $self->{handle};
    # Nobody is left to say so later.
    my $stopped = $self->{stopped};
    eval { $stopped->done } if $stopped && !$stopped->is_ready;
    return;
}

sub CLONE_SKIP { return 1 }

# ---- a loop of our own

# Chooses the loop that `run` will use, so that the application finds
# Future::IO ready when its lifespan begins.
sub prepare_loop {
    my ($self) = @_;
    $self->{loop} ||= IO::Async::Loop->new if _choose_loop();
    return $self;
}

# By the loop, where there is one: a plain handler may run only once the loop
# wakes for something else.
sub stop_on {
    my ($self, @signals) = @_;
    $self->prepare_loop;
    my $count = 0;
    my $stop = sub { $self->stop($count++ ? 0 : undef); return };
    for my $signal (@signals) {
        if ($self->{loop}) { $self->{loop}->watch_signal($signal => $stop) }
        else               { $SIG{$signal} = $stop }
    }
    return $self;
}

sub run {
    my ($self) = @_;
    $self->prepare_loop;
    local $self->{is_running} = 1;
    $self->start if !$self->{handle} && !$self->{is_stopped};
    return if $self->{is_stopped};
    # A duplicate, as closing this handle must not close the server's.
    open my $fh, '<&', $self->{fileno} or die "PAGI::SSE::Server: cannot duplicate the wake-up descriptor: $!\n";
    if (my $loop = $self->{loop}) {
        $loop->watch_io(handle => $fh, on_read_ready => sub { $self->dispatch });
        $self->dispatch;
        $loop->loop_once until $self->{is_stopped};
        $loop->unwatch_io(handle => $fh, on_read_ready => 1);
    }
    else {
        require Future::IO;
        until ($self->{is_stopped}) {
            $self->dispatch;
            last if $self->{is_stopped};
            my $readable = Future::IO->sysread($fh, 64);
            $readable->await;
        }
    }
    die "$self->{startup_error}\n" if defined $self->{startup_error};
    return;
}

# True for IO::Async. An application's own choice of a Future::IO
# implementation is what drives us.
sub _choose_loop {
    my $have_future_io = eval { require Future::IO; 1 };
    my $chosen = $have_future_io && defined $Future::IO::IMPL ? "$Future::IO::IMPL" : '';
    my $by_default = $chosen eq '' || $chosen eq 'Future::IO::_DefaultImpl';
    return 0 if !$by_default && $chosen ne 'Future::IO::Impl::IOAsync';
    return 0 if !eval { require IO::Async::Loop; 1 };
    if ($have_future_io && $by_default) {
        no warnings 'once';
        # The default one cannot wait together with a loop.
        local $Future::IO::IMPL;
        eval { require Future::IO::Impl::IOAsync; 1 } or return 0;
    }
    $Future::IO::IMPL = 'Future::IO::Impl::IOAsync' if $have_future_io;
    return 1;
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
whatever its method. The client's end (a half-closed connection counts) is
noticed while the stream is idle, and C<on_close> callbacks of L<PAGI::SSE> run
at the next C<dispatch>.

=head1 METHODS

=head2 new

    my $server = PAGI::SSE::Server->new(app => $coderef, %options);

Dies for an option that it does not know or that is out of range.

=over

=item app

The PAGI application, a coderef. Required.

=item listen

C<HOST:PORT> (port 0: the kernel picks one) or C<unix:PATH>. Default
C<127.0.0.1:5000>.

=item shutdown_timeout

Seconds that C<stop> gives the application and the clients. Default 10.

=item max_body

Largest request body, octets; a larger one is answered with 413. Default 1 MiB.

=item max_connections

Connections open at a time, up to 1,000,000; further clients wait. Default 16384.

=item write_timeout

Seconds, at least 0.001, after which a client that takes no octet is dropped,
with the reason C<write_timeout>. Default 30.

=item workers

Threads of the native library, up to 256. Default: the number of cores less one.

=item access_log

C<-> for STDOUT, a path to append to, a file handle, or a coderef that gets each
line. The combined format, then seconds and the reason of the end: C<-> for an
ordinary response that was sent in full. What C<stop> cuts off has the reason
C<server_shutdown>, and C<-> for status and octets. Default: none.

=item on_log

Coderef that gets a level (C<error>, C<warning>) and a message. Default: C<warn>.

=back

=head2 start

    $server->start;

Binds the address, starts the threads, and starts the application's lifespan;
connections are accepted as soon as that is complete. Returns the server. Dies
when the address cannot be bound, or the application refuses to start.

=head2 port, address

The TCP port after C<start> (0 for a Unix socket); the address as a URL.

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

The first of these signals calls C<stop>, a second one C<stop(0)>. For servers
that C<run>.

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
with the reason C<server_shutdown>; ordinary requests are finished. What is left
then is cancelled. Returns a Future that is done when all is over. May be
called again, to shorten the deadline.

=head2 is_stopped

True once all is over.

=head2 new_future, log

For the modules of this distribution: a pending Future of the right class, and
a line for the log.

=head1 THREADS, FORK AND SIGNALS

The native threads have all signals blocked. Fork first, then C<start>; in a
child of a fork the parent's server does nothing. A server is not cloned into
ithreads.

=head1 SEE ALSO

L<PAGI::SSE>

=cut
