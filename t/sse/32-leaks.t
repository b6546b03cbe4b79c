use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# 100,000 connections, callbacks that capture $sse included, leave the handle
# table as it was and memory flat, once the end was observed.

use Future;
use Future::AsyncAwait;
use PAGI::SSE::FFI ();

sub kilobytes {
    open my $statm, '<', '/proc/self/statm' or return;
    return (split ' ', scalar <$statm>)[1] * 4;
}

my %life = (
    'run until the client leaves' => async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->on_close(sub { $sse->stash->{gone}++ });
        $sse->on_error(sub { $sse->stash->{error}++ });
        await $sse->keepalive(25);
        await $sse->send('x');
        await $sse->run;
    },
    'close' => async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->on_close(async sub { $sse->stash->{gone}++ });
        await $sse->each([1, 2], async sub { return { data => $_[0] } });
        await $sse->close;
    },
    'just return' => async sub {
        my $sse = PAGI::SSE->new(@_);
        await $sse->send('x');
    },
    'a $send that fails' => async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, sub { die "gone\n" });
        $sse->on_close(sub { $sse->stash->{gone}++ });
        $sse->on_error(sub { $sse });
        await $sse->try_send('x');
    },
);

for my $name (sort keys %life) {
    subtest "foreign: $name" => sub {
        my $base = PAGI::SSE::FFI::handle_count();
        my $before;
        my $n = 25_000;
        for my $i (1 .. $n) {
            my $scope = { type => 'sse', headers => [] };
            my @waiting;
            my $receive = sub { push @waiting, my $future = Future->new; return $future };
            my $app = $life{$name}->($scope, $receive, sub { $scope->{sent}++; Future->done });
            $_->done({ type => 'sse.disconnect', reason => 'client_closed' }) for splice @waiting;
            $app->get;
            $before = kilobytes() if $i == $n / 5;
        }
        is PAGI::SSE::FFI::handle_count(), $base, 'the handle table';
        my $grown = kilobytes() - $before;
        ok $grown < 1_500, "memory ($grown kB more)";
    };
}

done_testing;
