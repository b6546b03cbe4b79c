//! Records for the host program, and the descriptor that says there are some.
//!
//! Unbounded in itself; bounded by its writers: a connection has at most one
//! record of each kind in it, and while the host has not read a few, the server
//! accepts no further connection.

use crate::sys::WakeFd;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::io;
use std::os::fd::RawFd;

/// A queue from any thread of ours to the host program's one.
pub struct Mailbox {
    send: Sender<Vec<u8>>,
    receive: Receiver<Vec<u8>>,
    wake: WakeFd,
    // A record that did not fit into the host's last buffer.
    next: std::sync::Mutex<Option<Vec<u8>>>,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> io::Result<Self> {
        let (send, receive) = unbounded();
        Ok(Mailbox {
            send,
            receive,
            wake: WakeFd::new()?,
            next: Default::default(),
        })
    }

    /// The descriptor to watch for reading.
    pub fn fd(&self) -> RawFd {
        self.wake.fd()
    }

    /// Makes the descriptor readable though nothing is queued.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// Queues a record: anything after its own four length bytes.
    pub fn push(&self, record: Vec<u8>) {
        // Cannot fail: this object holds the receiver.
        let _ = self.send.send(record);
        self.wake.wake();
    }

    /// Fills `buf` with whole records, each after its length as a native
    /// `u32`; returns the bytes used, or the bytes needed when even the first
    /// does not fit. Those that are not true any more are left out. The
    /// descriptor stays readable while records remain.
    pub fn drain(&self, buf: &mut [u8], is_true: impl Fn(&[u8]) -> bool) -> usize {
        self.wake.clear();
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut used = 0;
        while let Some(record) = next.take().or_else(|| self.receive.try_recv().ok()) {
            let end = used + 4 + record.len();
            if end > buf.len() {
                *next = Some(record);
                self.wake.wake();
                return if used == 0 { end } else { used };
            }
            if !is_true(&record) {
                continue;
            }
            buf[used..used + 4].copy_from_slice(&(record.len() as u32).to_ne_bytes());
            buf[used + 4..end].copy_from_slice(&record);
            used = end;
        }
        used
    }

    /// Records waiting.
    pub fn len(&self) -> usize {
        let next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        usize::from(next.is_some()) + self.receive.len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the records nobody will read.
    pub fn discard(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        next.into_iter().chain(self.receive.try_iter())
    }
}

#[cfg(test)]
mod tests {
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
}
