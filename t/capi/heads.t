use strict;
use warnings;

# The servers that README and the header show, and its loop, pasted, against request heads of
# every size: each is answered, and the next client too.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use IO::Select;
use IO::Socket::INET;
use POSIX       ();
use Time::HiRes ();
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();
plan skip_all => 'not made for ' . $^O if $^O ne 'linux';

my $root = T::CAPI::root();

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar readline $in;
}

# The program in a text: from its first include to the end of main.
sub program {
    my ($text) = @_;
    my ($program) = $text =~ /^(#include .*?^int main\b.*?^\})/ms;
    return $program;
}

my ($top) = slurp("$root/include/pagi_sse.h") =~ m{\A/\*\n(.*?)\*/}s;
$top =~ s/^ \*(?:   )?//gm;

# The same with the loop that it shows for hosts of another kind.
sub looping {
    my ($next) = $top =~ /^(while \(pagi_sse_server_next.*?^pagi_sse_server_flush\(server\);)$/ms or return undef;
    my ($begin) = program($top) =~ /\A(.*)^[^\n]*pagi_sse_server_run\(/ms                         or return undef;
    return <<"END";
$begin
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record record;
    size_t used;
    while (code == 0 && pagi_sse_server_wait(server, PAGI_SSE_FOREVER) == 1) {
        $next
    }
    return 1;
}
END
}

my %shown = (
    'README.md'          => program(slurp("$root/README.md")),
    'pagi_sse.h'         => program($top),
    'pagi_sse.h, a loop' => looping(),
);

# Any port: nothing else of it is changed.
sub pasted {
    my ($name) = @_;
    my $source = T::CAPI::dir() . '/' . ($name =~ s/\W/-/gr) . '.c';
    my $changed = $shown{$name} =~ s/"127\.0\.0\.1:\d+"/"127.0.0.1:0"/r;
    open my $out, '>', $source or die "$source: $!";
    print {$out} $changed;
    close $out;
    return T::CAPI::build($source, flags => [qw(-std=c99 -Wconversion -Wpedantic)]);
}

# The port that a process listens on.
sub port_of {
    my ($pid) = @_;
    my $deadline = Time::HiRes::time() + 20;
    while (Time::HiRes::time() < $deadline) {
        my %inode = map { (readlink || '') =~ /\Asocket:\[(\d+)\]/ ? ($1 => 1) : () } glob "/proc/$pid/fd/*";
        for (split /\n/, slurp('/proc/net/tcp')) {
            my ($at, $state, $inode) = (split)[1, 3, 9];
            return hex +(split /:/, $at)[1] if $state eq '0A' && $inode{$inode};
        }
        Time::HiRes::sleep(0.01);
    }
    die "process $pid does not listen";
}

# Sends a head, as far as the server takes it; the status of its answer.
sub status_of {
    my ($port, $head) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
    $socket->blocking(0);
    local $SIG{PIPE} = 'IGNORE';
    my ($sent, $got, $select) = (0, '', IO::Select->new($socket));
    my $deadline = Time::HiRes::time() + 20;
    while ($got !~ /\r\n\r\n/ && Time::HiRes::time() < $deadline) {
        my $left = $sent < length $head;
        my ($in, $out) = IO::Select->select($select, $left ? $select : undef, undef, 20);
        if    ($in && @$in) { sysread $socket, $got, 65536, length $got or last }
        elsif ($out && @$out) {
            my $n = syswrite $socket, $head, length($head) - $sent, $sent;
            $sent = defined $n ? $sent + $n : length $head;
        }
    }
    return $got =~ m{\AHTTP/1\.1 (\d+) } ? $1 : "'$got'";
}

my $rest = " HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n";
my %shape = (
    path          => sub { return 'GET /' . 'p' x $_[0] . "$rest\r\n" },
    query         => sub { return 'GET /?' . 'q=1&' x ($_[0] / 4) . 'q' x ($_[0] % 4) . "$rest\r\n" },
    'a field'     => sub { return "GET /$rest" . 'x-a: ' . 'v' x $_[0] . "\r\n\r\n" },
    'many fields' => sub { return "GET /$rest" . ('x-a: ' . 'v' x ($_[0] / 100) . "\r\n") x 100 . "\r\n" },
);

# Around each power of two, and anywhere, from 1 KiB to 1 MiB.
my $seed = $ENV{PAGI_SSE_FUZZ_SEED} || int(rand 2**31);
note "PAGI_SSE_FUZZ_SEED=$seed";
srand $seed;
my %sizes = map { $_ => 1 } (map { 2**$_ - 1, 2**$_, 2**$_ + 1 } 10 .. 20), map { int 2**(10 + rand 10) } 1 .. 200;
my @sizes = sort { $a <=> $b } keys %sizes;

my $pid;    # of the program that runs
END { local $?; kill KILL => $pid if $pid }

for my $name (sort keys %shown) {
    ok defined $shown{$name}, "$name shows a program" or next;
    my $program = eval { pasted($name) };
    ok defined $program, 'it compiles as it is' or do { diag $@; next };
    $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        open STDOUT, '>&', \*STDERR;
        exec {$program} $program or POSIX::_exit(127);
    }
    my $port = port_of($pid);
    for my $shape (sort keys %shape) {
        subtest "$name: a large $shape" => sub {
            my ($refused, @odd);
            for my $size (@sizes) {
                my $status = status_of($port, $shape{$shape}->($size));
                my $next = status_of($port, "GET /$rest\r\n");
                my $right = $refused
                    || $size > 300_000 ? qr/\A4(?:14|31)\z/ : $size < 8000 ? qr/\A200\z/ : qr/\A(?:200|414|431)\z/;
                $refused = $size if !$refused && $status =~ /\A4/;
                push @odd, "$size: $status, then $next" if $status !~ $right || $next ne '200';
                last if @odd > 5;
            }
            is \@odd, [], 'each is served or refused, by its size alone, and so is the next';
            note "refused from $refused bytes on";
        };
    }
    is kill(TERM => $pid), 1, 'it still runs';
    waitpid $pid, 0;
    $pid = undef;
}

done_testing;
