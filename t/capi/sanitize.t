use strict;
use warnings;

# The same programs under AddressSanitizer and UndefinedBehaviorSanitizer: the
# C side is instrumented, and blocks of either side are watched for leaks and
# double frees. `script/test sanitize` runs the Rust tests instrumented.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();

my @flags = ('-g', '-O1', '-fno-omit-frame-pointer', '-fsanitize=address,undefined', '-fno-sanitize-recover=all');

my $probe = T::CAPI::dir() . '/probe.c';
open my $out, '>', $probe or die "$probe: $!";
print {$out} "#include <stdlib.h>\nint main(void) { char *p = malloc(1); *p = 0; free(p); return 0; }\n";
close $out;
my $program = eval { T::CAPI::build($probe, flags => \@flags) };
plan skip_all => 'the compiler has no sanitizers' if !defined $program;
my ($output, $status) = T::CAPI::run([$program]);
plan skip_all => "sanitizers do not run here: $output" if $status ne '0';

T::CAPI::suite(
    flags => \@flags,
    env   => { ASAN_OPTIONS => 'detect_leaks=1', UBSAN_OPTIONS => 'print_stacktrace=1' },
);

done_testing;
