package PAGI::SSE::Wire::Handle;

use strict;
use warnings;

use PAGI::SSE::FFI    ();
use PAGI::SSE::Thread ();

our $VERSION = '0.003000';

# The owner of a detached native connection, and nothing else: the wrapper
# object may be kept alive by its own DESTROY, this one never is.

sub new {
    my ($class, $owner) = @_;    # the wrapper
    my $code = PAGI::SSE::FFI::conn_open_detached(\my $handle);
    die 'PAGI::SSE: no native connection: ' . PAGI::SSE::FFI::result_text($code) . "\n" if $code < 0;
    PAGI::SSE::Thread::own($handle, $owner);
    return bless \$handle, $class;
}

# A handle that a fork has made stale answers with an error code; fine.
sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    PAGI::SSE::Thread::disown($$self);
    PAGI::SSE::FFI::conn_free($$self);
    return;
}

# A clone in another thread would free the same connection once more. No weak
# reference points to one, so perl bears this.
sub CLONE_SKIP { 1 }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Handle - owns one native connection (internal)

=head1 DESCRIPTION

Opens a detached connection of the native library and frees it when the last
reference goes. Internal.

=cut
