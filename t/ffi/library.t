use strict;
use warnings;

# Which library file is loaded, from where, and what is said when there is
# none. Each case is a fresh perl: a process loads the library once.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;

use Cwd        ();
use File::Copy ();
use File::Path ();
use File::Spec ();
use File::Temp ();
use PAGI::SSE::FFI;

my $real = Cwd::abs_path(PAGI::SSE::FFI::library());
my $source = Cwd::abs_path($INC{'PAGI/SSE/FFI.pm'});
my ($name) = $real =~ m{([^/]+)\z};
diag "PAGI::SSE::FFI loaded $real";

# Runs perl with the module from $lib; returns what it printed, and the status.
sub perl {
    my ($lib, $code, %env) = @_;
    my $out = File::Temp->new;
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        delete @ENV{qw(PAGI_SSE_LIB CARGO_TARGET_DIR PERL5OPT)};
        @ENV{ keys %env } = values %env;
        open STDOUT, '>&', $out;
        open STDERR, '>&', $out;
        exec $^X, "-I$lib", '-MPAGI::SSE::FFI', '-e', $code;
        CORE::exit(127);
    }
    waitpid $pid, 0;
    my $status = $?;
    seek $out, 0, 0;
    local $/;
    return (scalar <$out>, $status);
}

my $LIBRARY = 'print PAGI::SSE::FFI::library()';

# A module tree of its own: $dir/$lib/PAGI/SSE/FFI.pm and its numbers, nothing else.
sub tree {
    my ($lib) = @_;
    my $dir = Cwd::abs_path(File::Temp::tempdir(CLEANUP => 1));
    File::Path::make_path("$dir/$lib/PAGI/SSE");
    File::Copy::copy($source, "$dir/$lib/PAGI/SSE/FFI.pm") or die "copy: $!";
    File::Path::make_path("$dir/$lib/PAGI/SSE/FFI");
    (my $numbers = $source) =~ s{\.pm\z}{/Constants.pm};
    File::Copy::copy($numbers, "$dir/$lib/PAGI/SSE/FFI/Constants.pm") or die "copy: $!";
    return $dir;
}

sub put_library {
    my ($dir) = @_;
    File::Path::make_path($dir);
    symlink $real, "$dir/$name" or die "symlink: $!";
    return "$dir/$name";
}

# Two names of one file.
sub same_file {
    my ($got, $expected, $why) = @_;
    my @got = stat $got;
    my @expected = stat $expected;
    ok @got && $got[1] == $expected[1], $why or diag "loaded: $got";
    return;
}

subtest 'an installed module loads the library beside it' => sub {
    my $dir = tree('lib');
    my $file = put_library("$dir/lib/auto/PAGI/SSE");
    my ($out, $status) = perl("$dir/lib", $LIBRARY);
    is $status,             0;
    is Cwd::abs_path($out), $real;
    like $out, qr{^\Q$dir\E/.*auto/PAGI/SSE/\Q$name\E\z}, $file;
};

subtest 'a module in blib loads the library in blib/arch' => sub {
    my $dir = tree('blib/lib');
    put_library("$dir/blib/arch/auto/PAGI/SSE");
    my ($out, $status) = perl("$dir/blib/lib", $LIBRARY);
    is $status, 0;
    like $out, qr{^\Q$dir\E/.*arch/auto/PAGI/SSE/\Q$name\E\z};
};

subtest 'a module in a source tree loads what cargo built' => sub {
    my $dir = tree('perl/lib');
    put_library("$dir/target/release");
    my ($out, $status) = perl("$dir/perl/lib", $LIBRARY);
    isnt $status, 0, 'without a Cargo.toml it is no source tree';

    open my $cargo, '>', "$dir/Cargo.toml" or die "Cargo.toml: $!";
    close $cargo;
    ($out, $status) = perl("$dir/perl/lib", $LIBRARY);
    is $status, 0;
    like $out, qr{^\Q$dir\E/.*target/release/\Q$name\E\z};

    put_library("$dir/elsewhere/release");
    ($out) = perl("$dir/perl/lib", $LIBRARY, CARGO_TARGET_DIR => "$dir/elsewhere");
    is $out, "$dir/elsewhere/release/$name", 'CARGO_TARGET_DIR is honoured';
};

subtest 'the installed library wins over the one that cargo built' => sub {
    my $dir = tree('perl/lib');
    put_library("$dir/target/release");
    put_library("$dir/perl/lib/auto/PAGI/SSE");
    open my $cargo, '>', "$dir/Cargo.toml" or die "Cargo.toml: $!";
    close $cargo;
    my ($out) = perl("$dir/perl/lib", $LIBRARY);
    like $out, qr{auto/PAGI/SSE/\Q$name\E\z};
};

subtest 'PAGI_SSE_LIB wins over all' => sub {
    my $dir = tree('lib');
    put_library("$dir/lib/auto/PAGI/SSE");
    my $file = put_library("$dir/mine");
    my ($out) = perl("$dir/lib", $LIBRARY, PAGI_SSE_LIB => $file);
    is $out, $file;
};

subtest 'the working directory does not matter' => sub {
    my $lib = File::Spec->abs2rel($source =~ s{/PAGI/SSE/FFI\.pm\z}{}r);
    my $before = Cwd::getcwd();
    my ($there, $status) = perl($lib, "chdir '/'; $LIBRARY; PAGI::SSE::FFI::version()");
    is $status, 0, 'a relative -I, then chdir';
    chdir File::Temp::tempdir(CLEANUP => 1) or die "chdir: $!";
    my ($out) = perl($source =~ s{/PAGI/SSE/FFI\.pm\z}{}r, $LIBRARY);
    chdir $before or die "chdir: $!";
    same_file $out, $there, 'the same file';
};

subtest 'another PAGI::SSE in @INC is not looked into' => sub {
    my $dir = tree('lib');
    my $other = tree('lib');
    put_library("$other/lib/auto/PAGI/SSE");
    my ($out, $status) = perl("$dir/lib", $LIBRARY, PERL5LIB => "$other/lib");
    isnt $status, 0;
    unlike $out, qr/\Q$other\E/;
};

subtest 'without a library the error names each path and the command' => sub {
    my $dir = tree('lib');
    my ($out, $status) = perl("$dir/lib", $LIBRARY);
    isnt $status, 0;
    like $out, qr/native library is missing/;
    like $out, qr{^\s+\S*lib\S*/auto/PAGI/SSE/\Q$name\E$}m, 'installed';
    like $out, qr{^\s+\S*/arch/auto/PAGI/SSE/\Q$name\E$}m,  'blib';
    like $out, qr/cargo build --release --locked/,          'the command';

    ($out, $status) = perl("$dir/lib", $LIBRARY, PAGI_SSE_LIB => '/nonexistent/x.so');
    isnt $status, 0;
    like $out,   qr{^\s+/nonexistent/x\.so$}m,       'the path in PAGI_SSE_LIB';
    unlike $out, qr{auto/PAGI},                      'no other was tried';
    like $out,   qr/cargo build --release --locked/, 'the command';
};

subtest 'a file that is no library of ours is refused' => sub {
    my $dir = tree('lib');
    open my $fh, '>', "$dir/text.so" or die "text.so: $!";
    print {$fh} "not a library\n";
    close $fh;
    my ($out, $status) = perl("$dir/lib", $LIBRARY, PAGI_SSE_LIB => "$dir/text.so");
    isnt $status, 0;
    like $out, qr{\Q$dir\E/text\.so},                          'named';
    like $out, qr/needs 1\b.*cargo build --release --locked/s, 'what is needed, and the command';
};

done_testing;
