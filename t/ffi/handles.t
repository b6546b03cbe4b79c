use strict;
use warnings;

# A handle is a number, and numbers can be wrong in several ways: each has its
# own error, none is a crash.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;

use PAGI::SSE::FFI;

use constant { PENDING => 0, CLOSED_STATE => 2 };

# Not imported: these are the module's own names.
my %code = %{ PAGI::SSE::FFI::codes() };

sub state_of { return PAGI::SSE::FFI::conn_state($_[0]) }

sub opened {
    my $code = PAGI::SSE::FFI::conn_open_detached(\my $handle);
    die "conn_open: $code" if $code;
    return $handle;
}

# Runs $code in a forked child; returns what it returned, a list of numbers.
sub in_child {
    my ($code) = @_;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork;
    die "fork: $!" if !defined $pid;
    if (!$pid) {
        alarm 20;
        close $read;
        print {$write} join ' ', eval { $code->() };
        close $write;
        require POSIX;
        POSIX::_exit($@ ? 1 : 0);
    }
    close $write;
    my $got = do { local $/; <$read> };
    waitpid $pid, 0;
    is $?, 0, 'the child ended by itself';
    return [split / /, defined $got ? $got : ''];
}

subtest 'a fresh handle is a positive number and leads to a pending connection' => sub {
    my $handle = opened();
    ok $handle > 0;
    ok $handle < 2**63, 'fits a signed 64-bit integer';
    is state_of($handle), PENDING;
    is(PAGI::SSE::FFI::conn_free($handle), 0);
};

subtest 'a freed handle is stale, for good' => sub {
    my $handle = opened();
    is(PAGI::SSE::FFI::conn_free($handle), 0);
    is state_of($handle), $code{HANDLE_STALE};
    is(PAGI::SSE::FFI::conn_free($handle),            $code{HANDLE_STALE}, 'freed twice');
    is(PAGI::SSE::FFI::conn_close($handle, undef, 0), $code{HANDLE_STALE}, 'closed');
    is(PAGI::SSE::FFI::conn_reason($handle),          undef,               'no reason');

    # The slot is used again, the number is not.
    my @later = map { opened() } 1 .. 1000;
    is scalar(grep { $_ == $handle } @later), 0, 'not given out again';
    is state_of($handle), $code{HANDLE_STALE};
    PAGI::SSE::FFI::conn_free($_) for @later;
};

subtest 'zero and invented numbers are invalid' => sub {
    my $handle = opened();
    is state_of(0),                 $code{HANDLE_INVALID}, 'zero';
    is state_of($handle + 100_000), $code{HANDLE_INVALID}, 'a slot that never was';
    is state_of($handle + 2**32),   $code{HANDLE_INVALID}, 'a generation that is still to come';
    is state_of(~0),                $code{HANDLE_INVALID}, 'all bits';
    is state_of($handle | 1 << 63), $code{HANDLE_INVALID}, 'top bit';
    for my $n (1 .. 2000) {
        my $invented = int(rand 2**32) << 32 | int rand 2**32;
        next if $invented == $handle;
        my $got = state_of($invented);
        $got < 0 or fail "invented handle $invented gave $got";
    }
    is state_of($handle), PENDING, 'the real one is as it was';
    PAGI::SSE::FFI::conn_free($handle);
};

subtest 'a handle of another kind says so' => sub {
    my $handle = opened();
    is(PAGI::SSE::FFI::server_port($handle),    $code{HANDLE_KIND}, 'a connection is no server');
    is(PAGI::SSE::FFI::server_free($handle, 0), $code{HANDLE_KIND}, 'nor is it freed as one');
    is state_of($handle), PENDING;

    my ($code, $server) = PAGI::SSE::FFI::server_open(listen => '127.0.0.1:0');
    is $code,             0,                  'a server started';
    is state_of($server), $code{HANDLE_KIND}, 'a server is no connection';
    is(PAGI::SSE::FFI::conn_free($server), $code{HANDLE_KIND});
    ok(PAGI::SSE::FFI::server_port($server) > 0, 'it is still there');
    is(PAGI::SSE::FFI::server_free($server, 1000), 0);
    is(PAGI::SSE::FFI::server_port($server), $code{HANDLE_STALE}, 'and then it is not');
    PAGI::SSE::FFI::conn_free($handle);
};

subtest 'after a fork the child has no handles of its parent and can make its own' => sub {
    my $handle = opened();
    my $got = in_child(sub {
        my $inherited = state_of($handle);
        my $freed = PAGI::SSE::FFI::conn_free($handle);
        my $own = opened();
        my $state = state_of($own);
        my $closed = PAGI::SSE::FFI::conn_close($own, 'bye', 3);
        return $inherited, $freed, $own == $handle ? 1 : 0, $state, $closed, PAGI::SSE::FFI::conn_free($own);
    });
    is $got, [($code{HANDLE_FORKED}) x 2, 0, PENDING, 1, 0], 'inherited, freed, own: another number, usable';
    is state_of($handle), PENDING,                           'the parent saw nothing of it';

    my $grandchild = sub { state_of($handle) };
    is in_child(sub { @{ in_child($grandchild) } }), [$code{HANDLE_FORKED}], 'a grandchild';
    is(PAGI::SSE::FFI::conn_free($handle), 0);
};

subtest 'a child of a process with a running server starts one of its own' => sub {
    my ($code, $server) = PAGI::SSE::FFI::server_open(listen => '127.0.0.1:0');
    is $code, 0;
    my $port = PAGI::SSE::FFI::server_port($server);
    my $got = in_child(sub {
        my $inherited = PAGI::SSE::FFI::server_port($server);
        my $freed = PAGI::SSE::FFI::server_free($server, 1000);
        my ($started, $own) = PAGI::SSE::FFI::server_open(listen => '127.0.0.1:0');
        my $own_port = PAGI::SSE::FFI::server_port($own);
        return $inherited, $freed, $started, $own_port > 0 && $own_port != $port ? 1 : 0,
            PAGI::SSE::FFI::server_free($own, 1000);
    });
    is $got, [($code{HANDLE_FORKED}) x 2, 0, 1, 0];
    is(PAGI::SSE::FFI::server_port($server),       $port, 'the parent\'s is untouched');
    is(PAGI::SSE::FFI::server_free($server, 1000), 0,     'and ends in order');
};

subtest 'eight children at once each have their own handles' => sub {
    my $handle = opened();
    my %reader;
    for my $n (1 .. 8) {
        my $pid = open my $read, '-|';
        die "fork: $!" if !defined $pid;
        if (!$pid) {
            alarm 20;
            my @own = map { opened() } 1 .. 100;
            my $bad = grep { state_of($_) != PENDING } @own;
            $bad += grep { PAGI::SSE::FFI::conn_free($_) != 0 } @own;
            $bad++ if state_of($handle) != $code{HANDLE_FORKED};
            $bad++ if PAGI::SSE::FFI::handle_count() != 0;
            syswrite STDOUT, "bad $bad";
            require POSIX;
            POSIX::_exit(0);
        }
        $reader{$n} = $read;
    }
    for my $n (sort keys %reader) {
        my $line = readline $reader{$n};
        is $line, 'bad 0', "child $n";
        close $reader{$n};
    }
    is state_of($handle), PENDING;
    PAGI::SSE::FFI::conn_free($handle);
};

subtest 'after close a connection keeps its handle, state and reason until it is freed' => sub {
    my $handle = opened();
    is(PAGI::SSE::FFI::conn_close($handle, 'client_closed', 13), 1, 'closed by this call');
    is(PAGI::SSE::FFI::conn_close($handle, 'other',         5),  0, 'was closed');
    is state_of($handle), CLOSED_STATE;
    is(PAGI::SSE::FFI::conn_reason($handle), 'client_closed', 'the first reason stays');
    is(PAGI::SSE::FFI::conn_admit($handle),  $code{CLOSED},   'nothing goes out any more');
    is(PAGI::SSE::FFI::conn_free($handle),   0);
};

is(PAGI::SSE::FFI::handle_count(), 0, 'every handle was given back');

done_testing;
