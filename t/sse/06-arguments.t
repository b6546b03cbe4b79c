use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# An argument error touches neither wire nor state: send* fails, try_* gives 0
# and calls on_error.

my @cases = (
    [send => [{}], qr/send: data must be text, got a reference \(HASH\); send_json and send_event encode references/],
    [send_json  => [sub { }], qr/send_json: /],
    [send_event => ['data'],  qr/send_event takes name => value pairs/],
    [
        send_event => [data => 1, event => "a\nb"],
        qr/send_event: an event type must not contain CR or LF, got 'a\\x\{A\}b'/
    ],
    [send_event => [data => 1, event => "a\rb"], qr/an event type must not contain CR or LF/],
    [send_event => [data => 1, id    => "a\nb"], qr/an id must not contain CR or LF, got 'a\\x\{A\}b'/],
    [send_event => [data => 1, id    => "a\r"],  qr/an id must not contain CR or LF/],
    [send_event => [data => 1, id    => "a\0"],  qr/an id must not contain NUL/],
    [send_event => [data => 1, id    => []],     qr/send_event: id must be text, got a reference \(ARRAY\)/],
    [send_event => [data => \*STDOUT], qr/send_event: data: /],
    (
        map { [
            send_event => [data => 1, retry => $_],
            qr/retry must be a number of milliseconds from 0 to 999999999999999, got '\Q$_\E'/
        ] } -1,
        -0.5, 'soon', '', '1_000', '0x10', 'inf', 'nan', '1e15',
        '9' x 20
    ),
    [send_comment => [{}], qr/a comment must be text, got a reference \(HASH\)/],
);

for my $started (0, 1) {
    subtest $started ? 'after the start' : 'before the start' => sub {
        my $peer = peer();
        my $sse = $peer->sse;
        my @errors;
        $sse->on_error(sub { push @errors, [@_] });
        $sse->start->get if $started;
        my $state = $sse->connection_state;
        my @before = @{ $peer->events };
        for my $case (@cases) {
            my ($method, $args, $message) = @$case;
            my $failure = failure_of($sse->$method(@$args));
            like $failure, qr/\APAGI::SSE: .*$message/,   "$method: the message";
            like $failure, qr/ at \Q$0\E line \d+\.\n\z/, "$method: at the caller's line";
            @errors = ();
            my $try = "try_$method";
            is result_of($sse->$try(@$args)), 0, "$try gives 0";
            is scalar @errors,                1, "$try calls on_error once";
            ref_is $errors[0][0], $sse, 'with the object';
            like $errors[0][1], $message =~ s/\Q^: \E//r =~ /send(?:_json)?: / ? qr/./ : $message, 'and the error';
        }
        is $peer->events,           \@before, 'nothing was sent';
        is $sse->connection_state,  $state,   'the state is what it was';
        is $sse->disconnect_reason, undef,    'no reason';
    };
}

subtest 'without on_error, try_* warns' => sub {
    my $sse = peer()->sse;
    my @warnings = warnings_of { is result_of($sse->try_send([])), 0, 'gives 0' };
    is scalar @warnings, 1, 'one warning';
    like $warnings[0], qr/\APAGI::SSE: try_send: data must be text, .* at \Q$0\E line/, 'what and where';
};

subtest 'keepalive checks its interval' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    for my $bad ('', -1, 'often', 86_401, 'inf', 'nan', '1s', []) {
        like failure_of($sse->keepalive($bad)),
            qr/\APAGI::SSE: keepalive: the interval must be a number of seconds from 0 to 86400, got .* at \Q$0\E/,
            $bad;
    }
    like failure_of($sse->keepalive(1, [])), qr/the comment must be text/, 'the comment';
    is $peer->events, [], 'nothing was sent';
};

subtest 'on* die at the caller' => sub {
    my $sse = peer()->sse;
    like dies { $sse->on_close },      qr/on_close requires a code reference, got undef at \Q$0\E/, 'on_close';
    like dies { $sse->on_error('x') }, qr/on_error requires a code reference, got 'x' at \Q$0\E/,   'on_error';
    like dies {
        $sse->on(open => sub { })
    }, qr/Unknown event type 'open'.* at \Q$0\E/, 'on';
    like dies { $sse->on }, qr/Unknown event type ''/, 'on without arguments';
};

subtest 'each and every fail, and leave the connection alone' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    like failure_of($sse->each('x', sub { })),
        qr/each requires an array reference or a code reference, got 'x' at \Q$0\E/, 'each: items';
    like failure_of($sse->each([])), qr/each requires a callback, got undef at/, 'each: callback';
    like failure_of($sse->every($_, sub { })), qr/every requires an interval in seconds > 0, got '\Q$_\E' at \Q$0\E/,
        "every: $_"
        for 0, -1, 'x', 'inf', 'nan';
    like failure_of($sse->every(undef, sub { })), qr/interval in seconds > 0, got undef/,      'every: undef';
    like failure_of($sse->every(1)),              qr/every requires a callback, got undef at/, 'every: callback';
    is $peer->events, [], 'nothing was sent';
};

subtest 'a long value is cut in the message' => sub {
    my $failure = failure_of(peer()->sse->send_event(data => 1, id => "\n" . 'x' x 5_000_000));
    ok length $failure < 250, 'short';
    like $failure, qr/got '\\x\{A\}x{56}\.\.\.'/, 'and says so';
};

sub helper { return My::Package::of_an_application(@_) }
{
    package My::Package;
    sub of_an_application { return $_[0]->send_event(id => 1) }
    sub line              { return __LINE__ - 1 }
}

subtest 'the line is where the method was called' => sub {
    use Future::AsyncAwait;
    my $at = qr/ at \Q$0\E line ${\ My::Package::line() }\.\n\z/;
    my $sse = peer()->sse;
    like failure_of(helper($sse)), $at, 'a helper in another package';
    my $resume = Future->new;
    my $failure;
    (async sub { await $resume; $failure = failure_of(helper($sse)) })->()->retain;
    $resume->done;
    like $failure, $at, 'in an async sub that was resumed';
};

done_testing;
