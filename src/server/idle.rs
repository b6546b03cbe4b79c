//! Connections that wait for a request, of which nothing has come: they make
//! room for others.

use super::lock;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Held by a connection that was called, until its place is free, or it has
/// found that it is idle no more.
pub type Called = oneshot::Sender<Infallible>;

type Key = (Instant, u64);

/// Who is idle, by the time from which it may be called: the longest first.
#[derive(Default)]
pub struct Idle {
    waiting: Mutex<BTreeMap<Key, oneshot::Sender<Called>>>,
    added: Notify,
    last: AtomicU64,
}

impl Idle {
    /// One more, which may be called from then on.
    pub fn add(self: &Arc<Self>, from: Instant) -> Seat {
        let key = (from, self.last.fetch_add(1, Ordering::Relaxed));
        let (caller, call) = oneshot::channel();
        lock(&self.waiting).insert(key, caller);
        self.added.notify_one();
        Seat {
            idle: self.clone(),
            key,
            call,
        }
    }

    /// Calls the one that is idle longest; what it returns ends when that has
    /// made room or will not. Else the time when there is one to call.
    pub fn call(&self) -> Result<oneshot::Receiver<Infallible>, Option<Instant>> {
        let mut waiting = lock(&self.waiting);
        loop {
            let first = waiting.first_entry().ok_or(None)?;
            if first.key().0 > Instant::now() {
                return Err(Some(first.key().0));
            }
            let (called, done) = oneshot::channel();
            // Else it is about to leave.
            if first.remove().send(called).is_ok() {
                return Ok(done);
            }
        }
    }

    /// Waits for one more.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        lock(&self.waiting).len()
    }
}

/// A place among the idle ones, until it is dropped.
pub struct Seat {
    idle: Arc<Idle>,
    key: Key,
    call: oneshot::Receiver<Called>,
}

impl Seat {
    /// Waits to be called.
    pub async fn called(&mut self) -> Called {
        match (&mut self.call).await {
            Ok(called) => called,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.idle.waiting).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_is_called_first_and_who_has_left_is_not() {
        let idle = Arc::<Idle>::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut late = idle.add(now + second);
        let mut first = idle.add(now);
        drop(idle.add(now));
        assert_eq!(idle.len(), 2);
        let done = idle.call().unwrap();
        let called = first.called().await;
        assert_eq!(idle.call().unwrap_err(), Some(now + second));
        drop(called);
        assert!(done.await.is_err(), "that is over");
        tokio::time::sleep(second).await;
        let _done = idle.call().unwrap();
        late.called().await;
        drop((first, late));
        assert_eq!(idle.call().unwrap_err(), None);
    }
}
