//! What a hub does with a connection.

use super::{Conn, Inner, Report, reason_of};
use crate::core::chunk::Chunk;
use crate::core::error::{Error, Result};
use crate::core::outbox::{Full, Policy};
use crate::core::reason::Why;
use crate::core::state::{Phase, Reason};
use crate::feed::{Batch, Published, Subscriber, Watch};
use crate::sys;
use http::{HeaderMap, StatusCode};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

impl Subscriber for Conn {
    fn watch(&self, watcher: Weak<dyn Watch>) -> Result<()> {
        let mut inner = self.lock();
        match inner.state.phase() {
            Phase::Pending | Phase::Started => {}
            Phase::Closed => return Err(Error::Closed),
            Phase::Responding => return Err(Error::Declined),
        }
        let present = inner.watcher.as_ref().and_then(Weak::upgrade);
        if present.is_some_and(|w| !w.is_over()) {
            return Err(Error::Subscribed);
        }
        inner.watcher = Some(watcher);
        self.watched.store(true, Ordering::Release);
        Ok(())
    }

    fn unwatch<T>(&self, watcher: *const T) {
        let mut inner = self.lock();
        let present = inner.watcher.as_ref();
        if present.is_some_and(|w| std::ptr::addr_eq(w.as_ptr(), watcher)) {
            inner.watcher = None;
            self.watched.store(false, Ordering::Release);
        }
    }

    fn replay(self: &Arc<Self>, chunks: &[&Chunk], events: u64) -> Result<()> {
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        let (started, tell) = {
            let mut inner = self.lock();
            let started = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new())?;
            if !self.framing.head {
                for chunk in chunks {
                    let wire = chunk.wire(self.framing.wire.is_chunked());
                    inner.outbox.append_shared(wire, chunk);
                }
                inner.counters.events += events;
            }
            let tell = !std::mem::replace(&mut inner.told_output, true);
            (started, tell)
        };
        if started {
            self.after_start();
        }
        if tell {
            host.output(self);
        }
        Ok(())
    }

    fn prefetch(&self) {
        sys::prefetch(self, 2);
    }

    fn publish(self: &Arc<Self>, batch: &Batch, policy: &Policy, next: &AtomicU64) -> Published {
        let (outcome, delivered, high, drained, tell) = {
            let mut inner = self.lock();
            if inner.state.phase() != Phase::Started {
                return Published::Closed;
            }
            // Changed under this lock alone.
            let from = next.load(Ordering::Relaxed);
            let done = batch.entries().partition_point(|e| e.seq < from);
            let new = &batch.entries()[done..];
            let Some(last) = new.last().filter(|_| !self.framing.head) else {
                return Published::Taken {
                    delivered: 0,
                    high: inner.outbox.is_high(),
                    dropped: 0,
                };
            };
            next.store(last.seq + 1, Ordering::Relaxed);
            let rest;
            let batch = match done {
                0 => batch,
                _ => {
                    rest = Batch::new(new.to_vec(), batch.now_ms());
                    &rest
                }
            };
            let delivered = new.len() as u64;
            inner.counters.events += delivered;
            let was_high = inner.outbox.is_high();
            let outcome = self.publish_locked(&mut inner, batch, policy);
            inner.counters.events -= outcome.as_ref().map_or(0, |&dropped| dropped);
            let news = self.framing.pull && !std::mem::replace(&mut inner.told_output, true);
            let high = inner.outbox.is_high();
            (outcome, delivered, high, was_high && !high, news)
        };
        if drained {
            // By what was dropped: who waits for it would wait in vain.
            self.drained();
        }
        match outcome {
            Ok(dropped) => {
                if let (true, Some(host)) = (tell, &self.host) {
                    host.output(self);
                }
                Published::Taken {
                    delivered,
                    high,
                    dropped,
                }
            }
            Err(reason) => {
                self.abandon(reason);
                Published::Closed
            }
        }
    }

    fn is_high(&self) -> bool {
        Conn::is_high(self)
    }

    fn buffered(&self) -> usize {
        Conn::buffered(self)
    }

    fn has_overflowed(&self) -> bool {
        self.reason().as_deref() == Some(Why::QueueOverflow.word())
    }

    fn shut_down(self: &Arc<Self>, reason: Reason) {
        Conn::shut_down(self, reason);
    }

    fn is_let_go(&self) -> bool {
        Conn::is_let_go(self)
    }

    fn end_if_unreachable(self: &Arc<Self>) {
        Conn::end_if_unreachable(self);
    }
}

impl Conn {
    /// A hub publishes to it.
    pub(super) fn is_watched(&self) -> bool {
        let watcher = self.lock().watcher.clone();
        let present = watcher.and_then(|w| w.upgrade());
        present.is_some_and(|w| !w.is_over())
    }

    pub(super) fn tell_watcher(&self, tell: impl FnOnce(&dyn Watch)) {
        let watcher = self.lock().watcher.clone();
        if let Some(watcher) = watcher.and_then(|w| w.upgrade()) {
            tell(&*watcher);
        }
    }

    pub(super) fn drained(&self) {
        self.tell_watcher(|w| w.marked(false));
        self.report(Report::Drained);
    }

    /// Has the hub that it is subscribed to deliver what was published by now.
    /// Sends and the end do so first.
    pub fn catch_up(&self) {
        if self.watched.load(Ordering::Acquire) {
            self.tell_watcher(|w| w.catch_up());
        }
    }

    fn publish_locked(
        &self,
        inner: &mut Inner,
        batch: &Batch,
        policy: &Policy,
    ) -> std::result::Result<u64, Reason> {
        let chunked = self.framing.wire.is_chunked();
        let waited = !inner.outbox.is_empty();
        if !waited && inner.direct.0 >= 0 {
            let bytes = batch.joined().bytes(chunked);
            match sys::send(inner.direct.0, bytes) {
                Ok(n) => {
                    inner.bytes_sent += inner.meter.pass(&bytes[..n], chunked);
                    inner.wrote(batch.now_ms());
                    if n < bytes.len() {
                        let rest = batch.joined().wire(chunked).slice(n..);
                        inner.outbox.append_shared(rest, batch.joined());
                        inner.attend();
                    }
                    return Ok(0);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(reason_of(&e, Why::WriteError)),
            }
        }
        let overflow = |_| Reason::from(Why::QueueOverflow);
        let mut dropped = 0;
        if policy.full == Full::Disconnect {
            let (all, events) = (batch.joined(), batch.entries().len());
            let outbox = &mut inner.outbox;
            let queued = outbox.publish_joined(all.wire(chunked), all, events, policy);
            queued.map_err(overflow)?;
        } else {
            for entry in batch.entries() {
                let wire = entry.chunk().wire(chunked);
                let queued = inner.outbox.publish(entry, wire, policy);
                dropped += queued.map_err(overflow)?;
            }
        }
        if !waited {
            inner.attend();
        }
        Ok(dropped)
    }
}

impl Inner {
    /// Has the transport write what it can.
    fn attend(&self) {
        if let Some(sink) = &self.sink {
            sink.attend();
        }
    }
}
