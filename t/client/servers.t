use strict;
use warnings;

# A client of other people's servers: Node's, Python's in three ways. Each counts
# on from the last id, three events a connection, one of them cut inside of a
# character, and says 204 behind the ninth.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use PAGI::SSE::Client;
use T::CAPI;
use T::Serve;

my $node = <<'JS';
const http = require('http'), zlib = require('zlib');
const server = http.createServer((request, response) => {
    const from = Number(request.headers['last-event-id'] || 0);
    if (from >= 9) { response.writeHead(204); return response.end(); }
    const head = { 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-cache' };
    let to = response;
    if (/gzip/.test(request.headers['accept-encoding'] || '')) {
        head['Content-Encoding'] = 'gzip';
        to = zlib.createGzip({ flush: zlib.constants.Z_SYNC_FLUSH });
        to.pipe(response);
    }
    response.writeHead(200, head);
    to.write('retry: 100\n: hello\n\n');
    let n = from;
    const timer = setInterval(() => {
        if (n++ === from + 3) { clearInterval(timer); return to.end(); }
        const bytes = Buffer.from(`id: ${n}\nevent: tick\ndata: \u263a${n}\n\n`), cut = 5 + String(n).length + 19;
        to.write(bytes.subarray(0, cut));
        to.write(bytes.subarray(cut));
    }, 5);
});
server.listen(0, '127.0.0.1', () => console.error(`listening on http://127.0.0.1:${server.address().port}`));
JS

# By http.server: VERSION is HTTP/1.0, to the end of the connection, or 1.1, in chunks.
my $python = <<'PYTHON';
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def part(self, data):
        if self.protocol_version == 'HTTP/1.1':
            data = b'%x\r\n%s\r\n' % (len(data), data)
        self.wfile.write(data)
        self.wfile.flush()
    def do_GET(self):
        start = int(self.headers.get('Last-Event-ID') or 0)
        if start >= 9:
            self.send_response(204)
            return self.end_headers()
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        if self.protocol_version == 'HTTP/1.1':
            self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        self.part(b'retry: 100\r\n: hello\r\n\r\n')
        for n in range(start + 1, start + 4):
            data = ('id: %d\r\nevent: tick\r\ndata: \u263a%d\r\n\r\n' % (n, n)).encode()
            cut = data.index(b'\xe2') + 1
            self.part(data[:cut])
            time.sleep(0.005)
            self.part(data[cut:])
        if self.protocol_version == 'HTTP/1.1':
            self.part(b'')
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print('listening on http://127.0.0.1:%d' % server.server_address[1], file=sys.stderr, flush=True)
server.serve_forever()
PYTHON

my $flask = <<'PYTHON';
import sys, time
from flask import Flask, Response, request
from werkzeug.serving import make_server
app = Flask(__name__)
@app.route('/')
def events():
    start = int(request.headers.get('Last-Event-ID') or 0)
    if start >= 9:
        return Response(status=204)
    def stream():
        yield 'retry: 100\n: hello\n\n'
        for n in range(start + 1, start + 4):
            time.sleep(0.005)
            yield 'id: %d\nevent: tick\ndata: \u263a%d\n\n' % (n, n)
    return Response(stream(), mimetype='text/event-stream')
server = make_server('127.0.0.1', 0, app, threaded=True)
print('listening on http://127.0.0.1:%d' % server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
PYTHON

my $python3 = T::CAPI::command('python3', 'python');
my @servers = (
    ['Node',                      T::CAPI::command('node', 'nodejs'), '-e', $node],
    ['Python, HTTP/1.0',          $python3, '-c', $python, 'HTTP/1.0'],
    ['Python, HTTP/1.1',          $python3, '-c', $python, 'HTTP/1.1'],
    ['Python, Flask on werkzeug', $python3, '-c', $flask],
);

# What a client gets, up to the end.
sub follow {
    my ($server, @option) = @_;
    my $client = PAGI::SSE::Client->new(url => $server->url, retry => 100, proxy => 0, @option);
    my (@seen, %told);
    for my $name (qw(comment retry error)) {
        $client->on($name => sub { push @{ $told{$name} }, ref $_[0] ? $_[0]->kind : $_[0] });
    }
    while (defined(my $event = $client->next->get)) {
        push @seen, [map { $event->$_ } qw(type id data)];
    }
    is \@seen, [map { ['tick', $_, "\x{263A}$_"] } 1 .. 9], 'all events, each once, in order';
    is \%told, { comment => [(' hello') x 3], retry => [(100) x 3], error => [('ended') x 3] }, 'and the rest';
    is $client->end_reason,                                                                     'no_content';
    return;
}

for my $case (@servers) {
    my ($name, @command) = @$case;
    subtest $name => sub {
        return skip_all("no program for $name") if !defined $command[0];
        return skip_all('no Flask')
            if $name =~ /Flask/ && (T::CAPI::run([$command[0], '-c', 'import flask']))[1] ne '0';
        my $server = T::Serve->program(@command);
        follow($server);
        follow($server, gzip => 1) if $name eq 'Node';
    };
}

done_testing;
