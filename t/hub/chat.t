use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::PAGI;
use T::Hub;
use Test2::V0 -no_srand => 1;
use T::Host;

# The chat of the manual does what the manual says.

my $file = T::PAGI::root() . '/perl/lib/PAGI/SSE/Hub.pm';
open my $in, '<', $file or die "$file: $!";
my $pod = do { local $/; <$in> };
my ($program) = $pod =~ /^(    # chat\.pl: .*?^    \\&app;\n)/ms or die 'no chat.pl';
$program =~ s/^    //mg;
my $app = eval "package My::Chat; $program" or die $@;

my $host = T::Host->new(sub { die "no lifespan\n" if $_[0]{type} eq 'lifespan'; return $app->(@_) });

sub comes {
    my ($query) = @_;
    my $client = $host->stream("/?$query");
    $host->until(sub { length $client->head }, 'the head');
    return $client;
}

# The events of a stream: type and data.
sub gets {
    my ($client, $want, $name) = @_;
    my $events = sub { [$client->body =~ /^event: (\w+)\n(?:id: .*\n)?data: (.*)\n/mg] };
    $host->until(sub { @{ $events->() } >= @$want }, $name);
    return is $events->(), $want, $name;
}

my @welcome = (message => 'Welcome back');
my $ann = comes('room=lobby&name=ann');
gets($ann, [@welcome, came => '{"name":"ann"}'], 'what was loaded, and who is there');
my $bob = comes('room=lobby&name=bob');
my @both = (came => '{"name":"ann"}', came => '{"name":"bob"}');
gets($bob, [@welcome, @both], 'the same for the next');
gets($ann, [@welcome, @both], 'whom the first hears of');
$bob->close;
gets($ann, [@welcome, @both, went => '{"name":"bob"}'], 'and of the end');
my $cid = comes('room=lobby&name=cid');
gets(
    $cid,
    [@welcome, came => '{"name":"ann"}', went => '{"name":"bob"}', came => '{"name":"cid"}'],
    'who comes later does not see who went as present'
);
is comes("room=$_")->status, 404, "no room '$_'" for 'attic', '', 'a%20b';
$_->close for $ann, $cid;
is [$host->log], [], 'nothing is logged';

done_testing;
