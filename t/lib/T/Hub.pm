package T::Hub;
use strict;
use warnings;

# A hub's subscribers, the same under the embedded server and under somebody
# else's, whose events are shown as the bytes that they become:
#
#     on_each_server 'name' => sub {
#         my ($server) = @_;
#         my $hub = hub();
#         my $client = $server->client(sub { my ($sse) = @_; ... }, headers => { ... }, query => '...');
#         $client->gets($bytes, 'name');    # and no more than that
#         $client->ends('name');
#         $client->leave;
#     };

use Exporter       qw(import);
use PAGI::SSE      ();
use PAGI::SSE::FFI ();
use PAGI::SSE::Hub ();
use Scalar::Util   ();
use T::Host;
use T::PAGI ();
use Test2::V0 -no_srand => 1;
use Time::HiRes ();

our @EXPORT = qw(hub on_each_server block cursor reset_block until_ok);

sub hub { return PAGI::SSE::Hub->new(epoch => 'e', @_) }

# Events of a stream: e.number with that data; an id alone; a reset.
sub block  { my ($seq, $data) = @_; return "id: e.$seq\ndata: $data\n\n" }
sub cursor { return "id: e.$_[0]\n\n" }

sub reset_block {
    my ($reason, $type) = @_;
    return 'event: ' . ($type || 'reset') . qq(\ndata: {"reason":"$reason"}\n\n);
}

# Both servers, one after the other; all that the code held must be back.
sub on_each_server {
    my ($name, $code) = @_;
    for my $kind (qw(Embedded Foreign)) {
        subtest lc($kind) . ": $name" => sub {
            my $base = PAGI::SSE::FFI::handle_count();
            my @warnings;
            {
                local $SIG{__WARN__} = sub { push @warnings, $_[0] };
                my $server = "T::Hub::$kind"->new;
                $code->($server);
                $server->end;
                is [$server->log], [], 'nothing is logged';
            }
            is \@warnings,                     [],    'no warnings';
            is PAGI::SSE::FFI::handle_count(), $base, 'all handles are back';
        };
    }
    return;
}

sub until_ok {
    my ($server, $condition, $name) = @_;
    return ok $server->until($condition), $name;
}

# ---- a client of either

package T::Hub::Client;

sub gets {
    my ($self, $bytes, $name) = @_;
    my $ctx = Test2::API::context();
    my $server = $self->{server};
    $server->until(sub { length $self->text >= length $bytes });
    # Nothing else may follow.
    $server->turn for 1 .. 3;
    my $ok = Test2::V0::is($self->text, $bytes, $name);
    $ctx->release;
    return $ok;
}

sub ends {
    my ($self, $name) = @_;
    my $ctx = Test2::API::context();
    my $ok = Test2::V0::ok($self->{server}->until(sub { $self->has_ended }), $name || 'the stream ends');
    $ctx->release;
    return $ok;
}

package T::Hub::Server;

sub until {
    my ($self, $condition) = @_;
    my $end = Time::HiRes::time() + 10 * ($ENV{T_SLOW} || 1);
    while (!$condition->()) {
        return 0 if Time::HiRes::time() > $end;
        $self->turn;
    }
    return 1;
}

sub end {
    my ($self) = @_;
    $_->leave for @{ $self->{clients} };
    $self->until(sub { !$self->streams });
    $self->turn for 1 .. 3;
    @{ $self->{clients} } = ();
    return;
}

sub _client {
    my ($self, $client) = @_;
    Scalar::Util::weaken($client->{server} = $self);
    push @{ $self->{clients} }, $client;
    return $client;
}

# ---- the embedded server

package T::Hub::Embedded;

our @ISA = 'T::Hub::Server';

sub new {
    my ($class) = @_;
    my $self = bless { apps => {}, made => 0 }, $class;
    my $apps = $self->{apps};
    $self->{host} = T::Host->new(sub {
        my ($scope, $receive, $send) = @_;
        die "no lifespan\n" if $scope->{type} ne 'sse';
        my ($n) = $scope->{path} =~ m{/(\d+)};
        my $app = delete $apps->{$n};
        return $app->(PAGI::SSE->new($scope, $receive, $send));
    });
    return $self;
}

sub log     { return $_[0]{host}->log }
sub streams { return scalar keys %{ $_[0]{host}->server->{exchanges} } }

sub turn {
    my ($self) = @_;
    $self->{host}->wait(0.005);
    $self->{host}->read;
    return;
}

sub client {
    my ($self, $app, %option) = @_;
    my $n = $self->{made}++;
    my $called;
    $self->{apps}{$n} = sub { $called = 1; return $app->(@_) };
    my $headers = $option{headers} || {};
    my $socket = $self->{host}->stream("/$n" . (defined $option{query} ? "?$option{query}" : ''),
        map { "$_: $headers->{$_}" } sort keys %$headers);
    $self->until(sub { $called }) or die "the application was not called\n";
    return $self->_client(bless { socket => $socket }, 'T::Hub::Embedded::Client');
}

package T::Hub::Embedded::Client;

our @ISA = 'T::Hub::Client';

sub text      { return scalar $_[0]{socket}->body }
sub has_ended { return $_[0]{socket}->ended || $_[0]{socket}->eof }
sub leave     { $_[0]{socket}->close; return }

# ---- somebody else's: it takes each event at once

package T::Hub::Foreign;

our @ISA = 'T::Hub::Server';

sub new     { my ($class) = @_; require Future::IO; return bless {}, $class }
sub log     { return }
sub streams { return 0 }

sub turn { Future::IO->sleep(0.005)->get; return }

sub client {
    my ($self, $app, %option) = @_;
    my $headers = $option{headers} || {};
    my $peer = T::PAGI::peer(scope =>
            { headers => [map { [lc, $headers->{$_}] } sort keys %$headers], query_string => $option{query} // '' });
    # The application's Future, as a server keeps it.
    return $self->_client(bless { peer => $peer, app => $app->($peer->sse) }, 'T::Hub::Foreign::Client');
}

package T::Hub::Foreign::Client;

our @ISA = 'T::Hub::Client';

sub peer { return $_[0]{peer} }

sub text {
    return join '', map { _bytes($_) } @{ $_[0]{peer}->events };
}
sub has_ended {
    return scalar grep { $_->{type} eq 'sse.close' } @{ $_[0]{peer}->events };
}
sub leave { $_[0]{peer}->disconnect('client_closed'); return }

sub _bytes {
    my ($event) = @_;
    return join '', (map { ":$_\n" } split /\n/, $event->{comment}), "\n" if $event->{type} eq 'sse.comment';
    return '' if $event->{type} ne 'sse.send';
    my ($name, $id, $data) = @$event{qw(event id data)};
    # An id alone, which PAGI cannot express.
    return "id: $id\n\n" if defined $name && $name eq 'id' && $data eq '';
    my @lines = map { "$_: $event->{$_}" } grep { defined $event->{$_} } qw(event id retry);
    return join '', map { "$_\n" } @lines, (map { "data: $_" } length $data ? split(/\r\n?|\n/, $data, -1) : ''), '';
}

1;
