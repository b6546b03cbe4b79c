use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# One version, written three ways: 0.003000 in Perl, where it must sort above
# the 0.002xxx of the toolkit's PAGI::SSE; 0.3.0 in the crate, the library and
# the header.

use ExtUtils::MakeMaker ();
use PAGI::SSE::FFI      ();

my ($perl, $native) = ('0.003000', '0.3.0');

sub slurp {
    my ($file) = @_;
    open my $in, '<', root() . "/$file" or die "$file: $!";
    local $/;
    return <$in>;
}

sub files {
    my ($dir, $name) = @_;
    my @found;
    require File::Find;
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f && /$name/ } }, root() . "/$dir");
    return sort @found;
}

subtest 'an application may ask for the version of the toolkit' => sub {
    for my $asked ('0.002', '0.002005', '0.002999', '0.003', '0.003000', 'v0.3.0') {
        ok lives { PAGI::SSE->VERSION($asked) }, "use PAGI::SSE $asked" or diag $@;
    }
    like dies { PAGI::SSE->VERSION('0.003001') }, qr/version 0\.003001 required/, 'and not for a later one';
};

subtest 'each module and the command have the version' => sub {
    my @modules = files('perl/lib', qr/\.pm\z/);
    ok @modules > 20, scalar(@modules) . ' modules';
    is(MM->parse_version($_), $perl, $_) for @modules, files('perl/bin', qr/pagi-sse\z/);
};

subtest 'the crate, the library, the header and Changes have it' => sub {
    like slurp('Cargo.toml'), qr/\A\[package\]\nname = "pagi-sse"\nversion = "\Q$native\E"\n/, 'Cargo.toml';
    like slurp('Cargo.lock'), qr/^name = "pagi-sse"\nversion = "\Q$native\E"\n/m,              'Cargo.lock';
    is PAGI::SSE::FFI::version(), $native,                       'the library';
    is "v$native",                version->parse($perl)->normal, 'the same as in Perl';
    my $header = slurp('include/pagi_sse.h');
    like $header, qr/as `"\Q$native\E"`/, 'the header';
    is [grep { $_ ne $native } $header =~ /(?:\*Since\*: |since )([0-9.]*[0-9])/g], [],
        'nothing in it is of another version';
    my ($newest) = slurp('Changes') =~ /^(\d\S*)/m;
    is $newest, $native, 'Changes';
};

subtest 'Makefile.PL takes it from PAGI/SSE.pm' => sub {
    like slurp('Makefile.PL'), qr{VERSION_FROM\s*=> 'perl/lib/PAGI/SSE\.pm'}, 'VERSION_FROM';
};

done_testing;
