use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0 -no_srand => 1;

# A hub belongs to the thread that made it: in another one its methods say so,
# and the first one notices nothing.

skip_all 'this perl has no threads' unless $Config{useithreads};

# In a process of its own: Test2 and threads do not mix at will.
my $lib = $INC{'PAGI/SSE.pm'} =~ s{/PAGI/SSE\.pm\z}{}r;
my @command = ($^X, "-I$lib", "-I$FindBin::Bin/../lib", '-Mthreads', '-MT::PAGI', '-MPAGI::SSE::Hub', '-MFuture::IO');
open my $out, '-|', @command, '-e', <<'EOS' or die $!;
    my $hub = PAGI::SSE::Hub->new(epoch => 'e');
    my $peer = peer();
    my $sse = $peer->sse;
    my $sub = $hub->subscribe($sse, 't');
    my $handles = PAGI::SSE::FFI::handle_count();
    my %call = (
        publish     => sub { $hub->publish('t', data => 1) },
        load        => sub { $hub->load('t', { data => 1 }) },
        history     => sub { $hub->history('t') },
        topic       => sub { $hub->topic('t') },
        has_topic   => sub { $hub->has_topic('t') },
        subscribe   => sub { $hub->subscribe($sse, 't') },
        close       => sub { $hub->close },
        subscribers => sub { $hub->subscribers('t') },
        stats       => sub { $hub->stats },
        fileno      => sub { $hub->fileno },
        ready       => sub { die $hub->ready->failure },
    );
    for (1 .. 3) {
        threads->create(sub { for my $name (sort keys %call) { eval { $call{$name}->() }; print "$name: $@" } })->join;
    }
    $hub->publish('t', data => 'x');
    wait_until { Future::IO->sleep(0.005)->get; grep { $_ eq 'x' } @{ $peer->data } };
    print join(' ', "the first:", @{ $peer->data }, $sub->stats->{active}, PAGI::SSE::FFI::handle_count() - $handles), "\n";
EOS
my @said = <$out>;
close $out;
is $?,           0,                     'no crash';
is pop @said,    "the first:  x 1 0\n", 'the first thread goes on, and no handle has come or gone';
is scalar @said, 33,                    'each method, in each thread';
my @wrong = grep { !/\A(\w+): PAGI::SSE::Hub->\1: the hub belongs to another thread at -e line/ } @said;
is \@wrong, [], 'says so';

done_testing;
