use strict;
use warnings;

# What servers do wrong, and what a client says of it: the URL, and the limit
# that it was.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use PAGI::SSE::Client;
use T::Scripted;
use Time::HiRes ();

my $base = PAGI::SSE::FFI::handle_count();

# What next fails with, its place taken out; then undef.
sub failure_of {
    my ($server, @option) = @_;
    my $url = ref $server ? $server->url : $server;
    my $client = PAGI::SSE::Client->new(url => $url, retry => 100, proxy => 0, @option);
    my $error = dies { $client->next->get };
    my $line = __LINE__ - 1;
    is ref $error, 'PAGI::SSE::Client::Error' or return diag $error;
    is "$error",   'PAGI::SSE::Client: ' . $error->text . " at $0 line $line.\n";
    ok $error->is_final, 'it is final';
    is $client->next->get, undef, 'then there is no more';
    is $client->end_reason, 'failed';
    (my $text = $error->text) =~ s/\Q$url\E/URL/g;
    return wantarray ? ($error->kind, $text, $error) : $text;
}

subtest 'an answer that is no stream comes with its status, fields and body' => sub {
    my $json = '{"error":{"message":"no such model"}}';
    my ($kind, $text, $error) =
        failure_of(T::Scripted->new(answer(404, $json, 'content-type: application/json', 'x-a: 1', 'x-a: 2')));
    is [$kind, $text],                 ['status', 'the answer is 404 Not Found (URL)'];
    is $error->status,                 404;
    is $error->body,                   $json;
    is $error->is_cut,                 0;
    is $error->header('Content-Type'), 'application/json';
    is $error->header('x-a'),          2;
    is $error->header('x-b'),          undef;
    is $error->retry_in,               undef;
    (undef, undef, $error) = failure_of(T::Scripted->new(answer(500, 'x' x 1000)), max_refusal => 10);
    is [$error->body, $error->is_cut], ['x' x 10, 1], 'as much of it as may be';
};

my @cases = (
    [
        'a web page',
        answer(200, '<html>', 'content-type: text/html'),
        'content_type',
        'the answer is no event stream but "text/html" (URL)'
    ],
    ['no type', answer(200, 'x'), 'content_type', 'the answer has no content type (URL)'],
    [
        'another coding',
        stream('x', 'content-encoding: br'),
        'content_encoding', q(the stream's content coding is "br", not gzip (URL))
    ],
    [
        'a redirection to a place that is none',
        answer(302, '', 'location: ftp://h/'),
        'redirect',
        'a redirection (302) cannot be followed: it leads to "ftp://h/": the scheme ftp is none of http, https, http+unix (URL)'
    ],
    [
        'a redirection in a circle',
        answer(302, '', 'location: /'),
        'redirects',
        'more than 3 redirections, which is the limit (URL)',
        max_redirects => 3
    ],
    [
        'a redirection that is not wanted',
        answer(302, '', 'location: /'),
        'redirects',
        'more than 0 redirections, which is the limit (URL)',
        max_redirects => 0
    ],
    ['no HTTP', "SSH-2.0-OpenSSH\r\n", 'http', qr/\Athe answer is no HTTP: .* \(URL\)\z/, max_failures => 1],
    [
        'a head without an end', { octets => "HTTP/1.1 200 OK\r\n", hold => 1 },
        'head_timeout', 'there was no head of an answer after 0.2 s, the limit (URL)',
        head_timeout => 0.2,
        max_failures => 1
    ],
    [
        'a head that is too long',
        "HTTP/1.1 200 OK\r\nx: " . ('x' x 100_000),
        'http',
        'the head of the answer is over the limit of 65536 bytes (URL)',
        max_failures => 1
    ],
    [
        'an answer that breaks off',
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\n",
        'network',
        qr/\Athe connection broke: .* \(URL\)\z/,
        max_failures => 1
    ],
    [
        'gzip that is none',
        stream('plain text', 'content-encoding: gzip'),
        'gzip',
        qr/\Athe gzip data of the stream are broken: .* \(URL\)\z/,
        max_failures => 1
    ],
    [
        'silence', { octets => stream(''), hold => 1 },
        'silence', 'the stream was silent for 0.2 s, the limit (URL)',
        silence      => 0.2,
        max_failures => 1
    ],
    [
        'age', { octets => stream(''), hold => 1 },
        'age',
        'the client is at its age of 0.2 s, the limit (URL)',
        max_age => 0.2
    ],
);
for my $case (@cases) {
    my ($name, $answer, $kind, $text, @option) = @$case;
    subtest $name => sub {
        my @got = failure_of(T::Scripted->new($answer), @option);
        is $got[0], $kind;
        ref $text ? like $got[1], $text : is $got[1], $text;
    };
}

subtest 'nobody there' => sub {
    my @once = (max_failures => 1);
    is failure_of('http://127.0.0.1:1/',             @once), '127.0.0.1:1: Connection refused (URL)';
    is failure_of('http+unix:/no/such.sock:/events', @once), '/no/such.sock: No such file or directory (URL)';
    my ($kind, $text) = failure_of('http://no.such.name.invalid/', @once);
    is $kind, 'resolve';
    like $text, qr/\Athe name no\.such\.name\.invalid has no address: .* \(URL\)\z/;
};

subtest 'what is over a limit is left out, told, and the stream goes on' => sub {
    my $server =
        T::Scripted->new(stream(join '', 'data: ' . ('x' x 100) . "\n\n", "data: 1\ndata: 23\n\n", "data: 4\n\n"),
        T::Scripted::NO_CONTENT);
    my @errors;
    my $client = PAGI::SSE::Client->new(url => $server->url, retry => 100, max_line => 50, max_event => 3, proxy => 0);
    $client->on(error => sub { push @errors, @_ });
    is $client->next->get->data, 4;
    is $client->next->get,       undef;
    my $url = $server->url;
    is [map { [$_->kind, $_->text, $_->is_over] } @errors],
        [
        ['line_too_long',   "a line over the limit of 50 bytes was left out ($url)",  0],
        ['event_too_large', "an event over the limit of 3 bytes was left out ($url)", 0],
        ['ended',           "the stream has ended ($url)",                            1],
        ];
};

subtest 'a line without an end is left out, however long' => sub {
    my $server = T::Scripted->new({ octets => stream("data: 1\n\ndata: "), flood => 'x' x 65_536 });
    my $client = PAGI::SSE::Client->new(url => $server->url, proxy => 0);
    my $told;
    $client->on(error => sub { $told = $_[0]->text; $client->close });
    is $client->next->get->data, 1;
    is $client->next->get,       undef;
    is $told,                    'a line over the limit of 1048576 bytes was left out (' . $server->url . ')';
};

subtest 'what nobody hears of is a warning' => sub {
    my $server = T::Scripted->new(answer(404, ''));
    my $over = PAGI::SSE::Loop->new_future;
    my $warnings = warnings {
        my $client = PAGI::SSE::Client->new(url => $server->url, proxy => 0);
        $client->on(event => sub { })->on(end => sub { $over->done(@_) });
        is $over->get, 'failed';
    };
    is $warnings, ['PAGI::SSE::Client: the answer is 404 Not Found (' . $server->url . ")\n"];
};

is PAGI::SSE::FFI::handle_count(), $base, 'every handle was given back';
done_testing;
