use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# Middleware makes the object, a router below it copies the scope and adds path
# parameters and a stash: the accessors read the newest scope that new was given,
# the object stays the same, and no scope is kept longer than it is read.

use Future;
use Future::AsyncAwait;
use PAGI::SSE::FFI ();
use Scalar::Util   qw(refaddr weaken);

sub code {
    sub { Future->new }
}
sub done {
    sub { Future->done }
}
sub copy { my ($scope, %more) = @_; return { %$scope, %more } }
sub sse  { my ($scope) = @_;        return PAGI::SSE->new($scope, code(), done()) }

my $base = PAGI::SSE::FFI::handle_count();

# As the toolkit's programs have it: middleware, a router, a handler.
sub middleware {
    my ($app) = @_;
    return async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        $sse->stash->{user} = 'ann';
        await $app->($scope, $receive, $send);
    };
}

sub router {
    my ($pattern, $app) = @_;
    return async sub {
        my ($scope, $receive, $send) = @_;
        $scope->{path} =~ $pattern or die "no route\n";
        await $app->({ %$scope, path_params => {%+}, root_path => '/rooms' }, $receive, $send);
    };
}

subtest 'a handler behind middleware and a router sees what the router captured' => sub {
    my (%seen, $peer);
    my $handler = async sub {
        my ($scope, $receive, $send) = @_;
        my $sse = PAGI::SSE->new($scope, $receive, $send);
        %seen = (
            room => $sse->path_param('room'),
            all  => $sse->path_params,
            user => $sse->stash->{user},
            root => $sse->scope->{root_path},
        );
        $sse->on_close(sub { my ($sse) = @_; $seen{end} = $sse->path_param('room') });
        await $sse->run;
    };
    my $app = middleware(router(qr{\A/rooms/(?<room>\w+)\z}, $handler));
    $peer = peer(scope => { path => '/rooms/blue' });
    my $running = $app->($peer->scope, $peer->receive, $peer->send);
    is \%seen, { room => 'blue', all => { room => 'blue' }, user => 'ann', root => '/rooms' },
        'parameters, stash, scope';
    $peer->disconnect;
    ok $running->is_done, 'the handler returns';
    is $seen{end}, 'blue', 'on_close sees them, too';
};

subtest 'headers and the query are read anew' => sub {
    my $scope = scope(headers => [['x-a', 1]], query_string => 'q=1');
    my $sse = sse($scope);
    is [$sse->headers->get('x-a'), $sse->query_param('q')], [1, 1], 'of the first scope';
    my $copy = copy($scope, headers => [['x-a', 2]], query_string => 'q=2', path => '/x', client => ['h', 1]);
    ref_is sse($copy), $sse, 'the same object';
    is [$sse->headers->get('x-a'), $sse->header('x-a'), $sse->query_param('q'), $sse->path, $sse->client],
        [2, 2, 2, '/x', ['h', 1]], 'of the second';
    sse($scope);
    is [$sse->headers->get('x-a'), $sse->path], [1, '/events'], 'the newest is the one that came last';
};

subtest 'one stash for all copies, unless a copy has its own' => sub {
    my $scope = scope();
    my $sse = sse($scope);
    my $early = copy($scope);
    $sse->stash->{a} = 1;
    is sse($early)->stash, { a => 1 }, 'made after the copy';
    ref_is $early->{'pagi.stash'}, $scope->{'pagi.stash'}, 'in both scopes';
    my $other = scope();
    my $copy = copy($other);
    sse($other);
    my $late = copy($other);
    sse($late)->stash->{b} = 1;
    is sse($other)->stash, { b => 1 }, 'made by way of the copy';
    my $own = copy($other, 'pagi.stash' => { own => 1 });
    is sse($own)->stash, { own => 1 }, 'its own';
};

subtest 'a parameter that the router adds to the same scope is seen' => sub {
    my $scope = scope();
    my $sse = sse($scope);
    is $sse->path_params, {}, 'none';
    $scope->{path_params} = { id => 7 };
    is $sse->path_param('id'), 7, 'one';
};

subtest 'a copy that nobody needs any more is let go of' => sub {
    my $scope = scope();
    my $sse = sse($scope);
    my @copies = map { copy($scope, path => "/$_") } 1 .. 3;
    sse($_) for @copies;
    my @weak = @copies;
    weaken($_) for @weak;
    @copies = ();
    is [map { defined $_ ? 1 : 0 } @weak], [0, 0, 1], 'only the newest stays';
    is $sse->path,                         '/3',      'and is read';
    sse($scope);
    is $weak[2],   undef,     'until the next';
    is $sse->path, '/events', 'is read';
};

subtest 'no cycle: the object, its scope and the copy go together' => sub {
    for my $started (0, 1) {
        my $scope = scope();
        my $copy = copy($scope);
        {
            my $sse = sse($scope);
            $copy = copy($scope, path => '/copy');
            sse($copy);
            $sse->start if $started;
        }
        my @weak = ($scope, $copy);
        weaken($_) for @weak;
        undef $_ for $copy, $scope;
        is \@weak, [undef, undef], 'both scopes';
        is(PAGI::SSE::FFI::handle_count(), $base, 'the handle');
    }
};

subtest 'parked in its scope, the object stays one with its state, by whichever scope is left' => sub {
    for my $order ([0, 1], [1, 0]) {
        my @scope = (scope());
        my $address;
        {
            my $sse = sse($scope[0]);
            push @scope, copy($scope[0], path => '/copy');
            $sse = sse($scope[1]);
            $sse->start;
            $address = refaddr $sse;
        }
        is refaddr(sse($scope[$_])), $address, "by scope $_, parked" for 0, 1;
        is sse($scope[1])->path, '/copy', 'reads the copy';
        my ($first, $second) = @$order;
        undef $scope[$first];
        is refaddr(sse($scope[$second])), $address, "scope $first went: by scope $second";
        ok sse($scope[$second])->is_started, 'with its state';
        undef $scope[$second];
        is(PAGI::SSE::FFI::handle_count(), $base, 'nothing is left');
    }
};

subtest 'an older copy still leads to the object when all others have gone' => sub {
    my $scope = scope();
    my ($old, $new);
    {
        my $sse = sse($scope);
        ($old, $new) = map { copy($scope, path => $_) } '/old', '/new';
        sse($old);
        sse($new);
        $sse->start;
    }
    undef $_ for $scope, $new;
    ok sse($old)->is_started, 'the same';
    undef $old;
    is(PAGI::SSE::FFI::handle_count(), $base, 'nothing is left');
};

sub kilobytes {
    open my $statm, '<', '/proc/self/statm' or return;
    return (split ' ', scalar <$statm>)[1] * 4;
}

subtest '60,000 requests through the router, no leak' => sub {
    my $before;
    my $app = middleware(router(
        qr{\A/(?<room>\w+)},
        async sub {
            my $sse = PAGI::SSE->new(@_);
            await $sse->send($sse->path_param('room'));
        }
    ));
    for my $n (1 .. 60_000) {
        $app->(scope(path => '/r'), code(), done())->get;
        $before = kilobytes() if $n == 10_000;
    }
    is(PAGI::SSE::FFI::handle_count(), $base, 'the handle table');
    my $grown = kilobytes() - $before;
    ok $grown < 1_500, "memory is flat ($grown kB more)";
};

done_testing;
