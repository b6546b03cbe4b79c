//! Where a request's body ends: hyper reads on into the next request, and that
//! one's head is to be seen before hyper sees it.

use super::head::Body;

/// What is left of a body.
pub enum Rest {
    Length(u64),
    Chunks(Chunks),
}

/// Chunks that RFC 9112 does not know.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Body> for Rest {
    fn from(body: Body) -> Self {
        match body {
            Body::Length(n) => Rest::Length(n),
            Body::Chunked => Rest::Chunks(Chunks::default()),
        }
    }
}

impl Rest {
    /// The body is complete.
    pub fn is_over(&self) -> bool {
        match self {
            Rest::Length(n) => *n == 0,
            Rest::Chunks(chunks) => chunks.at == At::Over,
        }
    }

    /// How many of the next bytes are the body's; they are counted.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
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
    /// Behind a size, in what is no part of it.
    Extension,
    SizeLf,
    #[default]
    Begin,
    Data,
    DataCr,
    DataLf,
    /// In the trailer; at the beginning of a line?
    Line(bool),
    LineLf(bool),
    Over,
}

/// A chunked body. Stricter than hyper where they differ, so that the two
/// never find two different ends.
#[derive(Default)]
pub struct Chunks {
    at: At,
    size: u64,
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
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
                self.at = self.step(bytes[used]).ok_or(Malformed)?;
                used += 1;
            }
        }
        Ok(used)
    }

    fn step(&mut self, byte: u8) -> Option<At> {
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
            (At::Size(_) | At::Extension, b'\r') => At::SizeLf,
            (At::Size(_), b';' | b' ' | b'\t') => At::Extension,
            (At::Extension, b) if b != b'\n' => At::Extension,
            (At::SizeLf, b'\n') if self.size > 0 => At::Data,
            (At::SizeLf, b'\n') => At::Line(true),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Begin,
            (At::Line(is_empty), b'\r') => At::LineLf(is_empty),
            (At::Line(_), b) if b != b'\n' => At::Line(false),
            (At::LineLf(true), b'\n') => At::Over,
            (At::LineLf(false), b'\n') => At::Line(true),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are the body's, fed in two pieces; `None`: malformed.
    fn used(bytes: &[u8], split: usize) -> Option<(usize, bool)> {
        let mut rest = Rest::from(Body::Chunked);
        let first = rest.take(&bytes[..split]).ok()?;
        let n = match first {
            n if n < split => n,
            n => n + rest.take(&bytes[split..]).ok()?,
        };
        Some((n, rest.is_over()))
    }

    #[test]
    fn a_chunked_body_ends_where_it_ends_however_it_comes() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n2;x=\"y\"\r\nde\r\n0\r\n\r\n",
            "9\r\n0\r\n\r\nGET \r\n00 \r\nA: b\r\nC: d\r\n\r\n",
            "00000000000000f\r\n0123456789abcde\r\n0\r\n\r\n",
        ] {
            let bytes = format!("{body}GET / HTTP/1.1");
            for split in 0..=bytes.len() {
                let got = used(bytes.as_bytes(), split);
                assert_eq!(got, Some((body.len(), true)), "{body:?} at {split}");
            }
        }
        assert_eq!(used(b"3\r\nabc\r\n", 4), Some((8, false)));
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
            "1\rx",
            "1;a\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rx",
            "0\r\n\n",
            "0\r\nA: b\n",
            "0\r\n\rx",
            "00000000000000001\r\n",
        ] {
            assert_eq!(used(body.as_bytes(), 0), None, "{body:?}");
        }
    }

    #[test]
    fn a_counted_body_has_its_length() {
        let mut rest = Rest::from(Body::Length(5));
        assert_eq!(rest.take(b"abc"), Ok(3));
        assert!(!rest.is_over());
        assert_eq!(rest.take(b"abc"), Ok(2));
        assert!(rest.is_over());
        assert!(Rest::from(Body::Length(0)).is_over());
    }
}
