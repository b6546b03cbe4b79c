//! Records for the host program, and the descriptor that says there are some.
//!
//! It is bounded by what its records are about, however long the host program
//! reads none. A record that says only "look" (`record::plain`) is in it once
//! for each kind and connection (or hub): a second would say no more. Of the
//! others a connection has one REQUEST, CLOSED and ENDED; while the host has not
//! read a few REQUESTs, the server accepts no further connection, and what else
//! there is the host itself has opened. LOG and ANSWERED are counted by
//! [`super::notices`].

use super::record::{Kind, PLAIN};
use super::wake::Wake;
use crate::core::limits;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::PoisonError;

#[derive(Default)]
struct Inner {
    records: VecDeque<Vec<u8>>,
    /// Those of `records` that say only "look".
    plain: HashSet<[u8; PLAIN]>,
    requests: usize,
}

/// A queue from any thread of ours to the host program's one.
pub struct Mailbox {
    inner: Mutex<Inner>,
    wake: Wake,
    closed: AtomicBool,
    called: AtomicBool,
}

enum Taken {
    Record(Vec<u8>),
    /// The first needs so many bytes.
    TooLong(usize),
    None,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> io::Result<Self> {
        Ok(Mailbox {
            inner: Mutex::default(),
            wake: Wake::new()?,
            closed: AtomicBool::new(false),
            called: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What makes the host's loop look.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Has the host program come, by itself or by another of its threads.
    pub fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Whether it was, since this was asked last.
    pub fn was_called(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }

    /// The descriptor to watch for reading.
    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    /// Nobody will read: no more is queued, and the descriptor is closed.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.close();
    }

    /// Queues a record: anything after its own four length bytes.
    pub fn push(&self, record: Vec<u8>) {
        debug_assert!(4 + record.len() <= limits::RECORD_BYTES);
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        {
            let mut inner = self.lock();
            if let Ok(plain) = record.as_slice().try_into() {
                // One that waits was announced.
                if !inner.plain.insert(plain) {
                    return;
                }
            }
            inner.requests += usize::from(is_request(&record));
            inner.records.push_back(record);
        }
        self.wake.wake();
    }

    fn take(&self, room: usize) -> Taken {
        let mut inner = self.lock();
        match inner.records.front() {
            None => return Taken::None,
            Some(first) if 4 + first.len() > room => return Taken::TooLong(4 + first.len()),
            Some(_) => {}
        }
        inner.pop().map_or(Taken::None, Taken::Record)
    }

    /// Fills `buf` with whole records, each after its length as a native
    /// `u32`; returns the bytes used, or the bytes needed when even the first
    /// does not fit. Those that are not true any more are left out. The
    /// descriptor stays readable while records remain.
    pub fn drain(&self, buf: &mut [u8], is_true: impl Fn(&[u8]) -> bool) -> usize {
        self.wake.clear();
        let mut used = 0;
        loop {
            let record = match self.take(buf.len() - used) {
                Taken::Record(record) => record,
                Taken::None => return used,
                Taken::TooLong(needed) => {
                    self.wake.wake();
                    return if used == 0 { needed } else { used };
                }
            };
            if is_true(&record) {
                let end = used + 4 + record.len();
                buf[used..used + 4].copy_from_slice(&(record.len() as u32).to_ne_bytes());
                buf[used + 4..end].copy_from_slice(&record);
                used = end;
            }
        }
    }

    /// Takes the first record. The descriptor stays readable while records
    /// remain.
    pub fn take_one(&self) -> Option<Vec<u8>> {
        let record = self.lock().pop();
        if self.is_empty() {
            self.wake.clear();
            // One that came before that was announced for nothing.
            if !self.is_empty() {
                self.wake.wake();
            }
        }
        record
    }

    /// Records waiting.
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// REQUEST records among them.
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the records nobody will read.
    pub fn discard(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        std::iter::from_fn(|| self.lock().pop())
    }
}

impl Inner {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let record = self.records.pop_front()?;
        // What comes from now on is news again.
        if let Ok(plain) = <&[u8; PLAIN]>::try_from(record.as_slice()) {
            self.plain.remove(plain);
        }
        self.requests -= usize::from(is_request(&record));
        if self.records.is_empty() {
            // After a burst: nor any memory.
            *self = Inner::default();
        }
        Some(record)
    }
}

fn is_request(record: &[u8]) -> bool {
    record.first() == Some(&(Kind::Request as u8))
}

#[cfg(test)]
mod tests {
    use super::super::record::plain;
    use super::*;

    #[test]
    fn records_come_whole_in_order_and_in_batches() {
        let m = Mailbox::new().unwrap();
        m.push(b"one".to_vec());
        m.push(b"two".to_vec());
        m.push(b"three".to_vec());
        let mut small = [0u8; 8];
        assert_eq!(m.drain(&mut small, |_| true), 7);
        assert_eq!(&small[4..7], b"one");
        assert_eq!(m.drain(&mut small, |r| r != b"two"), 9, "the size needed");
        let mut buf = [0u8; 64];
        assert_eq!(m.drain(&mut buf, |r| r != b"two"), 9);
        assert_eq!(&buf[4..9], b"three");
        assert_eq!(m.drain(&mut buf, |_| true), 0);
    }

    #[test]
    fn one_that_says_only_look_waits_once_and_comes_again_after_it_was_read() {
        let m = Mailbox::new().unwrap();
        let mut buf = [0u8; 64];
        for kind in [Kind::Body, Kind::Output, Kind::Body] {
            m.push(plain(kind, 1));
        }
        m.push(plain(Kind::Body, 2));
        assert_eq!(m.len(), 3);
        assert_eq!(m.drain(&mut buf, |_| true), 3 * 13);
        assert_eq!((buf[4], buf[17], buf[30]), (2, 7, 2), "in order");
        m.push(plain(Kind::Body, 1));
        m.push(plain(Kind::Body, 2));
        assert_eq!(m.drain(&mut buf[..12], |_| true), 13, "the size needed");
        assert_eq!((m.len(), m.is_empty()), (2, false));
        assert_eq!(m.drain(&mut buf[..13], |_| true), 13, "just fits");
        assert_eq!(m.len(), 1);
        m.push(plain(Kind::Body, 1));
        assert_eq!(m.drain(&mut buf, |_| true), 2 * 13);
        assert!(m.is_empty());
    }

    #[test]
    fn a_closed_one_takes_nothing_and_has_no_descriptor() {
        let m = Mailbox::new().unwrap();
        m.push(plain(Kind::Body, 1));
        let fd = m.fd();
        assert!(fd >= 0);
        m.close();
        m.push(plain(Kind::Body, 2));
        m.wake().wake();
        assert_eq!((m.fd(), m.len()), (-1, 1));
        assert_eq!(m.discard().count(), 1);
        assert_eq!(m.drain(&mut [0; 64], |_| true), 0);
    }

    #[test]
    fn requests_are_counted_until_they_are_read() {
        let m = Mailbox::new().unwrap();
        m.push(plain(Kind::Ended, 1));
        m.push(vec![Kind::Request as u8; 30]);
        m.push(vec![Kind::Request as u8; 30]);
        assert_eq!((m.len(), m.requests()), (3, 2));
        let mut buf = [0u8; 50];
        assert_eq!(m.drain(&mut buf, |_| true), 13 + 34);
        assert_eq!(m.requests(), 1);
        assert_eq!(m.discard().count(), 1);
        assert_eq!(m.requests(), 0);
    }
}
