use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use Scalar::Util qw(refaddr);
use Time::HiRes  ();

# Sends that are done at once give way to the others of the loop, when there is
# one that is sure to come back.

sub sse {
    return PAGI::SSE->new(scope(), sub { Future->new }, sub { Future->done });
}

subtest 'where no loop is known, every send is done at once' => sub {
    my $sse = sse();
    my $pending = 0;
    for (1 .. 20_000) { $pending++ if !$sse->send('x')->is_ready || !$sse->try_send('x')->is_ready }
    is $pending, 0;
    my $each = $sse->each([1 .. 20_000], sub { return { data => 'x' } });
    ok $each->is_done, 'each, too';
};

eval { require IO::Async::Loop; require Future::IO; 1 } or do { done_testing; exit };
my $loop = IO::Async::Loop->new;

# Until the first send that is not done at once.
sub busy {
    my ($send) = @_;
    my $end = Time::HiRes::time() + slow(10);
    while (Time::HiRes::time() < $end) {
        my $future = $send->();
        return $future if !$future->is_ready;
    }
    die "never gave way\n";
}

sub turn {
    my $over = 0;
    $loop->later(sub { $over = 1 });
    $loop->loop_once until $over;
    return;
}

subtest 'a loop of awaited sends lets timers run' => sub {
    for my $method (qw(send try_send)) {
        my ($sse, $fired) = (sse(), 0);
        $loop->watch_time(after => 0.05, code => sub { $fired = 1 });
        local $SIG{ALRM} = sub { die "never gave way\n" };
        alarm 20;
        my $busy = (
            async sub {
                until ($fired) { await $sse->$method('x') }
                return 'over';
            }
        )->();
        is $busy->get, 'over', $method;
        alarm 0;
    }
};

subtest 'a burst of 60 sends in one turn is done at once' => sub {
    turn();
    my $sse = sse();
    is scalar(grep { !$_->is_ready } map { $sse->send('x') } 1 .. 60), 0;
};

subtest 'who does not wait gets the same Future again, who does one of his own' => sub {
    my $sse = sse();
    for my $method (qw(send try_send)) {
        turn();
        my $address = refaddr(busy(sub { $sse->$method('x') }));
        my %pending;
        for (1 .. 10_000) {
            my $future = $sse->$method('x');
            $pending{ refaddr $future }++ if !$future->is_ready;
        }
        is \%pending, { $address => 10_000 }, "$method: 10,000 sends";
        my @mine = map { $sse->$method('x') } 1 .. 3;
        is scalar(keys %{ { map { refaddr($_) => 1 } @mine } }), 3, 'one each';
        $mine[0]->cancel;
        is [map { $_->is_cancelled ? 1 : 0 } @mine], [1, 0, 0], 'a cancel is for one alone';
        my $result = $mine[1]->get;
        ok $method eq 'send' ? $result == $sse : $result == 1, 'the result';
        ok $mine[2]->is_done,                                  'all in the same turn';
    }
};

subtest 'a callback on one that nobody keeps still runs' => sub {
    my $sse = sse();
    my @ran;
    busy(sub { $sse->send('x') });
    $sse->send($_)->on_done(do {
        my $n = $_;
        sub { push @ran, $n }
    }) for 1 .. 3;
    turn();
    is \@ran, [1, 2, 3];
};

subtest 'those who wait go on in the order in which they came' => sub {
    my @sse = map { sse() } 1 .. 3;
    my (@order, @waiting);
    busy(sub { $sse[0]->send('x') });
    for my $i (0 .. 2) {
        push @waiting, $sse[$i]->send('x')->on_done(sub { push @order, $i });
    }
    turn();
    is \@order, [0, 1, 2];
};

subtest 'ten busy streams have their part of every turn' => sub {
    my ($over, @sent) = (0, (0) x 10);
    my @busy = map {
        my $i = $_;
        my $sse = sse();
        (
            async sub {
                until ($over) { await $sse->send('x'); $sent[$i]++ }
            }
        )->();
    } 0 .. 9;
    $loop->watch_time(after => 0.3, code => sub { $over = 1 });
    Future->needs_all(@busy)->get;
    my ($least, $most) = (sort { $a <=> $b } @sent)[0, -1];
    # The first one had a whole turn to itself.
    ok $least > 0 && $most < 50 * $least, "from $least to $most";
};

subtest 'an object goes though nobody waited for its last sends' => sub {
    my $gone = 0;
    {
        my $sse = sse();
        busy(sub { $sse->send('x') });
        Scalar::Util::weaken($gone = $sse);
    }
    turn();
    is $gone, undef;
};

done_testing;
