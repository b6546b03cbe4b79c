//! Whether publishers may go on: how many subscribers are above their high
//! mark, and whether somebody waits until none is.
//!
//! Its lock is the innermost but for what [`Ready::ask`] and [`Ready::take`]
//! are given to look at.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use std::sync::PoisonError;

#[derive(Default)]
struct Inner {
    high: usize,
    asked: bool,
}

/// See the module. All methods may be called from any thread.
#[derive(Default)]
pub struct Ready(Mutex<Inner>);

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are above their high mark.
    pub fn high(&self) -> usize {
        self.lock().high
    }

    /// Counts one among them, or no more, as its mark then says; the result is
    /// that of [`Ready::take`]. `is_high` is asked afterwards: whoever changed
    /// that in between may have seen the old mark, and have had nothing to do.
    pub fn mark(
        &self,
        mark: &AtomicBool,
        mut high: bool,
        is_high: impl Fn() -> bool,
        else_ready: impl FnOnce() -> bool,
    ) -> bool {
        loop {
            {
                let mut inner = self.lock();
                if mark.swap(high, Ordering::AcqRel) != high {
                    match high {
                        true => inner.high += 1,
                        false => inner.high -= 1,
                    }
                }
            }
            let now = is_high();
            if now == high {
                return !high && self.take(else_ready);
            }
            high = now;
        }
    }

    /// Whether nobody is high and `else_ready` holds. If not, [`Ready::take`]
    /// will say so to somebody.
    pub fn ask(&self, else_ready: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        let ready = inner.high == 0 && else_ready();
        // Who asked before has not been told yet, even now.
        inner.asked |= !ready;
        ready
    }

    /// Whether somebody has asked and is to be told now. To be called after
    /// each change for the better.
    pub fn take(&self, else_ready: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        let tell = inner.asked && inner.high == 0 && else_ready();
        inner.asked &= !tell;
        tell
    }
}
