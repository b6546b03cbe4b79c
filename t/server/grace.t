use strict;
use warnings;

# cancel_after_disconnect: handlers of clients that have gone.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0 -no_srand => 1;
use Future;
use Future::AsyncAwait;
use PAGI::SSE;
use Time::HiRes qw(time);

# Its handlers wait for ever; each says when it is cancelled.
sub host {
    my ($cancelled, %option) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} eq 'lifespan';
            my $family = $scope->{type};
            if ($family eq 'sse') {
                await $send->({ type => 'sse.start' });
                await $send->({ type => 'sse.send', data => 'x' });
                await $send->({ type => 'sse.close' }) if $scope->{path} eq '/closed';
            }
            my $never = Future->new;
            $never->on_cancel(sub { push @$cancelled, $scope->{path} });
            await $never;
        },
        %option
    );
}

subtest 'off by default' => sub {
    my $host = host(\my @cancelled);
    my $client = $host->stream('/');
    $host->until(sub { $client->body });
    $client->close;
    my $exchange = (values %{ $host->server->{exchanges} })[0];
    $host->until(sub { !$exchange->is_connected }, 'the end');
    my $turns = 0;
    $host->until(sub { $turns++ > 5 });
    is \@cancelled, [], 'it runs on';
};

subtest 'a handler is cancelled so many seconds after its client left' => sub {
    my $host = host(\my @cancelled, cancel_after_disconnect => 0.3);
    my ($gone, $stays) = map { $host->stream($_) } qw(/gone /stays);
    $host->until(sub { $gone->body && $stays->body });
    my $began = time;
    $gone->close;
    ok $host->until(sub { @cancelled }), 'cancelled';
    ok time - $began >= 0.3,             'not earlier';
    is \@cancelled, ['/gone'], 'not the other one';
    is [$host->log],
        ['warning: cancelled a handler whose client had gone 0.3 seconds before (cancel_after_disconnect)'],
        'one line';
    $host->until(sub { 1 == keys %{ $host->server->{exchanges} } }, 'its end');
    is scalar keys %{ $host->server->{exchanges} }, 1, 'its place is free';
};

subtest 'many at once, one line' => sub {
    my $host = host(\my @cancelled, cancel_after_disconnect => 0.5);
    my @clients = map { $host->stream('/') } 1 .. 20;
    $host->until(sub {
        20 == grep { $_->body } @clients;
    });
    $_->close for @clients;
    ok $host->until(sub { @cancelled == 20 }), 'all';
    ok $host->log < 20,                        'not a line for each';
    is scalar(grep { !/^warning: cancelled (?:a handler|[0-9]+ handlers) whose/ } $host->log), 0, 'these lines';
};

subtest 'requests that are not streams too; but not who closed its stream by itself' => sub {
    my $host = host(\my @cancelled, cancel_after_disconnect => 0);
    my $closed = $host->stream('/closed');
    my $get = $host->get('/get');
    $host->until(sub { $closed->ended && 2 == keys %{ $host->server->{exchanges} } });
    $_->close for $get, $closed;
    ok $host->until(sub { @cancelled }), 'cancelled';
    my $turns = 0;
    $host->until(sub { $turns++ > 5 });
    is \@cancelled, ['/get'], 'the request';
};

subtest 'its range' => sub {
    for my $bad (-1, 'x', 86_401) {
        like dies {
            PAGI::SSE::Server->new(app => sub { }, cancel_after_disconnect => $bad)
        }, qr/'cancel_after_disconnect' must be from 0 to 86400 seconds, not '\Q$bad\E' at \Q$0\E line/, $bad;
    }
};

done_testing;
