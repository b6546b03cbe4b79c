use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use JSON::MaybeXS qw(decode_json);
use T::Client;
use T::Serve;
use Test2::V0;

my $server = T::Serve->app('examples/notify/app.pl', env => { NOTIFY_HISTORY => 5 });

sub notify {
    my ($json) = @_;
    my $client = T::Client->fetch($server->port, POST => '/notify', body => $json);
    return { status => $client->status, %{ decode_json($client->body) } };
}

sub listener {
    my ($last_id) = @_;
    return T::Client->stream(port => $server->port, last_event_id => $last_id);
}

# Reads until the app has told this client that $count listen.
sub wait_for_subscribers {
    my ($client, $count) = @_;
    return $client->event_where(sub { $_->{data} eq qq({"subscribers":$count}) });
}

# The next event that has an id.
sub notification {
    my ($client) = @_;
    return $client->event_where(sub { defined $_->{id} });
}

my $epoch;

subtest 'what is posted reaches everybody, with the same id' => sub {
    my @clients = map { listener() } 1 .. 3;
    # Without an id, and for the moment only: try_send_json.
    ok wait_for_subscribers($clients[0], 3), 'the first hears of the others';
    my $answer = notify('{"text":"Hello", "to":["all"]}');
    is $answer, hash {
        field status      => 202;
        field id          => match qr/\A[0-9a-f]+-1\z/;
        field subscribers => 3;
        end;
    }, 'accepted';
    ($epoch) = $answer->{id} =~ /\A([0-9a-f]+)-/;
    for my $client (@clients) {
        my $event = notification($client);
        is [@$event{qw(event id data)}], ['message', "$epoch-1", '{"text":"Hello","to":["all"]}'], 'received';
    }
};

subtest 'any JSON value is a notification' => sub {
    my $client = listener();
    ok $client->event, 'listening';
    my %value = (2 => '"just text"', 3 => '42', 4 => '["caf\u00e9","\u2028"]', 5 => 'null');
    is notify($value{$_})->{id}, "$epoch-$_", "posted $value{$_}" for sort keys %value;
    my @events = map { notification($client) } 1 .. 4;
    is [map { $_->{data} } @events], ['"just text"', '42', qq(["caf\x{e9}","\x{2028}"]), 'null'], 'as they were';
};

subtest 'who comes back gets exactly what was missed' => sub {
    my $client = listener("$epoch-3");
    is [map { $_->{id} } $client->events(2)], ["$epoch-4", "$epoch-5"], 'the later ones, in order';
    ok !defined $client->event->{id}, 'then it listens';
    is notify('"six"')->{id},       "$epoch-6", 'a new one';
    is notification($client)->{id}, "$epoch-6", 'arrives';

    my $up_to_date = listener("$epoch-6");
    ok !defined $up_to_date->event->{id}, 'nothing for one who missed nothing';
    my $new = listener();
    ok !defined $new->event->{id}, 'and nothing for a new one';
};

subtest 'the history is bounded, and an unknown id gets all of it' => sub {
    # Six so far, five are kept.
    my @all = map { "$epoch-$_" } 2 .. 6;
    for my $id ("$epoch-0", 'abc-3', 'nonsense', '-') {
        is [map { $_->{id} } listener($id)->events(5)], \@all, "for '$id'";
    }
};

subtest 'who has gone is no subscriber any more' => sub {
    my $stays = listener();
    ok wait_for_subscribers($stays, 1), 'all earlier ones have gone';
    my @leave = map { listener() } 1 .. 2;
    ok wait_for_subscribers($stays, 3), 'two more';
    $leave[0]->close;
    ok wait_for_subscribers($stays, 2), 'one left with a FIN';
    $leave[1]->reset;
    ok wait_for_subscribers($stays, 1), 'one with a RST';
    is notify('"seven"')->{subscribers}, 1, 'the count is right';
};

subtest 'what is no notification is refused' => sub {
    is notify('{"text":'),               { status => 400, error => 'the body is not JSON' }, 'no JSON';
    is notify(''),                       { status => 400, error => 'the body is not JSON' }, 'nothing at all';
    is notify('"' . 'x' x 65_536 . '"'), { status => 413, error => 'at most 65536 octets' }, 'too long';
    my $get = T::Client->fetch($server->port, GET => '/notify');
    is [$get->status, $get->header('allow')], [405, 'POST'], 'GET';
    is(T::Client->fetch($server->port, POST => '/', body => '1')->status, 404, 'another path');
    is(T::Client->stream(port => $server->port, path => '/nope')->status, 404, 'another stream');
};

subtest 'SIGTERM ends it in order while a stream is open' => sub {
    my $client = listener();
    ok $client->event, 'a stream is open';
    is $server->stop,              0,                           'exit status 0';
    is $client->end,               'last chunk',                'the client saw the proper end of the stream';
    is [split /\n/, $server->log], [match qr/\Alistening on /], 'nothing was logged';
};

done_testing;
