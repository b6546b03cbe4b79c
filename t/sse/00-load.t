use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";

use T::PAGI;
use Test2::V0 -no_srand => 1;

# PAGI-Tools on CPAN has a module of the same name: say which one was tested.

my $expected =
    (grep { !ref && m{(?:^|/)blib(?:/|$)} } @INC) ? qr{blib/lib/PAGI/SSE\.pm\z} : root() . '/perl/lib/PAGI/SSE.pm';

like $INC{'PAGI/SSE.pm'}, ref $expected ? $expected : qr/\A\Q$expected\E\z/, 'our own PAGI::SSE was loaded';
ok !PAGI::SSE->can($_), "no function of another module is a method: $_"
    for qw(croak blessed weaken octets refaddr encode_json);
can_ok 'PAGI::SSE', qw(
    new scope path raw_path query_string scheme http_version header headers header_all last_event_id
    stash path_param path_params state start close run is_started is_closed connection_state
    disconnect_reason send send_json send_event try_send try_send_json try_send_event keepalive each
    every on_close on_error client server method query_params query_param raw_query_params
    raw_query_param is_connected on send_comment try_send_comment buffered_amount high_water_mark
    low_water_mark on_high_water on_drain is_writable decline body json _note_disconnected _set_state
    _set_closed
);

done_testing;
