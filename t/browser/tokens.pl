# The page of examples/tokens, with a user who presses its buttons and says what
# the page shows. Asked with ?only=NAME it does one thing and stays.
use strict;
use warnings;

use File::Basename ();
use File::Spec     ();
use Future::AsyncAwait;

my $root = File::Spec->catdir(File::Basename::dirname(File::Spec->rel2abs(__FILE__)), (File::Spec->updir) x 2);
my $example = do "$root/examples/tokens/app.pl" or die "no example: $@";
my $result = $ENV{BROWSER_RESULT}               or die "BROWSER_RESULT is not set\n";

sub contents {
    my ($file) = @_;
    open my $in, '<:raw', $file or die "$file: $!";
    local $/;
    return scalar readline $in;
}

my $user = <<'JS';
<script>
'use strict';
const until = (condition) => new Promise((done) => {
    const look = () => condition() ? done() : setTimeout(look, 20);
    look();
});
const state = () => document.documentElement.dataset.state;
const seen = (name) => ({
    name, state: state(), outcome: $('outcome').textContent, answer: $('answer').textContent,
    send: !$('send').hidden, stop: !$('stop').hidden,
});
const at_rest = () => !['waiting', 'streaming'].includes(state());
const tries = () => [...document.querySelectorAll('.tries button')];
const does = {
    idle: async () => {},
    answer: async () => { $('send').click(); await until(at_rest); },
    stop: async () => {
        $('send').click();
        await until(() => state() === 'streaming');
        does.during = seen('during');
        $('stop').click();
        await until(at_rest);
    },
    break: async () => { tries()[0].click(); await until(at_rest); },
    refuse: async () => { tries()[1].click(); await until(at_rest); },
};
const only = new URLSearchParams(location.search).get('only');
(async () => {
    if (only === 'streaming') return $('send').click();
    if (only) return does[only]();
    const all = [];
    for (const name of ['idle', 'answer', 'stop', 'break', 'refuse']) {
        await does[name]();
        if (does.during) all.push(does.during);
        delete does.during;
        all.push(seen(name));
    }
    await fetch('/result', { method: 'POST', body: JSON.stringify(all) });
})();
</script>
JS

async sub page {
    my ($send) = @_;
    my $html = contents("$root/examples/tokens/index.html") =~ s{</body>}{$user</body>}r;
    await $send->({
        type    => 'http.response.start',
        status  => 200,
        headers => [['content-type', 'text/html; charset=utf-8']]
    });
    await $send->({ type => 'http.response.body', body => $html });
}

async sub keep {
    my ($receive, $send) = @_;
    my $body = '';
    while (1) {
        my $event = await $receive->();
        return if $event->{type} ne 'http.request';
        $body .= $event->{body} // '';
        last unless $event->{more};
    }
    open my $out, '>:raw', "$result.part" or die "$result.part: $!";
    print {$out} $body;
    close $out or die "$result.part: $!";
    rename "$result.part", $result or die "$result: $!";
    await $send->({ type => 'http.response.start', status => 204, headers => [] });
    await $send->({ type => 'http.response.body', body => '' });
}

async sub app {
    my ($scope, $receive, $send) = @_;
    my $asked = $scope->{type} eq 'http' ? "$scope->{method} $scope->{path}" : '';
    return await page($send) if $asked eq 'GET /';
    return await keep($receive, $send) if $asked eq 'POST /result';
    return await $example->($scope, $receive, $send);
}

\&app;
