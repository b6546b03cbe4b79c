use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Inc;
use Test2::V0;

use PAGI::SSE::Command::Diagnosis ();

# A stream at which nothing is wrong, watched for 70 s from 1,000 on.
sub stream {
    my (%change) = @_;
    my %field = (
        'content-type'  => 'text/event-stream',
        'cache-control' => 'no-cache',
        %{ delete $change{fields} || {} },
    );
    return {
        url      => 'http://127.0.0.1:5000/events',
        status   => 200,
        begun    => 1000,
        until    => 1070,
        retry    => 2000,
        skew     => 0.4,
        arrivals => [map { arrival($_, 1000 + 10 * $_) } 1 .. 7],
        %change,
        fields => [map { [$_, $field{$_}] } grep { defined $field{$_} } sort keys %field],
    };
}

sub arrival {
    my ($number, $at, %other) = @_;
    return { at => $at, id => "a-$number", type => 'message', data => $number, octets => 25, %other };
}

sub comment { return { at => $_[0], comment => 1, octets => 3 } }

sub findings { return PAGI::SSE::Command::Diagnosis::findings(@_) }

# What one check says: its level, its text, and what to change.
sub said {
    my ($check, $seen, %also) = @_;
    return [map { ($_->{level}, $_->{text}, @{ $_->{fix} }) } grep { $_->{check} eq $check } findings($seen, %also)];
}

# So many events in each of the lumps at these times.
sub lumps {
    my ($count, $octets, @at) = @_;
    my $number = 0;
    return [
        map {
            my $at = $_;
            map { arrival(++$number, $at + 0.001 * $_, octets => $octets) } 1 .. $count
        } @at
    ];
}

is [map { "$_->{check} $_->{level}" } findings(stream())],
    [
    'status ok',
    'content_type ok',
    'caching ok',
    'buffering ok',
    'compression ok',
    'keepalive ok',
    'ids ok',
    'retry ok',
    'http note',
    'clock ok'
    ],
    'a stream at which nothing is wrong';

my $TYPE = 'Send Content-Type: text/event-stream from the application.';
my $CACHE = 'Send Cache-Control: no-cache (or no-store) from the application.';
my $NGINX = 'nginx: proxy_buffering off; in the location of the stream';
my $KEEPALIVE = 'Send a comment each 15 to 30 s; in PAGI::SSE: await $sse->keepalive(25).';
for my $case (
    [
        'no answer at all',
        connection => { status => undef, failed => 'http://h/: connection refused' },
        [wrong => 'There is no stream. http://h/: connection refused']
    ],
    ['204', status => { status => 204 }, [wrong => 'The status is 204: it tells a client to stop, for good.']],
    [
        'another status',
        status => { status => 502 },
        [wrong => 'The status is 502. A browser does not come back after it, except by hand.']
    ],
    [
        'a page',
        content_type => { fields => { 'content-type' => 'text/html; charset=utf-8' } },
        [wrong => 'The content type is text/html; charset=utf-8: a page, and no stream. A browser gives up.', $TYPE]
    ],
    [
        'no type',
        content_type => { fields => { 'content-type' => undef } },
        [wrong => 'There is no content type, so no browser takes it for a stream.', $TYPE]
    ],
    [
        'a type with a charset that is not so',
        content_type => { fields => { 'content-type' => 'text/event-stream; charset=latin1' } },
        [note => 'The content type says charset=latin1, but a stream is always read as UTF-8.']
    ],
    [
        'a type that only begins alike',
        content_type => { fields => { 'content-type' => 'text/event-streams' } },
        [wrong => 'The content type is text/event-streams: a page, and no stream. A browser gives up.', $TYPE]
    ],
    [
        'what may be cached',
        caching => { fields => { 'cache-control' => 'max-age=60' } },
        [wrong => 'A cache may keep it, and give old events to others: Cache-Control is max-age=60.', $CACHE]
    ],
    [
        'what is not said to be not',
        caching => { fields => { 'cache-control' => undef } },
        [wrong => 'A cache may keep it, and give old events to others: there is no Cache-Control.', $CACHE]
    ],
    [
        'buffers, by the size of what comes together',
        buffering => { fields => { server => 'nginx/1.22.1' }, arrivals => lumps(40, 100, 1001, 1005, 1009, 1013) },
        [
            wrong => 'Something holds events back: '
                . 'events arrive in lumps: 120 of them in 3, of about 4000 bytes, 4.0 s apart.',
            $NGINX
        ]
    ],
    [
        'small lumps, of which only the application knows',
        buffering => { fields => { server => 'nginx' }, arrivals => lumps(4, 100, 1001, 1005, 1009, 1013) },
        [
            note => 'Events arrive in lumps: 12 of them in 3, of about 400 bytes, 4.0 s apart. '
                . 'If the application does not send them so, a buffer holds them back.',
            $NGINX
        ]
    ],
    [
        'a replay at the beginning is no lump',
        buffering => { arrivals => [@{ lumps(500, 100, 1001) }, map { arrival(500 + $_, 1001 + $_) } 1 .. 8] },
        [ok => 'Events arrive one by one.']
    ],
    [
        'no event',
        buffering => { arrivals => [comment(1015)] },
        [
            note =>
                'No event came, so nothing is known about buffers. Let the application send some, or watch for longer.'
        ]
    ],
    [
        'cut after its silence',
        keepalive => {
            fields   => { via => '1.1 caddy' },
            arrivals => [arrival(1, 1001)],
            until    => 1006,
            ended    => 1,
            failed   => 'broken'
        },
        [
            wrong => 'The stream was cut after 5.0 s without a byte, as a proxy does whose time-out is over.',
            $KEEPALIVE,
            'Caddy: remove read_timeout from the transport of reverse_proxy'
        ]
    ],
    [
        'broken at once',
        keepalive =>
            { arrivals => [arrival(1, 1001)], until => 1001.5, ended => 1, failed => 'the gzip data are broken' },
        [wrong => 'The stream broke after 1.5 s: the gzip data are broken.']
    ],
    [
        'over the limits of a client',
        limits => { left_out => 'a line is too long' },
        [wrong => 'Clients leave something out: a line is too long.']
    ],
    [
        'ended by itself',
        keepalive => { arrivals => [arrival(1, 1001), arrival(2, 1004)], until => 1004.2, ended => 1 },
        [note => 'The stream ended after 4.2 s.']
    ],
    [
        'silent for too long',
        keepalive => { fields => { server => 'Apache' }, arrivals => [arrival(1, 1001)] },
        [
            wrong => 'The longest silence was 69 s of the 70 s watched; no comment came. '
                . 'Many proxies cut a stream that is silent for 60 s.',
            $KEEPALIVE,
            'Apache: ProxyPass … timeout=3600'
        ]
    ],
    [
        'not watched for long enough to know',
        keepalive => { arrivals => [arrival(1, 1001)], until => 1020 },
        [
            note => 'The longest silence was 19 s of the 20 s watched; no comment came. '
                . 'To know about the usual time-out of proxies, watch for more than 60 s.'
        ]
    ],
    [
        'kept alive',
        keepalive => { arrivals => [map { comment(1000 + 15 * $_) } 1 .. 4] },
        [ok => 'The longest silence was 15 s of the 70 s watched; 4 comments kept it alive.']
    ],
    [
        'no ids',
        ids => { arrivals => [map { arrival($_, 1000 + $_, id => undef) } 1 .. 3] },
        [note => 'No event has an id, so a client that comes back cannot say what it had last.']
    ],
    [
        'some ids',
        ids => { arrivals => [arrival(1, 1001), arrival(2, 1002, id => ''), comment(1003)] },
        [note => 'Of 2 events 1 do not have an id, so a client that comes back cannot say what it had last.']
    ],
    [
        'no retry',
        retry => { retry => undef },
        [note => 'There is no retry, so each client chooses how soon it comes back: 3 s in Chromium, 5 s in Firefox.']
    ],
    [
        'a clock that is behind',
        clock => { skew => -90 },
        [wrong => q{The server's clock is 90 s behind this one.}, 'Let both machines keep their time by NTP.']
    ],
    ['no Date', clock => { skew => undef }, [note => 'The answer has no Date, so the clocks cannot be compared.']],
    [
        'https',
        http => { url => 'https://h/' },
        [
            note => 'It was read by HTTP/1.1. There a browser opens six connections to one host, '
                . 'so a seventh tab waits; with HTTP/2 it does not.'
        ]
    ],
    )
{
    my ($name, $check, $change, $expected) = @$case;
    is said($check, stream(%$change)), $expected, $name;
}

is [map { $_->{check} } findings(stream(status => 404))], ['status'], 'of no stream nothing else is said';
is [map { $_->{check} } findings(stream(fields => { 'content-type' => 'text/html' }))], ['status', 'content_type'],
    'nor of a page';

my @all = @{ said(buffering => stream(arrivals => lumps(40, 100, 1001, 1005, 1009, 1013))) };
is [map { /\A(\w+): / } @all[2 .. $#all]], [qw(nginx HAProxy Apache Caddy)], 'a proxy without a name: all settings';

subtest 'beside a direct connection' => sub {
    my @direct = (direct => stream());
    is said(buffering => stream(), @direct), [ok => 'Events arrive as soon as they do directly.'], 'as soon';
    my $nobody = stream(status => undef, arrivals => [], failed => 'refused');
    is said(buffering => stream(), direct => $nobody),
        [note => 'Nothing can be compared with the direct stream: refused'], 'which is not there';
    my $late = stream(fields => { server => 'nginx' }, arrivals => [map { arrival($_, 1004 + 10 * $_) } 1 .. 6]);
    is said(buffering => $late, @direct),
        [wrong => 'Something holds events back: they arrive 4.0 s later than directly, and up to 4.0 s.', $NGINX],
        'late';
    my $none = stream(fields => { server => 'nginx' }, arrivals => []);
    is said(buffering => $none, @direct),
        [
        wrong => 'Something holds events back: 6 events that came directly did not come here within 60 s.',
        $NGINX
        ],
        'not at all; of the last it is too early to say';
};

my @none = (status => undef, fields => {}, arrivals => []);
my $NONE = 'Nothing came within 70 s, not even the head of an answer';
is [findings(stream(@none), direct => stream())]->[0]{text},
    "Something holds all of it back. $NONE; directly it did.", 'no head, but directly there is one';
is [findings(stream(@none))]->[0]{text}, "$NONE. The application is slow, or a buffer waits to be full.", 'no head';

subtest 'compression' => sub {
    my %gzip = (fields => { 'content-encoding' => 'gzip', server => 'nginx' });
    my @plain = (plain => stream());
    is said(compression => stream(%gzip), @plain),
        [ok => 'It is compressed (gzip), and events arrive as soon as without.'], 'flushed';
    is said(compression => stream(%gzip, arrivals => []), @plain),
        [
        wrong => 'It is compressed (gzip), and that holds events back: '
            . '6 events that came directly did not come here within 60 s.',
        'nginx: gzip off; in the location, or leave text/event-stream out of gzip_types'
        ],
        'held back';
    is said(compression => stream(%gzip, arrivals => []), plain => stream(arrivals => [])),
        [note => 'It is compressed (gzip); no event came by which to see whether that holds events back.'], 'unknown';
};

subtest 'a page of another origin' => sub {
    my @origin = (origin => 'https://app.example');
    my $allowed = sub { return stream(fields => { 'access-control-allow-origin' => $_[0] }) };
    is said(cors => stream()), [], 'only when asked';
    is said(cors => $allowed->($_), @origin), [ok => 'A page of https://app.example may read it.'], $_
        for '*', 'https://app.example';
    is said(cors => stream(), @origin),
        [
        wrong => 'A page of https://app.example may not read it: there is no Access-Control-Allow-Origin.',
        'Send Access-Control-Allow-Origin: https://app.example, and Vary: Origin.'
        ],
        'none';
    is said(cors => $allowed->('https://b.example'), @origin)->[1],
        'A page of https://app.example may not read it: Access-Control-Allow-Origin is https://b.example.', 'another';
};

done_testing;
