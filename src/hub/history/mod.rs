//! What a topic remembers: its newest events, and the newest of each key.

mod memory;
#[cfg(test)]
mod tests;

pub(super) use memory::Memory;

use super::crowd::{Crowd, Part};
use crate::core::limits;
use crate::core::ring::{Entry, Keep, Ring};
use crate::core::slices::Shared;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

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

/// Settings to change; `None`: as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicChange {
    /// See [`Keep::events`].
    pub events: Option<usize>,
    /// See [`Keep::bytes`].
    pub bytes: Option<usize>,
    /// See [`Keep::age_ms`].
    pub age_ms: Option<u64>,
    /// See [`TopicSettings::state`].
    pub state: Option<bool>,
    /// See [`TopicSettings::ttl_ms`].
    pub ttl_ms: Option<u64>,
}

impl TopicSettings {
    /// Those settings with the changes.
    #[must_use]
    pub fn with(self, change: &TopicChange) -> Self {
        TopicSettings {
            keep: Keep {
                events: change.events.unwrap_or(self.keep.events),
                bytes: change.bytes.unwrap_or(self.keep.bytes),
                age_ms: change.age_ms.unwrap_or(self.keep.age_ms),
            },
            state: change.state.unwrap_or(self.state),
            ttl_ms: change.ttl_ms.unwrap_or(self.ttl_ms),
        }
    }
}

/// The newest event of each key.
#[derive(Default)]
pub(super) struct State {
    newest: Crowd<Arc<Entry>>,
    /// Where in it.
    places: HashMap<Box<str>, usize>,
    bytes: usize,
    refused: u64,
}

impl State {
    /// Keeps the event, if it has a key, in up to `room` bytes; the one before.
    fn put(&mut self, entry: &Arc<Entry>, room: usize) -> Option<Arc<Entry>> {
        let key = entry.key.as_ref()?;
        // In any case it is out of date.
        let gone = self.take(key);
        if entry.deletes {
            return gone;
        }
        if self.newest.len() >= limits::STATE_KEYS || self.bytes + entry.size() > room {
            self.refused += 1;
            return gone;
        }
        self.bytes += entry.size();
        let place = self.newest.push(entry.clone());
        self.places.insert(key.clone(), place);
        gone
    }

    fn take(&mut self, key: &str) -> Option<Arc<Entry>> {
        let State { newest, places, .. } = self;
        let place = places.remove(key)?;
        let gone = newest.remove(place, |moved| {
            let theirs = moved.key.as_ref().and_then(|key| places.get_mut(key));
            theirs.into_iter().for_each(|theirs| *theirs = place);
        })?;
        self.bytes -= gone.size();
        Some(gone)
    }
}

/// What is gone while a lock is held, for who has no lock to drop: to give much
/// memory back takes long.
#[derive(Default)]
pub(super) struct Gone {
    /// Of most publishes there is one.
    entry: Option<Arc<Entry>>,
    entries: Vec<Arc<Entry>>,
    histories: Vec<History>,
    /// Of topics that are not remembered any more.
    pub names: Option<HashMap<Arc<str>, u64>>,
}

impl Gone {
    fn add(&mut self, entry: Arc<Entry>) {
        if let Some(before) = self.entry.replace(entry) {
            self.entries.push(before);
        }
    }
}

/// A state that is made of what a topic has kept, with no lock held.
#[derive(Default)]
pub(super) struct Filling {
    state: Box<State>,
    seen: u64,
}

/// What it is to take next.
pub(super) struct Missing {
    events: Shared<Arc<Entry>>,
    room: usize,
    /// And nothing of before.
    afresh: bool,
}

impl Filling {
    /// Takes it.
    pub fn take(&mut self, missing: &Missing) {
        if missing.afresh {
            *self = Filling::default();
        }
        let Filling { state, seen } = self;
        let new = missing.events.iter().filter(|e| e.seq > *seen);
        new.for_each(|e| drop(state.put(e, missing.room)));
        let last = missing.events.iter().next_back();
        self.seen = last.map_or(self.seen, |e| e.seq.max(self.seen));
    }
}

/// That of one topic.
pub(super) struct History {
    settings: TopicSettings,
    ring: Ring,
    /// Most have none.
    state: Option<Box<State>>,
}

impl History {
    /// Of a topic that may have had events up to `lost` that are gone.
    fn new(settings: TopicSettings, lost: u64) -> Self {
        History {
            settings,
            ring: Ring::after_loss(lost),
            state: settings.state.then(Box::default),
        }
    }

    pub fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// From now on; the state that it is to have no more. One that it is to have
    /// is made by [`Memory::fill`].
    fn set(&mut self, settings: TopicSettings) -> Option<Box<State>> {
        self.settings = settings;
        self.state.take_if(|_| !settings.state)
    }

    fn lacks_state(&self) -> bool {
        self.settings.state && self.state.is_none()
    }

    /// Adds the newest event; what it keeps as state takes up to `room` bytes. The
    /// one that it is in place of.
    fn push(&mut self, entry: &Arc<Entry>, room: usize) -> Option<Arc<Entry>> {
        self.ring.push(entry.clone());
        self.state.as_mut()?.put(entry, room)
    }

    /// When its oldest event is too old.
    pub fn over_ms(&self) -> Option<u64> {
        let oldest = self.ring.all().next()?;
        let age = self.settings.keep.age_ms.saturating_add(1);
        Some(oldest.at_ms.saturating_add(age))
    }

    /// A snapshot of that part of it.
    pub fn look(&self, at: Look) -> View {
        let mut state = Vec::new();
        let own = self.state.as_ref();
        if let Some(own) = own.filter(|_| !matches!(at, Look::After(_))) {
            own.newest.parts(&mut state);
        }
        let ring = match at {
            Look::State | Look::Last(0) => Shared::default(),
            // Of a state any number is left out.
            Look::Last(n) if self.state.is_none() => self.ring.share_last(n),
            Look::Last(_) | Look::All => self.ring.share_after(0),
            Look::After(seq) => self.ring.share_after(seq),
        };
        View {
            ring,
            state,
            has_state: self.state.is_some(),
        }
    }

    /// Whether there may be something of that key: in the state, or in the
    /// history of a topic that may yet become one with state.
    pub fn may_have(&self, key: &str) -> bool {
        match &self.state {
            Some(state) if state.places.contains_key(key) => true,
            Some(state) if state.refused == 0 => false,
            // One that is being made may have what the ring has no more.
            None if self.settings.state => true,
            _ => !self.ring.is_empty(),
        }
    }

    /// Keys of the state, their bytes, and how many were refused.
    pub fn state(&self) -> (usize, usize, u64) {
        let figures = |s: &State| (s.newest.len(), s.bytes, s.refused);
        self.state.as_deref().map_or((0, 0, 0), figures)
    }
}

/// What of a history is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    /// The newest of each key.
    State,
    /// That, and so many of the newest events that are not of it.
    Last(usize),
    /// Events after that number; the state is part of them.
    After(u64),
    /// All.
    All,
}

/// A snapshot of a history, or of the part that was asked for.
pub(super) struct View {
    ring: Shared<Arc<Entry>>,
    state: Vec<Part<Arc<Entry>>>,
    has_state: bool,
}

impl View {
    /// There is nothing to be seen.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.state.is_empty()
    }

    /// What a new subscriber gets first.
    pub fn present(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.state.iter().flat_map(Part::items)
    }

    /// The events after that number, newest first.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let after = self.ring.iter().rev().take_while(move |e| e.seq > seq);
        after.filter(|e| !e.is_silent())
    }

    /// What a subscriber gets that has missed something: what is kept, but
    /// for events that a newer one of their key has replaced or deleted.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.present().chain(self.rest())
    }

    /// The same without the state, newest first.
    pub fn rest(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let keys = self.present().filter_map(|e| e.key.as_deref());
        let mut over: HashSet<&str> = keys.collect();
        self.ring.iter().rev().filter(move |&e| {
            let key = e.key.as_deref().filter(|_| self.has_state);
            let Some(key) = key else {
                return !e.is_silent();
            };
            let newest = !over.contains(key);
            if e.deletes {
                over.insert(key);
            }
            newest && !e.is_silent()
        })
    }
}
