//! Topics, their history, and their subscribers: publish once, everyone gets
//! it.
//!
//! Lock order: `turn`, then `topics`, then a connection's. Delivery holds no
//! lock of the hub's but `turn`, so a slow write delays nobody's publish.

use crate::chunk::Chunk;
use crate::conn::{Batch, Conn, Host, Published, Watch};
use crate::error::{Error, Result};
use crate::frame::{self, Event};
use crate::limits;
use crate::outbox::Policy;
use crate::ring::{Entry, Keep, Ring};
use crate::state::Phase;
use bytes::BufMut;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a topic is like.
#[derive(Clone, Copy, Debug)]
pub struct TopicSettings {
    /// Its history.
    pub keep: Keep,
    /// It keeps the newest event of each key, for those who come.
    pub state: bool,
    /// How long it outlives its last subscriber and event, milliseconds.
    pub ttl_ms: u64,
}

impl Default for TopicSettings {
    fn default() -> Self {
        TopicSettings {
            keep: Keep {
                events: limits::REPLAY_EVENTS,
                bytes: limits::REPLAY_BYTES,
                age_ms: limits::REPLAY_AGE_MS,
            },
            state: false,
            ttl_ms: limits::TOPIC_TTL_MS,
        }
    }
}

/// How a subscription begins and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The id that the client has seen; empty or `None`: it is new.
    pub last_event_id: Option<&'a str>,
    /// When its queue is full.
    pub policy: Policy,
    /// The type of the event that says "you missed something".
    pub reset_event: &'a str,
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
    fn reason(self) -> Option<&'static str> {
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
    conn: Arc<Conn>,
    /// The first number that it has not got yet; under the connection's lock.
    next: AtomicU64,
    delivered: AtomicU64,
    over: AtomicBool,
    high: AtomicBool,
    dropped: AtomicU64,
    policy: Policy,
    set: u64,
    hub: Weak<Hub>,
}

impl Watch for Subscription {
    fn drained(&self) {
        self.set_high(false);
    }

    fn catch_up(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.catch_up(self);
        }
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
            "active": !self.over.load(Ordering::Acquire),
        })
    }

    fn set_high(&self, high: bool) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        if self.high.swap(high, Ordering::AcqRel) == high {
            return;
        }
        if high {
            hub.high.fetch_add(1, Ordering::AcqRel);
        } else {
            hub.high.fetch_sub(1, Ordering::AcqRel);
            hub.tell_ready();
        }
    }
}

struct Topic {
    settings: TopicSettings,
    ring: Ring,
    state: HashMap<Box<str>, Arc<Entry>>,
    sets: Vec<u64>,
    subscribers: usize,
    used_ms: u64,
    published: u64,
}

/// Copied when it changes while a delivery goes through it.
type Subscriptions = Arc<Vec<Arc<Subscription>>>;

struct Set {
    topics: Box<[Box<str>]>,
    subscriptions: Subscriptions,
}

#[derive(Default)]
struct Topics {
    seq: u64,
    by_name: HashMap<Box<str>, Topic>,
    settings: HashMap<Box<str>, TopicSettings>,
    sets: HashMap<u64, Set>,
    set_of: HashMap<Box<[Box<str>]>, u64>,
    last_set: u64,
    /// Published and not yet on their way.
    pending: VecDeque<(Box<str>, Arc<Entry>)>,
    pending_bytes: usize,
    /// On their way: some subscribers have got them.
    leaving: Vec<(Box<str>, Arc<Entry>)>,
    /// What the rings hold, in order, for the limit on all of them.
    order: BTreeMap<u64, Box<str>>,
    bytes: usize,
    /// Topics that expired, with their newest number; and the newest of those
    /// that are not even remembered so.
    expired: HashMap<Box<str>, u64>,
    forgotten: u64,
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
    defaults: TopicSettings,
    total_bytes: usize,
    topics: Mutex<Topics>,
    turn: Mutex<()>,
    /// Something is pending or on its way.
    behind: AtomicBool,
    high: AtomicUsize,
    asked: AtomicBool,
    evicted: AtomicU64,
    dropped: AtomicU64,
    overflows: AtomicU64,
}

/// 1 to 100 letters, digits and `.-_:/`.
fn check_topic(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_:/".contains(&b);
    if (1..=limits::TOPIC_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::TopicName)
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
            defaults,
            total_bytes,
            topics: Mutex::default(),
            turn: Mutex::default(),
            behind: AtomicBool::new(false),
            high: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
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
    pub fn set_topic(&self, name: &str, settings: TopicSettings) -> Result<()> {
        check_topic(name)?;
        let now = self.owner.now_ms();
        let mut t = self.lock();
        if !t.settings.contains_key(name) && t.settings.len() >= limits::TOPICS {
            return Err(Error::TooManyTopics);
        }
        t.settings.insert(name.into(), settings);
        self.topic(&mut t, name, now)?.settings = settings;
        Ok(())
    }

    fn topic<'t>(&self, t: &'t mut Topics, name: &str, now: u64) -> Result<&'t mut Topic> {
        if !t.by_name.contains_key(name) {
            if t.by_name.len() >= limits::TOPICS {
                return Err(Error::TooManyTopics);
            }
            let lost = t.expired.remove(name).unwrap_or(t.forgotten);
            let topic = Topic {
                settings: t.settings.get(name).copied().unwrap_or(self.defaults),
                ring: Ring::after_loss(lost),
                state: HashMap::new(),
                sets: Vec::new(),
                subscribers: 0,
                used_ms: now,
                published: 0,
            };
            t.by_name.insert(name.into(), topic);
        }
        // It was there, or has just been put there.
        t.by_name.get_mut(name).ok_or(Error::TopicName)
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
            self.topic(&mut t, topic, now)?;
            t.seq += 1;
            let seq = t.seq;
            let id = event
                .id
                .map_or_else(|| self.id(seq).into(), std::borrow::Cow::from);
            let framed = Event {
                id: Some(&id),
                ..*event
            };
            let entry = Arc::new(Entry::new(seq, now, key, event.id, &framed));
            self.keep(&mut t, topic, &entry, now);
            t.pending_bytes += entry.size();
            t.pending.push_back((topic.into(), entry));
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

    fn keep(&self, t: &mut Topics, name: &str, entry: &Arc<Entry>, now: u64) {
        let Topics {
            by_name,
            order,
            bytes,
            ..
        } = t;
        let Some(topic) = by_name.get_mut(name) else {
            return;
        };
        topic.used_ms = now;
        topic.published += 1;
        topic.ring.push(entry.clone());
        *bytes += entry.size();
        order.insert(entry.seq, name.into());
        if let (true, Some(key)) = (topic.settings.state, &entry.key) {
            let room = topic.state.len() < limits::STATE_KEYS;
            if room || topic.state.contains_key(key) {
                topic.state.insert(key.clone(), entry.clone());
            }
        }
        let mut gone = |e: &Entry| {
            *bytes -= e.size();
            order.remove(&e.seq);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        };
        topic.ring.trim(&topic.settings.keep, now, &mut gone);
        while *bytes > self.total_bytes {
            let Some((_, name)) = order.pop_first() else {
                break;
            };
            let evicted = by_name.get_mut(&name).and_then(|topic| topic.ring.evict());
            *bytes -= evicted.map_or(0, |e| e.size());
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
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
            let Topics {
                pending,
                pending_bytes,
                leaving,
                by_name,
                sets,
                ..
            } = &mut *t;
            leaving.clear();
            let mut bytes = 0;
            while bytes < limits::BATCH_BYTES {
                let Some((name, entry)) = pending.pop_front() else {
                    break;
                };
                bytes += entry.size();
                leaving.push((name, entry));
            }
            *pending_bytes -= bytes;
            if leaving.is_empty() {
                self.behind.store(false, Ordering::Release);
                return false;
            }
            let mut of_set: HashMap<u64, Vec<Arc<Entry>>> = HashMap::new();
            for (name, entry) in leaving {
                for set in by_name.get(name).map_or(&[][..], |topic| &topic.sets) {
                    of_set.entry(*set).or_default().push(entry.clone());
                }
            }
            let subscribed = of_set.into_iter().filter_map(|(set, entries)| {
                let subscriptions = sets.get(&set)?.subscriptions.clone();
                Some((subscriptions, entries))
            });
            work = subscribed.collect();
        }
        let now_ms = self.owner.now_ms();
        for (subscriptions, entries) in work {
            let batch = Batch::new(entries, now_ms);
            for (i, sub) in subscriptions.iter().enumerate() {
                if let Some(later) = subscriptions.get(i + 4) {
                    crate::sys::prefetch(&**later);
                }
                if let Some(next) = subscriptions.get(i + 2) {
                    crate::sys::prefetch(&*next.conn);
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
            all.filter(|(name, e)| e.seq >= next && set.topics.binary_search(name).is_ok())
                .map(|(_, entry)| entry.clone())
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
                if !high && sub.high.load(Ordering::Acquire) {
                    // What it dropped brought it down.
                    sub.set_high(false);
                }
                if high {
                    sub.set_high(true);
                    // It may have drained in between, and told nobody.
                    if !sub.conn.is_high() {
                        sub.set_high(false);
                    }
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
        let mut names: Vec<Box<str>> = names.iter().map(|&n| n.into()).collect();
        names.sort_unstable();
        names.dedup();
        let now = self.owner.now_ms();
        let mut t = self.lock();
        for name in &names {
            self.topic(&mut t, name, now)?.used_ms = now;
        }
        let (begin, since) = self.begin(&t, &names, wish.last_event_id);
        let entries = Self::missed(&t, &names, begin, since);
        self.replay(&t, conn, &entries, begin, wish.reset_event)?;

        let set = Self::set(&mut t, names);
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
        let Topics { sets, by_name, .. } = &mut *t;
        if let Some(set) = sets.get_mut(&set) {
            Arc::make_mut(&mut set.subscriptions).push(sub.clone());
            for name in &set.topics {
                if let Some(topic) = by_name.get_mut(name) {
                    topic.subscribers += 1;
                }
            }
        }
        drop(t);
        if let Some(host) = conn.host() {
            self.owner.host(host);
        }
        let watcher: Weak<dyn Watch> = Arc::downgrade(&sub) as _;
        conn.watch(watcher);
        if conn.phase() == Phase::Closed {
            // It closed before it was watched.
            self.remove(&sub);
        }
        Ok((sub, begin))
    }

    fn begin(&self, t: &Topics, names: &[Box<str>], id: Option<&str>) -> (Begin, u64) {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return (Begin::New, t.seq);
        };
        let rings = || names.iter().filter_map(|n| Some(&t.by_name.get(n)?.ring));
        let ours = id
            .strip_prefix(&*self.epoch)
            .and_then(|rest| rest.strip_prefix('.')?.parse::<u64>().ok())
            .filter(|&seq| seq <= t.seq);
        let since = ours.or_else(|| rings().filter_map(|ring| ring.find(id)).max());
        match since {
            None => (Begin::Unknown, 0),
            Some(since) if rings().any(|ring| ring.evicted() > since) => (Begin::TooOld, 0),
            Some(since) => (Begin::Resumed, since),
        }
    }

    /// What a subscriber gets before the live events, in order.
    fn missed(t: &Topics, names: &[Box<str>], begin: Begin, since: u64) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for topic in names.iter().filter_map(|n| t.by_name.get(n)) {
            if begin == Begin::Resumed {
                entries.extend(topic.ring.after(since).cloned());
            } else if topic.settings.state {
                entries.extend(topic.state.values().cloned());
                let reset = begin != Begin::New;
                let plain = topic.ring.after(0).filter(|e| reset && e.key.is_none());
                entries.extend(plain.cloned());
            } else if begin != Begin::New {
                entries.extend(topic.ring.after(0).cloned());
            }
        }
        entries.sort_unstable_by_key(|e| e.seq);
        entries
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

    fn set(t: &mut Topics, names: Vec<Box<str>>) -> u64 {
        let names: Box<[Box<str>]> = names.into();
        if let Some(&set) = t.set_of.get(&names) {
            return set;
        }
        t.last_set += 1;
        let set = t.last_set;
        for name in &names {
            if let Some(topic) = t.by_name.get_mut(name) {
                topic.sets.push(set);
            }
        }
        t.set_of.insert(names.clone(), set);
        t.sets.insert(
            set,
            Set {
                topics: names,
                subscriptions: Arc::default(),
            },
        );
        set
    }

    fn remove(&self, sub: &Subscription) {
        if sub.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let now = self.owner.now_ms();
        {
            let mut t = self.lock();
            let Topics {
                sets,
                set_of,
                by_name,
                ..
            } = &mut *t;
            if let Some(set) = sets.get_mut(&sub.set) {
                let subscriptions = Arc::make_mut(&mut set.subscriptions);
                if let Some(at) = subscriptions.iter().position(|s| std::ptr::eq(&**s, sub)) {
                    subscriptions.swap_remove(at);
                }
                let empty = subscriptions.is_empty();
                for name in &set.topics {
                    if let Some(topic) = by_name.get_mut(name) {
                        topic.subscribers -= 1;
                        topic.used_ms = now;
                        if empty {
                            topic.sets.retain(|&s| s != sub.set);
                        }
                    }
                }
                if empty {
                    set_of.remove(&set.topics);
                    sets.remove(&sub.set);
                }
            }
        }
        sub.set_high(false);
    }

    // ---- housekeeping

    /// Evicts what is too old, and drops topics whose time is over.
    pub fn expire(&self) {
        let now = self.owner.now_ms();
        let mut t = self.lock();
        let Topics {
            by_name,
            order,
            bytes,
            expired,
            forgotten,
            ..
        } = &mut *t;
        by_name.retain(|name, topic| {
            let mut gone = |e: &Entry| {
                *bytes -= e.size();
                order.remove(&e.seq);
            };
            topic.ring.trim(&topic.settings.keep, now, &mut gone);
            let idle = topic.subscribers == 0;
            if !idle || now.saturating_sub(topic.used_ms) <= topic.settings.ttl_ms {
                return true;
            }
            let newest = topic.ring.newest();
            while let Some(e) = topic.ring.evict() {
                gone(&e);
            }
            if newest > *forgotten {
                if expired.len() >= limits::EXPIRED_TOPICS {
                    // The memory is full: all of it becomes one number.
                    *forgotten = expired.drain().fold(*forgotten, |f, (_, seq)| f.max(seq));
                }
                expired.insert(name.clone(), newest);
            }
            false
        });
    }

    /// Ends the subscriptions of a topic, or (`None`) all, by closing their
    /// connections with that reason.
    pub fn close(&self, topic: Option<&str>, reason: &str) -> usize {
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
        subscriptions.len()
    }

    /// Subscribers of a topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.lock().by_name.get(topic).map_or(0, |t| t.subscribers)
    }

    /// Names of the topics, in order.
    pub fn topics(&self) -> Vec<Box<str>> {
        let mut names: Vec<_> = self.lock().by_name.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Figures of now, and counts from the beginning.
    pub fn stats(&self) -> serde_json::Value {
        let t = self.lock();
        let conns: HashSet<u64> = t
            .sets
            .values()
            .flat_map(|s| s.subscriptions.iter().map(|s| s.conn.handle()))
            .collect();
        let topics: serde_json::Map<_, _> = t
            .by_name
            .iter()
            .map(|(name, topic)| {
                let figures = json!({
                    "subscribers": topic.subscribers,
                    "published": topic.published,
                    "kept_events": topic.ring.len(),
                    "kept_bytes": topic.ring.bytes(),
                    "keys": topic.state.len(),
                });
                (name.to_string(), figures)
            })
            .collect();
        json!({
            "epoch": self.epoch,
            "published": t.seq,
            "connections": conns.len(),
            "pending_bytes": t.pending_bytes,
            "kept_bytes": t.bytes,
            "evicted": self.evicted.load(Ordering::Relaxed),
            "dropped": self.dropped.load(Ordering::Relaxed),
            "overflows": self.overflows.load(Ordering::Relaxed),
            "high": self.high.load(Ordering::Relaxed),
            "topics": topics,
        })
    }
}
