package PAGI::SSE::Wire::Inbox;

use strict;
use warnings;

use Scalar::Util qw(blessed weaken);

use PAGI::SSE::Check   ();
use PAGI::SSE::Futures ();
use PAGI::SSE::Loop    ();

our $VERSION = '0.003000';

# A server that always has an answer at once, and never the end of the
# connection, must not make us spin: after this many in a row we pause.
use constant {
    READY_IN_A_ROW => 100,
    PAUSE          => 0.1,    # seconds
};

# The one outstanding $receive of a connection, shared by everything that
# wants to know what the client does, and the request body in pieces.

sub new {
    my ($class, $owner, $max_body) = @_;    # octets
    my $self = bless { max_body => $max_body, body => '' }, $class;
    weaken($self->{owner} = $owner);
    return $self;
}

# Receive until the connection ends, or just until the body is complete.
sub listen {
    my ($self, $until) = @_;
    $self->{until_end} = 1 if $until eq 'end';
    return if $self->{outstanding} || $self->{listening} || $self->{pause};
    # What we tell the owner may be the end of its last other reference.
    my $owner = $self->{owner};
    local $self->{listening} = 1;
    my $ready = 0;
    while ($self->_wants_more) {
        return $self->_pause if $ready >= READY_IN_A_ROW;
        my $answer;
        eval { $answer = $owner->{receive}->(); 1 }
            or return $self->{owner}->_read_failed($@);

        if (blessed $answer && $answer->can('is_ready')) {
            return $self->_wait_for($answer) unless $answer->is_ready;
            $answer = $self->_result($answer) or return;
        }
        $self->_take($answer) or return;
        $ready++;
    }
    return;
}

# A pending Future of the server's class, when one is known.
sub new_future {
    $_[0]{outstanding} && PAGI::SSE::Futures::alike($_[0]{outstanding});
}

# The body when it is complete, and whether it was too large.
sub is_complete  { $_[0]{complete} }
sub is_too_large { $_[0]{too_large} }
sub body         { $_[0]{body} }

sub stop {
    my ($self) = @_;
    my $pause = delete $self->{pause};
    $pause->cancel if $pause;
    delete $self->{outstanding};
    return;
}

sub _wants_more {
    my ($self) = @_;
    return if !$self->{owner}{receive} || $self->{owner}->is_closed;
    return $self->{until_end}          || !$self->{complete};
}

sub _wait_for {
    my ($self, $future) = @_;
    $self->{outstanding} = $future;
    weaken(my $weak = $self);
    $future->on_ready(sub {
        my ($future) = @_;
        my $self = $weak or return;
        # After the end nobody wants to know.
        my $mine = delete $self->{outstanding} or return;
        my $owner = $self->{owner};
        # We are inside of the server's done(): nothing may escape.
        my $fine = eval {
            my $answer = $self->_result($future);
            $self->listen('more')
                if defined $answer && $self->_take($answer);
            1;
        };
        PAGI::SSE::Check::warning("in a receive: $@") unless $fine;
    });
    return;
}

# What a ready Future brought; nothing when that was the end.
sub _result {
    my ($self, $future) = @_;
    if ($future->is_cancelled) {    # the server has given up on the client
        $self->{owner}->_note_disconnected(undef, undef);
        return;
    }
    my ($failure) = $future->failure;
    if (defined $failure) {
        $self->{owner}->_read_failed($failure);
        return;
    }
    my ($answer) = $future->result;
    return $self->_hash($answer);
}

sub _hash {
    my ($self, $answer) = @_;
    return $answer if ref $answer eq 'HASH';
    $self->{owner}->_read_failed('PAGI::SSE: $receive must give a hash reference, got '
            . (defined $answer ? ref $answer || "'$answer'" : 'nothing')
            . "\n");
    return;
}

# Deal with one event. False when there is no more to come.
sub _take {
    my ($self, $event) = @_;
    $self->_hash($event) or return;
    my $type = defined $event->{type} ? $event->{type} : '';
    if ($type eq 'sse.disconnect' || $type eq 'http.disconnect') {
        $self->{owner}->_note_disconnected(undef, $event->{reason});
        return;
    }
    if (($type eq 'sse.request' || $type eq 'http.request')
        && !$self->{complete})
    {
        my $piece = defined $event->{body} ? $event->{body} : '';
        if (length($self->{body}) + length($piece) > $self->{max_body}) {
            @$self{qw(body too_large)} = ('', 1);
        }
        $self->{body} .= $piece unless $self->{too_large};
        $self->{complete} = 1 if !$event->{more} || $self->{too_large};
        $self->{owner}->_body_complete if $self->{complete};
    }
    return 1;
}

sub _pause {
    my ($self) = @_;
    # Without a clock we stop asking; sends still notice the end.
    my $server = $self->{owner}->_server;
    return if PAGI::SSE::Loop->problem($server);
    weaken(my $weak = $self);
    my $pause = $self->{pause} = PAGI::SSE::Loop->sleep(PAUSE, $server);
    $pause->on_done(sub {
        my $self = $weak or return;
        delete $self->{pause};
        $self->listen('more');
    });
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Inbox - the one outstanding $receive of a connection (internal)

=head1 DESCRIPTION

Calls a server's C<$receive> for L<PAGI::SSE>, never more than once at a time;
keeps the pieces of the request body and reports the end. Internal.

=cut
