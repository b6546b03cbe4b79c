use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Object to scope strong, scope to object weak; parked in the scope when the
# last reference goes.

use Scalar::Util   qw(isweak refaddr weaken);
use PAGI::SSE::FFI ();

sub code {
    sub { Future->done }
}
sub handles { PAGI::SSE::FFI::handle_count() }

my $base = handles();

subtest 'new on one scope returns one object; the first $receive and $send win' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $other = PAGI::SSE->new($peer->scope, sub { die }, sub { die });
    ref_is $other, $sse, 'the same object';
    $other->send('x')->get;
    is $peer->data, ['x'], 'the first $send';
    ok isweak($peer->scope->{'pagi.sse'}), 'the entry is weak';
    is handles(), $base + 1, 'one native handle';
};
is handles(), $base, 'which has gone with it';

subtest 'the object survives without a reference, with its state' => sub {
    my $peer = peer();
    my @told;
    my $address;
    {
        my $sse = $peer->sse;
        $address = refaddr $sse;
        $sse->on_close(sub { push @told, $_[1] });
        $sse->start->get;
        $sse->{of_subclass} = 'kept';
    }
    is handles(), $base + 1, 'the handle lives';
    my $again = $peer->sse;
    is refaddr($again),       $address, 'the same object';
    is $again->{of_subclass}, 'kept',   'its fields';
    ok $again->is_started,                 'its state';
    ok isweak($peer->scope->{'pagi.sse'}), 'un-parked: weak again';
    $again->close(reason => 'x-z');
    is \@told, ['x-z'], 'its callbacks';
    undef $again;
    is $peer->sse->disconnect_reason, 'x-z', 'and its reason, parked once more';
    $peer->sse for 1 .. 100;
    is refaddr($peer->sse), $address, 'any number of times';
};
is handles(), $base, 'gone with the scope';

subtest 'a copy of the scope leads to the same object' => sub {
    for my $parked (0, 1) {
        my $peer = peer();
        my $sse = $peer->sse;
        my $address = refaddr $sse;
        undef $sse if $parked;
        my %copy = (%{ $peer->scope }, extra => 1);
        $sse = PAGI::SSE->new(\%copy, code(), code());
        is refaddr($sse), $address, 'the same';
        ref_is $sse->scope, \%copy, 'which reads the copy';
        undef $sse;
        is refaddr($peer->sse), $address, 'by the original, too';
    }
};
is handles(), $base, 'and nothing is left';

subtest 'the original scope goes first' => sub {
    my $copy;
    {
        my $scope = scope();
        PAGI::SSE->new($scope, code(), code())->start;    # parked
        $copy = {%$scope};
    }
    my $sse = PAGI::SSE->new($copy, code(), code());
    ok $sse->is_started, 'the same object';
    undef $sse;
    ok(PAGI::SSE->new($copy, code(), code())->is_started, 'still, parked in the copy');
    is handles(), $base + 1, 'one handle';
    undef $copy;
    is handles(), $base, 'gone with the copy';
};

subtest 'the object keeps its scope' => sub {
    my $sse = PAGI::SSE->new(scope(path => '/kept'), code(), code());
    is $sse->path, '/kept', 'path';
};

subtest 'a $send and a $receive that hold the scope do not make a cycle' => sub {
    for my $started (0, 1) {
        my $scope = scope();
        my $send = sub { $scope->{sent}++; Future->done };
        my $receive = sub { $scope->{received}++; Future->new };
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->start if $started;
        undef $sse;
        weaken(my $weak = $scope);
        undef $_ for $send, $receive, $scope;
        is $weak,     undef, 'the scope has gone, and the parked object with it';
        is handles(), $base, 'and its handle';
    }
};

subtest 'when they are gone, the next ones are taken; while they live, the first win' => sub {
    my $peer = peer();
    my @sent;
    my $first = sub { push @sent, 'first'; Future->done };
    PAGI::SSE->new($peer->scope, code(), $first);
    PAGI::SSE->new($peer->scope, code(), sub { push @sent, 'second'; Future->done })->send(1);
    is \@sent, ['first', 'first'], 'the first';
    undef $first;
    PAGI::SSE->new($peer->scope, code(), sub { push @sent, 'third'; Future->done })->send(1);
    is $sent[-1], 'third', 'the next';
};

subtest 'an entry that was removed stays removed' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->start;
    delete $peer->scope->{'pagi.sse'};
    undef $sse;
    ok !exists $peer->scope->{'pagi.sse'}, 'not parked';
    ok !$peer->sse->is_started,            'a new object';
};

subtest 'something else under the key is replaced' => sub {
    for my $nonsense ('nonsense', {}, bless({}, 'Somebody::Else')) {
        my $sse = peer(scope => { 'pagi.sse' => $nonsense })->sse;
        isa_ok $sse, 'PAGI::SSE';
    }
};

subtest 'a parked object taken from the scope by hand' => sub {
    my $peer = peer(scope => { path => '/x' });
    $peer->sse;
    my $sse = $peer->scope->{'pagi.sse'};
    is $sse->path, '/x', 'works';
    %$peer = ();
    is $sse->path, '/', 'and does not die without its scope';
    like failure_of($sse->send([])), qr/data must be text/, 'nor does a send';
};

subtest 'a subclass is cached as such' => sub {
    package My::SSE {
        our @ISA = 'PAGI::SSE';
        sub hello { 'hello ' . $_[0]->path }
    }
    my $peer = peer(scope => { path => '/s' });
    My::SSE->new($peer->scope, $peer->receive, $peer->send);
    my $sse = $peer->sse;
    isa_ok $sse, 'My::SSE';
    is $sse->hello, 'hello /s', 'its methods';
};

subtest 'an entry that is somebody else by now is left alone' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    my $other = peer()->sse;
    $peer->scope->{'pagi.sse'} = $other;
    undef $sse;
    ref_is $peer->scope->{'pagi.sse'}, $other, 'not replaced';
};

subtest 'a $send and a $receive that hold the object do not make a cycle after the end' => sub {
    my %end = (
        close      => sub { $_[0]->close },
        slow       => sub { my ($sse, $peer) = @_; $peer->mode('pending'); $sse->close; $peer->accept },
        disconnect => sub { $_[1]->disconnect },
    );
    for my $how (sort keys %end) {
        {
            my $peer = peer();
            my ($send, $receive) = ($peer->send, $peer->receive);
            my $sse;
            $sse = PAGI::SSE->new($peer->scope, sub { $sse && $receive->(@_) }, sub { $sse && $send->(@_) });
            $sse->run;
            $end{$how}->($sse, $peer);
        }
        is handles(), $base, $how;
    }
};

sub kilobytes {
    open my $statm, '<', '/proc/self/statm' or return;
    return (split ' ', scalar <$statm>)[1] * 4;
}

subtest '200,000 scopes, no leak' => sub {
    my ($receive, $send) = (sub { Future->new }, sub { Future->done });
    my $before;
    my $wrong = 0;
    for my $n (1 .. 200_000) {
        my $scope = { type => 'sse' };
        if ($n % 3 == 0) { PAGI::SSE->new($scope, $receive, $send) }
        elsif ($n % 3 == 1) { my $sse = PAGI::SSE->new($scope, $receive, $send); $sse->try_send(1) }
        else {
            PAGI::SSE->new($scope, $receive, $send);
            my %copy = %$scope;
            my $sse = PAGI::SSE->new(\%copy, $receive, $send);
        }
        $before = kilobytes() if $n == 20_000;
    }
    is handles(), $base, 'the handle table is as before';
    my $grown = kilobytes() - $before;
    ok $grown < 2_000, "memory is flat ($grown kB more)";
};

subtest 'fork: the child cannot use the connection, and does not harm it' => sub {
    my $peer = peer();
    my $sse = $peer->sse;
    $sse->on_close(sub { });
    pipe my $read, my $write or die $!;
    defined(my $pid = fork) or die $!;
    if (!$pid) {
        my $failure = eval { $sse->send('from the child')->failure } || $@ || 'sent';
        print {$write} $failure, '|', $sse->connection_state, "\n";
        close $write;
        eval { undef $sse; %{ $peer->scope } = () };
        require POSIX;
        POSIX::_exit(0);
    }
    close $write;
    my $said = do { local $/; <$read> };
    waitpid $pid, 0;
    is $?, 0, 'the child exits in peace';
    like $said, qr/parent process \(fork\).*\|closed/s, 'a send says why it fails';
    $sse->send('from the parent')->get;
    is $peer->data, ['from the parent'], 'the parent goes on';
};

done_testing;
