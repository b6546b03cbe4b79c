package T::Browser;

# A headless Chromium, in a process group of its own, that opens a page; the
# page's server writes what it reported, as JSON, into result_file.
#
#     my $browser = T::Browser->new;
#     my $server = T::Serve->app(..., env => { BROWSER_RESULT => $browser->result_file });
#     my $seen = $browser->result_of($server);    # undef after too long

use strict;
use warnings;

use File::Spec    ();
use File::Temp    ();
use JSON::MaybeXS ();
use POSIX         ();
use Test2::API    ();
use Time::HiRes   ();

my $TIMEOUT = 90;    # seconds; a browser starts slowly on a busy machine

sub program {
    my ($found) = grep { -x } map {
        my $directory = $_;
        map { File::Spec->catfile($directory, $_) } qw(chromium chromium-browser google-chrome)
    } File::Spec->path;
    return $found;
}

sub new {
    my ($class) = @_;
    return bless { scratch => File::Temp->newdir('pagi-sse-browser-XXXXXX', TMPDIR => 1), owner => $$ }, $class;
}

sub result_file { return "$_[0]{scratch}/result.json" }
sub log         { return _contents("$_[0]{scratch}/browser.log") }

# What the page of that T::Serve reported; a failed test, and undef, after too long.
sub result_of {
    my ($self, $server) = @_;
    my $seen = $self->_result_of($server->url);
    return $seen if $seen;
    my $context = Test2::API::context();
    $context->fail('the browser reported within the time', 'browser: ' . $self->log, 'server: ' . $server->log);
    $context->release;
    return undef;
}

sub _result_of {
    my ($self, $url) = @_;
    $self->_start($url);
    my $deadline = Time::HiRes::time() + $TIMEOUT;
    Time::HiRes::sleep(0.05) until -e $self->result_file || $self->_has_ended || Time::HiRes::time() > $deadline;
    my $seen = -e $self->result_file ? JSON::MaybeXS->new(utf8 => 1)->decode(_contents($self->result_file)) : undef;
    $self->_stop;
    return $seen;
}

sub _start {
    my ($self, $url) = @_;
    my $program = $self->program;
    my $scratch = $self->{scratch};
    my $pid = fork;
    die "cannot fork: $!" if !defined $pid;
    if (!$pid) {
        POSIX::setsid();
        open STDIN,  '<',  File::Spec->devnull;
        open STDOUT, '>',  "$scratch/browser.log";
        open STDERR, '>&', \*STDOUT;
        exec {$program} $program, qw(
            --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
            --disable-background-networking --disable-component-update --disable-sync
            --disable-dev-shm-usage --no-proxy-server
        ), "--user-data-dir=$scratch/profile", $url or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    return;
}

sub _has_ended {
    my ($self) = @_;
    return 1 if !$self->{pid};
    return '' if !waitpid $self->{pid}, POSIX::WNOHANG();
    delete $self->{pid};
    return 1;
}

sub _stop {
    my ($self) = @_;
    my $group = $self->{pid} or return;
    return if $$ != $self->{owner};
    # The group: a browser is many processes.
    for my $signal (qw(TERM KILL)) {
        kill $signal => -$group;
        my $deadline = Time::HiRes::time() + 5;
        # What is left of the group when the first process has gone, too.
        while ((!$self->_has_ended || kill 0 => -$group) && Time::HiRes::time() < $deadline) {
            Time::HiRes::sleep(0.02);
        }
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($@, $!, $?);
    $self->_stop;
    return;
}

sub _contents {
    my ($file) = @_;
    open my $in, '<:raw', $file or return '';
    local $/;
    return scalar readline $in;
}

1;
