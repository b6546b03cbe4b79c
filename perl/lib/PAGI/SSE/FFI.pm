package PAGI::SSE::FFI;
use strict;
use warnings;

our $VERSION = '0.003000';

use Carp   ();
use Config ();
use FFI::Platypus 2.05;
use FFI::Platypus::Memory ();
use File::Basename        ();
use File::Spec;

use PAGI::SSE::FFI::Constants qw(ABI_VERSION EVENT_RETRY);

# The result codes without RESULT_: PAGI::SSE::FFI::CLOSED and so on.
my %CODE;

BEGIN {
    my $all = PAGI::SSE::FFI::Constants::all();
    %CODE = map { /\ARESULT_(\w+)/ ? ($1 => $all->{$_}) : () } keys %$all;
}
use constant \%CODE;
sub codes { return {%CODE} }

# Never by searching all of @INC: another PAGI::SSE may be there.
sub library_candidates {
    my $here = File::Basename::dirname(File::Spec->rel2abs(__FILE__));
    my $root = File::Spec->catdir($here, File::Spec->updir, File::Spec->updir);
    my @names;
    if (defined(my $path = $ENV{PAGI_SSE_LIB})) {
        return ($path);
    }
    my $file = $^O eq 'darwin' ? 'libpagi_sse.dylib' : 'libpagi_sse.so';
    push @names, File::Spec->catfile($root, qw(auto PAGI SSE), $file);
    push @names, File::Spec->catfile($root, File::Spec->updir, qw(arch auto PAGI SSE), $file);
    my $source = File::Spec->catdir($root, File::Spec->updir, File::Spec->updir);
    if (-e File::Spec->catfile($source, 'Cargo.toml')) {
        my $target = $ENV{CARGO_TARGET_DIR} || File::Spec->catdir($source, 'target');
        push @names, File::Spec->catfile($target, 'release', $file);
    }
    return @names;
}

my @candidates = library_candidates();
my ($library) = grep { -e } @candidates;
Carp::croak(join "\n  ", 'PAGI::SSE: the native library is missing. Looked for',
    @candidates, "Build it: cargo build --release --locked (or script/bootstrap)\n")
    if !defined $library;

# The file that was loaded.
sub library { return $library }

my $ffi = FFI::Platypus->new(api => 2, lib => $library);
$ffi->mangler(sub { "pagi_sse_$_[0]" });

my $abi = eval { $ffi->function(abi_version => [] => 'uint32')->call };
Carp::croak(sprintf "PAGI::SSE: %s has ABI %s, this module needs %d. Build it again: cargo build --release --locked\n",
    $library, (defined $abi ? $abi : 'unknown'), ABI_VERSION)
    if !defined $abi || $abi != ABI_VERSION;

$ffi->attach(version             => []                          => 'string');
$ffi->attach(result_text         => ['sint32']                  => 'string');
$ffi->attach(handle_count        => []                          => 'uint64');
$ffi->attach([error => '_error'] => [qw(opaque size_t size_t*)] => 'sint32');

$ffi->attach(conn_open_detached                    => ['uint64*']                        => 'sint32');
$ffi->attach(conn_free                             => ['uint64']                         => 'sint32');
$ffi->attach(conn_start                            => [qw(uint64 uint16 opaque size_t)]  => 'sint32');
$ffi->attach(conn_admit                            => ['uint64']                         => 'sint32');
$ffi->attach(conn_admit_event                      => [qw(uint64 string)]                => 'sint32');
$ffi->attach(conn_send                             => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(conn_send_event                       => [qw(uint64 string)]                => 'sint32');
$ffi->attach(conn_comment                          => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(conn_keepalive                        => [qw(uint64 uint64 string size_t)]  => 'sint32');
$ffi->attach(conn_close                            => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(conn_abort                            => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(conn_expect_stream                    => [qw(uint64 sint32)]                => 'sint32');
$ffi->attach(conn_state                            => ['uint64']                         => 'sint32');
$ffi->attach([conn_reason => '_conn_reason']       => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(conn_buffered                         => ['uint64']                         => 'sint64');
$ffi->attach(conn_respond                          => [qw(uint64 uint16 opaque size_t)]  => 'sint32');
$ffi->attach(conn_body                             => [qw(uint64 string size_t sint32)]  => 'sint32');
$ffi->attach([conn_read_body => '_conn_read_body'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');

$ffi->attach([server_open => '_server_open']       => [qw(opaque uint64*)]               => 'sint32');
$ffi->attach(server_start                          => ['uint64']                         => 'sint32');
$ffi->attach(server_port                           => ['uint64']                         => 'sint32');
$ffi->attach(server_fd                             => ['uint64']                         => 'sint32');
$ffi->attach([server_next => '_server_next']       => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(server_flush                          => ['uint64']                         => 'sint32');
$ffi->attach(server_wake                           => [qw(uint64 uint64)]                => 'sint32');
$ffi->attach(server_busy                           => ['uint64']                         => 'sint64');
$ffi->attach([server_address => '_server_address'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach([server_stats => '_server_stats']     => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(server_drain                          => ['uint64']                         => 'sint32');
$ffi->attach(server_close_streams                  => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(server_stop                           => [qw(uint64 uint64)]                => 'sint32');
$ffi->attach(server_free                           => [qw(uint64 uint64)]                => 'sint32');

$ffi->attach([hub_open => '_hub_open']           => [qw(string size_t opaque uint64 uint32 uint64*)] => 'sint32');
$ffi->attach(hub_free                            => ['uint64', 'uint64']                             => 'sint32');
$ffi->attach([hub_topic => '_hub_topic']         => [qw(uint64 string size_t opaque)]                => 'sint32');
$ffi->attach(hub_publish                         => [qw(uint64 string size_t string)]                => 'sint64');
$ffi->attach([hub_subscribe => '_hub_subscribe'] => [qw(uint64 uint64 string size_t opaque uint64*)] => 'sint32');
$ffi->attach(hub_ready                           => ['uint64']                                       => 'sint32');
$ffi->attach(hub_close_streams                   => [qw(uint64 string size_t string size_t)]         => 'sint64');
$ffi->attach(
    [hub_history => '_hub_history'] => [qw(uint64 string size_t sint32 uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(hub_has_topic                                 => [qw(uint64 string size_t)]         => 'sint32');
$ffi->attach(hub_subscribers                               => [qw(uint64 string size_t)]         => 'sint64');
$ffi->attach([hub_stats => '_hub_stats']                   => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(subscription_cancel                           => ['uint64']                         => 'sint32');
$ffi->attach(subscription_free                             => ['uint64']                         => 'sint32');
$ffi->attach([subscription_stats => '_subscription_stats'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(conn_hand_over                                => ['uint64']                         => 'sint32');
$ffi->attach(conn_catch_up                                 => ['uint64']                         => 'sint32');

$ffi->attach([runtime_open => '_runtime_open'] => [qw(opaque uint64*)]               => 'sint32');
$ffi->attach(runtime_fd                        => ['uint64']                         => 'sint32');
$ffi->attach(runtime_wake                      => [qw(uint64 uint64)]                => 'sint32');
$ffi->attach([runtime_next => '_runtime_next'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(runtime_free                      => [qw(uint64 uint64)]                => 'sint32');
$ffi->attach(conn_open_queue                   => [qw(uint64 sint32 uint64*)]        => 'sint32');
$ffi->attach([conn_read => '_conn_read']       => [qw(uint64 opaque size_t size_t*)] => 'sint32');

$ffi->attach([client_open => '_client_open']                   => [qw(uint64 opaque uint64*)]        => 'sint32');
$ffi->attach([client_next => '_client_next']                   => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(client_state                                      => ['uint64']                         => 'sint32');
$ffi->attach([client_last_event_id => '_client_last_event_id'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(client_free                                       => ['uint64']                         => 'sint32');

$ffi->attach([parser_open => '_parser_open']                   => [qw(opaque uint64*)]               => 'sint32');
$ffi->attach(parser_free                                       => ['uint64']                         => 'sint32');
$ffi->attach(parser_push                                       => [qw(uint64 opaque size_t)]         => 'sint64');
$ffi->attach([parser_next => '_parser_next']                   => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach([parser_last_event_id => '_parser_last_event_id'] => [qw(uint64 opaque size_t size_t*)] => 'sint32');
$ffi->attach(parser_retry                                      => [qw(uint64 uint64*)]               => 'sint32');
$ffi->attach(parser_reset                                      => ['uint64']                         => 'sint32');

$ffi->attach([frame_event   => '_frame_event']   => [qw(string opaque size_t size_t*)]        => 'sint32');
$ffi->attach([frame_comment => '_frame_comment'] => [qw(string size_t opaque size_t size_t*)] => 'sint32');

# A pagi_sse_event of octets, each undef if absent: data, type, id, key, and
# retry; and flags but for that one. It points into the caller's own variables,
# which must live as long as it is used.
use constant EVENT_BYTES => 88;
# With neither key nor retry nor flags, for whom the call costs too much.
use constant PLAIN_EVENT => 'JPJPJPJx32';

sub event {
    no warnings 'uninitialized';
    return pack 'JPJPJPJPJQLx4', EVENT_BYTES, $_[0], length $_[0], $_[1], length $_[1], $_[2], length $_[2], $_[3],
        length $_[3],
        $_[4], defined $_[4] ? EVENT_RETRY | $_[5] : $_[5];
}

# What the library writes into a buffer of ours, of any size: the result of a
# call, and the bytes unless it failed. A buffer that is too small gets nothing;
# meanwhile another thread may make it need even more. One buffer for nearly
# all, as its address is fixed; every caller copies out of it at once.
use constant BUFFER_BYTES => 256 * 1024;
my $buffer = FFI::Platypus::Memory::malloc(BUFFER_BYTES);
sub CLONE { $buffer = FFI::Platypus::Memory::malloc(BUFFER_BYTES); return }    # one per ithread

sub _filled {
    my ($call) = @_;    # takes address, size, and where the length goes
    my $code = $call->($buffer, BUFFER_BYTES, \my $length);
    return ($code, $code < 0 ? () : _taken($buffer, $length)) if $code != BUFFER_SMALL();
    while (1) {
        my $cap = 2 * $length;
        my $large = FFI::Platypus::Memory::malloc($cap) // die "PAGI::SSE: no memory for $cap bytes\n";
        $code = $call->($large, $cap, \$length);
        my @filled = ($code, $code < 0 ? () : _taken($large, $length));
        FFI::Platypus::Memory::free($large);
        return @filled if $code != BUFFER_SMALL();
    }
}

sub _taken { return $_[1] ? unpack "P$_[1]", pack 'J', $_[0] : '' }

# Why the last call of this thread that failed did so, in words.
sub last_error {
    my (undef, $words) = _filled(\&_error);
    return $words;
}

# Undef when none is known.
sub conn_reason {
    my ($conn) = @_;
    my (undef, $reason) = _filled(sub { _conn_reason($conn, @_) });
    return length($reason // '') ? $reason : undef;
}

# ($bytes, $what): $what is one of BODY_*. Empty after an error.
sub conn_read_body {
    my ($conn) = @_;
    my ($what, $bytes) = _filled(sub { _conn_read_body($conn, @_) });
    return $what < 0 ? () : ($bytes, $what);
}

# Up to $cap bytes of output, none when nothing waits now; undef after the end.
sub conn_read {
    my ($conn, $cap) = @_;
    my (undef, $bytes) = _filled(sub { _conn_read($conn, $_[0], $cap < $_[1] ? $cap : $_[1], $_[2]) });
    return $bytes;
}

# The bytes of an event, and of a comment; the fields are octets, as checked by
# conn_admit_event.
sub frame_event {
    my ($data, $name, $id, $retry) = @_;
    my $event = event($data, $name, $id, undef, $retry, 0);
    return _framed(sub { _frame_event($event, @_) });
}

sub frame_comment {
    my ($comment) = @_;
    return _framed(sub { _frame_comment($comment, length $comment, @_) });
}

sub _framed {
    my ($code, $bytes) = _filled(@_);
    die 'PAGI::SSE: ' . result_text($code) . "\n" if $code < 0;
    return $bytes;
}

# Records as list of byte strings, none on error.
sub server_next {
    my ($server) = @_;
    return _records(sub { _server_next($server, @_) });
}
sub runtime_next {
    my ($runtime) = @_;
    return _records(sub { _runtime_next($runtime, @_) });
}

sub client_next {
    my ($client) = @_;
    return _records(sub { _client_next($client, @_) });
}
sub parser_next {
    my ($parser) = @_;
    return _records(sub { _parser_next($parser, @_) });
}

sub _records {
    my ($count, $bytes) = _filled(@_);
    return $count > 0 ? unpack '(L/a)*', $bytes : ();
}

sub _with_headers {
    my ($call, $handle, $status, $pairs) = @_;
    return BAD_ARGUMENT() if grep {
               ref ne 'ARRAY'
            || @$_ != 2
            || grep { !defined }
            @$_
    } @$pairs;
    my @flat = map { ("$_->[0]", "$_->[1]") } @$pairs;
    my $structs = '';
    for my $octets (@flat) {
        utf8::downgrade($octets, 1) or return HEADER_VALUE();
        # Points into @flat, which lives until the call is done.
        $structs .= pack 'P J', $octets, length $octets;
    }
    my $address = unpack 'J', pack 'P', $structs;
    return $call->($handle, $status, @flat ? $address : undef, @flat / 2);
}

sub conn_start_list   { return _with_headers(\&conn_start,   @_) }
sub conn_respond_list { return _with_headers(\&conn_respond, @_) }

# ($code, $handle)
sub server_open {
    my (%option) = @_;
    my $listen = $option{listen};
    my $options = pack 'J P J Q L L Q Q Q Q L L Q', 0, $listen, length $listen, map { $option{$_} || 0 } qw(
        max_body max_connections workers write_timeout_ms head_timeout_ms body_timeout_ms max_queued_bytes
        log_level reserved idle_timeout_ms);
    substr $options, 0, length(pack 'J', 0), pack 'J', length $options;
    my $address = unpack 'J', pack 'P', $options;
    my $code = _server_open($address, \my $handle);
    return ($code, $handle);
}

# A struct whose first field, not given, is its size. 'P' fields point to the
# strings given, which must live as long as it is used.
sub sized {
    my $template = shift;
    my $size = length pack $template, 0, @_;    ## no temporaries among @_
    return pack $template, $size, @_;
}

sub _address { return unpack 'J', pack 'P', $_[0] }

# ($code, $handle)
sub runtime_open {
    my ($workers) = @_;
    my $options = sized('J Q L L', 0, $workers, 0);
    my $code = _runtime_open(_address($options), \my $handle);
    return ($code, $handle);
}

# ($code, $handle). Texts are octets, undef if absent; headers are [name, value]
# pairs; numbers are as the library has them.
sub client_open {
    my ($runtime, %option) = @_;
    my @headers = _with_lengths(map { @$_ } @{ $option{headers} || [] });
    my $headers = pack 'PJ' x (@headers / 2), @headers;
    my $statuses = pack 'S*', @{ $option{retry_on} || [] };
    my @texts = _with_lengths(@option{qw(url method body last_event_id proxy ca_file)});
    my @numbers = map { $_ || 0 } @option{
        qw(retry_ms backoff_ms connect_timeout_ms head_timeout_ms silence_ms max_age_ms max_line max_event max_bytes
            max_refusal max_items max_failures max_redirects flags resume)
    };
    my $none;
    my $options = sized(
        'J PJPJ PJ PJPJPJPJ PJ Q10 L5 L Q',
        @texts[0 .. 3],
        @headers ? $headers : $none,
        @headers / 4,
        @texts[4 .. 11],
        length $statuses ? $statuses : $none,
        length($statuses) / 2,
        @numbers, 0, 0
    );
    my $code = _client_open($runtime, _address($options), \my $handle);
    return ($code, $handle);
}

# Texts, each with its length behind it.
sub _with_lengths {
    return map { ($_, defined $_ ? length $_ : 0) } @_;
}

# ($code, $id)
sub client_last_event_id {
    my ($client) = @_;
    return _text(sub { _client_last_event_id($client, @_) });
}

# ($code, $handle)
sub parser_open {
    my ($id, @limits) = @_;    # line, event, id; 0: the default
    my $options = sized('J PJ Q3', $id, length($id // ''), @limits);
    my $code = _parser_open(_address($options), \my $handle);
    return ($code, $handle);
}

# ($code, $id)
sub parser_last_event_id {
    my ($parser) = @_;
    return _text(sub { _parser_last_event_id($parser, @_) });
}

# ($code, $handle)
sub hub_open {
    my ($epoch, $defaults, $total_bytes, $flags) = @_;
    my $code = _hub_open($epoch, length($epoch // ''), _address($defaults), $total_bytes, $flags, \my $handle);
    return ($code, $handle);
}

sub hub_topic {
    my ($hub, $topic, $length, $options) = @_;
    return _hub_topic($hub, $topic, $length, _address($options));
}

# ($begin or code, $subscription)
sub hub_subscribe {
    my ($hub, $conn, $topics, $wish) = @_;
    my $code = _hub_subscribe($hub, $conn, $topics, length $topics, _address($wish), \my $handle);
    return ($code, $handle);
}

# ($code, $text)
sub _text {
    return _filled(@_);
}

sub hub_history {
    my ($hub, $topic, $state, $last) = @_;
    return _text(sub { _hub_history($hub, $topic, length $topic, $state, $last, @_) });
}

sub server_address {
    my ($server) = @_;
    my (undef, $text) = _text(sub { _server_address($server, @_) });
    return $text;
}

sub server_stats {
    my ($server) = @_;
    return _text(sub { _server_stats($server, @_) });
}

sub hub_stats {
    my ($hub) = @_;
    return _text(sub { _hub_stats($hub, @_) });
}
sub subscription_stats {
    my ($subscription) = @_;
    return _text(sub { _subscription_stats($subscription, @_) });
}

1;

__END__

=head1 NAME

PAGI::SSE::FFI - the native library of PAGI::SSE

=head1 DESCRIPTION

Finds, loads and checks the library, and attaches its functions under their C
names without C<pagi_sse_>. For the other modules of this distribution only;
F<include/pagi_sse.h> is the manual of the functions.

The library is looked for, first hit wins: C<$ENV{PAGI_SSE_LIB}>;
F<auto/PAGI/SSE/> beside the module (installed); F<../arch/auto/PAGI/SSE/>
(blib); F<target/release/> (or C<CARGO_TARGET_DIR>) of the source tree that the
module is in.

=cut
