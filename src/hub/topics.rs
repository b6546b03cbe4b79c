//! All topics of a hub: what they keep, within the limit on all of them, and
//! who is subscribed.

use super::fanout::{Channel, Pending, Set, Sets};
use super::ids::Ids;
use super::subscription::{Begin, Subscription};
use super::topic::{Topic, TopicChange, TopicSettings};
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::ring::{Entry, Ring};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

pub(super) struct Topics {
    /// The newest event's number.
    pub seq: u64,
    topics: Slab<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    sets: Sets,
    /// Published and not yet on their way.
    pending: VecDeque<Pending>,
    /// Of these and of those on their way.
    pub pending_bytes: usize,
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
    last_channel: u64,
    /// What the rings hold, in order, for the limit on all of them.
    order: BTreeMap<u64, usize>,
    /// When to look at which topic, see [`Topic::due_ms`].
    due: BTreeSet<(u64, usize)>,
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
            topics: Slab::new(),
            by_name: HashMap::new(),
            sets: Sets::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            evicted: 0,
            silent: 0,
            unclaimed: 0,
            ring_bytes: 0,
            state_bytes: 0,
            defaults,
            total_bytes,
            settings: HashMap::new(),
            last_channel: 0,
            order: BTreeMap::new(),
            due: BTreeSet::new(),
            expired: HashMap::new(),
            forgotten: 0,
        }
    }

    /// The application has published to it, or has settings for it, or
    /// somebody is subscribed.
    pub fn exists(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.settings.contains_key(name)
    }

    /// That topic.
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.get(*self.by_name.get(name)?)
    }

    /// So many topics that were there when the number was: the topics from this
    /// place on, and where to go on; `None`: there are no more.
    pub fn some(&self, from: usize, n: usize) -> (impl Iterator<Item = &Topic>, Option<usize>) {
        let to = self.topics.capacity().min(from.saturating_add(n));
        let some = (from..to).filter_map(|slot| self.topics.get(slot));
        (some, (to < self.topics.capacity()).then_some(to))
    }

    /// Puts a topic there if it is not, for the application or a subscriber.
    fn ensure(&mut self, name: &str, now: u64, claims: bool) -> Result<usize> {
        if let Some(&slot) = self.by_name.get(name) {
            let topic = &mut self.topics[slot];
            if claims && !topic.claimed {
                topic.claimed = true;
                self.unclaimed -= 1;
            }
            return Ok(slot);
        }
        let claimed = claims || self.settings.contains_key(name);
        // What clients may name is to leave room for what the application does.
        if self.topics.len() >= limits::TOPICS
            || !claimed && self.unclaimed >= limits::UNCLAIMED_TOPICS
        {
            return Err(Error::TooManyTopics);
        }
        let lost = self.expired.remove(name).unwrap_or(self.forgotten);
        let settings = self.settings.get(name).copied().unwrap_or(self.defaults);
        let name: Arc<str> = name.into();
        self.last_channel += 1;
        let slot = self.topics.vacant_key();
        let channel = Channel::new(self.last_channel, slot, name.clone());
        let mut topic = Topic::new(channel, settings, lost, now);
        topic.claimed = claimed;
        self.unclaimed += usize::from(!claimed);
        self.topics.insert(topic);
        self.by_name.insert(name, slot);
        self.schedule(slot);
        Ok(slot)
    }

    /// Changes something about a topic with what its state may take: half of
    /// what is kept, for all topics.
    fn change(&mut self, slot: usize, change: impl FnOnce(&mut Topic, usize)) {
        let topic = &mut self.topics[slot];
        let others = self.state_bytes - topic.state().1;
        change(topic, (self.total_bytes / 2).saturating_sub(others));
        self.state_bytes = others + topic.state().1;
    }

    /// Settings of one topic, from now on; what they do not allow goes with
    /// [`Topics::trim_some`].
    pub fn set_topic(&mut self, name: &str, change: &TopicChange, now: u64) -> Result<()> {
        if !self.settings.contains_key(name) && self.settings.len() >= limits::TOPICS {
            return Err(Error::TooManyTopics);
        }
        let slot = self.ensure(name, now, true)?;
        let topic = &self.topics[slot];
        let settings = topic.settings().with(change);
        self.settings.insert(topic.channel.name.clone(), settings);
        self.change(slot, |topic, room| topic.set(settings, room));
        self.schedule(slot);
        Ok(())
    }

    /// Adds a new event to its topic, and, if so told and somebody is
    /// subscribed, to what is pending: its number, and whether it was.
    pub fn publish(
        &mut self,
        topic: &str,
        now: u64,
        deliver: bool,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) -> Result<(u64, bool)> {
        let slot = self.ensure(topic, now, true)?;
        let entry = self.keep(slot, now, make);
        let channel = &self.topics[slot].channel;
        let pends = deliver && !channel.is_unused();
        if pends {
            let channel = channel.clone();
            self.pending_bytes += entry.size();
            channel.push(entry.clone());
            self.pending.push_back(Pending { channel, entry });
        }
        Ok((self.seq, pends))
    }

    /// Deletes a key of a topic's state, without an event.
    pub fn delete_key(
        &mut self,
        topic: &str,
        key: &str,
        now: u64,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) {
        let known = self.by_name.get(topic).copied();
        if let Some(slot) = known.filter(|&slot| self.topics[slot].may_have(key)) {
            self.silent += 1;
            self.keep(slot, now, make);
        }
    }

    fn keep(
        &mut self,
        slot: usize,
        now: u64,
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) -> Arc<Entry> {
        self.seq += 1;
        let entry = Arc::new(make(&self.topics[slot].channel.name, self.seq));
        self.change(slot, |topic, room| topic.push(&entry, room));
        self.ring_bytes += entry.size();
        self.order.insert(entry.seq, slot);
        self.trim(slot, now, limits::EVICTED_AT_ONCE);
        while self.kept_bytes() > self.total_bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            let evicted = self.topics[oldest].ring.evict();
            self.ring_bytes -= evicted.as_ref().map_or(0, |e| e.size());
            self.evicted += u64::from(evicted.is_some_and(|e| !e.is_silent()));
        }
        self.schedule(slot);
        entry
    }

    /// What is kept, bytes; an event of a history and of a state counts twice.
    pub fn kept_bytes(&self) -> usize {
        self.ring_bytes + self.state_bytes
    }

    /// Evicts from one history what its own limits do not allow, `most` events
    /// at most: how many it were.
    fn trim(&mut self, slot: usize, now: u64, most: usize) -> usize {
        let Topics {
            topics,
            order,
            ring_bytes,
            evicted,
            ..
        } = self;
        let mut n = 0;
        topics[slot].trim(now, most, |e| {
            n += 1;
            *ring_bytes -= e.size();
            order.remove(&e.seq);
            *evicted += u64::from(!e.is_silent());
        });
        n
    }

    /// Evicts from these histories what their own limits do not allow, a part
    /// of it: `true` if there may be more.
    pub fn trim_some(&mut self, names: &[&str], now: u64) -> bool {
        let mut left = limits::EVICTED_AT_ONCE;
        for name in names {
            if let Some(&slot) = self.by_name.get(*name) {
                left -= self.trim(slot, now, left);
            }
        }
        left == 0
    }

    /// The oldest pending events, up to about so many bytes, and how many they are.
    pub fn take_pending(&mut self, max: usize) -> (Vec<Pending>, usize) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < max {
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            bytes += pending.entry.size();
            taken.push(pending);
        }
        (taken, bytes)
    }

    // ---- subscribers

    /// The set of these topics, which are put there if they are not, unless
    /// that is forbidden. It goes with its last member, or with
    /// [`Topics::leave`].
    pub fn join(&mut self, names: &[&str], create: bool, now: u64) -> Result<Arc<Set>> {
        if !create && !names.iter().all(|name| self.exists(name)) {
            return Err(Error::NoTopic);
        }
        let mut channels: Vec<Arc<Channel>> = Vec::with_capacity(names.len());
        for name in names {
            match self.ensure(name, now, false) {
                Ok(slot) => channels.push(self.topics[slot].channel.clone()),
                Err(e) => {
                    // Nothing half done.
                    channels.iter().for_each(|c| self.drop_unused(c.slot));
                    return Err(e);
                }
            }
        }
        Ok(self.sets.join(channels))
    }

    /// Takes a subscriber away, if there is one, and what nobody uses then.
    pub fn leave(&mut self, set: &Set, sub: Option<&Subscription>, now: u64) {
        if let Some(sub) = sub {
            set.remove(sub);
        }
        let over = set.is_empty();
        if over {
            self.sets.dissolve(set);
        }
        for channel in set.channels() {
            self.topics[channel.slot].used_ms = now;
            if over {
                self.schedule(channel.slot);
                self.drop_unused(channel.slot);
            }
        }
    }

    /// All that are subscribed to that topic, or to any.
    pub fn subscribed(&self, topic: Option<&str>) -> Vec<Arc<Subscription>> {
        match topic {
            Some(name) => self
                .get(name)
                .map_or(Vec::new(), |t| t.channel.subscribed()),
            None => self.sets.subscribed(),
        }
    }

    /// How a subscriber with that id begins, after which number, and whether
    /// the id is one of the application's.
    pub fn begin(
        &mut self,
        set: &Set,
        ids: &Ids,
        id: Option<&str>,
        now: u64,
    ) -> (Begin, u64, bool) {
        for channel in set.channels() {
            self.trim(channel.slot, now, usize::MAX);
        }
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return (Begin::New, self.seq, false);
        };
        let rings = || self.rings(set);
        // The same id twice, on two topics or as one of the hub's: rather an
        // event twice than one never.
        let given = rings().filter_map(|ring| ring.find(id)).min();
        let ours = ids.seq(id, self.seq);
        match given.into_iter().chain(ours).min() {
            None => (Begin::Unknown, 0, false),
            Some(since) if rings().any(|ring| ring.evicted() > since) => (Begin::TooOld, 0, false),
            Some(since) => (Begin::Resumed, since, given.is_some()),
        }
    }

    fn of_set<'a>(&'a self, set: &'a Set) -> impl Iterator<Item = &'a Topic> {
        set.channels().iter().map(|c| &self.topics[c.slot])
    }

    fn rings<'a>(&'a self, set: &'a Set) -> impl Iterator<Item = &'a Ring> {
        self.of_set(set).map(|topic| &topic.ring)
    }

    /// The newest event's number of these topics, kept or gone.
    pub fn newest(&self, set: &Set) -> u64 {
        self.rings(set).map(Ring::newest).max().unwrap_or(0)
    }

    /// What a subscriber gets before the live events, in order; a new one the
    /// `last` of its topics beside the state.
    pub fn missed(&self, set: &Set, begin: Begin, since: u64, last: usize) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut newest: Vec<&Arc<Entry>> = Vec::new();
        for topic in self.of_set(set) {
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
        let Some(&slot) = self.by_name.get(name) else {
            return Vec::new();
        };
        self.trim(slot, now, usize::MAX);
        let topic = &self.topics[slot];
        match state {
            true => topic.present().cloned().collect(),
            false => topic.ring.after(0).rev().take(last).cloned().collect(),
        }
    }

    // ---- housekeeping

    /// A topic that nobody has published to, and nobody has settings for, goes
    /// with its last subscriber.
    fn drop_unused(&mut self, slot: usize) {
        let unused = self.topics.get(slot).filter(|topic| topic.is_unused());
        if unused.is_some_and(|topic| !self.settings.contains_key(&topic.channel.name)) {
            self.forget(slot);
        }
    }

    /// Drops a topic, but for what resuming needs: the number of its newest.
    fn forget(&mut self, slot: usize) {
        self.drain(slot, usize::MAX);
        let topic = self.topics.remove(slot);
        let name = &topic.channel.name;
        self.by_name.remove(name);
        self.due.remove(&(topic.due_ms, slot));
        let newest = topic.ring.newest();
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

    /// Has a topic looked at when something of it may be over.
    fn schedule(&mut self, slot: usize) {
        let topic = &mut self.topics[slot];
        let due = topic.over_ms();
        if due < topic.due_ms {
            self.due.remove(&(topic.due_ms, slot));
            self.due.insert((due, slot));
            topic.due_ms = due;
        }
    }

    /// Evicts what is too old, and drops topics whose time is over, a part of
    /// them: `true` if there is more.
    pub fn expire_some(&mut self, now: u64) -> bool {
        let mut left = limits::EVICTED_AT_ONCE;
        while let Some(&(due, slot)) = self.due.first()
            && due <= now
        {
            if left == 0 {
                return true;
            }
            self.due.pop_first();
            let over = {
                let topic = &mut self.topics[slot];
                topic.due_ms = u64::MAX;
                topic.is_over(now)
            };
            let most = left;
            left -= match over {
                true => self.drain(slot, most),
                false => self.trim(slot, now, most),
            };
            if over && left > 0 {
                self.forget(slot);
            } else {
                self.schedule(slot);
            }
            left = left.saturating_sub(1);
        }
        false
    }

    /// Evicts `most` events of a history.
    fn drain(&mut self, slot: usize, most: usize) -> usize {
        let mut n = 0;
        while n < most
            && let Some(e) = self.topics[slot].ring.evict()
        {
            n += 1;
            self.ring_bytes -= e.size();
            self.order.remove(&e.seq);
            self.evicted += u64::from(!e.is_silent());
        }
        n
    }
}
