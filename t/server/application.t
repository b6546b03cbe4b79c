use strict;
use warnings;

# What applications may do, and what the log says of it.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0 -no_srand => 1;
use Future;
use Future::AsyncAwait;
use PAGI::SSE;

# A host whose streams (and requests) are $app's; it knows no lifespan.
sub host {
    my ($app, %option) = @_;
    return T::Host->new(
        sub {
            my ($scope, $receive, $send) = @_;
            die "not here\n" if $scope->{type} eq 'lifespan';
            return $app->($scope, $receive, $send);
        },
        %option
    );
}

sub answer {
    my ($host, $client) = @_;
    $host->until(sub { $client->ended || $client->eof }, 'the answer');
    return $client;
}

subtest 'the log names method and path of what died' => sub {
    my $host = host(async sub { die "oops\n" });
    is answer($host, $host->stream('/a%20b?c'))->status, 500, 'a stream';
    is answer($host, $host->connect("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))->status, 500, 'http';
    is [$host->log],
        ['error: the application died (GET /a%20b): oops', 'error: the application died (POST /x): oops'], 'the log';
};

subtest 'a client that leaves in mid-send is no error of the application' => sub {
    for my $method (qw(send send_json send_event send_comment)) {
        my $next;
        my $host = host(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                await $sse->send('x');
                await($next = Future->new);
                await $sse->$method($method eq 'send_event' ? (data => 1) : 1);
            }
        );
        my $client = $host->stream;
        $host->until(sub { $client->body });
        $client->close;
        my $turns = 0;
        $host->until(
            sub { PAGI::SSE::FFI::conn_state(my $x = (values %{ $host->server->{exchanges} })[0]{handle}) == 2 });
        $next->done;
        $host->until(sub { !%{ $host->server->{exchanges} } }, 'the end');
        is [$host->log], [], $method;
    }
    for my $method (qw(body json decline)) {
        my $next;
        my $host = host(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                await($next = Future->new) if $method eq 'decline';
                await $sse->$method;
            }
        );
        my $client =
            $host->connect("POST / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 10\r\n\r\nabc");
        $host->until(sub { %{ $host->server->{exchanges} } });
        my $exchange = (values %{ $host->server->{exchanges} })[0];
        $client->reset;
        $host->until(sub { $exchange->state == 2 }, 'the end');
        $next->done if $next;
        $host->until(sub { !%{ $host->server->{exchanges} } }, 'the end');
        is [$host->log], [], $method;
    }
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            await $sse->send('x');
            await $sse->close;
            await $sse->send('y');
        }
    );
    answer($host, $host->stream);
    $host->until(sub { $host->log }, 'the log');
    like [$host->log], [qr/^error: the application died \(GET \/\): .*Cannot send on closed SSE connection/],
        'but to send after its own close is';
};

subtest 'a promise is awaited' => sub {
    package My::Promise {
        sub new    { bless { then => [] }, shift }
        sub then   { my ($self, @callbacks) = @_; push @{ $self->{then} }, \@callbacks; return My::Promise->new }
        sub settle { my ($self, $which, @value) = @_; $_->[$which]->(@value) for @{ $self->{then} } }
    }
    my $promise;
    my $host = host(sub {
        my ($scope, $receive, $send) = @_;
        $send->({ type => 'sse.start' });
        $send->({ type => 'sse.send', data => 'x' });
        return $promise = My::Promise->new;
    });
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'an event');
    ok !$client->ended, 'not ended yet';
    $promise->settle(0, 'ignored');
    ok answer($host, $client)->ended, 'ended when it is fulfilled';
    is [$host->log], [], 'nothing to say';

    $client = $host->stream;
    $host->until(sub { $client->body }, 'an event');
    $promise->settle(1, 'no more');
    answer($host, $client);
    ok !$client->ended, 'broken off when it is rejected';
    is [$host->log], ['error: the application died (GET /): no more'], 'and the reason logged';
};

subtest 'a promise that cannot be awaited is refused with a sentence' => sub {
    package My::Broken {
        sub then { die "no loop\n" }
    }
    my $host = host(sub { bless {}, 'My::Broken' });
    is answer($host, $host->stream)->status, 500, '500';
    is [$host->log],
        [
        'error: the application died (GET /): it returned a promise (My::Broken) that cannot be awaited, use a Future: no loop'
        ],
        'the sentence';
};

subtest 'errors of $send and $receive point at the application\'s line' => sub {
    my (@errors, @lines);
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            my $try = sub {
                push @errors, (eval { $_[0]->failure } || ('no failure'))[0];
            };
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.send', data => 'early' }));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.nonsense' }));
            push @lines, __LINE__ + 1;
            $try->($send->('no event'));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.start', status => 700 }));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.start', headers => [['x', "a\nb"]] }));
            await $send->({ type => 'sse.start' });
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.send' }));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.send', data => 'x', retry => -1 }));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.keepalive', interval => 'x' }));
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.http.response.body', file => '/no/such/file' }));
            await $send->({ type => 'sse.close' });
            push @lines, __LINE__ + 1;
            $try->($send->({ type => 'sse.send', data => 'late' }));
        }
    );
    answer($host, $host->stream);
    $host->until(sub { @errors == 10 }, 'all of them');
    is [map { / at \Q$0\E line ([0-9]+)\.\n\z/ ? $1 : $_ } @errors], \@lines, 'each';
};

subtest 'an event with only an id or a retry is sent' => sub {
    for my $how (qw(plain wrapped)) {
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                my $own = $send;
                $send = sub { $own->(@_) }
                    if $how eq 'wrapped';
                await $send->({ type => 'sse.start' });
                await $send->({ type => 'sse.send', retry => 1500 });
                await $send->({ type => 'sse.send', id    => 'a' });
                await $send->({ type => 'sse.send', id    => 'b', retry => 0 });
                await $send->({ type => 'sse.send', data  => 'x' });
            }
        );
        is answer($host, $host->stream)->body, "retry: 1500\n\nid: a\n\nid: b\nretry: 0\n\ndata: x\n\n", $how;
    }
};

subtest 'the scope has a stash of its own for each request, shared by copies' => sub {
    my @stash;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            push @stash, $scope->{'pagi.stash'};
            $scope->{'pagi.stash'}{user} = 'me';
            my $inner = PAGI::SSE->new({%$scope}, $receive, $send);
            await $inner->send($inner->stash->{user});
        }
    );
    is answer($host, $host->stream)->body, "data: me\n\n", 'seen through a copy' for 1, 2;
    is \@stash, [{ user => 'me' }, { user => 'me' }], 'a hash';
    ref_is_not $stash[0], $stash[1], 'not the same';
};

subtest 'http.response.* answers on an sse scope too' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'http.response.start', status => 404,                headers => [['x-a', 'b']] });
            await $send->({ type => 'http.response.body',  body   => "$scope->{type}, ", more    => 1 });
            await $send->({ type => 'http.response.body',  body   => 'no' });
        }
    );
    my $client = answer($host, $host->stream);
    is [$client->status, $client->header('x-a'), scalar $client->body], [404, 'b', 'sse, no'], 'an ordinary response';
    is [$host->log],                                                    [],                    'nothing to say';
};

subtest 'the host chooses which requests are streams' => sub {
    my $accept = sub { ('Accept: text/html, text/event-stream') };
    my %case = (
        'by the Accept field' =>
            ['accept', { '/' => 'sse', '/events' => 'sse' }, { '/' => 'http', '/events' => 'http' }],
        'by a pattern of the path' =>
            [qr{\A/events}, { '/' => 'http', '/events' => 'sse' }, { '/' => 'http', '/events' => 'sse' }],
        'by a function of the scope' => [
            sub { my ($scope) = @_; $scope->{type} eq 'sse' && $scope->{path} ne '/' },
            { '/' => 'http', '/events' => 'sse' },
            { '/' => 'http', '/events' => 'http' }
        ],
    );
    for my $name (sort keys %case) {
        my ($rule, $asked, $not_asked) = @{ $case{$name} };
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                my $family = $scope->{type} eq 'sse' ? 'sse.http' : 'http';
                await $receive->();
                await $send->({ type => "$family.response.start" });
                await $send->({ type => "$family.response.body", body => $scope->{type} });
            },
            sse => $rule
        );
        for my $path (sort keys %$asked) {
            is answer($host, $host->get($path, $accept->()))->body, $asked->{$path},     "$name: $path, asked for";
            is answer($host, $host->get($path))->body,              $not_asked->{$path}, "$name: $path, not asked for";
        }
    }
};

subtest 'a media type in a quoted string asks for nothing' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'http.response.start' });
            await $send->({ type => 'http.response.body', body => $scope->{type} });
        }
    );
    my %type = (
        'application/x; note="a, text/event-stream"'            => 'http',
        'application/x; note="a\\", text/event-stream"'         => 'http',
        'application/x; note="a, text/event-stream", text/x'    => 'http',
        'text/event-stream-x, x/text/event-stream, text/*, */*' => 'http',
        'application/x; note="a, b", text/event-stream'         => 'sse',
        'text/html, TEXT/Event-Stream;q=0.5'                    => 'sse',
        'application/json,text/event-stream'                    => 'sse',
    );
    is answer($host, $host->get('/', "Accept: $_"))->body, $type{$_}, $_ for sort keys %type;
};

subtest 'what was chosen is what a stop goes by' => sub {
    for my $type (qw(sse http)) {
        my $answer = Future->new;
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                await $answer;
                await $send->({ type => 'http.response.start' });
                await $send->({ type => 'http.response.body', body => 'late' });
            },
            sse => sub { $type eq 'sse' }
        );
        my $client = $host->get('/', $type eq 'http' ? 'Accept: text/event-stream' : ());
        $host->until(sub { %{ $host->server->{exchanges} } }, 'the request');
        my $stopped = $host->server->stop(15);
        if ($type eq 'sse') {
            is answer($host, $client)->status, 200,     'a stream ends at once,';
            is [$client->body],                ['', 1], 'as an empty one';
            $answer->done;
        }
        else {
            my $turns = 0;
            $host->until(sub { $turns++ > 5 });
            is $client->raw, '', 'an ordinary request is waited for,';
            $answer->done;
            is answer($host, $client)->body, 'late', 'and answered';
        }
        ok $host->until(sub { $stopped->is_ready }), 'stopped';
    }
};

subtest 'a rule that dies: a 500 and one line in each log' => sub {
    my @lines;
    my $host = host(
        sub { die "not called\n" },
        sse        => sub { die "oops\n" },
        access_log => sub { push @lines, $_[0] =~ /(".*?" \S+ \S+)/ }
    );
    for my $client ($host->get('/'), $host->stream('/s')) {
        is answer($host, $client)->status, 500, '500';
    }
    $host->until(sub { @lines == 2 && !%{ $host->server->{exchanges} } }, 'the end');
    is [sort $host->log], [map { "error: the rule for 'sse' died (GET $_): oops" } qw(/ /s)], 'of errors';
    is [sort @lines],     [map { qq{"GET $_ HTTP/1.1" 500 22} } qw(/ /s)],                    'of requests';
};

subtest 'what fails is said once, and truly' => sub {
    my $calls = sub {
        my ($method) = @_;
        return async sub {
            my $sse = PAGI::SSE->new(@_);
            $sse->$method(sub { die "oops\n" });
            await $sse->send('x');
            await $sse->close;
        };
    };
    for my $case (
        ['dies at once',      sub { die "oops\n" },           'error: the application died (GET /): oops'],
        ['dies with nothing', sub { die '' },                 qr{\Aerror: the application died \(GET /\): Died at }],
        ['fails',             sub { Future->fail("oops\n") }, 'error: the application died (GET /): oops'],
        ['returns no Future', sub { 'text' },       'error: the application returned without an answer (GET /)'],
        ['on_close dies',     $calls->('on_close'), qr{\APAGI::SSE: an on_close callback died: oops}],
        )
    {
        my ($name, $app, $line) = @$case;
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        my $host = host($app);
        answer($host, $host->stream);
        $host->until(sub { !%{ $host->server->{exchanges} } }, 'the end');
        like [$host->log, @warnings], [ref $line ? $line : qr/\A\Q$line\E\z/, DNE], $name;
    }
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            $scope->{'pagi.connection'}->on_complete(sub { die "oops\n" });
            await $send->({ type => 'http.response.start' });
            await $send->({ type => 'http.response.body', body => 'ok' });
        }
    );
    answer($host, $host->get('/'));
    $host->until(sub { !%{ $host->server->{exchanges} } }, 'the end');
    is [$host->log], ['error: a callback died: oops'], 'on_complete dies';
};

subtest 'host and port, or listen' => sub {
    my @app = (app => sub { });
    my $server = PAGI::SSE::Server->new(@app, host => '127.0.0.1', port => 0)->start;
    is $server->address, 'http://127.0.0.1:' . $server->port, 'IPv4';
    ok $server->port, 'a port';
    $server = eval { PAGI::SSE::Server->new(@app, host => '::1', port => 0)->start };
    is $server->address, 'http://[::1]:' . $server->port, 'IPv6' if $server;
    ok lives { PAGI::SSE::Server->new(@app, listen => '127.0.0.1:81', host => '127.0.0.1', port => 81) },
        'both, agreed';
    is dies { PAGI::SSE::Server->new(@app, listen => '127.0.0.1:80', port => 81) },
        "PAGI::SSE::Server->new: 'listen' says '127.0.0.1:80', 'host' and 'port' say '127.0.0.1:81'; give one of them"
        . " at $0 line @{[__LINE__ - 2]}.\n", 'a contradiction';
    like dies { PAGI::SSE::Server->new(@app, port => 65_536) },
        qr/'port' must be a whole number from 0 to 65535, not '65536' at \Q$0\E/, 'a port';
    like dies { PAGI::SSE::Server->new(@app, sse => 'always') },
        qr/'sse' must be 'accept', a coderef or a regular expression, not 'always' at \Q$0\E/, 'sse';
};

done_testing;
