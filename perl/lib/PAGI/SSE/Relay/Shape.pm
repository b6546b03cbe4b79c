package PAGI::SSE::Relay::Shape;

use strict;
use warnings;

use PAGI::SSE::Check ();

our $VERSION = '0.003000';

# What a failure upstream looks like to our own client: before the stream a
# response, in it an event. Our words for it: those of the error name hosts and
# ports that are nobody's business.

my %MESSAGE = (
    ended           => 'the upstream stream ended early',
    network         => 'the connection to the upstream broke',
    silence         => 'the upstream has been silent for too long',
    head_timeout    => 'the upstream did not answer in time',
    connect_timeout => 'the upstream cannot be reached',
    resolve         => 'the upstream cannot be reached',
    connect         => 'the upstream cannot be reached',
    proxy           => 'the upstream cannot be reached',
    tls             => 'the upstream cannot be reached',
    certificate     => 'the upstream cannot be reached',
    status          => 'the upstream refused the request',
    age             => 'the upstream took too long',
);
my %TIMEOUT = map { $_ => 1 } qw(silence head_timeout connect_timeout age);

# Each gives the value that becomes JSON.
my %SHAPE = (
    plain  => sub { return { error => { message => $_[0] } } },
    openai =>
        sub { return { error => { message => $_[0], type => 'upstream_error', param => undef, code => $_[1]->kind } } },
    anthropic => sub { return { type => 'error', error => { type => 'api_error', message => $_[0] } } },
);
my %NAME = (plain => 'upstream_error', openai => undef, anthropic => 'error');

sub new {
    my ($class, $shape, $name) = @_;
    my $is_ours = defined $shape && !ref $shape && $SHAPE{$shape};
    $is_ours || PAGI::SSE::Check::is_code($shape)
        or die "'shape' must be one of "
        . join(', ', sort keys %SHAPE)
        . ', or a code reference, not '
        . PAGI::SSE::Check::shown($shape) . "\n";
    $name = PAGI::SSE::Check::text("'error_event'", $name);
    return bless {
        value => $is_ours ? $SHAPE{$shape} : $shape,
        name  => defined $name ? $name : $is_ours ? $NAME{$shape} : 'upstream_error',
    }, $class;
}

sub _value {
    my ($self, $error) = @_;
    return $self->{value}->($MESSAGE{ $error->kind } // 'the upstream gave no stream', $error);
}

# For send_event.
sub event {
    my ($self, $error) = @_;
    return { data => $self->_value($error), defined $self->{name} ? (event => $self->{name}) : () };
}

# For decline.
sub response {
    my ($self,   $error) = @_;
    my ($status, @headers) = $TIMEOUT{ $error->kind } ? 504 : 502;
    if ($error->kind eq 'status' && $error->status >= 400 && $error->status < 600) {
        $status = $error->status;
        my $wait = $error->header('retry-after');
        @headers = ['retry-after', $wait] if $wait;
        my $type = $error->header('content-type');
        return (status => $status, headers => [['content-type', $type], @headers], body => $error->body)
            if _is_whole_text($error, $type);
    }
    return (
        status  => $status,
        headers => [['content-type', 'application/json'], @headers],
        body    => PAGI::SSE::Check::encode_json($self->_value($error))
    );
}

# Whether the upstream's own answer can be passed on.
sub _is_whole_text {
    my ($error, $type) = @_;
    return
           length $error->body
        && !$error->is_cut
        && !defined $error->header('content-encoding')
        && ($type // '') =~ m{\A(?:text/|application/(?:[\w.-]+\+)?json\b)}i
        && utf8::decode(my $copy = $error->body);
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Relay::Shape - what a failure upstream looks like (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
