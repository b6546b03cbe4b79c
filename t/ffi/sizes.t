use strict;
use warnings;

# What the library writes into buffers of ours, of any size.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;

use FFI::Platypus::Memory ();

use PAGI::SSE::FFI;

my $BUFFER = PAGI::SSE::FFI::BUFFER_BYTES();

# A function of the library, as it were, that has so much to say at its calls.
sub saying {
    my (@texts) = @_;
    my @caps;
    my $call = sub {
        my ($address, $cap, $needed) = @_;
        push @caps, $cap;
        my $text = @texts > 1 ? shift @texts : $texts[0];
        return $text if $text =~ /\A-\d+\z/;
        FFI::Platypus::Memory::strcpy($address, $text) if length $text < $cap;
        $$needed = length $text;
        return length $text <= $cap ? 7 : PAGI::SSE::FFI::BUFFER_SMALL();
    };
    return ($call, \@caps);
}

for my $length (0, 1, $BUFFER - 1) {
    my ($call) = saying('x' x $length);
    is [PAGI::SSE::FFI::_filled($call)], [7, 'x' x $length], "$length bytes";
}

subtest 'more than the buffer takes' => sub {
    my $long = join '', map { chr(65 + $_ % 26) } 1 .. 2 * $BUFFER;
    my ($call, $caps) = saying($long);
    my ($code, $text) = PAGI::SSE::FFI::_filled($call);
    is $code, 7;
    ok $text eq $long, 'the text';
    is $caps, [$BUFFER, 4 * $BUFFER];
};

subtest 'it grows between the calls' => sub {
    my $last = 'y' x (9 * $BUFFER);
    my ($call, $caps) = saying('x' x (2 * $BUFFER), 'x' x (5 * $BUFFER), $last);
    my ($code, $text) = PAGI::SSE::FFI::_filled($call);
    is $code, 7;
    ok $text eq $last, 'the text of the last call';
    is scalar @$caps, 3;
};

subtest 'it shrinks, or fails, between the calls' => sub {
    my ($call) = saying('x' x (2 * $BUFFER), 'short');
    is [PAGI::SSE::FFI::_filled($call)], [7, 'short'];
    my ($failing) = saying('x' x (2 * $BUFFER), '-401');
    is [PAGI::SSE::FFI::_filled($failing)], [-401];
};

subtest 'a reason has at most 1024 octets' => sub {
    my %code = %{ PAGI::SSE::FFI::codes() };
    PAGI::SSE::FFI::conn_open_detached(\my $conn);
    for my $length (1025, 262_145, 400_000) {
        is(PAGI::SSE::FFI::conn_close($conn, 'x' x $length, $length), $code{REASON_TOO_LONG}, $length);
    }
    is(PAGI::SSE::FFI::conn_reason($conn),                  undef, 'open');
    is(PAGI::SSE::FFI::conn_close($conn, 'x' x 1024, 1024), 1);
    is(PAGI::SSE::FFI::conn_reason($conn),                  'x' x 1024);
    PAGI::SSE::FFI::conn_free($conn);
};

done_testing;
