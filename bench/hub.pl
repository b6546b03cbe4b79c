# The load generator's /events and /go, with the hub on the embedded server:
# what bench/run.sh measures as "pagi-sse" (SUSPENDED=1: each handler stays
# suspended in `run`; else the stream is handed over).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl/lib";
use Future::AsyncAwait;
use Future::IO;
use PAGI::SSE;
use PAGI::SSE::Hub;
use PAGI::SSE::Server;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $hub = PAGI::SSE::Hub->new;

sub now_ns { return sprintf '%.0f', 1e9 * clock_gettime(CLOCK_MONOTONIC) }

async sub publish_all {
    my ($events, $bytes, $rate) = @_;
    my $pad = 'x' x ($bytes > 42 ? $bytes - 42 : 0);
    my $start = clock_gettime(CLOCK_MONOTONIC);
    for my $seq (1 .. $events) {
        if ($rate) {
            my $wait = $start + $seq / $rate - clock_gettime(CLOCK_MONOTONIC);
            await Future::IO->sleep($wait) if $wait > 0;
        }
        else {
            await $hub->ready;
        }
        $hub->publish('bench', data => qq({"seq":$seq,"t":${\now_ns()},"pad":"$pad"}));
    }
    return;
}

my $running;

async sub app {
    my ($scope, $receive, $send) = @_;
    die "no such scope\n" if $scope->{type} eq 'lifespan';
    if ($scope->{type} eq 'sse') {
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        if ($ENV{SUSPENDED}) {
            $hub->subscribe($sse, 'bench');
            return await $sse->run;
        }
        return await $hub->serve($sse, 'bench');
    }
    my %q = map { split /=/, $_, 2 } split /&/, $scope->{query_string};
    await $send->({ type => 'http.response.start', status => 202 });
    await $send->({ type => 'http.response.body',  body   => "ok\n" });
    $running = publish_all($q{events} || 1, $q{bytes} || 100, $q{rate} || 0);
    return;
}

PAGI::SSE::Server->new(app => \&app, listen => '127.0.0.1:' . ($ENV{PORT} || 3000))->stop_on('TERM')->run;
