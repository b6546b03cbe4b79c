package PAGI::SSE::Thread;

use strict;
use warnings;

use Config;
use Scalar::Util qw(blessed reftype weaken);

use PAGI::SSE::Check ();

our $VERSION = '0.003000';

# Perl's threads begin with a copy of every object, and those of ours lead to
# the same native handles. What owns one is known here, and its copy in a new
# thread becomes an object whose every method says whose it is, and which frees
# nothing. CLONE_SKIP would not do: perl panics when a weak reference points to
# such an object, and anybody may have one.

my %OWNER;    # by native handle, weak

use constant HAS_THREADS => !!$Config{useithreads};

sub own {
    my ($handle, $owner) = @_;
    weaken($OWNER{$handle} = $owner) if HAS_THREADS && $owner;
    return;
}

sub disown { delete $OWNER{ $_[0] }; return }

sub CLONE {
    my @owners = values %OWNER;
    %OWNER = ();
    _estrange($_) for @owners;
    return;
}

# It, and the parts of it.
sub _estrange {
    my ($object) = @_;
    return if !blessed $object || reftype $object ne 'HASH' || $object->isa('Future') || $object->isa(__PACKAGE__);
    return if !$object->isa('PAGI::SSE') && ref $object !~ /\APAGI::SSE::/;
    $object->{of_class} = $object->isa('PAGI::SSE') ? 'PAGI::SSE' : ref $object;
    bless $object, 'PAGI::SSE::Thread::Other';
    _estrange($_) for values %$object;
    return;
}

package PAGI::SSE::Thread::Other;

our @ISA = 'PAGI::SSE::Thread';

sub AUTOLOAD {
    my ($self) = @_;
    our $AUTOLOAD;
    my ($method) = $AUTOLOAD =~ /(\w+)\z/;
    my ($class, $what) = ($self->{of_class}, 'connection');
    if ($class ne 'PAGI::SSE') { ($what, $method) = (lc $class =~ s/.*:://r, "$class->$method") }
    else                       { $method = "PAGI::SSE: $method" }
    die PAGI::SSE::Check::message("$method: the $what belongs to another thread");
}

sub can {
    my ($self, $method) = @_;
    return sub { shift->$method(@_) }
}

sub DESTROY { }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Thread - objects of ours in other threads (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
