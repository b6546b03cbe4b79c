package PAGI::SSE::Connection::ScopeCache;

use strict;
use warnings;

use Scalar::Util ();

our $VERSION = '0.003000';

# One object for each scope, for as long as the scope lives. Object to scope is
# a strong reference, scope to object a weak one. When the last reference to
# the object goes while the scope lives on, the two swap: the object is parked
# in the scope. When both go and nobody has told of an end, this is it.

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!, $?);
    return $self->_abandoned if $self->{parked};
    return if $self->_publish_rest;
    # For callbacks that run without the scope: what they would see of it.
    delete +($self->{last_scope} = { %{ $self->scope } })->{'pagi.sse'} if @{ $self->{_on_close} };
    $self->_leave_newest;
    Scalar::Util::weaken($self->{scope});
    my $scope = $self->{scope};
    if (!$scope || !_is_entry($self, $scope)) {    # it goes with us, or somebody removed us
        my $copy = $self->{newest};
        return ref $copy && _is_entry($self, $copy) ? () : $self->_abandoned;
    }
    $scope->{'pagi.sse'} = $self;
    $self->{parked} = 1;
    Scalar::Util::weaken($self->{receive}) if ref $self->{receive};
    $self->{wire}->park;
    return;
}

# The application has returned, and its server does not say so; the embedded one
# does. In a child of a fork, or another thread, the connection goes on elsewhere.
sub _abandoned {
    my ($self) = @_;
    my $wire = $self->{wire};
    $self->_end(reason => 'app_closed') unless $self->{ended} || $self->_exchange || $wire->state < 0;
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
    $self->_read_newest($scope, $home);
    _weaken_entry($self, $_) for $home, $scope;
    return $self;
}

# The accessors read the scope that new was given last: the copy of a router
# that came after middleware has the path parameters.
sub _read_newest {
    my ($self, $scope, $home) = @_;
    if ($scope != $self->scope) {
        delete @$self{qw(headers query)};
        $self->_leave_newest;
    }
    delete $self->{newest};    # it may be weak
    $self->{newest} = $scope if $scope != $home;
    return;
}

# While the object holds a copy of the scope, the copy holds it weakly. A copy
# that others hold on to gets its strong reference back.
sub _leave_newest {
    my ($self) = @_;
    ref $self->{newest} or return;
    Scalar::Util::weaken($self->{newest}) unless Scalar::Util::isweak($self->{newest});
    my $newest = $self->{newest} or return;
    $newest->{'pagi.sse'} = $self if _is_entry($self, $newest);
    return;
}

sub _is_entry {
    my ($self, $scope) = @_;
    my $entry = $scope->{'pagi.sse'};
    return ref $entry && Scalar::Util::refaddr($entry) == Scalar::Util::refaddr($self);
}

sub _weaken_entry {
    my ($self, $scope) = @_;
    Scalar::Util::weaken($scope->{'pagi.sse'})
        if _is_entry($self, $scope) && !Scalar::Util::isweak($scope->{'pagi.sse'});
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::ScopeCache - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
