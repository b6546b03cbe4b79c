use strict;
use warnings;

# docs/debugging.md's suppressions for helgrind: the library is silent, and a
# race of the host's own is still told.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();
my $valgrind = T::CAPI::command('valgrind');
plan skip_all => 'no valgrind' if !defined $valgrind;

my $root = T::CAPI::root();

sub helgrind {
    my ($source) = @_;
    my $program = T::CAPI::build($source, flags => ['-g'], suffix => '-helgrind');
    return T::CAPI::run(
        [$valgrind, qw(--tool=helgrind --error-exitcode=99), "--suppressions=$root/t/capi/helgrind.supp", $program],
        timeout => 300);
}

my ($output, $status) = helgrind("$root/t/capi/conn.c");
is $status, 0, 'nothing of the library' or diag $output;
like $output, qr/ERROR SUMMARY: 0 errors .*suppressed: [1-9]/, 'but what is suppressed';

my $racing = T::CAPI::dir() . '/racing.c';
open my $out, '>', $racing or die "$racing: $!";
print {$out} <<'END';
#include <pthread.h>
#include "pagi_sse.h"
static int count;
static void *add(void *nothing) {
    if (pagi_sse_abi_version() > 0) count++;
    return nothing;
}
int main(void) {
    pthread_t other;
    if (pthread_create(&other, NULL, add, NULL)) return 1;
    add(NULL);
    return pthread_join(other, NULL);
}
END
close $out or die "$racing: $!";
($output, $status) = helgrind($racing);
is $status, 99, 'a race of the host';
like $output, qr/Possible data race.*\badd \(racing\.c:5\)/s, 'and where';

done_testing;
