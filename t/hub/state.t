use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# A topic with state keeps the newest event of each key, for those who come.

sub comes {
    my ($server, $hub, @topics) = @_;
    return $server->client(async sub { my ($sse) = @_; $hub->subscribe($sse, @topics); await $sse->run });
}

sub resumes {
    my ($server, $hub, $id) = @_;
    my $app = async sub { my ($sse) = @_; $hub->subscribe($sse, 't'); await $sse->run };
    return $server->client($app, headers => { 'Last-Event-ID' => $id });
}

on_each_server 'a new client gets the newest of each key, in order, then live events' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->topic('t', state => 1);
    $hub->publish('t', data => 'A1', key => 'A');
    $hub->publish('t', data => 'B1', key => 'B');
    $hub->publish('t', data => 'no key');
    $hub->publish('t', data => 'A2', key => 'A');
    $hub->publish('u', data => 'C1', key => 'A');
    my $client = comes($server, $hub, qw(u t));
    my $state = block(2, 'B1') . block(4, 'A2') . cursor(5);
    $client->gets($state, 'state, of that topic only');
    $hub->publish('t', data => 'B2', key => 'B');
    $client->gets($state . block(6, 'B2'), 'then live');
    is $hub->stats->{topics}{t}, hash { field keys => 2; field state_bytes => D(); etc }, 'counted';
};

on_each_server 'one that resumes gets each event, one that is reset the state and the rest' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 3 });
    $hub->topic('t', state => 1);
    $hub->publish('t', data => "A$_", key => 'A') for 1, 2;
    $hub->publish('t', data => "B$_", key => 'B') for 3, 4;
    $hub->publish('t', data => 'plain');
    my $rest = block(4, 'B4') . block(5, 'plain');
    resumes($server, $hub, 'e.2')->gets(block(3, 'B3') . $rest,                          'resumed');
    resumes($server, $hub, 'e.1')->gets(reset_block('too_old') . block(2, 'A2') . $rest, 'too old: A from the state');
    resumes($server, $hub, 'f.1')->gets(reset_block('unknown_id') . block(2, 'A2') . $rest, 'of another epoch');
};

on_each_server 'state may begin later, and end' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('t', data => "A$_", key => 'A') for 1, 2;
    comes($server, $hub, 't')->gets(cursor(2), 'none');
    $hub->topic('t', state => 1);
    comes($server, $hub, 't')->gets(block(2, 'A2'), 'from the history');
    $hub->topic('t', ttl   => 60);
    $hub->topic('t', state => undef);
    comes($server, $hub, 't')->gets(block(2, 'A2'), 'left alone');
    $hub->topic('t', state => 0);
    comes($server, $hub, 't')->gets(cursor(2), 'off');
    is $hub->stats->{topics}{t}{keys}, 0, 'nothing is kept';
};

subtest 'state is bounded: half of total_bytes' => sub {
    my $hub = hub(total_bytes => 10_000);
    $hub->topic('t', state => 1);
    $hub->publish('t', data => 'x' x 1000, key => $_) for 1 .. 10;
    my $stats = $hub->stats;
    is $stats->{topics}{t}, hash { field keys => 4; field refused_keys => 6; etc }, 'refused, and counted';
    cmp_ok $stats->{topics}{t}{state_bytes}, '<=', 5000,   'bytes';
    cmp_ok $stats->{kept_bytes},             '<=', 10_000, 'with the history';
};

done_testing;
