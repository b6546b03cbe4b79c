use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::MaybeXS ();
use T::Inc;
use T::Proxy;
use T::Serve;
use Test2::V0;

# What an operator sees of a stream behind real proxies. Each is watched for a
# few seconds; what is told of is in its findings.

my @command = map { "'$_'" } $^X, T::Serve->path(qw(perl bin pagi-sse)), 'doctor';
my $server = T::Serve->app('t/command/streams.pl');

# The exit status, and what each check says.
sub doctor {
    my (@arguments) = @_;
    my $said = readpipe join ' ', @command, '--json', map { "'$_'" } @arguments;
    my $status = $? >> 8;
    my $told = JSON::MaybeXS->new(utf8 => 1)->decode($said);
    return ($status, { map { $_->{check} => $_ } @{ $told->{findings} } }, $told);
}

sub levels {
    return { map { ($_ => $_[0]{$_}{level}) } grep { $_[0]{$_}{level} eq 'wrong' } keys %{ $_[0] } };
}

subtest 'our server: nothing is wrong' => sub {
    my ($status, $found, $told) = doctor('--watch', 3, $server->url('/lumps'));
    is $status, 0, 'the exit status';
    is levels($found), {}, 'nothing';
    is [map { $_->{check} } @{ $told->{findings} }],
        [qw(status content_type caching buffering compression keepalive ids retry http clock)], 'all was looked at';
    is $found->{ids}{text}, 'Every event has an id.', 'ids';
    ok $told->{events} >= 5, 'some events' or diag $told->{events};
};

subtest 'in words' => sub {
    my $said = readpipe join ' ', @command, '--watch', 2, $server->url('/page');
    is $? >> 8, 1, 'the exit status';
    my $url = quotemeta $server->url('/page');
    like $said, qr{\A$url, watched for 0 s: events 0, comments 0
ok     The status is 200\.
WRONG  The content type is text/html: a page, and no stream\. A browser gives up\.
         - Send Content-Type: text/event-stream from the application\.
\z}, 'each finding a line, and what to change';
};

subtest 'nobody there' => sub {
    my ($status, $found) = doctor('--watch', 2, 'http://127.0.0.1:1/');
    is $status, 1, 'the exit status';
    is $found->{connection}{text},
        'There is no stream. 127.0.0.1:1: Connection refused (http://127.0.0.1:1/)', 'says so';
};

subtest 'a page of another origin' => sub {
    my ($status, $found) = doctor('--watch', 1, '--origin', 'https://app.example', $server->url('/lumps'));
    is [$status, levels($found)], [1, { cors => 'wrong' }], 'may not read it';
};

subtest 'a server without keepalive, and one that has it' => sub {
    my (undef, $silent) = doctor('--watch', 3, $server->url('/silent'));
    like $silent->{keepalive}{text}, qr/ of the [23]\.[0-9] s watched; no comment came\.\z/, 'none is seen';
    my (undef, $kept) = doctor('--watch', 3, $server->url('/kept'));
    like $kept->{keepalive}{text}, qr/ comments kept it alive\.\z/, 'comments are';
};

SKIP: {
    skip 'no nginx' if !T::Proxy::program_of('nginx');
    subtest 'nginx that buffers' => sub {
        # By HTTP/1.0, as nginx does unless told otherwise; in chunks it would pass them on.
        my $nginx = T::Proxy->nginx($server->port, 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;');
        my ($status, $found) = doctor('--watch', 6, '--proxy-of', $server->url('/shared'), $nginx->url('/shared'));
        is [$status, $found->{buffering}{level}], [1, 'wrong'], 'is found, beside a direct connection';
        like $found->{buffering}{text}, qr/\ASomething holds all of it back\. /, 'in words';
        is $found->{buffering}{fix}[0], 'nginx: proxy_buffering off; in the location of the stream', 'with its setting';
        ($status, $found) = doctor('--watch', 8, '--proxy-of', $server->url('/full'), $nginx->url('/full'));
        is [$status, $found->{buffering}{level}], [1, 'wrong'], 'and when there is enough to fill its buffers';
        like $found->{buffering}{text}, qr/\ASomething holds events back: they arrive /, 'in words';
        is $found->{buffering}{fix}, ['nginx: proxy_buffering off; in the location of the stream'], 'with its setting';
        $nginx->stop;
    };
    subtest 'nginx that passes on' => sub {
        my $nginx = T::Proxy->nginx($server->port, '');
        my ($status, $found) = doctor('--watch', 4, '--proxy-of', $server->url('/shared'), $nginx->url('/shared'));
        is [$status, levels($found)], [0, {}], 'nothing is wrong: the server says that it must not';
        is $found->{buffering}{text}, 'Events arrive as soon as they do directly.', 'and it does not';
        $nginx->stop;
    };
    subtest 'nginx with gzip' => sub {
        my $nginx = T::Proxy->nginx($server->port, 'gzip on; gzip_types text/event-stream; gzip_min_length 0;');
        my ($status, $found) = doctor('--watch', 6, $nginx->url('/shared'));
        like $found->{compression}{text}, qr/\AIt is compressed \(gzip\)/, 'is seen';
        note "$found->{compression}{level}: $found->{compression}{text}";
        $nginx->stop;
    };
}
SKIP: {
    skip 'no haproxy' if !T::Proxy::program_of('haproxy');
    subtest 'HAProxy that cuts what is silent' => sub {
        my $haproxy = T::Proxy->haproxy($server->port, 'timeout server 2s');
        my ($status, $found) = doctor('--watch', 20, $haproxy->url('/silent'));
        is [$status, $found->{keepalive}{level}], [1, 'wrong'], 'is found';
        like $found->{keepalive}{text},
            qr/\AThe stream was cut after [1-4]\.[0-9] s without a byte, as a proxy does whose time-out is over\.\z/,
            'in words';
        $haproxy->stop;
    };
}

done_testing;
