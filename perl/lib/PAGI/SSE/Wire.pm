package PAGI::SSE::Wire;

use strict;
use warnings;

use Scalar::Util qw(weaken);

use PAGI::SSE::Check          qw(message shown);
use PAGI::SSE::FFI            ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

use constant CLOSED => 'Cannot send on closed SSE connection';

# What both wires share. A wire has its {owner}, weakly, the server's {send},
# and the {handle} of a native connection.

sub state { PAGI::SSE::FFI::conn_state($_[0]{handle}) }

# While the object is parked in the scope, $send is held weakly: it may well
# be a closure around that scope. If it goes, the next one is as good.
sub park { weaken($_[0]{send}) }

sub unpark {
    my ($self, $send) = @_;
    my $kept = $self->{send};
    $self->{send} = $kept || $send;
    return;
}

# Of a hub, where the library does not send by itself; and what $send is still
# to take.
sub catch_up  { return }
sub leave_hub { return }
sub waiting   { return }

# The application returned, and its stream is the server's to end.
sub end_with_application { }

# Nothing will be sent any more: let go of what may lead back to us.
sub retire { delete $_[0]{send} }

# A failed delivery for an event that the native library refused.
sub refused {
    my ($self, $method, $code, $fields) = @_;

    # To send to somebody who has gone is ordinary for try_*: no message yet.
    return PAGI::SSE::Wire::Delivery->gone(CLOSED)
        if $code == PAGI::SSE::FFI::CLOSED();

    my $text = PAGI::SSE::FFI::result_text($code);
    my %field = (
        PAGI::SSE::FFI::EVENT_NEWLINE() => 'event',
        PAGI::SSE::FFI::ID_NEWLINE()    => 'id',
        PAGI::SSE::FFI::ID_NUL()        => 'id',
        PAGI::SSE::FFI::ID_HEADER()     => 'id',
    );
    my $field = $field{$code};
    $text .= ', got ' . shown($fields->{$field}) if $field && $fields;
    return PAGI::SSE::Wire::Delivery::refused("$method: $text");
}

# For events that were still waiting when the end came.
sub closed_message { return 'PAGI::SSE: ' . CLOSED . "\n" }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire - between a connection object and its server (internal)

=head1 DESCRIPTION

The base of L<PAGI::SSE::Wire::Foreign> and L<PAGI::SSE::Wire::Hosted>. Internal.

=cut
