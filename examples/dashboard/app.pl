# This machine's load, memory, CPU and network, live in the browser.
#
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5000 examples/dashboard/app.pl
#
# and open http://127.0.0.1:5000/, or watch the stream itself:
#
#     curl -N -H 'Accept: text/event-stream' http://127.0.0.1:5000/events
#
# The environment may set DASHBOARD_INTERVAL (seconds between two samples, 1)
# and DASHBOARD_HISTORY (samples kept for those who come late or back, 300).

package Example::Dashboard;

use v5.26;
use warnings;
use feature 'signatures';
no warnings 'experimental::signatures';

use File::Basename ();
use File::Spec     ();
use Future         ();
use Future::AsyncAwait;
use Future::IO    ();
use JSON::MaybeXS ();
use List::Util    ();
use PAGI::SSE     ();
use POSIX         ();
use Sys::Hostname ();
use Time::HiRes   ();

my $INTERVAL = $ENV{DASHBOARD_INTERVAL} || 1;
my $HISTORY = $ENV{DASHBOARD_HISTORY}   || 300;
my $PAGE = File::Spec->catfile(File::Basename::dirname(File::Spec->rel2abs(__FILE__)), 'index.html');

my $json = JSON::MaybeXS->new(utf8 => 1, canonical => 1);

# --- the figures ---

sub lines_of ($file) {
    open my $in, '<', $file or die "cannot read $file: $!\n";
    return readline $in;
}

sub load () {
    return map { $_ + 0 } (split ' ', (lines_of('/proc/loadavg'))[0])[0 .. 2];
}

sub memory () {
    my %kib = map { /\A(\w+):\s+(\d+)/ ? ($1 => $2) : () } lines_of('/proc/meminfo');
    # What is only cached can be had back at once, so it does not count as used.
    return {
        used  => ($kib{MemTotal} - $kib{MemAvailable}) * 1024,
        total => $kib{MemTotal} * 1024,
    };
}

# Per core: [ticks spent working, all ticks]. The last two columns (guest time)
# are part of the first two.
sub cpu_ticks () {
    my @cores;
    for (lines_of('/proc/stat')) {
        my ($core, @ticks) = /\Acpu\d+ / ? split : next;
        my $all = List::Util::sum0(@ticks[0 .. 7]);
        push @cores, [$all - $ticks[3] - $ticks[4], $all];
    }
    return \@cores;
}

# Octets received and sent since boot. A bridge and its ports would count the
# same octets twice, and the loopback is not the network.
sub network_octets () {
    my ($received, $sent) = (0, 0);
    for (lines_of('/proc/net/dev')) {
        my ($name, $counters) = /\A\s*([^:\s]+):(.*)/ or next;
        next if $name =~ /\A(?:lo|veth|docker|br-|virbr|ifb|dummy)/;
        my @counter = split ' ', $counters;
        $received += $counter[0];
        $sent     += $counter[8];
    }
    return [$received, $sent];
}

sub now () { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub counters () { return { at => now(), cpu => cpu_ticks(), network => network_octets() } }

# An integer to JSON, too.
sub whole ($number) { return sprintf('%.0f', $number) + 0 }

sub percent ($busy, $all) {
    return 0 if $all <= 0;
    my $percent = 100 * $busy / $all;
    return sprintf('%.1f', $percent < 0 ? 0 : $percent > 100 ? 100 : $percent) + 0;
}

# The figures between two readings of the counters.
sub figures ($before, $after) {
    my $seconds = $after->{at} - $before->{at};
    my @cpu = map {
        my ($was, $is) = ($before->{cpu}[$_] || $after->{cpu}[$_], $after->{cpu}[$_]);
        percent($is->[0] - $was->[0], $is->[1] - $was->[1]);
    } 0 .. $#{ $after->{cpu} };
    # A counter that went back belongs to an interface that came or went.
    my ($rx, $tx) = map {
        my $octets = $after->{network}[$_] - $before->{network}[$_];
        $octets > 0 && $seconds > 0 ? whole($octets / $seconds) : 0;
    } 0, 1;
    return {
        t    => whole(1000 * Time::HiRes::time()),    # ms since 1970
        load => [load()],
        mem  => memory(),
        cpu  => \@cpu,                                # % of each core
        net  => { rx => $rx, tx => $tx },             # octets a second
    };
}

# --- one sampler and one history for all clients ---

# An id is epoch-number. Another epoch is another life of this program, whose
# numbers mean nothing here.
my $EPOCH = sprintf '%x', 1000 * Time::HiRes::time();
my $newest = 0;
my @ring;       # { number, id, data }, the oldest first
my $sampler;    # the Future of the loop below
my $next;       # the Future of the next sample, for those who wait for it

async sub sample_for_ever () {
    my $before = counters();
    my $due = now();
    while (1) {
        # Towards fixed points in time, or each round adds its own delay. One
        # that is long over (the machine slept) is not made up for.
        $due += $INTERVAL;
        $due = now() + $INTERVAL if $due < now();
        await Future::IO->sleep($due - now());
        my $after = counters();
        remember(figures($before, $after));
        $before = $after;
    }
}

sub remember ($figures) {
    $newest++;
    # Encoded once, for all clients.
    push @ring, { number => $newest, id => "$EPOCH-$newest", data => $json->encode($figures) };
    shift @ring while @ring > $HISTORY;
    my $waited_for = $next;
    undef $next;
    $waited_for->done if $waited_for;
    return;
}

sub start_sampler () {
    return if $sampler;
    $sampler = sample_for_ever();
    $sampler->on_fail(sub ($error, @) { warn "dashboard: no more samples: $error" });
    return;
}

sub stop_sampler () {
    $sampler->cancel if $sampler;
    undef $sampler;
    return;
}

# Shared by all who wait; one of them who leaves must not cancel it.
sub next_sample () {
    $next ||= Future->new;
    return $next->without_cancel;
}

sub samples_after ($number) {
    return grep { $_->{number} > $number } @ring;
}

# The number that an id stands for, if what came after it is all still here.
sub known_number ($id) {
    my ($epoch, $number) = $id =~ /\A([0-9a-f]+)-([0-9]{1,15})\z/ or return;
    return unless $epoch eq $EPOCH && $number <= $newest;
    return if @ring && $number < $ring[0]{number} - 1;
    return $number;
}

# --- the stream ---

my %MACHINE = (
    host     => Sys::Hostname::hostname(),
    system   => join(' ', (POSIX::uname())[0, 2]),
    interval => $INTERVAL + 0,
    history  => $HISTORY + 0,
);

# A browser sends the header when it reconnects by itself, but a page that
# opens a new EventSource can only put the id into the address.
sub last_id ($sse) {
    my $id = $sse->last_event_id;
    return $id if defined $id && length $id;
    return $sse->query_string =~ /(?:\A|&)after=([0-9a-f-]+)/ ? $1 : undef;
}

async sub stream ($scope, $receive, $send) {
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    return await $sse->decline(
        status  => 404,
        headers => [['content-type', 'text/plain; charset=utf-8']],
        body    => "No such stream; there is /events\n",
    ) if $sse->path ne '/events';

    start_sampler();    # a server without lifespan has not done it
    await $sse->keepalive(15);

    my $id = last_id($sse);
    my $seen = defined $id ? known_number($id) : 0;
    if (!defined $seen) {
        # From another life of this program, or too old: begin anew.
        $seen = 0;
        await $sse->send_event(event => 'reset', data => { id => $id });
    }
    await $sse->send_event(
        event => 'hello',
        retry => 2_000,
        data  => { %MACHINE, replay => scalar samples_after($seen) },
    );

    # First what this client has missed, then each new sample. The pause is a
    # little short, so that the wait for the sample sets the pace.
    await $sse->every(
        0.9 * $INTERVAL,
        async sub {
            await next_sample() if $seen >= $newest;
            for my $sample (samples_after($seen)) {
                await $sse->send_event(event => 'sample', id => $sample->{id}, data => $sample->{data});
                $seen = $sample->{number};
            }
        }
    );
}

# --- the page ---

async sub respond ($scope, $send, $status, $headers, %body) {
    await $send->({ type => 'http.response.start', status => $status, headers => $headers });
    %body = (body => '') if !%body || $scope->{method} eq 'HEAD';
    await $send->({ type => 'http.response.body', %body });
}

async sub respond_text ($scope, $send, $status, $text, @headers) {
    await respond(
        $scope, $send, $status,
        [['content-type', 'text/plain; charset=utf-8'], ['content-length', length $text], @headers,],
        body => $text
    );
}

async sub page ($scope, $send) {
    my ($method, $path) = @$scope{qw(method path)};
    return await respond_text($scope, $send, 405, "Only GET and HEAD here\n", ['allow', 'GET, HEAD'])
        if $method ne 'GET' && $method ne 'HEAD';
    return await respond($scope, $send, 204, []) if $path eq '/favicon.ico';
    return await respond_text($scope, $send, 406, "A stream: ask with Accept: text/event-stream\n")
        if $path eq '/events';
    return await respond_text($scope, $send, 404, "Not found\n") if $path ne '/';

    await respond(
        $scope, $send, 200,
        [
            ['content-type',   'text/html; charset=utf-8'],
            ['content-length', -s $PAGE],
            ['cache-control',  'no-cache'],
            [
                'content-security-policy',
                join '; ',
                q{default-src 'none'},
                q{connect-src 'self'},
                q{style-src 'unsafe-inline'},
                q{script-src 'unsafe-inline'},
                q{img-src data:}
            ],
        ],
        file => $PAGE
    );
}

# --- the life of the process ---

async sub lifespan ($receive, $send) {
    while (1) {
        my $event = await $receive->();
        if ($event->{type} eq 'lifespan.startup') {
            # From the start on, so that the first client finds a history.
            start_sampler();
            await $send->({ type => 'lifespan.startup.complete' });
        }
        elsif ($event->{type} eq 'lifespan.shutdown') {
            stop_sampler();
            await $send->({ type => 'lifespan.shutdown.complete' });
            return;
        }
    }
}

async sub app ($scope, $receive, $send) {
    my $type = $scope->{type};
    return await stream($scope, $receive, $send) if $type eq 'sse';
    return await page($scope, $send) if $type eq 'http';
    return await lifespan($receive, $send) if $type eq 'lifespan';
    die "dashboard: unsupported scope type '$type'\n";
}

\&app;
