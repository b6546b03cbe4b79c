//! The descriptor that wakes the host's loop, and when it need not be touched.

use crate::sync::{AtomicBool, Mutex, Notify, Ordering};
use crate::sys::WakeFd;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};

/// A descriptor that is readable while there is work for the host's loop. All
/// methods may be called from any thread.
pub struct Wake {
    /// None: closed.
    fd: Mutex<Option<WakeFd>>,
    /// It is readable already, or is about to be.
    armed: AtomicBool,
    failed: Notify,
}

impl Wake {
    /// One that is not readable.
    pub fn new() -> io::Result<Self> {
        Ok(Wake {
            fd: Mutex::new(Some(WakeFd::new()?)),
            armed: AtomicBool::new(false),
            failed: Notify::new(),
        })
    }

    /// Does something to it, if it is open.
    fn on<T>(&self, what: impl FnOnce(&WakeFd) -> T) -> Option<T> {
        let fd = self.fd.lock().unwrap_or_else(PoisonError::into_inner);
        fd.as_ref().map(what)
    }

    /// The descriptor to watch for reading. Owned by this object; -1 when it is
    /// closed.
    pub fn fd(&self) -> RawFd {
        self.on(WakeFd::fd).unwrap_or(-1)
    }

    /// The same for who waits: it hangs up when it is closed, and is open as long
    /// as he waits. `None`: it is closed.
    pub fn watched(&self) -> Option<Arc<UnixStream>> {
        self.on(WakeFd::watched)
    }

    /// Closes it, whoever holds this object.
    pub fn close(&self) {
        let fd = self
            .fd
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        fd.inspect(WakeFd::hang_up);
    }

    /// Makes it readable; touches it only if it is not already.
    pub fn wake(&self) {
        if self.armed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(Err(_)) = self.on(WakeFd::raise) {
            self.armed.swap(false, Ordering::AcqRel);
            self.failed.notify_one();
        }
    }

    /// Makes it unreadable. To be called before what it announces is looked
    /// at: what comes after the look wakes again, and what a wake-up found
    /// armed announced is there for the look.
    pub fn clear(&self) {
        self.on(WakeFd::lower);
        // Acquires what those had done that now see it armed no more.
        self.armed.swap(false, Ordering::AcqRel);
    }

    /// Waits until the kernel has had no memory for it: somebody is to
    /// [`Wake::wake`] again.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }
}
