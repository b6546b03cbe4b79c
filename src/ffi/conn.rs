//! Connections, for C.

use super::event::{self, Given, pagi_sse_event};
use super::library::{pagi_sse_conn, pagi_sse_header, pagi_sse_runtime};
use super::runtime;
use super::{Result, bad, bytes, copy_out, guard, set, set_struct, some_buffer, text, writable};
use crate::conn::{Conn, Field, Framing, table};
use crate::core::error::{Error, Failure};
use crate::core::frame::Event;
use crate::core::limits;
use crate::core::outbox::Marks;
use crate::core::reason::Why;
use crate::core::state::Reason;
use crate::host::scope::scopes;
use crate::sys;
use crate::wire::Wire;
use bytes::BufMut as _;
use http::{HeaderName, HeaderValue};
use std::ffi::c_char;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::Arc;

/// What pagi_sse_conn_read_body has met.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Body {
    /// The end of the body: there is no more.
    End = 0,
    /// More may follow: call again.
    More = 1,
    /// Nothing has come yet: a BODY record will tell.
    Wait = 2,
}

fn framing(wire: i32) -> Result<Framing> {
    Ok(Framing {
        sse: true,
        wire: Wire::of(wire).ok_or_else(|| bad("wire"))?,
        fixed: true,
        ..Framing::default()
    })
}

/// What went over a connection so far, and its output queue.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_conn_counts {
    /// Events queued.
    pub events: u64,
    /// Comments queued, keepalives among them.
    pub comments: u64,
    /// Sends that the full queue refused.
    pub refused: u64,
    /// Bytes of content that left the queue for the client, without head and
    /// framing of chunks.
    pub bytes_sent: u64,
    /// Bytes in the queue now.
    pub queued_bytes: u64,
    /// The queue's low mark, bytes.
    pub low: u64,
    /// Its high mark.
    pub high: u64,
    /// Its limit.
    pub limit: u64,
}

/// The caller's header fields.
///
/// # Safety
/// `headers` is NULL or points to `count` structs whose pointers are valid.
pub(super) unsafe fn fields<'a>(
    headers: *const pagi_sse_header,
    count: usize,
) -> Result<Vec<Field<'a>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if headers.is_null() {
        return Err(Error::NullPointer.into());
    }
    if count > limits::HEADERS {
        return Err(bad("count"));
    }
    (0..count)
        .map(|i| {
            // SAFETY: not NULL, and the caller's promise.
            let h = unsafe { headers.add(i).read_unaligned() };
            // SAFETY: the caller's promise for each struct.
            let (name, value) =
                unsafe { (bytes(h.name, h.name_len)?, bytes(h.value, h.value_len)?) };
            Ok((name.unwrap_or_default(), value.unwrap_or_default()))
        })
        .collect()
}

/// Says which header field was refused.
pub(super) fn which(error: Error, fields: &[Field<'_>]) -> Failure {
    if error == Error::ContentLength {
        let lengths = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"))
            .map(|(_, value)| format!("\"{}\"", value.escape_ascii()));
        let lengths: Vec<String> = lengths.take(2).collect();
        return Failure::new(error, format!("it is {}", lengths.join(" and ")));
    }
    let bad = fields.iter().position(|(name, value)| match error {
        Error::HeaderName => HeaderName::from_bytes(name).is_err(),
        Error::HeaderValue => HeaderValue::from_bytes(value).is_err(),
        _ => false,
    });
    match bad {
        Some(i) => Failure::new(
            error,
            format!("field {i}, \"{}\"", fields[i].0.escape_ascii()),
        ),
        None => error.into(),
    }
}

/// Runs `f` on a connection.
fn on<T>(handle: pagi_sse_conn, f: impl FnOnce(&Arc<Conn>) -> Result<T>) -> Result<T> {
    let conn = table().get(handle)?;
    f(&conn).map_err(|failure| match failure.error {
        Error::QueueOverflow => {
            let limit = conn.marks().limit;
            Failure::new(failure.error, format!("its limit is {limit} bytes"))
        }
        _ => failure,
    })
}

/// Ends a connection by `how`, which says whether it did.
///
/// # Safety
/// `reason` is NULL with length 0, for `default`, or valid for `len`.
unsafe fn end(
    conn: pagi_sse_conn,
    reason: *const c_char,
    len: usize,
    default: Why,
    how: fn(&Arc<Conn>, Reason) -> bool,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let reason = unsafe { super::reason(reason, len, default) }?;
            Ok(how(conn, reason.to_owned().into()).into())
        })
    })
}

/// Opens a detached connection: the library keeps its state, the host does the
/// I/O and the framing. It has no output: functions that queue some give
/// PAGI_SSE_RESULT_NOT_HOSTED.
///
/// # Safety
/// `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _HANDLES_EXHAUSTED.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_open_detached(out: *mut pagi_sse_conn) -> i32 {
    guard(|| {
        writable(out)?;
        let conn = Conn::detached();
        let handle = table().insert(conn.clone())?;
        conn.set_handle(handle);
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Opens a connection whose output the host takes with pagi_sse_conn_read and
/// carries over a transport of its own: inside another HTTP server, TLS,
/// FastCGI. The runtime's records say when there is output; its threads send
/// the keepalives. pagi_sse_conn_free takes along the records that wait of it, but
/// for ENDED.
///
/// # Safety
/// `runtime`; `wire` is one of enum pagi_sse_wire; `out` points to a writable
/// handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (wire), _STOPPED,
/// _RECORDS_UNREAD (65,536 ENDED records), _HANDLES_EXHAUSTED, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_open_queue(
    runtime: pagi_sse_runtime,
    wire: i32,
    out: *mut pagi_sse_conn,
) -> i32 {
    guard(|| {
        let runtime = runtime::table().get(runtime)?;
        writable(out)?;
        let conn = runtime.pulled(framing(wire)?)?;
        // SAFETY: the caller's promise.
        unsafe { set(out, conn.handle()) }?;
        Ok(0)
    })
}

/// Opens a connection on a socket of the host's: TCP or Unix, of stream type,
/// connected, its request read. The runtime writes, and watches for the
/// client's end. What the client still sends is read and forgotten; more than
/// PAGI_SSE_FORGOTTEN_BYTES (64 KiB) of it within a minute end the stream, reason
/// `protocol_error`.
///
/// # Safety
/// `runtime`; `fd` is a descriptor that nobody else uses; `wire` is one of enum
/// pagi_sse_wire; `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (wire),
/// _BAD_SOCKET, _OS (out of descriptors), _STOPPED, _RECORDS_UNREAD (65,536 ENDED
/// records: each free of a socket leaves one), _HANDLES_EXHAUSTED, or a handle
/// error.
/// *Ownership*: after 0 `fd` is the library's, until it closes it: non-blocking
/// and close-on-exec. Take it out of the host's own epoll or poll set before or at
/// once afterwards (EPOLL_CTL_DEL works while it is open), else that wakes the
/// host for what the library reads. After an error it is the caller's as before,
/// with its flags. The handle is the caller's; pagi_sse_conn_free ends it.
/// *Fork*: the socket stays the parent's.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_open_fd(
    runtime: pagi_sse_runtime,
    fd: i32,
    wire: i32,
    out: *mut pagi_sse_conn,
) -> i32 {
    guard(|| {
        let runtime = runtime::table().get(runtime)?;
        writable(out)?;
        let framing = self::framing(wire)?;
        if !sys::is_open(fd) {
            return Err(Error::BadSocket.into());
        }
        // SAFETY: an open descriptor, the caller's to give; given back below
        // unless it is taken.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let conn = runtime.on_socket(fd, framing).map_err(|(error, fd)| {
            let _ = fd.into_raw_fd();
            error
        })?;
        // SAFETY: the caller's promise.
        unsafe { set(out, conn.handle()) }?;
        Ok(0)
    })
}

/// The one way in which a number ends.
fn give_back(conn: pagi_sse_conn, may: fn(&Conn) -> bool, end: fn(&Arc<Conn>)) -> i32 {
    guard(|| {
        if !may(&*table().get(conn)?) {
            return Err(Error::NotSubscribed.into());
        }
        let object = table().remove(conn)?;
        scopes().forget(conn);
        end(&object);
        Ok(0)
    })
}

/// Gives a connection back. One that is still open is closed first (reason
/// `app_closed`, as pagi_sse_conn_close). What it has queued is still sent, but dropped if only
/// pagi_sse_conn_read could have taken it. Of its records only ENDED comes from
/// now on.
///
/// *Returns* 0, or a handle error: PAGI_SSE_RESULT_HANDLE_STALE for a second
/// call.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_free(conn: pagi_sse_conn) -> i32 {
    give_back(conn, |_| true, Conn::release)
}

/// Gives the number of a stream that is subscribed to a hub back without closing
/// it: it lives on for the hub, to its client's end or its own. Of its records
/// only ENDED comes from now on. A stream that has ended meanwhile is just given
/// back.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NOT_SUBSCRIBED for a connection that nobody
/// could answer or end then: one not begun or answered by an ordinary response,
/// one without a subscription, a queue, a detached one; nothing has changed; or a
/// handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_hand_over(conn: pagi_sse_conn) -> i32 {
    give_back(conn, Conn::may_be_handed_over, Conn::hand_over)
}

/// Begins the event stream. Where the library writes the response head,
/// `content-type`, `cache-control`, `x-accel-buffering` and `date` are added if
/// absent, and fields that frame the message (`connection`, `content-length`,
/// `transfer-encoding`) are its own. Sends begin the stream too, with 200. A
/// server's stream goes out when the request body is here in full; when that
/// breaks off, the answer is 400. To HEAD goes the head alone, and then the
/// stream is over: a CLOSED record, reason `app_closed`.
///
/// # Safety
/// `conn`; `status`, 200 to 599; `headers` points to `count` structs (NULL for
/// 0; at most 128) whose pointers are valid for their lengths.
///
/// *Returns* 1 if this call began it, 0 if it had begun; or
/// PAGI_SSE_RESULT_CLOSED, _DECLINED, _STATUS, _BODILESS_STATUS (204, 205,
/// 304), _HEADER_NAME, _HEADER_VALUE, _NULL_POINTER, _BAD_ARGUMENT, or a handle
/// error; then nothing has changed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_start(
    conn: pagi_sse_conn,
    status: u16,
    headers: *const pagi_sse_header,
    count: usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let fields = unsafe { fields(headers, count) }?;
            let began = conn.start(status, fields.iter().copied());
            Ok(began.map_err(|e| which(e, &fields))?.into())
        })
    })
}

/// For a host that does the I/O of a detached connection: may an event go out
/// now? Begins the stream if it had not begun.
///
/// *Returns* 0: yes; 1: yes, and the stream's start must go out first; or
/// PAGI_SSE_RESULT_CLOSED, _DECLINED, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_admit(conn: pagi_sse_conn) -> i32 {
    guard(|| on(conn, |conn| Ok(conn.admit()?.into())))
}

/// As pagi_sse_conn_admit, and checks the event first.
///
/// # Safety
/// `conn`; `event` as for pagi_sse_conn_send_event.
///
/// *Returns* as pagi_sse_conn_admit; or what pagi_sse_conn_send_event refuses an
/// event by, and nothing has changed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_admit_event(
    conn: pagi_sse_conn,
    event: *const pagi_sse_event,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            let admit = |given: &Given<'_>| {
                given.event.check()?;
                Ok(conn.admit()?.into())
            };
            // SAFETY: the caller's promise.
            unsafe { event::sent(event, admit) }
        })
    })
}

/// Queues an event that has only data. Begins the stream if need be. CR, LF
/// and CRLF in the data each end a line; the client joins them with LF.
///
/// # Safety
/// `conn`; `data` is valid for `len`; UTF-8.
///
/// *Returns* 0: queued; 1: queued, and the queue is at or above its high mark,
/// so wait for the DRAINED record; after 0, and once after each DRAINED record,
/// an event of any size is taken; or PAGI_SSE_RESULT_QUEUE_OVERFLOW (full, and
/// this event is not in it), _CLOSED, _DECLINED, _NOT_UTF8, _NOT_HOSTED,
/// _NULL_POINTER (`data`, whatever the length), _BAD_ARGUMENT (a length beyond
/// 1 GiB), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_send(
    conn: pagi_sse_conn,
    data: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let data = unsafe { text("data", data, len) }?.ok_or(Error::NullPointer)?;
            let event = Event {
                data: Some(data),
                ..Event::default()
            };
            Ok(conn.send(&event)?.into())
        })
    })
}

/// Queues an event. Begins the stream if need be.
///
/// # Safety
/// `conn`; `event` points to a struct of the size that it says, whose pointers
/// are valid for their lengths.
///
/// *Returns* as pagi_sse_conn_send; or, and nothing has changed,
/// PAGI_SSE_RESULT_EVENT_NEWLINE, _ID_NEWLINE, _ID_NUL, _ID_HEADER, _JSON
/// (pagi_sse_error says what is wrong at which line and column), _NULL_POINTER
/// (`event`, the data of PAGI_SSE_EVENT_JSON), _BAD_ARGUMENT (pagi_sse_error names it: a size, an unknown
/// flag, `retry_ms` without its flag, `key` or a flag that is for
/// pagi_sse_hub_publish, a length).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_send_event(
    conn: pagi_sse_conn,
    event: *const pagi_sse_event,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            unsafe { event::sent(event, |given| Ok(conn.send(&given.event)?.into())) }
        })
    })
}

/// Queues a comment: a colon is put before each line that does not begin with
/// one. Begins the stream if need be.
///
/// # Safety
/// `conn`; `comment` is NULL with length 0, for an empty one, or valid for
/// `len`; UTF-8.
///
/// *Returns* as pagi_sse_conn_send, but an absent comment is no error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_comment(
    conn: pagi_sse_conn,
    comment: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let comment = unsafe { text("comment", comment, len) }?.unwrap_or_default();
            Ok(conn.comment(comment)?.into())
        })
    })
}

/// Has a comment sent whenever nothing else was for so long. The last setting
/// wins. Never begins the stream.
///
/// # Safety
/// `conn`; `interval_ms` in milliseconds, 10 to 86400000, or 0 to end it;
/// `comment` is NULL with length 0, for an empty one, or valid for `len`; UTF-8.
///
/// *Returns* 0, or PAGI_SSE_RESULT_INTERVAL, _CLOSED, _DECLINED, _NOT_HOSTED,
/// _NOT_UTF8, _NULL_POINTER, _BAD_ARGUMENT, or a handle error; then the setting
/// is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_keepalive(
    conn: pagi_sse_conn,
    interval_ms: u64,
    comment: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let comment = unsafe { text("comment", comment, len) }?.unwrap_or_default();
            conn.set_keepalive(interval_ms, comment)?;
            Ok(0)
        })
    })
}

/// Closes by the application. What is queued is still sent; a stream that had
/// not begun is answered with 200 and no event. An ordinary response whose body
/// was ended goes out in whole, and then ENDED has no reason.
///
/// # Safety
/// `conn`; `reason` is NULL with length 0, for `app_closed`, or valid for
/// `len`; UTF-8.
///
/// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
/// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes), _NULL_POINTER,
/// _BAD_ARGUMENT, or a handle error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_close(
    conn: pagi_sse_conn,
    reason: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { end(conn, reason, len, Why::AppClosed, |c, r| c.close(Some(r))) }
}

/// Says whether the host program takes a request for a stream, in place of what
/// its `Accept` field says. As long as nothing has been chosen, a stop of the
/// server ends a stream at once, as an empty one, and waits for an ordinary
/// response. Either may be sent nevertheless.
///
/// *Parameters*: `conn`; `stream`: 1 or 0.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_expect_stream(conn: pagi_sse_conn, stream: i32) -> i32 {
    guard(|| {
        on(conn, |conn| {
            conn.expect_stream(stream != 0);
            Ok(0)
        })
    })
}

/// Breaks the connection off, as the application has failed: what is queued is
/// still sent, but then the connection ends without the last chunk (HTTP/1.1),
/// or before the end of an ordinary response's body, so that the client does
/// not take the part for the whole. What had not begun is answered with 500 by
/// a server of this library, and with nothing elsewhere. Over HTTP/1.0 no client
/// can tell this end of a stream from another.
///
/// # Safety
/// `conn`; `reason` is NULL with length 0, for `server_error`, or valid for
/// `len`; UTF-8.
///
/// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
/// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes), _NULL_POINTER,
/// _BAD_ARGUMENT, or a handle error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_abort(
    conn: pagi_sse_conn,
    reason: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { end(conn, reason, len, Why::ServerError, Conn::abort) }
}

/// Reports that the client has gone, for a host that sees it: what is queued is
/// dropped, nothing more can be sent. A CLOSED record follows, as for every end
/// that is not pagi_sse_conn_close or _abort, and then ENDED. Detached connections have
/// no records.
///
/// # Safety
/// `conn`; `reason` is NULL with length 0, for `client_closed`, or valid for
/// `len`; UTF-8.
///
/// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
/// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes), _NULL_POINTER,
/// _BAD_ARGUMENT, or a handle error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_disconnect(
    conn: pagi_sse_conn,
    reason: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { end(conn, reason, len, Why::ClientClosed, Conn::abandon) }
}

/// Takes output of a connection of pagi_sse_conn_open_queue: bytes for the
/// client, in order. Call it until it gives less than `cap`; then an OUTPUT
/// record tells of more.
///
/// # Safety
/// `conn`; `buf` points to `cap` writable bytes, `len` to a writable `size_t`.
///
/// *Returns* 0, and in `len` how many bytes were written, 0 if nothing waits
/// now; or PAGI_SSE_RESULT_CLOSED: the connection is closed and all was taken,
/// so end the transport; _NOT_PULLED or _NOT_HOSTED: the output is not the
/// caller's to read; _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a
/// handle error.
/// *Ownership*: the bytes are the caller's, and no longer queued.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_read(
    conn: pagi_sse_conn,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let conn = table().get(conn)?;
        // SAFETY: the caller's promise.
        let mut buf = unsafe { some_buffer(buf, cap) }?;
        writable(len)?;
        let taken = conn.pull(cap, |piece| buf.put_slice(piece))?;
        // SAFETY: the caller's promise.
        unsafe { set(len, taken.ok_or(Error::Closed)?) }?;
        Ok(0)
    })
}

/// Where the connection stands.
///
/// *Returns* one of enum pagi_sse_state, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_state(conn: pagi_sse_conn) -> i32 {
    guard(|| Ok(table().get(conn)?.phase() as i32))
}

/// Why the connection closed: PAGI's reason token, as `client_closed`.
///
/// # Safety
/// `conn`; `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, and in `len` the length, bytes, without a NUL, which is 0 while
/// open or when no reason is known; or PAGI_SSE_RESULT_BUFFER_SMALL,
/// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_reason(
    conn: pagi_sse_conn,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let reason = table().get(conn)?.reason().unwrap_or_default();
        // SAFETY: the caller's promise.
        unsafe { copy_out(reason.as_bytes(), buf, cap, len) }
    })
}

/// Has the hub deliver to this connection, if it is subscribed, what was
/// published by now. Sends, comments, the end of the connection and that of its
/// subscription do so by themselves; a host program that has another way to the
/// client does it before using that.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_catch_up(conn: pagi_sse_conn) -> i32 {
    guard(|| {
        table().get(conn)?.catch_up();
        Ok(0)
    })
}

/// Gives the connection a number of the host's, as the address of what the host
/// knows of it: `user` of its records, in place of a look-up. ENDED is the last
/// record that is read of a connection and comes once, also behind
/// pagi_sse_conn_free and _hand_over: the place to free what is at that address.
/// It does not come for what was left when its server or runtime was freed, and
/// a detached connection has no records. Of several threads that take records one
/// may still be at an earlier one.
///
/// *Parameters*: `conn`; `user`, 0 at first.
///
/// *Returns* 0; or 1: the connection ended before, so that its ENDED record has
/// the number only if it is read before pagi_sse_conn_free; or a handle error.
/// *Ownership*: what it stands for stays the host's.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_set_user(conn: pagi_sse_conn, user: u64) -> i32 {
    guard(|| Ok((!table().get(conn)?.set_user(user)).into()))
}

/// Bytes queued and not yet taken by the kernel, or by pagi_sse_conn_read.
///
/// *Returns* their number, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_buffered(conn: pagi_sse_conn) -> i64 {
    guard(|| Ok(table().get(conn)?.buffered() as i64))
}

/// Counters of a connection, and depth and marks of its queue.
///
/// # Safety
/// `conn`; `out` points to `size`, that is, sizeof(pagi_sse_conn_counts), writable
/// bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_counters(
    conn: pagi_sse_conn,
    out: *mut pagi_sse_conn_counts,
    size: usize,
) -> i32 {
    guard(|| {
        let conn = table().get(conn)?;
        let (counters, marks) = (conn.counters(), conn.marks());
        let counters = pagi_sse_conn_counts {
            events: counters.events,
            comments: counters.comments,
            refused: counters.refused,
            bytes_sent: conn.totals().1,
            queued_bytes: conn.buffered() as u64,
            low: marks.low.into(),
            high: marks.high.into(),
            limit: marks.limit.into(),
        };
        // SAFETY: the caller's promise; eight numbers have no padding.
        unsafe { set_struct(out, size, &counters) }?;
        Ok(0)
    })
}

/// Sets the marks of the output queue: from `high` bytes on sends give 1, at
/// `low` a DRAINED record is made, and beyond `limit` sends are refused (not
/// counting what a hub published, nor two events that may be of any size: one
/// that finds less than `high`, and one more after a DRAINED record). What is
/// queued stays.
///
/// *Parameters*: `conn`; `low` (16384) below `high` (65536), which is not above
/// `limit` (1048576).
///
/// *Returns* 0, or PAGI_SSE_RESULT_BAD_ARGUMENT, _NOT_HOSTED, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_set_marks(
    conn: pagi_sse_conn,
    low: u32,
    high: u32,
    limit: u32,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            conn.set_marks(Marks { low, high, limit })
                .map_err(|error| match error {
                    Error::BadArgument => bad(format!("low {low}, high {high}, limit {limit}")),
                    _ => error.into(),
                })?;
            Ok(0)
        })
    })
}

/// Chooses an ordinary HTTP response in place of a stream, for a request of a
/// server. The body follows by pagi_sse_conn_body; the head goes with the first
/// of it. A response of type `text/event-stream` is a stream in disguise: its head
/// goes at once, the client's half-close ends it, and so does
/// pagi_sse_server_close_streams, as a whole response.
///
/// # Safety
/// As pagi_sse_conn_start.
///
/// *Returns* 0, or PAGI_SSE_RESULT_ALREADY_STARTED (also for connections that
/// are always streams: those of a runtime), _DECLINED (a response was chosen
/// already), _CLOSED, _STATUS, _HEADER_NAME, _HEADER_VALUE, _CONTENT_LENGTH (no
/// number, or several), _NOT_HOSTED, _NULL_POINTER, _BAD_ARGUMENT, or a handle error; then
/// nothing has changed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_respond(
    conn: pagi_sse_conn,
    status: u16,
    headers: *const pagi_sse_header,
    count: usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let fields = unsafe { fields(headers, count) }?;
            conn.respond(status, fields.iter().copied())
                .map_err(|e| which(e, &fields))?;
            Ok(0)
        })
    })
}

/// Queues body bytes of an ordinary response.
///
/// # Safety
/// `conn`; `body` is NULL with length 0 or valid for `len`; `more` is 0 if this
/// ends the body.
///
/// *Returns* as pagi_sse_conn_send; or PAGI_SSE_RESULT_NO_RESPONSE before
/// pagi_sse_conn_respond and after the end, _CONTENT_LENGTH if the body is not
/// as long as the field of that name said.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_body(
    conn: pagi_sse_conn,
    body: *const c_char,
    len: usize,
    more: i32,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let body = unsafe { bytes(body, len) }?.unwrap_or_default();
            Ok(conn.body(body, more != 0)?.into())
        })
    })
}

/// Takes request body bytes. Their end and their breaking off are two things:
/// a client that leaves, or sends what is no chunk, has not sent its body.
///
/// # Safety
/// `conn`; `buf` points to `cap` writable bytes, `len` to a writable `size_t`.
///
/// *Returns* one of enum pagi_sse_body, and in `len` how many were written; or
/// PAGI_SSE_RESULT_BODY_INCOMPLETE (all that came was taken, and the rest will
/// never come; an ordinary response may still be given where its client has but
/// ended its side, and a server of this library answers 400 to one that is
/// closed without), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle
/// error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_read_body(
    conn: pagi_sse_conn,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        on(conn, |conn| {
            // SAFETY: the caller's promise.
            let out = unsafe { some_buffer(buf, cap) }?;
            writable(len)?;
            let (bytes, what) = match conn.read_body(out.len())? {
                None => (None, Body::Wait),
                Some((bytes, true)) => (Some(bytes), Body::More),
                Some((bytes, false)) => (Some(bytes), Body::End),
            };
            let bytes = bytes.as_deref().unwrap_or_default();
            // SAFETY: the caller's promises; `read_body` gives `cap` at most.
            unsafe { copy_out(bytes, buf, cap, len) }?;
            Ok(what as i32)
        })
    })
}
