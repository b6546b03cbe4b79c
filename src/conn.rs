//! A live connection: state, output queue, keepalive and request body behind
//! one lock.
//!
//! A *detached* connection keeps state for a host program that also has an
//! output queue of its own. A *hosted* one has its [`Host`] told what changed;
//! its output goes to its [`Sink`], a socket, or is pulled by the host program
//! ([`Framing::pull`]).

use crate::chunk::{self, Chunk};
use crate::error::{Error, Failure, Result};
use crate::frame::{self, Event};
use crate::handle::{self, Table};
use crate::keepalive::Keepalive;
use crate::limits;
use crate::outbox::{Full, Marks, Outbox, Policy};
use crate::ring::Entry;
use crate::state::{Phase, Reason, State};
use crate::sys::PerProcess;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::any::Any;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// Pieces of the queue that one write takes.
const SLICES: usize = 64;

/// What a connection tells the server it belongs to. Called without the
/// connection's lock held, from any thread.
pub trait Host: Send + Sync {
    /// Output waits and nobody has been told since the last flush.
    fn output(&self, conn: &Arc<Conn>);
    /// The keepalive setting changed, or the stream with one has begun.
    fn keepalive(&self, conn: &Arc<Conn>);
    /// The clock of keepalives, milliseconds.
    fn now_ms(&self) -> u64;
    /// A hub that was asked is ready for more.
    fn ready(&self, hub: u64);
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
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// The queue could not be emptied, or the connection closed: look again.
    fn attend(&self);
}

/// Somebody else whom a connection's queue and end concern. Called without the
/// connection's lock held.
pub trait Watch: Send + Sync {
    /// The queue has fallen to the low mark.
    fn drained(&self);
    /// The connection closed.
    fn closed(&self);
}

/// Published events on their way to one connection.
pub struct Batch<'a> {
    /// Each.
    pub entries: &'a [Arc<Entry>],
    /// All of them.
    pub joined: &'a Chunk,
    /// The time, on the clock of [`Host::now_ms`].
    pub now_ms: u64,
}

/// What became of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It was written or queued.
    Taken {
        /// The queue is above its high mark.
        high: bool,
        /// Events that the policy left out.
        dropped: u64,
    },
    /// The connection is closed, by this perhaps (reason `queue_overflow`).
    Closed,
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
    /// Always a stream: an ordinary response cannot be chosen.
    pub fixed: bool,
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
    body_given: u64,
    body_began: bool,
    status: u16,
    bytes_sent: u64,
    counters: Counters,
    failure: Option<Failure>,
    body_complete: bool,
    told_output: bool,
    ended: bool,
    waker: Option<Waker>,
    inbox: Option<Box<Inbox>>,
    watchers: Vec<Weak<dyn Watch>>,
}

/// See the module. All methods may be called from any thread.
pub struct Conn {
    host: Option<Arc<dyn Host>>,
    framing: Framing,
    handle: AtomicU64,
    place: OnceLock<Arc<dyn Any + Send + Sync>>,
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
            place: OnceLock::new(),
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

    /// What it belongs to.
    pub fn host(&self) -> Option<&Arc<dyn Host>> {
        self.host.as_ref()
    }

    /// The handle that the table gave this connection; 0 before.
    pub fn handle(&self) -> u64 {
        self.handle.load(Ordering::Relaxed)
    }

    /// Gives it something to keep while it lives: its place among the most
    /// connections that a server may have.
    pub fn hold(&self, place: Arc<dyn Any + Send + Sync>) {
        // A second one is none of ours to keep.
        let _ = self.place.set(place);
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

    /// The last failure that the host program was told of.
    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Keeps it.
    pub fn set_failure(&self, failure: Failure) {
        self.lock().failure = Some(failure);
    }

    /// The queue is above its high mark, and has not drained since.
    pub fn is_high(&self) -> bool {
        self.lock().outbox.is_high()
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
        self.wake_tasks();
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
        // One chunk per frame.
        inner.outbox.push(len + chunk::OVERHEAD, |b| {
            chunk::put_size(b, len);
            write(b);
            b.put_slice(b"\r\n");
        })
    }

    // ---- what a hub does

    /// Tells somebody else, too, of drains and the end.
    pub fn watch(&self, watcher: Weak<dyn Watch>) {
        let mut inner = self.lock();
        inner.watchers.retain(|w| w.strong_count() > 0);
        inner.watchers.push(watcher);
    }

    fn each_watcher(&self, tell: impl Fn(&dyn Watch)) {
        let watchers = self.lock().watchers.clone();
        watchers
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|w| tell(&*w));
    }

    fn drained(&self) {
        self.each_watcher(|w| w.drained());
        self.report(Report::Drained);
    }

    /// Queues events from before, whatever their size; starts the stream if
    /// need be. Writes nothing yet, so a hub may call it with its lock held.
    pub fn replay(self: &Arc<Self>, chunks: &[&Chunk], events: u64) -> Result<()> {
        let host = self.host.as_ref().ok_or(Error::NotHosted)?;
        let started = {
            let mut inner = self.lock();
            let started = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new())?;
            if !self.framing.head {
                for chunk in chunks {
                    let wire = chunk.wire(self.framing.chunked);
                    inner.outbox.append_shared(wire);
                }
                inner.counters.events += events;
            }
            inner.told_output = true;
            started
        };
        if started {
            self.after_start();
        }
        host.output(self);
        Ok(())
    }

    /// Takes published events: written at once if nothing waits, else queued
    /// as the policy says.
    pub fn publish(self: &Arc<Self>, batch: &Batch<'_>, policy: &Policy) -> Published {
        let Some(host) = &self.host else {
            return Published::Closed;
        };
        let (outcome, high, tell) = {
            let mut inner = self.lock();
            if inner.state.phase() != Phase::Started {
                return Published::Closed;
            }
            if self.framing.head {
                return Published::Taken {
                    high: false,
                    dropped: 0,
                };
            }
            inner.counters.events += batch.entries.len() as u64;
            let outcome = self.publish_locked(&mut inner, batch, policy);
            let news = self.framing.pull && !std::mem::replace(&mut inner.told_output, true);
            (outcome, inner.outbox.is_high(), news)
        };
        match outcome {
            Ok(dropped) => {
                if tell {
                    host.output(self);
                }
                Published::Taken { high, dropped }
            }
            Err(reason) => {
                self.disconnect(reason);
                Published::Closed
            }
        }
    }

    fn publish_locked(
        &self,
        inner: &mut Inner,
        batch: &Batch<'_>,
        policy: &Policy,
    ) -> std::result::Result<u64, Reason> {
        let joined = batch.joined.wire(self.framing.chunked);
        if let (true, Some(sink)) = (inner.outbox.is_empty(), inner.sink.clone()) {
            match sink.try_write(&[IoSlice::new(&joined)]) {
                Ok(n) => {
                    inner.bytes_sent += n as u64;
                    inner.last_write_ms = batch.now_ms;
                    if n < joined.len() {
                        inner.outbox.append_shared(joined.slice(n..));
                        sink.attend();
                    }
                    return Ok(0);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => sink.attend(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => sink.attend(),
                Err(e) => return Err(reason_of(&e, "write_error")),
            }
        }
        let overflow = |_| Reason::from("queue_overflow");
        if policy.full == Full::Disconnect {
            let events = batch.entries.len();
            let queued = inner.outbox.publish_joined(joined, events, policy);
            return queued.map(|()| 0).map_err(overflow);
        }
        let mut dropped = 0;
        for entry in batch.entries {
            let wire = entry.chunk().wire(self.framing.chunked);
            dropped += inner
                .outbox
                .publish(entry, wire, policy)
                .map_err(overflow)?;
        }
        Ok(dropped)
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
            // An ordinary request is cut off instead.
            let stream = self.framing.sse || self.framing.bare;
            if phase == Phase::Pending && self.host.is_some() && stream {
                // Cannot fail: the phase was just seen.
                let _ = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new());
            }
            if !inner.state.close(reason) {
                return false;
            }
            let streamed = phase == Phase::Started || (phase == Phase::Pending && stream);
            if streamed && self.framing.chunked && !self.framing.head {
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
        let (closed, drained) = {
            let mut inner = self.lock();
            let drained = inner.outbox.clear();
            (inner.state.close(Some(reason)), drained)
        };
        if drained {
            self.drained();
        }
        if closed {
            self.report(Report::Closed);
            self.wake_all();
        }
        closed
    }

    /// Has the tasks that wait for a decision, for output or for room in the
    /// inbox look again.
    fn wake_tasks(&self) {
        let (waker, pump) = {
            let mut inner = self.lock();
            let pump = inner.inbox.as_mut().and_then(|i| i.pump.take());
            (inner.waker.take(), pump)
        };
        for w in [waker, pump].into_iter().flatten() {
            w.wake();
        }
    }

    fn wake_all(&self) {
        self.wake_tasks();
        let sink = self.lock().sink.clone();
        self.each_watcher(|w| w.closed());
        if let Some(s) = sink {
            s.attend();
        }
    }

    // ---- ordinary responses

    /// Chooses an ordinary response. Its body follows by [`Conn::body`].
    pub fn respond<'a>(
        &self,
        status: u16,
        fields: impl IntoIterator<Item = Field<'a>>,
    ) -> Result<()> {
        let status = status_code(status)?;
        let mut map = header_map(fields)?;
        // How the body is framed is not the application's.
        map.remove(header::TRANSFER_ENCODING);
        let content_length = content_length(&map)?;
        self.host.as_ref().ok_or(Error::NotHosted)?;
        {
            let mut inner = self.lock();
            if self.framing.fixed {
                return Err(Error::AlreadyStarted);
            }
            inner.state.respond()?;
            inner.status = status.as_u16();
            inner.content_length = content_length;
            // It goes with the first of the body, which is framed by its
            // length when it is the whole.
            inner.head = Some(Box::new((status, map)));
        }
        // The request body may be wanted in whole now.
        self.wake_tasks();
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
            if !self.is_bodiless(&inner) {
                let given = inner.body_given + bytes.len() as u64;
                // Too much would be read as the next response; too little
                // would have the client wait.
                let fits = |n| given == n || (more && given < n);
                if !inner.content_length.is_none_or(fits) {
                    return Err(Error::ContentLength);
                }
                inner.outbox.push(bytes.len(), |b| b.put_slice(bytes))?;
                inner.body_given = given;
            }
            inner.body_began = true;
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
            self.drained();
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
        let ended = inner.body_complete && inner.outbox.is_empty();
        self.is_bodiless(&inner) || ended || inner.content_length == Some(inner.bytes_sent)
    }

    /// The response has no body (RFC 9110), whatever is given.
    fn is_bodiless(&self, inner: &Inner) -> bool {
        self.framing.head || matches!(inner.status, 204 | 304)
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
            Some(i) if choosing && i.buf.len() >= limits::BODY_WINDOW_BYTES => {
                i.pump = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(true),
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
            // The head waits for the first of the body.
            Phase::Responding | Phase::Closed if inner.head.is_some() && inner.body_began => {
                let (status, map) = *inner.head.take().unwrap_or_default();
                return Poll::Ready(Decision::Response(status, map));
            }
            Phase::Closed if inner.outbox.is_empty() => {
                let died = inner.state.reason() == Some("server_error");
                return Poll::Ready(Decision::Gone { died });
            }
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
                drop(inner);
                return self.wake_tasks();
            };
            while !inner.outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let n = inner.outbox.waiting(&mut slices);
                match sink.try_write(&slices[..n]) {
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
            self.drained();
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
        self.wake_tasks();
        if let Some(host) = &self.host {
            host.keepalive(self);
        }
        self.report(Report::Ended);
    }
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
