use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future;
use Future::AsyncAwait;
use Time::HiRes qw(time);
use PAGI::SSE;
use PAGI::SSE::Hub;

# What clients and applications may do, and no more.

sub host {
    my ($code, %option) = @_;
    return T::Host->new(
        async sub {
            my ($scope, $receive, $send) = @_;
            die if $scope->{type} eq 'lifespan';
            await $code->($scope, $receive, $send);
        },
        %option
    );
}

sub post {
    my ($host, $length, @headers) = @_;
    my $client = $host->connect(join "\r\n", 'POST / HTTP/1.1', 'Host: x', "Content-Length: $length", @headers, '', '');
    return $client;
}

sub feed {
    my ($host, $client, $length) = @_;
    while ($length > 0) {
        my $n = $length > 50_000 ? 50_000 : $length;
        $client->write('x' x $n);
        $length -= $n;
        $host->until(sub { 1 });
    }
}

subtest 'a stream begins though its large request body is never read' => sub {
    my $host = host(async sub { await $_[2]->({ type => 'sse.start' }); await Future->new });
    my $client = post($host, 500_000, 'Accept: text/event-stream');
    feed($host, $client, 500_000);
    $host->until(sub { length $client->head }, 'the start');
    is $client->status, 200;
    $host->server->stop(0)->get;
};

subtest 'a response whose request body is never read leaves nothing behind' => sub {
    my $host = host(
        async sub {
            await $_[2]->({ type => 'http.response.start' });
            await $_[2]->({ type => 'http.response.body', body => 'no' });
        }
    );
    for (1 .. 20) {
        my $client = post($host, 900_000);
        $client->write('x' x 300_000);
        $host->until(sub { $client->ended }, 'the answer');
        $client->close;
        @{ $host->{clients} } = ();
    }
    $host->until(sub { PAGI::SSE::FFI::server_busy($host->server->{handle}) == 0 }, 'the connections');
    is PAGI::SSE::FFI::server_busy($host->server->{handle}), 0;
    my $from = time;
    $host->server->stop(10)->get;
    ok time - $from < 5, 'stop need not wait';
};

use constant MIB => 1 << 20;

# Streams that are sent so many MiB each, to clients that read nothing.
sub stalled {
    my ($host, $sse, @mib) = @_;
    my @clients;
    for my $mib (@mib) {
        my $client = $host->stream("/$mib");
        $client->{paused} = 1;
        push @clients, $client;
        $host->until(sub { $sse->{$mib} }, "the stream of $mib MiB");
    }
    return @clients;
}

subtest 'max_queued_bytes: the largest queues are cut off, and no more than needed' => sub {
    my (%sse, %end);
    my $host = host(
        async sub {
            my $mib = substr $_[0]{path}, 1;
            my $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { $end{$mib} = $_[1] });
            await $sse->start;
            $sse{$mib} = $sse;
            my $sent = $sse->send('x' x ($mib * MIB));
            $sent->on_fail(sub { });
            await $sse->run;
        },
        max_queued_bytes => 20 * MIB
    );
    stalled($host, \%sse, 5, 8, 6);
    $host->server->dispatch;
    is \%end, {}, '19 of 20 MiB';
    my ($small) = stalled($host, \%sse, 0);
    stalled($host, \%sse, 4);
    $host->until(sub { %end }, 'an end');
    is \%end, { 8 => 'queue_overflow' }, 'the largest';
    $host->until(sub { $host->log }, 'the log');
    is [$host->log], ['warning: max_queued_bytes is reached, the largest queue is cut off'];
    my $stats = $host->stats;
    is $stats->{cut}, 1, 'counted';
    ok $stats->{queued_memory} < 20 * MIB && $stats->{queued_memory} > 13 * MIB, 'the rest waits'
        or diag $stats->{queued_memory};
    is $sse{6}->is_closed, F(), 'another goes on';
    $small->{paused} = 0;
    $sse{0}->send('still there');
    $host->until(sub { $small->body =~ /still there/ }, 'the event');
    like $small->body, qr/^data: still there\n\n/m, 'a small one too';
    $host->server->stop(0)->get;
};

subtest 'max_queued_bytes: one awaited send of any size below it arrives' => sub {
    my ($sent, $end) = (0);
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { $end = $_[1] });
            my $n = substr $_[0]{path}, 1;
            await $sse->send('y' x $n);
            $sent++;
            await $sse->run;
        },
        max_queued_bytes => 4 * MIB
    );
    my $fits = $host->stream('/' . (4 * MIB - 100_000));
    $host->until(sub { length $fits->raw >= 4 * MIB - 100_000 }, 'the event');
    $host->until(sub { $sent },                                  'the send');
    is [$sent, $end], [1, undef];
    my $above = $host->stream('/' . 24 * MIB);
    $above->{paused} = 1;
    $host->until(sub { defined $end }, 'the end');
    is $end, 'queue_overflow', 'it alone is above the limit';
};

subtest 'max_queued_bytes: bodies of ordinary responses count as well' => sub {
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            await $send->({ type => 'http.response.start', status => 200, headers => [] });
            await $send->({ type => 'http.response.body', body => 'z' x (substr($scope->{path}, 1) * MIB) });
        },
        max_queued_bytes => 20 * MIB
    );
    my @clients = map { my $client = $host->get("/$_"); $client->{paused} = 1; $client } 8, 9, 10;
    $host->until(sub { $host->stats->{cut} }, 'a cut');
    my $stats = $host->stats;
    is $stats->{cut}, 1;
    ok $stats->{queued_memory} > 13 * MIB && $stats->{queued_memory} < 17 * MIB, 'the largest'
        or diag $stats->{queued_memory};
    $_->{paused} = 0 for @clients;
    my $is_over = sub { my ($client) = @_; return $client->eof || $client->ended };
    $host->until(
        sub {
            @clients == grep { $is_over->($_) } @clients;
        },
        'the ends'
    );
    is [map { length $_->body } @clients[0, 1]], [8 * MIB, 9 * MIB], 'the others arrive whole';
    my $cut = $clients[2];
    ok $cut->status == 503 || !$cut->ended, 'that one does not: another answer, or a part, depending on how far it was';
};

subtest 'max_queued_bytes: what many have waiting counts once' => sub {
    my $hub = PAGI::SSE::Hub->new;
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            await $hub->serve($sse, 'news', { max_bytes => 32 * MIB });
        },
        max_queued_bytes => 16 * MIB
    );
    my @clients = map { my $client = $host->stream; $client->{paused} = 1; $client } 1 .. 10;
    $host->until(sub { $hub->subscribers('news') == @clients }, 'the subscribers');
    $hub->publish('news', data => 'n' x MIB) for 1 .. 6;
    $host->until(sub { $host->stats->{queued_bytes} > 45 * MIB }, 'the queues');
    my $stats = $host->stats;
    ok $stats->{queued_memory} < 7 * MIB, 'six events' or diag $stats->{queued_memory};
    is [$stats->{cut}, $hub->subscribers('news')], [0, 10], 'nobody is cut off';
    $host->server->stop(0)->get;
};

subtest 'max_connections bounds what waits for an application that is busy' => sub {
    my $calls = 0;
    my $host = host(async sub { $calls++; await $_[2]->({ type => 'sse.start' }) }, max_connections => 5);
    for (1 .. 50) {    # none of which is dispatched meanwhile
        my $client = $host->stream;
        select undef, undef, undef, 0.002;
        $client->close;
    }
    @{ $host->{clients} } = ();
    my %records;
    $records{ unpack 'C', $_ }++ for PAGI::SSE::FFI::server_next($host->server->{handle});
    ok + (delete $records{6} || 0) <= 1, 'the operator is told once at most';
    is \%records, hash {
        all_vals validator('<=', 5, sub { $_ <= 5 });
        etc
    }, 'three records for each of five places';
    my $late = $host->stream;
    is $calls, 0;
};

subtest 'content-length is one number, and that of the body' => sub {
    my @failures;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            my ($case) = $scope->{path} =~ m{(\w+)};
            my $try = sub {
                my $f = $send->($_[0]);
                push @failures, $f->is_failed ? ($f->failure)[0] : undef;
            };
            my %lengths = (long => ['3'], short => ['100'], words => ['abc'], twice => ['5', '5'], right => ['5']);
            $try->({
                type    => 'http.response.start',
                headers => [['transfer-encoding', 'chunked'], map { ['content-length', $_] } @{ $lengths{$case} }],
            });
            $try->({ type => 'http.response.body', body => 'hello' });
        }
    );
    my %want = (
        long  => [undef, match qr/content-length must be one whole number, and that of the body's bytes/],
        short => [undef, match qr/content-length must be one whole number/],
        words => [match qr/content-length must be one whole number/, match qr/no response is in progress/],
        twice => [match qr/content-length must be one whole number/, match qr/no response is in progress/],
        right => [undef,                                             undef],
    );
    for my $case (sort keys %want) {
        @failures = ();
        my $client = $host->get("/$case");
        $host->until(sub { $client->eof || $client->ended }, 'the answer');
        is \@failures, $want{$case}, $case;
        if ($case eq 'right') {
            is $client->head =~ s/^date: .*\r\n//mr, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
            is scalar $client->body,                 'hello';
        }
        else {
            unlike $client->raw, qr/hello/, 'not a byte of it';
        }
    }
};

subtest 'a request body that stalls is given up' => sub {
    my @events;
    my $host = host(
        async sub {
            my ($scope, $receive, $send) = @_;
            while (1) {
                push @events, await $receive->();
                last if $events[-1]{type} =~ /disconnect/;
            }
        },
        write_timeout => 0.2
    );
    my $client = post($host, 10);
    $client->write('x');
    $host->until(sub { $client->eof }, 'the end');
    is $client->status, 408;
    $host->until(sub { @events && $events[-1]{type} eq 'http.disconnect' }, 'the disconnect');
    is $events[-1]{reason}, 'client_timeout';
};

subtest 'requests that come while the server stops are turned away, streams so that they come back' => sub {
    my $calls = 0;
    my $hold = Future->new;
    my $host = host(
        async sub {
            $calls++;
            await $hold;
            await $_[2]->({ type => 'http.response.start' });
            await $_[2]->({ type => 'http.response.body', body => '' });
        }
    );
    my @early = $host->crowd;
    my @late = ($host->stream('/'), $host->get('/'));
    my $stopped = $host->server->stop(10);
    $host->until(
        sub {
            !grep { !$_->eof } @late;
        },
        'the answers'
    );
    is [map { $_->status } @late],       [200, 503];
    is $late[0]->header('content-type'), 'text/event-stream';
    ok $calls < @early, 'the application was not called for all';
    $hold->done;
    $host->until(sub { $stopped->is_ready }, 'the stop');
};

subtest 'a status that forbids a body cannot begin a stream' => sub {
    my @failures;
    my $host = host(
        async sub {
            for my $status (204, 205, 304) {
                push @failures, ($_[2]->({ type => 'sse.start', status => $status })->failure)[0];
            }
            await $_[2]->({ type => 'sse.http.response.start', status => 204 });
            await $_[2]->({ type => 'sse.http.response.body',  body   => '' });
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->head }, 'the answer');
    is $client->status, 204;
    is \@failures,      [(match qr/a stream cannot have status 204, 205 or 304: decline it/) x 3];
};

subtest 'a client that does not take an ordinary response is dropped, over TCP and over a Unix socket' => sub {
    require File::Temp;
    require IO::Socket::UNIX;
    my $dir = File::Temp->newdir;
    for my $listen ('127.0.0.1:0', "unix:$dir/socket") {
        my $gone;
        my $host = host(
            async sub {
                my ($scope, $receive, $send) = @_;
                $scope->{'pagi.connection'}->on_disconnect(sub { $gone = $_[0] });
                await $send->({ type => 'http.response.start' });
                my $piece = 'x' x 500_000;
                while (!defined $gone) { await $send->({ type => 'http.response.body', body => $piece, more => 1 }) }
            },
            listen        => $listen,
            write_timeout => 0.2
        );
        my $socket = $listen =~ /unix/ && IO::Socket::UNIX->new(Peer => "$dir/socket");
        my $client = $socket ? undef : $host->connect;
        $socket ||= $client->{socket};
        $client->{paused} = 1 if $client;
        syswrite $socket, "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        $host->until(sub { defined $gone }, 'the end');
        is $gone, 'write_timeout', $listen;
    }
};

subtest 'one event larger than the queue goes, also when it begins the stream' => sub {
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            await $sse->send('x' x 3_000_000);
        }
    );
    my $client = $host->stream;
    $host->until(sub { $client->eof }, 'the end');
    is length scalar $client->body, 3_000_000 + length "data: \n\n";
};

subtest 'a client that floods a stream is dropped' => sub {
    my @closed;
    my $host = host(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            $sse->on_close(sub { push @closed, $_[1] });
            await $sse->run;
        }
    );
    my $client = $host->stream;
    $host->until(sub { length $client->head }, 'the start');
    local $SIG{PIPE} = 'IGNORE';
    $client->write('x' x 100_000);
    $host->until(sub { @closed }, 'the end');
    is \@closed, ['protocol_error'];
};

subtest 'an idle connection makes room for a client that waits, and is closed in its time' => sub {
    my @answer = ({ type => 'http.response.start' }, { type => 'http.response.body', body => 'hi' });
    my $host = host(
        async sub {
            for my $event (@answer) { await $_[2]->($event) }
        },
        max_connections => 1,
        idle_timeout    => 0.3
    );
    my $get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    my $from = time;
    my @client = map {
        my $client = $host->connect($get);
        $host->until(sub { $client->raw =~ /hi\z/ }, 'the answer');
        $client;
    } 1 .. 3;
    ok time - $from < 5, 'at once';
    $host->until(sub { $client[0]->ended }, 'the first has left');
    $host->until(sub { $client[2]->ended }, 'the last has left when its time was over');
    $host->server->stop(0)->get;
};

done_testing;
