//! One connection's subscription: how it begins, and what became of it.

use super::Hub;
use super::fanout::Set;
use crate::core::counts::SubscriptionCounts;
use crate::core::limits;
use crate::core::outbox::{Full, Policy};
use crate::feed::{Subscriber, Watch};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How a subscription begins and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The id that the client has seen; empty or `None`: it is new.
    pub last_event_id: Option<&'a str>,
    /// When its queue is full.
    pub policy: Policy,
    /// The type of the event that says "you missed something".
    pub reset_event: &'a str,
    /// A new client gets so many of the newest events first.
    pub last: usize,
    /// It may name topics that do not exist; `None`: as the hub says.
    pub create: Option<bool>,
    /// Topics that it may name.
    pub max_topics: usize,
}

impl Wish<'_> {
    /// An id that no event ever has, for one that is no text.
    pub const UNKNOWN_ID: &'static str = "\0";
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Wish {
            last_event_id: None,
            policy: Policy {
                full: Full::Disconnect,
                max_bytes: limits::SUBSCRIPTION_BYTES,
                max_events: limits::SUBSCRIPTION_EVENTS,
            },
            reset_event: "reset",
            last: 0,
            create: None,
            max_topics: limits::TOPICS_OF_ONE,
        }
    }
}

/// One connection's subscription to a set of topics.
#[repr(C)] // What each delivery touches comes first.
pub struct Subscription<S> {
    pub(super) conn: Arc<S>,
    /// The first number that it has not got yet; under the connection's lock.
    pub(super) next: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// Its replay is queued.
    pub(super) begun: AtomicBool,
    pub(super) over: AtomicBool,
    pub(super) high: AtomicBool,
    pub(super) dropped: AtomicU64,
    pub(super) policy: Policy,
    pub(super) set: Arc<Set<S>>,
    pub(super) hub: Weak<Hub<S>>,
    /// In the set, kept by whoever has its lock.
    pub(super) place: AtomicUsize,
    /// Held until its replay is queued.
    pub(super) beginning: Mutex<()>,
}

impl<S: Subscriber> Watch for Subscription<S> {
    fn marked(&self, high: bool) {
        self.set_high(high);
    }

    fn catch_up(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.catch_up(self);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.hub.strong_count() == 0
    }

    fn closed(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.remove(self);
        }
    }
}

#[cfg(test)]
impl Subscription<crate::conn::Conn> {
    /// One whose connection nobody has.
    pub(super) fn of_nobody(set: &Arc<Set<crate::conn::Conn>>) -> Arc<Self> {
        Arc::new(Subscription::new(
            crate::conn::Conn::detached(),
            set.clone(),
            1,
            Wish::default().policy,
            Weak::new(),
        ))
    }
}

impl<S: Subscriber> Subscription<S> {
    /// One that has got what is before the number `next`, and has not begun.
    pub(super) fn new(
        conn: Arc<S>,
        set: Arc<Set<S>>,
        next: u64,
        policy: Policy,
        hub: Weak<Hub<S>>,
    ) -> Self {
        Subscription {
            conn,
            next: AtomicU64::new(next),
            delivered: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            over: AtomicBool::new(false),
            high: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            policy,
            set,
            hub,
            place: AtomicUsize::new(0),
            beginning: Mutex::default(),
        }
    }

    /// Waits, a moment at most, until its replay is queued: what is published
    /// comes behind it.
    pub(super) fn wait_until_begun(&self) {
        if !self.begun.load(Ordering::Acquire) {
            let begun = self.beginning.lock();
            drop(begun.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Ends it, after what was published before; the connection stays, but one
    /// that was handed over.
    pub fn unsubscribe(&self) {
        self.catch_up();
        self.closed();
        self.conn.end_if_unreachable();
    }

    /// Events delivered to the connection's queue or socket and not taken back,
    /// and left out.
    pub fn counts(&self) -> SubscriptionCounts {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let taken = self.delivered.load(Ordering::Relaxed);
        SubscriptionCounts {
            delivered: taken.saturating_sub(dropped),
            dropped,
            queued_bytes: self.conn.buffered() as u64,
            active: u64::from(!self.is_over()),
        }
    }

    /// Counts it among those above their high mark, or no more.
    pub(super) fn set_high(&self, high: bool) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let is_high = || !self.over.load(Ordering::Acquire) && self.conn.is_high();
        let little_pending = || hub.little_pending();
        if hub.ready.mark(&self.high, high, is_high, little_pending) {
            hub.owner.ready();
        }
    }
}
