package PAGI::SSE::Connection::Decline;

use strict;
use warnings;

use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# An ordinary response in place of a stream.

# Gives the delivery of the whole response. It goes out whatever becomes of the
# Future; close waits for it.
sub _decline {
    my ($self, $head, $body) = @_;
    my $wire = $self->{wire};
    my $put = sub {
        $wire->put($_[0], beyond_limits => 1, quiet => 1)
            || PAGI::SSE::Wire::Delivery->new(settled => 1);
    };
    my $response = $self->{declining} = PAGI::SSE::Wire::Delivery->new;
    my $finish = sub {
        delete $self->{declining};
        $response->settle(@_);
    };
    $wire->begin_decline;
    $put->($head)->on_settled(sub {
        if (my $error = $_[0]{error}) {
            # A server that does not know the event has sent nothing.
            $wire->undo_decline unless $self->{ended};
            return $finish->(@$error);
        }
        $put->($body)->on_settled(sub {
            my @error = @{ $_[0]{error} || [] };
            $self->_end(
                @error
                ? (reason => 'write_error')
                : (reason => 'app_closed', declined => 1)
            );
            $finish->(@error);
        });
    });
    return $response;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Decline - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
