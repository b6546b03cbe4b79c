use strict;
use warnings;

# A $send that fails later, and what ticks, are noticed whatever drives the
# program: Future::IO's own, IO::Async, or either of the two where Future::IO had
# been used before anybody told it of the loop. The choice is for a whole process,
# so each runs in its own.

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use Future::IO;
use PAGI::SSE::Hub;
use Scalar::Util qw(weaken);
use Time::HiRes  qw(time);

use constant DEADLINE => 20;

my %TURN = (
    'Future::IO' => sub { Future::IO->sleep(0.002)->get },
    'IO::Async'  => sub { IO::Async::Loop->new->loop_once(0.002) },
);
my @WAYS = (
    ['own',    0, 'Future::IO'],    # no other loop is loaded
    ['told',   0, 'IO::Async'],     # IO::Async alone
    ['either', 1, 'Future::IO'],    # IO::Async has been made, and is not driven
    ['either', 1, 'IO::Async'],     # it is driven, but Future::IO settled before
);

my ($loops, $pins, $driver) = @ARGV;
if (!defined $loops) {
    for my $way (@WAYS) {
        open my $out, '-|', $^X, $0, @$way or die "cannot run $0: $!\n";
        my @lines = <$out>;
        close $out;
        is $?, 0, "@$way[0, 2]" or diag @lines;
        ok((grep { /^ok / } @lines) >= 15, 'with all its tests');
    }
    done_testing;
    exit;
}

require IO::Async::Loop if $loops ne 'own';
IO::Async::Loop->new if $loops ne 'own';
Future::IO->sleep(0)->get if $pins;

sub until_true {
    my ($condition) = @_;
    my $end = time + DEADLINE;
    $TURN{$driver}->() until $condition->() || time > $end;
    return $condition->();
}

# An application under a host whose $send takes a moment, and whose third fails.
sub failing {
    my ($type, $app) = @_;
    my %seen = (sends => 0);
    my $receive = sub { return $seen{receive} = Future->new };
    my $send = async sub {
        my $n = ++$seen{sends};
        my $moment =
            $driver eq 'IO::Async' ? IO::Async::Loop->new->delay_future(after => 0.01) : Future::IO->sleep(0.01);
        await $moment;
        die "the connection broke\n" if $n == 3;
        return;
    };
    my $run = async sub {
        my $sse = PAGI::SSE->new(@_, upgrade => 1);
        weaken($seen{object} = $sse);
        $sse->on_close(sub { push @{ $seen{ends} }, $_[1] });
        $sse->on_error(sub { });
        return await $app->($sse);
    };
    $seen{app} = $run->({ type => $type, headers => [] }, $receive, $send);
    return \%seen;
}

sub noticed {
    my ($name, $seen, $turn, $end) = @_;
    $end ||= 'write_error';
    until_true(sub { $turn->() if $turn; $seen->{app}->is_ready });
    my $state = $seen->{app}->state;
    delete @$seen{qw(app receive)};
    my $is_freed = until_true(sub { !$seen->{object} });
    is [$state, $seen->{ends}, $seen->{sends}, $is_freed], ['done', [$end], 3, T()], $name;
    return;
}

my $hub = PAGI::SSE::Hub->new;
for my $type (qw(sse http)) {
    for my $policy (qw(disconnect drop_oldest drop_newest latest)) {
        my $seen = failing($type, sub { $hub->serve($_[0], ['t'], { policy => $policy }) });
        noticed("$type, a hub's, $policy", $seen, sub { $hub->publish('t', data => 'x') if $seen->{sends} < 4 });
    }
    my $seen = failing($type, sub { $_[0]->try_send($_) for 1 .. 9; $_[0]->run });
    noticed("$type, its own", $seen);
    $seen = failing(
        $type,
        sub {
            my ($sse) = @_;
            $sse->every(0.005, sub { $sse->try_send('tick') });
        }
    );
    noticed("$type, every", $seen);
    $seen = failing($type, sub { my ($sse) = @_; $sse->try_send($_) for 1 .. 9; $sse->close(reason => 'x-app') });
    noticed("$type, closed before it failed: the rest is not sent", $seen, undef, 'x-app');
}
is $hub->subscribers('t'), 0, 'the hub has let go of them';

done_testing;
