package T::Scripted;

# A server for clients under test: in a child process, it gives the answers that
# it was made with, one to each connection, the last to all further ones.
#
#     my $server = T::Scripted->new(stream("data: 1\n\n"), T::Scripted::NO_CONTENT);
#     $server->url;
#     is [$server->requests], [...];    # heads and bodies, as they came
#
# An answer is octets, or a hash: octets; hold, to keep the connection until the
# client leaves; flood, octets to send again and again until then.

use strict;
use warnings;

use parent 'T::Serve';

use Exporter         qw(import);
use IO::Socket::INET ();
use JSON::PP         ();
use POSIX            ();
use Time::HiRes      ();

our @EXPORT = qw(stream answer);

use constant NO_CONTENT => "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

# The head of an event stream and its beginning; headers: more fields.
sub stream { my ($body, @headers) = @_; return answer(200, $body, 'content-type: text/event-stream', @headers) }

# To the end of the connection.
sub answer {
    my ($status, $body, @headers) = @_;
    return join "\r\n", "HTTP/1.1 $status Status", 'connection: close', @headers, '', $body;
}

sub new {
    my ($class, @answers) = @_;
    return $class->code(sub { _serve($_[0], @answers) });
}

sub _serve {
    my ($ready, @answers) = @_;
    local $SIG{CHLD} = 'IGNORE';
    local $SIG{PIPE} = 'IGNORE';
    my $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1') or die "listen: $!";
    $ready->($listener->sockport);
    while (my $client = $listener->accept) {
        my $answer = @answers > 1 ? shift @answers : $answers[0];
        my $pid = fork // die "fork: $!";
        next if $pid;
        close $listener;
        _answer($client, ref $answer ? $answer : { octets => $answer });
        POSIX::_exit(0);
    }
    return;
}

sub _answer {
    my ($client, $answer) = @_;
    my $request = '';
    until ($request =~ /\r\n\r\n/ && length $' >= (($request =~ /^content-length: (\d+)/mi)[0] // 0)) {
        sysread $client, $request, 65_536, length $request or last;
    }
    # One write: several processes share the file.
    syswrite STDERR, 'REQUEST ' . JSON::PP->new->allow_nonref->ascii->encode($request) . "\n";
    _write($client, $answer->{octets} // '');
    my $taken = 0;
    if (defined $answer->{flood}) {
        while (defined(my $n = syswrite $client, $answer->{flood})) {
            $taken += $n;
            syswrite STDERR, "FLOOD $taken\n";
        }
    }
    shutdown $client, 1 if !$answer->{hold};
    1 while sysread $client, my $rest, 4096;
    syswrite STDERR, "LEFT\n";
    return;
}

sub _write {
    my ($client, $octets) = @_;
    while (length $octets) {
        my $n = syswrite $client, $octets or last;
        substr $octets, 0, $n, '';
    }
    return;
}

sub requests {
    return map { JSON::PP->new->allow_nonref->decode($_) } $_[0]->log =~ /^REQUEST (.*)$/mg;
}

# How many octets of a flood the kernel took.
sub flooded { return ($_[0]->log =~ /^FLOOD (\d+)$/mg)[-1] // 0 }

# How many clients have left, or were sent off.
sub left { return scalar(() = $_[0]->log =~ /^LEFT$/mg) }

1;
