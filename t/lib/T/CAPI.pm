package T::CAPI;

# Builds C programs against the header and the library under test, and runs
# them.
#
#     my $program = T::CAPI::build("$root/t/capi/frame.c", flags => ['-g']);
#     my ($output, $status) = T::CAPI::run([ 'valgrind', $program ], timeout => 300);

use strict;
use warnings;

use File::Basename ();
use File::Spec     ();
use File::Temp     ();
use POSIX          ();
use Time::HiRes    ();

use T::Inc;
use Test2::V0 ();
use PAGI::SSE::FFI;

our @WARNINGS = qw(-std=c11 -Wall -Wextra -Werror);

my $dir = File::Temp::tempdir(CLEANUP => 1);

sub root    { return T::Inc::root() }
sub dir     { return $dir }
sub library { return File::Spec->rel2abs(PAGI::SSE::FFI::library()) }

# One of these in PATH, or undef.
sub command {
    for my $name (@_) {
        my @found = grep { -x } map { File::Spec->catfile($_, $name) } File::Spec->path;
        return $found[0] if @found;
    }
    return undef;
}

sub compiler { return command('gcc', 'cc') }

# The C programs of t/capi, by name.
sub programs {
    my @files = sort glob root() . '/t/capi/*.c';
    return map { File::Basename::basename($_, '.c') } @files;
}

# Compiles and links with the library under test; dies with what the compiler
# said. flags: before the source; more: at the end; libs: in
# place of the library; compiler and warnings: for another language.
sub build {
    my ($source, %option) = @_;
    my $program =
        File::Spec->catfile($dir, (File::Basename::basename($source) =~ s/\.\w+\z//r) . ($option{suffix} || ''));
    my $lib_dir = File::Basename::dirname(library());
    my @libs = $option{libs} ? @{ $option{libs} } : ("-L$lib_dir", '-lpagi_sse', "-Wl,-rpath,$lib_dir");
    my @include = $option{libs} ? () : '-I' . root() . '/include';
    my @command = (
        $option{compiler} || compiler(),
        @{ $option{warnings} || \@WARNINGS },
        '-pthread', @{ $option{flags} || [] },
        @include, $source, '-o', $program, @libs, @{ $option{more} || [] }
    );
    my ($output, $status) = run(\@command, timeout => 120);
    die "@command\n$output" if $status ne '0';
    return $program;
}

# Runs a command; its output, both streams, and its status: a number, 'signal
# N', or 'timeout'.
sub run {
    my ($command, %option) = @_;
    my $out = File::Temp->new(DIR => $dir);
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        setpgrp;
        open STDIN,  '<',  File::Spec->devnull;
        open STDOUT, '>&', $out;
        open STDERR, '>&', $out;
        @ENV{ keys %{ $option{env} } } = values %{ $option{env} } if $option{env};
        chdir $option{in}                or POSIX::_exit(126) if $option{in};
        exec { $command->[0] } @$command or print STDERR "$command->[0]: $!\n";
        POSIX::_exit(127);
    }
    my $deadline = Time::HiRes::time() + ($option{timeout} || 60);
    my $status;
    while (!defined $status) {
        if (waitpid($pid, POSIX::WNOHANG()) == $pid) {
            $status = $? & 127 ? 'signal ' . ($? & 127) : $? >> 8;
        }
        elsif (Time::HiRes::time() > $deadline) {
            kill KILL => -$pid;
            waitpid $pid, 0;
            $status = 'timeout';
        }
        else { Time::HiRes::sleep(0.005) }
    }
    open my $in, '<', "$out" or die "$out: $!";
    local $/;
    my $text = readline $in;
    return (defined $text ? $text : '', $status);
}

# All programs of t/capi, each a subtest: built with these flags, run by this
# command, under these environment variables.
sub suite {
    my (%option) = @_;
    for my $name (programs()) {
        Test2::V0::subtest(
            $name => sub {
                my $program = eval { build(root() . "/t/capi/$name.c", %option) };
                return Test2::V0::fail("it does not build: $@") if !defined $program;
                my ($output, $status) =
                    run([@{ $option{command} || [] }, $program], timeout => 300, env => $option{env});
                my $plan = $output =~ /^1\.\.([0-9]+)$/m ? $1 : 0;
                my @results = $output =~ /^((?:not )?ok [0-9]+ - .*)$/mg;
                Test2::V0::ok($_ !~ /^not /, s/^.*? - //r) for @results;
                Test2::V0::is($status,         0,     'exit status') or Test2::V0::diag($output);
                Test2::V0::is(scalar @results, $plan, 'all ran');
                Test2::V0::note($1) if $output =~ /(ERROR SUMMARY: .*)/;
            }
        );
    }
    return;
}

1;
