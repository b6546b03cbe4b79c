//! The operating-system calls that no well-kept crate wraps for us: the one
//! place outside `ffi` where `unsafe` is allowed, each behind a safe function.
#![allow(unsafe_code)]

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that loaded the
/// library. Costs one atomic load.
pub fn fork_generation() -> u64 {
    static ONCE: once_cell::sync::OnceCell<()> = once_cell::sync::OnceCell::new();
    ONCE.get_or_init(|| {
        // SAFETY: the handler is an extern "C" function that only adds to an
        // atomic, which is async-signal-safe; the library is never unloaded
        // (-z nodelete), so the pointer stays valid.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
    });
    FORKS.load(Ordering::Relaxed)
}

/// A value that each process makes for itself: after a fork, the child's first
/// `get` makes a new one and forgets the parent's without touching it, as its
/// locks may be held by threads that the child does not have.
pub struct PerProcess<T> {
    current: AtomicPtr<(u64, T)>,
    make: fn(u64) -> T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// `make` gets the fork generation.
    pub const fn new(make: fn(u64) -> T) -> Self {
        PerProcess {
            current: AtomicPtr::new(std::ptr::null_mut()),
            make,
        }
    }

    /// This process's value.
    pub fn get(&self) -> &'static T {
        let generation = fork_generation();
        loop {
            let p = self.current.load(Ordering::Acquire);
            // SAFETY: the pointer is NULL or came from Box::into_raw below and
            // is never freed once published.
            if let Some((g, value)) = unsafe { p.as_ref() }
                && *g == generation
            {
                return value;
            }
            let fresh = Box::into_raw(Box::new((generation, (self.make)(generation))));
            if self
                .current
                .compare_exchange(p, fresh, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                // SAFETY: `fresh` was not published, so we are its only owner.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

/// Whether the number is an open descriptor of this process.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks for flags; touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// A duplicate of a descriptor, close-on-exec.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: touches no memory; what comes back is a descriptor of our own.
    unsafe {
        match libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) {
            -1 => Err(io::Error::last_os_error()),
            copy => Ok(OwnedFd::from_raw_fd(copy)),
        }
    }
}

/// Whether a read of it, or an accept, would not wait.
pub fn is_readable(fd: &impl AsRawFd) -> bool {
    let mut p = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, live.
    unsafe { libc::poll(&raw mut p, 1, 0) == 1 }
}

/// Has the runtime of this context watch a socket; after a failure it comes
/// back.
pub fn watch(
    socket: socket2::Socket,
) -> Result<AsyncFd<socket2::Socket>, (io::Error, socket2::Socket)> {
    // SAFETY: the socket has its descriptor open, and the same one, while it lives.
    unsafe { AsyncFd::register(socket) }.map_err(|e| {
        let (socket, error) = e.into_parts();
        (error, socket)
    })
}

/// Runs `f` with all signals blocked in this thread, but those that report a
/// fault of the code itself. Threads that `f` starts inherit the mask, so the
/// kernel never delivers the host's signals to them: perl crashes when its
/// handler runs on a thread that it does not know.
pub fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was filled by pthread_sigmask below.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
            };
        }
    }
    // SAFETY: both sets are initialised by sigfillset and pthread_sigmask
    // before they are read; all pointers are to live locals.
    let _restore = unsafe {
        let mut block: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut block);
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGSYS,
        ] {
            libc::sigdelset(&raw mut block, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const block, &raw mut before);
        Restore(before)
    };
    f()
}

/// A descriptor that is made readable, and unreadable again.
///
/// A socket pair, not an eventfd: it exists on every Unix, and its read side
/// can be blocking with a timeout, which Future::IO's default back end needs.
pub struct WakeFd {
    read: Arc<UnixStream>,
    write: UnixStream,
}

impl WakeFd {
    /// Both descriptors are close-on-exec.
    pub fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        // Bounds a read that the host's loop makes by mistake.
        read.set_read_timeout(Some(Duration::from_millis(20)))?;
        write.set_nonblocking(true)?;
        Ok(WakeFd {
            read: Arc::new(read),
            write,
        })
    }

    /// The descriptor to watch for reading. Owned by this object.
    pub fn fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    /// The same for who waits: it stays open as long as he does.
    pub fn watched(&self) -> Arc<UnixStream> {
        self.read.clone()
    }

    /// Makes it readable for good, also where a forked child has the other side.
    pub fn hang_up(&self) {
        // An error: it is so.
        let _ = self.write.shutdown(Shutdown::Both);
    }

    /// Makes it readable. An error (the kernel has no memory): it may not be.
    pub fn raise(&self) -> io::Result<()> {
        loop {
            match send(self.write.as_raw_fd(), b"!") {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Full, so it is readable.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                sent => return sent.map(drop),
            }
        }
    }

    /// Makes it unreadable.
    pub fn lower(&self) {
        let mut sink = [0u8; 16];
        loop {
            // SAFETY: the buffer is a live local of the given length.
            let n = unsafe {
                libc::recv(
                    self.read.as_raw_fd(),
                    sink.as_mut_ptr().cast(),
                    sink.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            let again = n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
            if n <= 0 && !again {
                break;
            }
        }
    }
}

/// What a thread that waited for a descriptor has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It is readable.
    Readable,
    /// The time is over.
    Time,
    /// A signal, whose handler has run in this thread.
    Signal,
}

/// Waits until the descriptor is readable; without a time for ever.
pub fn wait_readable(fd: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<Met> {
    let mut watched = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        let left = until.map(|by| by.saturating_duration_since(Instant::now()));
        let ms = left.map_or(-1, |left| {
            // What is less than a millisecond is one, else it would spin.
            i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        // SAFETY: one pollfd, live, of a descriptor that is borrowed.
        match unsafe { libc::poll(&raw mut watched, 1, ms) } {
            0 if left.is_none_or(|left| left.as_millis() >= i32::MAX as u128) => {}
            0 => return Ok(Met::Time),
            1.. => return Ok(Met::Readable),
            _ => {
                let e = io::Error::last_os_error();
                return match e.kind() {
                    io::ErrorKind::Interrupted => Ok(Met::Signal),
                    _ => Err(e),
                };
            }
        }
    }
}

/// Sends on a socket what fits, without a signal. The caller keeps the
/// descriptor open; it is non-blocking.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of a live slice.
    let n = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Asks for the first so many cache lines of a value that will be used soon.
#[inline]
pub fn prefetch<T>(value: &T, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = std::ptr::from_ref(value).cast::<i8>();
        // SAFETY: a hint, which reads nothing and may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64 * line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(w: &WakeFd) -> bool {
        let mut p = libc::pollfd {
            fd: w.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, live.
        unsafe { libc::poll(&raw mut p, 1, 0) == 1 }
    }

    #[test]
    fn it_is_readable_while_raised_also_when_it_takes_no_more() {
        let w = WakeFd::new().unwrap();
        assert!(!readable(&w));
        for _ in 0..100_000 {
            w.raise().unwrap();
        }
        assert!(readable(&w));
        w.lower();
        assert!(!readable(&w));
        w.raise().unwrap();
        assert!(readable(&w));
    }

    #[test]
    fn threads_started_inside_have_signals_blocked_and_we_do_not() {
        let blocked = |signal| {
            // SAFETY: the set is filled by pthread_sigmask.
            unsafe {
                let mut now: libc::sigset_t = std::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut now);
                libc::sigismember(&raw const now, signal) == 1
            }
        };
        let inside =
            with_signals_blocked(|| std::thread::spawn(move || blocked(libc::SIGTERM)).join());
        assert!(inside.unwrap());
        assert!(!blocked(libc::SIGTERM));
    }
}
