//! Queries and paths of requests, for C.

use super::{bytes, copy_out, guard, writable};
use crate::core::error::Error;
use percent_encoding::percent_decode;
use std::ffi::c_char;

/// The value of the first parameter of that name in a query, as browsers write
/// it (application/x-www-form-urlencoded, by the WHATWG's URL standard): `&`
/// parts, `+` is a space, `%2B` a plus. A parameter without `=` has an empty
/// value.
///
/// # Safety
/// `query`, as a REQUEST record has it, and `name`, decoded, are valid for their
/// lengths; `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 1, and in `len` the value's length, bytes, without a NUL; it is
/// UTF-8, with U+FFFD for what was none; 0 if there is no such parameter, and
/// nothing was written; or PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER,
/// _BAD_ARGUMENT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_query_value(
    query: *const c_char,
    query_len: usize,
    name: *const c_char,
    name_len: usize,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        writable(len)?;
        // SAFETY: the caller's promise.
        let (query, name) = unsafe { (bytes(query, query_len)?, bytes(name, name_len)?) };
        let name = name.ok_or(Error::NullPointer)?;
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default());
        let Some((_, value)) = pairs.find(|(n, _)| n.as_bytes() == name) else {
            return Ok(0);
        };
        // SAFETY: the caller's promise.
        unsafe { copy_out(value.as_bytes(), buf, cap, len) }?;
        Ok(1)
    })
}

/// As REQUEST's `path` is made of its `raw_path`: decodes `%` and two hexadecimal digits; all else stays, a `+` too.
///
/// # Safety
/// `text` is valid for `text_len`; `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, and in `len` the length, bytes, without a NUL, of any bytes; or
/// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _BAD_ARGUMENT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_percent_decode(
    text: *const c_char,
    text_len: usize,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let text = unsafe { bytes(text, text_len) }?.unwrap_or_default();
        let decoded: Vec<u8> = percent_decode(text).collect();
        // SAFETY: the caller's promise.
        unsafe { copy_out(&decoded, buf, cap, len) }
    })
}
