use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use Future::AsyncAwait;

# Who may create a topic, and how many one subscription may name.

sub refused_ok {
    my ($code, $message, $name) = @_;
    return is dies { $code->() }, match(qr/\APAGI::SSE::Hub->\Q$message\E at \Q$0\E line \d+\.\n\z/), $name || $message;
}

on_each_server 'create => 0: subscribers may name only what exists' => sub {
    my ($server) = @_;
    my $hub = hub();
    $hub->publish('published', data => 1);
    $hub->topic('set', state => 1);
    my $sse;
    my $client = $server->client(async sub { ($sse) = @_; await $sse->start; await $sse->run });
    my $handles = PAGI::SSE::FFI::handle_count();
    my $subscribe = sub { $hub->subscribe($sse, [@_], { create => 0 }) };
    refused_ok(sub { $subscribe->('new') },                 q{subscribe: create is off, and there is no topic 'new'});
    refused_ok(sub { $subscribe->(qw(set new published)) }, q{subscribe: create is off, and there is no topic 'new'});
    like failure_of($hub->serve($sse, ['new'], { create => '' })),
        qr/\APAGI::SSE::Hub->serve: create is off, and there is no topic 'new' at \Q$0\E/, 'serve';
    is PAGI::SSE::FFI::handle_count(),                      $handles,            'no handle';
    is [$hub->topics],                                      [qw(published set)], 'no topic';
    is [map { $hub->has_topic($_) } qw(published set new)], [T(), T(), F()],     'has_topic';
    my $sub = $subscribe->(qw(set published));
    $hub->publish('set', data => 2);
    $client->gets(cursor(1) . block(2, 2), 'what exists is fine');
    $sub->unsubscribe;
    $hub->subscribe($sse, 'new')->unsubscribe;
    is $hub->has_topic('new'), F(), 'it went with its subscriber';
};

subtest 'the hub may say so for all, and a subscription otherwise' => sub {
    my $hub = hub(create => 0);
    my $sse = peer()->sse;
    refused_ok(sub { $hub->subscribe($sse, 'new') }, q{subscribe: create is off, and there is no topic 'new'});
    refused_ok(
        sub { $hub->subscribe($sse, ['new'], { create => undef }) },
        q{subscribe: create is off, and there is no topic 'new'},
        'undef: as the hub says'
    );
    $hub->subscribe($sse, ['new'], { create => 1 })->unsubscribe;
    $hub->publish('new', data => 1);
    $hub->subscribe($sse, 'new');
    is $hub->subscribers('new'), 1, 'the application creates by publishing';
    my $default = hub(create => undef);
    $default->subscribe(peer()->sse, 'new');
    pass 'undef: they may';
    $sse->close;
};

subtest 'a topic with settings exists though its time is over' => sub {
    my $hub = hub(ttl => 0.001);
    $hub->topic('set');
    $hub->publish($_, data => 1) for qw(set published);
    ok wait_until(sub {
        !grep { $_ eq 'set' || $_ eq 'published' } $hub->topics;
        }),
        'both are over';
    is [map { $hub->has_topic($_) } qw(set published)], [T(), F()], 'has_topic';
    my $sse = peer()->sse;
    $hub->subscribe($sse, ['set'], { create => 0 });
    is $hub->subscribers('set'), 1, 'subscribed';
    $sse->close;
};

subtest 'max_topics: of one subscription' => sub {
    my $hub = hub();
    my $sse = peer()->sse;
    my $subscribe = sub { my ($most, @names) = @_; return $hub->subscribe($sse, [@names], { max_topics => $most }) };
    refused_ok(sub { $subscribe->(2, 'a' .. 'c') },
        'subscribe: a subscription must name from 1 to 2 topics (max_topics), not 3');
    refused_ok(sub { $subscribe->(5) }, 'subscribe: a subscription must name from 1 to 5 topics (max_topics), not 0');
    refused_ok(sub { $subscribe->($_, 'a') }, "subscribe: max_topics must be a whole number from 1 to 1000, not '$_'")
        for 0, 1001, 'x';
    is [$hub->topics], [], 'nothing was done';
    $subscribe->(2, 'a', 'b');
    is $hub->subscribers('b'), 1, 'as many are fine';
    $sse->close;
};

subtest 'what subscribers name leaves half of the topics to the application' => sub {
    my $hub = hub();
    my @sse = map { peer()->sse } 1 .. 51;
    my $last = pop @sse;
    for my $n (0 .. $#sse) {
        $hub->subscribe($sse[$n], map { "t$n.$_" } 1 .. 1000);
    }
    like dies { $hub->subscribe($last, 'more') },
        qr/too many topics \(100000, or 50000 that only subscribers have named\) at \Q$0\E/, 'they have their half';
    is $hub->publish('more', data => 1), 'e.1', 'the application goes on';
    $hub->subscribe($last, 'more');
    is $hub->subscribers('more'), 1, 'and who names its topics';
    $_->close for @sse, $last;
    is [$hub->topics], ['more'], 'the others went with them';
};

done_testing;
