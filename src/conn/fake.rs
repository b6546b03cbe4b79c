//! A host for tests: writes at once, like a flush task without delay, and
//! remembers what it was told.

use super::{Conn, Framing, Host, Report};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// See the module.
#[derive(Default)]
pub struct FakeHost {
    reports: Mutex<Vec<Report>>,
    now: AtomicU64,
    outputs: AtomicU64,
}

impl FakeHost {
    /// A connection of a host's own.
    pub fn conn(framing: Framing) -> (Arc<FakeHost>, Arc<Conn>) {
        let host = Arc::new(FakeHost::default());
        (host.clone(), Conn::hosted(host, framing))
    }

    /// What it was told since the last call.
    pub fn told(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap())
    }

    /// How often it was told of output, since the last call.
    pub fn outputs(&self) -> u64 {
        self.outputs.swap(0, Ordering::Relaxed)
    }

    /// The clock.
    pub fn set_now(&self, ms: u64) {
        self.now.store(ms, Ordering::Relaxed);
    }
}

impl Host for FakeHost {
    fn output(&self, conn: &Arc<Conn>) {
        self.outputs.fetch_add(1, Ordering::Relaxed);
        if !conn.framing().pull {
            conn.flush();
        }
    }
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, what: Report) {
        self.reports.lock().unwrap().push(what);
    }
}
