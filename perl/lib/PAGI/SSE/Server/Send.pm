package PAGI::SSE::Server::Send;
use strict;
use warnings;

our $VERSION = '0.003000';

use Scalar::Util ();

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
    if (ref $event ne 'HASH' || !defined $event->{type}) {
        return $exchange->failed("an event must be a hashref with a 'type'");
    }
    my $type = $exchange->{type};
    my $how = $EVENT{$type}{ $event->{type} }
        or return $exchange->failed("Unknown event type '$event->{type}' for a scope of type '$type'");
    my $future = eval { $how->($exchange, $event) };
    return defined $future ? $future : $exchange->failed($@);
}

# ---- streams

sub _start {
    my ($exchange, $event) = @_;
    my $code = PAGI::SSE::FFI::conn_start_list($exchange->{handle}, _status($event), $event->{headers} || []);
    return $exchange->failed('sse.start: the stream has already started') if $code == 0;
    return $exchange->settled('sse.start', $code == 1 ? 0 : $code);
}

sub _send {
    my ($exchange, $event) = @_;
    my ($data, $name, $id, $retry) = @$event{qw(data event id retry)};
    return $exchange->failed("sse.send requires 'data', or 'id' or 'retry' without it")
        if !defined $data && !defined $id && !defined $retry;
    if (defined $retry && $retry !~ /\A[0-9]{1,18}\z/) {
        return $exchange->failed("sse.send: 'retry' must be a whole number of milliseconds, not '$retry'");
    }
    return $exchange->failed('sse.send before sse.start') if $exchange->is_pending;
    $_ = PAGI::SSE::Text::octets($_) for grep { defined } $data, $name, $id;
    my @fields = map { $_, defined $_ ? length $_ : 0 } $data, $name, $id;
    return $exchange->settled('sse.send',
        PAGI::SSE::FFI::conn_send_event($exchange->{handle}, @fields, defined $retry ? $retry : -1));
}

sub _comment {
    my ($exchange, $event) = @_;
    return $exchange->failed('sse.comment before sse.start') if $exchange->is_pending;
    my $text = _comment_octets($event);
    return $exchange->settled('sse.comment', PAGI::SSE::FFI::conn_comment($exchange->{handle}, $text, length $text));
}

sub _keepalive {
    my ($exchange, $event) = @_;
    my $text = _comment_octets($event);
    my $interval = defined $event->{interval} ? $event->{interval} : 0;
    if (!Scalar::Util::looks_like_number($interval)) {
        return $exchange->failed("sse.keepalive: 'interval' must be a number of seconds, not '$interval'");
    }
    return $exchange->settled('sse.keepalive',
        PAGI::SSE::FFI::conn_keepalive($exchange->{handle}, $interval, $text, length $text));
}

sub _comment_octets {
    my ($event) = @_;
    return PAGI::SSE::Text::octets(defined $event->{comment} ? $event->{comment} : '');
}

sub _close {
    my ($exchange, $event) = @_;
    my $problem = PAGI::SSE::Check::bad_reason($event->{reason});
    return $exchange->failed("sse.close: $problem") if $problem;
    $exchange->close($event->{reason});
    return $exchange->done;
}

# ---- ordinary responses: http scopes, and the decline of sse scopes

sub _response_start {
    my ($exchange, $event) = @_;
    my $code = PAGI::SSE::FFI::conn_respond_list($exchange->{handle}, _status($event), $event->{headers} || []);
    $exchange->{responded} = 1 if $code == 0;
    return $exchange->settled($event->{type}, $code);
}

sub _response_body {
    my ($exchange, $event) = @_;
    my @given = grep { defined $event->{$_} } qw(body file fh);
    return $exchange->failed("$event->{type}: give one of 'body', 'file', 'fh', not " . join ' and ', @given)
        if @given > 1;
    return PAGI::SSE::Server::File::send($exchange, $event) if @given && $given[0] ne 'body';
    return $exchange->body_piece($event, defined $event->{body} ? $event->{body} : '', $event->{more});
}

# Here, as the library takes 16 bits of it.
sub _status {
    my ($event) = @_;
    my $status = defined $event->{status} ? $event->{status} : 200;
    return $status if $status =~ /\A[2-5][0-9][0-9]\z/;
    die "$event->{type}: a status must be a whole number from 200 to 599, not '$status'\n";
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Send - the events that an application sends by the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>. Each event of PAGI for the scope types C<sse>
and C<http> becomes calls of the native library.

=cut
