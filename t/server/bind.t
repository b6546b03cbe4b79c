use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use File::Temp ();
use IO::Socket::IP;
use IO::Socket::UNIX;
use PAGI::SSE::Server;

# What start says of an address that it cannot have, and what address says of
# one that it has.

my $app = sub { die "no lifespan\n" };

sub started { return PAGI::SSE::Server->new(app => $app, listen => $_[0])->start }

sub failure {
    my ($listen) = @_;
    my $line = __LINE__ + 1;
    my $ok = eval { PAGI::SSE::Server->new(app => $app, listen => $listen)->start; 1 };
    return 'it listens' if $ok;
    my $where = sprintf ' at %s line %d.', __FILE__, $line;
    my $error = $@;
    return $error =~ s/\Q$where\E\n\z// ? $error : "not at the caller's line: $error";
}

my $dir = File::Temp->newdir;
my $bound = "the address cannot be bound";

subtest 'the reason is the system\'s' => sub {
    my $taken = IO::Socket::IP->new(Listen => 1, LocalHost => '127.0.0.1');
    open my $file, '>', "$dir/file" or die $!;
    close $file or die $!;
    my $long = 'x' x 200;
    my $form = 'the address must be HOST:PORT, unix:PATH or fd:NUMBER';
    my %want = (
        'unix:' . "$dir/no/such"        => "$bound: No such file or directory",
        "unix:$dir/file"                => "$bound: the file exists and is no socket",
        "unix:$dir/$long"               => "$form: the path is too long",
        '192.0.2.1:0'                   => "$bound: Cannot assign requested address",
        'no.such.name.invalid:0'        => qr/\Athe host name does not resolve: no\.such\.name\.invalid: [A-Z]\S.*\z/,
        '127.0.0.1:' . $taken->sockport => 'the address is already in use',
        (map { $_ => $form } '127.0.0.1', ':80', 'unix:'),
        (
            map { $_ => "$form: the port must be a whole number from 0 to 65535" } 'localhost:65536', 'localhost:+1',
            'localhost:'
        ),
    );
    for my $listen (sort keys %want) {
        my $says = failure($listen) =~ s/\A\QPAGI::SSE::Server: cannot listen on '$listen': \E//r;
        if   (ref $want{$listen}) { like $says, $want{$listen}, $listen }
        else                      { is $says,   $want{$listen}, $listen }
    }
};

subtest 'permission is denied' => sub {
    skip_all('root may write anywhere') if $> == 0 && !-x '/usr/bin/setpriv' && !getpwnam 'nobody';
    mkdir "$dir/closed", 0755 or die $!;
    my $listen = "unix:$dir/closed/socket";
    chmod 0755, "$dir" or die $!;
    my $pid = open my $out, '-|';
    if (!$pid) {
        # Effective ids alone would do for bind(2), too.
        if   ($> == 0) { $< = $> = getpwnam 'nobody' }
        else           { chmod 0555, "$dir/closed" }
        print failure($listen);
        require POSIX;
        STDOUT->flush;
        POSIX::_exit(0);
    }
    is do { local $/; <$out> }, "PAGI::SSE::Server: cannot listen on '$listen': $bound: Permission denied";
    close $out;
};

subtest 'address is a URL, with brackets where they belong' => sub {
    my $server = started('127.0.0.1:0');
    is $server->address, 'http://127.0.0.1:' . $server->port;
    my $probe = IO::Socket::IP->new(Listen => 1, LocalHost => '::1') or return note('no IPv6 here');
    for my $listen ('[::1]:0', '::1:0') {
        my $v6 = started($listen);
        is $v6->address, 'http://[::1]:' . $v6->port, $listen;
        my $client = IO::Socket::IP->new(PeerHost => '::1', PeerPort => $v6->port);
        ok $client, 'it is there';
    }
    my $unix = started("unix:$dir/socket");
    is $unix->address, "unix:$dir/socket";
};

subtest 'a listening socket that was there before' => sub {
    my $tcp = IO::Socket::IP->new(Listen => 5, LocalHost => '127.0.0.1');
    my $url = 'http://127.0.0.1:' . $tcp->sockport;
    my $first = started('fd:' . fileno $tcp);
    is [$first->address, $first->port], [$url, $tcp->sockport], 'it says where it is bound';
    my $second = started('fd:' . fileno $tcp);
    $first->stop(5)->get;
    my $client = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $tcp->sockport);
    print {$client} "NONSENSE\r\n";
    like scalar(<$client>), qr{\AHTTP/1\.1 400 }, 'where one has stopped another goes on';
    $second->stop(5)->get;
    is $first->address, $url, 'and afterwards';
    my $path = "$dir/given";
    my $unix = IO::Socket::UNIX->new(Listen => 5, Local => $path) or die $!;
    my $server = started('fd:' . fileno $unix);
    is [$server->address, $server->port], ["unix:$path", 0];
    $server->stop(5)->get;
    ok -S $path, 'the file is not the server\'s';
    my $none = 'the descriptor is not a listening stream socket';
    open my $null, '<', '/dev/null' or die $!;
    my $number = fileno $null;
    is failure("fd:$number"), "PAGI::SSE::Server: cannot listen on 'fd:$number': $none: fd:$number is no socket";
    is failure('fd:x'),
        "PAGI::SSE::Server: cannot listen on 'fd:x': the address must be HOST:PORT, unix:PATH or fd:NUMBER";
};

done_testing;
