use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;
use PAGI::SSE;
use PAGI::SSE::Hub;

# An embedded server whose streams are subscribed by $code->($hub, $sse).
sub hosted {
    my ($hub, $code) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            await $code->($sse);
        }
    );
}

sub hub { return PAGI::SSE::Hub->new(epoch => 'e', @_) }

sub body_is {
    my ($host, $client, $want, $name) = @_;
    $host->until(sub { ($client->body)[0] eq $want }, $name);
    is scalar $client->body, $want, $name;
}

subtest 'each subscriber gets each event of its topics, once, in order, with an id' => sub {
    my $hub = hub();
    my $host = hosted(
        $hub,
        async sub {
            my ($sse) = @_;
            my ($topics) = $sse->path =~ m{^/(.*)};
            $hub->subscribe($sse, split /,/, $topics);
            await $sse->run;
        }
    );
    my %client = map { $_ => $host->stream("/$_") } qw(a b a,b);
    $host->until(
        sub {
            !grep { !$_->body } values %client;
        },
        'the streams'
    );
    is scalar $client{a}->body, "id: e.0\n\n", 'an id at once, before any event';
    is [$hub->publish('a', data => 1), $hub->publish('b', data => 2), $hub->publish('c', data => 3)],
        ['e.1', 'e.2', 'e.3'], 'ids are returned';
    $hub->publish('a', data => { x => "\x{263a}" }, event => 'named', retry => 5, id => 'mine');
    my ($one, $two, $four) = (
        "id: e.1\ndata: 1\n\n",
        "id: e.2\ndata: 2\n\n",
        "event: named\nid: mine\nretry: 5\ndata: {\"x\":\"\xE2\x98\xBA\"}\n\n"
    );
    body_is $host, $client{a},     "id: e.0\n\n$one$four",     'a';
    body_is $host, $client{b},     "id: e.0\n\n$two",          'b';
    body_is $host, $client{'a,b'}, "id: e.0\n\n$one$two$four", 'both';
    is [map { $hub->subscribers($_) } qw(a b c nobody)], [2, 2, 0, 0];
    is [$hub->topics],                                   [qw(a b c)];
    $client{a}->close;
    $host->until(sub { $hub->subscribers('a') == 1 }, 'the end');
    is $hub->stats->{connections}, 2;
};

subtest 'a client that comes back gets what it missed, then the live events' => sub {
    my $hub = hub(replay => { events => 3 });
    my @reset;
    my $host = hosted(
        $hub,
        async sub {
            my ($sse) = @_;
            my $sub = $hub->subscribe($sse, ['t'], { on_reset => sub { push @reset, $_[1] } });
            await $sse->run;
        }
    );
    $hub->publish('t',     data => $_) for 1 .. 3;
    $hub->publish('other', data => $_) for 4 .. 20;
    my $event = sub {
        join '', map { "id: e.$_\ndata: $_\n\n" } @_;
    };
    my $case = sub {
        my ($id, $want, $name) = @_;
        body_is $host, $host->stream('/', "Last-Event-ID: $id"), $want, $name;
    };
    $case->('e.1', $event->(2, 3) . "id: e.20\n\n",   'resumed');
    $case->('e.3', "id: e.20\n\n",                    'nothing missed');
    $case->('e.0', $event->(1 .. 3) . "id: e.20\n\n", 'from the start; a quiet topic causes no reset');
    is \@reset, [];
    $hub->publish('t', data => 21);    # evicts 1
    my $reset = sub { qq(event: reset\ndata: {"reason":"$_[0]"}\n\n) };
    $case->('e.1',  $event->(2, 3, 21),                          'its own event may be gone');
    $case->('e.0',  $reset->('too_old') . $event->(2, 3, 21),    'too old');
    $case->('f.2',  $reset->('unknown_id') . $event->(2, 3, 21), 'another epoch');
    $case->('<&>',  $reset->('unknown_id') . $event->(2, 3, 21), 'garbage');
    $case->('e.99', $reset->('unknown_id') . $event->(2, 3, 21), 'the future');
    is \@reset, [qw(too_old unknown_id unknown_id unknown_id)];
    $hub->publish('t', data => 22, id => 'own');
    $hub->publish('t', data => 23);
    $case->('own', $event->(23), "an id of the application's");
};

subtest 'a state topic sends the newest of each key, then live events' => sub {
    my $hub = hub();
    $hub->topic('prices', state => 1);
    my $host = hosted($hub, async sub { $hub->subscribe($_[0], 'prices'); await $_[0]->run });
    $hub->publish('prices', key => 'A', data => 'A1');
    $hub->publish('prices', key => 'B', data => 'B1');
    $hub->publish('prices', key => 'A', data => 'A2');
    my $client = $host->stream;
    my $state = "id: e.2\ndata: B1\n\nid: e.3\ndata: A2\n\n";
    body_is $host, $client, $state, 'state';
    $hub->publish('prices', key => 'B', data => 'B2');
    body_is $host, $client, $state . "id: e.4\ndata: B2\n\n", 'then live';
};

subtest 'serve hands the stream over: the application returns, the stream lives on' => sub {
    my $hub = hub();
    my ($returned, @closed) = (0);
    my $host = hosted(
        $hub,
        async sub {
            my ($sse) = @_;
            $sse->on_close(sub { push @closed, [ref $_[0], $_[1]] }) if $sse->path eq '/watched';
            await $hub->serve($sse, 't');
            $returned++;
        }
    );
    my @clients = map { $host->stream($_) } '/', '/watched';
    $host->until(sub { $returned == 2 }, 'the returns');
    is scalar keys %{ $host->server->{exchanges} }, 1, 'only the one with a callback is kept in Perl';
    $hub->publish('t', data => 'x');
    body_is $host, $_, "id: e.0\n\nid: e.1\ndata: x\n\n", 'delivered' for @clients;
    ok !$_->eof for @clients;
    $_->close   for @clients;
    $host->until(sub { @closed && !$hub->subscribers('t') }, 'the ends');
    is \@closed, [['PAGI::SSE', 'client_closed']];
    $host->until(sub { !keys %{ $host->server->{exchanges} } }, 'nothing left');
};

subtest 'publish and send to one connection keep one order' => sub {
    my $hub = hub();
    my $sse;
    my $host = hosted($hub, async sub { $sse = $_[0]; $hub->subscribe($sse, 't'); await $sse->run });
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'the stream');
    $sse->send('first');
    $host->until(sub { $client->body =~ /first/ }, 'the send');
    $hub->publish('t', data => 'second');
    $host->until(sub { $client->body =~ /second/ }, 'the publish');
    $sse->send('third');
    body_is $host, $client, "id: e.0\n\ndata: first\n\nid: e.1\ndata: second\n\ndata: third\n\n", 'in order';
};

subtest 'close ends the streams with a reason, what was published before arrives' => sub {
    my $hub = hub();
    my @closed;
    my $host = hosted(
        $hub,
        async sub {
            my ($sse) = @_;
            $sse->on_close(sub { push @closed, $_[1] });
            $hub->subscribe($sse, 't');
            await $sse->run;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'the stream');
    $hub->publish('t', data => 'last');
    is $hub->close('t', reason => 'x-over'), 1;
    $host->until(sub { $client->eof }, 'the end');
    is [$client->body], ["id: e.0\n\nid: e.1\ndata: last\n\n", 1];
    is \@closed,        ['x-over'];
};

subtest 'bad arguments say what is wrong, at the caller' => sub {
    my $hub = hub();
    my $here = quotemeta __FILE__;
    for my $case (
        [sub { PAGI::SSE::Hub->new(colour => 1) },                qr/unknown option 'colour'/],
        [sub { PAGI::SSE::Hub->new(replay => { events => -1 }) }, qr/events must be a whole number above 0, not '-1'/],
        [sub { PAGI::SSE::Hub->new(ttl => 'long') },  qr/ttl must be a number of seconds above 0, not 'long'/],
        [sub { PAGI::SSE::Hub->new(epoch => 'a.b') }, qr/epoch must be 1 to 40 letters, digits, - or _, not 'a\.b'/],
        [sub { $hub->publish('a b', data => 1) },     qr/publish: a topic must be .* not 'a b'/],
        [sub { $hub->publish('a') },                  qr/publish requires 'data'/],
        [sub { $hub->publish('a', data => 1, event => "a\nb") }, qr/event type must not contain CR or LF/],
        [
            sub { $hub->publish('a', data => 1, retry => 'x') },
            qr/retry must be a whole number of milliseconds, not 'x'/
        ],
        [sub { $hub->publish('a', data => 1, colour => 1) }, qr/unknown field 'colour'/],
        [sub { $hub->topic('a b') },                         qr/topic: a topic must be/],
        [sub { $hub->subscribe('x', 'a') },                  qr/requires a PAGI::SSE object/],
        )
    {
        my ($code, $error) = @$case;
        my $message = dies { $code->() };
        like $message, $error;
        like $message, qr/ at $here line \d+/;
    }
};

done_testing;
