package PAGI::SSE::Connection::Event;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# The arguments of the sends, checked. Each of these gives a delivery, or
# nothing when the event was accepted at once.

sub _refused {
    my ($method, $error) = @_;
    return PAGI::SSE::Wire::Delivery::refused("$method: " . PAGI::SSE::Check::reason($error));
}

# undef is sent as empty, with perl's usual warning.
sub _text {
    my ($method, $name, $value, $hint) = @_;
    return PAGI::SSE::Check::text($name, $value, $hint) if defined $value;
    PAGI::SSE::Check::undefined($method);
    return '';
}

sub _send_odd {
    my ($self, $data, $method) = @_;
    my $text = eval { _text($method, data => $data, '; send_json and send_event encode references') };
    return defined $text ? $self->{wire}->send($text, $method) : _refused($method, $@);
}

sub _send_json {
    my ($self, $value, $method) = @_;
    my $octets = eval { PAGI::SSE::Check::encode_json($value) };
    return defined $octets ? $self->{wire}->send($octets, $method, 1) : _refused($method, $@);
}

sub _send_event {
    my ($self, $method, @event) = @_;
    return PAGI::SSE::Wire::Delivery::refused("$method takes name => value pairs") if @event % 2;
    my %event = @event;
    if (!defined $event{data}) {
        return PAGI::SSE::Wire::Delivery::refused("$method requires 'data'") if $method eq 'send_event';
        $event{data} = '';
    }
    my ($data, $is_encoded, $name, $id, $retry);
    eval {
        ($data, $is_encoded) = PAGI::SSE::Check::encoded($event{data});
        ($name, $id) = map { PAGI::SSE::Check::text($_ => $event{$_}) } qw(event id);
        $retry = PAGI::SSE::Check::retry($event{retry}) if defined $event{retry};
        1;
    } or return _refused($method, $@);
    return $self->{wire}->send_event($method, $data, $name, $id, $retry, $is_encoded);
}

sub _send_comment {
    my ($self, $comment, $method) = @_;
    my $text = eval { _text($method, 'a comment', $comment) };
    return defined $text ? $self->{wire}->comment($text, $method) : _refused($method, $@);
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Event - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
