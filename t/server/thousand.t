use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use PAGI::SSE;

# 1,000 clients at once, 10 events each: all arrive, in order, and nothing is
# left behind.

use constant { CLIENTS => 1000, EVENTS => 10 };

my %streams;
my $host = T::Host->new(
    async sub {
        my ($scope, $receive, $send) = @_;
        die if $scope->{type} eq 'lifespan';
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->on_close(sub { delete $streams{ $_[0]->path } });
        await $sse->start;
        $streams{ $sse->path } = $sse;
        await $sse->run;
    }
);

my @clients = map { $host->stream("/$_") } 1 .. CLIENTS;
$host->until(sub { keys %streams == CLIENTS }, 'all streams');
for my $n (1 .. EVENTS) {
    for my $sse (values %streams) { $sse->try_send_event(id => $n, data => $sse->path) }
    $host->until(sub { 1 });
}
my %got;
$host->until(
    sub {
        $got{ $_->{socket}->sockport } = () = $_->body =~ /^id:/mg
            for grep { ($got{ $_->{socket}->sockport } || 0) < EVENTS } @clients;
        return !grep { $_ < EVENTS } values %got;
    },
    'all events'
);
my $wrong = 0;
for my $n (1 .. CLIENTS) {
    $wrong++ if $clients[$n - 1]->body ne join '', map { "id: $_\ndata: /$n\n\n" } 1 .. EVENTS;
}
is $wrong, 0, 'each client has its own events, in order';

$_->close for @clients;
@clients = ();
$host->until(sub { !keys %streams },                      'all ends');
$host->until(sub { PAGI::SSE::FFI::handle_count() == 1 }, 'all handles but the server back');
is PAGI::SSE::FFI::handle_count(), 1;
$host->server->stop(5)->get;
is PAGI::SSE::FFI::handle_count(), 0, 'and the server';

done_testing;
