package PAGI::SSE::Connection::Decline;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Text           ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# An ordinary response in place of a stream.

# The two events of a response; dies of arguments that are no good.
sub _response {
    my ($self, @options) = @_;
    my $option = PAGI::SSE::Check::pairs(\@options, qw(status headers body));
    my ($status, $headers) = PAGI::SSE::Check::response($option->{status} // 204, $option->{headers});
    my $body = PAGI::SSE::Check::text(body => $option->{body});
    my $has_body = $status != 204 && $status != 304;
    die "a response with status $status has no body; name another status\n" if defined $body && !$has_body;
    $body = defined $body ? PAGI::SSE::Text::octets($body) : '';
    $has_body &&= $self->method ne 'HEAD';
    PAGI::SSE::Check::content_length($headers, $has_body ? length $body : undef);
    my $response = ($self->scope->{type} // 'sse') eq 'http' ? 'http.response' : 'sse.http.response';
    return (
        { type => "$response.start", status => $status, headers => $headers || [] },
        { type => "$response.body",  body   => $body,   more    => 0 },
    );
}

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
