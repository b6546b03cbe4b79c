use strict;
use warnings;

# Every Perl file's POD is well formed.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test::More;

eval { require Test::Pod; Test::Pod->VERSION('1.41'); 1 } or plan skip_all => 'Test::Pod 1.41 is not installed';

my $root = T::Inc::root();
Test::Pod::all_pod_files_ok(Test::Pod::all_pod_files(grep { -e } map { "$root/$_" } qw(perl examples docs)));
