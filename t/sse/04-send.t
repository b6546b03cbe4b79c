use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

my $peer = peer();
my $sse = $peer->sse;
$sse->start->get;

# What an expression sends; its result must be the object, or 1.
sub sends {
    my ($name, $code, @events) = @_;
    @{ $peer->events } = ();
    my $future = $code->();
    is result_of($future), $name =~ /^try_/ ? 1 : exact_ref($sse), "$name: result";
    is $peer->events,      \@events,                               "$name: event";
}

sub message { return { type => 'sse.send', @_ } }

sends 'send',                  sub { $sse->send('hi') },                     message(data => 'hi');
sends 'send empty',            sub { $sse->send('') },                       message(data => '');
sends 'send 0',                sub { $sse->send(0) },                        message(data => 0);
sends 'send lines',            sub { $sse->send("a\nb\r\nc\rd\n") },         message(data => "a\nb\r\nc\rd\n");
sends 'try_send',              sub { $sse->try_send('hi') },                 message(data => 'hi');
sends 'send_json',             sub { $sse->send_json({ a => [1, undef] }) }, message(data => '{"a":[1,null]}');
sends 'send_json of a string', sub { $sse->send_json('x') },                 message(data => '"x"');
sends 'send_json of undef',    sub { $sse->send_json(undef) },               message(data => 'null');
sends 'try_send_json',         sub { $sse->try_send_json([]) },              message(data => '[]');
sends 'send_json of text', sub { $sse->send_json(["\x{e9}\x{263A}"]) }, message(data => qq(["\xC3\xA9\xE2\x98\xBA"]));

sends 'send_event', sub { $sse->send_event(data => 'x', event => 'tick', id => '7', retry => 5000) },
    message(data => 'x', event => 'tick', id => '7', retry => 5000);
sends 'send_event without the rest', sub { $sse->send_event(data => 'x') }, message(data => 'x');
sends 'send_event, absent fields mean no key',
    sub { $sse->send_event(data => 'x', event => undef, id => undef, retry => undef) }, message(data => 'x');
sends 'send_event, unknown fields are left out', sub { $sse->send_event(data => 'x', colour => 'red') },
    message(data => 'x');
sends 'send_event, an empty id resets', sub { $sse->send_event(data => 'x', id => '') }, message(data => 'x', id => '');
sends 'send_event, id 0',               sub { $sse->send_event(data => 'x', id => 0) },  message(data => 'x', id => 0);
sends 'send_event, retry 0', sub { $sse->send_event(data => 'x', retry => 0) },      message(data => 'x', retry => 0);
sends 'send_event encodes references', sub { $sse->send_event(data => { a => 1 }) }, message(data => '{"a":1}');
sends 'send_event, empty data',        sub { $sse->send_event(data => '') },         message(data => '');
sends 'try_send_event', sub { $sse->try_send_event(data => [1], event => 'e') }, message(data => '[1]', event => 'e');

sends 'send_comment',       sub { $sse->send_comment('ping') },     { type => 'sse.comment', comment => 'ping' };
sends 'send_comment empty', sub { $sse->send_comment('') },         { type => 'sse.comment', comment => '' };
sends 'try_send_comment',   sub { $sse->try_send_comment("a\nb") }, { type => 'sse.comment', comment => "a\nb" };

sends 'keepalive', sub { $sse->keepalive(30) }, { type => 'sse.keepalive', interval => 30, comment => '' };
sends 'keepalive with text', sub { $sse->keepalive('2.5', 'ping') },
    { type => 'sse.keepalive', interval => 2.5, comment => 'ping' };
sends "keepalive off, by @$_", sub { $sse->keepalive(@$_) }, { type => 'sse.keepalive', interval => 0, comment => '' }
    for [0], [];
sends 'keepalive, no line without a colon', sub { $sse->keepalive(1, "a\nb\r\n:c\rd") },
    { type => 'sse.keepalive', interval => 1, comment => "a\n:b\n:c\n:d" };

subtest 'objects: strings by overloading, JSON by TO_JSON' => sub {
    package Str {
        use overload '""' => sub { 'str' }, fallback => 1;
    }
    package Json {
        use overload '""' => sub { 'no' }, fallback => 1;
        sub TO_JSON { [1, 2] }
    }
    my ($str, $json) = (bless({}, 'Str'), bless({}, 'Json'));
    sends 'send of a stringy object', sub { $sse->send($str) }, message(data => 'str');
    sends 'send_event of a stringy object', sub { $sse->send_event(data => $str, event => $str) },
        message(data => 'str', event => 'str');
    sends 'send_event of a TO_JSON object', sub { $sse->send_event(data => $json) }, message(data => '[1,2]');
    sends 'send_comment of a stringy object', sub { $sse->send_comment($str) },
        { type => 'sse.comment', comment => 'str' };
    ok !ref $peer->events->[0]{comment}, 'as a plain string';
};

subtest 'what is sent is a copy' => sub {
    @{ $peer->events } = ();
    my %event = (data => 'x');
    $sse->send_event(%event)->get;
    is \%event, { data => 'x' }, 'the caller keeps his hash';
    my $data = 'before';
    $sse->send($data);
    $data = 'after';
    is $peer->data, ['x', 'before'], 'the event keeps its data';
};

subtest '$_ and @_ of the caller are left alone' => sub {
    local $_ = 'mine';
    $sse->send_event(data => {}, event => "\x{e9}", retry => 3)->get;
    is $_, 'mine', '$_';
};

package Text {
    use overload '""' => sub { 'text' };
    sub new { bless {}, $_[0] }
}
package TextAndJSON {
    our @ISA = 'Text';
    sub TO_JSON { { j => 1 } }
}
for my $class (qw(Text TextAndJSON)) {
    my $object = $class->new;
    sends "send of a $class", sub { $sse->send($object) }, message(data => 'text');
    sends "send_event with a $class as event and id",
        sub { $sse->send_event(data => 1, event => $object, id => $object) },
        message(data => 1, event => 'text', id => 'text');
    sends "send_comment of a $class", sub { $sse->send_comment($object) }, { type => 'sse.comment', comment => 'text' };
    sends "keepalive with a $class", sub { $sse->keepalive(1, $object) },
        { type => 'sse.keepalive', interval => 1, comment => 'text' };
}
sends 'send_event with a Text as data', sub { $sse->send_event(data => Text->new) }, message(data => 'text');
sends 'send_event with a TextAndJSON as data', sub { $sse->send_event(data => TextAndJSON->new) },
    message(data => '{"j":1}');
sends 'numbers are handed on as numbers', sub { $sse->keepalive(' 5') },
    { type => 'sse.keepalive', interval => 5, comment => '' };
sends "retry, too: $$_[0]", sub { $sse->send_event(data => 1, retry => $$_[0]) }, message(data => 1, retry => $$_[1])
    for ['007', 7], [1500.7, 1500], ['3e3', 3000], [' 1', 1], [0.9, 0];
sends 'try_send_event without data', sub { $sse->try_send_event(@$_) }, message(data => "", @$_[0 .. $#$_ - 2])
    for [], [event => 'x', id => 1, data => undef];
package Tied {
    sub TIESCALAR { bless [] }
    sub FETCH     { 'v' . ++$_[0][0] }
}
tie my $tied, 'Tied';
sends 'a tied value is read once', sub { $sse->send($tied) },               message(data => 'v1');
sends 'a tied value in an event',  sub { $sse->send_event(data => $tied) }, message(data => 'v2');

done_testing;
