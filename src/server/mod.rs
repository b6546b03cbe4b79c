//! The embedded HTTP server: requests go to the host program as records, its
//! answers come back through connections.

mod accept;
mod answer;
mod body;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gate;
mod head;
mod http1;
mod idle;
mod link;
mod record;
mod refusal;
mod waits;

use crate::core::counts::HostCounts;
use crate::core::error::{Error, Failure, Result};
use crate::core::level::Level;
use crate::core::limits;
use crate::core::reason::Why;
use crate::host::desk::{self, Desk};
use crate::net::listen::{self, SocketFile};
use crate::rt;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT` (port 0: the kernel picks), `unix:PATH`, or `fd:N`, a
    /// listening socket of the host program's.
    pub listen: String,
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Most connections open at a time.
    pub max_connections: usize,
    /// Memory that all output queues may take, bytes.
    pub max_queued_bytes: usize,
    /// What the host program wants to know.
    pub log_level: Level,
    /// Threads of the runtime.
    pub workers: usize,
    /// A client that takes no byte for so long is dropped.
    pub write_timeout: Duration,
    /// A request's head has to be there in so much time.
    pub head_timeout: Duration,
    /// The next request's first byte has to be there in so much time after an
    /// answer.
    pub idle_timeout: Duration,
    /// A request's body has to be there in so much time.
    pub body_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: "127.0.0.1:0".into(),
            max_body: limits::BODY_BYTES,
            max_connections: limits::CONNECTIONS,
            max_queued_bytes: limits::QUEUED_BYTES,
            log_level: Level::default(),
            workers: rt::default_workers(),
            write_timeout: Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS),
            head_timeout: Duration::from_secs(limits::HEAD_SECONDS),
            idle_timeout: Duration::from_secs(limits::IDLE_SECONDS),
            body_timeout: Duration::from_secs(limits::BODY_SECONDS),
        }
    }
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bound; clients wait in the kernel's queue.
    Bound,
    /// Accepting.
    Open,
    /// No new connections or requests.
    Draining,
}

/// What all tasks of a server share.
pub(crate) struct Shared {
    options: Options,
    desk: Arc<Desk>,
    stage: watch::Sender<Stage>,
    permits: Arc<Semaphore>,
    idle: Arc<idle::Idle>,
    /// Connections that hyper has, and on which nothing goes on.
    quiet: AtomicUsize,
    /// Connections on which an answer of the server's own is on its way.
    own: AtomicUsize,
    /// Clients may wait in the kernel to be accepted.
    listening: AtomicBool,
    /// What is left is cut off.
    cutting: AtomicBool,
}

impl Shared {
    fn new(options: Options) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Shared {
            desk: Desk::new(options.max_queued_bytes, options.log_level)?,
            stage: watch::Sender::new(Stage::Bound),
            permits: Arc::new(Semaphore::new(options.max_connections)),
            idle: Arc::default(),
            quiet: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            listening: AtomicBool::new(true),
            cutting: AtomicBool::new(false),
            options,
        }))
    }

    /// Requests and streams in progress, whose answer the kernel has not taken
    /// in whole, and answers of the server's own on their way; while draining,
    /// what may still be found in the kernel too.
    fn busy(&self) -> usize {
        self.desk.registry().live() + self.own.load(Ordering::Acquire) + self.unseen()
    }

    /// Something ended that a stop may wait for.
    fn one_less(&self) {
        if *self.stage.borrow() == Stage::Draining {
            self.desk.wake();
            self.desk.registry().one_less();
        }
    }

    /// A stop is to wait for what the kernel has: clients that were not accepted,
    /// and requests on connections that have not looked since.
    fn unseen(&self) -> usize {
        match *self.stage.borrow() == Stage::Draining {
            true => {
                usize::from(self.listening.load(Ordering::Acquire))
                    + self.quiet.load(Ordering::Acquire)
            }
            false => 0,
        }
    }

    /// What the server itself is at.
    fn tell(&self, what: fmt::Arguments<'_>) {
        let text = format_args!("the server {what}");
        self.desk.notices().tell(Level::Info, text);
    }

    /// Why a connection that ends now does, if nobody said so.
    fn reason_to_end(&self) -> Why {
        match self.cutting.load(Ordering::Relaxed) {
            true => Why::ServerShutdown,
            false => Why::ClientClosed,
        }
    }
}

/// A listener with its runtime.
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
    address: String,
    file: Option<SocketFile>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Binds the address and builds the runtime. Clients may connect, but
    /// nothing is accepted before [`Server::accept`].
    pub fn start(options: Options) -> std::result::Result<Self, Failure> {
        let listener = listen::bind(&options.listen)?;
        let runtime = rt::build(options.workers.max(1)).map_err(Failure::from)?;
        let shared = Shared::new(options)?;
        let (port, file) = (listener.port(), listener.file());
        let (address, at) = (listener.address(), &shared.options.listen);
        shared.tell(format_args!("listens on {at}, port {port}"));
        runtime.spawn(accept::run(listener, shared.clone()));
        shared.desk.spawn(&runtime);
        Ok(Server {
            shared,
            port,
            address,
            file,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// The TCP port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it listens on: `HOST:PORT`, or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves a connection that the host program has accepted, of which it has
    /// read so much. After an error the descriptor comes back.
    pub fn adopt(&self, fd: OwnedFd, held: &[u8]) -> std::result::Result<(), (Failure, OwnedFd)> {
        let runtime = lock(&self.runtime);
        let draining = *self.shared.stage.borrow() == Stage::Draining;
        let Some(runtime) = runtime.as_ref().filter(|_| !draining) else {
            return Err((Error::Stopped.into(), fd));
        };
        if held.len() > limits::HEAD_BYTES {
            let why = format!(
                "{} bytes were read, a head has {}",
                held.len(),
                limits::HEAD_BYTES
            );
            return Err((Failure::new(Error::BadArgument, why), fd));
        }
        let _context = runtime.enter();
        accept::adopt(fd, held, &self.shared)
    }

    /// Readable while [`Server::next`] has something.
    pub fn fd(&self) -> RawFd {
        self.shared.desk.fd()
    }

    /// Begins to accept connections.
    pub fn accept(&self) -> Result<()> {
        if lock(&self.runtime).is_none() {
            return Err(Error::Stopped);
        }
        self.shared.stage.send_if_modified(|s| {
            *s == Stage::Bound && {
                *s = Stage::Open;
                true
            }
        });
        Ok(())
    }

    /// Fills `buf` with records; see [`Desk::next`].
    pub fn next(&self, buf: &mut [u8]) -> usize {
        self.shared.desk.next(buf)
    }

    /// What the host program is told, and how.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.shared.desk
    }

    /// Makes the descriptor readable, now or later.
    pub fn wake_after(&self, delay: Duration) {
        desk::wake_after(&self.shared.desk, lock(&self.runtime).as_ref(), delay);
    }

    /// Has everything queued on any connection written now.
    pub fn flush(&self) {
        self.shared.desk.flush_soon();
    }

    /// See `Shared::busy`. Each end of one wakes the host while draining.
    pub fn busy(&self) -> usize {
        self.shared.busy()
    }

    /// Statistics; see `Desk::counts`.
    pub fn counts(&self) -> HostCounts {
        self.shared.desk.counts()
    }

    /// Accepts no more connections or requests; what is in progress goes on.
    pub fn drain(&self) {
        if *self.shared.stage.borrow() != Stage::Draining {
            let busy = self.busy();
            self.shared.tell(format_args!("drains: {busy} in progress"));
        }
        // First, so that who is told of the drain finds no more to come.
        self.shared.desk.registry().close();
        self.shared.stage.send_replace(Stage::Draining);
    }

    /// Closes every stream, also one not yet begun, in order: what is queued
    /// is sent, the host program is told. Ordinary requests go on; a stream that
    /// one of them begins later ends at once.
    pub fn close_streams(&self, reason: &str) {
        for conn in self.shared.desk.registry().conns() {
            conn.close_stream(reason);
        }
    }

    /// Drains, closes every stream, and waits for what is on its way, for
    /// `deadline` at most; requests without an answer then get 503, and the
    /// threads end. Records can still be read. A second call does nothing.
    pub fn stop(&self, deadline: Duration) {
        self.finish(deadline, true);
    }

    /// Ends all, in order as far as `deadline` allows: streams are closed,
    /// requests without an answer get 503, sockets are closed, threads stop.
    /// Records nobody has read are dropped. A second call does nothing.
    pub fn end(&self, deadline: Duration) {
        self.finish(deadline, false);
        self.shared.desk.close();
        self.shared.desk.discard();
    }

    fn finish(&self, deadline: Duration, wait_for_answers: bool) {
        self.drain();
        let by = tokio::time::Instant::now() + deadline;
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            let (desk, ms) = (&self.shared.desk, deadline.as_millis());
            self.shared.tell(format_args!("stops, in {ms} ms at most"));
            self.close_streams(Why::ServerShutdown.word());
            let idle = || self.busy() == 0;
            runtime.block_on(async {
                if wait_for_answers {
                    desk.registry().settle(by, idle).await;
                }
                http1::refuse_all(&desk.registry().conns());
                let last = tokio::time::Instant::now() + limits::STOP_LAST;
                desk.registry().settle(by.max(last), idle).await;
            });
            let cut = self.busy();
            self.shared.tell(format_args!("has stopped: {cut} cut off"));
            self.shared.cutting.store(true, Ordering::Relaxed);
            rt::end(runtime, by);
            self.shared.listening.store(false, Ordering::Release);
            self.shared.desk.stop();
        }
        self.unlink();
    }

    fn unlink(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests;
