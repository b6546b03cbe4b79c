package PAGI::SSE::Text;

use strict;
use warnings;

use Exporter 'import';

our $VERSION = '0.003000';
our @EXPORT_OK = qw(octets characters decoded);

# What cannot be in well-formed UTF-8: surrogates, and what is past U+10FFFF.
my $NOT_UNICODE = qr/[^\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]/;

sub octets {
    my $text = "$_[0]";

    # Pure ASCII is both, and by far the most frequent.
    if ($text !~ /[^\x00-\x7F]/) {
        utf8::downgrade($text);
        return $text;
    }
    if (utf8::downgrade($text, 1)) {
        return $text if defined decoded($text);
        utf8::encode($text);
        return $text;
    }
    no warnings 'utf8';
    $text =~ s/$NOT_UNICODE/\x{FFFD}/g;
    utf8::encode($text);
    return $text;
}

sub characters {
    my $text = "$_[0]";
    return $text if $text !~ /[^\x00-\x7F]/;
    my $latin1 = $text;
    if (!utf8::downgrade($latin1, 1)) {
        $text =~ s/$NOT_UNICODE/\x{FFFD}/g;
        return $text;
    }
    my $decoded = decoded($latin1);
    return defined $decoded ? $decoded : $text;
}

# The characters of well-formed UTF-8 octets; undef when they are not that.
# utf8::decode alone lets surrogates and code points past U+10FFFF through.
sub decoded {
    my ($octets) = @_;
    return unless utf8::decode($octets);
    return if $octets =~ $NOT_UNICODE;
    return $octets;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Text - characters or octets? The one place that decides

=head1 SYNOPSIS

    use PAGI::SSE::Text qw(octets characters);

    octets("caf\x{e9}");              # "caf\xC3\xA9": Latin-1 characters, encoded
    octets("caf\xC3\xA9");            # "caf\xC3\xA9": UTF-8 already, passed
    octets("\x{263A}");               # "\xE2\x98\xBA"
    characters("caf\xC3\xA9");        # "caf\x{e9}"

=head1 DESCRIPTION

Text given to L<PAGI::SSE> may be characters, or octets that the application
has encoded already (C<< $sse->send(encode_json($x)) >>). The rule looks at the
string's value and never at Perl's internal UTF-8 flag:

=over 4

=item 1.

A string with a character above 0xFF is characters.

=item 2.

Otherwise, if its bytes above 0x7F are well-formed UTF-8, it is octets.

=item 3.

Otherwise it is Latin-1 characters.

=back

Latin-1 text that happens to be well-formed UTF-8 (C<"\xC3\xA9">, meant as two
letters) is therefore taken as octets. Decode your input and the question does
not arise.

=head1 FUNCTIONS

=head2 octets

    my $octets = octets($text);

Returns a copy of the text as UTF-8 octets, not flagged as UTF-8. What Unicode
forbids in UTF-8 (surrogates, code points past U+10FFFF) becomes U+FFFD.

=head2 characters

    my $characters = characters($text);

Returns a copy of the text as characters; surrogates and code points past
U+10FFFF become U+FFFD.

=head2 decoded

    my $characters = decoded($octets);

Returns the characters of a well-formed UTF-8 byte string, or undef.

=cut
