//! The library's clock: monotonic, in milliseconds.

use once_cell::sync::Lazy;
use std::time::Duration;
use tokio::time::Instant;

static START: Lazy<Instant> = Lazy::new(Instant::now);

/// The clock begins now, if it has not: before any time is taken from it.
pub(super) fn begin() {
    Lazy::force(&START);
}

/// Milliseconds on a monotonic clock that begins about when the library does.
pub fn now_ms() -> u64 {
    Instant::now().saturating_duration_since(*START).as_millis() as u64
}

/// That time as tokio counts it.
pub fn instant(ms: u64) -> Instant {
    *START + Duration::from_millis(ms)
}
