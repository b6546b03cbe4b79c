//! A thread of the host's that waits for records, for C.

use super::library::pagi_sse_runtime;
#[cfg(feature = "server")]
use super::library::pagi_sse_server;
use super::record::{self, pagi_sse_record};
use super::runtime;
#[cfg(feature = "server")]
use super::server;
use super::{Result, guard};
use crate::core::error::Error;
use crate::host::desk::Desk;
use crate::host::wait::{run, until, wait};
use std::ffi::c_void;
use std::sync::Arc;

/// As a time in milliseconds: no end.
pub const PAGI_SSE_FOREVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// What pagi_sse_server_run and pagi_sse_runtime_run call: with a record, which
/// lives until the function returns, and the `user` of theirs. It returns 0 to go
/// on; anything else ends the run, which returns that number. It may call any
/// function of this library. It must not leave in another way (longjmp, a C++
/// exception).
#[allow(non_camel_case_types)]
pub type pagi_sse_callback =
    Option<unsafe extern "C" fn(record: *const pagi_sse_record, user: *mut c_void) -> i32>;

fn wait_for(desk: impl Fn() -> Result<Arc<Desk>>, timeout_ms: u64) -> Result<i32> {
    wait(&desk, until(timeout_ms)).map(i32::from)
}

/// # Safety
/// `callback` can be called as it says.
unsafe fn call_for(
    desk: impl Fn() -> Result<Arc<Desk>>,
    callback: pagi_sse_callback,
    user: *mut c_void,
    timeout_ms: u64,
) -> Result<i32> {
    let callback = callback.ok_or(Error::NullPointer)?;
    run(&desk, until(timeout_ms), |bytes| {
        let record = record::read(bytes, &[])?;
        // SAFETY: the caller's promise; the record lives as long as the call.
        Ok(unsafe { callback(&raw const record, user) })
    })
}

#[cfg(feature = "server")]
fn of_server(server: pagi_sse_server) -> impl Fn() -> Result<Arc<Desk>> {
    move || Ok(server::table().get(server)?.desk().clone())
}

fn of_runtime(runtime: pagi_sse_runtime) -> impl Fn() -> Result<Arc<Desk>> {
    move || Ok(runtime::table().get(runtime)?.desk().clone())
}

/// Waits until pagi_sse_server_next has records, for a host without a loop.
///
/// *Parameters*: `server`; `timeout_ms`, the longest wait, 0 for none,
/// PAGI_SSE_FOREVER.
///
/// *Returns* 1: take the records (there is none after pagi_sse_server_wake, or
/// where another thread was faster); 0: the time is over, or this thread has
/// handled a signal; or PAGI_SSE_RESULT_STOPPED (pagi_sse_server_stop has
/// returned, and all records were taken), _OS, or a handle error:
/// PAGI_SSE_RESULT_HANDLE_STALE also when the server is freed meanwhile.
/// *Threads*: several at a time. A signal that comes just before the wait ends
/// none: use a time, pagi_sse_server_wake by another thread, or ppoll on
/// pagi_sse_server_fd.
#[cfg(feature = "server")]
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_wait(server: pagi_sse_server, timeout_ms: u64) -> i32 {
    guard(|| wait_for(of_server(server), timeout_ms))
}

/// Waits for records and calls back with one after the other, in this thread: a
/// host's whole loop. No buffer is needed, nor pagi_sse_server_flush.
///
/// # Safety
/// `server`; `callback`, as pagi_sse_callback says; `user` is passed on to it;
/// `timeout_ms`, after which it returns, and before that whatever waited at the
/// beginning was called back with; PAGI_SSE_FOREVER.
///
/// *Returns* what the callback returned, other than 0; 0: the time is over, this
/// thread has handled a signal, or pagi_sse_server_wake was called since a run
/// told of it last, so call again to go on; or PAGI_SSE_RESULT_STOPPED (the usual end: pagi_sse_server_stop has
/// returned, and all records were called back with), _NULL_POINTER, _OS, or a
/// handle error: PAGI_SSE_RESULT_HANDLE_STALE also when the server is freed
/// meanwhile, as by the callback.
/// *Ownership*: the connections of REQUEST records are the caller's. What it has
/// not called back with stays for the next call, or for pagi_sse_server_next.
/// *Threads*: of several at a time each gets other records. Nothing of the server
/// is held while the callback runs: it may stop and free it. As
/// pagi_sse_server_wait for signals.
/// *Fork*: a callback that forks goes on in the parent.
#[cfg(feature = "server")]
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_run(
    server: pagi_sse_server,
    callback: pagi_sse_callback,
    user: *mut c_void,
    timeout_ms: u64,
) -> i32 {
    // SAFETY: the caller's promise, passed on.
    guard(|| unsafe { call_for(of_server(server), callback, user, timeout_ms) })
}

/// Waits until pagi_sse_runtime_next has records, for a host without a loop.
///
/// *Parameters*: `runtime`; `timeout_ms` as for pagi_sse_server_wait.
///
/// *Returns* as pagi_sse_server_wait.
/// *Threads*: as pagi_sse_server_wait.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_runtime_wait(runtime: pagi_sse_runtime, timeout_ms: u64) -> i32 {
    guard(|| wait_for(of_runtime(runtime), timeout_ms))
}

/// Waits for records and calls back with one after the other, in this thread.
///
/// # Safety
/// `runtime`; the others as for pagi_sse_server_run.
///
/// *Returns* as pagi_sse_server_run.
/// *Threads*: as pagi_sse_server_run.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_runtime_run(
    runtime: pagi_sse_runtime,
    callback: pagi_sse_callback,
    user: *mut c_void,
    timeout_ms: u64,
) -> i32 {
    // SAFETY: the caller's promise, passed on.
    guard(|| unsafe { call_for(of_runtime(runtime), callback, user, timeout_ms) })
}
