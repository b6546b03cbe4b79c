use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;
use Future::IO;

# A client that left before it was served is no error, and nothing is logged.

my %wrap = (
    plain          => sub { @_ },
    'wrapped both' => sub {
        my ($receive, $send) = @_;
        (sub { $receive->(@_) }, sub { $send->(@_) });
    },
);

my %serves = (
    serve => async sub { my ($hub, $sse) = @_; await $hub->serve($sse, ['t'], { last_event_id => 'f.1' }) },
    subscribe => async sub { my ($hub, $sse) = @_; $hub->subscribe($sse, 't'); await $sse->run },
);

sub turn_until {
    my ($host, $condition, $name) = @_;
    return ok wait_until(sub { Future::IO->sleep(0.002)->get; $host->read if $host; $condition->() }), $name;
}

for my $wrapped (sort keys %wrap) {
    for my $method (sort keys %serves) {
        subtest "embedded, $wrapped: $method" => sub {
            my ($hub,  $count) = (hub(), 20);
            my ($came, $over) = (0, 0);
            my $gate = Future->new;
            my @warnings;
            local $SIG{__WARN__} = sub { push @warnings, $_[0] };
            my $app = async sub {
                my ($scope, $receive, $send) = @_;
                die "no lifespan\n" if $scope->{type} eq 'lifespan';
                my $sse = PAGI::SSE->new($scope, $wrap{$wrapped}->($receive, $send));
                $came++;
                await $gate->without_cancel;
                await $serves{$method}->($hub, $sse);
                $over++;
            };
            my $host = T::Host->new($app);
            my @clients = map { $host->stream } 1 .. $count;
            turn_until($host, sub { $came == $count }, 'all are here');
            $_->reset for @clients;
            my $gone = sub {
                grep { $_->state == 2 } values %{ $host->server->{exchanges} };
            };
            turn_until($host, sub { $gone->() == $count }, 'and have gone');
            $gate->done;
            turn_until($host, sub { $over == $count },         'each application goes on');
            turn_until($host, sub { !$hub->subscribers('t') }, 'nobody is subscribed');
            is [$host->log], [], 'nothing is logged';
            is \@warnings,   [], 'nor warned of';
        };
    }
}

for my $method (sort keys %serves) {
    subtest "another server: $method" => sub {
        my $hub = hub();
        my $peer = peer();
        my $sse = $peer->sse;
        $peer->disconnect('client_closed');
        my @warnings = warnings_of {
            my $app = $serves{$method}->($hub, $sse);
            turn_until(undef, sub { $app->is_ready }, 'it resolves');
            is [$app->failure], [], 'and does not fail';
        };
        is \@warnings,              [],              'no warnings';
        is $hub->subscribers('t'),  0,               'nobody is subscribed';
        is $sse->disconnect_reason, 'client_closed', 'the reason';
    };
}

done_testing;
