//! Bytes → events: the client's half of the protocol, resumable and bounded.
//!
//! Chunk borders mean nothing: the items reported, in order, depend only on
//! the bytes (P2). No byte is searched twice, and a line that lies whole in
//! its chunk is not copied first.
//!
//! # Limits
//! What has been found is the caller's to bound: [`Items`] finds one item at a
//! time, and what is not asked for stays in its bytes. Events share their id.
//!
//! A line over [`Parser::line_limit`] is reported once, as soon as it is seen
//! to be too long. If it is a comment, only that line is lost; otherwise, as
//! for data over [`Parser::event_limit`], the rest of the block is dropped up
//! to its blank line and parsing goes on behind it: half an event must not
//! look like a whole one. A dropped block leaves the last-event id as it was
//! (a reconnect asks for the event again), and its remaining comments are not
//! reported. A `retry` before the break stays in force.
//!
//! An id over [`Parser::id_limit`] is reported and ignored, as one with a NUL
//! is ignored (P4): the event comes, and a reconnect asks from an earlier one.

use std::mem;
use std::sync::Arc;

use memchr::{memchr, memchr2};

use crate::core::error::{Error, Result};
use crate::core::limits::{PARSE_EVENT_BYTES, PARSE_ID_BYTES, PARSE_KEPT_BYTES, PARSE_LINE_BYTES};

/// One thing found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An event to deliver.
    Event(Message),
    /// A comment line: the text after its colon, as it is. It means nothing
    /// to the protocol (P3), but shows that the connection lives.
    Comment(String),
}

/// What [`Items::found`] tells besides: the `retry` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An event or a comment.
    Parsed(Parsed),
    /// A valid `retry` line, with [`Parser::retry`]'s value; before the event
    /// of its block.
    Retry(u64),
}

/// An event as a client delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type; `message` unless the stream named one.
    pub event: String,
    /// The data lines, joined by LF.
    pub data: String,
    /// The last-event id in force, which may come from an earlier event.
    pub last_event_id: Arc<str>,
}

/// The state of one stream. At its end drop the parser, or [`Parser::reset`] it
/// for the next stream: an unfinished block is discarded with its id (P7).
#[derive(Clone, Debug)]
pub struct Parser {
    /// Longest line accepted, bytes without the line end.
    pub line_limit: usize,
    /// Most data accepted in one event, bytes after decoding.
    pub event_limit: usize,
    /// Longest id accepted, bytes after decoding.
    pub id_limit: usize,
    /// Bytes of the BOM seen at the start; 3 once that is settled.
    bom: usize,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
    /// The rest of this line is dropped; `line` is empty.
    skip_line: bool,
    /// All lines up to a blank one are dropped; `data` is empty.
    skip_block: bool,
    /// The line so far, from earlier chunks.
    line: Vec<u8>,
    event: String,
    data: String,
    /// The id as of this block; becomes `last_id` at its end.
    id: Arc<str>,
    last_id: Arc<str>,
    retry: Option<u64>,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser for a first connection, with the limits of [`crate::core::limits`].
    pub fn new() -> Self {
        Self::with_last_event_id("")
    }

    /// A parser for a reconnection. It starts with `id`, so that events
    /// without an id do not wipe it (P6). No limit holds for that one.
    pub fn with_last_event_id(id: impl Into<Arc<str>>) -> Self {
        let id = id.into();
        Parser {
            line_limit: PARSE_LINE_BYTES,
            event_limit: PARSE_EVENT_BYTES,
            id_limit: PARSE_ID_BYTES,
            bom: 0,
            after_cr: false,
            skip_line: false,
            skip_block: false,
            line: Vec::new(),
            event: String::new(),
            data: String::new(),
            last_id: Arc::clone(&id),
            id,
            retry: None,
        }
    }

    /// The stream has ended and another follows: an unfinished block is dropped
    /// with its id (P7); the last id (P6), the retry time and limits stay.
    pub fn reset(&mut self) {
        *self = Parser {
            line_limit: self.line_limit,
            event_limit: self.event_limit,
            id_limit: self.id_limit,
            retry: self.retry,
            ..Self::with_last_event_id(Arc::clone(&self.last_id))
        };
    }

    /// The id to send when reconnecting; empty means none (E7). An id counts
    /// from the end of its block (P5, P7).
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    /// The last valid reconnection time, milliseconds; one beyond `u64` is
    /// `u64::MAX`. It counts from its line on.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Takes the next bytes of the stream, as far as the items are asked for.
    ///
    /// An item that is [`Error::LineTooLong`], [`Error::EventTooLarge`] or
    /// [`Error::IdTooLong`] stands for what was dropped; the parser stays
    /// usable (see the module).
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Items<'a> {
        Items {
            parser: self,
            bytes,
        }
    }

    /// One BOM, at the very start (P1). Bytes that turn out to be less than a
    /// BOM are the start of the first line.
    fn skip_bom(&mut self, bytes: &mut &[u8]) {
        while self.bom < BOM.len() {
            match bytes.split_first() {
                None => return,
                Some((&byte, rest)) if byte == BOM[self.bom] => {
                    self.bom += 1;
                    *bytes = rest;
                }
                Some(_) => {
                    self.line.extend_from_slice(&BOM[..self.bom]);
                    self.bom = BOM.len();
                }
            }
        }
    }

    /// More of a line, and whether that is all of it.
    fn piece(&mut self, piece: &[u8], ended: bool) -> Option<Result<Found>> {
        let broken = self.admit(piece);
        if self.skip_line {
            self.skip_line = !ended;
        } else if !ended {
            self.line.extend_from_slice(piece);
        } else if self.line.is_empty() {
            return self.end_line(piece).transpose();
        } else {
            let mut line = mem::take(&mut self.line);
            line.extend_from_slice(piece);
            let item = self.end_line(&line);
            line.clear();
            line.shrink_to(PARSE_KEPT_BYTES);
            self.line = line;
            return item.transpose();
        }
        broken.map(Err)
    }

    /// Decides, before `piece` joins the line, whether the line is skipped.
    fn admit(&mut self, piece: &[u8]) -> Option<Error> {
        if self.skip_block {
            // Only a blank line matters now.
            self.skip_line |= !piece.is_empty();
        } else if !self.skip_line && self.line.len() + piece.len() > self.line_limit {
            self.skip_line = true;
            if self.line.first().or(piece.first()) != Some(&b':') {
                self.drop_block();
            }
            self.line = Vec::new();
            return Some(Error::LineTooLong);
        }
        None
    }

    fn drop_block(&mut self) {
        self.skip_block = true;
        self.event = String::new();
        self.data = String::new();
        self.id = Arc::clone(&self.last_id);
    }

    /// A whole line (P3, P4). Splitting before decoding is safe: the bytes
    /// split at are ASCII, so a broken sequence ends before them either way.
    fn end_line(&mut self, line: &[u8]) -> Result<Option<Found>> {
        if line.is_empty() {
            let event = self.end_block().map(Parsed::Event);
            return Ok(event.map(Found::Parsed));
        }
        let (name, value) = match memchr(b':', line) {
            Some(0) => {
                let comment = Parsed::Comment(decode(&line[1..]));
                return Ok(Some(Found::Parsed(comment)));
            }
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let text = String::from_utf8_lossy(value);
                if self.data.len() + text.len() > self.event_limit {
                    self.drop_block();
                    return Err(Error::EventTooLarge);
                }
                self.data.push_str(&text);
                self.data.push('\n');
            }
            b"event" => self.event = decode(value),
            b"id" if !value.contains(&0) => {
                let id = String::from_utf8_lossy(value);
                if id.len() > self.id_limit {
                    return Err(Error::IdTooLong);
                }
                // A server that repeats its id makes no new one of it.
                if *self.id != *id {
                    self.id = id.into();
                }
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Digits fail to parse only when there are too many.
                let retry = decode(value).parse().unwrap_or(u64::MAX);
                self.retry = Some(retry);
                return Ok(Some(Found::Retry(retry)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// A blank line (P5).
    fn end_block(&mut self) -> Option<Message> {
        self.skip_block = false;
        self.last_id = Arc::clone(&self.id);
        let mut event = mem::take(&mut self.event);
        let mut data = mem::take(&mut self.data);
        // Every data line left an LF: none means no data line (E3).
        data.pop()?;
        if event.is_empty() {
            event.push_str("message");
        }
        Some(Message {
            event,
            data,
            last_event_id: Arc::clone(&self.last_id),
        })
    }
}

/// The items in some bytes, found when they are asked for.
#[derive(Debug)]
#[must_use = "the parser takes the bytes as its items are asked for"]
pub struct Items<'a> {
    parser: &'a mut Parser,
    bytes: &'a [u8],
}

impl Items<'_> {
    /// How many bytes the parser has not taken: 0 once there is no item.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// As [`Iterator::next`], with the `retry` lines.
    pub fn found(&mut self) -> Option<Result<Found>> {
        self.parser.skip_bom(&mut self.bytes);
        loop {
            let &next = self.bytes.first()?;
            // CR has ended its line already; its LF adds nothing (P2).
            if mem::take(&mut self.parser.after_cr) && next == b'\n' {
                self.bytes = &self.bytes[1..];
                continue;
            }
            let end = memchr2(b'\r', b'\n', self.bytes);
            let (piece, rest) = self.bytes.split_at(end.unwrap_or(self.bytes.len()));
            self.parser.after_cr = rest.first() == Some(&b'\r');
            self.bytes = rest.get(1..).unwrap_or_default();
            let item = self.parser.piece(piece, end.is_some());
            if item.is_some() {
                return item;
            }
        }
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Parsed>;

    fn next(&mut self) -> Option<Result<Parsed>> {
        loop {
            match self.found()? {
                Ok(Found::Parsed(parsed)) => return Some(Ok(parsed)),
                Ok(Found::Retry(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl std::iter::FusedIterator for Items<'_> {}

/// WHATWG decoding: one U+FFFD for each maximal broken part, which is what the
/// standard library does (P1).
fn decode(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `wire` through a parser with limits of 8 and 4 bytes, in chunks of
    /// every size; the items in short form, and the last-event id.
    fn limited(wire: &str) -> (Vec<String>, String) {
        let run = |size| {
            let mut parser = Parser::with_last_event_id("0");
            (parser.line_limit, parser.event_limit) = (8, 4);
            let mut items = Vec::new();
            for chunk in wire.as_bytes().chunks(size) {
                items.extend(parser.push(chunk).map(|item| match item {
                    Ok(Parsed::Event(m)) => format!("{}={}", m.event, m.data),
                    Ok(Parsed::Comment(text)) => format!(":{text}"),
                    Err(e) => format!("{e:?}"),
                }));
                assert!(parser.line.len() <= 8 && parser.data.len() <= 5);
            }
            (items, parser.last_id.to_string())
        };
        let whole = run(wire.len());
        for size in 1..wire.len() {
            assert_eq!(run(size), whole, "chunks of {size}");
        }
        whole
    }

    #[track_caller]
    fn expect(wire: &str, items: &[&str], last_id: &str) {
        let (got, id) = limited(wire);
        assert_eq!(got, items);
        assert_eq!(id, last_id);
    }

    #[test]
    fn a_line_at_the_limit_passes() {
        expect("data:abc\n\n", &["message=abc"], "0");
        expect("\u{FEFF}data:abc\r\n\r\n", &["message=abc"], "0");
    }

    #[test]
    fn fields_count_by_their_rules() {
        expect("event:x\ndata:1\n\ndata:2\n\n", &["x=1", "message=2"], "0");
        expect(
            "id:1\ndata\n\nid:2\0\ndata\n\n",
            &["message=", "message="],
            "1",
        );
        let mut parser = Parser::new();
        assert_eq!(
            parser.push(b"retry:1s\nretry:\nretry: \nretry:x\n").count(),
            0
        );
        assert_eq!(parser.retry(), None);
        assert_eq!(parser.push(b"retry:12\nretry\nretry:9x\n").count(), 0);
        assert_eq!(parser.retry(), Some(12));
    }

    #[test]
    fn limits_are_those_of_the_next_stream_too() {
        let mut parser = Parser::new();
        (parser.line_limit, parser.event_limit, parser.id_limit) = (8, 2, 1);
        parser.reset();
        let wire = b"data:7890\n\ndata:123\n\nid:12\n";
        let items: Vec<_> = parser.push(wire).collect();
        let [line, event, id] = [Error::LineTooLong, Error::EventTooLarge, Error::IdTooLong];
        assert_eq!(items, [Err(line), Err(event), Err(id)]);
    }

    #[test]
    fn a_long_line_drops_its_block_and_nothing_after_it() {
        expect(
            "event:e\ndata:1\nid:1\ndata:abcd\n:c\ndata:2\r\n\r\ndata:3\n\n",
            &["LineTooLong", "message=3"],
            "0",
        );
    }

    #[test]
    fn a_long_line_is_reported_before_it_ends_and_once() {
        expect("data:abcdefghijklmnopqrstuvwxyz", &["LineTooLong"], "0");
    }

    #[test]
    fn a_long_comment_drops_only_itself() {
        expect(
            "data:1\n:12345678\n:1234567\ndata:2\n\n",
            &["LineTooLong", ":1234567", "message=1\n2"],
            "0",
        );
    }

    #[test]
    fn a_blank_line_ends_a_dropped_block_whatever_its_line_ends() {
        for blank in ["\n\n", "\r\r", "\r\n\r\n", "\n\r", "\r\n\n", "\n\r\n"] {
            expect(
                &format!("data:abcd{blank}data:1\n\n"),
                &["LineTooLong", "message=1"],
                "0",
            );
        }
    }

    #[test]
    fn data_at_the_limit_passes_and_one_more_drops_the_event() {
        expect("data:ab\ndata:c\n\n", &["message=ab\nc"], "0");
        expect(
            "id:1\ndata:ab\ndata:cd\nid:2\n\ndata:3\nid:3\n\n",
            &["EventTooLarge", "message=3"],
            "3",
        );
    }

    #[test]
    fn empty_data_lines_count_towards_the_limit() {
        expect(
            "data\ndata\ndata\ndata\ndata\n\n",
            &["message=\n\n\n\n"],
            "0",
        );
        expect(
            "data\ndata\ndata\ndata\ndata\ndata\n\n",
            &["EventTooLarge"],
            "0",
        );
        expect("data:ab\ndata:c\ndata\n\n", &["EventTooLarge"], "0");
    }

    #[test]
    fn a_dropped_block_leaves_its_type_behind() {
        expect(
            "event:e\ndata:ab\ndata:cd\n\ndata:1\n\n",
            &["EventTooLarge", "message=1"],
            "0",
        );
    }

    #[test]
    fn an_id_over_the_limit_is_reported_and_ignored_and_its_event_comes() {
        for size in 1..40 {
            let mut parser = Parser::with_last_event_id("0");
            parser.id_limit = 4;
            let wire = b"id:abcd\ndata:1\n\nid:e\nid:abcde\ndata:2\n\nid:\xFF\xFF\ndata:3\n\n";
            let items: Vec<_> = (wire.chunks(size))
                .flat_map(|chunk| parser.push(chunk).collect::<Vec<_>>())
                .map(|item| match item {
                    Ok(Parsed::Event(m)) => format!("{}#{}", m.data, m.last_event_id),
                    other => format!("{other:?}"),
                })
                .collect();
            let broken = "Err(IdTooLong)";
            assert_eq!(items, ["1#abcd", broken, "2#e", broken, "3#e"], "{size}");
            assert_eq!(parser.last_event_id(), "e");
        }
    }

    #[test]
    fn events_share_one_id_even_if_their_server_repeats_it() {
        let mut parser = Parser::new();
        let wire = b"id:7\ndata\n\ndata\n\nid:7\ndata\n\nid:8\nid:7\ndata\n\n";
        let ids = parser.push(wire).map(|item| match item {
            Ok(Parsed::Event(m)) => m.last_event_id,
            other => panic!("{other:?}"),
        });
        let ids: Vec<_> = ids.collect();
        assert!(ids.iter().all(|id| &**id == "7") && ids.len() == 4);
        assert!(Arc::ptr_eq(&ids[0], &ids[1]) && Arc::ptr_eq(&ids[1], &ids[2]));
    }

    #[test]
    fn what_is_not_asked_for_is_not_taken() {
        let wire = b"\xEF\xBB\xBF:1\r\n:2\n\ndata:3\n\nid:4";
        let mut parser = Parser::new();
        let mut rest = &wire[..];
        let mut lefts = Vec::new();
        while !rest.is_empty() {
            let mut items = parser.push(rest);
            let _ = items.next();
            let left = items.left();
            rest = &rest[rest.len() - left..];
            lefts.push(left);
        }
        // The LF of CRLF is taken with what follows it.
        assert_eq!(lefts, [17, 13, 4, 0]);
        let mut none = parser.push(b"");
        assert_eq!((none.next(), none.next(), none.left()), (None, None, 0));
    }

    #[test]
    fn a_parser_keeps_little_of_the_room_that_a_long_line_had() {
        let mut parser = Parser::new();
        for wire in [&b"data:"[..], &[b'x'; 100_000], b"\n\n"] {
            assert!(parser.push(wire).all(|item| item.is_ok()));
        }
        assert!(parser.line.capacity() <= PARSE_KEPT_BYTES);
        assert_eq!(parser.data.capacity() + parser.event.capacity(), 0);
        assert_eq!(parser.push(b":").chain([]).count(), 0);
        parser.line_limit = 100;
        assert_eq!(parser.push(&[b'x'; 200]).count(), 1);
        assert_eq!(parser.line.capacity(), 0);
    }

    #[test]
    fn a_retry_before_the_break_stays() {
        let mut parser = Parser::new();
        parser.line_limit = 8;
        assert_eq!(parser.push(b"retry:10\ndata:abcd\nretry:20\n\n").count(), 1);
        assert_eq!(parser.retry(), Some(10));
    }

    #[test]
    fn limits_of_zero_do_not_hide_a_split_bom() {
        for size in 1..=7 {
            let mut parser = Parser::new();
            (parser.line_limit, parser.event_limit) = (0, 0);
            let mut items = Vec::new();
            for chunk in b"\xEF\xBB\xBF\n\n\xEF\n".chunks(size) {
                items.extend(parser.push(chunk));
            }
            assert_eq!(items, [Err(Error::LineTooLong)]);
        }
    }

    #[test]
    fn a_reset_drops_the_unfinished_and_keeps_the_last_id() {
        let mut parser = Parser::new();
        (parser.event_limit, parser.id_limit) = (9, 8);
        assert_eq!(
            parser
                .push(b"retry:7\nid:1\ndata:a\n\nid:2\ndata:b\nda")
                .count(),
            1
        );
        parser.reset();
        let items: Vec<_> = parser.push(b"\xEF\xBB\xBFdata:c\n\n").collect();
        let message = Message {
            event: "message".into(),
            data: "c".into(),
            last_event_id: "1".into(),
        };
        assert_eq!(items, [Ok(Parsed::Event(message))]);
        assert_eq!(parser.retry(), Some(7));
        assert_eq!((parser.event_limit, parser.id_limit), (9, 8));
    }
}
