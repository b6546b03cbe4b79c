package PAGI::SSE::Hub;
use strict;
use warnings;

our $VERSION = '0.1.0';

use Carp                    ();
use Future                  ();
use JSON::MaybeXS           ();
use PAGI::SSE               ();
use PAGI::SSE::FFI          ();
use PAGI::SSE::Hub::Bridge  ();
use PAGI::SSE::Subscription ();
use PAGI::SSE::Text         qw(octets);
use Scalar::Util            qw(blessed looks_like_number weaken);
use Time::HiRes             ();

$Carp::Internal{$_}++ for __PACKAGE__;

my $json = JSON::MaybeXS->new(utf8 => 1, allow_nonref => 1, convert_blessed => 1);
my %FULL = (disconnect => 0, drop_oldest => 1, drop_newest => 2, latest => 3);
my %HUB;    # by handle, weak: for the records that say a hub is ready

sub new {
    my ($class, %option) = @_;
    my $keep = _settings('new', delete $option{replay} || {}, qw(events bytes age));
    my %rest = map { $_ => delete $option{$_} } qw(total_bytes ttl epoch);
    my ($odd) = sort keys %option;
    Carp::croak("PAGI::SSE::Hub->new: unknown option '$odd'") if defined $odd;
    # Microseconds, so that a restart is another epoch.
    my $epoch = defined $rest{epoch} ? $rest{epoch} : sprintf '%x', 1e6 * Time::HiRes::time();
    my ($code, $handle) = PAGI::SSE::FFI::hub_open(
        $epoch,
        _topic_options(%$keep, ttl => $rest{ttl}),
        _whole('new', total_bytes => $rest{total_bytes})
    );
    Carp::croak("PAGI::SSE::Hub->new: epoch must be 1 to 40 letters, digits, - or _, not '$epoch'") if $code < 0;
    my $self = bless { handle => $handle, epoch => $epoch, pid => $$ }, $class;
    weaken($HUB{$handle} = $self);
    return $self;
}

sub _settings {
    my ($method, $given, @known) = @_;
    my %known = map { $_ => 1 } @known;
    my ($odd) = sort grep { !$known{$_} } keys %$given;
    Carp::croak("PAGI::SSE::Hub->$method: unknown setting '$odd' (known: @known)") if defined $odd;
    return {%$given};
}

# 0 for undef, which means the default.
sub _whole {
    my ($method, $name, $value) = @_;
    return 0 if !defined $value;
    $value =~ /\A[1-9][0-9]{0,14}\z/
        or Carp::croak("PAGI::SSE::Hub->$method: $name must be a whole number above 0, not '$value'");
    return $value;
}

sub _ms {
    my ($method, $name, $seconds) = @_;
    return 0 if !defined $seconds;
    looks_like_number($seconds) && $seconds > 0 && $seconds <= 1e9
        or Carp::croak("PAGI::SSE::Hub->$method: $name must be a number of seconds above 0, not '$seconds'");
    return int(1000 * $seconds) || 1;
}

sub _topic_options {
    my (%set) = @_;
    return PAGI::SSE::FFI::sized(
        'J Q Q Q Q L L',
        _whole('new', 'replay events' => $set{events}),
        _whole('new', 'replay bytes'  => $set{bytes}),
        _ms('new', 'replay age' => $set{age}),
        _ms('new', ttl          => $set{ttl}),
        $set{state} ? 1 : 0, 0
    );
}

sub _check {
    my ($method, $code, $value) = @_;
    return $code if $code >= 0;
    Carp::croak(
        "PAGI::SSE::Hub->$method: " . PAGI::SSE::FFI::result_text($code) . (defined $value ? ", not '$value'" : ''));
}

sub epoch { return $_[0]{epoch} }

sub topic {
    my ($self, $name, %given) = @_;
    my $keep = _settings('topic', delete $given{replay} || {}, qw(events bytes age));
    my $set = _settings('topic', \%given, qw(state ttl));
    my $options = _topic_options(%$keep, %$set);
    my $topic = octets($name);
    _check('topic', PAGI::SSE::FFI::hub_topic($self->{handle}, $topic, length $topic, $options), $name);
    return $self;
}

sub publish {
    my ($self, $topic, %event) = @_;
    my ($data, $name, $id, $key, $retry) = delete @event{qw(data event id key retry)};
    if (my ($odd) = sort keys %event) { Carp::croak("PAGI::SSE::Hub->publish: unknown field '$odd'") }
    Carp::croak("PAGI::SSE::Hub->publish requires 'data'") if !defined $data;
    $data = ref $data && !overload::Method($data, '""') ? $json->encode($data) : octets($data);
    my $given_id = $id;
    $_ = octets($_) for grep { defined } $name, $id, $key;
    if (defined $retry && $retry !~ /\A[0-9]{1,18}\z/) {
        Carp::croak("PAGI::SSE::Hub->publish: retry must be a whole number of milliseconds, not '$retry'");
    }
    my $seq = PAGI::SSE::FFI::hub_publish(
        $self->{handle},                    $topic,
        defined $topic ? length $topic : 0, $data,
        length $data,                       $name,
        defined $name ? length $name : 0,   $id,
        defined $id ? length $id : 0,       $key,
        defined $key ? length $key : 0,     defined $retry ? $retry : -1
    );
    _check('publish', $seq, $seq == PAGI::SSE::FFI::TOPIC_NAME() ? $topic : undef) if $seq < 0;
    return defined $given_id ? $given_id : "$self->{epoch}.$seq";
}

# [topic, %event], ...
sub publish_many {
    my ($self, @events) = @_;
    return map { $self->publish(@$_) } @events;
}

# ($sse, @topics), ($sse, \@topics, \%options)
sub subscribe {
    my ($self, $sse, @topics) = @_;
    return $self->_subscribe('subscribe', $sse, @topics);
}

sub _subscribe {
    my ($self, $method, $sse, @topics) = @_;
    blessed $sse && $sse->isa('PAGI::SSE')
        or Carp::croak("PAGI::SSE::Hub->$method requires a PAGI::SSE object");
    my $options = ref $topics[-1] eq 'HASH' ? pop @topics : {};
    @topics = @{ $topics[0] } if @topics == 1 && ref $topics[0] eq 'ARRAY';
    my $set = _settings($method, $options, qw(policy max_bytes max_events on_reset reset_event last_event_id query_id));
    my $policy = defined $set->{policy} ? $set->{policy} : 'disconnect';
    defined $FULL{$policy}
        or Carp::croak("PAGI::SSE::Hub->$method: policy must be one of @{[sort keys %FULL]}, not '$policy'");
    for my $name (@topics) {
        defined $name && $name !~ /\n/
            or Carp::croak("PAGI::SSE::Hub->$method: a topic must be 1 to 100 letters, digits and .-_:/");
    }

    my $id = exists $set->{last_event_id} ? $set->{last_event_id} : $sse->last_event_id;
    # A first request of a browser cannot carry the header.
    $id = $sse->query_param('last_event_id') if $set->{query_id} && !(defined $id && length $id);
    $id = octets($id) if defined $id;
    my $reset = octets(defined $set->{reset_event} ? $set->{reset_event} : 'reset');

    _check($method, PAGI::SSE::FFI::CLOSED()) if $sse->is_closed;
    my $conn = $sse->_hub_conn($self);
    my $list = join "\n", map { octets($_) } @topics;
    # Pointers into $id and $reset, which live until the call is done.
    my $wish = PAGI::SSE::FFI::sized(
        'J P J P J L L Q',
        $id,    defined $id ? length $id : 0,
        $reset, length $reset,
        $FULL{$policy},
        _whole($method, max_events => $set->{max_events}),
        _whole($method, max_bytes  => $set->{max_bytes})
    );
    my ($begin, $handle) = PAGI::SSE::FFI::hub_subscribe($self->{handle}, $conn, $list, $wish);
    _check($method, $begin, join ' ', @topics) if $begin < 0;
    my $subscription = PAGI::SSE::Subscription->new(hub => $self, sse => $sse, handle => $handle, begin => $begin);
    $sse->_hub_subscribed;
    $set->{on_reset}->($sse, $subscription->reset_reason) if $set->{on_reset} && $begin >= 2;
    return $subscription;
}

# As subscribe; then the application may return, and the stream lives on.
sub serve {
    my ($self, $sse, @topics) = @_;
    my $subscription = eval { $self->_subscribe('serve', $sse, @topics) };
    return Future->fail($@) if !$subscription;
    return $sse->_hand_over;
}

sub ready {
    my ($self) = @_;
    return $self->{ready}->without_cancel if $self->{ready};
    return Future->done if _check('ready', PAGI::SSE::FFI::hub_ready($self->{handle}));
    $self->{ready} = $self->{server} ? $self->{server}->new_future : PAGI::SSE::Hub::Bridge->new_future;
    return $self->{ready}->without_cancel;
}

# The embedded server, whose Futures know how to wait.
sub _attach_server {
    my ($self, $server) = @_;
    weaken($self->{server} = $server);
    return;
}

# Its READY records come to the bridges' runtime, too.
sub _attach_bridge { $_[0]{is_bridged} = 1; return }

# Whether somebody waits for a record that the bridges' runtime will have.
sub _is_awaited {
    return !!grep { $_ && $_->{ready} && $_->{is_bridged} } values %HUB;
}

# The descriptor that says when dispatch is due, for applications whose loop
# Future::IO does not know.
sub fileno {
    my ($self) = @_;
    return PAGI::SSE::Hub::Bridge->pin($self->{handle});
}

sub dispatch { return PAGI::SSE::Hub::Bridge->dispatch }

# A READY record came.
sub _note_ready {
    my ($class, $handle) = @_;
    my $self = $HUB{$handle} or return;
    # The record may be of before: several hosts are told of the same. Not
    # ready: another one will come.
    return if !$self->{ready} || !PAGI::SSE::FFI::hub_ready($handle);
    my $ready = delete $self->{ready};
    $ready->done if !$ready->is_ready;
    return;
}

sub close {
    my ($self, $topic, %option) = @_;
    my $reason = defined $option{reason} ? octets($option{reason}) : 'app_closed';
    $topic = undef if defined $topic && $topic eq 'all';
    return _check('close',
        PAGI::SSE::FFI::hub_close($self->{handle}, $topic, defined $topic ? length $topic : 0, $reason, length $reason)
    );
}

sub subscribers {
    my ($self, $topic) = @_;
    return _check('subscribers', PAGI::SSE::FFI::hub_subscribers($self->{handle}, $topic, length $topic));
}

sub stats { return $json->decode(PAGI::SSE::FFI::hub_stats($_[0]{handle})) }

sub topics {
    my ($self) = @_;
    return sort keys %{ $self->stats->{topics} };
}

sub DESTROY {
    my ($self) = @_;
    delete $HUB{ $self->{handle} };
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!, $?);
    PAGI::SSE::Hub::Bridge->unpin($self->{handle});
    PAGI::SSE::FFI::hub_free($self->{handle});
    return;
}

sub CLONE_SKIP { return 1 }

1;

__END__

=head1 NAME

PAGI::SSE::Hub - publish once, everyone gets it, nobody misses, nobody blocks

=head1 SYNOPSIS

    my $hub = PAGI::SSE::Hub->new(replay => { events => 1000, bytes => 4 << 20, age => 3600 });

    async sub app {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        await $hub->serve($sse, 'news', 'alerts');
    }

    my $id = $hub->publish('news', event => 'headline', data => { text => 'Hello' });

=head1 DESCRIPTION

A hub has topics; a topic has subscribers and a history. C<publish> frames an
event once, keeps it, and has the native library deliver it to every
subscriber: the embedded server's connections are written to without entering
Perl. Each event has an id, C<epoch.number>, so a client that comes back with its
C<Last-Event-ID> gets exactly what it missed, and then the live events, without
a gap and without a repeat.

A client whose id is too old, or unknown, gets an event C<reset> (data:
C<{"reason":"too_old"}> or C<{"reason":"unknown_id"}>) and then what the topic still has.
A client without an id gets one at once, in a block without data, so that it can
resume before it has had an event.

=head2 Slow clients

What a client does not take waits in its own queue, up to C<max_events> and
C<max_bytes> of its subscription; then the C<policy> decides. Nobody else is
delayed, and C<publish> does not wait. What is left out is counted, see
L</"subscribers, topics, stats, epoch"> and L<PAGI::SSE::Subscription/stats>. A replay is sent whole and does
not count. A single event, or a burst that finds the queue empty, may pass the
limits.

=head2 Any server

On the embedded server, delivery does not enter Perl. Under any other PAGI
server, or with middleware around C<$send>, the hub hands each subscriber's
events to C<$send> as C<sse.send>, one at a time: the next one when the Future of
the last is done. Replay, order, limits and policies are the same. These differ:

=over 4

=item *

An C<sse.send> without data cannot be expressed. The id that a client gets at once
is an event of type C<id> with empty data, to which nobody listens.

=item *

Up to 4 KiB of a client's events (or one that is larger) are out of the queue
and beyond the policies.

=item *

C<queue_overflow> ends the connection though a send is still in flight;
C<close> waits for what was published before.

=item *

The process needs an event loop that L<Future::IO> knows; L<IO::Async> is found
by itself. With Future::IO's own loop the hub looks for news every 10 ms, as that
loop can watch one descriptor only. With another loop, see L</"fileno, dispatch">.

=back

=head2 Order

Events of one hub keep their order, and so do direct sends to one connection.
Both go through one queue, so an event that is delivered, or accepted by a
foreign C<$send>, comes before what is sent after that. But delivery is not
done when C<publish> returns: a direct send right behind it may come first.

=head1 METHODS

=head2 new

    my $hub = PAGI::SSE::Hub->new(%options);

C<replay>: the history of each topic, C<events> (default 1000), C<bytes> (4 MiB)
and C<age> in seconds (3600). C<total_bytes>: of all topics (64 MiB).
C<ttl>: seconds that a topic outlives its last subscriber and event (600).
C<epoch>: what ids begin with (default: from the clock). Dies for an option that
it does not know or that is out of range.

=head2 topic

    $hub->topic('prices', state => 1, ttl => 600, replay => { events => 100 });

Settings of one topic. C<state>: it keeps the newest event of each C<key>, which a
new or reset subscriber gets before the live events. Names are 1 to 100 letters,
digits and C<.-_:/>. Returns the hub.

=head2 publish

    my $id = $hub->publish($topic, data => ..., event => ..., key => ..., id => ..., retry => ...);

Publishes an event and returns its id. C<data> is text, or a reference that is
sent as JSON. C<key> says what it is the newest state of. An C<id> of your own
is sent as it is, and looked up as it is. Never waits for a client. Dies for a
bad argument.

=head2 publish_many

    my @ids = $hub->publish_many([ 'news', data => 1 ], [ 'alerts', data => 2 ]);

=head2 subscribe

    my $subscription = $hub->subscribe($sse, 'news', 'alerts');
    my $subscription = $hub->subscribe($sse, \@topics, \%options);

Subscribes a connection until it ends: starts the stream, replays after
C<last_event_id>, and joins the live events. Returns a L<PAGI::SSE::Subscription>.
Dies for bad arguments and when the connection is closed.
Options: C<policy>, what to do when C<max_events> (10000) or C<max_bytes> (1 MiB)
wait for a slow client: C<disconnect> (the default; reason C<queue_overflow>; it comes back and resumes),
C<drop_oldest>, C<drop_newest>, or C<latest> (the newest of each key);
C<on_reset>, called with C<$sse> and the reason when the client missed events;
C<reset_event>, the type of that event; C<last_event_id> in place of the header's;
C<query_id>: true takes the query parameter C<last_event_id> when there is no header.

=head2 serve

    await $hub->serve($sse, @topics);

As C<subscribe>. On the embedded server it resolves at once; the application
may return, and the stream lives on in the native library. Elsewhere it
resolves when the connection has ended.

=head2 ready

    await $hub->ready;

Done when no subscriber's queue is above its high mark (64 KiB, until it has
fallen to 16 KiB or the client has left): for producers that can wait.

=head2 fileno, dispatch

    my $watcher = EV::io($hub->fileno, EV::READ, sub { $hub->dispatch });

For subscribers of other servers, in a loop that L<Future::IO> does not know. The
descriptor is readable when C<dispatch> is due, which sends what has come and
returns the number of records. From the first call of C<fileno> on, watching it
is the application's, for all hubs of the process; the descriptor stays the same
while the hub lives. Call it before the first subscriber and, if the process
forks, in the child. The embedded server needs none of this.

=head2 close

    my $count = $hub->close('news', reason => 'x-moved');
    my $count = $hub->close('all');

Delivers what is pending and closes the connections of a topic's subscribers, or of all.

=head2 subscribers, topics, stats, epoch

The number of a topic's subscribers; the topics' names; what ids begin with.
C<stats> is a hashref. From the beginning: C<published>; C<evicted>, events that
histories had no more room for; C<dropped>, events that policies left out, summed
over the clients; C<overflows>, clients disconnected. Now: C<connections>; C<high>,
those above their high mark; C<pending_bytes>, not yet delivered; C<kept_bytes>;
and C<topics>, by name, with C<subscribers>, C<published>, C<kept_events>,
C<kept_bytes> and C<keys>.

=head1 SEE ALSO

L<PAGI::SSE>, L<PAGI::SSE::Server>

=cut
