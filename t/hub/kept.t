use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# What a topic has kept: reading it, filling it, deleting from its state, the
# last of it for who is new.

sub comes {
    my ($server, $hub, $id, $topics, %option) = @_;
    return $server->client(async sub { my ($sse) = @_; await $hub->serve($sse, $topics, {%option}) },
        headers => defined $id ? { 'Last-Event-ID' => $id } : {});
}

sub shown { my ($seq, $data, %more) = @_; return { id => "e.$seq", data => $data, %more } }

subtest 'history and state are what publish was given, oldest first' => sub {
    my $hub = hub();
    $hub->topic('t', state => 1);
    is [$hub->history('t'),    $hub->state('t')],    [], 'nothing yet';
    is [$hub->history('none'), $hub->state('none')], [], 'nor of a topic that does not exist';
    is [$hub->topics], ['t'], 'which does not exist now either';
    $hub->publish('t', data => "a\r\nb\n", event => 'caf' . "\x{e9}", key => "\x{263a}", id => 'own', retry => 7);
    $hub->publish('t', data => { n => "\x{263a}" }, key => 'k');
    $hub->publish('t', data => '');
    my @all = (
        { id => 'own', data => "a\nb\n", event => "caf\xC3\xA9", key => "\xE2\x98\xBA", retry => 7 },
        shown(2, qq({"n":"\xE2\x98\xBA"}), key => 'k'),
        shown(3, ''),
    );
    is [$hub->history('t')],                \@all,        'in octets, line breaks LF';
    is [$hub->history('t', last => 2)],     [@all[1, 2]], 'the last';
    is [$hub->history('t', last => 9)],     \@all,        'of fewer';
    is [$hub->state('t')],                  [@all[0, 1]], 'state';
    is [$hub->state('t', last => 1)],       [$all[1]],    'the last of it';
    is [$hub->history('t', last => undef)], \@all,        'undef: all';
    $hub->topic('t', replay => { events => 1 });
    is [$hub->history('t')], [$all[2]],    'what was evicted is not there';
    is [$hub->state('t')],   [@all[0, 1]], 'but in the state';
};

subtest 'a large history' => sub {
    my $hub = hub();
    my @data = map { $_ x 1000 } 'a' .. 'z';
    $hub->publish('t', data => $_) for (@data) x 20;
    is [map { $_->{data} } $hub->history('t')], [(@data) x 20], 'all of it';
};

on_each_server 'load fills history and state; who is subscribed gets nothing, who comes gets it' => sub {
    my ($server) = @_;
    my $before = hub(epoch => 'before');
    $before->topic('t', state => 1);
    $before->publish('t', data => $_, key => $_ % 2) for 1 .. 3;
    $before->publish('t', key => 1, delete => 1, data => 'went');
    my $hub = hub();
    $hub->topic('t', state => 1);
    my $live = comes($server, $hub, undef, ['t']);
    is [$hub->load('t', $before->history('t'))], [map { "before.$_" } 1 .. 4], 'the ids';
    is [$hub->load('t')],                        [],                           'none';
    $hub->publish('t', data => 'live');
    $live->gets(cursor(0) . block(5, 'live'), 'who was there');
    is [$hub->history('t', last => 5)], [$before->history('t'), shown(5, 'live')], 'the same history';
    is [$hub->state('t')],              [$before->state('t')],                     'and state';
    comes($server, $hub, 'before.3', ['t'])
        ->gets("id: before.4\ndata: went\n\n" . block(5, 'live'), 'an id of before the restart resumes');
    comes($server, $hub, undef, ['t'])->gets("id: before.2\ndata: 2\n\n" . cursor(5), 'a new one gets the state');
    is [$hub->load('u', { data => 1 }, { data => 2, id => 'own' })], ['e.6', 'own'], 'ids of the hub\'s, or own';
};

subtest 'load checks all first' => sub {
    my $hub = hub();
    my @cases = (
        [{ data => 1 }, 'x'],
        q{event 1 must be a hash reference, not 'x'},
        [{ data => 1 }, {}],
        'event 1: data is required',
        [{ data => 1, colour => 1 }],
        q{event 0: unknown option 'colour' (known: data event id key retry delete)},
        [{ data => 1, delete => 1 }],
        'event 0: delete requires a key',
    );
    while (my ($events, $message) = splice @cases, 0, 2) {
        like dies { $hub->load('t', @$events) }, qr/\APAGI::SSE::Hub->load: \Q$message\E at \Q$0\E line/, $message;
    }
    like dies { $hub->load('a b') }, qr/->load: a topic must be/, 'the topic, though there is no event';
    is $hub->stats->{published}, 0, 'nothing was done';
};

on_each_server 'a key is deleted from the state, with an event' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->topic('t', state => 1);
    my $live = comes($server, $hub, undef, ['t']);
    $hub->publish('t', data => "$_ came", key => $_) for qw(ann bob);
    is $hub->publish('t', data => 'ann went', key => 'ann', delete => 1), 'e.3', 'its id';
    my $all = block(1, 'ann came') . block(2, 'bob came') . block(3, 'ann went');
    $live->gets(cursor(0) . $all, 'live');
    comes($server, $hub, undef, ['t'])->gets(block(2, 'bob came') . cursor(3), 'new: not her');
    comes($server, $hub, 'e.0', ['t'])->gets($all,                             'resumed: as live');
    comes($server, $hub, '?',   ['t'])
        ->gets(reset_block('unknown_id') . block(2, 'bob came') . block(3, 'ann went'), 'reset: not her coming');
    is [$hub->state('t')], [shown(2, 'bob came', key => 'bob')], 'state';
    is [$hub->history('t', last => 1)], [shown(3, 'ann went', key => 'ann', delete => 1)], 'history';
    $hub->publish('t', data => 'ann again', key => 'ann', delete => 0);
    comes($server, $hub, undef, ['t'])->gets(block(2, 'bob came') . block(4, 'ann again'), 'she may come back');
};

on_each_server 'a key is deleted from the state, without an event' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->topic('t', state => 1);
    my $live = comes($server, $hub, undef, ['t']);
    $hub->publish('t', data => $_, key => $_) for qw(a b);
    is $hub->publish('t', key => 'a', delete => 1),          undef,   'no id';
    is [$hub->publish_many([t => key => 'b', delete => 1])], [undef], 'of many';
    is $hub->publish($_, key => 'never', delete => 1),       undef,   "what $_ has not" for qw(t none);
    is [$hub->topics],                                       ['t'],   'no topic for nothing';
    is $hub->stats->{published},                             2,       'no event is counted';
    is $hub->stats->{topics}{t}, hash { field published => 2; field kept_events => 2; field keys => 0; etc },
        'nor here';
    comes($server, $hub, undef, ['t'])->gets(cursor(4),                             'new: nothing');
    comes($server, $hub, '?',   ['t'])->gets(reset_block('unknown_id') . cursor(4), 'reset: nothing');
    comes($server, $hub, 'e.1', ['t'])->gets(block(2, 'b') . cursor(4),             'resumed: as live');
    $hub->publish('t', data => 'c');
    $live->gets(cursor(0) . block(1, 'a') . block(2, 'b') . block(5, 'c'), 'live: nothing of it');
    comes($server, $hub, undef, ['t'], last => 9)->gets(block(5, 'c'), 'the last: not what is deleted');
    $hub->topic('t', state => $_) for 0, 1;
    is [$hub->state('t')], [], 'nor when the state begins anew';
};

on_each_server 'the last of its topics, in all, for who is new, and no reset' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish($_ % 2 ? 'a' : 'b', data => $_) for 1 .. 5;
    my $blocks = sub {
        join '', map { block($_, $_) } @_;
    };
    comes($server, $hub, undef, [qw(a b)], last => 2)->gets($blocks->(4, 5),          'of two topics');
    comes($server, $hub, undef, ['b'],     last => 1)->gets($blocks->(4) . cursor(5), 'of one');
    comes($server, $hub, undef, ['b'],     last => 2**32 - 1)->gets($blocks->(2, 4) . cursor(5), 'all there is');
    comes($server, $hub, undef, ['none'],  last => 5)->gets(cursor(5), 'of nothing');
    comes($server, $hub, undef, ['a'],     last => $_)->gets(cursor(5), 'none is asked for') for undef, 0;
    comes($server, $hub, 'e.2', [qw(a b)], last => 1)->gets($blocks->(3 .. 5), 'who resumes gets what it missed');
    comes($server, $hub, '?',   ['a'],     last => 1)
        ->gets(reset_block('unknown_id') . $blocks->(1, 3, 5), 'who is reset gets what is kept');
    $hub->topic('s', state => 1);
    $hub->publish('s', data => "k$_", key => 'k') for 6, 7;
    $hub->publish('s', data => $_) for 8, 9;
    comes($server, $hub, undef, ['s'], last => 1)->gets(block(7, 'k7') . $blocks->(9),    'beside the state');
    comes($server, $hub, undef, ['s'], last => 9)->gets(block(7, 'k7') . $blocks->(8, 9), 'but what it has replaced');
};

subtest 'arguments' => sub {
    my ($hub, $sse) = (hub(), peer()->sse);
    my $most = 999_999_999_999_999;
    my @cases = (
        sub { $hub->history('t', last => 0) },
        "history: last must be a whole number from 1 to $most, not '0'",
        sub { $hub->history('t', first => 1) },
        q{history: unknown option 'first' (known: last)},
        sub { $hub->history('t', 5) },
        'history: takes name => value pairs',
        sub { $hub->history },
        'history: a topic must be 1 to 100 letters, digits and .-_:/, not undef',
        sub { $hub->state('t', last => 'x') },
        "state: last must be a whole number from 1 to $most, not 'x'",
        sub { $hub->publish('t', data => 1, delete => 1) },
        'publish: delete requires a key',
        sub { $hub->publish('t', delete => 1) },
        'publish: delete requires a key',
        sub { $hub->publish('t', key => 'k', delete => 0) },
        'publish: data is required',
        sub { $hub->publish('t', key => 'k', delete => 1, event => 'gone') },
        'publish: data is required',
        sub { $hub->publish('t', key => 'k', delete => 1, retry => 1) },
        'publish: data is required',
        sub { $hub->subscribe($sse, ['t'], { last => -1 }) },
        q{subscribe: last must be a whole number from 0 to 4294967295, not '-1'},
        sub { $hub->subscribe($sse, ['t'], { last => '' }) },
        q{subscribe: last must be a whole number from 0 to 4294967295, not ''},
        sub { $hub->subscribe($sse, ['t'], { last => 2**32 }) },
        q{subscribe: last must be a whole number from 0 to 4294967295, not '4294967296'},
    );
    while (my ($code, $message) = splice @cases, 0, 2) {
        is dies { $code->() }, match(qr/\APAGI::SSE::Hub->\Q$message\E at \Q$0\E line \d+\.\n\z/), $message;
    }
    is $hub->stats->{published}, 0, 'nothing was done';
};

done_testing;
