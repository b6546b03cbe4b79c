package PAGI::SSE::Command::Diagnosis;

use strict;
use warnings;
use utf8;

use List::Util ();

our $VERSION = '0.003000';

# What a stream that was watched says about what stands between it and its
# clients. No I/O and no clock: all times are given, in seconds.
#
# A watched stream is a hash:
#
#   url       where it was
#   status    of the answer; none when there was none
#   fields    the answer's, [[name, value], …]
#   failed    the sentence that says what failed, if it did
#   begun     the time of the head, absolute
#   until     the time at which watching ended
#   ended     true when it was not we who ended it
#   left_out  the sentence that says what was over a client's limits, if any
#   retry     what the server asked for, ms
#   arrivals  what came, [{ at, id, type, octets, data, comment }, …]
#
# A finding is { check, level, text, fix }: level is ok, note (worth knowing) or
# wrong, and fix a list of what to change.

my $LUMP = 0.03;       # what comes closer together is one lump
my $IDLE = 60;         # the usual time-out of a proxy
my $DELAY = 0.5;       # what nobody calls live any more
my $CLOCKS = 5;        # how far two clocks may differ
my $ENOUGH = 6;        # fewer events say nothing about lumps
my $BUFFER = 4_096;    # the smallest usual buffer of a proxy

my %SETTING = (
    buffering => {
        nginx   => 'nginx: proxy_buffering off; in the location of the stream',
        haproxy => 'HAProxy: it passes events on at once; only compression holds them back',
        apache  => 'Apache: ProxyPass … flushpackets=on',
        caddy   => 'Caddy: flush_interval -1 in reverse_proxy',
    },
    compression => {
        nginx   => 'nginx: gzip off; in the location, or leave text/event-stream out of gzip_types',
        haproxy => 'HAProxy: leave text/event-stream out of compression type',
        apache  => 'Apache: SetEnvIf Request_URI ^/path no-gzip, or leave text/event-stream out of DEFLATE',
        caddy   => 'Caddy: leave the path of the stream out of encode',
    },
    timeout => {
        nginx   => 'nginx: proxy_read_timeout 1h; in the location of the stream',
        haproxy => 'HAProxy: timeout server 1h and timeout client 1h',
        apache  => 'Apache: ProxyPass … timeout=3600',
        caddy   => 'Caddy: remove read_timeout from the transport of reverse_proxy',
    },
);

sub findings {
    my ($seen, %also) = @_;
    return _no_answer($seen, $also{direct}) if !defined $seen->{status};
    my @answer = _status($seen);
    push @answer, _content_type($seen) if $seen->{status} == 200;
    return @answer if grep { $_->{level} eq 'wrong' } @answer;
    push @answer, _caching($seen),   _buffering($seen, $also{direct}), _compression($seen, $also{plain});
    push @answer, _keepalive($seen), _left_out($seen), _ids($seen), _retry($seen);
    push @answer, _cors($seen, $also{origin}) if defined $also{origin};
    return (@answer, _http($seen), _clock($seen));
}

sub _left_out {
    my ($seen) = @_;
    return if !defined $seen->{left_out};
    return _finding(limits => 'wrong', "Clients leave something out: $seen->{left_out}.");
}

sub _finding {
    my ($check, $level, $text, @fix) = @_;
    return { check => $check, level => $level, text => $text, fix => \@fix };
}

sub _field {
    my ($seen, $name) = @_;
    my @values = map { $_->[1] } grep { lc $_->[0] eq $name } @{ $seen->{fields} };
    return @values ? join ', ', @values : undef;
}

# Of the proxy that says its name, or of all.
sub _settings {
    my ($seen, $what) = @_;
    my $named = lc join ' ', grep { defined } map { _field($seen, $_) } qw(server via);
    my @known = grep { index($named, $_) >= 0 } sort keys %{ $SETTING{$what} };
    return map { $SETTING{$what}{$_} } @known ? @known : qw(nginx haproxy apache caddy);
}

sub _seconds {
    my ($seconds) = @_;
    return sprintf($seconds < 10 ? '%.1f s' : '%.0f s', $seconds);
}

sub _counted {
    my ($count, $name) = @_;
    return "$count $name" . ($count == 1 ? '' : 's');
}

sub _median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[$#sorted / 2];
}

sub _events {
    return grep { !$_->{comment} } @{ $_[0]{arrivals} };
}

# --- the answer ---

sub _no_answer {
    my ($seen, $direct) = @_;
    return _finding(connection => 'wrong', "There is no stream. $seen->{failed}") if defined $seen->{failed};
    my $none = sprintf 'Nothing came within %s, not even the head of an answer',
        _seconds($seen->{until} - $seen->{begun});
    return _finding(
        buffering => 'wrong',
        "Something holds all of it back. $none; directly it did.", _settings($seen, 'buffering')
    ) if $direct && defined $direct->{status};
    return _finding(
        connection => 'wrong',
        "$none. The application is slow, or a buffer waits to be full.", _settings($seen, 'buffering')
    );
}

sub _status {
    my ($seen) = @_;
    my $status = $seen->{status};
    return _finding(status => 'ok',    'The status is 200.') if $status == 200;
    return _finding(status => 'wrong', 'The status is 204: it tells a client to stop, for good.') if $status == 204;
    return _finding(status => 'wrong', "The status is $status. A browser does not come back after it, except by hand.");
}

sub _content_type {
    my ($seen) = @_;
    my $type = _field($seen, 'content-type');
    my @fix = 'Send Content-Type: text/event-stream from the application.';
    return _finding(content_type => 'wrong', 'There is no content type, so no browser takes it for a stream.', @fix)
        if !defined $type;
    return _finding(
        content_type => 'wrong',
        "The content type is $type: a page, and no stream. A browser gives up.", @fix
    ) if $type !~ m{\A\s*text/event-stream\s*(?:;|\z)}i;
    my ($charset) = $type =~ /charset\s*=\s*"?([^\s";]+)/i;
    return _finding(
        content_type => 'note',
        "The content type says charset=$charset, but a stream is always read as UTF-8."
    ) if defined $charset && $charset !~ /\Autf-?8\z/i;
    return _finding(content_type => 'ok', 'The content type is text/event-stream.');
}

sub _caching {
    my ($seen) = @_;
    my $control = _field($seen, 'cache-control');
    return _finding(caching => 'ok', "Nobody caches it: Cache-Control is $control.")
        if defined $control && $control =~ /\bno-(?:store|cache)\b/i;
    my $is = defined $control ? "Cache-Control is $control" : 'there is no Cache-Control';
    return _finding(
        caching => 'wrong',
        "A cache may keep it, and give old events to others: $is.",
        'Send Cache-Control: no-cache (or no-store) from the application.'
    );
}

# --- when it came ---

# Lists of arrivals that came together.
sub _lumps {
    my @lumps;
    for my $arrival (@_) {
        if (@lumps && $arrival->{at} - $lumps[-1][-1]{at} <= $LUMP) { push @{ $lumps[-1] }, $arrival }
        else                                                        { push @lumps, [$arrival] }
    }
    return @lumps;
}

sub _buffering {
    my ($seen, $direct) = @_;
    if ($direct && !_events($direct)) {
        my $why = $direct->{failed} // 'no event came there.';
        return _finding(buffering => 'note', "Nothing can be compared with the direct stream: $why");
    }
    if ($direct) {
        my $late = _held_back($seen, $direct);
        return _finding(buffering => 'wrong', "Something holds events back: $late", _settings($seen, 'buffering'))
            if $late;
        return _finding(buffering => 'ok', 'Events arrive as soon as they do directly.') if _events($seen);
    }
    my @events = _events($seen);
    return _finding(
        buffering => 'note',
        'No event came, so nothing is known about buffers. Let the application send some, or watch for longer.'
    ) if !@events;
    # What is there at the beginning may be a replay.
    my ($first, @lumps) = _lumps(@events);
    my $count = List::Util::sum0(map { scalar @$_ } @lumps);
    return _finding(buffering => 'ok', 'Events arrive one by one.')
        if $count < $ENOUGH || @lumps < 2 || $count < 3 * @lumps;
    my $between = _median(map { $lumps[$_][0]{at} - $lumps[$_ - 1][0]{at} } 1 .. $#lumps);
    my $octets = _median(
        map {
            List::Util::sum0(map { $_->{octets} } @$_)
        } @lumps
    );
    my $lumps = sprintf 'events arrive in lumps: %d of them in %d, of about %d bytes, %s apart',
        $count, scalar @lumps, $octets, _seconds($between);
    return _finding(
        buffering => 'note',
        ucfirst "$lumps. If the application does not send them so, a buffer holds them back.",
        _settings($seen, 'buffering')
    ) if $octets < $BUFFER * 0.75;
    return _finding(buffering => 'wrong', "Something holds events back: $lumps.", _settings($seen, 'buffering'));
}

# What makes an event the same on two connections. Times and ids that are each
# connection's own leave nothing to compare.
sub _key {
    return join "\0", map { defined $_ ? $_ : '' } @{ $_[0] }{qw(id type data)};
}

# In words, how much later than on another connection; nothing when it is not.
sub _held_back {
    my ($seen, $other) = @_;
    my %at = map { (_key($_) => $_->{at}) } _events($seen);
    my (@delays, $missing);
    for my $event (_events($other)) {
        my $at = $at{ _key($event) };
        if    (defined $at)                                { push @delays, $at - $event->{at} }
        elsif ($seen->{until} - $event->{at} > 2 * $DELAY) { $missing++ }
    }
    return sprintf '%s that came directly did not come here within %s.', _counted($missing, 'event'),
        _seconds($seen->{until} - List::Util::min(map { $_->{at} } _events($other)))
        if $missing && $missing > @delays;
    return if !@delays;
    my ($median, $most) = (_median(@delays), List::Util::max(@delays));
    return if $median <= $DELAY;
    return sprintf 'they arrive %s later than directly, and up to %s.', _seconds($median), _seconds($most);
}

sub _compression {
    my ($seen, $plain) = @_;
    my $coding = _field($seen, 'content-encoding');
    return _finding(compression => 'ok', 'It is not compressed.') if !defined $coding || lc $coding eq 'identity';
    my $late = $plain && _held_back($seen, $plain);
    return _finding(
        compression => 'wrong',
        "It is compressed ($coding), and that holds events back: $late",
        _settings($seen, 'compression')
    ) if $late;
    return _finding(compression => 'ok', "It is compressed ($coding), and events arrive as soon as without.")
        if $plain && _events($plain) && _events($seen);
    return _finding(
        compression => 'note',
        "It is compressed ($coding); no event came by which to see whether that holds events back."
    );
}

sub _keepalive {
    my ($seen) = @_;
    my @times = ($seen->{begun}, (map { $_->{at} } @{ $seen->{arrivals} }), $seen->{until});
    my @gaps = map { $times[$_] - $times[$_ - 1] } 1 .. $#times;
    my $longest = List::Util::max(@gaps);
    my $advice = 'Send a comment each 15 to 30 s; in PAGI::SSE: await $sse->keepalive(25).';
    return _finding(
        keepalive => 'wrong',
        sprintf 'The stream broke after %s: %s.', _seconds($seen->{until} - $seen->{begun}), $seen->{failed}
    ) if $seen->{ended} && defined $seen->{failed} && $gaps[-1] < 1;
    if ($seen->{ended}) {
        my $how = defined $seen->{failed} ? "was cut" : 'ended';
        return _finding(
            keepalive => 'wrong',
            sprintf(
                'The stream %s after %s without a byte, as a proxy does whose time-out is over.',
                $how, _seconds($gaps[-1])
            ),
            $advice,
            _settings($seen, 'timeout')
        ) if $gaps[-1] >= 1;
        return _finding(
            keepalive => 'note',
            sprintf 'The stream %s after %s.', $how, _seconds($seen->{until} - $seen->{begun})
        );
    }
    my $comments = grep { $_->{comment} } @{ $seen->{arrivals} };
    my $has = $comments ? _counted($comments, 'comment') . ' kept it alive' : 'no comment came';
    my $text = sprintf 'The longest silence was %s of the %s watched; %s.', _seconds($longest),
        _seconds($seen->{until} - $seen->{begun}), $has;
    return _finding(
        keepalive => 'wrong',
        "$text Many proxies cut a stream that is silent for $IDLE s.",
        $advice, _settings($seen, 'timeout')
    ) if $longest >= $IDLE;
    return _finding(
        keepalive => 'note',
        "$text To know about the usual time-out of proxies, watch for more than $IDLE s."
    ) if $gaps[-1] >= $longest && $longest > 15;
    return _finding(keepalive => 'ok', $text);
}

# --- what it said ---

sub _ids {
    my ($seen) = @_;
    my @events = _events($seen) or return _finding(ids => 'note', 'No event came, so nothing is known about ids.');
    my $without = grep { !defined $_->{id} || !length $_->{id} } @events;
    return _finding(ids => 'ok', 'Every event has an id.') if !$without;
    my $who = $without == @events ? 'No event has' : "Of " . @events . " events $without do not have";
    return _finding(ids => 'note', "$who an id, so a client that comes back cannot say what it had last.");
}

sub _retry {
    my ($seen) = @_;
    return _finding(retry => 'ok', "The server asks for $seen->{retry} ms before a reconnection.")
        if defined $seen->{retry};
    return _finding(
        retry => 'note',
        'There is no retry, so each client chooses how soon it comes back: 3 s in Chromium, 5 s in Firefox.'
    );
}

sub _cors {
    my ($seen, $origin) = @_;
    my $allowed = _field($seen, 'access-control-allow-origin');
    return _finding(cors => 'ok', "A page of $origin may read it.")
        if defined $allowed && ($allowed eq '*' || $allowed eq $origin);
    my $says = defined $allowed ? "Access-Control-Allow-Origin is $allowed" : 'there is no Access-Control-Allow-Origin';
    return _finding(
        cors => 'wrong',
        "A page of $origin may not read it: $says.", "Send Access-Control-Allow-Origin: $origin, and Vary: Origin."
    );
}

sub _http {
    my ($seen) = @_;
    return _finding(
        http => 'note',
        'It was read by HTTP/1.1. There a browser opens six connections to one host, so a seventh tab waits; with HTTP/2 it does not.',
        $seen->{url} =~ /\Ahttps:/i ? () : 'Browsers speak HTTP/2 only by https.'
    );
}

sub _clock {
    my ($seen) = @_;
    my $off = $seen->{skew};
    return _finding(clock => 'note', 'The answer has no Date, so the clocks cannot be compared.') if !defined $off;
    return _finding(
        clock => 'wrong',
        sprintf(q{The server's clock is %s %s this one.}, _seconds(abs $off), $off > 0 ? 'ahead of' : 'behind'),
        'Let both machines keep their time by NTP.'
    ) if abs $off > $CLOCKS;
    return _finding(clock => 'ok', q{The server's clock and this one agree.});
}

1;

__END__

=encoding UTF-8

=head1 NAME

PAGI::SSE::Command::Diagnosis - what a stream that was watched says (internal)

=head1 DESCRIPTION

See the comment at the top. Internal.

=cut
