//! An event as C gives it, read into one of the library's own.

use super::library::pagi_sse_bytes;
use super::{Result, bad, options, text};
use crate::core::error::{Error, Failure};
use crate::core::frame::Event;
use crate::core::json;
use std::borrow::Cow;
use std::mem::offset_of;

/// In `flags` of an event: its data is JSON. It is checked (RFC 8259), and white
/// space between its tokens is left out, so that it is one line; all else stays
/// as it is: numbers, the order of members, escapes.
pub const PAGI_SSE_EVENT_JSON: u32 = 1;
/// In `flags` of an event: it has a `retry_ms`.
pub const PAGI_SSE_EVENT_RETRY: u32 = 2;
/// In `flags` of an event that is published: the topic's state forgets the key.
pub const PAGI_SSE_EVENT_DELETE: u32 = 4;
/// In `flags` of an event that is published: subscribers do not get it; to fill
/// history and state at the start.
pub const PAGI_SSE_EVENT_QUIET: u32 = 8;

const KNOWN: u32 =
    PAGI_SSE_EVENT_JSON | PAGI_SSE_EVENT_RETRY | PAGI_SSE_EVENT_DELETE | PAGI_SSE_EVENT_QUIET;

/// An event. Zero the struct, set `size` and what it has. Text is UTF-8; what is
/// absent is NULL with length 0.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_event {
    /// sizeof(pagi_sse_event): lets the struct grow.
    pub size: usize,
    /// The data. CR, LF and CRLF in it each end a line; the client joins them
    /// with LF. Without data it changes the client's id or reconnection time and
    /// fires nothing there.
    pub data: pagi_sse_bytes,
    /// The type, without CR and LF; absent or empty: `message`.
    pub event: pagi_sse_bytes,
    /// The id, which comes back in a header of the client's: no control
    /// characters but a tab within, no white space at its ends, at most
    /// PAGI_SSE_ID_BYTES; an empty one resets the client's.
    pub id: pagi_sse_bytes,
    /// Only pagi_sse_hub_publish takes it: what it is the newest state of.
    pub key: pagi_sse_bytes,
    /// The client's reconnection time, with PAGI_SSE_EVENT_RETRY, at most
    /// INT64_MAX; 0 without.
    pub retry_ms: u64,
    /// PAGI_SSE_EVENT_ bits.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// The struct's size in the first version.
const FIRST: usize = offset_of!(pagi_sse_event, reserved) + size_of::<u32>();

/// What was given, checked as far as each field alone goes.
pub(super) struct Given<'a> {
    pub event: Event<'a>,
    pub key: Option<&'a str>,
    /// The caller's own bytes of the data.
    pub data: Option<&'a str>,
    flags: u32,
}

impl Given<'_> {
    pub fn delete(&self) -> bool {
        self.flags & PAGI_SSE_EVENT_DELETE != 0
    }

    pub fn quiet(&self) -> bool {
        self.flags & PAGI_SSE_EVENT_QUIET != 0
    }
}

/// Runs `f` on an event that is published.
///
/// # Safety
/// `event` is NULL or points to a struct of the size that it says, whose
/// pointers are valid for their lengths.
pub(super) unsafe fn published<T>(
    event: *const pagi_sse_event,
    f: impl FnOnce(&Given<'_>) -> Result<T>,
) -> Result<T> {
    // SAFETY: the caller's promise.
    let given = unsafe { options(event, FIRST) }?.ok_or(Error::NullPointer)?;
    let pagi_sse_event {
        flags,
        reserved,
        retry_ms,
        ..
    } = given;
    if flags & !KNOWN != 0 {
        return Err(bad(format!("flags, {flags:#x}")));
    }
    if reserved != 0 {
        return Err(bad("reserved"));
    }
    let has_retry = flags & PAGI_SSE_EVENT_RETRY != 0;
    if retry_ms != 0 && !has_retry {
        return Err(bad("retry_ms without PAGI_SSE_EVENT_RETRY"));
    }
    if i64::try_from(retry_ms).is_err() {
        return Err(bad(format!("retry_ms, {retry_ms}")));
    }
    let field = |what, bytes: &pagi_sse_bytes| {
        // SAFETY: the caller's promise.
        unsafe { text(what, bytes.data, bytes.len) }
    };
    let data = field("data", &given.data)?;
    let compact: Option<Cow<'_, str>> = match flags & PAGI_SSE_EVENT_JSON {
        0 => None,
        _ => {
            let none = || Failure::new(Error::NullPointer, "data of PAGI_SSE_EVENT_JSON");
            Some(json::compact(data.ok_or_else(none)?)?)
        }
    };
    f(&Given {
        event: Event {
            data: compact.as_deref().or(data),
            event: field("event", &given.event)?,
            id: field("id", &given.id)?,
            retry: has_retry.then_some(retry_ms),
        },
        key: field("key", &given.key)?,
        data,
        flags,
    })
}

/// Runs `f` on an event of one connection's, or of none.
///
/// # Safety
/// As [`published`].
pub(super) unsafe fn sent<T>(
    event: *const pagi_sse_event,
    f: impl FnOnce(&Given<'_>) -> Result<T>,
) -> Result<T> {
    let own = |given: &Given<'_>| {
        let hubs = [
            (given.key.is_some(), "key"),
            (given.delete(), "PAGI_SSE_EVENT_DELETE"),
            (given.quiet(), "PAGI_SSE_EVENT_QUIET"),
        ];
        match hubs.iter().find(|(is_there, _)| *is_there) {
            Some((_, what)) => Err(bad(format!("{what} is for pagi_sse_hub_publish"))),
            None => f(given),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { published(event, own) }
}
