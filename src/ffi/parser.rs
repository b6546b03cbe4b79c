//! The parser, for C: for clients, and for tests of servers.

use super::{Result, bytes, copy_out, guard, next, options, set, text, writable};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::core::parse::{Parsed, Parser};
use crate::handle::{self, Table};
use crate::host::record::{self, Kind};
use crate::sys::PerProcess;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A parser of one stream: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_parser = u64;

/// How a parser is to work. Zero the struct, set `size` and what matters; 0
/// elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_parser_options {
    /// sizeof(pagi_sse_parser_options): lets the struct grow.
    pub size: usize,
    /// When reconnecting: the last event id so far. UTF-8.
    pub last_event_id: *const c_char,
    /// Its length, bytes.
    pub last_event_id_len: usize,
    /// Longest line, bytes (1 MiB; at most 1 GiB). A longer one is dropped.
    pub max_line: u64,
    /// Most data in one event, bytes (4 MiB; at most 1 GiB). More is dropped.
    pub max_event: u64,
}

/// A parser with the records that it has made, packed as the host reads them.
pub(super) struct Reading {
    parser: Parser,
    ready: Vec<u8>,
    taken: usize,
}

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
    fn push(&mut self, handle: u64, bytes: &[u8]) {
        self.ready.drain(..self.taken);
        self.taken = 0;
        let ready = &mut self.ready;
        self.parser.push(bytes, |item| {
            let start = ready.len();
            ready.extend_from_slice(&[0; 4]);
            match item {
                Ok(Parsed::Event(event)) => {
                    ready.extend(record::plain(Kind::Event, handle));
                    record::put(ready, event.event.as_bytes());
                    record::put(ready, event.data.as_bytes());
                    record::put(ready, event.last_event_id.as_bytes());
                }
                Ok(Parsed::Comment(text)) => {
                    ready.extend(record::plain(Kind::Comment, handle));
                    record::put(ready, text.as_bytes());
                }
                Err(e) => {
                    ready.extend(record::plain(Kind::Error, handle));
                    ready.extend(e.code().to_ne_bytes());
                }
            }
            let len = (ready.len() - start - 4) as u32;
            ready[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        });
    }

    fn waiting(&self) -> usize {
        self.ready.len() - self.taken
    }

    /// As [`crate::host::mailbox::Mailbox::drain`].
    fn next(&mut self, buf: &mut [u8]) -> usize {
        let waiting = &self.ready[self.taken..];
        let mut used = 0;
        while let Some(len) = waiting[used..].first_chunk() {
            let end = used + 4 + u32::from_ne_bytes(*len) as usize;
            if end > buf.len() {
                if used == 0 {
                    return end;
                }
                break;
            }
            used = end;
        }
        buf[..used].copy_from_slice(&waiting[..used]);
        self.taken += used;
        if self.waiting() == 0 {
            // An idle parser holds no buffer.
            (self.ready, self.taken) = (Vec::new(), 0);
        }
        used
    }
}

/// A limit of the options; 0 is the default.
fn limit(given: u64, default: usize) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(default),
        Ok(n) if n <= limits::INPUT_BYTES => Ok(n),
        _ => Err(Error::BadArgument.into()),
    }
}

/// Opens a parser for one stream.
///
/// # Safety
/// `options` is NULL, for the defaults, or points to a struct of the size that
/// it says; `out` points to a writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (a size or a
/// limit), _NOT_UTF8, _HANDLES_EXHAUSTED.
/// *Ownership*: the caller's; pagi_sse_parser_free ends it. The options are
/// copied.
/// *Threads*: any.
/// *Fork*: a child opens its own.
/// *Since*: 0.3.0.
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
                    given.last_event_id,
                    given.last_event_id_len,
                )
            };
            parser = Parser::with_last_event_id(id?.unwrap_or_default());
            parser.line_limit = limit(given.max_line, limits::PARSE_LINE_BYTES)?;
            parser.event_limit = limit(given.max_event, limits::PARSE_EVENT_BYTES)?;
        }
        let reading = Reading {
            parser,
            ready: Vec::new(),
            taken: 0,
        };
        let handle = table().insert(Arc::new(Mutex::new(reading)))?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Gives a parser back.
///
/// *Parameters*: `parser`.
///
/// *Returns* 0, or a handle error.
/// *Ownership*: the handle is stale from now on, what it had is freed.
/// *Threads*: any.
/// *Fork*: a child cannot free its parent's.
/// *Since*: 0.3.0.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_parser_free(parser: pagi_sse_parser) -> i32 {
    guard(|| {
        table().remove(parser)?;
        Ok(0)
    })
}

/// Takes the next bytes of the stream, cut anywhere; what they complete waits
/// as records for pagi_sse_parser_next.
///
/// # Safety
/// `bytes` is NULL with length 0 or valid for `len`.
///
/// *Returns* the bytes of records now waiting, 0 for none; or
/// PAGI_SSE_RESULT_QUEUE_OVERFLOW (8 MiB of records wait: read them first;
/// nothing was taken), _NULL_POINTER, _BAD_ARGUMENT, or a handle error. What
/// the stream does wrong is no error here but a record.
/// *Ownership*: the bytes are copied.
/// *Threads*: any; one at a time for the bytes to have an order.
/// *Fork*: a handle error in a child.
/// *Since*: 0.3.0.
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
        let mut reading = lock(&reading);
        if reading.waiting() >= limits::PARSE_READY_BYTES {
            return Err(Failure::from(Error::QueueOverflow));
        }
        reading.push(parser, bytes);
        Ok(reading.waiting() as i64)
    })
}

/// Fills `buf` with whole records, never waiting: PAGI_SSE_KIND_EVENT,
/// _COMMENT and _ERROR, whose `conn` is the parser. pagi_sse_record_read reads
/// them.
///
/// # Safety
/// `buf` points to `cap` writable bytes.
///
/// *Returns* the bytes used, 0 for none; one above `cap` is the size that the
/// first record needs, and nothing was taken; or PAGI_SSE_RESULT_NULL_POINTER
/// (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
/// *Ownership*: the records are the caller's.
/// *Threads*: any; one at a time for the records to have an order.
/// *Fork*: a handle error in a child.
/// *Since*: 0.3.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_next(
    parser: pagi_sse_parser,
    buf: *mut c_char,
    cap: usize,
) -> i64 {
    guard(|| {
        let reading = table().get(parser)?;
        // SAFETY: the caller's promise.
        unsafe { next(buf, cap, |buf| lock(&reading).next(buf)) }
    })
}

/// The id to send when reconnecting, as the Last-Event-ID field: that of the
/// last block that ended. Empty: send none.
///
/// # Safety
/// `buf` is NULL with `cap` 0, to ask for the size, or points to `cap` writable
/// bytes.
///
/// *Returns* its length, bytes; one above `cap`, and nothing was written; or
/// PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT, or a handle error.
/// *Ownership*: a copy.
/// *Threads*: any.
/// *Fork*: a handle error in a child.
/// *Since*: 0.3.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_parser_last_event_id(
    parser: pagi_sse_parser,
    buf: *mut c_char,
    cap: usize,
) -> i64 {
    guard(|| {
        let reading = table().get(parser)?;
        let reading = lock(&reading);
        // SAFETY: the caller's promise.
        unsafe { copy_out(reading.parser.last_event_id().as_bytes(), buf, cap) }
    })
}

/// The last reconnection time that the stream gave.
///
/// # Safety
/// `out` points to a writable `uint64_t`: milliseconds.
///
/// *Returns* 1, and 0 if there was none and `out` is as it was; or
/// PAGI_SSE_RESULT_NULL_POINTER, or a handle error.
/// *Ownership*: nothing.
/// *Threads*: any.
/// *Fork*: a handle error in a child.
/// *Since*: 0.3.0.
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
/// *Parameters*: `parser`.
///
/// *Returns* 0, or a handle error.
/// *Ownership*: nothing.
/// *Threads*: any.
/// *Fork*: a handle error in a child.
/// *Since*: 0.3.0.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_parser_reset(parser: pagi_sse_parser) -> i32 {
    guard(|| {
        let reading = table().get(parser)?;
        lock(&reading).parser.reset();
        Ok(0)
    })
}
