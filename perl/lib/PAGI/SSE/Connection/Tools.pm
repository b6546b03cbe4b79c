package PAGI::SSE::Connection::Tools;

use strict;
use warnings;

use PAGI::SSE::Check ();

our $VERSION = '0.003000';

# What test tools and the toolkit's classes call by these names.

# The client has gone, or the server ended the connection.
sub _note_disconnected {
    my ($self, $code, $reason) = @_;
    $self->_end(reason => PAGI::SSE::Check::foreign_reason($reason) // 'client_closed');
    return $self->_until_over;
}

sub _set_state {
    my ($self, $state) = @_;
    return $self->_set_closed if $state eq 'closed';
    delete @$self{qw(ended reason closing announcement)};
    $self->{wire}->force_state($state);
    return $self;
}

# Without the callbacks: they run when the end is observed or close is called.
sub _set_closed {
    my ($self) = @_;
    $self->{wire}->mark_closed(undef) unless $self->is_closed;
    $self->{wire}->release(1);
    $self->{inbox}->stop if $self->{inbox};
    $self->_body_complete;
    $self->_wake;
    return $self;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Tools - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
