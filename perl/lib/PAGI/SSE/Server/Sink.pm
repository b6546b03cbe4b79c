package PAGI::SSE::Server::Sink;
use strict;
use warnings;

our $VERSION = '0.003000';

use Errno        qw(EAGAIN EINTR EWOULDBLOCK);
use Fcntl        qw(O_NONBLOCK O_WRONLY);
use POSIX        ();
use Scalar::Util qw(refaddr weaken);

# Where lines of a log go, without ever waiting for who reads them: a pipe that
# nobody reads would stop the whole server, one whose reader has left kill it.
# What finds no room waits here; beyond QUEUE_BYTES lines are dropped, counted,
# and one line says so.

use constant QUEUE_BYTES => 256 * 1024;
use constant PIPE_BUF    => 512;          # POSIX: what a writable pipe takes at least
use constant RETRY_MS    => 100;

my %waiting;                              # sinks with something in their queue, by address, weak

sub new {
    my ($class, $fh, $on_trouble) = @_;    # $on_trouble gets a message, once an episode
    return bless { fh => $fh, on_trouble => $on_trouble, queue => '', dropped => 0, pid => $$ }, $class;
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
    $self->_forget if $self->{pid} != $$;    # a fork: the queue is the parent's
    $self->_flush if length $self->{queue};
    if (length($self->{queue}) + length $line > QUEUE_BYTES) {
        $self->{dropped}++;
        return;
    }
    $self->{queue} .= $line;
    $self->_flush;
    return;
}

sub _flush {
    my ($self) = @_;
    while (length $self->{queue}) {
        my $n = $self->_write($self->{queue});
        if (!defined $n) {
            next if $! == EINTR;
            last if $! == EAGAIN || $! == EWOULDBLOCK;
            $self->_broken("$!");
            last;
        }
        substr $self->{queue}, 0, $n, '';
        delete $self->{is_broken};
        if ($self->{dropped} && length $self->{queue} < QUEUE_BYTES / 2) {
            my $dropped = delete $self->{dropped};
            $self->{dropped} = 0;
            my $text =
                "$dropped line" . ($dropped == 1 ? ' was' : 's were') . ' dropped, as nobody read the log in time';
            # After the line that is half written, and those behind it.
            $self->{queue} .= "PAGI::SSE::Server: warning: $text\n";
        }
    }
    if   (length $self->{queue}) { weaken($waiting{ refaddr $self } = $self) }
    else                         { delete $waiting{ refaddr $self } }
    return;
}

# Nobody will ever read it, or there is no room on the disk.
sub _broken {
    my ($self, $why) = @_;
    $self->{queue} = '';
    return if $self->{is_broken}++;
    $self->{on_trouble}->("cannot write a log: $why; lines are lost") if $self->{on_trouble};
    return;
}

sub _write {
    my ($self, $octets) = @_;
    # A signal of our own making, which must not end the process.
    local $SIG{PIPE} = 'IGNORE';
    my $fh = $self->{fh};
    my $number = eval { fileno $fh };
    if (!defined $number || $number < 0) {    # no file of the system's
        return print({$fh} $octets) ? length $octets : undef;
    }
    my @stat = stat $fh;
    my $file = @stat ? "$number $stat[0] $stat[1]" : '';
    if (!defined $self->{file} || $self->{file} ne $file) {    # opened again meanwhile
        $self->{file} = $file;
        $self->{own} = -p _ ? _own_description($number) : undef;
        $self->{may_block} = !$self->{own} && (-p _ || -S _ || -t $fh);
    }
    return syswrite $self->{own}, $octets if $self->{own};
    if ($self->{may_block}) {
        vec(my $writable = '', $number, 1) = 1;
        if (!select undef, $writable, undef, 0) {
            $! = EAGAIN;
            return;
        }
        $octets = substr $octets, 0, PIPE_BUF;    # so much there is, then
    }
    # By number: a handle may have layers.
    return POSIX::write($number, $octets, length $octets);
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

sub _forget {
    my ($self) = @_;
    @$self{qw(queue dropped pid)} = ('', 0, $$);
    delete $waiting{ refaddr $self };
    return;
}

sub DESTROY { delete $waiting{ refaddr $_[0] }; return }

sub CLONE { %waiting = (); return }

1;

__END__

=head1 NAME

PAGI::SSE::Server::Sink - where the embedded server's logs go, without waiting

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>: STDERR, and the access log where it is a handle
or a file.

=cut
