use strict;
use warnings;

# Octets of a stream, cut anywhere, become events.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use PAGI::SSE::Parser;

my $base = PAGI::SSE::FFI::handle_count();

sub shorts {
    return map { join '|', $_->type, $_->data, $_->id } @_;
}

subtest 'chunk borders mean nothing' => sub {
    my $stream =
        "\xEF\xBB\xBF: hi\r\nretry: 300\nevent: e\nid: 1\ndata: a\rdata: \xE2\x98\xBA\r\n\r\ndata:c\n\nid:2\n\ndata: late";
    for my $size (1 .. length $stream) {
        my $parser = PAGI::SSE::Parser->new;
        my (@events, @comments);
        $parser->on(comment => sub { push @comments, @_ });
        push @events, $parser->push($_) for unpack "(a$size)*", $stream;
        is [shorts(@events)],                        ["e|a\n\x{263A}|1", 'message|c|1'], "by $size octets" or last;
        is \@comments,                               [' hi'];
        is [$parser->last_event_id, $parser->retry], [2, 300];
    }
};

subtest 'finish drops what is unfinished, and another stream may follow' => sub {
    my $parser = PAGI::SSE::Parser->new(last_event_id => 7);
    is [shorts($parser->push("data: a\n\nid: 8\ndata: half"))], ['message|a|7'];
    is $parser->retry,                                          undef;
    is $parser->finish,                                         $parser;
    is $parser->last_event_id,                                  7;
    is [shorts($parser->push("\xEF\xBB\xBFdata: b\n\n"))],      ['message|b|7'];
};

subtest 'limits are kept, and told' => sub {
    my $parser = PAGI::SSE::Parser->new(max_line => 20, max_event => 4, max_id => 2);
    my @told;
    $parser->on(error => sub { push @told, @_ });
    is [shorts($parser->push('data:' . ('x' x 20) . "\n\ndata:ab\ndata:cd\n\nid:123\ndata:z\n\n"))], ['message|z|'];
    is \@told,
        [
        q(a line is longer than the parser's limit),
        q(an event is larger than the parser's limit),
        q(an id is longer than the parser's limit)
        ];
};

subtest 'a flood is taken in pieces, and none is lost' => sub {
    my $parser = PAGI::SSE::Parser->new;
    my $id = 'i' x 4000;
    my @events = $parser->push("id:$id\n" . "data\n\n" x 500_000);
    is scalar @events,                   500_000;
    is [grep { $_->id ne $id } @events], [];
    my $large = 'x' x 4_000_000;
    my @large = $parser->push("data:a\n\ndata:" . substr($large, 0, 1_000_000) . "\n" . "data:b\n\n");
    is [map { length $_->data } @large], [1, 1_000_002];
};

subtest 'JSON' => sub {
    my ($event) = PAGI::SSE::Parser->new->push(qq(data: {"a":\ndata: [1]}\n\n));
    is $event->json, { a => [1] };
    is $event->retry, undef;
};

is PAGI::SSE::FFI::handle_count(), $base, 'every handle was given back';
done_testing;
