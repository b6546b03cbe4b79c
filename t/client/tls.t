use strict;
use warnings;

# https, proxies and Unix sockets.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use File::Temp       ();
use IO::Socket::UNIX ();
use PAGI::SSE::Client;
use T::CAPI;
use T::Scripted;
use T::Serve;

my $pem = T::Serve->path(qw(src client tests pem));
my $node = T::CAPI::command('node', 'nodejs');

my $https = <<'JS';
const fs = require('fs'), dir = process.argv[1];
const server = require('https').createServer({ key: fs.readFileSync(dir + '/server.key'), cert: fs.readFileSync(dir + '/server.pem') },
    (request, response) => {
        if (request.headers['last-event-id'] === '2') { response.writeHead(204); return response.end(); }
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.end('id: 1\ndata: a\n\nid: 2\ndata: b\n\n');
    });
server.listen(0, '127.0.0.1', () => console.error(`listening on https://127.0.0.1:${server.address().port}`));
JS

sub client { return PAGI::SSE::Client->new(retry => 100, proxy => 0, max_failures => 1, @_) }

sub all {
    my ($client) = @_;
    my @all;
    while (defined(my $event = $client->next->get)) { push @all, $event->data }
    return \@all;
}

subtest 'https: whom a client trusts' => sub {
    return skip_all('no node') if !$node;
    my $server = T::Serve->program($node, '-e', $https, $pem);
    my $url = 'https://127.0.0.1:' . $server->port . '/';
    is all(client(url => $url, ca_file  => "$pem/ca.pem", max_failures => 5)), [qw(a b)], 'an authority of its own';
    is all(client(url => $url, insecure => 1,             max_failures => 5)), [qw(a b)], 'anybody, by name';
    my $error = dies { client(url => $url)->next->get };
    is $error->kind, 'certificate', 'not an unknown one';
    like $error->text, qr/\Athe server's certificate does not do: .*UnknownIssuer.* \(\Q$url\E\)\z/;
    $error = dies { client(url => 'https://localhost:' . $server->port . '/', ca_file => "$pem/ca.pem")->next->get };
    is $error->kind, 'certificate', 'nor one for another name';
    my $plain = T::Serve->code(sub {
        my ($ready) = @_;
        require PAGI::SSE::Server;
        my $server = PAGI::SSE::Server->new(listen => '127.0.0.1:0', app => sub { Future->fail('no') })->start;
        $ready->($server->port);
        $server->run;
    });
    $error = dies { client(url => $plain->url =~ s/^http/https/r)->next->get };
    is $error->kind, 'tls', 'nor a server without TLS';
    my $mute_one = T::Scripted->new('');
    my $mute = $mute_one->url =~ s{^http}{https}r;
    $error = dies { client(url => $mute, connect_timeout => 0.3)->next->get };
    is $error->text, "there was no connection after 0.3 s, the limit ($mute)", 'nor does it wait for one for ever';
    like dies { client(url => $url, ca_file => T::Serve->path('README.md')) },
        qr/\APAGI::SSE::Client->new: the CA file \S+README\.md: it has no certificate at /;
};

subtest 'a proxy, by option and by the environment' => sub {
    my $proxy = T::Scripted->new(stream("id: 1\ndata: by proxy\n\n"), T::Scripted::NO_CONTENT);
    my $at = '127.0.0.1:' . $proxy->port;
    is all(client(url => 'http://no.such.name.invalid/x', proxy => "http://me:secret\@$at/", max_failures => 5)),
        ['by proxy'];
    my ($request) = $proxy->requests;
    like $request, qr{\AGET http://no\.such\.name\.invalid/x HTTP/1\.1\r\n};
    like $request, qr{^proxy-authorization: Basic bWU6c2VjcmV0\r$}m;
    {
        local @ENV{qw(http_proxy no_proxy)} = ("http://$at", '127.0.0.2');
        is all(client(url => 'http://no.such.name.invalid/y', proxy => undef)), [], 'http_proxy';
        my $error = dies { client(url => 'http://127.0.0.2:1/', proxy => undef)->next->get };
        is $error->kind, 'connect', 'but for no_proxy';
        $error = dies { client(url => 'http://no.such.name.invalid/')->next->get };
        is $error->kind, 'resolve', 'nor when it is 0';
    }
    is scalar(() = $proxy->requests), 3;
};

subtest 'a Unix socket' => sub {
    my $dir = File::Temp->newdir;
    my $path = "$dir/a b.sock";
    my $server = T::Serve->code(sub {
        my ($ready) = @_;
        require PAGI::SSE::Server;
        my $server = PAGI::SSE::Server->new(
            listen => "unix:$path",
            app    => sub {
                my ($scope, $receive, $send) = @_;
                return Future->fail('no lifespan') if $scope->{type} ne 'sse';
                my $sse = PAGI::SSE->new($scope, $receive, $send);
                return $sse->decline(status => 204) if $sse->last_event_id;
                return $sse->send_event(id => 7, data => $scope->{path} . '?' . $scope->{query_string});
            }
        )->start;
        $ready->(0);
        $server->run;
    });
    my $client = client(url => "http+unix:$path:/events?x=1", max_failures => 5);
    is all($client), ['/events?x=1'];
};

done_testing;
