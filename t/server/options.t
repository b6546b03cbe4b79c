use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use File::Temp ();
use PAGI::SSE::Server;

# What new refuses: at the caller's line, with the value, before a file or a
# socket is made.

my $app = sub { die "no lifespan\n" };
my $dir = File::Temp->newdir;

sub refusal {
    my (%option) = @_;
    my $line = __LINE__ + 1;
    my $ok = eval { PAGI::SSE::Server->new(app => $app, %option); 1 };
    return 'it is taken' if $ok;
    return $@ =~ s/\APAGI::SSE::Server->new: (.*) at \Q${\__FILE__}\E line $line\.\n\z/$1/sr;
}

my @no_names =
    ("a\0b", "a\nb", "a\x7f", '', [], {}, \'x', qr/x/, bless({}, 'Some'));
my %shown = ("a\0b" => q{'a\x{0}b'}, "a\nb" => q{'a\x{A}b'}, "a\x7f" => q{'a\x{7F}'}, '' => q{''});
sub shown { return ref $_[0] ? 'a reference (' . ref($_[0]) . ')' : $shown{ $_[0] } }

subtest 'access_log' => sub {
    open my $closed, '>', "$dir/closed" or die $!;
    close $closed or die $!;
    for my $bad (@no_names, $closed) {
        is refusal(access_log => $bad),
            q{'access_log' must be '-', a path without control characters, an open handle or a coderef, not }
            . shown($bad);
    }
    like refusal(access_log => "$dir/no/such"),
        qr{\APAGI::SSE::Server: cannot append to access_log '\Q$dir\E/no/such': No such file.* at \Q$0\E line};
    package Path {
        use overload '""' => sub { ${ $_[0] } }
    }
    my $path = "$dir/log";
    open my $open, '>', "$dir/open" or die $!;
    for my $good (undef, '-', $path, bless(\$path, 'Path'), $open, *STDERR, \*STDERR, *STDERR{IO}, sub { }) {
        ok lives { PAGI::SSE::Server->new(app => $app, access_log => $good) }, $good // 'undef' or diag $@;
    }
    ok -e $path, 'a path is opened';
};

subtest 'addresses' => sub {
    for my $name (qw(listen host)) {
        for my $bad (@no_names, "unix:$dir/socket\0x", "127.0.0.1:0\n") {
            my $shown = shown($bad) // PAGI::SSE::Check::shown($bad);
            is refusal($name => $bad), "'$name' must be an address without control characters, not $shown";
        }
    }
    ok !-e "$dir/socket", 'no socket at another path';
    is refusal(host => 'a', port => $_),
        "'port' must be a whole number from 0 to 65535, not ${\PAGI::SSE::Check::shown($_)}"
        for -1, 65_536, '', "5\n", [];
};

subtest 'coderefs' => sub {
    package Callable {
        use overload '&{}' => sub {
            sub { }
        }
    }
    for my $bad (5, '', [], qr/x/) {
        my $shown = PAGI::SSE::Check::shown($bad);
        is refusal(app    => $bad), "'app' must be a coderef, not $shown";
        is refusal(on_log => $bad), "'on_log' must be a coderef, not $shown";
        next if ref $bad eq 'Regexp';
        is refusal(sse => $bad), "'sse' must be 'accept', a coderef or a regular expression, not $shown";
    }
    is refusal(app => undef), q{'app' must be a coderef, not undef};
    is refusal(app => bless({}, 'Callable'), on_log => bless({}, 'Callable')), 'it is taken',
        'objects that act as code';
};

subtest 'a long value is shortened, and pairs are pairs' => sub {
    my $long = 'x' x 100_000;
    my $shown = q{'} . 'x' x 57 . q{...'};
    like refusal(app    => $long),            qr/ not \Q$shown\E\z/;
    like refusal($_     => $long),            qr/ not \Q$shown\E\z/, $_ for qw(sse port max_body workers head_timeout);
    like refusal(listen => "$long\n"),        qr/ not \Q$shown\E\z/;
    like refusal($long  => 1),                qr/\Aunknown option \Q$shown\E \(known: /;
    like refusal(listen => $long, port => 1), qr/\A'listen' says \Q$shown\E, 'host' and 'port' say/;
    is warnings {
        like dies { PAGI::SSE::Server->new(app => $app, undef, 1) }, qr/unknown option undef \(known: .* at \Q$0\E line/
    }, [], 'no warning';
    like dies { PAGI::SSE::Server->new('app') }, qr/\APAGI::SSE::Server->new: takes name => value pairs at \Q$0\E/;
    my $error = dies { PAGI::SSE::Server->new(app => $app, listen => $long)->start };
    ok length $error < 500, 'start';
};

done_testing;
