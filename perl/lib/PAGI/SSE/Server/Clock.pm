package PAGI::SSE::Server::Clock;
use strict;
use warnings;

our $VERSION = '0.003000';

use Time::HiRes ();

# Seconds for deadlines, by a clock that nobody sets.

my $MONOTONIC = eval { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()); 1 };

sub now { return $MONOTONIC ? Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) : Time::HiRes::time() }

1;

__END__

=head1 NAME

PAGI::SSE::Server::Clock - the clock of the embedded server's deadlines

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>.

=cut
