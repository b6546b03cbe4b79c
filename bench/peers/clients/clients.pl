use strict;
use warnings;

# N clients of PAGI::SSE::Client: counts events, and what they cost. See bench/clients.sh.

use FindBin;
use lib "$FindBin::Bin/../../../perl/lib";
use IO::Async::Loop;
use PAGI::SSE::Client;
use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID);

my ($url, $count, $length) = @ARGV;
my $loop = IO::Async::Loop->new;
my $events = 0;

sub resident_kib {
    open my $in, '<', '/proc/self/status' or die "status: $!";
    return (map { /\AVmRSS:\s+(\d+)/ ? $1 : () } <$in>)[0];
}
my $warm = PAGI::SSE::Client->new(url => $url, proxy => 0);
$loop->delay_future(after => 0.2)->get;
my $before = resident_kib();
my @clients = map {
    PAGI::SSE::Client->new(url => $url, proxy => 0)->on(event => sub { $events++ })
} 1 .. $count;
$loop->delay_future(after => 3)->get;
my ($cpu, $began) = (clock_gettime(CLOCK_PROCESS_CPUTIME_ID), $events);
$loop->delay_future(after => $length)->get;
$cpu = clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $cpu;
$events -= $began;
printf "%d clients: %.0f events/s, %.2f us of CPU an event, %.1f KiB a client\n", $count, $events / $length,
    $cpu / $events * 1e6, (resident_kib() - $before) / $count;
