use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0;

# Subscribers under any server whose loop is IO::Async.

eval { require IO::Async::Loop; require Future::IO::Impl::IOAsync; 1 } or plan skip_all => 'IO::Async is not installed';
require T::HubForeign;
my $loop = IO::Async::Loop->new;
T::HubForeign::run(sub { $loop->loop_once(0.005) });
