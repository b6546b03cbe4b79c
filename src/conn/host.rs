//! Whom a connection tells what, and what its output goes to.

use super::Conn;
use crate::core::account::Account;
use crate::core::level::Level;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::sync::Arc;

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
    /// Where the memory of its connections' queues counts, if it does.
    fn account(&self) -> Option<Arc<Account>> {
        None
    }
    /// A message for the operator.
    fn log(&self, _level: Level, _text: fmt::Arguments<'_>) {}
    /// The host program has given that hub's number back.
    fn hub_let_go(&self, _hub: u64) {}
    /// The host program has given the connection's number back.
    fn let_go(&self, _conn: &Conn) {}
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
    /// A descriptor that takes the same bytes, open while this lives.
    fn fd(&self) -> Option<RawFd> {
        None
    }
    /// The queue could not be emptied, or the connection closed: look again.
    fn attend(&self);
}
