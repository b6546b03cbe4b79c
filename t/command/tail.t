use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::MaybeXS ();
use T::Inc;
use T::Serve;
use Test2::V0;
use Time::HiRes ();

# What users of the command run, against a server that answers by the path.

my $server = T::Serve->app('t/command/streams.pl');

sub tail   { return [T::Serve->command('', 'tail', @_)] }
sub url    { return $server->url($_[0]) }
sub octets { utf8::encode(my $octets = $_[0]); return $octets }

is tail('--once', 3, url('/mixed')), [0, "one\nprice: {\"ACME\":1}\nline 1\nline 2\n", ''],
    'events as they come: the data, and the type before it if it is not the usual one';
is tail('--once', 1, '--event', 'price', url('/mixed')), [0, "price: {\"ACME\":1}\n", ''], 'of one type';
is tail('--once', 2, '--event', 'price', '--event', 'note', url('/mixed')),
    [0, octets(qq(price: {"ACME":1}\nnote: é\n)), ''], 'of two types; octets as they came';
is tail('--json', '--once', 4, url('/mixed')),
    [
    0,
    join('',
        map { "$_\n" } '{"data":"one","id":"1","type":"message"}',
        '{"data":"{\"ACME\":1}","id":"1","retry":1500,"type":"price"}',
        '{"data":"line 1\nline 2","id":"3","type":"message"}',
        octets('{"data":"é","id":"","type":"note"}')),
    ''
    ],
    '--json: an object a line; the retry with the event that it came with';

is tail(url('/gone')),                             [0, '', ''],                        '204: ended, and nothing more';
is tail('--id', 'a-7', '--once', 1, url('/echo')), [0, "GET last-event-id=a-7\n", ''], '--id';
is tail('-H', 'X-Token: a b', '--once', 1, url('/echo')),   [0, "GET x-token=a b\n", ''], '-H';
is tail('-d', 'a=1', '--once', 1, url('/echo')),            [0, "POST body=a=1\n", ''],   '-d is a POST';
is tail('-X', 'PUT', '-d', 'a', '--once', 1, url('/echo')), [0, "PUT body=a\n", ''],      '-X';
is tail('--json-body', octets('{"é":[1]}'), '--once', 1, url('/echo')), [
    0,
    octets(qq(POST content-type=application/json body={"é":[1]}
)),
    ''
    ],
    '--json-body';
is [T::Serve->command('from STDIN', 'tail', '-d', '@-', '--once', 1, url('/echo'))], [0, "POST body=from STDIN\n", ''],
    '-d @-: the body from STDIN';
is tail('-d', 'a', url('/short')), [0, "all\n", ''], 'a POST is not repeated, so its end is the end';

subtest 'a stream that ends is asked for again, with its last id' => sub {
    my ($status, $said, $told) = @{ tail('-v', '--once', 2, url('/short')) };
    is [$status, $said], [0, "all\nafter s-1\n"], 'both';
    my @lines = map { s/\A\* [0-9]+\.[0-9]{3} s: //r } split /\n/, $told;
    my $url = quotemeta url('/short');
    like \@lines,
        [
        qr/\Aopen: 200 $url\z/,
        qr/\Acomment: kept alive\z/,
        qr/\Aretry: 10 ms\z/,
        qr/\A.*; again in 0\.1 s\z/,
        qr/\Aopen: 200 $url\z/,
        ],
        '-v tells of it on STDERR';
};

subtest 'what is refused' => sub {
    is tail(url('/no')),   [1, '', "pagi-sse: the answer is 404 Not Found (@{[url('/no')]})\n"],      'another status';
    is tail(url('/page')), [1, '', match qr{\Apagi-sse: .*text/html.*\(\Q@{[url('/page')]}\E\)\n\z}], 'a page';
};

subtest 'no network' => sub {
    my $url = 'http://127.0.0.1:1/';
    my $start = Time::HiRes::time();
    is tail($url), [3, '', "pagi-sse: 127.0.0.1:1: Connection refused ($url)\n"], 'nobody there';
    ok Time::HiRes::time() - $start < 20, 'and no waiting for one to come';
};

subtest 'wrong usage' => sub {
    for my $case (
        [[],                                     'one URL is needed'],
        [['a', 'b'],                             'one URL is needed'],
        [['--once', 0, 'http://h/'],             '--once must be at least 1, not 0'],
        [['-H', 'oh', 'http://h/'],              q{-H takes 'Name: value', not 'oh'}],
        [['--json-body', '{', 'http://h/'],      '--json-body is not JSON: {'],
        [['-d', 'a', '--json-body', 1, 'http:'], '-d or --json-body, not both'],
        [['ftp://h/'],                           qr/the URL "ftp:\/\/h\/": /],
        [['--resume', 'maybe', 'http://h/'],     qr/'resume' must be never, get or always, not 'maybe'/],
        )
    {
        my ($arguments, $message) = @$case;
        my ($status, $said, $told) = @{ tail(@$arguments) };
        is [$status, $said], [2, ''], "@$arguments";
        my ($first) = $told =~ /\Apagi-sse: (.*)\nusage: pagi-sse tail /;
        ref $message ? like($first, $message, 'says why') : is($first, $message, 'says why');
    }
};

for my $case (['/none', 'No such file or directory'], [$FindBin::Bin, 'Is a directory']) {
    my ($file, $why) = @$case;
    my ($status, $said, $told) = @{ tail('-d', "\@$file", url('/echo')) };
    is [$status, $said], [2, ''], $why;
    like $told, qr/\Apagi-sse: cannot read \Q$file\E: $why\nusage: /, 'says so';
}

subtest 'a reader that has enough ends it quietly' => sub {
    my $command = join ' ', map { "'$_'" } $^X, T::Serve->path(qw(perl bin pagi-sse)), 'tail', url('/endless');
    is scalar(`$command 2>&1 | head -2`), "tick\ntick\n", 'head';
};

done_testing;
