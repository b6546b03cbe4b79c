use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Serve;
use Test2::V0;
use Cwd        ();
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use IPC::Open3  qw(open3);
use Symbol      qw(gensym);
use Time::HiRes qw(time);

use PAGI::SSE::Text ();

my $command = T::Inc::root() . '/perl/bin/pagi-sse';
my $dir = File::Temp->newdir;

sub file {
    my ($name, $text) = @_;
    open my $fh, '>', "$dir/$name" or die $!;
    print {$fh} $text;
    close $fh or die $!;
    return "$dir/$name";
}

my $app = file('app.pl', <<'PERL');
use strict; use warnings; use Future; use Future::AsyncAwait; use PAGI::SSE;
async sub {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    await $sse->send('hello');
    await $sse->run;
    await Future->new if $scope->{path} eq '/deaf';
};
PERL

# Runs the command to its end.
sub run_command {
    my ($status, $said, $told) = T::Serve->command('', @_);
    return ($told, $status, $said);
}

# Starts it; returns the pid, its STDERR and the port.
sub serve {
    my (@args) = @_;
    my $pid = open3(my $in, my $out, my $err = gensym, $^X, $command, 'serve', '--listen', '127.0.0.1:0', @args);
    IO::Select->new($err)->can_read(30) or die 'no output';
    my $line = <$err>;
    my ($port) = $line =~ m{\Alistening on http://127\.0\.0\.1:(\d+)\n\z} or die "unexpected: $line";
    return ($pid, $err, $port, $out);
}

sub stream {
    my ($port, $path) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 10) or die $!;
    print {$socket} "GET $path HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    while (my $line = <$socket>) { last if $line eq "data: hello\n" }
    return $socket;
}

sub exit_of { my ($pid) = @_; waitpid $pid, 0; return $? }

subtest '--listen fd:N serves at a socket that was inherited' => sub {
    my $socket;
    {
        local $^F = 1000;    # not closed by exec
        $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1:0') or die $!;
    }
    my $port = $socket->sockport;
    my $listen = 'fd:' . fileno $socket;
    my $pid = open3(my $in, my $out, my $err = gensym, $^X, $command, 'serve', '--listen', $listen, $app);
    IO::Select->new($err)->can_read(30) or die 'no output';
    is scalar(<$err>), "listening on http://127.0.0.1:$port\n";
    my $client = stream($port, '/');
    kill TERM => $pid;
    is [map { s/\r?\n//r } <$client>], ['', '', '0', ''];
    is exit_of($pid),                  0;
};

$SIG{HUP} = 'DEFAULT';    # under nohup, too
for my $signal (qw(INT TERM QUIT HUP)) {
    subtest "SIG$signal ends streams in order and the exit status is 0" => sub {
        my $log = "$dir/access-$signal.log";
        my ($pid, $err, $port) = serve('--access-log', $log, $app);
        my $socket = stream($port, '/s?q');
        kill $signal => $pid;
        is [map { s/\r?\n//r } <$socket>], ['', '', '0', ''], 'the rest: end of event, end of chunk, last chunk';
        close $socket;
        is exit_of($pid), 0;
        open my $fh, '<', $log or die $!;
        like [<$fh>],
            [qr{\A127\.0\.0\.1 - - \[.*\] "GET /s\?q HTTP/1\.1" 200 \d+ "-" "-" \d+\.\d{3} server_shutdown\n\z}];
    };
}

subtest 'who ignores HUP goes on' => sub {
    local $SIG{HUP} = 'IGNORE';
    my ($pid, $err, $port) = serve($app);
    kill HUP => $pid;
    my $socket = stream($port, '/s?q');
    kill TERM => $pid;
    my @rest = <$socket>;
    is exit_of($pid), 0;
};

subtest 'a second signal forces it' => sub {
    my ($pid, $err, $port) = serve($app);
    my $socket = stream($port, '/deaf');
    my $from = time;
    kill TERM => $pid;
    my @rest = <$socket>;
    kill TERM => $pid;
    my @said = <$err>;
    is exit_of($pid), 0 or diag @said;
    ok time - $from < 8, 'long before the shutdown timeout';
};

subtest 'a relative path, from another folder, without PERL5LIB' => sub {
    my $back = Cwd::getcwd();
    chdir $dir or die $!;
    local $ENV{PERL5LIB} = '';
    my ($pid, $err, $port) = serve('app.pl');
    chdir $back or die $!;
    ok stream($port, '/'), 'serves';
    kill TERM => $pid;
    is exit_of($pid), 0;
};

subtest 'help is asked for, so it goes to STDOUT and is a success' => sub {
    # Each command's is its own, and all together that of the whole.
    my @usages = ('pagi-sse --help | --version');
    for my $name (qw(doctor tail serve)) {
        my ($text, $status, $said) = run_command($name, '--help');
        is [$text, $status], ['', 0], "$name --help";
        like $said, qr/\Ausage: pagi-sse $name [^\n]*\n(?: {15,}[^\n]+\n)+\z/, 'its usage';
        is [run_command($name, '-h')], ['', 0, $said], "$name -h";
        unshift @usages, $said =~ s/\Ausage: //r =~ s/^ {7}//gmr =~ s/\n\z//r;
    }
    my $all = 'usage: ' . join("\n", @usages) =~ s/^(?!\A)/       /gmr . "\n";
    is [run_command($_)], ['', 0, $all], $_ for qw(--help -h);
};

subtest 'the version' => sub {
    for my $args (['--version'], map { [$_, '--version'] } qw(serve tail doctor)) {
        is [run_command(@$args)], ['', 0, "pagi-sse $PAGI::SSE::Text::VERSION\n"], "@$args";
    }
};

subtest 'help and version need no native library; serve says that there is none' => sub {
    local $ENV{PAGI_SSE_LIB} = "$dir/none.so";
    for my $args (['--help'], ['--version']) {
        my ($text, $status, $said) = run_command(@$args);
        is [$text, $status], ['', 0], "@$args";
        ok $said, 'said';
    }
    my ($text, $status) = run_command('serve', $app);
    is $status, 1, 'serve';
    like $text,
        qr{\Apagi-sse: PAGI::SSE: the native library is missing\. Looked for\n  \Q$dir\E/none\.so\n  Build it: [^\n]*\n\z},
        'and no more';
};

subtest 'what is no good says so, and what to change' => sub {
    my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
    my $port = $taken->sockport;
    for my $case (
        [['serve', "$dir/none.pl"],      1, qr{\Apagi-sse: no such file: \Q$dir\E/none\.pl\n\z}],
        [['serve', "$dir"],              1, qr{\Apagi-sse: \Q$dir\E is a directory, not an application file\n\z}],
        [['serve', File::Spec->devnull], 1, qr{\Apagi-sse: \S+ is no plain file\n\z}],
        [['serve', "$app/x"],            1, qr{\Apagi-sse: cannot read \Q$app\E/x: Not a directory\n\z}],
        [['serve', file('hash.pl', 'die { code => 1 }')], 1, qr{/hash\.pl died with a reference \(HASH\)\n\z}],
        [
            ['serve', file('exit.pl', 'exit 0')], 1,
            qr{\Apagi-sse: \Q$dir\E/exit\.pl called exit while it was loaded\n\z}
        ],
        [['serve', file('exit3.pl', 'exit 3')], 3, qr{/exit3\.pl called exit while it was loaded\n\z}],
        [
            ['serve', '--listen', '127.0.0.1:0', file('late.pl', 'sub { exit 0 }')],
            1,
            qr{\Apagi-sse: the application called exit; the server did not stop in order\n\z}
        ],
        [['serve', file('syntax.pl', 'my $x = ;')],  1, qr{syntax\.pl does not compile or died: syntax error}],
        [['serve', file('dies.pl',   'die "oh\n"')], 1, qr{dies\.pl does not compile or died: oh}],
        [
            ['serve', file('place.pl', "\n\ndie 'oh'")],
            1, qr{place\.pl does not compile or died: oh at \Q$dir\E/place\.pl line 3\.\n\z}
        ],
        [
            ['serve', file('undef.pl', '$! = 2; $@ = ""; undef')],
            1, qr{\Apagi-sse: \Q$dir\E/undef\.pl must return a coderef as its last value; it returned undef\n\z}
        ],
        [
            ['serve', file('value.pl', '"text"')],
            1, qr{value\.pl must return a coderef as its last value; it returned 'text'\n}
        ],
        [
            ['serve', '--listen', "127.0.0.1:$port", $app],
            1,
            qr{\Apagi-sse: PAGI::SSE::Server: cannot listen on '127\.0\.0\.1:$port': the address is already in use\n\z}
        ],
        [
            ['serve', '--listen', 'nowhere', $app],
            1, qr{cannot listen on 'nowhere': the address must be HOST:PORT, unix:PATH or fd:NUMBER}
        ],
        (
            map { [
                ['serve', '--listen', "127.0.0.1:$_", $app],
                1,
                qr{cannot listen on '127\.0\.0\.1:$_': the address must be HOST:PORT, unix:PATH or fd:NUMBER: the port must be a whole number from 0 to 65535\n\z}
            ] } qw(65536 99999 abc -1)
        ),
        [
            ['serve', '--listen', 'unix:/tmp/' . 'x' x 120, $app],
            1, qr{: the address must be HOST:PORT, unix:PATH or fd:NUMBER: the path is too long\n\z}
        ],
        [
            ['serve', '--listen', "unix:$app", $app],
            1, qr{cannot listen on 'unix:\Q$app\E': the address cannot be bound: the file exists and is no socket\n\z}
        ],
        [
            ['serve', '--listen', '192.0.2.1:0', $app],
            1, qr{cannot listen on '192\.0\.2\.1:0': the address cannot be bound: Cannot assign requested address}
        ],
        [
            ['serve', '--listen', "unix:$dir/no/such/socket", $app],
            1,
            qr{cannot listen on 'unix:\Q$dir\E/no/such/socket': the address cannot be bound: No such file or directory}
        ],
        [
            ['serve', '--access-log', "$dir/no/such", $app],
            1,
            qr{\Apagi-sse: PAGI::SSE::Server: cannot append to access_log '\Q$dir\E/no/such': No such file or directory\n\z}
        ],
        [
            ['serve', '--listen', "unix:$dir/no/such", $app],
            1, qr{cannot listen on 'unix:\Q$dir\E/no/such': the address cannot be bound: No such file or directory\n\z}
        ],
        [['serve', '--body-timeout', '0', $app], 1, qr{'body_timeout' must be from 0\.001 to 86400 seconds, not '0'}],
        [['serve', '--idle-timeout', '0', $app], 1, qr{'idle_timeout' must be from 0\.001 to 86400 seconds, not '0'}],
        [[],                                     2, qr{\Apagi-sse: no command\nusage: }],
        [['dance'],                              2, qr{unknown command 'dance'}],
        [['serve'],                              2, qr{one application file is needed}],
        [['serve', '--colour', 'x'],             2, qr{Unknown option: colour\nusage: }],
        [
            [
                'serve',
                file(
                    'refuses.pl',
                    'use Future; sub { $_[2]->({ type => "lifespan.startup.failed", message => "no db\nat all" }) }'
                )
            ],
            1,
            qr{\Apagi-sse: PAGI::SSE::Server: the application refused to start: no db\\nat all\n\z}
        ],
        [
            [
                'serve',
                '--listen',
                '127.0.0.1:0',
                file('later.pl', <<'PERL')
use Future::AsyncAwait; use Future::IO;
async sub { my $send = $_[2]; await Future::IO->sleep(0.01); await $send->({ type => "lifespan.startup.failed", message => "a\nb" }) }
PERL
            ],
            1,
            qr{\Alistening on \S+\npagi-sse: PAGI::SSE::Server: the application refused to start: a\\nb\n\z}
        ],
        )
    {
        my ($args, $status, $message) = @$case;
        my ($text, $exit) = run_command(@$args);
        like $text, $message;
        is $exit, $status;
    }
};

done_testing;
