package PAGI::SSE::Server::Application;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future;
use Scalar::Util qw(blessed);

# The application is called, and its result made a Future.

# Calls it; $ended gets its Future when that is ready. Never dies.
sub call {
    my ($server, $scope, $receive, $send, $ended) = @_;
    my $future;
    if (!eval { $future = $server->{app}->($scope, $receive, $send); 1 }) {
        $future = Future->fail(defined $@ && length $@ ? $@ : 'unknown error');
    }
    # An application that is no async sub is done when it returns.
    if (!blessed $future || !$future->can('on_ready')) { $future = _of_promise($server, $future) || Future->done }
    $future->on_ready($ended);
    return $future->is_ready ? undef : $future;
}

# A promise of another kind as a Future.
sub _of_promise {
    my ($server, $promise) = @_;
    return if !blessed $promise || !$promise->can('then');
    my $future = $server->new_future;
    my $settle = sub {
        my ($how, @result) = @_;
        $future->$how(@result) if !$future->is_ready;
        return;
    };
    my $rejected = sub { $settle->(fail => defined $_[0] && length $_[0] ? $_[0] : 'its promise was rejected') };
    my $next;
    if (
        !eval {
            $next = $promise->then(sub { $settle->('done') }, $rejected);
            1;
        }
        )
    {
        $future->fail("it returned a promise (@{[ref $promise]}) that cannot be awaited, use a Future: $@");
    }
    $future->on_ready(sub { undef $next });    # kept till then
    return $future;
}

# Why it ended, if it did not just return.
sub error {
    my ($future) = @_;
    return $future->is_done ? undef : $future->is_cancelled ? 'its Future was cancelled' : ($future->failure)[0];
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Application - calls a PAGI application (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
