use strict;
use warnings;

# A client under each event loop: its events come, and a server that is down
# costs next to nothing.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use T::CAPI;
use T::Scripted;

my $begin = <<'PERL';
use strict; use warnings;
use PAGI::SSE::Client;
use Time::HiRes qw(time);
my ($url) = @ARGV;
my $client = PAGI::SSE::Client->new(url => $url, retry => 100, proxy => 0);
PERL

# Who drives what: until { $over } runs the loop.
my %loop = (
    'Future::IO by get' => [''],
    map { (
        "IO::Async::Loop::$_" => ["BEGIN { \$ENV{IO_ASYNC_LOOP} = '$_' } use IO::Async::Loop;", "IO/Async/Loop/$_.pm"]
    ) } qw(Select Poll Epoll)
);

my $story = <<'PERL';
my @seen;
while (defined(my $event = $client->next->get)) { push @seen, $event->data }
print "@seen ", $client->end_reason, "\n";
PERL

# The loop is run by the program, and all comes by callbacks.
my $pushed = <<'PERL';
my $loop = IO::Async::Loop->new;
my @seen;
$client->on(event => sub { push @seen, $_[0]->data })->on(end => sub { push @seen, @_; $loop->stop });
$loop->run;
print "@seen\n";
PERL

# Seconds of CPU in 3 seconds, attempts, and how slow the machine is just now: 1 is one that does a million turns of a
# loop in 10 ms.
my $down = <<'PERL';
my $attempts = 0;
$client->on(error => sub { $attempts++ });
my $next = $client->next;
sub cpu { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_PROCESS_CPUTIME_ID()) }
PAGI::SSE::Loop->sleep(1)->get;    # it is known by now
my $before = cpu();
PAGI::SSE::Loop->sleep(3)->get;
my $took = cpu() - $before;
$before = cpu();
1 for 1 .. 1_000_000;
printf "%.3f %d %.2f\n", $took, $attempts, (cpu() - $before) / 0.01;
$client->close;
PERL

sub program {
    my ($loop, $text, $url) = @_;
    my ($said, $status) = T::CAPI::run([$^X, (map { "-I$_" } @INC), '-e', $loop . $begin . $text, $url]);
    return "$said$status";
}

for my $name (sort keys %loop) {
    my ($load, $file) = @{ $loop{$name} };
    subtest $name => sub {
        return skip_all("no $file") if $file && !eval { require $file; 1 };
        my @answers = (stream("data: 1\n\ndata: 2\n\n"), stream("data: 3\n\n"), T::Scripted::NO_CONTENT);
        is program($load, $story, T::Scripted->new(@answers)->url), "1 2 3 no_content\n0", 'events by next';
        is program($load, $pushed, T::Scripted->new(@answers)->url), "1 2 3 no_content\n0", 'events by on'
            if $load;
        my ($cpu, $attempts, $slow) = split ' ', program($load, $down, 'http://127.0.0.1:1/');
        note "$attempts attempts in 4 s, $cpu s of CPU in the last 3";
        ok $attempts >= 2 && $attempts <= 7,      'attempts: at 0, 0.1, 0.3, 0.7, 1.5 ...';
        ok $cpu < 0.03 * ($slow > 1 ? $slow : 1), "$cpu s of CPU in 3 s, on a machine that is $slow times as slow";
    };
}

subtest 'a loop that is loaded when the client is there' => sub {
    return skip_all('no IO::Async') if !eval { require IO::Async::Loop; 1 };
    my @answers = (stream("data: 1\n\n"), stream("data: 2\n\n"), T::Scripted::NO_CONTENT);
    is program('', "require IO::Async::Loop;\n$pushed", T::Scripted->new(@answers)->url), "1 2 no_content\n0";
};

done_testing;
