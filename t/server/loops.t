use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use IO::Socket::INET;

# The same application under every loop that `run` can use, and under signals:
# each in a process of its own, as a process has one loop.

my $APP = <<'PERL';
use strict; use warnings; use Future::AsyncAwait;
use PAGI::SSE; use PAGI::SSE::Server;
my $server; my $ticks = 0;
async sub app {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    $sse->on_close(sub { print "closed $_[1]\n" });
    await $sse->every(0.01, async sub { await $sse->send(++$ticks); $server->stop if $ticks >= 5 });
    print "returned\n";
}
$server = PAGI::SSE::Server->new(app => \&app, listen => '127.0.0.1:0');
$SIG{WINCH} = sub { $ENV{T_STOP_BY_SIGNAL} and $server->stop };
$server->prepare_loop->start;
$| = 1;
print "port ", $server->port, "\n";
$server->run;
print 'impl ', defined $Future::IO::IMPL ? $Future::IO::IMPL : 'none', "\n";
print "done\n";
PERL

sub serve {
    my (%env) = @_;
    my $prelude = delete $env{prelude} || '';
    local @ENV{ keys %env } = values %env;
    my @inc = map { "-I$_" } grep { !ref } @INC;
    my $pid = open my $out, '-|', $^X, @inc, '-e', $prelude . $APP or die $!;
    return ($pid, $out);
}

sub one_client {
    my ($pid, $out) = @_;
    local $SIG{ALRM} = sub { kill KILL => $pid; die "timed out\n" };
    alarm 30;
    my ($port) = <$out> =~ /\Aport (\d+)/                             or die 'no port';
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die $!;
    print {$socket} "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    my @data = map { /^data: (\d+)/ ? $1 : () } <$socket>;
    close $socket;
    my @lines = <$out>;
    close $out;
    alarm 0;
    return (\@data, [map { s/\n//r } @lines], $?);
}

my @CASES = (
    ['IO::Async with its Select loop', { IO_ASYNC_LOOP => 'Select' }, 'Future::IO::Impl::IOAsync'],
    ['IO::Async with its Poll loop',   { IO_ASYNC_LOOP => 'Poll' },   'Future::IO::Impl::IOAsync'],
    ['IO::Async with its Epoll loop',  { IO_ASYNC_LOOP => 'Epoll' },  'Future::IO::Impl::IOAsync'],
    [
        'plain Future::IO, where there is no IO::Async',
        { prelude => 'BEGIN { unshift @INC, sub { die "not here\n" if $_[1] =~ m{^IO/Async} } } ' },
        'Future::IO::_DefaultImpl'
    ],
    [
        'an implementation that the application has set',
        {
            prelude => 'package My::Impl; our @ISA; use Future::IO; '
                . '@ISA = "Future::IO::_DefaultImpl"; $Future::IO::IMPL = "My::Impl"; package main; '
        },
        'My::Impl'
    ],
);

for my $case (@CASES) {
    my ($what, $env, $impl) = @$case;
    subtest "every and stop under $what" => sub {
        my ($data, $lines, $status) = one_client(serve(%$env));
        is $data,   [1 .. 5];
        is $lines,  ['closed server_shutdown', 'returned', "impl $impl", 'done'];
        is $status, 0;
    };
}

for my $env ({ IO_ASYNC_LOOP => 'Epoll' }, { IO_ASYNC_LOOP => 'Select' }, $CASES[3][1]) {
    subtest 'an idle server is stopped by a signal, and 200 signals crash nothing' => sub {
        my ($pid, $out) = serve(%$env, T_STOP_BY_SIGNAL => 1);
        <$out>;
        # Ignored by default: some come before the handler is there, or at exit.
        for (1 .. 200) { kill WINCH => $pid; select undef, undef, undef, 0.001 if !($_ % 20) }
        my @lines = <$out>;
        close $out;
        is [$?, $lines[-1]], [0, "done\n"];
    };
}

done_testing;
