//! Connections in progress, and figures of all that ever were.

use crate::conn::{Conn, Counters};
use crate::core::account::Account;
use crate::core::counts::HostCounts;
use crate::core::limits;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

#[derive(Default)]
struct Figures {
    counters: Counters,
    bytes_sent: u64,
}

impl Figures {
    fn of(conn: &Conn) -> Self {
        Figures {
            counters: conn.counters(),
            bytes_sent: conn.totals().1,
        }
    }

    fn add(&mut self, more: &Figures) {
        self.counters.events += more.counters.events;
        self.counters.comments += more.counters.comments;
        self.counters.refused += more.counters.refused;
        self.bytes_sent += more.bytes_sent;
    }
}

/// How far statistics have come, that go through all in slices.
#[derive(Default)]
struct Survey {
    seen: u64,
    /// Of those that ended before they were seen.
    ended: Figures,
}

#[derive(Default)]
struct Inner {
    /// By handle, so that one can go on where one was.
    open: BTreeMap<u64, (Arc<Conn>, Instant)>,
    opened: u64,
    /// Of `open`, those whose output the host program does not pull.
    sockets: usize,
    is_closed: bool,
    /// Of those that have ended.
    figures: Figures,
    survey: Option<Survey>,
}

impl Inner {
    /// A few of those in progress, by handle, after `from`.
    fn some(&self, from: u64) -> Vec<Arc<Conn>> {
        let rest = self.open.range((Bound::Excluded(from), Bound::Unbounded));
        let some = rest.take(limits::SLICE);
        some.map(|(_, (conn, _))| conn.clone()).collect()
    }
}

/// See the module. All methods may be called from any thread.
pub struct Registry {
    inner: Mutex<Inner>,
    /// One survey at a time.
    survey: Mutex<()>,
    ended: Notify,
    account: Arc<Account>,
    alarm: Arc<Notify>,
    cut: AtomicU64,
}

impl Registry {
    /// An empty one, whose connections' queues may take so many bytes.
    pub fn new(max_queued_bytes: usize) -> Self {
        let alarm = Arc::new(Notify::new());
        let bell = alarm.clone();
        Registry {
            inner: Mutex::default(),
            survey: Mutex::default(),
            ended: Notify::new(),
            account: Account::new(max_queued_bytes, move || bell.notify_one()),
            alarm,
            cut: AtomicU64::new(0),
        }
    }

    /// Where the memory of queues counts.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Waits until something was added to the account above its limit.
    pub async fn rung(&self) {
        self.alarm.notified().await;
    }

    /// A connection was cut off for that.
    pub fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, which has its handle; `tell` is called before anybody can find
    /// it here. `false` after [`Registry::close`]: too late.
    pub fn add(&self, conn: &Arc<Conn>, tell: impl FnOnce()) -> bool {
        let mut inner = self.lock();
        if inner.is_closed {
            return false;
        }
        inner.opened += 1;
        inner.sockets += usize::from(!conn.framing().pull);
        let entry = (conn.clone(), Instant::now());
        inner.open.insert(conn.handle(), entry);
        tell();
        true
    }

    /// No more: who is not here by now never will be.
    pub fn close(&self) {
        self.lock().is_closed = true;
    }

    /// One less, if it is there; `tell` gets the time that it took, before
    /// anybody can count none left.
    pub fn remove(&self, conn: &Conn, tell: impl FnOnce(Duration)) {
        {
            let mut inner = self.lock();
            if let Some((_, since)) = inner.open.remove(&conn.handle()) {
                inner.sockets -= usize::from(!conn.framing().pull);
                let figures = Figures::of(conn);
                inner.figures.add(&figures);
                let survey = inner.survey.as_mut();
                if let Some(survey) = survey.filter(|s| s.seen < conn.handle()) {
                    survey.ended.add(&figures);
                }
                tell(since.elapsed());
            }
        }
        self.one_less();
    }

    /// How many are in progress.
    pub fn live(&self) -> usize {
        self.lock().open.len()
    }

    /// How many of them have a transport of ours.
    pub fn sockets(&self) -> usize {
        self.lock().sockets
    }

    /// Those in progress.
    pub fn conns(&self) -> Vec<Arc<Conn>> {
        self.lock().open.values().map(|(c, _)| c.clone()).collect()
    }

    /// Shows them, without a lock held; `None` when there are no more, else
    /// where to go on.
    pub fn slice(&self, from: u64, see: impl FnMut(&Arc<Conn>)) -> Option<u64> {
        let some = self.lock().some(from);
        some.iter().for_each(see);
        some.last().map(|conn| conn.handle())
    }

    /// Something ended that [`Registry::settle`] may wait for.
    pub fn one_less(&self) {
        self.ended.notify_waiters();
    }

    /// Waits, no longer than until `deadline`, for `is_idle` to hold: looks
    /// whenever a connection has ended.
    pub async fn settle(&self, deadline: tokio::time::Instant, is_idle: impl Fn() -> bool) {
        let idle = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                // Before the look, so that no end falls between the two.
                ended.as_mut().enable();
                if is_idle() {
                    return;
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, idle).await;
    }

    /// Numbers count from the beginning, but those of `open`, `queued_bytes` and
    /// `queued_memory`, which are of now. Of records it knows nothing.
    pub fn counts(&self) -> HostCounts {
        self.survey(|| {})
    }

    fn survey(&self, between: impl Fn()) -> HostCounts {
        let survey = self.survey.lock();
        let _survey = survey.unwrap_or_else(PoisonError::into_inner);
        let mut all = Figures::default();
        {
            let mut inner = self.lock();
            all.add(&inner.figures);
            inner.survey = Some(Survey::default());
        }
        let (mut from, mut queued) = (0, 0);
        loop {
            let some = {
                let mut inner = self.lock();
                let some = inner.some(from);
                if let (Some(last), Some(survey)) = (some.last(), &mut inner.survey) {
                    survey.seen = last.handle();
                }
                some
            };
            let Some(last) = some.last() else { break };
            from = last.handle();
            for conn in &some {
                all.add(&Figures::of(conn));
                queued += conn.buffered();
            }
            between();
        }
        let (open, opened) = {
            let mut inner = self.lock();
            if let Some(survey) = inner.survey.take() {
                all.add(&survey.ended);
            }
            (inner.open.len(), inner.opened)
        };
        HostCounts {
            open: open as u64,
            opened,
            events: all.counters.events,
            comments: all.counters.comments,
            refused: all.counters.refused,
            bytes_sent: all.bytes_sent,
            queued_bytes: queued as u64,
            queued_memory: self.account.now() as u64,
            max_queued_bytes: self.account.limit() as u64,
            cut: self.cut.load(Ordering::Relaxed),
            ..HostCounts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Framing;
    use crate::core::error::Error;
    use crate::core::frame::Event;
    use crate::core::level::Level;
    use crate::core::limits::{QUEUED_BYTES, SLICE};
    use crate::core::outbox::Marks;
    use crate::host::desk::Desk;
    use crate::wire::Wire;

    fn stream(desk: &Arc<Desk>) -> Arc<Conn> {
        let framing = Framing {
            sse: true,
            wire: Wire::Events,
            pull: true,
            ..Framing::default()
        };
        desk.open(framing).unwrap()
    }

    #[test]
    fn what_ends_while_all_are_counted_counts_once() {
        let desk = Desk::new(QUEUED_BYTES, Level::Warning).unwrap();
        let open = || {
            let conn = stream(&desk);
            conn.send(&Event::default()).unwrap();
            conn
        };
        let registry = desk.registry();
        let conns: Vec<_> = (0..3 * SLICE).map(|_| open()).collect();
        let all = registry.conns();
        // The last of a slice, too; of those to come more than of those seen.
        let some = [0, SLICE - 1, 3 * SLICE - 3, 3 * SLICE - 2, 3 * SLICE - 1].map(|at| &all[at]);
        let counts = registry.survey(|| some.iter().for_each(|c| c.release()));
        let all = 3 * SLICE as u64;
        assert_eq!((counts.events, counts.open), (all, all - 5));
        assert_eq!(registry.counts().events, all);
        conns.iter().for_each(Conn::release);
        assert_eq!(registry.counts().events, all);
        assert_eq!(registry.live(), 0);
    }

    #[test]
    fn figures_are_of_those_that_ended_and_of_those_that_are_there() {
        let desk = Desk::new(QUEUED_BYTES, Level::Warning).unwrap();
        let begun = || {
            let conn = stream(&desk);
            let marks = Marks {
                low: 1,
                high: 2,
                limit: 3,
            };
            conn.set_marks(marks).unwrap();
            let event = Event {
                data: Some("x"),
                ..Event::default()
            };
            conn.send(&event).unwrap();
            conn.send(&event).unwrap_err();
            conn.pull(5, |_| ()).unwrap();
            conn.pull(5, |_| ()).unwrap();
            conn.comment("y").unwrap();
            conn.comment("y").unwrap();
            conn.comment("y").unwrap_err();
            conn.comment("y").unwrap_err();
            conn
        };
        let conns = [begun(), begun(), begun()];
        for (open, queued) in [(3, 24), (2, 16), (1, 8), (0, 0)] {
            let is = desk.counts();
            let all = HostCounts {
                open: open as u64,
                opened: 3,
                events: 3,
                comments: 2 * 3,
                refused: 3 * 3,
                bytes_sent: 3 * 9,
                queued_bytes: queued,
                queued_memory: is.queued_memory,
                max_queued_bytes: QUEUED_BYTES as u64,
                records: is.records,
                ..HostCounts::default()
            };
            assert_eq!(is, all, "{open} open");
            if open > 0 {
                conns[open - 1].release();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_when_the_queues_come_above_their_limit() {
        let desk = Desk::new(1 << 20, Level::Warning).unwrap();
        let rings = async || {
            let rung = desk.registry().rung();
            tokio::time::timeout(Duration::from_secs(1), rung)
                .await
                .is_ok()
        };
        assert!(!rings().await);
        desk.registry().account().add(1 << 21);
        assert!(rings().await);
        assert!(!rings().await, "once");
    }

    #[test]
    fn who_comes_behind_the_close_was_never_there() {
        let desk = Desk::new(QUEUED_BYTES, Level::Warning).unwrap();
        let before = desk.make(Framing::default()).unwrap();
        let late = desk.make(Framing::default()).unwrap();
        assert_eq!(desk.registry().live(), 0, "nobody knows of them");
        assert!(desk.admit(&before, Some(b"before".to_vec())));
        desk.registry().close();
        assert!(!desk.admit(&late, Some(b"late".to_vec())));
        assert!(
            desk.open(Framing::default())
                .is_err_and(|e| e == Error::Stopped)
        );
        assert_eq!(desk.registry().live(), 1);
        assert_eq!(
            crate::conn::table().get(late.handle()).err(),
            Some(Error::HandleStale)
        );
        let mut buf = [0; 64];
        let used = desk.next(&mut buf);
        assert_eq!(&buf[4..used], b"before");
        desk.close();
        assert_eq!(desk.registry().live(), 0);
        assert_eq!(Arc::strong_count(&late), 1);
    }

    #[test]
    fn who_is_pulled_has_no_transport_of_ours() {
        let desk = Desk::new(QUEUED_BYTES, Level::Warning).unwrap();
        let open = |pull| {
            desk.open(Framing {
                pull,
                ..Framing::default()
            })
            .unwrap()
        };
        let conns = [open(true), open(false), open(false)];
        for (conn, left) in conns.iter().zip([(2, 2), (1, 1), (0, 0)]) {
            conn.transport_ended();
            conn.transport_ended();
            let registry = desk.registry();
            assert_eq!((registry.live(), registry.sockets()), left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settling_looks_whenever_one_has_ended_and_not_beyond_its_time() {
        let desk = Desk::new(QUEUED_BYTES, Level::Warning).unwrap();
        let conns: Vec<_> = (0..3)
            .map(|_| desk.open(Framing::default()).unwrap())
            .collect();
        let started = tokio::time::Instant::now();
        let by = started + Duration::from_secs(10);
        let ends = async {
            for conn in &conns {
                tokio::time::sleep(Duration::from_secs(1)).await;
                conn.transport_ended();
            }
        };
        let registry = desk.registry();
        tokio::join!(registry.settle(by, || registry.live() == 0), ends);
        assert_eq!(started.elapsed().as_secs(), 3);
        registry.settle(by, || false).await;
        assert_eq!(started.elapsed().as_secs(), 10);
        assert_eq!(desk.counts().opened, 3);
    }
}
