package T::Backend;

# The servers that the behaviour suite (T::Behaviour) runs against. Each gives
#
#   serve($app)      one connection, $app->($sse) as its handler
#   until { ... }    run the server until the condition holds; false when late
#   received         the events that the client got, as hashes
#   hang_up          the client leaves
#   ended            has the stream been ended by our side?
#   app              the Future of the handler

use strict;
use warnings;

use Future;
use Time::HiRes ();

use PAGI::SSE ();

my %SUBCLASS = (
    'fake'      => 'T::Backend::Fake',
    'future-io' => 'T::Backend::FutureIO',
    'embedded'  => 'T::Backend::Embedded',
    map { $_ => 'T::Backend::IOAsync' } qw(Select Poll Epoll),
);

# Nothing when what it needs is not installed.
sub of {
    my ($class, $name) = @_;
    my $self = bless { name => $name, received => [], receiving => [] }, $SUBCLASS{$name} || die "no backend '$name'";
    return $self->prepare ? $self : undef;
}

sub prepare { 1 }

sub until {
    my ($self, $condition) = @_;
    my $deadline = Time::HiRes::time() + 10 * ($ENV{T_SLOW} || 1);
    until ($condition->()) {
        return 0 if Time::HiRes::time() > $deadline;
        $self->turn;
    }
    return 1;
}

sub serve {
    my ($self, $app, %scope) = @_;
    $_->done({ type => 'sse.disconnect' }) for splice @{ $self->{receiving} };    # of the last one
    @$self{qw(received ended gone)} = ([], 0, undef);
    my $scope = $self->{scope} = { type => 'sse', headers => [], %scope };
    $self->{app} = $app->(PAGI::SSE->new($scope, $self->receive, $self->send));
    return $self;
}

sub app      { $_[0]{app} }
sub received { @{ $_[0]{received} } }
sub ended    { $_[0]{ended} }

sub send {
    my ($self) = @_;
    return sub {
        my ($event) = @_;
        my %event = %$event;
        my $type = delete $event{type};
        my $done = $self->new_future;
        $self->later(sub {
            push @{ $self->{received} }, \%event if $type eq 'sse.send' && !$self->{gone};
            $self->{ended} = 1 if $type eq 'sse.close';
            $done->done unless $done->is_ready;
        });
        return $done;
    };
}

sub receive {
    my ($self) = @_;
    return sub {
        my $future = $self->new_future;
        if   ($self->{gone}) { $future->done({ %{ $self->{gone} } }) }
        else                 { push @{ $self->{receiving} }, $future }
        return $future;
    };
}

sub hang_up {
    my ($self) = @_;
    $self->{gone} = { type => 'sse.disconnect', reason => 'client_closed' };
    $self->later(sub { $_->done({ %{ $self->{gone} } }) for splice @{ $self->{receiving} } });
    return;
}

# Everything at once; the loop is Future::IO's, for every.
package T::Backend::Fake;

our @ISA = 'T::Backend';

sub prepare {
    return eval { require Future::IO; 1 }
}
sub new_future { Future->new }
sub later      { $_[1]->() }
sub turn       { Future::IO->sleep(0.005)->get }

# Everything a turn of Future::IO later.
package T::Backend::FutureIO;

our @ISA = 'T::Backend::Fake';

sub new_future { Future::IO->sleep(0)->new }

sub later {
    my ($self, $code) = @_;
    my $sleep = Future::IO->sleep(0.001);
    $self->{sleeping}{$sleep} = $sleep;
    $sleep->on_done(sub { delete $self->{sleeping}{$sleep}; $code->() });
    return;
}

# Everything a turn of one of IO::Async's loops later.
package T::Backend::IOAsync;

our @ISA = 'T::Backend';

sub prepare {
    my ($self) = @_;
    local $ENV{IO_ASYNC_LOOP} = $self->{name};
    return eval {
        require IO::Async::Loop;
        require "IO/Async/Loop/$self->{name}.pm";
        require Future::IO::Impl::IOAsync;
        my $loop = $self->{loop} = IO::Async::Loop->new;
        $loop->isa("IO::Async::Loop::$self->{name}") or die "another loop is there already\n";
        1;
    };
}

sub new_future { $_[0]{loop}->new_future }
sub later      { $_[0]{loop}->later($_[1]); return }
sub turn       { $_[0]{loop}->loop_once(0.05) }

# The embedded server, and a client on a socket.
package T::Backend::Embedded;

our @ISA = 'T::Backend';

sub prepare {
    return eval { require Future::IO; require T::Host; 1 };
}

sub serve {
    my ($self, $app, %scope) = @_;
    delete $self->{app};
    $self->{host} = T::Host->new(sub {
        my ($scope, $receive, $send) = @_;
        return Future->fail('no lifespan') if $scope->{type} ne 'sse';
        %$scope = (%$scope, %scope);
        return $self->{app} = $app->(PAGI::SSE->new($scope, $receive, $send));
    });
    $self->{client} = $self->{host}->stream('/');
    $self->until(sub { $self->{app} }) or die "the application was not called\n";
    return $self;
}

sub turn {
    my ($self) = @_;
    Future::IO->sleep(0.002)->get;
    my $once = 0;
    $self->{host}->until(sub { $once++ });
    return;
}

sub received {
    my ($self) = @_;
    my @events;
    my $body = $self->{client}->body;
    for my $block (split /\n\n/, $body) {
        my %event;
        for my $line (split /\n/, $block) {
            my ($name, $value) = $line =~ /\A(\w+): ?(.*)\z/s or next;
            $event{$name} = exists $event{$name} && $name eq 'data' ? "$event{data}\n$value" : $value;
        }
        push @events, \%event if exists $event{data};
    }
    return @events;
}

sub ended   { $_[0]{client}->ended || $_[0]{client}->eof }
sub hang_up { $_[0]{client}->close }

1;
