use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0;

# Subscribers under any server, driven by Future::IO alone.

eval { require Future::IO; 1 } or plan skip_all => 'Future::IO is not installed';
require T::HubForeign;
T::HubForeign::run(sub { Future::IO->sleep(0.005)->get });
