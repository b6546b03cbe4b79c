use strict;
use warnings;

# include/pagi_sse.hpp: a program that uses all of it, as C++17 and as C++20,
# and that no function of the C header was forgotten.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

my $compiler = T::CAPI::command('g++', 'c++');
plan skip_all => 'no C++ compiler' if !defined $compiler;

my $root = T::CAPI::root();
my $valgrind = T::CAPI::command('valgrind');
my @watched = $valgrind ? ($valgrind, qw(-q --error-exitcode=99 --leak-check=full)) : ();

# What a program in C++ has no need of, or calls as it is.
my %not_wrapped = map { $_ => 1 } qw(
    pagi_sse_abi_version pagi_sse_version pagi_sse_handle_count pagi_sse_test_panic
    pagi_sse_conn_open_detached pagi_sse_conn_admit pagi_sse_conn_admit_event
    pagi_sse_server_run pagi_sse_runtime_run
    pagi_sse_client_open pagi_sse_client_next pagi_sse_client_state pagi_sse_client_last_event_id
    pagi_sse_client_close pagi_sse_client_free
    pagi_sse_scope_set pagi_sse_scope_get pagi_sse_scope_remove
    pagi_sse_query_value pagi_sse_percent_decode
    pagi_sse_server_counters pagi_sse_runtime_counters pagi_sse_hub_counters pagi_sse_topic_counters pagi_sse_subscription_counters
);

sub slurp {
    my ($file) = @_;
    open my $in, '<', "$root/include/$file" or die "$file: $!";
    local $/;
    return scalar readline $in;
}

for my $standard (qw(c++17 c++20)) {
    subtest "t/capi/hpp.cpp as $standard" => sub {
        my $program = eval {
            T::CAPI::build(
                "$root/t/capi/hpp.cpp",
                compiler => $compiler,
                warnings => ["-std=$standard", qw(-g -Wall -Wextra -Wconversion -Wpedantic -Werror)],
                suffix   => "-$standard",
            );
        };
        ok defined $program, 'it builds' or return diag $@;
        my ($output, $status) = T::CAPI::run([@watched, $program], timeout => 120);
        ok $_ !~ /^not /, s/^.*? - //r for $output =~ /^((?:not )?ok [0-9]+ - .*)$/mg;
        is $status, 0, 'exit status' or diag $output;
    };
}

subtest 'it uses every function of the C header, but those that are listed here' => sub {
    my @functions = slurp('pagi_sse.h') =~ /^[\w ]+?[ *]+(pagi_sse_\w+)\([^()]*\);/mg;
    my %used = map { $_ => 1 } slurp('pagi_sse.hpp') =~ /\b(pagi_sse_\w+)\b/g;
    ok @functions > 60, scalar(@functions) . ' functions';
    is [grep { !$used{$_} } @functions], [grep { $not_wrapped{$_} } @functions], 'the others';
    is [
        grep {
            my $f = $_;
            !grep { $_ eq $f } @functions
        } sort keys %not_wrapped
        ],
        [], 'all that are listed exist';
    my $lines = () = slurp('pagi_sse.hpp') =~ /\n/g;
    ok $lines < 300, "it is short: $lines lines";
};

done_testing;
