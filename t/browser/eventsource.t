use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use File::Spec    ();
use File::Temp    ();
use JSON::MaybeXS ();
use POSIX         ();
use T::Serve;
use Test2::V0;
use Time::HiRes ();

my $TIMEOUT = 90;    # seconds; a browser starts slowly on a busy machine

my ($chromium) = grep { -x } map {
    my $directory = $_;
    map { File::Spec->catfile($directory, $_) } qw(chromium chromium-browser google-chrome)
} File::Spec->path;
plan skip_all => 'no chromium in PATH' if !defined $chromium;

my $scratch = File::Temp->newdir('pagi-sse-browser-XXXXXX', TMPDIR => 1);
my $result = "$scratch/result.json";
my $server = T::Serve->app('t/browser/app.pl', env => { BROWSER_RESULT => $result });

# --- a browser, in a process group of its own ---

my $browser = fork;
die "cannot fork: $!" if !defined $browser;
if (!$browser) {
    POSIX::setsid();
    open STDIN,  '<',  File::Spec->devnull;
    open STDOUT, '>',  "$scratch/browser.log";
    open STDERR, '>&', \*STDOUT;
    exec {$chromium} $chromium, qw(
        --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
        --disable-background-networking --disable-component-update --disable-sync
        --disable-dev-shm-usage --no-proxy-server
    ), "--user-data-dir=$scratch/profile", $server->url or POSIX::_exit(127);
}
my $test = $$;

sub browser_has_ended {
    return 1 if !$browser;
    return '' if !waitpid $browser, POSIX::WNOHANG();
    undef $browser;
    return 1;
}

sub stop_browser {
    return if !$browser || $$ != $test;
    # The group: a browser is many processes.
    my $group = $browser;
    for my $signal (qw(TERM KILL)) {
        kill $signal => -$group;
        my $deadline = Time::HiRes::time() + 5;
        # What is left of the group when the first process has gone, too.
        while ((!browser_has_ended() || kill 0 => -$group) && Time::HiRes::time() < $deadline) {
            Time::HiRes::sleep(0.02);
        }
    }
    return;
}

END {
    local $?;
    stop_browser();
}

my $deadline = Time::HiRes::time() + $TIMEOUT;
Time::HiRes::sleep(0.05) until -e $result || browser_has_ended() || Time::HiRes::time() > $deadline;

sub contents {
    my ($file) = @_;
    open my $in, '<:raw', $file or return '';
    local $/;
    return scalar readline $in;
}

if (!-e $result) {
    diag 'browser: ', contents("$scratch/browser.log");
    diag 'server: ',  $server->log;
    fail 'the browser reported within the time';
    done_testing;
    exit;
}
my $seen = JSON::MaybeXS->new(utf8 => 1)->decode(contents($result));
stop_browser();

# --- what it saw ---

use constant { CONNECTING => 0, OPEN => 1, CLOSED => 2 };

sub received {
    my ($type, $data, $id) = @_;
    return { type => $type, data => $data, id => $id };
}

my @expected = (
    ['the stream opens',                                 { open => OPEN }],
    ['a named event with an id',                         received(greeting => 'hello',                          'e-1')],
    ['LF, CR and CRLF arrive as LF; the id stays',       received(message  => "LF\nCR\nCRLF\nend",              'e-1')],
    ['text beyond ASCII; U+2028 and others end no line', received(message  => "é € 😀 \x{2028} \x{2029} \x{85}", 'e-3')],
    ['leading spaces are kept',                          received(message  => '  two spaces before',            'e-3')],
    ['a leading tab is kept',                            received(message  => "\ta tab before",                 'e-3')],
    ['a final newline is kept',                          received(message  => "a newline after\n",              'e-3')],
    ['an event with empty data is an event',             received(message  => '',                               'e-3')],
    ['JSON',                                             received(message  => match qr/"text":"é"/,             'e-3')],
    # 'Greeting' has no listener: the page saw nothing of it.
    ['an event with another id',   received(message => 'with an id', 'e-9')],
    ['the server ends the stream', { error => CONNECTING }],
    ['the browser comes back',     { open  => OPEN }],
    ['and says what it had last',  received(message => 'Last-Event-ID: e-9', 'e-9')],
    ['an empty id resets the id',  received(message => 'no id from here on', '')],
    ['the rest',                   received(last    => 'the rest',           '')],
);
for my $i (0 .. $#expected) {
    my ($claim, $what) = @{ $expected[$i] };
    is $seen->{dropped}[$i], $what, $claim;
}
is scalar @{ $seen->{dropped} }, scalar @expected, 'and nothing else';

is $seen->{refused},
    [{ open => OPEN }, received(message => 'once', 'only'), { error => CONNECTING }, { error => CLOSED },],
    'a 204 to the reconnect ends it for good';

is $seen->{ids}[-1], received(last => '4', ''), 'ids beyond ASCII, with spaces within, of 4 KiB come back';

is $server->stop,              0,                           'the server stops in order';
is [split /\n/, $server->log], [match qr/\Alistening on /], 'nothing was logged';

done_testing;
