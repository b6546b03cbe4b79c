//! All topics of a hub: what they keep, within the limit on all of them, and
//! who is subscribed.

use super::subscription::{Begin, Subscription};
use super::topic::{Topic, TopicChange, TopicSettings};
use crate::error::{Error, Result};
use crate::limits;
use crate::ring::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Copied when it changes while a delivery goes through it.
pub(super) type Subscriptions = Arc<Vec<Arc<Subscription>>>;

/// Topics that somebody subscribed to together, in order of their names.
pub(super) type Names = Arc<[Arc<str>]>;

/// Those with the same topics: what is published is joined once for them.
pub(super) struct Set {
    pub topics: Names,
    pub subscriptions: Subscriptions,
}

pub(super) struct Topics {
    /// The newest event's number.
    pub seq: u64,
    pub by_name: HashMap<Arc<str>, Topic>,
    pub sets: HashMap<u64, Set>,
    /// Published and not yet on their way.
    pub pending: VecDeque<Arc<Entry>>,
    pub pending_bytes: usize,
    /// On their way: some subscribers have got them.
    pub leaving: Vec<Arc<Entry>>,
    pub evicted: u64,
    ring_bytes: usize,
    state_bytes: usize,
    defaults: TopicSettings,
    total_bytes: usize,
    settings: HashMap<Arc<str>, TopicSettings>,
    set_of: HashMap<Names, u64>,
    last_set: u64,
    /// What the rings hold, in order, for the limit on all of them.
    order: BTreeMap<u64, Arc<str>>,
    /// Topics that expired, with their newest number; and the newest of those
    /// that are not even remembered so.
    expired: HashMap<Arc<str>, u64>,
    forgotten: u64,
}

/// 1 to 100 letters, digits and `.-_:/`.
pub(super) fn check_topic(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_:/".contains(&b);
    if (1..=limits::TOPIC_NAME_BYTES).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::TopicName)
}

impl Topics {
    pub fn new(defaults: TopicSettings, total_bytes: usize) -> Self {
        Topics {
            seq: 0,
            by_name: HashMap::new(),
            sets: HashMap::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            leaving: Vec::new(),
            evicted: 0,
            ring_bytes: 0,
            state_bytes: 0,
            defaults,
            total_bytes,
            settings: HashMap::new(),
            set_of: HashMap::new(),
            last_set: 0,
            order: BTreeMap::new(),
            expired: HashMap::new(),
            forgotten: 0,
        }
    }

    /// Puts a topic there if it is not.
    fn ensure(&mut self, name: &str, now: u64) -> Result<Arc<str>> {
        if let Some((name, _)) = self.by_name.get_key_value(name) {
            return Ok(name.clone());
        }
        if self.by_name.len() >= limits::TOPICS {
            return Err(Error::TooManyTopics);
        }
        let lost = self.expired.remove(name).unwrap_or(self.forgotten);
        let settings = self.settings.get(name).copied().unwrap_or(self.defaults);
        let name: Arc<str> = name.into();
        let topic = Topic::new(settings, lost, now);
        self.by_name.insert(name.clone(), topic);
        Ok(name)
    }

    /// Changes something about a topic with what its state may take: half of
    /// what is kept, for all topics.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Topic, usize)) {
        let Some(topic) = self.by_name.get_mut(name) else {
            return;
        };
        let before = topic.state().1;
        let others = self.state_bytes - before;
        change(topic, (self.total_bytes / 2).saturating_sub(others));
        self.state_bytes = others + topic.state().1;
    }

    /// Settings of one topic, from now on.
    pub fn set_topic(&mut self, name: &str, change: &TopicChange, now: u64) -> Result<()> {
        if !self.settings.contains_key(name) && self.settings.len() >= limits::TOPICS {
            return Err(Error::TooManyTopics);
        }
        let name = self.ensure(name, now)?;
        let settings = self.by_name[&name].settings().with(change);
        self.settings.insert(name.clone(), settings);
        self.change(&name, |topic, room| topic.set(settings, room));
        self.trim(&name, now);
        Ok(())
    }

    /// Adds a new event to its topic, and to what is pending.
    pub fn publish(
        &mut self,
        topic: &str,
        now: u64,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) -> Result<u64> {
        let name = self.ensure(topic, now)?;
        self.seq += 1;
        let entry = Arc::new(make(&name, self.seq));
        self.change(&name, |topic, room| topic.push(&entry, room));
        self.ring_bytes += entry.size();
        self.order.insert(entry.seq, name.clone());
        self.trim(&name, now);
        while self.kept_bytes() > self.total_bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            let topic = self.by_name.get_mut(&oldest);
            let evicted = topic.and_then(|topic| topic.ring.evict());
            self.ring_bytes -= evicted.map_or(0, |e| e.size());
            self.evicted += 1;
        }
        self.pending_bytes += entry.size();
        self.pending.push_back(entry);
        Ok(self.seq)
    }

    /// What is kept, bytes; an event of a history and of a state counts twice.
    pub fn kept_bytes(&self) -> usize {
        self.ring_bytes + self.state_bytes
    }

    /// Evicts from one history what its own limits do not allow.
    fn trim(&mut self, name: &str, now: u64) {
        let Topics {
            by_name,
            order,
            ring_bytes,
            evicted,
            ..
        } = self;
        if let Some(topic) = by_name.get_mut(name) {
            topic.trim(now, |e| {
                *ring_bytes -= e.size();
                order.remove(&e.seq);
                *evicted += 1;
            });
        }
    }

    /// Moves pending events to those that are on their way, up to so many
    /// bytes; `false`: nothing is.
    pub fn take_pending(&mut self, max: usize) -> bool {
        self.leaving.clear();
        let mut bytes = 0;
        while bytes < max {
            let Some(entry) = self.pending.pop_front() else {
                break;
            };
            bytes += entry.size();
            self.leaving.push(entry);
        }
        self.pending_bytes -= bytes;
        !self.leaving.is_empty()
    }

    // ---- subscribers

    /// The set of these topics, which are put there if they are not.
    pub fn join(&mut self, names: &[&str], now: u64) -> Result<u64> {
        let mut sorted = Vec::with_capacity(names.len());
        for name in names {
            match self.ensure(name, now) {
                Ok(name) => sorted.push(name),
                Err(e) => {
                    // Nothing half done.
                    sorted.iter().for_each(|name| self.drop_unused(name));
                    return Err(e);
                }
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        let names: Names = sorted.into();
        if let Some(&set) = self.set_of.get(&names) {
            return Ok(set);
        }
        self.last_set += 1;
        let set = self.last_set;
        for name in &*names {
            if let Some(topic) = self.by_name.get_mut(name) {
                topic.sets.push(set);
            }
        }
        self.set_of.insert(names.clone(), set);
        let subscriptions = Subscriptions::default();
        self.sets.insert(
            set,
            Set {
                topics: names,
                subscriptions,
            },
        );
        Ok(set)
    }

    /// Adds a subscriber to a set.
    pub fn add(&mut self, set: u64, sub: Arc<Subscription>) {
        let Some(set) = self.sets.get_mut(&set) else {
            return;
        };
        Arc::make_mut(&mut set.subscriptions).push(sub);
        for name in &*set.topics {
            if let Some(topic) = self.by_name.get_mut(name) {
                topic.subscribers += 1;
            }
        }
    }

    /// Takes a subscriber away, if it is one, and what nobody uses then.
    pub fn leave(&mut self, id: u64, sub: &Subscription, now: u64) {
        let Some(set) = self.sets.get_mut(&id) else {
            return;
        };
        let subscriptions = Arc::make_mut(&mut set.subscriptions);
        let at = subscriptions.iter().position(|s| std::ptr::eq(&**s, sub));
        if let Some(at) = at {
            subscriptions.swap_remove(at);
        }
        let over = subscriptions.is_empty();
        let names = set.topics.clone();
        if over {
            self.set_of.remove(&names);
            self.sets.remove(&id);
        }
        for name in &*names {
            if let Some(topic) = self.by_name.get_mut(name) {
                topic.subscribers -= usize::from(at.is_some());
                topic.used_ms = now;
                if over {
                    topic.sets.retain(|&s| s != id);
                }
            }
            self.drop_unused(name);
        }
    }

    /// How a subscriber with that id begins, and after which number.
    pub fn begin(
        &mut self,
        names: &Names,
        epoch: &str,
        id: Option<&str>,
        now: u64,
    ) -> (Begin, u64) {
        names.iter().for_each(|name| self.trim(name, now));
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return (Begin::New, self.seq);
        };
        let rings = || {
            names
                .iter()
                .filter_map(|n| Some(&self.by_name.get(n)?.ring))
        };
        // The same id of the application's on two topics: rather an event
        // twice than one never.
        let given = rings().filter_map(|ring| ring.find(id)).min();
        match given.or_else(|| self.seq_of(epoch, id)) {
            None => (Begin::Unknown, 0),
            Some(since) if rings().any(|ring| ring.evicted() > since) => (Begin::TooOld, 0),
            Some(since) => (Begin::Resumed, since),
        }
    }

    /// The number in an id of ours, that was given out.
    fn seq_of(&self, epoch: &str, id: &str) -> Option<u64> {
        let digits = id.strip_prefix(epoch)?.strip_prefix('.')?;
        let seq = digits.parse().ok().filter(|&seq: &u64| seq <= self.seq)?;
        (digits == seq.to_string()).then_some(seq)
    }

    /// What a subscriber gets before the live events, in order.
    pub fn missed(&self, names: &Names, begin: Begin, since: u64) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for name in &**names {
            let Some(topic) = self.by_name.get(name) else {
                continue;
            };
            match begin {
                Begin::New => entries.extend(topic.present().cloned()),
                Begin::Resumed => entries.extend(topic.ring.after(since).cloned()),
                Begin::TooOld | Begin::Unknown => entries.extend(topic.kept().cloned()),
            }
        }
        entries.sort_unstable_by_key(|e| e.seq);
        entries
    }

    // ---- housekeeping

    /// A topic that nobody has published to, and nobody has settings for, goes
    /// with its last subscriber.
    fn drop_unused(&mut self, name: &Arc<str>) {
        let unused = self.by_name.get(name).is_some_and(Topic::is_unused);
        if unused && !self.settings.contains_key(name) {
            self.forget(name);
        }
    }

    /// Drops a topic, but for what resuming needs: the number of its newest.
    fn forget(&mut self, name: &Arc<str>) {
        let Some(mut topic) = self.by_name.remove(name) else {
            return;
        };
        let newest = topic.ring.newest();
        while let Some(e) = topic.ring.evict() {
            self.ring_bytes -= e.size();
            self.order.remove(&e.seq);
            self.evicted += 1;
        }
        self.state_bytes -= topic.state().1;
        if newest > self.forgotten {
            if self.expired.len() >= limits::EXPIRED_TOPICS {
                // The memory is full: all of it becomes one number.
                let all = self.expired.drain().map(|(_, seq)| seq);
                self.forgotten = all.fold(self.forgotten, u64::max);
            }
            self.expired.insert(name.clone(), newest);
        }
    }

    /// Evicts what is too old, and drops topics whose time is over.
    pub fn expire(&mut self, now: u64) {
        let names: Vec<_> = self.by_name.keys().cloned().collect();
        for name in &names {
            self.trim(name, now);
            let over = self.by_name.get(name).is_some_and(|topic| {
                let idle = now.saturating_sub(topic.used_ms);
                topic.subscribers == 0 && idle > topic.settings().ttl_ms
            });
            if over {
                self.forget(name);
            }
        }
    }
}
