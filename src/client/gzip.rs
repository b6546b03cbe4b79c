//! A gzip stream, decompressed as it comes.

use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, Read};

/// What has come; more may.
#[derive(Debug, Default)]
struct Input {
    bytes: Bytes,
    is_end: bool,
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.bytes.is_empty() && !self.is_end {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(&self.bytes),
        }
    }

    fn consume(&mut self, n: usize) {
        self.bytes.advance(n);
    }
}

/// See the module. It needs about 45 KB.
#[derive(Debug)]
pub struct Gunzip(MultiGzDecoder<Input>);

impl Default for Gunzip {
    fn default() -> Self {
        Gunzip(MultiGzDecoder::new(Input::default()))
    }
}

impl Gunzip {
    /// The next bytes, once [`Gunzip::read`] has given all of those before.
    pub fn push(&mut self, bytes: Bytes) {
        self.0.get_mut().bytes = bytes;
    }

    /// Fills a part of `out`; 0: there is no more yet. Whatever the other side
    /// has flushed is there.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            done => done,
        }
    }

    /// The stream has ended: an error if its last part is not whole.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.get_mut().is_end = true;
        match self.0.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder, write::GzEncoder};
    use std::io::Write as _;

    fn all(gunzip: &mut Gunzip, bytes: &[u8]) -> io::Result<Vec<u8>> {
        gunzip.push(Bytes::copy_from_slice(bytes));
        let (mut text, mut out) = (Vec::new(), [0; 7]);
        loop {
            match gunzip.read(&mut out)? {
                0 => return Ok(text),
                n => text.extend_from_slice(&out[..n]),
            }
        }
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut gz = GzBuilder::new()
            .filename("name")
            .comment("words")
            .extra("extra")
            .write(Vec::new(), Compression::best());
        gz.write_all(text).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn what_was_flushed_is_there_at_once() {
        let (mut gz, mut gunzip) = (
            GzEncoder::new(Vec::new(), Compression::fast()),
            Gunzip::default(),
        );
        for i in 0..50 {
            let text = format!("data: {i} {}\n\n", "x".repeat(i * 100));
            gz.write_all(text.as_bytes()).unwrap();
            gz.flush().unwrap();
            let bytes = std::mem::take(gz.get_mut());
            assert_eq!(all(&mut gunzip, &bytes).unwrap(), text.as_bytes());
        }
        let last = gz.finish().unwrap();
        assert_eq!(all(&mut gunzip, &last).unwrap(), b"");
        gunzip.finish().unwrap();
    }

    #[test]
    fn members_follow_each_other_and_may_be_cut_anywhere() {
        let mut bytes = packed(b"data: one\n\n");
        bytes.extend(packed(b"data: two\n\n"));
        let (mut gunzip, mut text) = (Gunzip::default(), Vec::new());
        for byte in &bytes {
            text.extend(all(&mut gunzip, &[*byte]).unwrap());
        }
        assert_eq!(text, b"data: one\n\ndata: two\n\n");
        gunzip.finish().unwrap();
    }

    #[test]
    fn what_is_broken_or_not_whole_is_an_error() {
        let bytes = packed(b"data: one\n\n");
        for end in 1..bytes.len() {
            let mut gunzip = Gunzip::default();
            all(&mut gunzip, &bytes[..end]).unwrap();
            assert!(gunzip.finish().is_err(), "{end}");
        }
        let mut wrong = bytes.clone();
        let crc = wrong.len() - 8;
        wrong[crc] ^= 1;
        assert!(all(&mut Gunzip::default(), &wrong).is_err());
        assert!(all(&mut Gunzip::default(), b"data: one\n\n").is_err());
    }
}
