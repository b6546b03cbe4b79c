package PAGI::SSE::Server::Exchange;
use strict;
use warnings;

our $VERSION = '0.003000';

use parent 'PAGI::SSE::Server::Transport';

use B ();
use Future;
use Scalar::Util qw(blessed refaddr weaken);

use PAGI::SSE::Check ();
use PAGI::SSE::FFI   ();
use PAGI::SSE::FFI::Constants
    qw(BODY_END BODY_MORE BODY_WAIT STATE_CLOSED STATE_PENDING STATE_RESPONDING STATE_STARTED);
use PAGI::SSE::Loop         ();
use PAGI::SSE::Server::Send ();
use PAGI::SSE::Text         ();
use PAGI::SSE::Thread       ();

# One request and its answer: what the application's $send and $receive do.
# Fields are few and made when needed: an idle stream keeps one of these.

# $send and $receive: as little as can be, each idle stream keeps both. Ours are
# told from all others by their code, which all closures share: there is no
# list of them to keep, nor a reused address that could deceive.
sub _sender {
    my ($self) = @_;
    return sub { $self->_send(@_) }
}
sub _receiver {
    my ($self) = @_;
    return sub { $self->_receive(@_) }
}

sub _optree { return ref $_[0] eq 'CODE' ? ${ B::svref_2object($_[0])->ROOT } : 0 }

my ($SENDER, $RECEIVER) = map { _optree($_) } _sender(), _receiver();

sub new {
    my ($class, %field) = @_;    # server, handle, type, has_body
    my $self = bless {%field}, $class;
    weaken $self->{server};
    PAGI::SSE::Thread::own($field{handle}, $self);
    return $self;
}

# The exchange that a scope, or a copy of it, belongs to, whoever wrapped $send
# and $receive; undef under other servers.
sub of_scope {
    my ($class, $scope) = @_;
    my $exchange = $scope->{'pagi.sse.exchange'};
    return blessed $exchange && $exchange->isa($class) ? $exchange : undef;
}

sub send_coderef    { return _sender($_[0]) }
sub receive_coderef { return _receiver($_[0]) }

# Is it the very one that we gave out, with nobody in between?
sub is_own_send    { return $_[0]->_is_own($_[1], $SENDER) }
sub is_own_receive { return $_[0]->_is_own($_[1], $RECEIVER) }

sub _is_own {
    my ($self, $code, $ours) = @_;
    return _optree($code) == $ours && $code->(__PACKAGE__) == $self;
}

sub handle { return $_[0]{handle} }

sub new_future { return $_[0]{server} ? $_[0]{server}->new_future : Future->new }

# The wrapper is told of the end, and kept until then: an application that has
# returned or died keeps none. After the end it is told at once. Another one,
# of another copy of the scope, comes beside it.
sub attach {
    my ($self, $sse) = @_;
    return $self->_tell($sse, $self->{closed}) if defined $self->{closed};
    if ($self->{sse}) { push @{ $self->{more_sse} }, $sse }
    else              { $self->{sse} = $sse }
    $self->hand_over if $self->{handed_over};
    return;
}

# The stream is a hub's from now on, and the application may return. The
# wrapper may go too: such streams are many.
sub hand_over {
    my ($self) = @_;
    $self->{handed_over} = 1;
    weaken($self->{sse});
    weaken($_) for @{ $self->{more_sse} || [] };
    return;
}

# With callbacks to run at the end, the wrapper of such a stream stays till
# then, and so do we.
sub keep {
    my ($self, $sse) = @_;
    return if !$self->{handed_over} || defined $self->{closed};
    $self->{kept}{ refaddr $sse } = $sse;
    return;
}

sub state { return PAGI::SSE::FFI::conn_state($_[0]{handle}) }

# ---- $scope->{'pagi.connection'} of http scopes

sub is_connected      { return !defined $_[0]{closed} }
sub disconnect_reason { return $_[0]{complete} ? undef : $_[0]{closed} }
sub response_started  { return $_[0]->state != STATE_PENDING }

sub on_disconnect {
    my ($self, $callback) = @_;
    my $reason = $self->disconnect_reason;
    if (defined $reason) {
        $self->_guarded(sub { $callback->($reason) });
    }
    elsif (!$self->{complete}) { push @{ $self->{on_disconnect} }, $callback }
    return $self;
}

sub on_complete {
    my ($self, $callback) = @_;
    if    ($self->{complete})        { $self->_guarded($callback) }
    elsif (!defined $self->{closed}) { push @{ $self->{on_complete} }, $callback }
    return $self;
}

# ---- what the server reports

# The end, for whatever reason: everybody who waits is told. Callbacks that die
# must not reach the server's loop.
sub note_closed {
    my ($self, $reason) = @_;
    $self->_tell_end($reason);
    $self->note_drained;
    delete @$self{qw(on_high_water on_drain)};
    return;
}

sub _tell_end {
    my ($self, $reason) = @_;
    return if defined $self->{closed};
    $self->{closed} = $reason;
    my $kept = delete $self->{kept};    # as long as this takes
    $self->note_body;
    my $callbacks = delete $self->{on_disconnect} || [];
    delete $self->{on_complete};
    for my $callback (@$callbacks) {
        $self->_guarded(sub { $callback->($reason) });
    }
    $self->{server}->_client_left($self->{handle}) if $self->client_left && $self->{server};
    $self->_tell($_, $reason) for grep { defined } delete $self->{sse}, @{ delete $self->{more_sse} || [] };
    return;
}

# What its callbacks still do, the server waits for when it stops.
sub _tell {
    my ($self, $sse, $reason) = @_;
    $self->_guarded(sub {
        my $future = $sse->_note_disconnected(undef, $reason);
        my $server = $self->{server};
        $server->_hold($future, $sse) if $server;
    });
    return;
}

# The transport is done. No reason: an ordinary response was sent in full.
sub note_ended {
    my ($self, $reason) = @_;
    $self->{ended} = 1;
    return $self->note_closed($reason) if length $reason || defined $self->{closed};
    $self->{complete} = 1;
    delete $self->{on_disconnect};
    my $callbacks = delete $self->{on_complete} || [];
    $self->_guarded($_) for @$callbacks;
    $self->note_drained;
    # PAGI: no sse.disconnect follows a decline.
    $self->note_closed($self->{app_over} || 'app_closed') if $self->{app_over} || $self->{type} eq 'http';
    return;
}

# Not by the application's own close or end, that is.
sub client_left { return defined $_[0]{closed} && !$_[0]{app_closed} && !$_[0]{app_over} }

# Nobody needs it any more: neither the application nor the transport.
sub is_over { return $_[0]{app_over} && $_[0]{ended} }

# Nobody needs it any more but who has the wrapper, if anybody has.
sub is_loose { return $_[0]{app_over} && $_[0]{handed_over} && !$_[0]{kept} }

# Something can be received.
sub note_body {
    my ($self) = @_;
    while (my $waiting = $self->{receiving} && $self->{receiving}[0]) {
        if (!$waiting->is_ready) {
            my $event = $self->_next_event or return;
            shift @{ $self->{receiving} };
            $self->_guarded(sub { $waiting->done($event) });
        }
        else {    # cancelled by its owner
            shift @{ $self->{receiving} };
        }
    }
    delete $self->{receiving};
    return;
}

sub _guarded {
    my ($self, $callback) = @_;
    return if eval { $callback->(); 1 };
    $self->_log(error => "a callback died: $@");
    return;
}

sub _log {
    my ($self, $level, $message) = @_;
    if ($self->{server}) { $self->{server}->log($level, $message) }
    else                 { PAGI::SSE::Check::warning("PAGI::SSE::Server: $message") }
    return;
}

# ---- $receive

sub _receive {
    my ($self, @probe) = @_;
    return $self if @probe && defined $probe[0] && $probe[0] eq __PACKAGE__;    # see _is_own
    my $event = !$self->{receiving} && $self->_next_event;
    return Future->done($event) if $event;
    return $self->_waiter($self->{receiving} ||= []);
}

sub _next_event {
    my ($self) = @_;
    my $type = $self->{type};
    if (!$self->{body_received}) {
        my ($bytes, $what) = $self->{has_body} ? PAGI::SSE::FFI::conn_read_body($self->{handle}) : ('', BODY_END);
        if (defined $what && $what != BODY_WAIT) {
            $self->{body_received} = $what == BODY_END;
            return { type => "$type.request", body => $bytes, more => $what == BODY_MORE ? 1 : 0 };
        }
        # It broke off: its client has gone, though a response may go on.
        $self->{body_received} = $self->{body_broken} = 1 if !defined $what;
    }
    my $reason = $self->{closed};
    $reason = PAGI::SSE::FFI::conn_reason($self->{handle}) // 'client_closed'
        if !defined $reason && $self->{body_broken};
    return defined $reason ? { type => "$type.disconnect", reason => $reason } : undef;
}

# ---- what $send needs

sub _send {
    my ($self, $event) = @_;
    return $self if !ref $event && defined $event && $event eq __PACKAGE__;    # see _is_own
    return PAGI::SSE::Server::Send::event($self, $event);
}

sub is_pending { return $_[0]->state == STATE_PENDING }

# Ends the stream by the application.
sub close {
    my ($self, $reason) = @_;
    $reason = defined $reason && length $reason ? PAGI::SSE::Text::octets($reason) : 'app_closed';
    return $self->_end($self->way_to_close, $reason);
}

# The application has failed: however it ends, the client is not to take the
# part that it has for the whole.
sub break_off {
    my ($self) = @_;
    $self->{broken_off} = 1;
    return;
}

sub way_to_close {
    my ($self) = @_;
    return $self->{broken_off} ? \&PAGI::SSE::FFI::conn_abort : \&PAGI::SSE::FFI::conn_close;
}

sub _end {
    my ($self, $call, $reason) = @_;
    return if $call->($self->{handle}, $reason, length $reason) != 1;
    $self->{app_closed} = 1;
    # Who waits for the drain waits on: what is queued is still sent.
    $self->_tell_end($reason) if !$self->{responded};
    return;
}

# A result code as the Future of a send. Sends to a client that has gone are
# dropped, as PAGI says; after the application's own end they fail.
sub settled {
    my ($self, $what, $code, $place) = @_;
    return $self->{sse} ? $self->done : $self->_went if $code == 0;    # a wrapper gives way by itself
    return $self->drained if $code == 1;
    if ($code == PAGI::SSE::FFI::CLOSED()) {
        if    ($self->{responded} && $what !~ /\.body\z/) { $code = PAGI::SSE::FFI::DECLINED() }
        elsif ($self->{body_ended})                       { $code = PAGI::SSE::FFI::NO_RESPONSE() }
        elsif (!$self->{app_closed}) {
            # An application that loops over sends may never let the record in
            # that says so.
            my $reason = PAGI::SSE::FFI::conn_reason($self->{handle});
            $self->note_closed($reason) if defined $reason;
            return $self->_went;
        }
    }
    # Some have more to say: the numbers.
    my $has_numbers = $code == PAGI::SSE::FFI::CONTENT_LENGTH() || $code == PAGI::SSE::FFI::QUEUE_OVERFLOW();
    my $why = $has_numbers ? PAGI::SSE::FFI::last_error() : PAGI::SSE::FFI::result_text($code);
    return $self->failed("$what: $why", $place);
}

# Done, but not for ever: a loop of sends to a client that takes them all, or has
# gone, would keep everybody else waiting, the stop as well.
sub _went {
    my ($self) = @_;
    return $self->done if --$PAGI::SSE::Loop::LEFT;
    return PAGI::SSE::Loop->give_way($self, 0, $self->{server}) || $self->done;
}

# At the application's line, or where it was when it asked.
sub failed {
    my ($self, $message, $place) = @_;
    chomp $message;
    return Future->fail("PAGI::SSE::Server: $message" . (defined $place ? $place : PAGI::SSE::Check::place()), 'pagi');
}

sub body_piece {
    my ($self, $event, $bytes, $more, $place) = @_;
    if (!utf8::downgrade($bytes, 1)) {
        my $field = defined $event->{fh} ? 'fh' : 'body';
        return $self->failed("$event->{type}: '$field' must be octets, it has wide characters", $place);
    }
    my $breaks_off = $self->{broken_off} && !$more;
    my $code = PAGI::SSE::FFI::conn_body($self->{handle}, $bytes, length $bytes, $more || $breaks_off ? 1 : 0);
    my $sent = $self->settled($event->{type}, $code, $place);
    $self->_end($self->way_to_close, 'server_error') if $breaks_off;
    # A piece that went nowhere, as the client has all or has gone, counts.
    $self->{body_ended} = 1 if !$more && !$sent->is_failed;
    return $sent;
}

# ---- the application's end

# What a wrapped $send has not taken yet goes before the end, as what ours has
# taken does: the last of it.
sub _last_delivery {
    my ($self, $died) = @_;
    my @last = map { $_->_last_delivery($died) } grep { defined } $self->{sse}, @{ $self->{more_sse} || [] };
    return $last[-1];
}

# The application returned, or died with $error.
sub app_ended {
    my ($self, $error) = @_;
    my $died = defined $error;
    my $state = $self->state;
    my $last = $self->{handed_over} ? undef : $self->_last_delivery($died);
    # Who died does not wait.
    return $last->on_settled(sub { $self->app_ended($error) }) if $last && !$died;
    $self->_log(error => "the application died ($self->{label}): $error") if $died && !$self->_is_ends_fault($error);
    return $self->_conclude($died, $state, $error);
}

# The application is not called, or no more; the message says why.
sub refuse {
    my ($self, $message) = @_;
    $self->_log(error => $message);
    return $self->_conclude(1, $self->state);
}

sub _conclude {
    my ($self, $died, $state, $error) = @_;
    $self->{app_over} = $died ? 'server_error' : 'app_closed';
    return if $self->{handed_over} && !$died && $state == STATE_STARTED;
    delete $self->{handed_over};
    my $how = $died ? undef : 'the application returned';

    if ($state == STATE_PENDING) {
        # Who has read that there is no whole request owes no answer: the library has one.
        return $self->close('client_closed')
            if $self->{body_broken} && (!$died || defined $error && $self->_is_ends_fault($error));
        $self->_log(error => "$how without an answer ($self->{label})") if $how;
        $self->_fixed_response(500, "Internal Server Error\n");
    }
    elsif ($state != STATE_RESPONDING) {
        $self->break_off if $died;
        $self->close($self->{app_over});
    }
    elsif (!$self->{body_ended}) {
        $self->_log(error => "$how before the end of its response ($self->{label})") if $how;
        $self->break_off;
        $self->close('server_error');
    }
    # Whether an answer gets there is known when the transport is done.
    my $is_stream = $self->{type} eq 'sse' && $state != STATE_PENDING && !$self->{responded};
    return if !$is_stream && !$self->{ended};
    my $reason = PAGI::SSE::FFI::conn_reason($self->{handle});
    $self->note_closed(defined $reason ? $reason : $self->{app_over});
    return;
}

# What is said of a client that has gone, or of our own cancelling, is no fault
# of the application's.
sub _is_ends_fault {
    my ($self, $error) = @_;
    return 1 if $self->{abandoned};
    return 0 if $self->{app_closed} || $self->state != STATE_CLOSED && !$self->{body_broken};
    return $error =~
        /\APAGI::SSE: (?:Cannot send on closed SSE connection|decline: the SSE connection is closed|body: the connection ended)/;
}

sub _fixed_response {
    my ($self, $status, $text) = @_;
    PAGI::SSE::FFI::conn_respond_list($self->{handle}, $status, [['content-type', 'text/plain']]);
    PAGI::SSE::FFI::conn_body($self->{handle}, $text, length $text, 0);
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    PAGI::SSE::Thread::disown($self->{handle});
    delete $self->{server}{exchanges}{ $self->{handle} } if $self->{server};
    # Its hub may have left meanwhile.
    return if $self->{handed_over} && PAGI::SSE::FFI::conn_hand_over($self->{handle}) == 0;
    PAGI::SSE::FFI::conn_free($self->{handle});
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Exchange - one request of the embedded server and its answer

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>. It is what C<< $scope->{'pagi.transport'} >>
(see L<PAGI::SSE::Server::Transport>) and, in C<http> scopes,
C<< $scope->{'pagi.connection'} >> hold:

=over

=item is_connected, disconnect_reason, on_disconnect, on_complete, response_started

The state of an ordinary request, as PAGI describes it: C<on_complete> callbacks
run once the kernel has taken the whole response, C<on_disconnect> callbacks,
with the reason, when it ended otherwise.

=back

=cut
