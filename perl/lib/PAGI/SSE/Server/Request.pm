package PAGI::SSE::Server::Request;
use strict;
use warnings;

our $VERSION = '0.003000';

# A record of a request (src/rt/record.rs), read, and the PAGI scope of it.

use constant { HAS_BODY => 1, PATH_IS_TEXT => 2, UNIX => 4 };
use constant TEMPLATE => 'x9 C C L/a L/a L/a L/a L/a L/a S L/a S a*';

sub new {
    my ($class, $record) = @_;
    my %field;
    @field{qw(sse flags method version path raw_path query client client_port host port fields)} = unpack TEMPLATE,
        $record;
    utf8::decode($field{path}) if $field{flags} & PATH_IS_TEXT;
    return bless \%field, $class;
}

sub type     { return $_[0]{sse} ? 'sse' : 'http' }
sub label    { return "$_[0]{method} $_[0]{raw_path}" }
sub has_body { return $_[0]{flags} & HAS_BODY }

sub scope {
    my ($self, $exchange, $state) = @_;
    # Apart, as a group dies of an empty rest.
    my @fields = length $self->{fields} ? unpack '(L/a)*', $self->{fields} : ();
    my $type = $self->type;
    return {
        type             => $type,
        pagi             => { version => '0.3', spec_version => '0.3' },
        http_version     => $self->{version},
        method           => $self->{method},
        scheme           => 'http',
        path             => $self->{path},
        raw_path         => $self->{raw_path},
        query_string     => $self->{query},
        root_path        => '',
        headers          => [map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1],
        server           => [$self->{host}, $self->{flags} & UNIX ? undef : $self->{port}],
        state            => {%$state},
        extensions       => {},
        'pagi.transport' => $exchange,
        # See PAGI::SSE::Server::Exchange::of_scope: middleware may replace the others.
        'pagi.sse.exchange' => $exchange,
        length $self->{client} ? (client => [@$self{qw(client client_port)}]) : (),
        $type eq 'http' ? ('pagi.connection' => $exchange) : (),
    };
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Request - the scope of a request to the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>.

=cut
