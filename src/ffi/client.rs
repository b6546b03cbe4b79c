//! The client, for C.

use super::conn::{fields, which};
use super::library::{pagi_sse_bytes, pagi_sse_client, pagi_sse_header, pagi_sse_runtime};
use super::runtime::table as runtimes;
use super::{Result, bad, bytes, copy_out, guard, next, options, set, text, writable};
use crate::client::options::{ClientResume, Options, Proxy};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::handle::{self, Table};
use crate::host::client::{GOES_ON, Hosted, IS_CUT, IS_OVER};
use crate::sys::PerProcess;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::ffi::{OsStr, c_char};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

/// In `flags` of a client's options: the request asks for gzip. A stream that
/// has it is decompressed in any case.
pub const PAGI_SSE_CLIENT_GZIP: u32 = 1;
/// In `flags` of a client's options: any certificate will do, and a redirection
/// from https to http.
pub const PAGI_SSE_CLIENT_INSECURE: u32 = 2;
/// In `flags` of a client's options: no proxy, whatever the environment says.
pub const PAGI_SSE_CLIENT_NO_PROXY: u32 = 4;
/// In `flags` of a client's options: a redirection is an error.
pub const PAGI_SSE_CLIENT_NO_REDIRECTS: u32 = 8;

/// In `flags` of a client's ERROR: it ends an attempt or a stream. Without it
/// something was left out of a stream that goes on.
pub const PAGI_SSE_FLAG_OVER: u8 = 1;
/// In `flags` of a client's ERROR: another attempt follows, `milliseconds` later.
pub const PAGI_SSE_FLAG_RETRY: u8 = 2;
/// In `flags` of a client's ERROR: the body of the answer is longer than `data`.
pub const PAGI_SSE_FLAG_CUT: u8 = 4;

// cbindgen reads literals only.
const _: () = assert!(
    PAGI_SSE_FLAG_OVER == IS_OVER && PAGI_SSE_FLAG_RETRY == GOES_ON && PAGI_SSE_FLAG_CUT == IS_CUT
);

const KNOWN: u32 = PAGI_SSE_CLIENT_GZIP
    | PAGI_SSE_CLIENT_INSECURE
    | PAGI_SSE_CLIENT_NO_PROXY
    | PAGI_SSE_CLIENT_NO_REDIRECTS;

/// What a client is to do. Zero the struct, set `size`, `url` and what matters; 0
/// elsewhere means the default. Times are in milliseconds; UINT64_MAX is no limit
/// for those that say so.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_client_options {
    /// sizeof(pagi_sse_client_options): lets the struct grow.
    pub size: usize,
    /// Where the stream is: `http://`, `https://` (if this library was built
    /// with TLS), or a Unix socket, `http+unix:/run/app.sock:/events?x=1`. A
    /// name and a password in it become an `authorization` field.
    pub url: pagi_sse_bytes,
    /// Any but CONNECT, HEAD and TRACE. Absent: GET, or POST with a body.
    pub method: pagi_sse_bytes,
    /// Fields of the request; they replace those of the library: `accept`,
    /// `cache-control`, `user-agent`, `host`. Framing (`content-length`, ...) and
    /// `last-event-id` are the library's.
    pub fields: *const pagi_sse_header,
    /// How many.
    pub fields_len: usize,
    /// The request's body; absent: none.
    pub body: pagi_sse_bytes,
    /// The id to begin after; empty or absent: none. UTF-8.
    pub last_event_id: pagi_sse_bytes,
    /// The URL of a proxy for all requests. Absent: http_proxy, https_proxy,
    /// all_proxy and no_proxy of the environment, as curl understands them.
    pub proxy: pagi_sse_bytes,
    /// A file of certificates (PEM) to trust, instead of the system's.
    pub ca_file: pagi_sse_bytes,
    /// Statuses after which the request is made again; all others but 200 and
    /// 204 end the client. Retry-After of the answer is heeded.
    pub retry_on: *const u16,
    /// How many, at most 100.
    pub retry_on_len: usize,
    /// The wait before a reconnection until the server names another (3000).
    pub retry_ms: u64,
    /// What the wait grows to while nothing comes (60000).
    pub backoff_ms: u64,
    /// Time to get a connection: name, TCP, proxy, TLS (10000; UINT64_MAX).
    pub connect_timeout_ms: u64,
    /// From there to the answer's head, the sending of the body included
    /// (60000; UINT64_MAX).
    pub head_timeout_ms: u64,
    /// A stream without a byte for so long is cut, and asked for again (never).
    pub silence_ms: u64,
    /// The client ends when it is so old (never).
    pub max_age_ms: u64,
    /// Longest line of the stream, bytes (1 MiB; at most 128 MiB). A longer one
    /// is left out, with its event.
    pub max_line: u64,
    /// Most data of an event, bytes (4 MiB; at most 128 MiB). One with more is
    /// left out.
    pub max_event: u64,
    /// What may wait for the host, bytes (1 MiB; the last item may go beyond).
    /// Above it the library stops reading from the server.
    pub max_bytes: u64,
    /// The beginning of the body of an answer that is no stream, bytes (64 KiB;
    /// at most 1 MiB).
    pub max_refusal: u64,
    /// Items that may wait for the host (1024), as max_bytes.
    pub max_items: u32,
    /// Attempts that got nothing, one after the other, after which the client
    /// gives up (never).
    pub max_failures: u32,
    /// Redirections of one request (20).
    pub max_redirects: u32,
    /// PAGI_SSE_CLIENT_ bits.
    pub flags: u32,
    /// One of enum pagi_sse_client_resume.
    pub resume: i32,
    /// Must be 0.
    pub reserved: u32,
    /// The host's own number, which is `user` in CLIENT records.
    pub user: u64,
}

/// The struct's size in the first version.
const FIRST: usize = offset_of!(pagi_sse_client_options, user) + size_of::<u64>();

/// Most statuses to retry on, and most of a refused body.
const STATUSES: usize = 100;
const MOST_REFUSAL: u64 = 1 << 20;

/// This process's clients by handle.
pub(super) fn table() -> &'static Table<Arc<Hosted>> {
    static TABLE: PerProcess<Table<Arc<Hosted>>> =
        PerProcess::new(|p| Table::new(handle::CLIENT, p));
    TABLE.get()
}

/// What the host has given a client that it still has.
pub(super) fn user(client: pagi_sse_client) -> u64 {
    table().get(client).map_or(0, |client| client.user())
}

/// Absent is `None`; empty is not.
///
/// # Safety
/// As `text`.
unsafe fn field<'a>(what: &str, given: &pagi_sse_bytes) -> Result<Option<&'a str>> {
    // SAFETY: the caller's promise, passed on.
    unsafe { text(what, given.data, given.len) }
}

/// A length or a count; 0 is the default.
fn number(what: &str, given: u64, most: u64, to: &mut usize) -> Result<()> {
    if given > most {
        return Err(bad(format!("{what}, {given}, is above {most}")));
    }
    if given > 0 {
        *to = given as usize;
    }
    Ok(())
}

/// A time; 0 is the default, the greatest number none.
fn time(given: u64, to: &mut Duration) {
    match given {
        0 => {}
        u64::MAX => *to = Duration::ZERO,
        ms => *to = Duration::from_millis(ms),
    }
}

/// The host's fields.
///
/// # Safety
/// As `super::conn::fields`.
unsafe fn header_map(given: *const pagi_sse_header, count: usize) -> Result<HeaderMap> {
    // SAFETY: the caller's promise, passed on.
    let given = unsafe { fields(given, count) }?;
    let mut all = HeaderMap::new();
    for (name, value) in &given {
        let name = HeaderName::from_bytes(name).map_err(|_| which(Error::HeaderName, &given))?;
        let value =
            HeaderValue::from_bytes(value).map_err(|_| which(Error::HeaderValue, &given))?;
        all.append(name, value);
    }
    Ok(all)
}

/// The host's options as the client has them.
///
/// # Safety
/// The pointers in it are valid for their lengths.
unsafe fn chosen(given: &pagi_sse_client_options) -> Result<Options> {
    let need = |what: &str| Failure::new(Error::NullPointer, what);
    // SAFETY: the caller's promise, here and below.
    let url = unsafe { field("url", &given.url) }?.ok_or_else(|| need("url"))?;
    let mut chosen = Options::new(url);
    // SAFETY: as above.
    let body = unsafe { bytes(given.body.data, given.body.len) };
    let body = body.map_err(|e| Failure::new(e.error, "body"))?;
    chosen.body = body.map(Bytes::copy_from_slice);
    // SAFETY: as above.
    chosen.method = match unsafe { field("method", &given.method) }? {
        Some(name) => Method::from_bytes(name.as_bytes()).map_err(|_| {
            bad(format!(
                "the method \"{}\" is no token",
                name.escape_debug()
            ))
        })?,
        None if chosen.body.is_some() => Method::POST,
        None => Method::GET,
    };
    // SAFETY: as above.
    unsafe {
        chosen.fields = header_map(given.fields, given.fields_len)?;
        let id = field("last_event_id", &given.last_event_id)?;
        chosen.last_event_id = id.unwrap_or_default().to_owned();
        let file = bytes(given.ca_file.data, given.ca_file.len)?;
        chosen.ca_file = file.map(|file| OsStr::from_bytes(file).into());
        chosen.retry_on = statuses(given.retry_on, given.retry_on_len)?;
        if let Some(url) = field("proxy", &given.proxy)? {
            chosen.proxy = Proxy::At(url.to_owned());
        }
    }
    choose(given, &mut chosen)?;
    Ok(chosen)
}

/// # Safety
/// `given` is NULL with `count` 0, or points to so many numbers.
unsafe fn statuses(given: *const u16, count: usize) -> Result<Vec<u16>> {
    if count > STATUSES {
        return Err(bad(format!("retry_on_len, {count}, is above {STATUSES}")));
    }
    if count > 0 && given.is_null() {
        return Err(Failure::new(Error::NullPointer, "retry_on"));
    }
    // SAFETY: not NULL if there are any, and the caller's promise.
    let all = (0..count).map(|i| unsafe { given.add(i).read_unaligned() });
    let all: Vec<u16> = all.collect();
    match all.iter().find(|s| !(201..=599).contains(*s) || **s == 204) {
        Some(status) => Err(bad(format!("retry_on has {status}, which is no failure"))),
        None => Ok(all),
    }
}

/// What are numbers in it.
fn choose(given: &pagi_sse_client_options, chosen: &mut Options) -> Result<()> {
    let flags = given.flags;
    if flags & !KNOWN != 0 {
        return Err(bad(format!("flags, {flags:#x}")));
    }
    if given.reserved != 0 {
        return Err(bad("reserved"));
    }
    chosen.resume = match given.resume {
        r if r == ClientResume::Never as i32 => ClientResume::Never,
        r if r == ClientResume::Get as i32 => ClientResume::Get,
        r if r == ClientResume::Always as i32 => ClientResume::Always,
        other => return Err(bad(format!("resume, {other}"))),
    };
    chosen.gzip = flags & PAGI_SSE_CLIENT_GZIP != 0;
    chosen.insecure = flags & PAGI_SSE_CLIENT_INSECURE != 0;
    if flags & PAGI_SSE_CLIENT_NO_PROXY != 0 {
        if let Proxy::At(_) = chosen.proxy {
            return Err(bad("a proxy and PAGI_SSE_CLIENT_NO_PROXY"));
        }
        chosen.proxy = Proxy::Off;
    }
    if given.max_redirects > 0 {
        chosen.max_redirects = given.max_redirects;
    }
    if flags & PAGI_SSE_CLIENT_NO_REDIRECTS != 0 {
        if given.max_redirects > 0 {
            return Err(bad("max_redirects and PAGI_SSE_CLIENT_NO_REDIRECTS"));
        }
        chosen.max_redirects = 0;
    }
    chosen.max_failures = given.max_failures;
    time(given.retry_ms, &mut chosen.retry);
    time(given.backoff_ms, &mut chosen.backoff);
    time(given.connect_timeout_ms, &mut chosen.connect_timeout);
    time(given.head_timeout_ms, &mut chosen.head_timeout);
    time(given.silence_ms, &mut chosen.silence);
    time(given.max_age_ms, &mut chosen.max_age);
    let parsed = limits::PARSE_MOST_BYTES as u64;
    number("max_line", given.max_line, parsed, &mut chosen.max_line)?;
    number("max_event", given.max_event, parsed, &mut chosen.max_event)?;
    number(
        "max_bytes",
        given.max_bytes,
        limits::INPUT_BYTES as u64,
        &mut chosen.max_bytes,
    )?;
    number(
        "max_items",
        given.max_items.into(),
        u32::MAX.into(),
        &mut chosen.max_items,
    )?;
    number(
        "max_refusal",
        given.max_refusal,
        MOST_REFUSAL,
        &mut chosen.max_refusal,
    )
}

/// Begins to follow a stream: connects, reads, reconnects, until the server says
/// that there is no more (204), a failure is final, or the host closes it. What
/// comes waits for pagi_sse_client_next, and a CLIENT record of the runtime says
/// so. While as much waits as may, nothing is read from the server.
///
/// The environment is looked at for a proxy, and certificates are read, in this
/// call; the name is resolved later, and what fails then is an ERROR record.
///
/// # Safety
/// `options` points to a struct of the size that it says, whose pointers are
/// valid for their lengths; `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also: no URL), _BAD_ARGUMENT
/// (pagi_sse_error says which and why: not a URL, a scheme that is not ours, a
/// field that is the library's, a limit), _NOT_UTF8, _HEADER_NAME, _HEADER_VALUE,
/// _OS (ca_file), _STOPPED, _HANDLES_EXHAUSTED, or a handle error of the runtime.
/// Nothing has begun then.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_client_open(
    runtime: pagi_sse_runtime,
    options: *const pagi_sse_client_options,
    out: *mut pagi_sse_client,
) -> i32 {
    guard(|| {
        let runtime = runtimes().get(runtime)?;
        writable(out)?;
        // SAFETY: the caller's promise.
        let given = unsafe { self::options(options, FIRST) }?;
        let given = given.ok_or_else(|| Failure::new(Error::NullPointer, "options"))?;
        // SAFETY: the caller's promise.
        let chosen = unsafe { chosen(&given) }?;
        let client = Arc::new(Hosted::open(&runtime, chosen, given.user)?);
        let handle = table().insert(client.clone())?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        client.set_handle(handle);
        Ok(0)
    })
}

/// Fills `buf` with whole records, never waiting: PAGI_SSE_KIND_OPEN, _EVENT,
/// _COMMENT, _RETRY, _ERROR, _END, whose `conn` is the client, read by
/// pagi_sse_record_read, in this buffer: the id of several events stands in it
/// once. What is not taken stays with the client; call until it gives 0, or again
/// later, as the next CLIENT record comes only after that.
///
/// An EVENT is as large as `max_event`, `max_line` (its type) and an id together at
/// most; an ERROR as `max_refusal` and 128 KiB.
///
/// # Safety
/// `buf` points to `cap` writable bytes, `used` to a writable `size_t`.
///
/// *Returns* how many records it put there, 0 for none, and in `used` their
/// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
/// needs, which waits), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a
/// handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_client_next(
    client: pagi_sse_client,
    buf: *mut c_char,
    cap: usize,
    used: *mut usize,
) -> i32 {
    guard(|| {
        let hosted = table().get(client)?;
        // SAFETY: the caller's promise.
        unsafe { next(buf, cap, used, |buf| hosted.next(client, buf)) }
    })
}

/// Where the client is now. What is to be told of that may still wait.
///
/// *Returns* one of enum pagi_sse_client_phase, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_client_state(client: pagi_sse_client) -> i32 {
    guard(|| Ok(table().get(client)?.client().state() as i32))
}

/// The id to begin with another time: the one in force after the records that
/// were taken. Empty: none.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_client_last_event_id(
    client: pagi_sse_client,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let id = table().get(client)?.client().last_event_id();
        // SAFETY: the caller's promise.
        unsafe { copy_out(id.as_bytes(), buf, cap, len) }
    })
}

/// Ends it: the connection is closed, what waits is dropped, and an END record
/// follows. One that has ended keeps what waits. A second call does nothing.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_client_close(client: pagi_sse_client) -> i32 {
    guard(|| {
        table().get(client)?.client().close();
        Ok(0)
    })
}

/// Gives a client back, closing it. No record of it follows.
///
/// *Returns* 0, or a handle error.
/// *Threads*: also while another is in pagi_sse_client_next.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_client_free(client: pagi_sse_client) -> i32 {
    guard(|| {
        let hosted = table().remove(client)?;
        hosted.leave();
        Ok(0)
    })
}
