use strict;
use warnings;

# Logs that nobody reads: they cost lines, never the server.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use T::Serve;
use Test2::V0 -no_srand => 1;
use Future;
use Future::AsyncAwait;
use IO::Handle;
use PAGI::SSE::Server::Sink;
use POSIX       ();
use Time::HiRes qw(time);

# A pipe, its writing side filled; without a reader if wanted.
sub stuck_pipe {
    pipe my $reader, my $writer or die "pipe: $!";
    $writer->blocking(0);
    1 while syswrite $writer, 'x' x 4096;
    1 while syswrite $writer, 'x';
    $writer->blocking(1);
    return ($reader, $writer);
}

sub read_all {
    my ($reader) = @_;
    $reader->blocking(0);
    my $text = '';
    1 while sysread $reader, $text, 65_536, length $text;
    return $text =~ s/\Ax+//r;
}

sub is_blocking { my ($fh) = @_; return $fh->blocking }

subtest 'a pipe that nobody reads: lines wait, then are dropped and counted' => sub {
    my ($reader, $writer) = stuck_pipe();
    my $sink = PAGI::SSE::Server::Sink->new($writer);
    my $line = 'y' x 1023 . "\n";
    $sink->line($line) for 1 .. 300;
    ok is_blocking($writer), 'the handle is left as it was given';
    is read_all($reader), '', 'nothing got through';
    my $text = '';
    for (1 .. 20) {
        PAGI::SSE::Server::Sink->flush_all;
        $text .= read_all($reader);
    }
    $sink->line("after\n");
    $text .= read_all($reader);
    my @lines = split /^/, $text;
    is scalar(grep { $_ eq $line } @lines), 256, 'what there was room for, whole';
    is [grep { $_ ne $line } @lines],
        ["PAGI::SSE::Server: warning: 44 lines were left out, as nobody read the log in time\n", "after\n"],
        'and one line for the rest';
    ok !PAGI::SSE::Server::Sink->flush_all, 'nothing waits';
};

subtest 'a long line arrives in pieces, whole' => sub {
    pipe my $reader, my $writer or die $!;
    my $sink = PAGI::SSE::Server::Sink->new($writer);
    my $line = join('', map { "$_ " } 1 .. 30_000) . "\n";
    $sink->line($line);
    my $text = '';
    $text .= read_all($reader) while PAGI::SSE::Server::Sink->flush_all;
    $text .= read_all($reader);
    is $text, $line;
};

subtest 'a pipe whose reader has left: said once, no signal' => sub {
    for my $kind (qw(pipe socket)) {
        my ($reader, $writer);
        if ($kind eq 'pipe') { pipe $reader, $writer or die $! }
        else                 { socketpair $reader, $writer, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die $! }
        close $reader;
        local $SIG{PIPE} = sub { die "SIGPIPE\n" };
        my @said;
        my $sink = PAGI::SSE::Server::Sink->new($writer, sub { push @said, @_ });
        ok lives { $sink->line("x\n") for 1 .. 3 }, "$kind: lives";
        is \@said, ['cannot write a log: Broken pipe; lines are lost'], "$kind: once";
    }
};

subtest 'files, handles with layers, and what is no file' => sub {
    my $file = File::Temp->new;
    binmode $file, ':encoding(UTF-8)';
    my $sink = PAGI::SSE::Server::Sink->new($file);
    $sink->line("a\x{e9}\n");
    $sink->line("\x{20ac}\n");
    open my $in, '<:raw', "$file" or die $!;
    is join('', readline $in), "a\xe9\n\xe2\x82\xac\n", 'octets as they are, characters as UTF-8';
    open my $memory, '>', \my $text or die $!;
    $memory->autoflush(1);
    PAGI::SSE::Server::Sink->new($memory)->line("x\n");
    is $text, "x\n", 'in memory';
};

async sub says_ok {
    my ($scope, $receive, $send) = @_;
    die "not here\n" if $scope->{type} eq 'lifespan';
    await $send->({ type => 'http.response.start' });
    await $send->({ type => 'http.response.body', body => 'ok' });
}

# The embedded server, some requests to it, and its stop.
sub served {
    my ($access_log, $requests, $then) = @_;
    my $host = T::Host->new(\&says_ok, access_log => $access_log);
    for (1 .. $requests) {
        my $client = $host->get('/' . 'x' x 900);
        $host->until(sub { $client->ended && !%{ $host->server->{exchanges} } });
    }
    $then->($host) if $then;
    my $stopped = $host->server->stop(5);
    $host->until(sub { $stopped->is_ready }, 'the stop');
    return $host;
}

subtest 'what an access log has not taken when the server stops is counted, in the log of errors' => sub {
    my ($reader, $writer) = stuck_pipe();
    is [served($writer, 3)->log], ['error: access_log: 3 lines were left out, as nobody read it in time'],
        'nobody read';
    is read_all($reader), '', 'nothing got through';

    pipe $reader, $writer or die "pipe: $!";
    my ($said) = served($writer, 400)->log;
    my @lines = split /^/, read_all($reader);
    is [grep { !/ -\n\z/ } @lines], [], 'all that got through is whole';
    is $said, 'error: access_log: ' . (400 - @lines) . ' lines were left out, as nobody read it in time', 'the rest';
    ok @lines > 40 && @lines < 100, 'a pipe full' or diag scalar @lines;

    ($reader, $writer) = stuck_pipe();
    my $text = '';
    my $wake = sub {
        my ($host) = @_;
        $text .= read_all($reader);
        $host->until(sub { $text .= read_all($reader); $text =~ /warning/ }, 'the line that says so');
    };
    is [served($writer, 400, $wake)->log], [], 'a reader that has woken is told by the log';
    @lines = split /^/, $text . read_all($reader);
    my $out = 400 - grep { / -\n\z/ } @lines;
    is $lines[-1], "PAGI::SSE::Server: warning: $out lines were left out, as nobody read the log in time\n", 'there';
};

subtest 'an access log that goes with its server says so as well' => sub {
    my ($reader, $writer) = stuck_pipe();
    my @said;
    my $server = PAGI::SSE::Server->new(
        app        => sub { die "not here\n" },
        listen     => '127.0.0.1:0',
        access_log => $writer,
        on_log     => sub { push @said, $_[1] },
    )->start;
    $server->{access_log}{sink}->line("x\n") for 1, 2;
    undef $server;
    is \@said, ['access_log: 2 lines were left out, as nobody read it in time'];
};

subtest 'a line that is longer than a pipe takes at once may be cut: this is said' => sub {
    pipe my $reader, my $writer or die "pipe: $!";
    my @said;
    my $sink = PAGI::SSE::Server::Sink->new($writer, sub { push @said, @_ });
    $sink->line("a\n");
    $sink->line('x' x 200_000 . "\n");
    $sink->finish;
    is \@said,                          ['1 line was left out, as nobody read it in time; the last line in it is cut'];
    is substr(read_all($reader), 0, 3), "a\nx";
};

subtest 'a full device: lines are counted at the end, and in the log when there is room again' => sub {
    skip_all 'there is no /dev/full' if !-c '/dev/full';
    my $trouble = 'cannot write a log: No space left on device; lines are lost';
    my $why = 'as it could not be written: No space left on device';
    is [served('/dev/full', 3)->log], ["error: access_log: $trouble", "error: access_log: 3 lines were left out, $why"],
        'at the end';
    open my $log, '>>', '/dev/full' or die $!;
    my @said;
    my $sink = PAGI::SSE::Server::Sink->new($log, sub { push @said, @_ });
    $sink->line("$_\n") for 1 .. 3;
    my $file = File::Temp->new;
    open $log, '>>', "$file" or die $!;
    $sink->line("4\n");
    $sink->finish;
    open my $in, '<', "$file" or die $!;
    is [readline $in], ["4\n", "PAGI::SSE::Server: warning: 3 lines were left out, $why\n"], 'when there is room';
    is \@said,         [$trouble],                                                           'said once';
};

subtest 'an access log of another kind that fails' => sub {
    is [served(sub { die "no\n" }, 2)->log], [('error: access_log died: no') x 2], 'a coderef that dies: each line';
    open my $memory, '<', \'read only' or die $!;
    like [served($memory, 2)->log],
        [qr{\Aerror: access_log: cannot write a log: },
        qr{\Aerror: access_log: 2 lines were left out, as it could not}],
        'a handle that cannot be written';
};

# With and without IO::Async: SIGPIPE is the system's own there.
for my $loop ('', 'BEGIN { unshift @INC, sub { die "not here\n" if $_[1] =~ m{^IO/Async} } }') {
    my $what = $loop ? 'without IO::Async' : 'with what loop there is';

    for my $state (qw(stuck gone)) {
        subtest "$what: STDERR and the access log $state" => sub {
            my $server = T::Serve->code(sub {
                my ($ready) = @_;
                eval "$loop; 1" or die $@;
                my ($reader, $writer) = stuck_pipe();
                close $reader if $state eq 'gone';
                my $server = PAGI::SSE::Server->new(
                    app => async sub {
                        my ($scope, $receive, $send) = @_;
                        die "not here\n" if $scope->{type} eq 'lifespan';
                        await $receive->();
                        warn 'z' x 1000 if $scope->{path} eq '/die';
                        die 'y' x 1000 . "\n" if $scope->{path} eq '/die';
                        await $send->({ type => 'http.response.start' });
                        await $send->({ type => 'http.response.body', body => 'ok' });
                    },
                    listen     => '127.0.0.1:0',
                    access_log => $writer,
                );
                $server->stop_on('TERM')->start;
                $ready->($server->port);
                open STDERR, '>&', $writer or die $!;
                $server->run;
            });
            my $ok = 0;
            for my $i (1 .. 400) {
                my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port, Timeout => 10)
                    or last;
                print {$client} 'GET ', $i < 400 ? '/die' : '/', " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                my $answer = join '', readline $client;
                $ok++ if $answer =~ m{\AHTTP/1\.1 (?:500|200) };
                last if !$answer;
            }
            is $ok,                               400, 'every request is answered';
            is $server->signal('TERM')->wait(10), 0,   'TERM stops it in order';
        };
    }
}

subtest 'an access log that cannot be written is said in the log, once' => sub {
    skip_all 'there is no /dev/full' if !-c '/dev/full';
    my $host = T::Host->new(\&says_ok, access_log => '/dev/full');
    for (1, 2) {
        my $client = $host->get('/');
        $host->until(sub { $client->ended && !%{ $host->server->{exchanges} } });
    }
    is [$host->log], ['error: access_log: cannot write a log: No space left on device; lines are lost'];
};

# Two streams of a hub, one of which is reset, and an ordinary request; the log without numbers.
sub log_of {
    my ($level) = @_;
    require PAGI::SSE::Hub;
    my $hub = PAGI::SSE::Hub->new;
    my $app = async sub {
        my ($scope, $receive, $send) = @_;
        if ($scope->{type} eq 'sse') { return await $hub->serve(PAGI::SSE->new(@_), 't', 'u') }
        await $send->({ type => 'http.response.start', status => 404, headers => [] });
        await $send->({ type => 'http.response.body', body => 'none' });
    };
    my $host = T::Host->new($app, log_level => $level);
    my $plain = $host->connect("GET /a%0Ab?secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    $host->until(sub { $plain->body =~ /none/ }, 'the answer');
    my $stream = $host->stream('/s', 'Last-Event-ID: of.1');
    $host->until(sub { $stream->body =~ /id:/ }, 'the stream');
    for (1 .. 2) {
        my $client = $host->connect("GET / HTTP/1.1\r\n\r\n");
        $host->until(sub { $client->body =~ /\S/ }, 'a refusal');
    }
    $stream->close;
    $host->until(sub { $host->stats->{connections}{open} == 0 }, 'the end');
    $host->server->stop(1)->get;
    return map { s/\b(?:\d{6,}|port \d+|127\.0\.0\.1:\d{2,}|\d+ ms)\b/N/gr } $host->log;
}

my @stages = ('info: the server drains: 0 in progress', 'info: the server has stopped: 0 cut off');

subtest 'log_level: warnings, what the server is at, what happens to each connection' => sub {
    is [grep { !/warning/ } log_of(undef)], [], 'not unless asked for';
    my @info = log_of('info');
    is [grep { /info/ && !/ stops, / } @info], ['info: the server listens on 127.0.0.1:0, N', @stages];
    is [grep { /debug/ } @info],               [];
    my @debug = log_of('debug');
    is [grep { /debug/ } @debug],
        [
        'debug: connection N: GET /a%0Ab from N',
        'debug: connection N: ended, in full, status 404, 4 bytes, N',
        'debug: connection N: GET /s from N',
        'debug: connection N: subscribed to 2 topics, unknown_id, 0 events sent again',
        match qr/\Adebug: connection N: ended, client_closed, status 200, \d+ bytes, N\z/,
        ];
    is scalar(grep { /\Awarning: .*\(400 to N\)\z/ } @debug), 2, 'each refusal, where else they are counted';
};

done_testing;
