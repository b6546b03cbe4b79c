//! A connected socket, TCP or Unix.

use crate::core::error::{Error, Result};
use crate::core::limits;
use socket2::{Domain, SockRef, TcpKeepalive, Type};
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

macro_rules! each {
    ($self:expr, $s:ident => $e:expr) => {
        match $self {
            Socket::Tcp($s) => $e,
            Socket::Unix($s) => $e,
        }
    };
}

/// A connected socket. Ends in both directions when dropped.
pub enum Socket {
    /// TCP, IPv4 or IPv6.
    Tcp(TcpStream),
    /// Unix, of stream type.
    Unix(UnixStream),
}

impl Socket {
    /// A copy of the host program's socket. Needs the runtime's context.
    /// [`Error::BadSocket`] when it is none, or is not connected; the
    /// program's own descriptor stays as it was then.
    pub fn copy_of(fd: BorrowedFd<'_>, silence: Duration) -> Result<Self> {
        let given = SockRef::from(&fd);
        let is_stream = given.r#type().is_ok_and(|t| t == Type::STREAM);
        if !is_stream || given.peer_addr().is_err() {
            return Err(Error::BadSocket);
        }
        let domain = given.local_addr().map(|a| a.domain());
        let copy = fd.try_clone_to_owned().map_err(|_| Error::Os)?;
        SockRef::from(&copy)
            .set_nonblocking(true)
            .map_err(|_| Error::Os)?;
        let socket = match domain {
            Ok(Domain::IPV4 | Domain::IPV6) => TcpStream::from_std(copy.into()).map(Socket::Tcp),
            Ok(Domain::UNIX) => UnixStream::from_std(copy.into()).map(Socket::Unix),
            _ => return Err(Error::BadSocket),
        };
        let socket = socket.map_err(|_| Error::Os)?;
        let bounded = each!(&socket, s => {
            SockRef::from(s).set_send_buffer_size(limits::SEND_BUFFER_BYTES)
        });
        // The client may be gone already; the stream will say so.
        let _ = bounded.and_then(|()| socket.tune(silence));
        Ok(socket)
    }

    /// Waits until one of these can be done.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, s => s.ready(interest).await)
    }

    /// Waits until the other side has ended its direction, or more; what it has
    /// sent before may still be unread.
    pub async fn half_closed(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.ready(Interest::PRIORITY).await.is_ok() {
            return;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        while !self.now(Interest::READABLE).is_read_closed() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The runtime ends.
        std::future::pending().await
    }

    /// Waits for an error, such as a reset.
    pub async fn failed(&self) {
        if self.ready(Interest::ERROR).await.is_err() {
            std::future::pending().await
        }
    }

    /// Nothing that is sent can get there any more. A FIN alone does not say so.
    pub fn is_dead(&self) -> bool {
        self.now(Interest::WRITABLE).is_write_closed()
    }

    fn now(&self, interest: Interest) -> Ready {
        let ready = std::pin::pin!(self.ready(interest));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready,
            _ => Ready::EMPTY,
        }
    }

    /// Has TCP ask soon whether the other side is there.
    pub fn doubt(&self) {
        if let Socket::Tcp(s) = self {
            let probe = Duration::from_secs(limits::DOUBT_PROBE_SECONDS);
            let keepalive = TcpKeepalive::new().with_time(probe).with_interval(probe);
            // What was set before stays.
            let _ = SockRef::from(s).set_tcp_keepalive(&keepalive);
        }
    }

    /// Something has come that nobody has read.
    pub fn has_input(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        each!(self, s => matches!(SockRef::from(s).peek(&mut byte), Ok(1..)))
    }

    /// Reads what is there.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, s => s.try_read(buf))
    }

    /// Writes what fits. Without a signal, which writev(2) would send: this may
    /// run on a thread of the host program's.
    pub fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        each!(self, s => s.try_io(Interest::WRITABLE, || {
            SockRef::from(s).send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
        }))
    }

    /// Ends our side of the connection, or both.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = each!(self, s => SockRef::from(s).shutdown(how));
    }

    /// Ends our side, and reads what the client still sends, for a while and up
    /// to a limit: closing with bytes unread would take back our last answer
    /// (RFC 9112, 9.6).
    pub async fn see_off(&self) {
        self.shutdown(Shutdown::Write);
        let silence = Duration::from_secs(limits::LINGER_SECONDS);
        let until = Instant::now() + Duration::from_secs(limits::LINGER_ALL_SECONDS);
        let mut bytes = [0; 16 << 10];
        let mut left = limits::LINGER_BYTES;
        while left > 0 {
            let by = until.min(Instant::now() + silence);
            let ready = timeout_at(by, self.ready(Interest::READABLE));
            if !matches!(ready.await, Ok(Ok(_))) {
                return;
            }
            match self.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Finds half-open connections: a peer that has vanished acknowledges
    /// neither data nor probes.
    pub fn tune(&self, silence: Duration) -> io::Result<()> {
        if let Socket::Tcp(s) = self {
            s.set_nodelay(true)?;
            let s = SockRef::from(s);
            s.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence))?;
            // A little more, so that our own timeout is the one that speaks.
            #[cfg(target_os = "linux")]
            s.set_tcp_user_timeout(Some(silence + Duration::from_secs(5)))?;
        }
        Ok(())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        each!(self, s => s.as_raw_fd())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A forked child that still has the descriptor would otherwise keep
        // the client waiting for the end.
        self.shutdown(Shutdown::Both);
    }
}

impl Socket {
    /// As AsyncRead has it, for a socket that others look at, too.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(each!(self, s => s.poll_read_ready(cx)))?;
            let room = buf.initialize_unfilled();
            let (most, mut got) = (room.len(), 0);
            let done = each!(self, s => s.try_io(Interest::READABLE, || {
                got = (&*SockRef::from(s)).read(room)?;
                match got {
                    // Epoll speaks up when more comes: no need to ask.
                    1.. if got < most && cfg!(target_os = "linux") => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    _ => Ok(()),
                }
            }));
            match done {
                Err(e) if got == 0 && e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if got == 0 => return Poll::Ready(Err(e)),
                _ => {
                    buf.advance(got);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// As AsyncWrite has it.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(self, s => s.poll_write_ready(cx)))?;
            match self.try_write(slices) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}
