package PAGI::SSE::Client::Runtime;

use strict;
use warnings;

use Scalar::Util              qw(weaken);
use PAGI::SSE::Check          qw(message);
use PAGI::SSE::FFI            ();
use PAGI::SSE::FFI::Constants qw(KIND_CLIENT KIND_LOG);
use PAGI::SSE::Loop           ();
use PAGI::SSE::Runtime        ();

our $VERSION = '0.003000';

# The library's threads for all clients of this process, and the descriptor that
# says which of them has something. They are there while there is a client.

my %CLIENT;     # by native handle, weak
my $RUNTIME;    # a PAGI::SSE::Runtime

# ($code, $handle): a client of these options.
sub open {
    my ($class, $options) = @_;
    _forget_parent();
    my $runtime = $RUNTIME ||= _new();
    my ($code, $handle) = PAGI::SSE::FFI::client_open($runtime->{handle}, %$options);
    if ($code < 0) {
        my $why = PAGI::SSE::FFI::last_error();
        _rest();
        return ($code, $why);
    }
    return ($code, $handle);
}

sub _new {
    my ($runtime) = PAGI::SSE::Runtime->new;
    return $runtime || die message('PAGI::SSE::Client->new: no native runtime: ' . PAGI::SSE::FFI::last_error());
}

sub add {
    my ($class, $handle, $client) = @_;
    weaken($CLIENT{$handle} = $client);
    watch();
    return;
}

sub remove {
    my ($class, $handle) = @_;
    delete $CLIENT{$handle};
    PAGI::SSE::FFI::client_free($handle);
    _rest() if !$RUNTIME || !$RUNTIME->{is_busy};
    return;
}

# After a fork all of it is the parent's.
sub _forget_parent {
    return if !$RUNTIME || $RUNTIME->is_ours;
    undef $RUNTIME;
    %CLIENT = ();
    return;
}

sub CLONE { undef $RUNTIME; %CLIENT = (); return }

sub _rest {
    return if !$RUNTIME || !$RUNTIME->is_ours || %CLIENT;
    my $runtime = $RUNTIME;
    undef $RUNTIME;
    return $runtime->free;
}

# By the loop, once there is one; before, by nobody. False: nothing can wait.
sub watch {
    my $runtime = $RUNTIME or return 0;
    if (my $watch = $runtime->{watch}) {
        return 1 if !PAGI::SSE::Loop->is_outdone($watch);
        $runtime->unwatch;
    }
    return $runtime->watch('PAGI::SSE::Client', \&_dispatch) ? 1 : 0;
}

sub _dispatch {
    my ($runtime) = @_;
    return if !$RUNTIME || $RUNTIME != $runtime || !$runtime->is_ours;
    {
        local $runtime->{is_busy} = 1;
        _take($_) for $runtime->next;
    }
    _rest();
    return;
}

sub _take {
    my ($record) = @_;
    my ($kind, $handle) = unpack 'C Q', $record;
    return PAGI::SSE::Check::warning('PAGI::SSE::Client: ' . unpack 'x9 L/a', $record) if $kind == KIND_LOG;
    my $client = $CLIENT{$handle};
    $client->_has_news if $kind == KIND_CLIENT && $client;
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Client::Runtime - the threads and the descriptor of all clients (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
