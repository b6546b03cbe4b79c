use strict;
use warnings;

# The struct of an event, as Perl packs it: what is absent, empty, and what
# kinds of scalars there are.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use PAGI::SSE::FFI            ();
use PAGI::SSE::FFI::Constants qw(EVENT_DELETE EVENT_RETRY);

sub framed { return PAGI::SSE::FFI::frame_event(@_) }

my @warnings;
local $SIG{__WARN__} = sub { push @warnings, @_ };

is framed(undef,         undef,  undef, undef), '',                                           'nothing';
is framed('',            '',     '',    0),     "id: \nretry: 0\ndata: \n\n",                 'empty is there';
is framed(undef,         undef,  undef, 1500),  "retry: 1500\n\n",                            'retry alone';
is framed('a',           'tick', '7',   undef), "event: tick\nid: 7\ndata: a\n\n",            'all but retry';
is framed("a\0\xc3\xa9", undef,  undef, undef), "data: a\0\xc3\xa9\n\n",                      'octets, NUL among them';
is framed(42,            1.5,    -3,    '9'),   "event: 1.5\nid: -3\nretry: 9\ndata: 42\n\n", 'numbers';
is framed(substr('abc', 1, 1), lc 'TICK', 'i' x 3, undef), "event: tick\nid: iii\ndata: b\n\n", 'temporary values';
is framed('x' x 100_000,       undef,     undef,   undef), 'data: ' . 'x' x 100_000 . "\n\n",   'a large one';
my $tail = "\x{100}ab";
$tail =~ s/^.//;
is framed($tail, undef, undef, undef), "data: ab\n\n", 'ASCII that perl has as characters';

my ($data, $key) = ('x', 'k');
is [unpack 'J (x[J] J)4 Q L L', PAGI::SSE::FFI::event($data, undef, undef, $key, 7, EVENT_DELETE)],
    [88, 1, 0, 0, 1, 7, EVENT_DELETE | EVENT_RETRY, 0], 'the struct';
like dies { framed('x', "a\nb", undef, undef) }, qr/\APAGI::SSE: an event type must not contain CR or LF/,
    'what the library refuses';
is \@warnings, [], 'no warnings';

done_testing;
