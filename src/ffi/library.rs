//! What all of the C header needs: versions, limits, handles, bytes, errors.

use super::{LAST, caught, copy_out, guard};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use std::ffi::c_char;

/// The number that pagi_sse_abi_version returns; grows when a program
/// built against an older header would no longer work.
pub const PAGI_SSE_ABI_VERSION: u32 = 1;

/// The version of this header, for `#if`: major * 1000000 + minor * 1000 + patch.
pub const PAGI_SSE_VERSION_NUMBER: u32 = 3000;

/// Largest record of a server or a runtime, bytes: a buffer of this size is
/// never too small for pagi_sse_server_next and pagi_sse_runtime_next.
pub const PAGI_SSE_RECORD_MAX: usize = 131_072;
/// Longest id of an event, bytes.
pub const PAGI_SSE_ID_BYTES: usize = 4096;
/// Longest reason of an end, bytes.
pub const PAGI_SSE_REASON_BYTES: usize = 1024;
/// Output queue of a connection: above this many bytes a sender should wait.
pub const PAGI_SSE_HIGH_WATER_BYTES: usize = 65536;
/// Output queue of a connection: at or below this many bytes it has drained.
pub const PAGI_SSE_LOW_WATER_BYTES: usize = 16384;
/// What a client may send within a minute of a stream, which nobody reads,
/// bytes; more ends it.
pub const PAGI_SSE_FORGOTTEN_BYTES: usize = 65536;
/// Topics of one subscription, at the most.
pub const PAGI_SSE_SUBSCRIPTION_TOPICS: usize = 1000;
/// Longest name of a topic, bytes.
pub const PAGI_SSE_TOPIC_NAME_BYTES: usize = 100;

// The header has them as numbers.
const _: () = assert!(
    PAGI_SSE_RECORD_MAX == limits::RECORD_BYTES
        && PAGI_SSE_ID_BYTES == limits::ID_BYTES
        && PAGI_SSE_REASON_BYTES == limits::REASON_BYTES
        && PAGI_SSE_HIGH_WATER_BYTES == limits::HIGH_WATER_BYTES
        && PAGI_SSE_LOW_WATER_BYTES == limits::LOW_WATER_BYTES
        && PAGI_SSE_FORGOTTEN_BYTES == limits::FORGOTTEN_BYTES
        && PAGI_SSE_SUBSCRIPTION_TOPICS == limits::TOPICS_OF_ONE
        && PAGI_SSE_TOPIC_NAME_BYTES == limits::TOPIC_NAME_BYTES
);

const _: () = assert!(
    PAGI_SSE_VERSION_NUMBER
        == number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
            + number(env!("CARGO_PKG_VERSION_MINOR")) * 1000
            + number(env!("CARGO_PKG_VERSION_PATCH"))
);

const fn number(text: &str) -> u32 {
    let (text, mut value, mut i) = (text.as_bytes(), 0, 0);
    while i < text.len() {
        value = value * 10 + (text[i] - b'0') as u32;
        i += 1;
    }
    value
}

/// One server: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_server = u64;

/// One connection: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_conn = u64;

/// One hub: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_hub = u64;

/// One subscription: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_subscription = u64;

/// A parser of one stream: a number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_parser = u64;

/// A runtime: threads, a descriptor and a queue of records for connections
/// that no server of this library accepted. A number, 0 is never one.
#[allow(non_camel_case_types)]
pub type pagi_sse_runtime = u64;

/// A client, which follows one stream of another server: a number, 0 is never
/// one.
#[allow(non_camel_case_types)]
pub type pagi_sse_client = u64;

/// Bytes, not NUL-terminated; in a record, inside the buffer that it was read
/// from. Absent: NULL with length 0.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct pagi_sse_bytes {
    /// The first byte.
    pub data: *const c_char,
    /// How many.
    pub len: usize,
}

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

/// The ABI number of this library. A host compares it with the
/// PAGI_SSE_ABI_VERSION it was built with, and refuses another.
///
/// *Returns* the number; never an error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_abi_version() -> u32 {
    guard(|| Ok(i64::from(PAGI_SSE_ABI_VERSION))) as u32
}

/// The version of this library, as `"0.3.0"`.
///
/// *Returns* a NUL-terminated string; never NULL.
/// *Ownership*: static; never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What a result code means, in plain English.
///
/// *Parameters*: `code`, one of enum pagi_sse_result.
///
/// *Returns* a NUL-terminated string; `"unknown result"` for a number that is
/// no code; never NULL.
/// *Ownership*: static; never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_result_text(code: i32) -> *const c_char {
    let known = Error::ALL.iter().find(|e| e.code() == code);
    let text = match code {
        0 => c"no failure",
        _ => known.map_or(c"unknown result", |e| e.text()),
    };
    text.as_ptr()
}

/// Reads what is kept of this thread's last failure.
fn last<T: Default>(read: impl FnOnce(&Failure) -> T) -> T {
    let last = LAST.take();
    let value = last.as_ref().map(read).unwrap_or_default();
    LAST.set(last);
    value
}

/// The last failure of a call by this thread, in words: the text of its code
/// and, where there is more to say, a colon and that. It is about the last call
/// that failed, on any object, whatever came after. A result of
/// PAGI_SSE_RESULT_BUFFER_SMALL is no failure here, nor is one of this function.
///
/// # Safety
/// `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, and in `len` the length, bytes, without a NUL, which is 0 when
/// no call has failed; or PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER,
/// _BAD_ARGUMENT.
/// *Fork*: a child has that of the thread that forked.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_error(buf: *mut c_char, cap: usize, len: *mut usize) -> i32 {
    let words = || {
        let words = last(Failure::to_string);
        // SAFETY: the caller's promise.
        unsafe { copy_out(words.as_bytes(), buf, cap, len) }
    };
    caught(words).unwrap_or_else(|failure| failure.error.code())
}

/// The operating system's number (errno) of the failure that pagi_sse_error
/// tells of.
///
/// *Returns* it, or 0: none has failed, or it was not the operating system.
/// *Fork*: a child has that of the thread that forked.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_os_error() -> i32 {
    guard(|| Ok(last(|failure| failure.os).unwrap_or(0)))
}

/// Counts the live handles, of all kinds: what was opened and not yet freed.
///
/// *Returns* their number.
/// *Fork*: a child's own only.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_handle_count() -> u64 {
    guard(|| {
        let live = crate::conn::table().live()
            + super::runtime::table().live()
            + super::parser::table().live()
            + super::hub::hubs().live()
            + super::hub::subscriptions().live();
        #[cfg(feature = "server")]
        let live = live + super::server::table().live();
        #[cfg(feature = "client")]
        let live = live + super::client::table().live();
        Ok(live as i64)
    }) as u64
}

/// Panics inside, for a host's test that no panic crosses the boundary. Says
/// so on standard error.
///
/// *Returns* PAGI_SSE_RESULT_PANIC.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_test_panic() -> i32 {
    // In the library as shipped, not under a cfg: what is to be tested is how
    // that very file was built (panic = "unwind", LTO).
    guard(|| panic!("pagi_sse_test_panic was called"))
}
