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
# their Last-Event-ID: no client misses an event or gets one twice.
# HUB_SECONDS=20 for the long run; SEED to repeat one.

use constant CLIENTS => 200;
my $seconds = $ENV{HUB_SECONDS} || 3;
my $seed = $ENV{SEED}           || time ^ $$;
srand $seed;
note "SEED=$seed";

my $hub = PAGI::SSE::Hub->new(epoch => 'e', replay => { events => 1_000_000, bytes => 1 << 30 });
my $host = T::Host->new(
    async sub {
        my ($scope, $receive, $send) = @_;
        die if $scope->{type} eq 'lifespan';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        return await $hub->serve($sse, 't') if $sse->path eq '/served';
        $hub->subscribe($sse, 't');
        await $sse->run;
    }
);

my ($connects, $faults) = (0, 0);

# Takes complete events out of what has come; the sequence must go on.
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
    while ($client->{text} =~ s/\A(.*?)\n\n//s) {
        my $block = $1;
        ($client->{id}) = $block =~ /^id: (.*)$/m;
        my ($data) = $block =~ /^data: (\d+)$/m or next;
        $faults++ if defined $client->{last} && $data != $client->{last} + 1;
        $client->{last} = $data;
    }
    return;
}

sub enter {
    my ($client) = @_;
    $connects++;
    my @headers = defined $client->{id} ? "Last-Event-ID: $client->{id}" : ();
    @$client{qw(conn head text)} = ($host->stream(rand() < 0.5 ? '/served' : '/', @headers), 0, '');
    return;
}

my @clients = map { {} } 1 .. CLIENTS;
enter($_) for @clients;

my ($published, $end) = (0, time + $seconds);
while (time < $end) {
    $hub->publish('t', data => ++$published) for 1 .. 20;
    $host->until(sub { 1 });
    take($_) for @clients;
    for (1 .. 3) {
        my $client = $clients[rand @clients];
        # What was on its way is lost with the connection, as in life.
        rand() < 0.5 ? $client->{conn}->close : $client->{conn}->reset;
        @{ $host->{clients} } = grep { $_ != $client->{conn} } @{ $host->{clients} };
        enter($client);
    }
}
$host->until(
    sub {
        take($_) for @clients;
        return !grep { ($_->{last} || 0) != $published && defined $_->{last} } @clients;
    },
    'the rest'
);
is $faults, 0, "no gap and no repeat: $published events, $connects connections";
is scalar(grep { defined $_->{last} && $_->{last} != $published } @clients), 0, 'all are up to date';
cmp_ok scalar(grep { defined $_->{last} } @clients), '>', CLIENTS / 2, 'and most had events';

done_testing;
