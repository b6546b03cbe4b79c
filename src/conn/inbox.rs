//! The request body, on its way to the host program.

use super::{Conn, Report};
use crate::core::error::{Error, Result};
use crate::core::limits;
use crate::core::reason::Why;
use crate::core::state::Phase;
use bytes::{BufMut, BytesMut};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// How a request body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    BrokenOff,
}

/// What is wrong with a request body.
#[derive(Clone, Copy)]
pub struct Fault {
    /// For the client.
    pub why: &'static str,
    /// That of the end.
    pub reason: Why,
}

#[derive(Default)]
pub(super) struct Inbox {
    buf: BytesMut,
    received: usize,
    /// Windows of `buf` beyond the first.
    windows: usize,
    pub(super) end: Option<End>,
    pub(super) fault: Option<Fault>,
    told: bool,
    pub(super) pump: Option<Waker>,
}

impl Inbox {
    /// No more comes; `true`: the host program is to be told.
    pub(super) fn break_off(&mut self) -> bool {
        self.finish(End::BrokenOff)
    }

    fn finish(&mut self, end: End) -> bool {
        self.end.is_none() && {
            self.end = Some(end);
            !std::mem::replace(&mut self.told, true)
        }
    }
}

impl Conn {
    /// A request body will come: [`Conn::poll_decision`] says `Stream` only
    /// when it is here in full, as the socket cannot change hands before.
    pub fn expect_body(&self) {
        self.lock().inbox = Some(Box::default());
    }

    /// Waits until the request body may grow; `false`: nobody wants more.
    pub fn poll_body_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.lock();
        if inner.state.phase() == Phase::Closed {
            return Poll::Ready(false);
        }
        // Once the application has chosen, the rest is taken in whole (it is
        // bounded by the server's maximum): a stream waits for it.
        let choosing = inner.state.phase() == Phase::Pending;
        match &mut inner.inbox {
            Some(i) if choosing && i.buf.len() / limits::BODY_WINDOW_BYTES > i.windows => {
                i.pump = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(true),
        }
    }

    /// Lets it grow by another window, though nobody reads it.
    pub fn widen_body(&self) {
        if let Some(inbox) = &mut self.lock().inbox {
            inbox.windows += 1;
        }
    }

    /// Adds request body bytes; `false` when they pass `max`.
    #[must_use]
    pub fn push_body(&self, bytes: &[u8], max: usize) -> bool {
        let tell = {
            let mut inner = self.lock();
            let closed = inner.state.phase() == Phase::Closed;
            let Some(inbox) = inner.inbox.as_mut().filter(|i| i.end.is_none()) else {
                return true;
            };
            inbox.received += bytes.len();
            if inbox.received > max {
                return false;
            }
            if !closed {
                inbox.buf.put_slice(bytes);
            }
            !std::mem::replace(&mut inbox.told, true)
        };
        if tell {
            self.report(Report::Body);
        }
        true
    }

    /// The request body is here in full.
    pub fn finish_body(&self) {
        self.end_body(End::Whole);
    }

    /// The rest of the request body will never come.
    pub fn break_body(&self) {
        self.end_body(End::BrokenOff);
    }

    /// The client has ended its side in the middle of it, or has sent what is
    /// none. An ordinary response still goes out, one not yet chosen too, so
    /// that it does not matter which of the two was first; a stream is over.
    pub fn spoil_body(self: &Arc<Self>, fault: Fault) {
        if let Some(inbox) = &mut self.lock().inbox {
            inbox.fault = Some(fault);
        }
        self.break_body();
        self.end_if_spoilt();
    }

    /// What is wrong with the request body, if that is known.
    pub fn fault(&self) -> Option<Fault> {
        self.lock().fault()
    }

    pub(super) fn end_if_spoilt(&self) {
        let fault = {
            let inner = self.lock();
            inner.fault().filter(|_| inner.is_stream())
        };
        if let Some(fault) = fault {
            self.disconnect(fault.reason.into());
        }
    }

    fn end_body(&self, end: End) {
        let (tell, waker) = {
            let mut inner = self.lock();
            let waker = inner.waker.take();
            let tell = inner.inbox.as_mut().is_some_and(|i| i.finish(end));
            (tell, waker)
        };
        if let Some(w) = waker {
            w.wake();
        }
        if tell {
            self.report(Report::Body);
        }
    }

    /// Takes up to `max` request body bytes; `true`: more may follow. `None`
    /// when there is nothing yet, and [`Report::Body`] will come. Behind the
    /// last byte of a body that broke off: [`Error::BodyIncomplete`].
    pub fn read_body(&self, max: usize) -> Result<Option<(BytesMut, bool)>> {
        let (bytes, more, pump) = {
            let mut inner = self.lock();
            let Some(inbox) = &mut inner.inbox else {
                return Ok(Some((BytesMut::new(), false)));
            };
            match inbox.end {
                None if inbox.buf.is_empty() => {
                    inbox.told = false;
                    return Ok(None);
                }
                Some(End::BrokenOff) if inbox.buf.is_empty() => return Err(Error::BodyIncomplete),
                _ => {}
            }
            let n = inbox.buf.len().min(max);
            let bytes = inbox.buf.split_to(n);
            let more = !(inbox.end == Some(End::Whole) && inbox.buf.is_empty());
            (bytes, more, inbox.pump.take())
        };
        if let Some(w) = pump {
            w.wake();
        }
        Ok(Some((bytes, more)))
    }
}
