use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::MaybeXS qw(decode_json encode_json);
use T::Client;
use T::Serve;
use Test2::V0;

my $model =
    T::Serve->app('examples/tokens/model.pl', args => ['--access-log', '-'], env => { TOKENS_INTERVAL => 0.01 });
my $app = T::Serve->app('examples/tokens/app.pl', env => { TOKENS_MODEL => $model->url('/v1/chat/completions') });

# The client of a POST, after the head of its answer.
sub ask {
    my ($body, $path) = @_;
    my $client = T::Client->new(port => $app->port);
    $client->request(POST => $path // '/chat', headers => ['Accept' => 'text/event-stream'], body => $body);
    return $client;
}

subtest 'an answer comes word by word' => sub {
    my $client = ask(encode_json({ prompt => 'Hello' }));
    is $client->status, 200, 'a stream';
    my @data;
    while (my $event = $client->event) { push @data, $event->{data} }
    is pop @data, '[DONE]', 'its end as it came';
    my @delta = map { decode_json($_)->{choices}[0]{delta} } @data;
    is $delta[0],  { role => 'assistant', content => '' }, 'the first';
    is $delta[-1], {},                                     'the last';
    like join('', map { $_->{content} // '' } @delta), qr/\AYou said: "Hello" I am no model, .* me as well\.\z/,
        'all of it';
};

subtest 'what the model refuses is refused' => sub {
    my $client = ask(encode_json({ prompt => 'refuse' }));
    is $client->status,                              429,                       'its status';
    is $client->header('content-type'),              'application/json',        'its type';
    is decode_json($client->body)->{error}{message}, 'You asked to be refused', 'its words';
};

subtest 'a model that breaks is an event' => sub {
    my $client = ask(encode_json({ prompt => 'break' }));
    my @data;
    while (my $event = $client->event) { push @data, decode_json($event->{data}) }
    is $data[-1]{error}{message}, 'the connection to the upstream broke', 'the last';
    ok @data > 5, 'after what had come';
};

subtest 'who leaves stops the model' => sub {
    my $client = ask(encode_json({ prompt => 'Hello' }));
    $client->event;
    $client->close;
    ok $model->wait_for_log(qr{"POST /v1/chat/completions HTTP/1\.1" 200 .* client_closed$}m), 'it has noticed';
};

subtest 'what is no question' => sub {
    for my $case (['no', 400], ['[]', 400], ['{"prompt":{}}', 400], ['{"prompt":""}', 400]) {
        my ($body, $status) = @$case;
        is ask($body)->status, $status, $body;
    }
    is ask('{"prompt":"x"}', '/other')->status, 404, 'another path';
};

subtest 'the page' => sub {
    my $client = T::Client->fetch($app->port, GET => '/');
    is [$client->status, $client->header('content-type')], [200, 'text/html; charset=utf-8'], 'is there';
    is [map { T::Client->fetch($app->port, @$_)->status } [GET => '/x'], [POST => '/'], [GET => '/favicon.ico']],
        [404, 405, 204], 'and nothing else';
};

$model->stop;
subtest 'no model' => sub {
    my $client = ask(encode_json({ prompt => 'Hello' }));
    is $client->status,                              502,                              '502';
    is decode_json($client->body)->{error}{message}, 'the upstream cannot be reached', 'in words';
};

is $app->stop, 0, 'it stops in order';

done_testing;
