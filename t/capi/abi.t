use strict;
use warnings;

# What compiled programs depend on is written down, and held against the code;
# docs/abi.md says what may change.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

plan skip_all => 'no C compiler' if !T::CAPI::compiler();

my $root = T::CAPI::root();
my $header = slurp("$root/include/pagi_sse.h");

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar readline $in;
}

# It begins with a text, and a program in that.
my $top = $header =~ s{\A(/\*.*?\*/)}{}s ? $1 : die 'no text at the top';

# What is inline is in the header alone.
sub functions { return sort $header =~ /^(?!static )[\w ]+?[ *]+(pagi_sse_\w+)\(/mg }

sub exported {
    my ($file) = @_;
    my ($output, $status) = T::CAPI::run(['nm', '-D', '--defined-only', $file]);
    is $status, 0, 'nm';
    return sort map { (split)[2] } split /\n/, $output;
}

subtest 'the library exports the functions of the header, and nothing else' => sub {
    return skip_all('no nm') if !T::CAPI::command('nm');
    is [exported(T::CAPI::library())], [functions()];
};

subtest 'symbols and struct layouts are those of t/capi/abi.txt' => sub {
    my ($now, $status) = T::CAPI::run([$^X, "$root/script/abi"]);
    is $status, 0, 'script/abi';
    return skip_all('another kind of machine') if length(pack 'J', 0) != 8;
    my %is = map { $_ => 1 } split /\n/,  $now;
    my %was = map { $_ => 1 } split /\n/, slurp("$root/t/capi/abi.txt");
    is [grep { !$is{$_} } sort keys %was],    [], 'nothing went or changed: old programs depend on it (docs/abi.md)';
    is [grep { !$was{$_} } sort keys %is],    [], 'nothing new; else: script/abi >t/capi/abi.txt';
    is scalar(grep { /^function/ } keys %is), scalar(my @all = functions()), 'every function is in it';
};

subtest 'random calls (t/capi/random.c) are made of every function' => sub {
    my @listed = slurp("$root/t/capi/abi.txt") =~ /^function .*?\b(pagi_sse_\w+)\(/mg;
    my @called = slurp("$root/t/capi/random.c") =~ /^    ROW\((\w+), [0-9]+\),$/mg;
    ok @listed > 60, scalar(@listed) . ' functions';
    is [sort @called], [sort @listed];
};

subtest 'every function with a handle is given wrong ones by t/capi/misuse.c' => sub {
    my $handle = qr/pagi_sse_(?:server|conn|hub|subscription|parser|runtime|client) \w/;
    my @with = slurp("$root/t/capi/abi.txt") =~ /^function [^(\n]*\b(pagi_sse_\w+)\((?:[^)\n]*, )?$handle/mg;
    my %tried =
        map { $_ => 1 } slurp("$root/t/capi/misuse.c") =~ /^static int64_t \w+\(uint64_t h\) \{.*?\b(pagi_sse_\w+)\(/mg;
    ok @with > 70, scalar(@with) . ' functions';
    is [grep { !$tried{$_} } sort @with], [];
};

subtest 'of every function with an output t/capi/null.c claims what NULL does' => sub {
    my @with = slurp("$root/t/capi/abi.txt") =~ /^function [^(\n]*\b(pagi_sse_\w+)\([^)\n]*\*(?:len|used|at|out)\b/mg;
    my @claimed = slurp("$root/t/capi/null.c") =~ /^    ROW\((\w+)\),$/mg;
    ok @with > 30, scalar(@with) . ' functions';
    is [sort @claimed], [sort @with];
};

subtest 'every name of the header is ours' => sub {
    my @names = $header =~ /^#define (\w+)/mg;
    push @names, $header =~ /^(?:typedef struct |PAGI_SSE_ENUM\()(\w+)/mg, $header =~ /^} (\w+);/mg,
        $header =~ /^typedef [\w ]+ (\w+);/mg, $header =~ /^  ([A-Z]\w+)(?: =|,$)/mg, functions();
    ok @names > 150, 'all of them: ' . @names;
    is [grep { !/\A(?:pagi_sse_|PAGI_SSE_)/ } @names], [], 'with the prefix';
};

# What all have in common is said once, at the top.
my %said = (
    Ownership => qr/^ \* OWNERSHIP\. /m,
    Threads   => qr/^ \* THREADS\. /m,
    Fork      => qr/^ \* FORK\. /m,
    Since     => qr/^ \* SINCE\. /m,
);

subtest 'each function\'s comment has its parts, in order' => sub {
    like $top, $said{$_}, "$_ of all" for sort keys %said;
    my %seen;
    while (
        $header =~ m{((?:^//[^\n]*\n)+)(?:PAGI_SSE_NODISCARD\n)?(?!static )[\w ]+?[ *]+(pagi_sse_\w+)\(([^()]*)\);$}mg)
    {
        my ($comment, $name, $parameters) = ($1, $2, $3);
        $comment =~ s{^// ?}{}mg;
        my @parts = $comment =~ /^\*(\w+)\*/mg;
        my @allowed = grep {
            my $p = $_;
            grep { $_ eq $p } @parts
        } qw(Parameters Returns Ownership Threads Fork Since);
        is \@parts, \@allowed, "$name: in order, each once";
        ok scalar(grep { $_ eq 'Returns' } @parts), "$name: what it returns";
        # The object alone needs no words.
        my $alone = $parameters =~ /\A(?:void|pagi_sse_\w+ \w+|uint64_t key)\z/;
        ok $alone || grep({ $_ eq 'Parameters' } @parts), "$name: its parameters";
        ok $comment !~ /^\*(?:Ownership|Threads|Fork)\*: (?:nothing|any|no difference|a handle error in a child)\.$/m,
            "$name: nothing twice";
        $seen{$name}++;
    }
    is [sort keys %seen], [functions()], 'every function has one';
};

done_testing;
