//! Topics, their history, and their subscribers: publish once, everyone gets
//! it.
//!
//! Lock order: `turn`, `ready`, `topics`, then a connection's. Delivery holds no
//! lock of the hub's but `turn`, so a slow write delays nobody's publish.

mod ready;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod topics;

pub use subscription::{Begin, Subscription, Wish};
pub use topic::{TopicChange, TopicSettings};

use crate::conn::{Batch, Conn, Host, Published, Watch};
use crate::core::chunk::Chunk;
use crate::core::error::{Error, Result};
use crate::core::frame::{self, Event};
use crate::core::limits;
use crate::core::ring::Entry;
use crate::sys;
use ready::Ready;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use topics::{Subscriptions, Topics, check_topic};

/// What a hub is like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of topics that have none of their own.
    pub topics: TopicSettings,
    /// Of all histories and states.
    pub total_bytes: usize,
    /// Events without an id of the application's have none, and no id of the
    /// hub's is ever sent.
    pub own_ids: bool,
    /// A subscriber may name topics that do not exist.
    pub create: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            topics: TopicSettings::default(),
            total_bytes: limits::REPLAY_TOTAL_BYTES,
            own_ids: false,
            create: true,
        }
    }
}

/// What becomes of an event beside that it is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Put<'a> {
    /// What it is the newest state of.
    pub key: Option<&'a str>,
    /// That state ends with it. An event without any field is none then.
    pub delete: bool,
    /// Subscribers do not get it.
    pub quiet: bool,
}

/// What a hub tells its owner.
pub trait Owner: Send + Sync {
    /// Something is to be delivered.
    fn pending(&self);
    /// [`Hub::ready`] was false, and would be true now.
    fn ready(&self);
    /// A subscriber's host: who is to be told when the hub is ready.
    fn host(&self, host: &Arc<dyn Host>);
    /// The time, milliseconds, on the clock of the connections' hosts.
    fn now_ms(&self) -> u64;
}

/// See the module. All methods may be called from any thread.
pub struct Hub {
    owner: Box<dyn Owner>,
    epoch: Box<str>,
    own_ids: bool,
    create: bool,
    topics: Mutex<Topics>,
    turn: Mutex<()>,
    /// Something is pending or on its way.
    behind: AtomicBool,
    ready: Ready,
    dropped: AtomicU64,
    overflows: AtomicU64,
}

impl Hub {
    /// An empty hub. The epoch tells this one's ids from those of another, or
    /// of one before.
    pub fn new(owner: Box<dyn Owner>, epoch: &str, settings: &Settings) -> Self {
        Hub {
            owner,
            epoch: epoch.into(),
            own_ids: settings.own_ids,
            create: settings.create,
            topics: Mutex::new(Topics::new(settings.topics, settings.total_bytes)),
            turn: Mutex::default(),
            behind: AtomicBool::new(false),
            ready: Ready::default(),
            dropped: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands before the dot in its ids.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Settings of one topic, from now on.
    pub fn set_topic(&self, name: &str, change: &TopicChange) -> Result<()> {
        check_topic(name)?;
        let now = self.owner.now_ms();
        self.lock().set_topic(name, change, now)
    }

    // ---- publishing

    /// Publishes an event; its number, 0 if there was none. `event.id` is the
    /// application's own id, if any; without one the event gets
    /// `epoch.number`. Never waits for a client.
    pub fn publish(&self, topic: &str, event: &Event<'_>, put: Put<'_>) -> Result<u64> {
        check_topic(topic)?;
        event.check()?;
        let Put { key, delete, quiet } = put;
        if delete && key.is_none() {
            return Err(Error::BadArgument);
        }
        let now = self.owner.now_ms();
        let make = |topic: &Arc<str>, seq, own: Option<&str>| {
            let id = match (event.id, own) {
                (Some(given), _) => Some(Cow::from(given)),
                (None, own) => own.map(|epoch| format!("{epoch}.{seq}").into()),
            };
            let framed = Event {
                id: id.as_deref(),
                ..*event
            };
            Entry::new(topic, seq, now, key, delete, event.id, &framed)
        };
        if event.is_empty() {
            // Nothing that could be sent.
            if let Some(key) = key.filter(|_| delete) {
                let made = |topic: &Arc<str>, seq| make(topic, seq, None);
                self.lock().delete_key(topic, key, now, made);
                return Ok(0);
            }
            if self.own_ids {
                return Err(Error::BadArgument);
            }
        }
        let (seq, waiting) = {
            let mut t = self.lock();
            let epoch = self.id_epoch();
            let seq = t.publish(topic, now, !quiet, |topic, seq| make(topic, seq, epoch))?;
            if quiet {
                return Ok(seq);
            }
            self.behind.store(true, Ordering::Release);
            (seq, t.pending_bytes)
        };
        if waiting >= limits::PENDING_BYTES {
            // The task is behind: lend it this thread, so that nothing grows.
            self.deliver();
        } else {
            self.owner.pending();
        }
        Ok(seq)
    }

    /// What its ids begin with, if it gives any out.
    fn id_epoch(&self) -> Option<&str> {
        (!self.own_ids).then_some(&*self.epoch)
    }

    /// An id of this hub's.
    pub fn id(&self, seq: u64) -> String {
        format!("{}.{seq}", self.epoch)
    }

    /// Gives what is pending to every subscriber. One thread at a time does;
    /// a second one waits, and finds nothing or the rest.
    pub fn deliver(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while self.deliver_some() {}
        self.tell_ready();
    }

    fn deliver_some(&self) -> bool {
        let work: Vec<(Subscriptions, Vec<Arc<Entry>>)>;
        {
            let mut t = self.lock();
            if !t.take_pending(limits::BATCH_BYTES) {
                self.behind.store(false, Ordering::Release);
                return false;
            }
            let mut of_set: HashMap<u64, Vec<Arc<Entry>>> = HashMap::new();
            for entry in &t.leaving {
                let topic = t.by_name.get(&entry.topic);
                for set in topic.map_or(&[][..], |topic| &topic.sets) {
                    of_set.entry(*set).or_default().push(entry.clone());
                }
            }
            let subscribed = of_set.into_iter().filter_map(|(set, entries)| {
                let subscriptions = t.sets.get(&set)?.subscriptions.clone();
                Some((subscriptions, entries))
            });
            work = subscribed.collect();
        }
        let now_ms = self.owner.now_ms();
        for (subscriptions, entries) in work {
            let batch = Batch::new(entries, now_ms);
            for (i, sub) in subscriptions.iter().enumerate() {
                // A send puts much else into the cache: what the next ones
                // need would have to be waited for.
                if let Some(later) = subscriptions.get(i + 16) {
                    sys::prefetch(&**later, 1);
                }
                if let Some(later) = subscriptions.get(i + 8) {
                    later.conn.prefetch();
                }
                self.deliver_to(sub, &batch);
            }
        }
        true
    }

    /// Delivers to one subscriber, before its turn, what was published by now:
    /// the application is about to add to the stream, or to end it.
    fn catch_up(&self, sub: &Subscription) {
        if !self.behind.load(Ordering::Acquire) || sub.over.load(Ordering::Acquire) {
            return;
        }
        let entries: Vec<_> = {
            let t = self.lock();
            let Some(set) = t.sets.get(&sub.set) else {
                return;
            };
            let all = t.leaving.iter().chain(&t.pending);
            let next = sub.next.load(Ordering::Relaxed);
            all.filter(|e| e.seq >= next && set.topics.binary_search(&e.topic).is_ok())
                .cloned()
                .collect()
        };
        if !entries.is_empty() {
            self.deliver_to(sub, &Batch::new(entries, self.owner.now_ms()));
        }
    }

    fn deliver_to(&self, sub: &Subscription, batch: &Batch) {
        if sub.over.load(Ordering::Acquire) {
            return;
        }
        match sub.conn.publish(batch, &sub.policy, &sub.next) {
            Published::Taken {
                delivered,
                high,
                dropped,
            } => {
                sub.delivered.fetch_add(delivered, Ordering::Relaxed);
                if dropped > 0 {
                    sub.dropped.fetch_add(dropped, Ordering::Relaxed);
                    self.dropped.fetch_add(dropped, Ordering::Relaxed);
                }
                // Whoever changes it looks again, so the mark may be old here. Not
                // high: what it dropped may have brought it down.
                if high != sub.high.load(Ordering::Acquire) {
                    sub.set_high(high);
                }
            }
            Published::Closed => {
                if sub.conn.reason().as_deref() == Some("queue_overflow") {
                    self.overflows.fetch_add(1, Ordering::Relaxed);
                }
                self.remove(sub);
            }
        }
    }

    /// Whether no subscriber's queue is above its high mark and little is
    /// pending. If not, [`Owner::ready`] is called once it is so.
    pub fn ready(&self) -> bool {
        let is_ready = self.ready.high() == 0 && self.little_pending();
        is_ready || {
            // Without a subscriber there is no host that could be told later;
            // with what is pending delivered, only a subscriber is left to wait for.
            self.deliver();
            self.ready.ask(|| self.little_pending())
        }
    }

    fn little_pending(&self) -> bool {
        self.lock().pending_bytes < limits::READY_PENDING_BYTES
    }

    fn tell_ready(&self) {
        if self.ready.take(|| self.little_pending()) {
            self.owner.ready();
        }
    }

    // ---- subscribing

    /// Subscribes a connection: starts its stream, replays, and joins the live
    /// events without a gap.
    pub fn subscribe(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        names: &[&str],
        wish: &Wish<'_>,
    ) -> Result<(Arc<Subscription>, Begin)> {
        if names.is_empty() || names.len() > wish.max_topics.min(limits::TOPICS_OF_ONE) {
            return Err(Error::TopicCount);
        }
        names.iter().try_for_each(|name| check_topic(name))?;
        frame::check(Some(wish.reset_event), None)?;
        // Before its queue can keep anybody waiting.
        if let Some(host) = conn.host() {
            self.owner.host(host);
        }
        let now = self.owner.now_ms();
        let mut t = self.lock();
        let set = t.join(names, wish.create.unwrap_or(self.create), now)?;
        let names = t.sets[&set].topics.clone();
        let (begin, since, by_own) = t.begin(&names, self.id_epoch(), wish.last_event_id, now);
        let entries = t.missed(&names, begin, since, wish.last);
        // An id at once, so that a client can resume before its first event;
        // and after a replay that ends with an older one. What the application
        // has given stays while it says as much.
        let has_id = match entries.last() {
            Some(e) if e.id.is_some() => e.seq >= t.newest(&names),
            Some(e) => e.seq == t.seq,
            None => by_own,
        };
        let cursor = (!self.own_ids && !has_id).then(|| self.id(t.seq));
        let sub = Arc::new(Subscription {
            conn: conn.clone(),
            next: AtomicU64::new(t.seq + 1),
            delivered: AtomicU64::new(entries.len() as u64),
            over: AtomicBool::new(false),
            high: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            policy: wish.policy,
            set,
            hub: Arc::downgrade(self),
        });
        // Its end, from now on, waits for the lock that we hold.
        let watcher: Weak<dyn Watch> = Arc::downgrade(&sub) as _;
        let began = conn.watch(watcher).and_then(|()| {
            let replayed = replay(conn, &entries, begin, wish.reset_event, cursor.as_deref());
            replayed.inspect_err(|_| conn.unwatch(&*sub))
        });
        if let Err(e) = began {
            t.leave(set, &sub, now);
            return Err(e);
        }
        t.add(set, sub.clone());
        drop(t);
        if conn.is_high() {
            sub.set_high(true);
        }
        Ok((sub, begin))
    }

    fn remove(&self, sub: &Subscription) {
        if sub.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let now = self.owner.now_ms();
        self.lock().leave(sub.set, sub, now);
        sub.conn.unwatch(sub);
        sub.set_high(false);
    }

    /// Evicts what is too old, and drops topics whose time is over.
    pub fn expire(&self) {
        let now = self.owner.now_ms();
        self.lock().expire(now);
    }

    /// Ends the subscriptions of a topic, or (`None`) all, by closing their
    /// connections with that reason.
    pub fn close(&self, topic: Option<&str>, reason: &str) -> Result<usize> {
        topic.map_or(Ok(()), check_topic)?;
        self.deliver();
        let subscriptions: Vec<_> = {
            let t = self.lock();
            let sets: Vec<u64> = match topic {
                Some(name) => t.by_name.get(name).map_or(Vec::new(), |t| t.sets.clone()),
                None => t.sets.keys().copied().collect(),
            };
            let sets = sets.iter().filter_map(|set| t.sets.get(set));
            sets.flat_map(|set| set.subscriptions.iter().cloned())
                .collect()
        };
        for sub in &subscriptions {
            sub.conn.shut_down(reason.to_owned().into());
            self.remove(sub);
        }
        Ok(subscriptions.len())
    }

    /// The newest events that a topic has kept, or those of its state: at
    /// most so many, oldest first.
    pub fn read(&self, topic: &str, state: bool, last: usize) -> Result<Vec<Arc<Entry>>> {
        check_topic(topic)?;
        let now = self.owner.now_ms();
        Ok(self.lock().read(topic, state, last, now))
    }

    /// Whether a subscriber that may create no topic may name this one.
    pub fn has_topic(&self, topic: &str) -> Result<bool> {
        check_topic(topic)?;
        Ok(self.lock().exists(topic))
    }

    /// Counts the subscribers of a topic.
    pub fn subscribers(&self, topic: &str) -> Result<usize> {
        check_topic(topic)?;
        let t = self.lock();
        Ok(t.by_name.get(topic).map_or(0, |t| t.subscribers))
    }

    /// Names of the topics, in order.
    pub fn topics(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.lock().by_name.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Figures of now, and counts from the beginning.
    pub fn stats(&self) -> serde_json::Value {
        let high = self.ready.high();
        let t = self.lock();
        let connections: usize = t.sets.values().map(|s| s.subscriptions.len()).sum();
        let topics: serde_json::Map<_, _> = t
            .by_name
            .iter()
            .map(|(name, topic)| {
                let (keys, state_bytes, refused) = topic.state();
                let figures = json!({
                    "subscribers": topic.subscribers,
                    "published": topic.published,
                    "kept_events": topic.ring.len(),
                    "kept_bytes": topic.ring.bytes(),
                    "keys": keys,
                    "state_bytes": state_bytes,
                    "refused_keys": refused,
                });
                (name.to_string(), figures)
            })
            .collect();
        json!({
            "epoch": self.epoch,
            "published": t.seq - t.silent,
            "connections": connections,
            "pending_bytes": t.pending_bytes,
            "kept_bytes": t.kept_bytes(),
            "evicted": t.evicted,
            "dropped": self.dropped.load(Ordering::Relaxed),
            "overflows": self.overflows.load(Ordering::Relaxed),
            "high": high,
            "topics": topics,
        })
    }
}

fn replay(
    conn: &Arc<Conn>,
    entries: &[Arc<Entry>],
    begin: Begin,
    reset_event: &str,
    cursor: Option<&str>,
) -> Result<()> {
    let mut chunks = Vec::with_capacity(entries.len() + 2);
    let framed = |event: Event<'_>| Chunk::new(event.encoded_len(), |b| event.encode(b));
    let reset = begin.reason().map(|reason| {
        framed(Event {
            data: Some(&json!({ "reason": reason }).to_string()),
            event: Some(reset_event),
            ..Event::default()
        })
    });
    chunks.extend(&reset);
    chunks.extend(entries.iter().map(|e| e.chunk()));
    let cursor = cursor.map(|id| {
        framed(Event {
            id: Some(id),
            ..Event::default()
        })
    });
    chunks.extend(&cursor);
    conn.replay(&chunks, entries.len() as u64)
}
