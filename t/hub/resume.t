use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# A client that comes back gets what it missed, then the live events; or is
# told that something is missing.

# A client of topic t, or of those given; what becomes of it is in its {is}.
sub comes {
    my ($server, $hub, $id, %option) = @_;
    my $topics = delete $option{topics} || ['t'];
    my %request = map { $_ => delete $option{$_} } qw(query);
    my %is;
    my $client = $server->client(
        async sub {
            my ($sse) = @_;
            $is{subscription} = $hub->subscribe($sse, $topics, { on_reset => sub { $is{reset} = $_[1] }, %option });
            await $sse->run;
        },
        headers => defined $id ? { 'Last-Event-ID' => $id } : {},
        %request
    );
    $client->{is} = \%is;
    return $client;
}

# It gets that, and it was resumed, or reset for that reason.
sub resumes {
    my ($client, $bytes, $name, $reason) = @_;
    $client->gets($bytes, $name);
    my ($reset, $subscription) = @{ $client->{is} }{qw(reset subscription)};
    is $reset,                      $reason,          'on_reset' . (defined $reason ? '' : ' is not called');
    is $subscription->reset_reason, $reason,          'reset_reason';
    is !!$subscription->is_resumed, !defined $reason, 'is_resumed';
    return;
}

on_each_server 'after its id; a quiet topic causes no reset' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 3 });
    $hub->publish('t',     data => $_) for 1 .. 3;
    $hub->publish('other', data => $_) for 4 .. 20;
    my @case = (
        ['e.1', [2, 3],   'resumed'],
        ['e.3', [],       'nothing missed'],
        ['e.9', [],       'an id that another topic had'],
        ['e.0', [1 .. 3], 'from the start'],
    );
    for (@case) {
        my ($id, $want, $name) = @$_;
        resumes(comes($server, $hub, $id), join('', map({ block($_, $_) } @$want), cursor(20)), $name);
    }
    $hub->publish('t', data => 21);    # evicts 1
    my $kept = join '', map { block($_, $_) } 2, 3, 21;
    resumes(comes($server, $hub, 'e.1'), $kept, 'its own event may be gone');
    @case = (
        ['e.0',  'too_old'],
        ['f.2',  'unknown_id', 'another epoch'],
        ['<&>',  'unknown_id', 'garbage'],
        ['e.02', 'unknown_id', 'another form of a number'],
        ['e.99', 'unknown_id', 'the future'],
        map({ [$_, 'unknown_id', 'no UTF-8: ' . unpack 'H*', $_] } "\xff", "e.\xc3", "caf\xe9", "\xed\xa0\x80"),
    );
    for (@case) {
        my ($id, $reason, $name) = @$_;
        resumes(comes($server, $hub, $id), reset_block($reason) . $kept, $name || $reason, $reason);
    }
    my $new = comes($server, $hub, undef);
    $new->gets(cursor(21), 'a new client gets an id, and what comes');
    ok !$new->{is}{subscription}->is_resumed, 'is_resumed';
};

on_each_server 'the id may come from elsewhere' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('t', data => $_) for 1 .. 3;
    my %missed = map {
        my $n = $_;
        $n => join '', map { block($_, $_) } $n + 1 .. 3
    } 0 .. 2;
    comes($server, $hub, 'e.2', last_event_id => 'e.1')->gets($missed{1}, 'last_event_id goes before the header');
    comes($server, $hub, 'e.2', last_event_id => undef)->gets(cursor(3),  'undef: new');
    comes($server, $hub, undef, query         => 'last_event_id=e.1')->gets(cursor(3), 'the query is not looked at');
    my %by_query = (query_id => 1, query => 'x=1&last_event_id=e%2E1');
    comes($server, $hub, undef, %by_query)->gets($missed{1}, 'but with query_id');
    comes($server, $hub, '',    %by_query)->gets($missed{1}, 'and an empty header');
    comes($server, $hub, 'e.0', %by_query)->gets($missed{0}, 'the header goes before the query');
    comes($server, $hub, undef, query_id => 1)->gets(cursor(3), 'neither');
    my $text = "\x{263a}\n";
    comes($server, $hub, undef, last_event_id => $text)->gets(reset_block('unknown_id') . $missed{0}, 'any text');
};

on_each_server 'the reset event has the name that it is given' => sub {
    my ($server) = @_;
    my $hub = hub();
    comes($server, $hub, 'f.1', reset_event => "caf\x{e9}")
        ->gets(reset_block('unknown_id', "caf\xC3\xA9") . cursor(0), 'reset_event');
    comes($server, $hub, 'f.1', reset_event => undef)->gets(reset_block('unknown_id') . cursor(0), 'undef: reset');
};

on_each_server 'ids of the application are found as they were given' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('a', data => 1, id => 'one');
    $hub->publish('b', data => 2, id => 'both');
    $hub->publish('a', data => 3);
    $hub->publish('a', data => 4, id => 'both');
    $hub->publish('b', data => 5);
    my ($both2, $both4) = map { "id: both\ndata: $_\n\n" } 2, 4;
    comes($server, $hub, 'one',  topics => ['a'])->gets(block(3, 3) . $both4, 'one: the last one says where it is');
    comes($server, $hub, 'both', topics => ['a'])->gets('',                   'of the topics that are asked for');
    comes($server, $hub, 'both', topics => ['b'])->gets(block(5, 5),          'of those, again');
    comes($server, $hub, 'both', topics => [qw(a b)])
        ->gets(block(3, 3) . $both4 . block(5, 5), 'on two topics: after the older, so that none is missing');
    comes($server, $hub, 'two')->gets(reset_block('unknown_id') . cursor(5), 'unknown');
};

on_each_server 'a history ends at the bytes of all topics, or of its own' => sub {
    my ($server) = @_;
    # An event counts about 200 bytes beside its own.
    my $hub = hub(total_bytes => 3000);
    my $large = 'x' x 800;
    $hub->publish($_, data => $large) for qw(a b a b);
    is $hub->stats->{evicted}, 2, 'evicted, the oldest of all topics';
    cmp_ok $hub->stats->{kept_bytes}, '<=', 3000;
    my $both = comes($server, $hub, 'e.2', topics => [qw(a b)]);
    resumes($both, join('', map { block($_, $large) } 3, 4), 'what is left');
    my $one = comes($server, $hub, 'e.0', topics => ['a']);
    resumes($one, reset_block('too_old') . block(3, $large) . cursor(4), 'lost', 'too_old');
    my $own = hub(replay => { bytes => 2200 });
    $own->publish('t', data => $large) for 1 .. 3;
    is $own->stats->{topics}{t}{kept_events}, 2, 'of its own';
    comes($server, $own, 'e.1')->gets(join('', map { block($_, $large) } 2, 3), 'what is left');
};

on_each_server 'settings of a topic change what is kept, from now on' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 3 });
    ref_is $hub->topic('t', replay => { events => 2 }), $hub, 'topic returns the hub';
    my $kept = sub { $hub->stats->{topics}{t}{kept_events} };
    $hub->publish('t',     data => $_) for 1 .. 4;
    $hub->publish('other', data => $_) for 5 .. 8;
    is $hub->stats->{topics}{other}{kept_events}, 3, 'others are as the hub says';
    is $kept->(),                                 2, 'its own setting';
    $hub->topic('t', ttl => 60, replay => { age => 1000 });
    $hub->topic('t');
    is $kept->(), 2, 'is left alone by others';
    $hub->topic('t', replay => { events => 1 });
    is $kept->(), 1, 'less, at once';
    comes($server, $hub, 'e.2')->gets(reset_block('too_old') . block(4, 4) . cursor(8), 'which a client notices');
    $hub->topic('t', replay => { events => 10 });
    $hub->publish('t', data => $_) for 9 .. 11;
    is $kept->(), 4, 'more, from now on';
    comes($server, $hub, 'e.3')->gets(join('', map { block($_, $_) } 4, 9 .. 11), 'for those who come');
    $hub->topic('t', replay => { age => 0.001 });
    until_ok($server, sub { $hub->publish('other', data => 1); $hub->topic('t'); !$kept->() }, 'too old: gone');
};

on_each_server 'on_reset that dies is a warning, and all else goes on' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('t', data => 1);
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, $_[0] };
    for my $how (sub { die "oops\n" }, async sub { die "later\n" }) {
        my $client = comes($server, $hub, 'f.1', on_reset => $how);
        $client->gets(reset_block('unknown_id') . block(1, 1), 'the events');
        is $client->{is}{subscription}->reset_reason, 'unknown_id', 'the subscription';
        $client->leave;
    }
    is \@warnings, ["PAGI::SSE: an on_reset callback died: oops\n", "PAGI::SSE: an on_reset callback failed: later\n"],
        'two warnings';
};

on_each_server 'on_reset is called under serve, too' => sub {
    my ($server) = @_;
    my $hub = hub();
    my @reset;
    my $client = $server->client(
        async sub {
            my ($sse) = @_;
            my $on_reset =
                sub { my ($given, $reason) = @_; push @reset, $given == $sse, $reason; $given->send('direct') };
            await $hub->serve($sse, ['t'], { on_reset => $on_reset, last_event_id => 'f.1' });
        }
    );
    $client->gets(reset_block('unknown_id') . cursor(0) . "data: direct\n\n", 'behind the reset');
    is \@reset, [T(), 'unknown_id'], 'with the object and the reason';
};

# Else a browser would be refused for good: it sends the same again.
for my $id ("\xff", "e.\xc3") {
    subtest 'in a scope of type http, an id that is no UTF-8 is an unknown one: ' . unpack('H*', $id) => sub {
        my $hub = hub();
        $hub->publish('t', data => 1);
        my $peer = peer(scope => { type => 'http', headers => [['last-event-id', $id]] }, options => [upgrade => 1]);
        my $sub = $hub->subscribe($peer->sse, 't');
        is $sub->reset_reason, 'unknown_id', 'reset_reason';
        $peer->sse->close;
    };
}

done_testing;
