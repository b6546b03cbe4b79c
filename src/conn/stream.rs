//! The event stream: its head, sends, keepalive, and how its output leaves.

use super::response::{Field, header_map, status_code};
use super::{Conn, Counters, Direct, Inner, Sink, reason_of};
use crate::core::error::{Error, Result};
use crate::core::frame::{self, Event};
use crate::core::keepalive::Keepalive;
use crate::core::limits;
use crate::core::reason::Why;
use crate::core::state::Phase;
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Pieces of the queue that one write takes.
const SLICES: usize = 64;

/// What of `slices` the first `n` bytes are.
fn sent<'a>(slices: &'a [IoSlice<'_>], mut n: usize) -> impl Iterator<Item = &'a [u8]> {
    slices.iter().map(move |slice| {
        let taken = &slice[..slice.len().min(n)];
        n -= taken.len();
        taken
    })
}

impl Conn {
    /// Begins the stream. `true` if this call did; `false` if it had begun.
    pub fn start<'a>(
        self: &Arc<Self>,
        status: u16,
        fields: impl IntoIterator<Item = Field<'a>>,
    ) -> Result<bool> {
        let status = status_code(status)?;
        if matches!(status.as_u16(), 204 | 205 | 304) {
            return Err(Error::BodilessStatus);
        }
        let map = header_map(fields)?;
        let (moved, tell) = {
            let mut inner = self.lock();
            let moved = self.start_locked(&mut inner, status, map)?;
            // A server waits for the choice; others have the head to write.
            let waits = inner.sink.is_some() || self.framing.pull;
            let output = moved && waits && !inner.outbox.is_empty();
            let tell = output && !std::mem::replace(&mut inner.told_output, true);
            (moved, tell)
        };
        if moved {
            self.after_start();
        }
        if let (true, Some(host)) = (tell, &self.host) {
            host.output(self);
        }
        if moved {
            self.end_if_late();
        }
        Ok(moved)
    }

    pub(super) fn start_locked(
        &self,
        inner: &mut Inner,
        status: StatusCode,
        map: HeaderMap,
    ) -> Result<bool> {
        if !inner.state.start()? {
            return Ok(false);
        }
        if let Some(host) = &self.host {
            inner.status = status.as_u16();
            inner.last_write_ms = host.now_ms();
            if let Some(head) = self.framing.wire.head(status, map) {
                inner.outbox.append(head.len(), |b| b.put_slice(&head));
            }
        }
        Ok(true)
    }

    pub(super) fn after_start(self: &Arc<Self>) {
        self.wake_tasks();
        if let Some(host) = &self.host {
            host.keepalive(self);
        }
    }

    /// For a host that does the I/O: may a send go out? `true` when the stream
    /// starts with this one.
    pub fn admit(&self) -> Result<bool> {
        self.lock().state.start()
    }

    /// Queues an event; starts the stream if need be. `true` when the queue is
    /// above its high mark: the sender should wait for `Report::Drained`.
    pub fn send(self: &Arc<Self>, event: &Event<'_>) -> Result<bool> {
        event.check()?;
        let count = |c: &mut Counters| c.events += 1;
        self.queue(event.encoded_len(), count, |b| event.encode(b))
    }

    /// Queues a comment; otherwise as [`Conn::send`].
    pub fn comment(self: &Arc<Self>, text: &str) -> Result<bool> {
        let count = |c: &mut Counters| c.comments += 1;
        self.queue(frame::comment_len(text), count, |b| {
            frame::encode_comment(text, b);
        })
    }

    fn queue(
        self: &Arc<Self>,
        len: usize,
        count: fn(&mut Counters),
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<bool> {
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        self.catch_up();
        let (started, high, urgent, tell) = {
            let mut inner = self.lock();
            let started = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new())?;
            let pushed = self.push_frame(&mut inner, len, write);
            match pushed {
                Ok(()) => count(&mut inner.counters),
                Err(_) => inner.counters.refused += 1,
            }
            pushed?;
            let urgent = !self.framing.pull && inner.outbox.len() >= limits::FLUSH_BYTES;
            let tell = !urgent && !std::mem::replace(&mut inner.told_output, true);
            (started, inner.outbox.is_high(), urgent, tell)
        };
        if started {
            self.after_start();
        }
        if urgent {
            self.flush();
        }
        let high = high && (!urgent || self.is_high());
        if high {
            self.tell_watcher(|w| w.marked(true));
        }
        if tell {
            host.output(self);
        }
        if started {
            self.end_if_late();
        }
        Ok(high)
    }

    pub(super) fn push_frame(
        &self,
        inner: &mut Inner,
        len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<()> {
        if self.framing.head || len == 0 {
            return Ok(());
        }
        let wire = self.framing.wire;
        inner
            .outbox
            .push(wire.framed_len(len), |b| wire.put(b, len, write))
    }

    /// Sets or (0) ends the keepalive. Never starts the stream.
    pub fn set_keepalive(self: &Arc<Self>, interval_ms: u64, comment: &str) -> Result<()> {
        let setting = Keepalive::new(interval_ms, comment)?.map(Box::new);
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        {
            let mut inner = self.lock();
            match inner.state.phase() {
                Phase::Pending | Phase::Started => inner.keepalive = setting,
                Phase::Closed => return Err(Error::Closed),
                Phase::Responding => return Err(Error::Declined),
            }
        }
        host.keepalive(self);
        Ok(())
    }

    /// Hands the socket over; what is queued is written at once.
    pub fn attach(self: &Arc<Self>, sink: Arc<dyn Sink>) {
        {
            let mut inner = self.lock();
            inner.direct = sink.fd().map_or_else(Direct::default, Direct);
            inner.sink = Some(sink);
        }
        self.flush();
    }

    /// Writes what waits, as far as the socket takes it. `now_ms` of the last
    /// successful write is kept for the keepalive.
    pub fn flush(self: &Arc<Self>) {
        if self.framing.pull {
            return self.offer();
        }
        let mut drained = false;
        let mut failed = None;
        {
            let mut inner = self.lock();
            inner.told_output = false;
            let (Some(sink), Some(host)) = (inner.sink.clone(), &self.host) else {
                drop(inner);
                return self.wake_tasks();
            };
            while !inner.outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = inner.outbox.waiting(&mut slices);
                match sink.try_write(&slices[..count]) {
                    Ok(n) => {
                        let mut meter = inner.meter;
                        let content = sent(&slices[..count], n)
                            .map(|bytes| meter.pass(bytes, self.framing.wire.is_chunked()))
                            .sum::<u64>();
                        inner.meter = meter;
                        inner.bytes_sent += content;
                        inner.wrote(host.now_ms());
                        drained |= inner.outbox.consume(n);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        sink.attend();
                        break;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        failed = Some(e);
                        break;
                    }
                }
            }
            if inner.outbox.is_empty() && inner.state.phase() == Phase::Closed {
                sink.attend();
            }
        }
        if let Some(e) = failed {
            self.disconnect(reason_of(&e, Why::WriteError));
            self.wake_all();
        }
        if drained {
            self.drained();
        }
    }

    /// Says that output can be pulled, or that its end can be seen; once until
    /// the next [`Conn::pull`].
    fn offer(self: &Arc<Self>) {
        let tell = {
            let mut inner = self.lock();
            let news = !inner.outbox.is_empty() || inner.state.phase() == Phase::Closed;
            news && !inner.ended && !std::mem::replace(&mut inner.told_output, true)
        };
        if let (true, Some(host)) = (tell, &self.host) {
            host.output(self);
        }
    }

    /// Gives up to `max` bytes of output to `put`, in one or more pieces, and
    /// returns how many; `None` when all is taken and nothing more will come.
    pub fn pull(self: &Arc<Self>, max: usize, mut put: impl FnMut(&[u8])) -> Result<Option<usize>> {
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        if !self.framing.pull {
            return Err(Error::NotPulled);
        }
        let (mut taken, mut drained) = (0, false);
        let over = {
            let mut inner = self.lock();
            while taken < max && !inner.outbox.is_empty() {
                let mut first = [IoSlice::new(&[])];
                inner.outbox.waiting(&mut first);
                let n = first[0].len().min(max - taken);
                put(&first[0][..n]);
                let mut meter = inner.meter;
                let content = meter.pass(&first[0][..n], self.framing.wire.is_chunked());
                inner.meter = meter;
                inner.bytes_sent += content;
                drained |= inner.outbox.consume(n);
                taken += n;
            }
            if taken > 0 {
                inner.wrote(host.now_ms());
            }
            // While something is left, the host program need not be told.
            inner.told_output = !inner.outbox.is_empty();
            inner.outbox.is_empty() && inner.state.phase() == Phase::Closed
        };
        if drained {
            self.drained();
        }
        if over {
            self.transport_ended();
        }
        Ok((taken > 0 || !over).then_some(taken))
    }

    /// When the next keepalive comment is due, on the clock of
    /// `Host::now_ms`; `None` while there is none to send.
    pub fn keepalive_due(&self) -> Option<u64> {
        let inner = self.lock();
        match inner.state.phase() {
            Phase::Started => {
                let salt = self.handle().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                let k = inner.keepalive.as_ref()?;
                Some(k.due(inner.last_write_ms, salt))
            }
            _ => None,
        }
    }

    /// Queues the keepalive comment and writes it. A connection whose queue is
    /// not empty needs none: bytes are on their way already.
    pub fn send_keepalive(self: &Arc<Self>) {
        let Some(host) = &self.host else { return };
        {
            let mut inner = self.lock();
            let Some(bytes) = inner.keepalive.as_ref().map(|k| k.frame().clone()) else {
                return;
            };
            if inner.state.phase() != Phase::Started {
                return;
            }
            inner.last_write_ms = host.now_ms();
            if inner.outbox.is_empty() {
                // An empty queue never refuses.
                let _ = self.push_frame(&mut inner, bytes.len(), |b| b.put_slice(&bytes));
                inner.counters.comments += 1;
            }
        }
        self.flush();
    }

    /// Whether nothing waits to be written, and the phase, of one moment: once
    /// closed, nothing is added.
    pub fn progress(&self) -> (bool, Phase) {
        let inner = self.lock();
        (inner.outbox.is_empty(), inner.state.phase())
    }

    /// Nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.lock().outbox.is_empty()
    }
}
