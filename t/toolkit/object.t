use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Where the API document is silent, the object does as the toolkit's does.

use Future;
use Future::AsyncAwait;

subtest 'is_connected is true only between start and end' => sub {
    my %end = (
        close       => sub { $_[0]->close },
        disconnect  => sub { $_[1]->disconnect('client_closed') },
        decline     => sub { },
        _set_closed => sub { $_[0]->_set_closed },
    );
    for my $how (sort keys %end) {
        my $peer = peer();
        my $sse = $peer->sse;
        my @seen = !!$sse->is_connected;
        if ($how eq 'decline') { $sse->decline->get }
        else {
            my $run = $sse->run;
            push @seen, !!$sse->is_connected;
            $end{$how}->($sse, $peer);
        }
        push @seen, !!$sse->is_connected;
        is \@seen, $how eq 'decline' ? [!!0, !!0] : [!!0, !!1, !!0], $how;
    }
};

subtest 'raw_path without the key' => sub {
    is peer(scope => { path => '/p', raw_path => '/r' })->sse->raw_path, '/r', 'with it';
    is peer(scope => { path => '/p' })->sse->raw_path,                   '/p', 'path';
    is(PAGI::SSE->new({ type => 'sse' }, sub { }, sub { })->raw_path, '/', 'nor path');
};

package Silent {
    sub new { bless {}, shift }
}
package Half {
    sub new             { bless {}, shift }
    sub buffered_amount { 70 }
}

subtest 'flow control on a transport that does not know the methods' => sub {
    for my $transport (Silent->new, {}, 'transport', undef) {
        my $sse = peer(scope => { 'pagi.transport' => $transport })->sse;
        my $name = defined $transport ? ref $transport || $transport : 'undef';
        ref_is $sse->on_drain(sub { die }),      $sse, "$name: on_drain is a no-op";
        ref_is $sse->on_high_water(sub { die }), $sse, "$name: on_high_water";
        is [$sse->buffered_amount, $sse->high_water_mark, $sse->low_water_mark], [0, undef, undef], "$name: amounts";
        ok $sse->is_writable, "$name: is_writable";
    }
    my $sse = peer(scope => { 'pagi.transport' => Half->new })->sse;
    is [$sse->buffered_amount, $sse->high_water_mark], [70, undef], 'what it knows is asked';
    ok $sse->is_writable, 'no mark, no limit';
};

subtest 'is_writable does not know of the end' => sub {
    my $sse = peer()->sse;
    $sse->close;
    ok $sse->is_writable, 'true without a transport';
};

subtest 'a disconnect without a reason is client_closed' => sub {
    my %how = (
        '$receive'        => sub { my ($sse, $peer) = @_; $sse->run; $peer->disconnect },
        '$receive, empty' => sub { my ($sse, $peer) = @_; $sse->run; $peer->disconnect('') },
        '$receive, http'  => sub { my ($sse, $peer) = @_; $sse->run; $peer->incoming({ type => 'http.disconnect' }) },
        '$receive cancelled' => sub { my ($sse, $peer) = @_; $sse->run;  $peer->receiving->[0]->cancel },
        body                 => sub { my ($sse, $peer) = @_; $sse->body; $peer->disconnect },
        every                => sub {
            my ($sse, $peer) = @_;
            $sse->every(60, sub { });
            $peer->disconnect;
        },
        _note_disconnected => sub { $_[0]->_note_disconnected },
        'with a code'      => sub { $_[0]->_note_disconnected(1006) },
    );
    for my $name (sort keys %how) {
        my $peer = peer();
        my $sse = $peer->sse;
        my @told;
        $sse->on_close(sub { push @told, $_[1] });
        $how{$name}->($sse, $peer);
        is [\@told, $sse->disconnect_reason], [['client_closed'], 'client_closed'], $name;
    }
};

done_testing;
