use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use T::Host;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use PAGI::SSE::Hub;

# How long a reason may be, wherever one is given.

my $LONGEST = 'x' x 1024;
my $REFUSED = qr/the reason must have at most 1024 octets, got (\d+) at \Q$0\E line \d+\.\n\z/;

subtest 'under another server' => sub {
    for my $length (1025, 262_145, 400_000) {
        my $peer = peer();
        my $sse = $peer->sse;
        $sse->start->get;
        like failure_of($sse->close(reason => 'x' x $length)), qr/\APAGI::SSE: close: $REFUSED/, $length;
        is [$sse->connection_state, $peer->types], ['started', ['sse.start']], 'nothing happened';
    }
    my $sse = peer()->sse;
    like failure_of($sse->close("\x{e4}" x 513)), qr/got 1026/, 'octets count';
    like failure_of($sse->close(reason => [])),
        qr/\APAGI::SSE: close: the reason must be text, got a reference \(ARRAY\)/;
    $sse->close(reason => $LONGEST)->get;
    is $sse->disconnect_reason, $LONGEST, 'the longest';
};

subtest 'a long reason of another server is an end like any other' => sub {
    my %kept = (
        'x' x 400_000                => $LONGEST,
        'x' . "\x{20ac}" x 1000      => 'x' . "\x{20ac}" x 341,
        "\xe9" x 1024                => "\xe9" x 512,
        "client\nforged\tline\0\x7f" => 'client\nforged\tline\x00\x7F',
        "\n" x 1024                  => '\n' x 512,
        "gone \x{e9}\x{20ac}"        => "gone \x{e9}\x{20ac}",
        0                            => 0,
    );
    for my $reason (sort keys %kept) {
        my $peer = peer();
        my $sse = $peer->sse;
        my @reason;
        $sse->on_close(sub { push @reason, $_[1] });
        my $run = $sse->run;
        $peer->disconnect($reason);
        ok $run->is_done, 'run';
        is [$sse->connection_state, $sse->disconnect_reason, @reason], ['closed', ($kept{$reason}) x 2];
        is failure_of($sse->send('x')), T(), 'no send';
    }
};

subtest 'what is no text is no reason' => sub {
    package Broken {
        use overload '""' => sub { die "no\n" }
    }
    for my $reason ([], {}, sub { }, bless({}, 'Some'), bless({}, 'Broken'), undef, '') {
        my $peer = peer();
        my $sse = $peer->sse;
        my @seen;
        $sse->on_close(sub { push @seen, $_[1] });
        my $run = $sse->run;
        $peer->disconnect($reason);
        is [$run->is_done, @seen, $sse->disconnect_reason], [1, ('client_closed') x 2];
    }
};

sub host {
    my ($run) = @_;
    my @said;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} ne 'sse';
            push @said, await $run->($scope, $receive, $send);
        }
    );
    my $client = $host->stream;
    $host->until(sub { @said && $client->ended }, 'the end');
    return \@said;
}

async sub closed {
    my ($sse) = @_;
    await $sse->start;
    my $failed = $sse->close(reason => 'x' x 400_000);
    my @said = ($failed->is_failed ? $failed->failure : 'done', $sse->connection_state);
    await $sse->close(reason => $LONGEST);
    return @said, $sse->disconnect_reason;
}

for my $wrapped (0, 1) {
    subtest 'under the embedded server' . ($wrapped ? ', $send wrapped' : '') => sub {
        my ($error, @said) = @{
            host(sub {
                my ($scope, $receive, $send) = @_;
                return closed(PAGI::SSE->new($scope, $receive, $wrapped ? sub { $send->(@_) } : $send));
            })
        };
        like $error, qr/\APAGI::SSE: close: $REFUSED/;
        is \@said, ['started', $LONGEST];
    };
}

subtest 'sse.close by $send itself' => sub {
    my $said = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'sse.start' });
            my @said = $send->({ type => 'sse.close', reason => 'x' x 400_000 })->failure;
            await $send->({ type => 'sse.send',  data   => 'still open' });
            await $send->({ type => 'sse.close', reason => $LONGEST });
            return @said[0, 1], (await $receive->())->{type}, (await $receive->())->{reason};
        }
    );
    like $said->[0], qr/\APAGI::SSE::Server: sse\.close: $REFUSED/;
    is [@$said[1 .. 3]], ['pagi', 'sse.request', $LONGEST];
};

subtest 'close of a hub' => sub {
    my $hub = PAGI::SSE::Hub->new;
    like dies { $hub->close(reason         => 'x' x 400_000) }, qr/\APAGI::SSE::Hub->close: $REFUSED/;
    like dies { $hub->close('news', reason => 'x' x 1025) },    qr/\APAGI::SSE::Hub->close: $REFUSED/;
    is $hub->close(reason => $LONGEST), 0;
};

done_testing;
