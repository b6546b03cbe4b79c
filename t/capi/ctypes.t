use strict;
use warnings;

# The library from another language that knows C's calls: Python, by ctypes.

use FindBin;
use lib "$FindBin::Bin/../lib";
use T::Inc;
use Test2::V0;
use T::CAPI;

my $python = T::CAPI::command('python3');
plan skip_all => 'no python3' if !defined $python;
plan skip_all => 'another kind of machine' if length(pack 'J', 0) != 8;

my $folder = T::CAPI::root() . '/t/capi';
my ($output, $status) = T::CAPI::run([$python, '-I', "$folder/ctypes.py", T::CAPI::library(), "$folder/abi.txt"]);
is $status, 0, 'a server, an answer, a hub' or diag $output;
my %said = map { $_ => 1 } split /\n/, $output;
like $output, qr/^ended 201 (?:app_closed)?$/m;
like $output, qr/^server_open: .*HOST:PORT/m, 'a failure has its words';
ok $said{$_}, $_
    or diag $output
    for 'ended 200 over', q{/a%20b?c=d 201 b'/a b?c=d'},
    q{/s 200 b'id: py.0\n\nevent: greeting\nid: py.1\nretry: 250\ndata: { "from": "Python" }\n\n'}, 'handles left: 0';

done_testing;
