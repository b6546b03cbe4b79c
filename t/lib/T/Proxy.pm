package T::Proxy;

# nginx and HAProxy in front of a server, for the time of a test, as T::Serve.
#
#     my $proxy = T::Proxy->nginx($port, 'proxy_buffering on;');
#     my $proxy = T::Proxy->haproxy($port, 'timeout server 5s');
#
# The kernel picks the port: the listening socket is made here and inherited.

use strict;
use warnings;

use parent 'T::Serve';

use File::Spec       ();
use File::Temp       ();
use IO::Socket::INET ();

# Where it is, or undef.
sub program_of {
    my ($name) = @_;
    my ($found) = grep { -x } map { File::Spec->catfile($_, $name) } File::Spec->path, qw(/usr/sbin /usr/local/sbin);
    return $found;
}

sub nginx {
    my ($class, $port, $location) = @_;
    return $class->_proxy(
        nginx => sub {
            my ($socket, $dir) = @_;
            my $listen = $socket->sockport;
            my $conf = _file($dir, 'nginx.conf', <<"CONF");
daemon off;
@{[ $> ? q{} : "user root;" ]}
worker_processes 1;
pid $dir/pid;
error_log stderr;
events {}
http {
    access_log off;
    @{[ map { "${_}_temp_path $dir/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi) ]}
    server {
        listen 127.0.0.1:$listen;
        location / {
            proxy_pass http://127.0.0.1:$port;
            $location
        }
    }
}
CONF
            # As of an nginx that is replaced.
            $ENV{NGINX} = fileno($socket) . ';';
            return ('-p', $dir, '-c', $conf, '-e', 'stderr');
        }
    );
}

sub haproxy {
    my ($class, $port, $settings) = @_;
    return $class->_proxy(
        haproxy => sub {
            my ($socket, $dir) = @_;
            my $conf = _file($dir, 'haproxy.cfg', <<"CONF");
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen here
    bind fd\@@{[ fileno $socket ]}
    server there 127.0.0.1:$port
    $settings
CONF
            return ('-db', '-f', $conf);
        }
    );
}

sub _file {
    my ($dir, $name, $text) = @_;
    open my $out, '>', "$dir/$name" or die "$dir/$name: $!";
    print {$out} $text;
    close $out or die "$dir/$name: $!";
    return "$dir/$name";
}

sub _proxy {
    my ($class, $name, $arguments) = @_;
    my $program = program_of($name) or die "no $name";
    my $dir = File::Temp->newdir("pagi-sse-$name-XXXXXX", TMPDIR => 1);
    my $self = $class->_start(
        {},
        sub {
            local $^F = 1_000;    # inherited by exec
            my $socket = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1:0') or die "no socket: $@";
            my @arguments = $arguments->($socket, "$dir");
            print STDERR 'listening on http://127.0.0.1:', $socket->sockport, "\n";
            exec {$program} $program, @arguments or die "cannot run $program: $!\n";
        }
    );
    $self->{dir} = $dir;
    return $self;
}

1;
