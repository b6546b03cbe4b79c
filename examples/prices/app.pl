# Prices: whoever listens gets the newest price of each symbol at once, and then
# every change; whoever comes back gets what it missed.
#
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5000 examples/prices/app.pl
#     curl -N -H 'Accept: text/event-stream' http://127.0.0.1:5000/
#     curl -d 42.5 http://127.0.0.1:5000/ACME

use strict;
use warnings;

use Future::AsyncAwait;
use PAGI::SSE      ();
use PAGI::SSE::Hub ();

my $hub = PAGI::SSE::Hub->new;
$hub->topic('prices', state => 1);

async sub app {
    my ($scope, $receive, $send) = @_;
    if ($scope->{type} eq 'sse') {
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        await $sse->keepalive(25);
        # For a slow client the newest price of a symbol, not all in between.
        return await $hub->serve($sse, 'prices', { policy => 'latest' });
    }
    die "Unsupported scope type: $scope->{type}\n" if $scope->{type} ne 'http';

    my ($symbol) = $scope->{path} =~ m{\A/([A-Z]{1,8})\z};
    my ($price) = (await $receive->())->{body} =~ /\A([0-9]+(?:\.[0-9]+)?)\z/;
    my ($status, $answer) = (400, 'POST a number to /SYMBOL');
    if (defined $symbol && defined $price) {
        $status = 202;
        $answer = $hub->publish('prices', event => 'price', key => $symbol, data => { $symbol => 0 + $price });
    }
    await $send->({ type => 'http.response.start', status => $status });
    await $send->({ type => 'http.response.body',  body   => "$answer\n" });
    return;
}

\&app;
