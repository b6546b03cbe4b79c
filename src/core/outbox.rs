//! One connection's bounded output queue: watermarks, and what to do when it
//! is full.

use crate::core::account::{Account, Hold};
use crate::core::chunk::Chunk;
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::ring::Entry;
use bytes::{Buf, Bytes, BytesMut};
use hashbrown::HashTable;
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

/// Bytes of the connection's own that stay in one allocation, but for a larger send.
const BLOCK: usize = 64 << 10;
/// Shared bytes that are rather copied: a piece of their own would take as much.
const COPIED: usize = 64;
/// Places of pieces that are gone, from which on it is worth while to close up.
const GONE: usize = 64;
/// What a piece of shared bytes takes beside them, about.
const PIECE: usize = 64;

#[derive(Debug)]
enum Piece {
    /// Bytes of this connection alone, that count against its limit; and how
    /// many were allocated.
    Own(BytesMut, usize),
    /// Small pieces that others have, too.
    Copied(BytesMut),
    /// Bytes shared with other connections: so many events that count against
    /// the subscription's limits; with the event, one that may be taken back.
    Shared(Bytes, u32, Option<Arc<Entry>>, Option<Hold>),
    /// Taken back. The first and the last of a run know how many they are.
    Gone(usize),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(b, _) | Piece::Copied(b) => b,
            Piece::Shared(b, ..) => b,
            Piece::Gone(_) => &[],
        }
    }

    /// Bytes of memory that are this queue's alone.
    fn weight(&self) -> usize {
        match self {
            Piece::Own(b, _) | Piece::Copied(b) => b.len(),
            Piece::Shared(..) => PIECE,
            Piece::Gone(_) => 0,
        }
    }

    /// The same, with a part of what others have, too.
    fn cost(&self) -> usize {
        match self {
            Piece::Shared(_, _, _, Some(hold)) => PIECE + hold.share(),
            _ => self.weight(),
        }
    }

    fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Piece::Shared(_, _, entry, _) => entry.as_ref(),
            _ => None,
        }
    }
}

/// Finds what may be taken back. A piece's position counts from the first that
/// was ever in the queue.
#[derive(Debug, Default)]
struct Index {
    /// Position of the first piece.
    base: u64,
    /// No piece before it can be taken back.
    oldest: u64,
    /// Pieces that are gone.
    gone: usize,
    /// Those that the next event of their topic and key replaces.
    latest: HashTable<u64>,
}

/// Bytes that wait for the socket. Edge-triggered watermarks: `is_high` from
/// the high mark up until the queue has fallen to the low one.
#[derive(Debug, Default)]
#[repr(C)] // The length first: all that an idle connection is asked for.
pub struct Outbox {
    len: usize,
    // Neither the first nor the last is gone.
    pieces: VecDeque<Piece>,
    // From a piece that may be taken back until nothing waits.
    index: Option<Box<Index>>,
    // Of `Piece::Own`.
    own: usize,
    // Of pieces that count against a subscription's limits.
    event_bytes: usize,
    // Of all pieces, see `Piece::weight`; and that in steps, as the account has it.
    weight: usize,
    account: Option<Arc<Account>>,
    counted: u32,
    events: u32,
    marks: Marks,
    high: bool,
    // It has drained: whoever waited for that may send once, whatever came in between.
    granted: bool,
}

impl Outbox {
    /// An empty one, whose memory counts there.
    pub fn counted(account: Option<Arc<Account>>) -> Self {
        let mut outbox = Outbox::default();
        outbox.account = account;
        outbox
    }

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
            Some(Piece::Own(own, _)) if own.len() + len <= BLOCK => own,
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
        self.weight += own.len() - before;
        let allocated = own.capacity();
        self.pieces.push_back(Piece::Own(own, allocated));
        self.mark();
    }

    /// Appends shared bytes that cannot be taken back.
    pub fn append_shared(&mut self, bytes: Bytes, of: &Chunk) {
        self.len += bytes.len();
        if bytes.len() > COPIED {
            let hold = self.account.as_ref().map(|account| of.hold(account));
            self.weight += PIECE;
            self.pieces.push_back(Piece::Shared(bytes, 0, None, hold));
        } else {
            self.weight += bytes.len();
            match self.pieces.back_mut() {
                Some(Piece::Copied(all)) if all.len() < BLOCK => all.extend_from_slice(&bytes),
                _ => self.pieces.push_back(Piece::Copied(bytes[..].into())),
            }
        }
        self.mark();
    }

    /// Appends events that were joined, for the policy that drops none.
    pub fn publish_joined(
        &mut self,
        bytes: Bytes,
        of: &Chunk,
        events: usize,
        policy: &Policy,
    ) -> Result<()> {
        debug_assert_eq!(policy.full, Full::Disconnect);
        if self.events > 0 && self.is_over(events, bytes.len(), policy) {
            return Err(Error::QueueOverflow);
        }
        self.put(bytes, of, events, None);
        Ok(())
    }

    fn is_over(&self, events: usize, bytes: usize, policy: &Policy) -> bool {
        self.events as usize + events > policy.max_events
            || self.event_bytes + bytes > policy.max_bytes
    }

    fn put(&mut self, bytes: Bytes, of: &Chunk, events: usize, entry: Option<Arc<Entry>>) {
        let hold = self.account.as_ref().map(|account| of.hold(account));
        self.weight += PIECE;
        self.len += bytes.len();
        self.events += events as u32;
        self.event_bytes += bytes.len();
        let piece = Piece::Shared(bytes, events as u32, entry, hold);
        self.pieces.push_back(piece);
        self.mark();
    }

    /// Appends a published event, as the policy says. Returns how many events
    /// were left out for it, itself perhaps among them; `QueueOverflow` when
    /// the policy is to disconnect.
    pub fn publish(&mut self, entry: &Arc<Entry>, bytes: Bytes, policy: &Policy) -> Result<u64> {
        let mut dropped = 0;
        let latest = policy.full == Full::Latest && entry.key.is_some();
        if latest {
            dropped += self.take_back_older(entry);
        }
        while self.events > 0 && self.is_over(1, bytes.len(), policy) {
            match policy.full {
                Full::Disconnect => return Err(Error::QueueOverflow),
                Full::DropNewest => return Ok(dropped + 1),
                Full::DropOldest | Full::Latest => match self.take_back_oldest() {
                    0 => break,
                    n => dropped += n,
                },
            }
        }
        self.put(bytes, entry.chunk(), 1, Some(entry.clone()));
        let Outbox { pieces, index, .. } = self;
        let at = pieces.len() - 1;
        let index = index.get_or_insert_with(|| {
            Box::new(Index {
                oldest: at as u64,
                ..Index::default()
            })
        });
        if latest {
            let base = index.base;
            let hash_at = |&at: &u64| hash_of(pieces, (at - base) as usize);
            let at = base + at as u64;
            index.latest.insert_unique(entry.key_hash(), at, hash_at);
        }
        Ok(dropped)
    }

    /// Takes back the event that this one replaces.
    fn take_back_older(&mut self, new: &Entry) -> u64 {
        let Outbox { pieces, index, .. } = self;
        let found = index.as_ref().and_then(|index| {
            let at = |position: u64| (position - index.base) as usize;
            let is_older = |&position: &u64| {
                let old = pieces.get(at(position)).and_then(Piece::entry);
                old.is_some_and(|old| old.key == new.key && old.topic == new.topic)
            };
            let found = index.latest.find(new.key_hash(), is_older);
            found.map(|&position| at(position))
        });
        found.map_or(0, |at| self.take_back(at))
    }

    /// Takes back the oldest event that is not partly written.
    fn take_back_oldest(&mut self) -> u64 {
        let Some(index) = &mut self.index else {
            return 0;
        };
        let from = index.oldest.saturating_sub(index.base) as usize;
        let rest = self.pieces.range(from.min(self.pieces.len())..);
        let at = from + rest.take_while(|p| p.entry().is_none()).count();
        // What was passed will not be looked at again.
        index.oldest = index.base + at as u64;
        match at < self.pieces.len() {
            true => self.take_back(at),
            false => 0,
        }
    }

    fn take_back(&mut self, at: usize) -> u64 {
        self.unlist(at);
        let piece = std::mem::replace(&mut self.pieces[at], Piece::Gone(1));
        self.len -= piece.bytes().len();
        self.weight -= piece.weight();
        self.uncount(&piece);
        self.bury(at);
        self.drained();
        1
    }

    /// Joins a piece that is gone to its neighbours that are, so that all are
    /// passed in one step.
    fn bury(&mut self, at: usize) {
        let run = |piece: Option<&Piece>| match piece {
            Some(Piece::Gone(n)) => *n,
            _ => 0,
        };
        let first = at - at.checked_sub(1).map_or(0, |at| run(self.pieces.get(at)));
        let last = at + run(self.pieces.get(at + 1));
        let n = last + 1 - first;
        self.pieces[first] = Piece::Gone(n);
        self.pieces[last] = Piece::Gone(n);
        let Some(index) = &mut self.index else { return };
        index.gone += 1;
        if last + 1 == self.pieces.len() {
            self.pieces.truncate(first);
            index.gone -= n;
            index.oldest = index.oldest.min(index.base + first as u64);
        }
        self.trim();
    }

    /// Forgets what is gone at the front, and elsewhere once it is much.
    fn trim(&mut self) {
        if let (Some(Piece::Gone(n)), Some(index)) = (self.pieces.front(), &mut self.index) {
            let n = *n;
            self.pieces.drain(..n);
            index.base += n as u64;
            index.gone -= n;
        }
        if self.pieces.is_empty() {
            // An idle connection holds no buffer.
            self.pieces = VecDeque::new();
            self.index = None;
        }
        let gone = self.index.as_ref().map_or(0, |index| index.gone);
        if gone > GONE + self.pieces.len() * 3 / 8 {
            self.close_up();
        }
    }

    /// Moves the pieces together, and with them bytes between which there is
    /// nothing any more.
    fn close_up(&mut self) {
        let Some(index) = &mut self.index else { return };
        let old = std::mem::take(&mut self.pieces);
        self.pieces.reserve(old.len() - index.gone);
        // No position is used twice, so an old one is never taken for a new one.
        let base = index.base + old.len() as u64;
        for (position, piece) in (index.base..).zip(old) {
            match (piece, self.pieces.back_mut()) {
                (Piece::Gone(_), _) => {}
                (Piece::Own(own, _), Some(Piece::Own(all, allocated)))
                    if all.len() + own.len() <= BLOCK =>
                {
                    all.extend_from_slice(&own);
                    *allocated = all.capacity();
                }
                (piece, _) => {
                    if let Some(entry) = piece.entry() {
                        let hash = entry.key_hash();
                        let listed = index.latest.find_mut(hash, |p| *p == position);
                        if let Some(listed) = listed {
                            *listed = base + self.pieces.len() as u64;
                        }
                    }
                    self.pieces.push_back(piece);
                }
            }
        }
        // All are after `oldest` now.
        (index.base, index.gone) = (base, 0);
    }

    /// No later event replaces that piece.
    fn unlist(&mut self, at: usize) {
        let (Some(index), Some(entry)) = (&mut self.index, self.pieces[at].entry()) else {
            return;
        };
        let position = index.base + at as u64;
        let listed = index
            .latest
            .find_entry(entry.key_hash(), |p| *p == position);
        if let Ok(listed) = listed {
            listed.remove();
        }
    }

    fn uncount(&mut self, piece: &Piece) {
        if let Piece::Shared(bytes, events @ 1.., ..) = piece {
            self.events -= events;
            self.event_bytes -= bytes.len();
        }
    }

    fn mark(&mut self) {
        self.high |= self.len >= self.marks.high as usize;
        self.settle();
    }

    /// Tells the account, when it is a step more or less.
    fn settle(&mut self) {
        let Some(account) = &self.account else { return };
        let steps = u32::try_from(self.weight / Account::STEP).unwrap_or(u32::MAX);
        if steps != self.counted {
            let more = (i64::from(steps) - i64::from(self.counted)) as isize;
            account.add(more * Account::STEP as isize);
            self.counted = steps;
        }
    }

    /// The memory that it takes at the most: [`Outbox::cost`], as if nobody
    /// else had anything of it.
    pub fn cost_bound(&self) -> usize {
        self.len + PIECE * self.pieces.len()
    }

    /// The memory that it takes, with its part of what others have, too. Looks
    /// at each piece.
    pub fn cost(&self) -> usize {
        self.pieces.iter().map(Piece::cost).sum()
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
        let (mut n, mut at) = (0, 0);
        while let (Some(piece), true) = (self.pieces.get(at), n < slices.len()) {
            if let Piece::Gone(run) = piece {
                at += run;
                continue;
            }
            slices[n] = IoSlice::new(piece.bytes());
            (n, at) = (n + 1, at + 1);
        }
        n
    }

    /// Drops the `n` oldest bytes; `true` if this drained the queue.
    pub fn consume(&mut self, mut n: usize) -> bool {
        self.len -= n;
        while n > 0 && !self.pieces.is_empty() {
            self.unlist(0);
            let len = self.pieces[0].bytes().len();
            if let Piece::Own(..) = self.pieces[0] {
                self.own -= len.min(n);
            }
            if len > n {
                self.advance(n);
                break;
            }
            n -= len;
            if let Some(piece) = self.pieces.pop_front() {
                self.weight -= piece.weight();
                self.uncount(&piece);
            }
            if let Some(index) = &mut self.index {
                index.base += 1;
            }
            self.trim();
        }
        self.shrink();
        self.drained()
    }

    /// The first piece is partly written: what is left must follow.
    fn advance(&mut self, n: usize) {
        let Some(first) = self.pieces.pop_front() else {
            return;
        };
        self.uncount(&first);
        if !matches!(first, Piece::Shared(..)) {
            self.weight -= n;
        }
        self.pieces.push_front(match first {
            Piece::Own(mut own, mut allocated) => {
                own.advance(n);
                if allocated > BLOCK && own.len() < allocated / 2 {
                    own = own[..].into();
                    allocated = own.capacity();
                }
                Piece::Own(own, allocated)
            }
            Piece::Copied(mut copied) => {
                copied.advance(n);
                Piece::Copied(copied)
            }
            Piece::Shared(mut bytes, _, _, hold) => {
                bytes.advance(n);
                Piece::Shared(bytes, 0, None, hold)
            }
            gone @ Piece::Gone(_) => gone,
        });
    }

    /// Takes the oldest bytes, some of them, at most `max`; with `true` if this
    /// drained the queue.
    pub fn take(&mut self, max: usize) -> (Bytes, bool) {
        match self.pieces.pop_front() {
            Some(Piece::Own(own, _)) if own.len() <= max && self.index.is_none() => {
                self.len -= own.len();
                self.own -= own.len();
                self.weight -= own.len();
                self.trim();
                (own.freeze(), self.drained())
            }
            Some(first) => {
                let bytes = first.bytes();
                let bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(max)]);
                self.pieces.push_front(first);
                let drained = self.consume(bytes.len());
                (bytes, drained)
            }
            None => (Bytes::new(), false),
        }
    }

    /// Drops all; `true` if this drained the queue.
    pub fn clear(&mut self) -> bool {
        self.pieces = VecDeque::new();
        self.index = None;
        (self.len, self.own, self.events, self.event_bytes) = (0, 0, 0, 0);
        self.weight = 0;
        self.drained()
    }

    /// A queue that was long once gives the room back.
    fn shrink(&mut self) {
        let Outbox { pieces, index, .. } = self;
        let few = |len: usize, capacity: usize| capacity > 64 && len < capacity / 4;
        if few(pieces.len(), pieces.capacity()) {
            pieces.shrink_to(pieces.len() * 2);
        }
        if let Some(index) = index
            && few(index.latest.len(), index.latest.capacity())
        {
            let base = index.base;
            let hash_at = |&at: &u64| hash_of(pieces, (at - base) as usize);
            index.latest.shrink_to(index.latest.len() * 2, hash_at);
        }
    }

    fn drained(&mut self) -> bool {
        self.settle();
        let drained = self.high && self.len <= self.marks.low as usize;
        self.high &= !drained;
        self.granted |= drained;
        drained
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.weight = 0;
        self.settle();
    }
}

fn hash_of(pieces: &VecDeque<Piece>, at: usize) -> u64 {
    let entry = pieces.get(at).and_then(Piece::entry);
    entry.map_or(0, |entry| entry.key_hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(o: &mut Outbox, n: usize) -> Result<()> {
        o.push(n, |b| b.resize(b.len() + n, b'x'))
    }

    /// Takes all, in pieces.
    fn all(o: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while !o.is_empty() {
            let before = o.len();
            let bytes = o.take(70).0;
            assert_eq!(o.len(), before - bytes.len());
            all.extend_from_slice(&bytes);
        }
        all
    }

    fn chunk() -> Chunk {
        Chunk::new(0, |_| {})
    }

    fn shared(o: &mut Outbox, bytes: Bytes) {
        o.append_shared(bytes, &chunk());
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
    fn from_the_high_mark_on_the_limit_holds() {
        let mut o = Outbox::default();
        let marks = |low, high, limit| Marks { low, high, limit };
        for (low, high, limit) in [(10, 10, 20), (1, 21, 20)] {
            assert_eq!(
                o.set_marks(marks(low, high, limit)),
                Err(Error::BadArgument)
            );
        }
        o.set_marks(marks(9, 10, 10)).unwrap();
        o.set_marks(marks(9, 10, 20)).unwrap();
        push(&mut o, 10).unwrap();
        assert_eq!(push(&mut o, 11), Err(Error::QueueOverflow));
        push(&mut o, 10).unwrap();
        assert_eq!(o.len(), 20);
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
        shared(&mut o, Bytes::from(vec![b'r'; 3 * limits::QUEUE_BYTES]));
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
        assert_eq!(all(&mut o).len(), 2 * limits::QUEUE_BYTES);
        assert!(o.is_empty());
        let policy = Policy {
            full: Full::Disconnect,
            max_bytes: 5,
            max_events: 1,
        };
        let mut joined = || o.publish_joined(Bytes::from_static(b"123456"), &chunk(), 2, &policy);
        assert_eq!(
            joined(),
            Ok(()),
            "nor are several that were joined too many"
        );
        assert_eq!(joined(), Err(Error::QueueOverflow));
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for() {
        let mut o = Outbox::default();
        push(&mut o, 10).unwrap();
        let e = entry(1, Some("k"));
        o.publish(&e, Bytes::from_static(b"yy"), &latest(9))
            .unwrap();
        assert_eq!(o.take(4), (Bytes::from_static(b"xxxx"), false));
        assert_eq!(o.take(100), (Bytes::from_static(b"xxxxxx"), false));
        let e = entry(2, Some("k"));
        let replaced = o.publish(&e, Bytes::from_static(b"z"), &latest(9));
        assert_eq!((replaced, o.len()), (Ok(1), 1));
        assert_eq!(o.take(100), (Bytes::from_static(b"z"), false));
        assert_eq!(o.take(100), (Bytes::new(), false));
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
        (all(&mut o), dropped)
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
        assert_eq!(&all(&mut o)[..], b"wnthird");
    }

    const SHARED: &[u8] = &[b's'; 100];

    fn latest(max_events: usize) -> Policy {
        Policy {
            full: Full::Latest,
            max_bytes: usize::MAX,
            max_events,
        }
    }

    #[test]
    fn what_was_replaced_takes_no_room_and_idle_queues_have_no_index() {
        let mut o = Outbox::default();
        shared(&mut o, Bytes::from_static(SHARED));
        let keys: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        for round in 0..50 {
            for (n, key) in keys.iter().enumerate() {
                let e = entry(round * 1000 + n as u64, Some(key));
                let dropped = o.publish(&e, Bytes::from_static(b"x"), &latest(5000));
                assert_eq!(dropped, Ok(u64::from(round > 0)));
            }
            let pieces = 1001 + GONE;
            assert!(o.pieces.len() <= 2 * pieces, "{}", o.pieces.len());
            assert!(o.pieces.capacity() <= 4 * pieces, "{}", o.pieces.capacity());
        }
        assert_eq!(o.len(), SHARED.len() + 1000);
        o.consume(SHARED.len() + 990);
        assert!(o.pieces.capacity() <= 64, "{}", o.pieces.capacity());
        let index = o.index.as_ref().unwrap();
        assert_eq!(index.latest.len(), 10);
        assert!(index.latest.capacity() <= 64);
        for key in &keys[990..] {
            let e = entry(60_000, Some(key));
            let replaced = o.publish(&e, Bytes::from_static(b"x"), &latest(5000));
            assert_eq!(replaced, Ok(1), "it is still found");
        }
        o.consume(10);
        assert!(o.index.is_none());
        assert_eq!(o.pieces.capacity(), 0);
    }

    #[test]
    fn no_position_is_used_twice() {
        let mut o = Outbox::default();
        shared(&mut o, Bytes::from_static(SHARED));
        let (mut end, mut closed_up) = (0, 0);
        for n in 0..1000 {
            let before = o.pieces.len();
            let e = entry(n, Some(["a", "b"][n as usize % 2]));
            o.publish(&e, Bytes::from_static(b"x"), &latest(5000))
                .unwrap();
            let base = o.index.as_ref().unwrap().base;
            if o.pieces.len() <= before {
                assert!(base >= end, "{base} after {end}");
                closed_up += 1;
            }
            end = base + o.pieces.len() as u64;
        }
        assert!(closed_up > 3, "{closed_up}");
    }

    #[test]
    fn a_replay_of_small_events_is_no_piece_each() {
        let mut o = Outbox::default();
        for _ in 0..100_000 {
            shared(&mut o, Bytes::from_static(b"data: x\n\n"));
        }
        assert_eq!(o.len(), 900_000);
        assert!(o.pieces.len() <= 14, "{}", o.pieces.len());
        let pieces = o.pieces.len();
        for _ in 0..5 {
            push(&mut o, 1).unwrap();
        }
        assert_eq!(o.pieces.len(), pieces + 1, "nor are sends");
        assert_eq!(o.own, 5);
        o.consume(900_000);
        assert_eq!((o.own, &all(&mut o)[..]), (5, &b"xxxxx"[..]));
    }

    #[test]
    fn own_bytes_between_which_nothing_is_left_are_moved_together() {
        let mut o = Outbox::default();
        for n in 0..10_000 {
            push(&mut o, 10).unwrap();
            let e = entry(n, Some("k"));
            o.publish(&e, Bytes::from_static(b"x"), &latest(5000))
                .unwrap();
        }
        assert_eq!(o.len(), 100_001);
        assert!(o.pieces.len() < 10 * GONE, "{}", o.pieces.len());
        let large = o.pieces.iter().filter(|p| p.bytes().len() > 1000);
        assert!(large.count() <= 2, "of 64 KiB each");
    }

    #[test]
    fn a_large_send_gives_its_memory_back_while_it_is_written() {
        let mut o = Outbox::default();
        push(&mut o, 8 << 20).unwrap();
        while o.len() > 1 << 20 {
            o.consume(60_000);
            let Some(Piece::Own(own, allocated)) = o.pieces.front() else {
                panic!("no bytes of its own");
            };
            assert!(*allocated < 2 * own.len() + BLOCK);
        }
    }

    /// What an outbox should do, in the plainest way.
    #[derive(Debug, Default)]
    struct Model {
        waiting: Vec<Item>,
        high: bool,
        granted: bool,
    }

    #[derive(Debug)]
    struct Item {
        bytes: Vec<u8>,
        own: bool,
        events: usize,
        droppable: bool,
        key: Option<u8>,
    }

    impl Model {
        fn len(&self) -> usize {
            self.waiting.iter().map(|i| i.bytes.len()).sum()
        }

        fn count(&self) -> (usize, usize) {
            let counted = || self.waiting.iter().filter(|i| i.events > 0);
            let bytes = counted().map(|i| i.bytes.len()).sum();
            (counted().map(|i| i.events).sum(), bytes)
        }

        fn add(&mut self, item: Item, marks: &Marks) {
            self.waiting.push(item);
            self.high |= self.len() >= marks.high as usize;
        }

        fn drained(&mut self, marks: &Marks) -> bool {
            let drained = self.high && self.len() <= marks.low as usize;
            self.high &= !drained;
            self.granted |= drained;
            drained
        }

        fn push(&mut self, bytes: Vec<u8>, marks: &Marks) -> bool {
            let own = self.waiting.iter().filter(|i| i.own);
            let own: usize = own.map(|i| i.bytes.len()).sum();
            let fits = own < marks.high as usize || own + bytes.len() <= marks.limit as usize;
            if !fits && !std::mem::take(&mut self.granted) {
                return false;
            }
            let item = Item {
                bytes,
                own: true,
                events: 0,
                droppable: false,
                key: None,
            };
            self.add(item, marks);
            true
        }

        fn drop_first(&mut self, marks: &Marks, which: impl Fn(&Item) -> bool) -> u64 {
            let Some(at) = self.waiting.iter().position(|i| i.droppable && which(i)) else {
                return 0;
            };
            self.waiting.remove(at);
            self.drained(marks);
            1
        }

        fn publish(&mut self, item: Item, policy: &Policy, marks: &Marks) -> Option<u64> {
            let mut dropped = 0;
            if let (Full::Latest, Some(key)) = (policy.full, item.key) {
                dropped += self.drop_first(marks, |i| i.key == Some(key));
            }
            loop {
                let (events, bytes) = self.count();
                let over = events + item.events > policy.max_events
                    || bytes + item.bytes.len() > policy.max_bytes;
                if events == 0 || !over {
                    break;
                }
                match policy.full {
                    Full::Disconnect => return None,
                    Full::DropNewest => return Some(dropped + 1),
                    _ => match self.drop_first(marks, |_| true) {
                        0 => break,
                        n => dropped += n,
                    },
                }
            }
            self.add(item, marks);
            Some(dropped)
        }

        fn consume(&mut self, mut n: usize, marks: &Marks) -> bool {
            while n > 0 {
                let first = &mut self.waiting[0];
                let taken = first.bytes.len().min(n);
                first.bytes.drain(..taken);
                (first.events, first.droppable, first.key) = (0, false, None);
                if first.bytes.is_empty() {
                    self.waiting.remove(0);
                }
                n -= taken;
            }
            self.drained(marks)
        }

        fn bytes(&self) -> Vec<u8> {
            self.waiting.iter().flat_map(|i| i.bytes.clone()).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(usize),
        Shared(usize),
        Joined(usize, usize),
        Publish(usize, Option<u8>),
        Consume(usize),
        Take,
    }

    fn op() -> impl proptest::strategy::Strategy<Value = Op> {
        use proptest::prelude::*;
        prop_oneof![
            2 => (1..40usize).prop_map(Op::Push),
            1 => (1..130usize).prop_map(Op::Shared),
            1 => (1..30usize, 1..4usize).prop_map(|(len, n)| Op::Joined(len, n)),
            12 => (1..20usize, proptest::option::weighted(0.9, 0..12u8))
                .prop_map(|(len, key)| Op::Publish(len, key)),
            2 => (1..60usize).prop_map(Op::Consume),
            1 => (0..60usize).prop_map(|n| if n == 0 { Op::Take } else { Op::Consume(n) }),
        ]
    }

    /// The bytes that are waiting, by way of `waiting`, which skips what is gone.
    fn listed(o: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 4000];
        let n = o.waiting(&mut slices);
        assert!(slices[..n].iter().all(|s| !s.is_empty()));
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    proptest::proptest! {
        #[test]
        fn an_outbox_does_what_the_plainest_queue_would(
            ops in proptest::collection::vec(op(), 1..600),
            full in proptest::sample::select(vec![
                Full::Disconnect, Full::DropOldest, Full::DropNewest, Full::Latest, Full::Latest,
            ]),
            max_events in 1..200usize,
            max_bytes in 1..3000usize,
        ) {
            let account = Account::new(usize::MAX, || {});
            let new = || Outbox::counted(Some(account.clone()));
            let (mut o, mut m) = (new(), Model::default());
            let marks = Marks { low: 50, high: 200, limit: 400 };
            o.set_marks(marks).unwrap();
            let policy = Policy { full, max_bytes, max_events };
            for (n, op) in ops.into_iter().enumerate() {
                let made = |len: usize| -> Vec<u8> { (n..n + len).map(|b| b as u8).collect() };
                match op {
                    Op::Push(len) => {
                        let bytes = made(len);
                        let pushed = o.push(len, |b| b.extend_from_slice(&bytes));
                        proptest::prop_assert_eq!(pushed.is_ok(), m.push(bytes, &marks));
                    }
                    Op::Shared(len) => {
                        shared(&mut o, made(len).into());
                        let item = Item {
                            bytes: made(len), own: false, events: 0, droppable: false, key: None,
                        };
                        m.add(item, &marks);
                    }
                    Op::Joined(len, events) => {
                        let policy = Policy { full: Full::Disconnect, ..policy };
                        let item = Item {
                            bytes: made(len), own: false, events, droppable: false, key: None,
                        };
                        proptest::prop_assert_eq!(
                            o.publish_joined(made(len).into(), &chunk(), events, &policy).is_ok(),
                            m.publish(item, &policy, &marks).is_some()
                        );
                    }
                    Op::Publish(len, key) => {
                        let name = key.map(|k| k.to_string());
                        let entry = entry(n as u64, name.as_deref());
                        let item = Item {
                            bytes: made(len), own: false, events: 1, droppable: true, key,
                        };
                        proptest::prop_assert_eq!(
                            o.publish(&entry, made(len).into(), &policy).ok(),
                            m.publish(item, &policy, &marks)
                        );
                    }
                    Op::Consume(n) => {
                        let n = n.min(m.len());
                        proptest::prop_assert_eq!(o.consume(n), m.consume(n, &marks));
                    }
                    Op::Take => {
                        proptest::prop_assert_eq!(all(&mut o), m.bytes());
                        o = new();
                        o.set_marks(marks).unwrap();
                        m = Model::default();
                    }
                }
                proptest::prop_assert_eq!(o.len(), m.len());
                proptest::prop_assert_eq!(o.is_high(), m.high);
                proptest::prop_assert_eq!((o.events as usize, o.event_bytes), m.count());
                if n % 16 == 0 {
                    proptest::prop_assert_eq!(listed(&o), m.bytes());
                }
                let weight: usize = o.pieces.iter().map(Piece::weight).sum();
                proptest::prop_assert_eq!(o.weight, weight);
                let live = o.pieces.iter().filter(|p| !p.bytes().is_empty()).count();
                proptest::prop_assert!(o.pieces.len() <= (live + GONE) * 8 / 5 + 1);
                proptest::prop_assert_eq!(o.index.is_some() && o.is_empty(), false);
            }
            proptest::prop_assert_eq!(all(&mut o), m.bytes());
            proptest::prop_assert_eq!(account.now(), 0);
        }
    }

    #[test]
    fn what_waits_is_on_the_account_own_bytes_in_steps_and_shared_ones_once() {
        let account = Account::new(usize::MAX, || {});
        let new = || Outbox::counted(Some(account.clone()));
        let (mut a, mut b) = (new(), new());
        push(&mut a, Account::STEP - 1).unwrap();
        assert_eq!(account.now(), 0);
        push(&mut a, Account::STEP).unwrap();
        assert_eq!(account.now(), Account::STEP);
        a.consume(2 * Account::STEP - 1);
        assert_eq!(account.now(), 0);
        let all = Chunk::new(100_000, |b| b.resize(b.len() + 100_000, b'x'));
        for o in [&mut a, &mut b] {
            o.append_shared(all.wire(true), &all);
        }
        assert_eq!(account.now(), all.wire_len());
        assert_eq!(a.cost(), PIECE + all.wire_len() / 2);
        assert_eq!(a.cost_bound(), PIECE + all.wire_len());
        a.consume(99_999);
        assert_eq!(
            a.cost(),
            PIECE + all.wire_len() / 2,
            "as long as a part of it waits"
        );
        a.clear();
        assert_eq!((a.cost(), b.cost()), (0, PIECE + all.wire_len()));
        push(&mut b, 10 * Account::STEP).unwrap();
        assert_eq!(account.now(), all.wire_len() + 10 * Account::STEP);
        drop(b);
        assert_eq!(account.now(), 0);
    }
}
