//! A connected socket of the system's.

use super::transport::{Transport, Wait};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::sys;
use socket2::{Domain, SockRef, Socket as Raw, TcpKeepalive, Type};
use std::future::pending;
use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

macro_rules! each {
    ($self:expr, $s:ident => $e:expr) => {
        match $self {
            Socket::Tcp($s) => $e,
            Socket::Unix($s) => $e,
            Socket::Given($s) => $e,
        }
    };
}

/// A connected socket; TCP, IPv4 or IPv6, or Unix, of stream type.
#[allow(missing_docs)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Given(Given),
}

/// A socket that was somebody else's. tokio's own types close it when they fail.
pub struct Given {
    io: AsyncFd<Raw>,
    is_tcp: bool,
}

impl AsFd for Given {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.get_ref().as_fd()
    }
}

/// As tokio's types have them.
impl Given {
    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        Ok(self.io.ready(interest).await?.ready())
    }

    fn try_io<T>(&self, interest: Interest, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.io.try_io(interest, |_| f())
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_read_ready(cx).map_ok(drop)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_write_ready(cx).map_ok(drop)
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_io(Interest::READABLE, || self.io.get_ref().read(buf))
    }

    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

impl Socket {
    /// A socket of that kind, which does not block. Needs the runtime's context.
    pub fn of(socket: Raw, domain: Domain) -> io::Result<Self> {
        match domain {
            Domain::UNIX => UnixStream::from_std(socket.into()).map(Socket::Unix),
            _ => TcpStream::from_std(socket.into()).map(Socket::Tcp),
        }
    }

    /// The host program's socket, itself: what it has registered of it elsewhere
    /// it can take back. Needs the runtime's context. [`Error::BadSocket`] when it
    /// is none, or is not connected; after an error the program has its
    /// descriptor as it was.
    pub fn take(fd: OwnedFd, silence: Duration) -> std::result::Result<Self, (Failure, OwnedFd)> {
        let given = SockRef::from(&fd);
        let is_stream = given.r#type().is_ok_and(|t| t == Type::STREAM);
        let domain = given.local_addr().map(|a| a.domain());
        let Ok(domain @ (Domain::IPV4 | Domain::IPV6 | Domain::UNIX)) = domain else {
            return Err((Error::BadSocket.into(), fd));
        };
        if !is_stream || given.peer_addr().is_err() {
            return Err((Error::BadSocket.into(), fd));
        }
        let io = sys::watch(Raw::from(fd)).map_err(|(e, fd)| (e.into(), fd.into()))?;
        let socket = io.get_ref();
        let set = socket.set_cloexec(true);
        if let Err(e) = set.and_then(|()| socket.set_nonblocking(true)) {
            return Err((e.into(), io.into_inner().into()));
        }
        // The client may be gone already; the stream will say so.
        let _ = socket.set_send_buffer_size(limits::SEND_BUFFER_BYTES);
        let is_tcp = domain != Domain::UNIX;
        let socket = Socket::Given(Given { io, is_tcp });
        let _ = socket.tune(silence);
        Ok(socket)
    }

    /// Before a queue of ours fills, the kernel is to take no megabytes.
    pub fn limit_buffer(&self) {
        let size = limits::SEND_BUFFER_BYTES;
        let _ = each!(self, s => SockRef::from(s).set_send_buffer_size(size));
    }

    /// That, if it is TCP.
    fn tcp(&self) -> Option<SockRef<'_>> {
        match self {
            Socket::Tcp(s) => Some(SockRef::from(s)),
            Socket::Given(s) if s.is_tcp => Some(SockRef::from(s)),
            _ => None,
        }
    }

    /// Finds half-open connections: a peer that has vanished acknowledges
    /// neither data nor probes.
    pub fn tune(&self, silence: Duration) -> io::Result<()> {
        if let Some(s) = self.tcp() {
            s.set_tcp_nodelay(true)?;
            s.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence))?;
            // A little more, so that our own timeout is the one that speaks.
            #[cfg(target_os = "linux")]
            s.set_tcp_user_timeout(Some(silence + Duration::from_secs(5)))?;
        }
        Ok(())
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, s => s.ready(interest).await)
    }

    fn now(&self, interest: Interest) -> Ready {
        let ready = pin!(self.ready(interest));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready,
            _ => Ready::EMPTY,
        }
    }
}

impl Transport for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_readable(cx))?;
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

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            match self.try_write(slices) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_read_ready(cx))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => s.poll_write_ready(cx))
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, s => s.try_read(buf))
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // writev(2) would send a signal.
        each!(self, s => s.try_io(Interest::WRITABLE, || {
            SockRef::from(s).send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
        }))
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(each!(self, s => s.as_raw_fd()))
    }

    fn half_closed(&self) -> Wait<'_> {
        Box::pin(async {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            if self.ready(Interest::PRIORITY).await.is_ok() {
                return;
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            while !self.now(Interest::READABLE).is_read_closed() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            // The runtime ends.
            pending::<()>().await;
        })
    }

    fn failed(&self) -> Wait<'_> {
        Box::pin(async {
            if self.ready(Interest::ERROR).await.is_err() {
                pending::<()>().await;
            }
        })
    }

    fn is_dead(&self) -> bool {
        self.now(Interest::WRITABLE).is_write_closed()
    }

    fn has_input(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        each!(self, s => matches!(SockRef::from(s).peek(&mut byte), Ok(1..)))
    }

    fn doubt(&self) {
        if let Some(s) = self.tcp() {
            let probe = Duration::from_secs(limits::DOUBT_PROBE_SECONDS);
            let keepalive = TcpKeepalive::new().with_time(probe).with_interval(probe);
            // What was set before stays.
            let _ = s.set_tcp_keepalive(&keepalive);
        }
    }

    fn shutdown(&self, how: Shutdown) {
        let _ = each!(self, s => SockRef::from(s).shutdown(how));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A forked child that still has the descriptor would otherwise keep
        // the client waiting for the end.
        self.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream as Pair;

    fn take(fd: OwnedFd) -> std::result::Result<Socket, (Error, OwnedFd)> {
        Socket::take(fd, Duration::from_secs(30)).map_err(|(e, fd)| (e.error, fd))
    }

    #[test]
    fn a_socket_that_cannot_be_taken_is_as_it_was() {
        let runtime = crate::rt::build(1).unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_timeout(Duration::from_secs(10));
        // No socket can be registered with a runtime that has ended.
        let _context = handle.enter();
        for blocked in [true, false] {
            let (ours, _theirs) = Pair::pair().unwrap();
            ours.set_nonblocking(!blocked).unwrap();
            let number = ours.as_raw_fd();
            let Err((error, back)) = take(ours.into()) else {
                panic!("taken")
            };
            assert_eq!((error, back.as_raw_fd()), (Error::Os, number));
            let back = SockRef::from(&back);
            assert_eq!(back.nonblocking().unwrap(), !blocked);
            assert!(back.peer_addr().is_ok(), "and connected");
        }
    }

    #[tokio::test]
    async fn only_a_connected_stream_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = std::os::unix::net::UnixDatagram::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [listener.into(), datagrams.0.into(), file.into()] {
            let fd: OwnedFd = fd;
            let Err((error, back)) = take(fd) else {
                panic!("taken")
            };
            assert_eq!(error, Error::BadSocket);
            let is_set = SockRef::from(&back).nonblocking();
            assert!(!is_set.unwrap());
        }
    }

    #[tokio::test]
    async fn it_is_the_descriptor_itself() {
        let (ours, _theirs) = Pair::pair().unwrap();
        let number = ours.as_raw_fd();
        let taken = take(ours.into()).map_err(|e| e.0).unwrap();
        assert_eq!(taken.descriptor(), Some(number));
    }

    fn both() -> [(Socket, std::fs::File); 2] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let tcp = listener.accept().unwrap().0;
        let (unix, other) = Pair::pair().unwrap();
        let file = |fd: OwnedFd| std::fs::File::from(fd);
        let taken = |fd| take(fd).map_err(|e| e.0).unwrap();
        [
            (taken(tcp.into()), file(theirs.into())),
            (taken(unix.into()), file(other.into())),
        ]
    }

    #[tokio::test]
    async fn what_the_other_side_does_is_seen() {
        use std::io::Write as _;
        for (ours, mut theirs) in both() {
            assert!(!ours.has_input());
            std::future::poll_fn(|cx| ours.poll_writable(cx))
                .await
                .unwrap();
            assert_eq!(
                ours.try_write(&[IoSlice::new(b"a"), IoSlice::new(b"bc")])
                    .unwrap(),
                3
            );
            let mut got = [0; 3];
            theirs.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"abc");
            theirs.write_all(b"hello").unwrap();
            std::future::poll_fn(|cx| ours.poll_readable(cx))
                .await
                .unwrap();
            assert!(ours.has_input() && !ours.is_dead());
            let mut bytes = [0; 8];
            let mut buf = ReadBuf::new(&mut bytes);
            std::future::poll_fn(|cx| ours.poll_read(cx, &mut buf))
                .await
                .unwrap();
            assert_eq!(buf.filled(), b"hello");
            SockRef::from(&theirs).shutdown(Shutdown::Write).unwrap();
            ours.half_closed().await;
            assert!(!ours.is_dead(), "it may still read");
            assert_eq!(ours.try_read(&mut [0; 8]).unwrap(), 0);
            ours.shutdown(Shutdown::Write);
            assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_reset_is_a_failure_and_a_drop_ends_both_ways() {
        let [(tcp, theirs), (unix, other)] = both();
        SockRef::from(&theirs)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(theirs);
        tcp.failed().await;
        assert!(tcp.is_dead());
        // A child of a fork may have a copy.
        let copy = SockRef::from(match &unix {
            Socket::Given(s) => s,
            Socket::Tcp(_) | Socket::Unix(_) => unreachable!(),
        })
        .try_clone()
        .unwrap();
        drop(unix);
        assert_eq!((&other).read(&mut [0; 8]).unwrap(), 0);
        drop(copy);
    }
}
