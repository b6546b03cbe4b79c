//! The desk of a host: its connections, and what the host program is told.
//! The server has one, and so has the runtime that a host program opens for
//! transports of its own.

use super::cut;
use super::mailbox::Mailbox;
use super::notices::Notices;
use super::record::{self, Kind};
use super::registry::Registry;
use crate::conn::{self, Conn, Framing, Host, Report};
use crate::core::account::Account;
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::rt::{self, ConnBell, Flush, now_ms};
use std::os::fd::RawFd;
use std::sync::Arc;
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
    keepalives: Arc<ConnBell>,
}

impl Desk {
    /// An empty one, whose connections' queues may take so many bytes.
    pub fn new(max_queued_bytes: usize) -> Result<Arc<Self>> {
        let mailbox = Arc::new(Mailbox::new().map_err(|_| Error::Os)?);
        Ok(Arc::new(Desk {
            notices: Notices::new(mailbox.clone()),
            mailbox,
            registry: Arc::new(Registry::new(max_queued_bytes)),
            read: Notify::new(),
            flush: Arc::default(),
            keepalives: Arc::default(),
        }))
    }

    /// Starts the tasks that every desk has.
    pub fn spawn(&self, runtime: &Runtime) {
        runtime.spawn(self.flush.clone().run());
        runtime.spawn(rt::sweep(self.keepalives.clone()));
        runtime.spawn(cut::run(self.registry.clone(), self.notices.clone()));
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
    /// program. `false` after [`Registry::close`], and it is withdrawn.
    #[must_use]
    pub fn admit(&self, conn: &Arc<Conn>, record: Option<Vec<u8>>) -> bool {
        let tell = || record.into_iter().for_each(|r| self.push(r));
        let admitted = self.registry.add(conn, tell);
        if !admitted {
            self.withdraw(conn);
        }
        admitted
    }

    /// Both.
    pub fn open(self: &Arc<Self>, framing: Framing) -> Result<Arc<Conn>> {
        let conn = self.make(framing)?;
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
        self.mailbox.wake();
    }

    /// Queues a record.
    pub fn push(&self, record: Vec<u8>) {
        self.mailbox.push(record);
    }

    /// Fills `buf` with records; see [`Mailbox::drain`].
    pub fn next(&self, buf: &mut [u8]) -> usize {
        self.notices.make_room();
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
            conn.disconnect("server_shutdown".into());
            conn.transport_ended();
        }
        self.keepalives.take();
        self.flush.clear();
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

    /// Statistics: those of [`Registry::stats`], `records` that wait now, and
    /// `logs_dropped`.
    pub fn stats(&self) -> serde_json::Value {
        let mut stats = self.registry.stats();
        stats["records"] = self.mailbox.len().into();
        stats["logs_dropped"] = self.notices.dropped().into();
        stats
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
        self.keepalives.add(conn.handle(), conn.clone());
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

    fn report(&self, conn: &Conn, what: Report) {
        let record = match what {
            Report::Body => record::plain(Kind::Body, conn.handle()),
            Report::Drained => record::plain(Kind::Drained, conn.handle()),
            Report::Output => record::plain(Kind::Output, conn.handle()),
            Report::Closed => record::closed(conn),
            Report::Ended => {
                return self
                    .registry
                    .remove(conn, |took| self.push(record::ended(conn, took)));
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
    use crate::host::record::Reader;

    #[test]
    fn messages_that_nobody_reads_are_counted_and_the_count_is_a_message() {
        let desk = Desk::new(limits::QUEUED_BYTES).unwrap();
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
}
