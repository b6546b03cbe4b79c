//! What a hub feeds: events on their way, who takes them, and whom that one
//! tells. All that hubs and connections know of each other.

use crate::core::chunk::Chunk;
use crate::core::error::Result;
use crate::core::outbox::Policy;
use crate::core::ring::Entry;
use crate::core::state::Reason;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

/// Published events on their way to connections.
pub struct Batch {
    entries: Vec<Arc<Entry>>,
    /// Of more than one.
    joined: Option<Chunk>,
    now_ms: u64,
}

impl Batch {
    /// Of one event at least, oldest first; the time is on the clock of
    /// connections' hosts.
    pub fn new(entries: Vec<Arc<Entry>>, now_ms: u64) -> Self {
        let joined = (entries.len() > 1)
            .then(|| Chunk::join(&entries.iter().map(|e| e.chunk()).collect::<Vec<_>>()));
        Batch {
            entries,
            joined,
            now_ms,
        }
    }

    /// All of them, as one write.
    pub fn joined(&self) -> &Chunk {
        self.joined.as_ref().unwrap_or(self.entries[0].chunk())
    }

    /// They.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// When it was made.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether those are its events.
    pub fn is_of(&self, entries: &[Arc<Entry>]) -> bool {
        self.entries.len() == entries.len()
            && self
                .entries
                .iter()
                .zip(entries)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// What became of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It was written or queued.
    Taken {
        /// Events that were new to the connection.
        delivered: u64,
        /// The queue is above its high mark.
        high: bool,
        /// Events that the policy left out, of these or of those before.
        dropped: u64,
    },
    /// The connection is closed, by this perhaps (reason `queue_overflow`).
    Closed,
}

/// What can subscribe to a hub: connections. A hub is made for one kind, so that a
/// delivery calls it straight. Called without a hub's lock on topics held, but for
/// [`Subscriber::watch`].
pub trait Subscriber: Send + Sync + Sized + 'static {
    /// Tells somebody else, too, of marks and the end: one at a time.
    fn watch(&self, watcher: Weak<dyn Watch>) -> Result<()>;
    /// Ends that, if it is this one.
    fn unwatch<T>(&self, watcher: *const T);
    /// Queues events from before, whatever their size; starts the stream if
    /// need be. Writes nothing yet.
    fn replay(self: &Arc<Self>, chunks: &[&Chunk], events: u64) -> Result<()>;
    /// Takes those published events that are not before `next`, and moves it
    /// on: written at once if nothing waits, else queued as the policy says.
    fn publish(self: &Arc<Self>, batch: &Batch, policy: &Policy, next: &AtomicU64) -> Published;
    /// Has the processor fetch what [`Subscriber::publish`] touches.
    fn prefetch(&self);
    /// The queue is above its high mark, and has not drained since.
    fn is_high(&self) -> bool;
    /// Bytes queued.
    fn buffered(&self) -> usize;
    /// It closed as its queue was full.
    fn has_overflowed(&self) -> bool;
    /// Closes it in order: what is queued is still sent.
    fn shut_down(self: &Arc<Self>, reason: Reason);
    /// Only a hub has it any more.
    fn is_let_go(&self) -> bool;
    /// Closes it if nobody can use it any more.
    fn end_if_unreachable(self: &Arc<Self>);
}

/// Somebody else whom a connection's queue and end concern: its subscription. Called without the
/// connection's lock held.
pub trait Watch: Send + Sync {
    /// The queue has reached the high mark, or has fallen to the low one.
    fn marked(&self, high: bool);
    /// The application is about to add something of its own, or to close: what
    /// was published before goes first.
    fn catch_up(&self);
    /// It does not care any more.
    fn is_over(&self) -> bool;
    /// The connection closed.
    fn closed(&self);
}
