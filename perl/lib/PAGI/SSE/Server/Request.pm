package PAGI::SSE::Server::Request;
use strict;
use warnings;

our $VERSION = '0.003000';

# A record of a request (src/host/record.rs), read, and the PAGI scope of it.

use PAGI::SSE::FFI::Constants qw(FLAG_HAS_BODY FLAG_PATH_IS_TEXT FLAG_UNIX);

use constant TEMPLATE => 'x9 C C L/a L/a L/a L/a L/a L/a S L/a S L/a';

sub new {
    my ($class, $record) = @_;
    my %field;
    @field{qw(sse flags path method version raw_path query client client_port host port fields)} = unpack TEMPLATE,
        $record;
    utf8::decode($field{path}) if $field{flags} & FLAG_PATH_IS_TEXT;
    return bless \%field, $class;
}

sub label    { return "$_[0]{method} $_[0]{raw_path}" }
sub is_sse   { return $_[0]{sse} }
sub has_body { return $_[0]{flags} & FLAG_HAS_BODY }

# Of the rule that `scope` was given, if it died.
sub rule_error { return $_[0]{rule_error} }

# $rule: the server's option `sse`.
sub scope {
    my ($self, $state, $rule) = @_;
    # Apart, as a group dies of an empty rest.
    my @fields = length $self->{fields} ? unpack '(L/a)*', $self->{fields} : ();
    my $scope = {
        type         => $self->{sse} ? 'sse' : 'http',
        pagi         => { version => '0.3', spec_version => '0.3' },
        http_version => $self->{version},
        method       => $self->{method},
        scheme       => 'http',
        path         => $self->{path},
        raw_path     => $self->{raw_path},
        query_string => $self->{query},
        root_path    => '',
        headers      => [map { [@fields[2 * $_, 2 * $_ + 1]] } 0 .. @fields / 2 - 1],
        server       => [$self->{host}, $self->{flags} & FLAG_UNIX ? undef : $self->{port}],
        state        => {%$state},
        extensions   => {},
        'pagi.stash' => {},
        length $self->{client} ? (client => [@$self{qw(client client_port)}]) : (),
    };
    $scope->{type} = $self->_type_by($rule, $scope) if ref $rule;
    return $scope;
}

sub _type_by {
    my ($self, $rule, $scope) = @_;
    return $scope->{path} =~ $rule ? 'sse' : 'http' if ref $rule ne 'CODE';
    my $is_stream;
    if (!eval { $is_stream = $rule->($scope); 1 }) {
        $self->{rule_error} = "the rule for 'sse' died (@{[$self->label]}): $@";
        return $scope->{type};
    }
    return $is_stream ? 'sse' : 'http';
}

# Middleware may replace the first two; the wrapper finds the exchange by the last.
sub bind {
    my ($scope, $exchange) = @_;
    $scope->{'pagi.transport'} = $exchange;
    $scope->{'pagi.connection'} = $exchange if $scope->{type} eq 'http';
    $scope->{'pagi.sse.exchange'} = $exchange;
    return;
}

1;

__END__

=head1 NAME

PAGI::SSE::Server::Request - the scope of a request to the embedded server

=head1 DESCRIPTION

Internal to L<PAGI::SSE::Server>.

=cut
