package PAGI::SSE::Check;

use strict;
use warnings;

use Exporter      ();
use File::Spec    ();
use JSON::MaybeXS ();
use Scalar::Util  qw(blessed looks_like_number reftype);
use overload      ();

use PAGI::SSE::FFI::Constants qw(ID_BYTES REASON_BYTES);
use PAGI::SSE::Text           ();

our $VERSION = '0.003000';
our @ISA = 'Exporter';
our @EXPORT_OK = qw(
    bad_id content_length decode_json encode_json encoded end_reason interval is_code is_future is_stringy
    message number pairs place reason response retry short_reason shown text undefined warning
);

# What an application gives us, checked; the one JSON object; and messages that
# point at the application's line.

# Not with convert_blessed: Cpanel::JSON::XS 4.35 then makes null of the first
# object of a class without TO_JSON.
my $json = JSON::MaybeXS->new(utf8 => 1, allow_nonref => 1);

use constant {
    MOST_DEPTH   => 512,                    # as the backends have it
    MOST_WHOLE   => 999_999_999_999_999,    # of any whole number: 15 digits, which doubles hold
    MOST_SECONDS => 86_400,
};

# Octets, always well-formed UTF-8: what Unicode forbids there becomes U+FFFD.
sub encode_json {
    my ($value) = @_;
    my $octets = eval { $json->encode($value) };
    # What it refuses may be an object, or a code point that it does not like.
    $octets = $json->encode(_plain($value, 0)) unless defined $octets;
    $octets =~ s/(?:\xED[\xA0-\xBF]|\xF4[\x90-\xBF]|[\xF5-\xFF])[\x80-\xBF]*/\xEF\xBF\xBD/g
        if $octets =~ tr/\xED\xF4-\xFF//;
    return $octets;
}

sub decode_json { return $json->decode($_[0]) }

# A copy without objects, and of Unicode only.
sub _plain {
    my ($value, $depth) = @_;
    no warnings 'recursion';
    if (!ref $value) {
        my $text = $value;    # a match must not make text of a number
        return defined $text && $text =~ s/[^\x{0}-\x{10FFFF}]/\x{FFFD}/g ? $text : $value;
    }
    die 'the value is nested deeper than ' . MOST_DEPTH . " levels\n" if $depth > MOST_DEPTH;
    if (blessed $value) {
        return $value ? \1 : \0 if JSON::MaybeXS::is_bool($value);
        die 'an object of class ' . ref($value) . " has no TO_JSON method\n" unless $value->can('TO_JSON');
        return _plain(scalar $value->TO_JSON, $depth + 1);
    }
    return [map { _plain($_, $depth + 1) } @$value] if ref $value eq 'ARRAY';
    return { map { _plain($_, $depth) => _plain($value->{$_}, $depth + 1) } keys %$value } if ref $value eq 'HASH';
    return $value;
}

# ---- values: each gives what to use, or dies with a sentence

# The text of data, and whether that is octets already. References become JSON;
# an object made to be a string is that, unless it has its own idea of JSON.
sub encoded {
    my ($data) = @_;
    return (text(data => $data), 0) if !ref $data || is_stringy($data) && !$data->can('TO_JSON');
    my $octets = eval { encode_json($data) };
    die 'data: ' . reason($@) . "\n" unless defined $octets;
    return ($octets, 1);
}

# A plain string; undef stays.
sub text {
    my ($name, $value, $hint) = @_;
    return $value unless ref $value;
    die "$name must be text, got " . shown($value) . ($hint || '') . "\n" unless is_stringy($value);
    my $text = eval { "$value" };
    die "$name: " . reason($@) . "\n" unless defined $text;
    return $text;
}

# A whole number of milliseconds; undef stays.
sub retry {
    my ($value) = @_;
    return undef unless defined $value;
    my $number = ref $value && !is_stringy($value) ? undef : text(retry => $value);
    die 'retry must be a number of milliseconds from 0 to ' . MOST_WHOLE . ', got ' . shown($value) . "\n"
        unless looks_like_number($number) && $number >= 0 && $number < MOST_WHOLE + 1;
    return int $number;
}

# For keepalive; undef is off.
sub interval {
    my ($value) = @_;
    my $number = number(defined $value ? $value : 0);
    die 'the interval must be a number of seconds from 0 to ' . MOST_SECONDS . ', got ' . shown($value) . "\n"
        unless defined $number && $number >= 0 && $number <= MOST_SECONDS;
    return $number;
}

# Of seconds as interval() gives them, for the library; what is not 0 stays so.
sub milliseconds {
    my ($seconds) = @_;
    my $ms = int $seconds * 1000 + 0.5;
    return $ms || ($seconds ? 1 : 0);
}

# The reason of an end; undef stays.
sub end_reason {
    my $reason = text('the reason', @_);
    return undef unless defined $reason;
    my $length = length PAGI::SSE::Text::octets($reason);
    die "the reason must have at most ${\REASON_BYTES} octets, got $length\n" if $length > REASON_BYTES;
    return $reason;
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

# The reason that another server gives for an end, as one that we could give:
# undef when it gave none.
sub foreign_reason {
    my ($reason) = @_;
    $reason = eval { text(reason => $reason) };
    return undef unless defined $reason && length $reason;
    $reason = escaped(substr $reason, 0, REASON_BYTES) if $reason =~ /[\x00-\x1F\x7F]/;
    my $octets = PAGI::SSE::Text::octets($reason);
    return $reason if length $octets <= REASON_BYTES;
    my $short = short_reason($reason);
    utf8::decode($short) if $octets ne $reason;    # as it was given: characters
    return $short;
}

# What is wrong with an id, in octets; as the library has it (src/core/frame.rs).
sub bad_id {
    my ($id) = @_;
    return if length $id <= ID_BYTES && $id   !~ tr/!-~//c;    # nearly every one, in a quarter of the time
    return 'must not contain CR or LF' if $id =~ /[\r\n]/;
    return 'must not contain NUL' if $id      =~ /\0/;
    return 'must fit a header: no control characters, no white space at its ends, at most ' . ID_BYTES . ' bytes'
        if $id =~ /[\x01-\x08\x0A-\x1F\x7F]|\A[\t ]|[\t ]\z/ || length $id > ID_BYTES;
    return;
}

# name => value pairs, of known names, as a hashref.
sub pairs {
    my ($given, @known) = @_;
    die "takes name => value pairs\n" if @$given % 2;
    my %pair;
    for (my $i = 0; $i < @$given; $i += 2) {
        my $name = $given->[$i];
        defined $name && grep { $_ eq $name } @known
            or die 'unknown option ' . shown($name) . " (known: @known)\n";
        $pair{$name} = $given->[$i + 1];
    }
    return \%pair;
}

# The head of a response, of plain values: ($status, $headers). Without headers,
# just the status.
sub response {
    my ($status, $headers) = @_;
    $status = text(status => $status);
    die 'status must be a whole number from 200 to 599, got ' . shown($status) . "\n"
        unless $status =~ /\A[2-5][0-9][0-9]\z/;
    return $status unless defined $headers;
    my $shape = 'headers must be a reference to an array of [name, value] pairs, got';
    die "$shape " . shown($headers) . "\n" if ref $headers ne 'ARRAY';
    my @plain;
    for my $header (@$headers) {
        die "$shape " . shown($header) . " in it\n" if ref $header ne 'ARRAY';
        die "$shape one of " . @$header . " in it\n" if @$header != 2;
        die "$shape one with undef in it\n" if grep { !defined } @$header;
        push @plain, [_header(@$header)];
    }
    return ($status, \@plain);
}

sub _header {
    my ($name, $value) = @_;
    $name = text('a header name', $name);
    die 'a header name must be a token, got ' . shown($name) . "\n"
        if $name !~ /\A[!#\$%&'*+\-.^_`|~0-9A-Za-z]+\z/;
    $value = text("the value of header $name", $value);
    die 'the value of header '
        . shown($name)
        . ' must be octets without CR, LF, NUL and other controls, got '
        . shown($value) . "\n"
        if $value =~ /[^\t\x20-\x7E\x80-\xFF]/;
    return ($name, $value);
}

# That of an ordinary response whose body has $length octets, undef: not known.
sub content_length {
    my ($headers, $length) = @_;
    my @given = map { $_->[1] } grep { lc $_->[0] eq 'content-length' } @{ $headers || [] } or return;
    die 'content-length must be one whole number, got ' . join(' and ', map { shown($_) } @given) . "\n"
        if @given > 1 || $given[0] !~ /\A[0-9]{1,18}\z/;
    die "content-length is $given[0], but the body has $length octets\n"
        if defined $length && $given[0] != $length;
    return;
}

sub is_code {
    my ($code) = @_;
    my $type = reftype($code);
    return 1 if defined $type && $type eq 'CODE';
    return blessed($code) && overload::Method($code, '&{}');
}

# What an on_* method is given.
sub callback {
    my ($method, $code) = @_;
    die message("$method requires a code reference, got " . shown($code)) unless is_code($code);
    return;
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

# A finite number, as that; else undef.
sub number {
    my ($value) = @_;
    my $number = ref $value ? eval { text(number => $value) } : $value;
    return looks_like_number($number) && $number == $number && abs $number < 9**9**9 ? $number + 0 : undef;
}

# ---- messages

# A value for a message, in one short line.
sub shown {
    my ($value, $most) = @_;
    $most ||= 60;
    return 'undef' unless defined $value;
    return 'a reference (' . ref($value) . ')' if ref $value;
    my $shown = length $value > $most ? substr($value, 0, $most - 3) . '...' : $value;
    $shown =~ s/([^\x20-\x7E])/sprintf '\\x{%X}', ord $1/ge;
    return "'$shown'";
}

# An exception's text without its place in some module.
sub reason {
    my ($error) = @_;
    my $text = eval { ref $error && !is_stringy($error) ? undef : "$error" };
    return 'died with ' . shown($error) unless defined $text;
    $text =~ s/(?: at \S+ line \d+\.?)?\n\z//;
    return $text;
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
    return escaped($text);
}

sub escaped {
    my ($text) = @_;
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

# perl's own, for undef that is sent as text, where the application wants it.
# Dies where the application made it fatal.
sub undefined {
    my ($method) = @_;
    my ($file, $line, $level) = _application() or return;
    my $wanted = (caller $level - 1)[9];
    my $bit = $warnings::Offsets{uninitialized};
    return unless defined $wanted && vec $wanted, $bit, 1;
    die "Use of uninitialized value\n" if vec $wanted, $bit + 1, 1;
    warn "Use of uninitialized value in $method at $file line $line.\n";
    return;
}

# Set while we run for a call that was made some turns ago.
our $PLACE;

# " at FILE line N." of the application. By hand, as Carp takes a hundred times
# as long.
sub place {
    return $PLACE if defined $PLACE;
    my ($file, $line) = _application();
    return defined $file ? " at $file line $line.\n" : "\n";
}

# File, line and level of the innermost caller that is neither ours nor a
# subclass. Whoever calls place, or undefined, is ours.
my %is_ours;

sub _application {
    my ($level, @found) = 1;
    # What a frame has beyond these three costs as much as all the rest.
    while (my ($package, $file, $line) = caller ++$level) {
        next if $is_ours{$package} //= $package =~ /\A(?:PAGI::SSE|Future)(?:::|\z)/ ? 1 : 0;
        my $is_subclass = $package->isa('PAGI::SSE');
        @found = ($file, $line, $level) if !@found || !$is_subclass;
        return @found unless $is_subclass;
    }
    return @found;
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
