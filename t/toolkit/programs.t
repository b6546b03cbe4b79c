use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use T::Toolkit;
use Test2::V0 -no_srand => 1;

# Programs as the toolkit's users write them, unmodified: under a test client
# without a loop, and under the embedded server.

use Future;
use Future::AsyncAwait;
use Future::IO;
use PAGI::SSE::FFI ();
use T::Host        ();
use Time::HiRes    qw(time);

my $base = PAGI::SSE::FFI::handle_count();

# Both run $app; the test asks: until { condition }, body, hang_up, app.
package Fake {
    sub new {
        my ($class, $app, $path, %scope) = @_;
        my $client = T::Toolkit::Client->new(app => $app);
        return bless { stream => $client->sse($path, %scope) }, $class;
    }
    sub until {
        my ($self, $condition) = @_;
        my $end = Time::HiRes::time() + T::PAGI::slow(10);
        Future::IO->sleep(0.005)->get until $condition->() || Time::HiRes::time() > $end;
        return $condition->();
    }
    sub data {
        my ($self) = @_;
        return [map { $_->{data} } grep { $_->{type} eq 'sse.send' } @{ $self->{stream}->sent }];
    }
    sub hang_up { $_[0]{stream}->close($_[1]) }
    sub ended   { $_[0]{stream}->app->is_ready }
    sub failure { scalar $_[0]{stream}->app->failure }
    sub status  { $_[0]{stream}->status }
    sub header {
        my ($self, $name) = @_;
        my ($start) = grep { $_->{headers} } @{ $self->{stream}->sent };
        return (map { $_->[1] } grep { $_->[0] eq $name } @{ $start->{headers} || [] })[0];
    }
}

package Embedded {
    sub new {
        my ($class, $app, $path, %scope) = @_;
        my $self = bless {}, $class;
        my $ready = \$self->{app};
        $self->{host} = T::Host->new(sub {
            my ($scope, @io) = @_;
            return Future->fail('no lifespan') if $scope->{type} eq 'lifespan';
            return $$ready = $app->($scope, @io);
        });
        $self->{client} = $self->{host}->stream($path, map { "$_->[0]: $_->[1]" } @{ $scope{headers} || [] });
        return $self;
    }
    sub until {
        my ($self, $condition) = @_;
        my $end = Time::HiRes::time() + T::PAGI::slow(10);
        until ($condition->() || Time::HiRes::time() > $end) {
            Future::IO->sleep(0.002)->get;
            my $once = 0;
            $self->{host}->until(sub { $once++ });
        }
        return $condition->();
    }
    sub data {
        return [map { /\A(?:(?!data)\w+: .*\n)*data: (.*)\z/ ? $1 : () } split /\n\n/, $_[0]{client}->body];
    }
    sub hang_up { $_[0]{client}->close }
    # The client has all of it.
    sub ended   { $_[0]{app} && $_[0]{app}->is_ready && ($_[0]{client}->eof || $_[0]{client}->ended) }
    sub failure { scalar $_[0]{app}->failure }
    sub status  { $_[0]{client}->status }
    sub header  { $_[0]{client}->header($_[1]) }
}

package main;

sub under {
    my ($name, $app, $path, $test, %scope) = @_;
    for my $host (qw(Fake Embedded)) {
        subtest "$name, $host" => sub { $test->($host->new($app->(), $path, %scope)) };
    }
    return;
}

# ---- PAGI::Context::SSE

my @log;
under 'a context that reads $receive and awaits _note_disconnected' => sub {
    @log = ();
    return async sub {
        my $ctx = T::Toolkit::Context->new(@_);
        my $sse = $ctx->sse;
        $sse->on_close(
            async sub {
                my ($sse, $reason) = @_;
                push @log, "one $reason";
                await Future::IO->sleep(0.02);
                push @log, 'slept';
            }
        );
        $sse->on_close(sub { push @log, 'two' });
        await $sse->send('hello');
        await $ctx->run;
        push @log, 'returned';
    };
} => '/' => sub {
    my ($server) = @_;
    $server->until(sub { @{ $server->data } });
    $server->hang_up('client_closed');
    ok $server->until(sub { $server->ended }), 'the handler returns';
    is $server->failure, undef,                                             'in peace';
    is \@log,            ['one client_closed', 'slept', 'two', 'returned'], 'the callbacks are done by then, in order';
};

under 'a context whose client leaves without a reason' => sub {
    @log = ();
    return async sub {
        my $ctx = T::Toolkit::Context->new(@_);
        $ctx->sse->on_close(sub { push @log, $_[1] });
        await $ctx->run;
        push @log, $ctx->sse->disconnect_reason;
    };
} => '/' => sub {
    my ($server) = @_;
    $server->until(sub { defined $server->status });
    $server->hang_up;
    ok $server->until(sub { $server->ended }), 'the handler returns';
    is \@log, ['client_closed', 'client_closed'], 'client_closed';
};

# ---- PAGI::Endpoint::SSE

package Ticker {
    use Future::AsyncAwait;
    our @ISA = 'T::Toolkit::Endpoint';
    sub keepalive_interval { 25 }

    async sub on_connect {
        my ($self, $sse) = @_;
        for my $n (1 .. 3) { await $self->emit($sse, { n => $n }) }
    }
    sub on_disconnect { my ($self, $sse, $reason) = @_; push @log, $reason, $sse->path }
}
package Ticker::JSON {
    our @ISA = 'Ticker';
    sub encoding { 'json' }
}
package Ticker::Bytes {
    our @ISA = 'Ticker';
    sub encoding { 'bytes' }
}

for my $class (qw(Ticker::JSON Ticker::Bytes)) {
    under "an endpoint, $class" => sub { @log = (); $class->to_app } => '/tick' => sub {
        my ($server) = @_;
        ok $server->until(sub { @{ $server->data } == 3 }), 'the events';
        is $server->data, ['{"n":1}', '{"n":2}', '{"n":3}'], 'each as JSON';
        $server->hang_up('client_closed');
        ok $server->until(sub { $server->ended }), 'ended';
        is \@log, ['client_closed', '/tick'], 'on_disconnect';
    };
}

package Buffering {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';
    async sub start {
        my ($self, %options) = @_;
        return $self if $self->is_started;
        await $self->SUPER::start(%options, headers => [@{ $options{headers} || [] }, ['x-accel-buffering', 'off']]);
        return $self;
    }
}
package Greeter {
    use Future::AsyncAwait;
    our @ISA = 'T::Toolkit::Endpoint';
    sub sse_class        { 'Buffering' }
    async sub on_connect { my ($self, $sse) = @_; await $sse->try_send('hi'); await $sse->close }
}

under 'an endpoint whose connection class adds a header' => sub { Greeter->to_app } => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { $server->ended }), 'ended';
    is $server->data,                        ['hi'], 'the event';
    is $server->header('x-accel-buffering'), 'off',  'the header';
};

# ---- a subclass that overrides sends

package Counting {
    use Future::AsyncAwait;
    our @ISA = 'PAGI::SSE';
    async sub send {
        my ($self, $data) = @_;
        $self->{my_count}++;
        return await $self->SUPER::send("$self->{my_count}:$data");
    }
    sub send_json { my ($self, $value) = @_; return $self->SUPER::send_json({ v => $value }) }
    async sub try_send_event {
        my ($self, %event) = @_;
        my $ok = await $self->SUPER::try_send_event(%event, id => 'x');
        return $ok ? 'sent' : 'lost';
    }
}

under 'a class that overrides its sends' => sub {
    @log = ();
    return async sub {
        my $sse = Counting->new(@_);
        for my $data (qw(a b)) { await $sse->send($data) }
        await $sse->send_json(7);
        push @log, await $sse->try_send_event(data => 'c');
        await $sse->close;
        push @log, await $sse->try_send_event(data => 'd');
    };
} => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { $server->ended }), 'ended';
    is $server->data, ['1:a', '2:b', '{"v":7}', 'c'], 'the events';
    is \@log, ['sent', 'lost'], 'the results';
};

# ---- middleware and routers

my (@received, @changed);
under 'a stack of middleware and a router' => sub {
    (@log, @received, @changed) = ();
    my $handler = async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->on_close(sub { push @log, $_[1], $_[0]->path_param('room') });
        await $sse->send_event(
            event => 'room',
            data  => { room => $sse->path_param('room'), user => $sse->stash->{user} }
        );
        await $sse->run;
        push @log, 'returned';
    };
    my $auth = sub {
        my ($app) = @_;
        return async sub {
            my ($scope, $receive, $send) = @_;
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            return await $sse->decline(status => 403, body => 'no') if ($sse->query_param('token') // '') ne 'ok';
            $sse->stash->{user} = 'ann';
            $sse->on_close(sub { push @log, 'auth' });
            await $app->($scope, $receive, $send);
        };
    };
    return T::Toolkit::stack(
        T::Toolkit::router(['/about' => sub { die }], ['/rooms/:room' => $handler]),
        T::Toolkit::wrap_send(sub { push @changed, $_[0]{type}; $_[0] }),
        T::Toolkit::wrap_receive(\@received),
        T::Toolkit::copy_scope(root_path => '/app'),
        $auth,
    );
} => '/rooms/blue?token=ok' => sub {
    my ($server) = @_;
    ok $server->until(sub { @{ $server->data } }), 'the event';
    like $server->data->[0], qr/"room":"blue"/, 'with the parameter';
    like $server->data->[0], qr/"user":"ann"/,  'and the stash';
    $server->hang_up('client_closed');
    ok $server->until(sub { $server->ended }), 'ended';
    is \@log, ['auth', 'client_closed', 'blue', 'returned'], 'callbacks of both, in order';
    is [grep { $_ !~ /\Asse\./ } @changed, @received], [],   'middleware saw events of streams only';
    },
    path         => '/rooms/blue',
    query_string => 'token=ok';

under 'middleware that declines' => sub {
    return async sub {
        my $sse = PAGI::SSE->new(@_);
        await $sse->decline(status => 403, headers => [['content-type', 'text/plain']], body => 'no');
    };
} => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { $server->ended && defined $server->status }), 'ended';
    is $server->status, 403, 'the status';
};

# ---- the API document's own programs

under 'the synopsis: missed events, a subscriber list, run' => sub {
    my %subscriber;
    @log = ();
    my $publish = sub {
        $_->($_[0]) for map { $subscriber{$_} } sort keys %subscriber;
    };
    return async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        await $sse->keepalive(25);
        $sse->on_close(sub {
            my ($sse, $reason) = @_;
            delete $subscriber{ $sse->stash->{sub_id} };
            push @log, $reason, scalar keys %subscriber;
        });
        if (my $last_id = $sse->last_event_id) {
            for my $id ($last_id + 1 .. 3) { await $sse->send_event(id => $id, data => "missed $id") }
        }
        $sse->stash->{sub_id} = 's1';
        $subscriber{s1} = sub { $sse->try_send_json($_[0]) };
        $publish->({ n => $_ }) for 1, 2;
        await $sse->run;
    };
} => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { @{ $server->data } == 4 }), 'the events';
    is $server->data, ['missed 2', 'missed 3', '{"n":1}', '{"n":2}'], 'missed ones, then the news';
    $server->hang_up('client_closed');
    ok $server->until(sub { $server->ended }), 'ended';
    is \@log, ['client_closed', 0], 'on_close';
    },
    headers => [['last-event-id', 1]];

under 'a loop over is_connected' => sub {
    return async sub {
        my $sse = PAGI::SSE->new(@_);
        await $sse->start;
        my $n = 0;
        while ($sse->is_connected) {
            await $sse->send(++$n);
            await Future::IO->sleep(0.005);
        }
    };
} => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { @{ $server->data } >= 3 }), 'events';
    $server->hang_up('client_closed');
    ok $server->until(sub { $server->ended }), 'it ends with the client';
};

under 'each over a list, over an iterator, over Futures as items' => sub {
    @log = ();
    return async sub {
        my $sse = PAGI::SSE->new(@_);
        await $sse->each([qw(a b)],
            async sub { my ($item, $i) = @_; return { data => $item, event => 'item', id => $i } });
        my @more = (1, 2);
        await $sse->each(sub { shift @more }, async sub { await $sse->send(shift) });
        my @futures = map { Future->done("f$_") } 1, 2;
        await $sse->each(sub { shift @futures },
            async sub { my ($future) = @_; push @log, ref $future; await $sse->send(await $future) });
        await $sse->close;
    };
} => '/' => sub {
    my ($server) = @_;
    ok $server->until(sub { $server->ended }), 'ended';
    is $server->data, [qw(a b 1 2 f1 f2)], 'the events';
    is \@log,         [('Future') x 2],    'a Future of an iterator is an item';
};

# ---- the test client by itself

subtest 'a test client reads events one by one' => sub {
    my $client = T::Toolkit::Client->new(
        app => async sub {
            my $sse = PAGI::SSE->new(@_);
            await $sse->send_event(data => { a => 1 }, id => 5, event => 'e', retry => 10);
            await $sse->send('x');
            await $sse->run;
        }
    );
    my $stream = $client->sse('/');
    is $stream->receive_json,  { a    => 1 },                       'JSON';
    is $stream->receive_event, { type => 'sse.send', data => 'x' }, 'text';
    is $stream->receive_event, undef, 'no more';
    ok !$stream->app->is_ready, 'running';
    $stream->close('client_closed');
    ok $stream->app->is_done, 'until the client leaves';
};

subtest 'a failed send: on_error, then on_close' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my @order;
    $sse->on_error(sub { push @order, "error $_[1]" });
    $sse->on_close(sub { push @order, "close $_[1]" });
    $sse->start->get;
    $peer->mode('fail');
    is result_of($sse->try_send('x')), 0,                                               'try_send';
    is \@order,                        ["error the wire broke\n", 'close write_error'], 'the order';
};

ok wait_until { PAGI::SSE::FFI::handle_count() == $base }, 'no handle is left'
    or diag PAGI::SSE::FFI::handle_count();

done_testing;
