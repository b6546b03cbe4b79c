# What a browser is to receive: t/browser/eventsource.t serves this and opens
# its page. The page posts what its EventSource saw, and that goes into the
# file named by BROWSER_RESULT.

package T::Browser::App;

use v5.26;
use warnings;
use feature 'signatures';
no warnings 'experimental::signatures';
use utf8;

use Future::AsyncAwait;
use PAGI::SSE ();

my $PAGE = <<'HTML';
<!doctype html>
<meta charset="utf-8">
<title>EventSource</title>
<script>
'use strict';

// Everything that an EventSource tells its page, in order. When the server has
// said its last word, or the browser has given up, the source is closed.
const record = (path, names) => new Promise((resolve) => {
    const log = [];
    const source = new EventSource(path);
    source.onopen = () => log.push({ open: source.readyState });
    source.onerror = () => {
        log.push({ error: source.readyState });
        if (source.readyState === EventSource.CLOSED) resolve(log);
    };
    for (const name of names) {
        source.addEventListener(name, (event) => {
            log.push({ type: event.type, data: event.data, id: event.lastEventId });
            if (name !== 'last') return;
            source.close();
            resolve(log);
        });
    }
});

(async () => {
    const result = {
        dropped: await record('/dropped', ['message', 'greeting', 'last']),
        refused: await record('/refused', ['message']),
        ids: await record('/ids', ['last']),
    };
    await fetch('/result', { method: 'POST', body: JSON.stringify(result) });
})();
</script>
HTML

# Ends the stream in the middle of what it has to say; the browser comes back
# and gets the rest.
async sub dropped ($sse) {
    my $last_id = $sse->last_event_id;
    if (!defined $last_id) {
        await $sse->send_event(event => 'greeting', data => 'hello', id => 'e-1', retry => 100);
        await $sse->send("LF\nCR\rCRLF\r\nend");
        await $sse->send_event(data => "é € 😀 \x{2028} \x{2029} \x{85}", id => 'e-3');
        await $sse->send('  two spaces before');
        await $sse->send("\ta tab before");
        await $sse->send("a newline after\n");
        await $sse->send_comment('nothing for the page');
        await $sse->send('');
        await $sse->send_json({ text => 'é', list => [1, undef] });
        await $sse->send_event(event => 'Greeting',   data => 'names have a case');
        await $sse->send_event(data  => 'with an id', id   => 'e-9');
        await $sse->close;
        return;
    }
    await $sse->send("Last-Event-ID: $last_id");
    await $sse->send_event(data  => 'no id from here on', id   => '');
    await $sse->send_event(event => 'last',               data => 'the rest');
    await $sse->run;
}

# One event, and never again.
async sub refused ($sse) {
    return await $sse->decline(status => 204) if defined $sse->last_event_id;
    await $sse->send_event(data => 'once', id => 'only', retry => 100);
    await $sse->close;
}

# Each id comes back in a header as it was sent.
my @IDS = ('é€😀', "a b\tc", '"<(:)>@,;=', 'x' x 4096);

async sub ids ($sse) {
    my $last_id = $sse->last_event_id;
    state %seen;
    utf8::decode($last_id) if defined $last_id;
    $seen{$last_id}++ if defined $last_id;
    my ($next) = grep { !$seen{$_} && !(defined $last_id && $_ eq $last_id) } @IDS;
    if (defined $next) {
        await $sse->send_event(data => 'next', id => $next, retry => 10);
        return await $sse->close;
    }
    await $sse->send_event(event => 'last', data => scalar(grep { $seen{$_} } @IDS), id => '');
    await $sse->run;
}

async sub respond ($send, $status, $type, $body) {
    await $send->({
        type    => 'http.response.start',
        status  => $status,
        headers => [['content-type', $type], ['content-length', length $body]],
    });
    await $send->({ type => 'http.response.body', body => $body });
}

async sub http ($scope, $receive, $send) {
    my ($method, $path) = @$scope{qw(method path)};
    return await respond($send, 200, 'text/html',  $PAGE) if $path eq '/';
    return await respond($send, 404, 'text/plain', 'Not found') if $path ne '/result' || $method ne 'POST';

    my ($body, $event) = ('');
    do {
        $event = await $receive->();
        $body .= $event->{body} // '';
    } while $event->{more};
    # Renamed into its place: the test must not find half of it.
    open my $out, '>:raw', "$ENV{BROWSER_RESULT}.part" or die "cannot write the result: $!\n";
    print {$out} $body;
    close $out and rename "$ENV{BROWSER_RESULT}.part", $ENV{BROWSER_RESULT} or die "cannot write the result: $!\n";
    await respond($send, 200, 'text/plain', 'Thanks');
}

async sub app ($scope, $receive, $send) {
    my $type = $scope->{type};
    return await http($scope, $receive, $send) if $type eq 'http';
    die "unsupported scope type '$type'\n" if $type ne 'sse';

    my $sse = PAGI::SSE->new($scope, $receive, $send);
    return await dropped($sse) if $sse->path eq '/dropped';
    return await refused($sse) if $sse->path eq '/refused';
    return await ids($sse) if $sse->path eq '/ids';
    await $sse->decline(status => 404);
}

\&app;
