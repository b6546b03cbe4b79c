use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Encode ();

subtest 'defaults for what a scope does not say' => sub {
    my $sse = PAGI::SSE->new({ type => 'sse' }, sub { }, sub { });
    is $sse->path,                   '/',            'path';
    is $sse->query_string,           '',             'query_string';
    is $sse->scheme,                 'http',         'scheme';
    is $sse->http_version,           '1.1',          'http_version';
    is $sse->method,                 'GET',          'method';
    is [$sse->client, $sse->server], [undef, undef], 'client, server';
    is $sse->header('x'),            undef,          'header';
    is [$sse->header_all('x')],      [],             'header_all';
    is $sse->last_event_id,          undef,          'last_event_id';
    is $sse->path_params, {},        'path_params';
    is $sse->path_param('x'),        undef, 'path_param';
    is $sse->state, {},              'state';
    ref_is $sse->state, $sse->state, 'the same empty state each time';
};

my $peer = peer(
    scope => {
        path         => '/é',
        raw_path     => '/%C3%A9',
        query_string => 'a=1',
        scheme       => 'https',
        http_version => '2',
        method       => 'POST',
        client       => ['::1', 5],
        server       => ['h',   80],
        path_params  => { channel => 'news' },
        state        => { db      => 1 },
        headers      => [['x-a', '1'], ['cookie', 'k=v'], ['x-a', '2'], ['last-event-id', '42']],
    }
);
my $sse = $peer->sse;

subtest 'the scope is read' => sub {
    ref_is $sse->scope, $peer->scope, 'scope';
    is [map { $sse->$_ } qw(path raw_path query_string scheme http_version method client server)],
        ['/é', '/%C3%A9', 'a=1', 'https', '2', 'POST', ['::1', 5], ['h', 80]], 'accessors';
    is $sse->path_param('channel'),              'news', 'path_param';
    is $sse->path_params, { channel => 'news' }, 'path_params';
    is $sse->last_event_id,                      '42', 'last_event_id';
};

subtest 'header gives the last value, header_all every one, headers a Hash::MultiValue' => sub {
    is $sse->header('X-A'),       '2',    'header';
    is [$sse->header_all('x-a')], [1, 2], 'header_all';
    isa_ok $sse->headers, 'Hash::MultiValue';
    is [$sse->headers->get_all('x-a')], [1, 2], 'headers';
};

subtest 'stash is shared through the scope' => sub {
    $sse->stash->{user} = 'u';
    is $peer->scope->{'pagi.stash'}, { user => 'u' }, 'in the scope';
    my $other = scope('pagi.stash' => { from => 'middleware' });
    is(PAGI::SSE->new($other, sub { }, sub { })->stash, { from => 'middleware' }, 'from the scope');
};

subtest 'state comes from state, then from pagi.state' => sub {
    ref_is $sse->state, $peer->scope->{state}, 'state';
    is(peer(scope => { 'pagi.state' => { old => 1 } })->sse->state, { old => 1 }, 'pagi.state');
};

subtest 'query parameters' => sub {
    my $query = sub { peer(scope => { query_string => $_[0] })->sse };
    is $query->('a=1&b=x+y;c=%E2%98%BA&a=2')->query_params->mixed, { a => [1, 2], b => 'x y', c => "\x{263A}" },
        'decoded';
    is $query->('a=1&a=2')->query_param('a'),             2,      'the last value';
    is [$query->('a=1;a=2')->query_params->get_all('a')], [1, 2], 'all values';
    is $query->('k&e=&=v&&x=a=b')->query_params->mixed, { k => '', e => '', '' => 'v', x => 'a=b' }, 'odd forms';
    is $query->('a=%E9')->query_param('a'),                 "\x{FFFD}", 'invalid UTF-8 is replaced';
    is $query->('a=%E9')->query_param('a', raw => 1),       "\xE9",     'raw octets';
    is $query->('a=%E9')->raw_query_param('a'),             "\xE9",     'raw_query_param';
    is $query->('a=%C3%A9')->raw_query_params->get('a'),    "\xC3\xA9", 'raw_query_params';
    is $query->('a=%C3%A9')->query_param('a', strict => 1), "\xE9",     'strict on good input';
    like dies { $query->('a=%E9')->query_params(strict => 1) }, qr/not well-formed UTF-8: '%E9' at \Q$0\E/,
        'strict croaks';
    is $query->('a=%zz%')->query_param('a'), '%zz%', 'a percent sign that escapes nothing';
    is $query->('a=%')->query_param('b'),    undef,  'absent';
    like dies { $query->('')->query_params(lax => 1) }, qr/unknown option 'lax'/, 'unknown option';
};

subtest 'query options are pairs' => sub {
    is [
        warnings_of {
            like dies { peer()->sse->query_params('raw') },
                qr/query_params: takes name => value pairs at \Q$0\E/, 'query_params';
            like dies { peer()->sse->query_param('a', 'raw') }, qr/pairs/, 'query_param';
        }
        ],
        [], 'no warning';
};

done_testing;
