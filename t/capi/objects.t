use strict;
use warnings;

# The C programs of this folder, one per object, against the library as it is.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();

T::CAPI::suite();

done_testing;
