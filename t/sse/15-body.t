use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

subtest 'the whole body, in pieces or at once' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $body = $sse->body;
    $peer->incoming({ type => 'sse.request', body => 'ab', more => 1 });
    ok !$body->is_ready, 'more to come';
    $peer->incoming({ type => 'sse.request', body => "\xFFc", more => 0 });
    is result_of($body),      "ab\xFFc", 'octets';
    is result_of($sse->body), "ab\xFFc", 'again';
    is $peer->{receives},     2,         'no $receive beyond the end of the body, before the start';
};

subtest 'no body' => sub {
    my $peer = peer();
    $peer->incoming({ type => 'sse.request', body => '', more => 0 });
    is result_of($peer->sse->body), '', 'empty';
};

subtest 'run and every do not lose it' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $run = $sse->run;
    $peer->incoming({ type => 'sse.request', body => '{"a"', more => 1 })
        ->incoming({ type => 'sse.request', body => ':1}', more => 0 });
    is result_of($sse->body), '{"a":1}', 'body';
    is result_of($sse->json), { a => 1 }, 'json';
    ok !$run->is_ready, 'run goes on';
    $peer->disconnect('client_closed');
    ok $run->is_done, 'and hears of the disconnect that follows';
};

subtest 'body, then run: the disconnect is not lost' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $peer->incoming({ type => 'sse.request', body => 'x' })->disconnect('client_closed');
    is result_of($sse->body), 'x', 'body';
    ok !$sse->is_closed,   'not yet';
    ok $sse->run->is_done, 'run';
    is $sse->disconnect_reason, 'client_closed', 'reason';
    is result_of($sse->body),   'x',             'the body is still there';
};

subtest 'the client goes in the middle' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my ($body, $json) = ($sse->body, $sse->json);
    $peer->incoming({ type => 'sse.request', body => 'x', more => 1 })->disconnect('client_closed');
    like failure_of($_), qr/\APAGI::SSE: body: the connection ended before the end of the request body/, 'fails'
        for $body, $json;
    is $sse->disconnect_reason, 'client_closed', 'reason';
};

subtest 'the size limit' => sub {
    my $peer = peer(options => [max_body => 10]);
    my $sse = $peer->sse;
    my $run = $sse->run;
    my $body = $sse->body;
    $peer->incoming({ type => 'sse.request', body => 'x' x 10, more => 1 });
    ok !$body->is_ready, '10 octets fit';
    $peer->incoming({ type => 'sse.request', body => 'y', more => 0 });
    like failure_of($body), qr/body_too_large: the request body exceeds 10 octets \(max_body\)/, 'one more does not';
    like failure_of($sse->json), qr/body_too_large/,                                             'json says so, too';
    ok !$sse->is_closed, 'the connection goes on';
    is length $sse->{inbox}{body}, 0, 'nothing is kept';
};

subtest 'what is not JSON' => sub {
    for my $text ('', '{', "\xFF", '1 2') {
        my $peer = peer();
        $peer->incoming({ type => 'sse.request', body => $text });
        my $sse = $peer->sse;
        like failure_of($sse->json), qr/\APAGI::SSE: json: the request body is not JSON: /, "'$text'";
        ok !$sse->is_closed, 'the connection goes on';
    }
    my $peer = peer();
    $peer->incoming({ type => 'sse.request', body => '"\u263A"' });
    is result_of($peer->sse->json), "\x{263A}", 'any JSON value, decoded';
};

subtest 'body does not start the stream' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->body;
    is $peer->events, [], 'nothing sent';
};

subtest 'after close' => sub {
    my $sse = peer()->sse;
    $sse->close;
    like failure_of($sse->body), qr/ended before the end/, 'fails';
};

subtest 'the message names the line that asked' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my ($body, $json, $line) = ($sse->body, $sse->json, __LINE__);
    $peer->disconnect;
    like failure_of($_), qr/ at \Q$0\E line $line\.\n\z/, 'later' for $body, $json;
    $peer = peer();
    ($json, $line) = ($peer->sse->json, __LINE__);
    $peer->incoming({ type => 'sse.request', body => '{' });
    like failure_of($json), qr/not JSON: .* at \Q$0\E line $line\.\n\z/, 'what is not JSON';
};

subtest 'the object goes with its body' => sub {
    my $receive = Future->new;
    my $got;
    my @warnings = warnings_of {
        PAGI::SSE->new(scope(), sub { $receive }, sub { })->body->on_done(sub { $got = $_[0] });
        $receive->done({ type => 'sse.request', body => 'x' });
    };
    is [$got, @warnings], ['x'], 'the body, and no warning';
};

done_testing;
