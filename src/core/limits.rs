//! Every limit of the library, in one place, with its unit.

use std::time::Duration;

/// Longest input that any C function takes, bytes.
pub const INPUT_BYTES: usize = 1 << 30;

/// Longest id of an event, bytes: most servers and proxies take fields of 8 KiB.
pub const ID_BYTES: usize = 4096;

/// Longest line the parser accepts, bytes.
pub const PARSE_LINE_BYTES: usize = 1 << 20;
/// Largest event (data buffer) the parser accepts, bytes.
pub const PARSE_EVENT_BYTES: usize = 4 << 20;
/// Longest id the parser accepts, bytes: what goes back in a field.
pub const PARSE_ID_BYTES: usize = ID_BYTES;
/// What a parser's limits may be set to, bytes. Decoding makes up to three
/// bytes of one: so a record of a type, data and an id stays an input that we
/// take ([`INPUT_BYTES`]).
pub const PARSE_MOST_BYTES: usize = 128 << 20;
/// Of the room that a line cut into chunks has had, a parser keeps so much,
/// bytes.
pub const PARSE_KEPT_BYTES: usize = 16 << 10;

/// Longest reason of an end, bytes.
pub const REASON_BYTES: usize = 1024;

/// Records that a parser keeps for the host program: from so many bytes on it
/// takes no more input.
pub const PARSE_READY_BYTES: usize = 1 << 20;

/// Output queue of one connection: above this many bytes a sender should wait.
pub const HIGH_WATER_BYTES: usize = 64 << 10;
/// Output queue of one connection: at or below this many bytes it has drained.
pub const LOW_WATER_BYTES: usize = 16 << 10;
/// Output queue of one connection: beyond this many bytes of its own a send is
/// refused, but one that finds it below the high mark may be of any size.
pub const QUEUE_BYTES: usize = 1 << 20;
/// All queues of a server or a runtime together, default: bytes of memory.
pub const QUEUED_BYTES: usize = 256 << 20;
/// While they take more, the largest are looked for at most so often,
/// milliseconds.
pub const CUT_MS: u64 = 10;
/// Connections that are looked at in one go, with the others locked out.
pub const SLICE: usize = 256;
/// Output queue of one connection: at this many bytes the sender itself writes.
pub const FLUSH_BYTES: usize = 32 << 10;
/// Longest time that output waits when nobody asks for a flush, milliseconds.
pub const FLUSH_DELAY_MS: u64 = 1;

/// Longest keepalive interval, milliseconds.
pub const KEEPALIVE_MS: u64 = 86_400_000;
/// Shortest keepalive interval but 0 (off), milliseconds.
pub const KEEPALIVE_MIN_MS: u64 = 10;

/// Request body, default maximum, bytes.
pub const BODY_BYTES: usize = 1 << 20;
/// Request body bytes kept before the application has chosen its answer.
pub const BODY_WINDOW_BYTES: usize = 256 << 10;
/// Request line and header fields together, bytes.
pub const HEAD_BYTES: usize = 64 << 10;
/// Request target, bytes. It is twice in a record, as it came and decoded: so
/// this, with [`HEAD_BYTES`], holds every record within [`RECORD_BYTES`].
pub const TARGET_BYTES: usize = 32 << 10;
/// Largest record of a server or a runtime (a parser's options bound its own),
/// bytes, its length with it.
pub const RECORD_BYTES: usize = 128 << 10;
/// Longest text of a LOG record; a longer one is cut, bytes.
pub const LOG_BYTES: usize = 16 << 10;
/// Header fields of one request.
pub const HEADERS: usize = 128;
/// Chunk extensions and trailer fields of one body, bytes: what hyper takes,
/// which counts line ends too.
pub const CHUNK_EXTRA_BYTES: usize = 15 << 10;
/// Of a refused request's target: what is kept for the log, bytes.
pub const REFUSED_TARGET_BYTES: usize = 1024;
/// Time for a client to send a whole request head, default: seconds.
pub const HEAD_SECONDS: u64 = 30;
/// Time between an answer and the client's next request, default: seconds. As
/// nginx has it, and longer than CPAN's PAGI::Server (60): an idle connection
/// makes room when there is none, so it costs others nothing.
pub const IDLE_SECONDS: u64 = 75;
/// A connection that is new is not made to leave sooner than this: its first
/// request is likely to be on its way.
pub const NEW_PATIENCE: Duration = Duration::from_millis(250);
/// Time for a client to send a whole request body, default: seconds.
pub const BODY_SECONDS: u64 = 300;
/// Connections open at a time on one server, default maximum.
pub const CONNECTIONS: usize = 16_384;
/// Who finds no place waits so long before the operator hears of it: an idle
/// connection makes room at once.
pub const ROOM_PATIENCE: Duration = Duration::from_millis(100);
/// Connections that wait in the kernel to be accepted.
pub const BACKLOG: i32 = 4096;
/// A client that takes no byte for so long is dropped, seconds.
pub const WRITE_TIMEOUT_SECONDS: u64 = 30;
/// The same while the server stops, and of a closed stream while a client waits
/// for a place.
pub const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// What is answered at a stop's deadline has so long to leave.
pub const STOP_LAST: Duration = Duration::from_millis(250);
/// While an application has not chosen its answer: when a client that has
/// ended its side, or whose body is not read, is asked whether it is there,
/// seconds after each other. It is told `100 Continue`; who is not there
/// answers with a reset.
pub const DOUBT_SECONDS: [u64; 3] = [1, 4, 16];
/// Once it has ended its side: seconds between keepalive probes of TCP.
pub const DOUBT_PROBE_SECONDS: u64 = 10;
/// After a stream's last byte: time for the client to close, seconds.
pub const LINGER_SECONDS: u64 = 2;
/// After the last answer on a connection: time that the client's rest is read,
/// in all, seconds.
pub const LINGER_ALL_SECONDS: u64 = 10;
/// The same: bytes.
pub const LINGER_BYTES: usize = 64 << 20;
/// What a client may send during a stream, which is read and forgotten: bytes
/// within [`FORGOTTEN_MS`]. Not over a stream's life, as one may last for
/// months, and a client that says a word from time to time does no harm.
pub const FORGOTTEN_BYTES: usize = 64 << 10;
/// See [`FORGOTTEN_BYTES`]: milliseconds.
pub const FORGOTTEN_MS: u64 = 60_000;
/// Kernel send buffer of a connection, bytes (Linux doubles it).
pub const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Log and ANSWERED records waiting for the host program; further ones are
/// counted only.
pub const LOG_RECORDS: usize = 1024;
/// What a log message has of a path, characters.
pub const LOGGED_PATH: usize = 200;
/// Messages that a client can cause at will: one of a kind in so many
/// milliseconds, with how many it stands for.
pub const NOTICE_MS: u64 = 1000;

/// History of a topic, default: events.
pub const REPLAY_EVENTS: usize = 1000;
/// History of a topic, default: bytes as framed.
pub const REPLAY_BYTES: usize = 4 << 20;
/// History of a topic, default: milliseconds.
pub const REPLAY_AGE_MS: u64 = 3_600_000;
/// History and state of all topics of a hub, default.
pub const REPLAY_TOTAL_BYTES: usize = 64 << 20;
/// How long a topic outlives its last subscriber and event, default:
/// milliseconds.
pub const TOPIC_TTL_MS: u64 = 600_000;
/// Longest name of a topic, bytes.
pub const TOPIC_NAME_BYTES: usize = 100;
/// Topics of one hub.
pub const TOPICS: usize = 100_000;
/// Topics that subscribers alone have named: half, so that the application
/// can still publish to new ones.
pub const UNCLAIMED_TOPICS: usize = 50_000;
/// Topics of one subscription.
pub const TOPICS_OF_ONE: usize = 1000;
/// Keys that a state topic keeps.
pub const STATE_KEYS: usize = 10_000;
/// What an event that is kept takes beside its bytes, about.
pub const EVENT_OVERHEAD_BYTES: usize = 200;
/// When the kernel had no memory to wake the host program: until it is tried
/// again.
pub const WAKE_AGAIN: Duration = Duration::from_millis(10);
/// Requests that the host program has not read: from so many on no further
/// connection is accepted.
pub const REQUESTS_BEHIND: usize = 16;
/// ENDED records that it has not read: from so many on none is accepted, and it
/// can open none.
pub const ENDED_BEHIND: usize = 65_536;
/// Topics that expired and are still known by name.
pub const EXPIRED_TOPICS: usize = 100_000;
/// Events that a hub forgets, or topics that it looks at, before it lets others
/// go on.
pub const EVICTED_AT_ONCE: usize = 256;
/// Published bytes that are joined into one write at the most.
pub const BATCH_BYTES: usize = 64 << 10;
/// Published bytes not yet delivered, from which on the publisher delivers a part.
pub const PENDING_BYTES: usize = 1 << 20;
/// Published bytes not yet delivered, from which on it delivers until there are less.
pub const PENDING_LIMIT_BYTES: usize = 4 << 20;
/// Published bytes not yet delivered, below which a hub is ready for more.
pub const READY_PENDING_BYTES: usize = 64 << 10;
/// What a subscription lets wait, default: bytes.
pub const SUBSCRIPTION_BYTES: usize = 1 << 20;
/// What a subscription lets wait, default: events.
pub const SUBSCRIPTION_EVENTS: usize = 10_000;

/// Client: wait before a reconnection until a server names another,
/// milliseconds.
pub const RETRY_MS: u64 = 3000;
/// The same: the shortest, whatever a server names.
pub const RETRY_MIN_MS: u64 = 100;
/// The same: the longest that a server may name, by `retry` or Retry-After.
pub const RETRY_MAX_MS: u64 = 86_400_000;
/// The same: what it grows to, default, milliseconds.
pub const BACKOFF_MS: u64 = 60_000;
/// A stream that lasts so long is no failure even if nothing came by it,
/// milliseconds.
pub const STREAM_GOOD_MS: u64 = 10_000;
/// Redirections of one request, default.
pub const REDIRECTS: u32 = 20;
/// Time to resolve a name, connect, and settle TLS, default, milliseconds.
pub const CONNECT_MS: u64 = 10_000;
/// Happy eyeballs: head start of an address over the next, milliseconds.
pub const HEAD_START_MS: u64 = 250;
/// Addresses of a name that are tried.
pub const ADDRESSES: usize = 16;
/// Time from a connection to an answer's head, the request's body included,
/// default, milliseconds.
pub const ANSWER_MS: u64 = 60_000;
/// Of an answer that is no stream: how much of its body is kept, default, bytes.
pub const REFUSAL_BYTES: usize = 64 << 10;
/// The same: how long its body is waited for, milliseconds.
pub const REFUSAL_MS: u64 = 5000;
/// Items that a client keeps for the host program, default; then it stops
/// reading.
pub const CLIENT_ITEMS: usize = 1024;
/// The same in bytes: the last item may go beyond.
pub const CLIENT_BYTES: usize = 1 << 20;
/// What a client reads at once, and the largest head of an answer, bytes.
pub const CLIENT_READ_BYTES: usize = 64 << 10;
/// Longest path of a Unix socket, bytes.
pub const SOCKET_PATH_BYTES: usize = 107;
/// Longest URL, bytes, as the `http` crate has it.
pub const URL_BYTES: usize = 65_534;
/// Of a URL that is refused: characters that the words show.
pub const URL_SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_leaves_room_for_those_within_it() {
        let queues = [
            LOW_WATER_BYTES,
            FLUSH_BYTES,
            HIGH_WATER_BYTES,
            QUEUE_BYTES,
            QUEUED_BYTES,
            INPUT_BYTES,
        ];
        let parser = [
            PARSE_ID_BYTES,
            PARSE_KEPT_BYTES,
            PARSE_LINE_BYTES,
            PARSE_EVENT_BYTES,
            PARSE_MOST_BYTES,
        ];
        let request = [
            CHUNK_EXTRA_BYTES,
            HEAD_BYTES,
            BODY_WINDOW_BYTES,
            BODY_BYTES,
            LINGER_BYTES,
        ];
        let delivery = [
            BATCH_BYTES,
            SEND_BUFFER_BYTES,
            PENDING_BYTES,
            PENDING_LIMIT_BYTES,
        ];
        let ready = [READY_PENDING_BYTES, PENDING_BYTES];
        let history = [SUBSCRIPTION_BYTES, REPLAY_BYTES, REPLAY_TOTAL_BYTES];
        // A head and its path once more, decoded.
        let record = [LOG_BYTES, HEAD_BYTES + TARGET_BYTES, RECORD_BYTES];
        let parsed = 3 * (2 * PARSE_MOST_BYTES + PARSE_ID_BYTES);
        let all: [&[usize]; 8] = [
            &queues,
            &parser,
            &request,
            &delivery,
            &ready,
            &history,
            &record,
            &[parsed, INPUT_BYTES],
        ];
        for limits in all {
            assert!(limits[0] > 0, "{limits:?}");
            assert!(limits.is_sorted_by(|a, b| a < b), "{limits:?}");
        }
    }

    /// Rows of the table at the top of the C header.
    #[test]
    fn the_headers_table_has_these_numbers() {
        let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
        let seconds = |n: u64| format!("({n} s)");
        let rows = [
            ("target of a request", format!("{} KiB", TARGET_BYTES >> 10)),
            (
                "head of a request",
                format!("{} KiB, {HEADERS} fields", HEAD_BYTES >> 10),
            ),
            ("body of a request", mib(BODY_BYTES)),
            ("head of a request in time", seconds(HEAD_SECONDS)),
            ("body of a request in time", seconds(BODY_SECONDS)),
            ("connection without request", seconds(IDLE_SECONDS)),
            ("connections of a server", format!("({CONNECTIONS})")),
            ("REQUEST records unread", REQUESTS_BEHIND.to_string()),
            ("ENDED records unread", ENDED_BEHIND.to_string()),
            ("LOG records unread", LOG_RECORDS.to_string()),
            ("fields given to one call", HEADERS.to_string()),
            ("queue of a connection", mib(QUEUE_BYTES)),
            ("all queues of a host", mib(QUEUED_BYTES)),
            ("client that takes nothing", seconds(WRITE_TIMEOUT_SECONDS)),
            (
                "keepalive",
                format!("{KEEPALIVE_MIN_MS} ms to {KEEPALIVE_MS} ms"),
            ),
            ("topics of a hub", format!("{TOPICS}, half")),
            (
                "history of a topic",
                format!(
                    "events ({REPLAY_EVENTS}), bytes ({}), age_ms ({} h)",
                    mib(REPLAY_BYTES),
                    REPLAY_AGE_MS / 3_600_000
                ),
            ),
            ("history of a hub", mib(REPLAY_TOTAL_BYTES)),
            ("keys of a topic's state", STATE_KEYS.to_string()),
            (
                "a subscriber's queue",
                format!(
                    "max_events ({SUBSCRIPTION_EVENTS}), max_bytes ({})",
                    mib(SUBSCRIPTION_BYTES)
                ),
            ),
            (
                "line, event, id (parser)",
                format!(
                    "{}, {}, {PARSE_ID_BYTES} bytes",
                    mib(PARSE_LINE_BYTES),
                    mib(PARSE_EVENT_BYTES)
                ),
            ),
            ("any length", format!("{} GiB", INPUT_BYTES >> 30)),
        ];
        assert_eq!(UNCLAIMED_TOPICS * 2, TOPICS);
        let top = include_str!("../ffi/top.h");
        for (what, number) in rows {
            let row = top
                .lines()
                .find(|l| l.starts_with(&format!(" *   {what}  ")));
            let row = row.unwrap_or_else(|| panic!("no row '{what}'"));
            assert!(row.contains(&number), "'{row}' has no {number}");
        }
    }
}
