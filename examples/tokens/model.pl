# A model server that is none: it speaks the chat protocol of OpenAI, and
# answers what it was asked, a word at a time.
#
#     perl/bin/pagi-sse serve --listen 127.0.0.1:5001 examples/tokens/model.pl
#     curl -N -H 'Accept: text/event-stream' http://127.0.0.1:5001/v1/chat/completions \
#         -d '{"stream":true,"messages":[{"role":"user","content":"Hello"}]}'
#
# A prompt with "refuse" gets the status 429; one with "break" breaks half way.
# The environment may set TOKENS_INTERVAL (seconds between two words, 0.06).

package Example::Tokens::Model;

use v5.26;
use warnings;
use feature 'signatures';
no warnings 'experimental::signatures';

use Future::AsyncAwait;
use Future::IO    ();
use JSON::MaybeXS ();
use PAGI::SSE     ();

my $INTERVAL = $ENV{TOKENS_INTERVAL} // 0.06;
my $json = JSON::MaybeXS->new(utf8 => 1, canonical => 1);

my $number = 0;

sub prompt_of ($request) {
    my $messages = ref $request eq 'HASH' && $request->{messages};
    my $last = ref $messages eq 'ARRAY' && $messages->[-1];
    my $content = ref $last eq 'HASH' ? $last->{content} : undef;
    return defined $content && !ref $content && length $content ? $content : undef;
}

# With the spaces, so that the parts make the whole.
sub words_for ($prompt) {
    my $text =
          qq{You said: "$prompt" I am no model, only a program that sends one word after the other, }
        . 'as a model does. Each word is an event of its own: it came from the model server to the application, '
        . 'which passed it on to your page the moment it was there. Nothing was collected, and nothing waits '
        . 'in a buffer. If you stop now, the application stops me as well.';
    return $text =~ /\S+\s*/g;
}

sub refusal ($message, $type) {
    return $json->encode({ error => { message => $message, type => $type, param => undef, code => undef } });
}

async sub decline ($sse, $status, $message, $type) {
    await $sse->decline(
        status  => $status,
        headers => [['content-type', 'application/json']],
        body    => refusal($message, $type)
    );
}

async sub completion ($sse) {
    return await decline($sse, 404, 'There is POST /v1/chat/completions', 'invalid_request_error')
        if $sse->path ne '/v1/chat/completions' || $sse->method ne 'POST';
    my $request = await $sse->json->else(sub { Future->done(undef) });
    my $prompt = prompt_of($request);
    return await decline($sse, 400, 'messages: the last has no content', 'invalid_request_error') if !defined $prompt;
    return await decline($sse, 429, 'You asked to be refused',           'rate_limit_error') if $prompt =~ /refuse/i;

    my $id = 'chatcmpl-' . ++$number;
    my $chunk = sub ($delta, $finish = undef) {
        return {
            id      => $id,
            object  => 'chat.completion.chunk',
            choices => [{ index => 0, delta => $delta, finish_reason => $finish }]
        };
    };
    my @words = words_for($prompt);
    my $fails_at = $prompt =~ /break/i ? @words / 2 : @words;
    await $sse->send_json($chunk->({ role => 'assistant', content => '' }));
    for my $sent (0 .. $#words) {
        await Future::IO->sleep($INTERVAL);
        # As a process that is killed: the stream ends without its end.
        die "the prompt wants it: broken\n" if $sent >= $fails_at;
        return unless await $sse->try_send_json($chunk->({ content => $words[$sent] }));
    }
    await $sse->send_json($chunk->({}, 'stop'));
    await $sse->send('[DONE]');
    await $sse->close;
}

async sub app ($scope, $receive, $send) {
    return await completion(PAGI::SSE->new($scope, $receive, $send)) if $scope->{type} eq 'sse';
    die "model: unsupported scope type '$scope->{type}'\n" if $scope->{type} ne 'http';
    my $body = refusal('Only streams here: ask with Accept: text/event-stream', 'invalid_request_error');
    await $send->({
        type    => 'http.response.start',
        status  => 406,
        headers => [['content-type', 'application/json'], ['content-length', length $body]]
    });
    await $send->({ type => 'http.response.body', body => $scope->{method} eq 'HEAD' ? '' : $body });
}

\&app;
