//! A thread of the host program's that waits for records, and does nothing else.
//! While it waits or calls back, it holds no lock and no object: whatever it
//! calls, or another thread does, is as if it were not there.

use super::desk::Desk;
use crate::core::error::{Error, Failure};
use crate::sys::{self, Met};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Failure>;

/// When the time is over that begins now; `None`: never.
pub fn until(ms: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_millis(ms))
}

/// Waits for a record, or a wake-up; `false`: for nothing, as the time is over or
/// a signal has come. `desk` looks it up, and fails when there is none any more.
///
/// # Errors
/// What `desk` says; [`Error::Stopped`] when no record will come.
pub fn wait(desk: &impl Fn() -> Result<Arc<Desk>>, until: Option<Instant>) -> Result<bool> {
    let fd = {
        let desk = look(desk)?;
        if desk.waiting() > 0 {
            return Ok(true);
        }
        desk.watched()
    };
    let Some(fd) = fd else {
        // Closed, and so is its number.
        return look(desk).map(|_| true);
    };
    match sys::wait_readable(fd.as_fd(), until)? {
        Met::Readable => look(desk).map(|_| true),
        Met::Time | Met::Signal => Ok(false),
    }
}

/// That desk, unless it is over.
fn look(get: &impl Fn() -> Result<Arc<Desk>>) -> Result<Arc<Desk>> {
    let desk = get()?;
    if desk.is_over() {
        // Others may wait too, and what wakes them was taken.
        desk.wake();
        // Stopped by being freed.
        get()?;
        return Err(Error::Stopped.into());
    }
    Ok(desk)
}

/// Takes record after record and calls back with each, until that gives something
/// other than 0, or as [`wait`], or the host program is called. Between what waited
/// at one moment and what came since, it has all output written and looks at the
/// clock.
///
/// # Errors
/// As [`wait`], and what `call` fails with.
pub fn run(
    desk: &impl Fn() -> Result<Arc<Desk>>,
    until: Option<Instant>,
    mut call: impl FnMut(&[u8]) -> Result<i32>,
) -> Result<i32> {
    loop {
        // Once at least: a wake-up alone is then over.
        for _ in 0..desk()?.waiting().max(1) {
            let record = desk()?.take();
            let Some(record) = record else { break };
            let answer = call(&record)?;
            if answer != 0 {
                return Ok(answer);
            }
        }
        let late = until.is_some_and(|by| Instant::now() >= by);
        {
            let desk = look(desk)?;
            desk.flush_soon();
            if desk.was_called() || late {
                return Ok(0);
            }
        }
        if !wait(desk, until)? {
            return Ok(0);
        }
    }
}
