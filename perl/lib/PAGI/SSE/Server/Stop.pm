package PAGI::SSE::Server::Stop;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future;
use Scalar::Util qw(weaken);

use PAGI::SSE::FFI              ();
use PAGI::SSE::Server::Clock    ();
use PAGI::SSE::Server::Exchange ();

# The order of a stop: no new connections; the application's lifespan;
# streams; requests in progress; threads.

sub new {
    my ($class, $server) = @_;
    my $self = bless { server => $server, phase => 'lifespan' }, $class;
    weaken $self->{server};
    return $self;
}

# $seconds from now, or what an earlier call has left.
sub begin {
    my ($self, $seconds) = @_;
    my $server = $self->{server};
    my $until = PAGI::SSE::Server::Clock::now() + $seconds;
    my $is_first = !defined $self->{until};
    $self->{until} = $until if $is_first || $until < $self->{until};
    my $stopped = $self->{stopped} ||= $server->new_future;
    if (!$server->_handle) {
        $self->finish if $is_first;
        return $stopped;
    }
    if ($is_first) {
        PAGI::SSE::FFI::server_drain($server->_handle);
        $server->_lifespan->shutdown;
    }
    # In the next turns, as we may be inside the application, or a signal
    # handler.
    my $ms = 1000 * ($self->{until} - PAGI::SSE::Server::Clock::now());
    $server->_wake(0);
    $server->_wake(int($ms) + 1) if $ms > 0;
    return $stopped;
}

# Without another turn of the server: it goes.
sub at_once {
    my ($self) = @_;
    my $server = $self->{server};
    PAGI::SSE::FFI::server_drain($server->_handle);
    $server->_lifespan->shutdown if $server->_lifespan;
    $self->_close_streams;
    $self->finish;
    return;
}

sub advance {
    my ($self) = @_;
    my $server = $self->{server};
    return if !$server->_handle || $self->{advancing};
    local $self->{advancing} = 1;
    my $late = PAGI::SSE::Server::Clock::now() >= $self->{until};
    if ($self->{phase} eq 'lifespan' && ($late || !$server->_lifespan->is_running)) {
        $self->_close_streams;
    }
    return if $self->{phase} eq 'lifespan';
    my $busy = $server->_is_busy || PAGI::SSE::FFI::server_busy($server->_handle) > 0;
    return if $busy && !$late;
    $self->finish;
    return;
}

sub _close_streams {
    my ($self) = @_;
    $self->{phase} = 'streams';
    PAGI::SSE::FFI::server_close_streams($self->{server}->_handle, 'server_shutdown', length 'server_shutdown');
    return;
}

sub finish {
    my ($self) = @_;
    my $server = $self->{server};
    $self->{phase} = 'done';
    my @left = $server->_handle ? $self->_take_last : ();
    for my $exchange ($server->_take_exchanges) {
        $exchange->note_closed('server_shutdown');
        $server->_cancel(delete $exchange->{app});
        push @left, $exchange;
    }
    $server->_cancel_callbacks;
    $server->_lifespan->cancel if $server->_lifespan;
    if ($server->_handle) {
        # Those without an answer get a 503, and it is written down.
        PAGI::SSE::FFI::server_stop($server->_handle, 0);
        push @left, $self->_take_last;
    }
    $server->_log_cut;
    $server->_free;
    my $stopped = $self->{stopped} or return;
    return if $stopped->is_ready || eval { $stopped->done; 1 };
    $server->log(error => "a callback of stop died: $@");
    return;
}

# What came before the end. Returns the connections of new requests, which are
# refused.
sub _take_last {
    my ($self) = @_;
    my $server = $self->{server};
    my @refused;
    while (defined(my $record = $server->_next_record)) {
        if (my $conn = $server->_request_of($record)) {
            push @refused, PAGI::SSE::Server::Exchange->new(handle => $conn);
        }
        else { $server->_take($record) }
    }
    return @refused;
}

# Nobody is left to say so later.
sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    my $stopped = $self->{stopped};
    eval { $stopped->done } if $stopped && !$stopped->is_ready;
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Stop - the orderly end of the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>, whose C<stop> it is.

=cut
