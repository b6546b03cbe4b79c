use strict;
use warnings;

# In another thread a client is not that thread's, which may make its own.

use Config;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0 -no_srand => 1;
use T::CAPI;
use T::Scripted;

skip_all 'this perl has no threads' unless $Config{useithreads};

# In a process of its own: Test2 and threads do not mix at will.
my $program = <<'PERL';
use strict; use warnings; use threads;
use PAGI::SSE::Client; use PAGI::SSE::Parser;
my $client = PAGI::SSE::Client->new(url => $ARGV[0], retry => 100, proxy => 0);
my $parser = PAGI::SSE::Parser->new;
my @seen;
my $over = PAGI::SSE::Loop->new_future;
$client->on(event => sub { push @seen, $_[0]->data })->on(end => sub { $over->done(@_) });
threads->create(sub {
    for my $call (sub { $client->next }, sub { $client->close }, sub { $parser->push('x') }) {
        print eval { $call->(); 1 } ? "no error\n" : $@ =~ s/ at .*//sr, "\n";
    }
    my $own = PAGI::SSE::Client->new(url => 'http://127.0.0.1:1/', max_failures => 1, proxy => 0);
    print eval { $own->next->get; 1 } ? "no error\n" : $@->kind, "\n";
    print map { $_->data . "\n" } PAGI::SSE::Parser->new->push("data: x\n\n");
})->join;
print join(' ', $over->get, @seen), "\n";
undef $client; undef $parser;
print PAGI::SSE::FFI::handle_count(), "\n";
PERL

my $server = T::Scripted->new(stream("data: 1\n\ndata: 2\n\n"), T::Scripted::NO_CONTENT);
my ($said, $status) = T::CAPI::run([$^X, (map { "-I$_" } @INC), '-e', $program, $server->url]);
is $said, <<'SAID';
PAGI::SSE::Client->next: the client belongs to another thread
PAGI::SSE::Client->close: the client belongs to another thread
PAGI::SSE::Parser->push: the parser belongs to another thread
connect
x
no_content 1 2
0
SAID
is $status, 0;

done_testing;
