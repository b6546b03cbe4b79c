//! An event stream on a socket of its own: writes what the connection queues,
//! watches for the client's end.

use crate::conn::{Conn, Sink, reason_of};
use crate::core::limits::{FORGOTTEN_BYTES, LINGER_SECONDS};
use crate::core::state::{Phase, Reason};
use crate::net::socket::Socket;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::time::timeout;

struct Stream {
    socket: Arc<Socket>,
    attend: Notify,
    forgotten: AtomicUsize,
}

impl Sink for Stream {
    fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(slices)
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn attend(&self) {
        self.attend.notify_one();
    }
}

/// Whatever happens to the task, the application hears of the end.
struct Ended(Arc<Conn>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.disconnect("server_error".into());
        self.0.transport_ended();
    }
}

/// Runs the stream to its end.
pub async fn run(socket: Arc<Socket>, conn: Arc<Conn>, write_timeout: Duration) {
    // Kept while the socket is.
    let _place = conn.place();
    let ended = Ended(conn);
    let conn = &ended.0;
    let stream = Arc::new(Stream {
        socket,
        attend: Notify::new(),
        forgotten: AtomicUsize::new(0),
    });
    conn.attach(stream.clone());
    let mut gone = false;
    while !gone {
        gone = match conn.progress() {
            (true, Phase::Closed) => break,
            // HEAD is answered: as if the application had closed.
            (true, _) if conn.framing().head => {
                conn.disconnect("app_closed".into());
                break;
            }
            (true, _) => tokio::select! {
                () = stream.attend.notified() => false,
                _ = stream.socket.ready(Interest::READABLE) => listen(&stream, conn),
            },
            // Boxed: an idle stream does not pay for it.
            (false, _) => Box::pin(push_out(&stream, conn, write_timeout)).await,
        }
    }
    // The kernel has it all; a stop need not wait for the rest.
    conn.transport_ended();
    if !gone && !conn.is_severed() {
        Box::pin(linger(&stream)).await;
    }
}

impl Stream {
    /// Reads and forgets; `None` when there is no more for now, else why
    /// nothing more will be read.
    fn forget(&self) -> Option<Reason> {
        let mut bytes = [0u8; 1024];
        loop {
            match self.socket.try_read(&mut bytes) {
                Ok(0) => return Some("client_closed".into()),
                Ok(n) => {
                    // A client has nothing to say any more.
                    let all = self.forgotten.fetch_add(n, Ordering::Relaxed) + n;
                    if all > FORGOTTEN_BYTES {
                        return Some("protocol_error".into());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(e) => return Some(reason_of(&e, "read_error")),
            }
        }
    }
}

/// Reads and forgets; `true` when the client has gone (a half-closed client
/// counts as gone).
fn listen(stream: &Stream, conn: &Conn) -> bool {
    let Some(reason) = stream.forget() else {
        return false;
    };
    conn.disconnect(reason);
    true
}

/// One step while bytes wait: the socket takes some, or the client is late, or
/// there is something else to see to. `true` when the client has gone.
async fn push_out(stream: &Stream, conn: &Arc<Conn>, write_timeout: Duration) -> bool {
    let before = conn.totals().1;
    let patience = conn.patience(write_timeout);
    let late = tokio::time::sleep(patience);
    tokio::pin!(late);
    while conn.totals().1 == before && !conn.is_flushed() {
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = tokio::select! {
            ready = stream.socket.ready(both) => ready,
            () = stream.attend.notified() => match conn.patience(write_timeout) == patience {
                true => continue,
                false => return false,
            },
            () = &mut late => {
                conn.disconnect("write_timeout".into());
                return true;
            }
        };
        let Ok(ready) = ready else { return true };
        if (ready.is_readable() || ready.is_read_closed()) && listen(stream, conn) {
            return true;
        }
        conn.flush();
    }
    false
}

/// After our end: waits a little for the client's, as closing a socket with
/// unread bytes would take back what was sent (RFC 9112, 9.6).
async fn linger(stream: &Stream) {
    stream.socket.shutdown(Shutdown::Write);
    let client = async {
        while stream.socket.ready(Interest::READABLE).await.is_ok() {
            if stream.forget().is_some() {
                break;
            }
        }
    };
    let _ = timeout(Duration::from_secs(LINGER_SECONDS), client).await;
}
