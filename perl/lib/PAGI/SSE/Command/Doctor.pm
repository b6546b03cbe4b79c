package PAGI::SSE::Command::Doctor;

use strict;
use warnings;

use parent 'PAGI::SSE::Command::Reading';

use Digest::MD5                   ();
use List::Util                    ();
use PAGI::SSE::Command::Diagnosis ();
use Time::HiRes                   ();

our $VERSION = '0.003000';

my $MOST = 100_000;    # arrivals that are kept
my $WATCH = 65;        # a little more than the usual time-out of a proxy

sub usage { return <<'TEXT' }
pagi-sse doctor [--proxy-of URL] [--watch SECONDS] [--origin ORIGIN]
                [-H 'NAME: VALUE']... [--json]
                [--cacert FILE] [--insecure] [--proxy URL] URL
TEXT

sub run {
    my ($command, @argv) = @_;
    my ($option,  @rest) =
        $command->options(\@argv, qw(proxy-of=s watch=f origin=s json), @PAGI::SSE::Command::Reading::REQUEST);
    my $url = $command->url_of(@rest);
    my $seconds = $option->{watch} // $WATCH;
    $command->wrong_usage("--watch must be from 1 to 3600 seconds, not $seconds") if $seconds < 1 || $seconds > 3600;
    my @request = $command->request_of($option);
    push @{ $request[1] }, ['origin', $option->{origin}] if defined $option->{origin};

    my %seen = $command->_watch($url, $option->{'proxy-of'}, $seconds, \@request);
    my $main = delete $seen{main};
    my @findings = PAGI::SSE::Command::Diagnosis::findings($main, %seen, origin => $option->{origin});
    $option->{json} ? $command->_print_json($main, @findings) : $command->_print_text($main, @findings);
    return scalar(grep { $_->{level} eq 'wrong' } @findings) ? 1 : 0;
}

# A browser's request; the same without compression, if the answer has it; and
# one to the server behind the proxy.
sub _watch {
    my ($command, $url, $behind, $seconds, $request) = @_;
    require PAGI::SSE::Loop;
    my $over = PAGI::SSE::Loop->new_future;
    my (%seen, @clients);
    my $begin = sub {
        my ($name, @option) = @_;
        my $seen = $seen{$name} = { url => $option[1], arrivals => [], begun => _now() };
        push @clients, my $client = $command->client(@$request, @option);
        _record($client, $seen, $over);
        return $client;
    };
    my $main = $begin->(main => url => $url, gzip => 1);
    $begin->(direct => url => $behind) if defined $behind;
    $main->on(
        open => sub {
            my ($answer) = @_;
            $begin->(plain => url => $url) if grep { lc $_->[0] eq 'content-encoding' } @{ $answer->{headers} };
        }
    );
    $main->on(end => sub { $over->done if !$over->is_ready });
    local $SIG{INT} = sub { $over->done if !$over->is_ready };
    print STDERR "watching for $seconds s; Ctrl-C ends it earlier\n" if -t STDERR;
    Future->wait_any($over, PAGI::SSE::Loop->sleep($seconds))->get;
    my $now = _now();
    $_->{until} //= $now for values %seen;
    $_->close for @clients;
    return %seen;
}

sub _now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

# The client's course, to its first end, as PAGI::SSE::Command::Diagnosis wants
# it.
sub _record {
    my ($client, $seen, $over) = @_;
    # Enough is known then.
    my $note = sub {
        push @{ $seen->{arrivals} }, $_[0];
        $over->done if @{ $seen->{arrivals} } >= $MOST && !$over->is_ready;
    };
    $client->on(open    => sub { _answer($seen, $_[0]{status}, $_[0]{headers}) });
    $client->on(comment => sub { $note->({ at => _now(), comment => 1, octets => 3 + length $_[0] }) });
    $client->on(retry   => sub { $seen->{retry} = $_[0] });
    $client->on(
        event => sub {
            my ($event) = @_;
            my %arrival = (at => _now(), map { $_ => $event->$_ } qw(id type data));
            # Field names and line ends included.
            $arrival{octets} = 8 + length($arrival{id}) + length($arrival{type}) + length $event->octets;
            # As long as a comparison needs.
            $arrival{data} = Digest::MD5::md5($event->octets) if length $event->octets > 100;
            $note->(\%arrival);
        }
    );
    $client->on(
        error => sub {
            my ($error) = @_;
            if (!$error->is_over) {
                $seen->{left_out} //= $error->text;
                return;
            }
            _answer($seen, $error->status, $error->headers) if defined $error->status;
            @$seen{qw(ended until)} = (1, _now());
            $seen->{failed} = $error->text if $error->kind ne 'ended';
            $client->close;
        }
    );
    $client->on(end => sub { $seen->{status} //= 204 if $_[0] eq 'no_content' });
    return;
}

sub _answer {
    my ($seen, $status, $headers) = @_;
    @$seen{qw(status fields begun)} = ($status, $headers, _now());
    my ($date) = map { $_->[1] } grep { lc $_->[0] eq 'date' } @$headers;
    my $then = _time_of($date) // return;
    $seen->{skew} = $then - Time::HiRes::time();
    # A date has no fractions.
    $seen->{skew} += 0.5;
    return;
}

# Of an HTTP date, the one form that is sent (RFC 9110, 5.6.7).
sub _time_of {
    my ($date) = @_;
    my %month;
    @month{qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)} = 0 .. 11;
    my ($day, $month, $year, @clock) = ($date // '') =~ /\A\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT\z/
        or return undef;
    return undef if !defined $month{$month};
    require Time::Local;
    return eval { Time::Local::timegm(reverse(@clock), $day, $month{$month}, $year) };
}

sub _counts {
    my ($seen) = @_;
    my $comments = grep { $_->{comment} } @{ $seen->{arrivals} };
    return (@{ $seen->{arrivals} } - $comments, $comments);
}

my %MARK = (ok => 'ok   ', note => 'note ', wrong => 'WRONG');

sub _print_text {
    my ($command, $seen, @findings) = @_;
    my ($events, $comments) = _counts($seen);
    my @lines = sprintf '%s, watched for %.0f s: events %d, comments %d', $seen->{url},
        $seen->{until} - $seen->{begun}, $events, $comments;
    for my $finding (@findings) {
        push @lines, "$MARK{ $finding->{level} }  $finding->{text}", map { "         - $_" } @{ $finding->{fix} };
    }
    my $text = $command->shown(join "\n", @lines);
    utf8::encode($text);
    $command->write_line($text);
    return;
}

sub _print_json {
    my ($command, $seen, @findings) = @_;
    my ($events, $comments) = _counts($seen);
    $command->write_line($command->json->encode({
        url      => $seen->{url},
        seconds  => 0 + sprintf('%.3f', $seen->{until} - $seen->{begun}),
        events   => $events,
        comments => $comments,
        findings => \@findings,
    }));
    return;
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command::Doctor - pagi-sse doctor (internal)

=head1 DESCRIPTION

Its documentation is that of L<pagi-sse>. Internal.

=cut
