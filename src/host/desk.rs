//! The desk of a host: its connections, and what the host program is told.
//! The server has one, and so has the runtime that a host program opens for
//! transports of its own.

use super::alarm::Alarm;
use super::cut;
use super::mailbox::Mailbox;
use super::notices::Notices;
use super::record::{self, Kind};
use super::registry::Registry;
use crate::conn::{self, Conn, Framing, Host, Report};
use crate::core::account::Account;
use crate::core::counts::HostCounts;
use crate::core::error::{Error, Result};
use crate::core::level::Level;
use crate::core::limits;
use crate::core::reason::Why;
use crate::rt::{Flush, Sweep, now_ms, supervisor};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// See the module. All methods may be called from any thread.
pub struct Desk {
    mailbox: Arc<Mailbox>,
    notices: Arc<Notices>,
    registry: Arc<Registry>,
    read: Notify,
    flush: Arc<Flush>,
    sweep: Arc<Sweep>,
    alarm: Arc<Alarm>,
    #[cfg(feature = "client")]
    soon: Arc<Notify>,
    stopped: AtomicBool,
}

impl Desk {
    /// An empty one, whose connections' queues may take so many bytes, and whose
    /// host program wants to know so much.
    pub fn new(max_queued_bytes: usize, level: Level) -> std::io::Result<Arc<Self>> {
        let mailbox = Arc::new(Mailbox::new()?);
        Ok(Arc::new(Desk {
            notices: Notices::new(mailbox.clone(), level),
            mailbox,
            registry: Arc::new(Registry::new(max_queued_bytes)),
            read: Notify::new(),
            flush: Arc::default(),
            sweep: Arc::default(),
            alarm: Arc::default(),
            #[cfg(feature = "client")]
            soon: Arc::default(),
            stopped: AtomicBool::new(false),
        }))
    }

    /// Starts the tasks that every desk has.
    pub fn spawn(&self, runtime: &Runtime) {
        let (flush, sweep) = (self.flush.clone(), self.sweep.clone());
        let (mailbox, notices) = (self.mailbox.clone(), self.notices.clone());
        let registry = self.registry.clone();
        self.keep(runtime, "flush", move || flush.clone().run());
        self.keep(runtime, "keepalive", move || sweep.clone().run());
        self.keep(runtime, "cut", move || {
            cut::run(registry.clone(), notices.clone())
        });
        #[cfg(feature = "client")]
        {
            let (mailbox, soon) = (mailbox.clone(), self.soon.clone());
            self.keep(runtime, "soon", move || {
                wake_soon(mailbox.clone(), soon.clone())
            });
        }
        let (late, alarm) = (mailbox.clone(), self.alarm.clone());
        self.keep(runtime, "wake", move || wake_again(mailbox.clone()));
        self.keep(runtime, "alarm", move || ring(alarm.clone(), late.clone()));
    }

    fn keep<F: Future<Output = ()> + Send + 'static>(
        &self,
        runtime: &Runtime,
        name: &'static str,
        start: impl FnMut() -> F + Send + 'static,
    ) {
        let notices = self.notices.clone();
        let tell = move |text: &str| notices.log(text);
        runtime.spawn(supervisor::keep(name, tell, start));
    }

    /// Makes a connection of the host program's, as [`Desk::make`] does, unless
    /// it reads no records.
    pub fn make_own(self: &Arc<Self>, framing: Framing) -> Result<Arc<Conn>> {
        self.may_open()?;
        self.make(framing)
    }

    /// Whether the host program may begin another connection.
    pub fn may_open(&self) -> Result<()> {
        match self.mailbox.is_full() {
            true => Err(Error::RecordsUnread),
            false => Ok(()),
        }
    }

    /// Makes a connection with a handle that the host program will own. Until
    /// [`Desk::admit`] nobody else knows of it; else [`Desk::withdraw`].
    pub fn make(self: &Arc<Self>, framing: Framing) -> Result<Arc<Conn>> {
        let conn = Conn::hosted(self.clone(), framing);
        conn.set_handle(conn::table().insert(conn.clone())?);
        Ok(conn)
    }

    /// Takes that back.
    pub fn withdraw(&self, conn: &Conn) {
        // Cannot fail: nobody else knows the handle.
        let _ = conn::table().remove(conn.handle());
    }

    /// Counts it among those in progress, with the record that tells the host
    /// program. `false` after `Registry::close`, and it is withdrawn.
    #[must_use]
    pub fn admit(&self, conn: &Arc<Conn>, record: Option<Vec<u8>>) -> bool {
        let is_own = record.is_none();
        let tell = || record.into_iter().for_each(|r| self.push(r));
        let admitted = self.registry.add(conn, tell);
        if !admitted {
            self.withdraw(conn);
        } else if is_own {
            let handle = conn.handle();
            self.notices
                .tell(Level::Debug, format_args!("connection {handle}: opened"));
        }
        admitted
    }

    /// Both.
    pub fn open(self: &Arc<Self>, framing: Framing) -> Result<Arc<Conn>> {
        let conn = self.make_own(framing)?;
        match self.admit(&conn, None) {
            true => Ok(conn),
            false => Err(Error::Stopped),
        }
    }

    /// Connections in progress.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Messages for the operator.
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    // ---- records

    /// Readable while [`Desk::next`] has something.
    pub fn fd(&self) -> RawFd {
        self.mailbox.fd()
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        self.mailbox.wake().wake();
    }

    /// Queues a record.
    pub fn push(&self, record: Vec<u8>) {
        self.mailbox.push(record);
    }

    /// Queues a record that many may have at once: the host program is woken
    /// when the tasks that can run now have had their turn, if the runtime
    /// lives.
    #[cfg(feature = "client")]
    pub fn push_soon(&self, record: Vec<u8>) {
        if self.mailbox.put(record) {
            self.soon.notify_one();
        }
    }

    /// A client was given back.
    #[cfg(feature = "client")]
    pub fn forget_client(&self, handle: u64) {
        self.mailbox.forget(handle, &[Kind::Client]);
    }

    /// Fills `buf` with records; see `Mailbox::drain`.
    pub fn next(&self, buf: &mut [u8]) -> usize {
        self.notices.make_room();
        let used = self.mailbox.drain(buf, |record| self.read(record));
        self.read.notify_waiters();
        used
    }

    /// Takes the next record.
    pub fn take(&self) -> Option<Box<[u8]>> {
        self.notices.make_room();
        let mut records = std::iter::from_fn(|| self.mailbox.take_one());
        let record = records.find(|record| self.read(record));
        self.read.notify_waiters();
        record
    }

    /// The host program reads a record; whether it is told of it.
    fn read(&self, record: &[u8]) -> bool {
        self.notices.read(record);
        is_news(record)
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        self.mailbox.len()
    }

    /// The descriptor, for who waits on it.
    pub fn watched(&self) -> Option<Arc<UnixStream>> {
        self.mailbox.wake().watched()
    }

    /// Whether the host program has been called, since it was asked this last.
    pub fn was_called(&self) -> bool {
        self.mailbox.was_called()
    }

    /// No thread makes records any more, but the host program's own.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// That is so, and none is left.
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Acquire) && self.mailbox.is_empty()
    }

    /// Waits while the host program is behind; see `Mailbox::is_behind`.
    pub async fn keeps_up(&self) {
        loop {
            let read = self.read.notified();
            tokio::pin!(read);
            // Before the look, so that no reading falls between the two.
            read.as_mut().enable();
            if !self.mailbox.is_behind() {
                return;
            }
            read.await;
        }
    }

    /// Has the runtime write what waits on any connection, now.
    pub fn flush_soon(&self) {
        self.flush.soon();
    }

    // ---- the end

    /// Forgets all: no task uses this desk any more. Connections hold it, so
    /// this ends a cycle.
    pub fn close(&self) {
        for conn in self.registry.conns() {
            // No task is left to do so.
            conn.disconnect(Why::ServerShutdown.into());
            conn.transport_ended();
        }
        // A call of another thread's may be under way.
        self.sweep.close();
        self.flush.close();
        // Not when the last connection's handle goes.
        self.mailbox.close();
    }

    /// Frees the connections of requests that never reached the host program,
    /// and drops all other records.
    pub fn discard(&self) {
        for handle in self
            .mailbox
            .discard()
            .filter_map(|r| record::handle_of(&r, Kind::Request))
        {
            let _ = conn::table().remove(handle);
        }
    }

    fn forget_if_let_go(&self, conn: &Conn) {
        if conn.is_let_go() {
            // The end is news, after all.
            let others = [Kind::Body, Kind::Drained, Kind::Closed, Kind::Output];
            self.mailbox.forget(conn.handle(), &others);
        }
    }

    fn tell_end(&self, conn: &Conn, took: Duration) {
        if !self.notices.want(Level::Debug) {
            return;
        }
        let (handle, ms) = (conn.handle(), took.as_millis());
        let (status, bytes) = conn.totals();
        let reason = conn.logged_reason().unwrap_or_else(|| "in full".into());
        self.notices.tell(
            Level::Debug,
            format_args!(
                "connection {handle}: ended, {reason}, status {status}, {bytes} bytes, {ms} ms"
            ),
        );
    }

    /// Figures: those of connections, and of records.
    pub fn counts(&self) -> HostCounts {
        HostCounts {
            records: self.mailbox.len() as u64,
            logs_dropped: self.notices.dropped() as u64,
            ..self.registry.counts()
        }
    }
}

impl Host for Desk {
    fn output(&self, conn: &Arc<Conn>) {
        if conn.framing().pull {
            self.report(conn, Report::Output);
        } else {
            self.flush.add(conn);
        }
    }

    fn keepalive(&self, conn: &Arc<Conn>) {
        self.sweep.add(conn);
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn ready(&self, hub: u64) {
        self.push(record::plain(Kind::Ready, hub));
    }

    fn account(&self) -> Option<Arc<Account>> {
        Some(self.registry.account().clone())
    }

    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        self.notices.tell(level, text);
    }

    fn hub_let_go(&self, hub: u64) {
        self.mailbox.forget(hub, &[Kind::Ready]);
    }

    fn let_go(&self, conn: &Conn) {
        self.forget_if_let_go(conn);
    }

    fn report(&self, conn: &Conn, what: Report) {
        // Nobody could act on it any more.
        if conn.is_let_go() && what != Report::Ended {
            return;
        }
        let record = match what {
            Report::Body => record::plain(Kind::Body, conn.handle()),
            Report::Drained => record::plain(Kind::Drained, conn.handle()),
            Report::Output => record::plain(Kind::Output, conn.handle()),
            Report::Closed => record::closed(conn),
            Report::Ended => {
                return self.registry.remove(conn, |took| {
                    self.push(record::ended(conn, took));
                    self.forget_if_let_go(conn);
                    self.tell_end(conn, took);
                });
            }
        };
        self.push(record);
        self.forget_if_let_go(conn);
    }
}

/// Whether the host program can do something about a record that it now reads.
/// Of a connection the end is the last, whichever thread was the first to tell.
fn is_news(record: &[u8]) -> bool {
    let Some((kind, handle)) = record::about(record) else {
        return true;
    };
    let conn = conn::table().get(handle).ok();
    match kind {
        Kind::Ended => {
            conn.inspect(|c| c.note_end_read());
            true
        }
        // Full again by now, it will drain again.
        Kind::Drained => conn.is_some_and(|c| !c.is_high() && !c.is_end_read()),
        Kind::Body | Kind::Closed | Kind::Output => conn.is_some_and(|c| !c.is_end_read()),
        _ => true,
    }
}

/// Wakes the host's loop where the kernel had no memory for it.
async fn wake_again(mailbox: Arc<Mailbox>) {
    loop {
        mailbox.wake().failed().await;
        tokio::time::sleep(limits::WAKE_AGAIN).await;
        mailbox.wake().wake();
    }
}

/// Wakes the host's loop once for what the tasks of one turn have queued: else
/// it takes turns with them, two switches for each record.
#[cfg(feature = "client")]
async fn wake_soon(mailbox: Arc<Mailbox>, soon: Arc<Notify>) {
    loop {
        soon.notified().await;
        tokio::task::yield_now().await;
        mailbox.wake().wake();
    }
}

/// What wakes a host's loop later.
pub fn wake_after(desk: &Arc<Desk>, runtime: Option<&Runtime>, delay: Duration) {
    let (Some(runtime), false) = (runtime, delay.is_zero()) else {
        return desk.mailbox.call();
    };
    let _context = runtime.enter();
    desk.alarm.set(delay);
}

async fn ring(alarm: Arc<Alarm>, mailbox: Arc<Mailbox>) {
    loop {
        alarm.rings().await;
        mailbox.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Sink;
    use crate::core::chunk::Chunk;
    use crate::feed::{Subscriber, Watch};
    use crate::host::record::Reader;
    use crate::wire::Wire;
    use std::io::IoSlice;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn messages_that_nobody_reads_are_counted_and_the_count_is_a_message() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        for _ in 0..limits::LOG_RECORDS + 7 {
            desk.notices().log("x");
        }
        let mut buf = vec![0; 1 << 20];
        let used = desk.next(&mut buf);
        let mut reader = Reader::new(&buf[..used]);
        let records: Vec<&[u8]> = std::iter::from_fn(|| reader.bytes().ok()).collect();
        assert_eq!(records.len(), limits::LOG_RECORDS + 1);
        let last = records[limits::LOG_RECORDS];
        assert!(last.windows(10).any(|w| w == b"dropped 7 "));
        desk.notices().log("x");
        assert!(desk.next(&mut buf) < 30, "and that is over");
    }

    #[test]
    fn they_are_bounded_for_a_host_that_reads_one_at_a_time() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        let mut small = [0; 512];
        for i in 0..4 * limits::LOG_RECORDS {
            desk.notices().log("x");
            desk.notices().log("x");
            match i % 3 {
                0 => assert!(desk.take().is_some()),
                1 => assert!(desk.next(&mut small[..20]) > 0),
                _ => assert!(desk.next(&mut small[..4]) > 4, "the size needed"),
            }
            assert!(desk.waiting() <= limits::LOG_RECORDS + 1);
        }
        let before = desk.notices().dropped();
        while desk.take().is_some() {}
        desk.notices().log("x");
        assert_eq!((desk.waiting(), desk.notices().dropped()), (1, before));
    }

    /// LOG records of a connection's life, and of many messages of each level.
    fn told(level: Level) -> (Vec<String>, usize) {
        let desk = Desk::new(limits::QUEUED_BYTES, level).unwrap();
        let conn = queue_of(&desk);
        conn.disconnect("client_closed".into());
        conn.transport_ended();
        for _ in 0..limits::LOG_RECORDS {
            desk.notices().tell(Level::Info, format_args!("i"));
        }
        for _ in 0..limits::LOG_RECORDS {
            desk.notices().log("w");
        }
        let mut buf = vec![0; 1 << 20];
        let used = desk.next(&mut buf);
        let mut reader = Reader::new(&buf[..used]);
        let mut texts = Vec::new();
        while let Ok(record) = reader.bytes() {
            if record[0] == Kind::Log as u8 {
                let mut fields = Reader::new(&record[9..]);
                let text = String::from_utf8_lossy(fields.bytes().unwrap()).into_owned();
                let handle = conn.handle().to_string();
                texts.push(format!(
                    "{} {}",
                    fields.u8().unwrap(),
                    text.replace(&handle, "N")
                ));
            }
        }
        (texts, desk.notices().dropped())
    }

    #[test]
    fn the_operator_is_told_what_was_asked_for_and_warnings_find_room() {
        let of = |texts: &[String], text: &str| texts.iter().filter(|t| *t == text).count();
        let (warnings, dropped) = told(Level::Warning);
        assert_eq!(
            (of(&warnings, "0 w"), warnings.len(), dropped),
            (1024, 1024, 0)
        );
        let (info, dropped) = told(Level::Info);
        assert_eq!((of(&info, "1 i"), of(&info, "0 w")), (512, 512));
        assert_eq!((info.len(), dropped), (1025, 1024));
        assert!(info[1024].starts_with("0 dropped 1024 "));
        let (debug, _) = told(Level::Debug);
        assert_eq!(debug[0], "2 connection N: opened");
        let end = "2 connection N: ended, client_closed, status 0, 0 bytes, 0 ms";
        assert_eq!(debug[1], end);
        assert_eq!(of(&debug, "1 i"), 510);
    }

    const EVENTS: Framing = Framing {
        sse: true,
        wire: Wire::Events,
        head: false,
        pull: true,
        fixed: true,
    };

    fn queue_of(desk: &Arc<Desk>) -> Arc<Conn> {
        desk.open(EVENTS).unwrap()
    }

    /// What waits after so many steps, of which nobody has read a record.
    fn unread(step: impl Fn(&Arc<Desk>, &Arc<Conn>)) -> usize {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        let conn = queue_of(&desk);
        for _ in 0..1000 {
            step(&desk, &conn);
        }
        desk.mailbox.len()
    }

    fn pull(conn: &Arc<Conn>) {
        conn.pull(usize::MAX, |_| ()).unwrap();
    }

    #[test]
    fn a_host_that_reads_no_records_has_one_of_a_kind_for_a_connection() {
        let (small, big) = ("x", "x".repeat(limits::HIGH_WATER_BYTES));
        let output = |_: &_, conn: &Arc<Conn>| {
            conn.comment(small).unwrap();
            pull(conn);
        };
        let drained = |_: &_, conn: &Arc<Conn>| {
            conn.comment(&big).unwrap();
            pull(conn);
        };
        let chunk = Chunk::new(2, |b| b.extend_from_slice(b": "));
        let replayed = |_: &_, conn: &Arc<Conn>| conn.replay(&[&chunk], 1).unwrap();
        let body = |_: &_, conn: &Arc<Conn>| {
            conn.expect_body();
            assert!(conn.push_body(b"x", usize::MAX));
            conn.read_body(1).unwrap();
            conn.read_body(1).unwrap();
        };
        let ready = |desk: &Arc<Desk>, _: &_| desk.ready(7);
        assert_eq!(unread(output), 1);
        assert_eq!(unread(drained), 2, "OUTPUT and DRAINED");
        assert_eq!(unread(replayed), 1);
        assert_eq!(unread(body), 1);
        assert_eq!(unread(ready), 1);
    }

    #[test]
    fn what_was_read_comes_again_and_a_queue_that_is_full_again_has_not_drained() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        let conn = queue_of(&desk);
        let big = "x".repeat(limits::HIGH_WATER_BYTES);
        let fill_and_drain = || {
            conn.comment(&big).unwrap();
            pull(&conn);
        };
        fill_and_drain();
        assert_eq!(kinds(&desk), [Kind::Output, Kind::Drained]);
        fill_and_drain();
        assert_eq!(kinds(&desk), [Kind::Output, Kind::Drained]);
        fill_and_drain();
        conn.comment(&big).unwrap();
        assert_eq!(kinds(&desk), [Kind::Output]);
        pull(&conn);
        assert_eq!(kinds(&desk), [Kind::Drained]);
    }

    struct Idle;

    impl Watch for Idle {
        fn marked(&self, _: bool) {}
        fn catch_up(&self) {}
        fn is_over(&self) -> bool {
            false
        }
        fn closed(&self) {}
    }

    #[test]
    fn a_connection_that_was_let_go_tells_of_its_end_alone() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        let framing = Framing {
            pull: false,
            ..EVENTS
        };
        let conn = desk.open(framing).unwrap();
        // Somebody publishes to it.
        let watch = Arc::new(Idle);
        conn.watch(Arc::downgrade(&(watch.clone() as Arc<dyn Watch>)))
            .unwrap();
        conn.hand_over();
        conn.comment(&"x".repeat(limits::HIGH_WATER_BYTES)).unwrap();
        conn.attach(Arc::<Taking>::default());
        conn.disconnect("client_closed".into());
        conn.transport_ended();
        assert_eq!(kinds(&desk), [Kind::Ended]);
    }

    #[test]
    fn records_that_were_not_read_go_with_the_number_that_was_given_back() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        for is_gone in [false, true] {
            for pull in [false, true] {
                let conn = desk.open(Framing { pull, ..EVENTS }).unwrap();
                conn.comment("x").unwrap();
                desk.report(&conn, Report::Body);
                desk.report(&conn, Report::Drained);
                if is_gone {
                    conn.abandon("client_closed".into());
                    conn.transport_ended();
                }
                assert!(desk.mailbox.len() > usize::from(is_gone));
                conn.release();
                conn.transport_ended();
                assert_eq!(kinds(&desk), [Kind::Ended]);
            }
        }
        assert_eq!(desk.registry.live(), 0);
        desk.ready(7);
        desk.hub_let_go(7);
        assert!(desk.mailbox.is_empty());
    }

    #[test]
    fn who_reads_no_ends_opens_nothing_more() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        for _ in 0..limits::ENDED_BEHIND {
            desk.open(EVENTS).unwrap().release();
        }
        assert_eq!(desk.open(EVENTS).map(drop), Err(Error::RecordsUnread));
        desk.next(&mut [0; 100]);
        desk.open(EVENTS).unwrap();
    }

    #[test]
    fn a_request_that_was_not_read_goes_with_its_connection() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        let made = |kind| {
            let conn = desk.make(EVENTS).unwrap();
            let mut record = record::plain(kind, conn.handle());
            record.push(0);
            assert!(desk.admit(&conn, Some(record)));
            conn.handle()
        };
        let (asks, ended) = (made(Kind::Request), made(Kind::Ended));
        desk.discard();
        let found = |handle| conn::table().get(handle).is_ok();
        assert_eq!((found(asks), found(ended)), (false, true));
        assert_eq!(desk.counts().records, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keepalive_is_sent_when_it_is_due() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        tokio::spawn(desk.sweep.clone().run());
        let conn = queue_of(&desk);
        tokio::time::sleep(Duration::from_secs(100)).await;
        conn.start(200, []).unwrap();
        conn.set_keepalive(10_000, "").unwrap();
        let waits = async |ms| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            conn.buffered()
        };
        // It may be due earlier by a part, so that not all are at once.
        assert_eq!(waits(5000).await, 0);
        assert_eq!(waits(5500).await, ":\n\n".len());
        assert_eq!(kinds(&desk), [Kind::Output]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_written_at_the_end_of_the_hosts_turn() {
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        tokio::spawn(desk.flush.clone().run());
        let framing = Framing {
            pull: false,
            ..EVENTS
        };
        let (conn, sink) = (desk.open(framing).unwrap(), Arc::<Taking>::default());
        conn.attach(sink.clone());
        conn.comment("x").unwrap();
        desk.flush_soon();
        // Time stands still while there is something to run.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sink.taken.load(Ordering::Relaxed), ":x\n\n".len());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_alone_hold_up_the_server() {
        let keeps_up = async |desk: &Arc<Desk>| {
            let wait = Duration::from_secs(1);
            tokio::time::timeout(wait, desk.keeps_up()).await.is_ok()
        };
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        for handle in 0..1000 {
            desk.push(record::plain(Kind::Body, handle));
        }
        let request = |handle| {
            let mut request = record::plain(Kind::Request, handle);
            request.push(0);
            desk.push(request);
        };
        (1..limits::REQUESTS_BEHIND as u64).for_each(request);
        assert!(keeps_up(&desk).await);
        request(1000);
        assert!(!keeps_up(&desk).await);
        tokio::join!(desk.keeps_up(), async {
            kinds(&desk);
        });
    }

    /// Takes all, but that one panics the first time.
    #[derive(Default)]
    struct Taking {
        fragile: AtomicBool,
        taken: AtomicUsize,
    }

    impl Sink for Taking {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
            assert!(!self.fragile.swap(false, Ordering::Relaxed), "a fault");
            let n = slices.iter().map(|s| s.len()).sum();
            self.taken.fetch_add(n, Ordering::Relaxed);
            Ok(n)
        }
        fn attend(&self) {}
    }

    #[test]
    fn a_flush_that_panics_is_logged_and_the_others_output_leaves() {
        let runtime = crate::rt::build(1).unwrap();
        let desk = Desk::new(limits::QUEUED_BYTES, Level::Warning).unwrap();
        desk.spawn(&runtime);
        let framing = Framing {
            pull: false,
            ..EVENTS
        };
        let conns: Vec<_> = (0..20)
            .map(|_| {
                let sink = Arc::<Taking>::default();
                let conn = desk.open(framing).unwrap();
                conn.attach(sink.clone());
                (conn, sink)
            })
            .collect();
        conns[0].1.fragile.store(true, Ordering::Relaxed);
        let send = || {
            for (conn, _) in &conns {
                conn.comment("x").unwrap();
            }
        };
        let until = |is_so: &dyn Fn() -> bool| {
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while !is_so() {
                assert!(std::time::Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let all_have = |n: usize| {
            let taken = |(_, sink): &(_, Arc<Taking>)| sink.taken.load(Ordering::Relaxed) >= n;
            until(&|| conns[1..].iter().all(taken));
        };
        send();
        all_have(4);
        until(&|| kinds(&desk) == [Kind::Log]);
        send();
        all_have(8);
        desk.close();
    }

    fn kinds(desk: &Desk) -> Vec<Kind> {
        let mut buf = vec![0; 1 << 20];
        let used = desk.next(&mut buf);
        let mut reader = Reader::new(&buf[..used]);
        let records = std::iter::from_fn(|| reader.bytes().ok());
        records.map(|r| Kind::of(r[0]).unwrap()).collect()
    }
}
