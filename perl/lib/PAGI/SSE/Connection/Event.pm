package PAGI::SSE::Connection::Event;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# The arguments of the sends, checked. Each of these gives a delivery, or
# nothing when the event was accepted at once.

sub _send_odd {
    my ($self, $data, $method) = @_;
    return PAGI::SSE::Wire::Delivery::refused("$method requires data") unless defined $data;
    return PAGI::SSE::Wire::Delivery::refused("$method: data must be text, got "
            . PAGI::SSE::Check::shown($data)
            . '; send_json and send_event encode references')
        unless PAGI::SSE::Check::is_stringy($data);
    return $self->{wire}->send("$data", $method);
}

sub _send_json {
    my ($self, $value, $method) = @_;
    my $octets;
    eval { $octets = PAGI::SSE::Check::encode_json($value); 1 }
        or return PAGI::SSE::Wire::Delivery::refused("$method: " . PAGI::SSE::Check::reason($@));
    return $self->{wire}->send($octets, $method);
}

sub _send_event {
    return PAGI::SSE::Wire::Delivery::refused('send_event takes name => value pairs') unless @_ % 2;
    my ($self, %event) = @_;
    my ($data, $name, $id, $retry) = @event{qw(data event id retry)};
    return PAGI::SSE::Wire::Delivery::refused("send_event requires 'data'") unless defined $data;
    if (ref $data) {
        eval { $data = PAGI::SSE::Check::encoded($data); 1 }
            or return PAGI::SSE::Wire::Delivery::refused('send_event: data: ' . PAGI::SSE::Check::reason($@));
    }
    for ($name, $id) {
        return PAGI::SSE::Wire::Delivery::refused(
            'send_event: event and id must be text, got ' . PAGI::SSE::Check::shown($_))
            if ref && !PAGI::SSE::Check::is_stringy($_);
    }
    if (defined $retry) {
        return PAGI::SSE::Wire::Delivery::refused(
            'send_event: retry must be a whole number of milliseconds, got ' . PAGI::SSE::Check::shown($retry))
            unless $retry =~ /\A[0-9]{1,15}\z/;
        $retry += 0;
    }
    return $self->{wire}->send_event('send_event', $data, $name, $id, $retry);
}

sub _send_comment {
    my ($self, $comment, $method) = @_;
    return PAGI::SSE::Wire::Delivery::refused("$method requires a comment") unless defined $comment;
    return PAGI::SSE::Wire::Delivery::refused(
        "$method: a comment must be text, got " . PAGI::SSE::Check::shown($comment))
        if ref $comment && !PAGI::SSE::Check::is_stringy($comment);
    return $self->{wire}->comment($comment, $method);
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Event - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
