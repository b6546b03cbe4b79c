//! The tokio runtime and what runs on it whatever the transport: streams on
//! sockets, the flush, the keepalive sweep, and records for the host program.

pub mod desk;
pub mod flush;
pub mod hub;
pub mod mailbox;
pub mod open;
pub mod record;
pub mod socket;
pub mod stream;
pub mod sweep;

use crate::sys;
use once_cell::sync::Lazy;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

static START: Lazy<Instant> = Lazy::new(Instant::now);

/// Milliseconds on a monotonic clock that begins about when the library does.
pub fn now_ms() -> u64 {
    Instant::now().saturating_duration_since(*START).as_millis() as u64
}

/// That time as tokio counts it.
pub fn instant(ms: u64) -> Instant {
    *START + Duration::from_millis(ms)
}

/// Worker threads when nobody says how many: the host program has a core.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

/// A runtime whose threads never see a signal.
pub fn build(workers: usize) -> io::Result<tokio::runtime::Runtime> {
    Lazy::force(&START);
    sys::with_signals_blocked(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(1)
            .thread_name("pagi-sse")
            .thread_stack_size(512 << 10)
            .enable_io()
            .enable_time()
            .build()
    })
}

/// Stops the threads by then; a little later if that is now, so that what was
/// written last leaves in order.
pub fn end(runtime: tokio::runtime::Runtime, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    runtime.shutdown_timeout(left.max(Duration::from_millis(10)));
}

/// A set of things to do and a bell: rung once however many were added.
pub struct Bell<K, V> {
    items: std::sync::Mutex<std::collections::HashMap<K, V>>,
    notify: tokio::sync::Notify,
}

impl<K: std::hash::Hash + Eq, V> Default for Bell<K, V> {
    fn default() -> Self {
        Bell {
            items: Default::default(),
            notify: tokio::sync::Notify::new(),
        }
    }
}

impl<K: std::hash::Hash + Eq, V> Bell<K, V> {
    fn items(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<K, V>> {
        self.items
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds one; a second of the same key replaces it, so the set is bounded
    /// by the number of keys.
    pub fn add(&self, key: K, value: V) {
        let first = {
            let mut items = self.items();
            let first = items.is_empty();
            items.insert(key, value);
            first
        };
        if first {
            self.notify.notify_one();
        }
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    /// Waits until something was added.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Takes all.
    pub fn take(&self) -> std::collections::HashMap<K, V> {
        std::mem::take(&mut *self.items())
    }
}

/// Connections that want attention, by handle.
pub type ConnBell = Bell<u64, Arc<crate::conn::Conn>>;
