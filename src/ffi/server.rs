//! The embedded server, for C.

use super::library::{pagi_sse_bytes, pagi_sse_server};
use super::runtime::{deadline, level, stats};
use super::{copy_out, guard, next, options, set, set_struct, text, whole, writable};
use crate::core::counts::HostCounts;
use crate::core::error::Error;
use crate::core::reason::Why;
use crate::handle::{self, Table};
use crate::server::{Options, Server};
use crate::sys::{self, PerProcess};
use std::ffi::c_char;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How a server is to run. Zero the struct, set `size` and what matters; 0
/// elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_server_options {
    /// sizeof(pagi_sse_server_options): lets the struct grow.
    pub size: usize,
    /// `HOST:PORT` (port 0: the kernel picks), `unix:PATH`, or `fd:N`: a
    /// listening stream socket of the host's (systemd, prefork). Of that the
    /// server works on a duplicate, and sets it non-blocking; the descriptor
    /// stays the host's, is never shut down, and others may go on accepting at
    /// it when this server drains: it turns nobody away who waits there. Absent: `127.0.0.1:0`.
    pub listen: pagi_sse_bytes,
    /// Largest request body, bytes (1 MiB). More is answered with 413.
    pub max_body: u64,
    /// Most connections open at a time (16384); more wait in the kernel.
    pub max_connections: u32,
    /// Threads of the runtime (cores - 1, at least 1); more than 256 are 256.
    pub workers: u32,
    /// A client that takes no byte for so long is dropped, milliseconds
    /// (30000).
    pub write_timeout_ms: u64,
    /// A request's head has to come within it, milliseconds (30000). A part of
    /// one is answered with 408.
    pub head_timeout_ms: u64,
    /// A request's body has to come within it, milliseconds (300000), else it
    /// is answered with 408.
    pub body_timeout_ms: u64,
    /// Memory that the output queues of all connections may take, bytes (256
    /// MiB); an event that many have waiting counts once. Above it the
    /// connections whose queues take most are closed, reason `queue_overflow`.
    pub max_queued_bytes: u64,
    /// Of enum pagi_sse_level: LOG records up to it. Those beside warnings take
    /// half of the room that records of no connection have.
    pub log_level: u32,
    /// 0.
    pub reserved: u32,
    /// After an answer, the next request's first byte has to come within it,
    /// milliseconds (75000); then the connection is closed. While no place is
    /// free among `max_connections`, idle ones make room at once, the longest
    /// idle first; new ones, of whose first request nothing has come, after 250
    /// milliseconds.
    pub idle_timeout_ms: u64,
}

/// This process's servers by handle.
pub(super) fn table() -> &'static Table<Arc<Server>> {
    static TABLE: PerProcess<Table<Arc<Server>>> =
        PerProcess::new(|p| Table::new(handle::SERVER, p));
    TABLE.get()
}

/// Binds the address and starts the runtime's threads, with all signals
/// blocked in them. Clients wait until pagi_sse_server_start.
///
/// A client may end its side of the connection behind its request and wait for
/// the answer (a half-close). It gets an ordinary response; to a stream this is
/// the client's end, as nothing else tells of a client that has gone. Until the
/// application has chosen, the two cannot be told apart, so after 1, 5 and 21
/// seconds an HTTP/1.1 client is sent `100 Continue`, to which one that has gone
/// answers with a reset: CLOSED. So is one whose body is not read, as long as
/// its end could lie behind that. The place of a connection among
/// `max_connections` is free when its transport has ended (ENDED), though its
/// number is still in use. While none is free, a stream that the host has closed
/// or freed waits a second, in place of `write_timeout_ms`, for a client that
/// takes nothing of what is queued.
///
/// # Safety
/// `options` points to a struct of the size that it says; `out` points to a
/// writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_LISTEN_ADDRESS, _ADDRESS_IN_USE,
/// _BIND_FAILED (pagi_sse_error has the system's reason), _HOST_UNKNOWN (the
/// resolver's), _NOT_LISTENING (`fd:N`), _OS (threads or descriptors), _NULL_POINTER, _BAD_ARGUMENT (a size), _NOT_UTF8,
/// _HANDLES_EXHAUSTED.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_open(
    options: *const pagi_sse_server_options,
    out: *mut pagi_sse_server,
) -> i32 {
    guard(|| {
        writable(out)?;
        // SAFETY: the caller's promise; the first version has 48 bytes.
        let given = unsafe { self::options(options, 48) }?.ok_or(Error::NullPointer)?;
        let mut chosen = Options::default();
        // SAFETY: the caller's promise.
        if let Some(listen) = unsafe { text("listen", given.listen.data, given.listen.len) }? {
            chosen.listen = listen.to_owned();
        }
        if given.max_body > 0 {
            chosen.max_body = whole("max_body", given.max_body)?;
        }
        if given.max_queued_bytes > 0 {
            chosen.max_queued_bytes = whole("max_queued_bytes", given.max_queued_bytes)?;
        }
        chosen.log_level = level(given.log_level, given.reserved)?;
        if given.max_connections > 0 {
            chosen.max_connections = given.max_connections as usize;
        }
        if given.workers > 0 {
            chosen.workers = given.workers.min(256) as usize;
        }
        if given.write_timeout_ms > 0 {
            chosen.write_timeout = Duration::from_millis(given.write_timeout_ms);
        }
        if given.head_timeout_ms > 0 {
            chosen.head_timeout = Duration::from_millis(given.head_timeout_ms);
        }
        if given.idle_timeout_ms > 0 {
            chosen.idle_timeout = Duration::from_millis(given.idle_timeout_ms);
        }
        if given.body_timeout_ms > 0 {
            chosen.body_timeout = Duration::from_millis(given.body_timeout_ms);
        }
        let handle = table().insert(Arc::new(Server::start(chosen)?))?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Begins to accept connections.
///
/// *Returns* 0, also when it does already; or PAGI_SSE_RESULT_STOPPED, or a
/// handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_start(server: pagi_sse_server) -> i32 {
    guard(|| {
        table().get(server)?.accept()?;
        Ok(0)
    })
}

/// The TCP port bound.
///
/// *Returns* it; 0 for a Unix socket; or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_port(server: pagi_sse_server) -> i32 {
    guard(|| Ok(table().get(server)?.port().into()))
}

/// What the server listens on: `127.0.0.1:5000`, `[::1]:5000` or `unix:PATH`;
/// of `fd:N` too.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_address(
    server: pagi_sse_server,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let server = table().get(server)?;
        // SAFETY: the caller's promise.
        unsafe { copy_out(server.address().as_bytes(), buf, cap, len) }
    })
}

/// Has the server serve a connection that the host has accepted by itself, as
/// one of its own: REQUEST records, keep-alive, the times and limits of its
/// options. It may be called before pagi_sse_server_start, and instead of it.
///
/// # Safety
/// `server`; `fd` is a descriptor that nobody else uses, of a stream socket,
/// TCP or Unix, connected; `bytes` is NULL with `len` 0, or valid for `len`:
/// all that the host has read of it, at most 65536 bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_TOO_MANY_CONNECTIONS (as many are open as
/// `max_connections` allows; an idle one was told to make room, so try again
/// soon), _RECORDS_UNREAD (65,536 ENDED records), _STOPPED (also after
/// pagi_sse_server_drain), _BAD_SOCKET, _BAD_ARGUMENT (`len`), _NULL_POINTER, _OS
/// (out of descriptors), or a handle error.
/// *Ownership*: after 0 `fd` is the library's, until it closes it: non-blocking
/// and close-on-exec. Take it out of the host's own epoll or poll set before.
/// After an error it is the caller's as before, with its flags. The bytes are
/// copied.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_adopt(
    server: pagi_sse_server,
    fd: i32,
    bytes: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let server = table().get(server)?;
        // SAFETY: the caller's promise.
        let held = unsafe { super::bytes(bytes, len) }?.unwrap_or_default();
        if !sys::is_open(fd) {
            return Err(Error::BadSocket.into());
        }
        // SAFETY: an open descriptor, the caller's to give; given back below
        // unless it is taken.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        server.adopt(fd, held).map_err(|(error, fd)| {
            let _ = fd.into_raw_fd();
            error
        })?;
        Ok(0)
    })
}

/// The descriptor that is readable while pagi_sse_server_next has records.
///
/// *Returns* it, or a handle error.
/// *Ownership*: the server's, until pagi_sse_server_free. Watch it, or a
/// duplicate; do not read or close it.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_fd(server: pagi_sse_server) -> i32 {
    guard(|| Ok(table().get(server)?.fd()))
}

/// Fills `buf` with whole records, never waiting, and makes the descriptor
/// unreadable when none remain. pagi_sse_record_read reads them; who reads the
/// bytes by himself finds for each a `uint32_t` length and then so many bytes:
/// a type byte (enum pagi_sse_kind), a `uint64_t` connection, and these
/// fields in native byte order, byte strings (str) after a `uint32_t` length:
///
/// - REQUEST: `uint8_t` sse, `uint8_t` flags; str decoded path, method, HTTP
///   version, path as it came, query; str client host, `uint16_t` port; str
///   server host (or socket path), `uint16_t` port; a str of all header fields:
///   of each str name, str value. The connection is the caller's from now on:
///   answer it, then pagi_sse_conn_free.
/// - BODY, DRAINED: nothing.
/// - CLOSED: str reason.
/// - ENDED: `uint16_t` status, `uint64_t` bytes sent, `uint64_t` milliseconds,
///   str reason, `uint64_t` user.
/// - LOG: str text, `uint8_t` level; connection 0. One line, without control
///   characters.
/// - ANSWERED: as ENDED up to the reason; then as REQUEST from the method on; connection 0. The
///   server refused the request by itself: nothing is to be done but to note it.
///
/// Skip what stands behind these fields in a record: later versions add some.
///
/// # Safety
/// `buf` points to `cap` writable bytes, `used` to a writable `size_t`.
///
/// *Returns* how many records it put there, 0 for none, and in `used` their
/// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
/// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
/// *Ownership*: the records are the caller's, and the connections of REQUEST
/// records.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_next(
    server: pagi_sse_server,
    buf: *mut c_char,
    cap: usize,
    used: *mut usize,
) -> i32 {
    guard(|| {
        let server = table().get(server)?;
        // SAFETY: the caller's promise.
        unsafe { next(buf, cap, used, |buf| server.next(buf)) }
    })
}

/// Has everything queued on any connection written now, by the runtime. To be
/// called at the end of a turn of the host's loop; without it output waits a
/// millisecond or so.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_flush(server: pagi_sse_server) -> i32 {
    guard(|| {
        table().get(server)?.flush();
        Ok(0)
    })
}

/// Makes the descriptor readable, to wake the host's loop. Of several wake-ups
/// for later only the earliest is kept: who needs another asks again then.
///
/// *Parameters*: `server`; `delay_ms`, 0 for at once.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_wake(server: pagi_sse_server, delay_ms: u64) -> i32 {
    guard(|| {
        let server = table().get(server)?;
        server.wake_after(Duration::from_millis(delay_ms));
        Ok(0)
    })
}

/// Counts each request or stream in progress once, to the last byte of its
/// answer, and each answer of the server's own that is on its way. A connection
/// on which nothing was asked counts 0; after pagi_sse_server_drain 1, until it
/// has been looked at once more. After that, 0 means that
/// pagi_sse_server_free cuts nobody off.
///
/// *Returns* their number, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_busy(server: pagi_sse_server) -> i64 {
    guard(|| Ok(table().get(server)?.busy() as i64))
}

/// Statistics, as a JSON object; see pagi_sse_runtime_stats.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_stats(
    server: pagi_sse_server,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let stats = stats(&table().get(server)?.counts());
        // SAFETY: the caller's promise.
        unsafe { copy_out(stats.as_bytes(), buf, cap, len) }
    })
}

/// Statistics, as numbers: see pagi_sse_host_counts.
///
/// # Safety
/// `server`; `out` points to `size`, that is, sizeof(pagi_sse_host_counts),
/// writable bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_counters(
    server: pagi_sse_server,
    out: *mut HostCounts,
    size: usize,
) -> i32 {
    guard(|| {
        let counts = table().get(server)?.counts();
        // SAFETY: the caller's promise; numbers of one size have no padding.
        unsafe { set_struct(out, size, &counts) }?;
        Ok(0)
    })
}

/// Accepts no more connections and requests; what is in progress goes on. Who
/// waits in the kernel to be accepted, or sends a request now, gets 503 (a
/// stream an empty one, so that its client comes back).
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_drain(server: pagi_sse_server) -> i32 {
    guard(|| {
        table().get(server)?.drain();
        Ok(0)
    })
}

/// Closes every stream in order (a CLOSED record each), responses of type
/// `text/event-stream` among them, and each that begins later. Ordinary requests
/// go on.
///
/// # Safety
/// `server`; `reason` is NULL with length 0, for `server_shutdown`, or valid
/// for `len`; UTF-8.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes),
/// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_server_close_streams(
    server: pagi_sse_server,
    reason: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let server = table().get(server)?;
        // SAFETY: the caller's promise.
        let reason = unsafe { super::reason(reason, len, Why::ServerShutdown) }?;
        server.close_streams(reason);
        Ok(0)
    })
}

/// Ends in order, in one call: drains, closes every stream with the reason
/// `server_shutdown`, waits for what is on its way, and ends the threads. It does
/// not wait for a client that takes nothing for a second, nor for a request head
/// of which only a part has come. Requests that have no answer at the deadline
/// get 503; a response that is not whole is cut off. Both have 250 milliseconds
/// more to leave. Records can still be read. A second call does nothing.
///
/// *Parameters*: `server`; `deadline_ms`, the longest wait, at most 60000.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_stop(server: pagi_sse_server, deadline_ms: u64) -> i32 {
    guard(|| {
        table().get(server)?.stop(deadline(deadline_ms));
        Ok(0)
    })
}

/// As pagi_sse_server_stop, if that was not called, but requests without an
/// answer get their 503 at once; then closes sockets and descriptor, and drops
/// unread records. Connections keep their handles, closed, until they are freed.
///
/// *Parameters*: `server`; `deadline_ms`, the longest wait, from 250 (also for
/// less) to 60000.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_server_free(server: pagi_sse_server, deadline_ms: u64) -> i32 {
    guard(|| {
        let server = table().remove(server)?;
        server.end(deadline(deadline_ms));
        Ok(0)
    })
}
