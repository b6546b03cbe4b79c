//! Connections, for C.

use super::{bytes, copy_out, guard, set, text};
use crate::conn::{Conn, Field, table};
use crate::error::{Error, Result};
use crate::frame::{self, Event};
use std::ffi::c_char;
use std::sync::Arc;

/// One connection: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_conn = u64;

/// One header field. Names and values are bytes without CR, LF, NUL.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_header {
    /// The name, a token (RFC 9110).
    pub name: *const c_char,
    /// Its length, bytes.
    pub name_len: usize,
    /// The value.
    pub value: *const c_char,
    /// Its length, bytes.
    pub value_len: usize,
}

/// The caller's header fields.
///
/// # Safety
/// `headers` is NULL or points to `count` structs whose pointers are valid.
unsafe fn fields<'a>(headers: *const pagi_sse_header, count: usize) -> Result<Vec<Field<'a>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if headers.is_null() {
        return Err(Error::NullPointer);
    }
    if count > crate::limits::HEADERS {
        return Err(Error::BadArgument);
    }
    // SAFETY: not NULL, a sane count, and the caller's promise.
    let headers = unsafe { std::slice::from_raw_parts(headers, count) };
    headers
        .iter()
        .map(|h| {
            // SAFETY: the caller's promise for each struct.
            let (name, value) =
                unsafe { (bytes(h.name, h.name_len)?, bytes(h.value, h.value_len)?) };
            Ok((name.unwrap_or_default(), value.unwrap_or_default()))
        })
        .collect()
}

/// A reconnection time; -1 is none.
fn retry(ms: i64) -> Result<Option<u64>> {
    match ms {
        -1 => Ok(None),
        ms => u64::try_from(ms).map(Some).map_err(|_| Error::BadArgument),
    }
}

fn conn(handle: pagi_sse_conn) -> Result<Arc<Conn>> {
    table().get(handle)
}

/// Opens a detached connection: the library keeps its state, the host does the
/// I/O.
///
/// Returns 0, or an error.
/// *Ownership*: the caller's; pagi_sse_conn_free ends it.
///
/// # Safety
/// `out` points to a writable `pagi_sse_conn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_open(out: *mut pagi_sse_conn) -> i32 {
    guard(|| {
        if out.is_null() {
            return Err(Error::NullPointer);
        }
        let conn = Conn::detached();
        let handle = table().insert(conn.clone())?;
        conn.set_handle(handle);
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Gives a connection back. One that is still open on a server of ours is
/// closed first (reason `app_closed`); what it has queued is still sent.
///
/// Returns 0; a second call gives PAGI_SSE_RESULT_HANDLE_STALE.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_free(conn: pagi_sse_conn) -> i32 {
    guard(|| {
        table().remove(conn)?.close(Some("app_closed".into()));
        Ok(0)
    })
}

/// Begins the event stream: status (200..599) and header fields. On a server
/// of ours `content-type`, `cache-control`, `x-accel-buffering` and `date` are
/// added where absent; fields that frame the message are the server's own.
///
/// Returns 1 if this call began it, 0 if it had begun, or an error.
///
/// # Safety
/// `headers` points to `count` structs (NULL for 0) whose pointers are valid
/// for their lengths during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_start(
    conn: pagi_sse_conn,
    status: u16,
    headers: *const pagi_sse_header,
    count: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let fields = unsafe { fields(headers, count) }?;
        self::conn(conn)?.start(status, fields).map(i32::from)
    })
}

/// For a host that does the I/O: may an event go out now? Begins the stream if
/// it had not begun.
///
/// Returns 0: yes; 1: yes, and the stream's start must go out first; or an
/// error: PAGI_SSE_RESULT_CLOSED, PAGI_SSE_RESULT_DECLINED.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_admit(conn: pagi_sse_conn) -> i32 {
    guard(|| self::conn(conn)?.admit().map(i32::from))
}

/// As pagi_sse_conn_admit, and checks the fields of the event first: `event`
/// and `id` without CR and LF, `id` without NUL (WHATWG), each NULL if absent;
/// `retry` in milliseconds, -1 if absent. An error in them changes nothing.
///
/// # Safety
/// Each pointer is NULL with length 0 or valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_admit_event(
    conn: pagi_sse_conn,
    event: *const c_char,
    event_len: usize,
    id: *const c_char,
    id_len: usize,
    retry: i64,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let (event, id) = unsafe { (text(event, event_len)?, text(id, id_len)?) };
        frame::check(event, id)?;
        self::retry(retry)?;
        conn.admit().map(i32::from)
    })
}

/// Queues an event that has only data. Begins the stream if need be. CR, LF
/// and CRLF in the data each end a line; the client joins them with LF.
///
/// Returns 0: queued; 1: queued, and the queue is above its high mark, so wait
/// for the DRAINED record; or an error, and nothing was queued:
/// PAGI_SSE_RESULT_CLOSED, _QUEUE_OVERFLOW, _NOT_UTF8, _NOT_HOSTED.
///
/// # Safety
/// `data` points to `len` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_send(
    conn: pagi_sse_conn,
    data: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { pagi_sse_conn_send_event(conn, data, len, c"".as_ptr(), 0, std::ptr::null(), 0, -1) }
}

/// Queues an event. `data`, `event`, `id` are NULL if absent; `retry` is the
/// client's reconnection time in milliseconds, -1 if absent. An empty `id`
/// resets the client's.
///
/// Returns as pagi_sse_conn_send; also PAGI_SSE_RESULT_EVENT_NEWLINE,
/// _ID_NEWLINE, _ID_NUL.
///
/// # Safety
/// Each pointer is NULL with length 0 or valid for its length.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn pagi_sse_conn_send_event(
    conn: pagi_sse_conn,
    data: *const c_char,
    data_len: usize,
    event: *const c_char,
    event_len: usize,
    id: *const c_char,
    id_len: usize,
    retry: i64,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let event = unsafe {
            Event {
                data: text(data, data_len)?,
                event: text(event, event_len)?,
                id: text(id, id_len)?,
                retry: self::retry(retry)?,
            }
        };
        conn.send(&event).map(i32::from)
    })
}

/// Queues a comment: a colon is put before each line that does not begin with
/// one. Begins the stream if need be. Returns as pagi_sse_conn_send.
///
/// # Safety
/// `comment` is NULL with length 0 or valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_comment(
    conn: pagi_sse_conn,
    comment: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let comment = unsafe { text(comment, len) }?.unwrap_or_default();
        conn.comment(comment).map(i32::from)
    })
}

/// Has a comment sent whenever nothing else was for `interval` seconds (0.01
/// to 86400; 0: off). The last setting wins. Never begins the stream.
///
/// Returns 0, or an error: PAGI_SSE_RESULT_INTERVAL, _CLOSED, _NOT_HOSTED.
///
/// # Safety
/// `comment` is NULL with length 0 or valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_keepalive(
    conn: pagi_sse_conn,
    interval: f64,
    comment: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let comment = unsafe { text(comment, len) }?.unwrap_or_default();
        conn.set_keepalive(interval, comment).map(|()| 0)
    })
}

/// Closes by the application. What is queued is still sent; a stream that had
/// not begun is answered with 200 and no event. The first reason stays.
///
/// Returns 1 if this call closed it, 0 if it was closed.
///
/// # Safety
/// `reason` is NULL with length 0 (`app_closed`) or valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_close(
    conn: pagi_sse_conn,
    reason: *const c_char,
    len: usize,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let reason = unsafe { text(reason, len) }?;
        let reason = reason.map_or("app_closed".into(), |r| r.to_owned().into());
        Ok(conn.close(Some(reason)).into())
    })
}

/// Where the connection stands: 0 pending, 1 started, 2 closed, 3 an ordinary
/// response was chosen; or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_state(conn: pagi_sse_conn) -> i32 {
    guard(|| Ok(self::conn(conn)?.phase() as i32))
}

/// Why the connection closed: PAGI's reason token, as `client_closed`.
///
/// Returns its length; a buffer smaller than that gets nothing. 0 while open
/// or when no reason is known.
///
/// # Safety
/// `buf` is NULL with capacity 0 or points to `cap` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_reason(
    conn: pagi_sse_conn,
    buf: *mut c_char,
    cap: usize,
) -> i64 {
    guard(|| {
        let reason = self::conn(conn)?.reason().unwrap_or_default();
        // SAFETY: the caller's promise.
        unsafe { copy_out(reason.as_bytes(), buf, cap) }
    })
}

/// Bytes queued and not yet taken by the kernel; or an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_conn_buffered(conn: pagi_sse_conn) -> i64 {
    guard(|| Ok(self::conn(conn)?.buffered() as i64))
}

/// Chooses an ordinary HTTP response in place of a stream: status (200..599)
/// and header fields. The body follows by pagi_sse_conn_body.
///
/// Returns 0, or an error: PAGI_SSE_RESULT_ALREADY_STARTED, _DECLINED (a
/// response was chosen already), _CLOSED, _STATUS, _HEADER_NAME, _HEADER_VALUE.
///
/// # Safety
/// As pagi_sse_conn_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_respond(
    conn: pagi_sse_conn,
    status: u16,
    headers: *const pagi_sse_header,
    count: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let fields = unsafe { fields(headers, count) }?;
        self::conn(conn)?.respond(status, fields).map(|()| 0)
    })
}

/// Queues body bytes of an ordinary response; `more` 0 ends it.
///
/// Returns as pagi_sse_conn_send; PAGI_SSE_RESULT_NO_RESPONSE before
/// pagi_sse_conn_respond and after the end.
///
/// # Safety
/// `body` is NULL with length 0 or valid for its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_body(
    conn: pagi_sse_conn,
    body: *const c_char,
    len: usize,
    more: i32,
) -> i32 {
    guard(|| {
        let conn = self::conn(conn)?;
        // SAFETY: the caller's promise.
        let body = unsafe { bytes(body, len) }?.unwrap_or_default();
        conn.body(body, more != 0).map(i32::from)
    })
}

/// Takes request body bytes, up to `cap`.
///
/// Returns their number and sets `more`: 1 more may follow, 0 that was the
/// end, -1 nothing has come yet and a BODY record will tell; or an error.
///
/// # Safety
/// `buf` points to `cap` writable bytes, `more` to an `int32_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_conn_read_body(
    conn: pagi_sse_conn,
    buf: *mut c_char,
    cap: usize,
    more: *mut i32,
) -> i64 {
    guard(|| {
        let conn = self::conn(conn)?;
        if cap == 0 || buf.is_null() || more.is_null() {
            return Err(Error::NullPointer);
        }
        let (bytes, flag) = match conn.read_body(cap) {
            None => Default::default(),
            Some((bytes, more)) => (bytes, Some(more)),
        };
        // SAFETY: the caller's promises; `read_body` gives `cap` at most.
        unsafe {
            set(more, flag.map_or(-1, i32::from))?;
            copy_out(&bytes, buf, cap)
        }
    })
}
