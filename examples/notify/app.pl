# Notifications: whatever JSON somebody posts, everybody who listens gets.
#
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5000 examples/notify/app.pl
#
# In one terminal (as many as you like):
#
#     curl -N -H 'Accept: text/event-stream' http://127.0.0.1:5000/events
#
# In another:
#
#     curl -d '{"text":"Hello"}' http://127.0.0.1:5000/notify

package Example::Notify;

use v5.26;
use warnings;
use feature 'signatures';
no warnings 'experimental::signatures';

use Future::AsyncAwait;
use JSON::MaybeXS ();
use PAGI::SSE     ();
use Time::HiRes   ();

my $HISTORY = $ENV{NOTIFY_HISTORY} || 100;    # events kept for those who come back
my $MAX_BODY = 65_536;                        # octets of one notification

my $json = JSON::MaybeXS->new(utf8 => 1, canonical => 1, allow_nonref => 1);

# --- events and subscribers ---

# An id is epoch-number; the epoch tells a restarted server from this one.
my $EPOCH = sprintf '%x', 1000 * Time::HiRes::time();
my $newest = 0;
my @history;    # { number, id, data }, the oldest first
my %subscribers;
my $last_sub = 0;

sub add_subscriber ($callback) {
    $subscribers{ ++$last_sub } = $callback;
    return $last_sub;
}

sub remove_subscriber ($sub_id) { delete $subscribers{$sub_id} }

# To each subscriber, in the order in which they came. A list of its own, as
# one who turns out to have gone leaves %subscribers meanwhile.
sub broadcast ($event = undef) {
    my @callbacks = @subscribers{ sort { $a <=> $b } keys %subscribers };
    $_->($event) for @callbacks;
    return;
}

sub notify ($value) {
    $newest++;
    # Encoded here: once for all, and a plain text or number stays JSON.
    my $event = { number => $newest, id => "$EPOCH-$newest", data => $json->encode($value) };
    push @history, $event;
    shift @history while @history > $HISTORY;
    broadcast($event);
    return $event;
}

sub fields ($event) { return (id => $event->{id}, data => $event->{data}) }

sub get_events_since ($id) {
    my ($epoch, $number) = $id =~ /\A([0-9a-f]+)-([0-9]{1,15})\z/;
    # An id from before a restart: all we have is news.
    $number = 0 if !defined $epoch || $epoch ne $EPOCH;
    return grep { $_->{number} > $number } @history;
}

# --- the stream ---

async sub events ($scope, $receive, $send) {
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    return await $sse->decline(status => 404, body => "No such stream; there is /events\n")
        if $sse->path ne '/events';

    # Enable keepalive for proxy compatibility
    await $sse->keepalive(25);

    # Handle reconnection. Events may come in while these go out, hence the
    # second look.
    my $last_id = $sse->last_event_id;
    while (defined $last_id && (my @missed = get_events_since($last_id))) {
        for my $event (@missed) {
            return unless await $sse->try_send_event(fields($event));
            $last_id = $event->{id};
        }
    }

    # Subscribe to updates. What is worth a replay has an id; what is true only
    # for the moment, how many listen, has none.
    $sse->stash->{sub_id} = add_subscriber(sub ($event) {
        return $sse->try_send_event(fields($event)) if $event;
        return $sse->try_send_json({ subscribers => scalar keys %subscribers });
    });

    # Cleanup on disconnect. After the subscription: a client that has gone
    # already gets this called at once.
    $sse->on_close(
        sub ($sse, $reason) {
            remove_subscriber($sse->stash->{sub_id});
            broadcast();
        }
    );
    broadcast();

    # Wait for disconnect
    await $sse->run;
}

# --- POST /notify ---

async sub respond ($scope, $send, $status, $value, @headers) {
    my $body = $json->encode($value) . "\n";
    await $send->({
        type    => 'http.response.start',
        status  => $status,
        headers => [['content-type', 'application/json'], ['content-length', length $body], @headers],
    });
    $body = '' if $scope->{method} eq 'HEAD';
    await $send->({ type => 'http.response.body', body => $body });
}

# The request's body, or nothing when it is too long or the client left.
async sub read_body ($receive) {
    my $body = '';
    while (1) {
        my $event = await $receive->();
        return if $event->{type} ne 'http.request';
        $body .= $event->{body} // '';
        return if length $body > $MAX_BODY;
        return $body unless $event->{more};
    }
}

async sub http ($scope, $receive, $send) {
    my ($method, $path) = @$scope{qw(method path)};
    return await respond($scope, $send, 404, { error => 'there is POST /notify, and the stream /events' })
        if $path ne '/notify';
    return await respond($scope, $send, 405, { error => 'POST only' }, ['allow', 'POST'])
        if $method ne 'POST';

    my $body = await read_body($receive);
    return await respond($scope, $send, 413, { error => "at most $MAX_BODY octets" }) if !defined $body;

    my $value;
    eval { $value = $json->decode($body); 1 }
        or return await respond($scope, $send, 400, { error => 'the body is not JSON' });

    my $event = notify($value);
    await respond($scope, $send, 202, { id => $event->{id}, subscribers => scalar keys %subscribers });
}

async sub app ($scope, $receive, $send) {
    my $type = $scope->{type};
    return await events($scope, $receive, $send) if $type eq 'sse';
    return await http($scope, $receive, $send) if $type eq 'http';
    die "notify: unsupported scope type '$type'\n";
}

\&app;
