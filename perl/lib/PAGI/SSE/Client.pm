package PAGI::SSE::Client;

use strict;
use warnings;

use Future                     ();
use PAGI::SSE::Check           qw(message shown);
use PAGI::SSE::Client::Error   ();
use PAGI::SSE::Client::Options ();
use PAGI::SSE::Client::Runtime ();
use PAGI::SSE::Event           ();
use PAGI::SSE::FFI             ();
use PAGI::SSE::FFI::Constants  qw(
    CLIENT_END_CLOSED CLIENT_END_ENDED CLIENT_END_FAILED CLIENT_END_NO_CONTENT
    KIND_COMMENT KIND_END KIND_ERROR KIND_EVENT KIND_OPEN KIND_RETRY
);
use PAGI::SSE::Futures ();
use PAGI::SSE::Loop    ();
use PAGI::SSE::Text    ();
use PAGI::SSE::Thread  ();
use Scalar::Util       ();

our $VERSION = '0.003000';

# What waits is the library's to keep, so that what nobody takes stops the
# reading of the socket; here is one batch of it at most.

use constant SHARED => 0x8000_0000;    # in the length of an id: that of the last one in the batch

my %NAMES = map { $_ => 1 } qw(event comment open retry error end);
my @STATES = qw(connecting open closed);
my %END = (
    CLIENT_END_NO_CONTENT() => 'no_content',
    CLIENT_END_ENDED()      => 'ended',
    CLIENT_END_FAILED()     => 'failed',
    CLIENT_END_CLOSED()     => 'closed',
);

sub new {
    my ($class, @option) = @_;
    my $options = PAGI::SSE::Client::Options::checked(@option);
    my ($code, $handle) = PAGI::SSE::Client::Runtime->open($options);
    if ($code < 0) {
        # The sentence says what; the code's own words say nothing more.
        my $why = $handle =~ s/\A\Q${\PAGI::SSE::FFI::result_text($code)}\E: //r;
        PAGI::SSE::Client::Options::refuse($why);
    }
    my $self = bless {
        handle        => $handle,
        pid           => $$,
        queue         => [],
        batch_id      => '',
        last_event_id => $options->{last_event_id} // '',
    }, $class;
    PAGI::SSE::Thread::own($handle, $self);
    PAGI::SSE::Client::Runtime->add($handle, $self);
    return $self;
}

sub on {
    my ($self, $name, $code) = @_;
    defined $name && $NAMES{$name}
        or die message("PAGI::SSE::Client->on: knows @{[sort keys %NAMES]}, not " . shown($name));
    PAGI::SSE::Check::callback('PAGI::SSE::Client->on', $code);
    push @{ $self->{on}{$name} }, $code;
    PAGI::SSE::Client::Runtime->watch if $self->{handle};
    # Not from within: the application has not its object yet.
    $self->_pump_later if $name eq 'event';
    return $self;
}

sub next {
    my ($self) = @_;
    return _failure("next: the client is that of process $self->{pid}, not of $$") if $self->{pid} != $$;
    return _failure('next: the events go to on(event)') if $self->{on}{event};
    return _failure('next: there is one that waits already') if $self->_waiter;
    my $event = $self->{is_pumping} ? undef : $self->_ready_event;
    return $event if $event;
    return _failure('next: ' . PAGI::SSE::Loop->problem) if !PAGI::SSE::Client::Runtime->watch;
    my $waiter = $self->{waiter} = PAGI::SSE::Loop->new_future;
    $self->{place} = PAGI::SSE::Check::place();
    # It lives while somebody waits.
    my $keep = $self;
    $waiter->on_ready(sub { undef $keep });
    return $waiter;
}

sub _failure { return Future->fail(message("PAGI::SSE::Client->$_[0]")) }

# A pending next, if it was not cancelled.
sub _waiter {
    my ($self) = @_;
    delete $self->{waiter} if $self->{waiter} && $self->{waiter}->is_ready;
    return $self->{waiter};
}

# What is there now. When this turn has taken its time, a Future for the next
# one, as nobody else has a turn otherwise.
sub _ready_event {
    my ($self) = @_;
    my $queue = $self->{queue};
    $self->_pump if !@$queue || ord $queue->[0] != KIND_EVENT;
    if (!@$queue) {
        return if !defined $self->{ended};
        my $failure = delete $self->{failure};
        return $failure ? Future->fail($failure->_at(PAGI::SSE::Check::place())) : Future->done(undef);
    }
    return if $self->{is_busy} || !--$PAGI::SSE::Loop::LEFT && $self->_gives_way;
    return Future->done($self->_event(shift @$queue));
}

sub _gives_way {
    my ($self) = @_;
    my $way = PAGI::SSE::Loop->give_way($self, '');
    if (!$way) {
        return 0 if PAGI::SSE::Loop->is_known;
        # Our events come by it, so somebody drives it.
        my $now = PAGI::SSE::Loop::Turns::now();
        return 0 if $now - ($self->{since} //= $now) < PAGI::SSE::Loop::TURN_SECONDS;
        delete $self->{since};
        return $self->_pump_later;
    }
    Scalar::Util::weaken($self);
    $way->on_done(sub { $self->_pump if _is_ours($self) });
    return 1;
}

# What a thread began with is a copy, of an object that is not its own.
sub _is_ours { return $_[0] && $_[0]->isa(__PACKAGE__) }

# False where there is no loop.
sub _pump_later {
    my ($self) = @_;
    Scalar::Util::weaken($self);
    return PAGI::SSE::Loop->later(sub { $self->_pump if _is_ours($self) });
}

# The runtime: the library has something.
sub _has_news {
    my ($self) = @_;
    $self->{has_news} = 1;
    $self->_pump;
    return;
}

# Tells what there is, up to an event that nobody wants. A server may be faster
# than the application, so others have a turn in between.
sub _pump {
    my ($self) = @_;
    return if $self->{is_pumping} || $self->{pid} != $$;
    local $self->{is_pumping} = 1;
    my $until = PAGI::SSE::Loop::Turns::now() + PAGI::SSE::Loop::TURN_SECONDS;
    while (defined(my $record = $self->_first)) {
        my $kind = unpack 'C', $record;
        last if $kind == KIND_EVENT && !$self->_wants_event;
        shift @{ $self->{queue} };
        $self->_tell($kind, $record);
        last if PAGI::SSE::Loop::Turns::now() >= $until && $self->_pump_later;
    }
    return;
}

sub _first {
    my ($self) = @_;
    my $queue = $self->{queue};
    if (!@$queue && $self->{has_news} && $self->{handle}) {
        @$queue = PAGI::SSE::FFI::client_next($self->{handle});
        $self->{has_news} = @$queue;
    }
    return $queue->[0];
}

sub _wants_event {
    my ($self) = @_;
    return !$self->{is_busy} && ($self->{on}{event} || $self->_waiter);
}

sub _tell {
    my ($self, $kind, $record) = @_;
    return $self->_deliver($self->_event($record)) if $kind == KIND_EVENT;
    if    ($kind == KIND_RETRY) { $self->{retry} = unpack 'x9 Q', $record; $self->_call(retry => $self->{retry}) }
    elsif ($kind == KIND_COMMENT) {
        $self->_call(comment => PAGI::SSE::Text::characters(unpack 'x9 L/a', $record)) if $self->{on}{comment};
    }
    elsif ($kind == KIND_OPEN) {
        my %head;
        @head{qw(status url headers)} = PAGI::SSE::Client::Error::_answer(substr $record, 9);
        $self->_call(open => \%head);
    }
    elsif ($kind == KIND_ERROR) { $self->_failed(PAGI::SSE::Client::Error->_of($record)) }
    elsif ($kind == KIND_END)   { $self->_over($END{ unpack 'x9 L', $record } // 'stopped') }
    return;
}

sub _event {
    my ($self, $record) = @_;
    my ($type, $data, $length) = unpack 'x9 L/a L/a L', $record;
    $self->{batch_id} = $length ? substr $record, -$length : '' if !($length & SHARED);
    $self->{last_event_id} = $self->{batch_id};
    return PAGI::SSE::Event->_new($type, $data, $self->{batch_id}, delete $self->{retry});
}

sub _deliver {
    my ($self, $event) = @_;
    return $self->_call(event => $event) if $self->{on}{event};
    my $waiter = delete $self->{waiter};
    # Somebody's code may run in here.
    PAGI::SSE::Futures::guarded(sub { $waiter->done($event) });
    return;
}

# A callback's Future is waited for, before the next event.
sub _call {
    my ($self, $name, @arguments) = @_;
    for my $code (@{ $self->{on}{$name} || [] }) {
        my $future = eval { $code->(@arguments) };
        if    ($@) { PAGI::SSE::Check::warning("PAGI::SSE::Client: a callback of on($name) died: $@") }
        elsif (PAGI::SSE::Check::is_future($future)) { $self->_wait_for($name, $future) }
    }
    return;
}

sub _wait_for {
    my ($self, $name, $future) = @_;
    $self->{is_busy}++;
    Scalar::Util::weaken($self);
    my $held = $future;    # nobody else may hold it
    $future->on_ready(sub {
        my ($done) = @_;
        undef $held;
        my $failure = $done->is_cancelled ? undef : $done->failure;
        PAGI::SSE::Check::warning("PAGI::SSE::Client: a callback of on($name) failed: $failure") if defined $failure;
        return if !_is_ours($self);
        $self->{is_busy}--;
        $self->_pump;
    });
    return;
}

# What is final comes out of next, too.
sub _failed {
    my ($self, $error) = @_;
    $self->{failure} = $error if $error->is_final;
    $self->_call(error => $error);
    return;
}

sub _over {
    my ($self, $why) = @_;
    return if defined $self->{ended};
    $self->{ended} = $why;
    $self->{failure} = PAGI::SSE::Client::Error->_plain(stopped => "the library's threads have ended")
        if $why eq 'stopped';
    $self->_release;
    if (my $waiter = $self->_waiter) {
        delete $self->{waiter};
        my $failure = delete $self->{failure};
        PAGI::SSE::Futures::guarded(
            sub { $failure ? $waiter->fail($failure->_at($self->{place})) : $waiter->done(undef) });
    }
    elsif ($self->{failure} && $self->{on}{event} && !$self->{on}{error}) {
        PAGI::SSE::Check::warning($self->{failure}->message);
    }
    $self->_call(end => $why);
    return;
}

# Gives the library's part back.
sub _release {
    my ($self) = @_;
    my $handle = $self->{handle} or return;
    $self->{last_event_id} = $self->_native_id($handle) if !@{ $self->{queue} } && $self->{ended} ne 'closed';
    delete $self->{handle};
    PAGI::SSE::Thread::disown($handle);
    PAGI::SSE::Client::Runtime->remove($handle);
    return;
}

sub _native_id {
    my ($self, $handle) = @_;
    my ($code, $id) = PAGI::SSE::FFI::client_last_event_id($handle);
    return $code < 0 ? $self->{last_event_id} : $id;
}

sub close {
    my ($self) = @_;
    return if $self->{pid} != $$;
    # Those in the batch were never seen.
    $self->{last_event_id} = $self->_id;
    @{ $self->{queue} } = ();
    delete $self->{failure};
    $self->_over('closed');
    return;
}

# In octets: the library's, when all that it gave was taken on.
sub _id {
    my ($self) = @_;
    return $self->{last_event_id} if !$self->{handle} || @{ $self->{queue} } || $self->{pid} != $$;
    return $self->_native_id($self->{handle});
}

sub last_event_id { return PAGI::SSE::Text::characters($_[0]->_id) }

sub state {
    my ($self) = @_;
    return 'closed' if !$self->{handle} || $self->{pid} != $$;
    return $STATES[PAGI::SSE::FFI::client_state($self->{handle})];
}

sub end_reason { return $_[0]{ended} }

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT' || !$self->{handle} || $self->{pid} != $$;
    local ($@, $!, $?);
    $self->{ended} = 'closed';
    $self->_release;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Client - follows an event stream, as a browser's EventSource does

=head1 SYNOPSIS

    use Future::AsyncAwait;
    use PAGI::SSE::Client;

    my $client = PAGI::SSE::Client->new(url => 'https://example.org/events');
    while (defined(my $event = await $client->next)) {
        print $event->type, ': ', $event->data, "\n";
    }

    # With a body: a model's tokens
    my $answer = PAGI::SSE::Client->new(
        url     => 'https://api.example.org/v1/chat/completions',
        headers => [[authorization => "Bearer $key"]],
        json    => { model => 'm', stream => \1, messages => \@messages },
    );

    # By callbacks
    $client->on(event => sub { my ($event) = @_; ... })
           ->on(error => sub { my ($error) = @_; warn $error->text });

=head1 DESCRIPTION

The library's client: it connects, reads, and comes back when the stream ends or breaks, asking from the last event id
on (C<Last-Event-ID>), after the time that the server has named (C<retry>), or 3 seconds; a wait doubles while nothing is
got. A status of 204 ends it, as the rules want it; so does any other answer that is no event stream. 301, 307 and 308
are remembered.

It begins in C<new>. It works in any loop that L<PAGI::SSE> works in: IO::Async, an implementation of L<Future::IO>, the
embedded server, or none, when a Future is waited for by C<get>. The network and the parsing are on a thread of the
library's, one for all clients of the process, while there is one.

What nobody takes is not read: behind C<max_items> or C<max_bytes> that wait in the library, and one batch of 256 KiB or
one event here, the server's writes block.

Under Future::IO's own implementation, which knows one descriptor only, events are looked for every 10 milliseconds, and
every 100 when nothing has come for a second.

=head1 METHODS

=head2 new

    my $client = PAGI::SSE::Client->new(url => $url, %options);

Dies when an option is not known, or not as it must be, with a sentence that names it; nothing has begun then. What
fails later comes by C<next> and C<on(error)>.

=over

=item url

C<http://>, C<https://>, or a Unix socket: C<http+unix:/run/app.sock>, C<http+unix:/run/app.sock:/events?x=1>. A name and
a password in it become an C<authorization> field.

=item method

Any but CONNECT, HEAD and TRACE. C<GET>; C<POST> with a body.

=item headers

A reference to an array of C<[name, value]> pairs. They replace those of the library: C<accept>, C<cache-control>,
C<user-agent>, C<host>. The fields of framing and C<last-event-id> are not yours to set.

=item body, json

The request's body: octets; or what becomes JSON, with a C<content-type> unless C<headers> has one.

=item last_event_id

The id to begin after.

=item resume

How a request that is more than a GET is repeated: C<never> (it is made once, and the stream's end is the client's),
C<get> (once a stream was open, a GET without the body follows it up), C<always>. C<never>. A GET without a body is always
repeated.

=item retry_on

A reference to an array of statuses after which the request is made again, as C<[429, 503]>. C<Retry-After> is heeded.
None.

=item retry

Milliseconds before a reconnection, until the server names another: from 100 to 86400000. 3000.

=item backoff

What the wait grows to, seconds. 60.

=item max_failures

Attempts that got nothing, one after the other, after which the client ends. No limit.

=item max_redirects

Redirections of one request; 0: none. 20.

=item connect_timeout, head_timeout

Seconds to get a connection (name, TCP, proxy, TLS), and from there to the answer's head; 0: no limit. 10, 60.

=item silence

A stream without an octet for so many seconds is cut, and asked for again. No limit: servers that send a comment every
15 seconds bear one of 45.

=item max_age

The client ends when it is so many seconds old. No limit.

=item max_line, max_event

The longest line, and the most data of an event, bytes, up to 134217728. 1 MiB, 4 MiB. What is longer is left out, and
C<on(error)> tells of it.

=item max_items, max_bytes

What may wait in the library. 1024, 1 MiB.

=item max_refusal

How much of the body of an answer that is no stream is kept, bytes, up to 1048576. 64 KiB.

=item gzip

True: asks for gzip. A stream that has it is decompressed in any case.

=item proxy

The URL of a proxy, or 0 for none. Not given: C<http_proxy>, C<https_proxy>, C<all_proxy> and C<no_proxy> of the
environment.

=item ca_file

A file of certificates (PEM) to trust, instead of the system's.

=item insecure

True: any certificate will do, and a redirection from https to http.

=back

=head2 next

    my $event = await $client->next;

A Future of the next L<PAGI::SSE::Event>; of undef at the end. When the client ends by a failure it fails, once, with a
L<PAGI::SSE::Client::Error>; then there is undef. Reconnections are no failures.

One at a time. A C<next> that is cancelled loses nothing: the event is that of the one after it. When events are there
already, C<next> is done at once; after 10 milliseconds of a turn it waits for the loop's next one, so that others have
theirs.

The client lives while a C<next> waits.

=head2 on

    $client->on($name => sub { ... });

Calls the code, and returns the client. Several for a name are called in their order. What the code dies with is a
warning. When it returns a Future, no further event is taken until that is ready.

=over

=item event

Each L<PAGI::SSE::Event>; C<next> cannot be used then. Keep the object: a client that nobody holds is closed.

=item comment

The text behind the colon.

=item open

A stream was opened, the first time or again: a hash of C<status>, C<url> (after redirections) and C<headers> (C<[name,
value]> pairs, names in lower case).

=item retry

The milliseconds that the server has named.

=item error

A L<PAGI::SSE::Client::Error>: each time that a stream ends or an attempt fails, and for what was left out.

=item end

The reason of the end, as C<end_reason> has it. It is the last.

=back

Without C<on(event)>, all but events is told as it comes to the head of what waits.

=head2 close

Ends it: the connection is closed, what waits is dropped, a C<next> that waits is done with undef.

=head2 last_event_id

The id to begin with another time: that in force after what was given out.

=head2 state

C<connecting>, C<open> or C<closed>.

=head2 end_reason

C<no_content> (the server said so: 204), C<ended> (a stream that is not to be resumed), C<failed>, C<closed>, C<stopped>;
undef before.

=head1 FORK AND THREADS

A client belongs to the process, and the thread, that made it. In a child of a fork its C<next> fails and its state is
C<closed>; the child may make its own.

=cut
