//! The threads.

use super::clock;
use crate::sys;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Worker threads when nobody says how many: the host program has a core.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

/// A runtime whose threads never see a signal.
pub fn build(workers: usize) -> io::Result<Runtime> {
    clock::begin();
    sys::with_signals_blocked(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            // Names are resolved there; one may take long.
            .max_blocking_threads(4)
            .thread_name("pagi-sse")
            .thread_stack_size(512 << 10)
            .enable_io()
            .enable_time()
            .build()
    })
}

/// Stops the threads by then; a little later if that is now, so that what was
/// written last leaves in order.
pub fn end(runtime: Runtime, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    runtime.shutdown_timeout(left.max(Duration::from_millis(10)));
}
