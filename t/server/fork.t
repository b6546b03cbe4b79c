use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use T::Host;
use Test2::V0;
use Future::AsyncAwait;
use POSIX ();
use PAGI::SSE;

my $app = async sub {
    my ($scope, $receive, $send) = @_;
    die if $scope->{type} eq 'lifespan';
    my $sse = PAGI::SSE->new($scope, $receive, $send);
    await $sse->send("pid $$");
    await $sse->run;
};

# Runs $code in a child that must exit by itself; its true value is success.
sub in_child {
    my ($code) = @_;
    my $pid = fork;
    die $! if !defined $pid;
    if (!$pid) {
        $SIG{ALRM} = 'DEFAULT';
        alarm 20;
        my $ok = eval { $code->() };
        print STDERR "# child: $@" if $@;
        POSIX::_exit($ok ? 0 : 1);
    }
    waitpid $pid, 0;
    return $?;
}

subtest 'a server that runs is its process alone; a child makes its own' => sub {
    my $host = T::Host->new($app);
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'the stream');
    my $status = in_child(sub {
        my $server = $host->server;
        $server->dispatch == 0 or die "dispatch\n";
        my ($sse) = map { $_->{sse} } values %{ $server->{exchanges} };
        $sse->try_send('from the child')->get == 0 or die "try_send\n";
        my @ends;
        $sse->on_close(sub { push @ends, $_[1] });
        $sse->close->get == $sse && !@ends or die "close: @ends\n";
        $server->stop(0)->failure =~ /\APAGI::SSE::Server->stop: the server is that of process \d+, not of $$ at \Q$0\E/
            or die "stop\n";
        PAGI::SSE::FFI::handle_count() == 0 or die "handles\n";
        undef $server;
        my $own = T::Host->new($app);
        my $client = $own->stream;
        $own->until(sub { $client->body }, 'the stream') or die "no stream\n";
        $client->body eq "data: pid $$\n\n"              or die "wrong body\n";
        $own->server->stop(5)->get;
        1;
    });
    is $status, 0, 'the child: its own server, none of its parent\'s, no hang';
    my ($sse) = map { $_->{sse} } values %{ $host->server->{exchanges} };
    is $sse->try_send('still here')->get, 1;
    $host->until(sub { $client->body =~ /still here/ }, 'the event');
    is scalar $client->body, "data: pid $$\n\ndata: still here\n\n", 'the parent is as it was';
};

subtest 'a living child does not withhold the end of a stream from the client' => sub {
    my $host = T::Host->new($app);
    my $client = $host->stream;
    $host->until(sub { $client->body }, 'the stream');
    pipe my $read, my $write or die $!;
    my $pid = fork;
    if (!$pid) { close $write; sysread $read, my $wait, 1; POSIX::_exit(0) }
    close $read;
    $host->server->stop(5)->get;
    $host->until(sub { $client->eof }, 'the end');
    ok $client->eof;
    ok kill(0 => $pid), 'the child lives';
    close $write;
    waitpid $pid, 0;
};

subtest 'preload, then fork: each child serves' => sub {
    my @status = map {
        in_child(sub {
            my $host = T::Host->new($app);
            my @clients = map { $host->stream } 1 .. 10;
            $host->until(
                sub {
                    !grep { !$_->body } @clients;
                },
                'the streams'
            );
        })
    } 1 .. 3;
    is \@status, [0, 0, 0];
};

subtest 'exit with streams open, in any phase, is quick and quiet' => sub {
    my $status = in_child(sub {
        my $pid = fork;
        if (!$pid) {
            our $host = T::Host->new($app);    # destroyed in global destruction
            my $client = $host->stream;
            $host->until(sub { $client->body }, 'the stream');
            exit 7;
        }
        waitpid $pid, 0;
        $? >> 8 == 7;
    });
    is $status, 0;
};

done_testing;
