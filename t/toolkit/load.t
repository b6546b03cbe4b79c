use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Inc;
use Test2::V0 -no_srand => 1;

# The toolkit's class of the same name stands first in @INC, or was loaded
# first: our other modules say so, and name both files.

use File::Temp ();

my $lib = T::Inc::root() . '/perl/lib';
my $other = File::Temp::tempdir(CLEANUP => 1);
mkdir "$other/PAGI" or die "$other: $!";
open my $out, '>', "$other/PAGI/SSE.pm" or die "$other: $!";
print {$out} qq{package PAGI::SSE;\nour \$VERSION = '0.002005';\nsub new { bless {}, shift }\n1;\n};
close $out or die $!;

sub perl {
    my (@args) = @_;
    open my $pipe, '-|', $^X, '-e', 'open STDERR, ">&", STDOUT; exec @ARGV', $^X, @args or die "fork: $!";
    local $/;
    my $said = <$pipe>;
    close $pipe;
    return ($?, $said);
}

my $names_both = qr{\Q$lib\E/PAGI/SSE\.pm, but \Q$other\E/PAGI/SSE\.pm was loaded};

for my $module (qw(PAGI::SSE::Hub PAGI::SSE::Server)) {
    subtest $module => sub {
        my ($status, $said) = perl("-I$other", "-I$lib", '-e', "#line 7 here.pl\nrequire $module; print 'loaded'");
        ok $status, "the toolkit's first in \@INC: fails";
        like $said, qr{\A$module needs the PAGI::SSE of its own distribution, $names_both.*\@INC at here\.pl line 7\.},
            'names both files and what to do, at the line that loads it';
        ($status, $said) = perl("-I$other", '-e', "use PAGI::SSE; use lib '$lib'; require $module");
        ok $status, 'loaded before ours was in @INC: fails';
        like $said, $names_both, 'names both files';
        ($status, $said) = perl("-I$lib", "-I$other", '-e', "use $module; print \$INC{'PAGI/SSE.pm'}");
        is [$status, $said], [0, "$lib/PAGI/SSE.pm"], 'ours first: loads';
    };
}

subtest 'a program that was written for the toolkit loads ours, and says which' => sub {
    my ($status, $said) = perl("-I$lib", "-I$other", '-e', 'use PAGI::SSE 0.002; print $INC{"PAGI/SSE.pm"}');
    is [$status, $said], [0, "$lib/PAGI/SSE.pm"], 'use PAGI::SSE 0.002';
};

done_testing;
