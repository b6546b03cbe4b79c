//! All topics of a hub: what they keep, within the limit on all of them, and
//! who is subscribed.

use super::subscription::{Begin, Subscription};
use super::topic::{Topic, TopicChange, TopicSettings};
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::ring::{Entry, Ring};
use std::cmp::Reverse;
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
    /// Numbers that no event has.
    pub silent: u64,
    /// Topics that subscribers alone have named.
    unclaimed: usize,
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
            silent: 0,
            unclaimed: 0,
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

    /// The application has published to it, or has settings for it, or
    /// somebody is subscribed.
    pub fn exists(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.settings.contains_key(name)
    }

    /// Puts a topic there if it is not, for the application or a subscriber.
    fn ensure(&mut self, name: &str, now: u64, claims: bool) -> Result<Arc<str>> {
        if let Some((name, topic)) = self.by_name.get_key_value(name) {
            let name = name.clone();
            if claims && !topic.claimed {
                self.claim(&name);
            }
            return Ok(name);
        }
        let claimed = claims || self.settings.contains_key(name);
        // What clients may name is to leave room for what the application does.
        if self.by_name.len() >= limits::TOPICS
            || !claimed && self.unclaimed >= limits::UNCLAIMED_TOPICS
        {
            return Err(Error::TooManyTopics);
        }
        let lost = self.expired.remove(name).unwrap_or(self.forgotten);
        let settings = self.settings.get(name).copied().unwrap_or(self.defaults);
        let name: Arc<str> = name.into();
        let mut topic = Topic::new(settings, lost, now);
        topic.claimed = claimed;
        self.unclaimed += usize::from(!claimed);
        self.by_name.insert(name.clone(), topic);
        Ok(name)
    }

    fn claim(&mut self, name: &str) {
        if let Some(topic) = self.by_name.get_mut(name) {
            topic.claimed = true;
            self.unclaimed -= 1;
        }
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
        let name = self.ensure(name, now, true)?;
        let settings = self.by_name[&name].settings().with(change);
        self.settings.insert(name.clone(), settings);
        self.change(&name, |topic, room| topic.set(settings, room));
        self.trim(&name, now);
        Ok(())
    }

    /// Adds a new event to its topic, and, if so told, to what is pending.
    pub fn publish(
        &mut self,
        topic: &str,
        now: u64,
        deliver: bool,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) -> Result<u64> {
        let name = self.ensure(topic, now, true)?;
        let entry = self.keep(name, now, make);
        if deliver {
            self.pending_bytes += entry.size();
            self.pending.push_back(entry);
        }
        Ok(self.seq)
    }

    /// Deletes a key of a topic's state, without an event.
    pub fn delete_key(
        &mut self,
        topic: &str,
        key: &str,
        now: u64,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) {
        let known = self.by_name.get_key_value(topic);
        let known = known.filter(|(_, topic)| topic.may_have(key));
        if let Some((name, _)) = known {
            let name = name.clone();
            self.silent += 1;
            self.keep(name, now, make);
        }
    }

    fn keep(
        &mut self,
        name: Arc<str>,
        now: u64,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) -> Arc<Entry> {
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
            self.ring_bytes -= evicted.as_ref().map_or(0, |e| e.size());
            self.evicted += u64::from(evicted.is_some_and(|e| !e.is_silent()));
        }
        entry
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
                *evicted += u64::from(!e.is_silent());
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

    /// The set of these topics, which are put there if they are not, unless
    /// that is forbidden.
    pub fn join(&mut self, names: &[&str], create: bool, now: u64) -> Result<u64> {
        if !create && !names.iter().all(|name| self.exists(name)) {
            return Err(Error::NoTopic);
        }
        let mut sorted = Vec::with_capacity(names.len());
        for name in names {
            match self.ensure(name, now, false) {
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

    /// How a subscriber with that id begins, after which number, and whether
    /// the id is one of the application's. Ids of the hub's begin with the
    /// epoch, if there are any.
    pub fn begin(
        &mut self,
        names: &Names,
        epoch: Option<&str>,
        id: Option<&str>,
        now: u64,
    ) -> (Begin, u64, bool) {
        names.iter().for_each(|name| self.trim(name, now));
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return (Begin::New, self.seq, false);
        };
        let rings = || self.rings(names);
        // The same id twice, on two topics or as one of the hub's: rather an
        // event twice than one never.
        let given = rings().filter_map(|ring| ring.find(id)).min();
        let ours = epoch.and_then(|epoch| self.seq_of(epoch, id));
        match given.into_iter().chain(ours).min() {
            None => (Begin::Unknown, 0, false),
            Some(since) if rings().any(|ring| ring.evicted() > since) => (Begin::TooOld, 0, false),
            Some(since) => (Begin::Resumed, since, given.is_some()),
        }
    }

    fn rings(&self, names: &Names) -> impl Iterator<Item = &Ring> {
        let topics = names.iter().filter_map(|n| self.by_name.get(n));
        topics.map(|topic| &topic.ring)
    }

    /// The newest event's number of these topics, kept or gone.
    pub fn newest(&self, names: &Names) -> u64 {
        self.rings(names).map(Ring::newest).max().unwrap_or(0)
    }

    /// The number in an id of ours, that was given out.
    fn seq_of(&self, epoch: &str, id: &str) -> Option<u64> {
        let digits = id.strip_prefix(epoch)?.strip_prefix('.')?;
        let seq = digits.parse().ok().filter(|&seq: &u64| seq <= self.seq)?;
        (digits == seq.to_string()).then_some(seq)
    }

    /// What a subscriber gets before the live events, in order; a new one the
    /// `last` of its topics beside the state.
    pub fn missed(&self, names: &Names, begin: Begin, since: u64, last: usize) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut newest: Vec<&Arc<Entry>> = Vec::new();
        for topic in names.iter().filter_map(|name| self.by_name.get(name)) {
            match begin {
                Begin::New => {
                    entries.extend(topic.present().cloned());
                    newest.extend(topic.rest().take(last));
                }
                Begin::Resumed => entries.extend(topic.ring.after(since).cloned()),
                Begin::TooOld | Begin::Unknown => entries.extend(topic.kept().cloned()),
            }
        }
        newest.sort_unstable_by_key(|e| Reverse(e.seq));
        entries.extend(newest.into_iter().take(last).cloned());
        entries.sort_unstable_by_key(|e| e.seq);
        entries
    }

    /// The newest events of a topic's history, or its state; oldest first.
    pub fn read(&mut self, name: &str, state: bool, last: usize, now: u64) -> Vec<Arc<Entry>> {
        self.trim(name, now);
        let Some(topic) = self.by_name.get(name) else {
            return Vec::new();
        };
        let mut entries: Vec<_> = match state {
            true => topic.present().cloned().collect(),
            false => topic.ring.after(0).rev().take(last).cloned().collect(),
        };
        entries.sort_unstable_by_key(|e| Reverse(e.seq));
        entries.truncate(last);
        entries.reverse();
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
            self.evicted += u64::from(!e.is_silent());
        }
        self.unclaimed -= usize::from(!topic.claimed);
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
