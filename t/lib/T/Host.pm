package T::Host;
use strict;
use warnings;

# An embedded server in this process, and raw clients of it: `until` runs the
# server and reads every client until a condition holds.

use Carp ();
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use PAGI::SSE::Server;
use Time::HiRes qw(time);

use constant DEADLINE => 20;    # seconds; only a failing test waits so long

sub new {
    my ($class, $app, %option) = @_;
    my @log;
    my $server = PAGI::SSE::Server->new(
        app    => $app,
        listen => '127.0.0.1:0',
        on_log => sub { push @log, "$_[0]: $_[1]" },
        %option,
    )->start;
    return bless { server => $server, log => \@log, clients => [] }, $class;
}

sub server { return $_[0]{server} }
sub log    { return @{ $_[0]{log} } }

# The library's own figures.
sub stats {
    my ($self) = @_;
    my ($code, $json) = PAGI::SSE::FFI::server_stats($self->{server}->_handle);
    Carp::croak("stats: $code") if $code < 0;
    return JSON::PP::decode_json($json);
}

sub connect {
    my ($self, $request) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{server}->port)
        or Carp::croak("connect: $!");
    $socket->blocking(0);
    my $client = bless { socket => $socket, in => '' }, 'T::Host::Client';
    push @{ $self->{clients} }, $client;
    $client->write($request) if defined $request;
    return $client;
}

# A GET of an event stream.
sub stream {
    my ($self, $path, @headers) = @_;
    return $self->connect(
        join "\r\n", 'GET ' . ($path || '/') . ' HTTP/1.1',
        'Host: x',   'Accept: text/event-stream',
        @headers,    '', ''
    );
}

sub get {
    my ($self, $path, @headers) = @_;
    return $self->connect(join "\r\n", "GET $path HTTP/1.1", 'Host: x', @headers, '', '');
}

# Requests that the server has not read yet: so many that it accepts no further
# connection, and whoever comes now waits in the kernel.
sub crowd {
    my ($self) = @_;
    my @clients = map { $self->get('/') } 1 .. 60;
    my $end = time + DEADLINE;
    my $handle = $self->{server}->_handle;
    while (PAGI::SSE::FFI::server_busy($handle) < 16) {
        Carp::croak('the requests do not come') if time > $end;
        select undef, undef, undef, 0.005;
    }
    return @clients;
}

sub until {
    my ($self, $condition, $what) = @_;
    my $end = time + DEADLINE;
    while (1) {
        $self->read;
        return 1 if $condition->();
        if (time > $end) {
            Carp::carp('gave up waiting for ' . ($what || 'a condition'));
            return 0;
        }
        $self->wait(0.05);
    }
}

# What has come, for the server and for the clients.
sub read {
    my ($self) = @_;
    $self->{server}->dispatch if !$self->{server}->is_stopped;
    $_->read_some for @{ $self->{clients} };
    return;
}

# Until something has come, or so many seconds.
sub wait {
    my ($self, $seconds) = @_;
    my @watch = map { $_->{socket} } grep { !$_->{eof} && !$_->{paused} } @{ $self->{clients} };
    my $select = IO::Select->new(@watch, $self->{server}->is_stopped ? () : $self->{server}->fileno);
    $select->can_read($seconds);
    return;
}

sub DESTROY {
    my ($self) = @_;
    @{ $self->{clients} } = ();
    return;
}

package T::Host::Client;

sub write {
    my ($self, $bytes) = @_;
    my $end = time + T::Host::DEADLINE();
    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        if    (defined $n)  { substr $bytes, 0, $n, '' }
        elsif (!$!{EAGAIN}) { return 0 }
        else                { select undef, undef, undef, 0.01 }
        die "the server does not read\n" if time > $end;
    }
    return 1;
}

sub read_some {
    my ($self) = @_;
    return if $self->{eof} || $self->{paused};
    while (1) {
        my $n = sysread $self->{socket}, $self->{in}, 65_536, length $self->{in};
        next if $n;
        last if !defined $n && ($!{EAGAIN} || $!{EINTR});
        $self->{eof} = 1;
        last;
    }
    return;
}

sub close { my ($self) = @_; close $self->{socket}; $self->{eof} = 1; return }

sub reset {
    my ($self) = @_;
    setsockopt $self->{socket}, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'l l', 1, 0;
    return $self->close;
}

sub eof  { return $_[0]{eof} }
sub raw  { return $_[0]{in} }
sub head { my ($head) = $_[0]{in} =~ /\A(.*?\r\n\r\n)/s; return defined $head ? $head : '' }

sub status { my ($status) = $_[0]{in} =~ m{\AHTTP/1\.1 (\d+)}; return $status }

sub header {
    my ($self, $name) = @_;
    my ($value) = $self->head =~ /^\Q$name\E: ([^\r]*)\r$/mi;
    return $value;
}

# The body so far, chunks joined; and whether its end has come.
sub body {
    my ($self) = @_;
    my $head = $self->head;
    my $rest = substr $self->{in}, length $head;
    if ($head !~ /^transfer-encoding: chunked\r$/mi) {
        my $length = $self->header('content-length');
        return wantarray ? ($rest, defined $length ? length $rest >= $length : $self->{eof}) : $rest;
    }
    my ($body, $ended) = ('', 0);
    while ($rest =~ s/\A([0-9a-f]+)\r\n//i) {
        my $n = hex $1;
        $ended = 1 if !$n;
        last if length $rest < $n + 2;
        $body .= substr $rest, 0, $n;
        die "a chunk has no end\n" if substr($rest, $n, 2) ne "\r\n";
        $rest = substr $rest, $n + 2;
    }
    return wantarray ? ($body, $ended) : $body;
}

sub ended { my (undef, $ended) = $_[0]->body; return $ended }

1;
