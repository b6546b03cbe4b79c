//! A gzip stream, decompressed as it comes.

use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use std::io::{self, Write as _};
use std::mem;

/// See the module. It needs about 80 KB.
#[derive(Debug)]
pub struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    input: Bytes,
    /// A member has begun and not been checked.
    begun: bool,
}

impl Default for Gunzip {
    fn default() -> Self {
        Gunzip {
            decoder: MultiGzDecoder::new(Vec::new()),
            input: Bytes::new(),
            begun: false,
        }
    }
}

impl Gunzip {
    /// The next bytes, once [`Gunzip::read`] has found all in those before.
    pub fn push(&mut self, bytes: Bytes) {
        self.begun |= !bytes.is_empty();
        self.input = bytes;
    }

    /// Puts what it finds in place of what is in `out`, at most twice what
    /// zlib looks back (32 KiB); nothing: there is no more yet. Whatever the
    /// other side has flushed is found.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        while self.decoder.get_ref().is_empty() {
            if self.input.is_empty() {
                self.decoder.flush()?;
                break;
            }
            let n = self.decoder.write(&self.input)?;
            self.input.advance(n);
        }
        mem::swap(out, self.decoder.get_mut());
        Ok(())
    }

    /// The stream has ended: an error if its last part is not whole.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.begun {
            true => self.decoder.try_finish(),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder, write::GzEncoder};

    fn all(gunzip: &mut Gunzip, bytes: &[u8]) -> io::Result<Vec<u8>> {
        gunzip.push(Bytes::copy_from_slice(bytes));
        let (mut text, mut out) = (Vec::new(), Vec::new());
        loop {
            gunzip.read(&mut out)?;
            assert!(out.len() <= 64 << 10, "bounded");
            if out.is_empty() {
                return Ok(text);
            }
            text.extend_from_slice(&out);
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
        for i in 0..300 {
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
    fn what_was_packed_a_thousand_times_comes_in_parts() {
        let text = vec![b'x'; 3 << 20];
        let bytes = packed(&text);
        assert!(bytes.len() < 4000);
        assert!(all(&mut Gunzip::default(), &bytes).unwrap() == text);
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
        let mut gunzip = Gunzip::default();
        all(&mut gunzip, &wrong).unwrap();
        assert!(gunzip.finish().is_err());
        Gunzip::default().finish().unwrap();
        assert!(all(&mut Gunzip::default(), b"data: one\n\n").is_err());
    }
}
