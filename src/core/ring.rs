//! The replay ring of one topic: the newest events, by count, bytes and age.

use crate::core::chunk::Chunk;
use crate::core::frame::Event;
use crate::core::limits;
use crate::core::slices::{Shared, Slices};
use once_cell::sync::Lazy;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;

/// Keyed by chance, as clients may have a say in what keys there are.
static HASH: Lazy<RandomState> = Lazy::new(RandomState::new);

/// An event that is framed, once for everybody, and has no number yet.
#[derive(Debug)]
pub struct Framed {
    /// When it was published, milliseconds.
    pub at_ms: u64,
    /// What it is the newest state of, if it is.
    pub key: Option<Box<str>>,
    /// The application's own id, if it gave one.
    pub id: Option<Arc<str>>,
    /// Its key has no state any more.
    pub deletes: bool,
    key_hash: u64,
    /// What it is sent as.
    pub chunk: Chunk,
}

/// A published event.
#[derive(Debug)]
pub struct Entry {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Its number in the hub, from 1.
    pub seq: u64,
    framed: Framed,
}

impl Deref for Entry {
    type Target = Framed;
    fn deref(&self) -> &Framed {
        &self.framed
    }
}

impl Framed {
    /// Frames a checked event. One without any field is silent.
    pub fn new(
        topic: &str,
        at_ms: u64,
        key: Option<&str>,
        deletes: bool,
        id: Option<&str>,
        e: &Event<'_>,
    ) -> Self {
        Framed {
            at_ms,
            key: key.map(Into::into),
            id: id.map(Into::into),
            deletes,
            key_hash: key.map_or(0, |key| HASH.hash_one((topic, key))),
            chunk: Chunk::new(e.encoded_len(), |b| e.encode(b)),
        }
    }

    /// It gets its number.
    pub fn number(self, topic: &Arc<str>, seq: u64) -> Entry {
        Entry {
            topic: topic.clone(),
            seq,
            framed: self,
        }
    }
}

impl Entry {
    /// Frames a checked event, as [`Framed::new`] does.
    pub fn new(
        topic: &Arc<str>,
        seq: u64,
        at_ms: u64,
        key: Option<&str>,
        deletes: bool,
        id: Option<&str>,
        e: &Event<'_>,
    ) -> Self {
        Framed::new(topic, at_ms, key, deletes, id, e).number(topic, seq)
    }

    /// Stands for topic and key, where queues look for one: computed once.
    pub fn key_hash(&self) -> u64 {
        self.key_hash
    }

    /// The wire bytes.
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The fields as they were framed, one a line, without the blank line.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = str::from_utf8(self.chunk.bytes(false)).unwrap_or_default();
        text.split_terminator('\n')
            .filter_map(|line| line.split_once(": "))
    }

    /// Nothing of it is ever sent: it only says that a key was deleted.
    pub fn is_silent(&self) -> bool {
        self.chunk.bytes(false).is_empty()
    }

    /// Bytes that count against limits: about what it takes in memory.
    pub fn size(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let id = self.id.as_ref().map_or(0, |id| id.len());
        self.chunk.wire_len() + key + id + limits::EVENT_OVERHEAD_BYTES
    }
}

/// How much a topic remembers.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Events.
    pub events: usize,
    /// Bytes, see [`Entry::size`].
    pub bytes: usize,
    /// Milliseconds.
    pub age_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ring {
    entries: Slices<Arc<Entry>>,
    bytes: usize,
    evicted: u64,
    /// The same with silent ones.
    gone: u64,
    newest: u64,
    silent: usize,
    /// By id of the application's: the number of the first event that had it,
    /// kept or gone, and how many that have it are kept.
    ids: HashMap<Arc<str>, (u64, usize)>,
}

impl Ring {
    /// A ring whose topic may have had events up to `seq` that are gone.
    pub fn after_loss(seq: u64) -> Self {
        Ring {
            evicted: seq,
            gone: seq,
            newest: seq,
            ..Ring::default()
        }
    }

    /// Adds the newest event; limits are its owner's, see [`Ring::is_over`].
    pub fn push(&mut self, entry: Arc<Entry>) {
        debug_assert!(self.newest < entry.seq);
        self.bytes += entry.size();
        if let Some(id) = &entry.id {
            let (_, kept) = self.ids.entry(id.clone()).or_insert((entry.seq, 0));
            *kept += 1;
        }
        match entry.is_silent() {
            true => self.silent += 1,
            false => self.newest = entry.seq,
        }
        self.entries.push(entry);
    }

    /// The oldest is over the limits.
    pub fn is_over(&self, keep: &Keep, now_ms: u64) -> bool {
        self.entries.iter().next().is_some_and(|oldest| {
            self.len() > keep.events
                || self.bytes > keep.bytes
                || now_ms.saturating_sub(oldest.at_ms) > keep.age_ms
        })
    }

    /// Evicts the oldest event.
    pub fn evict(&mut self) -> Option<Arc<Entry>> {
        let oldest = self.entries.pop()?;
        self.bytes -= oldest.size();
        self.gone = oldest.seq;
        if let Some(id) = &oldest.id
            && let Some((_, kept)) = self.ids.get_mut(id)
        {
            *kept -= 1;
            if *kept == 0 {
                self.ids.remove(id);
            }
        }
        match oldest.is_silent() {
            true => self.silent -= 1,
            false => self.evicted = oldest.seq,
        }
        Some(oldest)
    }

    /// The newest event that is gone; 0 if none is.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The newest that is gone, silent ones too.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// All, silent ones too, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }

    /// A snapshot of all after `seq`, and of some before it, silent ones too.
    pub fn share_after(&self, seq: u64) -> Shared<Arc<Entry>> {
        let from = self.entries.partition_point(|e| e.seq <= seq);
        self.entries.share(from)
    }

    /// A snapshot of the newest `n`, or more, silent ones not counted.
    pub fn share_last(&self, n: usize) -> Shared<Arc<Entry>> {
        let n = n.saturating_add(self.silent);
        self.entries.share(self.entries.len().saturating_sub(n))
    }

    /// The number of the first event that had this id of the application's,
    /// while one that has it is kept: who resumes after it may get an event
    /// twice, but none never.
    pub fn find(&self, id: &str) -> Option<u64> {
        self.ids.get(id).map(|(first, _)| *first)
    }

    /// Events kept.
    pub fn len(&self) -> usize {
        self.entries.len() - self.silent
    }

    /// None kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest event's number, kept or gone; 0 if there was none.
    pub fn newest(&self) -> u64 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep {
        events: 3,
        bytes: 4000,
        age_ms: 100,
    };

    fn entry(seq: u64, at_ms: u64, data: &str) -> Arc<Entry> {
        let event = Event {
            data: Some(data),
            ..Event::default()
        };
        Arc::new(Entry::new(
            &"t".into(),
            seq,
            at_ms,
            None,
            false,
            Some(&seq.to_string()),
            &event,
        ))
    }

    /// Evicts what is over the limits: their numbers.
    fn trim(ring: &mut Ring, now_ms: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        while ring.is_over(&KEEP, now_ms) {
            gone.extend(ring.evict().map(|e| e.seq));
        }
        gone
    }

    fn seqs(ring: &Ring, after: u64) -> Vec<u64> {
        let shared = ring.share_after(after);
        let after = shared.iter().filter(|e| e.seq > after && !e.is_silent());
        after.map(|e| e.seq).collect()
    }

    #[test]
    fn an_entry_has_its_fields_back_and_its_key_and_id_take_room() {
        let event = Event {
            data: Some("1\n2: 3"),
            event: Some("kind"),
            ..Event::default()
        };
        let made = |key, id| Entry::new(&"t".into(), 1, 0, key, false, id, &event);
        let plain = made(None, None);
        let fields: Vec<_> = plain.fields().collect();
        assert_eq!(fields, [("event", "kind"), ("data", "1"), ("data", "2: 3")]);
        let wire = plain.chunk().wire_len();
        assert_eq!(plain.size(), wire + limits::EVENT_OVERHEAD_BYTES);
        assert_eq!(made(Some("key"), Some("1234")).size(), plain.size() + 7);
    }

    #[test]
    fn a_topic_that_comes_again_may_have_lost_what_was_before() {
        let mut ring = Ring::after_loss(7);
        assert_eq!((ring.evicted(), ring.newest(), ring.len()), (7, 7, 0));
        assert_eq!(ring.gone(), 7);
        ring.push(entry(9, 0, "x"));
        ring.evict();
        assert_eq!((ring.evicted(), ring.gone()), (9, 9));
    }

    #[test]
    fn the_newest_stay_by_count_bytes_and_age() {
        let mut ring = Ring::default();
        for seq in [2, 4, 6, 8] {
            ring.push(entry(seq, seq, "x"));
        }
        let gone = trim(&mut ring, 10);
        assert_eq!(
            (gone, seqs(&ring, 0), ring.evicted()),
            (vec![2], vec![4, 6, 8], 2)
        );
        assert_eq!(seqs(&ring, 5), [6, 8]);
        trim(&mut ring, 106);
        assert_eq!(seqs(&ring, 0), [6, 8], "too old");
        let within = |bytes| !ring.is_over(&Keep { bytes, ..KEEP }, 106);
        assert!(within(ring.bytes()) && !within(ring.bytes() - 1));
        ring.push(entry(9, 105, &"y".repeat(3700)));
        trim(&mut ring, 105);
        assert_eq!(seqs(&ring, 0), [9], "too many bytes");
        assert_eq!(ring.bytes(), entry(9, 0, &"y".repeat(3700)).size());
        trim(&mut ring, 1000);
        assert!(ring.is_empty());
        assert_eq!((ring.evicted(), ring.newest(), ring.bytes()), (9, 9, 0));
    }

    #[test]
    fn an_id_of_the_application_stands_for_the_first_that_had_it() {
        let mut ring = Ring::default();
        let t = "t".into();
        for (seq, id) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            let event = Event {
                id: Some(id),
                ..Event::default()
            };
            let entry = Entry::new(&t, seq, 0, None, false, Some(id), &event);
            ring.push(Arc::new(entry));
        }
        let found = |ring: &Ring| ["a", "b", "d"].map(|id| ring.find(id));
        assert_eq!(found(&ring), [Some(1), Some(2), None]);
        ring.evict();
        assert_eq!(found(&ring), [Some(1), Some(2), None], "gone, and known");
        ring.evict();
        ring.evict();
        assert_eq!(found(&ring), [None, None, None]);
    }

    #[test]
    fn what_is_silent_is_no_event_and_its_end_no_loss() {
        let mut ring = Ring::default();
        let silent = Entry::new(&"t".into(), 2, 2, Some("k"), true, None, &Event::default());
        ring.push(entry(1, 1, "x"));
        ring.push(Arc::new(silent));
        assert_eq!((ring.len(), ring.newest(), seqs(&ring, 0)), (1, 1, vec![1]));
        trim(&mut ring, 1000);
        assert_eq!(
            (ring.evicted(), ring.bytes(), ring.is_empty()),
            (1, 0, true)
        );
    }
}
