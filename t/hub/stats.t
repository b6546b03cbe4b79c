use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# Everything is counted, and ready says when a producer may go on.

on_each_server 'a hub and a subscription count what they do' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 2 });
    is $hub->epoch, 'e', 'epoch';
    is $hub->stats,
        {
        epoch  => 'e',
        topics => {},
        map { $_ => 0 } qw(published connections pending_bytes kept_bytes evicted dropped overflows high)
        },
        'all fields, at first';
    my $sub;
    my $client = $server->client(async sub { my ($sse) = @_; $sub = $hub->subscribe($sse, qw(a b)); await $sse->run });
    $hub->topic('a', state => 1);
    $hub->publish('a', data => $_, key => 'k') for 1 .. 3;
    my $want = join '', cursor(0), map { block($_, $_) } 1 .. 3;
    $client->gets($want, 'the events');
    my $size = 200 + length(block(3, 3)) + length 'k';
    my $stats = $hub->stats;
    like delete $stats->{kept_bytes}, qr/\A\d+\z/, 'kept_bytes';
    my $a = delete $stats->{topics}{a};
    is $stats,
        {
        epoch         => 'e',
        published     => 3,
        connections   => 1,
        pending_bytes => 0,
        evicted       => 1,
        dropped       => 0,
        overflows     => 0,
        high          => 0,
        topics        => {
            b => {
                subscribers => 1,
                map { $_ => 0 } qw(published kept_events kept_bytes keys state_bytes refused_keys)
            }
        },
        },
        'the hub';
    my $is_about = validator('about', $size, sub { my %p = @_; abs($p{got} / $size - 1) < 0.2 });
    is $a,
        {
        subscribers  => 1,
        published    => 3,
        kept_events  => 2,
        kept_bytes   => D(),
        keys         => 1,
        state_bytes  => $is_about,
        refused_keys => 0
        },
        'a topic';
    is $sub->stats, { delivered => 3, dropped => 0, queued_bytes => 0, active => T() }, 'the subscription';
    $client->leave;
    until_ok($server, sub { !$sub->stats->{active} }, 'its end');
    is $sub->stats, { delivered => 3, dropped => 0, queued_bytes => 0, active => F() }, 'what it was';
    until_ok($server, sub { !$hub->stats->{connections} }, 'nobody');
};

subtest 'ready waits for who is above the high mark, until that one unsubscribes' => sub {
    my $server = T::Hub::Foreign->new;
    my $hub = hub();
    ok $hub->ready->is_done, 'nobody there';
    my $sub;
    my $client = $server->client(async sub { my ($sse) = @_; $sub = $hub->subscribe($sse, 't'); await $sse->run });
    $client->peer->mode('pending');
    $hub->publish('t', data => 'x' x 20_000) for 1 .. 10;
    my @ready;
    until_ok($server, sub { push @ready, $hub->ready; !$ready[-1]->is_ready }, 'not ready');
    until_ok($server, sub { $hub->stats->{high} == 1 },                        'one is above');
    push @ready, $hub->ready;
    $ready[-1]->cancel;
    push @ready, $hub->ready;
    $server->turn for 1 .. 5;
    ok !$ready[-1]->is_ready, 'still not';
    $sub->unsubscribe;
    until_ok($server, sub { $ready[-1]->is_ready }, 'ready');
    ok !grep({ !$_->is_ready } @ready), 'all who asked';
    is $hub->stats->{high}, 0, 'nobody is above';
    $client->peer->accept;
    $server->end;
};

on_each_server 'a producer that awaits ready never makes a client that reads overflow' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $client = $server->client(
        async sub { my ($sse) = @_; $hub->subscribe($sse, ['t'], { max_bytes => 500_000 }); await $sse->run });
    my $large = 'x' x 10_000;
    my $producer = (
        async sub {
            for my $n (1 .. 300) {
                await $hub->ready;
                $hub->publish('t', data => $large);
            }
        }
    )->();
    until_ok($server, sub { $producer->is_ready }, 'all are published');
    ok $producer->is_done, 'in peace' or diag $producer->failure;
    $server->until(sub { $client->text =~ /id: e\.300\n.*\n\n\z/ });
    is [$client->text =~ /^id: e\.(\d+)$/mg], [0 .. 300], 'all arrive';
    is $hub->stats->{overflows},              0,          'no overflow';
};

done_testing;
