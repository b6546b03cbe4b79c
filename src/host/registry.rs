//! Connections in progress, and figures of all that ever were.

use crate::conn::{Conn, Counters};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

#[derive(Default)]
struct Figures {
    counters: Counters,
    bytes_sent: u64,
}

impl Figures {
    fn count(&mut self, conn: &Conn) {
        let c = conn.counters();
        self.counters.events += c.events;
        self.counters.comments += c.comments;
        self.counters.refused += c.refused;
        self.bytes_sent += conn.totals().1;
    }
}

#[derive(Default)]
struct Inner {
    open: HashMap<u64, (Arc<Conn>, Instant)>,
    opened: u64,
    /// Of those that have ended.
    figures: Figures,
}

/// See the module. All methods may be called from any thread.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    ended: Notify,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, which has its handle.
    pub fn add(&self, conn: &Arc<Conn>) {
        let mut inner = self.lock();
        inner.opened += 1;
        let entry = (conn.clone(), Instant::now());
        inner.open.insert(conn.handle(), entry);
    }

    /// One less, if it is there; `tell` gets the time that it took, before
    /// anybody can count none left.
    pub fn remove(&self, conn: &Conn, tell: impl FnOnce(Duration)) {
        {
            let mut inner = self.lock();
            if let Some((_, since)) = inner.open.remove(&conn.handle()) {
                inner.figures.count(conn);
                tell(since.elapsed());
            }
        }
        self.one_less();
    }

    /// How many are in progress.
    pub fn live(&self) -> usize {
        self.lock().open.len()
    }

    /// Those in progress.
    pub fn conns(&self) -> Vec<Arc<Conn>> {
        self.lock().open.values().map(|(c, _)| c.clone()).collect()
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

    /// Numbers count from the beginning, but those of `open` and
    /// `queued_bytes`, which are of now.
    pub fn stats(&self) -> serde_json::Value {
        let mut now = Figures::default();
        let mut queued = 0;
        let inner = self.lock();
        for (conn, _) in inner.open.values() {
            now.count(conn);
            queued += conn.buffered();
        }
        let (then, now_counters) = (&inner.figures, now.counters);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "connections": {
                "open": inner.open.len(),
                "opened": inner.opened,
            },
            "events": then.counters.events + now_counters.events,
            "comments": then.counters.comments + now_counters.comments,
            "refused": then.counters.refused + now_counters.refused,
            "bytes_sent": then.bytes_sent + now.bytes_sent,
            "queued_bytes": queued,
        })
    }
}
