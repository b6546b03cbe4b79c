//! What a connection's bytes travel by, whatever it is.

use crate::core::limits;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::time::{Instant, timeout_at};

/// A wait that goes on as long as it has to.
pub type Wait<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A transport of a connection's own, which ends in both directions when it is
/// dropped. One task may poll for each direction; anybody may try, at any time,
/// from any thread.
pub trait Transport: Send + Sync {
    /// As `AsyncRead` has it.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// As `AsyncWrite` has it.
    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Waits until there is something to read, its end perhaps. A failure is
    /// that of the runtime, which ends.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until something can be written. A failure as above.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there; 0 at its end.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes what fits. Without a signal: this may run on a thread of the host
    /// program's.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// A descriptor that takes the same bytes, open while this lives; none
    /// where they change on their way.
    fn descriptor(&self) -> Option<RawFd>;

    /// Waits until the other side has ended its direction, or more; what it has
    /// sent before may still be unread.
    fn half_closed(&self) -> Wait<'_>;

    /// Waits for an error, such as a reset.
    fn failed(&self) -> Wait<'_>;

    /// Nothing that is sent can get there any more. A half-close alone does not
    /// say so.
    fn is_dead(&self) -> bool;

    /// Something has come that nobody has read.
    fn has_input(&self) -> bool;

    /// Has the system ask soon whether the other side is there.
    fn doubt(&self);

    /// Ends our side, or both.
    fn shutdown(&self, how: Shutdown);
}

/// Ends our side, and reads what the client still sends, for a while and up to
/// a limit: closing with bytes unread would take back our last answer
/// (RFC 9112, 9.6).
pub async fn see_off(transport: &dyn Transport) {
    transport.shutdown(Shutdown::Write);
    let silence = Duration::from_secs(limits::LINGER_SECONDS);
    let until = Instant::now() + Duration::from_secs(limits::LINGER_ALL_SECONDS);
    let mut bytes = [0; 16 << 10];
    let mut left = limits::LINGER_BYTES;
    while left > 0 {
        let by = until.min(Instant::now() + silence);
        let readable = poll_fn(|cx| transport.poll_readable(cx));
        if !matches!(timeout_at(by, readable).await, Ok(Ok(()))) {
            return;
        }
        match transport.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(n) => left = left.saturating_sub(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
