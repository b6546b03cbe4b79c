use strict;
use warnings;

# The numbers that Perl and C must agree on are written down twice: in
# PAGI::SSE::FFI and in the header.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;

use PAGI::SSE::FFI;

my $file = T::Inc::root() . '/include/pagi_sse.h';
open my $in, '<', $file or die "$file: $!";
my $header = do { local $/; <$in> };
close $in;

my ($enum) = $header =~ /^PAGI_SSE_ENUM\(pagi_sse_result\)(.*?)^\};/ms;
my %in_c = $enum =~ /^\s*PAGI_SSE_RESULT_(\w+) = (-?\d+),/mg;

subtest 'the result codes of PAGI::SSE::FFI are those of the header' => sub {
    ok scalar keys %in_c, 'the header has result codes';
    is(PAGI::SSE::FFI::codes(), \%in_c, 'names and numbers');
};

subtest 'each code is a constant and has a text of its own' => sub {
    my %seen;
    for my $name (sort keys %in_c) {
        is(PAGI::SSE::FFI->can($name)->(), $in_c{$name}, $name);
        my $text = PAGI::SSE::FFI::result_text($in_c{$name});
        isnt $text, 'unknown result', "$name: $text";
        ok !$seen{$text}++, "$name: nobody else's text";
    }
    is(PAGI::SSE::FFI::result_text(12345), 'unknown result', 'a number that is no code');
};

subtest 'the ABI number is the header\'s' => sub {
    my ($abi) = $header =~ /^#define PAGI_SSE_ABI_VERSION (\d+)$/m;
    is(PAGI::SSE::FFI::ABI_VERSION(), $abi);
};

subtest 'every number of the header is in Perl, by the same name' => sub {
    my %number = $header =~ /^(?:#define | +)PAGI_SSE_(\w+)(?: =)? (-?\d+),?\s*(?:\/\/.*)?$/mg;
    ok keys %number > 60, 'the header has numbers';
    is(PAGI::SSE::FFI::Constants::all(),       \%number,    'script/header writes them');
    is(PAGI::SSE::FFI::Constants->can($_)->(), $number{$_}, $_) for qw(KIND_REQUEST STATE_CLOSED REASON_BYTES);
};

subtest 'nobody else writes them down' => sub {
    my %own = map { $_ => 1 } qw(FFI/Constants.pm);
    my $lib = T::Inc::root() . '/perl/lib/PAGI/SSE';
    my @found;
    for my $path (glob "$lib/*.pm $lib/*/*.pm") {
        next if $own{ $path =~ s/\A\Q$lib\E\///r };
        open my $file, '<', $path or die "$path: $!";
        push @found, map { "$path:$.: $_" } grep { m{# src/host/record\.rs|# src/core/limits\.rs} } <$file>;
    }
    is \@found, [], 'no copies of src/core/limits.rs or src/host/record.rs';
};

subtest 'library and module have one version' => sub {
    is('v' . PAGI::SSE::FFI::version(), version->parse($PAGI::SSE::FFI::VERSION)->normal);
};

done_testing;
