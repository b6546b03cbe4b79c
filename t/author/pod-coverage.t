use strict;
use warnings;

# Every public method of a public module has its documentation; the modules
# that say of themselves "(internal)" or "other modules only" do not count.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test::More;

eval { require Test::Pod::Coverage; 1 } or plan skip_all => 'Test::Pod::Coverage is not installed';

my @public =
    grep { -e T::Inc::root() . '/perl/lib/' . s{::}{/}gr . '.pm' }
    qw(
    PAGI::SSE PAGI::SSE::Server PAGI::SSE::Hub PAGI::SSE::Client PAGI::SSE::Client::Error PAGI::SSE::Event PAGI::SSE::Parser
    PAGI::SSE::Relay
    );

Test::Pod::Coverage::pod_coverage_ok($_) for @public;
done_testing;
