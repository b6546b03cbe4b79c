use strict;
use warnings;

# A next that is given up loses no event; who closes, drops or forks; and what
# nobody takes stops the server.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use PAGI::SSE::Client;
use POSIX        ();
use Scalar::Util qw(weaken);
use T::Scripted;
use Time::HiRes ();

my $base = PAGI::SSE::FFI::handle_count();

sub client    { return PAGI::SSE::Client->new(proxy => 0, @_) }
sub wait_some { PAGI::SSE::Loop->sleep($_[0] // 0.02)->get }

# Lets the loop run until it is so.
sub until_ok {
    my ($condition, $name) = @_;
    my $deadline = Time::HiRes::time() + 20;
    wait_some() until $condition->() || Time::HiRes::time() > $deadline;
    return ok $condition->(), $name;
}

my @one_two = ({ octets => stream("data: 1\n\ndata: 2\n\n"), hold => 1 });

subtest 'a next that is cancelled loses nothing' => sub {
    my $server = T::Scripted->new(@one_two);
    my $client = client(url => $server->url);
    $client->next->cancel for 1 .. 3;
    my $given_up = $client->next;
    $given_up->cancel;
    until_ok sub { $client->state eq 'open' }, 'events have come';
    wait_some();
    is $client->next->get->data, 1;
    is $client->last_event_id,   '';
    is $client->next->get->data, 2;
    my $late = $client->next;
    ok !$late->is_ready;
    my ($first) = Future->wait_any($late, PAGI::SSE::Loop->sleep(0.02)->then(sub { Future->done('late') }))->get;
    is $first, 'late', 'a next with a limit of time';
    ok $late->is_cancelled;
    $client->close;
    until_ok sub { $server->left == 1 }, 'close closes the connection';
};

subtest 'close ends a next that waits, and drops what was not seen' => sub {
    my $server = T::Scripted->new({ octets => stream("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"), hold => 1 });
    my $client = client(url => $server->url);
    my @told;
    $client->on(end => sub { push @told, @_ });
    is $client->next->get->data, 1;
    $client->close for 1 .. 2;
    is $client->last_event_id, 1, 'the id to ask from another time';
    is $client->next->get,     undef;
    is \@told,                 ['closed'];
    is $client->state,         'closed';

    $client = client(url => $server->url);
    my $waiting = $client->next->then(sub { Future->done([@_]) });
    $client->close;
    is $waiting->get, [undef];
};

subtest 'a client lives while a next waits, and is closed when it is dropped' => sub {
    my $server = T::Scripted->new(@one_two);
    my $next = client(url => $server->url)->next;
    is $next->get->data, 1, 'nobody else has it';
    undef $next;
    until_ok sub { $server->left == 1 }, 'then it is closed';
    is PAGI::SSE::FFI::handle_count(), $base, 'with its runtime';
    {
        my $client = client(url => $server->url);
        weaken(my $weak = $client);
        undef $client;
        ok !$weak, 'no cycle holds it';
        $client = client(url => $server->url)->on(event => sub { })->on(error => sub { });
        weaken($weak = $client);
        undef $client;
        ok !$weak, 'nor with callbacks';
    }
    is PAGI::SSE::FFI::handle_count(), $base;
};

subtest 'close within a callback' => sub {
    my $server = T::Scripted->new(@one_two);
    my ($client, @seen);
    my $over = PAGI::SSE::Loop->new_future;
    $client = client(url => $server->url);
    $client->on(event => sub { push @seen, $_[0]->data; $client->close })->on(end => sub { $over->done(@_) });
    is $over->get, 'closed';
    is \@seen,     [1];
    undef $client;
};

subtest 'a child of a fork has no client' => sub {
    my $server = T::Scripted->new(@one_two);
    my $client = client(url => $server->url);
    is $client->next->get->data, 1;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my $said = join '', $client->next->failure, $client->state, "\n";
        eval {
            my $own = client(url => $server->url);
            $said .= $own->next->get->data . "\n";
            $own->close;
            $client->close;
            undef $client;
            1;
        } or $said .= "died: $@";
        syswrite $write, $said;
        POSIX::_exit(0);
    }
    close $write;
    my $said = do { local $/; <$read> };
    waitpid $pid, 0;
    like $said,
        qr/\APAGI::SSE::Client->next: the client is that of process $$, not of $pid at \Q$0\E line [0-9]+\.\nclosed\n1\n\z/;
    is $client->next->get->data, 2, 'the parent notices nothing';
};

subtest 'what nobody takes stops the server' => sub {
    my $server = T::Scripted->new({ octets => stream("data: first\n\n"), flood => "data: 12345678\n\n" x 4096 });
    my $client = client(url => $server->url, max_items => 100);
    is $client->next->get->data, 'first';
    my ($before, $since) = (0, Time::HiRes::time());
    while (Time::HiRes::time() - $since < 0.4) {
        wait_some();
        my $now = $server->flooded;
        ($before, $since) = ($now, Time::HiRes::time()) if $now != $before;
    }
    ok $before < 16 * 2**20, "it sent $before octets, which the kernel has";
    my $count = 0;
    while ($count * 16 < $before + 2**20) {
        my $event = $client->next->get;
        last if $event->data ne '12345678';
        $count++;
    }
    ok $count * 16 >= $before + 2**20, 'all of it can be taken, and more';
    ok $server->flooded > $before,     'as it goes on';
    $client->close;
};

subtest 'events that are there already do not keep others from their turn' => sub {
    my $server = T::Scripted->new({ octets => stream(''), flood => "data: x\n\n" x 1000 });
    my $client = client(url => $server->url);
    my $turns = 0;
    my $timer;
    $timer = sub { $turns++; PAGI::SSE::Loop->later($timer) if $timer };
    is $client->next->get->data, 'x';
    PAGI::SSE::Loop->later($timer);
    for (1 .. 20_000) { $client->next->get }
    undef $timer;
    ok $turns >= 5, "$turns turns in 20,000 events";
    $client->close;
};

# Each takes longer than the server needs for the next.
for my $case (['next', "data: x\n\n"], ['on(event)', "data: x\n\n"], ['on(comment)', ": x\n\n"]) {
    my ($how, $block) = @$case;
    subtest "a server that is faster than $how does not keep the loop" => sub {
        my $server = T::Scripted->new({ octets => stream(''), flood => $block x 10_000 });
        my $client = client(url => $server->url);
        my $count = 0;
        my $slow = sub { $count++; my $until = Time::HiRes::time() + 0.001; 1 while Time::HiRes::time() < $until };
        $client->on($1 => $slow) if $how =~ /\((.*)\)/;
        my $reading = $how eq 'on(event)' ? undef : (
            async sub {
                while (await $client->next) { $slow->() }
            }
        )->();
        local $SIG{ALRM} = sub { die "the loop does not come back\n" };
        alarm 60;
        PAGI::SSE::Loop->sleep(0.001)->get until $count > 50;
        PAGI::SSE::Loop->sleep(0.001)->get for 1 .. 20;
        alarm 0;
        ok $count < 20_000, 'the loop had 20 turns in a flood' or diag $count;
        $client->close;
    };
}

is PAGI::SSE::FFI::handle_count(), $base, 'every handle was given back';
done_testing;
