use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;

# A bad argument dies at the application's line, names the value and the limit,
# and nothing has been done.

my $NAME = 'a topic must be 1 to 100 letters, digits and .-_:/, not';
my $MOST = 999_999_999_999_999;
my $hub = hub();
my $peer = peer();
my $sse = $peer->sse;

# Each says exactly that.
sub refused {
    my ($name, @cases) = @_;
    return subtest $name => sub {
        my @before = (PAGI::SSE::FFI::handle_count(), $hub->stats);
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, $_[0] };
        while (my ($code, $message) = splice @cases, 0, 2) {
            is dies { $code->() }, match(qr/\APAGI::SSE::Hub->\Q$message\E at \Q$0\E line \d+\.?\n\z/), $message;
        }
        is \@warnings,                                    [],       'no warnings';
        is [PAGI::SSE::FFI::handle_count(), $hub->stats], \@before, 'nothing was done';
        is $peer->events,                                 [],       'nor sent';
    };
}

sub new { return PAGI::SSE::Hub->new(@_) }

refused 'new' => (
    sub { new('ttl') },
    'new: takes name => value pairs',
    sub { new(colour => 1) },
    q{new: unknown option 'colour' (known: replay total_bytes ttl epoch ids create)},
    sub { new(undef, 1) },
    q{new: unknown option undef (known: replay total_bytes ttl epoch ids create)},
    sub { new(replay => 5) },
    q{new: replay must be a hash reference, not '5'},
    sub { new(replay => { size => 1 }) },
    q{new: replay: unknown option 'size' (known: events bytes age)},
    sub { new(replay => { events => -1 }) },
    "new: replay events must be a whole number from 1 to $MOST, not '-1'",
    sub { new(replay => { events => 0 }) },
    "new: replay events must be a whole number from 1 to $MOST, not '0'",
    sub { new(replay => { bytes => 1.5 }) },
    "new: replay bytes must be a whole number from 1 to $MOST, not '1.5'",
    sub { new(replay => { age => 0 }) },
    q{new: replay age must be a number of seconds above 0, at most 1000000000, not '0'},
    sub { new(total_bytes => 10**15) },
    "new: total_bytes must be a whole number from 1 to $MOST, not '1000000000000000'",
    sub { new(total_bytes => []) },
    "new: total_bytes must be a whole number from 1 to $MOST, not a reference (ARRAY)",
    (
        map {
            my $ttl = $_;
            sub { new(ttl => $ttl) }, "new: ttl must be a number of seconds above 0, at most 1000000000, not '$ttl'"
        } 'long',
        -1, 'nan', 'inf',
        1_000_000_001,
        ''
    ),
    (
        map {
            my $epoch = $_;
            sub { new(epoch => $epoch) }, "new: epoch must be 1 to 40 letters, digits, - or _, not '$epoch'"
        } 'a.b',
        '',
        'x' x 41
    ),
    sub { new(epoch => "\x{e9}\n") },
    q{new: epoch must be 1 to 40 letters, digits, - or _, not '\x{E9}\x{A}'},
);

# Of every method that is given one.
my %names = (
    q{''}                     => '',
    q{'a b'}                  => 'a b',
    q{'a\x{A}'}               => "a\n",
    q{'caf\x{E9}'}            => "caf\x{e9}",
    q{'\x{263A}'}             => "\x{263a}",
    q{'} . 'x' x 57 . q{...'} => 'x' x 101,
    'undef'                   => undef,
    'a reference (HASH)'      => {},
);
refused 'a topic\'s name' => map {
    my ($shown, $name) = ($_, $names{$_});
    (
        sub { $hub->topic($name, state => 1) },
        "topic: $NAME $shown",
        sub { $hub->publish($name, data => 1) },
        "publish: $NAME $shown",
        sub { $hub->publish_many([$name, data => 1]) },
        "publish_many: event 0: $NAME $shown",
        sub { $hub->subscribe($sse, ['good', $name, 'fine']) },
        "subscribe: $NAME $shown",
        sub { $hub->close($name) },
        "close: $NAME $shown",
        sub { $hub->close($name, reason => 'x') },
        "close: $NAME $shown",
        sub { $hub->subscribers($name) },
        "subscribers: $NAME $shown",
    )
} sort keys %names;

refused 'topic' => (
    sub { $hub->topic },
    "topic: $NAME undef",
    sub { $hub->topic('t', 'state') },
    'topic: takes name => value pairs',
    sub { $hub->topic('t', colour => 1) },
    q{topic: unknown option 'colour' (known: replay state ttl)},
    sub { $hub->topic('t', replay => 5) },
    q{topic: replay must be a hash reference, not '5'},
    sub { $hub->topic('t', replay => []) },
    q{topic: replay must be a hash reference, not a reference (ARRAY)},
    sub { $hub->topic('t', replay => { events => 'x' }) },
    "topic: replay events must be a whole number from 1 to $MOST, not 'x'",
    sub { $hub->topic('t', ttl => 0) },
    q{topic: ttl must be a number of seconds above 0, at most 1000000000, not '0'},
);

{ package My::Opaque; }

# Behind the method's name, for publish and publish_many.
my @events = (
    ['a', 'data'],
    'takes name => value pairs',
    ['a', data => 1, colour => 1],
    q{unknown option 'colour' (known: data event id key retry delete)},
    ['a'],
    'data is required',
    ['a', data => undef],
    'data is required',
    (
        map { my $name = $_; ['a', data => 1, $name => []], "$name must be text, got a reference (ARRAY)" }
            qw(event id key)
    ),
    (
        map {
            my $name = $_;
            map { ['a', data => 1, $name => "x$_->[0]y"], "$name must not contain CR or LF, got 'x$_->[1]y'" }
                ["\n", '\x{A}'],
                ["\r", '\x{D}']
        } qw(event id)
    ),
    ['a', data => 1, id => "x\0"],
    q{id must not contain NUL, got 'x\x{0}'},
    (
        map { ['a', data => 1, retry => $_], "retry must be a number of milliseconds from 0 to $MOST, got '$_'" } 'x',
        -1, '', 10**15
    ),
    (
        map {
            ['a', data => 1, id => "x$_->[0]y$_->[2]"],
                "id must fit a header: no control characters, no white space at its ends, at most 4096 bytes, got 'x$_->[1]y$_->[2]'"
        } ["\f", '\x{C}', ''],
        ["\x7F", '\x{7F}', ''],
        ['',     '',       ' ']
    ),
    ['a', data => 1, retry => {}],
    "retry must be a number of milliseconds from 0 to $MOST, got a reference (HASH)",
);
my @publish;
for (my $i = 0; $i < @events; $i += 2) {
    my ($event, $message) = @events[$i, $i + 1];
    push @publish, sub { $hub->publish(@$event) }, "publish: $message",
        sub { $hub->publish_many([good => data => 1], $event) }, "publish_many: event 1: $message";
}
refused 'publish' => @publish;
refused 'publish_many' => (
    sub { $hub->publish_many('a', data => 1) },
    q{publish_many: event 0 must be an array reference, not 'a'},
    sub { $hub->publish_many([a => data => 1], undef) },
    'publish_many: event 1 must be an array reference, not undef',
    sub { $hub->publish_many([a => data => 1], []) },
    "publish_many: event 1: $NAME undef",
);

subtest 'what cannot be JSON' => sub {
    my %odd =
        (code => sub { }, scalar => \'x', glob => \*STDOUT, opaque => (bless {}, 'My::Opaque'), inside => [sub { }]);
    for my $name (sort keys %odd) {
        my $sent = failure_of($sse->send_event(data => $odd{$name}));
        my ($why) = $sent =~ /send_event: (data: .*) at \Q$0\E/s;
        like dies { $hub->publish('a', data => $odd{$name}) },
            qr/\APAGI::SSE::Hub->publish: \Q$why\E at \Q$0\E line \d+\.\n\z/,
            "$name: as send_event says";
    }
    is $hub->stats->{published}, 0, 'nothing is published';
};

refused 'subscribe' => (
    sub { $hub->subscribe },
    'subscribe: requires a PAGI::SSE object, not undef',
    sub { $hub->subscribe('x', 'a') },
    q{subscribe: requires a PAGI::SSE object, not 'x'},
    sub { $hub->subscribe($hub, 'a') },
    'subscribe: requires a PAGI::SSE object, not a reference (PAGI::SSE::Hub)',
    (
        map {
            my $topics = $_;
            sub { $hub->subscribe($sse, @$topics) }, 'subscribe: a subscription must name from 1 to 1000 topics, not 0'
        } [],
        [[]],
        [{}],
        [[], {}]
    ),
    sub { $hub->subscribe($sse, 1 .. 1001) },
    'subscribe: a subscription must name from 1 to 1000 topics, not 1001',
    sub { $hub->subscribe($sse, ['a'], 'b') },
    "subscribe: $NAME a reference (ARRAY)",
    map {
        my ($option, $message) = @$_;
        sub { $hub->subscribe($sse, ['a'], $option) }, "subscribe: $message"
    } (
        [
            { colour => 1 },
            q{unknown option 'colour' (known: policy max_bytes max_events on_reset reset_event last_event_id query_id last create max_topics)}
        ],
        [{ policy => 'drop' }, q{policy must be one of disconnect drop_newest drop_oldest latest, not 'drop'}],
        [{ policy => {} }, 'policy must be one of disconnect drop_newest drop_oldest latest, not a reference (HASH)'],
        [{ max_events    => 0 },     q{max_events must be a whole number from 1 to 4294967295, not '0'}],
        [{ max_events    => 2**32 }, q{max_events must be a whole number from 1 to 4294967295, not '4294967296'}],
        [{ max_bytes     => 'x' },   "max_bytes must be a whole number from 1 to $MOST, not 'x'"],
        [{ on_reset      => 'x' },   q{on_reset must be a code reference, not 'x'}],
        [{ on_reset      => {} },    'on_reset must be a code reference, not a reference (HASH)'],
        [{ reset_event   => "x\n" }, q{reset_event must not contain CR or LF, got 'x\x{A}'}],
        [{ reset_event   => [] },    'reset_event must be text, got a reference (ARRAY)'],
        [{ last_event_id => {} },    'last_event_id must be text, got a reference (HASH)'],
    )
);

subtest 'serve says the same in a failed Future' => sub {
    for my $case (
        [[],                     "$NAME undef", undef],
        [['a b'],                "$NAME 'a b'"],
        [[[]],                   'a subscription must name from 1 to 1000 topics, not 0'],
        [['a', { policy => 1 }], q{policy must be one of disconnect drop_newest drop_oldest latest, not '1'}]
        )
    {
        my ($topics, $message) = @$case;
        $message = 'a subscription must name from 1 to 1000 topics, not 0' if !@$topics;
        like failure_of($hub->serve($sse, @$topics)), qr/\APAGI::SSE::Hub->serve: \Q$message\E at \Q$0\E line/,
            $message;
    }
    like failure_of($hub->serve(undef, 'a')), qr/serve: requires a PAGI::SSE object, not undef at \Q$0\E/, 'no object';
    is $peer->events, [], 'nothing is sent';
};

refused 'close' => (
    sub { $hub->close(undef) },
    "close: $NAME undef",
    sub { $hub->close('a', 'reason') },
    q{close: unknown option 'a' (known: reason)},
    sub { $hub->close('a', colour => 1) },
    q{close: unknown option 'colour' (known: reason)},
    sub { $hub->close(colour => 1) },
    q{close: unknown option 'colour' (known: reason)},
    sub { $hub->close('a', reason => []) },
    'close: the reason must be text, got a reference (ARRAY)',
);

subtest 'a failed subscribe leaves no bridge and no thread behind' => sub {
    my $base = PAGI::SSE::FFI::handle_count();
    my $threads = sub { scalar(my @tasks = glob "/proc/$$/task/*") };
    my $before = $threads->();
    # By the library, which has a limit on topics; and by an argument.
    my $full = hub();
    is dies { $full->subscribe($sse, ['a'], { reset_event => "\n" }) }, D(),         'an argument';
    is $threads->(),                                                    $before + 1, 'the hub has one';
    is PAGI::SSE::FFI::handle_count(),                                  $base + 1,   'and one handle';
    undef $full;
    my $last = hub();
    $last->publish("t$_", data => '') for 1 .. 100_000;
    like dies { $last->publish('one-more', data => '') },
        qr/publish: the hub has too many topics \(100000, or 50000 that only subscribers have named\) at \Q$0\E/,
        'publish';
    like dies { $last->topic('one-more') },
        qr/topic: the hub has too many topics \(100000, or 50000 that only subscribers have named\) at \Q$0\E/, 'topic';

    for my $topics (['one-more'], ['t1', 'one-more']) {
        like dies { $last->subscribe($sse, @$topics) },
            qr/subscribe: the hub has too many topics \(100000, or 50000 that only subscribers have named\) at \Q$0\E/,
            'subscribe';
    }
    is PAGI::SSE::FFI::handle_count(), $base + 1,   'no handle';
    is $threads->(),                   $before + 1, 'no thread';
    is $peer->events,                  [],          'nothing is sent';
    ok !$sse->is_started, 'not started';
    is $last->subscribers('t1'), 0, 'nobody is subscribed';
    $last->subscribe($sse, 't1');
    is $peer->types, [qw(sse.start sse.send)], 'and it may still be';
    undef $last;
    $sse->close;
};

done_testing;
