//! Event, comment, retry → bytes. Pure: no I/O, nothing is kept between calls.
//!
//! A frame never begins with a BOM (E1): its first byte is a field name or a
//! colon. CR and CRLF inside data reach the client as LF (E2).

use std::io::Write as _;

use bytes::BufMut;
use memchr::{memchr2, memchr3};

use crate::core::error::{Error, Result};
use crate::core::limits;

/// One event, or a block that only moves the client's id or retry time (E9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The text. `Some("")` is an event with empty data; `None` fires nothing
    /// at the client.
    pub data: Option<&'a str>,
    /// The event type. `None` and `Some("")` both mean `message` (E10).
    pub event: Option<&'a str>,
    /// The new last-event id. `Some("")` resets it (E7).
    pub id: Option<&'a str>,
    /// The reconnection time, milliseconds.
    pub retry: Option<u64>,
}

/// Refuses an event type or an id that would forge a field or be ignored (E5),
/// and an id that would not come back through a header as it was sent (E6).
///
/// # Errors
/// [`Error::EventNewline`], [`Error::IdNewline`], [`Error::IdNul`] or
/// [`Error::IdHeader`].
pub fn check(event: Option<&str>, id: Option<&str>) -> Result<()> {
    if event.is_some_and(|e| memchr2(b'\r', b'\n', e.as_bytes()).is_some()) {
        return Err(Error::EventNewline);
    }
    let id = id.unwrap_or_default().as_bytes();
    match memchr3(b'\r', b'\n', 0, id).map(|at| id[at]) {
        None if fits_header(id) => Ok(()),
        None => Err(Error::IdHeader),
        Some(0) => Err(Error::IdNul),
        Some(_) => Err(Error::IdNewline),
    }
}

/// Browsers send the id in Last-Event-ID, as UTF-8. Servers refuse a request
/// with a control character in a field, and an EventSource then gives up for
/// good; white space around a field's value is not part of it (RFC 9110).
fn fits_header(id: &[u8]) -> bool {
    let space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    id.len() <= limits::ID_BYTES
        && !space(id.first())
        && !space(id.last())
        && !id.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7F)
}

impl Event<'_> {
    /// [`check`] on this event's type and id.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self) -> Result<()> {
        check(self.event, self.id)
    }

    /// No field at all.
    pub fn is_empty(&self) -> bool {
        self.name().or(self.id).or(self.data).is_none() && self.retry.is_none()
    }

    /// The number of bytes [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        let fields = self.name().map_or(0, |e| EVENT.len() + e.len() + 1)
            + self.id.map_or(0, |id| ID.len() + id.len() + 1)
            + self.retry.map_or(0, |ms| {
                RETRY.len() + ms.checked_ilog10().unwrap_or(0) as usize + 2
            })
            + self
                .data
                .map_or(0, |d| Lines::of(d).map(|l| DATA.len() + l.len() + 1).sum());
        fields + usize::from(fields > 0)
    }

    /// Where in the frame the id's text begins.
    pub fn id_at(&self) -> Option<usize> {
        let before = self.name().map_or(0, |e| EVENT.len() + e.len() + 1);
        self.id.map(|_| before + ID.len())
    }

    /// Writes the frame: `event`, `id`, `retry`, `data` lines, blank line. An
    /// event with no field at all writes nothing.
    ///
    /// The caller has run [`check`](Self::check).
    ///
    /// # Panics
    /// When `out` has no room, and, in debug builds, on an unchecked event.
    pub fn encode(&self, out: &mut impl BufMut) {
        debug_assert_eq!(self.check(), Ok(()));
        if self.is_empty() {
            return;
        }
        if let Some(event) = self.name() {
            put_line(out, EVENT, event.as_bytes());
        }
        if let Some(id) = self.id {
            put_line(out, ID, id.as_bytes());
        }
        if let Some(ms) = self.retry {
            put_line(out, RETRY, decimal(ms, &mut [0; 20]));
        }
        // Every piece gets its own prefix, empty ones too: without a data line
        // the client dispatches nothing (E2, E3).
        for line in self.data.into_iter().flat_map(Lines::of) {
            put_line(out, DATA, line);
        }
        out.put_u8(b'\n');
    }

    /// The event type if it is worth a line (E10).
    fn name(&self) -> Option<&str> {
        self.event.filter(|e| !e.is_empty())
    }
}

/// The number of bytes [`encode_comment`] writes.
pub fn comment_len(text: &str) -> usize {
    1 + Lines::of(text)
        .map(|l| colon(l).len() + l.len() + 1)
        .sum::<usize>()
}

/// Writes a comment and a blank line (E12). Each line of `text` gets a colon
/// unless it begins with one; no space is added (PAGI), so `ping` is `:ping`
/// and an empty comment is `:`.
///
/// # Panics
/// When `out` has no room.
pub fn encode_comment(text: &str, out: &mut impl BufMut) {
    for line in Lines::of(text) {
        put_line(out, colon(line), line);
    }
    out.put_u8(b'\n');
}

// With the space: a client takes one off, so a leading space of the value
// survives (E4).
const EVENT: &[u8] = b"event: ";
const ID: &[u8] = b"id: ";
const RETRY: &[u8] = b"retry: ";
const DATA: &[u8] = b"data: ";

fn colon(line: &[u8]) -> &'static [u8] {
    if line.first() == Some(&b':') {
        b""
    } else {
        b":"
    }
}

fn put_line(out: &mut impl BufMut, prefix: &[u8], value: &[u8]) {
    out.put_slice(prefix);
    out.put_slice(value);
    out.put_u8(b'\n');
}

/// ASCII digits only (E8). 20 bytes hold the largest `u64`.
fn decimal(n: u64, buf: &mut [u8; 20]) -> &[u8] {
    let mut rest = &mut buf[..];
    write!(rest, "{n}").expect("20 digits hold any u64");
    let used = 20 - rest.len();
    &buf[..used]
}

/// The pieces of a text between CR, LF and CRLF; at least one, maybe empty.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Lines(Some(text.as_bytes()))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let Some(at) = memchr2(b'\r', b'\n', text) else {
            return self.0.take();
        };
        let skip = 1 + usize::from(text[at..].starts_with(b"\r\n"));
        self.0 = Some(&text[at + skip..]);
        Some(&text[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_in_a_type_or_an_id_is_refused() {
        for bad in ["\n", "\r", "a\r\nb", "data: x\n"] {
            assert_eq!(check(Some(bad), None), Err(Error::EventNewline));
            assert_eq!(check(None, Some(bad)), Err(Error::IdNewline));
            let event = Event {
                id: Some(bad),
                ..Event::default()
            };
            assert_eq!(event.check(), Err(Error::IdNewline));
        }
    }

    #[test]
    fn the_text_of_an_id_begins_where_it_is_said() {
        for (event, at) in [(None, 4), (Some("a type"), 18)] {
            let mut framed = Event {
                event,
                id: Some("17"),
                retry: Some(5),
                data: Some("x"),
            };
            let mut bytes = Vec::new();
            framed.encode(&mut bytes);
            assert_eq!((framed.id_at(), &bytes[at..at + 2]), (Some(at), &b"17"[..]));
            framed.id = None;
            assert_eq!(framed.id_at(), None);
        }
    }

    #[test]
    fn nul_is_refused_in_an_id_only() {
        for bad in ["\0", "x\0", "\0x", "x\0x", " \0"] {
            assert_eq!(check(None, Some(bad)), Err(Error::IdNul));
            assert_eq!(check(Some(bad), None), Ok(()));
        }
    }

    #[test]
    fn other_breaks_of_unicode_are_text_in_a_type_and_an_id() {
        let text = "\u{2028}\u{2029}\u{85}\u{FEFF}";
        assert_eq!(check(Some(text), Some(text)), Ok(()));
        assert_eq!(check(Some("\u{B}\u{C}\u{7F} "), None), Ok(()));
        assert_eq!(check(None, None), Ok(()));
    }

    #[test]
    fn an_id_that_would_not_come_back_through_a_header_is_refused() {
        let controls = (1..=0x1F).chain([0x7F]).map(char::from);
        for control in controls.filter(|c| !"\t\n\r".contains(*c)) {
            let id = format!("a{control}b");
            assert_eq!(check(None, Some(&id)), Err(Error::IdHeader), "{id:?}");
        }
        for bad in [" ", "\t", " a", "a ", "\ta", "a\t"] {
            assert_eq!(check(None, Some(bad)), Err(Error::IdHeader), "{bad:?}");
        }
        for good in ["", "a b", "a\tb", "é€😀", "\u{A0}a\u{A0}", "\"<>@,;:"] {
            assert_eq!(check(None, Some(good)), Ok(()), "{good:?}");
        }
        let long = "é".repeat(limits::ID_BYTES / 2);
        assert_eq!(check(None, Some(&long)), Ok(()));
        assert_eq!(check(None, Some(&(long + "x"))), Err(Error::IdHeader));
    }

    #[test]
    fn the_length_of_every_power_of_ten_is_exact() {
        let powers = (0..20).map(|n| 10u64.pow(n)).flat_map(|p| [p - 1, p]);
        for ms in powers.chain([u64::MAX]) {
            let event = Event {
                retry: Some(ms),
                ..Event::default()
            };
            let mut out = Vec::new();
            event.encode(&mut out);
            assert_eq!(out, format!("retry: {ms}\n\n").into_bytes());
            assert_eq!(event.encoded_len(), out.len());
        }
    }

    #[test]
    fn the_length_of_a_frame_is_exact() {
        for text in ["", "a", ":a", "a\nb", "a\r\n:b\r", "\n\n"] {
            let (len, mut out) = (comment_len(text), Vec::new());
            encode_comment(text, &mut out);
            assert_eq!(len, out.len(), "{text:?}");
            let event = Event {
                data: Some(text),
                event: Some("type"),
                id: Some("id"),
                retry: Some(7),
            };
            out.clear();
            event.encode(&mut out);
            assert_eq!(event.encoded_len(), out.len(), "{text:?}");
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "IdNul")]
    fn encoding_an_unchecked_event_panics_in_debug_builds() {
        let event = Event {
            id: Some("\0"),
            ..Event::default()
        };
        event.encode(&mut Vec::new());
    }
}
