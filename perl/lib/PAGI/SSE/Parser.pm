package PAGI::SSE::Parser;

use strict;
use warnings;

use PAGI::SSE::Check          ();
use PAGI::SSE::Event          ();
use PAGI::SSE::FFI            ();
use PAGI::SSE::FFI::Constants qw(KIND_COMMENT KIND_ERROR KIND_EVENT);
use PAGI::SSE::Text           ();
use PAGI::SSE::Thread         ();

our $VERSION = '0.003000';

# The library's parser (src/core/parse.rs), fed by whoever has the octets.

use constant {
    MOST_LIMIT => 128 * 1024 * 1024,
    SHARED     => 0x8000_0000,         # in the length of an id: that of the last one in the buffer
};

my @LIMITS = qw(max_line max_event max_id);

sub _refuse {
    my ($method, $why, @value) = @_;
    die PAGI::SSE::Check::message(
        join ' ',
        "PAGI::SSE::Parser->$method: $why",
        map { PAGI::SSE::Check::shown($_) } @value
    );
}

sub new {
    my ($class, @option) = @_;
    my $option = eval { PAGI::SSE::Check::pairs(\@option, @LIMITS, 'last_event_id') }
        or _refuse('new', PAGI::SSE::Check::reason($@));
    for my $name (grep { defined $option->{$_} } @LIMITS) {
        my $value = $option->{$name};
        $value =~ /\A[1-9][0-9]{0,8}\z/ && $value <= MOST_LIMIT
            or _refuse('new', "'$name' must be a whole number of bytes from 1 to ${\MOST_LIMIT}, not", $value);
    }
    my $id = eval { PAGI::SSE::Check::text(last_event_id => $option->{last_event_id}) };
    _refuse('new', PAGI::SSE::Check::reason($@)) if $@;
    $id = PAGI::SSE::Text::octets($id) if defined $id;
    my ($code, $handle) = PAGI::SSE::FFI::parser_open($id, map { $option->{$_} || 0 } @LIMITS);
    _refuse('new', PAGI::SSE::FFI::last_error()) if $code < 0;
    my $self = bless { handle => $handle, pid => $$ }, $class;
    PAGI::SSE::Thread::own($handle, $self);
    return $self;
}

sub _handle {
    my ($self, $method) = @_;
    return $self->{handle} if $self->{pid} == $$;
    return _refuse($method, "the parser is that of process $self->{pid}, not of $$");
}

sub push {
    my ($self, $octets) = @_;
    my $handle = $self->_handle('push');
    defined $octets && !ref $octets or _refuse('push', 'takes octets, not', $octets);
    utf8::downgrade($octets, 1)
        or _refuse('push', 'takes octets, but there is a character above 0xFF in', $octets);
    my ($at,    @events) = 0;
    my ($start, $length) = (unpack('J', pack 'P', $octets), length $octets);
    do {
        $at += PAGI::SSE::FFI::parser_push($handle, $start + $at, $length - $at);
        while (my @records = PAGI::SSE::FFI::parser_next($handle)) {
            CORE::push @events, $self->_events(@records);
        }
    } while $at < $length;
    return @events;
}

# Those among the records of one buffer. Comments and what was left out are for
# who has asked.
sub _events {
    my ($self, @records) = @_;
    my ($id,   @events) = '';
    for my $record (@records) {
        my $kind = unpack 'C', $record;
        if ($kind == KIND_EVENT) {
            my ($type, $data, $length) = unpack 'x9 L/a L/a L', $record;
            $id = $length ? substr $record, -$length : '' if !($length & SHARED);
            CORE::push @events, PAGI::SSE::Event->_new($type, $data, $id);
        }
        elsif ($kind == KIND_COMMENT) {
            $self->_call(comment => PAGI::SSE::Text::characters(unpack 'x9 L/a', $record)) if $self->{on}{comment};
        }
        elsif ($kind == KIND_ERROR) {
            $self->_call(error => PAGI::SSE::FFI::result_text(unpack 'x9 l', $record));
        }
    }
    return @events;
}

sub _call {
    my ($self, $name, @arguments) = @_;
    $_->(@arguments) for @{ $self->{on}{$name} || [] };
    return;
}

sub on {
    my ($self, $name, $code) = @_;
    defined $name && $name =~ /\A(?:comment|error)\z/
        or _refuse('on', "knows 'comment' and 'error', not", $name);
    PAGI::SSE::Check::is_code($code) or _refuse('on', 'requires a code reference, got', $code);
    CORE::push @{ $self->{on}{$name} }, $code;
    return $self;
}

sub finish {
    my ($self) = @_;
    PAGI::SSE::FFI::parser_reset($self->_handle('finish'));
    return $self;
}

sub last_event_id {
    my ($self) = @_;
    my (undef, $id) = PAGI::SSE::FFI::parser_last_event_id($self->_handle('last_event_id'));
    return PAGI::SSE::Text::characters($id);
}

sub retry {
    my ($self) = @_;
    my $has = PAGI::SSE::FFI::parser_retry($self->_handle('retry'), \my $ms);
    return $has ? $ms : undef;
}

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT' || !$self->{handle} || $self->{pid} != $$;
    local ($@, $!, $?);
    PAGI::SSE::Thread::disown($self->{handle});
    PAGI::SSE::FFI::parser_free($self->{handle});
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Parser - octets of an event stream into events

=head1 SYNOPSIS

    use PAGI::SSE::Parser;

    my $parser = PAGI::SSE::Parser->new;
    while (sysread $socket, my $octets, 65_536) {
        for my $event ($parser->push($octets)) {
            print $event->type, ': ', $event->data, "\n";
        }
    }
    $parser->finish;

=head1 DESCRIPTION

For who has the octets already: from an HTTP client of another kind, a file, a test. They may be cut anywhere. It follows
the processing model of the WHATWG's EventSource. To read a stream from a URL, with reconnections, take L<PAGI::SSE::Client>.

What it holds is bounded by its limits, whatever comes. An object belongs to the process, and the thread, that made it.

=head1 METHODS

=head2 new

    my $parser = PAGI::SSE::Parser->new(last_event_id => $id, max_event => 65_536);

=over

=item last_event_id

The id that was in force before, for a stream that goes on with another. None.

=item max_line, max_event, max_id

The longest line, the most data of an event, the longest id: bytes, up to 134217728 (128 MiB). 1 MiB, 4 MiB, 4096. A
longer line is left out with its event, a larger event too; a longer id is ignored. C<on(error)> tells of it.

=back

Dies when an option is not known, or not as it must be.

=head2 push

    my @events = $parser->push($octets);

Takes the next octets and returns the events that they complete, each a L<PAGI::SSE::Event>. Dies when given characters
above 0xFF: a stream is octets.

=head2 on

    $parser->on(comment => sub { my ($text) = @_; ... });
    $parser->on(error   => sub { my ($why) = @_; ... });

Calls the code within C<push>: with each comment's text (what stands after the colon), and with a sentence for what was
left out for a limit. Returns the parser. What the code dies with comes out of C<push>.

=head2 finish

The stream has ended: what is unfinished is dropped, as the rules want it. The id and the retry time stay, and the next
C<push> begins another stream. Returns the parser.

=head2 last_event_id

The id to ask on from (C<Last-Event-ID>): that of the last block that ended. Empty if there is none.

=head2 retry

The last reconnection time that the stream has named, milliseconds; undef if it named none.

=cut
