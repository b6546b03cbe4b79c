# All of it also under PERL_FUTURE_DEBUG=1, without a warning that points at us.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

local $ENV{PERL_FUTURE_DEBUG} = 1;

for my $test (sort glob "$FindBin::Bin/*.t") {
    my ($name) = $test =~ m{([^/]+)\z};
    next if $name eq '40-future-debug.t' || $name =~ /leaks|loops/;
    open my $output, '-|', "$^X '$test' 2>&1" or die $!;
    my @lines = <$output>;
    ok close $output, "$name passes" or diag @lines;
    # A failure that the application never looks at is its own to explain; that
    # warning names the application's line.
    my @ours = grep { m{constructed at \S*/PAGI/SSE|Suspended async sub PAGI::SSE} } @lines;
    is \@ours, [], "$name: no Future of ours is lost";
}

done_testing;
