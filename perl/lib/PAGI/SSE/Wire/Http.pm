package PAGI::SSE::Wire::Http;

use strict;
use warnings;

use parent 'PAGI::SSE::Wire::Foreign';

use Scalar::Util qw(blessed weaken);
use Time::HiRes  ();

use PAGI::SSE::FFI            ();
use PAGI::SSE::Loop           ();
use PAGI::SSE::Text           ();
use PAGI::SSE::Wire::Delivery ();

our $VERSION = '0.003000';

# The wire of a stream in a scope of type http: what PAGI::SSE::Wire::Foreign
# would hand to the server's $send becomes the head and the pieces of an
# ordinary response; the frames are the library's. Such servers know no
# sse.keepalive, so the timer is ours.

my %HOW = (
    'sse.start'     => \&_start,
    'sse.send'      => \&_event,
    'sse.comment'   => \&_comment,
    'sse.close'     => \&_finish,
    'sse.keepalive' => sub { },
);
my @DEFAULT = (['content-type', 'text/event-stream'], ['cache-control', 'no-cache'], ['x-accel-buffering', 'no']);
# The fields that frame a message are the server's.
my $FRAMING = qr/\A(?:connection|content-length|transfer-encoding)\z/i;

sub new {
    my ($class, $owner, %args) = @_;
    my $self = $class->SUPER::new($owner, %args, text => 'octets');
    $self->{raw} = $args{send};
    $self->{id_alone} = 1;
    weaken($self->{server} = $args{server}) if $args{server};
    weaken(my $weak = $self);
    $self->{send} = sub { $weak->_translate(@_) };
    return $self;
}

# $scope->{'pagi.connection'}, where the server has one, says more than
# $receive and need not be asked.
sub watch {
    my ($self, $connection) = @_;
    return if !blessed $connection || !$connection->can('on_disconnect');
    weaken(my $weak = $self);
    $connection->on_disconnect(sub {
        my ($reason) = @_;
        my $owner = $weak && $weak->{owner} or return;
        $owner->_note_disconnected(undef, $reason);
    });
    return;
}

sub park { weaken($_[0]{raw}) }

sub unpark {
    my ($self, $send) = @_;
    my $kept = $self->{raw};
    $self->{raw} = $kept || $send;
    return;
}

# The embedded server tells us of that, and does not know that this response is
# a stream.
sub end_with_application {
    my ($self) = @_;
    my $owner = $self->{owner};
    $owner->close if $self->{written_at} && $owner && !$owner->{ended};
    return;
}

sub retire {
    my ($self) = @_;
    $self->_no_timer;
    delete @$self{qw(send raw)};
    return;
}

sub force_state {
    my ($self, $state) = @_;
    $self->_no_timer;
    delete $self->{written_at};
    return $self->SUPER::force_state($state);
}

sub keepalive {
    my ($self, $interval, $comment) = @_;
    my $problem = $interval ? PAGI::SSE::Loop->problem($self->{server}) : undef;
    return PAGI::SSE::Wire::Delivery::refused("keepalive $problem") if defined $problem;
    $self->_no_timer;
    delete $self->{keepalive};
    return if !$interval;
    $self->{keepalive} = [$interval, PAGI::SSE::Text::octets(defined $comment ? $comment : '')];
    $self->_tick if $self->{written_at};
    return;
}

# ---- events into pieces of a response

sub _translate {
    my ($self, $event) = @_;
    my $how = $HOW{ $event->{type} };
    return $how ? $how->($self, $event) : $self->{raw}->($event);
}

sub _start {
    my ($self, $event) = @_;
    my @headers = grep { $_->[0] !~ $FRAMING } @{ $event->{headers} || [] };
    my %given = map { lc $_->[0] => 1 } @headers;
    push @headers, grep { !$given{ $_->[0] } } @DEFAULT;
    my $sent = $self->{raw}->({ type => 'http.response.start', status => $event->{status}, headers => \@headers });
    $self->{written_at} = _now();
    $self->_tick if $self->{keepalive};
    return $sent;
}

sub _event {
    my ($self, $event) = @_;
    return $self->_piece(PAGI::SSE::FFI::frame_event(@$event{qw(data event id retry)}));
}

sub _comment {
    my ($self, $event) = @_;
    return $self->_piece(PAGI::SSE::FFI::frame_comment($event->{comment}));
}

sub _piece {
    my ($self, $frame) = @_;
    $self->{written_at} = _now();
    return $self->{raw}->({ type => 'http.response.body', body => $frame, more => 1 });
}

# A stream that was broken off gets no last piece: the failure of the
# application is what tells the server.
sub _finish {
    my ($self, $event) = @_;
    $self->_no_timer;
    return if ($event->{reason} // '') eq 'server_error';
    my $raw = $self->{raw};
    my $last = { type => 'http.response.body', body => '', more => 0 };
    return $raw->($last) if $self->{written_at};
    my $started = $self->_start({ status => 200 });
    return $raw->($last) unless blessed $started && $started->isa('Future');
    return $started->then(sub { $raw->($last) });
}

# ---- the timer

sub _now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub _no_timer {
    my ($self) = @_;
    my $timer = delete $self->{timer} or return;
    $timer->cancel;
    return;
}

# Any write puts the next comment off.
sub _tick {
    my ($self) = @_;
    my ($interval, $comment) = @{ $self->{keepalive} };
    my $left = $self->{written_at} + $interval - _now();
    if ($left <= 0) {
        # To a client that takes nothing there is enough on its way.
        $self->put({ type => 'sse.comment', comment => $comment }) unless $self->{busy};
        $left = $interval;
    }
    return if !$self->{raw} || !$self->{keepalive};    # that may have been the end
    weaken(my $weak = $self);
    $self->{timer} = PAGI::SSE::Loop->sleep($left, $self->{server});
    $self->{timer}->on_done(sub { $weak->_tick if $weak && delete $weak->{timer} });
    return;
}

sub DESTROY { $_[0]->_no_timer if ${^GLOBAL_PHASE} ne 'DESTRUCT' }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Wire::Http - the wire of a stream in a scope of type http (internal)

=head1 DESCRIPTION

Hands events to a PAGI server as the head and the pieces of an ordinary
response. Internal; used by L<PAGI::SSE> when C<new> was told C<upgrade>.

=cut
