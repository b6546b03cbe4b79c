//! The runtime, for C: connections on the host's own transports.

use super::library::pagi_sse_runtime;
use super::{Result, bad, copy_out, guard, next, options, set, set_struct, whole, writable};
use crate::core::counts::HostCounts;
use crate::core::level::Level;
use crate::handle::{self, Table};
use crate::host::runtime::{Open, Options};
use crate::sys::PerProcess;
use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

/// How a runtime is to run. Zero the struct, set `size` and what matters; 0
/// elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_runtime_options {
    /// sizeof(pagi_sse_runtime_options): lets the struct grow.
    pub size: usize,
    /// A client that takes no byte for so long is dropped, milliseconds
    /// (30000). For connections on sockets.
    pub write_timeout_ms: u64,
    /// Threads (cores - 1, at least 1); more than 256 are 256.
    pub workers: u32,
    /// As of pagi_sse_server_options.
    pub log_level: u32,
    /// As of pagi_sse_server_options.
    pub max_queued_bytes: u64,
}

/// This process's runtimes by handle.
pub(super) fn table() -> &'static Table<Arc<Open>> {
    static TABLE: PerProcess<Table<Arc<Open>>> =
        PerProcess::new(|p| Table::new(handle::RUNTIME, p));
    TABLE.get()
}

/// What LOG records are asked for, and nothing behind it.
pub(super) fn level(number: u32, reserved: u32) -> Result<Level> {
    if reserved != 0 {
        return Err(bad("reserved"));
    }
    Level::of(number).ok_or_else(|| bad(format!("log_level, {number}")))
}

/// A deadline of the caller's, bounded.
pub(super) fn deadline(ms: u64) -> Duration {
    Duration::from_millis(ms.min(60_000))
}

/// Statistics as JSON.
pub(super) fn stats(counts: &HostCounts) -> String {
    let mut stats = counts.json();
    stats["abi"] = super::library::PAGI_SSE_ABI_VERSION.into();
    stats.to_string()
}

/// Starts a runtime: its threads, with all signals blocked in them.
///
/// # Safety
/// `options` is NULL, for the defaults, or points to a struct of the size that
/// it says; `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (a size or a
/// level), _OS (threads or descriptors), _HANDLES_EXHAUSTED.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_runtime_open(
    options: *const pagi_sse_runtime_options,
    out: *mut pagi_sse_runtime,
) -> i32 {
    guard(|| {
        writable(out)?;
        let mut chosen = Options::default();
        // SAFETY: the caller's promise; the first version has 24 bytes.
        if let Some(given) = unsafe { self::options(options, 24) }? {
            chosen.log_level = level(given.log_level, 0)?;
            if given.workers > 0 {
                chosen.workers = given.workers.min(256) as usize;
            }
            if given.max_queued_bytes > 0 {
                chosen.max_queued_bytes = whole("max_queued_bytes", given.max_queued_bytes)?;
            }
            if given.write_timeout_ms > 0 {
                chosen.write_timeout = Duration::from_millis(given.write_timeout_ms);
            }
        }
        let handle = table().insert(Arc::new(Open::start(chosen)?))?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// The descriptor that is readable while pagi_sse_runtime_next has records.
///
/// *Returns* it, or a handle error.
/// *Ownership*: the runtime's, until pagi_sse_runtime_free. Watch it, or a
/// duplicate; do not read or close it.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_fd(runtime: pagi_sse_runtime) -> i32 {
    guard(|| Ok(table().get(runtime)?.desk().fd()))
}

/// Fills `buf` with whole records, never waiting, and makes the descriptor
/// unreadable when none remain. pagi_sse_record_read reads them. Records of a
/// connection may still come when it has been freed.
///
/// # Safety
/// `buf` points to `cap` writable bytes, `used` to a writable `size_t`.
///
/// *Returns* how many records it put there, 0 for none, and in `used` their
/// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
/// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_runtime_next(
    runtime: pagi_sse_runtime,
    buf: *mut c_char,
    cap: usize,
    used: *mut usize,
) -> i32 {
    guard(|| {
        let runtime = table().get(runtime)?;
        // SAFETY: the caller's promise.
        unsafe { next(buf, cap, used, |buf| runtime.desk().next(buf)) }
    })
}

/// Has everything queued on any socket written now, by the runtime. To be
/// called at the end of a turn of the host's loop; without it output waits a
/// millisecond or so.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_flush(runtime: pagi_sse_runtime) -> i32 {
    guard(|| {
        table().get(runtime)?.desk().flush_soon();
        Ok(0)
    })
}

/// Makes the descriptor readable, to wake the host's loop. Of several wake-ups
/// for later only the earliest is kept: who needs another asks again then.
///
/// *Parameters*: `runtime`; `delay_ms`, 0 for at once.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_wake(runtime: pagi_sse_runtime, delay_ms: u64) -> i32 {
    guard(|| {
        let runtime = table().get(runtime)?;
        runtime.wake_after(Duration::from_millis(delay_ms));
        Ok(0)
    })
}

/// Counts the connections in progress: those for which no ENDED record has
/// been made.
///
/// *Returns* their number, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_busy(runtime: pagi_sse_runtime) -> i64 {
    guard(|| Ok(table().get(runtime)?.desk().registry().live() as i64))
}

/// Statistics, as a JSON object: `version`, `abi`, and the members of
/// pagi_sse_host_counts, of which `open` and `opened` are in `connections`. More
/// may come.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_runtime_stats(
    runtime: pagi_sse_runtime,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let stats = stats(&table().get(runtime)?.desk().counts());
        // SAFETY: the caller's promise.
        unsafe { copy_out(stats.as_bytes(), buf, cap, len) }
    })
}

/// Statistics, as numbers: see pagi_sse_host_counts.
///
/// # Safety
/// `runtime`; `out` points to `size`, that is, sizeof(pagi_sse_host_counts),
/// writable bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_runtime_counters(
    runtime: pagi_sse_runtime,
    out: *mut HostCounts,
    size: usize,
) -> i32 {
    guard(|| {
        let counts = table().get(runtime)?.desk().counts();
        // SAFETY: the caller's promise; numbers of one size have no padding.
        unsafe { set_struct(out, size, &counts) }?;
        Ok(0)
    })
}

/// Closes every connection in order (a CLOSED record each, reason
/// `server_shutdown`), waits until the sockets have taken what is queued, but
/// not for a client that takes nothing for a second, and ends the threads. Afterwards records can still be read and output of
/// connections be taken; opening gives PAGI_SSE_RESULT_STOPPED. A second call
/// does nothing.
///
/// *Parameters*: `runtime`; `deadline_ms`, the longest wait, at most 60000.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_stop(runtime: pagi_sse_runtime, deadline_ms: u64) -> i32 {
    guard(|| {
        table().get(runtime)?.stop(deadline(deadline_ms));
        Ok(0)
    })
}

/// As pagi_sse_runtime_stop, if that was not called; then cuts off what is still
/// in progress, closes the descriptor, and drops unread records. Connections
/// keep their handles, closed, until they are freed.
///
/// *Parameters*: `runtime`; `deadline_ms`, the longest wait, from 250 (also for
/// less) to 60000.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_free(runtime: pagi_sse_runtime, deadline_ms: u64) -> i32 {
    guard(|| {
        let runtime = table().remove(runtime)?;
        runtime.end(deadline(deadline_ms));
        Ok(0)
    })
}
