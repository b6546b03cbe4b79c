# A clone in another thread must neither free nor use the connection.

use strict;
use warnings;

use Config;
use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

skip_all 'this perl has no threads' unless $Config{useithreads};

# In a process of its own: Test2 and threads do not mix at will.
my $lib = $INC{'PAGI/SSE.pm'} =~ s{/PAGI/SSE\.pm\z}{}r;
open my $out, '-|', $^X, "-I$lib", '-Mthreads', '-MPAGI::SSE', '-MFuture', '-e', <<'EOS' or die $!;
    my @sent;
    my $sse = PAGI::SSE->new({ type => 'sse' }, sub { Future->new }, sub { push @sent, $_[0]{data} // 'start'; Future->done });
    $sse->on_close(sub { });
    $sse->send(1)->get;
    print threads->create(sub { $sse->connection_state })->join, "\n";
    $sse->send(2)->get;
    print join(' ', @sent, $sse->connection_state), "\n";
EOS
my @said = <$out>;
close $out;
is $?,       0,                     'no crash';
is $said[0], "closed\n",            'the clone is closed';
is $said[1], "start 1 2 started\n", 'the original goes on';

done_testing;
