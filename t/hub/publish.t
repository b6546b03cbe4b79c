use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;
use Future::IO;

# What is published reaches who is subscribed, as it was meant.

sub subscribed {
    my ($hub, @topics) = @_;
    return async sub { my ($sse) = @_; $hub->subscribe($sse, @topics); await $sse->run };
}

on_each_server 'each subscriber gets each event of its topics, once, in order, with an id' => sub {
    my ($server) = @_;
    my $hub = hub();
    my %client = map { $_ => $server->client(subscribed($hub, split /,/)) } ('a', 'b', 'a,b');
    $client{a}->gets(cursor(0), 'an id at once, before any event');
    is [$hub->publish('a', data => 1), $hub->publish('b', data => 2), $hub->publish('c', data => 3)],
        [qw(e.1 e.2 e.3)], 'ids are returned';
    $client{a}->gets(cursor(0) . block(1, 1), 'a');
    $client{b}->gets(cursor(0) . block(2, 2), 'b');
    $client{'a,b'}->gets(cursor(0) . block(1, 1) . block(2, 2), 'both');
    is [map { $hub->subscribers($_) } qw(a b c nobody)], [2, 2, 0, 0], 'subscribers';
    is [$hub->topics],                                   [qw(a b c)],  'topics';
    $client{a}->leave;
    until_ok($server, sub { $hub->subscribers('a') == 1 }, 'one has left');
};

on_each_server 'all fields of an event' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $client = $server->client(subscribed($hub, 't'));
    is $hub->publish('t', data => "1\n\n2\r\n 3\n", event => "\x{e9}", retry => 5, id => 'mine', key => 'k'), 'mine',
        'an id of the application comes back';
    is $hub->publish('t', data => '', id => "\x{263a}"), "\xE2\x98\xBA", 'in octets';
    is $hub->publish('t', data => 'x', event => undef, retry => undef, id => undef, key => undef), 'e.3',
        'undef is absent';
    is $hub->publish('t', data => 0, event => '', id => '', retry => 0), '', 'an empty id resets that of the client';
    my @want = (
        cursor(0),
        "event: \xC3\xA9\nid: mine\nretry: 5\ndata: 1\ndata: \ndata: 2\ndata:  3\ndata: \n\n",
        "id: \xE2\x98\xBA\ndata: \n\n",
        block(3, 'x'),
        "id: \nretry: 0\ndata: 0\n\n"
    );
    $client->gets(join('', @want), 'as the stream has them');
};

{
    package My::Text;
    use overload '""' => sub { "text of $_[0]{name}" }, fallback => 1;
}
{
    package My::JSON;
    sub TO_JSON { return { json => $_[0]{name} } }
}
{
    package My::Both;
    our @ISA = qw(My::Text My::JSON);
}

on_each_server 'references as data are what send_event makes of them' => sub {
    my ($server) = @_;
    my $hub = hub();
    my @data = ({ x => "\x{263a}" }, [1, [2]], \1, \0, map { bless { name => $_ }, "My::$_" } qw(Text JSON Both));
    my $sse;
    my $client = $server->client(async sub { ($sse) = @_; $hub->subscribe($sse, 't'); await $sse->run });
    for my $data (@data) {
        $sse->send_event(data => $data, id => 'x');
        $hub->publish('t', data => $data, id => 'x');
    }
    my @json =
        (qq({"x":"\xE2\x98\xBA"}), '[1,[2]]', 'true', 'false', 'text of Text', '{"json":"JSON"}', '{"json":"Both"}');
    $client->gets(cursor(0) . join('', map { "id: x\ndata: $_\n\n" x 2 } @json), 'both');
};

on_each_server 'publish_many publishes in order' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $client = $server->client(subscribed($hub, qw(a b)));
    is [$hub->publish_many([a => data => 1], [b => data => 2, id => 'own'], [a => data => [3]])], [qw(e.1 own e.3)],
        'ids';
    is [$hub->publish_many], [], 'of none';
    $client->gets(cursor(0) . block(1, 1) . "id: own\ndata: 2\n\n" . block(3, '[3]'), 'events');
};

on_each_server 'from a timer, inside on_close, and inside on_reset of another' => sub {
    my ($server) = @_;
    my $hub = hub();
    my $stays = $server->client(subscribed($hub, 't'));
    my $leaves = $server->client(
        async sub {
            my ($sse) = @_;
            $sse->on_close(sub { $hub->publish('t', data => "left: $_[1]") });
            $hub->subscribe($sse, 't');
            await $sse->run;
        }
    );
    my $timer = Future::IO->sleep(0.01)->on_done(sub { $hub->publish('t', data => 'tick') });
    $server->until(sub { Future::IO->sleep(0.005)->get; $timer->is_ready });
    $stays->gets(cursor(0) . block(1, 'tick'), 'the timer');
    $leaves->leave;
    $stays->gets(cursor(0) . block(1, 'tick') . block(2, 'left: client_closed'), 'on_close');
    my $reset = $server->client(
        async sub {
            my ($sse) = @_;
            $hub->subscribe($sse, ['t'],
                { last_event_id => 'f.1', on_reset => sub { $hub->publish('t', data => $_[1]) } });
            await $sse->run;
        }
    );
    my @all = (block(1, 'tick'), block(2, 'left: client_closed'), block(3, 'unknown_id'));
    $stays->gets(join('', cursor(0),                 @all), 'on_reset, for others');
    $reset->gets(join('', reset_block('unknown_id'), @all), 'and behind its own reset');
};

on_each_server 'before the first client: kept, limited, and always ready for more' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 10 });
    my $large = 'x' x 10_000;
    my $pending = 0;
    for (1 .. 500) {
        $hub->publish('t', data => $large);
        $pending++ if !$hub->ready->is_done;
    }
    is $pending,                              0,  'ready';
    is $hub->stats->{topics}{t}{kept_events}, 10, 'limited';
    my $client = $server->client(subscribed($hub, 't'), headers => { 'Last-Event-ID' => 'e.498' });
    $client->gets(block(499, $large) . block(500, $large), 'for those who come');
};

done_testing;
