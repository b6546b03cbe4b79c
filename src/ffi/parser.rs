//! The parser, for C: for clients, and for tests of servers.

use super::library::{pagi_sse_bytes, pagi_sse_parser};
use super::{Result, bad, bytes, copy_out, guard, next, options, set, text, writable};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::core::parse::{Parsed, Parser};
use crate::handle::{self, Table};
use crate::host::record::{self, Kind};
use crate::sys::PerProcess;
use bytes::{Buf as _, BufMut as _, BytesMut};
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a parser is to work. Zero the struct, set `size` and what matters; 0
/// elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_parser_options {
    /// sizeof(pagi_sse_parser_options): lets the struct grow.
    pub size: usize,
    /// When reconnecting: the last event id so far. UTF-8.
    pub last_event_id: pagi_sse_bytes,
    /// Longest line, bytes (1 MiB; at most 128 MiB). A longer one is dropped,
    /// and its event, unless it is a comment.
    pub max_line: u64,
    /// Most data in one event, bytes (4 MiB; at most 128 MiB). An event with
    /// more is dropped.
    pub max_event: u64,
    /// Longest id, bytes (4096; at most 128 MiB). A longer one is ignored, and
    /// its event has the id before it.
    pub max_id: u64,
}

/// A parser with the records that it has made: as the host reads them, but
/// without ids. A record of kind [`ID`] has that of the events behind it.
pub(super) struct Reading {
    parser: Parser,
    ready: BytesMut,
    /// The id that the last event in `ready` has.
    id: Arc<str>,
    /// The id that the next event read has.
    next_id: Vec<u8>,
}

/// Never read by the host.
const ID: u8 = 0;

type Shared = Arc<Mutex<Reading>>;

/// This process's parsers by handle.
pub(super) fn table() -> &'static Table<Shared> {
    static TABLE: PerProcess<Table<Shared>> = PerProcess::new(|p| Table::new(handle::PARSER, p));
    TABLE.get()
}

fn lock(parser: &Shared) -> MutexGuard<'_, Reading> {
    parser.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading {
    /// Takes bytes until enough records wait; returns how many it took.
    fn push(&mut self, handle: u64, bytes: &[u8]) -> usize {
        let mut items = self.parser.push(bytes);
        while self.ready.len() < limits::PARSE_READY_BYTES {
            match items.next() {
                None => break,
                Some(Ok(Parsed::Event(m))) => {
                    // By its place first: an id may be long.
                    if !Arc::ptr_eq(&self.id, &m.last_event_id) && self.id != m.last_event_id {
                        pack(&mut self.ready, &[&[ID], m.last_event_id.as_bytes()]);
                        self.id = m.last_event_id;
                    }
                    let mut fields = record::plain(Kind::Event, handle);
                    record::put(&mut fields, m.event.as_bytes());
                    fields.extend((m.data.len() as u32).to_ne_bytes());
                    pack(&mut self.ready, &[&fields, m.data.as_bytes()]);
                }
                Some(Ok(Parsed::Comment(text))) => {
                    let mut fields = record::plain(Kind::Comment, handle);
                    fields.extend((text.len() as u32).to_ne_bytes());
                    pack(&mut self.ready, &[&fields, text.as_bytes()]);
                }
                Some(Err(e)) => {
                    let fields = record::plain(Kind::Error, handle);
                    pack(&mut self.ready, &[&fields, &e.code().to_ne_bytes()]);
                }
            }
        }
        bytes.len() - items.left()
    }

    /// As `crate::host::mailbox::Mailbox::drain`. The id of several events
    /// is written once.
    fn next(&mut self, buf: &mut [u8]) -> usize {
        let (mut used, mut id_at) = (0, None);
        while let Some(len) = self.ready.first_chunk() {
            let end = 4 + u32::from_ne_bytes(*len) as usize;
            let record = &self.ready[4..end];
            if record[0] == ID {
                (self.next_id, id_at) = (record[1..].to_vec(), None);
                self.ready.advance(end);
                continue;
            }
            let mut id = Vec::new();
            if record[0] == Kind::Event as u8 {
                match id_at {
                    Some(at) => id.extend((record::EARLIER | (used - at) as u32).to_ne_bytes()),
                    None => record::put(&mut id, &self.next_id),
                }
            }
            let size = end + id.len();
            let Some(mut to) = buf.get_mut(used..used + size) else {
                if used == 0 {
                    return size;
                }
                break;
            };
            to.put_slice(&((size - 4) as u32).to_ne_bytes());
            to.put_slice(record);
            to.put_slice(&id);
            used += size;
            if !id.is_empty() {
                id_at.get_or_insert(used - id.len());
            }
            self.ready.advance(end);
        }
        if self.ready.is_empty() {
            // An idle parser holds no buffer.
            self.ready = BytesMut::new();
        }
        used
    }
}

/// Appends a record of those parts.
fn pack(ready: &mut BytesMut, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    ready.reserve(4 + len);
    ready.put_slice(&(len as u32).to_ne_bytes());
    for part in parts {
        ready.put_slice(part);
    }
}

/// A limit of the options; 0 is the default.
fn limit(what: &str, given: u64, default: usize) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(default),
        Ok(n) if n <= limits::PARSE_MOST_BYTES => Ok(n),
        _ => Err(bad(format!("{what} {given}"))),
    }
}

/// Opens a parser for one stream.
///
/// # Safety
/// `options` is NULL, for the defaults, or points to a struct of the size that
/// it says; `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (a size or a
/// limit), _NOT_UTF8, _ID_TOO_LONG, _ID_NEWLINE, _ID_NUL (`last_event_id`), _HANDLES_EXHAUSTED.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_open(
    options: *const pagi_sse_parser_options,
    out: *mut pagi_sse_parser,
) -> i32 {
    guard(|| {
        writable(out)?;
        // SAFETY: the caller's promise; the first version has 40 bytes.
        let given = unsafe { self::options(options, 40) }?;
        let mut parser = Parser::new();
        if let Some(given) = given {
            // SAFETY: the caller's promise.
            let id = unsafe {
                text(
                    "last_event_id",
                    given.last_event_id.data,
                    given.last_event_id.len,
                )
            };
            let id = id?.unwrap_or_default();
            let max_id = limit("max_id", given.max_id, limits::PARSE_ID_BYTES)?;
            // None that a stream could have given.
            match id.find(['\r', '\n', '\0']).map(|at| id.as_bytes()[at]) {
                None => {}
                Some(0) => return Err(Error::IdNul.into()),
                Some(_) => return Err(Error::IdNewline.into()),
            }
            if id.len() > max_id {
                let what = format!("last_event_id of {} bytes", id.len());
                return Err(Failure::new(Error::IdTooLong, what));
            }
            parser = Parser::with_last_event_id(id);
            parser.line_limit = limit("max_line", given.max_line, limits::PARSE_LINE_BYTES)?;
            parser.event_limit = limit("max_event", given.max_event, limits::PARSE_EVENT_BYTES)?;
            parser.id_limit = max_id;
        }
        let reading = Reading {
            parser,
            ready: BytesMut::new(),
            id: "".into(),
            next_id: Vec::new(),
        };
        let handle = table().insert(Arc::new(Mutex::new(reading)))?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Gives a parser back.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_parser_free(parser: pagi_sse_parser) -> i32 {
    guard(|| {
        table().remove(parser)?;
        Ok(0)
    })
}

/// Takes the next bytes of the stream, cut anywhere; what they complete waits
/// as records for pagi_sse_parser_next. It stops when 1 MiB of records wait,
/// so that no stream, whatever it sends, has a parser hold more than that and
/// the largest record.
///
/// # Safety
/// `bytes` is NULL with length 0 or valid for `len`.
///
/// *Returns* how many of the bytes it took: if not all, read the records, then
/// push the rest; or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT, or a handle
/// error. What the stream does wrong is no error here but a record.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_push(
    parser: pagi_sse_parser,
    bytes: *const c_char,
    len: usize,
) -> i64 {
    guard(|| {
        let reading = table().get(parser)?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { self::bytes(bytes, len) }?.unwrap_or_default();
        let took = lock(&reading).push(parser, bytes);
        Ok(took as i64)
    })
}

/// Fills `buf` with whole records, never waiting: PAGI_SSE_KIND_EVENT,
/// _COMMENT and _ERROR, whose `conn` is the parser. pagi_sse_record_read reads
/// them, in this buffer: the id of several events stands in it once. A record
/// takes at most 32 + 3 * max_line + max_event + max_id bytes, by the parser's
/// options: as much as a line for a type or a comment (a byte that is no UTF-8
/// becomes three), an event's data and its id. Most take 32 more than their text.
///
/// # Safety
/// `buf` points to `cap` writable bytes, `used` to a writable `size_t`.
///
/// *Returns* how many records it put there, 0 for none, and in `used` their
/// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
/// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_next(
    parser: pagi_sse_parser,
    buf: *mut c_char,
    cap: usize,
    used: *mut usize,
) -> i32 {
    guard(|| {
        let reading = table().get(parser)?;
        // SAFETY: the caller's promise.
        unsafe { next(buf, cap, used, |buf| lock(&reading).next(buf)) }
    })
}

/// The id to send when reconnecting, as the Last-Event-ID field: that of the
/// last block that ended. Empty: send none.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_last_event_id(
    parser: pagi_sse_parser,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let reading = table().get(parser)?;
        let reading = lock(&reading);
        // SAFETY: the caller's promise.
        unsafe { copy_out(reading.parser.last_event_id().as_bytes(), buf, cap, len) }
    })
}

/// The last reconnection time that the stream gave.
///
/// # Safety
/// `out` points to a writable `uint64_t`: milliseconds.
///
/// *Returns* 1, and 0 if there was none and `out` is as it was; or
/// PAGI_SSE_RESULT_NULL_POINTER, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_retry(parser: pagi_sse_parser, out: *mut u64) -> i32 {
    guard(|| {
        let reading = table().get(parser)?;
        writable(out)?;
        let retry = lock(&reading).parser.retry();
        let Some(ms) = retry else { return Ok(0) };
        // SAFETY: the caller's promise.
        unsafe { set(out, ms) }?;
        Ok(1)
    })
}

/// The stream has ended, and another takes its place: what is unfinished is
/// dropped, the last event id and the reconnection time stay. Records that
/// wait stay too.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_parser_reset(parser: pagi_sse_parser) -> i32 {
    guard(|| {
        let reading = table().get(parser)?;
        lock(&reading).parser.reset();
        Ok(0)
    })
}
