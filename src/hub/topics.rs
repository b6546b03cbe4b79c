//! The topics of a hub: which there are and how long, and, for each, its history
//! and its channel.

use super::fanout::{Channel, Pending, Set, Sets};
use super::history::{
    Filling, Gone, History, Look, Memory, Missing, State, TopicChange, TopicSettings, View,
};
use super::subscription::Subscription;
use crate::core::counts::TopicCounts;
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::ring::Entry;
use crate::feed::Subscriber;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A topic's name, and its figures.
pub(super) type Figures = (Arc<str>, TopicCounts);

struct Topic<S> {
    channel: Arc<Channel<S>>,
    /// Its place among the histories.
    history: usize,
    used_ms: u64,
    /// When it is to be looked at; `u64::MAX`: not yet decided.
    due_ms: u64,
    published: u64,
    /// The application has published to it, or has settings for it.
    claimed: bool,
}

impl<S: Subscriber> Topic<S> {
    /// Nobody is subscribed.
    fn is_deserted(&self) -> bool {
        self.channel.is_unused()
    }

    /// Nobody would miss it.
    fn is_unused(&self) -> bool {
        self.is_deserted() && self.published == 0
    }
}

pub(super) struct Topics<S> {
    /// The newest event's number.
    pub seq: u64,
    topics: Slab<Topic<S>>,
    by_name: HashMap<Arc<str>, usize>,
    sets: Sets<S>,
    /// Published and not yet on their way.
    pending: VecDeque<Pending<S>>,
    /// Of these and of those on their way.
    pub pending_bytes: usize,
    /// Numbers that no event has.
    pub silent: u64,
    /// Topics that subscribers alone have named.
    unclaimed: usize,
    histories: Memory,
    defaults: TopicSettings,
    settings: HashMap<Arc<str>, TopicSettings>,
    last_channel: u64,
    /// The hub goes: nobody is to begin any more.
    pub parted: bool,
    /// When to look at which topic, see [`Topic::due_ms`].
    due: BTreeSet<(u64, usize)>,
    /// Topics that expired, with their newest number; and the newest of those
    /// that are not even remembered so.
    expired: HashMap<Arc<str>, u64>,
    /// The newest of all that were among them since there were none.
    expired_newest: u64,
    /// How many did so, since the beginning.
    pub expired_topics: u64,
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

impl<S: Subscriber> Topics<S> {
    pub fn new(defaults: TopicSettings, total_bytes: usize) -> Self {
        Topics {
            seq: 0,
            topics: Slab::new(),
            by_name: HashMap::new(),
            sets: Sets::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            silent: 0,
            unclaimed: 0,
            histories: Memory::new(total_bytes),
            defaults,
            settings: HashMap::new(),
            last_channel: 0,
            parted: false,
            due: BTreeSet::new(),
            expired: HashMap::new(),
            expired_newest: 0,
            expired_topics: 0,
            forgotten: 0,
        }
    }

    /// The application has published to it, or has settings for it, or
    /// somebody is subscribed.
    pub fn exists(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.settings.contains_key(name)
    }

    /// That topic, as its subscribers see it.
    pub fn channel(&self, name: &str) -> Option<&Arc<Channel<S>>> {
        Some(&self.topics[*self.by_name.get(name)?].channel)
    }

    /// All histories.
    pub fn histories(&self) -> &Memory {
        &self.histories
    }

    /// Names and figures of some, from a place on; and where to go on.
    pub fn figures(&self, from: usize, n: usize) -> (Vec<Figures>, Option<usize>) {
        let to = self.topics.capacity().min(from.saturating_add(n));
        let some = (from..to).filter_map(|slot| self.topics.get(slot));
        let figures = some.map(|topic| (topic.channel.name.clone(), self.counts_of(topic)));
        let next = (to < self.topics.capacity()).then_some(to);
        (figures.collect(), next)
    }

    /// Figures of one, if it is there.
    pub fn counts(&self, name: &str) -> Option<TopicCounts> {
        let slot = *self.by_name.get(name)?;
        Some(self.counts_of(&self.topics[slot]))
    }

    fn counts_of(&self, topic: &Topic<S>) -> TopicCounts {
        let history = &self.histories[topic.history];
        let (keys, state_bytes, refused_keys) = history.state();
        TopicCounts {
            subscribers: topic.channel.subscribers.load(Ordering::Relaxed) as u64,
            published: topic.published,
            kept_events: history.ring().len() as u64,
            kept_bytes: history.ring().bytes() as u64,
            keys: keys as u64,
            state_bytes: state_bytes as u64,
            refused_keys,
        }
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
        self.unclaimed += usize::from(!claimed);
        self.topics.insert(Topic {
            channel,
            history: self.histories.open(settings, lost),
            used_ms: now,
            due_ms: u64::MAX,
            published: 0,
            claimed,
        });
        self.by_name.insert(name, slot);
        self.schedule(slot);
        Ok(slot)
    }

    /// Settings of one topic, from now on; what they do not allow goes with
    /// [`Topics::trim_some`], a state is made by [`Topics::fill`], and that which goes is
    /// the result.
    pub fn set_topic(
        &mut self,
        name: &str,
        change: &TopicChange,
        now: u64,
    ) -> Result<Option<Box<State>>> {
        if !self.settings.contains_key(name) && self.settings.len() >= limits::TOPICS {
            return Err(Error::TooManyTopics);
        }
        let slot = self.ensure(name, now, true)?;
        let topic = &self.topics[slot];
        let settings = self.histories[topic.history].settings().with(change);
        self.settings.insert(topic.channel.name.clone(), settings);
        let old = self.histories.set(topic.history, settings);
        self.schedule(slot);
        Ok(old)
    }

    /// See [`Memory::fill`].
    pub fn fill(&mut self, name: &str, filling: &mut Filling, at_once: bool) -> Option<Missing> {
        let slot = *self.by_name.get(name)?;
        let place = self.topics[slot].history;
        self.histories.fill(place, filling, at_once)
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
        let entry = self.keep(slot, make);
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
        make: impl FnOnce(&Arc<str>, u64) -> Entry,
    ) {
        let known = self.by_name.get(topic).copied();
        if let Some(slot) = known.filter(|&slot| self.history(slot).may_have(key)) {
            self.silent += 1;
            self.keep(slot, make);
        }
    }

    /// The one place where an event gets its number.
    fn keep(&mut self, slot: usize, make: impl FnOnce(&Arc<str>, u64) -> Entry) -> Arc<Entry> {
        self.seq += 1;
        let topic = &mut self.topics[slot];
        let entry = Arc::new(make(&topic.channel.name, self.seq));
        if !entry.is_silent() {
            topic.used_ms = entry.at_ms;
            topic.published += 1;
        }
        self.histories.push(topic.history, &entry);
        self.schedule(slot);
        entry
    }

    fn history(&self, slot: usize) -> &History {
        &self.histories[self.topics[slot].history]
    }

    fn trim(&mut self, slot: usize, now: u64, most: usize) -> usize {
        let place = self.topics[slot].history;
        self.histories.trim(place, now, most)
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
    pub fn take_pending(&mut self, max: usize) -> (Vec<Pending<S>>, usize) {
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
    pub fn join(&mut self, names: &[&str], create: bool, now: u64) -> Result<Arc<Set<S>>> {
        if self.parted {
            return Err(Error::HandleStale);
        }
        if !create && !names.iter().all(|name| self.exists(name)) {
            return Err(Error::NoTopic);
        }
        let mut channels: Vec<Arc<Channel<S>>> = Vec::with_capacity(names.len());
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
    pub fn leave(&mut self, set: &Set<S>, sub: Option<&Subscription<S>>, now: u64) {
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

    /// All sets.
    pub fn sets(&self) -> Vec<Arc<Set<S>>> {
        self.sets.all()
    }

    /// The histories of these topics, without what is too old.
    pub fn histories_of<'a>(
        &'a mut self,
        set: &'a Set<S>,
        now: u64,
    ) -> impl Iterator<Item = &'a History> + Clone {
        for channel in set.channels() {
            self.trim(channel.slot, now, usize::MAX);
        }
        let all = &*self;
        set.channels().iter().map(|c| all.history(c.slot))
    }

    /// A snapshot of a topic's history, without what is too old.
    pub fn look(&mut self, name: &str, at: Look, now: u64) -> Option<View> {
        let slot = *self.by_name.get(name)?;
        self.trim(slot, now, usize::MAX);
        Some(self.history(slot).look(at))
    }

    // ---- housekeeping

    /// What has gone since this was asked last.
    pub fn take_gone(&mut self) -> Gone {
        std::mem::take(&mut self.histories.gone)
    }

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
        let topic = self.topics.remove(slot);
        let name = &topic.channel.name;
        self.by_name.remove(name);
        self.due.remove(&(topic.due_ms, slot));
        let newest = self.histories.close(topic.history);
        self.unclaimed -= usize::from(!topic.claimed);
        if newest > self.forgotten {
            if self.expired.len() >= limits::EXPIRED_TOPICS {
                // The memory is full: all of it becomes one number.
                self.histories.gone.names = Some(std::mem::take(&mut self.expired));
                self.forgotten = self.forgotten.max(std::mem::take(&mut self.expired_newest));
            }
            self.expired_newest = self.expired_newest.max(newest);
            self.expired.insert(name.clone(), newest);
        }
    }

    /// Has a topic looked at when something of it may be over.
    fn schedule(&mut self, slot: usize) {
        let topic = &mut self.topics[slot];
        let history = &self.histories[topic.history];
        let idle = topic.used_ms.saturating_add(history.settings().ttl_ms);
        let idle = topic.is_deserted().then_some(idle.saturating_add(1));
        let due = history.over_ms().into_iter().chain(idle).min();
        let due = due.unwrap_or(u64::MAX);
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
            let topic = &mut self.topics[slot];
            topic.due_ms = u64::MAX;
            let ttl_ms = self.histories[topic.history].settings().ttl_ms;
            let over = topic.is_deserted() && now.saturating_sub(topic.used_ms) > ttl_ms;
            left -= match over {
                true => self.histories.drain(topic.history, left),
                false => self.histories.trim(topic.history, now, left),
            };
            if over && left > 0 {
                self.forget(slot);
                self.expired_topics += 1;
            } else {
                self.schedule(slot);
            }
            left = left.saturating_sub(1);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Conn;
    use crate::core::frame::Event;
    use std::sync::Weak;

    const AT_ONCE: usize = limits::EVICTED_AT_ONCE;

    fn topics() -> Topics<Conn> {
        let mut defaults = TopicSettings::default();
        (defaults.keep.age_ms, defaults.ttl_ms) = (1 << 40, 100);
        Topics::new(defaults, 64 << 20)
    }

    fn publish(t: &mut Topics<Conn>, name: &str) -> (u64, bool) {
        let event = Event {
            data: Some("x"),
            ..Event::default()
        };
        let make = |topic: &Arc<str>, seq| Entry::new(topic, seq, 0, None, false, None, &event);
        t.publish(name, 0, true, make).unwrap()
    }

    fn keyed(t: &mut Topics<Conn>, key: &str) {
        let event = Event {
            data: Some("x"),
            ..Event::default()
        };
        let make =
            |topic: &Arc<str>, seq| Entry::new(topic, seq, 0, Some(key), false, None, &event);
        t.publish("a", 0, true, make).unwrap();
    }

    fn expire(t: &mut Topics<Conn>) {
        while t.expire_some(101) {}
    }

    #[test]
    fn there_are_so_many_topics_and_of_those_that_are_there_all_may_be_used() {
        let mut t = topics();
        for n in 0..limits::TOPICS {
            t.ensure(&n.to_string(), 0, true).unwrap();
        }
        assert_eq!(t.ensure("more", 0, true), Err(Error::TooManyTopics));
        assert_eq!(t.ensure("7", 0, true), Ok(7));
    }

    #[test]
    fn settings_are_kept_of_so_many_topics_and_of_these_they_may_change() {
        let (mut t, change) = (topics(), TopicChange::default());
        for n in 1..limits::TOPICS {
            t.settings.insert(n.to_string().into(), t.defaults);
        }
        assert!(t.set_topic("last", &change, 0).is_ok());
        let more = t.set_topic("more", &change, 0);
        assert!(matches!(more, Err(Error::TooManyTopics)));
        assert!(t.set_topic("1", &change, 0).is_ok());
        assert_eq!(t.settings.len(), limits::TOPICS);
    }

    #[test]
    fn expired_topics_that_are_too_many_become_one_number() {
        let mut t = topics();
        for n in 1..limits::EXPIRED_TOPICS {
            t.expired.insert(n.to_string().into(), 1);
        }
        t.expired_newest = 1;
        publish(&mut t, "a");
        expire(&mut t);
        assert_eq!((t.expired.len(), t.forgotten), (limits::EXPIRED_TOPICS, 0));
        publish(&mut t, "b");
        publish(&mut t, "b");
        expire(&mut t);
        assert_eq!((t.expired.get("b"), t.expired.len()), (Some(&3), 1));
        assert_eq!((t.forgotten, t.expired_topics), (1, 2));
        for (name, lost) in [("never", 1), ("b", 3), ("a", 1)] {
            let slot = t.ensure(name, 0, true).unwrap();
            assert_eq!(t.history(slot).ring().evicted(), lost, "{name}");
        }
    }

    /// The events that a topic keeps, as who does not keep them sees them.
    fn kept(t: &Topics<Conn>) -> Vec<Weak<Entry>> {
        t.history(0).ring().all().map(Arc::downgrade).collect()
    }

    #[test]
    fn what_goes_is_for_who_has_no_lock_to_drop() {
        let few = TopicChange {
            events: Some(2),
            state: Some(true),
            ..TopicChange::default()
        };
        let goes = |n: usize, goes: &dyn Fn(&mut Topics<Conn>)| {
            let mut t = topics();
            t.set_topic("a", &few, 0).unwrap();
            t.fill("a", &mut Filling::default(), true);
            let mut before = Vec::new();
            for key in ["k", "l"] {
                keyed(&mut t, key);
                before = kept(&t);
            }
            drop(t.take_gone());
            goes(&mut t);
            let alive = || before.iter().filter(|e| e.strong_count() > 0).count();
            assert_eq!(alive(), 2);
            drop(t.take_gone());
            assert_eq!(alive(), 2 - n);
        };
        // Both are over, one is a state still.
        goes(1, &|t| (0..2).for_each(|_| keyed(t, "k")));
        goes(2, &|t| {
            keyed(t, "k");
            keyed(t, "l");
        });
        goes(2, &|t| {
            t.settings.clear();
            while t.expire_some(1 << 41) {}
            assert_eq!(t.topics.len(), 0);
        });
        let mut t = topics();
        for n in 0..limits::EXPIRED_TOPICS {
            t.expired.insert(n.to_string().into(), 1);
        }
        publish(&mut t, "a");
        expire(&mut t);
        let names = t.take_gone().names.map(|names| names.len());
        assert_eq!(names, Some(limits::EXPIRED_TOPICS));
    }

    #[test]
    fn of_a_topic_without_an_event_nothing_stays() {
        let mut t = topics();
        let set = t.join(&["a"], true, 0).unwrap();
        assert_eq!(t.unclaimed, 1);
        t.leave(&set, None, 0);
        assert_eq!((t.unclaimed, t.expired.len(), t.due.len()), (0, 0, 0));
        assert!(!t.exists("a") && t.sets().is_empty());
    }

    #[test]
    fn topics_go_a_part_at_a_time_and_the_last_part_says_so() {
        let mut t = topics();
        for n in 0..=AT_ONCE {
            t.ensure(&n.to_string(), 0, true).unwrap();
        }
        assert!(!t.expire_some(100));
        assert_eq!(t.expired_topics, 0);
        assert!(t.expire_some(101));
        assert_eq!(t.expired_topics, AT_ONCE as u64);
        assert!(!t.expire_some(101));
        assert_eq!((t.expired_topics, t.due.len()), (AT_ONCE as u64 + 1, 0));
    }

    #[test]
    fn a_topic_lives_through_the_last_millisecond_of_its_time() {
        let mut t = topics();
        t.defaults.keep.age_ms = 99;
        publish(&mut t, "a");
        // Looked at for its history.
        assert!(!t.expire_some(100));
        assert_eq!((t.history(0).ring().len(), t.topics.len()), (0, 1));
        assert!(!t.expire_some(101));
        assert_eq!((t.topics.len(), t.expired_topics), (0, 1));
    }

    #[test]
    fn a_topic_of_many_events_goes_after_them() {
        let mut t = topics();
        for _ in 0..AT_ONCE + 9 {
            publish(&mut t, "a");
        }
        assert!(t.expire_some(101));
        assert_eq!((t.history(0).ring().len(), t.expired_topics), (9, 0));
        assert!(!t.expire_some(101));
        assert_eq!((t.topics.len(), t.expired_topics), (0, 1));
        assert_eq!(t.histories.evicted(), AT_ONCE as u64 + 9);
    }

    #[test]
    fn what_new_limits_do_not_allow_goes_a_part_at_a_time() {
        let mut t = topics();
        for _ in 0..AT_ONCE + 9 {
            publish(&mut t, "a");
        }
        publish(&mut t, "b");
        let none = TopicChange {
            events: Some(0),
            ..TopicChange::default()
        };
        for name in ["a", "b"] {
            t.set_topic(name, &none, 0).unwrap();
        }
        assert!(t.trim_some(&["a", "b"], 0));
        assert_eq!(
            (t.history(0).ring().len(), t.history(1).ring().len()),
            (9, 1)
        );
        assert!(!t.trim_some(&["a", "none", "b"], 0));
        assert_eq!(t.histories.bytes(), 0);
    }

    #[test]
    fn what_is_pending_is_taken_up_to_the_bytes_that_are_asked_for() {
        let mut t = topics();
        assert_eq!(publish(&mut t, "a"), (1, false), "nobody is subscribed");
        let set = t.join(&["a"], true, 0).unwrap();
        set.add(&Subscription::of_nobody(&set));
        for seq in 2..=4 {
            assert_eq!(publish(&mut t, "a"), (seq, true));
        }
        let size = t.pending_bytes / 3;
        let mut taken = |max| {
            let (taken, bytes) = t.take_pending(max);
            (taken.len(), bytes)
        };
        assert_eq!((taken(0), taken(size)), ((0, 0), (1, size)));
        assert_eq!((taken(size + 1), taken(9)), ((2, 2 * size), (0, 0)));
        assert_eq!(t.pending_bytes, 3 * size, "some are on their way");
    }
}
