use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Browser;
use T::Serve;
use Test2::V0;

plan skip_all => 'no chromium in PATH' if !defined T::Browser->program;

my $browser = T::Browser->new;
my $server = T::Serve->app('t/browser/app.pl', env => { BROWSER_RESULT => $browser->result_file });
my $seen = $browser->result_of($server);
if (!$seen) {
    done_testing;
    exit;
}

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
