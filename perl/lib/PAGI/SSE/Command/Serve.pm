package PAGI::SSE::Command::Serve;

use strict;
use warnings;

use Errno      ();
use File::Spec ();
use parent 'PAGI::SSE::Command';

our $VERSION = '0.003000';

# What the application should not end by exit, which says nothing.
my ($doing, $pid) = (undef, $$);

sub usage { return <<'TEXT' }
pagi-sse serve [--listen HOST:PORT | unix:PATH | fd:N] [--access-log FILE|-]
               [--shutdown-timeout SECONDS] [--head-timeout SECONDS]
               [--body-timeout SECONDS] [--idle-timeout SECONDS]
               [--max-queued-bytes OCTETS]
               [--cancel-after-disconnect SECONDS]
               [--log-level warning|info|debug] app.pl
TEXT

sub load_app {
    my ($file) = @_;
    my $path = File::Spec->rel2abs($file);
    # `do` tells an unreadable file from one that returns undef by $! alone,
    # which the file may have set.
    open my $fh, '<', $path
        or die 'pagi-sse: ' . ($!{ENOENT} ? "no such file: $file" : "cannot read $file: $!") . "\n";
    die "pagi-sse: $file is a directory, not an application file\n" if -d $fh;
    die "pagi-sse: $file is no plain file\n" if !-f _;
    close $fh;
    $doing = "$file called exit while it was loaded";
    my $app = do $path;
    undef $doing;
    return $app if ref $app eq 'CODE';

    if (!defined $app && length $@) {
        my $is_text = !ref $@ || PAGI::SSE::Check::is_stringy($@);
        die "pagi-sse: $file "
            . ($is_text ? "does not compile or died: $@" : 'died with ' . PAGI::SSE::Check::shown($@)) . "\n";
    }
    die "pagi-sse: $file must return a coderef as its last value; it returned " . PAGI::SSE::Check::shown($app) . "\n";
}

my @SECONDS = qw(shutdown-timeout head-timeout body-timeout idle-timeout cancel-after-disconnect);
my @OTHERS = qw(max-queued-bytes log-level access-log);

sub run {
    my ($command, @argv) = @_;
    my ($option,  @files) = $command->options(
        \@argv, 'listen=s',
        (map { "$_=f" } @SECONDS),
        qw(max-queued-bytes=i log-level=s access-log=s)
    );
    $command->wrong_usage('one application file is needed') if @files != 1;

    my $ok = eval {
        # Not before: help needs no native library.
        require PAGI::SSE::Server;
        my $server = PAGI::SSE::Server->new(
            app    => load_app($files[0]),
            listen => defined $option->{listen} ? $option->{listen} : '127.0.0.1:5000',
            map { defined $option->{$_} ? (tr/-/_/r => $option->{$_}) : () } @OTHERS, @SECONDS,
        );
        $doing = 'the application called exit; the server did not stop in order';
        # Before the application's lifespan, which may wait by Future::IO.
        # Who is to survive its terminal (nohup) has HUP ignored already.
        my @signals = grep { $_ ne 'HUP' || ($SIG{HUP} // '') ne 'IGNORE' } qw(INT TERM QUIT HUP);
        $server->prepare_loop->stop_on(@signals)->start;
        print STDERR 'listening on ', $server->address, "\n";
        $server->run;
        1;
    };
    my $error = $@;
    undef $doing;
    die $error if !$ok;
    return 0;
}

END {
    # Not in a child of the application's.
    if (defined $doing && $$ == $pid) {
        print STDERR "pagi-sse: $doing\n";
        $? ||= 1;
    }
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command::Serve - pagi-sse serve (internal)

=head1 DESCRIPTION

Its documentation is that of L<pagi-sse>. Internal.

=cut
