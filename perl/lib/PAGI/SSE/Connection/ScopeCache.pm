package PAGI::SSE::Connection::ScopeCache;

use strict;
use warnings;

use Scalar::Util ();

our $VERSION = '0.003000';

# One object for each scope, for as long as the scope lives. Object to scope is
# a strong reference, scope to object a weak one. When the last reference to
# the object goes while the scope lives on, the two swap: the object is parked
# in the scope.

sub DESTROY {
    my ($self) = @_;
    return if $self->{parked} || ${^GLOBAL_PHASE} eq 'DESTRUCT';
    Scalar::Util::weaken($self->{scope});
    my $scope = $self->{scope}        or return;    # it goes with us
    my $cached = $scope->{'pagi.sse'} or return;    # somebody removed us
    return unless Scalar::Util::refaddr($cached) == Scalar::Util::refaddr($self);
    $scope->{'pagi.sse'} = $self;
    $self->{parked} = 1;
    Scalar::Util::weaken($self->{receive}) if ref $self->{receive};
    $self->{wire}->park;
    return;
}

sub _unpark {
    my ($self, $scope, $receive, $send) = @_;
    # When only a copy of the scope is left, that is the scope from now on.
    my $home = $self->{scope} || $scope;
    if (delete $self->{parked}) {
        $self->{scope} = $home;
        my $kept = $self->{receive};
        $self->{receive} = $kept || $receive;
        $self->{wire}->unpark($send);
    }
    my $cached = $home->{'pagi.sse'};
    Scalar::Util::weaken($home->{'pagi.sse'})
        if ref $cached
        && Scalar::Util::refaddr($cached) == Scalar::Util::refaddr($self)
        && !Scalar::Util::isweak($home->{'pagi.sse'});
    return $self;
}

# An object cannot be cloned into another thread; its handle is of this one.
sub CLONE_SKIP { 1 }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::ScopeCache - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
