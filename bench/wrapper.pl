#!/usr/bin/env perl

# What the wrapper itself costs: time per call with the wrapper minus time of
# the bare $send->({...})->get, in one process, in short rounds that are compared
# each in itself (a machine's speed changes), medians of those differences.
# Beside PAGI::SSE an equivalent wrapper of plain async subs.
#
#   perl bench/wrapper.pl [rounds [calls per round]]

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../perl/lib";

use Future;
use Future::AsyncAwait;
use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID);

use PAGI::SSE;

package Plain {
    # The same jobs, the usual way: state, validation and start, in async subs.

    use JSON::MaybeXS ();

    my $json = JSON::MaybeXS->new(utf8 => 1, allow_nonref => 1);

    sub new {
        my ($class, $scope, $receive, $send) = @_;
        return bless { scope => $scope, receive => $receive, send => $send, state => 'pending' }, $class;
    }

    async sub start {
        my ($self, %options) = @_;
        return $self unless $self->{state} eq 'pending';
        $self->{state} = 'started';
        await $self->{send}->({ type => 'sse.start', status => $options{status} || 200 });
        return $self;
    }

    async sub send {
        my ($self, $data) = @_;
        die "Cannot send on closed SSE connection\n" if $self->{state} eq 'closed';
        await $self->start if $self->{state} eq 'pending';
        await $self->{send}->({ type => 'sse.send', data => $data });
        return $self;
    }

    async sub send_event {
        my ($self, %event) = @_;
        die "Cannot send on closed SSE connection\n" if $self->{state} eq 'closed';
        die "send_event requires 'data'\n" unless defined $event{data};
        for my $field (qw(event id)) {
            die "$field must not contain a newline\n"
                if defined $event{$field} && $event{$field} =~ /[\r\n]/;
        }
        die "bad retry\n" if defined $event{retry} && $event{retry} !~ /\A[0-9]+\z/;
        await $self->start if $self->{state} eq 'pending';
        my %send = (type => 'sse.send', data => ref $event{data} ? $json->encode($event{data}) : $event{data});
        for my $field (qw(event id retry)) {
            $send{$field} = $event{$field} if defined $event{$field};
        }
        await $self->{send}->(\%send);
        return $self;
    }

    async sub try_send {
        my ($self, $data) = @_;
        return 0 if $self->{state} eq 'closed';
        eval { await $self->send($data); 1 } or do {
            $self->{state} = 'closed';
            return 0;
        };
        return 1;
    }
}

my ($rounds, $calls) = (@ARGV, 201, 1_000);
$calls = $ARGV[1] if @ARGV > 1;

my $send = sub { Future->done };
my $receive = sub { Future->new };
my $data = 'x' x 64;
my @event = (event => 'tick', id => '12345');

my ($scope_ours, $scope_plain) = ({ type => 'sse' }, { type => 'sse' });
my $ours = PAGI::SSE->new($scope_ours, $receive, $send);
my $plain = Plain->new($scope_plain, $receive, $send);
$_->start->get for $ours, $plain;

my %case = (
    send => {
        bare  => sub { $send->({ type => 'sse.send', data => $data })->get for 1 .. $calls },
        ours  => sub { $ours->send($data)->get                             for 1 .. $calls },
        plain => sub { $plain->send($data)->get                            for 1 .. $calls },
    },
    try_send => {
        bare  => sub { $send->({ type => 'sse.send', data => $data })->get for 1 .. $calls },
        ours  => sub { $ours->try_send($data)->get                         for 1 .. $calls },
        plain => sub { $plain->try_send($data)->get                        for 1 .. $calls },
    },
    send_event => {
        bare  => sub { $send->({ type => 'sse.send', data => $data, @event })->get for 1 .. $calls },
        ours  => sub { $ours->send_event(data => $data, @event)->get               for 1 .. $calls },
        plain => sub { $plain->send_event(data => $data, @event)->get              for 1 .. $calls },
    },
);

my %ns;
for my $round (0 .. $rounds) {
    for my $name (sort keys %case) {
        # Rotate the order, so that nobody always comes after the same other.
        my @kinds = qw(bare ours plain);
        push @kinds, splice @kinds, 0, $round % 3;
        for my $kind (@kinds) {
            my $from = clock_gettime(CLOCK_PROCESS_CPUTIME_ID);
            $case{$name}{$kind}->();
            my $took = clock_gettime(CLOCK_PROCESS_CPUTIME_ID) - $from;
            push @{ $ns{$name}{$kind} }, $took / $calls * 1e9 if $round;    # round 0 warms up
        }
    }
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[@sorted / 2];
}

printf "ns per call, %d rounds of %d, medians of CPU time\n", $rounds, $calls;
printf "%-12s %8s %8s %8s %12s %12s %8s\n", 'method', 'bare', 'ours', 'plain', 'own: ours', 'own: plain', 'ratio';
for my $name (qw(send try_send send_event)) {
    my ($bare, $with, $other) = @{ $ns{$name} }{qw(bare ours plain)};
    my $ours = median(map { $with->[$_] - $bare->[$_] } 0 .. $#$bare);
    my $plain = median(map { $other->[$_] - $bare->[$_] } 0 .. $#$bare);
    printf "%-12s %8.0f %8.0f %8.0f %12.0f %12.0f %8.2f\n",
        $name, median(@$bare), median(@$with), median(@$other), $ours, $plain, $ours / $plain;
}
