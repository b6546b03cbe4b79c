package PAGI::SSE::Futures;

use strict;
use warnings;

use B ();
use Exporter 'import';
use Future       ();
use Scalar::Util ();

use PAGI::SSE::Check qw(message warning);

our $VERSION = '0.003000';
our @EXPORT_OK = qw(FUTURE_IS_HASH alike failure guarded is_kept lasting let_go weakened when_all);

# In debug mode a Future says where it was made: at the application's line.
$Carp::Internal{$_}++ for 'PAGI::SSE', map { "PAGI::SSE::$_" } qw(
    Futures Client Client::Runtime Connection::Body Connection::Decline Connection::End Connection::Event Connection::Iteration
    Connection::Outcome Connection::Publishing Connection::Tools Loop Loop::Turns Loop::Watch Runtime Wire Wire::Delivery Wire::Foreign Wire::Hosted
    Wire::Inbox Wire::Outbox Wire::Starting Wire::Http
);

# Making a Future costs more than everything else in a send, so ready ones are
# kept and handed out again and again. All that we know of the inside of a
# Future for that is here (and, for speed, in PAGI::SSE::Wire::Outbox::put).

# Future's own implementation is a hash, with {result} if and only if it is
# done; its XS twin cannot be looked into.
use constant FUTURE_IS_HASH => do {
    my ($done, $pending) = (Future->done, Future->new);
    my $is_hash =
           Scalar::Util::reftype($done) eq 'HASH'
        && $done->{result}
        && !$pending->{result};
    $pending->fail('not lost');
    $is_hash && $pending->failure && !$pending->{result} ? 1 : 0;
};

# A new pending Future, of the class of another: a server's own class knows how
# to wait, a plain Future dies when somebody calls get.
sub alike {
    my ($future) = @_;
    return Scalar::Util::blessed($future)
        && $future->isa('Future') ? $future->new : Future->new;
}

# Prepare a ready Future to be handed out once more. Future 0.49 notes in a
# Future, even in a ready one, every pending Future that would cancel it: for
# one that lives for long a leak.
sub lasting {
    my ($future) = @_;
    delete $future->{revoke_when_ready} if FUTURE_IS_HASH;
    return $future;
}

# Let a done Future refer to its result weakly; whoever takes the result gets
# a strong reference. Returns nothing where that cannot be
# done, or the Future was cancelled.
sub weakened {
    my ($future) = @_;
    return unless FUTURE_IS_HASH && $future->is_done;
    Scalar::Util::weaken($future->{result}[0]);
    return $future;
}

# Whether others than so many of ours hold a Future. One that an async sub
# returned is held by its caller only.
sub is_kept { return B::svref_2object($_[0])->REFCNT > $_[1] }

# Drop a pending Future of somebody else's. One that an async sub is to complete
# must not get lost: it hangs on what is cancelled with it. Another that nobody
# holds, nobody can complete.
sub let_go {
    my ($future) = @_;
    return if !defined $future || $future->is_ready || is_kept($future, 2);
    return if FUTURE_IS_HASH && Scalar::Util::reftype($future) eq 'HASH' && !@{ $future->{on_cancel} || [] };
    $future->retain if $future->can('retain');
    return;
}

# For errors of ours: the message with the application's line.
sub failure { return Future->fail(message($_[0])) }

# Run what may end in somebody's callback. We may be inside of the server's
# done(), where an exception of ours has no business.
sub guarded {
    my ($code) = @_;
    eval { $code->(); 1 } or warning("a callback of a Future died: $@");
    return;
}

sub when_all {
    my ($then, @futures) = @_;
    my $left = @futures or return $then->();
    $_->on_ready(sub { $then->() unless --$left }) for @futures;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Futures - what Futures have in common (internal)

=head1 DESCRIPTION

Makes Futures of the class of another, keeps exceptions out of the server, and knows as much of the inside of
L<Future> as is needed to hand out one ready Future many times. Internal.

=cut
