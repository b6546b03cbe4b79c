//! The runtime that a host program opens for connections of its own: on
//! sockets that it hands over, or on transports that it drives itself.

use super::desk::{Desk, wake_after};
use crate::conn::{Conn, Framing};
use crate::core::error::{Error, Failure, Result};
use crate::core::level::Level;
use crate::core::limits;
use crate::core::reason::Why;
use crate::net::socket::Socket;
use crate::rt::{self, build, end, stream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How a runtime is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads.
    pub workers: usize,
    /// A client that takes no byte for so long is dropped.
    pub write_timeout: Duration,
    /// Memory that all output queues may take, bytes.
    pub max_queued_bytes: usize,
    /// What the host program wants to know.
    pub log_level: Level,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: rt::default_workers(),
            write_timeout: Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS),
            max_queued_bytes: limits::QUEUED_BYTES,
            log_level: Level::default(),
        }
    }
}

/// See the module. All methods may be called from any thread.
pub struct Open {
    desk: Arc<Desk>,
    options: Options,
    runtime: Mutex<Option<Runtime>>,
}

impl Open {
    /// Starts the threads.
    pub fn start(options: Options) -> std::result::Result<Self, Failure> {
        let runtime = build(options.workers.max(1))?;
        let desk = Desk::new(options.max_queued_bytes, options.log_level)?;
        desk.spawn(&runtime);
        Ok(Open {
            desk,
            options,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    fn runtime(&self) -> MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection whose output the host program pulls.
    pub fn pulled(&self, framing: Framing) -> Result<Arc<Conn>> {
        let runtime = self.runtime();
        runtime.as_ref().ok_or(Error::Stopped)?;
        self.desk.open(Framing {
            pull: true,
            ..framing
        })
    }

    /// A connection on that socket, which is the runtime's from now on. After
    /// an error the descriptor comes back.
    pub fn on_socket(
        &self,
        fd: OwnedFd,
        framing: Framing,
    ) -> std::result::Result<Arc<Conn>, (Failure, OwnedFd)> {
        let runtime = self.runtime();
        let Some(runtime) = runtime.as_ref() else {
            return Err((Error::Stopped.into(), fd));
        };
        let _context = runtime.enter();
        let conn = match self.desk.make_own(framing) {
            Ok(conn) => conn,
            Err(e) => return Err((e.into(), fd)),
        };
        let patience = self.options.write_timeout;
        let socket = Socket::take(fd, patience).inspect_err(|_| self.desk.withdraw(&conn))?;
        // Cannot fail: only an end, which takes the runtime first, closes the
        // list.
        if !self.desk.admit(&conn, None) {
            conn.transport_ended();
        }
        runtime.spawn(stream::run(Arc::new(socket), conn.clone(), patience));
        Ok(conn)
    }

    /// For tasks of its own; an error after the stop.
    #[cfg(feature = "client")]
    pub fn handle(&self) -> Result<tokio::runtime::Handle> {
        let runtime = self.runtime();
        Ok(runtime.as_ref().ok_or(Error::Stopped)?.handle().clone())
    }

    /// What the host program is told, and how.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Makes the descriptor readable, now or later.
    pub fn wake_after(&self, delay: Duration) {
        wake_after(&self.desk, self.runtime().as_ref(), delay);
    }

    /// Closes every connection in order and waits until the sockets have taken
    /// what was queued, for `deadline` at most; then ends the threads. What
    /// the host program pulls can still be pulled, and records be read. A
    /// second call does nothing.
    pub fn stop(&self, deadline: Duration) {
        let by = Instant::now() + deadline;
        let Some(runtime) = self.runtime().take() else {
            return;
        };
        for conn in self.desk.registry().conns() {
            conn.shut_down(Why::ServerShutdown.into());
        }
        let registry = self.desk.registry();
        runtime.block_on(registry.settle(by, || registry.sockets() == 0));
        end(runtime, by);
        self.desk.stop();
    }

    /// Ends all, in order as far as `deadline` allows: streams are closed, then
    /// sockets, and threads stop. A second call does nothing.
    pub fn end(&self, deadline: Duration) {
        self.stop(deadline.max(limits::STOP_LAST));
        self.desk.close();
        self.desk.discard();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end(Duration::from_millis(100));
    }
}
