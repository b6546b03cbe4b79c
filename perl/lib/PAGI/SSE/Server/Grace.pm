package PAGI::SSE::Server::Grace;
use strict;
use warnings;

our $VERSION = '0.003000';

use Scalar::Util qw(weaken);

use PAGI::SSE::Server::Clock ();

# Handlers that run on though their clients have gone: each has some time, then
# its Future is cancelled.

use constant LEAST_PAUSE => 0.05;    # seconds between two looks at all of them

sub new {
    my ($class, $server, $seconds) = @_;
    my $self = bless { server => $server, seconds => $seconds, until => {} }, $class;
    weaken $self->{server};
    return $self;
}

# The client of this connection has gone; its handler is over.
sub begin { $_[0]{until}{ $_[1] } = PAGI::SSE::Server::Clock::now() + $_[0]{seconds}; return $_[0]->_set_alarm }
sub over  { delete $_[0]{until}{ $_[1] };                                             return }

# In each turn of the server.
sub run {
    my ($self) = @_;
    my $now = PAGI::SSE::Server::Clock::now();
    return if !defined $self->{alarm} || $now < $self->{alarm};
    delete $self->{alarm};
    my ($server, $until) = @$self{qw(server until)};
    my @due = grep { $until->{$_} <= $now } keys %$until;
    delete @$until{@due};
    if (my $count = grep { $server->_abandon($_) } @due) {
        my $what = $count == 1 ? 'a handler whose client' : "$count handlers whose clients";
        $server->log(warning => "cancelled $what had gone $self->{seconds} seconds before (cancel_after_disconnect)");
    }
    $self->_set_alarm;
    return;
}

sub _set_alarm {
    my ($self) = @_;
    return if defined $self->{alarm} || !%{ $self->{until} };
    my $now = PAGI::SSE::Server::Clock::now();
    my ($first) = sort { $a <=> $b } values %{ $self->{until} };
    my $pause = $first - $now < LEAST_PAUSE ? LEAST_PAUSE : $first - $now;
    $self->{alarm} = $now + $pause;
    $self->{server}->_wake(int(1000 * $pause) + 1);
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Grace - the end of handlers whose clients have gone

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>, whose C<cancel_after_disconnect> it is.

=cut
