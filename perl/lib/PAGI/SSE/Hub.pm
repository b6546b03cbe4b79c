package PAGI::SSE::Hub;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future                       ();
use PAGI::SSE                    ();
use PAGI::SSE::Check             ();
use PAGI::SSE::FFI               ();
use PAGI::SSE::FFI::Constants    qw(EVENT_QUIET HUB_FLAG_NO_CREATE HUB_FLAG_OWN_IDS SUBSCRIPTION_TOPICS);
use PAGI::SSE::Hub::Arguments    qw(checked event line milliseconds pairs refuse text topic_name whole);
use PAGI::SSE::Hub::Bridge       ();
use PAGI::SSE::Hub::Subscription ();
use PAGI::SSE::Text              ();
use PAGI::SSE::Thread            ();
use Scalar::Util                 qw(blessed weaken);

PAGI::SSE::Check::own_class(__PACKAGE__);

use constant MOST_EVENTS => 2**32 - 1;    # the library takes 32 bits
use constant FREE_MS     => 5000;

my %FULL = (disconnect => 0, drop_oldest => 1, drop_newest => 2, latest => 3);
# By handle, weak: for the records that say a hub is ready.
my %HUB;

sub new {
    my ($class, @option) = @_;
    my $option = pairs('new', \@option, qw(replay total_bytes ttl epoch ids create));
    my $epoch = $option->{epoch};
    !defined $epoch || $epoch =~ /\A[A-Za-z0-9_-]{1,40}\z/
        or refuse('new', 'epoch must be 1 to 40 letters, digits, - or _, not', $epoch);
    my $defaults = _topic_options('new', $option);
    my $total_bytes = whole('new', total_bytes => $option->{total_bytes});
    my ($ids, $create) = @$option{qw(ids create)};
    !defined $ids || $ids =~ /\A(?:hub|own)\z/ or refuse('new', "ids must be 'hub' or 'own', not", $ids);
    my $own_ids = defined $ids && $ids eq 'own';
    my $flags = ($own_ids ? HUB_FLAG_OWN_IDS : 0) | (defined $create && !$create ? HUB_FLAG_NO_CREATE : 0);
    my ($code, $handle) = PAGI::SSE::FFI::hub_open($epoch, $defaults, $total_bytes, $flags);
    _check('new', $code);
    my $self = bless { handle => $handle, pid => $$, own_ids => $own_ids }, $class;
    $self->{epoch} = $self->stats->{epoch};    # the library chooses one by default
    weaken($HUB{$handle} = $self);
    PAGI::SSE::Thread::own($handle, $self);
    return $self;
}

# The library's struct; 0 in it leaves things as they are.
sub _topic_options {
    my ($method, $set) = @_;
    my $replay = defined $set->{replay} ? $set->{replay} : {};
    ref $replay eq 'HASH' or refuse($method, 'replay must be a hash reference, not', $replay);
    my $keep = pairs("$method: replay", [%$replay], qw(events bytes age));
    my ($events, $bytes) = map { whole($method, "replay $_" => $keep->{$_}) } qw(events bytes);
    my $age = milliseconds($method, 'replay age' => $keep->{age});
    my $ttl = milliseconds($method, ttl => $set->{ttl});
    my $state = !defined $set->{state} ? 0 : $set->{state} ? 1 : 2;
    return PAGI::SSE::FFI::sized('J Q Q Q Q L L', $events, $bytes, $age, $ttl, $state, 0);
}

sub _check {
    my ($method, $code) = @_;
    return $code if $code >= 0;
    return refuse($method, PAGI::SSE::FFI::result_text($code));
}

# The library's number of the hub, which a child of a fork cannot use.
sub _handle {
    my ($self, $method) = @_;
    return $self->{handle} if $self->{pid} == $$ && $self->{handle};
    return refuse($method, 'the hub belongs to ' . ($self->{handle} ? 'the parent process (fork)' : 'another thread'));
}

sub epoch { return $_[0]{epoch} }

sub topic {
    my ($self, $name, @option) = @_;
    my $topic = topic_name('topic', $name);
    my $options = _topic_options('topic', pairs('topic', \@option, qw(replay state ttl)));
    _check('topic', PAGI::SSE::FFI::hub_topic($self->_handle('topic'), $topic, length $topic, $options));
    return $self;
}

sub publish {
    my ($self, @event) = @_;
    return $self->_publish('publish', event('publish', @event));
}

# [topic, %event], ...
sub publish_many {
    my ($self, @events) = @_;
    my @checked;
    for my $i (0 .. $#events) {
        ref $events[$i] eq 'ARRAY' or refuse('publish_many', "event $i must be an array reference, not", $events[$i]);
        push @checked, [event("publish_many: event $i", @{ $events[$i] })];
    }
    return map { $self->_publish('publish_many', @$_) } @checked;
}

# $topic, {%event}, ...
sub load {
    my ($self, $topic, @events) = @_;
    topic_name('load', $topic);
    my @checked;
    for my $i (0 .. $#events) {
        ref $events[$i] eq 'HASH' or refuse('load', "event $i must be a hash reference, not", $events[$i]);
        push @checked, [event("load: event $i", $topic, %{ $events[$i] })];
    }
    $_->[-1] |= EVENT_QUIET for @checked;
    return map { $self->_publish('load', @$_) } @checked;
}

# What event() has made.
sub _publish {
    my ($self, $method, $topic, $data, $name, $id, $key, $retry, $flags) = @_;
    my $event = PAGI::SSE::FFI::event($data, $name, $id, $key, $retry, $flags);
    my $seq = PAGI::SSE::FFI::hub_publish($self->{handle}, $topic, length $topic, $event);
    # A number that cannot be used may be the parent's.
    _check($method, $seq) if $seq < 0 && $self->_handle($method);
    return defined $id ? $id : $seq   && !$self->{own_ids} ? "$self->{epoch}.$seq" : undef;
}

# $topic, last => N
sub history {
    my ($self, $name, @option) = @_;
    return $self->_kept('history', 0, $name, @option);
}

sub state {
    my ($self, $name, @option) = @_;
    return $self->_kept('state', 1, $name, @option);
}

# In octets, as publish takes them.
sub _kept {
    my ($self, $method, $state, $name, @option) = @_;
    my $topic = topic_name($method, $name);
    my $last = whole($method, last => pairs($method, \@option, 'last')->{last});
    my ($code, $text) = PAGI::SSE::FFI::hub_history($self->_handle($method), $topic, $state, $last);
    _check($method, $code);
    my $events = PAGI::SSE::Check::decode_json($text);
    for my $event (@$events) {
        utf8::encode($event->{$_}) for grep { defined $event->{$_} } qw(id event data key);
        $event->{delete} = 1 if $event->{delete};
    }
    return @$events;
}

sub has_topic {
    my ($self, $name) = @_;
    my $topic = topic_name('has_topic', $name);
    my $hub = $self->_handle('has_topic');
    return !!_check('has_topic', PAGI::SSE::FFI::hub_has_topic($hub, $topic, length $topic));
}

# ($sse, @topics), ($sse, \@topics, \%options)
sub subscribe {
    my ($self, $sse, @topics) = @_;
    return $self->_subscribe('subscribe', $sse, @topics);
}

# All is checked before anything is begun.
sub _subscribe {
    my ($self, $method, $sse, @topics) = @_;
    my $hub = $self->_handle($method);
    blessed $sse && $sse->isa('PAGI::SSE') or refuse($method, 'requires a PAGI::SSE object, not', $sse);
    my $option = ref $topics[-1] eq 'HASH' ? pop @topics : {};
    @topics = @{ $topics[0] } if @topics == 1 && ref $topics[0] eq 'ARRAY';
    my ($wish, $on_reset, $most) = _wish($method, $sse, $option);
    @topics >= 1 && @topics <= $most
        or refuse($method,
              "a subscription must name from 1 to $most topics"
            . ($most < SUBSCRIPTION_TOPICS && ' (max_topics)')
            . ', not '
            . @topics);
    @topics = map { topic_name($method, $_) } @topics;
    refuse($method, 'the connection belongs to the parent process (fork)') if $sse->_is_forked;
    # A client may leave at any time: no reason to complain.
    return PAGI::SSE::Hub::Subscription->ended if $sse->is_closed;

    my $conn = $sse->_hub_conn;
    # Pointers into $wish, which lives until the call is done.
    my $options = PAGI::SSE::FFI::sized('J P J P J L L Q L4', @$wish);
    my ($begin, $handle) = PAGI::SSE::FFI::hub_subscribe($hub, $conn, join("\n", @topics), $options);
    if ($begin < 0) {
        $sse->_hub_refused;
        return PAGI::SSE::Hub::Subscription->ended if $begin == PAGI::SSE::FFI::CLOSED();
        $self->_no_topic($method, @topics) if $begin == PAGI::SSE::FFI::NO_TOPIC();
        _check($method, $begin);
    }
    my $subscription = PAGI::SSE::Hub::Subscription->new(handle => $handle, begin => $begin);
    $sse->_hub_subscribed($self);
    my $reason = $subscription->reset_reason;
    $sse->_call($on_reset, 'on_reset', $reason) if $on_reset && defined $reason;
    return $subscription;
}

# Which one it is.
sub _no_topic {
    my ($self, $method, @topics) = @_;
    my ($missing) = grep { !$self->has_topic($_) } @topics;
    refuse($method, 'create is off, and there is no topic', $missing // $topics[0]);
}

my @WISHES = qw(policy max_bytes max_events on_reset reset_event last_event_id query_id last create max_topics);

# The fields of the library's struct, and what it does not know of.
sub _wish {
    my ($method, $sse, $given) = @_;
    my $option = pairs($method, [%$given], @WISHES);
    my ($policy, $on_reset) = @$option{qw(policy on_reset)};
    $policy = 'disconnect' if !defined $policy;
    defined $FULL{$policy} or refuse($method, "policy must be one of @{[sort keys %FULL]}, not", $policy);
    !defined $on_reset || PAGI::SSE::Check::is_code($on_reset)
        or refuse($method, 'on_reset must be a code reference, not', $on_reset);
    my $is_field = !exists $option->{last_event_id};
    my $id = $is_field ? $sse->last_event_id : $option->{last_event_id};
    # A first request of a browser cannot carry the header.
    ($id, $is_field) = $sse->query_param('last_event_id') if $option->{query_id} && !(defined $id && length $id);
    # A field's value is octets already, UTF-8 or not.
    $id = text($method, last_event_id => $id) if !($is_field && defined $id && utf8::downgrade($id, 1));
    my $reset = line($method, reset_event => $option->{reset_event});
    $reset = 'reset' if !defined $reset;
    my $max_events = whole($method, max_events => $option->{max_events}, MOST_EVENTS);
    my $max_bytes = whole($method, max_bytes => $option->{max_bytes});
    my $last = whole($method, last => $option->{last}, MOST_EVENTS, 0);
    my $most = whole($method, max_topics => $option->{max_topics}, SUBSCRIPTION_TOPICS) || SUBSCRIPTION_TOPICS;
    my $create = !defined $option->{create} ? 0 : $option->{create} ? 1 : 2;
    my @text = ($id, length($id // ''), $reset, length $reset);
    return ([@text, $FULL{$policy}, $max_events, $max_bytes, $last, $most, $create, 0], $on_reset, $most);
}

# As subscribe; then the application may return, and the stream lives on.
sub serve {
    my ($self, $sse, @topics) = @_;
    eval { $self->_subscribe('serve', $sse, @topics); 1 } or return Future->fail($@);
    return $sse->_hand_over;
}

sub ready {
    my ($self) = @_;
    my $hub = eval { $self->_handle('ready') } or return Future->fail($@);
    if (!$self->{ready}) {
        return Future->done if PAGI::SSE::FFI::hub_ready($hub);
        $self->{ready} = $self->{server} ? $self->{server}->new_future : PAGI::SSE::Hub::Bridge->new_future;
    }
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
    return !!grep { $_ && $_->{ready} && $_->{is_bridged} && $_->{pid} == $$ } values %HUB;
}

sub _is_any {
    return !!grep { $_ && $_->{pid} == $$ } values %HUB;
}

# The descriptor that says when dispatch is due, for applications whose loop
# Future::IO does not know.
sub fileno {
    my ($self) = @_;
    return PAGI::SSE::Hub::Bridge->pin($self->_handle('fileno'));
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

# (reason => ...), ($topic, reason => ...)
sub close {
    my ($self, @option) = @_;
    my $topic = @option % 2 ? topic_name('close', shift @option) : undef;
    my $reason = checked('close', \&PAGI::SSE::Check::end_reason, pairs('close', \@option, 'reason')->{reason});
    $reason = defined $reason && length $reason ? PAGI::SSE::Text::octets($reason) : 'app_closed';
    my $hub = $self->_handle('close');
    return _check('close',
        PAGI::SSE::FFI::hub_close_streams($hub, $topic, length($topic // ''), $reason, length $reason));
}

sub subscribers {
    my ($self, $name) = @_;
    my $topic = topic_name('subscribers', $name);
    my $hub = $self->_handle('subscribers');
    return _check('subscribers', PAGI::SSE::FFI::hub_subscribers($hub, $topic, length $topic));
}

sub stats  { return $_[0]->_stats('stats') }
sub topics { return sort keys %{ $_[0]->_stats('topics')->{topics} } }

sub _stats {
    my ($self, $method) = @_;
    my ($code, $text) = PAGI::SSE::FFI::hub_stats($self->_handle($method));
    _check($method, $code);
    return PAGI::SSE::Check::decode_json($text);
}

sub DESTROY {
    my ($self) = @_;
    $self->{handle} or return;
    delete $HUB{ $self->{handle} };
    PAGI::SSE::Thread::disown($self->{handle});
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!, $?);
    PAGI::SSE::Hub::Bridge->unpin($self->{handle});
    PAGI::SSE::FFI::hub_free($self->{handle}, FREE_MS);
    return;
}

# Its objects there belong to another thread.
sub CLONE { %HUB = (); return }

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
Perl.

=head2 Ids

Each event has an id, C<epoch.number>, so a client that comes back with its
C<Last-Event-ID> gets exactly what it missed, and then the live events, without
a gap and without a repeat. A client without an id gets one at once, in a block
without data, so that it can resume before it has had an event.

A client whose id is too old, or unknown, gets an event C<reset> (data:
C<{"reason":"too_old"}> or C<{"reason":"unknown_id"}>) and then what its topics
still have. Too old is an id after which one of these topics has lost an event;
what happened elsewhere does not matter.

An C<id> of the application's is looked up as it was given, but only while an
event that has it is in the history; after that it is unknown. One that was used
more than once, on one topic or on two of a subscription, or that looks like one
of the hub's, stands for the oldest event: rather one twice than one never.

Clients also get ids of the hub's beside it: at the beginning, with events that
have no other, and after a replay whose end is older than the newest event of the
client's topics, in a block of nothing but that C<id>. So a client may come back
with an id that you have never given, and will not find in a table of your own:
pass it to the hub, which knows both kinds. With C<< ids => 'own' >> (see L</new>)
they get none at all: a client that has seen no id of yours is a new one when it
comes back. That is for ids that mean something elsewhere, as numbers of rows that
any process can look up.

=head2 One subscription

A connection has one subscription at a time, of one hub: name all topics in one
call. A client resumes after the last id that it saw, so ids must come in order,
and two subscriptions would not keep one. After C<unsubscribe> another may
follow.

=head2 Slow clients

What a client does not take waits in its own queue, up to C<max_events> and
C<max_bytes> of its subscription; then the C<policy> decides. Nobody else is
delayed, and C<publish> does not wait. What is left out is counted, see
L</"subscribers, topics, stats, epoch"> and L<PAGI::SSE::Hub::Subscription/stats>. A replay is sent whole and does
not count. A single event, or a burst that finds the queue empty, may pass the
limits.

=head2 Order

What an application publishes, and what it sends to one connection, arrives in
the order of the calls; nothing need be awaited. What was published before
C<close> or C<unsubscribe>, or before the application returns, arrives before the
end. (Another server that ends the stream when the application returns has been
given it all by then, unless it makes C<$send> wait, or the object lives on.)

=head2 Any server

On the embedded server, delivery does not enter Perl. Under any other PAGI
server, or with middleware around C<$send>, the hub hands each subscriber's
events to C<$send> as C<sse.send>, one at a time: the next one when the Future of
the last is done. Replay, order, limits and policies are the same. These differ:

=over 4

=item *

An C<sse.send> without data cannot be expressed, but to the embedded server. An id
alone arrives as an event of type C<id> with empty data, to which nobody listens.

=item *

Up to 4 KiB of a client's events (or one that is larger) are out of the queue
and beyond the policies. So is all that waits when the application itself sends
something to that client: it goes in front, and counts in the queue that
L<PAGI::SSE/Futures> describes.

=item *

C<queue_overflow> ends the connection though a send is still in flight;
C<close> waits for what was published before.

=item *

The process needs an event loop that L<Future::IO> knows; L<IO::Async> is found
by itself. With Future::IO's own loop the hub looks for news every 10 ms, as that
loop can watch one descriptor only. With another loop, see L</"fileno, dispatch">.

=back

=head2 Processes

A hub belongs to the process that made it; in a child of a fork its methods
fail. Workers of a prefork server have a hub each, with an epoch each: what one
publishes reaches its own clients only, and a client that comes back to
another worker is reset.

A hub that goes out of scope delivers what is pending, in 5 seconds at most. It
closes the streams that C<serve> has given to it alone, and leaves the others open,
and silent. Keep it as long as the application runs, or C<close> it.

=head2 Limits

A hub has at most 100,000 topics, a subscription 1000, a state 10,000 keys. Of
the topics 50,000 may be such that subscribers alone have named: the other half is
for what the application publishes to. Where clients name topics, see C<create>
and C<max_topics> in L</subscribe>. All
states together take at most half of C<total_bytes>; a key that finds no room is
left out, and counted. An event that is kept counts with its bytes as framed,
its key, its id, and 200 more; twice if it is in a history and in a state. A
history cannot be turned off: its least is one event.

=head1 METHODS

A bad argument dies at the application's line, names the value and the limit,
and nothing has been done; L</serve> and L</ready> fail their Future instead. An
option that is undef has its default.

=head2 new

    my $hub = PAGI::SSE::Hub->new(%options);

C<replay>: the history of each topic, C<events> (default 1000), C<bytes> (4 MiB)
and C<age> in seconds (3600). C<total_bytes>: of all topics, histories and states
(64 MiB). C<ttl>: seconds that a topic outlives its last subscriber and event
(600). C<epoch>: what ids begin with, 1 to 40 letters, digits, C<-> and C<_>
(default: six letters and digits by chance); use no epoch twice. C<ids>: C<hub>
(the default), or C<own> for L</Ids> of the application's alone. C<create>: false
lets subscribers name only topics that exist, unless a subscription says otherwise.

=head2 topic

    $hub->topic('prices', state => 1, ttl => 600, replay => { events => 100 });

Settings of one topic, from now on; those that are not given stay as they are, at
first the hub's. C<state>: it keeps the newest event of each C<key>, which a new
or reset subscriber gets before the live events; 0 turns it off. History and
state go with the topic after its C<ttl>; the settings stay. Names are 1 to 100
letters, digits and C<.-_:/>. Returns the hub.

=head2 publish

    my $id = $hub->publish($topic, data => ..., event => ..., key => ..., id => ..., retry => ...);

    $hub->publish($topic, key => ..., delete => 1);
    $hub->publish($topic, key => ..., delete => 1, data => ..., event => ...);

Publishes an event and returns its id, in octets; undef if it has none. All but
C<data> may be left out. C<data> is what L<PAGI::SSE/send_event> takes: text, or a
reference, which becomes JSON. C<key> says what it is the newest state of. An
C<id> of your own is sent as it is, within the limits of L<PAGI::SSE/send_event>;
C<''> makes clients forget theirs. Never waits
for a client. Works anywhere in the process: before the first subscriber, in
callbacks, from timers.

C<delete> takes the C<key> out of the topic's state: who comes, or is reset, gets
no older event of that key either. With C<data> the event is published like any
other, and is none of the state; without, nothing is sent, and those who are
subscribed learn nothing.

=head2 publish_many

    my @ids = $hub->publish_many([ 'news', data => 1 ], [ 'alerts', data => 2 ]);

As C<publish>, for each; all are checked before the first is published.

=head2 load

    my @ids = $hub->load('chat', { id => 41, data => 'Hello' }, { id => 42, data => 'Hi', key => 'ann' });

Fills a topic's history and state, oldest first, as if the events had been
published, but nobody who is subscribed gets them: for the start of a process.
Takes what C<publish> does and what L</"history, state"> gives; an event without an
C<id> gets one of the hub's. All are checked before the first is kept. Returns
their ids.

=head2 history, state

    my @events = $hub->history('chat');
    my @newest = $hub->history('chat', last => 50);
    my @state  = $hub->state('prices');

What a topic has kept: its history, and the newest event of each key; all of it,
or the newest C<last>, from 1 to 999,999,999,999,999. Hashrefs, oldest first, in octets: C<id> as clients
got it, C<event>, C<data>, C<key> and C<retry>, those that the event has, and
C<< delete => 1 >> if it deleted its key. Line breaks of C<data> are LF. A topic
that does not exist has none.

=head2 has_topic

    $sse->decline(status => 404) if !$hub->has_topic($room);

Whether a topic exists: it has settings, or has been published to, or has a
subscriber, and its C<ttl> is not over (settings have none).

=head2 subscribe

    my $subscription = $hub->subscribe($sse, 'news', 'alerts');
    my $subscription = $hub->subscribe($sse, \@topics, \%options);

Subscribes a connection until it ends: starts the stream, replays after
C<last_event_id>, and joins the live events. Returns a L<PAGI::SSE::Hub::Subscription>.
Dies also when the connection has a subscription. Of a connection that has ended,
as a client may leave at any time, the subscription has ended, too: that is no
error, and C<stats> says so.

=over 4

=item policy

What to do when C<max_events> or C<max_bytes> wait for a slow client:
C<disconnect> (the default; reason C<queue_overflow>; it comes back and resumes),
C<drop_oldest>, C<drop_newest>, or C<latest>: an event replaces a waiting one
of its topic and key at any time, and at the limits the oldest goes.

=item max_events, max_bytes

10,000 and 1 MiB; C<max_events> up to 4,294,967,295.

=item on_reset

Called with C<$sse> and the reason, C<too_old> or C<unknown_id>, when the client
missed events; after the subscription has begun. One that dies is a warning.

=item reset_event

The type of the event that tells the client; C<reset>.

=item last_event_id

In place of the header's; any text. undef: a new client. What is no id that was
given out, or no UTF-8, is an unknown id.

=item query_id

True takes the query parameter C<last_event_id> when there is no header.

=item last

A client without an id gets so many of the newest events first (0, up to
4,294,967,295): of all its topics together, beside the state, and without a reset.
What a newer event of the same key has replaced in a topic with state, or deleted,
does not count. Clients that resume, or are reset, are not concerned.

=item create

False refuses topics that do not exist (see L</has_topic>); true creates them,
for as long as somebody is subscribed. The default is the hub's: true.

=item max_topics

How many topics this subscription may name, 1 to 1000 (the default).

=back

=head2 serve

    await $hub->serve($sse, @topics);
    await $hub->serve($sse, \@topics, \%options);

As C<subscribe>. Of a connection that has ended it resolves at once. On the embedded server it resolves at once; the application
may return, and the stream lives on in the native library. No Perl object is kept,
unless C<on_close> is registered, before or after. Elsewhere, and with a C<$send>
or C<$receive> that middleware has wrapped, it resolves when the connection has
ended.

=head2 ready

    await $hub->ready;

Done when no subscriber's queue is above its high mark (64 KiB, until it has
fallen to 16 KiB or the client has left) and less than 64 KiB is undelivered: for
producers that can wait. Those who do not are slowed down: while 1 MiB is
undelivered C<publish> delivers a part of it, and from 4 MiB on until there is less.

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
    my $count = $hub->close(reason => 'x-moved');
    my $count = $hub->close;

Closes the connections of a topic's subscribers, or of all, after what was published before. The reason is C<app_closed> if none is given. Returns their number; topic
and hub stay.

=head2 subscribers, topics, stats, epoch

The number of a topic's subscribers; the topics' names; what ids begin with.
C<stats> is a hashref. From the beginning: C<published>; C<evicted>, events that
histories had no more room for; C<dropped>, events that policies left out, summed
over the clients; C<overflows>, clients disconnected. Now: C<connections>; C<high>,
those above their high mark; C<pending_bytes>, not yet delivered; C<kept_bytes>,
of histories and states; C<epoch>; and C<topics>, by name, with C<subscribers>,
C<published>, C<kept_events>, C<kept_bytes>, C<keys>, C<state_bytes>, and
C<refused_keys>, from the beginning.

=head1 EXAMPLES

=head2 News for all, and for one

    await $hub->serve($sse, 'all', "user:$user_id");

    $hub->publish('all',            event => 'notice', data => 'Down at noon');
    $hub->publish("user:$user_id", event => 'mail',   data => { unread => 3 });

=head2 A client that missed something

In the browser:

    const source = new EventSource('/events');
    source.addEventListener('notice', (e) => show(e.data));
    source.addEventListener('reset', (e) => location.reload());

Or at the server, which sends all anew behind the reset:

    $hub->subscribe($sse, ['notices'], {
        on_reset => sub {
            my ($sse, $reason) = @_;
            $sse->send_event(event => 'all', data => load_notices());
        },
    });

=head2 The present state, and no more than a slow client can take

    $hub->topic('prices', state => 1);

    await $hub->serve($sse, ['prices'], { policy => 'latest' });

    $hub->publish('prices', key => $symbol, data => { $symbol => $price });

=head2 A chat

Its last 50 messages for who comes, who is there, and rooms that only the
application opens. A whole program:

    # chat.pl: pagi-sse serve chat.pl
    use strict; use warnings;
    use Future::AsyncAwait;
    use PAGI::SSE;
    use PAGI::SSE::Hub;

    my $hub = PAGI::SSE::Hub->new(create => 0);
    $hub->topic($_, state => 1, replay => { events => 500 }) for qw(lobby garden);
    $hub->load('lobby', { id => 'm1', event => 'message', data => 'Welcome back' });    # from a database

    async sub app {
        my ($scope, $receive, $send) = @_;
        die "Unsupported scope type: $scope->{type}\n" if $scope->{type} ne 'sse';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        my ($room, $name) = map { $sse->query_param($_) // '' } qw(room name);
        return await $sse->decline(status => 404) if $room !~ /\A\w+\z/ || !$hub->has_topic($room);

        # The key's event is in the state while she is here, and then deleted.
        $hub->publish($room, event => 'came', key => "user:$name", data => { name => $name });
        $sse->on_close(sub {
            $hub->publish($room, event => 'went', key => "user:$name", delete => 1, data => { name => $name });
        });
        await $hub->serve($sse, [$room], { last => 50 });
    }

    \&app;

Elsewhere, C<< $hub->publish('lobby', event => 'message', data => $text) >>; and for
a page that is not a stream, C<< $hub->history('lobby', last => 50) >>.

=head2 Ids that any process can look up

    my $hub = PAGI::SSE::Hub->new(ids => 'own');
    $hub->load('orders', map { { id => $_->{id}, data => $_ } } last_orders(1000));

    $hub->publish('orders', id => $order->{id}, data => $order);

=head2 A page that knows where it was

A browser cannot give the first request of an EventSource a C<Last-Event-ID>.

    new EventSource('/events?last_event_id=' + encodeURIComponent(id))

    await $hub->serve($sse, ['news'], { query_id => 1 });

=head2 A producer that can wait

    while (defined(my $row = $source->next)) {
        await $hub->ready;
        $hub->publish('rows', data => $row);
    }

=head1 SEE ALSO

L<PAGI::SSE>, L<PAGI::SSE::Server>

=cut
