package PAGI::SSE::Command::Reading;

use strict;
use warnings;

use parent 'PAGI::SSE::Command';

our $VERSION = '0.003000';

# Commands that read a stream: options of the request they share.

our @REQUEST = qw(H|header=s@ cacert=s insecure proxy=s);

# For PAGI::SSE::Client->new; a wrong usage leaves.
sub request_of {
    my ($command, $option) = @_;
    my @headers;
    for my $line (@{ $option->{H} || [] }) {
        my ($name, $value) = $line =~ /\A([^:\s]+):[ \t]*(.*?)[ \t]*\z/s
            or $command->wrong_usage("-H takes 'Name: value', not '$line'");
        push @headers, [$name, $value];
    }
    return (
        headers => \@headers,
        defined $option->{cacert} ? (ca_file => $option->{cacert}) : (),
        defined $option->{proxy} ? (proxy => $option->{proxy}) : (),
        $option->{insecure} ? (insecure => 1) : (),
    );
}

# The one URL that is left of the arguments.
sub url_of {
    my ($command, @rest) = @_;
    $command->wrong_usage('one URL is needed') if @rest != 1;
    return $rest[0];
}

# Not before: help needs no native library.
sub client {
    my ($command, %option) = @_;
    require PAGI::SSE::Client;
    my $client = eval { PAGI::SSE::Client->new(%option) };
    return $client if $client;
    my $why = $@ =~ s/\APAGI::SSE::Client->new: //r =~ s/ at \S+ line \d+\.?\n\z//r;
    die $@ if $why eq $@;
    $command->wrong_usage($why);
}

# What another program sends is not to steer a terminal.
sub shown {
    my ($command, $text) = @_;
    $text =~ s/([^\P{Cntrl}\t\n])/sprintf '\\x{%02x}', ord $1/ge;
    return $text;
}

sub json {
    require JSON::MaybeXS;
    return JSON::MaybeXS->new(utf8 => 1, canonical => 1);
}

sub write_line {
    my ($command, $octets) = @_;
    print {*STDOUT} $octets, "\n" or die "cannot write: $!\n";
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command::Reading - what commands that read a stream have in common (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
