use strict;
use warnings;

# script/install-capi into a scratch folder, and a program built from there with
# pkg-config alone: with the shared library, and with the static one.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

my $pkg_config = T::CAPI::command('pkg-config', 'pkgconf');
plan skip_all => 'no C compiler' if !T::CAPI::compiler();
plan skip_all => 'no pkg-config' if !defined $pkg_config;
plan skip_all => 'no cargo' if !T::CAPI::command('cargo');
plan skip_all => 'not made for ' . $^O if $^O ne 'linux';

my $root = T::CAPI::root();
my $prefix = T::CAPI::dir() . '/prefix';
my $frame = "$root/examples/c/frame.c";

sub sh {
    my ($command, %env) = @_;
    return T::CAPI::run(['sh', '-c', $command], timeout => 300, env => \%env);
}

my ($output, $status) =
    T::CAPI::run(["$root/script/install-capi"], timeout => 300, env => { PREFIX => $prefix, DESTDIR => '' });
is $status, 0, 'script/install-capi' or diag $output;

subtest 'the files are where they belong' => sub {
    my ($version) = $output =~ /installed version (\S+),/;
    is readlink "$prefix/lib/libpagi_sse.so",   'libpagi_sse.so.1';
    is readlink "$prefix/lib/libpagi_sse.so.1", "libpagi_sse.so.$version";
    ok -f "$prefix/$_", $_
        for "lib/libpagi_sse.so.$version", qw(lib/libpagi_sse.a include/pagi_sse.h lib/pkgconfig/pagi-sse.pc);
    my ($found) = sh("$pkg_config --modversion pagi-sse", PKG_CONFIG_PATH => "$prefix/lib/pkgconfig");
    is $found, "$version\n", 'pkg-config knows it';
};

subtest 'the installed library exports the header\'s functions and has a SONAME' => sub {
    return skip_all('no binutils') if grep { !T::CAPI::command($_) } qw(nm readelf);
    my ($ours) = sh('nm -D --defined-only ' . T::CAPI::library() . ' | cut -d" " -f3 | sort');
    my ($there) = sh("nm -D --defined-only $prefix/lib/libpagi_sse.so | cut -d' ' -f3 | sort");
    is $there, $ours;
    my ($dynamic) = sh("readelf -d $prefix/lib/libpagi_sse.so");
    like $dynamic, qr/SONAME.*\[libpagi_sse\.so\.1\]/;
    like $dynamic, qr/NODELETE/, 'it stays loaded: it has threads';
};

for my $way (qw(pagi-sse pagi-sse-static)) {
    subtest "a program built by pkg-config --cflags --libs $way" => sub {
        my ($flags) = sh("$pkg_config --cflags --libs $way", PKG_CONFIG_PATH => "$prefix/lib/pkgconfig");
        my $program = eval { T::CAPI::build($frame, suffix => "-$way", libs => [split ' ', $flags]) };
        ok defined $program, 'is built' or return diag $@;
        my ($needed) = sh("readelf -d $program");
        is scalar($needed =~ /NEEDED.*\[(libpagi_sse[^\]]*)\]/) ? $1 : '', $way eq 'pagi-sse' ? 'libpagi_sse.so.1' : '',
            'what it needs to start';
        my ($text, $ended) = T::CAPI::run([$program, 'hello'], env => { LD_LIBRARY_PATH => "$prefix/lib" });
        is $text,  ":made by frame.c\n\nid: 1\ndata: hello\n\n";
        is $ended, 0;
    };
}

subtest 'DESTDIR stages a package that knows its prefix' => sub {
    my $stage = T::CAPI::dir() . '/stage';
    my ($said, $code) =
        T::CAPI::run(["$root/script/install-capi"], timeout => 300, env => { PREFIX => '/usr', DESTDIR => $stage });
    is $code, 0 or diag $said;
    ok -f "$stage/usr/include/pagi_sse.h";
    my ($pc) = sh("cat $stage/usr/lib/pkgconfig/pagi-sse.pc");
    like $pc,   qr{^prefix=/usr$}m;
    unlike $pc, qr/\Q$stage\E/;
};

done_testing;
