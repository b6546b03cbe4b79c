//! Records as the host program reads them: a type byte, the connection's
//! handle, then fields in native byte order, byte strings after a `u32` length.
//! A reader skips what stands behind the fields that it knows.

use crate::conn::Conn;
use crate::core::error::{Error, Result};
use crate::core::level::Level;
use crate::core::limits;
use std::borrow::Cow;
use std::time::Duration;

/// What a record tells. Skip numbers you do not know: later versions add some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// A request arrived at a server; the connection is the caller's from now
    /// on. `sse`, `flags`, `method`, `version`, `path`, `raw_path`, `query`,
    /// `client`, `client_port`, `server`, `server_port`, `headers`.
    Request = 1,
    /// Request body bytes, or the body's end, can be read; or the body broke off.
    Body = 2,
    /// The output queue has fallen to the low mark.
    Drained = 3,
    /// The connection closed, and not by pagi_sse_conn_close or _abort. `text`
    /// is the reason, and `reason` its number.
    Closed = 4,
    /// The transport is done with the connection; nothing of it is read behind
    /// this. `status` (0: nothing was
    /// sent), `bytes` that the kernel took, `milliseconds`; `text` is the reason,
    /// empty for an ordinary response of which the kernel took all, however the
    /// host closed it then, and `reason`
    /// its number.
    Ended = 5,
    /// A message for the operator: `text`; its pagi_sse_level in `code`. Its
    /// `conn` is 0.
    Log = 6,
    /// Output, or its end, can be read with pagi_sse_conn_read.
    Output = 7,
    /// A hub is ready for more; `conn` is the hub's number.
    Ready = 8,
    /// The server answered a request by itself, and the host program has
    /// nothing to do but to note it. `status`, `bytes`, `milliseconds`; `text`
    /// is the reason, a word, and `reason` its number; and of the request what is known: `method`,
    /// `version`, `raw_path`, `query`, `client`, `client_port`, `server`,
    /// `server_port`, `headers`. Where no method is known, `raw_path` has the
    /// request line as it came. Its `conn` is 0.
    Answered = 9,
    /// A client has something: pagi_sse_client_next. `conn` is the client's
    /// number. It comes once, and again only after that has given 0.
    Client = 10,
    /// From a parser or a client: an event. `event`, `data`, `id` (the last
    /// event id in force).
    Event = 20,
    /// From a parser or a client: a comment, in `text`.
    Comment = 21,
    /// From a parser: something was dropped. `code` is
    /// PAGI_SSE_RESULT_LINE_TOO_LONG, _EVENT_TOO_LARGE or _ID_TOO_LONG. From a
    /// client: something failed. `code` is one of enum pagi_sse_trouble, which
    /// are positive; `flags`; `text`, a sentence that names the URL, and the limit
    /// if it was one; `milliseconds` until the next attempt. Of an answer that was
    /// no stream also `status` (0: there was none), `url`, `headers` and the
    /// beginning of its body, up to max_refusal, in `data`.
    Error = 22,
    /// From a client: a stream was opened, the first time or again. `status`,
    /// `headers`; `url` is where it came from, after redirections.
    Open = 23,
    /// From a client: the server has named the wait before a reconnection, in
    /// `milliseconds`; before the event of its block.
    Retry = 24,
    /// From a client: it has ended, and this is its last record. `code` is one of
    /// enum pagi_sse_client_end.
    End = 25,
}

impl Kind {
    const ALL: [Kind; 16] = [
        Kind::Request,
        Kind::Body,
        Kind::Drained,
        Kind::Closed,
        Kind::Ended,
        Kind::Log,
        Kind::Output,
        Kind::Ready,
        Kind::Answered,
        Kind::Client,
        Kind::Event,
        Kind::Comment,
        Kind::Error,
        Kind::Open,
        Kind::Retry,
        Kind::End,
    ];

    /// The kind of that number.
    pub fn of(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| *k as u8 == byte)
    }
}

/// Set in a request's flags when it has a body to read.
///
/// cbindgen:ignore
pub const HAS_BODY: u8 = 1;
/// Set when the decoded path is well-formed UTF-8.
///
/// cbindgen:ignore
pub const PATH_IS_TEXT: u8 = 2;
/// Set when the listener is a Unix socket.
///
/// cbindgen:ignore
pub const UNIX: u8 = 4;

/// Set in the length of a byte string that stands in an earlier record of the
/// same buffer: the rest says how far its length is before this record's.
///
/// cbindgen:ignore
pub const EARLIER: u32 = 1 << 31;

/// Appends a byte string.
pub fn put(r: &mut Vec<u8>, bytes: &[u8]) {
    r.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
    r.extend_from_slice(bytes);
}

/// Appends what `write` does as one byte string, as a later version may put
/// fields behind it.
pub fn put_all(r: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = r.len();
    put(r, b"");
    write(r);
    let len = (r.len() - at - 4) as u32;
    r[at..at + 4].copy_from_slice(&len.to_ne_bytes());
}

/// Bytes of a record that says only what happened; no other is so short.
///
/// cbindgen:ignore
pub const PLAIN: usize = 9;

/// A record that says only what happened.
pub fn plain(kind: Kind, handle: u64) -> Vec<u8> {
    let mut r = Vec::with_capacity(PLAIN);
    r.push(kind as u8);
    r.extend_from_slice(&handle.to_ne_bytes());
    r
}

/// With the reason.
pub fn closed(conn: &Conn) -> Vec<u8> {
    let mut r = plain(Kind::Closed, conn.handle());
    put(&mut r, conn.reason().unwrap_or_default().as_bytes());
    r
}

/// Status, body bytes sent, milliseconds, reason, the host program's own number.
pub fn ended(conn: &Conn, took: Duration) -> Vec<u8> {
    let mut r = plain(Kind::Ended, conn.handle());
    let (status, bytes) = conn.totals();
    put_totals(&mut r, status, bytes, took);
    let reason = conn.logged_reason().unwrap_or_default();
    put(&mut r, one_line(&reason).as_bytes());
    r.extend_from_slice(&conn.user().to_ne_bytes());
    r
}

/// Appends what came of a request.
pub fn put_totals(r: &mut Vec<u8>, status: u16, bytes: u64, took: Duration) {
    r.extend_from_slice(&status.to_ne_bytes());
    r.extend_from_slice(&bytes.to_ne_bytes());
    r.extend_from_slice(&(took.as_millis() as u64).to_ne_bytes());
}

/// A line for the log.
pub fn log(level: Level, text: &str) -> Vec<u8> {
    let mut r = plain(Kind::Log, 0);
    let line = one_line(text);
    let most = limits::LOG_BYTES.min(line.len());
    let end = (0..=most).rev().find(|&i| line.is_char_boundary(i));
    let end = end.unwrap_or(0);
    put(&mut r, line[..end].as_bytes());
    r.push(level as u8);
    r
}

/// Without what would begin another line of a log, or move its cursor.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escaped = text.chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    escaped.collect()
}

/// What a record tells, and about which handle.
pub fn about(record: &[u8]) -> Option<(Kind, u64)> {
    let handle = record.get(1..9)?.try_into().ok()?;
    Some((Kind::of(record[0])?, u64::from_ne_bytes(handle)))
}

/// The handle of a record of that kind.
pub fn handle_of(record: &[u8], kind: Kind) -> Option<u64> {
    about(record).filter(|a| a.0 == kind).map(|a| a.1)
}

/// Reads a record's fields, one after the other. Bytes that no record of ours
/// has are [`Error::BadArgument`].
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first of those bytes on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Error::BadArgument)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Error::BadArgument)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A port or a status.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    /// A length.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// A handle or a count.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// A byte string that may stand in an earlier record; `before` is the
    /// buffer up to this one.
    pub fn shared(&mut self, before: &'a [u8]) -> Result<&'a [u8]> {
        let len = self.u32()?;
        if len & EARLIER == 0 {
            return self.take(len as usize);
        }
        let back = (len ^ EARLIER) as usize;
        let at = before.len().checked_sub(back).ok_or(Error::BadArgument)?;
        Reader::new(&before[at..]).bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_passes_the_end() {
        let mut r = Vec::new();
        put(&mut r, b"abc");
        let mut all = Reader::new(&r);
        assert_eq!(all.bytes(), Ok(&b"abc"[..]));
        assert_eq!(all.u8(), Err(Error::BadArgument));
        for end in 0..r.len() {
            assert_eq!(Reader::new(&r[..end]).bytes(), Err(Error::BadArgument));
        }
        let huge = u32::MAX.to_ne_bytes();
        assert_eq!(Reader::new(&huge).bytes(), Err(Error::BadArgument));
    }

    #[test]
    fn a_shared_string_is_found_before_and_nowhere_else() {
        let mut before = b"x".to_vec();
        put(&mut before, b"abc");
        put(&mut before, b"");
        let is = |len: u32, expected: Result<&[u8]>| {
            let field = len.to_ne_bytes();
            assert_eq!(Reader::new(&field).shared(&before), expected, "{len:x}");
        };
        is(EARLIER | 11, Ok(b"abc"));
        is(EARLIER | 4, Ok(b""));
        is(0, Ok(b""));
        for wrong in [EARLIER, EARLIER | 3, EARLIER | 13, u32::MAX, 1] {
            is(wrong, Err(Error::BadArgument));
        }
    }

    #[test]
    fn a_text_stays_one_line() {
        assert_eq!(one_line("plain \u{e9}"), "plain \u{e9}");
        assert_eq!(one_line("a\r\nb\0\u{85}"), "a\\r\\nb\\u{0}\\u{85}");
        let long = log(Level::Warning, &"\u{e9}\n".repeat(limits::LOG_BYTES));
        assert_eq!(long.len(), PLAIN + 4 + limits::LOG_BYTES + 1);
        assert!(log(Level::Debug, "a\nb").ends_with(b"a\\nb\x02"));
    }

    #[test]
    fn each_kind_is_found_by_its_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u8), Some(kind));
        }
        assert_eq!(Kind::of(0), None);
        assert_eq!(Kind::of(255), None);
    }
}
