# A page that asks a model, and shows its words as they come.
#
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5001 examples/tokens/model.pl
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5000 examples/tokens/app.pl
#
# and open http://127.0.0.1:5000/. The environment may set TOKENS_MODEL, the URL
# of another model server that speaks the chat protocol of OpenAI, and
# TOKENS_KEY, the key for it.

package Example::Tokens;

use v5.26;
use warnings;
use feature 'signatures';
no warnings 'experimental::signatures';

use File::Basename ();
use File::Spec     ();
use Future::AsyncAwait;
use PAGI::SSE         ();
use PAGI::SSE::Client ();
use PAGI::SSE::Relay  ();

my $MODEL = $ENV{TOKENS_MODEL} || 'http://127.0.0.1:5001/v1/chat/completions';
my $PAGE = File::Spec->catfile(File::Basename::dirname(File::Spec->rel2abs(__FILE__)), 'index.html');

async sub refuse ($sse, $status, $message) {
    await $sse->decline(
        status  => $status,
        headers => [['content-type', 'application/json']],
        body    => qq({"error":{"message":"$message"}})
    );
}

async sub chat ($sse) {
    return await refuse($sse, 404, 'There is POST /chat') if $sse->path ne '/chat' || $sse->method ne 'POST';
    my $request = await $sse->json->else(sub { Future->done(undef) });
    my $prompt = ref $request eq 'HASH' ? $request->{prompt} : undef;
    return await refuse($sse, 400, 'prompt: a text') if !defined $prompt || ref $prompt || $prompt eq '';

    my $model = PAGI::SSE::Client->new(
        url     => $MODEL,
        method  => 'POST',
        headers => [defined $ENV{TOKENS_KEY} ? ['authorization', "Bearer $ENV{TOKENS_KEY}"] : ()],
        json    => { model => 'none', stream => \1, messages => [{ role => 'user', content => $prompt }] },
        silence => 60,
    );
    # All of it: the status when the model refuses, the words, an event when it
    # breaks off. Who leaves the page stops the model.
    await PAGI::SSE::Relay->new($sse, shape => 'openai')->from($model);
}

async sub respond ($scope, $send, $status, $headers, %body) {
    await $send->({ type => 'http.response.start', status => $status, headers => $headers });
    %body = (body => '') if !%body || $scope->{method} eq 'HEAD';
    await $send->({ type => 'http.response.body', %body });
}

async sub page ($scope, $send) {
    return await respond($scope, $send, 405, [['allow', 'GET, HEAD']]) if $scope->{method} !~ /\A(?:GET|HEAD)\z/;
    return await respond($scope, $send, 204, []) if $scope->{path} eq '/favicon.ico';
    return await respond($scope, $send, 404, [['content-type', 'text/plain']], body => "Not found\n")
        if $scope->{path} ne '/';
    await respond(
        $scope, $send, 200,
        [
            ['content-type',   'text/html; charset=utf-8'],
            ['content-length', -s $PAGE],
            ['cache-control',  'no-cache'],
            [
                'content-security-policy',
                q{default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'}
            ],
        ],
        file => $PAGE
    );
}

async sub app ($scope, $receive, $send) {
    return await chat(PAGI::SSE->new($scope, $receive, $send)) if $scope->{type} eq 'sse';
    return await page($scope, $send) if $scope->{type} eq 'http';
    die "tokens: unsupported scope type '$scope->{type}'\n";
}

\&app;
