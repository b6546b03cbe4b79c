package PAGI::SSE::Server::Lifespan;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future;
use Scalar::Util qw(weaken);

use PAGI::SSE::Check   ();
use PAGI::SSE::Futures ();

# The application's lifespan: one call of it, and what it is told and answers.

my %ANSWER = (
    'lifespan.startup.complete'  => \&_opened,
    'lifespan.startup.failed'    => \&_startup_failed,
    'lifespan.shutdown.complete' => \&_over,
    'lifespan.shutdown.failed'   => \&_shutdown_failed,
);

sub new {
    my ($class, $server) = @_;
    my $self = bless { server => $server, state => {} }, $class;
    weaken $self->{server};
    return $self;
}

sub state         { return $_[0]{state} }
sub startup_error { return $_[0]{startup_error} }

# The application still has something to say.
sub is_running { return $_[0]{is_running} }

sub start {
    my ($self) = @_;
    weaken(my $weak = $self);
    my $receive = sub {
        my $self = $weak or return Future->new;
        return Future->done({ type => 'lifespan.startup' }) if !$self->{asked}++;
        return $self->_shutdown_event;
    };
    my $send = sub { return $weak ? $weak->_answer(@_) : Future->done };
    my $scope = {
        type  => 'lifespan',
        pagi  => { version => '0.3', spec_version => '0.3', is_worker => 0, worker_num => 0 },
        state => $self->{state},
    };
    $self->{is_running} = 1;
    $self->{app} =
        PAGI::SSE::Server::Application::call($self->{server}, $scope, $receive, $send,
        sub { $weak->_app_ended(@_) if $weak });
    $self->cancel if $self->{server}->is_stopped;
    return;
}

# Tell the application of the end.
sub shutdown {
    my ($self) = @_;
    my $event = $self->_shutdown_event;
    return if $event->is_ready || eval { $event->done({ type => 'lifespan.shutdown' }); 1 };
    $self->{server}->log(error => "a callback of the application's lifespan died: $@");
    return;
}

sub cancel {
    my ($self) = @_;
    $self->{server}->_cancel($self->{app});
    delete $self->{shutdown};
    return;
}

sub _shutdown_event {
    my ($self) = @_;
    return $self->{shutdown} ||= $self->{server}->new_future;
}

sub _answer {
    my ($self, $event) = @_;
    my $type = ref $event eq 'HASH' && defined $event->{type} ? $event->{type} : '';
    my $how = $ANSWER{$type}
        or return PAGI::SSE::Futures::failure(
        "PAGI::SSE::Server: Unknown event type '$type' for a scope of type 'lifespan'");
    return $how->($self, $event) || Future->done;
}

sub _opened {
    my ($self) = @_;
    $self->{server}->_open if !$self->{is_open}++;
    return;
}

sub _startup_failed {
    my ($self,   $event) = @_;
    my ($server, $message) = ($self->{server}, $event->{message});
    return PAGI::SSE::Futures::failure('PAGI::SSE::Server: lifespan.startup.failed: the startup is over')
        if $self->{is_open} || $server->is_stopped;
    # One line, wherever it is said.
    $self->{startup_error} = PAGI::SSE::Check::one_line('PAGI::SSE::Server: the application refused to start'
            . (defined $message && length $message ? ": $message" : ''));
    delete $self->{is_running};
    $server->_refused($self->{startup_error});
    return;
}

sub _shutdown_failed {
    my ($self, $event) = @_;
    $self->{server}->log(error => 'lifespan shutdown failed: ' . (defined $event->{message} ? $event->{message} : ''));
    return $self->_over;
}

sub _over {
    my ($self) = @_;
    delete $self->{is_running};
    $self->{server}->_advance_soon if $self->{server};
    return;
}

# Dying or returning before it asked for an event is how an application says
# that it knows no lifespan.
sub _app_ended {
    my ($self, $future) = @_;
    my $server = $self->{server} or return;
    my $error = PAGI::SSE::Server::Application::error($future);
    if ($self->{asked} && !defined $self->{startup_error}) {
        my $when = $self->{is_open} ? '' : ' after lifespan.startup';
        if (defined $error) { $server->log(error => "the application's lifespan died$when: $error") }
        # PAGI: it knows no lifespan. As it asked for the event, it may have forgotten.
        elsif ($when) {
            $server->log(warning =>
                    "the application's lifespan returned$when without lifespan.startup.complete; it is served all the same"
            );
        }
    }
    $self->_over;
    $self->_opened if !defined $self->{startup_error};
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Lifespan - the application's start and end on the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>: PAGI's C<lifespan> scope.

=cut
