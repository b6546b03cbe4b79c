package PAGI::SSE::Check;

use strict;
use warnings;

use Exporter      ();
use File::Spec    ();
use JSON::MaybeXS ();
use Scalar::Util  qw(blessed looks_like_number reftype);
use overload      ();

use PAGI::SSE::FFI::Constants qw(REASON_BYTES);
use PAGI::SSE::Text           ();

our $VERSION = '0.003000';
our @ISA = 'Exporter';
our @EXPORT_OK = qw(
    bad_reason bad_response decode_json encode_json encoded is_code is_future is_number is_stringy
    message place reason short_reason shown warning
);

# What an application gives us, checked; the one JSON object; and messages that
# point at the application's line.

my $json = JSON::MaybeXS->new(utf8 => 1, allow_nonref => 1, convert_blessed => 1);

sub encode_json { return $json->encode($_[0]) }
sub decode_json { return $json->decode($_[0]) }

# What a reference is sent as: an object made to be a string as that, unless
# it has its own idea of JSON.
sub encoded {
    my ($data) = @_;
    return is_stringy($data)
        && !$data->can('TO_JSON') ? "$data" : encode_json($data);
}

sub is_code {
    my ($code) = @_;
    my $type = reftype($code);
    return 1 if defined $type && $type eq 'CODE';
    return blessed($code) && overload::Method($code, '&{}');
}

sub is_future {
    my ($future) = @_;
    return
           blessed($future)
        && $future->can('on_ready')
        && $future->can('is_ready');
}

# An object that is made to be used as a string.
sub is_stringy {
    my ($value) = @_;
    return blessed($value) && overload::Method($value, '""');
}

sub is_number {
    my ($number) = @_;
    return
           looks_like_number($number)
        && $number == $number
        && $number < 9**9**9;
}

# What is wrong with the head of a response; nothing if it is fine.
sub bad_response {
    my ($status, $headers) = @_;
    return 'status must be a whole number from 200 to 599, got ' . shown($status)
        unless $status =~ /\A[2-5][0-9][0-9]\z/;
    return unless defined $headers;
    my $shape = 'headers must be a reference to an array of [name, value] pairs';
    return $shape if ref $headers ne 'ARRAY';
    for my $header (@$headers) {
        return $shape if ref $header ne 'ARRAY' || @$header != 2;
        my ($name, $value) = @$header;
        return $shape if !defined $name || !defined $value;
        return 'a header name must be a token, got ' . shown($name)
            if $name !~ /\A[!#\$%&'*+\-.^_`|~0-9A-Za-z]+\z/;
        return "a header value must be octets without CR, LF, NUL and other controls, got $name: " . shown($value)
            if $value =~ /[^\t\x20-\x7E\x80-\xFF]/;
    }
    return;
}

# What is wrong with the reason of an end; nothing if it is fine.
sub bad_reason {
    my ($reason) = @_;
    return if !defined $reason;
    return 'the reason must be text, got ' . shown($reason) if ref $reason && !is_stringy($reason);
    my $length = eval { length PAGI::SSE::Text::octets($reason) };
    return 'the reason must be text: ' . reason($@) if !defined $length;
    return if $length <= REASON_BYTES;
    return "the reason must have at most ${\REASON_BYTES} octets, got $length";
}

# In octets, as much of it as there may be: what another server gives is not
# for us to refuse.
sub short_reason {
    my $octets = PAGI::SSE::Text::octets($_[0]);
    my $length = REASON_BYTES;
    return $octets if length $octets <= $length;
    $length-- while $length && substr($octets, $length, 1) =~ /[\x80-\xBF]/;
    return substr $octets, 0, $length;
}

# A value for a message, in one short line.
sub shown {
    my ($value) = @_;
    return 'undef' unless defined $value;
    return 'a reference (' . ref($value) . ')' if ref $value;
    my $shown = length $value > 60 ? substr($value, 0, 57) . '...' : $value;
    $shown =~ s/([^\x20-\x7E])/sprintf '\\x{%X}', ord $1/ge;
    return "'$shown'";
}

# An exception's text without its place in some module.
sub reason {
    my ($error) = @_;
    $error =~ s/ at \S+ line \d+\.?\n\z//;
    return $error;
}

# The text of an error, with the application's line.
sub message {
    my ($text) = @_;
    return ($text =~ /\APAGI::SSE/ ? $text : "PAGI::SSE: $text") . place();
}

my %ESCAPE = ("\n" => '\n', "\r" => '\r', "\t" => '\t');

# What a client or an application put into a text begins no other line of a log.
sub one_line {
    my ($text) = @_;
    $text =~ s/\s+\z//;
    $text =~ s/([\x00-\x1f\x7f])/$ESCAPE{$1} || sprintf '\\x%02X', ord $1/ge;
    return $text;
}

# Never dies. Under the embedded server nor does it wait for who reads STDERR.
my $sink;
sub warn_by { ($sink) = @_; return }

sub warning {
    my ($text) = @_;
    $text = "PAGI::SSE: $text" unless $text =~ /\APAGI::SSE/;
    $text = one_line($text) . "\n";
    local $@;
    return if $SIG{__WARN__} && eval { warn $text; 1 };
    if   ($sink) { $sink->line($text) }
    else         { print STDERR $text }
    return;
}

# Set while we run for a call that was made some turns ago.
our $PLACE;

# " at FILE line N." of the innermost caller that is neither ours nor a
# subclass. By hand, as Carp takes a hundred times as long.
sub place {
    return $PLACE if defined $PLACE;
    my ($level, $found) = 0;
    while (my ($package, $file, $line) = caller $level++) {
        next if $package =~ /\A(?:PAGI::SSE|Future)(?:::|\z)/;
        $found = " at $file line $line.\n"
            if !defined $found || !$package->isa('PAGI::SSE');
        return $found unless $package->isa('PAGI::SSE');
    }
    return defined $found ? $found : "\n";
}

# Dies when the PAGI::SSE that was loaded is not the one beside this file: that
# of the toolkit, found first in @INC, knows nothing of our other modules.
sub own_class {
    my ($module) = @_;
    return if PAGI::SSE->isa('PAGI::SSE::Request');
    my $own = File::Spec->rel2abs(__FILE__) =~ s{/Check\.pm\z}{.pm}r;
    my $other = $INC{'PAGI/SSE.pm'} // 'a PAGI::SSE without a file';
    die message("$module needs the PAGI::SSE of its own distribution, $own, but $other was loaded:"
            . ' put the folder of the first before that of the other in @INC');
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Check - what an application gives us, checked (internal)

=head1 DESCRIPTION

Validators and messages for L<PAGI::SSE>, L<PAGI::SSE::Hub> and
L<PAGI::SSE::Server>. Internal.

=cut
