package PAGI::SSE::Server::Transport;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future;

use PAGI::SSE::FFI            ();
use PAGI::SSE::FFI::Constants qw(HIGH_WATER_BYTES LOW_WATER_BYTES);
use PAGI::SSE::Futures        ();

# The flow control of an exchange, its base class: an object of its own would
# cost each idle stream more than its fields do.

# Handed out for all that went at once.
my $DONE = Future->done;
sub done { return PAGI::SSE::Futures::lasting($DONE) }

sub buffered_amount {
    my $n = PAGI::SSE::FFI::conn_buffered($_[0]{handle});
    return $n < 0 ? 0 : $n;
}
sub high_water_mark { return HIGH_WATER_BYTES }
sub low_water_mark  { return LOW_WATER_BYTES }

sub on_high_water {
    my ($self, $callback) = @_;
    push @{ $self->{on_high_water} }, $callback;
    $self->_guarded($callback) if $self->{drained} || $self->buffered_amount >= HIGH_WATER_BYTES;
    return $self;
}

sub on_drain {
    my ($self, $callback) = @_;
    push @{ $self->{on_drain} }, $callback;
    return $self;
}

# Done when the queue is low again, or the connection over. One for each
# caller, who may cancel it.
sub drained {
    my ($self) = @_;
    return $self->done if defined $self->{closed};
    my $was_high = $self->{drained};
    my $drained = $self->_waiter($self->{drained} ||= []);
    if (!$was_high) { $self->_guarded($_) for @{ $self->{on_high_water} || [] } }
    return $drained;
}

# A new pending Future in a list, from which those cancelled meanwhile go.
sub _waiter {
    my ($self, $list) = @_;
    pop @$list while @$list && $list->[-1]->is_ready;
    push @$list, my $future = $self->new_future;
    return $future;
}

sub note_drained {
    my ($self) = @_;
    my $waiting = delete $self->{drained} or return;
    for my $drained (@$waiting) {
        $self->_guarded(sub { $drained->done }) if !$drained->is_ready;
    }
    $self->_guarded($_) for @{ $self->{on_drain} || [] };
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Transport - outbound flow control of the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>: the base class of
L<PAGI::SSE::Server::Exchange>, which is what C<< $scope->{'pagi.transport'} >>
holds.

=over

=item buffered_amount, high_water_mark, low_water_mark, on_high_water, on_drain

In bytes, as PAGI describes them.

=back

=cut
