package PAGI::SSE::Server::Send;
use strict;
use warnings;

our $VERSION = '0.003000';

use PAGI::SSE::Check        ();
use PAGI::SSE::FFI          ();
use PAGI::SSE::Server::File ();
use PAGI::SSE::Text         ();

# What the application's $send does with each event: calls of the library.

my %ORDINARY = ('http.response.start' => \&_response_start, 'http.response.body' => \&_response_body);
my %EVENT = (
    sse => {
        'sse.start'               => \&_start,
        'sse.send'                => \&_send,
        'sse.comment'             => \&_comment,
        'sse.keepalive'           => \&_keepalive,
        'sse.close'               => \&_close,
        'sse.http.response.start' => \&_response_start,
        'sse.http.response.body'  => \&_response_body,
        %ORDINARY,    # what knows nothing of streams may answer too
    },
    http => \%ORDINARY,
);

# The Future of one event.
sub event {
    my ($exchange, $event) = @_;
    my $type = ref $event eq 'HASH' ? eval { PAGI::SSE::Check::text(type => $event->{type}) } : undef;
    return $exchange->failed("an event must be a hashref with a 'type'") if !defined $type;
    my $how = $EVENT{ $exchange->{type} }{$type}
        or return $exchange->failed("Unknown event type '$type' for a scope of type '$exchange->{type}'");
    my $future = eval { $how->($exchange, $event, $type) };
    return defined $future ? $future : $exchange->failed("$type: " . PAGI::SSE::Check::reason($@));
}

# Values that are no good die with a sentence.

# A field as octets; undef stays.
sub _octets {
    my ($event, $field) = @_;
    my $text = PAGI::SSE::Check::text("'$field'", $event->{$field});
    return defined $text ? PAGI::SSE::Text::octets($text) : undef;
}

sub _head {
    my ($event) = @_;
    my ($status, $headers) = @$event{qw(status headers)};
    return PAGI::SSE::Check::response(defined $status ? $status : 200, defined $headers ? $headers : []);
}

# ---- streams

sub _start {
    my ($exchange, $event) = @_;
    my $code = PAGI::SSE::FFI::conn_start_list($exchange->{handle}, _head($event));
    return $exchange->failed('sse.start: the stream has already started') if $code == 0;
    return $exchange->settled('sse.start', $code == 1 ? 0 : $code);
}

sub _send {
    my ($exchange, $event) = @_;
    my ($data, $name, $id) = map { _octets($event, $_) } qw(data event id);
    my $retry = PAGI::SSE::Check::retry($event->{retry});
    return $exchange->failed("sse.send requires 'data', or 'id' or 'retry' without it")
        if !defined $data && !defined $id && !defined $retry;
    die "'retry' must be a whole number of milliseconds, got $event->{retry}\n"
        if defined $retry && $retry != $event->{retry};
    return $exchange->failed('sse.send before sse.start') if $exchange->is_pending;
    my $problem = defined $id && PAGI::SSE::Check::bad_id($id);
    die "an id $problem, got ${\ PAGI::SSE::Check::shown($id)}\n" if $problem;
    my $octets = PAGI::SSE::FFI::event($data, $name, $id, undef, $retry, 0);
    return $exchange->settled('sse.send', PAGI::SSE::FFI::conn_send_event($exchange->{handle}, $octets));
}

sub _comment {
    my ($exchange, $event) = @_;
    return $exchange->failed('sse.comment before sse.start') if $exchange->is_pending;
    my $text = _octets($event, 'comment') // '';
    return $exchange->settled('sse.comment', PAGI::SSE::FFI::conn_comment($exchange->{handle}, $text, length $text));
}

sub _keepalive {
    my ($exchange, $event) = @_;
    my $text = _octets($event, 'comment') // '';
    my $interval = PAGI::SSE::Check::interval($event->{interval});
    return $exchange->settled(
        'sse.keepalive',
        PAGI::SSE::FFI::conn_keepalive(
            $exchange->{handle}, PAGI::SSE::Check::milliseconds($interval),
            $text,               length $text
        )
    );
}

sub _close {
    my ($exchange, $event) = @_;
    $exchange->close(PAGI::SSE::Check::end_reason($event->{reason}));
    return $exchange->done;
}

# ---- ordinary responses: http scopes, and the decline of sse scopes

sub _response_start {
    my ($exchange, $event) = @_;
    my $code = PAGI::SSE::FFI::conn_respond_list($exchange->{handle}, _head($event));
    $exchange->{responded} = 1 if $code == 0;
    return $exchange->settled($event->{type}, $code);
}

sub _response_body {
    my ($exchange, $event) = @_;
    my @given = grep { defined $event->{$_} } qw(body file fh);
    return $exchange->failed("$event->{type}: give one of 'body', 'file', 'fh', not " . join ' and ', @given)
        if @given > 1;
    return PAGI::SSE::Server::File::send($exchange, $event) if @given && $given[0] ne 'body';
    my $body = PAGI::SSE::Check::text("'body'", $event->{body}) // '';
    return $exchange->body_piece($event, $body, $event->{more});
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Send - the events that an application sends by the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>. Each event of PAGI for the scope types C<sse>
and C<http> becomes calls of the native library.

=cut
