//! Frames as HTTP/1.1 chunks (RFC 9112, 7.1), and what of a stream's bytes is
//! content.

use crate::core::account::{Account, Hold, Shares};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

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
#[derive(Debug)]
pub struct Chunk {
    all: Bytes,
    head: u8,
    shares: Shares,
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
            shares: Shares::default(),
        }
    }

    /// Writes other bytes over those of the frame from `at` on.
    ///
    /// # Panics
    /// When the frame has none there, or somebody else has the chunk's bytes.
    pub fn patch(&mut self, at: usize, with: &[u8]) {
        let all = std::mem::take(&mut self.all).try_into_mut();
        let mut all = all.expect("nobody has it yet");
        let from = self.head as usize + at;
        all[from..from + with.len()].copy_from_slice(with);
        self.all = all.freeze();
    }

    /// Several chunks as one, so as one write.
    pub fn join(chunks: &[&Chunk]) -> Self {
        let len = chunks.iter().map(|c| c.frame().len()).sum();
        Chunk::new(len, |b| {
            chunks.iter().for_each(|c| b.put_slice(c.frame()));
        })
    }

    /// A queue has it: counts while one does.
    pub fn hold(&self, account: &Arc<Account>) -> Hold {
        self.shares.hold(account, self.all.len())
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

/// Reads back what a stream has sent, to count its content: neither the head
/// nor what frames chunks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    left: u64,
    at: At,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// In the head, behind so much of an empty line.
    Head(u8),
    Data,
    /// Behind a chunk's data.
    End,
    #[default]
    Size,
}

impl Meter {
    /// Of a stream that begins with a head, or is bare.
    pub fn new(bare: bool) -> Self {
        Meter {
            left: u64::MAX,
            at: if bare { At::Data } else { At::Head(0) },
        }
    }

    /// Takes the next bytes that were sent; how many of them are content.
    pub fn pass(&mut self, mut bytes: &[u8], chunked: bool) -> u64 {
        let mut content = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.at {
                At::Data => {
                    let all = bytes.len() as u64;
                    let n = all.min(self.left);
                    content += n;
                    self.left -= n;
                    if self.left == 0 {
                        self.at = At::End;
                    }
                    &bytes[n as usize..]
                }
                _ => {
                    self.step(byte, chunked);
                    rest
                }
            };
        }
        content
    }

    fn step(&mut self, byte: u8, chunked: bool) {
        const EMPTY_LINE: &[u8; 4] = b"\r\n\r\n";
        self.at = match self.at {
            At::Head(3) if byte == b'\n' && chunked => self.size(),
            At::Head(3) if byte == b'\n' => At::Data,
            At::Head(n) if byte == EMPTY_LINE[usize::from(n)] => At::Head(n + 1),
            At::Head(_) => At::Head(u8::from(byte == b'\r')),
            At::Size if byte == b'\n' && self.left > 0 => At::Data,
            At::Size if byte == b'\n' => At::End,
            At::Size => {
                let digit = char::from(byte).to_digit(16);
                self.left = digit.map_or(self.left, |d| self.left << 4 | u64::from(d));
                At::Size
            }
            At::End if byte == b'\n' => self.size(),
            at => at,
        }
    }

    fn size(&mut self) -> At {
        self.left = 0;
        At::Size
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
    fn a_frame_is_written_over_from_where_it_is_said() {
        let mut chunk = chunk("id: 17\n\n");
        chunk.patch(4, b"23");
        assert_eq!(chunk.frame(), b"id: 23\n\n");
        assert_eq!(&chunk.all[..], b"8\r\nid: 23\n\n\r\n");
    }

    #[test]
    fn content_is_neither_head_nor_framing_however_it_is_cut() {
        let plain = &b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"[..];
        let odd = &b"HTTP/1.1 200 OK\r\n\ra: \r\r\n\r\n"[..];
        let chunks = [chunk("data: a\n\n").all, chunk(&"x".repeat(17)).all].concat();
        for (all, chunked, bare, content) in [
            ([plain, &chunks, b"0\r\n\r\n"].concat(), true, false, 26),
            ([odd, &chunks, b"0\r\n\r\n"].concat(), true, false, 26),
            ([plain, b"\r\n\r\n5\r\nab"].concat(), false, false, 9),
            ([odd, b"\r\n\r\n5\r\nab"].concat(), false, false, 9),
            (b"data: a\n\n".to_vec(), false, true, 9),
            (plain.to_vec(), true, false, 0),
        ] {
            for cut in 0..=all.len() {
                let (a, b) = all.split_at(cut);
                let mut meter = Meter::new(bare);
                let n = meter.pass(a, chunked) + meter.pass(b, chunked);
                assert_eq!(n, content, "cut at {cut}");
            }
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
