package PAGI::SSE::Request;

use strict;
use warnings;

use Encode           ();
use Hash::MultiValue ();

use PAGI::SSE::Check ();

our $VERSION = '0.003000';

# What the scope says of the request: the base class of PAGI::SSE, which has
# the scope in {scope}, and in {newest} a later copy of it, if there is one.

# A parked object (see PAGI::SSE) outlives its scope only in the hands of
# somebody who took it from the scope directly.
sub scope { $_[0]{newest} || $_[0]{scope} || $_[0]{last_scope} || {} }

sub path         { _or($_[0]->scope->{path},         '/') }
sub raw_path     { _or($_[0]->scope->{raw_path},     $_[0]->path) }
sub query_string { _or($_[0]->scope->{query_string}, '') }
sub scheme       { _or($_[0]->scope->{scheme},       'http') }
sub http_version { _or($_[0]->scope->{http_version}, '1.1') }
sub method       { _or($_[0]->scope->{method},       'GET') }
sub client       { $_[0]->scope->{client} }
sub server       { $_[0]->scope->{server} }

sub header_all {
    my ($self, $name) = @_;
    die PAGI::SSE::Check::message('PAGI::SSE: header needs a name') unless defined $name;
    no warnings 'surrogate';    # no name of a header, and nothing to warn of here
    $name = lc $name;
    return map { $_->[1] } grep { lc $_->[0] eq $name } @{ $self->scope->{headers} || [] };
}

sub header {
    my ($self, $name) = @_;
    my @values = $self->header_all($name);
    return $values[-1];
}

sub headers {
    my ($self) = @_;
    return $self->{headers} ||=
        Hash::MultiValue->new(map { lc $_->[0] => $_->[1] } @{ $self->scope->{headers} || [] });
}

sub last_event_id { scalar $_[0]->header('last-event-id') }

# One for all copies of the scope, unless somebody gave a copy its own.
sub stash {
    my ($self) = @_;
    my $scope = $self->scope;
    return $scope->{'pagi.stash'} ||= ($self->{scope} || $scope)->{'pagi.stash'} ||= {};
}

sub state {
    my ($self) = @_;
    my $scope = $self->scope;
    return $scope->{state} || $scope->{'pagi.state'} || ($self->{no_state} ||= {});
}

sub path_params { $_[0]->scope->{path_params} || {} }

sub path_param {
    my ($self, $name) = @_;
    return $self->path_params->{ _name(path_param => $name) };
}

sub query_params {
    my ($self, @options) = @_;
    my %options = eval { %{ PAGI::SSE::Check::pairs(\@options, qw(raw strict)) } };
    die PAGI::SSE::Check::message('PAGI::SSE: query_params: ' . PAGI::SSE::Check::reason($@)) if $@;
    my $kind = $options{raw} ? 'raw' : $options{strict} ? 'strict' : 'decoded';
    return $self->{query}{$kind} ||= Hash::MultiValue->new(
        map      { defined $_ ? _query_text($_, $kind) : '' }
            map  { (split(/=/, $_, 2))[0, 1] }
            grep { length } split /[&;]/,
        $self->query_string
    );
}

sub query_param {
    my ($self, $name, @options) = @_;
    return scalar $self->query_params(@options)->get(_name(query_param => $name));
}

sub raw_query_params { $_[0]->query_params(raw => 1) }

sub raw_query_param {
    my ($self, $name) = @_;
    return scalar $self->raw_query_params->get(_name(raw_query_param => $name));
}

sub _query_text {
    my ($text, $kind) = @_;
    $text =~ tr/+/ /;
    $text =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
    return $text if $kind eq 'raw';
    return Encode::decode('UTF-8', $text, Encode::FB_DEFAULT()) if $kind eq 'decoded';
    my $octets = $text;
    my $decoded = eval { Encode::decode('UTF-8', $text, Encode::FB_CROAK()) };
    return $decoded if defined $decoded;
    die PAGI::SSE::Check::message("query_params(strict): not well-formed UTF-8: "
            . PAGI::SSE::Check::shown($octets =~ s/([^\x20-\x7E])/sprintf '%%%02X', ord $1/ger));
}

# undef is '', with perl's warning at the application's line.
sub _name {
    my ($method, $name) = @_;
    PAGI::SSE::Check::undefined($method) unless defined $name;
    return _or($name, '');
}

sub _or { defined $_[0] ? $_[0] : $_[1] }

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Request - what the scope says of a request (internal base class)

=head1 DESCRIPTION

The accessors of L<PAGI::SSE> that read the scope. They are documented there,
under L<PAGI::SSE/"SCOPE ACCESSORS">.

=cut
