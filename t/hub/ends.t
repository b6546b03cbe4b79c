use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use T::Middleware;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;
use Future::IO;
use Scalar::Util qw(weaken);

# The end of a stream, whoever stands between the wrapper and the server: what
# was published before it arrives before it, and a client that has gone is
# noticed, also by an application that only subscribes.

# Middleware that takes its time, beside that of T::Middleware.
sub around {
    my ($wrapped, $receive, $send) = @_;
    return T::Middleware::around($wrapped, $receive, $send) if $wrapped ne 'a slow $send';
    my $slow = async sub { my @event = @_; await Future::IO->sleep(0.01); await $send->(@event) };
    return ($receive, $slow);
}

# An embedded server whose application is called with an object made so.
sub embedded {
    my ($wrapped, $app) = @_;
    return T::Host->new(sub {
        my ($scope, $receive, $send) = @_;
        die "no lifespan\n" if $scope->{type} eq 'lifespan';
        return $app->(PAGI::SSE->new($scope, around($wrapped, $receive, $send), upgrade => 1));
    });
}

# The loop: what Future::IO has to do, and the embedded server if there is one.
sub turn {
    my ($host) = @_;
    Future::IO->sleep(0.005)->get;
    $host->read if $host;
    return;
}

sub turn_until {
    my ($host, $condition, $name) = @_;
    return ok wait_until(sub { turn($host); $condition->() }), $name;
}

# Applications that publish, and end in one way or another.
my %ends = (
    'return' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => 'last');
        return;
    },
    'return after a pause' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        await Future::IO->sleep(0.01);
        $hub->publish('t', data => 'last');
        return;
    },
    'return after a send' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => 'last');
        await $sse->send('own');
        return;
    },
    'return after sends that nobody awaited' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        $sse->send($_) for 1 .. 5;
        $hub->publish('t', data => 'last');
        $sse->send('own');
        return;
    },
    'return after more than the server takes at once' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => 'x' x 10_000) for 1 .. 60;
        $hub->publish('t', data => 'last');
        return;
    },
    'close' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        await Future::IO->sleep(0.01);
        $hub->publish('t', data => 'last');
        await $sse->close;
    },
    'close without waiting' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        $hub->publish('t', data => 'last');
        $sse->close;
        return;
    },
    'unsubscribe' => async sub {
        my ($hub, $sse) = @_;
        my $sub = $hub->subscribe($sse, 't');
        $hub->publish('t', data => 'last');
        $sub->unsubscribe;
        await Future::IO->sleep(0.01);
    },
    'die' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        await Future::IO->sleep(0.01);
        $hub->publish('t', data => 'last');
        die "over\n";
    },
);

for my $wrapped (T::Middleware::ways(), 'a slow $send') {
    for my $type (qw(sse http)) {
        # One that dies does not wait for middleware.
        for my $how (grep { $_ ne 'die' || $wrapped !~ /slow/ } sort keys %ends) {
            subtest "$type, $wrapped: what was published before the end arrives before it: $how" => sub {
                my $hub = hub();
                my $host = embedded($wrapped, sub { $ends{$how}->($hub, @_) });
                my $client = $type eq 'sse' ? $host->stream : $host->get('/');
                turn_until($host, sub { $client->ended || $client->eof }, 'the end');
                my @last = $client->body =~ /^data: last\n\n/mg;
                is scalar @last,           1, 'it arrived, once';
                is $hub->subscribers('t'), 0, 'nobody is left';
                turn_until($host, sub { !keys %{ $host->server->{exchanges} } }, 'nor anything in the server');
            };
        }
    }
}

# A server of somebody else's. It ends the stream when the application's Future
# is ready, and keeps nothing then.
for my $kind (
    map {
        my $mode = $_;
        map { [$mode, $_] } qw(sse http)
    } qw(done pending)
    )
{
    my ($mode, $type) = @$kind;
    for my $how (sort keys %ends) {
        subtest "another server, $type, sends $mode: what was published before the end arrives: $how" => sub {
            my $hub = hub();
            my $peer = peer(send => $mode, scope => { type => $type }, options => [upgrade => 1]);
            my $app = $ends{$how}->($hub, $peer->sse);
            turn_until(undef, sub { $peer->accept; $app->is_ready }, 'the end');
            # It lets go of all but the client.
            undef $app;
            delete @$peer{qw(scope receiving)};
            turn_until(undef, sub { $peer->accept; !$hub->subscribers('t') }, 'nobody is left');
            my @last = grep { /last/ } map { $_->{data} // $_->{body} // '' } @{ $peer->events };
            is scalar @last, 1, 'it arrived, once';
        };
    }
}

done_testing;
