# Perl's threads begin with a copy of everything. The copies of our objects
# belong to another thread: they say so, and neither use nor free anything.

use strict;
use warnings;

use Config;
use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

skip_all 'this perl has no threads' unless $Config{useithreads};

# In processes of their own: Test2 and threads do not mix at will. What each
# prints, with STDERR.
sub outcome {
    my ($program) = @_;
    my @inc = map { "-I$_" } grep { !ref } @INC;
    my $pid = open my $out, '-|', $^X, @inc, '-e', <<'PRELUDE' . $program or die $!;
        use strict; use warnings; use threads; use Future; use Scalar::Util qw(weaken);
        use PAGI::SSE; use PAGI::SSE::Hub; use PAGI::SSE::Server;
        open STDERR, '>&', \*STDOUT; $| = 1; alarm 60;
        # What a method says in another thread.
        sub tried { my ($object, $method, @args) = @_; eval { $object->$method(@args); 1 } ? "$method lives" : $@ }
        sub in_threads { my ($code) = @_; return map { threads->create({ context => 'list' }, $code)->join } 1 .. 3 }
        sub handles { PAGI::SSE::FFI::handle_count() }
PRELUDE
    my @said = map { s/ at \S+ line \d+\.$//r } map { s/\n\z//r } <$out>;
    close $out;
    push @said, "status $?" if $?;
    return \@said;
}

sub belongs {
    my ($class, @methods) = @_;
    my $what = $class eq "PAGI::SSE" ? "connection" : lc($class =~ s{.*::}{}r);
    my $prefix = $class eq 'PAGI::SSE' ? 'PAGI::SSE: ' : "$class->";
    return map { "$prefix$_: the $what belongs to another thread" } @methods;
}

my $FOREIGN = <<'PERL';
my @sent;
my $sse = PAGI::SSE->new({ type => 'sse' }, sub { Future->new }, sub { push @sent, $_[0]{data} // $_[0]{type}; Future->done });
$sse->on_close(sub { push @sent, "on_close $_[1]" });
weaken(my $weak = $sse);
$sse->send(1)->get;
my $run = $sse->run;
PERL

$ENV{T_PATH} = '/';
# A thread ends with its copies of pending Futures; that is no news.
delete $ENV{PERL_FUTURE_DEBUG};

my @METHODS = qw(
    send try_send send_json try_send_json send_event try_send_event send_comment try_send_comment start close run
    keepalive each every decline body json on_close is_closed connection_state path
);

is outcome(
    <<"PERL"), [(belongs('PAGI::SSE', @METHODS)) x 3, '1 started sse.start 1 2 sse.close on_close app_closed'], 'a connection of another server';
$FOREIGN
my \$before = handles();
print for in_threads(sub { return map { tried(\$sse, \$_, 'x') } qw(@METHODS) });
my \$same = handles() == \$before;
\$sse->send(2)->get;
my \$state = \$sse->connection_state;
\$sse->close->get;
print join(' ', \$same, \$state, \@sent), "\\n";
PERL

is outcome(
    <<"PERL"), ['lives 3', '1 started'], 'threads that touch nothing, joined and detached, and what they make themselves';
$FOREIGN
my \$before = handles();
threads->create(sub { return })->detach for 1 .. 5;
select undef, undef, undef, 0.01 while threads->list(threads::running);
my \@lives = in_threads(sub {
    my \$own = PAGI::SSE->new({ type => 'sse' }, sub { Future->new }, sub { Future->done });
    return \$own->send('x')->get == \$own && \$own->is_started;
});
print 'lives ', scalar(grep { \$_ } \@lives), "\\n";
print join(' ', handles() == \$before, \$sse->connection_state), "\\n";
PERL

my $SERVER = <<'PERL';
use IO::Socket::INET;
my (%kept, @ended);
my $server = PAGI::SSE::Server->new(listen => '127.0.0.1:0', on_log => sub { }, app => sub {
    my ($scope, $receive, $send) = @_;
    die "no lifespan\n" if $scope->{type} eq 'lifespan';
    $send = do { my $inner = $send; sub { $inner->(@_) } } if $scope->{path} eq '/wrapped';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    weaken($kept{weak} = $sse);
    $sse->on_close(sub { push @ended, $_[1] });
    @kept{qw(sse scope receive send)} = ($sse, $scope, $receive, $send);
    return $sse->run;
})->start;
sub until_ { my ($condition) = @_; while (!$condition->()) { select undef, undef, undef, 0.002; $server->dispatch } }
my $client = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->port) or die $!;
print {$client} "GET $ENV{T_PATH} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
until_(sub { $kept{sse} && $kept{sse}->is_started });
PERL

for my $path ('/', '/wrapped') {
    local $ENV{T_PATH} = $path;
    is outcome(<<"PERL"), [
$SERVER
my \$before = handles();
print for in_threads(sub {
    return (map { tried(\$server, \$_) } qw(dispatch stop run port)),
        (map { tried(\$kept{sse}, \$_, 'x') } qw(send close)),
        (map { tried(\$kept{scope}{'pagi.transport'}, \$_) } qw(buffered_amount close)),
        (eval { \$kept{send}->({ type => 'sse.send', data => 'stolen' }); 1 } ? 'sent' : \$\@ =~ /another thread/ ? "no\\n" : \$\@);
});
threads->create(sub { return })->detach;
select undef, undef, undef, 0.01 while threads->list(threads::running);
print 'handles ', handles() == \$before ? 'the same' : 'lost', "\\n";
\$kept{sse}->send('mine')->get;
\$server->dispatch;
my \$bytes = '';
while (\$bytes !~ /mine/) { sysread \$client, \$bytes, 4096, length \$bytes or last }
print \$bytes =~ /(data: .*)/g, "\\n";
close \$client;
until_(sub { \@ended });
print "\@ended\\n";
undef \$kept{\$_} for qw(sse send);
my \$stop = \$server->stop;
until_(sub { \$stop->is_ready });
print "stopped\\n";
PERL
        (
            belongs('PAGI::SSE::Server',           qw(dispatch stop run port)),
            belongs('PAGI::SSE',                   qw(send close)),
            belongs('PAGI::SSE::Server::Exchange', qw(buffered_amount close)),
            'no'
        ) x 3,
        'handles the same',
        'data: mine',
        'client_closed',
        'stopped'
        ],
        "the embedded server, $path";
}

is outcome(
    <<"PERL"), [(belongs('PAGI::SSE::Hub', qw(publish subscribe stats close)), belongs('PAGI::SSE::Hub::Subscription', qw(unsubscribe stats)), belongs('PAGI::SSE', 'send')) x 3, '1 hello'], 'a hub and a subscription of another server';
$FOREIGN
my \$hub = PAGI::SSE::Hub->new;
my \$subscription = \$hub->subscribe(\$sse, 'news');
weaken(my \$weak_hub = \$hub);
weaken(my \$weak_subscription = \$subscription);
my \$before = handles();
print for in_threads(sub {
    return (map { tried(\$hub, \$_, 'x') } qw(publish subscribe stats close)),
        (map { tried(\$subscription, \$_) } qw(unsubscribe stats)), tried(\$sse, 'send', 'x');
});
my \$same = handles() == \$before;
\$hub->publish('news', data => 'hello');
for (1 .. 2000) { last if \$sent[-1] eq 'hello'; select undef, undef, undef, 0.005; \$hub->dispatch }
print "\$same \$sent[-1]\\n";
PERL

is outcome(<<"PERL"), ['3', 'started'], 'a thread has a server and a hub of its own beside those of the first';
$SERVER
my \$hub = PAGI::SSE::Hub->new;
print scalar(grep { \$_ } in_threads(sub {
    my \$other = PAGI::SSE::Server->new(listen => '127.0.0.1:0', on_log => sub { }, app => sub { die })->start;
    my \$id = PAGI::SSE::Hub->new->publish('news', data => 'x');
    my \$stop = \$other->stop(1);
    while (!\$stop->is_ready) { select undef, undef, undef, 0.002; \$other->dispatch }
    return \$other->port && \$id;
})), "\\n";
\$server->dispatch;
print \$kept{sse}->connection_state, "\\n";
undef \$kept{sse};
PERL

done_testing;
