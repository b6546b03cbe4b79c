use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use POSIX ();

# A hub belongs to the process that made it.

# What the code, run in a child, returns: lines of text.
sub in_child {
    my ($code) = @_;
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $in;
        my @lines;
        eval { @lines = $code->(); 1 } or @lines = "died: $@";
        print {$out} map {
            "$_
"
        } @lines;
        close $out;
        POSIX::_exit(0);
    }
    close $out;
    chomp(my @lines = <$in>);
    waitpid $pid, 0;
    return @lines;
}

my $server = T::Hub::Foreign->new;
my $hub = hub();
my $peer = peer();
my $sse = $peer->sse;
my $sub = $hub->subscribe($sse, 't');

subtest 'in a child, each method says that it is the parent\'s' => sub {
    my %call = (
        publish      => sub { $hub->publish('t', data => 1) },
        publish_many => sub { $hub->publish_many([t => data => 1]) },
        topic        => sub { $hub->topic('t') },
        subscribe    => sub { $hub->subscribe(peer()->sse, 't') },
        close        => sub { $hub->close },
        subscribers  => sub { $hub->subscribers('t') },
        topics       => sub { $hub->topics },
        stats        => sub { $hub->stats },
        fileno       => sub { $hub->fileno },
    );
    my %async = (ready => sub { $hub->ready }, serve => sub { $hub->serve(peer()->sse, 't') });
    my %of_subscription = (stats => sub { $sub->stats }, unsubscribe => sub { $sub->unsubscribe });
    my %said = map { split /: /, $_, 2 } in_child(sub {
        my @said;
        my $base = PAGI::SSE::FFI::handle_count();
        for my $name (sort keys %call) {
            eval { $call{$name}->() };
            push @said, "$name: $@";
        }
        for my $name (sort keys %of_subscription) {
            eval { $of_subscription{$name}->() };
            push @said, "sub $name: $@";
        }
        for my $name (sort keys %async) {
            my $future = eval { $async{$name}->() };
            push @said, "$name: " . ($future ? $future->failure : "died: $@");
        }
        push @said, 'handles: ' . (PAGI::SSE::FFI::handle_count() - $base), 'epoch: ' . $hub->epoch,
            'dispatch: ' . $hub->dispatch;
        chomp @said;
        return @said;
    });
    for my $name (sort keys %call, keys %async) {
        like $said{$name},
            qr/\APAGI::SSE::Hub->$name: the hub belongs to the parent process \(fork\) at \Q$0\E line \d+\.\z/,
            $name;
    }
    for my $name (sort keys %of_subscription) {
        like $said{"sub $name"},
            qr/\APAGI::SSE::Hub::Subscription->$name: the subscription belongs to the parent process \(fork\) at \Q$0\E line/,
            "Subscription: $name";
    }
    is $said{handles},  0,   'no handle is left';
    is $said{epoch},    'e', 'epoch';
    is $said{dispatch}, 0,   'dispatch has nothing to do';
};

subtest 'a child may have its own' => sub {
    my @said = in_child(sub {
        my $own = hub(epoch => 'own');
        my $mine = T::Hub::Foreign->new;
        my $client = $mine->client(sub { my ($sse) = @_; $own->subscribe($sse, 't'); return $sse->run });
        $own->publish('t', data => 1);
        $mine->until(sub { $client->text =~ /data/ });
        my $inherited = eval { $own->subscribe($sse, 't'); 1 } ? 'subscribed' : $@;
        return (map { $_->{id} } grep { $_->{id} } @{ $client->peer->events }), $inherited =~ s/ at .*//sr;
    });
    is \@said, ['own.0', 'own.1', 'PAGI::SSE::Hub->subscribe: the connection belongs to the parent process (fork)'],
        'its own connections, not the parent\'s';
};

subtest 'the parent notices nothing' => sub {
    $hub->publish('t', data => 1);
    until_ok($server, sub { @{ $peer->events } == 3 }, 'an event');
    is $peer->data,              ['', 1], 'arrives';
    is $hub->stats->{published}, 1,       'the only one';
    is $sub->stats->{active},    T(),     'the subscription';
};

done_testing;
