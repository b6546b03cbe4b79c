use strict;
use warnings;

# Messages name the value and the limit, in one line that is not longer than
# need be; perl's own warnings point at the application.

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use PAGI::SSE::Hub;

my $code = sub { Future->new };

sub refused {
    my ($message, $call) = @_;
    my $result = eval { $call->() };
    my $error = ref $result && $result->isa('Future') ? failure_of($result) : $@;
    like $error, qr/\APAGI::SSE:? ?\Q$message\E at \Q$0\E line \d+\.\n\z/, $message;
    return;
}

subtest 'what is no coderef is named' => sub {
    my $sse = peer()->sse;
    for my $bad ([[], 'a reference (ARRAY)'], [5, q{'5'}], [undef, 'undef'], ["a\nb", q{'a\x{A}b'}]) {
        my ($value, $shown) = @$bad;
        refused("on_$_ requires a code reference, got $shown", sub { my $on = "on_$_"; $sse->$on($value) })
            for qw(close error drain high_water);
        refused("on_$_ requires a code reference, got $shown", sub { $sse->on($_ => $value) }) for qw(close error);
        refused("each requires a callback, got $shown",        sub { $sse->each([], $value) });
        refused("every requires a callback, got $shown",       sub { $sse->every(1, $value) });
        refused("requires scope hashref, got $shown",          sub { PAGI::SSE->new($value,  $code,  $code) });
        refused("requires receive coderef, got $shown",        sub { PAGI::SSE->new(scope(), $value, $code) });
        refused("requires send coderef, got $shown",           sub { PAGI::SSE->new(scope(), $code,  $value) });
    }
};

subtest 'limits are named, and the same up to them' => sub {
    for my $limit (qw(max_body max_queue_events max_queue_bytes)) {
        my $must = "$limit must be a whole number from 0 to 999999999999999, got";
        refused("$must '$_'", sub { PAGI::SSE->new(scope(), $code, $code, $limit => $_) })
            for '-1', '1.5', '', '1000000000000000', '18446744073709551615', '9.22337203685478e+18';
        ok lives { PAGI::SSE->new(scope(), $code, $code, $limit => $_) }, "$limit $_" for 0, 999_999_999_999_999;
    }
};

subtest 'a long value is shortened' => sub {
    my $long = "x\n" x 50_000;
    my $shown = q{'} . 'x\x{A}' x 28 . q{x...'};
    my $sse = peer()->sse;
    my @new = (scope(), $code, $code);
    refused("requires scope type 'sse', got $shown", sub { PAGI::SSE->new({ type => $long }, $code, $code) });
    refused("text must be 'octets' or 'characters', got $shown", sub { PAGI::SSE->new(@new, text => $long) });
    refused("max_body must be a whole number from 0 to 999999999999999, got $shown",
        sub { PAGI::SSE->new(@new, max_body => $long) });
    refused("Unknown event type $shown (on knows 'close' and 'error')", sub { $sse->on($long, $code) });

    for my $call (
        sub { PAGI::SSE->new(@new, $long => 1) },
        sub { $sse->query_params($long => 1) },
        sub { peer(scope => { query_string => 'a=%FF' . '%41' x 50_000 })->sse->query_params(strict => 1) },
        sub { $sse->every($long, $code)->get },
        sub { $sse->keepalive($long)->get },
        sub { $sse->start(status  => $long)->get },
        sub { $sse->start(headers => [["x-$long",    1]])->get },
        sub { $sse->start(headers => [['x' x 50_000, "\n"]])->get },
        sub { $sse->send_event(data => 1, id    => $long)->get },
        sub { $sse->send_event(data => 1, event => $long)->get },
        sub { $sse->send_event(data => 1, retry => $long)->get },
        sub { $sse->close($long => 1)->get },
        sub { $sse->decline(status => $long)->get },
        sub { PAGI::SSE::Hub->new(ttl => $long) },
        sub { PAGI::SSE::Hub->new->publish($long, data => 1) },
        sub { PAGI::SSE::Hub->new->subscribe($sse, ['t'], { policy => $long }) },
        )
    {
        my $error = (dies { $call->() }) // '';
        ok length $error && length $error < 700, substr $error, 0, 90;
        is $error =~ tr/\n//, 1, 'one line';
    }
};

subtest 'warnings are the application\'s' => sub {
    my $sse = peer()->sse;
    for my $method (qw(path_param query_param raw_query_param)) {
        is [warnings_of { is $sse->$method(undef), undef, $method }],
            [match qr/\AUse of uninitialized value in $method at \Q$0\E line/], 'and says so';
        is [warnings_of { no warnings; $sse->$method(undef) }], [], 'where that is wanted';
    }
    is [warnings_of { $sse->header("\x{d800}") }], [], 'a name that is none';
    for my $call (sub { $sse->query_params(undef, 1) }, sub { PAGI::SSE->new(scope(), $code, $code, undef, 1) }) {
        my $error;
        is [
            warnings_of {
                $error = dies { $call->() }
            }
            ],
            [], 'no warning';
        like $error, qr/unknown option undef \(known: .*\) at \Q$0\E line/, 'but this';
    }
};

done_testing;
