package PAGI::SSE::Command;

use strict;
use warnings;

use Getopt::Long ();

our $VERSION = '0.003000';

# What the commands of pagi-sse have in common. Each is a class: `usage` is its
# text, and `run(@argv)` returns the exit status or dies with what failed.

# Prints the message, the usage, and leaves.
sub wrong_usage {
    my ($command, $message) = @_;
    print STDERR "pagi-sse: $message\n" if defined $message;
    print STDERR $command->help;
    exit 2;
}

sub help {
    my ($command) = @_;
    return 'usage: ' . $command->usage =~ s/^(?!\A)/       /gmr;
}

# The options as a hash, and what is left. --help and --version leave.
sub options {
    my ($command, $argv, @specs) = @_;
    my %option;
    Getopt::Long::Configure(qw(default no_ignore_case bundling));
    Getopt::Long::GetOptionsFromArray($argv, \%option, @specs, 'help|h', 'version') or $command->wrong_usage;
    if ($option{help})    { print $command->help;        exit 0 }
    if ($option{version}) { print "pagi-sse $VERSION\n"; exit 0 }
    return (\%option, @$argv);
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command - what the commands of pagi-sse have in common (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
