use strict;
use warnings;

# The C programs of README and of the header's top: what compilers of C and C++
# say to them when they say all they can; and that README's serves.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;
use IO::Socket::INET;
use POSIX       ();
use Time::HiRes qw(sleep time);

my $cc = T::CAPI::compiler() or plan skip_all => 'no C compiler';
my $root = T::CAPI::root();

sub content {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return readline $in;
}

my ($text) = content("$root/README.md") =~ /^## C\n\n```c\n(.*?)^```$/ms or die 'README.md has no C program';

my ($top) = content("$root/include/pagi_sse.h") =~ m{\A/\*\n.*?^( \*   #include .*?^ \*   int main.*?^ \*   \})$}ms
    or die 'the header shows no program';
$top =~ s/^ \*(?:   )?//gm;

sub written {
    my ($name, $program) = @_;
    my $file = T::CAPI::dir() . "/$name.c";
    open my $out, '>', $file or die "$file: $!";
    print {$out} "$program\n";
    close $out or die "$file: $!";
    return $file;
}

my $source = written('hello', $text);
my @compilers = map { [$_, $cc] } qw(c99 c11 c17);
push @compilers, ['c++17', T::CAPI::command('g++', 'c++'), qw(-x c++)] if T::CAPI::command('g++', 'c++');
for my $file ($source, written('top', $top)) {
    for my $compiler (@compilers) {
        my ($standard, @command) = @$compiler;
        my ($said,     $status) = T::CAPI::run([
            @command, "-std=$standard", qw(-Wall -Wextra -Wconversion -Wpedantic -Werror),
            "-I$root/include", '-c', $file, '-o', "$file.o"
        ]);
        is [$status, $said], [0, ''], "nothing to say as $standard";
    }
}

subtest 'it serves' => sub {
    my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "listen: $!";
    my $port = $free->sockport;
    close $free;
    open my $out, '>', $source or die "$source: $!";
    print {$out} $text =~ s/127\.0\.0\.1:\K5001/$port/r;
    close $out or die "$source: $!";
    my $program = T::CAPI::build($source);
    my $pid = fork // die "fork: $!";
    exec $program or POSIX::_exit(127) if !$pid;
    my ($client, $deadline) = (undef, time + 20);
    sleep 0.01 while !($client = IO::Socket::INET->new("127.0.0.1:$port")) && time < $deadline;
    ok $client, 'it listens';
    $client->print("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    my $answer = do { local $/; readline $client };
    kill KILL => $pid;
    waitpid $pid, 0;
    like $answer, qr/\r\n\r\n.*data: hello\n\n/s;
};

done_testing;
