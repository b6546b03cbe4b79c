package T::Serve;

# A server for the time of a test: `pagi-sse serve`, or any code, in a child
# process, on a port that the kernel picks.
#
#     my $server = T::Serve->app('examples/notify/app.pl');
#     $server->port;
#     is $server->stop, 0;            # SIGTERM; exit status, or 'signal 9'
#
#     my $server = T::Serve->program('/path/to/program', @arguments);
#
#     my $server = T::Serve->code(sub { my ($ready) = @_; ...; $ready->($port); ... });
#
# It does not outlive its object, nor the test.

use strict;
use warnings;

use Carp           ();
use Errno          ();
use File::Basename ();
use File::Spec     ();
use File::Temp     ();
use IPC::Open3     ();
use POSIX          ();
use Scalar::Util   ();
use Symbol         ();
use Time::HiRes    ();

our $TIMEOUT = 20;    # seconds for the start, and for the end

my $ROOT = File::Spec->rel2abs(File::Spec->catdir(File::Basename::dirname(__FILE__), (File::Spec->updir) x 3));
my %alive;            # by pid, weak

sub root { return $ROOT }

# A file of the source tree.
sub path { my (undef, @names) = @_; return File::Spec->catfile($ROOT, @names) }

# `pagi-sse serve $file`, a path from the root of the tree. args: more of its
# arguments; env: environment variables of the child.
sub app {
    my ($class, $file, %option) = @_;
    my $path = File::Spec->file_name_is_absolute($file) ? $file : $class->path($file);
    my @command = (
        $^X,     $class->path(qw(perl bin pagi-sse)),
        'serve', '--listen', '127.0.0.1:0', @{ $option{args} || [] }, $path,
    );
    return $class->_start(
        $option{env} || {},
        sub {
            exec { $command[0] } @command or die "cannot run $command[0]: $!\n";
        }
    );
}

# pagi-sse with these arguments and this STDIN, to its end: the exit status, STDOUT and
# STDERR.
sub command {
    my ($class, $input, @arguments) = @_;
    my $pid = IPC::Open3::open3(my $in, my $out, my $err = Symbol::gensym(),
        $^X, $class->path(qw(perl bin pagi-sse)), @arguments);
    print {$in} $input;
    close $in;
    local $SIG{ALRM} = sub { kill KILL => $pid };
    alarm 30;
    my $told = join '', <$err>;
    my $said = join '', <$out>;
    waitpid $pid, 0;
    alarm 0;
    return ($? >> 8, $said, $told);
}

# Any program that says where it listens, as pagi-sse does.
sub program {
    my ($class, @command) = @_;
    return $class->_start(
        {},
        sub {
            exec { $command[0] } @command or die "cannot run $command[0]: $!\n";
        }
    );
}

# $code in a forked child. It calls the function that it is given with the
# port as soon as it listens; when it returns, the child exits with 0.
sub code {
    my ($class, $code, %option) = @_;
    return $class->_start(
        $option{env} || {},
        sub {
            my $status = 0;
            eval {
                $code->(sub { print STDERR "listening on http://127.0.0.1:$_[0]\n" });
                1;
            }
                or do { print STDERR $@; $status = 255 };
            # Not exit: END blocks and destructors are the test's.
            POSIX::_exit($status);
        }
    );
}

sub _start {
    my ($class, $env, $child) = @_;
    # A file: a pipe that nobody reads would stop a server that logs much.
    my $log = File::Temp->new(TEMPLATE => 'pagi-sse-XXXXXX', TMPDIR => 1, SUFFIX => '.log');
    my $pid = fork;
    Carp::croak("cannot fork: $!") if !defined $pid;
    if (!$pid) {
        # The test's standard output must not stay open in a child.
        open STDIN,  '<',  File::Spec->devnull;
        open STDOUT, '>>', "$log";
        open STDERR, '>>', "$log";
        STDERR->autoflush(1);
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        @ENV{ keys %$env } = values %$env;
        eval { $child->(); 1 } or print STDERR $@;
        POSIX::_exit(126);
    }
    my $self = bless { pid => $pid, log => $log, owner => $$ }, $class;
    Scalar::Util::weaken($alive{$pid} = $self);

    my $address = $self->wait_for_log(qr{^listening on https?://127\.0\.0\.1:([0-9]+)$}m);
    Carp::croak("the server did not start:\n" . $self->log) if !defined $address;
    $self->{port} = $address;
    return $self;
}

sub port { return $_[0]{port} }
sub pid  { return $_[0]{pid} }
sub url  { return "http://127.0.0.1:$_[0]{port}" . (defined $_[1] ? $_[1] : '/') }

# All that it wrote to STDOUT and STDERR so far.
sub log {
    my ($self) = @_;
    open my $in, '<', $self->{log}->filename or die "cannot read the server's log: $!";
    local $/;
    my $text = readline $in;
    return defined $text ? $text : '';
}

# The first capture of the pattern (or 1) once the log matches it; undef if
# the server ended before or took too long.
sub wait_for_log {
    my ($self, $pattern) = @_;
    my $deadline = Time::HiRes::time() + $TIMEOUT;
    while (1) {
        my $is_over = !$self->is_running || Time::HiRes::time() > $deadline;
        return defined $1 ? $1 : 1 if $self->log =~ $pattern;
        return undef if $is_over;
        Time::HiRes::sleep(0.01);
    }
}

sub is_running {
    my ($self) = @_;
    return 0 if defined $self->{status};
    my $got = waitpid $self->{pid}, POSIX::WNOHANG();
    return 1 if $got == 0;
    $self->{status} = $got == $self->{pid} ? $? : -1;
    delete $alive{ $self->{pid} };
    return 0;
}

sub signal {
    my ($self, $signal) = @_;
    kill $signal, $self->{pid} if $self->is_running;
    return $self;
}

# Waits for the end. The exit status, 'signal N', or undef when it still runs
# after $seconds.
sub wait {
    my ($self, $seconds) = @_;
    my $deadline = Time::HiRes::time() + (defined $seconds ? $seconds : $TIMEOUT);
    while ($self->is_running) {
        return undef if Time::HiRes::time() > $deadline;
        Time::HiRes::sleep(0.005);
    }
    my $status = $self->{status};
    return $status & 127 ? 'signal ' . ($status & 127) : $status >> 8;
}

# SIGTERM, then the same as `wait`.
sub stop {
    my ($self, $seconds) = @_;
    return $self->signal('TERM')->wait($seconds);
}

sub _end {
    my ($self) = @_;
    return if $$ != $self->{owner} || !$self->is_running;
    local ($@, $!, $?);
    return if defined $self->stop(5);
    kill KILL => $self->{pid};
    $self->wait(5);
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    $self->_end;
    return;
}

END {
    local $?;
    $_->_end for grep { defined } values %alive;
}

1;
