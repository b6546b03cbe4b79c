//! The C ABI. Every exported body is one call of `guard`; raw pointers
//! become slices here and go no further.
//!
//! The doc comments are the C header, in a fixed order: what it does,
//! parameters, returns; and ownership, threads, fork, since where they are other
//! than `top.h` says of all. What an unsafe function asks of its parameters stands
//! under clippy's `# Safety`, which the header calls *Parameters*. The order of the
//! header is that of `PARTS` in tests/header.rs, and of each file here.
#![allow(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
pub mod conn;
pub mod event;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod hub;
pub mod library;
pub mod parser;
pub mod query;
pub mod record;
pub mod runtime;
pub mod scope;
#[cfg(feature = "server")]
pub mod server;
pub mod wait;

use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::core::reason::Why;
use crate::host::record::Reader;
use bytes::BufMut as _;
use std::cell::Cell;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the functions here return inside.
type Result<T> = std::result::Result<T, Failure>;

thread_local! {
    static LAST: Cell<Option<Failure>> = const { Cell::new(None) };
}

/// Runs `f`; a failure or a panic becomes its code.
fn guard<T: From<i32>>(f: impl FnOnce() -> Result<T>) -> T {
    caught(f).unwrap_or_else(|failure| {
        let code = failure.error.code();
        // To be told of a size is no failure: the host asked for it.
        if failure.error != Error::BufferSmall {
            LAST.set(Some(failure));
        }
        code.into()
    })
}

fn caught<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Error::Panic.into()))
}

/// The caller's bytes; `None` for NULL with length 0.
///
/// # Safety
/// `bytes` is NULL or points to `len` readable bytes that nobody changes
/// during the call.
unsafe fn bytes<'a>(bytes: *const c_char, len: usize) -> Result<Option<&'a [u8]>> {
    match (bytes.is_null(), len) {
        (true, 0) => Ok(None),
        (true, _) => Err(Error::NullPointer.into()),
        // A negative number or garbage, as far as that shows.
        (false, _) if len > limits::INPUT_BYTES => Err(Error::BadArgument.into()),
        // SAFETY: not NULL, a possible length, and the caller's promise.
        (false, _) => Ok(Some(unsafe {
            std::slice::from_raw_parts(bytes.cast(), len)
        })),
    }
}

/// The caller's text; `None` for NULL with length 0. `what` names it in the
/// failure.
///
/// # Safety
/// As `bytes`.
unsafe fn text<'a>(what: &str, text: *const c_char, len: usize) -> Result<Option<&'a str>> {
    // SAFETY: the caller's promise, passed on.
    let bytes = unsafe { bytes(text, len) };
    let Some(bytes) = bytes.map_err(|e| Failure::new(e.error, what))? else {
        return Ok(None);
    };
    std::str::from_utf8(bytes).map(Some).map_err(|e| {
        let at = e.valid_up_to();
        Failure::new(Error::NotUtf8, format!("{what}, byte {at}"))
    })
}

/// Why a connection ends; `none` for NULL.
///
/// # Safety
/// As `bytes`.
unsafe fn reason<'a>(text: *const c_char, len: usize, none: Why) -> Result<&'a str> {
    // SAFETY: the caller's promise, passed on.
    match unsafe { self::text("reason", text, len) }? {
        Some(reason) if reason.len() > limits::REASON_BYTES => {
            Err(Failure::new(Error::ReasonTooLong, format!("{len} bytes")))
        }
        reason => Ok(reason.unwrap_or(none.word())),
    }
}

/// The caller's buffer, which may hold anything; empty for NULL with capacity
/// 0.
///
/// # Safety
/// `buf` is NULL or points to `cap` writable bytes that nobody uses during the
/// call.
unsafe fn buffer<'a>(buf: *mut c_char, cap: usize) -> Result<&'a mut [MaybeUninit<u8>]> {
    match (buf.is_null(), cap) {
        (true, 0) => Ok(&mut []),
        (true, _) => Err(Error::NullPointer.into()),
        (false, _) if cap > isize::MAX as usize => Err(Error::BadArgument.into()),
        // SAFETY: not NULL, a possible length, and the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts_mut(buf.cast(), cap) }),
    }
}

/// As [`buffer`], for functions that make no sense without one.
///
/// # Safety
/// As [`buffer`].
unsafe fn some_buffer<'a>(buf: *mut c_char, cap: usize) -> Result<&'a mut [MaybeUninit<u8>]> {
    // SAFETY: the caller's promise, passed on.
    match unsafe { buffer(buf, cap) }? {
        [] => Err(Error::NullPointer.into()),
        buf => Ok(buf),
    }
}

/// Copies to the caller's buffer if it fits; `len` gets the length either way.
///
/// # Safety
/// As [`buffer`]; `len` is NULL or points to a writable `size_t`.
unsafe fn copy_out(from: &[u8], buf: *mut c_char, cap: usize, len: *mut usize) -> Result<i32> {
    // SAFETY: the caller's promise, passed on.
    let buf = unsafe { buffer(buf, cap) }?;
    // SAFETY: the caller's promise, passed on.
    unsafe { set(len, from.len()) }?;
    let mut to = buf.get_mut(..from.len()).ok_or(Error::BufferSmall)?;
    to.put_slice(from);
    Ok(0)
}

/// Has `next` fill the caller's buffer with records, and counts them. It
/// returns the bytes used, or more than there are: those that the first needs.
///
/// # Safety
/// As [`copy_out`].
unsafe fn next(
    buf: *mut c_char,
    cap: usize,
    used: *mut usize,
    next: impl FnOnce(&mut [u8]) -> usize,
) -> Result<i32> {
    // SAFETY: the caller's promise, passed on.
    let buf = unsafe { some_buffer(buf, cap) }?;
    writable(used)?;
    // SAFETY: for bytes of the caller's, which this library cannot see being
    // left unset; `next` only writes to them.
    let buf = unsafe { &mut *(std::ptr::from_mut(buf) as *mut [u8]) };
    let n = next(buf);
    // SAFETY: the caller's promise.
    unsafe { set(used, n) }?;
    let mut records = Reader::new(buf.get(..n).ok_or(Error::BufferSmall)?);
    Ok(std::iter::from_fn(|| records.bytes().ok()).count() as i32)
}

/// Writes an output.
///
/// # Safety
/// `out` is NULL or points to a writable `T`.
unsafe fn set<T>(out: *mut T, value: T) -> Result<()> {
    writable(out)?;
    // SAFETY: not NULL, and the caller's promise.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Refuses NULL where an output is due, before anything is done.
fn writable<T>(out: *mut T) -> Result<()> {
    if out.is_null() {
        return Err(Error::NullPointer.into());
    }
    Ok(())
}

/// What a caller gave is no good; `what` names it and its value.
fn bad(what: impl Into<Box<str>>) -> Failure {
    Failure::new(Error::BadArgument, what)
}

/// A size as this machine has them.
fn whole(what: &str, given: u64) -> Result<usize> {
    usize::try_from(given).map_err(|_| bad(format!("{what}, {given}")))
}

/// Writes as much of a struct as the caller's header knows of; zeros where it
/// knows of more.
///
/// # Safety
/// `out` is NULL or points to `size` writable bytes. `T` is made of integers
/// and pointers, without padding.
unsafe fn set_struct<T>(out: *mut T, size: usize, value: &T) -> Result<()> {
    // SAFETY: the caller's promise.
    let out = unsafe { some_buffer(out.cast(), size) }?;
    if size > STRUCT_MAX {
        return Err(bad(format!("size, {size}")));
    }
    out.fill(MaybeUninit::new(0));
    let known = size.min(size_of::<T>());
    // SAFETY: `out` has `size` bytes and `value` has `size_of::<T>()`; they are
    // two objects.
    unsafe {
        let value = std::ptr::from_ref(value).cast::<u8>();
        std::ptr::copy_nonoverlapping(value, out.as_mut_ptr().cast(), known);
    }
    Ok(())
}

/// No struct of this library grows beyond it, bytes.
const STRUCT_MAX: usize = 4096;

/// A struct of options whose first field is its size: what the caller's header
/// knows of, zeros for the rest. A larger one, from a newer header, is refused
/// if it asks for something that this library does not know.
///
/// # Safety
/// `options` is NULL or points to a struct of the size that it says. `T` is
/// made of integers and pointers, for which 0 is a value.
unsafe fn options<T>(options: *const T, first_version: usize) -> Result<Option<T>> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and every version begins with the size.
    let size = unsafe { options.cast::<usize>().read_unaligned() };
    if !(first_version..=STRUCT_MAX).contains(&size) {
        return Err(bad(format!("size, {size}")));
    }
    // SAFETY: the caller's promise.
    let given = unsafe { std::slice::from_raw_parts(options.cast::<u8>(), size) };
    let (known, unknown) = given.split_at(size.min(size_of::<T>()));
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(bad(format!("size, {size}: what is unknown here is not 0")));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` is no longer than `T`; zeros make a `T`, and so do bytes
    // of the caller's `T`.
    unsafe {
        std::ptr::copy_nonoverlapping(known.as_ptr(), value.as_mut_ptr().cast(), known.len());
        Ok(Some(value.assume_init()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_code() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let code: i64 = guard(|| panic!("on purpose"));
        std::panic::set_hook(quiet);
        assert_eq!(code, -4);
        assert_eq!(guard(|| Ok(7)), 7);
        let refused: i32 = guard(|| Err(Error::Closed.into()));
        assert_eq!(refused, Error::Closed.code());
    }

    #[repr(C)]
    #[derive(Debug, PartialEq)]
    struct Two {
        size: usize,
        value: u64,
    }

    fn read(words: &[u64], first_version: usize) -> Option<Two> {
        // SAFETY: the tests give a slice as long as its first word says.
        unsafe { options(words.as_ptr().cast::<Two>(), first_version) }.unwrap_or(None)
    }

    #[test]
    fn options_of_an_older_and_a_newer_header_are_read() {
        assert_eq!(read(&[16, 7], 8), Some(Two { size: 16, value: 7 }));
        assert_eq!(read(&[8], 8), Some(Two { size: 8, value: 0 }));
        assert_eq!(read(&[24, 7, 0], 8), Some(Two { size: 24, value: 7 }));
        assert_eq!(read(&[24, 7, 1], 8), None, "asks for the unknown");
        assert_eq!(read(&[8], 16), None, "too small");
        assert_eq!(read(&[u64::MAX], 8), None, "absurd");
    }

    #[test]
    fn structs_are_written_as_far_as_the_caller_knows_them() {
        let mut out = [u64::MAX; 4];
        let to = out.as_mut_ptr().cast::<Two>();
        // SAFETY: `out` has room for each of the sizes.
        unsafe {
            set_struct(to, 24, &Two { size: 1, value: 2 }).unwrap();
            assert_eq!(out, [1, 2, 0, u64::MAX]);
            set_struct(to, 8, &Two { size: 3, value: 4 }).unwrap();
            assert_eq!(out, [3, 2, 0, u64::MAX]);
            assert!(set_struct(to, 0, &Two { size: 5, value: 6 }).is_err());
            assert!(set_struct(to, usize::MAX, &Two { size: 5, value: 6 }).is_err());
        }
        assert_eq!(out[0], 3);
    }
}
