use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::Browser;
use T::Serve;
use Test2::V0;

# What somebody sees who presses the buttons of examples/tokens.

plan skip_all => 'no chromium in PATH' if !defined T::Browser->program;

my $model = T::Serve->app('examples/tokens/model.pl', env => { TOKENS_INTERVAL => 0.02 });
my $browser = T::Browser->new;
my $server = T::Serve->app('t/browser/tokens.pl',
    env => { BROWSER_RESULT => $browser->result_file, TOKENS_MODEL => $model->url('/v1/chat/completions') });
my $seen = $browser->result_of($server);
if (!$seen) {
    done_testing;
    exit;
}

my $text =
      'You said: "Tell me about event streams" I am no model, only a program that sends one word after the other, '
    . 'as a model does. Each word is an event of its own: it came from the model server to the application, '
    . 'which passed it on to your page the moment it was there. Nothing was collected, and nothing waits '
    . 'in a buffer. If you stop now, the application stops me as well.';
my $words = () = $text =~ /\S+/g;
my %rest = (send => T, stop => F);
my %saw = map { $_->{name} => $_ } @$seen;
is $saw{idle}, { name => 'idle', state => 'idle', outcome => '', answer => '', %rest }, 'at first';
is $saw{answer}, { name => 'answer', state => 'done', outcome => "Done: $words words.", answer => $text, %rest },
    'an answer, all of it';
is [@{ $saw{during} }{qw(state outcome send stop)}], ['streaming', '', F, T], 'while it comes there is a stop button';
ok length $saw{during}{answer} < length $text, 'and a part of the answer';
is [@{ $saw{stop} }{qw(state outcome)}], ['stopped', 'Stopped; the model has stopped, too.'], 'stopped';
ok length $saw{stop}{answer} < length $text, 'with what had come' or diag $saw{stop}{answer};
is [@{ $saw{break} }{qw(state outcome)}], ['failed', 'It broke off: the connection to the upstream broke'],
    'an upstream that breaks is shown';
like $saw{break}{answer}, qr/\AYou said: "Break half way" I am/, 'beside what had come';
is $saw{refuse},
    {
    name    => 'refuse',
    state   => 'failed',
    outcome => 'The model said 429: You asked to be refused',
    answer  => '',
    %rest
    },
    'one that refuses, too';

is $server->stop, 0, 'the application stops in order';
is $model->stop,  0, 'the model, too';

done_testing;
