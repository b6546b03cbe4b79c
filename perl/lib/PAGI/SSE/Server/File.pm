package PAGI::SSE::Server::File;
use strict;
use warnings;

our $VERSION = '0.003000';

use Future::AsyncAwait;

use PAGI::SSE::Check ();

# A file, or what a handle gives, as the body of a response: the next piece is
# read when the one before has gone.

use constant PIECE_BYTES => 64 * 1024;

sub send {
    my ($exchange, $event) = @_;
    my $place = PAGI::SSE::Check::place();    # while the application's line is known
    return _send($exchange, $event, _opened($event), $place);
}

async sub _send {
    my ($exchange, $event, $fh, $place) = @_;
    my $left = $event->{length};
    while (!defined $left || $left > 0) {
        my $want = !defined $left || $left > PIECE_BYTES ? PIECE_BYTES : $left;
        my $got = read $fh, my ($piece), $want;
        die "PAGI::SSE::Server: $event->{type}: read failed: $!$place" if !defined $got;
        last if !$got;
        $left -= $got if defined $left;
        await $exchange->body_piece($event, $piece, 1, $place);
        return if !$exchange->is_connected;
    }
    await $exchange->body_piece($event, '', $event->{more}, $place);
    return;
}

sub _opened {
    my ($event) = @_;
    my $fh = $event->{fh};
    if (!defined $fh) {
        open $fh, '<:raw', $event->{file}
            or die "$event->{type}: cannot read file '$event->{file}': $!\n";
    }
    if ($event->{offset}) {
        seek $fh, $event->{offset}, 0
            or die "$event->{type}: cannot seek to offset $event->{offset}: $!\n";
    }
    return $fh;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::File - files as response bodies of the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>: the C<file> and C<fh> of a response's body
event, with C<offset> and C<length>.

=cut
