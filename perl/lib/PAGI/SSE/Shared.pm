package PAGI::SSE::Shared;

use strict;
use warnings;

use Exporter 'import';
use Future       ();
use Scalar::Util ();

our $VERSION = '0.1.0';
our @EXPORT_OK = qw(FUTURE_IS_HASH alike lasting weakened);

# Making a Future costs more than everything else in a send, so ready ones are
# kept and handed out again and again. All that we know of the inside of a
# Future for that is here (and, for speed, in PAGI::SSE::Outbox::put).

# Future's own implementation is a hash, with {result} if and only if it is
# done; its XS twin cannot be looked into.
use constant FUTURE_IS_HASH => do {
    my ($done, $pending) = (Future->done, Future->new);
    my $is_hash = Scalar::Util::reftype($done) eq 'HASH' && $done->{result} && !$pending->{result};
    $pending->fail('not lost');
    $is_hash && $pending->failure && !$pending->{result} ? 1 : 0;
};

# A new pending Future, of the class of another: a server's own class knows how
# to wait, a plain Future dies when somebody calls get.
sub alike {
    my ($future) = @_;
    return Scalar::Util::blessed($future) && $future->isa('Future') ? $future->new : Future->new;
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

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Shared - what Futures have in common (internal)

=head1 DESCRIPTION

Makes Futures of the class of another, and knows as much of the inside of
L<Future> as is needed to hand out one ready Future many times. Internal.

=cut
