package PAGI::SSE::Client::Options;

use strict;
use warnings;

use PAGI::SSE::Check          qw(shown);
use PAGI::SSE::FFI::Constants qw(
    CLIENT_GZIP CLIENT_INSECURE CLIENT_NO_PROXY CLIENT_NO_REDIRECTS
    CLIENT_RESUME_ALWAYS CLIENT_RESUME_GET CLIENT_RESUME_NEVER
);
use PAGI::SSE::Text qw(octets);

our $VERSION = '0.003000';

# What a client is made with, checked, as the library wants it.

use constant {
    MOST_BYTES => 128 * 1024 * 1024,
    MOST_COUNT => 2**32 - 1,
    NO_LIMIT   => ~0,
};

my %RESUME = (never => CLIENT_RESUME_NEVER, get => CLIENT_RESUME_GET, always => CLIENT_RESUME_ALWAYS);
# From, to.
my %WHOLE = (
    retry         => [100, 86_400_000],
    max_line      => [1,   MOST_BYTES],
    max_event     => [1,   MOST_BYTES],
    max_bytes     => [1,   2**30],
    max_refusal   => [1,   2**20],
    max_items     => [1,   MOST_COUNT],
    max_failures  => [1,   MOST_COUNT],
    max_redirects => [0,   MOST_COUNT],
);
my @SECONDS = qw(backoff connect_timeout head_timeout silence max_age);
my %HAS_OFF = map { $_ => 1 } qw(connect_timeout head_timeout);
my %FLAG = (gzip => CLIENT_GZIP, insecure => CLIENT_INSECURE);
my @KNOWN = sort qw(url method headers body json last_event_id resume retry_on proxy ca_file), keys %WHOLE, @SECONDS,
    keys %FLAG;

# The value comes last, if it is to be named.
sub refuse {
    my ($why, @value) = @_;
    die PAGI::SSE::Check::message(join ' ', "PAGI::SSE::Client->new: $why", map { shown($_) } @value);
}

sub _checked {
    my ($check, @arguments) = @_;
    my @got;
    eval { @got = $check->(@arguments); 1 } or refuse(PAGI::SSE::Check::reason($@));
    return wantarray ? @got : $got[0];
}

# Text in octets; undef for undef.
sub _text {
    my ($name, $value) = @_;
    my $text = _checked(\&PAGI::SSE::Check::text, "'$name'", $value);
    return defined $text ? octets($text) : undef;
}

# As PAGI::SSE::FFI::client_open takes them.
sub checked {
    my $option = _checked(\&PAGI::SSE::Check::pairs, \@_, @KNOWN);
    defined $option->{url} or refuse("'url' is missing");
    my %native = map { ($_ => _text($_, $option->{$_})) } qw(url method last_event_id ca_file);
    $native{headers} = _headers($option->{headers});
    $native{body} = _body($option, $native{headers});
    $native{retry_on} = _statuses($option->{retry_on});
    $native{resume} = $RESUME{ $option->{resume} // 'never' }
        // refuse("'resume' must be never, get or always, not", $option->{resume});
    for my $name (grep { $option->{$_} } keys %FLAG) {
        $native{flags} |= $FLAG{$name};
    }
    _proxy($option->{proxy}, \%native);
    _numbers($option, \%native);
    return \%native;
}

sub _headers {
    my ($headers) = @_;
    return [] if !defined $headers;
    my (undef, $pairs) = _checked(\&PAGI::SSE::Check::response, 200, $headers);
    for my $octets (map { @$_ } @$pairs) {
        utf8::downgrade($octets);
    }
    return $pairs;
}

# JSON brings its content type.
sub _body {
    my ($option, $headers) = @_;
    my ($body,   $json) = @$option{qw(body json)};
    if (exists $option->{json}) {
        defined $body and refuse("takes 'body' or 'json', not both");
        my $octets = eval { PAGI::SSE::Check::encode_json($json) };
        defined $octets or refuse("'json': " . PAGI::SSE::Check::reason($@));
        push @$headers, ['content-type', 'application/json'] if !grep { lc $_->[0] eq 'content-type' } @$headers;
        return $octets;
    }
    return undef if !defined $body;
    !ref $body                or refuse("'body' must be octets, not",                                    $body);
    utf8::downgrade($body, 1) or refuse("'body' must be octets, but there is a character above 0xFF in", $body);
    return $body;
}

sub _statuses {
    my ($statuses) = @_;
    return [] if !defined $statuses;
    ref $statuses eq 'ARRAY' or refuse("'retry_on' must be a reference to an array of statuses, not", $statuses);
    for my $status (@$statuses) {
        defined $status && $status =~ /\A[2-5][0-9][0-9]\z/ && $status != 200 && $status != 204
            or refuse("'retry_on' has what is no status of a failure,", $status);
    }
    return $statuses;
}

# undef: as the environment says; false: none.
sub _proxy {
    my ($proxy, $native) = @_;
    return if !defined $proxy;
    $native->{proxy} = _text(proxy => $proxy) || undef;
    $native->{flags} |= CLIENT_NO_PROXY if !defined $native->{proxy};
    return;
}

sub _numbers {
    my ($option, $native) = @_;
    for my $name (grep { defined $option->{$_} } sort keys %WHOLE) {
        my ($least, $most) = @{ $WHOLE{$name} };
        my $value = $option->{$name};
        my $unit = $name eq 'retry' ? ' of milliseconds' : $name =~ /redirects|items|failures/ ? '' : ' of bytes';
        $value =~ /\A(?:0|[1-9][0-9]{0,9})\z/ && $value >= $least && $value <= $most
            or refuse("'$name' must be a whole number$unit from $least to $most, not", $value);
        $native->{ $name eq 'retry' ? 'retry_ms' : $name } = $value;
    }
    $native->{flags} |= CLIENT_NO_REDIRECTS if defined $option->{max_redirects} && !$option->{max_redirects};
    for my $name (grep { defined $option->{$_} } @SECONDS) {
        my $seconds = PAGI::SSE::Check::number($option->{$name});
        defined $seconds && ($seconds >= 0.001 || $seconds == 0 && $HAS_OFF{$name}) && $seconds <= 86_400_000
            or refuse(
            "'$name' must be from 0.001 to 86400000 seconds" . ($HAS_OFF{$name} ? ', or 0 for no limit' : '') . ', not',
            $option->{$name}
            );
        $native->{"${name}_ms"} = $seconds ? int(1000 * $seconds + 0.5) : NO_LIMIT;
    }
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Client::Options - what a client is made with, checked (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
