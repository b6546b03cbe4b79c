//! Frames, for C: bytes in, bytes out, nothing kept.

use super::event::{self, Given, pagi_sse_event};
use super::{Result, bad, buffer, guard, set, text};
use crate::core::error::Error;
use crate::core::frame::{self, encode_comment};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// The part of the caller's buffer that a frame of `len` bytes goes to; `out`
/// gets that length. One that overlaps the input is refused: it would be read
/// while written.
///
/// # Safety
/// As [`buffer`], but for the overlap; `out` is NULL or points to a writable
/// `size_t`.
unsafe fn room<'a>(
    buf: *mut c_char,
    cap: usize,
    len: usize,
    inputs: &[Option<&str>],
    out: *mut usize,
) -> Result<&'a mut [MaybeUninit<u8>]> {
    // SAFETY: the caller's promise.
    let told = || unsafe { set(out, len) };
    if len > cap {
        told()?;
        return Err(Error::BufferSmall.into());
    }
    let start = buf.addr();
    for input in inputs.iter().flatten() {
        let input = input.as_bytes().as_ptr_range();
        if start < input.end.addr() && input.start.addr() < start.saturating_add(len) {
            return Err(bad("buf overlaps the input"));
        }
    }
    // SAFETY: the caller's promise, and it is apart.
    let buf = unsafe { buffer(buf, cap) }?;
    told()?;
    Ok(&mut buf[..len])
}

/// Encodes an event into the caller's buffer: `event`, `id`, `retry` and
/// `data` lines and a blank line, as they go over the wire. An event with no
/// field at all is 0 bytes. Allocates nothing, but for JSON that has white space.
///
/// # Safety
/// `event` as for pagi_sse_conn_send_event. `buf` is NULL with `cap` 0, to ask for
/// the size, or points to `cap` writable bytes apart from those of the event;
/// `len` points to a writable `size_t`.
///
/// *Returns* 0, and in `len` the frame's length; or
/// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _NOT_UTF8, _EVENT_NEWLINE, _ID_NEWLINE,
/// _ID_NUL, _ID_HEADER, _JSON, _BAD_ARGUMENT (as there; overlap).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_frame_event(
    event: *const pagi_sse_event,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let encode = |given: &Given<'_>| {
            let event = &given.event;
            event.check()?;
            let inputs = [given.data, event.event, event.id];
            // SAFETY: the caller's promise.
            let mut room = unsafe { room(buf, cap, event.encoded_len(), &inputs, len) }?;
            event.encode(&mut room);
            Ok(0)
        };
        // SAFETY: the caller's promise.
        unsafe { event::sent(event, encode) }
    })
}

/// Encodes a comment into the caller's buffer: a colon before each line that
/// does not begin with one, and a blank line. Allocates nothing.
///
/// # Safety
/// `comment` is NULL with length 0, for an empty one, or valid for
/// `comment_len`; UTF-8. `buf` is NULL with `cap` 0, to ask for the size, or
/// points to `cap` writable bytes apart from `comment`; `len` points to a
/// writable `size_t`.
///
/// *Returns* 0, and in `len` the frame's length; or
/// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _NOT_UTF8, _BAD_ARGUMENT (overlap, a length
/// beyond SSIZE_MAX).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_frame_comment(
    comment: *const c_char,
    comment_len: usize,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let comment = unsafe { text("comment", comment, comment_len) }?.unwrap_or_default();
        let needed = frame::comment_len(comment);
        // SAFETY: the caller's promise.
        let mut room = unsafe { room(buf, cap, needed, &[Some(comment)], len) }?;
        encode_comment(comment, &mut room);
        Ok(0)
    })
}
