//! Reading records, for C: from packed bytes to a struct.

use super::library::{pagi_sse_bytes, pagi_sse_conn, pagi_sse_header};
use super::{Result, bytes, guard, set, set_struct, writable};
use crate::core::error::Error;
use crate::core::reason::Why;
use crate::host::record::{self, Kind, Reader};
use std::ffi::c_char;
use std::ptr;

/// In `flags` of a REQUEST: it has a body, which pagi_sse_conn_read_body reads.
pub const PAGI_SSE_FLAG_HAS_BODY: u8 = 1;
/// In `flags` of a REQUEST: the decoded path is UTF-8.
pub const PAGI_SSE_FLAG_PATH_IS_TEXT: u8 = 2;
/// In `flags` of a REQUEST: it came over a Unix socket.
pub const PAGI_SSE_FLAG_UNIX: u8 = 4;

// cbindgen reads literals only.
const _: () = assert!(
    PAGI_SSE_FLAG_HAS_BODY == record::HAS_BODY
        && PAGI_SSE_FLAG_PATH_IS_TEXT == record::PATH_IS_TEXT
        && PAGI_SSE_FLAG_UNIX == record::UNIX
);

/// A record, read by pagi_sse_record_read. What a type does not have is 0.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_record {
    /// One of enum pagi_sse_kind. Skip those you do not know.
    pub kind: i32,
    /// ERROR: a result code, or one of enum pagi_sse_trouble. END: one of enum
    /// pagi_sse_client_end. LOG: one of enum pagi_sse_level.
    pub code: i32,
    /// Whose record it is; a parser's or a client's handle from those; 0 for LOG
    /// and ANSWERED.
    pub conn: pagi_sse_conn,
    /// REQUEST: 1 if the client wants an event stream (its Accept field).
    pub sse: u8,
    /// REQUEST, ERROR: PAGI_SSE_FLAG_ bits.
    pub flags: u8,
    /// ENDED, ANSWERED: the status sent, 0 for none. OPEN, ERROR: that of the
    /// answer, 0 for none.
    pub status: u16,
    /// REQUEST, ANSWERED: the client's port.
    pub client_port: u16,
    /// REQUEST, ANSWERED: the port it came to.
    pub server_port: u16,
    /// ENDED, ANSWERED: bytes of content that the kernel took, without head and
    /// framing of chunks.
    pub bytes: u64,
    /// ENDED, ANSWERED: time from the request on. RETRY: the wait that the server
    /// has named. ERROR: the time until the next attempt.
    pub milliseconds: u64,
    /// CLOSED, ENDED, ANSWERED: `text` as one of enum pagi_sse_reason.
    pub reason: i32,
    /// 0.
    pub reserved: u32,
    /// BODY, DRAINED, OUTPUT, CLOSED, ENDED: what pagi_sse_conn_set_user gave,
    /// up to the moment when the record is read; of a connection freed since, in
    /// ENDED up to its end, and 0 in the others. CLIENT: that of the options.
    pub user: u64,
    /// CLOSED, ENDED, ANSWERED: reason. LOG, ERROR: message. COMMENT: text.
    pub text: pagi_sse_bytes,
    /// EVENT: the data. ERROR: the beginning of an answer's body.
    pub data: pagi_sse_bytes,
    /// EVENT: the type, `message` if the stream named none.
    pub event: pagi_sse_bytes,
    /// EVENT: the last event id in force.
    pub id: pagi_sse_bytes,
    /// REQUEST, ANSWERED: the method.
    pub method: pagi_sse_bytes,
    /// REQUEST, ANSWERED: the HTTP version, as `1.1`.
    pub version: pagi_sse_bytes,
    /// REQUEST: the path, percent-decoded.
    pub path: pagi_sse_bytes,
    /// REQUEST, ANSWERED: the path as it came.
    pub raw_path: pagi_sse_bytes,
    /// REQUEST, ANSWERED: what stands behind the question mark.
    pub query: pagi_sse_bytes,
    /// REQUEST, ANSWERED: the client's address; empty for a Unix socket.
    pub client: pagi_sse_bytes,
    /// REQUEST, ANSWERED: the address it came to, or the socket's path.
    pub server: pagi_sse_bytes,
    /// REQUEST, ANSWERED, OPEN, ERROR: packed; pagi_sse_record_header reads them.
    pub headers: pagi_sse_bytes,
    /// OPEN, ERROR: where the answer came from.
    pub url: pagi_sse_bytes,
}

const NONE: pagi_sse_bytes = pagi_sse_bytes {
    data: ptr::null(),
    len: 0,
};

fn view(bytes: &[u8]) -> pagi_sse_bytes {
    pagi_sse_bytes {
        data: bytes.as_ptr().cast(),
        len: bytes.len(),
    }
}

impl pagi_sse_record {
    fn set_reason(&mut self, word: &[u8]) {
        self.text = view(word);
        self.reason = Why::of(word) as i32;
    }
}

/// What the host has given a connection that it still has.
fn user(conn: pagi_sse_conn) -> Option<u64> {
    crate::conn::table().get(conn).ok().map(|conn| conn.user())
}

/// What a client asked, the end of a REQUEST and of an ANSWERED record.
fn read_asked(record: &mut pagi_sse_record, mut r: Reader<'_>) -> Result<()> {
    record.method = view(r.bytes()?);
    record.version = view(r.bytes()?);
    record.raw_path = view(r.bytes()?);
    record.query = view(r.bytes()?);
    record.client = view(r.bytes()?);
    record.client_port = r.u16()?;
    record.server = view(r.bytes()?);
    record.server_port = r.u16()?;
    record.headers = view(r.bytes()?);
    Ok(())
}

/// The head of an answer, in an OPEN and an ERROR record.
fn read_head(record: &mut pagi_sse_record, r: &mut Reader<'_>) -> Result<()> {
    record.status = r.u16()?;
    record.url = view(r.bytes()?);
    record.headers = view(r.bytes()?);
    Ok(())
}

/// What failed, in a client's ERROR record.
fn read_trouble(record: &mut pagi_sse_record, mut r: Reader<'_>) -> Result<()> {
    record.flags = r.u8()?;
    record.milliseconds = r.u64()?;
    record.text = view(r.bytes()?);
    if !r.is_empty() {
        read_head(record, &mut r)?;
        record.data = view(r.bytes()?);
    }
    Ok(())
}

/// One record without its length; `before` is the buffer up to its length.
pub(super) fn read(bytes: &[u8], before: &[u8]) -> Result<pagi_sse_record> {
    let mut r = Reader::new(bytes);
    let number = r.u8()?;
    let mut record = pagi_sse_record {
        kind: number.into(),
        code: 0,
        conn: r.u64()?,
        sse: 0,
        flags: 0,
        status: 0,
        client_port: 0,
        server_port: 0,
        bytes: 0,
        milliseconds: 0,
        reason: 0,
        reserved: 0,
        user: 0,
        text: NONE,
        data: NONE,
        event: NONE,
        id: NONE,
        method: NONE,
        version: NONE,
        path: NONE,
        raw_path: NONE,
        query: NONE,
        client: NONE,
        server: NONE,
        headers: NONE,
        url: NONE,
    };
    match Kind::of(number) {
        Some(Kind::Request) => {
            record.sse = r.u8()?;
            record.flags = r.u8()?;
            record.path = view(r.bytes()?);
            read_asked(&mut record, r)?;
        }
        Some(Kind::Answered) => {
            record.status = r.u16()?;
            record.bytes = r.u64()?;
            record.milliseconds = r.u64()?;
            record.set_reason(r.bytes()?);
            read_asked(&mut record, r)?;
        }
        Some(Kind::Ended) => {
            record.status = r.u16()?;
            record.bytes = r.u64()?;
            record.milliseconds = r.u64()?;
            record.set_reason(r.bytes()?);
            record.user = user(record.conn).unwrap_or(r.u64()?);
        }
        Some(Kind::Event) => {
            record.event = view(r.bytes()?);
            record.data = view(r.bytes()?);
            record.id = view(r.shared(before)?);
        }
        Some(Kind::Log) => {
            record.text = view(r.bytes()?);
            record.code = r.u8()?.into();
        }
        Some(Kind::Closed) => {
            record.set_reason(r.bytes()?);
            record.user = user(record.conn).unwrap_or(0);
        }
        Some(Kind::Comment) => record.text = view(r.bytes()?),
        Some(Kind::Body | Kind::Drained | Kind::Output) => {
            record.user = user(record.conn).unwrap_or(0);
        }
        Some(Kind::Error) => {
            record.code = r.u32()? as i32;
            // A client's.
            if record.code > 0 {
                read_trouble(&mut record, r)?;
            }
        }
        Some(Kind::Open) => {
            read_head(&mut record, &mut r)?;
        }
        Some(Kind::Retry) => record.milliseconds = r.u64()?,
        Some(Kind::End) => record.code = r.u32()? as i32,
        #[cfg(feature = "client")]
        Some(Kind::Client) => record.user = super::client::user(record.conn),
        #[cfg(not(feature = "client"))]
        Some(Kind::Client) => {}
        Some(Kind::Ready) | None => {}
    }
    Ok(record)
}

/// Reads one record of a buffer that pagi_sse_server_next,
/// pagi_sse_runtime_next, pagi_sse_client_next or pagi_sse_parser_next has
/// filled. All that wait are read by
/// `while (pagi_sse_server_next(server, buf, sizeof buf, &used) > 0)` and in it
/// `for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)`,
/// whatever the first gives.
///
/// # Safety
/// `buf` points to `used` bytes, as they were filled; `at` points to a `size_t`:
/// 0 at first, and this function moves it on; `out` points to `size`, that is,
/// sizeof(pagi_sse_record), writable bytes.
///
/// *Returns* 1: a record was read; 0: that was the end, and `out` is as it was;
/// or PAGI_SSE_RESULT_BAD_ARGUMENT (bytes that are no record, an impossible `at`
/// or `size`), _NULL_POINTER (also for `size` 0), and `at` is as it was.
/// *Ownership*: the record's bytes are in `buf` and live as long.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_record_read(
    buf: *const c_char,
    used: usize,
    at: *mut usize,
    out: *mut pagi_sse_record,
    size: usize,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let buf = unsafe { bytes(buf, used) }?.unwrap_or_default();
        writable(at)?;
        writable(out)?;
        if size == 0 {
            return Err(Error::NullPointer.into());
        }
        // SAFETY: not NULL, and the caller's promise.
        let from = unsafe { at.read_unaligned() };
        let (before, rest) = buf.split_at_checked(from).ok_or(Error::BadArgument)?;
        if rest.is_empty() {
            return Ok(0);
        }
        let mut reader = Reader::new(rest);
        let record = read(reader.bytes()?, before)?;
        // SAFETY: the caller's promise; the struct has no padding (docs/abi.md
        // is held against it).
        unsafe {
            set_struct(out, size, &record)?;
            set(at, used - reader.rest().len())?;
        }
        Ok(1)
    })
}

/// The header fields of a request, from `headers`.
fn fields(packed: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8])>> {
    let mut r = Reader::new(packed);
    let mut left = packed.len();
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let pair = (|| Ok((r.bytes()?, r.bytes()?)))();
        left = match &pair {
            Ok((name, value)) => left - 8 - name.len() - value.len(),
            Err(_) => 0,
        };
        Some(pair)
    })
}

/// Finds a request's header field by its name.
///
/// # Safety
/// `headers` is that of a record whose buffer lives; `name` is valid for `len`,
/// in any case of letters; `out` points to a writable pagi_sse_bytes.
///
/// *Returns* 1, and the value of the last field of that name; 0 if there is
/// none and `out` is as it was; or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT
/// (bytes that are no header fields).
/// *Ownership*: the value is in the record's buffer.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_record_header(
    headers: pagi_sse_bytes,
    name: *const c_char,
    len: usize,
    out: *mut pagi_sse_bytes,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise, for both.
        let (packed, name) = unsafe { (bytes(headers.data, headers.len)?, bytes(name, len)?) };
        let name = name.ok_or(Error::NullPointer)?;
        writable(out)?;
        let mut found = None;
        for field in fields(packed.unwrap_or_default()) {
            let (field, value) = field?;
            if field.eq_ignore_ascii_case(name) {
                found = Some(view(value));
            }
        }
        let Some(value) = found else { return Ok(0) };
        // SAFETY: the caller's promise.
        unsafe { set(out, value) }?;
        Ok(1)
    })
}

/// A request's header field by its place, from 0 on. Names are in lower case.
///
/// # Safety
/// `headers` is that of a record whose buffer lives; `out` points to a writable
/// pagi_sse_header.
///
/// *Returns* 1, and 0 behind the last field and `out` is as it was; or
/// PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (bytes that are no header
/// fields).
/// *Ownership*: name and value are in the record's buffer.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_record_header_at(
    headers: pagi_sse_bytes,
    index: usize,
    out: *mut pagi_sse_header,
) -> i32 {
    guard(|| {
        // SAFETY: the caller's promise.
        let packed = unsafe { bytes(headers.data, headers.len) }?;
        writable(out)?;
        let field = fields(packed.unwrap_or_default()).nth(index).transpose()?;
        let Some((name, value)) = field else {
            return Ok(0);
        };
        let (name, value) = (view(name), view(value));
        let field = pagi_sse_header {
            name: name.data,
            name_len: name.len,
            value: value.data,
            value_len: value.len,
        };
        // SAFETY: the caller's promise.
        unsafe { set(out, field) }?;
        Ok(1)
    })
}
