//! A live connection: state, output queue, keepalive and request body behind
//! one lock.
//!
//! A *detached* connection keeps state for a host program that also has an
//! output queue of its own. A *hosted* one has its [`Host`] told what changed;
//! its output goes to its [`Sink`], a socket, or is pulled by the host program
//! ([`Framing::pull`]).

#[cfg(test)]
pub mod fake;
mod host;
mod inbox;
mod publish;
mod response;
mod stream;

pub use host::{Host, Report, Sink};
pub use inbox::Fault;
pub use response::{Decision, Field};

use crate::core::chunk::Meter;
use crate::core::error::{Error, Result};
use crate::core::keepalive::Keepalive;
use crate::core::limits;
use crate::core::outbox::{Marks, Outbox};
use crate::core::reason::Why;
use crate::core::state::{Phase, Reason, State};
use crate::feed::Watch;
use crate::handle::{self, Table};
use crate::sync::{Mutex, MutexGuard};
use crate::sys::PerProcess;
use crate::wire::Wire;
use bytes::BufMut;
use http::{HeaderMap, StatusCode};
use inbox::Inbox;
use response::Response;
use std::any::Any;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Facts about a connection that shape its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framing {
    /// A stream is asked for (PAGI scope type `sse`).
    pub sse: bool,
    /// What stands around its events.
    pub wire: Wire,
    /// HEAD: the answer has no body.
    pub head: bool,
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

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By the application, in order.
    Clean,
    /// By the server, in order; the host program is told.
    Told,
    /// By the application, in the middle.
    Broken,
}

/// A descriptor to write to without asking the [`Sink`]; negative: none.
struct Direct(RawFd);

impl Default for Direct {
    fn default() -> Self {
        Direct(-1)
    }
}

// In this order, so that a published event which goes out at once touches two
// cache lines of `Conn`: with thousands of subscribers each is a cache miss.
#[derive(Default)]
#[repr(C)]
struct Inner {
    state: State,
    /// That of the sink, so open while this is locked.
    direct: Direct,
    told_output: bool,
    ended: bool,
    /// Closed by [`Conn::abort`]: without the last chunk.
    aborted: bool,
    /// Closed by [`Conn::disconnect`]: nothing of it is sent any more.
    severed: bool,
    /// The answer was the server's, to a request that was none.
    refused: bool,
    /// Somebody waits for its end: the server that stops, or a client that has
    /// no place.
    hurried: bool,
    status: u16,
    /// Writes that took something; it goes round, to 1.
    writes: u32,
    last_write_ms: u64,
    /// Content, which is neither a head nor the framing of chunks.
    bytes_sent: u64,
    meter: Meter,
    counters: Counters,
    outbox: Outbox,
    sink: Option<Arc<dyn Sink>>,
    watcher: Option<Weak<dyn Watch>>,
    waker: Option<Waker>,
    keeper: Option<Waker>,
    keepalive: Option<Box<Keepalive>>,
    response: Option<Box<Response>>,
    inbox: Option<Box<Inbox>>,
    place: Option<Place>,
    /// Streams were closed before this one began.
    late: Option<Box<Reason>>,
}

/// What a connection holds of the number that its server may have.
pub type Place = Arc<dyn Any + Send + Sync>;

/// See the module. All methods may be called from any thread.
#[repr(C, align(64))]
pub struct Conn {
    framing: Framing,
    inner: Mutex<Inner>,
    host: Option<Arc<dyn Host>>,
    handle: AtomicU64,
    watched: AtomicBool,
    wants_stream: AtomicBool,
    let_go: AtomicBool,
    end_was_read: AtomicBool,
    /// The host program's own number.
    user: AtomicU64,
}

/// This process's connections by handle.
pub fn table() -> &'static Table<Arc<Conn>> {
    static TABLE: PerProcess<Table<Arc<Conn>>> = PerProcess::new(|p| Table::new(handle::CONN, p));
    TABLE.get()
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
        let account = host.as_ref().and_then(|host| host.account());
        Arc::new(Conn {
            host,
            framing,
            inner: Mutex::new(Inner {
                meter: Meter::new(framing.wire == Wire::Events),
                outbox: Outbox::counted(account),
                ..Inner::default()
            }),
            handle: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            wants_stream: AtomicBool::new(framing.sse),
            let_go: AtomicBool::new(false),
            end_was_read: AtomicBool::new(false),
            user: AtomicU64::new(0),
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

    /// Gives it its place, to keep until its transport has ended: a client that
    /// has gone takes none, however long its handler runs.
    pub fn hold(&self, place: Place) {
        self.lock().place = Some(place);
    }

    /// The same, for a transport that has something to do after its end.
    pub fn place(&self) -> Option<Place> {
        self.lock().place.clone()
    }

    /// Tells the connection its handle, once.
    pub fn set_handle(&self, handle: u64) {
        self.handle.store(handle, Ordering::Relaxed);
    }

    /// The host program's own number, for its records; 0 at first.
    pub fn user(&self) -> u64 {
        self.user.load(Ordering::Acquire)
    }

    /// Sets it; `false`: too late for the record of its end.
    pub fn set_user(&self, user: u64) -> bool {
        self.user.store(user, Ordering::Release);
        // Behind the store, as the end is noted before the number is read.
        !self.lock().ended
    }

    /// The host program has read of its end.
    pub fn note_end_read(&self) {
        self.end_was_read.store(true, Ordering::Release);
    }

    /// Whether [`Conn::note_end_read`] was called.
    pub fn is_end_read(&self) -> bool {
        self.end_was_read.load(Ordering::Acquire)
    }

    /// Whether a stream is expected, as long as nothing has been chosen: that is
    /// how it ends then.
    pub fn wants_stream(&self) -> bool {
        self.wants_stream.load(Ordering::Relaxed)
    }

    /// The host program's word on it, in place of the request's `Accept`.
    pub fn expect_stream(&self, stream: bool) {
        self.wants_stream.store(stream, Ordering::Relaxed);
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.lock().state.phase()
    }

    /// Why it closed, if it did and a reason is known; before, why it will when
    /// no ordinary response comes.
    pub fn reason(&self) -> Option<String> {
        let inner = self.lock();
        let fault = inner
            .fault()
            .filter(|_| inner.state.phase() == Phase::Pending);
        let reason = inner.state.reason().or(fault.map(|f| f.reason.word()));
        reason.map(str::to_owned)
    }

    /// The same for the access log, which tells an answer of the server's; none
    /// for an ordinary response that went out in whole.
    pub fn logged_reason(&self) -> Option<String> {
        let (refused, whole) = {
            let inner = self.lock();
            (inner.refused, inner.is_whole())
        };
        match (refused, whole) {
            (true, _) => Some(Why::ProtocolError.word().into()),
            (false, true) => None,
            (false, false) => self.reason(),
        }
    }

    /// Bytes queued, not yet taken by the kernel.
    pub fn buffered(&self) -> usize {
        self.lock().outbox.len()
    }

    /// The memory that its queue takes at the most: see [`Outbox::cost_bound`].
    pub fn cost_bound(&self) -> usize {
        self.lock().outbox.cost_bound()
    }

    /// The memory that its queue takes: see [`Outbox::cost`].
    pub fn cost(&self) -> usize {
        self.lock().outbox.cost()
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

    /// The queue is above its high mark, and has not drained since.
    pub fn is_high(&self) -> bool {
        self.lock().outbox.is_high()
    }

    /// Status sent (0: none), bytes of content sent.
    pub fn totals(&self) -> (u16, u64) {
        let inner = self.lock();
        (inner.status, inner.bytes_sent)
    }

    /// Changes whenever the transport has taken something.
    pub fn writes(&self) -> u32 {
        self.lock().writes
    }

    /// Closes by the application: what is queued is still sent. `true` if this
    /// call closed it. A stream that had not begun is answered 200 and empty.
    pub fn close(self: &Arc<Self>, reason: Option<Reason>) -> bool {
        self.end(reason, End::Clean)
    }

    /// Closes by the server, in order: as [`Conn::close`], and the host
    /// program is told.
    pub fn shut_down(self: &Arc<Self>, reason: Reason) -> bool {
        self.lock().hurried = true;
        let ended = self.end(Some(reason), End::Told);
        if !ended {
            self.wake_transport();
        }
        ended
    }

    /// Closes a stream by the server, also one not yet begun, as
    /// [`Conn::shut_down`] does. Another request goes on; a stream that it
    /// begins later ends where it begins.
    pub fn close_stream(self: &Arc<Self>, reason: &str) {
        let reason: Reason = reason.to_owned().into();
        {
            let mut inner = self.lock();
            match inner.state.phase() {
                Phase::Responding if !inner.streams() => return,
                Phase::Pending if !self.wants_stream() => {
                    inner.late.get_or_insert_with(|| Box::new(reason));
                    return;
                }
                _ => {}
            }
        }
        self.shut_down(reason);
    }

    /// A stream has begun: too late, perhaps. Not with a hub's lock held.
    pub fn end_if_late(self: &Arc<Self>) {
        self.end_if_spoilt();
        let late = self.lock().late.take();
        if let Some(reason) = late {
            self.shut_down(*reason);
        }
    }

    /// Breaks off by the application, which failed: as [`Conn::close`], but the
    /// client must not take the part for the whole, so no last chunk follows.
    /// What had not begun is answered with 500.
    pub fn abort(self: &Arc<Self>, reason: Reason) -> bool {
        self.end(Some(reason), End::Broken)
    }

    fn end(self: &Arc<Self>, mut reason: Option<Reason>, how: End) -> bool {
        self.catch_up();
        {
            let mut inner = self.lock();
            let phase = inner.state.phase();
            // An ordinary request is cut off instead.
            let mut stream =
                (self.wants_stream() || self.framing.wire == Wire::Events) && how != End::Broken;
            let fault = inner.fault().filter(|_| phase == Phase::Pending);
            if let Some(fault) = fault.filter(|_| how != End::Broken) {
                // The answer is a 400, then.
                stream = false;
                reason = Some(fault.reason.into());
            }
            if phase == Phase::Pending && self.host.is_some() && stream {
                // Cannot fail: the phase was just seen.
                let _ = self.start_locked(&mut inner, StatusCode::OK, HeaderMap::new());
            }
            if !inner.state.close(reason) {
                return false;
            }
            inner.aborted = how == End::Broken;
            let bodiless = self.is_bodiless(&inner);
            inner.note_close(bodiless);
            if how == End::Told {
                inner.complete_stream();
            }
            let streamed = phase == Phase::Started || (phase == Phase::Pending && stream);
            let last = streamed && how != End::Broken;
            let end = self.framing.wire.last();
            if last && !end.is_empty() && !self.framing.head {
                inner.outbox.append(end.len(), |b| b.put_slice(end));
            }
        }
        if how == End::Told {
            self.report(Report::Closed);
        }
        self.wake_all();
        self.flush();
        true
    }

    /// The host program has no number for it any more, and hears of its end
    /// alone.
    fn let_go(&self) {
        self.let_go.store(true, Ordering::Release);
        if let Some(host) = &self.host {
            host.let_go(self);
        }
    }

    /// Whether `Conn::let_go` was called.
    pub fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// The host program gives the connection back: as [`Conn::close`], but
    /// output that only it could have pulled is dropped.
    pub fn release(self: &Arc<Self>) {
        self.let_go();
        self.close(Some(Why::AppClosed.into()));
        if self.framing.pull {
            self.lock().lose_rest(self.framing.wire);
            self.transport_ended();
        }
    }

    /// Whether somebody could end it when the host program has given its number
    /// back: a hub that publishes to its stream. One that has ended needs nobody.
    pub fn may_be_handed_over(&self) -> bool {
        self.host.is_some()
            && !self.framing.pull
            && match self.phase() {
                Phase::Closed => true,
                Phase::Started => self.is_watched(),
                Phase::Pending | Phase::Responding => false,
            }
    }

    /// The host program gives its number back: the connection lives on for the
    /// hub that publishes to it. When that has left meanwhile, it ends.
    pub fn hand_over(self: &Arc<Self>) {
        self.let_go();
        self.end_if_unreachable();
    }

    /// Closes it if neither the host program nor a hub can any more.
    pub fn end_if_unreachable(self: &Arc<Self>) {
        if self.is_let_go() && !self.is_watched() {
            self.close(Some(Why::AppClosed.into()));
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
        let (closed, first, drained) = {
            let mut inner = self.lock();
            let drained = inner.lose_rest(self.framing.wire);
            let first = !std::mem::replace(&mut inner.severed, true);
            if inner.was_moot() {
                inner.state.blame(reason.clone());
            }
            (inner.state.close(Some(reason)), first, drained)
        };
        if drained {
            self.drained();
        }
        if closed {
            self.report(Report::Closed);
            self.wake_all();
        } else if first {
            // It had been closed in order, and was still sending.
            self.wake_transport();
        }
        closed
    }

    /// Whether [`Conn::disconnect`] was called.
    pub fn is_severed(&self) -> bool {
        self.lock().severed
    }

    /// Waits for that.
    pub fn poll_severed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.severed {
            return Poll::Ready(());
        }
        inner.keeper = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Its place is wanted: once closed, it waits less for its client.
    pub fn hurry(&self) {
        {
            let mut inner = self.lock();
            let closed = inner.state.phase() == Phase::Closed;
            if !closed || std::mem::replace(&mut inner.hurried, true) {
                return;
            }
        }
        self.wake_transport();
    }

    /// How long a client may take nothing: so long, or not as long as others
    /// can wait.
    pub fn patience(&self, usual: Duration) -> Duration {
        match self.lock().hurried {
            true => usual.min(limits::STOP_PATIENCE),
            false => usual,
        }
    }

    /// Has the tasks that wait for a decision, for output or for room in the
    /// inbox look again.
    fn wake_tasks(&self) {
        let wakers = {
            let mut inner = self.lock();
            let pump = inner.inbox.as_mut().and_then(|i| i.pump.take());
            [inner.waker.take(), inner.keeper.take(), pump]
        };
        for w in wakers.into_iter().flatten() {
            w.wake();
        }
    }

    fn wake_all(&self) {
        self.tell_watcher(|w| w.closed());
        self.wake_transport();
    }

    fn wake_transport(&self) {
        self.wake_tasks();
        let sink = self.lock().sink.clone();
        if let Some(s) = sink {
            s.attend();
        }
    }

    /// Facts about the request.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The transport is done with this request: says so, once.
    pub fn transport_ended(self: &Arc<Self>) {
        let (place, body) = {
            let mut inner = self.lock();
            inner.sink = None;
            inner.direct = Direct::default();
            // An ordinary response that went out in full has no reason.
            inner.state.close(None);
            if std::mem::replace(&mut inner.ended, true) {
                return;
            }
            let body = inner.inbox.as_mut().is_some_and(|i| i.break_off());
            (inner.place.take(), body)
        };
        drop(place);
        self.wake_tasks();
        // Its end is the last that is told.
        if body {
            self.report(Report::Body);
        }
        if let Some(host) = &self.host {
            host.keepalive(self);
        }
        self.report(Report::Ended);
    }
}

/// The reason for an I/O error: a reset or a closed pipe is the client's
/// leaving, a retransmission that timed out is its silence.
pub fn reason_of(e: &io::Error, other: Why) -> Reason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    match e.kind() {
        BrokenPipe | ConnectionReset | ConnectionAborted => Why::ClientClosed.into(),
        TimedOut => Why::ClientTimeout.into(),
        _ => other.into(),
    }
}

#[cfg(test)]
mod tests;
