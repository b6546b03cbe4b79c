//! How a stream's bytes stand on a connection: HTTP's head and framing around
//! the events, or the events alone.

mod http1;

use crate::core::chunk;
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

/// What a connection writes around its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum Wire {
    /// An HTTP/1.1 response head, and the events in chunks.
    #[default]
    Http11 = 0,
    /// The same head for an HTTP/1.0 client; the events as they are.
    Http10 = 1,
    /// The events alone: the host writes a head, or needs none.
    Events = 2,
}

impl Wire {
    const ALL: [Wire; 3] = [Wire::Http11, Wire::Http10, Wire::Events];

    /// That of this number.
    pub fn of(number: i32) -> Option<Wire> {
        Wire::ALL.into_iter().find(|w| *w as i32 == number)
    }

    /// Events are in chunks (RFC 9112, 7.1).
    pub fn is_chunked(self) -> bool {
        self == Wire::Http11
    }

    /// What stands before the first event; `None`: nothing.
    pub fn head(self, status: StatusCode, fields: HeaderMap) -> Option<Vec<u8>> {
        (self != Wire::Events).then(|| http1::head(status, fields, self.is_chunked()))
    }

    /// The most bytes that [`Wire::put`] writes for a frame of `len`.
    pub fn framed_len(self, len: usize) -> usize {
        match self.is_chunked() {
            true => len + chunk::OVERHEAD,
            false => len,
        }
    }

    /// Writes a frame of the `len` bytes, one at least, that `write` writes.
    pub fn put(self, b: &mut BytesMut, len: usize, write: impl FnOnce(&mut BytesMut)) {
        if !self.is_chunked() {
            return write(b);
        }
        chunk::put_size(b, len);
        write(b);
        b.put_slice(b"\r\n");
    }

    /// What stands behind the last event of a whole stream.
    pub fn last(self) -> &'static [u8] {
        match self.is_chunked() {
            true => b"0\r\n\r\n",
            false => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wire_is_found_by_its_number() {
        for wire in Wire::ALL {
            assert_eq!(Wire::of(wire as i32), Some(wire));
        }
        assert_eq!((Wire::of(-1), Wire::of(3)), (None, None));
    }

    #[test]
    fn frames_stand_as_they_are_or_in_chunks() {
        let framed = |wire: Wire| {
            let mut b = BytesMut::new();
            wire.put(&mut b, 9, |b| b.put_slice(b"data: x\n\n"));
            assert!(b.len() <= wire.framed_len(9));
            assert!(wire.framed_len(1000) < 1100, "counts against the limit");
            b.put_slice(wire.last());
            b
        };
        let chunked = b"9\r\ndata: x\n\n\r\n0\r\n\r\n";
        assert_eq!(&framed(Wire::Http11)[..], chunked);
        assert_eq!(&framed(Wire::Http10)[..], b"data: x\n\n");
        assert_eq!(&framed(Wire::Events)[..], b"data: x\n\n");
    }
}
