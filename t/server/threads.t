use strict;
use warnings;
use Config;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use Test2::V0 -no_srand => 1;

# A server and its connections belong to the thread that started it: another
# one, with clones of all, can neither use nor free them, nor undo its signals.

skip_all 'this perl has no threads' unless $Config{useithreads};

# In a process of its own: Test2 and threads do not mix at will.
my $lib = $INC{'PAGI/SSE.pm'} =~ s{/PAGI/SSE\.pm\z}{}r;
my @command = ($^X, "-I$lib", "-I$FindBin::Bin/../lib", '-Mthreads', '-MT::PAGI', '-MT::Host', '-MPAGI::SSE::Hub');
open my $out, '-|', @command, '-e', <<'EOS' or die $!;
    my $hub = PAGI::SSE::Hub->new(epoch => 'e');
    my @sse;
    my $host = T::Host->new(sub {
        my ($scope, $receive, $send) = @_;
        die "none\n" if $scope->{type} eq 'lifespan';
        push @sse, PAGI::SSE->new($scope, $scope->{path} =~ /plain/ ? $receive : sub { $receive->(@_) },
            $scope->{path} =~ /wrapped/ ? sub { $send->(@_) } : $send);
        return $hub->serve($sse[-1], 't') if $scope->{path} =~ /hub/;
        $sse[-1]->send('first');
        return $sse[-1]->run;
    });
    my %client = map { $_ => $host->stream("/$_") } qw(plain hub wrapped);
    $host->until(sub { @sse == 3 && 3 == grep { length $_->body } values %client });
    my $handles = PAGI::SSE::FFI::handle_count();
    for (1 .. 3) {
        threads->create(sub {
            my @calls = (sub { $host->server->dispatch }, map { my $sse = $_; (sub { $sse->connection_state }, sub { $sse->send('from the thread') }) } @sse);
            print join(' ', 'thread:', map { eval { $_->(); 1 } ? 'done' : $@ =~ /belongs to another thread/ ? 'refused' : $@ } @calls), "\n";
            @sse = ();
        })->join;
    }
    print 'handles: ', PAGI::SSE::FFI::handle_count() - $handles, "\n";
    $hub->publish('t', data => 'last');
    $_->send('last') for @sse;
    $host->until(sub { 3 == grep { $_->body =~ /last/ } values %client });
    print "$_: ", join('|', $client{$_}->body =~ /^data: (.*)$/mg), "\n" for sort keys %client;
    my $stopped = $host->server->stop(5);
    $host->until(sub { $stopped->is_ready });
    print 'stopped: ', $stopped->is_done ? 1 : 0, "\n";
EOS
my @said = <$out>;
close $out;
is $?, 0, 'no crash';
is [splice @said, 0, 3], [("thread: refused refused refused refused refused refused refused\n") x 3],
    'what a thread can do: nothing';
is \@said,
    ["handles: 0\n", "hub: last|last\n", "plain: first|last\n", "wrapped: first|last\n", "stopped: 1\n"],
    'the first thread goes on as before';

done_testing;
