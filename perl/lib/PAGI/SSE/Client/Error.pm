package PAGI::SSE::Client::Error;

use strict;
use warnings;

use overload '""' => sub { $_[0]->message }, bool => sub { 1 }, fallback => 1;

use PAGI::SSE::FFI::Constants ();
use PAGI::SSE::Text           ();

our $VERSION = '0.003000';

my %KIND;    # words by number

BEGIN {
    my $all = PAGI::SSE::FFI::Constants::all();
    %KIND = map { /\ATROUBLE_(\w+)/ ? ($all->{$_} => lc $1) : () } keys %$all;
}

# Of the library's ERROR record.
sub _of {
    my ($class, $record) = @_;
    my ($code, $flags, $wait, $text, $rest) = unpack 'x9 L C Q L/a a*', $record;
    my $self = bless {
        kind => $KIND{$code} // "kind $code",
        text => PAGI::SSE::Text::characters($text),
        over => $flags & PAGI::SSE::FFI::Constants::FLAG_OVER() ? 1 : 0,
        cut  => $flags & PAGI::SSE::FFI::Constants::FLAG_CUT() ? 1 : 0,
    }, $class;
    $self->{retry_in} = $wait / 1000 if $flags & PAGI::SSE::FFI::Constants::FLAG_RETRY();
    @$self{qw(status url headers body)} = _answer($rest) if length $rest;
    return $self;
}

# Status, URL, header pairs, and what follows: of the packed head of an answer.
sub _answer {
    my ($packed) = @_;
    my ($status, $url, $fields, $rest) = unpack 'S L/a L/a a*', $packed;
    my @fields = unpack '(L/a)*', $fields;
    my @headers = map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1;
    return ($status, $url, \@headers, length $rest ? unpack 'L/a', $rest : '');
}

sub _plain {
    my ($class, $kind, $text) = @_;
    return bless { kind => $kind, text => $text, over => 1, cut => 0 }, $class;
}

# With the application's line.
sub _at { my ($self, $place) = @_; $self->{place} = $place; return $self }

sub kind     { return $_[0]{kind} }
sub text     { return $_[0]{text} }
sub retry_in { return $_[0]{retry_in} }
sub is_over  { return $_[0]{over} }
sub is_final { return $_[0]{over} && !defined $_[0]{retry_in} }
sub status   { return $_[0]{status} }
sub url      { return $_[0]{url} }
sub headers  { return $_[0]{headers} }
sub body     { return $_[0]{body} }
sub is_cut   { return $_[0]{cut} }

sub header {
    my ($self, $name) = @_;
    my @found = grep { $_->[0] eq lc $name } @{ $self->{headers} || [] };
    return @found ? $found[-1][1] : undef;
}

sub message {
    my ($self) = @_;
    return "PAGI::SSE::Client: $self->{text}" . ($self->{place} // "\n");
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Client::Error - why a stream broke, or never began

=head1 SYNOPSIS

    $client->on(error => sub {
        my ($error) = @_;
        warn $error->text;
        warn 'again in ' . $error->retry_in . " s\n" if defined $error->retry_in;
    });

    my $event = eval { await $client->next };
    die $@ if ref $@ && $@->kind ne 'status';

=head1 DESCRIPTION

What L<PAGI::SSE::Client> gives to C<on(error)>, and what C<next> fails with when no attempt follows. As a string it is
C<message>.

=head1 METHODS

=head2 kind

A word:

    ended               the stream has ended
    resolve             the name has no address
    connect             no connection: refused, unreachable, no such socket
    connect_timeout     no connection in time
    proxy               the proxy does not do it
    tls                 TLS failed
    certificate         the server's certificate does not fit; final
    network             the connection broke
    http                what came is not HTTP, or its head is too long
    head_timeout        no head in time
    status              a status that is neither 200 nor 204; final unless in retry_on
    content_type        not text/event-stream; final
    content_encoding    a content coding other than gzip; final
    gzip                the gzip data are broken
    redirect            a redirection that cannot be followed; final
    redirects           more redirections than may be; final
    silence             no byte for too long
    age                 the client is as old as it may be; final
    line_too_long       a line over the limit was left out
    event_too_large     an event over the limit was left out
    id_too_long         an id over the limit was left out
    id_field            the last event id cannot be sent in a field
    stopped             the library's threads have ended; final

=head2 text

A sentence that names the URL, and the limit if it was one.

=head2 message

C<PAGI::SSE::Client: > and C<text>; from C<next> with the application's line.

=head2 retry_in

Seconds until the next attempt; undef if there is none, or the stream goes on.

=head2 is_over

The attempt, or the stream, is over. False for what was left out of a stream that goes on.

=head2 is_final

It is over and no attempt follows: the client ends.

=head2 status, url, headers, header, body, is_cut

Of an answer that was no stream: its status (else undef), where it came from, C<[name, value]> pairs with names in lower
case, the last value of one name, the beginning of its body in octets as it came (up to C<max_refusal>), and whether
there was more.

=cut
