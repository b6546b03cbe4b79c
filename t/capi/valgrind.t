use strict;
use warnings;

# The same programs under valgrind: no error, and nothing lost. What stays
# reachable is of the process: tables, thread-locals.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();
my $valgrind = T::CAPI::command('valgrind');
plan skip_all => 'no valgrind' if !defined $valgrind;

T::CAPI::suite(
    flags   => ['-g'],
    command => [
        $valgrind,
        qw(--error-exitcode=99 --leak-check=full),
        map { "--$_=definite,indirect,possible" } qw(show-leak-kinds errors-for-leak-kinds),
    ],
);

done_testing;
