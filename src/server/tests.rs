//! Connections on a scripted transport, on a clock of their own.

use super::*;
use crate::conn::{self, Conn};
use crate::core::error::Error;
use crate::host::record::{self, Kind, Reader, handle_of};
use crate::net::listen::Peers;
use crate::net::scripted::{self, Peer};
use bytes::BytesMut;
use proptest::prelude::*;
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const STREAM: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";

/// What the tasks of a server share, and nobody flushes: its end is to come all
/// the same.
struct Place(Arc<Shared>);

impl Deref for Place {
    type Target = Arc<Shared>;
    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.desk.close();
    }
}

fn server(max_connections: usize) -> Place {
    let options = Options {
        max_connections,
        ..Options::default()
    };
    Place(Shared::new(options).unwrap())
}

struct Client {
    peer: Peer,
    task: JoinHandle<()>,
    came: Instant,
}

/// One that takes all it is given.
async fn client(shared: &Arc<Shared>) -> Client {
    let place = shared.permits.clone().acquire_owned().await.unwrap();
    let (peer, ours) = scripted::pair();
    peer.takes(usize::MAX);
    let peers = Peers {
        client: None,
        server: Err("/a".into()),
    };
    let (held, came) = (BytesMut::new(), Instant::now());
    let task = tokio::spawn(http1::serve(ours, peers, shared.clone(), place, held));
    settle().await;
    Client { peer, task, came }
}

/// Everybody does what is to be done now.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

impl Client {
    async fn says(&self, text: &str) {
        self.peer.says(text.as_bytes());
        settle().await;
    }

    /// How many seconds it has been there, at its end.
    async fn seconds(self) -> u64 {
        self.task.await.unwrap();
        assert!(self.peer.is_dropped());
        self.came.elapsed().as_secs()
    }
}

/// The connection of the request that has come.
fn asked(shared: &Shared) -> Arc<Conn> {
    let mut buf = vec![0; 1 << 17];
    let used = shared.desk.next(&mut buf);
    let mut reader = Reader::new(&buf[..used]);
    let mut records = std::iter::from_fn(|| reader.bytes().ok());
    let handle = records.find_map(|r| handle_of(r, Kind::Request)).unwrap();
    conn::table().remove(handle).unwrap()
}

async fn answers(conn: &Arc<Conn>) {
    conn.respond(200, []).unwrap();
    conn.body(b"x", false).unwrap();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn each_wait_for_a_request_has_its_own_time() {
    let shared = server(1);
    assert_eq!(client(&shared).await.seconds().await, limits::HEAD_SECONDS);
    let c = client(&shared).await;
    sleep(Duration::from_secs(10)).await;
    c.says(GET).await;
    answers(&asked(&shared)).await;
    assert_eq!(c.seconds().await, 10 + limits::IDLE_SECONDS);
    let c = client(&shared).await;
    c.says(GET).await;
    answers(&asked(&shared)).await;
    sleep(Duration::from_secs(50)).await;
    c.peer.got();
    c.says("GET").await;
    let by = 50 + limits::HEAD_SECONDS;
    let (peer, seconds) = (c.peer.clone(), c.seconds().await);
    assert!(
        (by..=by + limits::LINGER_SECONDS).contains(&seconds),
        "{seconds}"
    );
    assert!(peer.got().starts_with("HTTP/1.1 408 "));
}

#[tokio::test(start_paused = true)]
async fn empty_lines_win_no_time() {
    let shared = server(1);
    let c = client(&shared).await;
    c.says(GET).await;
    answers(&asked(&shared)).await;
    let (peer, drips) = (c.peer.clone(), Instant::now());
    let drip = async {
        while !peer.is_dropped() {
            assert!(drips.elapsed().as_secs() <= limits::IDLE_SECONDS);
            peer.says(b"\r");
            sleep(Duration::from_secs(5)).await;
            peer.says(b"\n");
            sleep(Duration::from_secs(5)).await;
        }
    };
    let (seconds, ()) = tokio::join!(c.seconds(), drip);
    assert!(seconds <= limits::IDLE_SECONDS);
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_once_and_a_silent_connection_not_at_all() {
    let shared = server(10);
    let silent = client(&shared).await;
    assert_eq!(shared.busy(), 0);
    let c = client(&shared).await;
    c.says("GET / HT").await;
    assert_eq!(shared.busy(), 0, "a part of a head");
    c.says(&GET[8..]).await;
    assert_eq!(shared.busy(), 1);
    let conn = asked(&shared);
    conn.respond(200, []).unwrap();
    settle().await;
    assert_eq!(shared.busy(), 1, "no body yet");
    conn.body(b"x", false).unwrap();
    settle().await;
    assert_eq!(shared.busy(), 0, "kept alive");
    c.says(STREAM).await;
    let conn = asked(&shared);
    assert_eq!(shared.busy(), 1);
    conn.start(200, []).unwrap();
    settle().await;
    assert_eq!(shared.busy(), 1, "a stream");
    conn.release();
    settle().await;
    assert_eq!(shared.busy(), 0);
    assert!(!silent.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_answer_on_its_way_counts_once_whose_ever_it_is() {
    for (request, own) in [(GET, false), ("NONSENSE\r\n\r\n", true)] {
        let shared = server(10);
        let place = shared.permits.clone().acquire_owned().await.unwrap();
        let (peer, ours) = scripted::pair();
        let peers = Peers {
            client: None,
            server: Err("/a".into()),
        };
        peer.says(request.as_bytes());
        let held = BytesMut::new();
        tokio::spawn(http1::serve(ours, peers, shared.clone(), place, held));
        settle().await;
        if !own {
            let conn = asked(&shared);
            answers(&conn).await;
            conn.release();
        }
        assert_eq!(shared.busy(), 1, "{request}");
        peer.takes(10);
        settle().await;
        assert_eq!(shared.busy(), 1, "{request}");
        peer.takes(usize::MAX);
        settle().await;
        assert_eq!(shared.busy(), 0, "{request}");
    }
}

/// For a client that waits.
async fn place(shared: &Arc<Shared>) -> OwnedSemaphorePermit {
    let place = accept::next_place(shared, async || Ok(()));
    place.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_for_one_that_a_host_adopts_and_whose_end_it_would_not_read() {
    let shared = server(1);
    let idle = client(&shared).await;
    idle.says(GET).await;
    answers(&asked(&shared)).await;
    sleep(limits::NEW_PATIENCE).await;
    for n in 1..=limits::ENDED_BEHIND as u64 {
        shared.desk.push(record::plain(Kind::Ended, u64::MAX - n));
    }
    let adopt = || {
        let (ours, _) = UnixStream::pair().unwrap();
        accept::adopt(ours.into(), b"", &shared).map_err(|(f, _)| f.error)
    };
    assert_eq!(adopt(), Err(Error::RecordsUnread));
    settle().await;
    assert!(!idle.task.is_finished());
    shared.desk.next(&mut [0; 1 << 10]);
    assert_eq!(adopt(), Err(Error::TooManyConnections));
    settle().await;
    assert!(idle.task.is_finished());
    assert_eq!(adopt(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_for_nobody() {
    let shared = server(1);
    let idle = client(&shared).await;
    idle.says(GET).await;
    answers(&asked(&shared)).await;
    let waits = Notify::new();
    let called = async || {
        waits.notified().await;
        waits.notify_one();
        Ok(())
    };
    let next = accept::next_place(&shared, called);
    let mut next = std::pin::pin!(next);
    let patience = Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS / 2);
    assert!(tokio::time::timeout(patience, &mut next).await.is_err());
    assert!(!idle.task.is_finished());
    waits.notify_one();
    drop(next.await.unwrap());
    assert!(idle.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_the_longest_first_and_busy_ones_do_not() {
    let shared = server(3);
    let mut clients = Vec::new();
    for n in [0, 1, 2] {
        let c = client(&shared).await;
        c.says(GET).await;
        let conn = asked(&shared);
        if n != 1 {
            answers(&conn).await;
        }
        clients.push((c, conn));
        sleep(Duration::from_secs(1)).await;
    }
    let before = Instant::now();
    let one = place(&shared).await;
    assert!(clients[0].0.task.is_finished());
    let two = place(&shared).await;
    assert!(clients[2].0.task.is_finished());
    assert!(before.elapsed() < Duration::from_millis(10));
    let third = tokio::time::timeout(Duration::from_secs(5), place(&shared));
    assert!(third.await.is_err(), "who waits for an answer stays");
    answers(&clients[1].1).await;
    let after = Instant::now();
    drop(place(&shared).await);
    assert!(after.elapsed() < Duration::from_millis(10));
    drop((one, two));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_has_a_moment_for_its_request() {
    let shared = server(1);
    let c = client(&shared).await;
    let wanted = tokio::spawn({
        let shared = shared.clone();
        async move { place(&shared).await }
    });
    sleep(limits::NEW_PATIENCE * 9 / 10).await;
    c.says(GET).await;
    sleep(Duration::from_secs(20)).await;
    assert!(!wanted.is_finished());
    answers(&asked(&shared)).await;
    drop(wanted.await.unwrap());
    let c = client(&shared).await;
    let from = Instant::now();
    drop(place(&shared).await);
    assert!(from.elapsed() <= limits::NEW_PATIENCE);
    assert!(c.task.is_finished());
}

/// A head of up to so many bytes: with its target, its cookies, its fields and
/// their number as long as they like.
fn heads() -> impl Strategy<Value = String> {
    let target = (
        0..=limits::TARGET_BYTES,
        "(/|/%e9|/%25|http://[a-z]{1,90}/)",
        "(|[?]x)",
    );
    let target = target.prop_map(|(len, start, query)| {
        let fill = if start.contains('%') { "%41" } else { "a" };
        let room = len.saturating_sub(start.len() + query.len()) / fill.len();
        // The longest that `Uri` has the path and the query apart.
        start + &fill.repeat(room / 2) + &query + &fill.repeat(room - room / 2)
    });
    let field = ("(cookie|x|accept)", 0..3_usize, 0..=limits::HEAD_BYTES);
    let fields = prop::collection::vec(field, 0..limits::HEADERS - 1);
    (target, fields).prop_map(|(target, fields)| {
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n");
        for (name, short, long) in fields {
            let room = limits::HEAD_BYTES.saturating_sub(head.len() + name.len() + 5);
            // Most are short, so that there are many.
            let len = if long % 16 == 0 { long } else { short };
            if room > 0 {
                let value = "v".repeat(len.min(room - 1));
                head.extend([&name, ":", &value, "\r\n"]);
            }
        }
        head + "\r\n"
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_record_of_a_head_is_larger_than_the_published_bound(head in heads()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let shared = server(1);
            let c = client(&shared).await;
            c.says(&head).await;
            let mut buf = vec![0; limits::RECORD_BYTES];
            let (mut used, mut records) = (0, 0);
            while let n @ 1.. = shared.desk.next(&mut buf) {
                assert!(n <= buf.len(), "{n} bytes");
                used = used.max(n);
                records += 1;
            }
            assert!(records > 0);
            let target = head.split(' ').nth(1).unwrap().len();
            let most = target + head.len() + 5 * limits::HEADERS + 500;
            assert!(used <= most, "{used} > {most}: the bound is reckoned so");
        });
    }
}

const _: () = {
    // What the test above has found: a head once, its target once more.
    let most = limits::HEAD_BYTES + limits::TARGET_BYTES + 5 * limits::HEADERS + 500;
    assert!(most <= limits::RECORD_BYTES);
    assert!(limits::LOG_BYTES + 100 <= limits::RECORD_BYTES);
    assert!(limits::REASON_BYTES + 100 <= limits::RECORD_BYTES);
};
