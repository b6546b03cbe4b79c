package PAGI::SSE::Wire::Delivery;

use strict;
use warnings;

use Exporter ();

use PAGI::SSE::Check qw(message);

our $VERSION = '0.003000';
our @ISA = 'Exporter';
our @EXPORT_OK = qw(refused);

# An event that was not accepted on the spot: it waits, or it has failed.
# Fields: event (hash for $send), size (octets), quiet (that it fails does not
# end the connection), settled, error (list, when it failed), closed (failed
# because the connection is closed), full (because a queue is), reports (on_error
# is told when it fails), reported (it was; the Futures to wait for).

sub new {
    my ($class, %fields) = @_;
    return bless \%fields, $class;
}

sub failed {
    my ($class, @error) = @_;
    return bless { settled => 1, error => \@error }, $class;
}

# For an argument that is no good: the message with the application's line.
sub refused { return __PACKAGE__->failed(message($_[0])) }

# For an event that found its queue full: many may, one after the other, so the
# place is added by whoever tells of it, which is in the same call.
sub full {
    my ($class, $text) = @_;
    return bless { settled => 1, full => 1, error => [$text] }, $class;
}

# For an event that came after the end.
sub gone {
    my ($class, $error) = @_;
    return bless { settled => 1, closed => 1, error => [$error] }, $class;
}

# Settle as accepted, or with an error as failed. The first call counts. An
# exception of whoever waits must not reach the server, whose Future's done()
# we may be inside of.
sub settle {
    my ($self, @error) = @_;
    return if $self->{settled}++;
    $self->{error} = \@error if @error;
    my $waiting = delete $self->{waiting} or return;
    for my $callback (@$waiting) {
        eval { $callback->($self); 1 }
            or PAGI::SSE::Check::warning("a callback of a Future died: $@");
    }
    return;
}

# Call back once settled; at once when it is.
sub on_settled {
    my ($self, $callback) = @_;
    if   ($self->{settled}) { $callback->($self) }
    else                    { push @{ $self->{waiting} }, $callback }
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Delivery - an event on its way to a server (internal)

=head1 DESCRIPTION

What the wires of L<PAGI::SSE> (L<PAGI::SSE::Wire::Foreign>, L<PAGI::SSE::Wire::Hosted>)
return for an event that was not accepted at once. Internal.

=cut
