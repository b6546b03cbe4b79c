use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0 -no_srand => 1;

# Without a subscriber a hub leaves the loop alone, so that it may end; its
# thread stays for the next one, until the hub goes.

# A loop that ends when nothing is waited for any more.
package My::Loop {
    use Future;
    our (@reads, @sleeps);
    sub HAVE_MULTIPLE_FILEHANDLES { return 1 }

    sub sysread {
        my ($class, $fh, $length) = @_;
        push @reads, [my $future = Future->new, $fh, $length];
        return $future;
    }

    sub sleep {
        my ($class, $seconds) = @_;
        push @sleeps, [my $future = Future->new, Time::HiRes::time() + $seconds];
        return $future;
    }

    # False when there is nothing to wait for.
    sub turn {
        @$_ = grep { !$_->[0]->is_ready } @$_ for \@reads, \@sleeps;
        return 0 if !@reads && !@sleeps;
        my $bits = '';
        vec($bits, fileno $_->[1], 1) = 1 for @reads;
        select $bits, undef, undef, 0.01;
        for (grep { vec $bits, fileno $_->[1], 1 } @reads) {
            my ($future, $fh, $length) = @$_;
            my $n = CORE::sysread($fh, my $bytes, $length);
            $future->done($n ? $bytes : ());
        }
        $_->[0]->done for grep { $_->[1] <= Time::HiRes::time() } @sleeps;
        return 1;
    }
}

BEGIN { $Future::IO::IMPL = 'My::Loop' }

use Future::IO;
use PAGI::SSE::FFI;
use PAGI::SSE::Hub;

sub threads_now { return scalar(my @tasks = glob "/proc/$$/task/*") }
sub loop_ends {
    return wait_until { !My::Loop::turn() }
}

sub gets_ok {
    my ($hub, $name) = @_;
    my $peer = peer();
    my $sse = $peer->sse;
    $hub->subscribe($sse, 't');
    my $id = $hub->publish('t', data => 'x');
    ok wait_until {
        My::Loop::turn();
        grep { ($_->{id} // '') eq $id } @{ $peer->events }
    }, $name;
    $sse->close;
    return;
}

my $handles = PAGI::SSE::FFI::handle_count();
my $threads = threads_now();
my $hub = PAGI::SSE::Hub->new(epoch => 'e');
gets_ok($hub, 'a lone client');
ok loop_ends(), 'the loop ends when it has gone';
is [threads_now() - $threads, PAGI::SSE::FFI::handle_count() - $handles], [2, 2],
    'a thread for the hub, and one for such clients';
for my $n (1 .. 20) {
    gets_ok($hub, "the next one, $n");
    gets_ok($hub, "and another before the loop has ended");
    ok loop_ends(), 'it ends' if $n % 2;
}
is [threads_now() - $threads, PAGI::SSE::FFI::handle_count() - $handles], [2, 2], 'nothing more was started';
my $other = PAGI::SSE::Hub->new(epoch => 'o');
undef $hub;
gets_ok($other, 'with another hub');
undef $other;
is PAGI::SSE::FFI::handle_count(), $handles, 'both go with the last hub';
ok wait_until { threads_now() == $threads }, 'and so do the threads';
ok loop_ends(),                              'and the loop has nothing to do';

done_testing;
