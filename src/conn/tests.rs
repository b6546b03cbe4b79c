use super::fake::FakeHost;
use super::*;
use crate::core::chunk::Chunk;
use crate::core::frame::Event;
use crate::core::limits::{BODY_WINDOW_BYTES, HIGH_WATER_BYTES, QUEUE_BYTES};
use crate::core::outbox::{Full, Policy};
use crate::core::ring::Entry;
use crate::feed::{Batch, Published, Subscriber, Watch};
use bytes::Bytes;
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::time::Duration;

const BARE: Framing = Framing {
    sse: true,
    wire: Wire::Events,
    head: false,
    pull: false,
    fixed: false,
};
const PULLED: Framing = Framing { pull: true, ..BARE };
/// Of an ordinary request.
const GET: Framing = Framing {
    sse: false,
    wire: Wire::Http11,
    ..BARE
};
const HEAD: Framing = Framing { head: true, ..GET };

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a poll gives, and who is woken when it gives more.
fn poll<T>(f: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> (Poll<T>, Arc<Woken>) {
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(woken.clone());
    (f(&mut Context::from_waker(&waker)), woken)
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A sink that takes everything and counts calls for attention.
#[derive(Default)]
struct Taking {
    taken: Mutex<Vec<u8>>,
    attended: AtomicUsize,
}

impl Sink for Taking {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = self.taken.lock().unwrap();
        let before = taken.len();
        slices.iter().for_each(|s| taken.extend_from_slice(s));
        Ok(taken.len() - before)
    }
    fn attend(&self) {
        self.attended.fetch_add(1, Ordering::Relaxed);
    }
}

fn send(conn: &Arc<Conn>, data: &str) -> Result<bool> {
    conn.send(&Event {
        data: Some(data),
        ..Event::default()
    })
}

fn pull(conn: &Arc<Conn>, max: usize) -> Option<String> {
    let mut got = Vec::new();
    let n = conn
        .pull(max, |piece| got.extend_from_slice(piece))
        .unwrap();
    n.map(|n| {
        assert_eq!(n, got.len());
        String::from_utf8(got).unwrap()
    })
}

fn fields<'a>(list: &'a [(&str, &str)]) -> impl Iterator<Item = Field<'a>> {
    list.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()))
}

fn decision(conn: &Conn) -> String {
    match poll(|cx| conn.poll_decision(cx)).0 {
        Poll::Pending => "none".into(),
        Poll::Ready(Decision::Stream) => "stream".into(),
        Poll::Ready(Decision::Response(status, map)) => {
            let names: Vec<&str> = map.keys().map(http::HeaderName::as_str).collect();
            format!("{} {}", status.as_u16(), names.join(" "))
        }
        Poll::Ready(Decision::Gone { died: true }) => "died".into(),
        Poll::Ready(Decision::Gone { died: false }) => "gone".into(),
    }
}

fn next_body(conn: &Conn) -> Poll<Option<Bytes>> {
    poll(|cx| conn.poll_body(cx)).0
}

fn some(bytes: &'static str) -> Poll<Option<Bytes>> {
    Poll::Ready(Some(bytes.into()))
}

// ---- ends

#[test]
fn the_first_end_wins_and_each_is_told_as_it_should_be() {
    for (first, told) in [
        (Conn::close as fn(&Arc<Conn>, Option<Reason>) -> bool, false),
        (|c, r| c.abort(r.unwrap()), false),
        (|c, r| c.shut_down(r.unwrap()), true),
        (|c, r| c.disconnect(r.unwrap()), true),
        (|c, r| c.abandon(r.unwrap()), true),
    ] {
        let (host, conn) = FakeHost::conn(BARE);
        conn.start(200, []).unwrap();
        assert!(first(&conn, Some("first".into())));
        assert!(!conn.close(Some("later".into())));
        assert!(!conn.shut_down("later".into()));
        assert!(!conn.disconnect("later".into()));
        assert_eq!(conn.reason().as_deref(), Some("first"));
        assert_eq!(conn.phase(), Phase::Closed);
        assert_eq!(host.told() == [Report::Closed], told);
        conn.transport_ended();
        conn.transport_ended();
        assert_eq!(host.told(), [Report::Ended]);
        assert_eq!(send(&conn, "x"), Err(Error::Closed));
    }
}

#[test]
fn only_what_severs_drops_the_queue() {
    for (end, left, severed) in [
        (
            Conn::close as fn(&Arc<Conn>, Option<Reason>) -> bool,
            9,
            false,
        ),
        (|c, r| c.abort(r.unwrap()), 9, false),
        (|c, r| c.shut_down(r.unwrap()), 9, false),
        (|c, r| c.disconnect(r.unwrap()), 0, true),
    ] {
        let (_, conn) = FakeHost::conn(BARE);
        send(&conn, "a").unwrap();
        let (before, woken) = poll(|cx| conn.poll_severed(cx));
        assert!(before.is_pending());
        end(&conn, Some("x".into()));
        assert_eq!((conn.buffered(), conn.is_severed()), (left, severed));
        assert_eq!(woken.times(), 1, "who waits looks again");
        assert_eq!(poll(|cx| conn.poll_severed(cx)).0.is_ready(), severed);
    }
}

#[test]
fn a_disconnect_behind_an_orderly_end_wakes_who_sends_the_rest() {
    let (host, conn) = FakeHost::conn(BARE);
    conn.start(200, []).unwrap();
    let sink = Arc::<Taking>::default();
    conn.attach(sink.clone());
    conn.close(None);
    let before = sink.attended.load(Ordering::Relaxed);
    let (_, woken) = poll(|cx| conn.poll_severed(cx));
    assert!(!conn.disconnect("x".into()));
    assert_eq!(sink.attended.load(Ordering::Relaxed), before + 1);
    assert_eq!(woken.times(), 1);
    conn.disconnect("y".into());
    assert_eq!(sink.attended.load(Ordering::Relaxed), before + 1, "once");
    assert_eq!(host.told(), []);
}

#[test]
fn a_closed_queue_that_is_empty_calls_for_its_end() {
    let (_, conn) = FakeHost::conn(BARE);
    conn.start(200, []).unwrap();
    let sink = Arc::<Taking>::default();
    conn.attach(sink.clone());
    assert_eq!(sink.attended.load(Ordering::Relaxed), 0);
    conn.close(None);
    assert!(sink.attended.load(Ordering::Relaxed) > 0);
    assert_eq!(conn.progress(), (true, Phase::Closed));
}

#[test]
fn a_stream_that_never_began_is_empty_and_whole_and_an_aborted_one_is_none() {
    let (_, conn) = FakeHost::conn(Framing { sse: true, ..GET });
    conn.close(None);
    assert_eq!(decision(&conn), "stream");
    let sink = Arc::<Taking>::default();
    conn.attach(sink.clone());
    let got = String::from_utf8(sink.taken.lock().unwrap().clone()).unwrap();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n0\r\n\r\n"));
    let (_, conn) = FakeHost::conn(Framing { sse: true, ..GET });
    conn.abort("x".into());
    assert_eq!(decision(&conn), "died");
    let (_, conn) = FakeHost::conn(GET);
    conn.close(None);
    assert_eq!(decision(&conn), "gone");
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_stream(true);
    assert!(conn.wants_stream());
    conn.close(None);
    assert_eq!(decision(&conn), "stream");
}

#[test]
fn an_aborted_stream_in_chunks_lacks_the_last() {
    for (abort, end) in [(true, "9\r\ndata: a\n\n\r\n"), (false, "\r\n0\r\n\r\n")] {
        let (_, conn) = FakeHost::conn(GET);
        send(&conn, "a").unwrap();
        match abort {
            true => conn.abort("x".into()),
            false => conn.close(None),
        };
        let sink = Arc::<Taking>::default();
        conn.attach(sink.clone());
        let got = String::from_utf8(sink.taken.lock().unwrap().clone()).unwrap();
        assert!(got.ends_with(end), "{got}");
    }
}

#[test]
fn a_place_is_held_until_the_transport_has_ended() {
    let (_, conn) = FakeHost::conn(BARE);
    let place = Arc::new(());
    conn.hold(place.clone());
    assert_eq!(Arc::strong_count(&place), 2);
    assert!(conn.place().is_some());
    conn.disconnect("x".into());
    assert_eq!(Arc::strong_count(&place), 2);
    conn.transport_ended();
    assert_eq!(Arc::strong_count(&place), 1);
    assert!(conn.place().is_none());
}

#[test]
fn a_transport_that_ended_well_leaves_no_reason_and_no_sink() {
    let (_, conn) = FakeHost::conn(BARE);
    let sink = Arc::<Taking>::default();
    conn.attach(sink.clone());
    assert_eq!(Arc::strong_count(&sink), 2);
    conn.transport_ended();
    assert_eq!(Arc::strong_count(&sink), 1);
    assert_eq!((conn.phase(), conn.reason()), (Phase::Closed, None));
}

#[test]
fn a_stop_closes_streams_also_those_that_begin_later() {
    let (host, conn) = FakeHost::conn(GET);
    conn.close_stream("stop");
    conn.close_stream("another");
    assert_eq!(conn.phase(), Phase::Pending);
    assert_eq!(host.told(), []);
    conn.start(200, []).unwrap();
    assert_eq!(conn.reason().as_deref(), Some("stop"));
    assert_eq!(host.told(), [Report::Closed]);
    let (_, conn) = FakeHost::conn(GET);
    conn.close_stream("stop");
    send(&conn, "last words").unwrap();
    assert_eq!(conn.phase(), Phase::Closed);
    assert!(conn.buffered() > 0);
    let (_, conn) = FakeHost::conn(BARE);
    conn.close_stream("stop");
    assert_eq!(conn.reason().as_deref(), Some("stop"), "one is expected");
    let (_, conn) = FakeHost::conn(GET);
    conn.respond(200, []).unwrap();
    conn.close_stream("stop");
    assert_eq!(conn.phase(), Phase::Responding, "no stream");
    let (_, conn) = FakeHost::conn(GET);
    let event_stream = [("content-type", "text/event-stream")];
    conn.respond(200, fields(&event_stream)).unwrap();
    conn.close_stream("stop");
    assert_eq!(conn.phase(), Phase::Closed, "a stream as a response");
    assert!(!conn.is_cut(), "and a whole one");
    let (_, conn) = FakeHost::conn(GET);
    conn.close_stream("stop");
    conn.respond(200, fields(&event_stream)).unwrap();
    assert_eq!(conn.phase(), Phase::Closed, "begun too late");
}

#[test]
fn only_a_stop_shortens_patience() {
    let (_, conn) = FakeHost::conn(BARE);
    let usual = Duration::from_secs(30);
    conn.close(None);
    assert_eq!(conn.patience(usual), usual);
    conn.shut_down("x".into());
    assert_eq!(conn.patience(usual), limits::STOP_PATIENCE);
    let short = Duration::from_millis(10);
    assert_eq!(conn.patience(short), short);
}

#[test]
fn whoever_is_closed_hurries_once_when_its_place_is_wanted() {
    let (_, conn) = FakeHost::conn(BARE);
    conn.start(200, []).unwrap();
    let sink = Arc::<Taking>::default();
    conn.attach(sink.clone());
    let attended = || sink.attended.swap(0, Ordering::Relaxed);
    let usual = Duration::from_secs(30);
    conn.hurry();
    assert_eq!((attended(), conn.patience(usual)), (0, usual), "in use");
    conn.close(None);
    attended();
    conn.hurry();
    assert_eq!(conn.patience(usual), limits::STOP_PATIENCE);
    assert_eq!(attended(), 1, "its task looks again");
    conn.hurry();
    assert_eq!(attended(), 0);
}

#[test]
fn freed_a_queue_is_dropped_and_others_are_sent() {
    let (host, conn) = FakeHost::conn(PULLED);
    send(&conn, "a").unwrap();
    host.outputs();
    conn.release();
    assert_eq!((conn.buffered(), host.outputs()), (0, 0));
    assert_eq!(conn.reason().as_deref(), Some("app_closed"));
    assert_eq!(host.told(), [Report::Ended]);
    let (host, conn) = FakeHost::conn(BARE);
    send(&conn, "a").unwrap();
    conn.release();
    assert_eq!(conn.buffered(), 9);
    assert_eq!(conn.reason().as_deref(), Some("app_closed"));
    assert_eq!(host.told(), []);
    let conn = Conn::detached();
    conn.admit().unwrap();
    conn.release();
    assert_eq!(conn.phase(), Phase::Closed);
}

/// A hub's subscription.
struct Watching(AtomicBool, AtomicUsize);

impl Watch for Watching {
    fn marked(&self, _: bool) {}
    fn catch_up(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    fn closed(&self) {}
}

#[test]
fn handed_over_to_a_hub_a_stream_goes_on() {
    let (_, conn) = FakeHost::conn(BARE);
    assert!(!conn.may_be_handed_over(), "not begun");
    conn.start(200, []).unwrap();
    assert!(!conn.may_be_handed_over(), "no hub");
    conn.close(None);
    assert!(conn.may_be_handed_over(), "over anyway");
    let detached = Conn::detached();
    detached.admit().unwrap();
    assert!(!detached.may_be_handed_over());
    for (framing, over, goes_on) in [
        (BARE, false, true),
        (BARE, true, false),
        (PULLED, false, false),
    ] {
        let (_, conn) = FakeHost::conn(framing);
        conn.start(200, []).unwrap();
        let watching = Arc::new(Watching(AtomicBool::new(over), AtomicUsize::new(0)));
        let weak: Weak<dyn Watch> = Arc::downgrade(&watching) as _;
        conn.watch(weak).unwrap();
        assert_eq!(conn.may_be_handed_over(), goes_on);
        if !framing.pull {
            conn.hand_over();
            assert_eq!(conn.phase() == Phase::Started, goes_on);
        }
    }
}

#[test]
fn one_subscription_at_a_time_that_is_asked_before_each_send() {
    let watching = |over| Arc::new(Watching(AtomicBool::new(over), AtomicUsize::new(0)));
    let weak = |w: &Arc<Watching>| Arc::downgrade(w) as Weak<dyn Watch>;
    let (_, conn) = FakeHost::conn(BARE);
    let (first, second) = (watching(false), watching(false));
    conn.watch(weak(&first)).unwrap();
    assert_eq!(conn.watch(weak(&second)), Err(Error::Subscribed));
    send(&conn, "a").unwrap();
    conn.comment("b").unwrap();
    assert_eq!(first.1.load(Ordering::Relaxed), 2);
    conn.unwatch(Arc::as_ptr(&second));
    assert_eq!(conn.watch(weak(&second)), Err(Error::Subscribed));
    conn.unwatch(Arc::as_ptr(&first));
    conn.watch(weak(&second)).unwrap();
    second.0.store(true, Ordering::Relaxed);
    let third = watching(false);
    conn.watch(weak(&third)).unwrap();
    conn.close(None);
    assert_eq!(third.1.load(Ordering::Relaxed), 1);
    assert_eq!(conn.watch(weak(&first)), Err(Error::Closed));
    let (_, conn) = FakeHost::conn(GET);
    conn.respond(200, []).unwrap();
    assert_eq!(conn.watch(weak(&first)), Err(Error::Declined));
}

// ---- output

#[test]
fn what_is_pulled_comes_once_and_the_end_is_told() {
    let (host, conn) = FakeHost::conn(PULLED);
    assert_eq!(pull(&conn, 10).as_deref(), Some(""));
    send(&conn, "a").unwrap();
    send(&conn, "b").unwrap();
    assert_eq!(host.outputs(), 1, "once until it is pulled");
    assert_eq!(pull(&conn, 4).as_deref(), Some("data"));
    send(&conn, "c").unwrap();
    assert_eq!(host.outputs(), 0, "something is left anyway");
    assert_eq!(
        pull(&conn, 100).as_deref(),
        Some(": a\n\ndata: b\n\ndata: c\n\n")
    );
    send(&conn, "d").unwrap();
    assert_eq!(host.outputs(), 1);
    conn.close(None);
    assert_eq!(host.told(), []);
    assert_eq!(pull(&conn, 9).as_deref(), Some("data: d\n\n"), "all of it");
    assert_eq!(host.told(), [Report::Ended]);
    assert_eq!(pull(&conn, 100), None);
    assert_eq!(conn.totals().1, 36);
}

#[test]
fn a_replay_is_counted_and_told_once_and_a_head_request_gets_none() {
    let chunk = Chunk::new(4, |b| b.put_slice(b": a\n"));
    let (host, conn) = FakeHost::conn(PULLED);
    conn.replay(&[&chunk, &chunk], 2).unwrap();
    assert_eq!(host.outputs(), 1);
    conn.replay(&[&chunk], 3).unwrap();
    assert_eq!(host.outputs(), 0);
    assert_eq!((conn.counters().events, conn.buffered()), (5, 12));
    let (_, conn) = FakeHost::conn(Framing { head: true, ..BARE });
    conn.replay(&[&chunk], 1).unwrap();
    assert_eq!(conn.phase(), Phase::Started);
    assert_eq!((conn.counters().events, conn.buffered()), (0, 0));
}

#[test]
fn a_delivery_is_told_of_once_where_output_is_pulled_and_drains_nothing() {
    let policy = Policy {
        full: Full::Disconnect,
        max_bytes: 100,
        max_events: 100,
    };
    let event = Event {
        data: Some("a"),
        ..Event::default()
    };
    for (framing, outputs) in [(PULLED, 1), (BARE, 0)] {
        let (host, conn) = FakeHost::conn(framing);
        conn.start(200, []).unwrap();
        host.outputs();
        let next = AtomicU64::new(1);
        for seq in [1, 2] {
            let entry = Entry::new(&"t".into(), seq, 0, None, false, None, &event);
            let batch = Batch::new(vec![Arc::new(entry)], 0);
            let taken = Published::Taken {
                delivered: 1,
                high: false,
                dropped: 0,
            };
            assert_eq!(conn.publish(&batch, &policy, &next), taken);
        }
        assert_eq!((conn.buffered(), host.outputs()), (18, outputs));
        assert_eq!(host.told(), []);
    }
}

/// A socket that is written to without asking.
struct Socket(UnixStream, AtomicUsize);

impl Sink for Socket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(slices)
    }
    fn fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }
    fn attend(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_delivery_goes_to_the_socket_at_once_and_what_it_does_not_take_waits() {
    let policy = Policy {
        full: Full::Disconnect,
        max_bytes: usize::MAX,
        max_events: 100,
    };
    let begun = || {
        let (_, conn) = FakeHost::conn(BARE);
        conn.start(200, []).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let socket = Arc::new(Socket(ours, AtomicUsize::new(0)));
        conn.attach(socket.clone());
        (conn, socket, theirs)
    };
    let next = AtomicU64::new(1);
    let publish = |conn: &Arc<Conn>, data: &str| {
        let event = Event {
            data: Some(data),
            ..Event::default()
        };
        let seq = next.load(Ordering::Relaxed);
        let entry = Entry::new(&"t".into(), seq, 0, None, false, None, &event);
        conn.publish(&Batch::new(vec![Arc::new(entry)], 0), &policy, &next)
    };
    let (conn, socket, mut theirs) = begun();
    let attended = || socket.1.load(Ordering::Relaxed);
    publish(&conn, "a");
    publish(&conn, "b");
    let mut got = [0; 18];
    theirs.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"data: a\n\ndata: b\n\n");
    assert_eq!((conn.totals().1, conn.writes(), attended()), (18, 2, 0));
    publish(&conn, &"x".repeat(4 << 20));
    let all = 18 + (4 << 20) + 8;
    assert!(conn.buffered() > 0 && conn.totals().1 > 18);
    assert_eq!(conn.totals().1 as usize + conn.buffered(), all);
    publish(&conn, "c");
    assert_eq!(conn.totals().1 as usize + conn.buffered(), all + 9);
    assert_eq!((conn.writes(), attended()), (3, 1), "it waits already");
    // One that takes nothing.
    let (conn, socket, _theirs) = begun();
    while (&socket.0).write(&[0; 1000]).is_ok() {}
    publish(&conn, "a");
    assert_eq!((conn.buffered(), conn.phase()), (9, Phase::Started));
    assert_eq!(socket.1.load(Ordering::Relaxed), 1);
    // One that has gone.
    let (conn, _socket, theirs) = begun();
    drop(theirs);
    assert_eq!(publish(&conn, "a"), Published::Closed);
    assert_eq!(conn.reason().as_deref(), Some("client_closed"));
}

/// Takes so many bytes, and then would block.
struct Narrow(AtomicUsize);

impl Sink for Narrow {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = slices.iter().map(|s| s.len()).sum();
        let n = self.0.load(Ordering::Relaxed).min(all);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.fetch_sub(n, Ordering::Relaxed);
        Ok(n)
    }
    fn attend(&self) {}
}

#[test]
fn content_is_counted_wherever_a_write_ends_within_several_pieces() {
    let chunk = Chunk::new(9, |b| b.put_slice(b"data: a\n\n"));
    for framing in [BARE, GET] {
        let begun = || {
            let (_, conn) = FakeHost::conn(framing);
            conn.start(200, []).unwrap();
            conn.replay(&[&chunk], 1).unwrap();
            send(&conn, "b").unwrap();
            conn.replay(&[&chunk], 1).unwrap();
            conn
        };
        // Of a chunk's bytes, 3 are its size and 2 the end of a line.
        let frame = match framing.wire.is_chunked() {
            true => [&[0; 3][..], &[1; 9], &[0; 2]].concat(),
            false => vec![1; 9],
        };
        let all = begun().buffered();
        let head = vec![0; all - 3 * frame.len()];
        let content: Vec<u64> = [head, frame.repeat(3)].concat();
        for cut in 0..=all {
            let conn = begun();
            let sink = Arc::new(Narrow(AtomicUsize::new(cut)));
            conn.attach(sink.clone());
            assert_eq!(conn.buffered(), all - cut);
            assert_eq!(conn.totals().1, content[..cut].iter().sum::<u64>(), "{cut}");
            sink.0.store(all, Ordering::Relaxed);
            conn.flush();
            assert_eq!((conn.buffered(), conn.totals().1), (0, 27), "{cut}");
        }
    }
}

#[test]
fn a_start_is_output_where_it_is_pulled_and_something_stands_before_it() {
    let pulled = Framing { pull: true, ..GET };
    for (framing, outputs) in [(pulled, 1), (PULLED, 0), (GET, 0)] {
        let (host, conn) = FakeHost::conn(framing);
        conn.start(200, []).unwrap();
        assert_eq!(host.outputs(), outputs);
        conn.start(200, []).unwrap();
        assert_eq!(host.outputs(), 0);
    }
}

#[test]
fn a_flush_of_what_is_pulled_tells_of_news_alone_and_once() {
    let (host, conn) = FakeHost::conn(PULLED);
    conn.start(200, []).unwrap();
    conn.flush();
    assert_eq!(host.outputs(), 0, "neither output nor an end");
    send(&conn, "x").unwrap();
    conn.flush();
    assert_eq!(host.outputs(), 1);
    assert_eq!(pull(&conn, 99).as_deref(), Some("data: x\n\n"));
    conn.flush();
    assert_eq!(host.outputs(), 0);
    conn.close(None);
    conn.flush();
    assert_eq!(host.outputs(), 1, "its end");
    assert_eq!(pull(&conn, 99), None);
    conn.flush();
    assert_eq!(host.outputs(), 0);
}

#[test]
fn a_large_send_is_written_by_its_sender_and_a_head_request_has_none() {
    for (size, outputs) in [(1, 1), (limits::FLUSH_BYTES, 0)] {
        let (host, conn) = FakeHost::conn(BARE);
        conn.attach(Arc::<Taking>::default());
        send(&conn, &"x".repeat(size)).unwrap();
        assert_eq!((conn.buffered(), host.outputs()), (0, outputs));
    }
    let (_, conn) = FakeHost::conn(Framing { head: true, ..BARE });
    send(&conn, "x").unwrap();
    assert_eq!(conn.buffered(), 0);
}

#[test]
fn a_pull_takes_as_much_as_it_says_of_several_pieces() {
    let (_, conn) = FakeHost::conn(PULLED);
    let chunk = Chunk::new(100, |b| b.put_bytes(b'x', 100));
    conn.replay(&[&chunk, &chunk], 2).unwrap();
    assert_eq!(pull(&conn, 150), Some("x".repeat(150)));
    assert_eq!(pull(&conn, 150), Some("x".repeat(50)));
}

#[test]
fn a_queue_that_fills_is_high_then_drains_then_refuses() {
    let (host, conn) = FakeHost::conn(PULLED);
    assert!(!send(&conn, &"x".repeat(HIGH_WATER_BYTES - 9)).unwrap());
    assert!(send(&conn, "y").unwrap());
    assert!(conn.is_high());
    pull(&conn, HIGH_WATER_BYTES - 10_000);
    assert!(!conn.is_high());
    assert_eq!(host.told(), [Report::Drained]);
    assert!(send(&conn, &"x".repeat(2 * QUEUE_BYTES)).unwrap());
    assert_eq!(send(&conn, "z"), Ok(true), "once after a drain");
    assert_eq!(send(&conn, "z"), Err(Error::QueueOverflow));
    let counters = conn.counters();
    assert_eq!((counters.events, counters.refused), (4, 1));
}

#[test]
fn marks_are_checked_and_kept() {
    let marks = Marks {
        low: 1,
        high: 20,
        limit: 30,
    };
    let (_, conn) = FakeHost::conn(PULLED);
    conn.set_marks(marks).unwrap();
    assert_eq!(conn.marks(), marks);
    send(&conn, "0123456789abc").unwrap();
    assert!(conn.is_high());
    assert_eq!(Conn::detached().set_marks(marks), Err(Error::NotHosted));
}

#[test]
fn a_drain_that_is_told_is_not_told_again_before_it_was_read() {
    let (host, conn) = FakeHost::conn(PULLED);
    let fill = || {
        send(&conn, &"x".repeat(HIGH_WATER_BYTES)).unwrap();
        pull(&conn, usize::MAX);
    };
    fill();
    assert!(conn.disconnect("x".into()));
    assert_eq!(host.told(), [Report::Drained, Report::Closed]);
}

// ---- ordinary responses

#[test]
fn a_head_waits_for_the_first_of_the_body() {
    let (_, conn) = FakeHost::conn(GET);
    let (none, woken) = poll(|cx| conn.poll_decision(cx));
    assert!(none.is_pending());
    let given = [("x-a", "1"), ("transfer-encoding", "gzip")];
    conn.respond(201, fields(&given)).unwrap();
    assert_eq!(woken.times(), 1);
    assert_eq!(decision(&conn), "none");
    assert_eq!(conn.body(b"ab", true).map_err(|f| f.error), Ok(false));
    assert_eq!(decision(&conn), "201 x-a");
    assert_eq!(conn.body_left(), None);
    assert_eq!(next_body(&conn), some("ab"));
    let (none, woken) = poll(|cx| conn.poll_body(cx));
    assert!(none.is_pending());
    assert!(!conn.is_answered() && conn.is_cut());
    conn.body(b"cd", false).unwrap();
    assert_eq!(woken.times(), 1);
    assert_eq!(conn.body_left(), Some(2));
    assert!(!conn.is_answered());
    assert_eq!(next_body(&conn), some("cd"));
    assert_eq!(next_body(&conn), Poll::Ready(None));
    assert_eq!(conn.body_left(), Some(0));
    assert!(conn.is_answered() && !conn.is_cut());
    assert_eq!(
        conn.body(b"", false).map_err(|f| f.error),
        Err(Error::NoResponse)
    );
}

#[test]
fn a_promised_length_is_kept() {
    let length = [("content-length", "3")];
    let body = |parts: &[(&[u8], bool)]| {
        let (_, conn) = FakeHost::conn(GET);
        conn.respond(200, fields(&length)).unwrap();
        let mut last = Ok(false);
        for (bytes, more) in parts {
            last = conn.body(bytes, *more);
        }
        (conn, last.map(|_| ()).map_err(|f| f.to_string()))
    };
    assert!(body(&[(b"abc", false)]).1.is_ok());
    assert!(body(&[(b"ab", true), (b"c", false)]).1.is_ok());
    assert!(body(&[(b"abc", true), (b"", false)]).1.is_ok());
    let too_much = body(&[(b"abcd", false)]).1.unwrap_err();
    assert!(
        too_much.ends_with("it is 3, the body has 4 bytes"),
        "{too_much}"
    );
    assert!(body(&[(b"ab", false)]).1.is_err());
    assert!(body(&[(b"ab", true), (b"cd", true)]).1.is_err());
    let (conn, _) = body(&[(b"abc", true)]);
    assert_eq!(next_body(&conn), some("abc"));
    assert!(conn.is_answered(), "counted: all is there");
    for bad in [&["3", "3"][..], &["x"], &["-1"], &["+1"], &[""]] {
        let (_, conn) = FakeHost::conn(GET);
        let list: Vec<_> = bad.iter().map(|v| ("content-length", *v)).collect();
        assert_eq!(conn.respond(200, fields(&list)), Err(Error::ContentLength));
        assert_eq!(conn.phase(), Phase::Pending);
    }
}

#[test]
fn a_response_without_a_body_has_none_whatever_is_given() {
    for (framing, status, length) in [
        (GET, 204, false),
        (GET, 205, false),
        (GET, 304, true),
        (HEAD, 200, true),
    ] {
        let (_, conn) = FakeHost::conn(framing);
        let list = [("content-length", "3")];
        conn.respond(status, fields(&list)).unwrap();
        conn.body(b"too much", false).unwrap();
        let head = match length {
            true => format!("{status} content-length"),
            false => format!("{status} "),
        };
        assert_eq!(decision(&conn), head);
        assert_eq!(next_body(&conn), Poll::Ready(None), "{status}");
        assert!(conn.is_answered());
    }
    let (_, conn) = FakeHost::conn(GET);
    for bad in [0, 99, 100, 199, 600, 1000] {
        assert_eq!(conn.respond(bad, []), Err(Error::Status), "{bad}");
        assert_eq!(conn.start(bad, []), Err(Error::Status), "{bad}");
    }
    for bodiless in [204, 205, 304] {
        assert_eq!(conn.start(bodiless, []), Err(Error::BodilessStatus));
    }
}

#[test]
fn what_stands_in_a_response_is_checked() {
    let (_, conn) = FakeHost::conn(GET);
    let respond = |name, value| conn.respond(200, fields(&[(name, value)]));
    assert_eq!(respond("a b", "x"), Err(Error::HeaderName));
    assert_eq!(respond("a", "x\ny"), Err(Error::HeaderValue));
    assert_eq!(Conn::detached().respond(200, []), Err(Error::NotHosted));
    let (_, fixed) = FakeHost::conn(Framing { fixed: true, ..GET });
    assert_eq!(fixed.respond(200, []), Err(Error::AlreadyStarted));
    assert!(!fixed.refuse(StatusCode::BAD_REQUEST, HeaderMap::new(), b"x", "x".into()));
    conn.start(200, []).unwrap();
    assert_eq!(conn.respond(200, []), Err(Error::AlreadyStarted));
}

#[test]
fn an_event_stream_as_a_response_has_its_head_at_once_and_a_whole_end() {
    for (kind, stream) in [
        ("text/event-stream", true),
        (" Text/Event-Stream ; charset=utf-8", true),
        ("text/event-streams", false),
        ("text/plain; text/event-stream", false),
    ] {
        let (_, conn) = FakeHost::conn(GET);
        conn.respond(200, fields(&[("content-type", kind.trim())]))
            .unwrap();
        assert_eq!(conn.streams(), stream, "{kind}");
        assert_eq!(decision(&conn) == "200 content-type", stream);
    }
    let (_, conn) = FakeHost::conn(GET);
    let kind = [("content-type", "text/event-stream")];
    conn.respond(200, fields(&kind)).unwrap();
    conn.body(b"all", false).unwrap();
    assert_eq!(conn.body_left(), None, "framed the same as any other");
    assert_eq!(next_body(&conn), some("all"));
    assert_eq!(conn.body_left(), Some(0));
    for (length, whole) in [("2", true), ("3", false)] {
        let (_, conn) = FakeHost::conn(GET);
        let list = [
            ("content-type", "text/event-stream"),
            ("content-length", length),
        ];
        conn.respond(200, fields(&list)).unwrap();
        conn.body(b"ab", true).unwrap();
        conn.shut_down("stop".into());
        assert_eq!(!conn.is_cut(), whole, "a length that was promised");
    }
    let (_, conn) = FakeHost::conn(GET);
    conn.respond(204, fields(&kind)).unwrap();
    assert!(!conn.streams(), "204 has no body");
}

#[test]
fn a_response_that_is_broken_off_is_cut() {
    for (end, reason) in [
        (Conn::abort as fn(&Arc<Conn>, Reason) -> bool, "x"),
        (Conn::shut_down, "x"),
    ] {
        let (_, conn) = FakeHost::conn(GET);
        conn.respond(200, []).unwrap();
        conn.body(b"part", true).unwrap();
        end(&conn, reason.into());
        assert_eq!(next_body(&conn), some("part"), "what was given goes out");
        assert_eq!(next_body(&conn), Poll::Ready(None));
        assert!(conn.is_cut());
        assert_eq!(
            conn.body(b"", false).map_err(|f| f.error),
            Err(Error::Closed)
        );
    }
}

#[test]
fn a_response_whose_rest_is_dropped_is_not_taken_for_the_whole() {
    let given = || {
        let (_, conn) = FakeHost::conn(GET);
        conn.respond(200, []).unwrap();
        conn.body(&[b'x'; 100_000], false).unwrap();
        conn
    };
    let conn = given();
    conn.disconnect("queue_overflow".into());
    assert_eq!(decision(&conn), "gone", "not an empty one");
    let conn = given();
    assert_eq!(decision(&conn), "200 ");
    assert!(next_body(&conn).is_ready());
    conn.disconnect("queue_overflow".into());
    assert_eq!(next_body(&conn), Poll::Ready(None));
    assert!(conn.is_cut() && !conn.is_answered());
    assert_eq!(conn.body_left(), None);
    let conn = given();
    assert_eq!(decision(&conn), "200 ");
    while conn.buffered() > 0 {
        assert!(next_body(&conn).is_ready());
    }
    conn.disconnect("client_closed".into());
    assert!(!conn.is_cut(), "the transport has it all");
}

/// An ordinary response with that much of its body given.
fn given(framing: Framing, list: &[(&str, &str)], body: Option<(&[u8], bool)>) -> Arc<Conn> {
    let (_, conn) = FakeHost::conn(framing);
    conn.respond(200, fields(list)).unwrap();
    if let Some((bytes, more)) = body {
        conn.body(bytes, more).unwrap();
    }
    conn
}

const FOUR: (&str, &str) = ("content-length", "4");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream");

#[test]
fn what_was_closed_when_all_was_given_ends_for_the_clients_reason() {
    let part = Some((&b"0123"[..], true));
    let whole = Some((&b"0123"[..], false));
    for (framing, list, body, reason) in [
        (GET, &[][..], whole, "gone"),
        (GET, &[FOUR], part, "gone"),
        (GET, &[], part, "app"),
        (GET, &[FOUR], Some((&b"012"[..], true)), "app"),
        (HEAD, &[], part, "gone"),
        (HEAD, &[], None, "app"),
        (GET, &[EVENTS], whole, "gone"),
        (GET, &[EVENTS, FOUR], part, "app"),
    ] {
        let conn = given(framing, list, body);
        conn.close(Some("app".into()));
        conn.disconnect("gone".into());
        let case = (framing.head, list, body);
        assert_eq!(conn.reason().as_deref(), Some(reason), "{case:?}");
    }
}

#[test]
fn a_response_that_went_out_in_whole_is_logged_without_a_reason() {
    let whole = Some((&b"0123"[..], false));
    for (list, written, reason) in [
        (&[][..], true, None),
        (&[], false, Some("gone")),
        (&[EVENTS], true, Some("gone")),
    ] {
        let conn = given(GET, list, whole);
        assert_eq!(next_body(&conn), some("0123"));
        conn.written(written, true);
        conn.disconnect("gone".into());
        assert_eq!(conn.logged_reason().as_deref(), reason, "{list:?}");
    }
    let conn = given(GET, &[EVENTS], whole);
    conn.close(Some("app".into()));
    conn.written(true, true);
    assert_eq!(conn.logged_reason(), None, "it was closed in vain");
    let (_, conn) = FakeHost::conn(GET);
    conn.refuse(
        StatusCode::NOT_FOUND,
        HeaderMap::new(),
        b"why",
        "because".into(),
    );
    conn.written(true, true);
    assert_eq!(conn.logged_reason().as_deref(), Some("because"));
}

#[test]
fn a_stream_whose_head_nobody_got_has_no_status() {
    for (framing, status) in [(GET, 0), (BARE, 200)] {
        let (_, conn) = FakeHost::conn(framing);
        send(&conn, "x").unwrap();
        assert!(conn.buffered() > 0);
        conn.disconnect("gone".into());
        assert_eq!(conn.totals().0, status);
    }
}

#[test]
fn a_large_send_that_nobody_takes_is_told_to_be_high() {
    let (_, conn) = FakeHost::conn(BARE);
    assert_eq!(send(&conn, &"x".repeat(limits::HIGH_WATER_BYTES)), Ok(true));
}

#[test]
fn what_was_sent_is_what_the_kernel_took() {
    let (_, conn) = FakeHost::conn(GET);
    conn.respond(200, []).unwrap();
    conn.body(b"0123456789", false).unwrap();
    assert_eq!(next_body(&conn), some("0123456789"));
    conn.wrote(4);
    conn.wrote(3);
    conn.written(false, true);
    assert_eq!(conn.totals(), (200, 7));
    conn.wrote(100);
    conn.written(false, true);
    assert_eq!(conn.totals(), (200, 10), "sizes of chunks are none of it");
    conn.written(true, true);
    assert_eq!(conn.totals(), (200, 10));
    conn.written(false, false);
    assert_eq!(conn.totals().0, 0, "not even the head");
}

#[test]
fn a_refusal_is_an_answer_where_none_was_chosen() {
    let refuse = |conn: &Conn| {
        conn.refuse(
            StatusCode::BAD_REQUEST,
            HeaderMap::new(),
            b"why",
            "because".into(),
        )
    };
    let (host, conn) = FakeHost::conn(GET);
    assert!(refuse(&conn));
    assert!(!refuse(&conn));
    assert_eq!(host.told(), [Report::Closed]);
    assert_eq!(conn.reason().as_deref(), Some("because"));
    assert_eq!(decision(&conn), "400 ");
    assert_eq!(next_body(&conn), some("why"));
    assert!(!conn.is_cut());
    let (_, conn) = FakeHost::conn(HEAD);
    assert!(refuse(&conn));
    assert_eq!(next_body(&conn), Poll::Ready(None));
    let (_, conn) = FakeHost::conn(GET);
    conn.start(200, []).unwrap();
    assert!(!refuse(&conn));
    conn.answered(StatusCode::NOT_FOUND, 7);
    assert_eq!(conn.totals(), (404, 7));
}

// ---- the request body

fn read(conn: &Conn, max: usize) -> Result<Option<(String, bool)>> {
    let read = conn.read_body(max)?;
    Ok(read.map(|(bytes, more)| (String::from_utf8(bytes.to_vec()).unwrap(), more)))
}

#[test]
fn a_body_is_told_once_until_it_was_read() {
    let (host, conn) = FakeHost::conn(GET);
    assert_eq!(
        read(&conn, 9),
        Ok(Some((String::new(), false))),
        "there is none"
    );
    conn.expect_body();
    assert_eq!(read(&conn, 9), Ok(None));
    assert!(conn.push_body(b"abc", 10));
    assert!(conn.push_body(b"def", 10));
    assert_eq!(host.told(), [Report::Body]);
    assert_eq!(read(&conn, 4), Ok(Some(("abcd".into(), true))));
    assert_eq!(read(&conn, 4), Ok(Some(("ef".into(), true))));
    assert!(conn.push_body(b"g", 10));
    assert_eq!(host.told(), [], "it has not found nothing yet");
    assert_eq!(read(&conn, 4), Ok(Some(("g".into(), true))));
    assert_eq!(read(&conn, 4), Ok(None));
    conn.finish_body();
    assert_eq!(host.told(), [Report::Body]);
    assert_eq!(read(&conn, 4), Ok(Some((String::new(), false))));
    assert_eq!(read(&conn, 4), Ok(Some((String::new(), false))));
}

#[test]
fn the_last_piece_says_that_it_is() {
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    assert!(conn.push_body(b"abc", 3));
    conn.finish_body();
    assert_eq!(read(&conn, 2), Ok(Some(("ab".into(), true))));
    assert_eq!(read(&conn, 2), Ok(Some(("c".into(), false))));
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    assert!(conn.push_body(b"abc", 3));
    assert!(!conn.push_body(b"d", 3), "more than it may have");
    conn.break_body();
    assert_eq!(read(&conn, 9), Ok(Some(("abc".into(), true))));
    assert_eq!(read(&conn, 9), Err(Error::BodyIncomplete));
    assert_eq!(read(&conn, 9), Err(Error::BodyIncomplete));
}

#[test]
fn a_body_that_nobody_reads_is_a_window_until_the_choice() {
    let room = |conn: &Conn| poll(|cx| conn.poll_body_room(cx));
    let full = |conn: &Conn| {
        conn.expect_body();
        assert!(conn.push_body(&vec![0; BODY_WINDOW_BYTES - 1], usize::MAX));
        assert_eq!(room(conn).0, Poll::Ready(true));
        assert!(conn.push_body(b"x", usize::MAX));
        let (none, woken) = room(conn);
        assert_eq!(none, Poll::Pending);
        woken
    };
    let (_, conn) = FakeHost::conn(GET);
    let woken = full(&conn);
    conn.read_body(1).unwrap();
    assert_eq!((woken.times(), room(&conn).0), (1, Poll::Ready(true)));
    for choose in [(|c| c.respond(200, []).unwrap()) as fn(&Arc<Conn>), |c| {
        assert!(c.start(200, []).unwrap());
    }] {
        let (_, conn) = FakeHost::conn(GET);
        let woken = full(&conn);
        choose(&conn);
        assert_eq!((woken.times(), room(&conn).0), (1, Poll::Ready(true)));
    }
    let (_, conn) = FakeHost::conn(GET);
    let woken = full(&conn);
    conn.disconnect("x".into());
    assert_eq!((woken.times(), room(&conn).0), (1, Poll::Ready(false)));
    assert!(conn.push_body(b"y", usize::MAX));
    let kept = conn.read_body(usize::MAX).unwrap().unwrap().0.len();
    assert_eq!(kept, BODY_WINDOW_BYTES, "after the end nothing is kept");
}

#[test]
fn a_window_that_is_widened_is_one_more() {
    let (_, conn) = FakeHost::conn(GET);
    conn.widen_body();
    conn.expect_body();
    let window = vec![0; BODY_WINDOW_BYTES];
    for _ in 0..3 {
        assert!(conn.push_body(&window, usize::MAX));
        assert!(poll(|cx| conn.poll_body_room(cx)).0.is_pending());
        conn.widen_body();
        assert!(poll(|cx| conn.poll_body_room(cx)).0.is_ready());
    }
}

#[test]
fn a_stream_waits_for_its_body_and_a_response_does_not() {
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    conn.start(200, []).unwrap();
    let (none, woken) = poll(|cx| conn.poll_decision(cx));
    assert!(none.is_pending());
    conn.finish_body();
    assert_eq!(woken.times(), 1);
    assert_eq!(decision(&conn), "stream");
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    conn.respond(200, []).unwrap();
    conn.body(b"", false).unwrap();
    assert_eq!(decision(&conn), "200 ");
}

#[test]
fn a_spoilt_body_ends_a_stream_and_leaves_an_answer() {
    let fault = Fault {
        why: "bad",
        reason: Why::ProtocolError,
    };
    let (host, conn) = FakeHost::conn(GET);
    conn.expect_body();
    conn.start(200, []).unwrap();
    conn.spoil_body(fault);
    assert_eq!(conn.reason().as_deref(), Some("protocol_error"));
    assert_eq!(host.told(), [Report::Body, Report::Closed]);
    assert_eq!(decision(&conn), "gone");
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    conn.spoil_body(fault);
    assert_eq!(conn.fault().unwrap().why, "bad");
    assert_eq!(conn.phase(), Phase::Pending);
    assert_eq!(
        conn.reason().as_deref(),
        Some("protocol_error"),
        "if no answer comes"
    );
    assert_eq!(conn.logged_reason(), conn.reason());
    conn.respond(422, []).unwrap();
    conn.body(b"", false).unwrap();
    assert_eq!(decision(&conn), "422 ");
    assert_eq!((conn.reason(), conn.logged_reason()), (None, None));
    conn.answered(StatusCode::BAD_REQUEST, 3);
    assert_eq!(conn.logged_reason().as_deref(), Some("protocol_error"));
    assert_eq!(conn.reason(), None);
    let (_, conn) = FakeHost::conn(GET);
    conn.expect_body();
    conn.spoil_body(fault);
    conn.start(200, []).unwrap();
    assert_eq!(
        conn.reason().as_deref(),
        Some("protocol_error"),
        "begun too late"
    );
    let (_, conn) = FakeHost::conn(BARE);
    conn.expect_body();
    conn.spoil_body(fault);
    conn.close(Some("app_closed".into()));
    assert_eq!(conn.reason().as_deref(), Some("protocol_error"));
    assert_eq!(decision(&conn), "gone");
}

#[test]
fn an_error_says_who_it_was() {
    use io::ErrorKind::*;
    let reason = |kind: io::ErrorKind| reason_of(&kind.into(), Why::ReadError);
    for kind in [BrokenPipe, ConnectionReset, ConnectionAborted] {
        assert_eq!(reason(kind), "client_closed");
    }
    assert_eq!(reason(TimedOut), "client_timeout");
    assert_eq!(reason(OutOfMemory), "read_error");
}

#[test]
fn who_does_the_io_itself_is_told_nothing_and_asks_for_leave() {
    let conn = Conn::detached();
    assert_eq!(conn.admit(), Ok(true));
    assert_eq!(conn.admit(), Ok(false));
    assert_eq!(send(&conn, "x"), Err(Error::NotHosted));
    assert_eq!(conn.set_keepalive(1000, ""), Err(Error::NotHosted));
    assert!(conn.host().is_none());
    assert!(conn.pull(1, |_| ()).is_err());
    let (_, hosted) = FakeHost::conn(BARE);
    assert_eq!(hosted.pull(1, |_| ()), Err(Error::NotPulled));
    assert!(hosted.host().is_some());
    conn.set_handle(7);
    assert_eq!(conn.handle(), 7);
    conn.close(None);
    assert_eq!(conn.admit(), Err(Error::Closed));
}

#[test]
fn a_keepalive_is_due_an_interval_after_the_last_write() {
    let (host, conn) = FakeHost::conn(PULLED);
    conn.set_keepalive(10000, "hi").unwrap();
    assert_eq!(conn.keepalive_due(), None, "not before the start");
    host.set_now(1000);
    conn.start(200, []).unwrap();
    assert_eq!(conn.keepalive_due(), Some(11_000));
    host.set_now(5000);
    conn.send_keepalive();
    conn.send_keepalive();
    assert_eq!(host.outputs(), 1, "told, and once");
    assert_eq!(conn.keepalive_due(), Some(15_000));
    assert_eq!(
        pull(&conn, 100).as_deref(),
        Some(":hi\n\n"),
        "one is enough"
    );
    assert_eq!(conn.counters().comments, 1);
    send(&conn, "a").unwrap();
    host.set_now(7000);
    pull(&conn, 100);
    host.set_now(8000);
    pull(&conn, 100);
    assert_eq!(conn.keepalive_due(), Some(17_000), "from what was taken");
    conn.set_keepalive(0, "").unwrap();
    assert_eq!(conn.keepalive_due(), None);
    conn.send_keepalive();
    assert_eq!(pull(&conn, 100).as_deref(), Some(""));
    conn.close(None);
    assert_eq!(conn.set_keepalive(1000, ""), Err(Error::Closed));
    let (_, conn) = FakeHost::conn(GET);
    conn.respond(200, []).unwrap();
    assert_eq!(conn.set_keepalive(1000, ""), Err(Error::Declined));
}

#[test]
fn the_host_programs_number_costs_no_memory_and_stands_where_nothing_is_hot() {
    assert!(size_of::<Conn>() <= 384, "{}", size_of::<Conn>());
    assert!(std::mem::offset_of!(Conn, user) >= 64);
}
