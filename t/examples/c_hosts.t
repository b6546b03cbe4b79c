use strict;
use warnings;

# The C examples that have a transport, a loop or processes of their own, built
# as their heads say, and run under valgrind where there is one. curl speaks to
# them. Each ends with another status when it has a handle left.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use Time::HiRes ();
use T::CAPI;
use T::Client;
use T::Serve;

my $curl = T::CAPI::command('curl');
my $pkg_config = T::CAPI::command('pkg-config', 'pkgconf');
plan skip_all => 'no C compiler' if !T::CAPI::compiler();
plan skip_all => 'no curl' if !defined $curl;
plan skip_all => 'no pkg-config' if !defined $pkg_config;

my $valgrind = T::CAPI::command('valgrind');
my @watched = $valgrind ? ($valgrind, qw(-q --error-exitcode=99 --leak-check=full --trace-children=no)) : ();
$T::Serve::TIMEOUT = 60;

# The built example, or undef when a package that it needs is not there.
sub example {
    my ($name,  $package) = @_;
    my ($flags, $status) = $package ? T::CAPI::run([$pkg_config, qw(--cflags --libs), $package]) : ('', 0);
    return undef if $status ne '0';
    return T::CAPI::build(
        T::CAPI::root() . "/examples/c/$name.c",
        flags => [qw(-g -Wconversion -Wpedantic)],
        more  => [split ' ', $flags],
    );
}

# Serves with it, for the time of the subtest.
sub serve {
    my ($program, @arguments) = @_;
    return T::Serve->program(@watched, $program, @arguments);
}

# What curl says of one request, and its status.
sub asks { return T::CAPI::run([$curl, '-s', '--max-time', 30, @_]) }

# A stream that curl follows.
sub follows {
    my (@arguments) = @_;
    open my $pipe, '-|', $curl, '-sN', '--max-time', 60, @arguments or die "curl: $!";
    return { pipe => $pipe, text => '' };
}

# Reads on until the text matches, or ends.
sub reads {
    my ($stream, $until) = @_;
    while ($stream->{text} !~ $until) {
        sysread $stream->{pipe}, $stream->{text}, 65536, length $stream->{text} or last;
    }
    return $stream->{text};
}

# Reads to the end: all that came, and curl's status (0: a whole response).
sub ended {
    my ($stream) = @_;
    reads($stream, qr/(?!)/);
    close $stream->{pipe};
    return ($stream->{text}, $? >> 8);
}

subtest 'uv_chat.c: what one says in a room, all who are there hear, and who comes later' => sub {
    my $program = example('uv_chat', 'libuv') or return skip_all('no libuv');
    my $server = serve($program, '127.0.0.1:0');
    my $room = $server->url('/rooms/tea');
    my @say = ('-w', '%{http_code}', '-X', 'POST', '--data-binary');
    my @there = map { follows($room) } 1 .. 2;
    my ($first) = reads($_, qr/\n\n/) =~ /\Aid: ([0-9]+)\.0\n\n\z/ for @there;
    my ($epoch) = $there[0]{text} =~ /\Aid: ([0-9]+)\.0\n\n\z/;
    ok defined $epoch, 'who comes has a place to come back to' or diag $there[0]{text};
    is [asks(@say, 'hello',      $room)],                      ['204', 0];
    is [asks(@say, "two\nlines", $room)],                      ['204', 0];
    is [asks(@say, 'elsewhere',  $server->url('/rooms/den'))], ['204', 0];
    my $heard = "id: $epoch.1\ndata: hello\n\nid: $epoch.2\ndata: two\ndata: lines\n\n";
    is reads($_, qr/lines\n\n/), "id: $epoch.0\n\n$heard" for @there;
    my $later = follows($room);
    my $now = "id: $epoch.3\n\n";
    is reads($later, qr/\.3\n\n/), "$heard$now", 'who comes later, with where the hub is';
    my $back = follows('-H', "Last-Event-ID: $epoch.1", $room);
    is reads($back, qr/\.3\n\n/), "id: $epoch.2\ndata: two\ndata: lines\n\n$now", 'who comes back';

    like [asks(@say, 'x' x 2000, $room)], [qr/413\z/, 0], 'too much at a time';
    is [asks(@say, "\xff",         $room)],             ["a room's name and what is said there are text\n400", 0];
    is [asks('-w', '%{http_code}', $server->url('/'))], ["rooms are at /rooms/NAME\n404",                      0];
    is [asks('-w', '%{http_code}', $server->url('/rooms/no%20name'))], ["no such room\n404", 0];
    is $server->stop,   0, 'SIGTERM ends it in order, without a handle left' or diag $server->log;
    is [ended($_)],     ["id: $epoch.0\n\n$heard", 0], 'with its last chunk' for @there;
    is [ended($later)], ["$heard$now", 0];
};

subtest 'epoll_host.c gives a socket away, and hears nothing more of it' => sub {
    my $program = example('epoll_host');
    my $server = serve($program, 0, 30);
    my @streams = (follows($server->url('/ticks')), follows('-0', $server->url('/ticks')));
    like reads($_, qr/tick\n.*tick\n.*\n\n\z/s),
        qr/\A(?:id: epoll\.\d+\n\n)(?:event: tick\nid: epoll\.(\d+)\ndata: \1\n\n)+\z/
        for @streams;
    is [asks('-w', '%{http_code}', $server->url('/else'))], ['404', 0];
    is [asks('-w', '%{http_code}', '-H', 'x-a: ' . 'x' x 5000, $server->url('/ticks'))], ['431', 0];
    my ($seen) = $streams[0]{text} =~ /\Aid: (\S+)/;
    my $back = follows('-H', "Last-Event-ID: $seen", $server->url('/ticks'));
    my ($missed) = $streams[0]{text} =~ /\Aid: \S+\n\n(event: .*?\n\n)/s;
    like reads($back, qr/tick\n.*tick\n/s), qr/\A\Q$missed\E/, 'who comes back';
    my $leaves = follows($server->url('/ticks'));
    reads($leaves, qr/tick\n/);
    close $leaves->{pipe};
    ok $server->wait_for_log(qr/a stream of \d+ bytes: client_closed/), 'it hears that one has left';
    is $server->stop, 0, 'SIGTERM ends it in order, without a handle left' or diag $server->log;
    is((ended($_))[1], 0, 'with its last chunk') for @streams, $back;
};

# Gives the answers, one to each connection; undef: 204.
sub scripted {
    my (@answers) = @_;
    return T::Serve->code(sub {
        my ($ready) = @_;
        require IO::Socket::INET;
        my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
        $ready->($listener->sockport);
        for my $answer (@answers) {
            my $client = $listener->accept or die "accept: $!";
            my $head = '';
            sysread $client, $head, 4096, length $head or last while $head !~ /\r\n\r\n/;
            print STDERR 'asked after: ', $head =~ /^last-event-id: (.*?)\r$/im ? $1 : 'nothing', "\n";
            print {$client} defined $answer
                ? "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n$answer"
                : "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        }
    });
}

my @story = (
    "retry: 100\nid: 1\ndata: one\n\nid: 2\nevent: e\ndata: two\ndata: lines\n\ndata: unfinished",
    'data: ' . ('x' x 100_000) . "\n\n", undef,
);
my $told = "1 message: one\n2 e: two\nlines\n2 message: " . ('x' x 100_000) . "\n";

subtest 'curl_client.c comes back from where it was, when the stream says, until there is none' => sub {
    my $program = example('curl_client', 'libcurl') or return skip_all('no libcurl');
    my $server = scripted(@story);
    my ($output, $status) = T::CAPI::run([@watched, $program, $server->url('/')], timeout => 60);
    is $output,                                $told;
    is $status,                                0, 'it ends with 204, without a handle left';
    is $server->wait,                          0;
    is [$server->log =~ /asked after: (.*)/g], ['nothing', 2, 2];
};

subtest 'tail.c does the same by the library alone, and says what is refused' => sub {
    my $program = example('tail');
    my $server = scripted(@story);
    my $url = $server->url('/');
    my ($output, $status) = T::CAPI::run([@watched, $program, $url, 7], timeout => 60);
    my $notes = qr/^(?:\* open: \Q$url\E|! the stream has ended \(\Q$url\E\)|\* again in 0\.[1-3] s)\n/m;
    is $output =~ s/$notes//gr,                $told;
    is scalar(() = $output =~ /$notes/g),      6, 'and of two streams that they were opened, ended, and what follows';
    is $status,                                0, 'it ends with 204, without a handle left';
    is $server->wait,                          0;
    is [$server->log =~ /asked after: (.*)/g], [7, 2, 2];

    ($output, $status) = T::CAPI::run([@watched, $program, 'ftp://h/']);
    is $output,
        qq(an argument is outside its range: the URL "ftp://h/": the scheme ftp is none of http, https, http+unix\n);
    is $status, 2;
};

subtest 'tls_host.c carries streams over TLS' => sub {
    my $program = example('tls_host', 'openssl') or return skip_all('no OpenSSL');
    my $openssl = T::CAPI::command('openssl')    or return skip_all('no openssl');
    my ($key,  $cert) = map { T::CAPI::dir() . "/$_.pem" } qw(key cert);
    my ($said, $made) = T::CAPI::run(
        [$openssl, qw(req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout), $key, '-out', $cert]);
    is $made, 0, 'a certificate' or diag $said;
    my $server = serve($program, 0, $cert, $key, 50);
    my $url = 'https://localhost:' . $server->port . '/';
    my @trust = ('--cacert', $cert);
    my @streams = map { follows(@trust, $url) } 1 .. 3;

    for my $stream (@streams) {
        my ($first) = reads($stream, qr/\}\n\n.*\}\n\n/s) =~ /"tick":(\d+)/;
        my $second = $first + 1;
        like $stream->{text}, qr/\Adata: \{"tick":$first\}\n\ndata: \{"tick":$second\}\n\n/;
    }
    is [asks(@trust, '-w', '%{http_code}', "${url}else")], ['404', 0];
    close $streams[0]{pipe};
    my $more = follows(@trust, $url);
    like reads($more, qr/\}\n\n/), qr/\Adata: \{"tick":\d+\}\n\n/, 'who comes when another has left';
    is $server->stop, 0, 'SIGTERM ends it in order, without a handle left' or diag $server->log;
    is((ended($_))[1], 0, 'with its last chunk') for @streams[1, 2], $more;
};

# Streams until so many workers serve; those that are there, by pid.
sub served_by {
    my ($server, $streams, $enough) = @_;
    my (%by, $deadline);
    for my $stream (@$streams) { $by{$1}++ if $stream->{text} =~ /data: (\d+)/ }
    $deadline = Time::HiRes::time() + $T::Serve::TIMEOUT;
    while (!$enough->(\%by) && Time::HiRes::time() < $deadline) {
        push @$streams, my $stream = follows($server->url('/'));
        like reads($stream, qr/\n\n/), qr/\Aevent: served-by\ndata: \d+\n\n\z/ or last;
        $by{$1}++ if $stream->{text} =~ /data: (\d+)/;
    }
    return \%by;
}

subtest 'prefork.c: many processes, one port; one that dies is replaced, and none stays behind' => sub {
    my $program = example('prefork');
    my $server = T::Serve->program($program, 0, 2);
    my @streams;
    my $by = served_by($server, \@streams, sub { keys %{ $_[0] } >= 2 });
    my ($dies, $stays) = sort keys %$by;
    ok defined $stays, "two of them serve: $dies, " . ($stays // 'nobody');
    kill KILL => $dies;
    my $new = $server->wait_for_log(qr/^worker $dies: signal 9$/m);
    ok $new, 'the parent hears that one was killed' or diag $server->log;
    my ($lost) = grep { $_->{text} =~ /data: $dies\n/ } @streams;
    isnt((ended($lost))[1], 0, 'its streams break off');
    @streams = grep { $_->{text} =~ /data: $stays\n/ } @streams;
    $by = served_by($server, \@streams, sub { keys %{ $_[0] } >= 2 });
    is [grep { $_ eq $dies } keys %$by], [], 'another has its place: ' . join ' ', sort keys %$by;
    is $server->stop, 0, 'SIGTERM ends all of them in order' or diag $server->log;
    is [ended($_)],   [$_->{text}, 0], 'each stream with its last chunk' for @streams;
    is [map { [$server->log =~ /^worker $_: exit (\d+)$/mg] } keys %$by], [[0], [0]], 'no worker has a handle left';
    is [asks('-w', '%{http_code}', $server->url('/'))],                   ['000', 7], 'nobody listens';
};

subtest 'prefork.c: workers whose parent was killed end by themselves' => sub {
    my $server = T::Serve->program(example('prefork'), 0, 2);
    my @streams;
    served_by($server, \@streams, sub { keys %{ $_[0] } >= 1 });
    $server->signal('KILL');
    is $server->wait, 'signal 9';
    is [ended($_)], [$_->{text}, 0], 'each stream with its last chunk' for @streams;
    my $deadline = Time::HiRes::time() + $T::Serve::TIMEOUT;
    my $answer;
    do { $answer = [asks('-w', '%{http_code}', $server->url('/'))] }
        while $answer->[1] != 7 && Time::HiRes::time() < $deadline;
    is $answer, ['000', 7], 'nobody listens';
};

done_testing;
