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

# A client that has gone is noticed whatever the application does, whoever
# stands between the wrapper and the server, and under any server.

my %does = (
    'subscribes, and waits for something else' => async sub {
        my ($hub, $sse, $other) = @_;
        $hub->subscribe($sse, 't');
        await $other;
    },
    'subscribes, and keeps nothing but the scope' => sub {
        my ($hub, $sse, $other) = @_;
        $hub->subscribe($sse, 't');
        return $other;
    },
    'subscribes and runs' => async sub {
        my ($hub, $sse) = @_;
        $hub->subscribe($sse, 't');
        await $sse->run;
    },
    'serves' => async sub {
        my ($hub, $sse) = @_;
        await $hub->serve($sse, 't');
    },
);

sub turn_until {
    my ($host, $condition, $name) = @_;
    return ok wait_until(sub { Future::IO->sleep(0.005)->get; $host->read if $host; $condition->() }), $name;
}

for my $wrapped (T::Middleware::ways()) {
    for my $case (
        map {
            my $type = $_;
            map { [$type, $_] } sort keys %does
        } qw(sse http)
        )
    {
        my ($type, $what) = @$case;
        subtest "embedded, $type, $wrapped: $what" => sub {
            my $hub = hub();
            my ($other, $sends, @closed) = (Future->new, 0);
            my $app = async sub {
                my ($scope, $receive, $send) = @_;
                die "no lifespan\n" if $scope->{type} eq 'lifespan';
                my ($r, $s) = T::Middleware::around($wrapped, $receive, $send);
                my $counted = $s == $send ? $s : sub { $sends++; return $s->(@_) };
                my $sse = PAGI::SSE->new($scope, $r, $counted, upgrade => 1);
                $sse->on_close(sub { push @closed, $_[1] });
                my $done = $does{$what}->($hub, $sse, $other);
                undef $sse;
                await $done;
            };
            my $host = T::Host->new($app);
            my @clients = map { $type eq 'sse' ? $host->stream : $host->get('/') } 1 .. 3;
            turn_until($host, sub { $hub->subscribers('t') == 3 }, 'three are subscribed');
            $hub->publish('t', data => 1);
            turn_until(
                $host,
                sub {
                    3 == grep { $_->body =~ /data: 1\n/ } @clients;
                },
                'and get an event'
            );
            $_->close for @clients;
            turn_until($host, sub { !$hub->subscribers('t') }, 'none is left');
            turn_until($host, sub { @closed == 3 },            'on_close has run');
            is \@closed, [('client_closed') x 3], 'with the reason';
            my $before = $sends;
            $hub->publish('t', data => 2) for 1 .. 10;
            Future::IO->sleep(0.01)->get  for 1 .. 3;
            is $sends, $before, 'nothing is sent to nobody';
            $other->done;
            turn_until($host, sub { !keys %{ $host->server->{exchanges} } }, 'nothing is left in the server');
            is [grep { !/died|lifespan/ } $host->log], [], 'nothing is logged';
        };
    }
}

for my $case (
    map {
        my $type = $_;
        map { [$type, $_] } sort keys %does
    } qw(sse http)
    )
{
    my ($type, $what) = @$case;
    subtest "another server, $type: $what" => sub {
        my $hub = hub();
        my ($other, @closed) = (Future->new);
        my @peers = map { peer(scope => { type => $type }, options => [upgrade => 1]) } 1 .. 3;
        my @app;
        for my $peer (@peers) {
            my $sse = $peer->sse;
            $sse->on_close(sub { push @closed, $_[1] });
            push @app, $does{$what}->($hub, $sse, $other);
        }
        is $hub->subscribers('t'), 3, 'three are subscribed';
        $_->disconnect('client_closed') for @peers;
        turn_until(undef, sub { !$hub->subscribers('t') && @closed == 3 }, 'none is left');
        is \@closed, [('client_closed') x 3], 'on_close has run';
        my $before = map { @{ $_->events } } @peers;
        $hub->publish('t', data => 2) for 1 .. 10;
        Future::IO->sleep(0.01)->get  for 1 .. 3;
        is scalar(map { @{ $_->events } } @peers), $before, 'nothing is sent to nobody';
        $other->done;
    };
}

# Such a server has nothing left of the connection: neither scope nor Futures.
for my $mode (qw(done pending)) {
    for my $what (sort keys %does) {
        subtest "another server drops all, sends $mode: $what" => sub {
            # Future::AsyncAwait's, of a lost Future.
            local $SIG{__WARN__} = sub { warn @_ if $_[0] !~ /lost its returning future/ };
            my $hub = hub();
            my ($other, $closed, $weak) = (Future->new, 0);
            my $peer = peer(send => $mode);
            my $app = do {
                my $sse = $peer->sse;
                weaken($weak = $sse);
                $sse->on_close(sub { $closed++ });
                $does{$what}->($hub, $sse, $other);
            };
            is $hub->subscribers('t'), 1, 'subscribed';
            $hub->publish('t', data => 1);
            Future::IO->sleep(0.01)->get for 1 .. 3;
            undef $app;
            delete @$peer{qw(scope receiving pending)};
            undef $peer;
            turn_until(undef, sub { !$hub->subscribers('t') }, 'the subscription goes');
            $other->done;    # which holds the application, whatever we do
            undef $other;
            is $weak,   undef, 'and the object';
            is $closed, 1,     'on_close has run';
        };
    }
}

done_testing;
