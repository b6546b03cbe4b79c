#!/bin/bash
# run.sh NAME ...   start each named peer, measure it, append JSON lines to $OUT.
#
# Names: pagi-sse pagi-sse-suspended physlimit physlimit-b16 axum-raw axum-bcast axum-mpsc
# Environment
#   CARGO_TARGET_BASE                where Rust/C programs are built [${TMPDIR:-/tmp}/sse-bench-target]
#   OUT      result file [results.jsonl beside this script]
#   RUNS     repetitions [3]
#   SECS     length aimed at for a burst round [4]
#   BURST    "conns:bytes ..."       [100:100 100:1000 1000:100 1000:1000 5000:100]
#   RATE     "conns:rate:bytes ..."  [100:50:100 1000:5:100 1000:5:1000]
#   IDLE     connections for the idle runs [1000 5000]
#   MODES    [burst rate idle]
set -u
here=$(cd "$(dirname "$0")" && pwd)
base=${CARGO_TARGET_BASE:-${TMPDIR:-/tmp}/sse-bench-target}
out=${OUT:-$here/results.jsonl}
runs=${RUNS:-3} secs=${SECS:-4} modes=${MODES:-burst rate idle}
burst=${BURST:-100:100 100:1000 1000:100 1000:1000 5000:100}
rate=${RATE:-100:50:100 1000:5:100 1000:5:1000} idle=${IDLE:-1000 5000}
ulimit -n "$(ulimit -Hn)"
mkdir -p "$base"

build() { CARGO_TARGET_DIR=$base/$1 cargo build -q --release --manifest-path "$here/$2/Cargo.toml" || exit 1; }
build sseload sseload
load=$base/sseload/release/sseload

port=${BASE_PORT:-21000} pid=

start() { # NAME: starts the peer on $port, sets $pid
    local name=$1 b=1
    port=$((port + 1))
    unset BENCH_API BENCH_THREADS
    export PORT=$port
    case $name in
    physlimit*)
        [ "$name" = physlimit ] || b=${name##*-b}
        cc -O2 -w -o "$base/physlimit" "$here/peers/physlimit/physlimit.c" || return 1
        "$base/physlimit" "$port" "$b" & ;;
    axum-*)
        build axum peers/axum
        local api=${name#axum-}
        case $api in *-mt) export BENCH_THREADS=2; api=${api%-mt} ;; esac
        BENCH_API=$api "$base/axum/release/axum-peer" & ;;
    pagi-sse) perl "$here/hub.pl" & ;;
    pagi-sse-suspended) SUSPENDED=1 perl "$here/hub.pl" & ;;
    *) echo "unknown peer $name" >&2; return 1 ;;
    esac >>"${LOG:-/dev/null}" 2>&1
    pid=$!
    for _ in $(seq 100); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && { sleep 0.3; return 0; }
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "$name did not start" >&2
    return 1
}

stop() { [ -n "$pid" ] && { kill -9 "$pid"; wait "$pid"; } 2>/dev/null; pid=; }
trap stop EXIT

measure() { # NAME sseload-arguments...
    local name=$1; shift
    start "$name" || return 1
    "$load" "$@" --port "$port" --pid "$pid" --label "$name" | tee -a "$out"
    stop
}

for run in $(seq "$runs"); do
    for name in "$@"; do
        for mode in $modes; do
            case $mode in
            burst) for c in $burst; do
                measure "$name" burst --conns "${c%%:*}" --bytes "${c##*:}" --secs "$secs"
            done ;;
            rate) for c in $rate; do
                IFS=: read -r n r b <<<"$c"
                measure "$name" rate --conns "$n" --rate "$r" --bytes "$b" --secs "$secs"
            done ;;
            idle) for n in $idle; do
                measure "$name" idle --conns "$n" --hold 3
            done ;;
            esac
        done
    done
done
