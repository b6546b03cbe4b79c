package PAGI::SSE::Command::Tail;

use strict;
use warnings;

use parent 'PAGI::SSE::Command::Reading';

use Time::HiRes ();

our $VERSION = '0.003000';

use constant { ENDED => 0, REFUSED => 1, NETWORK => 3 };

sub usage { return <<'TEXT' }
pagi-sse tail [--json] [--event NAME]... [--once N] [-v|--verbose]
              [--id ID] [-X METHOD] [-H 'NAME: VALUE']...
              [-d BODY|@FILE|@- | --json-body JSON] [--resume never|get|always]
              [--cacert FILE] [--insecure] [--proxy URL] URL
TEXT

my @OPTIONS = qw(json event=s@ once=i v|verbose id=s X|request=s d|data=s json-body=s resume=s);
my %REFUSED = map { $_ => 1 } qw(status content_type content_encoding redirect redirects);

sub run {
    my ($command, @argv) = @_;
    my ($option,  @rest) = $command->options(\@argv, @OPTIONS, @PAGI::SSE::Command::Reading::REQUEST);
    my $url = $command->url_of(@rest);
    $command->wrong_usage("--once must be at least 1, not $option->{once}")
        if defined $option->{once} && $option->{once} < 1;
    my $client = $command->client(
        $command->_body($option), $command->request_of($option),
        url => $url,
        map { defined $option->{ $_->[1] } ? ($_->[0] => $option->{ $_->[1] }) : () }
            [last_event_id => 'id'], [method => 'X'], [resume => 'resume'],
    );
    STDOUT->autoflush(1);
    $command->_tell($client) if $option->{v};
    my $failure;
    my $is_open;
    $client->on(open => sub { $is_open = 1 });
    $client->on(
        error => sub {
            my ($error) = @_;
            # What was never there is not waited for.
            return if $is_open || !$error->is_over || $error->is_final;
            $failure = $error;
            $client->close;
        }
    );
    my $is_fine = eval { $command->_print_events($client, $option); 1 };
    $failure ||= $@ if !$is_fine;
    return ENDED if !$failure;
    die $failure if !ref $failure;
    utf8::encode(my $text = $command->shown($failure->text));
    print STDERR "pagi-sse: $text\n";
    return $REFUSED{ $failure->kind } ? REFUSED : NETWORK;
}

sub _body {
    my ($command, $option) = @_;
    my ($data,    $json) = @$option{qw(d json-body)};
    $command->wrong_usage('-d or --json-body, not both') if defined $data && defined $json;
    if (defined $json) {
        require PAGI::SSE::Check;
        eval { PAGI::SSE::Check::decode_json($json); 1 } or $command->wrong_usage("--json-body is not JSON: $json");
        push @{ $option->{H} }, 'content-type: application/json' if !grep { /\Acontent-type:/i } @{ $option->{H} };
        return (body => $json);
    }
    return () if !defined $data;
    return (body => $data) if $data !~ s/\A\@//;
    my $in = \*STDIN;
    $! = 0;
    open $in, '<', $data or $command->wrong_usage("cannot read $data: $!") if $data ne '-';
    binmode $in;
    local $/;
    my $body = readline $in;
    # Of a folder nothing, and an error.
    $command->wrong_usage("cannot read $data: $!") if !defined $body && $!;
    return (body => $body // '');
}

sub _print_events {
    my ($command, $client, $option) = @_;
    my %wanted = map { $_ => 1 } @{ $option->{event} || [] };
    my $line = $option->{json} ? $command->_json_line : \&_plain_line;
    my $is_terminal = -t STDOUT && !$option->{json};
    my $count = 0;
    while (my $event = $client->next->get) {
        utf8::encode(my $type = $event->type);
        next if %wanted && !$wanted{$type};
        my $text = $line->($event);
        if ($is_terminal) {
            utf8::decode($text);
            $text = $command->shown($text);
            utf8::encode($text);
        }
        $command->write_line($text);
        last if defined $option->{once} && ++$count >= $option->{once};
    }
    return;
}

# The type before each line, if it is not the usual one.
sub _plain_line {
    my ($event) = @_;
    my $data = $event->octets;
    utf8::encode(my $type = $event->type);
    return $data if $type eq 'message';
    $data =~ s/^/$type: /gm;
    return length $data ? $data : "$type:";
}

sub _json_line {
    my ($command) = @_;
    my $json = $command->json;
    return sub {
        my ($event) = @_;
        my %record = map { $_ => $event->$_ } qw(type data id);
        $record{retry} = $event->retry if defined $event->retry;
        return $json->encode(\%record);
    };
}

# -v: what goes on besides, with the time since the start.
sub _tell {
    my ($command, $client) = @_;
    my $start = Time::HiRes::time();
    my $tell = sub {
        my $text = $command->shown(join '', @_);
        utf8::encode($text);
        printf STDERR "* %.3f s: %s\n", Time::HiRes::time() - $start, $text;
    };
    $client->on(open    => sub { $tell->("open: $_[0]{status} $_[0]{url}") });
    $client->on(comment => sub { $tell->("comment:$_[0]") });
    $client->on(retry   => sub { $tell->("retry: $_[0] ms") });
    $client->on(
        error => sub {
            my ($error) = @_;
            $tell->($error->text, defined $error->retry_in ? sprintf '; again in %.1f s', $error->retry_in : '');
        }
    );
    $client->on(end => sub { $tell->("end: $_[0]") });
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command::Tail - pagi-sse tail (internal)

=head1 DESCRIPTION

Its documentation is that of L<pagi-sse>. Internal.

=cut
