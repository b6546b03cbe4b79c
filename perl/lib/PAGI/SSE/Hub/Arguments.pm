package PAGI::SSE::Hub::Arguments;
use strict;
use warnings;

our $VERSION = '0.003000';

use Exporter                  qw(import);
use PAGI::SSE::Check          ();
use PAGI::SSE::FFI::Constants qw(EVENT_DELETE TOPIC_NAME_BYTES);
use PAGI::SSE::Text           qw(octets);
use Scalar::Util              qw(looks_like_number);

our @EXPORT_OK = qw(checked event line milliseconds pairs refuse text topic_name whole);

# What the methods of a hub are given, checked. Each function is told which
# method it is for, and dies at the application's line.

use constant MOST_SECONDS => 1_000_000_000;

sub refuse {
    my ($method, $why, @value) = @_;
    die PAGI::SSE::Check::message(join ' ', "PAGI::SSE::Hub->$method: $why",
        map { PAGI::SSE::Check::shown($_) } @value);
}

# What the check gives, or the refusal that it dies with.
sub checked {
    my ($method, $check, @args) = @_;
    my @got;
    eval { @got = $check->(@args); 1 } or refuse($method, PAGI::SSE::Check::reason($@));
    return wantarray ? @got : $got[0];
}

# An object that is made to be a string, as that; anything else as it is.
sub _plain {
    my ($method, $name, $value) = @_;
    return PAGI::SSE::Check::is_stringy($value) ? checked($method, \&PAGI::SSE::Check::text, $name, $value) : $value;
}

# name => value pairs, of known names, as a hashref.
sub pairs {
    my ($method, @args) = @_;
    return scalar checked($method, \&PAGI::SSE::Check::pairs, @args);
}

# 0, which stands for "not given", for undef.
sub whole {
    my ($method, $name, $value, $most, $least) = @_;
    return 0 if !defined $value;
    $most = PAGI::SSE::Check::MOST_WHOLE if !defined $most;
    $least = 1 if !defined $least;
    $value = _plain($method, $name, $value) if ref $value;
    !ref $value && $value =~ /\A(?:0|[1-9][0-9]{0,14})\z/ && $value >= $least && $value <= $most
        or refuse($method, "$name must be a whole number from $least to $most, not", $value);
    return $value;
}

# The same, for a number of seconds.
sub milliseconds {
    my ($method, $name, $seconds) = @_;
    return 0 if !defined $seconds;
    $seconds = _plain($method, $name, $seconds) if ref $seconds;
    !ref $seconds && looks_like_number($seconds) && $seconds > 0 && $seconds <= MOST_SECONDS
        or refuse($method, "$name must be a number of seconds above 0, at most ${\MOST_SECONDS}, not", $seconds);
    return int(1000 * $seconds) || 1;
}

sub topic_name {
    my ($method, $name) = @_;
    $name = _plain($method, 'a topic', $name) if ref $name;
    defined $name && !ref $name && $name =~ m{\A[A-Za-z0-9._:/-]{1,${\TOPIC_NAME_BYTES}}\z}
        or refuse($method, "a topic must be 1 to ${\TOPIC_NAME_BYTES} letters, digits and .-_:/, not", $name);
    return "$name";
}

# Text in octets; undef for undef.
sub text {
    my ($method, $name, $value) = @_;
    my $text = checked($method, \&PAGI::SSE::Check::text, $name, $value);
    return defined $text ? octets($text) : undef;
}

# The same, that is to fit into one line of the stream.
sub line {
    my ($method, $name, $value) = @_;
    my $octets = text($method, $name, $value);
    refuse($method, "$name must not contain CR or LF, got", $value) if defined $octets && $octets =~ /[\r\n]/;
    return $octets;
}

my @FIELDS = qw(data event id key retry delete);

# An event as the library takes it: topic, data, event, id, key, retry, flags.
sub event {
    my ($method, $topic, @given) = @_;
    $topic = topic_name($method, $topic);
    refuse($method, 'takes name => value pairs') if @given % 2;
    my %given = @given;
    my ($data, $name, $id, $key, $retry, $delete) = delete @given{@FIELDS};
    pairs($method, \@given, @FIELDS) if %given;    # says what is wrong
    if (!defined $data) {
        refuse($method, 'data is required') if !$delete || grep { defined } $name, $id, $retry;
    }
    my $is_encoded;
    ($data, $is_encoded) = checked($method, \&PAGI::SSE::Check::encoded, $data) if ref $data;
    $data = octets($data) if !$is_encoded && defined $data && $data =~ /[[:^ascii:]]/;
    refuse($method, 'delete requires a key') if $delete && !defined $key;
    # Printable ASCII, nearly everything, is fine as it is.
    if (ref $name || ref $id || ref $key || join('', grep { defined } $name, $id, $key) =~ tr/ -~//c) {
        $name = line($method, event => $name);
        ($id, $key) = (text($method, id => $id), text($method, key => $key));
    }
    my $problem = defined $id && PAGI::SSE::Check::bad_id($id);
    refuse($method, "id $problem, got", $id) if $problem;
    $retry = checked($method, \&PAGI::SSE::Check::retry, $retry) if defined $retry;
    return ($topic, $data, $name, $id, $key, $retry, $delete ? EVENT_DELETE : 0);
}

1;

__END__

=head1 NAME

PAGI::SSE::Hub::Arguments - what the methods of a hub are given (internal)

=head1 DESCRIPTION

Checks the arguments of L<PAGI::SSE::Hub>. Internal.

=cut
