//! The desk of a host: connections in progress, what is to be done for them,
//! and the records for the host program. The server has one, and so has the
//! runtime that a host program opens for transports of its own.

use super::mailbox::Mailbox;
use super::record::{self, Kind};
use super::{ConnBell, flush, now_ms, sweep};
use crate::conn::{self, Conn, Counters, Framing, Host, Report};
use crate::error::{Error, Result};
use crate::limits;
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

#[derive(Default)]
struct Exchanges {
    open: HashMap<u64, (Arc<Conn>, Instant)>,
    opened: u64,
    /// Of those that have ended.
    counters: Counters,
    bytes_sent: u64,
}

impl Exchanges {
    fn count(&mut self, conn: &Conn) {
        let c = conn.counters();
        self.counters.events += c.events;
        self.counters.comments += c.comments;
        self.counters.refused += c.refused;
        self.bytes_sent += conn.totals().1;
    }
}

/// See the module. All methods may be called from any thread.
pub struct Desk {
    mailbox: Mailbox,
    exchanges: Mutex<Exchanges>,
    ended: Notify,
    read: Notify,
    dirty: ConnBell,
    flush_now: Notify,
    keepalives: Arc<ConnBell>,
    logs: AtomicUsize,
    logs_dropped: AtomicUsize,
    /// Kinds of messages that came lately, and how many more of each since.
    notices: Mutex<HashMap<&'static str, u64>>,
}

impl Desk {
    /// An empty one.
    pub fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Desk {
            mailbox: Mailbox::new().map_err(|_| Error::Os)?,
            exchanges: Mutex::default(),
            ended: Notify::new(),
            read: Notify::new(),
            dirty: ConnBell::default(),
            flush_now: Notify::new(),
            keepalives: Arc::default(),
            logs: AtomicUsize::new(0),
            logs_dropped: AtomicUsize::new(0),
            notices: Mutex::default(),
        }))
    }

    /// Starts the tasks that every desk has.
    pub fn spawn(self: &Arc<Self>, runtime: &Runtime) {
        runtime.spawn(flush::run(self.clone()));
        runtime.spawn(sweep::run(self.keepalives.clone()));
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection with a handle that the host program will own.
    pub fn open(self: &Arc<Self>, framing: Framing) -> Result<Arc<Conn>> {
        let conn = Conn::hosted(self.clone(), framing);
        conn.set_handle(conn::table().insert(conn.clone())?);
        let mut exchanges = self.exchanges();
        exchanges.opened += 1;
        let entry = (conn.clone(), Instant::now());
        exchanges.open.insert(conn.handle(), entry);
        Ok(conn)
    }

    /// Connections in progress, by number.
    pub fn live(&self) -> usize {
        self.exchanges().open.len()
    }

    /// Connections in progress.
    pub fn conns(&self) -> Vec<Arc<Conn>> {
        let exchanges = self.exchanges();
        exchanges.open.values().map(|(c, _)| c.clone()).collect()
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

    /// Something ended that [`Desk::settle`] may wait for.
    pub fn one_less(&self) {
        self.ended.notify_waiters();
    }

    // ---- records

    /// Readable while [`Desk::next`] has something.
    pub fn fd(&self) -> RawFd {
        self.mailbox.fd()
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        self.mailbox.wake();
    }

    /// Queues a record.
    pub fn push(&self, record: Vec<u8>) {
        self.mailbox.push(record);
    }

    /// Fills `buf` with records; see [`Mailbox::drain`].
    pub fn next(&self, buf: &mut [u8]) -> usize {
        let logs = self.logs.swap(0, Ordering::Relaxed);
        if let Some(dropped @ 1..) = logs.checked_sub(limits::LOG_RECORDS) {
            let all = "log messages and answers of the server's own, as the host read none";
            self.push(record::log(&format!("dropped {dropped} {all}")));
        }
        let used = self.mailbox.drain(buf, |record| {
            match record::handle_of(record, Kind::Drained) {
                Some(handle) => conn::table().get(handle).is_ok_and(|c| c.is_drained()),
                None => true,
            }
        });
        self.read.notify_waiters();
        used
    }

    /// Waits while the host program has much to read: what would come now is
    /// better kept by the kernel, in less memory.
    pub async fn keeps_up(&self) {
        loop {
            let read = self.read.notified();
            tokio::pin!(read);
            // Before the look, so that no reading falls between the two.
            read.as_mut().enable();
            if self.mailbox.len() < limits::RECORDS_BEHIND {
                return;
            }
            read.await;
        }
    }

    /// Queues a message for the operator, or counts it when there are many.
    pub fn log(&self, text: &str) {
        self.push_bounded(record::log(text));
    }

    /// Queues a record that no connection bounds, or counts it.
    pub fn push_bounded(&self, record: Vec<u8>) {
        if self.logs.fetch_add(1, Ordering::Relaxed) < limits::LOG_RECORDS {
            self.push(record);
        } else {
            self.logs_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A message that clients can cause at will: the first of a kind at once,
    /// then one in a while, which counts the others. Needs the runtime's
    /// context.
    pub fn notice(self: &Arc<Self>, kind: &'static str, detail: &str) {
        match self.notices().entry(kind) {
            Entry::Occupied(mut held) => return *held.get_mut() += 1,
            Entry::Vacant(first) => first.insert(0),
        };
        self.log(&format!("{kind}{detail}"));
        let desk = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(limits::NOTICE_MS)).await;
                let held = match desk.notices().entry(kind) {
                    Entry::Occupied(held) if *held.get() == 0 => {
                        held.remove();
                        return;
                    }
                    Entry::Occupied(mut held) => std::mem::take(held.get_mut()),
                    Entry::Vacant(_) => return,
                };
                desk.log(&format!("{kind}: {held} more in the last second"));
            }
        });
    }

    fn notices(&self) -> MutexGuard<'_, HashMap<&'static str, u64>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- output

    /// Writes what waits on any connection.
    pub fn flush(&self) {
        for conn in self.dirty.take().values() {
            conn.flush();
        }
    }

    /// Has the runtime do so, now.
    pub fn flush_soon(&self) {
        if !self.dirty.is_empty() {
            self.flush_now.notify_one();
        }
    }

    pub(super) async fn flush_asked(&self) {
        self.flush_now.notified().await;
    }

    pub(super) async fn output_came(&self) {
        self.dirty.rung().await;
    }

    // ---- the end

    /// Forgets all: no task uses this desk any more. Connections hold it, so
    /// this ends a cycle.
    pub fn close(&self) {
        for conn in self.conns() {
            // No task is left to do so.
            conn.disconnect("server_shutdown".into());
            conn.transport_ended();
        }
        self.keepalives.take();
        self.dirty.take();
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

    /// Statistics. Numbers count from the beginning, but those of `open`,
    /// `queued_bytes` and `records`, which are of now.
    pub fn stats(&self) -> serde_json::Value {
        let mut sum = Exchanges::default();
        let mut queued = 0;
        let exchanges = self.exchanges();
        for (conn, _) in exchanges.open.values() {
            sum.count(conn);
            queued += conn.buffered();
        }
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "connections": {
                "open": exchanges.open.len(),
                "opened": exchanges.opened,
            },
            "events": exchanges.counters.events + sum.counters.events,
            "comments": exchanges.counters.comments + sum.counters.comments,
            "refused": exchanges.counters.refused + sum.counters.refused,
            "bytes_sent": exchanges.bytes_sent + sum.bytes_sent,
            "queued_bytes": queued,
            "records": self.mailbox.len(),
            "logs_dropped": self.logs_dropped.load(Ordering::Relaxed),
        })
    }
}

impl Host for Desk {
    fn output(&self, conn: &Arc<Conn>) {
        if conn.framing().pull {
            self.report(conn, Report::Output);
        } else {
            self.dirty.add(conn.handle(), conn.clone());
        }
    }

    fn keepalive(&self, conn: &Arc<Conn>) {
        self.keepalives.add(conn.handle(), conn.clone());
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn ready(&self, hub: u64) {
        self.push(record::plain(Kind::Ready, hub));
    }

    fn report(&self, conn: &Conn, what: Report) {
        let record = match what {
            Report::Body => record::plain(Kind::Body, conn.handle()),
            Report::Drained => record::plain(Kind::Drained, conn.handle()),
            Report::Output => record::plain(Kind::Output, conn.handle()),
            Report::Closed => record::closed(conn),
            Report::Ended => {
                // Under the lock: who counts none left will find the record.
                let mut exchanges = self.exchanges();
                if let Some((_, since)) = exchanges.open.remove(&conn.handle()) {
                    exchanges.count(conn);
                    self.push(record::ended(conn, since.elapsed()));
                }
                drop(exchanges);
                return self.one_less();
            }
        };
        self.push(record);
    }
}

/// What wakes a host's loop later.
pub fn wake_after(desk: &Arc<Desk>, runtime: Option<&Runtime>, delay: Duration) {
    let (Some(runtime), false) = (runtime, delay.is_zero()) else {
        return desk.wake();
    };
    let desk = desk.clone();
    runtime.spawn(async move {
        tokio::time::sleep(delay).await;
        desk.wake();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::record::Reader;

    #[test]
    fn messages_that_nobody_reads_are_counted_and_the_count_is_a_message() {
        let desk = Desk::new().unwrap();
        for _ in 0..limits::LOG_RECORDS + 7 {
            desk.log("x");
        }
        let mut buf = vec![0; 1 << 20];
        let used = desk.next(&mut buf);
        let mut reader = Reader::new(&buf[..used]);
        let records: Vec<&[u8]> = std::iter::from_fn(|| reader.bytes().ok()).collect();
        assert_eq!(records.len(), limits::LOG_RECORDS + 1);
        let last = records[limits::LOG_RECORDS];
        assert!(last.windows(10).any(|w| w == b"dropped 7 "));
        desk.log("x");
        assert!(desk.next(&mut buf) < 30, "and that is over");
    }
}
