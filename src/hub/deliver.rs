//! How what was published gets to those who are subscribed.

use super::Hub;
use super::crowd::Part;
use super::fanout::{Delivery, Parts};
use super::subscription::Subscription;
use crate::core::limits;
use crate::feed::{Batch, Published, Subscriber};
use crate::sys;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Those who are served before somebody else may take the turn.
const SLICE: usize = 128;

/// What is on its way.
pub(super) struct Turn<S> {
    delivery: Option<Delivery<S>>,
    /// Its size.
    bytes: usize,
    /// Of those who get this batch, those who have not got it.
    batch: Option<(Batch, Parts<S>)>,
}

impl<S> Default for Turn<S> {
    fn default() -> Self {
        Turn {
            delivery: None,
            bytes: 0,
            batch: None,
        }
    }
}

impl<S: Subscriber> Hub<S> {
    /// Gives what is pending to every subscriber. Several threads may: each
    /// takes a part in its turn.
    pub fn deliver(&self) {
        while self.deliver_some() {}
    }

    /// The same for so long, or until all is delivered: `true` if it is.
    pub fn deliver_until(&self, over: impl Fn() -> bool) -> bool {
        while !over() {
            if !self.deliver_some() {
                return true;
            }
        }
        false
    }

    /// For a publisher who finds so much undelivered: it lends its thread for
    /// a part, and from some amount on until there is less, so that nothing grows.
    pub(super) fn lend(&self, undelivered: usize) {
        let much = |bytes| bytes >= limits::PENDING_LIMIT_BYTES;
        let mut left = undelivered;
        while left >= limits::PENDING_BYTES && self.deliver_some() && much(left) {
            left = self.lock().pending_bytes;
        }
        self.owner.pending();
    }

    /// Takes a turn: `false` if there was nothing to do.
    fn deliver_some(&self) -> bool {
        let mut turn = self.turn.lock();
        let Turn {
            delivery,
            bytes,
            batch,
        } = &mut *turn;
        if let Some((batch, parts)) = batch {
            let (mut some, mut n) = (Vec::new(), 0);
            while n < SLICE
                && let Some(part) = parts.pop()
            {
                n += part.items().len();
                some.push(part);
            }
            self.deliver_to_all(&some, batch);
            if !parts.is_empty() {
                return true;
            }
        }
        *batch = None;
        if let Some(going) = delivery {
            if let Some((entries, parts)) = going.next() {
                *batch = Some((Batch::new(entries, self.owner.now_ms()), parts));
                return true;
            }
            going.done();
            *delivery = None;
            self.lock().pending_bytes -= std::mem::take(bytes);
            self.tell_ready();
        }
        let (pending, size) = self.lock().take_pending(limits::BATCH_BYTES);
        if pending.is_empty() {
            return false;
        }
        *bytes = size;
        *delivery = Some(Delivery::of(pending));
        true
    }

    fn deliver_to_all(&self, parts: &[Part<Arc<Subscription<S>>>], batch: &Batch) {
        let all: Vec<_> = parts.iter().flat_map(Part::items).collect();
        for (i, sub) in all.iter().enumerate() {
            // A send puts much else into the cache: what the next ones
            // need would have to be waited for.
            if let Some(later) = all.get(i + 16) {
                sys::prefetch(&***later, 1);
            }
            if let Some(later) = all.get(i + 8) {
                later.conn.prefetch();
            }
            self.deliver_to(sub, batch);
        }
    }

    /// Delivers to one subscriber, before its turn, what was published by now:
    /// the application is about to add to the stream, or to end it.
    pub(super) fn catch_up(&self, sub: &Subscription<S>) {
        self.catch_up_with(sub, &mut None);
    }

    /// The same for many, who may have missed the same.
    pub(super) fn catch_up_with(&self, sub: &Subscription<S>, last: &mut Option<Batch>) {
        // Before its topics are looked at: all that was published by then is seen.
        let newest = self.newest.load(Ordering::Acquire);
        if newest < sub.next.load(Ordering::Relaxed) || sub.over.load(Ordering::Acquire) {
            return;
        }
        sub.wait_until_begun();
        let entries = sub.set.waiting(sub.next.load(Ordering::Relaxed), newest);
        if entries.is_empty() {
            return;
        }
        let batch = match last.take().filter(|batch| batch.is_of(&entries)) {
            Some(batch) => batch,
            None => Batch::new(entries, self.owner.now_ms()),
        };
        self.deliver_to(sub, &batch);
        *last = Some(batch);
    }

    fn deliver_to(&self, sub: &Subscription<S>, batch: &Batch) {
        if sub.over.load(Ordering::Acquire) {
            return;
        }
        sub.wait_until_begun();
        match sub.conn.publish(batch, &sub.policy, &sub.next) {
            Published::Taken {
                delivered,
                high,
                dropped,
            } => {
                sub.delivered.fetch_add(delivered, Ordering::Relaxed);
                if dropped > 0 {
                    sub.dropped.fetch_add(dropped, Ordering::Relaxed);
                    self.dropped.fetch_add(dropped, Ordering::Relaxed);
                }
                // Whoever changes it looks again, so the mark may be old here. Not
                // high: what it dropped may have brought it down.
                if high != sub.high.load(Ordering::Acquire) {
                    sub.set_high(high);
                }
            }
            Published::Closed => {
                if sub.conn.has_overflowed() {
                    self.overflows.fetch_add(1, Ordering::Relaxed);
                }
                self.remove(sub);
            }
        }
    }

    /// Whether no subscriber's queue is above its high mark and little is
    /// undelivered. If not, [`super::Owner::ready`] is called once it is so.
    pub fn ready(&self) -> bool {
        self.ready.ask(|| self.little_pending())
    }

    /// Little is undelivered; or there is nobody to get it, and so no host that
    /// could be told later.
    pub(super) fn little_pending(&self) -> bool {
        self.connections.load(Ordering::Acquire) == 0
            || self.lock().pending_bytes < limits::READY_PENDING_BYTES
    }

    pub(super) fn tell_ready(&self) {
        if self.ready.take(|| self.little_pending()) {
            self.owner.ready();
        }
    }
}
