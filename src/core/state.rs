//! Connection states and legal moves.

use crate::core::error::{Error, Result};
use std::borrow::Cow;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Phase {
    /// Neither a stream nor an ordinary response has begun.
    Pending = 0,
    /// The event stream has begun.
    Started = 1,
    /// Over, by either side.
    Closed = 2,
    /// An ordinary HTTP response was chosen in place of a stream.
    Responding = 3,
}

/// Why a connection closed: a PAGI reason token.
pub type Reason = Cow<'static, str>;

/// The state of one connection. Every move is here; a refused move changes
/// nothing.
#[derive(Debug)]
pub struct State {
    phase: Phase,
    // Boxed: most never have one.
    reason: Option<Box<Reason>>,
}

impl Default for State {
    fn default() -> Self {
        State {
            phase: Phase::Pending,
            reason: None,
        }
    }
}

impl State {
    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The reason, once closed with one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_ref().map(|r| &***r)
    }

    /// Begins the stream; `true` if this call did, `false` if it had begun.
    pub fn start(&mut self) -> Result<bool> {
        match self.phase {
            Phase::Pending => {
                self.phase = Phase::Started;
                Ok(true)
            }
            Phase::Started => Ok(false),
            Phase::Closed => Err(Error::Closed),
            Phase::Responding => Err(Error::Declined),
        }
    }

    /// Chooses an ordinary response; only before the stream (PAGI: the first
    /// choice wins).
    pub fn respond(&mut self) -> Result<()> {
        match self.phase {
            Phase::Pending => {
                self.phase = Phase::Responding;
                Ok(())
            }
            Phase::Started => Err(Error::AlreadyStarted),
            Phase::Closed => Err(Error::Closed),
            Phase::Responding => Err(Error::Declined),
        }
    }

    /// It ended for that reason after all, and not for the one that is there.
    pub fn blame(&mut self, reason: Reason) {
        if self.phase == Phase::Closed {
            self.reason = Some(Box::new(reason));
        }
    }

    /// Closes; `true` if this call did. The first reason stays.
    pub fn close(&mut self, reason: Option<Reason>) -> bool {
        if self.phase == Phase::Closed {
            return false;
        }
        self.phase = Phase::Closed;
        self.reason = reason.map(Box::new);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_start_moves() {
        let mut s = State::default();
        assert_eq!(s.start(), Ok(true));
        assert_eq!(s.start(), Ok(false));
        assert_eq!(s.phase(), Phase::Started);
    }

    #[test]
    fn the_first_reason_stays() {
        let mut s = State::default();
        assert!(s.close(Some("client_closed".into())));
        assert!(!s.close(Some("write_error".into())));
        assert_eq!(s.reason(), Some("client_closed"));
        assert_eq!(s.start(), Err(Error::Closed));
    }

    #[test]
    fn the_first_family_wins() {
        let mut s = State::default();
        assert_eq!(s.respond(), Ok(()));
        assert_eq!(s.start(), Err(Error::Declined));
        assert_eq!(s.respond(), Err(Error::Declined));
        let mut s = State::default();
        s.start().unwrap();
        assert_eq!(s.respond(), Err(Error::AlreadyStarted));
    }
}
