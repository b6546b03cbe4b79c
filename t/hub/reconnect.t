use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use PAGI::SSE;
use PAGI::SSE::Hub;
use Time::HiRes qw(time);

# Publishing never pauses while 200 clients leave and come back at random with
# their Last-Event-ID, each time for another two of three topics: from the id
# on that a client had first, it misses no event and gets none twice.
# HUB_SECONDS=20 for the long run; SEED to repeat one.

use constant CLIENTS => 200;
my $seconds = $ENV{HUB_SECONDS} || 3;
my $seed = $ENV{SEED}           || time ^ $$;
srand $seed;
note "SEED=$seed";

my @TOPICS = qw(a b c);
my $hub =
    PAGI::SSE::Hub->new(epoch => 'e', replay => { events => 1_000_000, bytes => 1 << 30 }, total_bytes => 1 << 32);
my $host = T::Host->new(
    async sub {
        my ($scope, $receive, $send) = @_;
        die "no lifespan\n" if $scope->{type} eq 'lifespan';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        my ($how, @topics) = split m{[/,]}, substr $sse->path, 1;
        return await $hub->serve($sse, @topics) if $how eq 'serve';
        $hub->subscribe($sse, @topics);
        await $sse->run;
    }
);

my @topic_of;    # by number
my ($connects, $events, @faults) = (0, 0);

sub fault {
    my ($client, @what) = @_;
    push @faults, "client $client->{n}, of @{[sort keys %{ $client->{topics} }]}, at $client->{at}: @what"
        if @faults < 10;
    return;
}

# One block: an event of the client's topics, the next one after where the
# client is; or an id alone, up to which there is none.
sub take_block {
    my ($client, $block) = @_;
    my ($seq) = $block =~ /^id: e\.(\d+)$/m or return fault($client, "no id in '$block'");
    $client->{id} = "e.$seq";
    my ($data) = $block =~ /^data: (.*)$/m;
    $client->{at} = $seq if !defined $client->{at} && !defined $data;    # the first id of all
    return fault($client, "the first block is event $seq") if !defined $client->{at};
    my $next = $client->{at} + 1;
    $next++ while $next < $seq && !$client->{topics}{ $topic_of[$next] };

    if (defined $data) {
        fault($client, "got $seq instead of $next") if $next != $seq;
        fault($client, "$seq is '$data'") if $data ne "$topic_of[$seq] $seq" || !$client->{topics}{ $topic_of[$seq] };
        $client->{events}++;
        $events++;
    }
    elsif ($seq > $client->{at}) {
        fault($client, "is told that $seq is the last, and has not got $next")
            if $next < $seq || $client->{topics}{ $topic_of[$next] };
    }
    $client->{at} = $seq;
    return;
}

# Takes complete blocks out of what has come.
sub take {
    my ($client) = @_;
    my $in = \$client->{conn}{in};
    if (!$client->{head}) {
        $$in =~ s/\A.*?\r\n\r\n//s or return;
        $client->{head} = 1;
    }
    while ($$in =~ s/\A([0-9a-f]+)\r\n//) {
        my $n = hex $1;
        if (length $$in < $n + 2) { substr $$in, 0, 0, sprintf "%x\r\n", $n; last }
        $client->{text} .= substr $$in, 0, $n;
        substr $$in, 0, $n + 2, '';
    }
    take_block($client, $1) while $client->{text} =~ s/\A(.*?)\n\n//s;
    return;
}

sub enter {
    my ($client) = @_;
    $connects++;
    my @headers = defined $client->{id} ? "Last-Event-ID: $client->{id}" : ();
    my $without = int rand 3;
    my @topics = @TOPICS[grep { $_ != $without } 0 .. 2];
    my $path = join ',', (rand() < 0.5 ? '/serve' : '/subscribe') . "/$topics[0]", $topics[1];
    @$client{qw(conn head text)} = ($host->stream($path, @headers), 0, '');
    $client->{topics} = { map { $_ => 1 } @topics };
    return;
}

my $published = 0;

sub publish {
    my ($topic) = @_;
    $topic_of[++$published] = $topic;
    $hub->publish($topic, data => "$topic $published");
    return;
}

my @clients = map { { n => $_, events => 0 } } 1 .. CLIENTS;
enter($_) for @clients;

my $end = time + $seconds;
while (time < $end || $connects < 3 * CLIENTS && time < $end + 60) {
    publish($TOPICS[rand 3]) for 1 .. 20;
    $host->read;
    take($_) for @clients;
    for (1 .. 5) {
        my $client = $clients[rand @clients];
        # What was on its way is lost with the connection, as in life.
        rand() < 0.5 ? $client->{conn}->close : $client->{conn}->reset;
        @{ $host->{clients} } = grep { $_ != $client->{conn} } @{ $host->{clients} };
        enter($client);
    }
}

# The last ones have come when everybody is subscribed.
$host->until(
    sub {
        take($_) for @clients;
        !grep { !defined $_->{at} } @clients;
    },
    'the first ids'
);
publish($_) for @TOPICS;
my $behind = sub {
    my ($client) = @_;
    my ($last) = grep { $client->{topics}{ $topic_of[$_] } } reverse $published - 2 .. $published;
    return $client->{at} < $last;
};
$host->until(
    sub {
        take($_) for @clients;
        return !grep { $behind->($_) } @clients;
    },
    'the rest'
);
is \@faults, [], "no gap and no repeat: $published published, $events received, $connects connections";
is scalar(grep { $behind->($_) } @clients), 0, 'all are up to date';
is scalar(grep { !$_->{events} } @clients), 0, 'each had events';
# Who leaves before the application is called.
is [grep { !/the connection is closed/ } $host->log], [], 'nothing else is logged';

done_testing;
