package PAGI::SSE::Server::Options;
use strict;
use warnings;

our $VERSION = '0.003000';

use PAGI::SSE::Check          qw(is_code shown);
use PAGI::SSE::FFI::Constants qw(LEVEL_DEBUG LEVEL_INFO LEVEL_WARNING);
use Scalar::Util              qw(looks_like_number reftype);

# What PAGI::SSE::Server->new is given, checked.

# In seconds; the library takes milliseconds.
our @TIMEOUTS = qw(write_timeout head_timeout body_timeout idle_timeout);

# As the library numbers them.
our @LEVELS;
@LEVELS[LEVEL_WARNING, LEVEL_INFO, LEVEL_DEBUG] = qw(warning info debug);

my %DEFAULT = (listen => '127.0.0.1:5000', shutdown_timeout => 10, max_connections => 16_384);
my %MOST = (
    max_body         => PAGI::SSE::Check::MOST_WHOLE,
    max_queued_bytes => PAGI::SSE::Check::MOST_WHOLE,
    max_connections  => 1_000_000,
    workers          => 256
);
my %LEAST_SECONDS = (
    shutdown_timeout        => 0,
    cancel_after_disconnect => 0,
    map { $_ => 0.001 } @TIMEOUTS    # 0 ms would mean the default
);
my %OPTION = map { $_ => 1 } qw(app host port sse access_log on_log log_level), keys %DEFAULT, keys %MOST,
    keys %LEAST_SECONDS;

# The value comes last, if it is to be named.
sub refuse {
    my ($why, @value) = @_;
    die PAGI::SSE::Check::message(join ' ', "PAGI::SSE::Server->new: $why", map { shown($_) } @value);
}

# The options with their defaults; listen stands for host and port as well.
sub checked {
    my %option = eval { %{ PAGI::SSE::Check::pairs(\@_, sort keys %OPTION) } };
    refuse(PAGI::SSE::Check::reason($@)) if $@;
    is_code($option{app})                                or refuse("'app' must be a coderef, not",    $option{app});
    !defined $option{on_log} || is_code($option{on_log}) or refuse("'on_log' must be a coderef, not", $option{on_log});
    $option{access_log} = _access_log($option{access_log});
    $option{listen} = _listen(@option{qw(listen host port)});
    delete @option{qw(host port)};
    my $sse = $option{sse};
    !defined $sse || ref $sse eq 'CODE' || ref $sse eq 'Regexp' || !ref $sse && $sse eq 'accept'
        or refuse("'sse' must be 'accept', a coderef or a regular expression, not", $sse);

    $option{log_level} = _log_level($option{log_level});
    for my $name (keys %DEFAULT) {
        $option{$name} = $DEFAULT{$name} if !defined $option{$name};
    }
    _check_numbers(%option);
    return %option;
}

# What names a file or a host: a NUL, and the system takes another.
sub _is_name { return defined $_[0] && length $_[0] && $_[0] !~ /[\x00-\x1F\x7F]/ }

# '-', a path, a handle, a coderef.
sub _access_log {
    my ($to) = @_;
    return $to if !defined $to || is_code($to) || ref \$to eq 'GLOB';
    return $to if (reftype($to) // '') =~ /\A(?:GLOB|IO)\z/ && defined eval { fileno $to };
    my $path = eval { PAGI::SSE::Check::text(access_log => $to) };
    return $path if _is_name($path);
    refuse("'access_log' must be '-', a path without control characters, an open handle or a coderef, not", $to);
}

sub _log_level {
    my ($name) = @_;
    my ($number) = grep { $LEVELS[$_] eq ($name // 'warning') } 0 .. $#LEVELS;
    return $number // refuse("'log_level' must be warning, info or debug, not", $name);
}

# Whether it can be had, start will see.
sub _address {
    my ($name, $value) = @_;
    return $value if !defined $value;
    my $text = eval { PAGI::SSE::Check::text($name => $value) };
    return $text if _is_name($text);
    refuse("'$name' must be an address without control characters, not", $value);
}

# An address in one piece or in two.
sub _listen {
    my ($listen, $host, $port) = @_;
    $listen = _address(listen => $listen);
    $host = _address(host => $host);
    return $listen if !defined $host && !defined $port;
    $host = '127.0.0.1' if !defined $host;
    $port = 5000 if !defined $port;
    $port =~ /\A[0-9]{1,5}\z/ && $port <= 65_535
        or refuse("'port' must be a whole number from 0 to 65535, not", $port);
    my $both = $host =~ /:/ && $host !~ /\A\[/ ? "[$host]:$port" : "$host:$port";
    return $both if !defined $listen || $listen eq $both;
    refuse("'listen' says ${\shown($listen)}, 'host' and 'port' say ${\shown($both)}; give one of them");
}

sub _check_numbers {
    my (%option) = @_;
    for my $name (grep { defined $option{$_} } sort keys %MOST) {
        next if $option{$name} =~ /\A[1-9][0-9]{0,14}\z/ && $option{$name} <= $MOST{$name};
        refuse("'$name' must be a whole number from 1 to $MOST{$name}, not", $option{$name});
    }
    for my $name (grep { defined $option{$_} } sort keys %LEAST_SECONDS) {
        my ($seconds, $least) = ($option{$name}, $LEAST_SECONDS{$name});
        looks_like_number($seconds) && $seconds >= $least && $seconds <= 86_400
            or refuse("'$name' must be from $least to 86400 seconds, not", $seconds);
    }
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Options - what a server is made with, checked (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
