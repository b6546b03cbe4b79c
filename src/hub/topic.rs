//! One topic: its settings, its history, and the newest event of each key.

use super::fanout::Channel;
use crate::core::limits;
use crate::core::ring::{Entry, Keep, Ring};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// What there is to say about a topic.
pub(super) struct Figures {
    subscribers: usize,
    published: u64,
    kept_events: usize,
    kept_bytes: usize,
    state: (usize, usize, u64),
}

impl Figures {
    pub fn json(&self) -> serde_json::Value {
        let (keys, state_bytes, refused) = self.state;
        json!({
            "subscribers": self.subscribers,
            "published": self.published,
            "kept_events": self.kept_events,
            "kept_bytes": self.kept_bytes,
            "keys": keys,
            "state_bytes": state_bytes,
            "refused_keys": refused,
        })
    }
}

pub(super) struct Topic {
    settings: TopicSettings,
    pub ring: Ring,
    state: State,
    pub channel: Arc<Channel>,
    pub used_ms: u64,
    /// When it is to be looked at; `u64::MAX`: not yet decided.
    pub due_ms: u64,
    pub published: u64,
    /// The application has published to it, or has settings for it.
    pub claimed: bool,
}

impl Topic {
    /// A topic that may have had events up to `lost` that are gone.
    pub fn new(channel: Arc<Channel>, settings: TopicSettings, lost: u64, now_ms: u64) -> Self {
        Topic {
            settings,
            ring: Ring::after_loss(lost),
            state: State::default(),
            channel,
            used_ms: now_ms,
            due_ms: u64::MAX,
            published: 0,
            claimed: false,
        }
    }

    pub fn settings(&self) -> &TopicSettings {
        &self.settings
    }

    /// From now on; a topic that becomes one with state takes it from its
    /// history, within `room` bytes.
    pub fn set(&mut self, settings: TopicSettings, room: usize) {
        let began = settings.state && !self.settings.state;
        self.settings = settings;
        if !settings.state {
            self.state = State::default();
        } else if began {
            let Topic { ring, state, .. } = self;
            ring.all().for_each(|e| state.put(e, room));
        }
    }

    /// Adds the newest event; what it keeps as state takes up to `room` bytes.
    pub fn push(&mut self, entry: &Arc<Entry>, room: usize) {
        if !entry.is_silent() {
            self.used_ms = entry.at_ms;
            self.published += 1;
        }
        self.ring.push(entry.clone());
        if self.settings.state {
            self.state.put(entry, room);
        }
    }

    /// Evicts from the history what its limits do not allow, `most` events at
    /// most, telling of each.
    pub fn trim(&mut self, now_ms: u64, most: usize, gone: impl FnMut(&Entry)) {
        self.ring.trim(&self.settings.keep, now_ms, most, gone);
    }

    /// When its oldest event, or all of it, is over: not before that.
    pub fn over_ms(&self) -> u64 {
        let oldest = self.ring.all().next();
        let age = oldest.map(|e| e.at_ms.saturating_add(self.settings.keep.age_ms));
        let idle = self.used_ms.saturating_add(self.settings.ttl_ms);
        let idle = self.is_deserted().then_some(idle);
        let last = age.into_iter().chain(idle).min();
        last.map_or(u64::MAX, |ms| ms.saturating_add(1))
    }

    /// Nobody has used it for its time.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.is_deserted() && now_ms.saturating_sub(self.used_ms) > self.settings.ttl_ms
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

    /// Figures of now.
    pub fn figures(&self) -> Figures {
        Figures {
            subscribers: self.channel.subscribers.load(Ordering::Relaxed),
            published: self.published,
            kept_events: self.ring.len(),
            kept_bytes: self.ring.bytes(),
            state: self.state(),
        }
    }

    /// Keys of the state, their bytes, and how many were refused.
    pub fn state(&self) -> (usize, usize, u64) {
        (
            self.state.newest.len(),
            self.state.bytes,
            self.state.refused,
        )
    }

    /// Nobody is subscribed.
    pub fn is_deserted(&self) -> bool {
        self.channel.is_unused()
    }

    /// Nobody would miss it.
    pub fn is_unused(&self) -> bool {
        self.is_deserted() && self.published == 0
    }
}
