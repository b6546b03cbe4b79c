package PAGI::SSE::Relay;

use strict;
use warnings;

use Future ();
use Future::AsyncAwait;

use PAGI::SSE::Check        ();
use PAGI::SSE::Loop         ();
use PAGI::SSE::Relay::Shape ();
use Scalar::Util            ();

our $VERSION = '0.003000';

# A stream that is read (PAGI::SSE::Client) becomes one that is sent (PAGI::SSE).

# What send_event takes.
use constant MOST_RETRY => 1_000_000_000_000_000;

sub _refuse {
    die PAGI::SSE::Check::message('PAGI::SSE::Relay->' . join ' ',
        $_[0], map { PAGI::SSE::Check::shown($_) } @_[1 .. $#_]);
}

sub _can { return Scalar::Util::blessed($_[0]) && $_[0]->can($_[1]) }

my %DEFAULT = (keepalive => 15, start_after => 30, on_disconnect => 'cancel', shape => 'plain', error_event => undef);

sub new {
    my ($class, $sse, @option) = @_;
    _can($sse, 'decline') or _refuse('new: needs the PAGI::SSE object of a connection, not', $sse);
    my $option = eval { PAGI::SSE::Check::pairs(\@option, sort keys %DEFAULT) }
        or _refuse('new: ' . PAGI::SSE::Check::reason($@));
    my %self = (%DEFAULT, %$option, sse => $sse);
    for my $name (qw(keepalive start_after)) {
        my $seconds = eval { PAGI::SSE::Check::interval($self{$name}) };
        defined $seconds or _refuse("new: '$name': " . PAGI::SSE::Check::reason($@));
        $self{$name} = $seconds;
    }
    ($self{on_disconnect} // '') =~ /\A(?:cancel|detach)\z/
        or _refuse("new: 'on_disconnect' must be cancel or detach, not", $self{on_disconnect});
    $self{shape} = eval { PAGI::SSE::Relay::Shape->new(@self{qw(shape error_event)}) }
        or _refuse('new: ' . PAGI::SSE::Check::reason($@));
    return bless \%self, $class;
}

sub from {
    my ($self, $client, $callback) = @_;
    my $why =
        !_can($client, 'next') ? 'needs a PAGI::SSE::Client, not ' . PAGI::SSE::Check::shown($client)
        : defined $callback
        && !PAGI::SSE::Check::is_code($callback) ? 'requires a callback, got ' . PAGI::SSE::Check::shown($callback)
        : $self->{is_used}++ ? 'was called already; each connection has one relay'
        : undef;
    return Future->fail(PAGI::SSE::Check::message("PAGI::SSE::Relay->from: $why")) if defined $why;
    return $self->_relay($client, $callback || sub { $_[0] });
}

async sub _relay {
    my ($self, $client, $callback) = @_;
    my $sse = $self->{sse};
    my $failure;
    # It keeps them, and is to go when nobody waits here any more.
    Scalar::Util::weaken(my $relay = $self);
    Scalar::Util::weaken(my $upstream = $client);
    Scalar::Util::weaken(my $downstream = $sse);
    $client->on(open => sub { $relay ? $relay->_begin : () });
    # A request that failed has an answer of ours; the client may try as often
    # as it was told to for a status.
    $client->on(
        error => sub {
            my ($error) = @_;
            return
                   if !$downstream
                || $downstream->is_started
                || !$error->is_over
                || $error->kind eq 'status' && defined $error->retry_in;
            $failure = $error;
            $upstream->close;
        }
    );
    my $is_cancelled = $self->{on_disconnect} eq 'cancel';
    $sse->on_close(sub { $upstream->close if $upstream && $is_cancelled });
    my $patience = $self->_start_later;

    eval { await $self->_pass_on($client, $callback, \$failure); 1 } or do {
        my $error = $@;
        $patience->cancel;
        $client->close;
        die $error;
    };
    $patience->cancel;
    # The breaking of the loop by the client that has left is no failure.
    undef $failure if $sse->is_closed && $is_cancelled;
    await $self->_finish($client, $failure);
    return $failure;
}

# Events, until there is none; $$failure has the error if that is why.
async sub _pass_on {
    my ($self, $client, $callback, $failure) = @_;
    my $sse = $self->{sse};
    while (1) {
        my ($event, $is_fine);
        eval { $event = await $client->next; $is_fine = 1 } or $$failure ||= $@;
        die $$failure if !$is_fine && !ref $$failure;
        return if !$event;
        my $wanted = $callback->($event);
        $wanted = await $wanted if PAGI::SSE::Check::is_future($wanted);
        next if $sse->is_closed || !defined $wanted;
        await $sse->send_event($self->_fields($wanted));
    }
    return;
}

sub _fields {
    my ($self, $event) = @_;
    return %$event if ref $event eq 'HASH';
    _can($event, 'octets')
        or _refuse('from: the callback must return the event, a hash reference or undef, not', $event);
    # Octets, as text that looks like UTF-8 is taken for that.
    utf8::encode(my $type = $event->type);
    utf8::encode(my $id = $event->id);
    my $last = $self->{last_id} // '';
    # The id in force stands in each event, and is sent when it changes.
    my $has_id = $id ne $last && !defined PAGI::SSE::Check::bad_id($id);
    $self->{last_id} = $id if $has_id;
    return (
        data => $event->octets,
        $type ne 'message' ? (event => $type) : (),
        $has_id ? (id => $id) : (),
        ($event->retry // MOST_RETRY) < MOST_RETRY ? (retry => $event->retry) : (),
    );
}

# The stream, from when there is one upstream.
async sub _begin {
    my ($self) = @_;
    my $sse = $self->{sse};
    return if $sse->is_closed || $sse->is_started;
    await $sse->keepalive($self->{keepalive}) if $self->{keepalive};
    await $sse->start;
    return;
}

# Or from when a proxy might give up.
sub _start_later {
    my ($self) = @_;
    my $seconds = $self->{start_after} or return Future->done;
    my $sleep = PAGI::SSE::Loop->sleep($seconds);
    Scalar::Util::weaken($self);
    return $sleep->then(sub { $self ? $self->_begin : Future->done })->else_done;
}

async sub _finish {
    my ($self, $client, $failure) = @_;
    my ($sse, $shape) = @$self{qw(sse shape)};
    return if $sse->is_closed;
    if ($sse->is_started) {
        await $sse->try_send_event(%{ $shape->event($failure) }) if $failure;
    }
    elsif ($failure)                                    { return await $sse->decline($shape->response($failure)) }
    elsif (($client->end_reason // '') eq 'no_content') { return await $sse->decline(status => 204) }
    await $sse->close;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Relay - pass another server's event stream on

=head1 SYNOPSIS

    use PAGI::SSE::Client;
    use PAGI::SSE::Relay;

    async sub chat {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        my $model = PAGI::SSE::Client->new(
            url     => 'https://api.example.com/v1/chat/completions',
            headers => [['authorization', "Bearer $key"]],
            json    => { model => 'small', stream => \1, messages => await $sse->json },
        );
        my $error = await PAGI::SSE::Relay->new($sse, shape => 'openai')->from($model);
        warn $error->text if $error;
    }

=head1 DESCRIPTION

Reads a stream with L<PAGI::SSE::Client> and sends its events to the client of a
connection, one after the other: while our client is slow, nothing is read from
the upstream.

Our own stream begins when there is one upstream. An upstream that fails before
becomes an ordinary response: its own status, content type, C<Retry-After> and
body when it answered (4xx and 5xx), else 502, or 504 when a time was over. One
that breaks in the stream becomes an event, and our stream ends. A failure that
the L<client|PAGI::SSE::Client> repairs by a reconnection is not seen. Before
the first stream nothing is tried again but the statuses of C<retry_on>.

What our client is told in these cases are words of ours without names of hosts;
L</from> gives the upstream's error to you. When the upstream says 204 before a stream, so do
we.

=head1 METHODS

=head2 new

    my $relay = PAGI::SSE::Relay->new($sse, shape => 'openai');

C<$sse> is the L<PAGI::SSE> object of the connection, not started as a rule.

=over 4

=item shape

What a failure looks like: C<plain> (the default), C<openai>, C<anthropic>, or a
code reference. It is called with a sentence and the L<PAGI::SSE::Client::Error>
and returns the value that becomes the JSON of the event's data or of the
response.

    plain      {"error":{"message":"…"}}
    openai     {"error":{"message":"…","type":"upstream_error","param":null,"code":"network"}}
    anthropic  {"type":"error","error":{"type":"api_error","message":"…"}}

=item error_event

The event's type: C<upstream_error>; with the shape C<openai> none, with
C<anthropic> C<error>.

=item keepalive

Seconds between two comments while nothing comes (15; 0 for none).

=item start_after

When the upstream has not answered for so many seconds, our stream begins
nevertheless (30; 0 for never), so that no proxy gives up. Later failures are
events then.

=item on_disconnect

C<cancel> (the default): when our client leaves, the upstream's stream is closed, which stops a
model. C<detach>: it is read to its end, and your callback still gets the events.

=back

Dies on anything else.

=head2 from

    my $error = await $relay->from($client);
    my $error = await $relay->from($client, sub {
        my ($event) = @_;
        return undef if $event->type eq 'ping';           # not passed on
        return $event if $event->data eq '[DONE]';        # as it is
        return { data => translated($event->json) };      # as send_event takes it
    });

Passes the stream of a L<PAGI::SSE::Client> on, and resolves at its end: to undef,
or to the L<PAGI::SSE::Client::Error> that ended it. Type, data, C<retry> and a
changed id go along. The callback may return a L<Future>. What it dies with fails the
Future; the upstream is closed. Fails when called twice.

=head1 SEE ALSO

L<PAGI::SSE::Client>, L<PAGI::SSE>, F<examples/tokens>

=cut
