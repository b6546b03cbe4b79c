package PAGI::SSE::Wire::Inbox;

use strict;
use warnings;

use Scalar::Util qw(blessed weaken);

use PAGI::SSE::Check   qw(warning);
use PAGI::SSE::Futures qw(is_kept let_go);
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

# Receive until the connection ends, or just until the body is complete. From
# the 'start' of a stream on nobody waits yet: the end is put off.
sub listen {
    my ($self, $until) = @_;
    $self->{until_end} = 1 if $until =~ /\A(?:start|end)\z/;
    return if $self->{is_outstanding} || $self->{listening} || $self->{pause};
    if (my $end = $self->{put_off}) {
        return if $until eq 'start';
        delete $self->{put_off};
        return $end->($self->{owner});
    }
    my $end = $self->_receive or return;
    return $end->($self->{owner}) if $until ne 'start';
    $self->{put_off} = $end;
    weaken(my $weak = $self);
    my $server = $self->{owner}->_server;
    PAGI::SSE::Loop->later(sub { $weak->listen('end') if $weak && $weak->{put_off} }, $server);
    return;
}

# Asks as long as answers come at once. Returns what is to be done when one of
# them was the end.
sub _receive {
    my ($self) = @_;
    # What we tell the owner may be the end of its last other reference.
    my $owner = $self->{owner};
    local $self->{listening} = 1;
    my $ready = 0;
    while ($self->_wants_more) {
        if ($ready++ >= READY_IN_A_ROW) {
            $self->_pause;
            last;
        }
        my $answer;
        eval { $answer = $owner->{receive}->(); 1 } or return $self->_failed($@);
        if (blessed $answer && $answer->can('is_ready')) {
            return $self->_wait_for($answer) unless $answer->is_ready;
            my $end = $self->_result($answer);
            return $end if $end;
        }
        elsif (my $end = $self->_take($answer)) { return $end }
    }
    return;
}

# Whether $receive has been asked, and has not answered.
sub is_listening { return $_[0]{is_outstanding} }

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
    delete @$self{qw(put_off is_outstanding)};
    let_go(delete $self->{outstanding});
    return;
}

sub _wants_more {
    my ($self) = @_;
    return if !$self->{owner}{receive} || $self->{owner}->is_closed;
    return $self->{until_end}          || !$self->{complete};
}

# A Future that the server keeps is held weakly: if it goes, the server has given
# up on the client.
sub _wait_for {
    my ($self, $future) = @_;
    $self->{is_outstanding} = 1;
    $self->{outstanding} = $future;
    weaken($self->{outstanding}) if is_kept($future, 3);    # the caller's, ours, the field
    weaken(my $weak = $self);
    my $guard = PAGI::SSE::Wire::Inbox::Guard->new(sub { $weak->_answered(\&_gone) if $weak });
    $future->on_ready(sub {
        my ($future) = @_;
        $guard->disarm;
        $weak->_answered(sub { $_[0]->_result($future) }) if $weak;
    });
    return;
}

sub _answered {
    my ($self, $result) = @_;
    # After the end nobody wants to know.
    delete $self->{is_outstanding} or return;
    delete $self->{outstanding};
    my $owner = $self->{owner} or return;
    # We are inside of the server's done(): nothing may escape.
    my $fine = eval {
        my $end = $result->($self);
        $end ? $end->($owner) : $self->listen('more');
        1;
    };
    warning("in a receive: $@") unless $fine;
    return;
}

# Each of these returns what the owner is to do when it was the end.

# The server has given up on the client.
sub _gone {
    return sub { $_[0]->_note_disconnected(undef, undef) };
}

sub _failed {
    my ($self, $error) = @_;
    return sub { $_[0]->_read_failed($error) };
}

# What a ready Future brought.
sub _result {
    my ($self, $future) = @_;
    return $self->_gone if $future->is_cancelled;
    my ($failure) = $future->failure;
    return $self->_failed($failure) if defined $failure;
    my ($answer) = $future->result;
    return $self->_take($answer);
}

sub _take {
    my ($self, $event) = @_;
    return $self->_failed('PAGI::SSE: $receive must give a hash reference, got '
            . (defined $event ? ref $event || PAGI::SSE::Check::shown($event) : 'nothing') . "\n")
        if ref $event ne 'HASH';
    my $type = defined $event->{type} ? $event->{type} : '';
    if ($type eq 'sse.disconnect' || $type eq 'http.disconnect') {
        return sub { $_[0]->_note_disconnected(undef, $event->{reason}) };
    }
    $self->_take_body($event) if $type eq 'sse.request' || $type eq 'http.request';
    return;
}

sub _take_body {
    my ($self, $event) = @_;
    return if $self->{complete};
    my $piece = defined $event->{body} ? $event->{body} : '';
    if (length($self->{body}) + length($piece) > $self->{max_body}) {
        @$self{qw(body too_large)} = ('', 1);
    }
    $self->{body} .= $piece unless $self->{too_large};
    $self->{complete} = 1 if !$event->{more} || $self->{too_large};
    $self->{owner}->_body_complete if $self->{complete};
    return;
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

# In the callback of the server's Future: goes with it.
package PAGI::SSE::Wire::Inbox::Guard;

sub new {
    my ($class, $code) = @_;
    return bless { code => $code }, $class;
}

sub CLONE_SKIP { 1 }

sub disarm { delete $_[0]{code} }

sub DESTROY {
    my ($self) = @_;
    my $code = $self->{code};
    return if !$code || ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($@, $!, $?);
    $code->();
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
