use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;
use T::Host;

# The API document's own broadcast, try_* that nobody awaits, to a client that
# does not read: one warning at the beginning of an episode, a count at its end.

my %SEND = (
    try_send         => sub { $_[0]->try_send($_[1]) },
    try_send_json    => sub { $_[0]->try_send_json([$_[1]]) },
    try_send_event   => sub { $_[0]->try_send_event(data => $_[1], id => 1) },
    try_send_comment => sub { $_[0]->try_send_comment($_[1]) },
);
my $FULL = qr/\APAGI::SSE: queue_overflow: .*/;
my $FOREIGN =
    qr/$FULL queue of 1000 events or 1048576 octets \(max_queue_events, max_queue_bytes\) is full at \Q$0\E line \d+\.\n\z/;
my $HOSTED =
    qr/\APAGI::SSE: queue_overflow: the output queue is full: its limit is 1048576 bytes at \Q$0\E line \d+\.\n\z/;

subtest "another server: $_" => sub {
    my $send = $SEND{$_};
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    for my $episode (1, 2) {
        my @warnings = warnings_of { $send->($sse, 'x') for 1 .. 5000 };
        like \@warnings, [$FOREIGN], 'one warning';
        my $refused = $episode == 1 ? 4000 : 3999;    # the first found the start before it, in flight
        @warnings = warnings_of { $peer->accept };
        is \@warnings,
            [     'PAGI::SSE: queue_overflow: '
                . ($refused - 1)
                . " more events were refused until the queue was empty again\n"
            ],
            'the rest at its end';
    }
    my @warnings = warnings_of { $send->($sse, 'x') for 1 .. 1001; $peer->accept };
    is \@warnings, [], 'all that fits is no episode';
    @warnings = warnings_of { $send->($sse, 'x') for 1 .. 1010; $sse->close };
    is scalar @warnings, 2, 'nor is one lost';
    is $warnings[1], "PAGI::SSE: queue_overflow: 8 more events were refused until the connection ended\n",
        'when the end comes first';
    }
    for sort keys %SEND;

subtest 'with on_error each is told, and what fails within it is one warning' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my @errors;
    $sse->on_error(sub { push @errors, $_[1]; $sse->try_send('again') });
    my @warnings = warnings_of { $sse->try_send('x') for 1 .. 2000 };
    is scalar @errors, 1000, 'each';
    like $errors[-1], $FOREIGN,   'with the limit';
    like \@warnings,  [$FOREIGN], 'one warning';
};

subtest 'an un-awaited send says nothing, its Future all' => sub {
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my $last;
    my @warnings = warnings_of { $last = $sse->send('x') for 1 .. 2000 };
    # Future's debug mode itself warns of each that is lost.
    is \@warnings, [], 'no warning' unless Future::DEBUG();
    like failure_of($last), $FOREIGN, 'the limit and the place';
};

for my $around (0, 1) {
    subtest 'the embedded server' . ($around ? ', behind middleware' : '') => sub {
        my $sse;
        my $host = T::Host->new(
            async sub {
                my ($scope, $receive, $send) = @_;
                die if $scope->{type} ne 'sse';
                $sse = PAGI::SSE->new($scope, $receive, $around ? sub { $send->(@_) } : $send);
                await $sse->run;
            }
        );
        my $client = $host->stream;
        $host->until(sub { $sse && $sse->is_started }, 'a stream');
        my $data = 'x' x 10_000;
        my ($refused, $last) = (0);
        my @warnings = warnings_of {
            for (1 .. 2000) {
                my $try = $sse->try_send_json([$data]);
                $refused++ if $try->is_ready && !$try->get;
            }
            $last = failure_of($sse->send($data));
        };
        ok $refused > 500, 'most are refused';
        like \@warnings, [$around ? $FOREIGN : $HOSTED], 'one warning';
        like $last,      $around ? $FOREIGN : $HOSTED,   'and a send fails';
        @warnings = warnings_of {
            $host->until(sub { !$sse->{full} }, 'the queue to drain')
        };
        is \@warnings,
            [     'PAGI::SSE: queue_overflow: '
                . ($refused - 1)
                . " more events were refused until the queue was empty again\n"
            ],
            'the rest at its end';
        is $sse->connection_state, 'started', 'the stream lives on';
    };
}

subtest 'refused sends cost little' => sub {
    skip_all 'Future::DEBUG costs more' if Future::DEBUG();
    my $peer = peer(send => 'pending');
    my $sse = $peer->sse;
    my %spent;
    my $count = 20_000;
    my @warnings = warnings_of {
        $sse->try_send('x') for 1 .. 1001;
        for my $method (qw(send try_send)) {
            my $begin = (times)[0];
            $sse->$method('x') for 1 .. $count;
            $spent{$method} = (times)[0] - $begin;
        }
    };
    # The figures are 0.1 and 0.06 s; 2.8 s when Carp worked out the place.
    ok $spent{$_} < slow(1), "$_: $count in $spent{$_} s" for sort keys %spent;
};

done_testing;
