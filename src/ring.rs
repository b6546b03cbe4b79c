//! The replay ring of one topic: the newest events, by count, bytes and age.

use crate::chunk::Chunk;
use crate::frame::Event;
use crate::limits;
use std::collections::VecDeque;
use std::sync::Arc;

/// A published event, framed once for everybody.
#[derive(Debug)]
pub struct Entry {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Its number in the hub, from 1.
    pub seq: u64,
    /// When it was published, milliseconds.
    pub at_ms: u64,
    /// What it is the newest state of, if it is.
    pub key: Option<Box<str>>,
    /// The application's own id, if it gave one.
    pub id: Option<Box<str>>,
    chunk: Chunk,
}

impl Entry {
    /// Frames a checked event.
    pub fn new(
        topic: &Arc<str>,
        seq: u64,
        at_ms: u64,
        key: Option<&str>,
        id: Option<&str>,
        e: &Event<'_>,
    ) -> Self {
        Entry {
            topic: topic.clone(),
            seq,
            at_ms,
            key: key.map(Into::into),
            id: id.map(Into::into),
            chunk: Chunk::new(e.encoded_len(), |b| e.encode(b)),
        }
    }

    /// The wire bytes.
    pub fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// Bytes that count against limits: about what it takes in memory.
    pub fn size(&self) -> usize {
        let text = |t: &Option<Box<str>>| t.as_ref().map_or(0, |t| t.len());
        self.chunk.wire_len() + text(&self.key) + text(&self.id) + limits::EVENT_OVERHEAD_BYTES
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
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    evicted: u64,
    /// Events with an id of the application's.
    named: usize,
}

impl Ring {
    /// A ring whose topic may have had events up to `seq` that are gone.
    pub fn after_loss(seq: u64) -> Self {
        Ring {
            evicted: seq,
            ..Ring::default()
        }
    }

    /// Adds the newest event. [`Ring::trim`] keeps the limits.
    pub fn push(&mut self, entry: Arc<Entry>) {
        debug_assert!(self.entries.back().is_none_or(|e| e.seq < entry.seq));
        self.bytes += entry.size();
        self.named += usize::from(entry.id.is_some());
        self.entries.push_back(entry);
    }

    /// Evicts what is over the limits, telling of each.
    pub fn trim(&mut self, keep: &Keep, now_ms: u64, mut gone: impl FnMut(&Entry)) {
        while let Some(oldest) = self.entries.front() {
            let fits = self.entries.len() <= keep.events
                && self.bytes <= keep.bytes
                && now_ms.saturating_sub(oldest.at_ms) <= keep.age_ms;
            if fits {
                return;
            }
            if let Some(e) = self.evict() {
                gone(&e);
            }
        }
    }

    /// Evicts the oldest event.
    pub fn evict(&mut self) -> Option<Arc<Entry>> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.size();
        self.named -= usize::from(oldest.id.is_some());
        self.evicted = oldest.seq;
        Some(oldest)
    }

    /// The newest event that is gone; 0 if none is.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The events after `seq`, oldest first.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let from = self.entries.partition_point(|e| e.seq <= seq);
        self.entries.range(from..)
    }

    /// The number of the newest event that has this id of the application's.
    pub fn find(&self, id: &str) -> Option<u64> {
        if self.named == 0 {
            return None;
        }
        let found = self.entries.iter().rev();
        let mut found = found.filter(|e| e.id.as_deref() == Some(id));
        found.next().map(|e| e.seq)
    }

    /// Events kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest event's number, kept or gone; 0 if there was none.
    pub fn newest(&self) -> u64 {
        self.entries.back().map_or(self.evicted, |e| e.seq)
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
            Some(&seq.to_string()),
            &event,
        ))
    }

    fn seqs(ring: &Ring, after: u64) -> Vec<u64> {
        ring.after(after).map(|e| e.seq).collect()
    }

    #[test]
    fn the_newest_stay_by_count_bytes_and_age() {
        let mut ring = Ring::default();
        for seq in [2, 4, 6, 8] {
            ring.push(entry(seq, seq, "x"));
        }
        let mut gone = Vec::new();
        ring.trim(&KEEP, 10, |e| gone.push(e.seq));
        assert_eq!(
            (gone, seqs(&ring, 0), ring.evicted()),
            (vec![2], vec![4, 6, 8], 2)
        );
        assert_eq!(seqs(&ring, 5), [6, 8]);
        ring.trim(&KEEP, 105, |_| {});
        assert_eq!(seqs(&ring, 0), [6, 8], "too old");
        ring.push(entry(9, 105, &"y".repeat(3700)));
        ring.trim(&KEEP, 105, |_| {});
        assert_eq!(seqs(&ring, 0), [9], "too many bytes");
        assert_eq!(ring.bytes(), entry(9, 0, &"y".repeat(3700)).size());
        ring.trim(&KEEP, 1000, |_| {});
        assert!(ring.is_empty());
        assert_eq!((ring.evicted(), ring.newest(), ring.bytes()), (9, 9, 0));
    }

    #[test]
    fn ids_of_the_application_are_found_newest_first() {
        let mut ring = Ring::default();
        let event = Event::default();
        for (seq, id) in [(1, "a"), (2, "b"), (3, "a")] {
            ring.push(Arc::new(Entry::new(
                &"t".into(),
                seq,
                0,
                None,
                Some(id),
                &event,
            )));
        }
        assert_eq!(ring.find("a"), Some(3));
        assert_eq!(ring.find("b"), Some(2));
        assert_eq!(ring.find("c"), None);
    }
}
