//! Ordinary responses, chosen in place of a stream, and the choice itself.

use super::inbox::Fault;
use super::{Conn, Inner, Report};
use crate::core::error::{Error, Failure, Result};
use crate::core::reason::Why;
use crate::core::state::{Phase, Reason};
use crate::wire::Wire;
use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::task::{Context, Poll};

/// The most of a body that the transport gets at a time, bytes: the rest waits
/// where it is counted.
const FRAME: usize = 64 << 10;

/// An ordinary response on its way.
#[derive(Default)]
pub(super) struct Response {
    head: Option<(StatusCode, HeaderMap)>,
    content_length: Option<u64>,
    given: u64,
    /// What the transport has; it may not have sent it.
    taken: u64,
    began: bool,
    complete: bool,
    /// The kernel has all of it.
    gone: bool,
    /// Closing came when all had been given: it ends nothing.
    moot: bool,
    /// It is the server's own.
    refusal: bool,
    /// An event stream: its head does not wait, and a stop ends it.
    stream: bool,
}

/// What the application chose to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// An event stream: take the socket over.
    Stream,
    /// An ordinary response.
    Response(StatusCode, HeaderMap),
    /// The connection closed before anything was sent.
    Gone {
        /// The application died.
        died: bool,
    },
}

/// Header fields as a caller gives them.
pub type Field<'a> = (&'a [u8], &'a [u8]);

pub(super) fn header_map<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).map_err(|_| Error::HeaderName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Error::HeaderValue)?;
        map.append(name, value);
    }
    Ok(map)
}

fn content_length(map: &HeaderMap) -> Result<Option<u64>> {
    let mut values = map.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|v| v.parse().ok());
    match (length, values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Error::ContentLength),
    }
}

fn is_event_stream(map: &HeaderMap) -> bool {
    let kind = map.get(header::CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], |v| v.as_bytes());
    let kind = kind.split(|&b| b == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

pub(super) fn status_code(status: u16) -> Result<StatusCode> {
    match StatusCode::from_u16(status) {
        Ok(s) if (200..600).contains(&status) => Ok(s),
        _ => Err(Error::Status),
    }
}

impl Inner {
    fn is_complete(&self) -> bool {
        self.response.as_ref().is_some_and(|r| r.complete)
    }

    /// Notes that it is closed, which is no reason for the end of what was given in
    /// whole.
    pub(super) fn note_close(&mut self, bodiless: bool) {
        if let Some(r) = &mut self.response {
            let whole = r.content_length == Some(r.given) || (bodiless && r.began);
            r.moot = !r.refusal && (r.complete || (whole && !r.stream));
        }
    }

    /// What was closed in vain ends for another reason.
    pub(super) fn was_moot(&mut self) -> bool {
        let response = self.response.as_mut();
        !self.ended && response.is_some_and(|r| std::mem::take(&mut r.moot))
    }

    /// The client has the application's whole response, however the connection
    /// was closed meanwhile.
    pub(super) fn is_whole(&self) -> bool {
        let whole = |r: &Response| r.gone && !r.refusal && (!r.stream || r.moot);
        self.response.as_deref().is_some_and(whole)
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.inbox.as_ref()?.fault
    }

    /// A stream was chosen, in whatever way.
    pub(super) fn is_stream(&self) -> bool {
        match &self.response {
            Some(r) => r.stream,
            None => self.state.phase() != Phase::Pending,
        }
    }

    /// What waited is dropped: what has gone is not the whole, nor is a status
    /// whose head was the first of it.
    pub(super) fn lose_rest(&mut self, wire: Wire) -> bool {
        if !self.outbox.is_empty() {
            match &mut self.response {
                Some(r) => r.complete = false,
                None if self.writes == 0 && wire != Wire::Events => self.status = 0,
                None => {}
            }
        }
        self.outbox.clear()
    }

    /// The transport has taken something.
    pub(super) fn wrote(&mut self, now_ms: u64) {
        // 0 is for nothing.
        self.writes = self.writes.checked_add(1).unwrap_or(1);
        self.last_write_ms = now_ms;
    }

    pub(super) fn streams(&self) -> bool {
        self.response.as_ref().is_some_and(|r| r.stream)
    }

    /// An event stream sent as an ordinary response ends here, whole, unless a
    /// length was promised.
    pub(super) fn complete_stream(&mut self) {
        if let Some(r) = self.response.as_mut().filter(|r| r.stream) {
            r.complete |= r.content_length.is_none_or(|n| n == r.given);
        }
    }
}

impl Conn {
    /// Chooses an ordinary response. Its body follows by [`Conn::body`].
    pub fn respond<'a>(
        self: &Arc<Self>,
        status: u16,
        fields: impl IntoIterator<Item = Field<'a>>,
    ) -> Result<()> {
        let status = status_code(status)?;
        let mut map = header_map(fields)?;
        // How the body is framed is not the application's.
        map.remove(header::TRANSFER_ENCODING);
        if matches!(status.as_u16(), 204 | 205) {
            // One has none (RFC 9110, 8.6), the other's is 0 (15.3.6).
            map.remove(header::CONTENT_LENGTH);
        }
        let content_length = content_length(&map)?;
        let stream = is_event_stream(&map) && !is_bodiless(status.as_u16());
        self.host.as_ref().ok_or(Error::NotHosted)?;
        {
            let mut inner = self.lock();
            if self.framing.fixed {
                return Err(Error::AlreadyStarted);
            }
            inner.state.respond()?;
            inner.status = status.as_u16();
            inner.response = Some(Box::new(Response {
                // It goes with the first of the body, which is framed by its
                // length when it is the whole; that of a stream goes at once.
                head: Some((status, map)),
                began: stream,
                stream,
                content_length,
                ..Response::default()
            }));
        }
        // The request body may be wanted in whole now.
        self.wake_tasks();
        if stream {
            self.end_if_late();
        }
        Ok(())
    }

    /// An event stream is sent as an ordinary response.
    pub fn streams(&self) -> bool {
        self.lock().streams()
    }

    /// The server has answered in place of the application.
    pub fn answered(&self, status: StatusCode, bytes: u64) {
        let mut inner = self.lock();
        inner.status = status.as_u16();
        inner.bytes_sent = if self.framing.head { 0 } else { bytes };
        inner.refused = inner.fault().is_some();
    }

    /// Answers for the application, if it has not chosen, and closes: by the
    /// server, which tells the host program. `true` if this call did.
    pub fn refuse(&self, status: StatusCode, map: HeaderMap, text: &[u8], reason: Reason) -> bool {
        {
            let inner = &mut *self.lock();
            if self.framing.fixed || inner.state.respond().is_err() {
                return false;
            }
            inner.status = status.as_u16();
            if !self.is_bodiless(inner) {
                inner.outbox.append(text.len(), |b| b.put_slice(text));
            }
            inner.response = Some(Box::new(Response {
                head: Some((status, map)),
                began: true,
                complete: true,
                refusal: true,
                ..Response::default()
            }));
            inner.state.close(Some(reason));
        }
        self.report(Report::Closed);
        self.wake_all();
        true
    }

    /// Queues body bytes of an ordinary response; `more` false ends it. The
    /// result is that of [`Conn::send`].
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NoResponse`], [`Error::QueueOverflow`], or
    /// [`Error::ContentLength`], with both numbers.
    pub fn body(&self, bytes: &[u8], more: bool) -> std::result::Result<bool, Failure> {
        let (waker, high) = {
            let inner = &mut *self.lock();
            let bodiless = self.is_bodiless(inner);
            let response = match (inner.state.phase(), &mut inner.response) {
                (Phase::Responding, Some(r)) if !r.complete => r,
                (Phase::Closed, _) => return Err(Error::Closed.into()),
                _ => return Err(Error::NoResponse.into()),
            };
            if !bodiless {
                let given = response.given + bytes.len() as u64;
                // Too much would be read as the next response; too little
                // would have the client wait.
                let fits = |n| given == n || (more && given < n);
                // What none was said for fits.
                let n = response.content_length.unwrap_or(given);
                if !fits(n) {
                    let numbers = format!("it is {n}, the body has {given} bytes");
                    return Err(Failure::new(Error::ContentLength, numbers));
                }
                inner.outbox.push(bytes.len(), |b| b.put_slice(bytes))?;
                response.given = given;
            }
            response.began = true;
            response.complete = !more;
            (inner.waker.take(), inner.outbox.is_high())
        };
        if let Some(w) = waker {
            w.wake();
        }
        Ok(high)
    }

    /// The next piece of the ordinary response's body; `None` at its end.
    pub fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let (bytes, drained) = {
            let mut inner = self.lock();
            if inner.outbox.is_empty() {
                if inner.is_complete() || inner.state.phase() == Phase::Closed {
                    return Poll::Ready(None);
                }
                inner.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = inner.outbox.take(FRAME);
            if let Some(response) = &mut inner.response {
                response.taken += taken.0.len() as u64;
            }
            taken
        };
        if drained {
            self.drained();
        }
        Poll::Ready(Some(bytes))
    }

    /// Bytes of the response's body that are left, if that is known.
    pub fn body_left(&self) -> Option<u64> {
        let inner = self.lock();
        // A stream is framed the same however much of it was there at first.
        let known = inner.is_complete() && (!inner.streams() || inner.outbox.is_empty());
        known.then_some(inner.outbox.len() as u64)
    }

    /// The kernel has taken so many more bytes of the ordinary response, not
    /// counting its head.
    pub fn wrote(&self, n: usize) {
        self.lock().bytes_sent += n as u64;
    }

    /// The kernel has it all, or will never take more. `begun`: some of its
    /// head at least.
    pub fn written(&self, all: bool, begun: bool) {
        let mut inner = self.lock();
        let taken = inner.response.as_mut().map_or(0, |r| {
            r.gone = all;
            r.taken
        });
        // Of a body in chunks, their sizes were counted.
        inner.bytes_sent = match all {
            true => taken,
            false => inner.bytes_sent.min(taken),
        };
        if !begun {
            inner.status = 0;
        }
    }

    /// Whether the transport has the whole ordinary response, though the
    /// application may still be giving the end of its body.
    pub fn is_answered(&self) -> bool {
        let inner = self.lock();
        let ended = inner.is_complete() && inner.outbox.is_empty();
        let whole = |r: &Response| r.content_length == Some(r.taken);
        let counted = inner.response.as_deref().is_some_and(whole);
        self.is_bodiless(&inner) || ended || counted
    }

    /// The response has no body (RFC 9110), whatever is given.
    pub(super) fn is_bodiless(&self, inner: &Inner) -> bool {
        self.framing.head || is_bodiless(inner.status)
    }

    /// An ordinary response that ended before its body did.
    pub fn is_cut(&self) -> bool {
        !self.lock().is_complete()
    }

    /// Waits for the application's choice.
    pub fn poll_decision(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut inner = self.lock();
        let received = inner.inbox.as_ref().is_none_or(|i| i.end.is_some());
        let died = inner.aborted || inner.state.reason() == Some(Why::ServerError.word());
        if inner.fault().is_some() && inner.is_stream() {
            return Poll::Ready(Decision::Gone { died });
        }
        // The head waits for the first of the body, and goes when all of it can.
        let lost = inner.severed && !inner.is_complete();
        let response = inner.response.as_mut().filter(|r| r.began && !lost);
        if let Some((status, map)) = response.and_then(|r| r.head.take()) {
            return Poll::Ready(Decision::Response(status, map));
        }
        match inner.state.phase() {
            Phase::Closed if inner.outbox.is_empty() => {
                return Poll::Ready(Decision::Gone { died });
            }
            // Closed with output: a whole stream was queued before we looked.
            Phase::Started | Phase::Closed if received => return Poll::Ready(Decision::Stream),
            _ => {}
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
