use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use Socket ();

# Requests that no proper client sends: what goes over the wire, whether the
# application is called, and what the logs say. Each twice: as an ordinary
# request, and as one for an event stream.

my (@scopes, @lines);

async sub app {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    push @scopes, $scope;
    my $prefix = $scope->{type} eq 'sse' ? 'sse.http' : 'http';
    my $more = 1;
    while ($more) {
        my $event = await $receive->();
        return if $event->{type} =~ /disconnect/;
        $more = $event->{more};
    }
    await $send->({ type => "$prefix.response.start", status => 200 });
    await $send->({ type => "$prefix.response.body",  body   => 'ok' });
}

my $host = T::Host->new(\&app, max_body => 1000, access_log => sub { push @lines, $_[0] });

# Writes it, and reads to the end of the connection.
sub ask {
    my ($request) = @_;
    (@scopes, @lines) = ();
    my $client = $host->connect($request);
    $host->until(sub { $client->eof }, 'the end');
    @{ $host->{clients} } = ();
    $host->until(sub { @lines }, 'the line');
    return $client->raw =~ s/^date: [^\r]*\r\n//mr;
}

sub refusal {
    my ($status, $why) = @_;
    return
          "HTTP/1.1 $status\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: "
        . length($why)
        . "\r\n\r\n$why";
}

# The line without client, time, and seconds.
sub short {
    return map { s/\A127\.0\.0\.1 - - \[[^]]+\] //r =~ s/ \d+\.\d{3} (\S+)\z/ $1/r } @_;
}

my @KINDS = (['http', ''], ['sse', "Accept: text/event-stream\r\n"]);

sub is_refused {
    my ($what, $request, $status, $why) = @_;
    my ($line) = $request =~ /\A\s*([^\r\n]*)/;
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        my $asked = $request =~ s/\r\n/\r\n$accept/r;
        is ask($asked), refusal($status, $why), "$what ($name)";
        is \@scopes,    [],                     'the application is not called';
        my ($code) = $status =~ /(\d+)/;
        is scalar @lines, 1;
        like [short(@lines)], [qr/\A"\Q$line\E" $code @{[length $why]} "-" "-" \w+\z/], 'one line in the access log';
    }
    return;
}

my $H = "Host: h\r\n";

subtest 'the Host field' => sub {
    is_refused('none', "GET / HTTP/1.1\r\n\r\n", '400 Bad Request', 'no Host field');
    is_refused(
        'none, with the host in the target',
        "GET http://h/ HTTP/1.1\r\n\r\n",
        '400 Bad Request',
        'no Host field'
    );
    is_refused('two',           "GET / HTTP/1.1\r\n${H}Host: h\r\n\r\n", '400 Bad Request', 'two Host fields');
    is_refused('two, HTTP/1.0', "GET / HTTP/1.0\r\n${H}Host: i\r\n\r\n", '400 Bad Request', 'two Host fields');
    for my $bad ('a b', 'a/b', 'u@h', 'h:x', 'h:99999', '[::1', '::1', 'a%zz') {
        is_refused("'$bad'", "GET / HTTP/1.1\r\nHost: $bad\r\n\r\n", '400 Bad Request', 'a malformed Host field');
    }
};

subtest 'the request target' => sub {
    my $none = 'a request target that is none';
    is_refused("'$_'", "GET $_ HTTP/1.1\r\n$H\r\n", '400 Bad Request', $none)
        for 'echo', '*', 'h:80', '?a', '/a#b', 'ftp://h/', 'http:///a', 'http://u@h/';
    is_refused(
        'another scheme than that of the port',
        "GET https://h/ HTTP/1.1\r\n$H\r\n",
        '421 Misdirected Request',
        'a request for https on a port that speaks plain HTTP'
    );
    is_refused("'$_'", "GET $_ HTTP/1.1\r\n$H\r\n", '400 Bad Request', 'a malformed percent escape')
        for qw(/%zz /a%2 /% http://h/%g0);
};

subtest 'what this server does not do' => sub {
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        my $raw = ask("CONNECT h:80 HTTP/1.1\r\n$accept${H}Connection: close\r\n\r\n");
        is $raw,
            "HTTP/1.1 501 Not Implemented\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 7\r\n\r\nCONNECT",
            "CONNECT ($name)";
        is [short(@lines)], ['"CONNECT h:80 HTTP/1.1" 501 7 "-" "-" not_implemented'];
    }
    my @unknown = ('501 Not Implemented', 'a transfer coding other than chunked');
    is_refused("the coding '$_'", "POST / HTTP/1.1\r\n${H}Transfer-Encoding: $_\r\n\r\n", @unknown)
        for 'gzip', 'gzip, chunked', 'identity', 'x';
    is_refused(
        "version $_",
        "GET / HTTP/$_\r\n$H\r\n",
        '505 HTTP Version Not Supported',
        'an HTTP version other than 1.1 and 1.0'
    ) for qw(2.0 3.0 1.2 0.9);
};

subtest 'how a body is framed' => sub {
    my %why = (
        'Transfer-Encoding: chunked, chunked'                      => 'a transfer coding after chunked',
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" => 'a transfer coding after chunked',
        'Transfer-Encoding: chunked, gzip'                         => 'a transfer coding after chunked',
        'Transfer-Encoding:'                                       => 'a malformed Transfer-Encoding field',
        "Transfer-Encoding: chunked\r\nContent-Length: 3" => 'Transfer-Encoding and Content-Length in one request',
        "Content-Length: 3\r\nTransfer-Encoding: chunked" => 'Transfer-Encoding and Content-Length in one request',
        "Content-Length: 3\r\nContent-Length: 4"          => 'two Content-Length fields that differ',
        (map { ("Content-Length: $_" => 'a malformed Content-Length field') } '3, 4', '3, 3', '-1', '+3', '0x3', ''),
    );
    is_refused($_ =~ s/\r\n/ and /r, "POST / HTTP/1.1\r\n$H$_\r\n\r\n", '400 Bad Request', $why{$_}) for sort keys %why;
    is_refused(
        'a coding in HTTP/1.0',
        "POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n",
        '400 Bad Request',
        'a Transfer-Encoding field in HTTP/1.0'
    );
    is_refused(
        "Content-Length: $_",
        "POST / HTTP/1.1\r\n${H}Content-Length: $_\r\n\r\n",
        '413 Payload Too Large',
        'the request body is too large'
    ) for '1001', '18446744073709551615', '18446744073709551616', '9' x 40;
    is ask("POST / HTTP/1.1\r\n${H}Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok" =~
        s/(content-length: 2\r\n)(connection: close\r\n)/$2$1/r,
        'twice the same length is one';
};

subtest 'a malformed chunk' => sub {
    my $post = "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n";
    for my $bad (
        "x\r\n",               "3\nabc\n0\n\n",      "3\r\nabcd\r\n",           "-1\r\n",
        "3\r\nabc\r\n0\r\n\n", '1' x 17 . "\r\n",    "3 x\r\nabc\r\n0\r\n\r\n", "0\r\nbad\r\n\r\n",
        "0\r\nA : b\r\n\r\n",  "0\r\nA: \0\r\n\r\n", '3;' . 'x' x 20_000 . "\r\n"
        )
    {
        for my $kind (@KINDS) {
            my ($name, $accept) = @$kind;
            is ask($post =~ s/\r\n/\r\n$accept/r . $bad), refusal('400 Bad Request', 'a malformed chunk'),
                ($bad =~ s/\r/\\r/gr =~ s/\n/\\n/gr) . " ($name)";
            is [short(@lines)], ['"POST / HTTP/1.1" 400 17 "-" "-" protocol_error'];
        }
    }
};

subtest 'a chunk that the body cannot have is refused when its size is known' => sub {
    my $post = "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n";
    for my $bad (
        "ffffffffffffffff\r\n",     "ffffffffffffffff\r\nabc",
        "FFFFFFFFFFFFFFFF;a=b\r\n", "00000000000003e9\r\n",
        "3e8\r\n" . 'x' x 1000 . "\r\n1\r\n"
        )
    {
        for my $kind (@KINDS) {
            my ($name, $accept) = @$kind;
            is ask($post =~ s/\r\n/\r\n$accept/r . $bad),
                refusal('413 Payload Too Large', 'the request body is too large'),
                (substr($bad, 0, 30) =~ s/\r/\\r/gr =~ s/\n/\\n/gr) . " ($name)";
            is [short(@lines)], ['"POST / HTTP/1.1" 413 29 "-" "-" body_too_large'];
        }
    }
};

subtest 'a body that breaks off is a 400, unless the application answers' => sub {
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        for my $body ("Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n") {
            (@scopes, @lines) = ();
            my $client = $host->connect("POST / HTTP/1.1\r\n$H$accept$body");
            shutdown $client->{socket}, 1;
            $host->until(sub { $client->eof && @lines }, 'the end');
            my ($head, $text) = split /\r\n\r\n/, $client->raw, 2;
            is [$client->status, $text], [400, 'the request body broke off'], "$body ($name)";
            is [short(@lines)], ['"POST / HTTP/1.1" 400 26 "-" "-" protocol_error'];
        }
    }
    is [grep { /\Aerror/ } $host->log], [], 'and no error of the application';
};

subtest 'lines and fields' => sub {
    is_refused($_->[0], "GET / HTTP/1.1\r\n$H$_->[1]\r\n\r\n", '400 Bad Request', $_->[2])
        for (
        ['a folded line',            "X: a\r\n b", 'a malformed header field'],
        ['a blank before the colon', 'X : a',      'a malformed header field'],
        ['no name',                  ': a',        'a malformed header field'],
        ['no colon',                 'X',          'a malformed header field'],
        ['NUL',                      "X: a\0b",    'a malformed value of a header field'],
        ['CR',                       "X: a\rb",    'a malformed value of a header field'],
        );
    is ask("GET  / HTTP/1.1\r\n$H\r\n"), refusal('400 Bad Request', 'a malformed request line'), 'two blanks';
    is ask("NONSENSE\r\n"), refusal('400 Bad Request', 'a malformed request line'), 'no HTTP, and no end of a head';
    is [short(@lines)],     ['"NONSENSE" 400 24 "-" "-" protocol_error'];
    is ask("GET /\r\n"),    refusal('400 Bad Request', 'a malformed request line'), 'HTTP/0.9';
    is ask("HEAD / HTTP/1.1\r\n\r\n") =~ s/content-length: \d+/content-length: 13/r,
        refusal('400 Bad Request', 'no Host field') =~ s/no Host field\z//r, 'HEAD has no body, refused or not';
};

subtest 'what is odd and right' => sub {
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        my $ok = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        my $end = "${accept}Connection: close\r\n\r\n";
        is ask("GET http://t.example:81/a?b HTTP/1.1\r\nHost: other\r\n$end"), $ok, "a whole URL as target ($name)";
        is [map { @$_ } grep { $_->[0] eq 'host' } @{ $scopes[0]{headers} }], [host => 't.example:81'],
            'its host is the host';
        is [@{ $scopes[0] }{qw(path raw_path query_string)}], ['/a', '/a', 'b'];
        is ask("OPTIONS * HTTP/1.1\r\n$H$end"),                               $ok, 'OPTIONS *';
        is [@{ $scopes[0] }{qw(method path raw_path)}],                       ['OPTIONS', '*', '*'];
        is ask("\r\n\r\nGET / HTTP/1.1\r\n${H}X_a_B: 1\r\nx-a-b: 2\r\n$end"), $ok,               'empty lines before';
        is [grep { $_->[0] =~ /\Ax/ } @{ $scopes[0]{headers} }], [[x_a_b => 1], ['x-a-b' => 2]], 'underscores stay';
        is ask("GET / HTTP/1.1\n" . ("$H$end" =~ s/\r//gr)),     $ok, 'lines that end with LF alone';
        is ask("GET / HTTP/1.1\r\nHost:\r\n$end"),               $ok, 'an empty Host field';
        is ask("GET /%25zz?%zz HTTP/1.1\r\n$H$end"),             $ok;
        is [@{ $scopes[0] }{qw(path query_string)}],             ['/%zz', '%zz'];
    }
};

subtest 'what is too long' => sub {
    for my $kind (@KINDS) {
        my ($name, $accept) = @$kind;
        for my $size (32_768, 70_000) {
            is ask('GET /' . 'x' x $size . " HTTP/1.1\r\n$H$accept\r\n"),
                refusal('414 URI Too Long', 'a request target is above 32 KiB'), "a target, $size ($name)";
            # Of the target there is a part; the version may not have been read.
            like join("\n", short(@lines)), qr{\A"GET /x{1000,1100}(?: HTTP/1\.1)?" 414 32 "-" "-" head_too_large\z};
        }
        for my $case (
            ['a request head is above 64 KiB',          'X: ' . 'x' x 70_000],
            ['a request head has more than 128 fields', join "\r\n", ('X: y') x 129],
            )
        {
            my ($why, $fields) = @$case;
            is ask("GET / HTTP/1.1\r\n$H$accept$fields\r\n\r\n"),
                refusal('431 Request Header Fields Too Large', $why), "$why ($name)";
            is [short(@lines)], ['"GET / HTTP/1.1" 431 ' . length($why) . ' "-" "-" head_too_large'];
        }
    }
};

subtest 'requests on one connection: each has its answer, and the first bad one is the last' => sub {
    my $posts = "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nA: b\r\n\r\n"
        . "POST / HTTP/1.1\r\n${H}Content-Length: 2\r\n\r\nhi";
    my $all = $posts . "GET echo HTTP/1.1\r\n$H\r\nGET / HTTP/1.1\r\n$H\r\n";
    my $ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for my $size (length $all, 1, 2, 7, 50) {
        (@scopes, @lines) = ();
        my $client = $host->connect;
        setsockopt $client->{socket}, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1 or die $!;
        for my $piece (unpack "(a$size)*", $all) {
            local $SIG{PIPE} = 'IGNORE';
            $client->write($piece);
            $host->until(sub { 1 });
        }
        $host->until(sub { $client->eof && @lines == 3 }, 'the end');
        is $client->raw =~ s/^date: [^\r]*\r\n//mgr,
            $ok . $ok . refusal('400 Bad Request', 'a request target that is none'), "in pieces of $size";
        is [sort(short(@lines))],
            ['"GET echo HTTP/1.1" 400 29 "-" "-" protocol_error', ('"POST / HTTP/1.1" 200 2 "-" "-" -') x 2];
    }
};

done_testing;
