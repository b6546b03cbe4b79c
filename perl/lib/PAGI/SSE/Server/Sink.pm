package PAGI::SSE::Server::Sink;
use strict;
use warnings;

our $VERSION = '0.003000';

use Errno        qw(EAGAIN EBADF EINTR EWOULDBLOCK);
use Fcntl        qw(O_NONBLOCK O_WRONLY);
use POSIX        ();
use Scalar::Util qw(refaddr weaken);

# Where lines of a log go, without ever waiting for who reads them: a pipe that
# nobody reads would stop the whole server, one whose reader has left kill it.
# What finds no room waits here; beyond QUEUE_BYTES lines are left out, counted,
# and one line says so, the last time when the server stops.

use constant QUEUE_BYTES => 256 * 1024;
use constant PIPE_BUF    => eval { POSIX::PIPE_BUF() } || 512;    # what a pipe takes whole or not at all
use constant SOCKET_BUF  => 512;                                  # what there is room for, if for anything
use constant RETRY_MS    => 100;

my %waiting;    # sinks with something in their queue, by address, weak

sub new {
    my ($class, $fh, $on_trouble) = @_;    # $on_trouble gets a message, once an episode
    my $self = bless { fh => $fh, on_trouble => $on_trouble, pid => $$ }, $class;
    $self->_empty;
    return $self;
}

# In each turn of a server: true while something waits.
sub flush_all {
    my ($class) = @_;
    for my $sink (grep { defined } values %waiting) {
        $sink->_flush;
    }
    return scalar %waiting;
}

# With its line feed.
sub line {
    my ($self, $line) = @_;
    utf8::encode($line) if !utf8::downgrade($line, 1);
    $self->_flush;
    # Something went wrong within a line: the next begins one.
    $line = "\n$line" if $self->{is_cut} && !length $self->{queue};
    if (length($self->{queue}) + length $line > QUEUE_BYTES) {
        $self->{left_out}++;
        return;
    }
    $self->{queue} .= $line;
    $self->_flush;
    return;
}

# No more lines come. Those that nobody has taken by now are left out, which is
# said, if not here.
sub finish {
    my ($self) = @_;
    $self->_flush;
    my $lines = $self->{left_out} + $self->_waiting_lines or return;
    my $last = $self->{is_cut} ? '; the last line in it is cut' : '';
    my $why = defined $self->{why} ? "as it could not be written: $self->{why}" : 'as nobody read it in time';
    $self->_empty;
    $self->{on_trouble}->(_left_out($lines) . ", $why$last") if $self->{on_trouble};
    return;
}

sub _waiting_lines { return scalar(() = $_[0]{queue} =~ /[^\n]\n/g) }

sub _left_out {
    my ($lines) = @_;
    return "$lines line" . ($lines == 1 ? ' was' : 's were') . ' left out';
}

sub _flush {
    my ($self) = @_;
    $self->_empty if $self->{pid} != $$;    # a fork: the queue is the parent's
    while (length $self->{queue}) {
        my $n = $self->_write;
        if (!defined $n) {
            next if $! == EINTR;
            last if $! == EAGAIN || $! == EWOULDBLOCK;
            $self->_broken("$!");
            last;
        }
        $self->{is_cut} = substr($self->{queue}, 0, $n, '') !~ /\n\z/ if $n;
        $self->_own_up if $self->{left_out} && length $self->{queue} < QUEUE_BYTES / 2;
        delete $self->{why};
    }
    if   (length $self->{queue}) { weaken($waiting{ refaddr $self } = $self) }
    else                         { delete $waiting{ refaddr $self } }
    return;
}

# It takes lines again. After the line that is half written, and those behind it.
sub _own_up {
    my ($self) = @_;
    my $why = defined $self->{why} ? "as it could not be written: $self->{why}" : 'as nobody read the log in time';
    $self->{queue} .= 'PAGI::SSE::Server: warning: ' . _left_out($self->{left_out}) . ", $why\n";
    $self->{left_out} = 0;
    return;
}

# Nobody will ever read it, or there is no room on the disk.
sub _broken {
    my ($self, $why) = @_;
    $self->{left_out} += $self->_waiting_lines;
    $self->{queue} = '';
    my $is_new = !defined $self->{why};
    $self->{why} = $why;
    $self->{on_trouble}->("cannot write a log: $why; lines are lost") if $is_new && $self->{on_trouble};
    return;
}

# Of the queue, what can be written at once: whole lines, where they fit.
sub _piece {
    my ($self, $most) = @_;
    return $self->{queue} if length $self->{queue} <= $most;
    my $end = rindex $self->{queue}, "\n", $most - 1;
    return substr $self->{queue}, 0, $end < 0 ? $most : $end + 1;
}

sub _write {
    my ($self) = @_;
    # A signal of our own making, which must not end the process.
    local $SIG{PIPE} = 'IGNORE';
    my $fh = $self->{fh};
    my $number = eval { fileno $fh };
    return $self->_print if !defined $number || $number < 0;    # no file of the system's
    my @stat = stat $fh;
    my $file = @stat ? "$number $stat[0] $stat[1]" : '';
    if (!defined $self->{file} || $self->{file} ne $file) {     # opened again meanwhile
        $self->{file} = $file;
        $self->{own} = -p _ ? _own_description($number) : undef;
        $self->{may_block} = !$self->{own} && (-p _ || -S _ || -t $fh);
    }
    return syswrite $self->{own}, $self->_piece(PIPE_BUF) if $self->{own};
    my $octets = $self->{queue};
    if ($self->{may_block}) {
        vec(my $writable = '', $number, 1) = 1;
        if (!select undef, $writable, undef, 0) {
            $! = EAGAIN;
            return;
        }
        $octets = $self->_piece(SOCKET_BUF);
    }
    # By number: a handle may have layers.
    return POSIX::write($number, $octets, length $octets);
}

sub _print {
    my ($self) = @_;
    $! = 0;
    my $fh = $self->{fh};
    no warnings 'io';                                    # it is said anyway
    return length $self->{queue} if eval { print {$fh} $self->{queue} };
    $! = EBADF if !$! || $! == EINTR || $! == EAGAIN;    # asking again would not help
    return;
}

# The same pipe once more: to set O_NONBLOCK on what we were given would set it
# for everybody who shares it.
sub _own_description {
    my ($number) = @_;
    for my $directory ('/proc/self/fd', '/dev/fd') {
        my $own;
        return $own if sysopen $own, "$directory/$number", O_WRONLY | O_NONBLOCK;
    }
    return;
}

sub _empty {
    my ($self) = @_;
    @$self{qw(queue left_out pid)} = ('', 0, $$);
    delete @$self{qw(is_cut why)};
    delete $waiting{ refaddr $self };
    return;
}

sub DESTROY { delete $waiting{ refaddr $_[0] }; return }

# What STDERR has not taken while the server ran.
END { local ($?, $!); __PACKAGE__->flush_all }

sub CLONE { %waiting = (); return }

1;

__END__

=head1 NAME

PAGI::SSE::Server::Sink - where the embedded server's logs go, without waiting

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>: STDERR, and the access log where it is a handle
or a file.

=cut
