use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Client;
use T::Serve;
use Test2::V0;

my $server = T::Serve->app('examples/prices/app.pl');

sub post {
    my ($path, $body) = @_;
    my $answer = T::Client->fetch($server->port, POST => $path, body => $body);
    return [$answer->status, $answer->body];
}

sub listener {
    my ($last_id) = @_;
    return T::Client->stream(port => $server->port, last_event_id => $last_id);
}

# The next so many prices.
sub prices {
    my ($client, $count) = @_;
    return [
        map { $_->{data} } map {
            $client->event_where(sub { $_->{event} eq 'price' })
        } 1 .. $count
    ];
}

my ($epoch) = post('/ACME', '42.5')->[1] =~ /\A(.+)\.1\n\z/;
ok defined $epoch, 'what is posted is published, and its id comes back';

subtest 'who listens gets the newest of each symbol, then every change' => sub {
    is post('/ACME', '43'), [202, "$epoch.2\n"];
    is post('/INIT', '7'),  [202, "$epoch.3\n"];
    my $client = listener();
    is prices($client, 2), ['{"ACME":43}', '{"INIT":7}'];
    post('/ACME', '44');
    is prices($client, 1), ['{"ACME":44}'];
};

subtest 'who comes back gets what it missed' => sub {
    post('/ACME', '45');
    is prices(listener("$epoch.3"), 2), ['{"ACME":44}', '{"ACME":45}'];
};

subtest 'anything else is refused' => sub {
    for (['/', '1'], ['/acme', '1'], ['/ACME', 'much'], ['/ACME', '']) {
        is post(@$_), [400, "POST a number to /SYMBOL\n"], "@$_";
    }
};

done_testing;
