use super::*;
use crate::conn::fake::FakeHost;
use crate::conn::{Framing, Report};
use crate::core::frame::Event;
use crate::core::limits::{HIGH_WATER_BYTES, LOW_WATER_BYTES};
use crate::net::scripted::{self, Peer};
use crate::wire::Wire;
use std::io::ErrorKind;
use tokio::task::JoinHandle;

const WRITE_TIMEOUT: u64 = 30;

struct Play {
    peer: Peer,
    host: Arc<FakeHost>,
    conn: Arc<Conn>,
    place: std::sync::Weak<()>,
    task: JoinHandle<()>,
}

/// How a client ends.
type Ends<'a> = &'a dyn Fn(&Peer);

/// A stream on a transport that takes so many bytes.
async fn play(room: usize) -> Play {
    let events = Framing {
        wire: Wire::Events,
        ..Framing::default()
    };
    play_framed(events, room).await
}

async fn play_framed(framing: Framing, room: usize) -> Play {
    let (host, conn) = FakeHost::conn(framing);
    if framing.head {
        conn.start(200, []).unwrap();
    }
    let (peer, ours) = scripted::pair();
    peer.takes(room);
    let place = Arc::new(());
    let weak = Arc::downgrade(&place);
    conn.hold(place);
    let patience = Duration::from_secs(WRITE_TIMEOUT);
    let task = tokio::spawn(run(ours, conn.clone(), patience));
    pass(0.0).await;
    Play {
        peer,
        host,
        conn,
        place: weak,
        task,
    }
}

/// Time goes by; at the least, everybody does what is to be done now.
async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds + 0.001)).await;
}

impl Play {
    fn send(&self, data: &str) {
        self.conn
            .send(&Event {
                data: Some(data),
                ..Event::default()
            })
            .unwrap();
    }

    /// 10 bytes that the client will not take, and nothing told of before.
    async fn stalls(&self) {
        self.send("ab");
        pass(0.0).await;
        assert_eq!(self.conn.buffered(), 10);
        self.host.told();
    }

    fn is_over(&self) -> bool {
        let over = self.task.is_finished();
        assert_eq!(over, self.peer.is_dropped(), "the transport goes with it");
        assert_eq!(over, self.place.strong_count() == 0, "so does the place");
        over
    }

    /// Over now, told with that reason.
    async fn is_over_now(&self, reason: &str) {
        pass(0.0).await;
        assert!(self.is_over());
        assert_eq!(self.conn.reason().as_deref(), Some(reason));
        assert_eq!(self.host.told(), [Report::Closed, Report::Ended]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_out_as_the_client_takes_it() {
    let p = play(0).await;
    for data in ["a", "b", "c"] {
        p.send(data);
    }
    let mut all = String::new();
    for step in [1, 8, 9, 2, 100] {
        p.peer.takes(step);
        pass(0.0).await;
        let got = p.peer.got();
        assert!(got.len() <= step);
        all += &got;
        assert_eq!(p.conn.buffered(), 27 - all.len());
        assert_eq!(p.conn.totals().1, all.len() as u64);
    }
    assert_eq!(all, "data: a\n\ndata: b\n\ndata: c\n\n");
    assert_eq!(p.host.told(), []);
    assert!(!p.is_over());
}

#[tokio::test(start_paused = true)]
async fn small_writes_and_interruptions_lose_nothing() {
    let p = play(1000).await;
    p.peer.takes_at_once(4);
    p.peer.interrupts(2);
    p.send("abcdef");
    pass(0.0).await;
    assert_eq!(p.peer.got(), "data: abcdef\n\n");
    assert_eq!(p.peer.writes(), 2 + 4);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_does_nothing() {
    let p = play(1000).await;
    p.send("a");
    p.peer.got();
    let writes = p.peer.writes();
    pass(100_000.0).await;
    assert_eq!((p.peer.writes(), p.peer.got().as_str()), (writes, ""));
    assert!(!p.is_over());
    p.send("b");
    assert_eq!(p.peer.got(), "data: b\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_dropped_in_time() {
    let p = play(0).await;
    p.stalls().await;
    pass(WRITE_TIMEOUT as f64 - 0.1).await;
    assert!(!p.is_over());
    pass(0.1).await;
    p.is_over_now("write_timeout").await;
    assert!(p.conn.is_flushed(), "what it had waiting is dropped");
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_anew_with_each_byte() {
    let p = play(0).await;
    p.stalls().await;
    for byte in "data: ab".chars() {
        pass(WRITE_TIMEOUT as f64 - 1.0).await;
        p.peer.takes(1);
        pass(0.0).await;
        assert_eq!(p.peer.got(), byte.to_string());
    }
    assert!(!p.is_over());
    pass(WRITE_TIMEOUT as f64).await;
    p.is_over_now("write_timeout").await;
}

#[tokio::test(start_paused = true)]
async fn more_that_is_queued_gives_no_more_time() {
    let p = play(0).await;
    p.stalls().await;
    for _ in 0..WRITE_TIMEOUT - 1 {
        pass(1.0).await;
        p.send("more");
    }
    pass(1.0).await;
    p.is_over_now("write_timeout").await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_that_is_disconnected_ends_at_once() {
    let p = play(0).await;
    p.stalls().await;
    assert!(p.conn.disconnect("queue_overflow".into()));
    p.is_over_now("queue_overflow").await;
    assert_eq!(p.peer.shut(), None, "and nobody lingers");
}

#[tokio::test(start_paused = true)]
async fn so_does_one_that_had_been_closed_in_order() {
    let p = play(0).await;
    p.stalls().await;
    assert!(p.conn.close(Some("app_closed".into())));
    pass(1.0).await;
    assert!(!p.is_over(), "it is still to be sent");
    assert!(!p.conn.disconnect("client_closed".into()));
    pass(0.0).await;
    assert!(p.is_over());
    assert_eq!(p.conn.reason().as_deref(), Some("app_closed"));
    assert_eq!(p.host.told(), [Report::Ended]);
}

#[tokio::test(start_paused = true)]
async fn so_does_an_idle_one_and_one_that_lingers() {
    let idle = play(100).await;
    idle.send("a");
    idle.conn.disconnect("gone".into());
    idle.is_over_now("gone").await;
    let lingers = play(100).await;
    lingers.send("a");
    lingers.conn.close(None);
    pass(0.5).await;
    assert!(!lingers.is_over());
    lingers.conn.disconnect("gone".into());
    pass(0.0).await;
    assert!(lingers.is_over());
}

#[tokio::test(start_paused = true)]
async fn after_a_close_all_is_sent_and_the_client_may_end_first() {
    for client_ends in [true, false] {
        let p = play(0).await;
        p.stalls().await;
        p.conn.close(Some("app_closed".into()));
        pass(5.0).await;
        assert_eq!(p.host.told(), []);
        p.peer.takes(100);
        pass(0.0).await;
        assert_eq!(p.peer.got(), "data: ab\n\n");
        assert_eq!(p.host.told(), [Report::Ended], "a stop waits no longer");
        assert_eq!(p.peer.shut(), Some(Shutdown::Write));
        p.peer.says(b"something late");
        pass(1.0).await;
        assert_eq!(p.peer.unread(), 0, "what is unread would take it back");
        assert!(!p.is_over());
        match client_ends {
            true => p.peer.half_closes(),
            false => pass(LINGER_SECONDS as f64 - 1.0).await,
        }
        pass(0.0).await;
        assert!(p.is_over());
        assert_eq!(p.conn.reason().as_deref(), Some("app_closed"));
        assert_eq!(p.host.told(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_too_much_is_no_longer_lingered_for() {
    let p = play(100).await;
    p.send("a");
    p.conn.close(None);
    pass(0.0).await;
    p.peer.says(&vec![0; FORGOTTEN_BYTES + 1]);
    pass(0.0).await;
    assert!(p.is_over());
}

#[tokio::test(start_paused = true)]
async fn the_last_of_a_stream_in_chunks_is_the_empty_one() {
    let p = play_framed(Framing::default(), 1 << 20).await;
    p.send("a");
    p.conn.close(None);
    pass(0.0).await;
    let got = p.peer.got();
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "9\r\ndata: a\n\n\r\n0\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_client_is_seen_whatever_waits() {
    for (room, stalled) in [(0, true), (100, false)] {
        let fails = |kind| move |p: &Peer| p.fails(kind);
        let ended: [(Ends<'_>, &str); 5] = [
            (&Peer::half_closes, "client_closed"),
            (&fails(ErrorKind::ConnectionReset), "client_closed"),
            (&fails(ErrorKind::BrokenPipe), "client_closed"),
            (&fails(ErrorKind::TimedOut), "client_timeout"),
            (&Peer::runtime_ends, "server_shutdown"),
        ];
        for (ends, reason) in ended {
            let p = play(room).await;
            p.send("ab");
            pass(0.0).await;
            assert_eq!(p.conn.is_flushed(), !stalled);
            ends(&p.peer);
            p.is_over_now(reason).await;
            assert_eq!(p.peer.shut(), None, "nobody lingers");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_failure_has_a_reason_of_its_own() {
    let idle = play(100).await;
    idle.send("a");
    idle.peer.fails(ErrorKind::OutOfMemory);
    idle.is_over_now("read_error").await;
    // Found by the one who sends.
    let writes = play(100).await;
    writes.send("a");
    writes.peer.takes(100);
    pass(0.0).await;
    writes.peer.fails(ErrorKind::OutOfMemory);
    writes.send("b");
    writes.is_over_now("write_error").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_client_says_is_forgotten_up_to_a_limit() {
    for room in [0, 100] {
        let p = play(room).await;
        p.send("a");
        for part in [1, 2000, FORGOTTEN_BYTES - 2001] {
            p.peer.says(&vec![b'x'; part]);
            pass(0.0).await;
            assert_eq!(p.peer.unread(), 0);
            assert!(!p.is_over());
        }
        if room > 0 {
            // A stream may last for months.
            pass(FORGOTTEN_MS as f64 / 1000.0).await;
            p.peer.says(&vec![b'x'; FORGOTTEN_BYTES]);
            pass(0.0).await;
            assert!(!p.is_over());
        }
        p.peer.says(b"x");
        p.is_over_now("protocol_error").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_a_second_for_who_takes_nothing() {
    let p = play(0).await;
    p.stalls().await;
    pass(10.0).await;
    assert!(p.conn.shut_down("server_shutdown".into()));
    assert_eq!(p.host.told(), [Report::Closed]);
    pass(0.9).await;
    assert!(!p.is_over());
    pass(0.1).await;
    assert!(p.is_over());
    assert_eq!(p.conn.reason().as_deref(), Some("server_shutdown"));
    // One that the application has closed already, too.
    let p = play(0).await;
    p.stalls().await;
    p.conn.close(None);
    pass(0.0).await;
    assert!(!p.conn.shut_down("server_shutdown".into()));
    pass(1.0).await;
    assert!(p.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_drains_is_told_once() {
    let p = play(0).await;
    p.send(&"x".repeat(HIGH_WATER_BYTES));
    assert!(p.conn.is_high());
    p.peer.takes(HIGH_WATER_BYTES + 8 - LOW_WATER_BYTES - 1);
    pass(0.0).await;
    assert_eq!(p.host.told(), []);
    p.peer.takes(1);
    pass(0.0).await;
    assert_eq!(p.host.told(), [Report::Drained]);
    p.peer.takes(1 << 20);
    pass(0.0).await;
    assert_eq!(p.host.told(), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_before_is_written_at_once() {
    let (peer, ours) = scripted::pair();
    let (_, conn) = FakeHost::conn(Framing {
        wire: Wire::Events,
        ..Framing::default()
    });
    conn.send(&Event {
        data: Some("early"),
        ..Event::default()
    })
    .unwrap();
    peer.takes(100);
    conn.close(None);
    run(ours, conn, Duration::from_secs(1)).await;
    assert_eq!(peer.got(), "data: early\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_dropped_is_a_stop_and_one_that_panics_a_fault() {
    let p = play(0).await;
    p.stalls().await;
    p.task.abort();
    p.is_over_now("server_shutdown").await;
    let (host, conn) = FakeHost::conn(Framing::default());
    let guard = Ended(conn.clone());
    let panicked = std::thread::spawn(move || {
        let _guard = guard;
        panic!("on purpose")
    });
    assert!(panicked.join().is_err());
    assert_eq!(conn.reason().as_deref(), Some("server_error"));
    assert_eq!(host.told(), [Report::Closed, Report::Ended]);
}

#[tokio::test(start_paused = true)]
async fn a_head_request_is_answered_and_over() {
    let framing = Framing {
        head: true,
        ..Framing::default()
    };
    let p = play_framed(framing, 1000).await;
    assert!(p.peer.got().ends_with("\r\n\r\n"));
    assert_eq!(p.conn.reason().as_deref(), Some("app_closed"));
    assert_eq!(p.host.told(), [Report::Closed, Report::Ended]);
    assert!(
        !p.is_over(),
        "what the client still says takes nothing back"
    );
    p.peer.half_closes();
    pass(0.0).await;
    assert!(p.is_over());
}
