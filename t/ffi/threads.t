use strict;
use warnings;

# Perl's own threads copy every variable, and with it every handle: copies
# lead to the same connection, and an owner frees it once.

use Config;

BEGIN {
    if (!$Config{useithreads}) {
        print "1..0 # SKIP this perl has no ithreads\n";
        exit;
    }
}

use threads;

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;

use PAGI::SSE::FFI;
use PAGI::SSE::Wire::Handle;

my %code = %{ PAGI::SSE::FFI::codes() };

subtest 'a handle is good in every thread' => sub {
    PAGI::SSE::FFI::conn_open_detached(\my $handle);
    my @got = map { $_->join } map {
        threads->create(sub { PAGI::SSE::FFI::conn_state($handle) });
    } 1 .. 4;
    is \@got, [(0) x 4];
    is scalar(threads->create(sub { PAGI::SSE::FFI::conn_close($handle, 'thread', 6) })->join), 1, 'closed in a thread';
    is(PAGI::SSE::FFI::conn_reason($handle), 'thread', 'seen in the other');
    is scalar(threads->create(sub { PAGI::SSE::FFI::conn_reason($handle) })->join), 'thread',
        'a thread has its own buffer';
    is(PAGI::SSE::FFI::conn_free($handle), 0);
    is scalar(threads->create(sub { PAGI::SSE::FFI::conn_state($handle) })->join), $code{HANDLE_STALE};
};

subtest 'threads open and free at the same time' => sub {
    my $before = PAGI::SSE::FFI::handle_count();
    my @threads = map {
        threads->create(sub {
            my $bad = 0;
            for (1 .. 500) {
                $bad++ if PAGI::SSE::FFI::conn_open_detached(\my $handle) != 0;
                $bad++ if PAGI::SSE::FFI::conn_close($handle, 'x', 1) != 1;
                $bad++ if PAGI::SSE::FFI::conn_reason($handle) ne 'x';
                $bad++ if PAGI::SSE::FFI::conn_free($handle) != 0;
            }
            return $bad;
        });
    } 1 .. 4;
    is [map { $_->join } @threads], [(0) x 4];
    is(PAGI::SSE::FFI::handle_count(), $before, 'none is left');
};

subtest 'the end of a thread does not free what the first thread owns' => sub {
    my $before = PAGI::SSE::FFI::handle_count();
    my $owner = PAGI::SSE::Wire::Handle->new;
    is(PAGI::SSE::FFI::handle_count(), $before + 1, 'one handle');
    threads->create(sub { my $copy = $owner; return })->join for 1 .. 3;
    is(PAGI::SSE::FFI::handle_count(), $before + 1, 'still there');
    undef $owner;
    is(PAGI::SSE::FFI::handle_count(), $before, 'freed by its owner, once');
};

done_testing;
