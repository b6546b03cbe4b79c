use strict;
use warnings;

# script/install-capi into a scratch folder, and a program built from there with
# pkg-config alone: with the shared library, the static one, and nothing shared.

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
        for "lib/libpagi_sse.so.$version",
        qw(lib/libpagi_sse.a include/pagi_sse.h include/pagi_sse.hpp lib/pkgconfig/pagi-sse.pc);
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

# What is linked how, by which of the .pc files.
my @ways = (
    ['the shared library',           'pagi-sse',          'libpagi_sse.so.1'],
    ['the static library',           'pagi-sse-static',   ''],
    ['-static',                      '--static pagi-sse', '', '-static'],
    ['-static-pie',                  '--static pagi-sse', '', '-static-pie'],
    ['-static, the static file',     'pagi-sse-static',   '', '-static'],
    ['-static-pie, the static file', 'pagi-sse-static',   '', '-static-pie'],
);
for my $way (@ways) {
    my ($name, $package, $needs, @how) = @$way;
    subtest "a program with $name, by pkg-config --cflags --libs $package" => sub {
        my ($flags) = sh("$pkg_config --cflags --libs $package", PKG_CONFIG_PATH => "$prefix/lib/pkgconfig");
        my $suffix = "-$name" =~ s/\W+/-/gr;
        my $program = eval { T::CAPI::build($frame, suffix => $suffix, flags => \@how, libs => [split ' ', $flags]) };
        ok defined $program, 'is built' or return diag $@;
        my ($needed) = sh("readelf -d $program");
        is scalar($needed =~ /NEEDED.*\[(libpagi_sse[^\]]*)\]/) ? $1 : '', $needs, 'what it needs to start';
        unlike $needed, qr/NEEDED/, 'nothing at all' if @how;
        my ($text, $ended) = T::CAPI::run([$program, 'hello'], env => { LD_LIBRARY_PATH => "$prefix/lib" });
        is $text,  ":made by frame.c\n\nid: 1\ndata: hello\n\n";
        is $ended, 0;
    };
}

subtest 'what is installed is stripped' => sub {
    return skip_all('no binutils') if !T::CAPI::command('readelf');
    for my $file (qw(libpagi_sse.so libpagi_sse.a)) {
        my ($sections) = sh("readelf -SW $prefix/lib/$file");
        like $sections,   qr/\.text/,                "$file has code";
        unlike $sections, qr/\.debug_(?:info|line)/, 'and nothing for a debugger';
    }
};

subtest 'DESTDIR stages a package that knows its prefix' => sub {
    my $stage = T::CAPI::dir() . '/stage';
    my ($said, $code) = T::CAPI::run(
        ["$root/script/install-capi"],
        timeout => 300,
        env     => { PREFIX => '/usr', DESTDIR => $stage, DEBUG => 1 }
    );
    is $code, 0 or diag $said;
    ok -f "$stage/usr/include/pagi_sse.h";
    my ($debug) = glob "$stage/usr/lib/libpagi_sse.so.*.debug";
    my ($sections) = sh("readelf -SW $debug");
    like $sections, qr/\.debug_line/, 'DEBUG keeps what a debugger needs, beside it';
    my ($pc) = sh("cat $stage/usr/lib/pkgconfig/pagi-sse.pc");
    like $pc,   qr{^prefix=/usr$}m;
    unlike $pc, qr/\Q$stage\E/;
};

done_testing;
