package PAGI::SSE::Server::AccessLog;
use strict;
use warnings;

our $VERSION = '0.003000';

use Carp ();
use IO::Handle;
use POSIX       ();
use Time::HiRes ();

use PAGI::SSE::Check         ();
use PAGI::SSE::Server::Clock ();
use PAGI::SSE::Server::Sink  ();

our @CARP_NOT = ('PAGI::SSE::Server');

# Lines of the access log: the combined format, then seconds and the reason of
# the end.

# $to: '-' for STDOUT, a path to append to, a handle, or a coderef. $on_trouble
# gets a message when a line is lost.
sub new {
    my ($class, $to, $on_trouble) = @_;
    my ($write, $sink);
    if (PAGI::SSE::Check::is_code($to)) {
        $write = $to;
    }
    else {
        my $fh = ref $to || ref \$to eq 'GLOB' ? $to : $to eq '-' ? \*STDOUT : undef;
        if (!$fh) {
            open $fh, '>>', $to
                or Carp::croak(
                'PAGI::SSE::Server: cannot append to access_log ' . PAGI::SSE::Check::shown($to, 300) . ": $!");
        }
        $fh->autoflush(1);
        $sink = PAGI::SSE::Server::Sink->new($fh, $on_trouble);
        $write = sub { $sink->line("$_[0]\n") };
    }
    return bless { write => $write, sink => $sink, remembered => {} }, $class;
}

# The server has stopped.
sub finish {
    my ($self) = @_;
    $self->{sink}->finish if $self->{sink};
    return;
}

# A request has come; its line is written once it is over.
sub begin {
    my ($self, $conn, $scope) = @_;
    $self->{remembered}{$conn} = _remembered($scope);
    return;
}

# $result: status, octets, milliseconds, reason.
sub end {
    my ($self, $conn, @result) = @_;
    my $remembered = delete $self->{remembered}{$conn} or return;
    return $self->_write($remembered, @result);
}

# What `end` is to be given for those that a stop cut off: the library's totals of
# these are lost with it.
sub left {
    my ($self) = @_;
    my $now = PAGI::SSE::Server::Clock::now();
    my $remembered = $self->{remembered};
    return map { [$_, undef, undef, 1000 * ($now - $remembered->{$_}[-1]), 'server_shutdown'] }
        sort { $remembered->{$a}[-1] <=> $remembered->{$b}[-1] } keys %$remembered;
}

sub _remembered {
    my ($scope) = @_;
    my %header = map { @$_ } @{ $scope->{headers} };
    my $request = $scope->{raw_path} . (length $scope->{query_string} ? "?$scope->{query_string}" : '');
    # Without a method it is the whole line, malformed.
    $request = "$scope->{method} $request HTTP/$scope->{http_version}" if length $scope->{method};
    return [
        $scope->{client} ? $scope->{client}[0] : '-', Time::HiRes::time(),
        $request,                                     @header{qw(referer user-agent)},
        PAGI::SSE::Server::Clock::now(),
    ];
}

# A request that the library answered by itself (src/server/record.rs).
sub answered {
    my ($self, $record) = @_;
    my %scope;
    (my ($status, $bytes, $ms, $reason), @scope{qw(method http_version raw_path query_string)}, my ($client, $fields))
        = (unpack 'x9 S Q Q L/a L/a L/a L/a L/a L/a S L/a S L/a', $record)[0 .. 8, 12];
    my @fields = length $fields ? unpack '(L/a)*', $fields : ();
    $scope{headers} = [map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1];
    $scope{client} = [$client] if length $client;
    return $self->_write(_remembered(\%scope), $status, $bytes, $ms, $reason);
}

# $status and $bytes are undef where they are not known.
sub _write {
    my ($self, $remembered, $status, $bytes, $ms, $reason) = @_;
    my ($client, $time, $request, $referer, $agent) = @$remembered;
    # A log line must stay one; in the reason the library has seen to it.
    for ($request, $referer, $agent) {
        $_ = '-' if !defined || !length;
        s/([^\x20-\x7e]|["\\])/sprintf '\\x%02X', ord $1/ge;
    }
    $reason = '-' if !length $reason;
    $reason =~ s/([^\x20-\x7e])/sprintf '\\x%02X', ord $1/ge;
    for ($status, $bytes) { $_ = '-' if !defined }
    my $date = POSIX::strftime('%d/%b/%Y:%H:%M:%S +0000', gmtime $time);
    $self->{write}->(
        sprintf '%s - - [%s] "%s" %s %s "%s" "%s" %.3f %s',
        $client, $date, $request, $status, $bytes, $referer, $agent, $ms / 1000, $reason
    );
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::AccessLog - the access log of the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>, whose C<access_log> says where lines go.

=cut
