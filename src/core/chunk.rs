//! Frames as HTTP/1.1 chunks (RFC 9112, 7.1).

use bytes::{BufMut, Bytes, BytesMut};

/// The most bytes that a chunk's size line and end take.
pub const OVERHEAD: usize = 20;

/// Writes a chunk's size line.
pub fn put_size(b: &mut BytesMut, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for i in (0..digits).rev() {
        b.put_u8(HEX[len >> (i * 4) & 15]);
    }
    b.put_slice(b"\r\n");
}

/// Frames as one HTTP/1.1 chunk, and without it: one allocation, shared.
#[derive(Clone, Debug)]
pub struct Chunk {
    all: Bytes,
    head: u8,
}

impl Chunk {
    /// A chunk of the `len` bytes that `write` writes.
    pub fn new(len: usize, write: impl FnOnce(&mut BytesMut)) -> Self {
        let mut all = BytesMut::with_capacity(len + OVERHEAD);
        put_size(&mut all, len);
        let head = all.len() as u8;
        write(&mut all);
        debug_assert_eq!(all.len(), head as usize + len);
        all.put_slice(b"\r\n");
        Chunk {
            all: all.freeze(),
            head,
        }
    }

    /// Several chunks as one, so as one write.
    pub fn join(chunks: &[&Chunk]) -> Self {
        if let [one] = chunks {
            return (*one).clone();
        }
        let len = chunks.iter().map(|c| c.frame().len()).sum();
        Chunk::new(len, |b| {
            chunks.iter().for_each(|c| b.put_slice(c.frame()));
        })
    }

    /// Bytes with the framing of the chunk.
    pub fn wire_len(&self) -> usize {
        self.all.len()
    }

    fn frame(&self) -> &[u8] {
        self.bytes(false)
    }

    /// The bytes for a connection that is chunked, or is not.
    pub fn bytes(&self, chunked: bool) -> &[u8] {
        match chunked {
            true => &self.all,
            false => &self.all[self.head as usize..self.all.len() - 2],
        }
    }

    /// The same, to keep.
    pub fn wire(&self, chunked: bool) -> Bytes {
        self.all.slice_ref(self.bytes(chunked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> Chunk {
        Chunk::new(text.len(), |b| b.put_slice(text.as_bytes()))
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for len in [0, 1, 15, 16, 255, 4096, 0xdead_beef] {
            let mut b = BytesMut::new();
            put_size(&mut b, len);
            assert_eq!(&b[..], format!("{len:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn joined_frames_are_one_chunk() {
        let (a, b) = (chunk("data: a\n\n"), chunk("data: b\n\n"));
        let joined = Chunk::join(&[&a, &b]);
        assert_eq!(&joined.wire(false)[..], b"data: a\n\ndata: b\n\n");
        assert_eq!(&joined.wire(true)[..], b"12\r\ndata: a\n\ndata: b\n\n\r\n");
        assert_eq!(&a.wire(true)[..], b"9\r\ndata: a\n\n\r\n");
    }
}
