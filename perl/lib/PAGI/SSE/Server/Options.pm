package PAGI::SSE::Server::Options;
use strict;
use warnings;

our $VERSION = '0.003000';

use PAGI::SSE::Check ();
use Scalar::Util     qw(looks_like_number);

# What PAGI::SSE::Server->new is given, checked.

# In seconds; the library takes milliseconds.
our @TIMEOUTS = qw(write_timeout head_timeout body_timeout);

my %DEFAULT = (listen => '127.0.0.1:5000', shutdown_timeout => 10, max_connections => 16_384);
my %MOST = (max_body => 999_999_999_999_999, max_connections => 1_000_000, workers => 256);
my %LEAST_SECONDS = (
    shutdown_timeout        => 0,
    cancel_after_disconnect => 0,
    map { $_ => 0.001 } @TIMEOUTS    # 0 ms would mean the default
);
my %OPTION = map { $_ => 1 } qw(app host port sse access_log on_log), keys %DEFAULT, keys %MOST, keys %LEAST_SECONDS;

# The options with their defaults; listen stands for host and port as well.
sub checked {
    die PAGI::SSE::Check::message('PAGI::SSE::Server->new: takes name => value pairs') if @_ % 2;
    my (%option) = @_;
    if (my @unknown = sort grep { !$OPTION{$_} } keys %option) {
        die PAGI::SSE::Check::message(
            "PAGI::SSE::Server->new: unknown option '$unknown[0]' (known: @{[sort keys %OPTION]})");
    }
    die PAGI::SSE::Check::message("PAGI::SSE::Server->new: 'app' must be a coderef") if ref $option{app} ne 'CODE';
    $option{listen} = _listen(@option{qw(listen host port)});
    delete @option{qw(host port)};
    my $sse = $option{sse};
    if (defined $sse && $sse ne 'accept' && ref $sse ne 'CODE' && ref $sse ne 'Regexp') {
        die PAGI::SSE::Check::message(
            "PAGI::SSE::Server->new: 'sse' must be 'accept', a coderef or a regular expression, not '$sse'");
    }
    for my $name (keys %DEFAULT) {
        $option{$name} = $DEFAULT{$name} if !defined $option{$name};
    }
    _check_numbers(%option);
    return %option;
}

# An address in one piece or in two.
sub _listen {
    my ($listen, $host, $port) = @_;
    return $listen if !defined $host && !defined $port;
    $host = '127.0.0.1' if !defined $host;
    $port = 5000 if !defined $port;
    $port =~ /\A[0-9]{1,5}\z/ && $port <= 65_535
        or die PAGI::SSE::Check::message(
        "PAGI::SSE::Server->new: 'port' must be a whole number from 0 to 65535, not '$port'");
    my $both = $host =~ /:/ && $host !~ /\A\[/ ? "[$host]:$port" : "$host:$port";
    return $both if !defined $listen || $listen eq $both;
    die PAGI::SSE::Check::message(
        "PAGI::SSE::Server->new: 'listen' says '$listen', 'host' and 'port' say '$both'; give one of them");
}

sub _check_numbers {
    my (%option) = @_;
    for my $name (grep { defined $option{$_} } sort keys %MOST) {
        next if $option{$name} =~ /\A[1-9][0-9]{0,14}\z/ && $option{$name} <= $MOST{$name};
        die PAGI::SSE::Check::message(
            "PAGI::SSE::Server->new: '$name' must be a whole number from 1 to $MOST{$name}, not '$option{$name}'");
    }
    for my $name (grep { defined $option{$_} } sort keys %LEAST_SECONDS) {
        my ($seconds, $least) = ($option{$name}, $LEAST_SECONDS{$name});
        looks_like_number($seconds) && $seconds >= $least && $seconds <= 86_400
            or die PAGI::SSE::Check::message(
            "PAGI::SSE::Server->new: '$name' must be from $least to 86400 seconds, not '$seconds'");
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
