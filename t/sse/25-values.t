use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;
use PAGI::SSE::Hub ();
use T::Host;

# Whatever value is given to whatever method, under whatever server: it is sent,
# or the Future fails at the application's line; never an exception.

package Dies {
    use overload '""' => sub { die "no string of me\n" }, fallback => 1;
    sub new { return bless {}, shift }
}
package DiesTwice {    # the exception cannot be shown either
    use overload '""' => sub { die Dies->new }, fallback => 1;
    sub new { return bless {}, shift }
}
package Plain {
    sub new { return bless { a => 1 }, shift }
}
package Child { our @ISA = 'Plain' }
package Number {
    use overload '0+' => sub { 5 }, fallback => 1;
    sub new { return bless {}, shift }
}
package Str {
    use overload '""' => sub { 'str' }, fallback => 1;
    sub new { return bless {}, shift }
}
package Json {
    sub new     { my $class = shift; return bless [@_], $class }
    sub TO_JSON { return $_[0][0] }
}

package main;

# Fresh connections: a plain host's, the embedded server's, and the latter with
# a $send that middleware made.
my @HOSTS;
my %CONNECT = (
    plain    => sub { my $peer = peer(); return ($peer->sse, $peer) },
    embedded => sub {
        return hosted(sub { @_ });
    },
    wrapped => sub {
        return hosted(sub {
            my ($scope, $receive, $send) = @_;
            return ($scope, $receive, sub { $send->(@_) });
        });
    },
);

sub hosted {
    my ($around) = @_;
    my $sse;
    my $host = T::Host->new(
        async sub {
            my ($scope) = @_;
            die if $scope->{type} ne 'sse';
            $sse = PAGI::SSE->new($around->(@_));
            await $sse->run;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $sse && $sse->is_started }, 'a stream');
    push @HOSTS, $host;    # until the test ends
    return ($sse, $host, $client);
}

sub on_each_host {
    my ($name, $code) = @_;
    for my $host (sort keys %CONNECT) {
        subtest "$name: $host" => sub { $code->($CONNECT{$host}->()) };
    }
    return;
}

sub refused {
    my ($future, $why, $what) = @_;
    like failure_of($future), qr/\APAGI::SSE: $why at \Q$0\E line \d+\.\n\z/, $what;
    return;
}

my $DIED = qr/no string of me/;

on_each_host 'a string that dies is a failed Future' => sub {
    my ($sse) = @_;
    $sse->start->get;
    my $shown = qr/died with a reference \(Dies\)/;
    for my $object ([Dies->new, $DIED], [DiesTwice->new, $shown]) {
        my ($dies, $why) = @$object;
        my %refused = (
            send         => [[$dies], "send: data: $why"],
            send_comment => [[$dies], "send_comment: a comment: $why"],
            send_event   =>
                [(map { [data => 1, $_ => $dies] } qw(event id retry)), [data => $dies], "send_event: \\w+: $why"],
        );
        for my $method (sort keys %refused) {
            my @given = @{ $refused{$method} };
            my $message = pop @given;
            for my $given (@given) {
                refused($sse->$method(@$given), $message, "$method(@{[grep { !ref } @$given]})");
                my @errors;
                local $sse->{_on_error} = [sub { push @errors, $_[1] }];
                my $try = "try_$method";
                is result_of($sse->$try(@$given)), 0, "$try gives 0";
                like \@errors, [qr/\APAGI::SSE: try_$message at \Q$0\E/], 'and says why';
            }
        }
        refused($sse->send_json([$dies]),    'send_json: an object of class \w+ has no TO_JSON method', 'send_json');
        refused($sse->keepalive(1, $dies),   "keepalive: the comment: $why",                            'keepalive');
        refused($sse->keepalive($dies),      'keepalive: the interval must be .*',                      'its interval');
        refused($sse->every($dies, sub { }), 'every requires an interval in seconds > 0, got .*',       'every');
        refused($sse->close(reason => $dies), "close: the reason: $why",                                'close');
    }
    is $sse->connection_state, 'started', 'nothing happened to the connection';
};

subtest 'start and decline name what is wrong, and do nothing' => sub {
    my @head = (
        [{ status => Dies->new }, "status: $DIED"],
        [
            { headers => {} },
            'headers must be a reference to an array of \[name, value\] pairs, got a reference \(HASH\)'
        ],
        [{ headers => 'x' },                'headers must be .*, got \'x\''],
        [{ headers => ['x', 'y'] },         'headers must be .*, got \'x\' in it'],
        [{ headers => [{}] },               'headers must be .*, got a reference \(HASH\) in it'],
        [{ headers => [['x']] },            'headers must be .*, got one of 1 in it'],
        [{ headers => [[x => 1, 2]] },      'headers must be .*, got one of 3 in it'],
        [{ headers => [[x => undef]] },     'headers must be .*, got one with undef in it'],
        [{ headers => [[x => {}]] },        'the value of header x must be text, got a reference \(HASH\)'],
        [{ headers => [[x => Dies->new]] }, "the value of header x: $DIED"],
        [{ headers => [[Dies->new, 1]] },   "a header name: $DIED"],
        [{ headers => [["x y", 1]] },       'a header name must be a token, got \'x y\''],
        [{ headers => [[x => "a\nb"]] }, 'the value of header \'x\' must be octets without .*, got \'a\\\\x\{A\}b\''],
        [{ status  => 99 },              'status must be a whole number from 200 to 599, got \'99\''],
    );
    my $body = '(known: status headers body)';
    my @decline = (
        [{ body => {},        status => 403 }, 'body must be text, got a reference \(HASH\)'],
        [{ body => Dies->new, status => 403 }, "body: $DIED"],
        [{ reason => 1 }, "unknown option 'reason' \Q$body\E"],
        [
            { status => 200, body => 'abc', headers => [['Content-Length', 5]] },
            'content-length is 5, but the body has 3 octets'
        ],
        [{ status => 200, headers => [['content-length', 5]] },   'content-length is 5, but the body has 0 octets'],
        [{ status => 200, headers => [['content-length', 'x']] }, "content-length must be one whole number, got 'x'"],
        [
            { status => 200, headers => [map { ['content-length', $_] } 0, 0] },
            q{content-length must be one whole number, got '0' and '0'}
        ],
    );
    my $peer = peer();
    my $sse = $peer->sse;
    for my $method (qw(start decline)) {
        my @known =
            $method eq 'start' ? [{ staus => 1 }, q{unknown option 'staus' \(known: status headers\)}] : @decline;
        refused($sse->$method(%{ $_->[0] }), "$method: $_->[1]", "$method: $_->[1]") for @head, @known;
        refused($sse->$method('x'), "$method takes name => value pairs", "$method: an odd number");
    }
    refused($sse->close(rason => 1), q{close: unknown option 'rason' \(known: reason\)}, 'close: an unknown option');
    refused($sse->close(1 .. 3),     'close: takes name => value pairs',                 'close: an odd number');
    is [$peer->events, $sse->connection_state], [[], 'pending'], 'nothing was done';
    ok !$sse->decline(status => 200, body => "\x{e9}", headers => [['content-length', 2]])->failure, 'octets count';
};

on_each_host 'JSON is octets' => sub {
    my ($sse, $host, $client) = @_;
    $sse->send_json(["caf\x{e9} \x{20ac} \x{D83D}"])->get;
    $sse->send_event(data => { "\x{DFFF}" => "\x{e9}" })->get;
    $sse->send_json(["\x{110000}\x{e9}", "\x{7FFFFFFF}", 5, "5", "\x{D7FF}\x{E000}\x{10FFFF}"])->get;
    $sse->send("\x{20ac}\x{D83D}\x{110000}")->get;
    my $bad = "\xEF\xBF\xBD";
    my @data = (
        qq(["caf\xC3\xA9 \xE2\x82\xAC $bad"]),                                        qq({"$bad":"\xC3\xA9"}),
        qq(["$bad\xC3\xA9","$bad",5,"5","\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF"]), "\xE2\x82\xAC$bad$bad",
    );
    return is $host->data, \@data, 'each lone surrogate and code point past U+10FFFF is U+FFFD' unless $client;
    $host->until(sub { (() = $client->body =~ /\n\n/g) == @data });
    is scalar $client->body, join('', map { "data: $_\n\n" } @data), 'on the wire';
};

subtest 'JSON as characters, and from a hub' => sub {
    my $peer = peer(options => [text => 'characters']);
    my $sse = $peer->sse;
    $sse->send_json(["\x{e9}\x{20ac}\x{D83D}"])->get;
    $sse->send("\x{20ac}\x{D83D}")->get;
    is $peer->data, [qq(["\x{e9}\x{20ac}\x{FFFD}"]), "\x{20ac}\x{FFFD}"], 'characters';
    my $hub = PAGI::SSE::Hub->new(epoch => 'e');
    $hub->publish('t', data => ["caf\x{e9}\x{D83D}"]);
    is [map { $_->{data} } $hub->history('t')], [qq(["caf\xC3\xA9\xEF\xBF\xBD"])], 'a hub';
};

subtest 'a string that dies, given to a hub' => sub {
    my $hub = PAGI::SSE::Hub->new;
    my $dies = Dies->new;
    my $at = qr/ at \Q$0\E line \d+\.\n\z/;
    like dies { $hub->publish('t', data => 1, $_ => $dies) }, qr/->publish: $_: $DIED$at/, $_
        for qw(data event id key retry);
    like dies { $hub->publish($dies, data => 1) }, qr/->publish: a topic: $DIED$at/, 'a topic';
    like dies { $hub->topic('t', ttl    => $dies) },               qr/->topic: ttl: $DIED$at/,           'ttl';
    like dies { $hub->topic('t', replay => { events => $dies }) }, qr/->topic: replay events: $DIED$at/, 'replay';
    is [$hub->topics], [], 'nothing was done';
};

subtest 'objects need TO_JSON, the first time as well' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $hub = PAGI::SSE::Hub->new;
    my $why = qr/an object of class (?:Plain|Child|Number|Str) has no TO_JSON method/;
    for my $class (qw(Plain Child Number Str)) {
        for my $data ({ user => $class->new }, [[$class->new]], Json->new([$class->new])) {
            refused($sse->send_json($data),          "send_json: $why",        $class);
            refused($sse->send_event(data => $data), "send_event: data: $why", $class);
            like dies { $hub->publish('t', data => $data) }, qr/publish: data: $why at \Q$0\E/, "$class to a hub";
        }
    }
    refused($sse->send_json(sub { }), 'send_json: .*', 'code');
    my $loop = [];
    push @$loop, $loop;
    refused($sse->send_json($loop), 'send_json: .*', 'a structure in itself');
    @$loop = ();
    is $peer->events, [], 'nothing was sent';
    $sse->send_json([Json->new({ a => [Json->new("\x{e9}"), undef] }), Json->new(5), JSON::MaybeXS::true(), \0])->get;
    is $peer->data, [qq([{"a":["\xC3\xA9",null]},5,true,false])], 'with TO_JSON, and booleans';
};

subtest 'undef is sent as empty, with the warning of perl where that is wanted' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @warnings = warnings_of {
        is result_of($sse->try_send(undef)), 1, 'try_send';
        $sse->send;
        $sse->send_comment(undef)->get;
        no warnings 'uninitialized';
        $sse->send(undef)->get;
        use warnings FATAL => 'uninitialized';
        refused($sse->send(undef), 'send: Use of uninitialized value', 'where that is fatal');
    };
    like \@warnings,
        [map { qr/\AUse of uninitialized value in $_ at \Q$0\E line \d+\.\n\z/ } qw(try_send send send_comment)],
        'warnings';
    is [map { $_->{data} // $_->{comment} } @{ $peer->events }[1 .. 4]], [('') x 4], 'all are empty';
};

on_each_host 'keepalive after the end' => sub {
    my ($sse) = @_;
    $sse->close->get;
    ref_is result_of($sse->keepalive(@$_)), $sse, 'off is quiet' for [], [0], [0, 'x'];
    refused($sse->keepalive(5), 'Cannot send on closed SSE connection', 'on fails');
};

on_each_host 'ids that would not come back through a header' => sub {
    my ($sse, $host, $client) = @_;
    $sse->start->get;
    my $hub = PAGI::SSE::Hub->new;
    my $fit = 'must fit a header: no control characters, no white space at its ends, at most 4096 bytes, got .*';
    for my $id ("a\x0cb", "\x01", "a\x7f", ' a', "a ", "\ta", ' ', 'x' x 4097, "\x{e9}" x 2049) {
        refused($sse->send_event(data => 1, id => $id), "send_event: an id $fit", 'send_event');
        my @warnings = warnings_of { is result_of($sse->try_send_event(data => 1, id => $id)), 0, 'try_send_event' };
        like \@warnings, [qr/\APAGI::SSE: try_send_event: an id $fit/],                         'says why';
        like dies { $hub->publish('t', data => 1, id => $id) }, qr/publish: id $fit at \Q$0\E/, 'publish';
    }
    is result_of($sse->try_send_event(data => 1, id => $_)), 1, 'fine'
        for '', 'a b', "a\tb", "\x{e9}\x{20ac}", 'x' x 4096, '<"(:)">';
};

subtest 'events of a raw $send are checked alike' => sub {
    my (@failures, $tried);
    my %bad = (
        'sse.send' =>
            [[data => {}], (map { [data => 1, $_ => Dies->new] } qw(data event id retry)), [data => 1, id => "\f"]],
        'sse.comment'   => [[comment  => []], [comment  => Dies->new]],
        'sse.keepalive' => [[interval => []], [interval => 1, comment => Dies->new]],
        'sse.close'     => [[reason => Dies->new]],
    );
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} ne 'sse';
            my $try = sub {
                push @failures, eval { $send->(@_)->failure } // "no failure: $@";
            };
            $try->({ type => $_ }) for Dies->new, {};
            for my $type (qw(sse.start sse.http.response.start)) {
                $try->({ type => $type, @$_ })
                    for [headers => {}], [headers => [['x']]], [headers => [[x => undef]]], [status => Dies->new];
            }
            await $send->({ type => 'sse.start' });
            for my $type (sort keys %bad) {
                $try->({ type => $type, @$_ }) for @{ $bad{$type} };
            }
            $tried = 1;
            await $send->({ type => 'sse.send', data => 'fine', retry => 1e3 });
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->eof }, 'the end');
    ok $tried, 'none dies';
    is scalar @failures, 21, 'all fail';
    like $_, qr/\APAGI::SSE::Server: .* at \Q$0\E line \d+\.\n\z/, s/ at .*//sr for @failures;
    is scalar $client->body, "retry: 1000\ndata: fine\n\n", 'and nothing else is sent';
};

subtest 'a content-length that the body does not have names both numbers' => sub {
    my @failures;
    my $host = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} ne 'http';
            my @start = (type => 'http.response.start');
            push @failures, scalar $send->({ @start, headers => [['content-length', 'x']] })->failure;
            await $send->({ @start, headers => [['content-length', 5]] });
            push @failures, scalar $send->({ type => 'http.response.body', body => $_ })->failure for 'abc', 'abcdef';
            await $send->({ type => 'http.response.body', body => 'abcde' });
        }
    );
    my $client = $host->get('/');
    $host->until(sub { $client->ended }, 'an answer');
    is scalar $client->body, 'abcde', 'the right one goes';
    like \@failures,
        [
        map { qr/: content-length must be one whole number.*: it is $_ at \Q$0\E/ } '"x"',
        '5, the body has 3 bytes',
        '5, the body has 6 bytes'
        ],
        'the others say why';
};

done_testing;
