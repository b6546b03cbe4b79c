//! The histories of all topics, in memory, within the limit on all of them.

use super::{Filling, Gone, History, Missing, State, TopicSettings};
use crate::core::limits;
use crate::core::ring::{Entry, Ring};
use slab::Slab;
use std::collections::BTreeMap;
use std::ops::Index;
use std::sync::Arc;

/// By the place that [`Memory::open`] has given to each.
pub(in crate::hub) struct Memory {
    histories: Slab<History>,
    /// What the rings hold, in order, for the limit on all of them.
    order: BTreeMap<u64, usize>,
    ring_bytes: usize,
    state_bytes: usize,
    total_bytes: usize,
    evicted: u64,
    /// Since it was taken last.
    pub gone: Gone,
}

impl Index<usize> for Memory {
    type Output = History;

    fn index(&self, place: usize) -> &History {
        &self.histories[place]
    }
}

impl Memory {
    pub fn new(total_bytes: usize) -> Self {
        Memory {
            histories: Slab::new(),
            order: BTreeMap::new(),
            ring_bytes: 0,
            state_bytes: 0,
            total_bytes,
            evicted: 0,
            gone: Gone::default(),
        }
    }

    /// What is kept, bytes; an event of a history and of a state counts twice.
    pub fn bytes(&self) -> usize {
        self.ring_bytes + self.state_bytes
    }

    /// Events that are gone.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A topic begins that may have had events up to `lost` that are gone.
    pub fn open(&mut self, settings: TopicSettings, lost: u64) -> usize {
        self.histories.insert(History::new(settings, lost))
    }

    /// It ends: the number of its newest event.
    pub fn close(&mut self, place: usize) -> u64 {
        self.drain(place, usize::MAX);
        let history = self.histories.remove(place);
        self.state_bytes -= history.state().1;
        let newest = history.ring.newest();
        self.gone.histories.push(history);
        newest
    }

    /// Changes something about a topic with what its state may take: half of
    /// what is kept, for all topics.
    fn change(&mut self, place: usize, change: impl FnOnce(&mut History, usize)) {
        let history = &mut self.histories[place];
        let others = self.state_bytes - history.state().1;
        change(history, (self.total_bytes / 2).saturating_sub(others));
        self.state_bytes = others + history.state().1;
    }

    /// Settings from now on; what they do not allow goes with [`Memory::trim`], and
    /// the state that goes is for who has no lock to drop.
    pub fn set(&mut self, place: usize, settings: TopicSettings) -> Option<Box<State>> {
        let mut old = None;
        self.change(place, |history, _| old = history.set(settings));
        old
    }

    /// Gives a topic the state that it is to have, made of what it has kept, or says
    /// what that does not know yet. If `at_once`, it does not.
    pub fn fill(&mut self, place: usize, filling: &mut Filling, at_once: bool) -> Option<Missing> {
        if !self[place].lacks_state() {
            return None;
        }
        let room = (self.total_bytes / 2).saturating_sub(self.state_bytes);
        let ring = &self[place].ring;
        // A newer event of a key may be gone already; others may have taken the room.
        let afresh = ring.gone() > filling.seen || filling.state.bytes > room;
        let missing = Missing {
            events: ring.share_after(if afresh { 0 } else { filling.seen }),
            room,
            afresh,
        };
        let few = missing.events.iter().nth(limits::EVICTED_AT_ONCE).is_none();
        // To drop what it has made so far may take long.
        let small = !afresh || filling.state.newest.is_empty();
        if !(at_once || few && small) {
            return Some(missing);
        }
        filling.take(&missing);
        let state = std::mem::take(&mut filling.state);
        self.state_bytes += state.bytes;
        self.histories[place].state = Some(state);
        None
    }

    /// Adds the newest event of all. What has no room any more goes, of its own
    /// topic first.
    pub fn push(&mut self, place: usize, entry: &Arc<Entry>) {
        let mut old = None;
        self.change(place, |history, room| old = history.push(entry, room));
        old.into_iter().for_each(|e| self.gone.add(e));
        self.ring_bytes += entry.size();
        self.order.insert(entry.seq, place);
        self.trim(place, entry.at_ms, limits::EVICTED_AT_ONCE);
        while self.bytes() > self.total_bytes
            && let Some(oldest) = self.order.first_entry()
        {
            let place = *oldest.get();
            self.drain(place, 1);
        }
    }

    /// Evicts what a topic's own limits do not allow, `most` events at most:
    /// how many it were.
    pub fn trim(&mut self, place: usize, now_ms: u64, most: usize) -> usize {
        let keep = self[place].settings.keep;
        self.evict(place, most, |ring| ring.is_over(&keep, now_ms))
    }

    /// Evicts `most` events at most: how many it were.
    pub fn drain(&mut self, place: usize, most: usize) -> usize {
        self.evict(place, most, |_| true)
    }

    fn evict(&mut self, place: usize, most: usize, also: impl Fn(&Ring) -> bool) -> usize {
        let ring = &mut self.histories[place].ring;
        let mut n = 0;
        while n < most
            && also(ring)
            && let Some(e) = ring.evict()
        {
            n += 1;
            self.ring_bytes -= e.size();
            self.order.remove(&e.seq);
            self.evicted += u64::from(!e.is_silent());
            self.gone.add(e);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::Event;

    fn entry(seq: u64, key: &str, data: Option<&str>) -> Arc<Entry> {
        let event = Event {
            data,
            ..Event::default()
        };
        let deletes = data.is_none();
        let key = Some(key);
        Arc::new(Entry::new(&"t".into(), seq, 0, key, deletes, None, &event))
    }

    #[test]
    fn a_state_that_is_being_made_knows_of_keys_that_are_deleted_meanwhile() {
        let mut memory = Memory::new(1 << 20);
        let mut settings = TopicSettings::default();
        let place = memory.open(settings, 0);
        let all = limits::EVICTED_AT_ONCE as u64 + 1;
        for seq in 1..=all {
            memory.push(place, &entry(seq, &format!("k{seq}"), Some("x")));
        }
        settings.state = true;
        memory.set(place, settings);
        let mut filling = Filling::default();
        let missing = memory.fill(place, &mut filling, false).expect("many");
        filling.take(&missing);
        // What the history has is too old now.
        memory.drain(place, usize::MAX);
        assert!(memory[place].may_have("k1"));
        memory.push(place, &entry(all + 1, "k1", None));
        assert!(memory.fill(place, &mut filling, false).is_none());
        assert_eq!(memory[place].state().0 as u64, all - 1);
        assert!(!memory[place].may_have("k1"));
    }
}
