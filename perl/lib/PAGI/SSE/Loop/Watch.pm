package PAGI::SSE::Loop::Watch;

use strict;
use warnings;

use Scalar::Util qw(weaken);

our $VERSION = '0.003000';

# A descriptor that is watched, see PAGI::SSE::Loop.

# Where only one descriptor can be waited for, and the application may need
# that: look so often instead, seconds; more seldom while nothing comes.
use constant { LOOK_EVERY => 0.01, LOOK_AT_LEAST => 0.1, GROWS_BY => 1.08 };

# Those that look, weak.
my %LOOKING;

# There is a server now, and it may be what is driven.
sub look_anew {
    for my $self (grep { $_ && $_->{code} } values %LOOKING) {
        $self->{waiting}->cancel;
        $self->_look;
    }
    return;
}

sub CLONE { %LOOKING = (); return }

sub DESTROY { delete $LOOKING{ 0 + $_[0] }; return }

sub by_io_async {
    my ($class, $fh, $code, $looks_too) = @_;
    my $self = bless { fh => $fh, looked_at => $fh, code => $code, loop => IO::Async::Loop->new }, $class;
    $self->{loop}->watch_io(handle => $fh, on_read_ready => $code);
    $self->_look if $looks_too;    # the loop may not be what is driven
    return $self;
}

sub by_read {
    my ($class, $fh, $code) = @_;
    my $self = bless { fh => $fh, code => $code }, $class;
    $self->_read;
    return $self;
}

sub by_look {
    my ($class, $fh, $code) = @_;
    my $self = bless { looked_at => $fh, code => $code }, $class;
    $self->_look;
    return $self;
}

# It was made when there was no loop yet.
sub only_looks { return $_[0]{looked_at} && !$_[0]{loop} }

# A pending Future that knows how to wait for the same.
sub new_future {
    my ($self) = @_;
    return $self->{waiting}->new if $self->{waiting};
    return $self->{loop}->new_future;
}

sub cancel {
    my ($self) = @_;
    if (my $loop = delete $self->{loop}) { $loop->unwatch_io(handle => delete $self->{fh}, on_read_ready => 1) }
    delete $self->{code};
    my $waiting = delete $self->{waiting} or return;
    # No implementation of Future::IO is sure to bear that a read is cancelled.
    $self->{fh} ? $waiting->retain : $waiting->cancel;
    return;
}

sub _read {
    my ($self) = @_;
    my $read = $self->{waiting} = Future::IO->sysread($self->{fh}, 64);
    weaken(my $weak = $self);
    $read->on_ready(sub {
        my ($read) = @_;
        my $code = $weak && $weak->{code} or return;
        # Nothing read: it has been closed.
        return if !$read->is_done || !defined +($read->result)[0];
        $code->();
        $weak->_read if $weak && $weak->{code};
    });
    return;
}

sub _look {
    my ($self) = @_;
    weaken($LOOKING{ 0 + $self } = $self);
    my $look = $self->{waiting} = PAGI::SSE::Loop->sleep($self->{every} //= LOOK_EVERY);
    weaken(my $weak = $self);
    $look->on_done(sub {
        my $code = $weak && $weak->{code} or return;
        my $is_there = $weak->_is_readable;
        $code->() if $is_there;
        return if !$weak || !$weak->{code};
        $weak->{every} = $is_there ? LOOK_EVERY : $weak->{every} * GROWS_BY;
        $weak->{every} = LOOK_AT_LEAST if $weak->{every} > LOOK_AT_LEAST;
        $weak->_look;
    });
    return;
}

sub _is_readable {
    my ($self) = @_;
    vec(my $readable = '', fileno $self->{looked_at}, 1) = 1;
    return select($readable, undef, undef, 0) > 0;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Loop::Watch - a descriptor that is watched (internal)

=head1 DESCRIPTION

See L<PAGI::SSE::Loop>. Internal.

=cut
