use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::MaybeXS qw(decode_json);
use T::Client;
use T::Serve;
use Test2::V0;

# Ten samples a second, so that nobody waits; a history long enough for the
# whole test on a slow machine.
sub dashboard {
    my (%env) = @_;
    return T::Serve->app('examples/dashboard/app.pl',
        env => { DASHBOARD_INTERVAL => 0.1, DASHBOARD_HISTORY => 10_000, %env },);
}

sub number_of { my ($event) = @_; return $event->{id} =~ /-([0-9]+)\z/ ? $1 : undef }
sub epoch_of  { my ($event) = @_; return $event->{id} =~ /\A([0-9a-f]+)-/ ? $1 : undef }

sub sample_of {
    my ($client) = @_;
    return $client->event_where(sub { $_->{event} eq 'sample' });
}

my $server = dashboard();

subtest 'the stream says what machine this is and sends its figures' => sub {
    my $client = T::Client->stream(port => $server->port);
    is $client->status,                      200,                 'status';
    is $client->header('content-type'),      'text/event-stream', 'type';
    is $client->header('cache-control'),     'no-cache',          'not to be cached';
    is $client->header('transfer-encoding'), 'chunked',           'in chunks';

    my $hello = $client->event;
    is $hello->{event},             'hello', 'the first event';
    is $hello->{retry},             2000,    'with a retry hint';
    is $hello->{id},                undef,   'and no id';
    is decode_json($hello->{data}), hash {
        field host     => D;
        field system   => match qr/\ALinux /;
        field interval => 0.1;
        field history  => 10_000;
        field replay   => match qr/\A[0-9]+\z/;
        end;
    }, 'its data';

    open my $stat, '<', '/proc/stat' or die "/proc/stat: $!";
    my $cores = grep { /\Acpu[0-9]/ } readline $stat;
    my $sample = sample_of($client);
    like $sample->{id}, qr/\A[0-9a-f]+-[0-9]+\z/, 'a sample has an id that is safe in a header';
    my $octets = match qr/\A[0-9]+\z/;
    my $percent = validator('0 to 100', sub { defined && $_ >= 0 && $_ <= 100 });
    is decode_json($sample->{data}), hash {
        field t    => validator('the present, in ms', sub { abs($_ / 1000 - time) < 60 });
        field load => array { item match qr/\A[0-9.]+\z/ for 1 .. 3;      end };
        field cpu  => array { item $percent              for 1 .. $cores; end };
        field mem  => hash { field used => $octets; field total => $octets; end };
        field net  => hash { field rx   => $octets; field tx    => $octets; end };
        end;
    }, 'and the figures';
    my $mem = decode_json($sample->{data})->{mem};
    ok $mem->{used} > 0 && $mem->{used} < $mem->{total}, 'some memory is in use, but not all';
};

subtest 'ids grow by one, and time with them' => sub {
    my $client = T::Client->stream(port => $server->port);
    my @samples = grep { $_->{event} eq 'sample' } $client->events(8);
    my $first = number_of($samples[0]);
    is [map { number_of($_) } @samples], [$first .. $first + $#samples], 'no number left out';
    my @times = map { decode_json($_->{data})->{t} } @samples;
    is \@times, [sort { $a <=> $b } @times], 'the oldest first';
};

subtest 'all clients get the same samples' => sub {
    my @clients = map { T::Client->stream(port => $server->port) } 1 .. 3;
    my %by_client;
    for my $i (0 .. $#clients) {
        $by_client{$i}{ $_->{id} } = $_->{data} for map { sample_of($clients[$i]) } 1 .. 6;
    }
    my @common = grep { $by_client{1}{$_} && $by_client{2}{$_} } sort keys %{ $by_client{0} };
    ok @common >= 3, 'several samples in common';
    is $by_client{$_}, hash { field $_ => $by_client{0}{$_} for @common; etc }, "client $_ has the same" for 1, 2;
};

subtest 'who comes back gets exactly what was missed' => sub {
    my $first = T::Client->stream(port => $server->port);
    my $last = sample_of($first);
    $first->close;

    # Somebody else sees what the first one misses.
    my $witness = T::Client->stream(port => $server->port);
    my @missed;
    while (@missed < 5) {
        my $event = sample_of($witness);
        push @missed, $event if number_of($event) > number_of($last);
    }

    my $second = T::Client->stream(port => $server->port, last_event_id => $last->{id});
    my $hello = $second->event;
    is $hello->{event}, 'hello', 'no reset';
    my $replay = decode_json($hello->{data})->{replay};
    ok $replay >= 5, 'the replay is announced';
    my @replayed = $second->events($replay);
    is [map { [$_->{id}, $_->{data}] } @replayed[0 .. 4]], [map { [$_->{id}, $_->{data}] } @missed],
        'from the first missed one on, the same data';
    is number_of($second->event), number_of($replayed[-1]) + 1, 'then the live ones, without a gap';

    my $third = T::Client->stream(port => $server->port, path => "/events?after=$last->{id}");
    is decode_json($third->event->{data})->{replay} >= 5, T,              'a page can say it in the address, too';
    is $third->event->{id},                               $missed[0]{id}, 'with the same result';
};

subtest 'an id that is not known begins anew' => sub {
    my $epoch = epoch_of(sample_of(T::Client->stream(port => $server->port)));
    for my $id ('1234abc-7', "$epoch-99999999", 'nonsense', '-') {
        my $client = T::Client->stream(port => $server->port, last_event_id => $id);
        my $reset = $client->event;
        is $reset->{event},                            'reset', "a reset for '$id'";
        is decode_json($reset->{data}), { id => $id }, 'which names it';
        is $client->event->{event},                    'hello',    'the greeting';
        is $client->event->{id},                       "$epoch-1", 'the whole history';
    }
};

subtest 'the page and its neighbours' => sub {
    open my $in, '<:raw', T::Serve->path(qw(examples dashboard index.html)) or die "index.html: $!";
    my $html = do { local $/; readline $in };

    my $page = T::Client->fetch($server->port, GET => '/');
    is $page->status,                   200,                        'the page is there';
    is $page->header('content-type'),   'text/html; charset=utf-8', 'as HTML';
    is $page->header('content-length'), length $html,               'with its length';
    ok $page->body eq $html, 'octet for octet the file';
    like $page->header('content-security-policy'), qr/default-src 'none'/, 'it may load nothing from elsewhere';

    my $head = T::Client->fetch($server->port, HEAD => '/');
    is [$head->status, $head->header('content-length'), $head->body], [200, length $html, ''], 'HEAD: the head alone';

    my %answer = (
        '/favicon.ico' => [GET  => 204, ''],
        '/nope'        => [GET  => 404, "Not found\n"],
        '/index.html'  => [GET  => 404, "Not found\n"],
        '/events'      => [GET  => 406, "A stream: ask with Accept: text/event-stream\n"],
        '/'            => [POST => 405, "Only GET and HEAD here\n"],
    );
    for my $path (sort keys %answer) {
        my ($method, $status, $body) = @{ $answer{$path} };
        my $got = T::Client->fetch($server->port, $method => $path);
        is [$got->status, $got->body], [$status, $body], "$method $path";
    }

    my $declined = T::Client->stream(port => $server->port, path => '/nope');
    is $declined->status, 404,                                  'another stream: declined';
    is $declined->body,   "No such stream; there is /events\n", 'with a word why';
};

subtest 'SIGTERM ends it in order while a stream is open' => sub {
    my $client = T::Client->stream(port => $server->port);
    is $client->event->{event},    'hello',                     'a stream is open';
    is $server->stop,              0,                           'exit status 0';
    is $client->end,               'last chunk',                'the client saw the proper end of the stream';
    is $client->is_eof,            1,                           'and of the connection';
    is [split /\n/, $server->log], [match qr/\Alistening on /], 'nothing was logged';
};

subtest 'the history is bounded, and an id before it begins anew' => sub {
    my $small = dashboard(DASHBOARD_INTERVAL => 0.02, DASHBOARD_HISTORY => 3);
    my $first = T::Client->stream(port => $small->port);
    my $old = sample_of($first);
    # One that comes with each sample: by the sixth, the first has gone.
    my $newer = $first->event_where(sub { $_->{event} eq 'sample' && number_of($_) >= number_of($old) + 6 });
    my $late = T::Client->stream(port => $small->port, last_event_id => $old->{id});
    is $late->event->{event},                       'reset', 'a reset';
    is decode_json($late->event->{data})->{replay}, 3,       'and no more than the history';
    ok number_of($late->event) > number_of($old) + 1, 'which begins later';
};

done_testing;
