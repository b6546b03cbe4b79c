package PAGI::SSE::Runtime;

use strict;
use warnings;

use Scalar::Util     qw(weaken);
use PAGI::SSE::Check qw(message);
use PAGI::SSE::FFI   ();
use PAGI::SSE::Loop  ();

our $VERSION = '0.003000';

# A native runtime of this process: its thread, and the descriptor that says
# when it has something. { handle, pid, fileno, watch }; whoever has it keeps
# marks of its own beside these.

use constant FREE_MS => 1000;    # for the thread to end

# The object, or the code of what failed.
sub new {
    my ($class) = @_;
    my ($code, $handle) = PAGI::SSE::FFI::runtime_open(1);
    return (undef, $code) if $code < 0;
    return bless { handle => $handle, pid => $$, fileno => PAGI::SSE::FFI::runtime_fd($handle) }, $class;
}

# False in a child of a fork: all of it is the parent's.
sub is_ours { return $_[0]{pid} == $$ }

# The records that wait.
sub next { return PAGI::SSE::FFI::runtime_next($_[0]{handle}) }

# The loop calls $code with the runtime when it has something, from now on. The
# watch, or undef where nothing can wait.
sub watch {
    my ($self, $whose, $code) = @_;
    # A duplicate, as closing this handle must not close the runtime's.
    open my $fh, '<&', $self->{fileno} or die message("$whose: cannot duplicate the wake-up descriptor: $!");
    weaken(my $weak = $self);
    return $self->{watch} = PAGI::SSE::Loop->watch($fh, sub { $code->($weak) if $weak });
}

sub unwatch {
    my ($self) = @_;
    my $watch = delete $self->{watch} or return;
    $watch->cancel;
    return;
}

sub free {
    my ($self) = @_;
    PAGI::SSE::FFI::runtime_free($self->{handle}, FREE_MS);
    return $self->unwatch;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Runtime - a native runtime and its descriptor (internal)

=head1 DESCRIPTION

Of all clients (L<PAGI::SSE::Client>), or of the subscribers at foreign servers
(L<PAGI::SSE::Hub>). Internal.

=cut
