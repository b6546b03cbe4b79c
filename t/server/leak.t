use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use PAGI::SSE;

# Connections that come and go leave nothing: handles, memory. With callbacks
# that capture $sse, which is a cycle until the end is seen.
# LEAK_CONNECTIONS=100000 for the long run.

my $total = $ENV{LEAK_CONNECTIONS} || 20_000;
use constant AT_ONCE => 100;

sub resident_kib {
    open my $fh, '<', '/proc/self/status' or return;
    my ($kib) = join('', <$fh>) =~ /^VmRSS:\s+(\d+)/m;
    return $kib;
}

my $ended = 0;
my $host = T::Host->new(
    async sub {
        my ($scope, $receive, $send) = @_;
        die if $scope->{type} eq 'lifespan';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->stash->{me} = $sse;    # and a cycle of the application's own kind
        $sse->on_close(sub { $sse->connection_state; delete $sse->stash->{me}; $ended++ });
        $sse->on_error(sub { $sse });
        await $sse->keepalive(30);
        await $sse->send('x');
        await $sse->run;
    }
);

sub round {
    my @clients = map { $host->stream("/$_") } 1 .. AT_ONCE;
    my $before = $ended;
    $host->until(
        sub {
            !grep { $_->raw !~ /data: x/ } @clients;
        },
        'the streams'
    );
    for my $i (0 .. $#clients) { $i % 2 ? $clients[$i]->close : $clients[$i]->reset }
    @{ $host->{clients} } = ();
    $host->until(sub { $ended == $before + AT_ONCE }, 'the ends');
}

round() for 1 .. 20;
my $before = resident_kib();
round() for 1 .. $total / AT_ONCE;
my $after = resident_kib();

$host->until(sub { PAGI::SSE::FFI::handle_count() == 1 }, 'the handles');
is PAGI::SSE::FFI::handle_count(), 1, 'no handle but the server is left';
is scalar keys %{ $host->server->{exchanges} }, 0;
SKIP: {
    skip 'no /proc' if !defined $after;
    # What the allocator needs for the busiest turn so far, which comes when it
    # comes; a scope left behind each time would be ten times as much.
    cmp_ok $after - $before, '<', 6 * 1024, 'KiB of memory grown'
        or diag "$before KiB before, $after KiB after";
    note "$before KiB before, $after KiB after $total";
}

done_testing;
