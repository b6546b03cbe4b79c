//! Who is subscribed to what, and what is on its way to them.
//!
//! Its locks are small, and each but the innermost: whoever holds one takes no other.

use super::crowd::{Crowd, Part};
use super::subscription::Subscription;
use crate::core::ring::Entry;
use crate::feed::Subscriber;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A topic, as those see it who are subscribed.
pub(super) struct Channel<S> {
    /// No other channel of the hub has it.
    pub id: u64,
    /// Where the topic is kept, as long as somebody is subscribed.
    pub slot: usize,
    pub name: Arc<str>,
    pub subscribers: AtomicUsize,
    /// The number of the last event that was to be delivered.
    newest: AtomicU64,
    /// Those that somebody may not have got yet, oldest first.
    queue: Mutex<VecDeque<Arc<Entry>>>,
    sets: Mutex<Crowd<Arc<Set<S>>>>,
}

/// Those with the same topics: what is published is joined once for them.
pub(super) struct Set<S> {
    /// In order of their ids.
    channels: Box<[Arc<Channel<S>>]>,
    /// The place in each channel's crowd, kept by whoever has the channel's lock.
    places: Box<[AtomicUsize]>,
    members: Mutex<Crowd<Arc<Subscription<S>>>>,
    /// 0, but for whoever delivers, see [`Delivery::of`].
    group: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Subscriber> Channel<S> {
    pub fn new(id: u64, slot: usize, name: Arc<str>) -> Arc<Self> {
        Arc::new(Channel {
            id,
            slot,
            name,
            subscribers: AtomicUsize::new(0),
            newest: AtomicU64::new(0),
            queue: Mutex::default(),
            sets: Mutex::default(),
        })
    }

    /// Nobody is subscribed, or about to be.
    pub fn is_unused(&self) -> bool {
        lock(&self.sets).is_empty()
    }

    /// Something is to be delivered: in order of the numbers.
    pub fn push(&self, entry: Arc<Entry>) {
        self.newest.store(entry.seq, Ordering::Release);
        lock(&self.queue).push_back(entry);
    }

    /// All have got what has a number up to this.
    fn done(&self, seq: u64) {
        let mut queue = lock(&self.queue);
        while queue.front().is_some_and(|e| e.seq <= seq) {
            queue.pop_front();
        }
        if queue.is_empty() {
            *queue = VecDeque::new();
        }
    }

    /// Sets that it is in.
    pub fn sets(&self) -> Vec<Arc<Set<S>>> {
        let mut parts = Vec::new();
        lock(&self.sets).parts(&mut parts);
        parts.iter().flat_map(Part::items).cloned().collect()
    }
}

impl<S: Subscriber> Set<S> {
    /// Adds a subscriber.
    pub fn add(&self, sub: &Arc<Subscription<S>>) {
        {
            let mut members = lock(&self.members);
            sub.place
                .store(members.push(sub.clone()), Ordering::Relaxed);
        }
        for channel in &self.channels {
            channel.subscribers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one away that was added.
    pub fn remove(&self, sub: &Subscription<S>) {
        {
            let place = sub.place.load(Ordering::Relaxed);
            let moved = |other: &Arc<Subscription<S>>| other.place.store(place, Ordering::Relaxed);
            lock(&self.members).remove(place, moved);
        }
        for channel in &self.channels {
            channel.subscribers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.members).is_empty()
    }

    /// Those who are subscribed now.
    pub fn members(&self, parts: &mut Parts<S>) {
        lock(&self.members).parts(parts);
    }

    /// Its topics.
    pub fn channels(&self) -> &[Arc<Channel<S>>] {
        &self.channels
    }

    /// What was to be delivered from the number `next` to `last`, which is the
    /// newest, and may be on its way.
    pub fn waiting(&self, next: u64, last: u64) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for channel in &self.channels {
            if channel.newest.load(Ordering::Acquire) < next {
                continue;
            }
            let queue = lock(&channel.queue);
            let from = queue.partition_point(|e| e.seq < next);
            // What came since may have company on a topic that was looked at before.
            let known = queue.range(from..).take_while(|e| e.seq <= last);
            entries.extend(known.cloned());
        }
        if self.channels.len() > 1 {
            entries.sort_unstable_by_key(|e| e.seq);
        }
        entries
    }

    fn place_in(&self, channel: &Channel<S>) -> Option<&AtomicUsize> {
        let at = self.channels.binary_search_by_key(&channel.id, |c| c.id);
        at.ok().map(|at| &self.places[at])
    }
}

/// The sets of a hub, by the ids of their channels.
pub(super) struct Sets<S>(HashMap<Box<[u64]>, Arc<Set<S>>>);

impl<S> Default for Sets<S> {
    fn default() -> Self {
        Sets(HashMap::new())
    }
}

impl<S: Subscriber> Sets<S> {
    /// The set of these topics.
    pub fn join(&mut self, mut channels: Vec<Arc<Channel<S>>>) -> Arc<Set<S>> {
        channels.sort_unstable_by_key(|c| c.id);
        channels.dedup_by_key(|c| c.id);
        let ids: Box<[u64]> = channels.iter().map(|c| c.id).collect();
        if let Some(set) = self.0.get(&ids) {
            return set.clone();
        }
        let set = Arc::new(Set {
            places: channels.iter().map(|_| AtomicUsize::new(0)).collect(),
            channels: channels.into(),
            members: Mutex::default(),
            group: AtomicUsize::new(0),
        });
        for (channel, place) in set.channels.iter().zip(&set.places) {
            let mut sets = lock(&channel.sets);
            place.store(sets.push(set.clone()), Ordering::Relaxed);
        }
        self.0.insert(ids, set.clone());
        set
    }

    /// Takes away a set that has no members.
    pub fn dissolve(&mut self, set: &Set<S>) {
        let ids: Box<[u64]> = set.channels.iter().map(|c| c.id).collect();
        self.0.remove(&ids);
        for (channel, place) in set.channels.iter().zip(&set.places) {
            let mut sets = lock(&channel.sets);
            let place = place.load(Ordering::Relaxed);
            sets.remove(place, |moved| {
                if let Some(theirs) = moved.place_in(channel) {
                    theirs.store(place, Ordering::Relaxed);
                }
            });
        }
    }

    pub fn all(&self) -> Vec<Arc<Set<S>>> {
        self.0.values().cloned().collect()
    }
}

/// Channels and sets have each other, and sets and subscriptions.
impl<S> Drop for Sets<S> {
    fn drop(&mut self) {
        for set in self.0.values() {
            *lock(&set.members) = Crowd::default();
            for channel in &set.channels {
                *lock(&channel.sets) = Crowd::default();
            }
        }
    }
}

/// Subscriptions, as they were when somebody looked.
pub(super) type Parts<S> = Vec<Part<Arc<Subscription<S>>>>;

/// An event that is to be delivered.
pub(super) struct Pending<S> {
    pub channel: Arc<Channel<S>>,
    pub entry: Arc<Entry>,
}

/// Events on their way to all who are subscribed: those of a topic are a run,
/// and who gets the same runs is of a group.
pub(super) struct Delivery<S> {
    /// By channel, then in order.
    events: Vec<Pending<S>>,
    /// Where each run ends.
    ends: Vec<usize>,
    /// The group without the last of its runs, and that run. The first has none.
    groups: Vec<(usize, usize)>,
    /// To be done: from the last one on.
    jobs: Vec<(usize, Parts<S>)>,
    last: u64,
}

impl<S: Subscriber> Delivery<S> {
    /// Of those events, in order, to all who are subscribed by now. One at a time
    /// is made in a hub.
    pub fn of(mut events: Vec<Pending<S>>) -> Self {
        let last = events.last().map_or(0, |p| p.entry.seq);
        events.sort_by_key(|p| p.channel.id);
        let mut ends = Vec::new();
        let mut groups = vec![(0, 0)];
        let mut with: HashMap<(usize, usize), usize> = HashMap::new();
        let mut met: Vec<Arc<Set<S>>> = Vec::new();
        for events in events.chunk_by(|a, b| a.channel.id == b.channel.id) {
            let run = ends.len();
            ends.push(ends.last().copied().unwrap_or(0) + events.len());
            let mut sets = Vec::new();
            lock(&events[0].channel.sets).parts(&mut sets);
            // The same for most.
            let mut known = (usize::MAX, 0);
            for set in sets.iter().flat_map(Part::items) {
                let group = set.group.load(Ordering::Relaxed);
                if group == 0 {
                    met.push(set.clone());
                }
                if known.0 != group {
                    let next = *with.entry((group, run)).or_insert_with(|| {
                        groups.push((group, run));
                        groups.len() - 1
                    });
                    known = (group, next);
                }
                set.group.store(known.1, Ordering::Relaxed);
            }
        }
        let mut members: Vec<Parts<S>> = Vec::new();
        members.resize_with(groups.len(), Vec::new);
        for set in met {
            let group = set.group.swap(0, Ordering::Relaxed);
            set.members(&mut members[group]);
        }
        let jobs = members.into_iter().enumerate();
        Delivery {
            events,
            ends,
            groups,
            jobs: jobs.filter(|(_, parts)| !parts.is_empty()).collect(),
            last,
        }
    }

    /// Who is next to get what; `None`: all have got it.
    pub fn next(&mut self) -> Option<(Vec<Arc<Entry>>, Parts<S>)> {
        let (group, parts) = self.jobs.pop()?;
        let (mut entries, mut at, mut runs) = (Vec::new(), group, 0);
        while at > 0 {
            let (less, run) = self.groups[at];
            let begins = run.checked_sub(1).map_or(0, |before| self.ends[before]);
            let events = &self.events[begins..self.ends[run]];
            entries.extend(events.iter().map(|p| p.entry.clone()));
            (at, runs) = (less, runs + 1);
        }
        if runs > 1 {
            entries.sort_unstable_by_key(|e| e.seq);
        }
        Some((entries, parts))
    }

    /// All have got it.
    pub fn done(&self) {
        for events in self.events.chunk_by(|a, b| a.channel.id == b.channel.id) {
            events[0].channel.done(self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Conn;
    use crate::core::frame::Event;

    fn event(channel: &Arc<Channel<Conn>>, seq: u64) -> Pending<Conn> {
        let event = Event {
            data: Some("x"),
            ..Event::default()
        };
        let entry = Entry::new(&channel.name, seq, 0, None, false, None, &event);
        Pending {
            channel: channel.clone(),
            entry: Arc::new(entry),
        }
    }

    /// What a delivery of events on these channels is made of: the numbers that
    /// go together, and to how many sets.
    fn groups(sets: &[&[usize]], on: &[usize]) -> Vec<(Vec<u64>, usize)> {
        let channels: Vec<_> = (0..10).map(|n| Channel::new(n, 0, "t".into())).collect();
        let mut all = Sets::default();
        for set in sets {
            let set = all.join(set.iter().map(|&n| channels[n].clone()).collect());
            let mut members = lock(&set.members);
            members.push(Subscription::of_nobody(&set));
        }
        let on = on.iter().zip(1..);
        let mut delivery = Delivery::of(on.map(|(&n, seq)| event(&channels[n], seq)).collect());
        let mut groups = Vec::new();
        while let Some((entries, parts)) = delivery.next() {
            groups.push((entries.iter().map(|e| e.seq).collect(), parts.len()));
        }
        assert!(all.0.values().all(|s| s.group.load(Ordering::Relaxed) == 0));
        groups.sort_unstable();
        groups
    }

    #[test]
    fn a_set_that_goes_leaves_the_others_in_their_channels() {
        let channels: Vec<_> = (0..3).map(|n| Channel::new(n, 0, "t".into())).collect();
        let mut all = Sets::<Conn>::default();
        let mut join = |of: &[usize]| all.join(of.iter().map(|&n| channels[n].clone()).collect());
        let sets = [join(&[0]), join(&[0, 1]), join(&[0, 2]), join(&[1, 2])];
        let mut left: Vec<_> = sets.iter().collect();
        // The last of a channel's takes the place of one that goes.
        for gone in [0, 2, 1] {
            all.dissolve(&sets[gone]);
            left.retain(|set| !Arc::ptr_eq(set, &sets[gone]));
            for channel in &channels {
                let mut has = channel.sets();
                has.sort_by_key(Arc::as_ptr);
                let mut with: Vec<_> = left
                    .iter()
                    .filter(|set| set.place_in(channel).is_some())
                    .copied()
                    .collect();
                with.sort_by_key(|set| Arc::as_ptr(set));
                assert!(
                    has.iter()
                        .map(Arc::as_ptr)
                        .eq(with.into_iter().map(Arc::as_ptr)),
                    "{gone}"
                );
            }
        }
        assert!(channels[0].is_unused() && !channels[1].is_unused());
    }

    #[test]
    fn sets_that_get_the_same_share_it() {
        let users: [&[usize]; 4] = [&[0, 1], &[0, 2], &[3, 0, 3], &[9]];
        assert_eq!(groups(&users, &[0, 0]), [(vec![1, 2], 3)]);
        assert_eq!(
            groups(&users, &[0, 3, 0, 1, 8]),
            [(vec![1, 2, 3], 1), (vec![1, 3], 1), (vec![1, 3, 4], 1)]
        );
        assert_eq!(groups(&users, &[8]), []);
        assert_eq!(
            groups(&[&[1, 2], &[2, 1]], &[2, 1, 2]),
            [(vec![1, 2, 3], 1)]
        );
    }
}
