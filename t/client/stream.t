use strict;
use warnings;

# A client follows streams: what it gives, where it asks again, and from where.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use Future::AsyncAwait;
use PAGI::SSE::Client;
use T::Scripted;

my $base = PAGI::SSE::FFI::handle_count();

sub client { return PAGI::SSE::Client->new(retry => 100, proxy => 0, @_) }

# An event in short form.
sub short {
    my ($event) = @_;
    return undef if !defined $event;
    return join '|', $event->type, $event->data, $event->id, $event->retry // ();
}

# All up to the end.
sub all {
    my ($client) = @_;
    my @all;
    while (defined(my $event = $client->next->get)) { push @all, short($event) }
    return \@all;
}

subtest 'events come in order, over reconnections from the last id on, until the server says that there are no more' =>
    sub {
    my $server = T::Scripted->new(
        stream(": hi\nretry: 120\nid: 1\ndata: a\n\ndata: b\n\nevent: e\nid: 2\ndata: c\ndata: d\n\ndata: unfinished"),
        stream("data: e\n\nid: 3\n\n"), stream("id:\ndata: f\n\n"), T::Scripted::NO_CONTENT
    );
    my $client = client(url => $server->url('/events?x=1'), last_event_id => 0);
    my %told;
    for my $name (qw(comment open retry error end)) {
        $client->on($name => sub { push @{ $told{$name} }, @_ });
    }
    is $client->last_event_id,               0, 'the id that it was given';
    is short($client->next->get),            'message|a|1|120';
    is $client->last_event_id,               1, 'that of what was seen, not of what waits';
    is all($client),                         ['message|b|1', "e|c\nd|2", 'message|e|2', 'message|f|'];
    is $client->state,                       'closed';
    is $client->end_reason,                  'no_content';
    is $client->last_event_id,               '';
    is $client->next->get,                   undef, 'and so it stays';
    is $told{comment},                       [' hi'];
    is $told{retry},                         [120];
    is $told{end},                           ['no_content'];
    is scalar @{ $told{open} },              3;
    is $told{open}[0]{status},               200;
    is $told{open}[0]{url},                  $server->url('/events?x=1');
    is $told{open}[0]{headers},              [['connection', 'close'], ['content-type', 'text/event-stream']];
    is [map { $_->kind } @{ $told{error} }], [('ended') x 3];
    is $told{error}[0]->text,                'the stream has ended (' . $server->url('/events?x=1') . ')';
    ok $_->retry_in >= 0.12 && $_->retry_in <= 0.15 && $_->is_over && !$_->is_final, 'after ' . $_->retry_in
        for @{ $told{error} };
    is [map { /^last-event-id: (.*?)\r$/m ? $1 : undef } $server->requests], [0, 2, 3, undef], 'what it asked for';
    like + ($server->requests)[0], qr{\AGET /events\?x=1 HTTP/1\.1\r\n.*^accept: text/event-stream\r$}ms;
    };

subtest 'text is characters, its octets are there, JSON is decoded' => sub {
    my $server = T::Scripted->new(stream(qq(event: \xC3\xA9\nid: \xC3\xBC\ndata: {"a":"\xE2\x98\xBA"}\n\ndata: [\n\n)),
        T::Scripted::NO_CONTENT);
    my $client = client(url => $server->url);
    my $event = $client->next->get;
    is [$event->type, $event->id], ["\x{e9}", "\x{fc}"];
    is $event->data,               qq({"a":"\x{263A}"});
    is $event->octets,             qq({"a":"\xE2\x98\xBA"});
    is $event->json, { a => "\x{263A}" };
    is $client->last_event_id, "\x{fc}";
    my $none = $client->next->get;
    like dies { $none->json }, qr/\APAGI::SSE::Event->json: the data is no JSON: '\[': .* at \Q$0\E line [0-9]+\.\n\z/;
    $client->close;
};

subtest 'a POST brings its JSON and is made once' => sub {
    my $server = T::Scripted->new(stream("data: 1\n\n"));
    my $client = client(url => $server->url, json => { q => [1] }, headers => [[Authorization => 'Bearer x']]);
    is all($client),        ['message|1|'];
    is $client->end_reason, 'ended';
    my ($request) = $server->requests;
    like $request, qr{\APOST / .*^authorization: Bearer x\r\n.*\r\n\r\n\{"q":\[1\]\}\z}ms;
    like $request, qr{^content-type: application/json\r$}m;
    like $request, qr{^content-length: 9\r$}m;
};

subtest 'resume: a GET follows a POST up, or the POST again' => sub {
    my @answers = (stream("id: 1\ndata: 1\n\n"), stream("data: 2\n\n"), T::Scripted::NO_CONTENT);
    for my $case ([get => 'GET', ''], [always => 'POST', 'x']) {
        my ($resume, $method, $body) = @$case;
        my $server = T::Scripted->new(@answers);
        is all(client(url => $server->url, body => 'x', resume => $resume)), ['message|1|1', 'message|2|1'], $resume;
        like + ($server->requests)[1], qr/\A$method .*\r\n\r\n$body\z/s;
    }
};

subtest 'a status to retry on, then a stream' => sub {
    my $server =
        T::Scripted->new(answer(503, 'busy', 'retry-after: 0'), stream("data: 1\n\n"), T::Scripted::NO_CONTENT);
    my @errors;
    my $client = client(url => $server->url, retry_on => [503])->on(error => sub { push @errors, @_ });
    is all($client),       ['message|1|'];
    is $errors[0]->status, 503;
    is $errors[0]->body,   'busy';
    is $errors[0]->kind,   'status';
    ok $errors[0]->retry_in, 'it says when';
};

subtest 'redirections are followed, those for good remembered' => sub {
    my $server = T::Scripted->new(
        answer(301, '', 'location: /there'),   stream("data: 1\n\n"),
        answer(307, '', 'location: /further'), stream("data: 2\n\n"),
        T::Scripted::NO_CONTENT
    );
    is all(client(url => $server->url('/here'))), ['message|1|', 'message|2|'];
    is [map { (split)[1] } $server->requests],    [qw(/here /there /there /further /further)];
};

subtest 'gzip is asked for when wanted, and taken apart in any case' => sub {
    eval { require IO::Compress::Gzip; 1 } or return skip_all('no IO::Compress::Gzip');
    my $plain = "data: zipped\n\n";
    IO::Compress::Gzip::gzip(\$plain => \my $zipped) or die 'gzip';
    my $server = T::Scripted->new(stream($zipped, 'content-encoding: gzip'), T::Scripted::NO_CONTENT);
    is all(client(url => $server->url, gzip => 1)), ['message|zipped|'];
    like + ($server->requests)[0], qr/^accept-encoding: gzip\r$/m;
};

subtest 'an event larger than any buffer, among small ones' => sub {
    my $large = 'x' x 3_000_000;
    my $server = T::Scripted->new(stream("data: a\n\ndata: $large\ndata: $large\n\n", 'x: y'), T::Scripted::NO_CONTENT);
    my $client = client(url => $server->url, max_line => 4_000_000, max_event => 7_000_000);
    is $client->next->get->data, 'a';
    my $event = $client->next->get;
    ok $event->data eq "$large\n$large", 'whole: ' . length $event->data;
    is $client->next->get, undef;
};

subtest 'with on(event) events are pushed, one after the other' => sub {
    my $server = T::Scripted->new(stream("data: 1\n\ndata: 2\n\n: c\n\ndata: 3\n\n"), T::Scripted::NO_CONTENT);
    my (@seen, $first);
    my $over = PAGI::SSE::Loop->new_future;
    my $client = client(url => $server->url);
    is ref $client->on(
        event => sub {
            push @seen, $_[0]->data;
            return if @seen > 1;
            # It takes its time, and nothing overtakes it.
            $first = PAGI::SSE::Loop->sleep(0.05)->on_done(sub { push @seen, 'slept' });
            return $first;
        }
        ),
        'PAGI::SSE::Client', 'on returns the client';
    $client->on(comment => sub { push @seen, "comment$_[0]" });
    $client->on(end     => sub { $over->done($_[0]) });
    is $over->get, 'no_content';
    is \@seen,     [1, 'slept', 2, 'comment c', 3];
    like [$client->next->failure]->[0], qr/\APAGI::SSE::Client->next: the events go to on\(event\) at \Q$0\E line/;
};

subtest 'a Future of a callback holds up next, too' => sub {
    my $server = T::Scripted->new(stream(": c\n\ndata: 1\n\n"), T::Scripted::NO_CONTENT);
    my $client = client(url => $server->url);
    my @seen;
    $client->on(
        comment => sub {
            return PAGI::SSE::Loop->sleep(0.1)->on_done(sub { push @seen, 'slept' });
        }
    );
    push @seen, $client->next->get->data;
    is \@seen, ['slept', 1];
    $client->close;
};

subtest 'a callback that dies is a warning, and the next is called' => sub {
    my $server = T::Scripted->new(stream("data: 1\n\n"), T::Scripted::NO_CONTENT);
    my $client = client(url => $server->url);
    $client->on(open => sub { die "no\n" });
    $client->on(open => sub { $client->{told} = 1 });
    my $warnings = warnings { is all($client), ['message|1|'] };
    is $warnings, ["PAGI::SSE::Client: a callback of on(open) died: no\n"];
    ok $client->{told};
};

subtest 'async and await' => sub {
    my $server = T::Scripted->new(stream(join '', map { "data: $_\n\n" } 1 .. 1000), T::Scripted::NO_CONTENT);
    my $sum = (
        async sub {
            my $client = client(url => $server->url);
            my $sum = 0;
            while (defined(my $event = await $client->next)) { $sum += $event->data }
            return $sum;
        }
    )->()->get;
    is $sum, 500_500;
};

is PAGI::SSE::FFI::handle_count(), $base, 'every handle was given back';
done_testing;
