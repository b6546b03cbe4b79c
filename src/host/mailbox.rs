//! Records for the host program, and the descriptor that says there are some.
//!
//! It is bounded by what its records are about, however long the host program
//! reads none: a connection (or hub) has one of a kind in it, and takes them
//! along when the host gives back its number, but for ENDED ([`Mailbox::forget`]).
//! While the host has not read a few REQUESTs, or
//! very many ENDEDs, no further connection begins ([`Mailbox::is_behind`]). LOG
//! and ANSWERED are counted by [`super::notices`].

use super::record::{Kind, PLAIN};
use super::wake::Wake;
use crate::core::limits;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use slab::Slab;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::RawFd;
use std::sync::PoisonError;

/// A kind and a number, as records begin.
type About = [u8; PLAIN];

/// A record, and its neighbours in the order in which they came.
struct Link {
    record: Box<[u8]>,
    before: u32,
    after: u32,
}

/// Neighbour of the first and of the last one.
const NONE: u32 = u32::MAX;

struct Inner {
    /// A list, as any of them may go.
    records: Slab<Link>,
    first: u32,
    last: u32,
    /// The places of those that are about something.
    about: HashMap<About, u32>,
    requests: usize,
    ended: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Inner {
            records: Slab::new(),
            first: NONE,
            last: NONE,
            about: HashMap::new(),
            requests: 0,
            ended: 0,
        }
    }
}

/// A queue from any thread of ours to the host program's one.
pub struct Mailbox {
    inner: Mutex<Inner>,
    wake: Wake,
    closed: AtomicBool,
    called: AtomicBool,
}

/// Records taken under the lock at once.
const AT_ONCE: usize = 32;

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
        if self.put(record) {
            self.wake.wake();
        }
    }

    /// The same, but that the caller has to wake the host program, if `true`.
    #[must_use]
    pub fn put(&self, record: Vec<u8>) -> bool {
        debug_assert!(4 + record.len() <= limits::RECORD_BYTES);
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        let record = record.into_boxed_slice();
        // One that waits was announced.
        self.lock().add(record)
    }

    /// Nobody is told of those kinds any more about that number.
    pub fn forget(&self, number: u64, kinds: &[Kind]) {
        let mut inner = self.lock();
        for kind in kinds {
            if let Some(&at) = inner.about.get(&about(*kind as u8, number)) {
                inner.remove(at);
            }
        }
    }

    /// Takes some, if the first fits; else it returns how many bytes that needs.
    fn take(&self, mut room: usize, taken: &mut Vec<Box<[u8]>>) -> Option<usize> {
        let mut inner = self.lock();
        while taken.len() < AT_ONCE {
            let needed = 4 + inner.records.get(inner.first as usize)?.record.len();
            if needed > room {
                return taken.is_empty().then_some(needed);
            }
            room -= needed;
            taken.extend(inner.pop());
        }
        None
    }

    /// Fills `buf` with whole records, each after its length as a native
    /// `u32`; returns the bytes used, or the bytes needed when even the first
    /// does not fit. Those that are not true any more are left out. The
    /// descriptor stays readable while records remain.
    pub fn drain(&self, buf: &mut [u8], is_true: impl Fn(&[u8]) -> bool) -> usize {
        self.wake.clear();
        let (mut used, mut taken) = (0, Vec::new());
        loop {
            if let Some(needed) = self.take(buf.len() - used, &mut taken) {
                self.wake.wake();
                return if used == 0 { needed } else { used };
            }
            if taken.is_empty() {
                return used;
            }
            for record in taken.drain(..).filter(|r| is_true(r)) {
                let end = used + 4 + record.len();
                buf[used..used + 4].copy_from_slice(&(record.len() as u32).to_ne_bytes());
                buf[used + 4..end].copy_from_slice(&record);
                used = end;
            }
        }
    }

    /// Takes the first record. The descriptor stays readable while records
    /// remain.
    pub fn take_one(&self) -> Option<Box<[u8]>> {
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

    /// The host program has requests to read: what would come now is better kept
    /// by the kernel, in less memory. Or it is full.
    pub fn is_behind(&self) -> bool {
        let inner = self.lock();
        inner.requests >= limits::REQUESTS_BEHIND || inner.is_full()
    }

    /// So many ends wait that only the host program's reading can bound them.
    pub fn is_full(&self) -> bool {
        self.lock().is_full()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the records nobody will read.
    pub fn discard(&self) -> impl Iterator<Item = Box<[u8]>> + '_ {
        std::iter::from_fn(|| self.lock().pop())
    }
}

impl Inner {
    fn is_full(&self) -> bool {
        self.ended >= limits::ENDED_BEHIND
    }

    /// `false` when such a one waits.
    fn add(&mut self, record: Box<[u8]>) -> bool {
        // Of a live connection or hub each, of which there are fewer than 2^32.
        let at = self.records.vacant_key() as u32;
        if let Some(about) = about_of(&record) {
            let Entry::Vacant(free) = self.about.entry(about) else {
                return false;
            };
            free.insert(at);
        }
        if let Some(count) = self.count(&record) {
            *count += 1;
        }
        let before = std::mem::replace(&mut self.last, at);
        match self.records.get_mut(before as usize) {
            Some(link) => link.after = at,
            None => self.first = at,
        }
        self.records.insert(Link {
            record,
            before,
            after: NONE,
        });
        true
    }

    fn pop(&mut self) -> Option<Box<[u8]>> {
        self.remove(self.first)
    }

    fn remove(&mut self, at: u32) -> Option<Box<[u8]>> {
        let link = self.records.try_remove(at as usize)?;
        match self.records.get_mut(link.before as usize) {
            Some(before) => before.after = link.after,
            None => self.first = link.after,
        }
        match self.records.get_mut(link.after as usize) {
            Some(after) => after.before = link.before,
            None => self.last = link.before,
        }
        // What comes from now on is news again.
        if let Some(about) = about_of(&link.record) {
            self.about.remove(&about);
        }
        if let Some(count) = self.count(&link.record) {
            *count -= 1;
        }
        if self.records.is_empty() {
            // After a burst: nor any memory.
            *self = Inner::default();
        }
        Some(link.record)
    }

    fn count(&mut self, record: &[u8]) -> Option<&mut usize> {
        match *record.first()? {
            REQUEST => Some(&mut self.requests),
            ENDED => Some(&mut self.ended),
            _ => None,
        }
    }
}

const REQUEST: u8 = Kind::Request as u8;
const ENDED: u8 = Kind::Ended as u8;

fn about(kind: u8, number: u64) -> About {
    let mut about = [kind; PLAIN];
    about[1..].copy_from_slice(&number.to_ne_bytes());
    about
}

/// Which connection or hub a record is about.
fn about_of(record: &[u8]) -> Option<About> {
    let about: About = *record.first_chunk()?;
    (about[1..] != [0; PLAIN - 1]).then_some(about)
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

    /// With something behind its beginning.
    fn long(kind: Kind, number: u64) -> Vec<u8> {
        let mut r = plain(kind, number);
        r.push(0);
        r
    }

    #[test]
    fn requests_and_ends_are_counted_until_they_are_read_or_forgotten() {
        let m = Mailbox::new().unwrap();
        let mut buf = [0u8; 14];
        for (kind, most) in [
            (Kind::Request, limits::REQUESTS_BEHIND),
            (Kind::Ended, limits::ENDED_BEHIND),
        ] {
            for n in 1..=most as u64 {
                assert!(!m.is_behind());
                m.push(long(kind, n));
            }
            assert!(m.is_behind());
            assert_eq!(m.drain(&mut buf, |_| true), 14);
            assert!(!m.is_behind());
            m.push(long(kind, 1));
            assert!(m.is_behind());
            m.forget(2, &[kind]);
            assert!(!m.is_behind());
            assert_eq!(m.discard().count(), most - 1);
        }
    }

    #[test]
    fn what_is_forgotten_goes_and_the_rest_keeps_its_order() {
        let m = Mailbox::new().unwrap();
        for n in [1, 2] {
            m.push(plain(Kind::Output, n));
            m.push(long(Kind::Closed, n));
            m.push(long(Kind::Ended, n));
        }
        for _ in 0..2 {
            m.push(long(Kind::Log, 0));
        }
        m.forget(1, &[Kind::Output, Kind::Closed, Kind::Body]);
        m.forget(2, &[Kind::Ended]);
        assert_eq!(m.len(), 5);
        m.push(plain(Kind::Output, 1));
        let mut buf = [0u8; 128];
        m.drain(&mut buf, |_| true);
        let kinds = [0, 14, 27, 41, 55, 69].map(|at| buf[at + 4]);
        assert_eq!(kinds, [5, 7, 4, 6, 6, 7]);
    }
}
