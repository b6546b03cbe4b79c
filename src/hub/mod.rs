//! Topics, their history, and their subscribers: publish once, everyone gets
//! it.
//!
//! Lock order: `turn`, then `topics`, then a connection's. Delivery holds no
//! lock of the hub's but `turn`, so a slow write delays nobody's publish.

mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod topics;

pub use subscription::{Begin, Subscription, Wish};
pub use topic::{TopicChange, TopicSettings};

use crate::chunk::Chunk;
use crate::conn::{Batch, Conn, Host, Published, Watch};
use crate::error::{Error, Result};
use crate::frame::{self, Event};
use crate::limits;
use crate::ring::Entry;
use crate::sys;
use bytes::BufMut;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use topics::{Subscriptions, Topics, check_topic};

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
    topics: Mutex<Topics>,
    turn: Mutex<()>,
    /// Something is pending or on its way.
    behind: AtomicBool,
    high: AtomicUsize,
    asked: AtomicBool,
    dropped: AtomicU64,
    overflows: AtomicU64,
}

impl Hub {
    /// An empty hub. The epoch tells this one's ids from those of another, or
    /// of one before.
    pub fn new(
        owner: Box<dyn Owner>,
        epoch: &str,
        defaults: TopicSettings,
        total_bytes: usize,
    ) -> Self {
        Hub {
            owner,
            epoch: epoch.into(),
            topics: Mutex::new(Topics::new(defaults, total_bytes)),
            turn: Mutex::default(),
            behind: AtomicBool::new(false),
            high: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
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

    /// Publishes an event; its number. `event.id` is the application's own id,
    /// if any; without one the event gets `epoch.number`. Never waits for a
    /// client.
    pub fn publish(&self, topic: &str, event: &Event<'_>, key: Option<&str>) -> Result<u64> {
        check_topic(topic)?;
        event.check()?;
        let now = self.owner.now_ms();
        let (seq, waiting) = {
            let mut t = self.lock();
            let seq = t.publish(topic, now, |topic, seq| {
                let id = event.id.map_or_else(|| self.id(seq).into(), Cow::from);
                let framed = Event {
                    id: Some(&id),
                    ..*event
                };
                Entry::new(topic, seq, now, key, event.id, &framed)
            })?;
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
                // Not high: what it dropped may have brought it down.
                if high || sub.high.load(Ordering::Acquire) {
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
        if self.is_ready() {
            return true;
        }
        // Without a subscriber there is no host that could be told later; with
        // what is pending delivered, only a subscriber is left to wait for.
        self.deliver();
        self.asked.store(true, Ordering::Release);
        // What changed in between has told nobody.
        self.is_ready() && self.asked.swap(false, Ordering::AcqRel)
    }

    fn is_ready(&self) -> bool {
        self.high.load(Ordering::Acquire) == 0
            && self.lock().pending_bytes < limits::READY_PENDING_BYTES
    }

    fn tell_ready(&self) {
        if self.asked.load(Ordering::Acquire)
            && self.is_ready()
            && self.asked.swap(false, Ordering::AcqRel)
        {
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
        if names.is_empty() || names.len() > limits::TOPICS_OF_ONE {
            return Err(Error::TopicCount);
        }
        names.iter().try_for_each(|name| check_topic(name))?;
        frame::check(Some(wish.reset_event), None)?;
        let now = self.owner.now_ms();
        let mut t = self.lock();
        let set = t.join(names, now)?;
        let names = t.sets[&set].topics.clone();
        let (begin, since) = t.begin(&names, &self.epoch, wish.last_event_id, now);
        let entries = t.missed(&names, begin, since);
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
            let replayed = self.replay(&t, conn, &entries, begin, wish.reset_event);
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
        if let Some(host) = conn.host() {
            self.owner.host(host);
        }
        Ok((sub, begin))
    }

    fn replay(
        &self,
        t: &Topics,
        conn: &Arc<Conn>,
        entries: &[Arc<Entry>],
        begin: Begin,
        reset_event: &str,
    ) -> Result<()> {
        let mut chunks = Vec::with_capacity(entries.len() + 2);
        let reset = begin.reason().map(|reason| {
            let data = json!({ "reason": reason }).to_string();
            let event = Event {
                data: Some(&data),
                event: Some(reset_event),
                ..Event::default()
            };
            Chunk::new(event.encoded_len(), |b| event.encode(b))
        });
        chunks.extend(&reset);
        chunks.extend(entries.iter().map(|e| e.chunk()));
        // An id at once, so that a client can resume before its first event;
        // and after a replay, which may end with an older one.
        let id = self.id(t.seq);
        let up_to_date = entries
            .last()
            .is_some_and(|e| e.seq == t.seq && e.id.is_none());
        let cursor = (!up_to_date).then(|| {
            let block = format!("id: {id}\n\n");
            Chunk::new(block.len(), |b| b.put_slice(block.as_bytes()))
        });
        chunks.extend(&cursor);
        conn.replay(&chunks, entries.len() as u64)
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
            "published": t.seq,
            "connections": connections,
            "pending_bytes": t.pending_bytes,
            "kept_bytes": t.kept_bytes(),
            "evicted": t.evicted,
            "dropped": self.dropped.load(Ordering::Relaxed),
            "overflows": self.overflows.load(Ordering::Relaxed),
            "high": self.high.load(Ordering::Relaxed),
            "topics": topics,
        })
    }
}
