package PAGI::SSE::Server::AccessLog;
use strict;
use warnings;

our $VERSION = '0.003000';

use Carp ();
use IO::Handle;
use POSIX       ();
use Time::HiRes ();

use PAGI::SSE::Server::Clock ();
use PAGI::SSE::Server::Sink  ();

our @CARP_NOT = ('PAGI::SSE::Server');

# Lines of the access log: the combined format, then seconds and the reason of
# the end.

# $to: '-' for STDOUT, a path to append to, a handle, or a coderef. $on_trouble
# gets a message when a line is lost.
sub new {
    my ($class, $to, $on_trouble) = @_;
    my $write;
    if (ref $to eq 'CODE') {
        $write = $to;
    }
    else {
        my $fh = ref $to || ref \$to eq 'GLOB' ? $to : $to eq '-' ? \*STDOUT : undef;
        if (!$fh) {
            open $fh, '>>', $to or Carp::croak("PAGI::SSE::Server: cannot append to access_log '$to': $!");
        }
        $fh->autoflush(1);
        my $sink = PAGI::SSE::Server::Sink->new($fh, $on_trouble);
        $write = sub { $sink->line("$_[0]\n") };
    }
    return bless { write => $write }, $class;
}

# What is needed of a request once it is over.
sub remember {
    my ($self, $scope) = @_;
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
sub write_answered {
    my ($self, $record) = @_;
    my %scope;
    (my ($status, $bytes, $ms, $reason), @scope{qw(method http_version raw_path query_string)}, my ($client, $fields))
        = (unpack 'x9 S Q Q L/a L/a L/a L/a L/a L/a S L/a S a*', $record)[0 .. 8, 12];
    my @fields = length $fields ? unpack '(L/a)*', $fields : ();
    $scope{headers} = [map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1];
    $scope{client} = [$client] if length $client;
    return $self->write($self->remember(\%scope), $status, $bytes, $ms, $reason);
}

# $status and $bytes are undef where they are not known.
sub write {
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
