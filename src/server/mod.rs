//! The embedded HTTP server: requests go to the host program as records, its
//! answers come back through connections.

mod flush;
mod http1;
mod listen;
mod record;
mod stream;

use crate::conn::{self, Conn, Host, Report};
use crate::error::{Error, Result};
use crate::limits;
use crate::rt::{self, ConnBell, mailbox::Mailbox};
use crate::state::Phase;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT` (port 0: the kernel picks) or `unix:PATH`.
    pub listen: String,
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Most connections open at a time.
    pub max_connections: usize,
    /// Threads of the runtime.
    pub workers: usize,
    /// A client that takes no byte for so long is dropped.
    pub write_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: "127.0.0.1:0".into(),
            max_body: limits::BODY_BYTES,
            max_connections: limits::CONNECTIONS,
            workers: rt::default_workers(),
            write_timeout: Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS),
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
    mailbox: Mailbox,
    stage: watch::Sender<Stage>,
    permits: Arc<Semaphore>,
    exchanges: Mutex<HashMap<u64, (Arc<Conn>, Instant)>>,
    dirty: ConnBell,
    flush_now: tokio::sync::Notify,
    keepalives: Arc<ConnBell>,
    logs: AtomicUsize,
    /// Connections that hyper has.
    http: AtomicUsize,
}

/// A listener with its runtime.
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
    unix_path: Option<String>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Makes a connection for a request, with a handle that the host program
    /// will own.
    fn open(self: &Arc<Self>, framing: conn::Framing) -> Result<Arc<Conn>> {
        let conn = Conn::hosted(self.clone(), framing);
        conn.set_handle(conn::table().insert(conn.clone())?);
        lock(&self.exchanges).insert(conn.handle(), (conn.clone(), Instant::now()));
        Ok(conn)
    }

    fn log(&self, text: &str) {
        if self.logs.fetch_add(1, Ordering::Relaxed) < limits::LOG_RECORDS {
            self.mailbox.push(record::log(text));
        }
    }

    fn flush(&self) {
        for conn in self.dirty.take().values() {
            conn.flush();
        }
    }
}

impl Host for Shared {
    fn output(&self, conn: &Arc<Conn>) {
        self.dirty.add(conn.handle(), conn.clone());
    }

    fn keepalive(&self, conn: &Arc<Conn>) {
        self.keepalives.add(conn.handle(), conn.clone());
    }

    fn now_ms(&self) -> u64 {
        rt::now_ms()
    }

    fn report(&self, conn: &Conn, what: Report) {
        let record = match what {
            Report::Body => record::plain(record::BODY, conn.handle()),
            // Sockets only, so nothing is pulled.
            Report::Output => return,
            Report::Drained => record::plain(record::DRAINED, conn.handle()),
            Report::Closed => record::closed(conn),
            Report::Ended => {
                // Under the lock: who counts none left will find the record.
                let mut exchanges = lock(&self.exchanges);
                if let Some((_, since)) = exchanges.remove(&conn.handle()) {
                    self.mailbox.push(record::ended(conn, since.elapsed()));
                }
                return;
            }
        };
        self.mailbox.push(record);
    }
}

impl Server {
    /// Binds the address and builds the runtime. Clients may connect, but
    /// nothing is accepted before [`Server::accept`].
    pub fn start(options: Options) -> Result<Self> {
        let listener = listen::bind(&options.listen)?;
        let runtime = rt::build(options.workers.max(1)).map_err(|_| Error::Os)?;
        let shared = Arc::new(Shared {
            mailbox: Mailbox::new().map_err(|_| Error::Os)?,
            stage: watch::Sender::new(Stage::Bound),
            permits: Arc::new(Semaphore::new(options.max_connections)),
            exchanges: Mutex::default(),
            dirty: ConnBell::default(),
            flush_now: tokio::sync::Notify::new(),
            keepalives: Arc::default(),
            logs: AtomicUsize::new(0),
            http: AtomicUsize::new(0),
            options,
        });
        let (port, unix_path) = (listener.port(), listener.unix_path());
        runtime.spawn(listen::run(listener, shared.clone()));
        runtime.spawn(flush::run(shared.clone()));
        runtime.spawn(rt::sweep::run(shared.keepalives.clone()));
        Ok(Server {
            shared,
            port,
            unix_path,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// The TCP port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Readable while [`Server::next`] has something.
    pub fn fd(&self) -> RawFd {
        self.shared.mailbox.fd()
    }

    /// Begins to accept connections.
    pub fn accept(&self) {
        self.shared.stage.send_if_modified(|s| {
            *s == Stage::Bound && {
                *s = Stage::Open;
                true
            }
        });
    }

    /// Fills `buf` with records; see [`Mailbox::drain`].
    pub fn next(&self, buf: &mut [u8]) -> usize {
        self.shared.logs.store(0, Ordering::Relaxed);
        self.shared.mailbox.drain(buf)
    }

    /// Makes the descriptor readable, now or later.
    pub fn wake_after(&self, delay: Duration) {
        let runtime = lock(&self.runtime);
        let (Some(runtime), false) = (&*runtime, delay.is_zero()) else {
            return self.shared.mailbox.wake();
        };
        let shared = self.shared.clone();
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            shared.mailbox.wake();
        });
    }

    /// Has everything queued on any connection written now.
    pub fn flush(&self) {
        if !self.shared.dirty.is_empty() {
            self.shared.flush_now.notify_one();
        }
    }

    /// Requests and streams in progress, and connections whose response is
    /// still on its way. While draining, each end of one wakes the host.
    pub fn busy(&self) -> usize {
        lock(&self.shared.exchanges).len() + self.shared.http.load(Ordering::Acquire)
    }

    /// Accepts no more connections or requests; what is in progress goes on.
    pub fn drain(&self) {
        self.shared.stage.send_replace(Stage::Draining);
    }

    /// Closes every stream, also one not yet begun, in order: what is queued
    /// is sent, the host program is told. Ordinary requests go on.
    pub fn close_streams(&self, reason: &str) {
        let conns: Vec<_> = lock(&self.shared.exchanges)
            .values()
            .map(|(c, _)| c.clone())
            .collect();
        for conn in conns {
            if conn.framing().sse && conn.phase() != Phase::Responding {
                conn.shut_down(reason.to_owned().into());
            }
        }
    }

    /// Ends all: sockets are closed, threads stop within `deadline`. Records
    /// nobody has read are dropped. A second call does nothing.
    pub fn stop(&self, deadline: Duration) {
        self.drain();
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(deadline);
        }
        if let Some(path) = &self.unix_path {
            let _ = std::fs::remove_file(path);
        }
        for handle in self
            .shared
            .mailbox
            .discard()
            .filter_map(|r| record::request_of(&r))
        {
            // Never reached the host program, so nobody else frees it.
            let _ = conn::table().remove(handle);
        }
        // Connections hold the server; this ends the cycle.
        lock(&self.shared.exchanges).clear();
        self.shared.keepalives.take();
        self.shared.dirty.take();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::from_millis(100));
    }
}
