use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;
use Scalar::Util qw(weaken);

# serve: on the embedded server the application returns and the stream lives
# on; elsewhere serve ends with the stream.

sub embedded {
    my ($name, $code) = @_;
    return subtest $name => sub {
        my $server = T::Hub::Embedded->new;
        $code->($server, hub());
        $server->end;
        is $server->streams, 0,  'nothing is left in the server';
        is [$server->log],   [], 'nothing is logged';
    };
}

embedded 'the application returns, no Perl object is kept, events arrive' => sub {
    my ($server,   $hub) = @_;
    my ($returned, $weak);
    my $client = $server->client(
        async sub {
            my ($sse) = @_;
            weaken($weak = $sse);
            await $hub->serve($sse, 't');
            $returned = 1;
        }
    );
    ok $returned, 'at once';
    is $server->streams, 0,     'no exchange';
    is $weak,            undef, 'no object';
    $hub->publish('t', data => 'x');
    $client->gets(cursor(0) . block(1, 'x'), 'an event');
    ok !$client->has_ended, 'the stream is open';
    $client->leave;
    until_ok($server, sub { !$hub->subscribers('t') }, 'its end is noticed');
};

# When on_close is registered, and what the application keeps.
my %how = (
    'before serve' => async sub {
        my ($hub, $sse, $on_close) = @_;
        $sse->on_close($on_close);
        await $hub->serve($sse, 't');
    },
    'after serve' => async sub {
        my ($hub, $sse, $on_close) = @_;
        await $hub->serve($sse, 't');
        $sse->on_close($on_close);
    },
    'in on_reset' => async sub {
        my ($hub, $sse, $on_close) = @_;
        await $hub->serve($sse, ['t'], { last_event_id => 'f.1', on_reset => sub { $_[0]->on_close($on_close) } });
    },
    'both' => async sub {
        my ($hub, $sse, $on_close) = @_;
        $sse->on_close(sub { });
        await $hub->serve($sse, 't');
        $sse->on_close($on_close);
    },
);
for my $when (sort keys %how) {
    embedded "on_close is called, registered $when" => sub {
        my ($server, $hub) = @_;
        my (@closed, $weak);
        my $app = async sub {
            my ($sse) = @_;
            weaken($weak = $sse);
            await $how{$when}->($hub, $sse, sub { push @closed, ref $_[0], $_[1] });
        };
        my $client = $server->client($app);
        is $server->streams, 1, 'the server keeps it';
        ok $weak, 'and the object';
        $hub->publish('t', data => 'x');
        until_ok($server, sub { $client->text =~ /data: x\n\n\z/ }, 'an event arrives');
        is \@closed, [], 'not yet';
        $client->leave;
        until_ok($server, sub { @closed }, 'the end');
        $server->turn for 1 .. 3;
        is \@closed, ['PAGI::SSE', 'client_closed'], 'once, with the object and the reason';
        is $weak,    undef,                          'which has gone then';
    };
}

embedded 'on_close is called, registered when the application has returned' => sub {
    my ($server, $hub) = @_;
    my ($kept,   @closed);
    my $client = $server->client(async sub { ($kept) = @_; await $hub->serve($kept, 't') });
    $kept->on_close(sub { push @closed, $_[1] });
    $hub->close('t', reason => 'x-over');
    until_ok($server, sub { @closed }, 'the end');
    is \@closed, ['x-over'], 'with its reason';
    $kept->on_close(sub { push @closed, "late $_[1]" });
    is $closed[1], 'late x-over', 'at once, after the end';
    weaken($kept);
    is $kept, undef, 'nobody else holds the object';
};

embedded 'who keeps the object may go on using it' => sub {
    my ($server, $hub) = @_;
    my $kept;
    my $client = $server->client(async sub { ($kept) = @_; await $hub->serve($kept, 't') });
    $client->{socket}{paused} = 1;
    my $large = 'x' x 900_000;
    my $sent = $kept->send($large);
    until_ok($server, sub { $kept->buffered_amount < 900_000 }, 'the socket takes some') for 1 .. 2;
    $sent = $kept->send('y') if $sent->is_ready;
    my $run = $kept->run;
    ok !$run->is_ready, 'run waits';
    $client->{socket}{paused} = 0;
    until_ok($server, sub { $sent->is_ready },               'a send above the high mark resolves');
    until_ok($server, sub { $client->text =~ /data: x+\n/ }, 'it arrives');
    $kept->close;
    until_ok($server, sub { $run->is_ready }, 'and so does run');
    $client->ends;
};

embedded 'an application that dies after serve ends the stream' => sub {
    my ($server, $hub) = @_;
    my @closed;
    my $client = $server->client(
        async sub {
            my ($sse) = @_;
            $sse->on_close(sub { push @closed, $_[1] });
            await $hub->serve($sse, 't');
            die "oops\n";
        }
    );
    $client->ends;
    until_ok($server, sub { @closed }, 'on_close');
    is \@closed, ['server_error'], 'with the reason';
    like [splice @{ $server->{host}{log} }], [qr{the application died \(GET /0\): oops}], 'and a log line';
};

embedded 'many with callbacks leave nothing' => sub {
    my ($server, $hub) = @_;
    my ($alive,  $closed) = (0, 0);
    for (1 .. 50) {
        my $client = $server->client(
            async sub {
                my ($sse) = @_;
                await $hub->serve($sse, 't');
                $sse->on_close(sub { $sse->disconnect_reason; $closed++ });    # a cycle till the end
            }
        );
    }
    is $server->streams, 50, 'kept';
    $hub->close;
    until_ok($server, sub { $closed == 50 && !$server->streams }, 'all gone');
    $server->end;
    until_ok($server, sub { PAGI::SSE::FFI::handle_count() == 2 }, 'handles: the hub and the server');
};

# $send is the server's own, so all is native but the end.
embedded 'with a wrapped $receive, serve ends with the stream' => sub {
    my ($server,   $hub) = @_;
    my ($returned, @received);
    my $host = $server->{host} = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die "no lifespan\n" if $scope->{type} eq 'lifespan';
            my $wrapped = async sub { my $event = await $receive->(); push @received, $event->{type}; return $event };
            await $hub->serve(PAGI::SSE->new($scope, $wrapped, $send), 't');
            $returned = 1;
        }
    );
    my $client = $host->stream;
    $host->until(sub { $hub->subscribers('t') }, 'the subscription');
    $hub->publish('t', data => 'x');
    my $want = cursor(0) . block(1, 'x');
    $host->until(sub { $client->body eq $want }, 'the event');
    is scalar $client->body, $want, 'delivered';
    is $returned,            undef, 'not yet';
    $client->close;
    $host->until(sub { $returned }, 'the return');
    is \@received, ['sse.request', 'sse.disconnect'], 'seen by the middleware';
    $host->until(sub { !$hub->subscribers('t') }, 'nobody');
    is $hub->subscribers('t'), 0, 'and nobody is left';
};

subtest 'under another server, serve ends with the stream' => sub {
    my $server = T::Hub::Foreign->new;
    my $hub = hub();
    for my $watched (0, 1) {
        my $closed = 0;
        my $client = $server->client(
            async sub {
                my ($sse) = @_;
                $sse->on_close(sub { $closed++ }) if $watched;
                await $hub->serve($sse, 't');
            }
        );
        $hub->publish('t', data => 'x');
        $client->gets(cursor($watched) . block($watched + 1, 'x'), 'an event');
        ok !$client->{app}->is_ready, 'pending';
        $client->leave;
        ok $client->{app}->is_done, 'done';
        is $closed, $watched, 'on_close';
    }
};

done_testing;
