//! Records as C reads them, from any bytes and from what a parser has packed.

use super::library::pagi_sse_bytes;
use super::parser::{
    pagi_sse_parser_free, pagi_sse_parser_next, pagi_sse_parser_open, pagi_sse_parser_options,
    pagi_sse_parser_push,
};
use super::record::{pagi_sse_record, pagi_sse_record_header_at, pagi_sse_record_read};
use crate::core::error::{Error, Result};
use crate::core::parse::{Message, Parsed};
use crate::fuzz::Stream;
use crate::host::record::Kind;
use std::mem::MaybeUninit;
use std::ptr;

/// A record that was read, or the code of the failure.
fn read(buf: &[u8], at: usize) -> std::result::Result<Option<(usize, pagi_sse_record)>, i32> {
    let mut next = at;
    let mut record = MaybeUninit::<pagi_sse_record>::uninit();
    let size = size_of::<pagi_sse_record>();
    // SAFETY: `buf` and `record` are as long as is said.
    let code = unsafe {
        pagi_sse_record_read(
            buf.as_ptr().cast(),
            buf.len(),
            &raw mut next,
            record.as_mut_ptr(),
            size,
        )
    };
    if code != 1 {
        assert_eq!(next, at, "moved on with no record");
    }
    match code {
        ..0 => Err(code),
        0 => Ok(None),
        // SAFETY: it was written.
        _ => Ok(Some((next, unsafe { record.assume_init() }))),
    }
}

/// A field's bytes, which are inside the buffer.
fn view<'a>(buf: &'a [u8], field: &pagi_sse_bytes) -> &'a [u8] {
    if field.data.is_null() {
        assert_eq!(field.len, 0);
        return &[];
    }
    let at = (field.data as usize).checked_sub(buf.as_ptr() as usize);
    let at = at.expect("behind the buffer's begin");
    &buf[at..at + field.len]
}

/// The header fields that C finds.
fn headers<'a>(buf: &'a [u8], record: &pagi_sse_record) -> Vec<(&'a [u8], &'a [u8])> {
    let mut all = Vec::new();
    loop {
        let mut field = MaybeUninit::uninit();
        // SAFETY: the record's bytes are in `buf`, which lives.
        let found =
            unsafe { pagi_sse_record_header_at(record.headers, all.len(), field.as_mut_ptr()) };
        if found != 1 {
            assert!(found == 0 || found == Error::BadArgument.code());
            return all;
        }
        // SAFETY: it was written.
        let field = unsafe { field.assume_init() };
        let part = |data, len| view(buf, &pagi_sse_bytes { data, len });
        all.push((
            part(field.name, field.name_len),
            part(field.value, field.value_len),
        ));
    }
}

fn fields(record: &pagi_sse_record) -> [&pagi_sse_bytes; 12] {
    [
        &record.text,
        &record.data,
        &record.event,
        &record.id,
        &record.method,
        &record.version,
        &record.path,
        &record.raw_path,
        &record.query,
        &record.client,
        &record.server,
        &record.headers,
    ]
}

/// Any bytes: what is read is inside of them, and reading comes to an end.
pub(crate) fn run(data: &[u8]) {
    let mut at = 0;
    loop {
        match read(data, at) {
            Ok(Some((next, record))) => {
                assert!(next > at && next <= data.len());
                for field in fields(&record) {
                    view(data, field);
                }
                headers(data, &record);
                at = next;
            }
            Ok(None) => return assert_eq!(at, data.len()),
            Err(code) => return assert_eq!(code, Error::BadArgument.code()),
        }
    }
}

/// What C reads of a request or an answer of the server's.
#[cfg(feature = "server")]
pub(crate) struct Asked {
    pub conn: u64,
    pub method: Vec<u8>,
    pub version: Vec<u8>,
    pub path: Vec<u8>,
    pub raw_path: Vec<u8>,
    pub query: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a record that has no length before it.
#[cfg(feature = "server")]
pub(crate) fn asked(record: &[u8]) -> Asked {
    let buf = [&(record.len() as u32).to_ne_bytes()[..], record].concat();
    let (next, record) = read(&buf, 0).expect("a record").expect("one record");
    assert_eq!(next, buf.len());
    let own = |field| view(&buf, field).to_vec();
    Asked {
        conn: record.conn,
        method: own(&record.method),
        version: own(&record.version),
        path: own(&record.path),
        raw_path: own(&record.raw_path),
        query: own(&record.query),
        headers: headers(&buf, &record)
            .into_iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
    }
}

/// Parses with the C functions, in buffers of different sizes.
pub(crate) fn parse(stream: &Stream<'_>) -> Vec<Result<Parsed>> {
    let [line, event, id] = stream.limits.unwrap_or_default();
    let options = pagi_sse_parser_options {
        size: size_of::<pagi_sse_parser_options>(),
        last_event_id: pagi_sse_bytes {
            data: ptr::null(),
            len: 0,
        },
        max_line: line.into(),
        max_event: event.into(),
        max_id: id.into(),
    };
    let mut parser = 0;
    // SAFETY: both live.
    assert_eq!(
        unsafe { pagi_sse_parser_open(&raw const options, &raw mut parser) },
        0
    );
    let mut items = Vec::new();
    for piece in stream.pieces() {
        let mut rest = piece;
        while !rest.is_empty() {
            // SAFETY: as long as is said.
            let took = unsafe { pagi_sse_parser_push(parser, rest.as_ptr().cast(), rest.len()) };
            assert!(took > 0);
            rest = &rest[took as usize..];
            let mut cap = 64 + usize::from(stream.sizes[0]) * 8;
            while let Some(records) = next(parser, &mut cap) {
                unpack(parser, &records, &mut items);
            }
        }
    }
    assert_eq!(pagi_sse_parser_free(parser), 0);
    items
}

/// A buffer of records; none: there are none. Once it needs to be larger, it
/// is.
fn next(parser: u64, cap: &mut usize) -> Option<Vec<u8>> {
    loop {
        let mut buf = vec![0; *cap];
        let mut used = 0;
        // SAFETY: as long as is said.
        let count = unsafe {
            pagi_sse_parser_next(parser, buf.as_mut_ptr().cast(), buf.len(), &raw mut used)
        };
        if count == Error::BufferSmall.code() {
            assert!(used > buf.len());
            *cap = used;
            continue;
        }
        assert!(count >= 0);
        buf.truncate(used);
        return (count > 0).then_some(buf);
    }
}

fn unpack(parser: u64, records: &[u8], items: &mut Vec<Result<Parsed>>) {
    let mut at = 0;
    while let Some((next, record)) = read(records, at).expect("records") {
        at = next;
        assert_eq!(record.conn, parser);
        let text = |field| String::from_utf8(view(records, field).to_vec()).expect("UTF-8");
        items.push(match Kind::of(record.kind as u8) {
            Some(Kind::Event) => Ok(Parsed::Event(Message {
                event: text(&record.event),
                data: text(&record.data),
                last_event_id: text(&record.id).into(),
            })),
            Some(Kind::Comment) => Ok(Parsed::Comment(text(&record.text))),
            Some(Kind::Error) => Err(*Error::ALL
                .iter()
                .find(|e| e.code() == record.code)
                .expect("a code")),
            other => panic!("{other:?}"),
        });
    }
}
