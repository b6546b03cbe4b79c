use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;

my @lines;

async sub app {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    await $send->({ type => 'sse.start' }) if $scope->{type} eq 'sse';
    await Future->new if $scope->{path} eq '/deaf';
    die "oh\n" if $scope->{path} eq '/die';
    await $send->({ type => 'http.response.start' });
    die "late\n" if $scope->{path} eq '/late';
    await $send->({ type => 'http.response.body', body => 'ok' });
}

sub host {
    @lines = ();
    return T::Host->new(\&app, access_log => sub { push @lines, $_[0] });
}

# Without client, time and seconds.
sub short {
    return map { s/\A127\.0\.0\.1 - - \[[^]]+\] //r =~ s/ \d+\.\d{3} (\S+)\z/ $1/r } @_;
}

subtest 'an ordinary response sent in full has no reason' => sub {
    my $host = host();
    my @clients = map { $host->get("/$_") } 1 .. 50;
    $host->until(sub { @lines == 50 }, 'the lines');
    is [sort(short(@lines))], [sort map { qq{"GET /$_ HTTP/1.1" 200 2 "-" "-" -} } 1 .. 50];
};

subtest
    'a 500 in the name of the application is sent in full too; one that takes the place of an unsent head says why' =>
    sub {
    my $host = host();
    for my $path (qw(/die /late)) {
        my $lines = @lines;
        my $client = $host->get($path);
        $host->until(sub { @lines > $lines }, 'the line');
    }
    like [short(@lines)],
        [qr{\A"GET /die HTTP/1\.1" 500 22 "-" "-" -\z}, qr{\A"GET /late HTTP/1\.1" 500 22 "-" "-" server_error\z}];
    };

subtest 'what a stop cuts off is logged once, with the reason server_shutdown' => sub {
    my $host = host();
    my @paths = ('/deaf', '/deaf?stream');
    my $http = $host->get($paths[0]);
    $host->until(sub { keys %{ $host->server->{exchanges} } == 1 }, 'the request');
    my $stream = $host->stream($paths[1]);
    $host->until(sub { $stream->head }, 'the stream');
    is \@lines, [];
    $host->server->stop(0)->get;
    like [sort(short(@lines))],
        [
        qr{\A"GET /deaf HTTP/1\.1" 503 22 "-" "-" server_shutdown\z},
        qr{\A"GET /deaf\?stream HTTP/1\.1" 200 0 "-" "-" server_shutdown\z}
        ];
    is scalar @lines, 2;
    like \@lines, [map { qr/ \d+\.\d{3} server_shutdown\z/ } @lines], 'with the seconds';
    $host->until(sub { $http->eof }, 'the end');
    like $http->raw, qr{\AHTTP/1\.1 503 Service Unavailable\r\n.*\r\n\r\nthe server is stopping\z}s;
};

done_testing;
