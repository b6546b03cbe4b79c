package T::Client;

# An HTTP/1.1 client for tests: a plain socket, blocking with deadlines, that
# shows what went over the wire. Knows nothing of the library under test.
#
#     my $client = T::Client->new(port => $port);
#     $client->request(GET => '/events', headers => [ Accept => 'text/event-stream' ]);
#     is $client->status, 200;
#     my $event = $client->event;    # { event, data, id, last_id, retry } or undef at the end
#     is $client->end, 'last chunk';

use strict;
use warnings;

use Carp             ();
use Encode           ();
use IO::Socket::INET ();
use Socket           qw(SOL_SOCKET SO_LINGER);
use Time::HiRes      ();

our $TIMEOUT = 10;    # seconds for each thing waited for

sub new {
    my ($class, %option) = @_;
    Carp::croak('T::Client->new: port is missing') if !$option{port};
    my $socket = IO::Socket::INET->new(
        PeerHost => defined $option{host} ? $option{host} : '127.0.0.1',
        PeerPort => $option{port},
        Timeout  => $TIMEOUT,
    ) or Carp::croak("cannot connect to port $option{port}: $@");
    $socket->autoflush(1);
    my $self = bless { socket => $socket, wire => '' }, $class;
    $self->_expect_response;
    return $self;
}

# GET /events as a browser does it, and the head of the answer.
sub stream {
    my ($class, %option) = @_;
    my $last_id = delete $option{last_event_id};
    my $path = delete $option{path};
    my $self = $class->new(%option);
    $self->request(
        GET     => defined $path ? $path : '/events',
        headers => [
            'Accept'        => 'text/event-stream',
            'Cache-Control' => 'no-cache',
            defined $last_id ? ('Last-Event-ID' => $last_id) : (),
        ],
    );
    return $self;
}

# One request on a connection of its own; returns the client, its body read.
sub fetch {
    my ($class, $port, $method, $path, %option) = @_;
    my $self = $class->new(port => $port);
    $self->request($method, $path, %option);
    $self->body;
    return $self;
}

sub request {
    my ($self, $method, $path, %option) = @_;
    my @headers = (Host => 'localhost', @{ $option{headers} || [] });
    my $body = $option{body};
    push @headers, 'Content-Length' => length $body if defined $body;
    my $head = "$method $path HTTP/1.1\r\n";
    while (my ($name, $value) = splice @headers, 0, 2) { $head .= "$name: $value\r\n" }
    $self->_expect_response;
    $self->{is_head} = $method eq 'HEAD';
    return $self->write($head . "\r\n" . (defined $body ? $body : ''));
}

# Octets as they are, for requests that no proper client sends.
sub write {
    my ($self, $octets) = @_;
    local $SIG{PIPE} = 'IGNORE';
    while (length $octets) {
        my $written = syswrite $self->{socket}, $octets;
        Carp::croak("cannot write to the server: $!") if !defined $written;
        substr $octets, 0, $written, '';
    }
    return $self;
}

sub socket { return $_[0]{socket} }

# --- the response ---

sub status  { my ($self) = @_; $self->_read_head; return $self->{status} }
sub headers { my ($self) = @_; $self->_read_head; return $self->{headers} }    # [name, value], names in lower case

# All values of one header, joined; undef when there is none.
sub header {
    my ($self, $name) = @_;
    my @values = map { $_->[1] } grep { $_->[0] eq lc $name } @{ $self->headers };
    return @values ? join(', ', @values) : undef;
}

# The whole body, in octets.
sub body {
    my ($self) = @_;
    $self->_read_head;
    $self->_until(sub { $self->{ended} }, 'the end of the body');
    return $self->{body};
}

# The next event, or undef when the stream has ended. Text is characters.
# id is there only if the event itself had one, last_id is what a browser
# would send when it reconnects.
sub event {
    my ($self) = @_;
    $self->_read_head;
    $self->_until(sub { @{ $self->{events} } || $self->{ended} }, 'an event');
    return shift @{ $self->{events} };
}

# The next $count events, fewer at the end of the stream.
sub events {
    my ($self, $count) = @_;
    my @events;
    while (@events < $count) {
        my $event = $self->event or last;
        push @events, $event;
    }
    return @events;
}

# The first event that $wanted (called with it in $_) approves of.
sub event_where {
    my ($self, $wanted) = @_;
    while (my $event = $self->event) {
        local $_ = $event;
        return $event if $wanted->();
    }
    return undef;
}

# The next comment, without its colon.
sub comment {
    my ($self) = @_;
    $self->_read_head;
    $self->_until(sub { @{ $self->{comments} } || $self->{ended} }, 'a comment');
    return shift @{ $self->{comments} };
}

# Waits for the end of the body and says how it came: 'last chunk', 'length',
# 'nothing' (a status without a body), 'eof', or 'cut' (in the middle of a
# chunked or counted body). Events that come before it are kept.
sub end {
    my ($self) = @_;
    $self->_read_head;
    $self->_until(sub { $self->{ended} }, 'the end of the stream');
    return $self->{ended};
}

# The server has closed the connection.
sub is_eof {
    my ($self) = @_;
    $self->_until(sub { $self->{eof} }, 'the end of the connection');
    return 1;
}

# Octets of the body so far.
sub received { return $_[0]{body} }

# --- leaving ---

# FIN
sub close {
    my ($self) = @_;
    my $socket = delete $self->{socket} or return;
    CORE::close($socket);
    return;
}

# RST
sub reset {
    my ($self) = @_;
    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 or die "SO_LINGER: $!";
    return $self->close;
}

# FIN in our direction only
sub half_close {
    my ($self) = @_;
    shutdown $self->{socket}, 1;
    return $self;
}

# --- reading ---

sub _expect_response {
    my ($self) = @_;
    @$self{qw(status headers ended is_head)} = ();
    @$self{qw(body text)} = ('', '');
    $self->{lines} = [];
    $self->{events} = [];
    $self->{comments} = [];
    $self->{block} = {};
    $self->{last_id} = '';
    return;
}

sub _until {
    my ($self, $is_so, $what) = @_;
    my $deadline = Time::HiRes::time() + $TIMEOUT;
    until ($is_so->()) {
        my $left = $deadline - Time::HiRes::time();
        $self->_complain("no $what within $TIMEOUT seconds") if $left <= 0;
        $self->_complain("the connection ended before $what") if $self->{eof};
        $self->_read_some($left);
    }
    return;
}

sub _complain {
    my ($self, $problem) = @_;
    my $seen = join '', map { defined $_ ? $_ : '' } $self->{body}, $self->{wire};
    $seen = '...' . substr $seen, -500 if length $seen > 500;
    local $Carp::CarpLevel = 2;
    Carp::croak(
        "$problem; status " . (defined $self->{status} ? $self->{status} : 'not seen') . ", received last: <<$seen>>");
}

sub _read_some {
    my ($self, $seconds) = @_;
    Carp::croak('this client has closed its connection') if !$self->{socket};
    my $vector = '';
    vec($vector, fileno $self->{socket}, 1) = 1;
    return if select($vector, undef, undef, $seconds) < 1;
    my $count = sysread $self->{socket}, my $octets, 65_536;
    if (!$count) {
        return if !defined $count && $!{EINTR};
        $self->{eof} = 1;
        $self->{ended} ||= defined $self->{framing} && $self->{framing} eq 'eof' ? 'eof' : 'cut'
            if defined $self->{status};
        return;
    }
    $self->{wire} .= $octets;
    $self->_take_body if defined $self->{status};
    return;
}

sub _read_head {
    my ($self) = @_;
    return if defined $self->{status};
    $self->_until(sub { $self->{wire} =~ /\r\n\r\n/ }, 'a response');
    $self->{wire} =~ s/\A(.*?)\r\n\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my ($status) = $line =~ m{\AHTTP/1\.[01] ([0-9]{3})} or $self->_complain("no status line: '$line'");
    $self->{headers} =
        [map { /\A([^:]+):[ \t]*(.*?)[ \t]*\z/ ? [lc $1, $2] : $self->_complain("no header: '$_'") } @lines];
    if ($status == 100) {    # the answer proper is still to come
        return $self->_read_head;
    }
    $self->{status} = $status;

    my %header = map { @$_ } @{ $self->{headers} };
    my $coding = $header{'transfer-encoding'};
    my $length = $header{'content-length'};
    if    ($self->{is_head} || $status == 204 || $status == 304) { $self->{ended} = 'nothing' }
    elsif (defined $coding && $coding eq 'chunked')              { @$self{qw(framing left)} = ('chunked', undef) }
    elsif (defined $length)                                      { @$self{qw(framing left)} = ('length', $length) }
    else                                                         { @$self{qw(framing left)} = ('eof', undef) }
    $self->_take_body;
    return;
}

# From the wire to the body, as far as it came.
sub _take_body {
    my ($self) = @_;
    return if $self->{ended};
    my $wire = \$self->{wire};
    if ($self->{framing} eq 'eof') {
        $self->_add($$wire);
        $$wire = '';
    }
    elsif ($self->{framing} eq 'length') {
        my $piece = substr $$wire, 0, $self->{left}, '';
        $self->{left} -= length $piece;
        $self->_add($piece);
        $self->{ended} = 'length' if !$self->{left};
    }
    else {
        while (1) {
            if (!defined $self->{left}) {
                $$wire =~ s/\A([0-9A-Fa-f]+)[^\r\n]*\r\n// or last;
                $self->{left} = hex $1;
            }
            if ($self->{left} == 0) {
                $$wire =~ s/\A\r\n// or last;
                $self->{ended} = 'last chunk';
                last;
            }
            last if length $$wire < $self->{left} + 2;
            $self->_add(substr $$wire, 0, $self->{left}, '');
            $$wire =~ s/\A\r\n// or $self->_complain('a chunk without its line end');
            $self->{left} = undef;
        }
    }
    return;
}

sub _add {
    my ($self, $octets) = @_;
    $self->{body} .= $octets;
    my $type = (map { $_->[1] } grep { $_->[0] eq 'content-type' } @{ $self->{headers} })[0];
    return if !defined $type || $type !~ m{\Atext/event-stream\b};
    $self->{text} .= $octets;
    # A CR at the end may be half of a CRLF: the line waits for what follows,
    # which a test can afford.
    while ($self->{text} =~ s/\A([^\r\n]*)(?:\r\n|\n|\r(?!\z))//) { $self->_line($1) }
    return;
}

# The parser of the WHATWG text, section 9.2.6.
sub _line {
    my ($self, $line) = @_;
    my $block = $self->{block};
    if ($line eq '') {
        $self->{last_id} = $block->{id} if defined $block->{id};
        push @{ $self->{events} },
            {
            event => defined $block->{event} && length $block->{event} ? $block->{event} : 'message',
            data  => join("\n", @{ $block->{data} }),
            (map { defined $block->{$_} ? ($_ => $block->{$_}) : () } qw(id retry)),
            last_id => $self->{last_id},
            }
            if $block->{data};
        $self->{block} = {};
        return;
    }
    $line = Encode::decode('UTF-8', $line);
    if ($line =~ s/\A://) {
        push @{ $self->{comments} }, $line;
        return;
    }
    my ($name, $value) = $line =~ /\A([^:]*)(?::\x20?(.*))?\z/s;
    $value = '' if !defined $value;
    if    ($name eq 'data')  { push @{ $block->{data} }, $value }
    elsif ($name eq 'event') { $block->{event} = $value }
    elsif ($name eq 'id')    { $block->{id} = $value if $value !~ /\0/ }
    elsif ($name eq 'retry') { $block->{retry} = $value + 0 if $value =~ /\A[0-9]+\z/ }
    return;
}

1;
