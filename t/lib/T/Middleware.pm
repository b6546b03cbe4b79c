package T::Middleware;

# What middleware may put around $receive and $send.
#
#     my @pair = T::Middleware::around('both wrapped', $receive, $send);
#     for my $around (T::Middleware::ways()) { ... }

use strict;
use warnings;

use Future::AsyncAwait;

my %AROUND = (
    'plain'            => sub { @_ },
    '$send wrapped'    => sub { ($_[0],           _wrapped($_[1])) },
    '$receive wrapped' => sub { (_wrapped($_[0]), $_[1]) },
    'both wrapped'     => sub {
        map { _wrapped($_) } @_;
    },
    'both, async subs' => sub {
        my ($receive, $send) = @_;
        return (async sub { await $receive->(@_) }, async sub { await $send->(@_) });
    },
);

sub ways { return sort keys %AROUND }

sub around {
    my ($way, @pair) = @_;
    return $AROUND{$way}->(@pair);
}

sub _wrapped {
    my ($code) = @_;
    return sub { $code->(@_) };
}

1;
