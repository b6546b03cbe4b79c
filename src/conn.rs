//! A live connection: state, output queue, keepalive and request body behind
//! one lock.
//!
//! A *detached* connection keeps state for a host program that also has an
//! output queue of its own. A *hosted* one has its [`Host`] told what changed;
//! its output goes to its [`Sink`], a socket, or is pulled by the host program
//! ([`Framing::pull`]).

use crate::error::{Error, Result};
use crate::frame::{self, Event};
use crate::handle::{self, Table};
use crate::keepalive::Keepalive;
use crate::limits;
use crate::outbox::{Marks, Outbox};
use crate::state::{Phase, Reason, State};
use crate::sys::PerProcess;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a connection tells the server it belongs to. Called without the
/// connection's lock held, from any thread.
pub trait Host: Send + Sync {
    /// Output waits and nobody has been told since the last flush.
    fn output(&self, conn: &Arc<Conn>);
    /// The keepalive setting changed, or the stream with one has begun.
    fn keepalive(&self, conn: &Arc<Conn>);
    /// The clock of keepalives, milliseconds.
    fn now_ms(&self) -> u64;
    /// Something that the host program wants to know.
    fn report(&self, conn: &Conn, what: Report);
}

/// What the host program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Request body bytes, or its end, can be read.
    Body,
    /// The output queue has fallen below the low mark.
    Drained,
    /// The connection closed, and not by the host program.
    Closed,
    /// The transport has no more to do for this request.
    Ended,
    /// Output can be pulled.
    Output,
}

/// A socket that takes bytes without waiting.
pub trait Sink: Send + Sync {
    /// Writes what it can; `WouldBlock` when it can take nothing.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// The queue could not be emptied, or the connection closed: look again.
    fn attend(&self);
}

/// What the application chose to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// An event stream: take the socket over.
    Stream,
    /// An ordinary response.
    Response(StatusCode, HeaderMap),
    /// The connection closed before anything was chosen.
    Gone,
}

/// Facts about a connection that shape its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framing {
    /// A stream is asked for (PAGI scope type `sse`).
    pub sse: bool,
    /// HTTP/1.1: the stream is sent in chunks.
    pub chunked: bool,
    /// HEAD: the answer has no body.
    pub head: bool,
    /// Events alone: somebody else writes the response head.
    pub bare: bool,
    /// The host program takes the output with [`Conn::pull`].
    pub pull: bool,
}

/// What was queued on a connection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events.
    pub events: u64,
    /// Comments, keepalives among them.
    pub comments: u64,
    /// Sends that the full queue refused.
    pub refused: u64,
}

#[derive(Default)]
struct Inbox {
    buf: BytesMut,
    received: usize,
    complete: bool,
    told: bool,
    pump: Option<Waker>,
}

#[derive(Default)]
struct Inner {
    state: State,
    outbox: Outbox,
    sink: Option<Arc<dyn Sink>>,
    keepalive: Option<Keepalive>,
    last_write_ms: u64,
    head: Option<Box<(StatusCode, HeaderMap)>>,
    content_length: Option<u64>,
    status: u16,
    bytes_sent: u64,
    counters: Counters,
    failure: Option<Box<str>>,
    body_complete: bool,
    told_output: bool,
    ended: bool,
    waker: Option<Waker>,
    inbox: Option<Box<Inbox>>,
}

/// See the module. All methods may be called from any thread.
pub struct Conn {
    host: Option<Arc<dyn Host>>,
    framing: Framing,
    handle: AtomicU64,
    inner: Mutex<Inner>,
}

/// This process's connections by handle.
pub fn table() -> &'static Table<Arc<Conn>> {
    static TABLE: PerProcess<Table<Arc<Conn>>> = PerProcess::new(|p| Table::new(handle::CONN, p));
    TABLE.get()
}

/// Header fields as a caller gives them.
pub type Field<'a> = (&'a [u8], &'a [u8]);

fn header_map<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).map_err(|_| Error::HeaderName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Error::HeaderValue)?;
        map.append(name, value);
    }
    Ok(map)
}

fn status_code(status: u16) -> Result<StatusCode> {
    match StatusCode::from_u16(status) {
        Ok(s) if (200..600).contains(&status) => Ok(s),
        _ => Err(Error::Status),
    }
}

impl Conn {
    /// A connection whose host does the I/O.
    pub fn detached() -> Arc<Self> {
        Self::new(None, Framing::default())
    }

    /// A connection of a server of ours.
    pub fn hosted(host: Arc<dyn Host>, framing: Framing) -> Arc<Self> {
        Self::new(Some(host), framing)
    }

    fn new(host: Option<Arc<dyn Host>>, framing: Framing) -> Arc<Self> {
        Arc::new(Conn {
            host,
            framing,
            handle: AtomicU64::new(0),
            inner: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a holder leaves a usable value: every change is one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, what: Report) {
        if let Some(host) = &self.host {
            host.report(self, what);
        }
    }

    /// The handle that the table gave this connection; 0 before.
    pub fn handle(&self) -> u64 {
        self.handle.load(Ordering::Relaxed)
    }

    /// Tells the connection its handle, once.
    pub fn set_handle(&self, handle: u64) {
        self.handle.store(handle, Ordering::Relaxed);
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.lock().state.phase()
    }

    /// Why it closed, if it did and a reason is known.
    pub fn reason(&self) -> Option<String> {
        self.lock().state.reason().map(str::to_owned)
    }

    /// Bytes queued, not yet taken by the kernel.
    pub fn buffered(&self) -> usize {
        self.lock().outbox.len()
    }

    /// What was queued so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Marks and limit of the output queue.
    pub fn marks(&self) -> Marks {
        self.lock().outbox.marks()
    }

    /// Sets them; what is queued stays.
    pub fn set_marks(&self, marks: Marks) -> Result<()> {
        self.host.as_ref().ok_or(Error::NotHosted)?;
        self.lock().outbox.set_marks(marks)
    }

    /// The last failure that the host program was told of, in words.
    pub fn failure(&self) -> Option<Box<str>> {
        self.lock().failure.clone()
    }

    /// Keeps it.
    pub fn set_failure(&self, text: Box<str>) {
        self.lock().failure = Some(text);
    }

    /// Status sent (0: none), body bytes sent.
    pub fn totals(&self) -> (u16, u64) {
        let inner = self.lock();
        (inner.status, inner.bytes_sent)
    }

    // ---- what the application does

    /// Begins the stream. `true` if this call did; `false` if it had begun.
    pub fn start<'a>(
        self: &Arc<Self>,
        status: u16,
        fields: impl IntoIterator<Item = Field<'a>>,
    ) -> Result<bool> {
        let status = status_code(status)?;
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
        Ok(moved)
    }

    fn start_locked(&self, inner: &mut Inner, status: StatusCode, map: HeaderMap) -> Result<bool> {
        if !inner.state.start()? {
            return Ok(false);
        }
        if let Some(host) = &self.host {
            inner.status = status.as_u16();
            inner.last_write_ms = host.now_ms();
            if !self.framing.bare {
                let head = self.stream_head(status, map);
                inner.outbox.append(head.len(), |b| b.put_slice(&head));
            }
        }
        Ok(true)
    }

    fn after_start(self: &Arc<Self>) {
        let waker = self.lock().waker.take();
        if let Some(w) = waker {
            w.wake();
        }
        if let Some(host) = &self.host {
            host.keepalive(self);
        }
    }

    /// The response head of a stream. The fields that frame the message are
    /// ours (RFC 9112): an application's own are left out.
    fn stream_head(&self, status: StatusCode, mut map: HeaderMap) -> Vec<u8> {
        for ours in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
        ] {
            map.remove(ours);
        }
        let defaults = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
            // Asks nginx and others not to hold events back.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        for (name, value) in defaults {
            map.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if !map.contains_key(header::DATE) {
            let now = httpdate::fmt_http_date(std::time::SystemTime::now());
            if let Ok(now) = HeaderValue::from_str(&now) {
                map.insert(header::DATE, now);
            }
        }
        let mut head = Vec::with_capacity(256);
        let reason = status.canonical_reason().unwrap_or("");
        head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in &map {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if self.framing.chunked {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        head.extend_from_slice(b"connection: close\r\n\r\n");
        head
    }

    /// For a host that does the I/O: may a send go out? `true` when the stream
    /// starts with this one.
    pub fn admit(&self) -> Result<bool> {
        self.lock().state.start()
    }

    /// Queues an event; starts the stream if need be. `true` when the queue is
    /// above its high mark: the sender should wait for [`Report::Drained`].
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
        let (started, high, urgent, tell) = {
            let mut inner = self.lock();
            let started = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new())?;
            let pushed = self.push_frame(&mut inner, len, write);
            match pushed {
                Ok(()) => count(&mut inner.counters),
                Err(_) => inner.counters.refused += 1,
            }
            if !started {
                pushed?;
            }
            let urgent = !self.framing.pull && inner.outbox.len() >= limits::FLUSH_BYTES;
            let tell = !urgent && !std::mem::replace(&mut inner.told_output, true);
            (started, inner.outbox.is_high(), urgent, tell)
        };
        if started {
            self.after_start();
        }
        if urgent {
            self.flush();
            return Ok(high && self.lock().outbox.is_high());
        }
        if tell {
            host.output(self);
        }
        Ok(high)
    }

    fn push_frame(
        &self,
        inner: &mut Inner,
        len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<()> {
        if self.framing.head || len == 0 {
            return Ok(());
        }
        if !self.framing.chunked {
            return inner.outbox.push(len, write);
        }
        // One chunk per frame: 20 bytes hold any size line and its end.
        inner.outbox.push(len + 20, |b| {
            put_chunk_size(b, len);
            write(b);
            b.put_slice(b"\r\n");
        })
    }

    /// Sets or (0) ends the keepalive. Never starts the stream.
    pub fn set_keepalive(self: &Arc<Self>, seconds: f64, comment: &str) -> Result<()> {
        let setting = Keepalive::new(seconds, comment)?;
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

    /// Closes by the application: what is queued is still sent. `true` if this
    /// call closed it. A stream that had not begun is answered 200 and empty.
    pub fn close(self: &Arc<Self>, reason: Option<Reason>) -> bool {
        self.end(reason, false)
    }

    /// Closes by the server, in order: as [`Conn::close`], and the host
    /// program is told.
    pub fn shut_down(self: &Arc<Self>, reason: Reason) -> bool {
        self.end(Some(reason), true)
    }

    fn end(self: &Arc<Self>, reason: Option<Reason>, tell: bool) -> bool {
        {
            let mut inner = self.lock();
            let phase = inner.state.phase();
            if phase == Phase::Pending && self.host.is_some() {
                // Cannot fail: the phase was just seen.
                let _ = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new());
            }
            if !inner.state.close(reason) {
                return false;
            }
            if phase != Phase::Responding && self.framing.chunked && !self.framing.head {
                inner.outbox.append(5, |b| b.put_slice(b"0\r\n\r\n"));
            }
        }
        if tell {
            self.report(Report::Closed);
        }
        self.wake_all();
        self.flush();
        true
    }

    /// The host program gives the connection back: as [`Conn::close`], but
    /// output that only it could have pulled is dropped.
    pub fn release(self: &Arc<Self>) {
        if self.framing.pull {
            // Told already, as it were.
            self.lock().told_output = true;
        }
        self.close(Some("app_closed".into()));
        if self.framing.pull {
            self.transport_ended();
        }
    }

    /// The host program says that the client has gone: as
    /// [`Conn::disconnect`], and what it would have pulled is over with.
    pub fn abandon(self: &Arc<Self>, reason: Reason) -> bool {
        let closed = self.disconnect(reason);
        if self.framing.pull {
            self.transport_ended();
        }
        closed
    }

    /// The other side has gone, or the host says so: nothing more can be sent.
    /// `true` if this call closed it.
    pub fn disconnect(&self, reason: Reason) -> bool {
        let closed = {
            let mut inner = self.lock();
            inner.outbox.take();
            inner.state.close(Some(reason))
        };
        if closed {
            self.report(Report::Closed);
            self.wake_all();
        }
        closed
    }

    fn wake_all(&self) {
        let (waker, pump, sink) = {
            let mut inner = self.lock();
            let pump = inner.inbox.as_mut().and_then(|i| i.pump.take());
            (inner.waker.take(), pump, inner.sink.clone())
        };
        for w in [waker, pump].into_iter().flatten() {
            w.wake();
        }
        if let Some(s) = sink {
            s.attend();
        }
    }

    // ---- ordinary responses

    /// Chooses an ordinary response. Its body follows by [`Conn::body`].
    pub fn respond<'a>(
        self: &Arc<Self>,
        status: u16,
        fields: impl IntoIterator<Item = Field<'a>>,
    ) -> Result<()> {
        let status = status_code(status)?;
        let map = header_map(fields)?;
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        {
            let mut inner = self.lock();
            inner.state.respond()?;
            inner.status = status.as_u16();
            inner.content_length = map
                .get(header::CONTENT_LENGTH)
                .and_then(|v| v.to_str().ok()?.parse().ok());
            inner.head = Some(Box::new((status, map)));
        }
        // Not woken at once: a body that comes in the same turn is framed by
        // its length.
        host.output(self);
        Ok(())
    }

    /// Queues body bytes of an ordinary response; `more` false ends it. The
    /// result is that of [`Conn::send`].
    pub fn body(&self, bytes: &[u8], more: bool) -> Result<bool> {
        let (waker, high) = {
            let mut inner = self.lock();
            match inner.state.phase() {
                Phase::Responding if !inner.body_complete => {}
                Phase::Closed => return Err(Error::Closed),
                _ => return Err(Error::NoResponse),
            }
            if !self.framing.head {
                inner.outbox.push(bytes.len(), |b| b.put_slice(bytes))?;
            }
            inner.body_complete = !more;
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
                if inner.body_complete || inner.state.phase() == Phase::Closed {
                    return Poll::Ready(None);
                }
                inner.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = inner.outbox.take();
            inner.bytes_sent += taken.0.len() as u64;
            taken
        };
        if drained {
            self.report(Report::Drained);
        }
        Poll::Ready(Some(bytes))
    }

    /// Bytes of the response's body that are left, if that is known.
    pub fn body_left(&self) -> Option<u64> {
        let inner = self.lock();
        inner.body_complete.then_some(inner.outbox.len() as u64)
    }

    /// Whether the client has the whole ordinary response, though the
    /// application may still be giving the end of its body.
    pub fn is_answered(&self) -> bool {
        let inner = self.lock();
        let bodiless = self.framing.head || matches!(inner.status, 204 | 304);
        let ended = inner.body_complete && inner.outbox.is_empty();
        bodiless || ended || inner.content_length == Some(inner.bytes_sent)
    }

    /// An ordinary response that ended before its body did.
    pub fn is_cut(&self) -> bool {
        !self.lock().body_complete
    }

    /// Facts about the request.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    // ---- request body

    /// A request body will come: [`Conn::poll_decision`] says `Stream` only
    /// when it is here in full, as the socket cannot change hands before.
    pub fn expect_body(&self) {
        self.lock().inbox = Some(Box::default());
    }

    /// Waits until the request body may grow.
    pub fn poll_body_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        // Once the application has chosen, the rest is taken in whole (it is
        // bounded by the server's maximum): a stream waits for it.
        let choosing = inner.state.phase() == Phase::Pending;
        match &mut inner.inbox {
            Some(i) if choosing && i.buf.len() >= limits::BODY_WINDOW_BYTES => {
                i.pump = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Adds request body bytes; `false` when they pass `max`.
    #[must_use]
    pub fn push_body(&self, bytes: &[u8], max: usize) -> bool {
        let tell = {
            let mut inner = self.lock();
            let closed = inner.state.phase() == Phase::Closed;
            let Some(inbox) = &mut inner.inbox else {
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
        let (tell, waker) = {
            let mut inner = self.lock();
            let waker = inner.waker.take();
            let tell = inner.inbox.as_mut().is_some_and(|i| {
                i.complete = true;
                !std::mem::replace(&mut i.told, true)
            });
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
    /// when there is nothing yet, and [`Report::Body`] will come.
    pub fn read_body(&self, max: usize) -> Option<(BytesMut, bool)> {
        let (bytes, more, pump) = {
            let mut inner = self.lock();
            let Some(inbox) = &mut inner.inbox else {
                return Some((BytesMut::new(), false));
            };
            if inbox.buf.is_empty() && !inbox.complete {
                inbox.told = false;
                return None;
            }
            let n = inbox.buf.len().min(max);
            let bytes = inbox.buf.split_to(n);
            let more = !(inbox.complete && inbox.buf.is_empty());
            (bytes, more, inbox.pump.take())
        };
        if let Some(w) = pump {
            w.wake();
        }
        Some((bytes, more))
    }

    // ---- what the server does

    /// Waits for the application's choice.
    pub fn poll_decision(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut inner = self.lock();
        let received = inner.inbox.as_ref().is_none_or(|i| i.complete);
        match inner.state.phase() {
            Phase::Responding | Phase::Closed if inner.head.is_some() => {
                let (status, map) = *inner.head.take().unwrap_or_default();
                return Poll::Ready(Decision::Response(status, map));
            }
            Phase::Closed if inner.outbox.is_empty() => return Poll::Ready(Decision::Gone),
            // Closed with output: a whole stream was queued before we looked.
            Phase::Started | Phase::Closed if received => return Poll::Ready(Decision::Stream),
            _ => {}
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Hands the socket over; what is queued is written at once.
    pub fn attach(self: &Arc<Self>, sink: Arc<dyn Sink>) {
        self.lock().sink = Some(sink);
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
                let waker = inner.waker.take();
                drop(inner);
                return waker.into_iter().for_each(Waker::wake);
            };
            while !inner.outbox.is_empty() {
                match sink.try_write(inner.outbox.waiting()) {
                    Ok(n) => {
                        inner.bytes_sent += n as u64;
                        inner.last_write_ms = host.now_ms();
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
            self.disconnect(reason_of(&e, "write_error"));
            self.wake_all();
        }
        if drained {
            self.report(Report::Drained);
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
                let waiting = inner.outbox.waiting();
                let n = waiting.len().min(max - taken);
                put(&waiting[..n]);
                drained |= inner.outbox.consume(n);
                taken += n;
            }
            if taken > 0 {
                inner.bytes_sent += taken as u64;
                inner.last_write_ms = host.now_ms();
            }
            // While something is left, the host program need not be told.
            inner.told_output = !inner.outbox.is_empty();
            inner.outbox.is_empty() && inner.state.phase() == Phase::Closed
        };
        if drained {
            self.report(Report::Drained);
        }
        if over {
            self.transport_ended();
        }
        Ok((taken > 0 || !over).then_some(taken))
    }

    /// When the next keepalive comment is due, on the clock of
    /// [`Host::now_ms`]; `None` while there is none to send.
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

    /// Nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.lock().outbox.is_empty()
    }

    /// The transport is done with this request: says so, once.
    pub fn transport_ended(self: &Arc<Self>) {
        {
            let mut inner = self.lock();
            inner.sink = None;
            // An ordinary response that went out in full has no reason.
            inner.state.close(None);
            if std::mem::replace(&mut inner.ended, true) {
                return;
            }
        }
        if let Some(host) = &self.host {
            host.keepalive(self);
        }
        self.report(Report::Ended);
    }
}

fn put_chunk_size(b: &mut BytesMut, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for i in (0..digits).rev() {
        b.put_u8(HEX[len >> (i * 4) & 15]);
    }
    b.put_slice(b"\r\n");
}

/// The reason for an I/O error: a reset or a closed pipe is the client's
/// leaving, a retransmission that timed out is its silence.
pub fn reason_of(e: &io::Error, other: &'static str) -> Reason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    match e.kind() {
        BrokenPipe | ConnectionReset | ConnectionAborted => "client_closed".into(),
        TimedOut => "client_timeout".into(),
        _ => other.into(),
    }
}
