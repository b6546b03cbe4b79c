package T::Toolkit;

# What programs of the PAGI toolkit on CPAN are made of, written from its
# documents: a context and an endpoint class, middleware, a router, a test
# client. They use the public methods of PAGI::SSE and what the toolkit's own
# classes use: _note_disconnected, _set_closed, {_on_close}.

use strict;
use warnings;

use T::Inc;

use Future;
use Future::AsyncAwait;
use Scalar::Util ();

# ---- applications made of others

# A coderef for each type of scope.
sub by_type {
    my (%app) = @_;
    return async sub {
        my ($scope, $receive, $send) = @_;
        my $app = $app{ $scope->{type} } or die "Unsupported scope type: $scope->{type}\n";
        await $app->($scope, $receive, $send);
    };
}

# ['/rooms/:room' => $app], ...
sub router {
    my (@routes) = @_;
    return async sub {
        my ($scope, $receive, $send) = @_;
        for my $route (@routes) {
            my ($path, $app) = @$route;
            my $pattern = join '/', map { s/\A:(\w+)\z/(?<$1>[^\/]+)/r } split m{/}, $path, -1;
            $scope->{path} =~ /\A$pattern\z/ or next;
            my $inner = { %$scope, path_params => { %{ $scope->{path_params} || {} }, %+ } };
            return await $app->($inner, $receive, $send);
        }
        die "no route for $scope->{path}\n";
    };
}

# Middleware: a sub that is given the application and gives another.

sub wrap_send {
    my ($change) = @_;
    return sub {
        my ($app) = @_;
        return async sub {
            my ($scope, $receive, $send) = @_;
            my $wrapped = async sub {
                my ($event) = @_;
                return await $send->($change ? $change->({%$event}) : $event);
            };
            await $app->($scope, $receive, $wrapped);
        };
    };
}

sub wrap_receive {
    my ($seen) = @_;
    return sub {
        my ($app) = @_;
        return async sub {
            my ($scope, $receive, $send) = @_;
            my $wrapped = async sub {
                my $event = await $receive->();
                push @$seen, $event->{type} if $seen;
                return $event;
            };
            await $app->($scope, $wrapped, $send);
        };
    };
}

sub copy_scope {
    my (%more) = @_;
    return sub {
        my ($app) = @_;
        return sub { my ($scope, @io) = @_; return $app->({ %$scope, %more }, @io) };
    };
}

sub stack {
    my ($app, @middleware) = @_;
    $app = $_->($app) for reverse @middleware;
    return $app;
}

# A context: what a handler is given, in place of the three arguments.
package T::Toolkit::Context;

use Future::AsyncAwait;

sub new {
    my ($class, $scope, $receive, $send) = @_;
    return bless { scope => $scope, receive => $receive, send => $send }, $class;
}

sub sse_class { 'PAGI::SSE' }

sub sse {
    my ($self) = @_;
    return $self->{sse} ||= $self->sse_class->new(@$self{qw(scope receive send)});
}

sub stash { $_[0]->sse->stash }
sub param { $_[0]->sse->path_param($_[1]) }

# Reads $receive by itself, and tells the object of the end.
async sub run {
    my ($self) = @_;
    my $sse = $self->sse;
    await $sse->start unless $sse->is_started;
    while (!$sse->is_closed) {
        my $event = await $self->{receive}->();
        next unless $event->{type} =~ /\A(?:sse|http)\.disconnect\z/;
        await $sse->_note_disconnected($event->{code}, $event->{reason});
    }
    return;
}

# An endpoint: a class with a method for each thing that happens.
package T::Toolkit::Endpoint;

use Future::AsyncAwait;
use JSON::MaybeXS ();

sub new                { my ($class, %args) = @_; return bless {%args}, $class }
sub encoding           { 'text' }
sub keepalive_interval { 0 }
sub sse_class          { 'PAGI::SSE' }

sub to_app {
    my ($class, %args) = @_;
    return async sub {
        my ($scope, $receive, $send) = @_;
        die "Expected scope type 'sse', got '$scope->{type}'\n" if $scope->{type} ne 'sse';
        my $sse = $class->sse_class->new($scope, $receive, $send);
        await $class->new(%args)->handle($sse);
    };
}

async sub handle {
    my ($self, $sse) = @_;
    await $sse->keepalive($self->keepalive_interval) if $self->keepalive_interval;
    $sse->on_close(sub { my ($sse, $reason) = @_; $self->on_disconnect($sse, $reason) })
        if $self->can('on_disconnect');
    if   ($self->can('on_connect')) { await $self->on_connect($sse) }
    else                            { await $sse->start }
    await $sse->run unless $sse->is_closed;
}

async sub emit {
    my ($self, $sse, $data) = @_;
    return await $sse->send_json($data) if $self->encoding eq 'json';
    return await $sse->send($data) if $self->encoding eq 'text';
    return await $sse->send(JSON::MaybeXS::encode_json($data));    # octets
}

# A test client, without a loop: the application runs as far as it can.
package T::Toolkit::Client;

use Future::AsyncAwait;

sub new { my ($class, %args) = @_; return bless {%args}, $class }    # app

sub sse {
    my ($self, $path, %scope) = @_;
    my $connection = bless { sent => [], waiting => [] }, 'T::Toolkit::Client::Stream';
    my $scope = {
        type         => 'sse',
        pagi         => { version => '0.3', spec_version => '0.3' },
        http_version => '1.1',
        method       => 'GET',
        scheme       => 'http',
        path         => $path,
        query_string => '',
        root_path    => '',
        headers      => [['accept', 'text/event-stream']],
        %scope,
    };
    Scalar::Util::weaken(my $weak = $connection);
    my @first = { type => 'sse.request', body => '', more => 0 };
    my $receive = async sub {
        return shift @first if @first;
        return $weak->{gone} if !$weak || $weak->{gone};
        push @{ $weak->{waiting} }, my $future = Future->new;
        return await $future;
    };
    my $send = async sub {
        my ($event) = @_;
        die "send after close\n" if $weak->{closed} && $event->{type} ne 'sse.close';
        $weak->{closed} = 1 if $event->{type} eq 'sse.close';
        push @{ $weak->{sent} }, $event;
        return;
    };
    $connection->{scope} = $scope;
    $connection->{app} = $self->{app}->($scope, $receive, $send);
    return $connection;
}

package T::Toolkit::Client::Stream;

sub app       { $_[0]{app} }
sub sent      { $_[0]{sent} }
sub is_closed { $_[0]{closed} }
sub status {
    my ($start) = grep { $_->{type} =~ /\.start\z/ } @{ $_[0]{sent} };
    return $start && $start->{status};
}

sub receive_event {
    my ($self) = @_;
    my @events = grep { $_->{type} eq 'sse.send' } @{ $self->{sent} };
    return $events[$self->{read}++ || 0];
}

sub receive_json { return JSON::MaybeXS::decode_json($_[0]->receive_event->{data}) }

# The client leaves.
sub close {
    my ($self, $reason) = @_;
    $self->{gone} = { type => 'sse.disconnect', defined $reason ? (reason => $reason) : () };
    $_->done($self->{gone}) for splice @{ $self->{waiting} };
    return $self;
}

1;
