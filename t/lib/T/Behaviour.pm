package T::Behaviour;

# What an application sees, whatever the server: run($name) runs it all against
# one of T::Backend's.

use strict;
use warnings;

use Future;
use Future::AsyncAwait;
use Test2::V0 -no_srand => 1;

use T::Backend;

sub run {
    my ($class, $name) = @_;
    my $server = T::Backend->of($name) or skip_all "$name: not installed";

    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, $_[0] };
    for my $test (sort grep { /\Atest_/ } keys %T::Behaviour::) {
        my $title = $test =~ s/\Atest_//r =~ tr/_/ /r;
        subtest "$name: $title" => sub { $class->$test($server) };
    }
    is \@warnings, [], "$name: no warnings";
    done_testing;
    return;
}

sub data { [map { $_->{data} } $_[0]->received] }

sub test_unawaited_sends_arrive_in_order {
    my ($class, $server) = @_;
    my $sse;
    $server->serve(sub { ($sse) = @_; $sse->send($_) for 1 .. 200; return $sse->run });
    ok $server->until(sub { $server->received == 200 }), 'all of them';
    is data($server), [1 .. 200], 'in order';
    $server->hang_up;
    ok $server->until(sub { $server->app->is_ready }), 'and the handler returns';
}

sub test_awaited_sends_resolve_to_the_object {
    my ($class, $server) = @_;
    my @results;
    $server->serve(
        async sub {
            my ($sse) = @_;
            for my $method (qw(start)) { push @results, await($sse->$method) == $sse }
            push @results, await($sse->send('a')) == $sse;
            push @results, await($sse->send_json([1, "\x{263A}"])) == $sse;
            push @results, await($sse->send_event(data => { b => 2 }, event => 'e', id => '7', retry => 100)) == $sse;
            push @results, await($sse->send_comment('c')) == $sse;
            push @results, await($sse->try_send('d')) == 1;
            push @results, await($sse->keepalive(30)) == $sse;
            push @results, await($sse->close) == $sse;
        }
    );
    ok $server->until(sub { $server->app->is_ready && $server->ended }), 'the handler returns, the stream ends';
    ok !$server->app->failure,                                           'in peace' or diag $server->app->failure;
    is \@results, [(T()) x 8], 'the results';
    is [$server->received],
        [
        { data => 'a' },
        { data => qq([1,"\xE2\x98\xBA"]) },
        { data => '{"b":2}', event => 'e', id => '7', retry => 100 },
        { data => 'd' },
        ],
        'the events';
}

sub test_text_goes_out_as_UTF_8 {
    my ($class, $server) = @_;
    $server->serve(
        async sub {
            my ($sse) = @_;
            await $sse->send("caf\xE9");
            await $sse->send("caf\xC3\xA9");
            await $sse->send("\x{263A}");
            await $sse->send_event(data => 'x', event => "\xE9", id => "\x{263A}");
            await $sse->close;
        }
    );
    ok $server->until(sub { $server->ended }), 'ended';
    is [$server->received],
        [
        { data => "caf\xC3\xA9" },
        { data => "caf\xC3\xA9" },
        { data => "\xE2\x98\xBA" },
        { data => 'x', event => "\xC3\xA9", id => "\xE2\x98\xBA" },
        ],
        'octets';
}

sub test_a_disconnect_runs_on_close_and_ends_run {
    my ($class, $server) = @_;
    my ($sse,   @log);
    $server->serve(
        async sub {
            ($sse) = @_;
            $sse->on_close(sub { push @log, "1 $_[1]" });
            $sse->on_close(async sub { push @log, "2 $_[1]" });
            await $sse->send('hello');
            await $sse->run;
            push @log, 'returned';
        }
    );
    $server->until(sub { $server->received == 1 });
    is \@log, [], 'nothing yet';
    $server->hang_up;
    ok $server->until(sub { $server->app->is_ready }), 'the handler returns';
    is \@log, ['1 client_closed', '2 client_closed', 'returned'], 'the callbacks first';
    ok $sse->is_closed, 'closed';
    is $sse->disconnect_reason,     'client_closed', 'the reason';
    is $sse->try_send('x')->result, 0,               'try_send is false';
    like [$sse->send('x')->failure]->[0], qr/Cannot send on closed SSE connection/, 'send fails';
    $sse->close;
    is scalar @log, 3, 'once';
}

sub test_close_from_elsewhere_wakes_the_handler {
    my ($class, $server) = @_;
    my ($sse,   @log);
    $server->serve(
        async sub {
            ($sse) = @_;
            $sse->on_close(sub { push @log, $_[1] });
            await $sse->run;
            push @log, 'returned';
        }
    );
    my $closed = $sse->close(reason => 'x-enough');
    ok $server->until(sub { $closed->is_ready && $server->app->is_ready && $server->ended }), 'all of it ends';
    is \@log,                   ['x-enough', 'returned'], 'the callback, then the handler';
    is $sse->disconnect_reason, 'x-enough',               'the reason';
}

sub test_events_before_close_are_delivered {
    my ($class, $server) = @_;
    $server->serve(sub { my ($sse) = @_; $sse->send($_) for 1 .. 50; return $sse->close });
    ok $server->until(sub { $server->app->is_ready && $server->ended }), 'ended';
    is data($server), [1 .. 50], 'all of them';
}

sub test_every_ticks_until_the_client_leaves {
    my ($class, $server) = @_;
    my $ticks = 0;
    my $sse;
    $server->serve(sub {
        ($sse) = @_;
        return $sse->every(0.02, async sub { await $sse->send(++$ticks) });
    });
    ok $server->until(sub { $server->received >= 4 }), 'ticks';
    is [@{ data($server) }[0 .. 3]], [1 .. 4], 'in order';
    $server->hang_up;
    ok $server->until(sub { $server->app->is_ready }), 'stops';
    ok !$server->app->failure,                         'in peace' or diag $server->app->failure;
    is $sse->disconnect_reason, 'client_closed', 'reason';
}

sub test_every_that_sleeps_wakes_at_the_disconnect {
    my ($class, $server) = @_;
    $server->serve(sub {
        my ($sse) = @_;
        return $sse->every(3600, sub { $sse->send('once') });
    });
    $server->until(sub { $server->received == 1 });
    $server->hang_up;
    ok $server->until(sub { $server->app->is_ready }), 'woken';
}

sub test_each_sends_what_the_callback_returns {
    my ($class, $server) = @_;
    $server->serve(
        async sub {
            my ($sse) = @_;
            await $sse->each([qw(a b c)], async sub { my ($item, $n) = @_; return { data => $item, id => $n } });
            my @more = (1, 2);
            await $sse->each(sub { shift @more }, async sub { await $sse->send(shift) });
            await $sse->close;
        }
    );
    ok $server->until(sub { $server->ended }), 'ended';
    is [$server->received],
        [{ data => 'a', id => 0 }, { data => 'b', id => 1 }, { data => 'c', id => 2 }, { data => 1 }, { data => 2 }],
        'the events';
}

sub test_a_callback_that_dies_closes {
    my ($class, $server) = @_;
    for my $call (
        [
            each => sub {
                $_[0]->each([1, 2], async sub { die "broken\n" });
            }
        ],
        [
            every => sub {
                $_[0]->every(1, async sub { die "broken\n" });
            }
        ],
        )
    {
        my ($name, $code) = @$call;
        my ($sse,  @log);
        $server->serve(
            async sub {
                ($sse) = @_;
                $sse->on_close(sub { push @log, $_[1] });
                eval { await $code->($sse); 1 } or push @log, $@;
            }
        );
        ok $server->until(sub { $server->app->is_ready && $server->ended }), "$name: ended";
        is \@log, ['server_error', "broken\n"], "$name: on_close, then the error";
    }
}

sub test_argument_errors_leave_the_stream_alone {
    my ($class, $server) = @_;
    my @errors;
    $server->serve(
        async sub {
            my ($sse) = @_;
            $sse->on_error(sub { push @errors, $_[1] });
            await $sse->send('before');
            push @errors, scalar $sse->send_event(data  => 1, id => "a\nb")->failure;
            push @errors, scalar $sse->send_event(event => 'x')->failure;
            push @errors, await $sse->try_send_event(data => 1, event => "a\rb");
            push @errors, scalar $sse->send_event(data => 1, id => "\0")->failure;
            push @errors, scalar $sse->keepalive(-1)->failure;
            await $sse->send('after');
            await $sse->close;
        }
    );
    ok $server->until(sub { $server->ended }), 'ended';
    is data($server), ['before', 'after'], 'nothing of it on the wire';
    is \@errors,
        [
        match qr/an id must not contain CR or LF, got 'a\\x\{A\}b'/,
        match qr/send_event requires 'data'/,
        match qr/an event type must not contain CR or LF/,
        0,
        match qr/an id must not contain NUL/,
        match qr/interval/,
        ],
        'the errors';
}

sub test_a_pending_request_of_nothing_is_closed_quietly {
    my ($class, $server) = @_;
    my $told;
    $server->serve(
        async sub {
            my ($sse) = @_;
            $sse->on_close(sub { $told = $_[1] });
            await $sse->close;
            await $sse->close;
        }
    );
    ok $server->until(sub { $server->app->is_ready && $server->ended }), 'ended';
    is [$server->received], [],           'no event';
    is $told,               'app_closed', 'the reason';
}

1;
