//! One connection's subscription: how it begins, and what became of it.

use super::Hub;
use crate::conn::{Conn, Watch};
use crate::core::limits;
use crate::core::outbox::{Full, Policy};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

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

/// How a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Begin {
    /// Without an id: live events only, and the state of state topics.
    New = 0,
    /// After the client's id, with all that it missed.
    Resumed = 1,
    /// The client missed events that are gone: a topic of its own has evicted
    /// one after its id.
    TooOld = 2,
    /// The id is of another epoch (the hub has restarted since) or was never
    /// given out.
    Unknown = 3,
}

impl Begin {
    /// What the reset event says, where there is one.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Begin::New | Begin::Resumed => None,
            Begin::TooOld => Some("too_old"),
            Begin::Unknown => Some("unknown_id"),
        }
    }
}

/// One connection's subscription to a set of topics.
#[repr(C)] // What each delivery touches comes first.
pub struct Subscription {
    pub(super) conn: Arc<Conn>,
    /// The first number that it has not got yet; under the connection's lock.
    pub(super) next: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) over: AtomicBool,
    pub(super) high: AtomicBool,
    pub(super) dropped: AtomicU64,
    pub(super) policy: Policy,
    pub(super) set: u64,
    pub(super) hub: Weak<Hub>,
}

impl Watch for Subscription {
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

impl Subscription {
    /// Ends it, after what was published before; the connection stays.
    pub fn unsubscribe(&self) {
        self.catch_up();
        self.closed();
    }

    /// Events delivered to the connection's queue or socket and not taken back,
    /// and left out.
    pub fn stats(&self) -> serde_json::Value {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let taken = self.delivered.load(Ordering::Relaxed);
        json!({
            "delivered": taken.saturating_sub(dropped),
            "dropped": dropped,
            "queued_bytes": self.conn.buffered(),
            "active": !self.is_over(),
        })
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
