//! The tokio runtime and the tasks on it that are the same whatever the
//! transport and whoever the host program: a stream, the flush, the keepalive
//! sweep.

mod bell;
mod clock;
mod flush;
mod runtime;
pub mod stream;
pub mod supervisor;
mod sweep;

use crate::conn::Conn;
use std::sync::Arc;

pub use bell::Bell;
pub use clock::{instant, now_ms};
pub use flush::Flush;
pub use runtime::{build, default_workers, end};
pub use sweep::Sweep;

/// Connections that want attention, by handle.
pub type ConnBell = Bell<u64, Arc<Conn>>;
