use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

package Transport {
    sub new             { bless { amount => 0, @_[1 .. $#_] }, $_[0] }
    sub buffered_amount { $_[0]{amount} }
    sub high_water_mark { $_[0]{high} }
    sub low_water_mark  { $_[0]{low} }
    sub on_high_water   { push @{ $_[0]{callbacks} }, [high  => $_[1]] }
    sub on_drain        { push @{ $_[0]{callbacks} }, [drain => $_[1]] }
}

subtest 'without a pagi.transport: 0, undef, no-op, true' => sub {
    my $sse = peer()->sse;
    is $sse->buffered_amount,                         0,              'buffered_amount';
    is [$sse->high_water_mark, $sse->low_water_mark], [undef, undef], 'marks';
    ref_is $sse->on_drain(sub { die }),      $sse, 'on_drain';
    ref_is $sse->on_high_water(sub { die }), $sse, 'on_high_water';
    ok $sse->is_writable, 'is_writable';
    $sse->close;
    ok $sse->is_writable, 'after close, too';
};

subtest 'with one' => sub {
    my $transport = Transport->new(high => 100, low => 10, amount => 99);
    my $sse = peer(scope => { 'pagi.transport' => $transport })->sse;
    is [map { $sse->$_ } qw(buffered_amount high_water_mark low_water_mark)], [99, 100, 10], 'amounts';
    ok $sse->is_writable, 'writable below the high mark';
    $transport->{amount} = 100;
    ok !$sse->is_writable, 'not at it';
    my ($high, $drain) = (sub { 1 }, sub { 2 });
    $sse->on_high_water($high);
    $sse->on_drain($drain);
    is $transport->{callbacks}, [[high => exact_ref($high)], [drain => exact_ref($drain)]], 'callbacks are handed on';
    $transport->{high} = undef;
    ok $sse->is_writable, 'no mark, no limit';
};

subtest 'on_drain and on_high_water take coderefs only, with a transport or without' => sub {
    my $sse = peer()->sse;
    for my $method (qw(on_drain on_high_water)) {
        for my $bad (1, undef, {}) {
            my $line = __LINE__ + 1;
            eval { $sse->$method($bad); 1 };
            is $@,
                "PAGI::SSE: $method requires a code reference, got ${\PAGI::SSE::Check::shown($bad)} at $0 line $line.\n",
                $method;
        }
    }
};

done_testing;
