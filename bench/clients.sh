#!/bin/bash
# clients.sh   what reading costs: CLIENTS clients of a server that sends RATE events a second to each, for SECS seconds, by
# the C and the Perl client of this tree, by Node's eventsource, and by curl, one process each.
#
#   CLIENTS [1000]  RATE [40]  SECS [10]  CURLS [100]  WHO ["c perl node curl"]
#   NODE_PATH_DIR   where `npm install eventsource` was run [.]
set -eu
here=$(cd "$(dirname "$0")" && pwd) root=$(dirname "$(cd "$(dirname "$0")" && pwd)")
clients=${CLIENTS:-1000} rate=${RATE:-40} secs=${SECS:-10} curls=${CURLS:-100} who=${WHO:-c perl node curl}
tmp=$(mktemp -d)
lib=$root/target/release
ulimit -n "$(ulimit -Hn)"
for name in examples/c/broadcast bench/peers/clients/clients; do
    cc -O2 -std=c11 -I"$root/include" "$root/$name.c" -o "$tmp/$(basename $name)" -L"$lib" -lpagi_sse -Wl,-rpath,"$lib"
done
: >"$tmp/log"
"$tmp/broadcast" 127.0.0.1:0 $((1000 / rate)) 2>"$tmp/log" &
server=$!
pids=()
trap 'kill $server "${pids[@]}" 2>/dev/null || :; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do grep -q listening "$tmp/log" && break; sleep 0.1; done
url=$(sed -n 's/^listening on \(.*[0-9]\)\/*$/\1/p' "$tmp/log")/events

# Clock ticks of CPU of processes, all together.
ticks() { cat $(printf '/proc/%s/stat ' "$@") | awk '{ n += $14 + $15 } END { print n }'; }

for name in $who; do
    printf '%s: ' "$name"
    case $name in
    c) "$tmp/clients" "$url" "$clients" "$secs" ;;
    perl) perl "$here/peers/clients/clients.pl" "$url" "$clients" "$secs" ;;
    node) (cd "${NODE_PATH_DIR:-.}" && node --expose-gc "$here/peers/clients/clients.mjs" "$url" "$clients" "$secs") ;;
    curl)
        for i in $(seq "$curls"); do
            curl -sN -H 'Accept: text/event-stream' "$url" -o "$tmp/out.$i" &
            pids+=($!)
        done
        sleep 2
        before=$(ticks "${pids[@]}") events=$(cat "$tmp"/out.* | grep -c '^data' || :)
        sleep "$secs"
        after=$(ticks "${pids[@]}") events=$(($(cat "$tmp"/out.* | grep -c '^data') - events))
        kib=$(cat $(printf '/proc/%s/smaps_rollup ' "${pids[@]}") | awk '/^Pss:/ { n += $2 } END { print n }')
        awk -v n="$curls" -v e="$events" -v s="$secs" -v t=$((after - before)) -v k="$kib" -v hz="$(getconf CLK_TCK)" \
            'BEGIN { printf "%d clients: %.0f events/s, %.2f us of CPU an event, %.1f KiB a client\n", n, e / s, t / hz / e * 1e6, k / n }'
        kill "${pids[@]}"; wait "${pids[@]}" 2>/dev/null || :
        pids=() ;;
    esac
done
