use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

my $code = sub { Future->new };

subtest 'new checks its arguments in order' => sub {
    like dies { PAGI::SSE->new },                   qr/\APAGI::SSE requires scope/,   'no scope';
    like dies { PAGI::SSE->new([], $code, $code) }, qr/requires scope/,               'no hash';
    like dies { PAGI::SSE->new({}) },               qr/\APAGI::SSE requires receive/, 'no receive';
    like dies { PAGI::SSE->new({}, 'x', $code) },   qr/requires receive/,             'receive is a string';
    like dies { PAGI::SSE->new({}, $code) },        qr/\APAGI::SSE requires send/,    'no send';
    like dies { PAGI::SSE->new({}, $code, {}) },    qr/requires send/,                'send is a hash';
    like dies { PAGI::SSE->new({ type => 'http' }, $code, $code) },
        qr/\APAGI::SSE requires scope type 'sse', got 'http' at \Q$0\E line/, 'wrong type, and where';
    like dies { PAGI::SSE->new({}, $code, $code) }, qr/requires scope type 'sse'/, 'no type';
};

subtest 'objects that act as code are code' => sub {
    package Callable {
        use overload '&{}' => sub { my $code = $_[0]{code}; $code };
    }
    my $callable = bless { code => sub { Future->done } }, 'Callable';
    ok lives {
        PAGI::SSE->new(scope(), $callable, bless sub { Future->done }, 'Blessed')
    }, 'both kinds';
};

subtest 'options are checked' => sub {
    like dies { peer()->sse(txt      => 1) },      qr/unknown option 'txt'/,                              'unknown';
    like dies { peer()->sse(text     => 'utf8') }, qr/text must be 'octets' or 'characters', got 'utf8'/, 'text';
    like dies { peer()->sse(max_body => -1) }, qr/max_body must be a whole number from 0 to 999999999999999, got '-1'/,
        'limits';
};

subtest 'a new connection is pending' => sub {
    my $sse = peer()->sse;
    isa_ok $sse, 'PAGI::SSE';
    is $sse->connection_state,  'pending', 'connection_state';
    is $sse->disconnect_reason, undef,     'disconnect_reason';
    ok !$sse->is_started,   'is_started';
    ok !$sse->is_closed,    'is_closed';
    ok !$sse->is_connected, 'is_connected';
};

subtest 'nothing is sent or received by new and accessors' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->$_ for qw(path headers stash state is_closed buffered_amount);
    is $peer->events,     [], 'nothing sent';
    is $peer->{receives}, 0,  'nothing received';
};

subtest 'options are pairs, and undef means the default' => sub {
    is [
        warnings_of {
            like dies { PAGI::SSE->new(scope(), $code, $code, 'text') },
                qr/new: takes name => value pairs at \Q$0\E/, 'pairs';
            ok lives { peer()->sse(text => undef, max_body => undef) }, 'undef';
        }
        ],
        [], 'no warning';
};

done_testing;
