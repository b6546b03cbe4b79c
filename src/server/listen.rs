//! Binding and accepting.

use super::{Shared, Stage, http1};
use crate::error::{Error, Result};
use crate::limits;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bound address.
pub enum Listener {
    Tcp(RawSocket, SocketAddr),
    Unix(RawSocket, String),
}

impl Listener {
    pub fn port(&self) -> u16 {
        match self {
            Listener::Tcp(_, a) => a.port(),
            Listener::Unix(..) => 0,
        }
    }

    pub fn unix_path(&self) -> Option<String> {
        match self {
            Listener::Tcp(..) => None,
            Listener::Unix(_, p) => Some(p.clone()),
        }
    }
}

/// Binds `HOST:PORT` or `unix:PATH`.
pub fn bind(address: &str) -> Result<Listener> {
    let listener = match address.strip_prefix("unix:") {
        Some("") => return Err(Error::ListenAddress),
        Some(path) => bind_unix(path),
        None => {
            let mut addresses = match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => address
                    .to_socket_addrs()
                    .map_err(|_| Error::ListenAddress)?,
                _ => return Err(Error::ListenAddress),
            };
            let first = addresses.next().ok_or(Error::ListenAddress)?;
            bind_tcp(first)
        }
    };
    listener.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse,
        io::ErrorKind::InvalidInput => Error::ListenAddress,
        _ => Error::BindFailed,
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it. Without it the kernel takes megabytes
    // before a queue of ours fills, and a slow client goes unnoticed.
    socket.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener::Tcp(socket, bound))
}

fn bind_unix(path: &str) -> io::Result<Listener> {
    let address = SockAddr::unix(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        // A socket file that nobody answers is left over from a crash.
        if RawSocket::new(Domain::UNIX, Type::STREAM, None)?
            .connect(&address)
            .is_ok()
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    socket.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    socket.listen(4096)?;
    Ok(Listener::Unix(socket, path.to_owned()))
}

/// An accepted connection.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Both ends of a connection, as PAGI's `client` and `server` want them.
#[derive(Clone)]
pub struct Peers {
    pub client: Option<SocketAddr>,
    pub server: std::result::Result<SocketAddr, String>,
}

macro_rules! each {
    ($self:expr, $s:ident => $e:expr) => {
        match $self {
            Socket::Tcp($s) => $e,
            Socket::Unix($s) => $e,
        }
    };
}

impl Socket {
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, s => s.ready(interest).await)
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, s => s.try_read(buf))
    }

    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        each!(self, s => s.try_write(buf))
    }

    /// Ends our side of the connection, or both.
    pub fn shutdown(&self, how: std::net::Shutdown) {
        let _ = each!(self, s => SockRef::from(s).shutdown(how));
    }

    /// Finds half-open connections: a peer that has vanished acknowledges
    /// neither data nor probes.
    fn tune(&self) -> io::Result<()> {
        if let Socket::Tcp(s) = self {
            s.set_nodelay(true)?;
            let s = SockRef::from(s);
            let timeout = Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS);
            s.set_tcp_keepalive(&TcpKeepalive::new().with_time(timeout))?;
            #[cfg(target_os = "linux")]
            s.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A forked child that still has the descriptor would otherwise keep
        // the client waiting for the end.
        self.shutdown(std::net::Shutdown::Both);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), s => Pin::new(s).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), s => Pin::new(s).poll_shutdown(cx))
    }
}

enum Accepting {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, String),
}

impl Accepting {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(s, a) => Accepting::Tcp(TcpListener::from_std(s.into())?, a),
            Listener::Unix(s, p) => Accepting::Unix(UnixListener::from_std(s.into())?, p),
        })
    }

    async fn accept(&self) -> io::Result<(Socket, Peers)> {
        match self {
            Accepting::Tcp(l, bound) => {
                let (s, client) = l.accept().await?;
                let server = Ok(s.local_addr().unwrap_or(*bound));
                let client = Some(client);
                Ok((Socket::Tcp(s), Peers { client, server }))
            }
            Accepting::Unix(l, path) => {
                let (s, _) = l.accept().await?;
                let peers = Peers {
                    client: None,
                    server: Err(path.clone()),
                };
                Ok((Socket::Unix(s), peers))
            }
        }
    }
}

/// Accepts until the server drains.
pub async fn run(listener: Listener, shared: Arc<Shared>) {
    let mut stage = shared.stage.subscribe();
    if stage.wait_for(|s| *s != Stage::Bound).await.is_err() {
        return;
    }
    let listener = match Accepting::new(listener) {
        Ok(l) => l,
        Err(e) => return shared.log(&format!("listening failed: {e}")),
    };
    let drained = async move {
        let _ = stage.wait_for(|s| *s == Stage::Draining).await;
    };
    tokio::select! {
        () = drained => {}
        () = accept_all(listener, &shared) => {}
    }
}

async fn accept_all(listener: Accepting, shared: &Arc<Shared>) {
    loop {
        // At the maximum, clients wait in the kernel's queue.
        let Ok(permit) = shared.permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((socket, peers)) => {
                // A client may be gone already; its connection will say so.
                let _ = socket.tune();
                tokio::spawn(http1::serve(socket, peers, shared.clone(), permit));
            }
            Err(e) => {
                shared.log(&format!("accept failed: {e}"));
                // Out of descriptors: give others time to close some.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
