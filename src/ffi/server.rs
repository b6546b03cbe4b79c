//! The embedded server, for C.

use super::{bytes, guard, set, text};
use crate::error::{Error, Result};
use crate::handle::{self, Table};
use crate::server::{Options, Server};
use crate::sys::PerProcess;
use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

/// One server: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_server = u64;

/// How a server is to run. Zero the struct, set `size` and what matters; 0
/// elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_server_options {
    /// sizeof(pagi_sse_server_options): lets the struct grow.
    pub size: usize,
    /// `HOST:PORT` (port 0: the kernel picks) or `unix:PATH`.
    pub listen: *const c_char,
    /// Length of `listen`, bytes.
    pub listen_len: usize,
    /// Largest request body, bytes (1 MiB). More is answered with 413.
    pub max_body: u64,
    /// Most connections open at a time (16384); more wait in the kernel.
    pub max_connections: u32,
    /// Threads of the runtime (cores - 1, at least 1).
    pub workers: u32,
    /// A client that takes no byte for so long is dropped, milliseconds
    /// (30000).
    pub write_timeout_ms: u64,
}

/// This process's servers by handle.
pub(super) fn table() -> &'static Table<Arc<Server>> {
    static TABLE: PerProcess<Table<Arc<Server>>> =
        PerProcess::new(|p| Table::new(handle::SERVER, p));
    TABLE.get()
}

fn server(handle: pagi_sse_server) -> Result<Arc<Server>> {
    table().get(handle)
}

/// Binds the address and starts the runtime's threads, with all signals
/// blocked. Clients wait until pagi_sse_server_accept.
///
/// Returns 0, or an error: PAGI_SSE_RESULT_LISTEN_ADDRESS, _ADDRESS_IN_USE,
/// _BIND_FAILED, _OS.
/// *Ownership*: the caller's; pagi_sse_server_free ends it.
/// *Fork*: fork first, then start; a child cannot use its parent's server.
///
/// # Safety
/// `options` points to a struct of the size it says; `out` to a writable
/// handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_start(
    options: *const pagi_sse_server_options,
    out: *mut pagi_sse_server,
) -> i32 {
    guard(|| {
        if out.is_null() {
            return Err(Error::NullPointer);
        }
        // SAFETY: NULL is told apart; else the caller's promise.
        let given = unsafe { options.as_ref() }.ok_or(Error::NullPointer)?;
        if given.size < size_of::<pagi_sse_server_options>() {
            return Err(Error::BadArgument);
        }
        let mut options = Options::default();
        // SAFETY: the caller's promise.
        if let Some(listen) = unsafe { text(given.listen, given.listen_len) }? {
            options.listen = listen.to_owned();
        }
        if given.max_body > 0 {
            options.max_body = usize::try_from(given.max_body).map_err(|_| Error::BadArgument)?;
        }
        if given.max_connections > 0 {
            options.max_connections = given.max_connections as usize;
        }
        if given.workers > 0 {
            options.workers = given.workers.min(256) as usize;
        }
        if given.write_timeout_ms > 0 {
            options.write_timeout = Duration::from_millis(given.write_timeout_ms);
        }
        let handle = table().insert(Arc::new(Server::start(options)?))?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Begins to accept connections. Returns 0, or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_accept(server: pagi_sse_server) -> i32 {
    guard(|| {
        self::server(server)?.accept();
        Ok(0)
    })
}

/// The TCP port bound; 0 for a Unix socket; or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_port(server: pagi_sse_server) -> i32 {
    guard(|| Ok(self::server(server)?.port().into()))
}

/// A descriptor that is readable while pagi_sse_server_next has records; or
/// an error.
///
/// *Ownership*: the server's. Watch it, or a duplicate; do not read or close it.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_fd(server: pagi_sse_server) -> i32 {
    guard(|| Ok(self::server(server)?.fd()))
}

/// Fills `buf` with records, never waiting. Each is a `uint32_t` length and
/// then so many bytes: a type byte, a `uint64_t` connection, and fields in
/// native byte order, byte strings (`str`) after a `uint32_t` length:
///
/// - 1 REQUEST: `uint8_t` sse; `uint8_t` flags (1 has a body, 2 the path is
///   UTF-8, 4 the listener is a Unix socket); str method, HTTP version,
///   decoded path, path as it came, query; str client host, `uint16_t` port;
///   str server host (or socket path), `uint16_t` port; then str name, str
///   value of each header field to the record's end. The connection is the
///   caller's from now on: answer it, then pagi_sse_conn_free.
/// - 2 BODY: request body bytes can be read.
/// - 3 DRAINED: the output queue fell below the low mark.
/// - 4 CLOSED: str reason. Not by the caller.
/// - 5 ENDED: `uint16_t` status, `uint64_t` bytes sent, `uint64_t`
///   milliseconds, str reason ("" for a response sent in full).
/// - 6 LOG: str text; connection 0.
///
/// Skip types you do not know. Returns the bytes used, 0 for none; a number
/// above `cap` is the size that the first record needs, and nothing was taken.
/// *Threads*: one at a time.
///
/// # Safety
/// `buf` points to `cap` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_next(
    server: pagi_sse_server,
    buf: *mut c_char,
    cap: usize,
) -> i64 {
    guard(|| {
        let server = self::server(server)?;
        // SAFETY: the caller's promise; checked for NULL and overflow.
        if unsafe { bytes(buf, cap) }?.is_none() {
            return Err(Error::NullPointer);
        }
        // SAFETY: as just checked; nobody else has the buffer during the call.
        let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), cap) };
        Ok(server.next(buf) as i64)
    })
}

/// Has everything queued on any connection written now, by the runtime. To be
/// called at the end of a turn of the host's loop; without it output waits a
/// millisecond or so. Returns 0, or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_flush(server: pagi_sse_server) -> i32 {
    guard(|| {
        self::server(server)?.flush();
        Ok(0)
    })
}

/// Makes the descriptor readable after `delay_ms` (0: at once), to wake the
/// host's loop. Returns 0, or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_wake(server: pagi_sse_server, delay_ms: u64) -> i32 {
    guard(|| {
        self::server(server)?.wake_after(Duration::from_millis(delay_ms));
        Ok(0)
    })
}

/// Requests and streams in progress, and connections whose response is still
/// on its way; or an error. After pagi_sse_server_drain, 0 means that
/// pagi_sse_server_free cuts nobody off.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_busy(server: pagi_sse_server) -> i64 {
    guard(|| Ok(self::server(server)?.busy() as i64))
}

/// Accepts no more connections and requests; what is in progress goes on.
/// Returns 0, or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_drain(server: pagi_sse_server) -> i32 {
    guard(|| {
        self::server(server)?.drain();
        Ok(0)
    })
}

/// Closes every stream in order, with that reason (a CLOSED record each).
/// Ordinary requests go on. Returns 0, or an error.
///
/// # Safety
/// `reason` points to `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_close_streams(
    server: pagi_sse_server,
    reason: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let server = self::server(server)?;
        // SAFETY: the caller's promise.
        let reason = unsafe { text(reason, len) }?.ok_or(Error::NullPointer)?;
        server.close_streams(reason);
        Ok(0)
    })
}

/// Stops the threads and closes the sockets, waiting `deadline_ms` at most,
/// and frees the server. Connections keep their handles, closed.
///
/// Returns 0, or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_free(server: pagi_sse_server, deadline_ms: u64) -> i32 {
    guard(|| {
        let server = table().remove(server)?;
        server.stop(Duration::from_millis(deadline_ms.min(60_000)));
        Ok(0)
    })
}
