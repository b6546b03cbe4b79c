package PAGI::SSE::Server::AccessLog;
use strict;
use warnings;

our $VERSION = '0.003000';

use Carp ();
use IO::Handle;
use POSIX       ();
use Time::HiRes ();

# Lines of the access log: the combined format, then seconds and the reason of
# the end.

# $to: '-' for STDOUT, a path to append to, a handle, or a coderef.
sub new {
    my ($class, $to) = @_;
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
        $write = sub { print {$fh} "$_[0]\n" };
    }
    return bless { write => $write }, $class;
}

# What is needed of a request once it is over.
sub remember {
    my ($self, $scope) = @_;
    my %header = map { @$_ } @{ $scope->{headers} };
    my $target = $scope->{raw_path} . (length $scope->{query_string} ? "?$scope->{query_string}" : '');
    return [
        $scope->{client} ? $scope->{client}[0] : '-',           Time::HiRes::time(),
        "$scope->{method} $target HTTP/$scope->{http_version}", @header{qw(referer user-agent)},
    ];
}

# $status and $bytes are undef where they are not known.
sub write {
    my ($self, $remembered, $status, $bytes, $ms, $reason) = @_;
    my ($client, $time, $request, $referer, $agent) = @$remembered;
    for ($request, $referer, $agent) {
        $_ = '-' if !defined || !length;
        s/([^\x20-\x7e]|["\\])/sprintf '\\x%02X', ord $1/ge;    # a log line must stay one
    }
    for ($status, $bytes) { $_ = '-' if !defined }
    my $date = POSIX::strftime('%d/%b/%Y:%H:%M:%S +0000', gmtime $time);
    $self->{write}->(
        sprintf '%s - - [%s] "%s" %s %s "%s" "%s" %.3f %s',
        $client, $date, $request, $status, $bytes, $referer, $agent, $ms / 1000, length $reason ? $reason : '-'
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
