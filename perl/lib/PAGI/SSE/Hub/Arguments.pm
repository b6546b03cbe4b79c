package PAGI::SSE::Hub::Arguments;
use strict;
use warnings;

our $VERSION = '0.003000';

use Exporter                  qw(import);
use PAGI::SSE::Check          ();
use PAGI::SSE::FFI::Constants qw(PUBLISH_FLAG_DELETE TOPIC_NAME_BYTES);
use PAGI::SSE::Text           qw(octets);
use Scalar::Util              qw(looks_like_number);

our @EXPORT_OK = qw(event line milliseconds pairs refuse text topic_name whole);

# What the methods of a hub are given, checked. Each function is told which
# method it is for, and dies at the application's line.

use constant { MOST => 999_999_999_999_999, MOST_SECONDS => 1_000_000_000 };

sub refuse {
    my ($method, $why, @value) = @_;
    die PAGI::SSE::Check::message(join ' ', "PAGI::SSE::Hub->$method: $why",
        map { PAGI::SSE::Check::shown($_) } @value);
}

# name => value pairs, of known names, as a hashref.
sub pairs {
    my ($method, $given, @known) = @_;
    refuse($method, 'takes name => value pairs') if @$given % 2;
    my %pair;
    for (my $i = 0; $i < @$given; $i += 2) {
        my $name = $given->[$i];
        defined $name && grep { $_ eq $name } @known
            or refuse($method, 'unknown option ' . PAGI::SSE::Check::shown($name) . " (known: @known)");
        $pair{$name} = $given->[$i + 1];
    }
    return \%pair;
}

# 0, which stands for "not given", for undef.
sub whole {
    my ($method, $name, $value, $most) = @_;
    return 0 if !defined $value;
    $most = MOST if !defined $most;
    $value =~ /\A[1-9][0-9]{0,14}\z/ && $value <= $most
        or refuse($method, "$name must be a whole number from 1 to $most, not", $value);
    return $value;
}

# The same, for a number of seconds.
sub milliseconds {
    my ($method, $name, $seconds) = @_;
    return 0 if !defined $seconds;
    looks_like_number($seconds) && $seconds > 0 && $seconds <= MOST_SECONDS
        or refuse($method, "$name must be a number of seconds above 0, at most ${\MOST_SECONDS}, not", $seconds);
    return int(1000 * $seconds) || 1;
}

sub topic_name {
    my ($method, $name) = @_;
    defined $name && $name =~ m{\A[A-Za-z0-9._:/-]{1,${\TOPIC_NAME_BYTES}}\z}
        or refuse($method, "a topic must be 1 to ${\TOPIC_NAME_BYTES} letters, digits and .-_:/, not", $name);
    return "$name";
}

# Text in octets; undef for undef.
sub text {
    my ($method, $name, $value) = @_;
    return $value if !defined $value;
    !ref $value || PAGI::SSE::Check::is_stringy($value) or refuse($method, "$name must be text, not", $value);
    return octets($value);
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
    elsif (ref $data) {
        eval { $data = PAGI::SSE::Check::encoded($data); 1 }
            or refuse($method, 'data: ' . PAGI::SSE::Check::reason($@));
    }
    $data = octets($data) if defined $data && $data =~ /[[:^ascii:]]/;
    refuse($method, 'delete requires a key') if $delete && !defined $key;
    # Printable ASCII, nearly everything, is fine as it is.
    if (ref $name || ref $id || ref $key || join('', grep { defined } $name, $id, $key) =~ tr/ -~//c) {
        ($name, $id) = (line($method, event => $name), line($method, id => $id));
        # Clients ignore such an id.
        refuse($method, 'id must not contain NUL, got', $id) if defined $id && $id =~ /\0/;
        $key = text($method, key => $key);
    }
    !defined $retry || $retry =~ /\A[0-9]{1,15}\z/
        or refuse($method, "retry must be a whole number of milliseconds, at most ${\MOST}, not", $retry);
    return ($topic, $data, $name, $id, $key, defined $retry ? $retry + 0 : -1, $delete ? PUBLISH_FLAG_DELETE : 0);
}

1;

__END__

=head1 NAME

PAGI::SSE::Hub::Arguments - what the methods of a hub are given (internal)

=head1 DESCRIPTION

Checks the arguments of L<PAGI::SSE::Hub>. Internal.

=cut
