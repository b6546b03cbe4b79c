//! One connection's bounded output queue: watermarks, and what to do when it
//! is full.

use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::ring::Entry;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// Where a queue counts as full, as bytes: `low` < `high` <= `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// At or below it the queue has drained.
    pub low: u32,
    /// From it on a sender should wait.
    pub high: u32,
    /// Beyond it a send is refused.
    pub limit: u32,
}

impl Default for Marks {
    fn default() -> Self {
        Marks {
            low: limits::LOW_WATER_BYTES as u32,
            high: limits::HIGH_WATER_BYTES as u32,
            limit: limits::QUEUE_BYTES as u32,
        }
    }
}

/// What becomes of a published event that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Full {
    /// The client is dropped; it comes back and resumes by id.
    Disconnect = 0,
    /// The oldest waiting events make room.
    DropOldest = 1,
    /// The event is left out.
    DropNewest = 2,
    /// A waiting event of the same topic and key is replaced, at any time; then as
    /// `DropOldest`.
    Latest = 3,
}

/// A subscription's say about the queue.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What to do at either limit.
    pub full: Full,
    /// Published bytes that may wait.
    pub max_bytes: usize,
    /// Published events that may wait.
    pub max_events: usize,
}

#[derive(Debug)]
enum Piece {
    /// Bytes of this connection alone.
    Own(BytesMut),
    /// Bytes shared with other connections: so many events that count against
    /// the subscription's limits; with the event, one that may be taken back.
    Shared(Bytes, usize, Option<Arc<Entry>>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(b) => b,
            Piece::Shared(b, ..) => b,
        }
    }
}

/// Bytes that wait for the socket. Edge-triggered watermarks: `is_high` from
/// the high mark up until the queue has fallen to the low one.
#[derive(Debug, Default)]
#[repr(C)] // The length first: all that an idle connection is asked for.
pub struct Outbox {
    len: usize,
    pieces: VecDeque<Piece>,
    // Of `Piece::Own`.
    own: usize,
    // It has drained: whoever waited for that may send once, whatever came in between.
    granted: bool,
    // Of pieces that count against a subscription's limits.
    events: usize,
    event_bytes: usize,
    marks: Marks,
    high: bool,
}

impl Outbox {
    /// The marks in force.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Sets them, for what is queued from now on.
    pub fn set_marks(&mut self, marks: Marks) -> Result<()> {
        if marks.low >= marks.high || marks.high > marks.limit {
            return Err(Error::BadArgument);
        }
        self.marks = marks;
        Ok(())
    }

    /// Makes room for `len` more bytes and lets `write` append them. Refuses
    /// when the limit would be passed, but never a sender that waits: below the
    /// high mark, and once after each drain, it may be of any size. What others
    /// put in (a replay, a hub) does not count.
    pub fn push(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) -> Result<()> {
        let Marks { high, limit, .. } = self.marks;
        let fits = self.own < high as usize || self.own + len <= limit as usize;
        if !fits && !std::mem::take(&mut self.granted) {
            return Err(Error::QueueOverflow);
        }
        self.append(len, write);
        Ok(())
    }

    /// The same without the limit: for heads and last chunks, which are few
    /// and small and must not be refused.
    pub fn append(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        let mut own = match self.pieces.pop_back() {
            Some(Piece::Own(own)) => own,
            other => {
                self.pieces.extend(other);
                BytesMut::new()
            }
        };
        let before = own.len();
        own.reserve(len);
        write(&mut own);
        self.len += own.len() - before;
        self.own += own.len() - before;
        self.pieces.push_back(Piece::Own(own));
        self.mark();
    }

    /// Appends shared bytes that cannot be taken back.
    pub fn append_shared(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.pieces.push_back(Piece::Shared(bytes, 0, None));
        self.mark();
    }

    /// Appends events that were joined, for the policy that drops none.
    pub fn publish_joined(&mut self, bytes: Bytes, events: usize, policy: &Policy) -> Result<()> {
        debug_assert_eq!(policy.full, Full::Disconnect);
        if self.events > 0 && self.is_over(events, bytes.len(), policy) {
            return Err(Error::QueueOverflow);
        }
        self.put(bytes, events, None);
        Ok(())
    }

    fn is_over(&self, events: usize, bytes: usize, policy: &Policy) -> bool {
        self.events + events > policy.max_events || self.event_bytes + bytes > policy.max_bytes
    }

    fn put(&mut self, bytes: Bytes, events: usize, entry: Option<Arc<Entry>>) {
        self.len += bytes.len();
        self.events += events;
        self.event_bytes += bytes.len();
        self.pieces.push_back(Piece::Shared(bytes, events, entry));
        self.mark();
    }

    /// Appends a published event, as the policy says. Returns how many events
    /// were left out for it, itself perhaps among them; `QueueOverflow` when
    /// the policy is to disconnect.
    pub fn publish(&mut self, entry: &Arc<Entry>, bytes: Bytes, policy: &Policy) -> Result<u64> {
        let mut dropped = 0;
        if policy.full == Full::Latest && entry.key.is_some() {
            dropped += self.take_back(|e| e.key == entry.key && e.topic == entry.topic);
        }
        while self.events > 0 && self.is_over(1, bytes.len(), policy) {
            match policy.full {
                Full::Disconnect => return Err(Error::QueueOverflow),
                Full::DropNewest => return Ok(dropped + 1),
                Full::DropOldest | Full::Latest => match self.take_back(|_| true) {
                    0 => break,
                    n => dropped += n,
                },
            }
        }
        self.put(bytes, 1, Some(entry.clone()));
        Ok(dropped)
    }

    /// Takes back the oldest event that matches and is not partly written.
    fn take_back(&mut self, matches: impl Fn(&Entry) -> bool) -> u64 {
        let found = self.pieces.iter().position(|p| match p {
            Piece::Shared(_, _, Some(e)) => matches(e),
            _ => false,
        });
        let Some(piece) = found.and_then(|at| self.pieces.remove(at)) else {
            return 0;
        };
        self.len -= piece.bytes().len();
        self.forget(&piece);
        self.drained();
        1
    }

    fn forget(&mut self, piece: &Piece) {
        if let Piece::Shared(bytes, events @ 1.., _) = piece {
            self.events -= events;
            self.event_bytes -= bytes.len();
        }
    }

    fn mark(&mut self) {
        self.high |= self.len >= self.marks.high as usize;
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// At or above the high mark, and not yet drained since.
    pub fn is_high(&self) -> bool {
        self.high
    }

    /// What waits, oldest first, as far as `slices` has room.
    pub fn waiting<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0;
        for (slot, piece) in slices.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece.bytes());
            n += 1;
        }
        n
    }

    /// Drops the `n` oldest bytes; `true` if this drained the queue.
    pub fn consume(&mut self, mut n: usize) -> bool {
        self.len -= n;
        while n > 0 {
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            let len = piece.bytes().len();
            self.forget(&piece);
            if let Piece::Own(_) = piece {
                self.own -= len.min(n);
            }
            if len <= n {
                n -= len;
                continue;
            }
            // Partly written: what is left must follow.
            self.pieces.push_front(match piece {
                Piece::Own(mut own) => {
                    own.advance(n);
                    Piece::Own(own)
                }
                Piece::Shared(mut bytes, ..) => {
                    bytes.advance(n);
                    Piece::Shared(bytes, 0, None)
                }
            });
            break;
        }
        self.shrink();
        self.drained()
    }

    /// Takes all; with `true` if this drained the queue.
    pub fn take(&mut self) -> (Bytes, bool) {
        let all = match self.pieces.pop_front() {
            Some(Piece::Own(own)) if self.pieces.is_empty() => own.freeze(),
            first => {
                let mut all = BytesMut::with_capacity(self.len);
                for piece in first.iter().chain(&self.pieces) {
                    all.extend_from_slice(piece.bytes());
                }
                all.freeze()
            }
        };
        let drained = self.clear();
        (all, drained)
    }

    /// Drops all; `true` if this drained the queue.
    pub fn clear(&mut self) -> bool {
        self.pieces.clear();
        (self.len, self.own, self.events, self.event_bytes) = (0, 0, 0, 0);
        self.shrink();
        self.drained()
    }

    /// An idle connection holds no buffer.
    fn shrink(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    fn drained(&mut self) -> bool {
        let drained = self.high && self.len <= self.marks.low as usize;
        self.high &= !drained;
        self.granted |= drained;
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(o: &mut Outbox, n: usize) -> Result<()> {
        o.push(n, |b| b.resize(b.len() + n, b'x'))
    }

    #[test]
    fn marks_are_edges() {
        let mut o = Outbox::default();
        push(&mut o, limits::HIGH_WATER_BYTES - 1).unwrap();
        assert!(!o.is_high());
        push(&mut o, 1).unwrap();
        assert!(o.is_high());
        assert!(!o.consume(limits::HIGH_WATER_BYTES - limits::LOW_WATER_BYTES - 1));
        assert!(o.is_high(), "still high between the marks");
        assert!(o.consume(1));
        assert!(!o.is_high());
        assert!(!o.consume(limits::LOW_WATER_BYTES), "drains once");
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let mut o = Outbox::default();
        push(&mut o, limits::QUEUE_BYTES).unwrap();
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow));
        assert_eq!(o.len(), limits::QUEUE_BYTES);
    }

    #[test]
    fn who_waits_for_the_drain_may_send_any_size() {
        const LARGE: usize = 2 * limits::QUEUE_BYTES;
        let mut o = Outbox::default();
        push(&mut o, LARGE).unwrap();
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow));
        for left in [limits::LOW_WATER_BYTES, 1, 0] {
            assert!(o.consume(o.len() - left));
            push(&mut o, LARGE).unwrap();
        }
        // Another sender was quicker, and filled it again.
        push(&mut o, LARGE).unwrap();
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow), "once");
        // Below the high mark nobody is asked to wait.
        o.clear();
        push(&mut o, limits::HIGH_WATER_BYTES - 1).unwrap();
        assert!(!o.is_high());
        push(&mut o, LARGE).unwrap();
    }

    #[test]
    fn what_others_put_in_leaves_the_sender_his_room() {
        let mut o = Outbox::default();
        o.append_shared(Bytes::from(vec![b'r'; 3 * limits::QUEUE_BYTES]));
        assert!(o.is_high());
        push(&mut o, limits::QUEUE_BYTES).unwrap();
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow));
        assert!(!o.consume(3 * limits::QUEUE_BYTES + 5));
        push(&mut o, 5).unwrap();
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow));
    }

    #[test]
    fn one_large_event_passes_an_empty_queue() {
        let mut o = Outbox::default();
        push(&mut o, 2 * limits::QUEUE_BYTES).unwrap();
        assert_eq!(o.take().0.len(), 2 * limits::QUEUE_BYTES);
        assert!(o.is_empty());
    }

    #[test]
    fn marks_can_be_set_and_must_be_in_order() {
        let mut o = Outbox::default();
        let marks = Marks {
            low: 0,
            high: 4,
            limit: 8,
        };
        o.set_marks(marks).unwrap();
        push(&mut o, 3).unwrap();
        assert!(!o.is_high());
        push(&mut o, 5).unwrap();
        assert!(o.is_high());
        assert_eq!(push(&mut o, 1), Err(Error::QueueOverflow));
        assert!(!o.consume(7));
        assert!(o.consume(1), "drained at 0");
        for (low, high, limit) in [(4, 4, 8), (5, 4, 8), (0, 9, 8), (0, 0, 0)] {
            let marks = Marks { low, high, limit };
            assert_eq!(o.set_marks(marks), Err(Error::BadArgument));
        }
        assert_eq!(o.marks(), marks);
    }

    fn entry(seq: u64, key: Option<&str>) -> Arc<Entry> {
        let event = crate::core::frame::Event {
            data: Some("x"),
            ..Default::default()
        };
        Arc::new(Entry::new(&"t".into(), seq, 0, key, false, None, &event))
    }

    /// Publishes 1, 2, 3, ... with these keys, each one byte; what waits at
    /// the end, and what was dropped.
    fn publish(full: Full, max_events: usize, keys: &[Option<&str>]) -> (Vec<u8>, u64) {
        let policy = Policy {
            full,
            max_bytes: 1000,
            max_events,
        };
        let (mut o, mut dropped) = (Outbox::default(), 0);
        for (i, key) in keys.iter().enumerate() {
            let bytes = Bytes::from(vec![b'1' + i as u8]);
            dropped += o
                .publish(&entry(i as u64 + 1, *key), bytes, &policy)
                .unwrap();
        }
        (o.take().0.to_vec(), dropped)
    }

    #[test]
    fn each_policy_keeps_what_it_says() {
        let no_keys = [None; 5];
        assert_eq!(publish(Full::DropOldest, 3, &no_keys), (b"345".to_vec(), 2));
        assert_eq!(publish(Full::DropNewest, 3, &no_keys), (b"123".to_vec(), 2));
        assert_eq!(publish(Full::Latest, 3, &no_keys), (b"345".to_vec(), 2));
        let keys = [Some("a"), Some("b"), Some("a"), None, Some("b")];
        assert_eq!(publish(Full::Latest, 3, &keys), (b"345".to_vec(), 2));
        let keys = [Some("a"), Some("b"), Some("c"), Some("a"), Some("d")];
        assert_eq!(publish(Full::Latest, 3, &keys), (b"345".to_vec(), 2));
    }

    #[test]
    fn disconnect_refuses_at_either_limit() {
        let mut policy = Policy {
            full: Full::Disconnect,
            max_bytes: 10,
            max_events: 2,
        };
        let mut o = Outbox::default();
        let bytes = || Bytes::from_static(b"12345");
        o.publish(&entry(1, None), bytes(), &policy).unwrap();
        o.publish(&entry(2, None), bytes(), &policy).unwrap();
        assert_eq!(
            o.publish(&entry(3, None), bytes(), &policy),
            Err(Error::QueueOverflow)
        );
        policy.max_events = 9;
        assert_eq!(
            o.publish(&entry(3, None), bytes(), &policy),
            Err(Error::QueueOverflow)
        );
        assert_eq!(o.len(), 10, "nothing half done");
    }

    #[test]
    fn a_partly_written_event_is_never_taken_back_and_own_bytes_keep_their_place() {
        let policy = Policy {
            full: Full::DropOldest,
            max_bytes: 1000,
            max_events: 1,
        };
        let mut o = Outbox::default();
        o.publish(&entry(1, None), Bytes::from_static(b"first"), &policy)
            .unwrap();
        assert!(!o.consume(2));
        o.append(3, |b| b.extend_from_slice(b"own"));
        o.publish(&entry(2, None), Bytes::from_static(b"second"), &policy)
            .unwrap();
        o.publish(&entry(3, None), Bytes::from_static(b"third"), &policy)
            .unwrap();
        assert_eq!(o.len(), 11);
        let mut slices = [IoSlice::new(&[]); 8];
        let n = o.waiting(&mut slices);
        let waiting: Vec<&[u8]> = slices[..n].iter().map(|s| &s[..]).collect();
        assert_eq!(waiting, [&b"rst"[..], b"own", b"third"]);
        assert!(!o.consume(4));
        assert_eq!(&o.take().0[..], b"wnthird");
    }
}
