//! The descriptor that wakes the host's loop, and when it need not be touched.

use crate::sync::{AtomicBool, Notify, Ordering};
use crate::sys::WakeFd;
use std::io;
use std::os::fd::RawFd;

/// A descriptor that is readable while there is work for the host's loop. All
/// methods may be called from any thread.
pub struct Wake {
    fd: WakeFd,
    /// It is readable already, or is about to be.
    armed: AtomicBool,
    failed: Notify,
}

impl Wake {
    /// One that is not readable.
    pub fn new() -> io::Result<Self> {
        Ok(Wake {
            fd: WakeFd::new()?,
            armed: AtomicBool::new(false),
            failed: Notify::new(),
        })
    }

    /// The descriptor to watch for reading. Owned by this object.
    pub fn fd(&self) -> RawFd {
        self.fd.fd()
    }

    /// Makes it readable; touches it only if it is not already.
    pub fn wake(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) && self.fd.raise().is_err() {
            self.armed.swap(false, Ordering::AcqRel);
            self.failed.notify_one();
        }
    }

    /// Makes it unreadable. To be called before what it announces is looked
    /// at: what comes after the look wakes again, and what a wake-up found
    /// armed announced is there for the look.
    pub fn clear(&self) {
        self.fd.lower();
        // Acquires what those had done that now see it armed no more.
        self.armed.swap(false, Ordering::AcqRel);
    }

    /// Waits until the kernel has had no memory for it: somebody is to
    /// [`Wake::wake`] again.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }
}
