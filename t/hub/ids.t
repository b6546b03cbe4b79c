use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# Ids of the application's own.

sub comes {
    my ($server, $hub, $id, @topics) = @_;
    return $server->client(
        async sub { my ($sse) = @_; await $hub->serve($sse, @topics) },
        headers => defined $id ? { 'Last-Event-ID' => $id } : {}
    );
}

sub own { my ($id, $data) = @_; return "id: $id\ndata: $data\n\n" }

on_each_server 'one that a topic uses twice stands for the first: rather one event twice than one never' => sub {
    my ($server) = @_;
    my $hub = hub(replay => { events => 3 });
    my $n = 0;
    $hub->publish('t', data => ++$n, id => $_) for qw(x y x z);
    my $missed = own(y => 2) . own(x => 3) . own(z => 4);
    comes($server, $hub, 'x', 't')->gets($missed,                   'though it has gone');
    comes($server, $hub, 'y', 't')->gets(own(x => 3) . own(z => 4), 'the others as ever');
    $hub->publish('t', data => ++$n);
    comes($server, $hub, 'x', 't')
        ->gets(reset_block('too_old') . own(x => 3) . own(z => 4) . block(5, 5), 'what followed it has gone, too');
};

on_each_server 'one that looks like the hub\'s does not hide the hub\'s, nor is it hidden' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('t', data => $_) for 1 .. 3;
    $hub->publish('t', data => 4, id => 'e.1');
    $hub->publish('t', data => 5, id => 'e.9');
    my $from2 = block(2, 2) . block(3, 3) . own('e.1' => 4) . own('e.9' => 5);
    comes($server, $hub, 'e.1', 't')->gets($from2, 'after the older');
    comes($server, $hub, 'e.9', 't')->gets('',     'one of the future');
    $hub->publish('t', data => $_) for 6 .. 10;
    my $from6 = join '', map { block($_, $_) } 6 .. 10;
    comes($server, $hub, 'e.9', 't')->gets($from6, 'which has come: the older');
};

on_each_server 'a replay that ends with the newest is followed by no id of the hub\'s' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('t', data => $_, id => "a$_") for 1 .. 3;
    $hub->publish('other', data => 4);
    my $rest = own(a2 => 2) . own(a3 => 3);
    comes($server, $hub, 'a1',  't')->gets($rest, 'of its topics, whatever others do');
    comes($server, $hub, 'a3',  't')->gets('',    'nothing missed');
    comes($server, $hub, 'e.1', 't')->gets($rest, 'by an id of the hub\'s');
    comes($server, $hub, '?',   't')->gets(reset_block('unknown_id') . own(a1 => 1) . $rest, 'after a reset');
    comes($server, $hub, 'a1',  qw(t other))->gets($rest . block(4, 4), 'the newest has one of the hub\'s');
    comes($server, $hub, undef, 't')->gets(cursor(4), 'who is new needs one');
    $hub->topic('s', state => 1, replay => { events => 1 });
    $hub->publish('s', data => 5, id => 'a5', key => 'k');
    $hub->publish('s', data => 6, id => 'a6');
    comes($server, $hub, undef, 's')->gets(own(a5 => 5) . cursor(6), 'and who has but an older one');
};

on_each_server 'ids => own: no id of the hub\'s is ever sent' => sub {
    my ($server) = @_;
    my $hub = hub(ids => 'own', replay => { events => 3 });
    my $live = comes($server, $hub, undef, 't');
    is $hub->publish('t', data => 1, id => 'a1'),                            'a1',          'its own';
    is $hub->publish('t', data => 2),                                        undef,         'none';
    is [$hub->publish_many([t => data => 3], [t => data => 4, id => 'a4'])], [undef, 'a4'], 'of many';
    my $kept = "data: 2\n\ndata: 3\n\n" . own(a4 => 4);
    $live->gets(own(a1 => 1) . $kept, 'live');
    comes($server, $hub, undef, 't')->gets('', 'new');
    comes($server, $hub, 'a4',  't')->gets('', 'nothing missed');
    comes($server, $hub, $_,    't')->gets(reset_block('unknown_id') . $kept, "$_ is none") for 'e.2', 'a1';
    $hub->topic('t', state => 1);
    $hub->publish('t', data => 5, key => 'k');
    comes($server, $hub, 'a4',  't')->gets("data: 5\n\n", 'resumed');
    comes($server, $hub, undef, 't')->gets("data: 5\n\n", 'state');
    comes($server, $hub, undef, 'quiet')->gets('', 'nothing there');
};

subtest 'ids is hub or own' => sub {
    is hub(ids => 'hub')->publish('t', data => 1), 'e.1', 'hub is the default';
    is hub(ids => undef)->publish('t', data => 1), 'e.1', 'and so is undef';
    for ('', 'Own', [], 0) {
        like dies { PAGI::SSE::Hub->new(ids => $_) },
            qr/\APAGI::SSE::Hub->new: ids must be 'hub' or 'own', not .* at \Q$0\E line/,
            'no other';
    }
};

done_testing;
