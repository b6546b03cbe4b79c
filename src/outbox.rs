//! One connection's bounded output queue, with watermarks.

use crate::error::{Error, Result};
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};

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

/// Bytes that wait for the socket. Edge-triggered watermarks: `is_high` from
/// the high mark up until the queue has fallen to the low one.
#[derive(Debug, Default)]
pub struct Outbox {
    buf: BytesMut,
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

    /// Makes room for `len` more bytes and lets `write` append them; refuses
    /// when the queue would pass its limit and is not empty.
    pub fn push(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) -> Result<()> {
        if !self.buf.is_empty() && self.buf.len() + len > self.marks.limit as usize {
            return Err(Error::QueueOverflow);
        }
        self.append(len, write);
        Ok(())
    }

    /// The same without the limit: for heads and last chunks, which are few
    /// and small and must not be refused.
    pub fn append(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        self.buf.reserve(len);
        write(&mut self.buf);
        self.high |= self.buf.len() >= self.marks.high as usize;
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// At or above the high mark, and not yet drained since.
    pub fn is_high(&self) -> bool {
        self.high
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> &[u8] {
        &self.buf
    }

    /// Drops the `n` oldest bytes; `true` if this drained the queue.
    pub fn consume(&mut self, n: usize) -> bool {
        self.buf.advance(n);
        if self.buf.is_empty() {
            // An idle connection holds no buffer.
            self.buf = BytesMut::new();
        }
        self.drained()
    }

    /// Takes all; with `true` if this drained the queue.
    pub fn take(&mut self) -> (Bytes, bool) {
        let all = std::mem::take(&mut self.buf).freeze();
        let drained = self.drained();
        (all, drained)
    }

    fn drained(&mut self) -> bool {
        let drained = self.high && self.buf.len() <= self.marks.low as usize;
        self.high &= !drained;
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
}
