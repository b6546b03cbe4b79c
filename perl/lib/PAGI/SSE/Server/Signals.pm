package PAGI::SSE::Server::Signals;
use strict;
use warnings;

our $VERSION = '0.003000';

use Scalar::Util qw(weaken);

use PAGI::SSE::Server::Clock ();

# Signals that stop the server. Perl's own handlers, which only make the
# server's descriptor readable: what a loop does with signals is no matter, and
# nothing runs in the middle of the application. A loop under load may never let
# the signals in that it has blocked itself (IO::Async's Epoll).

# A signal that comes just before the loop begins to wait does not end the
# wait, and there are loops that go on waiting after any: the server's own turn
# comes at least so often.
use constant TURN_MS => 500;

sub new {
    my ($class, $server) = @_;
    my $self = bless { server => $server, before => {}, count => 0, turn => 0, pid => $$ }, $class;
    weaken $self->{server};
    return $self;
}

sub watch {
    my ($self, @names) = @_;
    weaken(my $weak = $self);
    for my $name (@names) {
        next if $self->{before}{$name};
        my $handler = sub { $weak->_caught($name) if $weak };
        $self->{before}{$name} = { handler => $handler, was => $SIG{$name} };
        $SIG{$name} = $handler;
    }
    return;
}

# The server starts here, maybe in a child of the process that asked for it.
sub adopt { $_[0]{pid} = $$; return }

sub _caught {
    my ($self, $name) = @_;
    if ($self->{pid} != $$) {    # a child of a fork: as if we had never been here
        $self->undo;
        kill $name => $$;
        return;
    }
    $self->{count}++;
    $self->{server}->_wake(0) if $self->{server};
    return;
}

# In each turn of the server: the first signal stops it, another one at once.
sub run {
    my ($self) = @_;
    my $server = $self->{server};
    my $now = PAGI::SSE::Server::Clock::now();
    if ($now >= $self->{turn}) {
        $self->{turn} = $now + TURN_MS / 1000;
        $server->_wake(TURN_MS);
    }
    my $count = $self->{count};
    return if $count == ($self->{done} || 0);
    $server->stop($count > 1 ? 0 : undef);
    $self->{done} = $count;
    return;
}

# Handlers that are no longer ours stay.
sub undo {
    my ($self) = @_;
    for my $name (keys %{ $self->{before} }) {
        my $before = delete $self->{before}{$name};
        next if !ref $SIG{$name} || $SIG{$name} != $before->{handler};
        no warnings 'uninitialized';    # undef is perl's default, and stays it
        $SIG{$name} = $before->{was};
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    $self->undo if ${^GLOBAL_PHASE} ne 'DESTRUCT';
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Signals - the signals that stop the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>, whose C<stop_on> it is.

=cut
