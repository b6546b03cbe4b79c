package PAGI::SSE::Event;

use strict;
use warnings;

use PAGI::SSE::Check ();
use PAGI::SSE::Text  ();

our $VERSION = '0.003000';

# Of octets, UTF-8; a retry may be undef.
sub _new {
    my ($class, $type, $data, $id, $retry) = @_;
    return bless { type => $type, data => $data, id => $id, retry => $retry }, $class;
}

sub type  { return PAGI::SSE::Text::characters($_[0]{type}) }
sub data  { return PAGI::SSE::Text::characters($_[0]{data}) }
sub id    { return PAGI::SSE::Text::characters($_[0]{id}) }
sub retry { return $_[0]{retry} }

# As it came over the wire, lines joined by LF.
sub octets { return $_[0]{data} }

sub json {
    my ($self) = @_;
    my $value;
    return $value if eval { $value = PAGI::SSE::Check::decode_json($self->{data}); 1 };
    die PAGI::SSE::Check::message('PAGI::SSE::Event->json: the data is no JSON: '
            . PAGI::SSE::Check::shown($self->{data}) . ': '
            . PAGI::SSE::Check::reason($@));
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Event - an event of a stream that was read

=head1 SYNOPSIS

    while (my $event = await $client->next) {
        printf "%s: %s\n", $event->type, $event->data;
        my $value = $event->json;
    }

=head1 DESCRIPTION

What L<PAGI::SSE::Client> and L<PAGI::SSE::Parser> give. It cannot be changed.

=head1 METHODS

=head2 type

The type; C<message> if the stream named none.

=head2 data

The data, in characters. Lines are joined by LF, without one at the end. It may be empty.

=head2 octets

The same in octets (UTF-8), to pass on.

=head2 json

The data decoded as JSON. Dies when it is none, with the data's beginning. Each call decodes anew.

=head2 id

The last event id in force, in characters: of this event, or of one before it. Empty if there was none.

=head2 retry

The time before a reconnection, in milliseconds, that the stream has named with this event, or between the one before
and this; undef if it named none, and from a L<PAGI::SSE::Parser>.

=cut
