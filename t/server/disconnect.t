use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use Socket      ();
use Time::HiRes qw(time);
use PAGI::SSE;

# What became of each stream: [reason, ...] in order.
sub watched {
    my ($code, %option) = @_;
    my %seen = (closed => [], returned => 0);
    $seen{host} = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            my $sse = $seen{sse} = PAGI::SSE->new($scope, $receive, $send);
            $sse->on_close(sub { push @{ $seen{closed} }, $_[1]; $seen{at} = time });
            await $code->($sse, \%seen);
            $seen{returned}++;
        },
        %option
    );
    return \%seen;
}

for my $way (
    [FIN            => sub { $_[0]->close }],
    [RST            => sub { $_[0]->reset }],
    ['a half close' => sub { shutdown $_[0]{socket}, 1 }],
    )
{
    my ($what, $leave) = @$way;
    subtest "an idle stream's on_close runs within 100 ms of $what, and run returns" => sub {
        my $seen = watched(async sub { await $_[0]->run });
        my $client = $seen->{host}->stream;
        $seen->{host}->until(sub { length $client->head }, 'the start');
        my $left = time;
        $leave->($client);
        $seen->{host}->until(sub { $seen->{returned} }, 'the end');
        is $seen->{closed}, ['client_closed'];
        ok $seen->{at} - $left < 0.1, 'in time' or diag $seen->{at} - $left;
        is $seen->{sse}->disconnect_reason, 'client_closed';
        ok $seen->{sse}->is_closed;
    };
}

subtest 'try_send is false as soon as the client has gone, before any turn of the loop' => sub {
    my $seen = watched(async sub { await $_[0]->run });
    my $client = $seen->{host}->stream;
    $seen->{host}->until(sub { length $client->head }, 'the start');
    is $seen->{sse}->try_send('x')->get, 1;
    $client->close;
    my $end = time + 20;
    my $ok = 1;
    while ($ok && time < $end) {
        $ok = $seen->{sse}->try_send('x')->get;
        select undef, undef, undef, 0.001;
    }
    is $ok, 0;
    is $seen->{closed}, ['client_closed'], 'and the callbacks have run';
    $seen->{host}->until(sub { $seen->{returned} }, 'the return');
    is $seen->{closed}, ['client_closed'], 'once';
};

subtest 'a client that does not read holds its sender back, and takes all when it reads again' => sub {
    my $sent = 0;
    my $seen = watched(
        async sub {
            my ($sse) = @_;
            for my $n (1 .. 300) { await $sse->send($n . 'x' x 10_000); $sent = $n }
        }
    );
    my $client = $seen->{host}->stream;
    $client->{paused} = 1;
    my $before = -1;
    $seen->{host}->until(sub { my $stuck = $sent == $before && $sent; $before = $sent; return $stuck }, 'a stop');
    ok $sent < 300,                             "held back after $sent";
    ok $seen->{sse}->buffered_amount >= 65_536, 'the queue is at its high mark';
    $client->{paused} = 0;
    $seen->{host}->until(sub { $client->eof }, 'the rest');
    my @data = $client->body =~ /^data: (\d+?)x{10000}$/mg;
    is \@data, [1 .. 300], 'in order, none lost';
};

subtest 'a sender that does not wait is refused at the limit; what was taken arrives' => sub {
    my ($taken, $error) = (0);
    my $seen = watched(
        async sub {
            my ($sse) = @_;
            $sse->on_error(sub { });
            await $sse->start;
            # The socket may still take some, and make room, so try again.
            for my $n (1 .. 1000) {
                my $future = $sse->send('x' x 10_000);
                if ($future->is_failed) { $error = ($future->failure)[0]; last }
                $taken++;
            }
            for my $n (1 .. 1000) {
                my $future = $sse->try_send('x' x 10_000);
                if ($future->is_ready && !$future->get) { $error .= 0; last }
                $taken++;
            }
            await $sse->run;
        }
    );
    my $client = $seen->{host}->stream;
    $client->{paused} = 1;
    $seen->{host}->until(sub { defined $error }, 'the refusal');
    like $error, qr/queue_overflow.*0\z/s;
    ok !$seen->{sse}->is_closed, 'the stream is not closed by it';
    $client->{paused} = 0;
    $seen->{host}->until(sub { (my @all = $client->body =~ /^data: /mg) == $taken }, 'what was taken');
    pass "$taken events";
};

subtest 'a client that takes nothing for the write timeout is dropped' => sub {
    my $seen = watched(
        async sub {
            my ($sse) = @_;
            my $data = 'x' x 100_000;    # a constant here gets lost in await (Future::AsyncAwait 0.63)
            while (!$sse->is_closed) { await $sse->try_send($data) }
        },
        write_timeout => 0.2
    );
    my $client = $seen->{host}->stream;
    $client->{paused} = 1;
    $seen->{host}->until(sub { $seen->{returned} }, 'the end');
    is $seen->{closed}, ['write_timeout'];
};

subtest 'close wakes a sender that is held back' => sub {
    my $state = '';
    my $seen = watched(
        async sub {
            my ($sse) = @_;
            my $data = 'x' x 50_000;
            for (my $n = 0; !$sse->is_closed; $n++) { $state = "waiting $n"; await $sse->try_send($data) }
            $state = 'woken';
        }
    );
    my $client = $seen->{host}->stream;
    $client->{paused} = 1;
    my $before = '';
    $seen->{host}->until(sub { my $stuck = length $state && $state eq $before; $before = $state; $stuck }, 'a stop');
    $seen->{sse}->close(reason => 'x-enough');
    $seen->{host}->until(sub { $seen->{returned} }, 'the return');
    is [$state, $seen->{closed}], ['woken', ['x-enough']];
    $client->{paused} = 0;
    $seen->{host}->until(sub { $client->eof }, 'the end');
    ok $client->ended, 'what was queued and the last chunk came';
};

# A stream whose client does not read: its $send, and a send that waits.
sub held_back {
    my ($seen, %option) = @_;
    my $over = $seen->{over} = Future->new;
    $seen->{host} = T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            await $send->({ type => 'sse.start' });
            $seen->{send} = $send;
            await $over;
        },
        %option
    );
    my $client = $seen->{client} = $seen->{host}->stream;
    $client->{paused} = 1;
    $seen->{event} = { type => 'sse.send', data => 'x' x 30_000 };
    my ($held, $calm);
    $seen->{host}->until(
        sub {
            return 0 if !$seen->{send};
            return ++$calm > 3 if $held && !$held->is_ready;
            $calm = 0;
            for my $n (1 .. 1000) {    # more than kernels take
                $held = $seen->{send}->($seen->{event});
                last if !$held->is_done;
            }
            return $held->is_ready;    # in vain
        },
        'a send that waits'
    );
    return $held;
}

subtest 'each send that waits has a Future of its own: to cancel one leaves the others' => sub {
    my $first = held_back(\my %seen);
    my $second = $seen{send}->($seen{event});
    $first->cancel;
    my $third = $seen{send}->($seen{event});
    ok !$_->is_ready for $second, $third;
    $seen{client}{paused} = 0;
    $seen{host}->until(sub { $second->is_ready && $third->is_ready }, 'the drain');
    ok $_->is_done for $second, $third;
    $seen{over}->done;
};

subtest 'a send that waits is over when the stream is, though the application had closed it' => sub {
    my $held = held_back(\my %seen, write_timeout => 1);
    ok !$held->is_ready;
    # Without what the queue's end may say of itself (3, DRAINED).
    my $next = \&PAGI::SSE::FFI::server_next;
    no warnings 'redefine';
    local *PAGI::SSE::FFI::server_next = sub {
        return grep { unpack('C', $_) != 3 } $next->(@_);
    };
    ok $seen{send}->({ type => 'sse.close' })->is_done;
    $seen{host}->until(sub { $held->is_ready }, 'the end');
    ok $held->is_done;
    $seen{over}->done;
};

subtest 'an application that returns or dies ends the stream, whole or broken off, and says why' => sub {
    my $seen = watched(async sub { await $_[0]->send('x') });
    my $client = $seen->{host}->stream;
    $seen->{host}->until(sub { $client->eof }, 'the end');
    is [$seen->{closed}, $client->body], [['app_closed'], "data: x\n\n", 1];
    $seen = watched(async sub { await $_[0]->send('x'); die "oh\n" });
    $client = $seen->{host}->stream;
    $seen->{host}->until(sub { $client->eof }, 'the end');
    is [$seen->{closed}, $client->body], [['server_error'], "data: x\n\n", 0];
    like [$seen->{host}->log]->[-1], qr{the application died \(GET /\): oh};
};

done_testing;
