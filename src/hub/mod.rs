//! Topics, their history, and their subscribers: publish once, everyone gets
//! it.
//!
//! Lock order: a subscription's `beginning`, `turn`, `ready`, `topics`, those of
//! `fanout`, then a connection's. Delivery holds no lock of the hub's but `turn`, so a
//! slow write delays nobody's publish.

mod crowd;
mod cursor;
mod deliver;
mod draft;
#[cfg(test)]
mod edges;
mod fanout;
mod history;
mod ids;
#[cfg(test)]
mod model;
mod ready;
mod subscription;
#[cfg(test)]
mod tests;
mod topics;

pub use cursor::Begin;
pub use history::{TopicChange, TopicSettings};
pub use subscription::{Subscription, Wish};

use crate::core::counts::{HubCounts, TopicCounts};
use crate::core::error::{Error, Result};
use crate::core::frame::{self, Event};
use crate::core::limits;
use crate::core::reason::Why;
use crate::core::ring::Entry;
use crate::feed::{Subscriber, Watch};
use crowd::Part;
use cursor::{Cursor, Outset};
use deliver::Turn;
use draft::Draft;
use history::{Filling, Gone, Look};
use ids::Ids;
use parking_lot::MutexGuard;
use ready::Ready;
use std::cmp::Reverse;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use topics::{Figures, Topics, check_topic};

/// How often a state that is being made looks for what came meanwhile: it is quicker
/// than publishers are, so the second look finds few.
const FILL_ROUNDS: usize = 16;

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
pub trait Owner<S>: Send + Sync {
    /// Something is to be delivered.
    fn pending(&self);
    /// [`Hub::ready`] was false, and would be true now.
    fn ready(&self);
    /// Somebody subscribes: whose host is to be told when the hub is ready.
    fn joins(&self, subscriber: &S);
    /// It has subscribed to so many topics, and gets so many events again.
    fn joined(&self, _subscriber: &S, _topics: usize, _begin: Begin, _events: u64) {}
    /// The time, milliseconds, on the clock of the subscribers.
    fn now_ms(&self) -> u64;
}

/// The lock on topics, and what goes while it is held: that is dropped behind it.
struct Held<'a, S: Subscriber> {
    topics: MutexGuard<'a, Topics<S>>,
    gone: Gone,
}

impl<S: Subscriber> Deref for Held<'_, S> {
    type Target = Topics<S>;
    fn deref(&self) -> &Topics<S> {
        &self.topics
    }
}

impl<S: Subscriber> DerefMut for Held<'_, S> {
    fn deref_mut(&mut self) -> &mut Topics<S> {
        &mut self.topics
    }
}

impl<S: Subscriber> Drop for Held<'_, S> {
    fn drop(&mut self) {
        // The fields are dropped after this, in their order.
        self.gone = self.topics.take_gone();
    }
}

/// See the module. All methods may be called from any thread.
pub struct Hub<S> {
    owner: Box<dyn Owner<S>>,
    ids: Ids,
    create: bool,
    topics: parking_lot::Mutex<Topics<S>>,
    /// Fair: a publisher who wants it gets it after a part.
    turn: parking_lot::Mutex<Turn<S>>,
    /// The number of the last event that was to be delivered, once it is among them.
    newest: AtomicU64,
    /// The number of the last event, as far as one knows who has no lock.
    about: AtomicU64,
    connections: AtomicUsize,
    ready: Ready,
    dropped: AtomicU64,
    overflows: AtomicU64,
}

impl<S: Subscriber> Hub<S> {
    /// An empty hub. The epoch tells this one's ids from those of another, or
    /// of one before.
    pub fn new(owner: Box<dyn Owner<S>>, epoch: &str, settings: &Settings) -> Self {
        Hub {
            owner,
            ids: Ids::new(epoch, settings.own_ids),
            create: settings.create,
            topics: parking_lot::Mutex::new(Topics::new(settings.topics, settings.total_bytes)),
            turn: parking_lot::Mutex::default(),
            newest: AtomicU64::new(0),
            about: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            ready: Ready::default(),
            dropped: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> Held<'_, S> {
        Held {
            topics: self.topics.lock(),
            gone: Gone::default(),
        }
    }

    /// Does something in steps until one says `false`. Whoever waits for the lock has
    /// it between two: taken again at once it would be nobody else's for long.
    fn in_steps(&self, mut step: impl FnMut(&mut Topics<S>) -> bool) {
        let mut more = true;
        while more {
            let mut topics = self.topics.lock();
            more = step(&mut topics);
            let gone = topics.take_gone();
            MutexGuard::unlock_fair(topics);
            drop(gone);
        }
    }

    /// What stands before the dot in its ids.
    pub fn epoch(&self) -> &str {
        self.ids.epoch()
    }

    /// Settings of one topic, from now on.
    pub fn set_topic(&self, name: &str, change: &TopicChange) -> Result<()> {
        check_topic(name)?;
        let now = self.owner.now_ms();
        let old = self.lock().set_topic(name, change, now)?;
        drop(old);
        self.fill(name);
        self.trim(&[name], now);
        Ok(())
    }

    /// Makes the state of a topic that has none yet, of its history, while others go on;
    /// the few events that came meanwhile are added at the end.
    fn fill(&self, name: &str) {
        let mut filling = Filling::default();
        let mut rounds = 0..FILL_ROUNDS;
        loop {
            let at_once = rounds.next().is_none();
            let missing = self.lock().fill(name, &mut filling, at_once);
            let Some(missing) = missing else { return };
            filling.take(&missing);
        }
    }

    /// Evicts from these topics what their limits do not allow.
    fn trim(&self, names: &[&str], now: u64) {
        self.in_steps(|t| t.trim_some(names, now));
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
        if event.is_empty() {
            // Nothing that could be sent.
            if let Some(key) = key.filter(|_| delete) {
                // It has no id either: nothing of it is sent.
                let silent = |topic: &Arc<str>, seq| {
                    Entry::new(topic, seq, now, Some(key), true, event.id, event)
                };
                self.lock().delete_key(topic, key, silent);
                return Ok(0);
            }
            if self.ids.are_own() {
                return Err(Error::BadArgument);
            }
        }
        let draft = |seq| Draft::new(&self.ids, topic, now, event, &put, seq);
        let mut drafted = draft(self.about.load(Ordering::Relaxed) + 1);
        let (seq, waiting) = {
            let mut t = loop {
                let t = self.lock();
                let seq = t.seq + 1;
                if drafted.fits(seq) {
                    break t;
                }
                // Others have had those numbers: no more than once for each digit.
                drop(t);
                drafted = draft(seq);
            };
            let make = |topic: &Arc<str>, seq| drafted.number(topic, seq);
            let (seq, pends) = t.publish(topic, now, !quiet, make)?;
            self.about.store(seq, Ordering::Relaxed);
            if !pends {
                return Ok(seq);
            }
            self.newest.store(seq, Ordering::Release);
            (seq, t.pending_bytes)
        };
        if waiting >= limits::PENDING_BYTES {
            self.lend(waiting);
        } else {
            self.owner.pending();
        }
        Ok(seq)
    }

    /// An id of this hub's.
    pub fn id(&self, seq: u64) -> String {
        self.ids.of(seq)
    }

    // ---- subscribing

    /// Subscribes a connection: starts its stream, replays, and joins the live
    /// events without a gap.
    pub fn subscribe(
        self: &Arc<Self>,
        conn: &Arc<S>,
        names: &[&str],
        wish: &Wish<'_>,
    ) -> Result<(Arc<Subscription<S>>, Begin)> {
        if names.is_empty() || names.len() > wish.max_topics.min(limits::TOPICS_OF_ONE) {
            return Err(Error::TopicCount);
        }
        names.iter().try_for_each(|name| check_topic(name))?;
        frame::check(Some(wish.reset_event), None)?;
        // Before its queue can keep anybody waiting.
        self.owner.joins(conn);
        let now = self.owner.now_ms();
        // Little is left for when all wait.
        self.trim(names, now);
        let mut t = self.lock();
        let set = t.join(names, wish.create.unwrap_or(self.create), now)?;
        let newest = t.seq;
        let outset = Outset::new(t.histories_of(&set, now), &self.ids, newest, wish);
        let sub = Subscription::new(
            conn.clone(),
            set,
            newest + 1,
            wish.policy,
            Arc::downgrade(self),
        );
        let sub = Arc::new(sub);
        // Deliveries to it, and its end, wait until we are done.
        let beginning = sub.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let watcher: Weak<dyn Watch> = Arc::downgrade(&sub) as _;
        if let Err(e) = conn.watch(watcher) {
            t.leave(&sub.set, None, now);
            return Err(e);
        }
        sub.set.add(&sub);
        self.connections.fetch_add(1, Ordering::AcqRel);
        drop(t);
        let cursor = Cursor::new(&outset, &self.ids, wish.last);
        sub.delivered.store(cursor.count(), Ordering::Relaxed);
        let replayed = cursor.replay(conn, wish.reset_event);
        sub.begun.store(true, Ordering::Release);
        drop(beginning);
        if let Err(e) = replayed {
            self.remove(&sub);
            return Err(e);
        }
        if conn.is_high() {
            sub.set_high(true);
        }
        let (topics, events) = (names.len(), cursor.count());
        self.owner.joined(conn, topics, outset.begin, events);
        Ok((sub, outset.begin))
    }

    fn remove(&self, sub: &Subscription<S>) {
        if sub.over.swap(true, Ordering::AcqRel) {
            return;
        }
        sub.wait_until_begun();
        let now = self.owner.now_ms();
        self.lock().leave(&sub.set, Some(sub), now);
        self.connections.fetch_sub(1, Ordering::AcqRel);
        sub.conn.unwatch(sub);
        sub.set_high(false);
    }

    /// Evicts what is too old, and drops topics whose time is over.
    pub fn expire(&self) {
        let now = self.owner.now_ms();
        self.in_steps(|t| t.expire_some(now));
    }

    /// Events that were evicted, and topics that expired, since the beginning.
    pub fn let_go(&self) -> (u64, u64) {
        let t = self.lock();
        (t.histories().evicted(), t.expired_topics)
    }

    /// Ends the subscriptions of a topic, or (`None`) all, by closing their
    /// connections with that reason, after what was published before.
    pub fn close(&self, topic: Option<&str>, reason: &str) -> Result<usize> {
        topic.map_or(Ok(()), check_topic)?;
        let subscriptions = self.subscribed(topic);
        let mut batch = None;
        for sub in &subscriptions {
            sub.wait_until_begun();
            self.catch_up_with(sub, &mut batch);
            sub.conn.shut_down(reason.to_owned().into());
            self.remove(sub);
        }
        Ok(subscriptions.len())
    }

    /// All that are subscribed to that topic, or to any.
    fn subscribed(&self, topic: Option<&str>) -> Vec<Arc<Subscription<S>>> {
        let sets = match topic {
            Some(name) => {
                let channel = self.lock().channel(name).cloned();
                channel.map_or(Vec::new(), |channel| channel.sets())
            }
            None => self.lock().sets(),
        };
        let mut parts = Vec::new();
        sets.iter().for_each(|set| set.members(&mut parts));
        parts.iter().flat_map(Part::items).cloned().collect()
    }

    /// Ends all subscriptions: the hub goes. Connections that nobody else has are
    /// closed, also those that are handed over just now. Nobody subscribes any more:
    /// whoever still has the hub ends no stream that begins behind this.
    pub fn part(&self) {
        self.lock().parted = true;
        for sub in self.subscribed(None) {
            if sub.conn.is_let_go() {
                self.catch_up(&sub);
            }
            self.remove(&sub);
            // Behind that, as a hand-over asks the other way round.
            if sub.conn.is_let_go() {
                sub.conn.shut_down(Why::AppClosed.into());
            }
        }
    }

    /// The newest events that a topic has kept, or those of its state: at
    /// most so many, oldest first.
    pub fn read(&self, topic: &str, state: bool, last: usize) -> Result<Vec<Arc<Entry>>> {
        check_topic(topic)?;
        let now = self.owner.now_ms();
        self.trim(&[topic], now);
        let look = match state {
            true => Look::State,
            false => Look::Last(last),
        };
        let view = self.lock().look(topic, look, now);
        let Some(view) = view else {
            return Ok(Vec::new());
        };
        let mut entries: Vec<_> = match state {
            true => view.present().collect(),
            false => view.after(0).take(last).collect(),
        };
        entries.sort_unstable_by_key(|e| Reverse(e.seq));
        Ok(entries.into_iter().take(last).rev().cloned().collect())
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
        let channel = t.channel(topic);
        Ok(channel.map_or(0, |c| c.subscribers.load(Ordering::Relaxed)))
    }

    /// Looks at all topics, while others go on.
    fn each_topic(&self, mut look: impl FnMut(Vec<Figures>)) {
        let mut from = Some(0);
        while let Some(at) = from {
            let mut some = Vec::new();
            self.in_steps(|t| {
                (some, from) = t.figures(at, limits::EVICTED_AT_ONCE);
                false
            });
            look(some);
        }
    }

    /// Names of the topics, in order.
    pub fn topics(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.each_topic(|some| names.extend(some.into_iter().map(|f| f.0)));
        names.sort_unstable();
        names
    }

    /// Figures of now, and counts from the beginning.
    pub fn counts(&self) -> HubCounts {
        let high = self.ready.high() as u64;
        let t = self.lock();
        HubCounts {
            published: t.seq - t.silent,
            connections: self.connections.load(Ordering::Relaxed) as u64,
            pending_bytes: t.pending_bytes as u64,
            kept_bytes: t.histories().bytes() as u64,
            evicted: t.histories().evicted(),
            dropped: self.dropped.load(Ordering::Relaxed),
            overflows: self.overflows.load(Ordering::Relaxed),
            high,
        }
    }

    /// Those of a topic; `None`: there is none.
    pub fn topic_counts(&self, topic: &str) -> Result<Option<TopicCounts>> {
        check_topic(topic)?;
        Ok(self.lock().counts(topic))
    }

    /// All of them, the hub's epoch too. Topics are looked at some at a time.
    pub fn stats(&self) -> serde_json::Value {
        let mut topics = serde_json::Map::new();
        self.each_topic(|some| {
            topics.extend(some.iter().map(|(name, f)| (name.to_string(), f.json())));
        });
        let mut all = self.counts().json();
        all["epoch"] = self.epoch().into();
        // Not within `json!`, which copies.
        all["topics"] = topics.into();
        all
    }
}
