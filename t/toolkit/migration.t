use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# docs/migration.md lists what differs on purpose: a check for each row of its
# table, and no row without one.

use Future;
use Future::AsyncAwait;
use Scalar::Util qw(refaddr weaken);

my %check = (
    'a failed `try_send`' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my @log;
        $sse->on_close(sub { push @log, "close $_[1]" })->on_error(sub { push @log, "error $_[1]" });
        $sse->start->get;
        $peer->mode('fail');
        is result_of($sse->try_send('x')), 0,                                               'gives 0';
        is \@log,                          ["error the wire broke\n", 'close write_error'], 'on_error, then on_close';
    },
    'the request body' => sub {
        for my $method (qw(run every)) {
            my $peer = peer();
            my $sse = $peer->sse;
            $method eq 'run' ? $sse->run : $sse->every(60, sub { });
            is $peer->{receives}, 1, "$method: one \$receive";
            $peer->incoming({ type => 'sse.request', body => '{"a":', more => 1 });
            $peer->incoming({ type => 'sse.request', body => '1}',    more => 0 });
            is result_of($sse->body), '{"a":1}', "$method keeps the body";
            is result_of($sse->json), { a => 1 }, 'as JSON, too';
            $sse->close;
        }
    },
    'one object' => sub {
        my $peer = peer();
        my ($send, $receive) = ($peer->send, $peer->receive);
        my $new = sub { PAGI::SSE->new($peer->scope, $receive, $send) };
        my $address = refaddr $new->();
        $new->()->close(reason => 'x-why');
        is [refaddr $new->(), $new->()->disconnect_reason], [$address, 'x-why'], 'with its state';
    },
    'the newest scope' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        PAGI::SSE->new({ %{ $peer->scope }, path_params => { id => 7 } }, $peer->receive, $peer->send);
        is $sse->path_param('id'), 7, 'the parameter of the copy';
    },
    'text' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        $sse->$_("\x{263A}")->get for qw(send send_json);
        is $peer->data, ["\xE2\x98\xBA", "\"\xE2\x98\xBA\""], 'octets';
        my $other = peer();
        $other->sse(text => 'characters')->$_("\x{263A}")->get for qw(send send_json);
        is $other->data, ["\x{263A}", "\"\x{263A}\""], 'characters';
    },
    'a reference as text' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        like failure_of($sse->send({})), qr/send: data must be text, got a reference \(HASH\)/, 'fails';
        $sse->send_json({})->get;
        $sse->send_event(data => [1])->get;
        is $peer->data, ['{}', '[1]'], 'others encode';
    },
    'line ends in `event` and `id`' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        like failure_of($sse->send_event(data => 1, @$_)), qr/must not contain/, "$_->[0]"
            for [event => "a\nb"], [event => "a\rb"], [id => "a\nb"], [id => "a\rb"], [id => "a\0b"];
        is $peer->data, [], 'nothing goes out';
    },
    'status and headers of `start`' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        like failure_of($sse->start(status  => 99)), qr/status must be a whole number from 200 to 599/,       'status';
        like failure_of($sse->start(headers => [['a', "b\nc"]])), qr/the value of header 'a' must be octets/, 'headers';
        is $peer->events, [], 'nothing goes out';
    },
    'unknown options of `start`, `close`, `decline`' => sub {
        for my $method (qw(start close decline)) {
            my $peer = peer();
            my $sse = $peer->sse;
            like failure_of($sse->$method(colour => 1)), qr/$method: unknown option 'colour' \(known: /, $method;
            is [$sse->connection_state, @{ $peer->events }], ['pending'], 'nothing else';
        }
    },
    'an id that cannot come back' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        ok $sse->send_event(data => 1, id => "a${_}b")->is_failed, sprintf 'U+%04X', ord for "\x0c", "\x01", "\x7f";
        $sse->send_event(data => 1, id => "caf\xe9 7")->get;
        is [map { $_->{id} } grep { $_->{id} } @{ $peer->events }], ["caf\xc3\xa9 7"], 'others go out';
    },
    'limits of numbers and reasons' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        ok $sse->keepalive(86_401)->is_failed,                      'keepalive';
        ok $sse->send_event(data => 1, retry => 10**15)->is_failed, 'retry';
        ok $sse->close(reason => 'x' x 1025)->is_failed,            'reason';
        is [$sse->connection_state, @{ $peer->events }], ['pending'], 'nothing else';
        ok $sse->close(reason => 'x' x 1024)->is_done, 'a reason of 1,024';
    },
    'objects in JSON' => sub {
        my $sse = peer()->sse;
        my $object = bless {}, 'Without::ToJson';
        ok $sse->send_json({ a => $object })->is_failed, "time $_" for 1, 2;
    },
    'lone surrogates' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        no warnings 'surrogate';
        $sse->send("caf\x{e9} \x{20ac} " . chr 0xD83D)->get;
        $sse->send_json(["caf\x{e9} \x{20ac} " . chr 0xD83D])->get;
        my $octets = "caf\xc3\xa9 \xe2\x82\xac \xef\xbf\xbd";
        is $peer->data, [$octets, qq(["$octets"])], 'U+FFFD';
    },
    'un-awaited sends' => sub {
        my $peer = peer(send => 'pending');
        my $sse = $peer->sse;
        my @sent = map { $sse->send($_) } 1 .. 1_001;
        like failure_of($sent[-1]), qr/queue_overflow/, 'bounded in events';
        $peer->accept;
        is [$peer->{most}, $peer->data], [1, [1 .. 1_000]], 'one at a time, in order';
        my $slow = peer(send => 'pending');
        my $other = $slow->sse;
        my $large = 'x' x 2_000_000;
        my ($start, $fits, $not) = ($other->start, map { $other->send($large) } 1, 2);
        ok !$fits->is_ready, 'one of any size fits';
        like failure_of($not), qr/queue_overflow/, 'bounded in octets';
        $slow->accept;
    },
    "lines of a keepalive's comment" => sub {
        my $peer = peer();
        $peer->sse->keepalive(5, "a\nid: b")->get;
        is $peer->events->[0]{comment}, "a\n:id: b", 'a colon before each that a server leaves alone';
    },
    'a `$receive` that fails' => sub {
        my $sse = peer(receive => sub { Future->fail("gone\n") })->sse;
        my @log;
        $sse->on_close(sub { push @log, "close $_[1]" })->on_error(sub { push @log, "error $_[1]" });
        is [result_of($sse->run)], [],                                   'run resolves';
        is \@log,                  ["error gone\n", 'close read_error'], 'on_error, then on_close';
    },
    'a `$receive` that is always ready' => sub {
        my $calls = 0;
        my $sse = peer(receive => sub { $calls++ > 10_000 and die "spinning\n"; Future->done({ type => 'x' }) })->sse;
        my $run = $sse->run;
        ok !$run->is_ready && $calls <= 1_000, "run waits, after $calls calls";
        $sse->close;
    },
    '`on_close` after the end' => sub {
        my $sse = peer()->sse;
        $sse->close;
        my @told;
        $sse->on_close(sub { push @told, $_[1] });
        is \@told, ['app_closed'], 'called';
    },
    'callbacks that hold `$sse`' => sub {
        my $weak;
        {
            my $peer = peer();
            my $sse = $peer->sse;
            $sse->on_close(sub { $sse })->on_error(sub { $sse });
            $sse->close;
            weaken($weak = $sse);
            %{ $peer->scope } = ();
        }
        is $weak, undef, 'gone';
    },
    'a callback of `each` or `every` after the end' => sub {
        for my $method (qw(each every)) {
            my $peer = peer();
            my $sse = $peer->sse;
            my $later = Future->new;
            my $callback = async sub { await $later; await $sse->send('late') };
            my $loop = $method eq 'each' ? $sse->each([1, 2], $callback) : $sse->every(60, $callback);
            $peer->disconnect('client_closed');
            $later->done;
            ok $loop->is_done, "$method resolves";
        }
    },
    'an error inside of `on_error`' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my $calls = 0;
        $sse->on_error(sub { die "spinning\n" if $calls++ > 10; $sse->try_send({}) });
        my @warnings = warnings_of { is result_of($sse->try_send({})), 0, 'try_send' };
        is $calls, 1, 'called once';
        like \@warnings, [qr/try_send: data must be text/], 'and a warning';
    },
);

open my $in, '<', root() . '/docs/migration.md' or die "docs/migration.md: $!";
my @rows = map { /\A\| ([^|]*?) \| [^|]+ \| [^|]+ \| [^|]+ \|\s*\z/ ? $1 : () } <$in>;
close $in;
my %row = map { $_ => 1 } @rows;

is [sort keys %row], [sort keys %check], 'each row has a check, each check a row';
is scalar @rows,     scalar keys %row,   'no row twice';

for my $row (@rows) {
    subtest $row => $check{$row} || sub { fail 'no check' };
}

done_testing;
