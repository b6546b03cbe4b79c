use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

use PAGI::SSE::Text ();

# characters or octets, octets, characters
my @table = (
    ['ASCII',                             'abc',              'abc',                              'abc'],
    ['empty',                             '',                 '',                                 ''],
    ['NUL and DEL',                       "\0\x7F",           "\0\x7F",                           "\0\x7F"],
    ['Latin-1 characters',                "caf\xE9",          "caf\xC3\xA9",                      "caf\xE9"],
    ['UTF-8 octets',                      "caf\xC3\xA9",      "caf\xC3\xA9",                      "caf\xE9"],
    ['UTF-8 octets past Latin-1',         "\xE2\x98\xBA",     "\xE2\x98\xBA",                     "\x{263A}"],
    ['wide characters',                   "\x{263A}",         "\xE2\x98\xBA",                     "\x{263A}"],
    ['wide and Latin-1 characters',       "\xE9\x{263A}",     "\xC3\xA9\xE2\x98\xBA",             "\xE9\x{263A}"],
    ['wide, then what looks like octets', "\xC3\xA9\x{263A}", "\xC3\x83\xC2\xA9\xE2\x98\xBA",     "\xC3\xA9\x{263A}"],
    ['octets and a lone high byte',       "\xC3\xA9\xE9",     "\xC3\x83\xC2\xA9\xC3\xA9",         "\xC3\xA9\xE9"],
    ['past the BMP',                      "\x{1F600}",        "\xF0\x9F\x98\x80",                 "\x{1F600}"],
    ['overlong octets are Latin-1',       "\xC0\x80",         "\xC3\x80\xC2\x80",                 "\xC0\x80"],
    ['surrogate octets are Latin-1',      "\xED\xA0\x80",     "\xC3\xAD\xC2\xA0\xC2\x80",         "\xED\xA0\x80"],
    ['octets past U+10FFFF are Latin-1',  "\xF4\x90\x80\x80", "\xC3\xB4\xC2\x90\xC2\x80\xC2\x80", "\xF4\x90\x80\x80"],
    ['a lone surrogate is replaced',      "\x{D800}",         "\xEF\xBF\xBD",                     undef],
);

subtest 'the rule looks at the value, never at the UTF-8 flag' => sub {
    for my $row (@table) {
        my ($name, $text, $octets, $characters) = @$row;
        my ($up, $down) = ($text, $text);
        utf8::upgrade($up);
        utf8::downgrade($down, 1);
        for my $copy ([flagged => $up], [unflagged => $down]) {
            my $got = PAGI::SSE::Text::octets($copy->[1]);
            is $got, $octets, "$name, $copy->[0]: octets";
            ok !utf8::is_utf8($got), "$name, $copy->[0]: one byte each";
            is PAGI::SSE::Text::characters($copy->[1]), $characters, "$name, $copy->[0]: characters"
                if defined $characters;
        }
        is [$up, $down], [$text, $text], "$name: the argument is left alone";
    }
};

my %way = (
    send         => [sub { $_[0]->send($_[1]) },                           'data'],
    try_send     => [sub { $_[0]->try_send($_[1]) },                       'data'],
    data         => [sub { $_[0]->send_event(data => $_[1]) },             'data'],
    event        => [sub { $_[0]->send_event(data => 1, event => $_[1]) }, 'event'],
    id           => [sub { $_[0]->send_event(data => 1, id => $_[1]) },    'id'],
    send_comment => [sub { $_[0]->send_comment($_[1]) },                   'comment'],
    keepalive    => [sub { $_[0]->keepalive(1, $_[1]) },                   'comment'],
);

for my $setting (qw(octets characters)) {
    subtest "into a foreign \$send go $setting" => sub {
        my $peer = peer(options => $setting eq 'octets' ? [] : [text => 'characters']);
        my $sse = $peer->sse;
        for my $row (@table) {
            my ($name, $text, @expected) = @$row;
            my $expected = $expected[$setting eq 'characters'];
            next if !defined $expected || $text =~ /\0/;
            for my $way (sort keys %way) {
                my ($call, $field) = @{ $way{$way} };
                ok !$call->($sse, $text)->failure, "$name, $way: accepted";
                is $peer->events->[-1]{$field}, $expected, "$name, $way: $setting";
            }
        }
    };
}

subtest 'JSON' => sub {
    my $value = { t => "\xE9\x{263A}" };
    for my $setting ([octets => qq({"t":"\xC3\xA9\xE2\x98\xBA"})], [characters => qq({"t":"\xE9\x{263A}"})]) {
        my $peer = peer(options => [text => $setting->[0]]);
        my $sse = $peer->sse;
        $sse->send_json($value)->get;
        $sse->send_event(data => $value)->get;
        is $peer->data, [($setting->[1]) x 2], $setting->[0];
    }
};

subtest 'PAGI_SSE_TEXT sets the default' => sub {
    local $ENV{PAGI_SSE_TEXT} = 'characters';
    my $lib = $INC{'PAGI/SSE.pm'} =~ s{/PAGI/SSE\.pm\z}{}r;
    my $run = sub {
        open my $out, '-|', $^X, "-I$lib", '-MPAGI::SSE', '-MFuture', '-e', $_[0] or die $!;
        local $/;
        return scalar <$out>;
    };
    my $new =
        'PAGI::SSE->new({ type => "sse" }, sub { }, sub { printf "%vX", $_[0]{data} if $_[0]{data}; Future->done })';
    is $run->($new . '->send("\xC3\xA9")'), 'E9', 'characters';
    $ENV{PAGI_SSE_TEXT} = 'both';
    like $run->("eval { $new }; print \$@"), qr/text must be 'octets' or 'characters', got 'both'/, 'checked';
};

done_testing;
