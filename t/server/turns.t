use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;
use Scalar::Util qw(refaddr);

# Sends that are done at once do not keep the others from their turn.

use constant MANY => 400_000;

my $others;    # requests answered

sub forever {
    return sub { return $others ? undef : 'x' }
}

my %APP = (
    'each over an array' => async sub {
        my ($sse) = @_;
        await $sse->each([(1) x MANY], sub { $others ? $sse->close : (); return { data => 'x' } });
    },
    'each over a coderef' => async sub {
        my ($sse) = @_;
        await $sse->each(forever(), sub { return { data => 'x' } });
    },
    'each whose callback sends nothing' => async sub {
        my ($sse) = @_;
        await $sse->each(forever(), sub { return });
    },
    'each with an async callback that sends by itself' => async sub {
        my ($sse) = @_;
        await $sse->each(forever(), async sub { await $sse->send('x'); return });
    },
    (
        map {
            my ($method, @event) = @$_;
            (
                "a loop of $method" => async sub {
                    my ($sse) = @_;
                    await $sse->start;
                    while (!$others) { await $sse->$method(@event) or die }
                }
            )
        } ['send', 'x'],
        ['send_json',        [1]],
        ['send_event',       data => 'x', retry => 5],
        ['send_comment',     'x'],
        ['try_send',         'x'],
        ['try_send_json',    [1]],
        ['try_send_event',   data => 'x', event => 'e'],
        ['try_send_comment', 'x'],
    ),
    'nine sends that nobody waits for, then one that is waited for' => async sub {
        my ($sse) = @_;
        while (!$others) {
            $sse->send('x') for 1 .. 9;
            await $sse->send('x');
        }
    },
);

my %RAW = (
    'a loop of sse.send by $send itself' => async sub {
        my ($send) = @_;
        await $send->({ type => 'sse.start' });
        await $send->({ type => 'sse.send', data => 'x' }) while !$others;
    },
    'a loop of sse.comment by $send itself' => async sub {
        my ($send) = @_;
        await $send->({ type => 'sse.start' });
        await $send->({ type => 'sse.comment', comment => 'x' }) while !$others;
    },
    'a loop of http.response.body' => async sub {
        my ($send) = @_;
        await $send->({ type => 'http.response.start' });
        await $send->({ type => 'http.response.body', body => 'x', more => 1 }) while !$others;
        await $send->({ type => 'http.response.body' });
    },
);

# The client's socket is read by the same loop, so nothing is drained and the
# queue would make an end of it: a server's client that is fast is a thread.
sub fast_client {
    my ($host, $accept) = @_;
    my $pid = fork // die $!;
    if (!$pid) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->server->port);
        print {$socket} "GET /busy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n$accept\r\n";
        1 while sysread $socket, my $bytes, 65_536;
        require POSIX;
        POSIX::_exit(0);
    }
    return $pid;
}

sub served {
    my ($run, $accept) = @_;
    ($others, my $began, my $over) = (0, 0, 0);
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} eq 'lifespan';
            if ($scope->{path} eq '/busy') {
                $began = 1;
                await $run->($scope, $receive, $send);
                $over = 1;
                return;
            }
            await $send->({ type => 'http.response.start' });
            await $send->({ type => 'http.response.body', body => 'ok' });
            $others++;
        }
    );
    my $late = 0;
    local $SIG{ALRM} = sub { $late = $others = 1 };
    alarm 10;
    my $pid = fast_client($host, $accept);
    $host->until(sub { $began }, 'the busy one');
    my $other = $host->get('/');
    $host->until(sub { $other->ended && $over }, 'both');
    alarm 0;
    kill KILL => $pid;
    waitpid $pid, 0;
    return $late ? 'the busy one never gave way' : $other->status;
}

for my $what (sort keys %APP) {
    is served(sub { $APP{$what}->(PAGI::SSE->new(@_)) }, "Accept: text/event-stream\r\n"), 200, $what;
    is served(
        sub {
            my ($scope, $receive, $send) = @_;
            $APP{$what}->(PAGI::SSE->new($scope, $receive, sub { $send->(@_) }));
        },
        "Accept: text/event-stream\r\n"
        ),
        200, "$what, \$send wrapped";
}
for my $what (sort keys %RAW) {
    is served(sub { $RAW{$what}->($_[2]) }, $what =~ /http/ ? '' : "Accept: text/event-stream\r\n"), 200, $what;
}

done_testing;
