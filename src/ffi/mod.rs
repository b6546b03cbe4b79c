//! The C ABI. Every exported body is one call of [`guard`]; raw pointers
//! become slices here and go no further.
#![allow(unsafe_code)]

pub mod conn;
pub mod server;

use crate::error::{Error, Result};
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The number that [`pagi_sse_abi_version`] returns; grows when a program
/// built against an older header would no longer work.
pub const PAGI_SSE_ABI_VERSION: u32 = 1;

/// Runs `f`; a failure or a panic becomes its code.
fn guard<T: From<i32>>(f: impl FnOnce() -> Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => value,
        Ok(Err(e)) => e.code().into(),
        Err(_) => Error::Panic.code().into(),
    }
}

/// The caller's bytes; `None` for NULL with length 0.
///
/// # Safety
/// `bytes` is NULL or points to `len` readable bytes that nobody changes
/// during the call.
unsafe fn bytes<'a>(bytes: *const c_char, len: usize) -> Result<Option<&'a [u8]>> {
    match (bytes.is_null(), len) {
        (true, 0) => Ok(None),
        (true, _) => Err(Error::NullPointer),
        (false, _) if len > isize::MAX as usize => Err(Error::BadArgument),
        // SAFETY: not NULL, a possible length, and the caller's promise.
        (false, _) => Ok(Some(unsafe {
            std::slice::from_raw_parts(bytes.cast(), len)
        })),
    }
}

/// The caller's text; `None` for NULL with length 0.
///
/// # Safety
/// As [`bytes`].
unsafe fn text<'a>(text: *const c_char, len: usize) -> Result<Option<&'a str>> {
    // SAFETY: the caller's promise, passed on.
    let bytes = unsafe { bytes(text, len) }?;
    bytes
        .map(|b| std::str::from_utf8(b).map_err(|_| Error::NotUtf8))
        .transpose()
}

/// Copies to the caller's buffer if it fits; returns the length either way.
///
/// # Safety
/// `buf` is NULL or points to `cap` writable bytes.
unsafe fn copy_out(from: &[u8], buf: *mut c_char, cap: usize) -> Result<i64> {
    if from.len() <= cap && !from.is_empty() {
        if buf.is_null() {
            return Err(Error::NullPointer);
        }
        // SAFETY: `buf` has `cap` bytes, which is at least `from.len()`; a
        // fresh copy of ours cannot overlap it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), buf.cast(), from.len()) };
    }
    Ok(from.len() as i64)
}

/// Writes an output.
///
/// # Safety
/// `out` is NULL or points to a writable, aligned `T`.
unsafe fn set<T>(out: *mut T, value: T) -> Result<()> {
    if out.is_null() {
        return Err(Error::NullPointer);
    }
    // SAFETY: not NULL, and the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}

/// The ABI number of this library. A host compares it with the
/// PAGI_SSE_ABI_VERSION it was built with, and refuses another.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_abi_version() -> u32 {
    PAGI_SSE_ABI_VERSION
}

/// The version of this library, as `"0.1.0"`.
///
/// *Ownership*: static; never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What a result code means, in plain English; `"unknown result"` for a
/// number that is none.
///
/// *Ownership*: static; never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_result_text(code: i32) -> *const c_char {
    let known = Error::ALL.iter().find(|e| e.code() == code);
    known.map_or(c"unknown result", |e| e.text()).as_ptr()
}

/// How many handles of all kinds are live in this process.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_handle_count() -> u64 {
    guard(|| {
        let live = crate::conn::table().live() + server::table().live();
        Ok(live as i64)
    }) as u64
}
