package PAGI::SSE::Server::Future;
use strict;
use warnings;

our $VERSION = '0.003000';

use parent 'Future';
use Scalar::Util ();

# A Future of a server that no event loop of ours drives: to wait for it is to
# run the server.

my %SERVER;    # by Future, while it is pending: XS Futures have no fields

# What is derived from one (then, async and await, needs_all) waits likewise.
sub new {
    my ($proto, @args) = @_;
    my $self = $proto->SUPER::new(@args);
    my $server = ref $proto && $SERVER{ 0 + $proto };
    Scalar::Util::weaken($SERVER{ 0 + $self } = $server) if $server;
    return $self;
}

sub for_server {
    my ($class, $server) = @_;
    my $self = $class->new;
    Scalar::Util::weaken($SERVER{ 0 + $self } = $server);
    return $self;
}

sub await {
    my ($self) = @_;
    my $server = $SERVER{ 0 + $self };
    while (!$self->is_ready) {
        if (!$server || $server->is_stopped) {
            die "PAGI::SSE::Server: waiting for a Future that nothing will complete\n";
        }
        my $readable = '';
        vec($readable, $server->fileno, 1) = 1;
        select $readable, undef, undef, 1;
        $server->dispatch;
    }
    return $self;
}

sub CLONE { %SERVER = (); return }

sub DESTROY {
    my ($self) = @_;
    delete $SERVER{ 0 + $self };
    $self->SUPER::DESTROY if $self->can('SUPER::DESTROY');
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Future - a Future that runs its server while it is waited for

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>. C<< ->get >> and C<< ->await >> on it call
C<dispatch> until it is ready; so they do on Futures derived from it.

=cut
