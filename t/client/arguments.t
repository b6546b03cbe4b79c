use strict;
use warnings;

# What a client, an event and a parser refuse, each with its sentence, at the
# application's line; and nothing is left of it.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use PAGI::SSE::Client;
use PAGI::SSE::Parser;

# An error without the number of its line.
sub at { my ($error) = @_; $error =~ s/ at \Q$0\E line [0-9]+\.\n\z// or return "no place: $error"; return $error }

my $base = PAGI::SSE::FFI::handle_count();
my @url = (url => 'http://127.0.0.1:1/');
my $known =
      'backoff body ca_file connect_timeout gzip head_timeout headers insecure json last_event_id max_age max_bytes'
    . ' max_event max_failures max_items max_line max_redirects max_refusal method proxy resume retry retry_on silence url';
my $times = 'must be from 0.001 to 86400000 seconds';
my $pairs = 'headers must be a reference to an array of [name, value] pairs, got';

my @new = (
    [[]      => "'url' is missing"],
    [['url'] => 'takes name => value pairs'],
    [[@url, colour => 1]                 => "unknown option 'colour' (known: $known)"],
    [[url          => '']                => 'the URL "": relative URL without a base'],
    [[url          => 'events']          => 'the URL "events": relative URL without a base'],
    [[url          => 'ftp://h/']        => 'the URL "ftp://h/": the scheme ftp is none of http, https, http+unix'],
    [[url          => 'http://h:99999/'] => 'the URL "http://h:99999/": invalid port number'],
    [[url          => 'http://me:secret@h:99999/'] => "the URL \"http:\\u{2026}\@h:99999/\": invalid port number"],
    [[url          => "http://h/\n"]               => 'the URL "http://h/\n": it contains a control character'],
    [[url          => []]                          => "'url' must be text, got a reference (ARRAY)"],
    [
        [url => 'http+unix:run/x'] =>
            'the URL "http+unix:run/x": a socket is http+unix:/path or http+unix:/path:/request/path'
    ],
    [[@url, method  => 'HEAD']       => 'the method HEAD has no stream'],
    [[@url, method  => 'GE T']       => 'the method "GE T" is no token'],
    [[@url, headers => {}]           => "$pairs a reference (HASH)"],
    [[@url, headers => [['a']]]      => "$pairs one of 1 in it"],
    [[@url, headers => [['a b', 1]]] => "a header name must be a token, got 'a b'"],
    [
        [@url, headers => [['a', "x\ny"]]] =>
            "the value of header 'a' must be octets without CR, LF, NUL and other controls, got 'x\\x{A}y'"
    ],
    [[@url, headers => [['Content-Length', 1]]] => "the field content-length is the client's to set"],
    [[@url, headers => [['Last-Event-ID', 1]]]  => "the field last-event-id is the client's to set"],
    [[@url, body => "\x{263A}"]     => "'body' must be octets, but there is a character above 0xFF in '\\x{263A}'"],
    [[@url, body => {}]             => "'body' must be octets, not a reference (HASH)"],
    [[@url, body => 'x', json => 1] => "takes 'body' or 'json', not both"],
    [[@url, last_event_id => "a\nb"]     => 'the last event id contains NUL, CR or LF'],
    [[@url, last_event_id => 'x' x 4097] => 'the last event id is longer than 4096 bytes'],
    [[@url, resume        => 'yes']      => "'resume' must be never, get or always, not 'yes'"],
    [[@url, retry_on      => 503]        => "'retry_on' must be a reference to an array of statuses, not '503'"],
    [[@url, retry_on      => [200]]      => "'retry_on' has what is no status of a failure, '200'"],
    [[@url, retry     => 3]      => "'retry' must be a whole number of milliseconds from 100 to 86400000, not '3'"],
    [[@url, max_event => 0]      => "'max_event' must be a whole number of bytes from 1 to 134217728, not '0'"],
    [[@url, max_line  => 2**30]  => "'max_line' must be a whole number of bytes from 1 to 134217728, not '1073741824'"],
    [[@url, max_items => 'many'] => "'max_items' must be a whole number from 1 to 4294967295, not 'many'"],
    [[@url, max_redirects   => -1]    => "'max_redirects' must be a whole number from 0 to 4294967295, not '-1'"],
    [[@url, silence         => 0]     => "'silence' $times, not '0'"],
    [[@url, connect_timeout => -1]    => "'connect_timeout' $times, or 0 for no limit, not '-1'"],
    [[@url, max_age         => 'inf'] => "'max_age' $times, not 'inf'"],
    [[@url, proxy           => 'socks5://h/'] => 'a proxy of scheme socks5 is none of http, https'],
    [
        [url => 'https://127.0.0.1:1/', ca_file => '/no/such.pem'] =>
            'the CA file /no/such.pem: No such file or directory'
    ],
);

for my $case (@new) {
    my ($given, $why) = @$case;
    my $died = at(dies { PAGI::SSE::Client->new(@$given) });
    $died =~ s/\x{2026}|\xE2\x80\xA6/\\u{2026}/g;
    is $died, "PAGI::SSE::Client->new: $why";
}
like dies {
    PAGI::SSE::Client->new(@url, json => sub { })
}, qr{\APAGI::SSE::Client->new: 'json': .*\bCODE\b.* at \Q$0\E line [0-9]+\.\n\z};

my $client = PAGI::SSE::Client->new(@url, headers => [], proxy => 0);
is at(dies {
    $client->on(message => sub { })
}),
    "PAGI::SSE::Client->on: knows comment end error event open retry, not 'message'";
is at(dies { $client->on(event => 1) }), "PAGI::SSE::Client->on requires a code reference, got '1'";
my $pending = $client->next;
is at(($client->next->failure)[0]), "PAGI::SSE::Client->next: there is one that waits already";
$client->close;
is [$pending->get], [undef];

my @parser = (
    [[max_line      => 0]      => "'max_line' must be a whole number of bytes from 1 to 134217728, not '0'"],
    [[max_id        => 2**28]  => "'max_id' must be a whole number of bytes from 1 to 134217728, not '268435456'"],
    [[size          => 1]      => "unknown option 'size' (known: max_line max_event max_id last_event_id)"],
    [[last_event_id => "a\nb"] => 'an id must not contain CR or LF'],
    [[last_event_id => []]     => 'last_event_id must be text, got a reference (ARRAY)'],
);
for my $case (@parser) {
    my ($given, $why) = @$case;
    is at(dies { PAGI::SSE::Parser->new(@$given) }), "PAGI::SSE::Parser->new: $why";
}
my $parser = PAGI::SSE::Parser->new;
is at(dies { $parser->push(undef) }), "PAGI::SSE::Parser->push: takes octets, not undef";
is at(dies { $parser->push("\x{100}") }),
    "PAGI::SSE::Parser->push: takes octets, but there is a character above 0xFF in '\\x{100}'";
is at(dies {
    $parser->on(event => sub { })
}),
    "PAGI::SSE::Parser->on: knows 'comment' and 'error', not 'event'";
undef $parser;

is PAGI::SSE::FFI::handle_count(), $base, 'nothing is left of them';
done_testing;
