//! An event stream on a transport of its own: writes what the connection
//! queues, watches for the client's end. Whatever it waits for, it hears when the
//! connection ends.

use super::now_ms;
use crate::conn::{Conn, Sink, reason_of};
use crate::core::limits::{FORGOTTEN_BYTES, FORGOTTEN_MS, LINGER_SECONDS};
use crate::core::reason::Why;
use crate::core::state::{Phase, Reason};
use crate::net::transport::Transport;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

struct Stream {
    transport: Arc<dyn Transport>,
    attend: Notify,
    forgotten: AtomicUsize,
    /// Since when those count.
    since_ms: AtomicU64,
}

impl Sink for Stream {
    fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.transport.try_write(slices)
    }

    fn fd(&self) -> Option<RawFd> {
        self.transport.descriptor()
    }

    fn attend(&self) {
        self.attend.notify_one();
    }
}

/// Whatever happens to the task, the application hears of the end.
struct Ended(Arc<Conn>);

impl Drop for Ended {
    fn drop(&mut self) {
        let reason = match std::thread::panicking() {
            true => Why::ServerError,
            // The runtime ends.
            false => Why::ServerShutdown,
        };
        self.0.disconnect(reason.into());
        self.0.transport_ended();
    }
}

/// Runs the stream to its end.
pub async fn run(transport: Arc<dyn Transport>, conn: Arc<Conn>, write_timeout: Duration) {
    // Kept while the socket is.
    let _place = conn.place();
    let ended = Ended(conn);
    let conn = &ended.0;
    let stream = Arc::new(Stream {
        transport,
        attend: Notify::new(),
        forgotten: AtomicUsize::new(0),
        since_ms: AtomicU64::new(0),
    });
    conn.attach(stream.clone());
    let mut gone = false;
    while !gone {
        gone = match conn.progress() {
            (true, Phase::Closed) => break,
            // HEAD is answered: as if the application had closed.
            (true, Phase::Started) if conn.framing().head => {
                conn.shut_down(Why::AppClosed.into());
                false
            }
            (true, _) => tokio::select! {
                () = stream.attend.notified() => false,
                there = stream.readable() => listen(&stream, conn, &there),
            },
            // Boxed: an idle stream does not pay for it.
            (false, _) => Box::pin(push_out(&stream, conn, write_timeout)).await,
        }
    }
    // The kernel has it all; a stop need not wait for the rest.
    conn.transport_ended();
    if !gone && !conn.is_severed() {
        Box::pin(linger(&stream, conn)).await;
    }
}

impl Stream {
    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.transport.poll_readable(cx)).await
    }

    async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.transport.poll_writable(cx)).await
    }

    /// Reads and forgets; `None` when there is no more for now, else why
    /// nothing more will be read.
    fn forget(&self) -> Option<Reason> {
        let mut bytes = [0u8; 1024];
        loop {
            match self.transport.try_read(&mut bytes) {
                Ok(0) => return Some(Why::ClientClosed.into()),
                Ok(n) => {
                    // A client has nothing to say any more.
                    let now = now_ms();
                    if now.saturating_sub(self.since_ms.load(Ordering::Relaxed)) >= FORGOTTEN_MS {
                        self.since_ms.store(now, Ordering::Relaxed);
                        self.forgotten.store(0, Ordering::Relaxed);
                    }
                    let all = self.forgotten.fetch_add(n, Ordering::Relaxed) + n;
                    if all > FORGOTTEN_BYTES {
                        return Some(Why::ProtocolError.into());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(e) => return Some(reason_of(&e, Why::ReadError)),
            }
        }
    }
}

/// Something is there: reads and forgets it. `true` when the client has gone (a
/// half-closed client counts as gone).
fn listen(stream: &Stream, conn: &Arc<Conn>, there: &io::Result<()>) -> bool {
    let gone = match there {
        Ok(()) => stream.forget(),
        Err(_) => Some(Why::ServerShutdown.into()),
    };
    let Some(reason) = gone else { return false };
    conn.disconnect(reason);
    true
}

/// One step while bytes wait: the transport takes some, or the client is late,
/// or there is something else to see to. `true` when the client has gone.
async fn push_out(stream: &Stream, conn: &Arc<Conn>, write_timeout: Duration) -> bool {
    let before = conn.writes();
    let patience = conn.patience(write_timeout);
    let mut late = pin!(sleep(patience));
    while conn.writes() == before && !conn.is_flushed() {
        tokio::select! {
            there = stream.readable() => if listen(stream, conn, &there) {
                return true;
            },
            _ = stream.writable() => conn.flush(),
            () = stream.attend.notified() => if conn.patience(write_timeout) != patience {
                return false;
            },
            () = &mut late => {
                conn.disconnect(Why::WriteTimeout.into());
                return true;
            }
        }
    }
    false
}

/// After our end: waits a little for the client's, as closing a socket with
/// unread bytes would take back what was sent (RFC 9112, 9.6).
async fn linger(stream: &Stream, conn: &Conn) {
    stream.transport.shutdown(Shutdown::Write);
    let client = async {
        while stream.readable().await.is_ok() {
            if stream.forget().is_some() {
                break;
            }
        }
    };
    tokio::select! {
        _ = timeout(Duration::from_secs(LINGER_SECONDS), client) => {}
        () = poll_fn(|cx| conn.poll_severed(cx)) => {}
    }
}

#[cfg(test)]
mod tests;
