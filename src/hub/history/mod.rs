//! What a topic remembers: its newest events, and the newest of each key.

mod memory;

pub(super) use memory::Memory;

use crate::core::limits;
use crate::core::ring::{Entry, Keep, Ring};
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
struct State {
    newest: HashMap<Box<str>, Arc<Entry>>,
    bytes: usize,
    refused: u64,
}

impl State {
    /// Keeps the event, if it has a key, in up to `room` bytes.
    fn put(&mut self, entry: &Arc<Entry>, room: usize) {
        let Some(key) = &entry.key else { return };
        // In any case the one before is out of date.
        let known = self.newest.remove(key);
        self.bytes -= known.map_or(0, |e| e.size());
        if entry.deletes {
            return;
        }
        if self.newest.len() >= limits::STATE_KEYS || self.bytes + entry.size() > room {
            self.refused += 1;
            return;
        }
        self.bytes += entry.size();
        self.newest.insert(key.clone(), entry.clone());
    }
}

/// That of one topic.
pub(super) struct History {
    settings: TopicSettings,
    ring: Ring,
    state: State,
}

impl History {
    /// Of a topic that may have had events up to `lost` that are gone.
    fn new(settings: TopicSettings, lost: u64) -> Self {
        History {
            settings,
            ring: Ring::after_loss(lost),
            state: State::default(),
        }
    }

    pub fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// From now on; a topic that becomes one with state takes it from its
    /// history, within `room` bytes.
    fn set(&mut self, settings: TopicSettings, room: usize) {
        let began = settings.state && !self.settings.state;
        self.settings = settings;
        if !settings.state {
            self.state = State::default();
        } else if began {
            let History { ring, state, .. } = self;
            ring.all().for_each(|e| state.put(e, room));
        }
    }

    /// Adds the newest event; what it keeps as state takes up to `room` bytes.
    fn push(&mut self, entry: &Arc<Entry>, room: usize) {
        self.ring.push(entry.clone());
        if self.settings.state {
            self.state.put(entry, room);
        }
    }

    /// When its oldest event is too old.
    pub fn over_ms(&self) -> Option<u64> {
        let oldest = self.ring.all().next()?;
        let age = self.settings.keep.age_ms.saturating_add(1);
        Some(oldest.at_ms.saturating_add(age))
    }

    /// What a new subscriber gets first.
    pub fn present(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.state.newest.values()
    }

    /// What a subscriber gets that has missed something: what is kept, but
    /// for events that a newer one of their key has replaced or deleted.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.present().chain(self.rest())
    }

    /// The same without the state, newest first.
    pub fn rest(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let mut deleted = HashSet::new();
        self.ring.all().rev().filter(move |&e| {
            let key = e.key.as_deref().filter(|_| self.settings.state);
            let Some(key) = key else {
                return !e.is_silent();
            };
            let newest = !deleted.contains(key) && !self.state.newest.contains_key(key);
            if e.deletes {
                deleted.insert(key);
            }
            newest && !e.is_silent()
        })
    }

    /// Whether there may be something of that key: in the state, or in the
    /// history of a topic that may yet become one with state.
    pub fn may_have(&self, key: &str) -> bool {
        let refused = !self.settings.state || self.state.refused > 0;
        self.state.newest.contains_key(key) || (refused && !self.ring.is_empty())
    }

    /// Keys of the state, their bytes, and how many were refused.
    pub fn state(&self) -> (usize, usize, u64) {
        (
            self.state.newest.len(),
            self.state.bytes,
            self.state.refused,
        )
    }
}
