# The load generator's /events and /go, with the hub on the embedded server:
# what bench/run.sh measures as "pagi-sse" (SUSPENDED=1: each handler stays
# suspended in `run`; else the stream is handed over).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../perl/lib";
use Future::AsyncAwait;
use IO::Async::Loop;
use PAGI::SSE;
use PAGI::SSE::Hub;
use PAGI::SSE::Server;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $hub = PAGI::SSE::Hub->new;

sub now_ns { return sprintf '%.0f', 1e9 * clock_gettime(CLOCK_MONOTONIC) }

my $loop = IO::Async::Loop->new;    # the server uses the same one

sub publish {
    my ($seq, $pad) = @_;
    return $hub->publish('bench', data => qq({"seq":$seq,"t":${\now_ns()},"pad":"$pad"}));
}

sub publish_paced {
    my ($events, $pad, $rate) = @_;
    my ($start,  $seq, $next) = (clock_gettime(CLOCK_MONOTONIC), 0);
    $next = sub {
        publish($seq, $pad) if $seq;
        return undef $next if ++$seq > $events;
        $loop->watch_time(after => $start + $seq / $rate - clock_gettime(CLOCK_MONOTONIC), code => $next);
    };
    return $next->();
}

async sub publish_all {
    my ($events, $pad) = @_;
    for my $seq (1 .. $events) {
        await $hub->ready;
        publish($seq, $pad);
    }
    return;
}

my $running;

async sub stay {
    my ($sse) = @_;
    return await $sse->run;
}

sub events {
    my $sse = PAGI::SSE->new(@_);
    return $hub->serve($sse, 'bench') if !$ENV{SUSPENDED};
    $hub->subscribe($sse, 'bench');
    return stay($sse);
}

async sub go {
    my ($scope, $receive, $send) = @_;
    my %q = map { split /=/, $_, 2 } split /&/, $scope->{query_string};
    await $send->({ type => 'http.response.start', status => 202 });
    await $send->({ type => 'http.response.body',  body   => "ok\n" });
    my $bytes = $q{bytes} || 100;
    my @events = ($q{events} || 1, 'x' x ($bytes > 42 ? $bytes - 42 : 0));
    $running = $q{rate} ? publish_paced(@events, $q{rate}) : publish_all(@events);
    return;
}

sub app {
    my ($scope) = @_;
    return $scope->{type} eq 'sse' ? &events : $scope->{type} eq 'http' ? &go : die "no such scope\n";
}

PAGI::SSE::Server->new(app => \&app, listen => '127.0.0.1:' . ($ENV{PORT} || 3000))->stop_on('TERM')->run;
