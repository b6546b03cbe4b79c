use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Host;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# Streams that are asked for in another way than a browser does.

for my $how (qw(subscribe serve)) {
    my $hub = hub();
    my @body;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            push @body, await $sse->body if $scope->{method} eq 'POST';
            return await $hub->serve($sse, 't') if $how eq 'serve';
            $hub->subscribe($sse, 't');
            await $sse->run;
        }
    );
    my $asks = sub { return $host->connect(join "\r\n", @_[0 .. $#_ - 1], 'Accept: text/event-stream', '', $_[-1]) };

    subtest "$how: HTTP/1.0, without chunks" => sub {
        my $client = $asks->('GET / HTTP/1.0', '');
        $host->until(sub { $client->body }, 'the stream');
        $hub->publish('t', data => 'x');
        my $want = cursor(0) . block(1, 'x');
        $host->until(sub { $client->body eq $want }, 'the event');
        is scalar $client->body, $want, 'events';
        unlike $client->head, qr/transfer-encoding/i, 'as they are';
        $hub->close('t');
        $host->until(sub { $client->eof }, 'the end');
        is scalar $client->body, $want, 'and no more';
    };

    subtest "$how: POST, with a body" => sub {
        my $client = $asks->('POST / HTTP/1.1', 'Host: x', 'Content-Length: 3', 'abc');
        $host->until(sub { $client->body }, 'the stream');
        $hub->publish('t', data => 'x');
        my $want = cursor(1) . block(2, 'x');
        $host->until(sub { $client->body eq $want }, 'the event');
        is scalar $client->body, $want,   'events';
        is \@body,               ['abc'], 'the application has the body';
        $client->close;
        $host->until(sub { !$hub->subscribers('t') }, 'the end');
    };

    subtest "$how: HEAD, which ends with the head" => sub {
        my $client = $asks->('HEAD / HTTP/1.1', 'Host: x', '');
        $host->until(sub { $client->eof }, 'the end');
        is $client->status,                 200,                 'the status';
        is $client->header('content-type'), 'text/event-stream', 'the type';
        is $client->raw,                    $client->head,       'and nothing else';
        $host->until(sub { !$hub->subscribers('t') }, 'nobody is left');
        is $hub->subscribers('t'), 0, 'nobody is left';
    };

    is [$host->log], [], "$how: nothing is logged";
}

done_testing;
