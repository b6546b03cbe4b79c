package PAGI::SSE::Connection::Publishing;

use strict;
use warnings;

use PAGI::SSE::FFI ();

our $VERSION = '0.003000';

# What PAGI::SSE::Hub calls.

# For PAGI::SSE::Hub: the native connection that events are published to. The
# hub then says whether it does.
sub _hub_conn { return $_[0]{wire}->hub_conn }

sub _is_forked { return $_[0]{wire}->state == PAGI::SSE::FFI::HANDLE_FORKED() }

sub _hub_refused { return $_[0]{wire}->hub_refused }

# Starts the stream and sends what has come, where the library does not do so.
sub _hub_subscribed {
    my ($self, $hub) = @_;
    $self->{wire}->hub_subscribed($hub);
    my $bridge = $self->{wire}{bridge} or return;
    if (my $start = $self->{wire}->ensure_started('subscribe')) {
        # As in run.
        $start->on_settled(sub { $self->_report($_[0]) if $_[0]{error} && !$_[0]{closed} });
    }
    $bridge->pump;
    return;
}

# The object goes, or is parked, and its server may end the stream then: what
# was published by now goes before that. True while a send keeps the object.
sub _publish_rest {
    my ($self) = @_;
    my $wire = $self->{wire};
    return 0 if $self->{ended} || !$wire || $wire->state < 0;
    $wire->catch_up;
    return !!$wire->{owner_in_flight};
}

# The application has returned: nothing more is to be published. What $send has
# not taken yet, the last of it.
sub _last_delivery {
    my ($self, $died) = @_;
    $self->{wire}->catch_up;
    $self->{wire}->leave_hub;
    $self->{wire}->end_with_application unless $died;
    return ($self->{wire}->waiting)[-1];
}

# For PAGI::SSE::Hub: the stream may outlive the application, where the server
# is ours and nobody stands in between; else wait for its end.
sub _hand_over {
    my ($self) = @_;
    my $exchange = $self->{told_of_end} && $self->{wire}{exchange};
    return $self->run unless $exchange && !$self->is_closed;
    $exchange->hand_over;
    $exchange->keep($self) if @{ $self->{_on_close} };
    return $self->_nothing;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Connection::Publishing - a part of PAGI::SSE (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
