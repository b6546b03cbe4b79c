//! Where a request's body ends: hyper reads on into the next request, and that
//! one's head is to be seen before hyper sees it.

use super::head::Body;
use crate::core::limits;

/// What is left of a body.
pub enum Rest {
    Length(u64),
    Chunks(Chunks),
}

/// Why no more of a body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Chunks that RFC 9112 does not know.
    Malformed,
    /// A chunk with which the body would pass its limit.
    TooLarge,
}

impl Rest {
    /// Of a body that may have `max` bytes if it comes in chunks; a length is
    /// looked at by others.
    pub fn new(body: Body, max: u64) -> Self {
        match body {
            Body::Length(n) => Rest::Length(n),
            Body::Chunked => Rest::Chunks(Chunks {
                room: max,
                ..Chunks::default()
            }),
        }
    }

    /// The body is complete.
    pub fn is_over(&self) -> bool {
        match self {
            Rest::Length(n) => *n == 0,
            Rest::Chunks(chunks) => chunks.at == At::Over,
        }
    }

    /// How many of the next bytes are the body's; they are counted. What is in
    /// order before an error is given first.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Unfit> {
        match self {
            Rest::Length(left) => {
                let n = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                Ok(n)
            }
            Rest::Chunks(chunks) => chunks.take(bytes),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In a size, behind so many digits.
    Size(u8),
    /// Behind a size, in white space.
    Space,
    /// Behind a semicolon, in what is no part of the size.
    Extension,
    SizeLf,
    #[default]
    Begin,
    Data,
    DataCr,
    DataLf,
    /// In the trailer, at the beginning of a line.
    Line,
    /// In a field's name, behind its first letter.
    Name,
    Value,
    ValueLf,
    LastLf,
    Over,
}

/// A chunked body. Stricter than hyper where they differ, so that the two
/// never find two different ends.
#[derive(Default)]
pub struct Chunks {
    at: At,
    size: u64,
    /// For the chunks to come.
    room: u64,
    /// Bytes of extensions and of the trailer, and the trailer's fields.
    extra: usize,
    fields: usize,
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Unfit> {
        let mut used = 0;
        while used < bytes.len() && self.at != At::Over {
            if self.at == At::Data {
                let most = usize::try_from(self.size).unwrap_or(usize::MAX);
                let n = most.min(bytes.len() - used);
                self.size -= n as u64;
                used += n;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
            } else {
                match self.step(bytes[used]) {
                    Ok(at) => self.at = at,
                    // The next call says so.
                    Err(_) if used > 0 => break,
                    Err(unfit) => return Err(unfit),
                }
                used += 1;
            }
        }
        Ok(used)
    }

    fn step(&mut self, byte: u8) -> Result<At, Unfit> {
        let at = self.next(byte).ok_or(Unfit::Malformed)?;
        match at {
            At::Space | At::Extension | At::Name | At::Value => self.extra += 1,
            At::ValueLf => self.fields += 1,
            _ => {}
        }
        if self.extra > limits::CHUNK_EXTRA_BYTES || self.fields > limits::HEADERS {
            return Err(Unfit::Malformed);
        }
        if at == At::Data {
            // hyper waits for it, and keeps the largest numbers for itself.
            self.room = self.room.checked_sub(self.size).ok_or(Unfit::TooLarge)?;
        }
        Ok(at)
    }

    fn next(&mut self, byte: u8) -> Option<At> {
        let digit = char::from(byte).to_digit(16);
        Some(match (self.at, byte) {
            (At::Begin, _) => {
                self.size = digit?.into();
                At::Size(1)
            }
            (At::Size(n @ ..16), _) if digit.is_some() => {
                self.size = self.size << 4 | u64::from(digit?);
                At::Size(n + 1)
            }
            (At::Size(_) | At::Space | At::Extension, b'\r') => At::SizeLf,
            (At::Size(_) | At::Space, b';') => At::Extension,
            (At::Size(_) | At::Space, b' ' | b'\t') => At::Space,
            (At::Extension, b) if b != b'\n' => At::Extension,
            (At::SizeLf, b'\n') if self.size > 0 => At::Data,
            (At::SizeLf, b'\n') => At::Line,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Begin,
            (At::Line, b'\r') => At::LastLf,
            (At::Line | At::Name, b) if is_token(b) => At::Name,
            (At::Name, b':') => At::Value,
            (At::Value, b'\r') => At::ValueLf,
            (At::Value, b'\t' | b' '..=b'~' | 0x80..) => At::Value,
            (At::ValueLf, b'\n') => At::Line,
            (At::LastLf, b'\n') => At::Over,
            _ => return None,
        })
    }
}

/// A letter of a field's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are the body's, fed in two pieces, and how it stands then.
    fn used(bytes: &[u8], split: usize) -> (usize, Result<bool, Unfit>) {
        let mut rest = Rest::new(Body::Chunked, 100);
        let mut used = 0;
        for end in [split, bytes.len()] {
            while used < end && !rest.is_over() {
                match rest.take(&bytes[used..end]) {
                    Ok(n) => used += n,
                    Err(unfit) => return (used, Err(unfit)),
                }
            }
        }
        (used, Ok(rest.is_over()))
    }

    #[test]
    fn a_chunked_body_ends_where_it_ends_however_it_comes() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n2 ;x=\"y\" \r\nde\r\n0\r\n\r\n",
            "9\r\n0\r\n\r\nGET \r\n00 \r\nA: b\r\nC: d\r\n\r\n",
            "00000000000000f\r\n0123456789abcde\r\n0\r\n\r\n",
        ] {
            let bytes = format!("{body}GET / HTTP/1.1");
            for split in 0..=bytes.len() {
                let got = used(bytes.as_bytes(), split);
                assert_eq!(got, (body.len(), Ok(true)), "{body:?} at {split}");
            }
        }
        assert_eq!(used(b"3\r\nabc\r\n", 4), (8, Ok(false)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            ";\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\n",
            "1 1\r\n",
            "1 a=b\r\n",
            "1\rx",
            "1;a\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rx",
            "0\r\n\n",
            "0\r\nA: b\n",
            "0\r\n\rx",
            "0\r\nA\r\n",
            "0\r\n: b\r\n",
            "0\r\nA : b\r\n",
            "0\r\n A: b\r\n",
            "0\r\nA: b\r\n folded\r\n",
            "0\r\nA: \0\r\n",
            "0\r\nA: \x7F\r\n",
            "0\r\n\u{e9}: b\r\n",
            "00000000000000001\r\n",
        ] {
            let got = used(body.as_bytes(), 0).1;
            assert_eq!(got, Err(Unfit::Malformed), "{body:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_have_limits() {
        let most = limits::CHUNK_EXTRA_BYTES;
        let long = |n: usize| format!("1;{}\r\na\r\n0\r\n", "x".repeat(n - 1));
        let field = "A:\r\n";
        for (body, good) in [
            (long(most), true),
            (long(most + 1), false),
            (long(most - 2) + field, true),
            (long(most - 1) + field, false),
            (format!("0\r\n{}", field.repeat(limits::HEADERS)), true),
            (format!("0\r\n{}", field.repeat(limits::HEADERS + 1)), false),
        ] {
            let expected = if good {
                Ok(true)
            } else {
                Err(Unfit::Malformed)
            };
            assert_eq!(used(format!("{body}\r\n").as_bytes(), 0).1, expected);
        }
    }

    #[test]
    fn what_is_in_order_comes_before_the_error() {
        for split in 0..=9 {
            let got = used(b"3\r\nabc\r\nx\r\n", split);
            assert_eq!(got, (8, Err(Unfit::Malformed)), "at {split}");
        }
    }

    #[test]
    fn a_chunk_beyond_the_limit_is_refused_when_its_size_is_known() {
        for (body, used_before) in [
            ("ffffffffffffffff\r\n", 17),
            ("ffffffffffffffff\r\nabc", 17),
            ("65\r\n", 3),
            ("0000000000000065;a=b\r\n", 21),
            (
                "32\r\n12345678901234567890123456789012345678901234567890\r\n33;x\r\n",
                61,
            ),
        ] {
            let got = used(body.as_bytes(), 0);
            assert_eq!(got, (used_before, Err(Unfit::TooLarge)), "{body:?}");
        }
        assert_eq!(used(b"64\r\n", 0), (4, Ok(false)));
    }

    #[test]
    fn a_counted_body_has_its_length() {
        let mut rest = Rest::new(Body::Length(5), 0);
        assert_eq!(rest.take(b"abc"), Ok(3));
        assert!(!rest.is_over());
        assert_eq!(rest.take(b"abc"), Ok(2));
        assert!(rest.is_over());
        assert!(Rest::new(Body::Length(0), 0).is_over());
    }
}
