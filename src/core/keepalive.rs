//! When the next keepalive comment is due: a function of settings and time.

use super::{frame, limits};
use crate::core::error::{Error, Result};
use bytes::{Bytes, BytesMut};

/// One connection's keepalive setting. Times are milliseconds on any
/// monotonic clock.
#[derive(Clone, Debug)]
pub struct Keepalive {
    interval_ms: u64,
    frame: Bytes,
}

impl Keepalive {
    /// 0 is off (`None`); otherwise from [`limits::KEEPALIVE_MIN_MS`] to
    /// [`limits::KEEPALIVE_MS`].
    pub fn new(interval_ms: u64, comment: &str) -> Result<Option<Self>> {
        if interval_ms == 0 {
            return Ok(None);
        }
        if !(limits::KEEPALIVE_MIN_MS..=limits::KEEPALIVE_MS).contains(&interval_ms) {
            return Err(Error::Interval);
        }
        let mut frame = BytesMut::with_capacity(frame::comment_len(comment));
        frame::encode_comment(comment, &mut frame);
        Ok(Some(Keepalive {
            interval_ms,
            frame: frame.freeze(),
        }))
    }

    /// The encoded comment.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// When the next comment is due after a write at `last_ms`. Up to a
    /// sixteenth earlier, by `salt`, so that connections which were written to
    /// together do not all wake together.
    pub fn due(&self, last_ms: u64, salt: u64) -> u64 {
        last_ms + self.interval_ms - self.interval_ms * (salt % 64) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_off() {
        assert!(Keepalive::new(0, "").unwrap().is_none());
    }

    #[test]
    fn intervals_out_of_range_are_refused() {
        for bad in [1, 9, 86_400_001, u64::MAX] {
            assert_eq!(Keepalive::new(bad, "").unwrap_err(), Error::Interval);
        }
    }

    #[test]
    fn a_comment_cannot_inject_fields() {
        let k = Keepalive::new(1000, "a\ndata: b").unwrap().unwrap();
        assert_eq!(&k.frame()[..], b":a\n:data: b\n\n");
    }

    #[test]
    fn traffic_postpones_and_salt_spreads() {
        let k = Keepalive::new(16_000, "").unwrap().unwrap();
        assert_eq!(k.due(1_000, 0), 17_000);
        assert_eq!(k.due(5_000, 64), 21_000);
        assert_eq!((k.due(5_000, 1), k.due(5_000, 63)), (20_985, 20_016));
    }
}
