use strict;
use warnings;

# The end of a connection under a PAGI server that is nobody's in particular:
# who notices, who is told, who waits for whom.

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use Future;
use Future::AsyncAwait;
use IO::Async::Loop;
use Future::IO::Impl::IOAsync;
use PAGI::SSE::FFI ();
use PAGI::SSE::Hub;
use Scalar::Util qw(weaken);

my $loop = IO::Async::Loop->new;

# One connection. $receive is plain, or an async sub, whose Future nobody but its
# caller keeps. Events that the application sends after the end go nowhere.
package Plain {
    sub new {
        my ($class, $kind) = @_;
        my $self = bless { kind => $kind, incoming => [], sent => [] }, $class;
        return $self;
    }

    sub call {
        my ($self, $app) = @_;
        my $next = sub {
            my $future = $loop->new_future;
            if   ($self->{gone}) { $future->done({ %{ $self->{gone} } }) }
            else                 { push @{ $self->{waiting} }, $future }
            return $future;
        };
        my $receive = $self->{kind} eq 'async' ? async sub { return await $next->() } : $next;
        my $send = async sub {
            my ($event) = @_;
            push @{ $self->{sent} }, $event;
            die "the connection broke\n" if $self->{broken};
            await $self->{stalled} if $self->{stalled};
            return;
        };
        $self->{app} = $app->({ type => 'sse', headers => [] }, $receive, $send);
        return $self;
    }

    sub leave {
        my ($self, $reason) = @_;
        $self->{gone} = { type => 'sse.disconnect', reason => $reason };
        $_->done({ %{ $self->{gone} } }) for splice @{ $self->{waiting} };
        return;
    }

    sub data {
        return grep { defined } map { $_->{data} } @{ $_[0]{sent} };
    }
}

sub turns {
    my ($condition) = @_;
    return wait_until { $loop->loop_once(0.01); $condition->() };
}

sub sleeping { return $loop->delay_future(after => $_[0]) }

my %HANDLER = (
    run   => sub { $_[0]->run },
    every => sub {
        my ($sse) = @_;
        $sse->every(0.01, async sub { await $sse->send('x') });
    },
    'each, array' => sub {
        my ($sse) = @_;
        $sse->each([1 .. 9999], async sub { await sleeping(0.01); return { data => 1 } });
    },
    'each, coderef' => sub {
        my ($sse) = @_;
        $sse->each(sub { 1 }, async sub { await sleeping(0.01); return { data => 1 } });
    },
    'while is_connected' => async
        sub { my ($sse) = @_; await $sse->start; await sleeping(0.01) while $sse->is_connected },
    'awaited sends' => async
        sub { my ($sse) = @_; 1 while await($sse->try_send('x')) && await(sleeping(0.01)->then_done(1)) },
    'a wait for the end' => async sub {
        my ($sse) = @_;
        my $gone = Future->new;
        $sse->on_close(sub { $gone->done });
        await $sse->start;
        await $gone;
    },
);

for my $kind (qw(plain async)) {
    for my $name (sort keys %HANDLER) {
        subtest "$kind \$receive: a client that leaves ends $name" => sub {
            my @told;
            my $host = Plain->new($kind)->call(
                async sub {
                    my $sse = PAGI::SSE->new(@_);
                    $sse->on_close(sub { push @told, $_[1] });
                    await $HANDLER{$name}->($sse);
                }
            );
            turns(sub { $host->{waiting} });
            $host->leave('client_closed');
            ok turns(sub { $host->{app}->is_ready }), 'the handler returns';
            is \@told,                [qw(client_closed)], 'the reason, once';
            is $host->{app}->failure, undef,               'in peace';
        };
    }

    subtest "$kind \$receive: a subscription goes with its client, though nobody waits" => sub {
        my $hub = PAGI::SSE::Hub->new;
        my @hosts = map {
            Plain->new($kind)->call(
                async sub {
                    my $sse = PAGI::SSE->new(@_);
                    my $never = Future->new;
                    $sse->on_close(sub { $never->done });
                    $hub->subscribe($sse, 'news');
                    await $never;
                }
            )
        } 1 .. 3;
        is $hub->subscribers('news'), 3, 'three';
        $_->leave('client_closed') for @hosts;
        ok turns(sub {
            !grep { !$_->{app}->is_ready } @hosts;
            }),
            'the handlers return';
        is $hub->subscribers('news'), 0, 'none';
    };
}

subtest 'a server that drops the Future of its $receive has given up on the client' => sub {
    my $base = PAGI::SSE::FFI::handle_count();
    my $hub = PAGI::SSE::Hub->new;
    my (@told, $weak);
    {
        my $host = Plain->new('plain')->call(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                weaken($weak = $sse);
                $sse->on_close(sub { push @told, $_[1]; undef $sse });
                $hub->subscribe($sse, 'news');
                await $sse->run;
            }
        );
        ok $weak, 'there';
        my @warnings = warnings_of { %$host = () };
        is [grep { /PAGI::SSE/ } @warnings], [], 'no warning of ours';
    }
    is \@told,                    ['client_closed'], 'told';
    is $hub->subscribers('news'), 0,                 'no subscriber';
    is $weak,                     undef,             'no object';
};

subtest 'an application that returns: on_close runs when its scope goes' => sub {
    for my $how ('started', 'not started', 'parked') {
        my @told;
        my $app = async sub {
            my ($scope, $receive, $send) = @_;
            my $sse = PAGI::SSE->new($scope, $receive, $send);
            my $stash = $sse->stash;
            $stash->{name} = 'kept';
            $sse->on_close(sub { push @told, "$_[1] $_[0]->{of} " . $_[0]->stash->{name} });
            $sse->{of} = 'me';
            await $sse->send('x') if $how ne 'not started';
            undef $sse if $how eq 'parked';
            await sleeping(0.01);
        };
        my $host = Plain->new('async')->call($app);
        ok turns(sub { $host->{app}->is_ready }), "$how: returned";
        is \@told, ['app_closed me kept'], "$how: told, and the stash is there";
    }
};

subtest 'on_close callbacks run one after the other, and whoever waits for the end waits for them' => sub {
    my %wait = (
        run   => sub { $_[0]->run },
        every => sub {
            $_[0]->every(60, sub { });
        },
        each => sub {
            my ($sse) = @_;
            $sse->each([1 .. 9999], async sub { await sleeping(0.001) });
        },
        close => sub {
            my ($sse) = @_;
            sleeping(0.01)->then(sub { $sse->close });
        },
    );
    for my $name (sort keys %wait) {
        my @log;
        my $host = Plain->new('async')->call(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                $sse->on_close(async sub { await sleeping(0.02); push @log, 'database used' });
                $sse->on_close(async sub { await sleeping(0.01); push @log, 'database closed' });
                await $wait{$name}->($sse);
                push @log, 'returned';
            }
        );
        $host->leave('client_closed') if $name ne 'close';
        ok turns(sub { $host->{app}->is_ready }), "$name: returned";
        is \@log, ['database used', 'database closed', 'returned'], "$name: in order";
    }
};

subtest 'the toolkit awaits _note_disconnected' => sub {
    my $sse = peer()->sse;
    my @work = map { Future->new } 1, 2;
    my @ran;
    for my $i (0, 1) {
        $sse->on_close(sub { push @ran, $i; $work[$i] });
    }
    my $told = $sse->_note_disconnected(1000, 'client_closed');
    isa_ok $told, 'Future';
    is \@ran, [0], 'the first';
    $work[0]->done;
    ok !$told->is_ready, 'not yet';
    is \@ran, [0, 1], 'the second';
    $work[1]->done;
    ok $told->is_done,                       'done';
    ok $sse->_note_disconnected(1)->is_done, 'again';
};

subtest 'a send that fails as the client leaves: the reason of the same turn wins' => sub {
    for my $case ([client_closed => 'a disconnect in the same turn'], [write_error => 'no disconnect']) {
        my ($reason, $what) = @$case;
        my (@log,    @warnings);
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        my $host = Plain->new('async');
        $host->{stalled} = $loop->new_future;
        $host->call(
            async sub {
                my $sse = PAGI::SSE->new(@_);
                $sse->on_close(sub { push @log, "on_close $_[1]" });
                $sse->on_error(sub { push @log, "on_error $_[1]" });
                await $sse->try_send('x');
                push @log, "sent " . ($sse->disconnect_reason // 'undef');
            }
        );
        turns(sub { $host->{waiting} });
        $host->{stalled}->fail("the client has gone\n");
        $host->leave('client_closed') if $reason eq 'client_closed';
        ok turns(sub { $host->{app}->is_ready }), "$what: returned";
        is \@log, ["on_error the client has gone\n", "on_close $reason", "sent $reason"], "$what: in order"
            if $reason eq 'write_error';
        is $log[-1], "sent $reason", "$what: the reason";
        $loop->loop_once(0) for 1 .. 3;
        is \@warnings, [], "$what: no warning";
    }
};

subtest 'an end while an async $send waits does not lose its Future' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    my $host = Plain->new('async');
    my $stalled = $host->{stalled} = $loop->new_future;
    $host->call(
        async sub {
            my $sse = PAGI::SSE->new(@_);
            eval { await $sse->send('x'); 1 }
        }
    );
    turns(sub { $host->{waiting} });
    $host->leave('client_closed');
    ok turns(sub { $host->{app}->is_ready }), 'returned';
    $stalled->done;
    is \@warnings, [], 'no warning';
};

subtest 'a disconnect that is there at the start does not spoil sends, and is noticed in the next turn' => sub {
    my $host = Plain->new('plain');
    $host->leave('client_closed');
    my @told;
    my $sse;
    $host->call(sub {
        $sse = PAGI::SSE->new(@_);
        $sse->on_close(sub { push @told, $_[1] });
        $sse->send('x');
    });
    ok !$host->{app}->failure, 'sent';
    is [$host->data], ['x'], 'handed over';
    ok turns(sub { @told }), 'noticed';
    is \@told, ['client_closed'], 'the reason';
};

done_testing;
