//! Addresses to listen on, and who comes.

use super::socket::Socket;
use crate::core::error::{Error, Failure};
use crate::core::limits;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, Type};
use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use tokio::net::{TcpListener, UnixListener};

/// A bound address; clients wait in the kernel.
#[allow(missing_docs)]
pub enum Listener {
    Tcp(Raw, SocketAddr),
    Unix(Raw, SocketFile),
}

/// A Unix socket's file, as we made it.
#[derive(Clone)]
pub struct SocketFile {
    path: String,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &str) -> Self {
        SocketFile {
            path: path.to_owned(),
            identity: Self::identity(path),
        }
    }

    fn identity(path: &str) -> Option<(u64, u64)> {
        let m = std::fs::symlink_metadata(path).ok()?;
        Some((m.dev(), m.ino()))
    }

    /// Removes it, unless another server has put its own there since.
    pub fn remove(&self) {
        if self.identity.is_some() && Self::identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// The TCP port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Listener::Tcp(_, a) => a.port(),
            Listener::Unix(..) => 0,
        }
    }

    /// The Unix socket's file.
    pub fn file(&self) -> Option<SocketFile> {
        match self {
            Listener::Tcp(..) => None,
            Listener::Unix(_, f) => Some(f.clone()),
        }
    }
}

/// Binds `HOST:PORT` or `unix:PATH`. A failure has the system's reason.
pub fn bind(address: &str) -> std::result::Result<Listener, Failure> {
    let failure = |error: Error| move |e: io::Error| Failure::of(error, &e);
    // The system would end a path at a NUL.
    if address.bytes().any(|b| b.is_ascii_control()) {
        let why = format!("control characters in {}", address.escape_debug());
        return Err(Failure::new(Error::ListenAddress, why));
    }
    let bound = match address.strip_prefix("unix:") {
        Some("") => return Err(Error::ListenAddress.into()),
        Some(path) => bind_unix(path),
        None => {
            let is_port =
                |p: &str| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok();
            match address.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && is_port(port) => {}
                Some((host, _)) if !host.is_empty() => {
                    let why = "the port must be a whole number from 0 to 65535";
                    return Err(Failure::new(Error::ListenAddress, why));
                }
                _ => return Err(Error::ListenAddress.into()),
            }
            let found = address.to_socket_addrs().map(|mut all| all.next());
            match found.map_err(failure(Error::BindFailed))? {
                Some(first) => bind_tcp(first),
                None => return Err(Failure::new(Error::BindFailed, "the name has no address")),
            }
        }
    };
    bound.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Failure {
            detail: None,
            ..failure(Error::AddressInUse)(e)
        },
        io::ErrorKind::InvalidInput => failure(Error::ListenAddress)(e),
        _ => failure(Error::BindFailed)(e),
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Raw::new(
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
    socket.listen(limits::BACKLOG)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener::Tcp(socket, bound))
}

fn bind_unix(path: &str) -> io::Result<Listener> {
    let too_long = io::Error::new(io::ErrorKind::InvalidInput, "the path is too long");
    let address = SockAddr::unix(path).map_err(|_| too_long)?;
    let socket = Raw::new(Domain::UNIX, Type::STREAM, None)?;
    if let Ok(file) = std::fs::symlink_metadata(path) {
        if !file.file_type().is_socket() {
            return Err(io::Error::other("the file exists and is no socket"));
        }
        // A socket file that nobody answers is left over from a crash.
        let answer = Raw::new(Domain::UNIX, Type::STREAM, None)?.connect(&address);
        match answer.map_err(|e| e.kind()) {
            Err(io::ErrorKind::ConnectionRefused) => std::fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    socket.set_send_buffer_size(limits::SEND_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    socket.listen(limits::BACKLOG)?;
    Ok(Listener::Unix(socket, SocketFile::new(path)))
}

/// Both ends of a connection, as PAGI's `client` and `server` want them.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The client's address, if it has one.
    pub client: Option<SocketAddr>,
    /// Where it came to: an address, or a Unix socket's path.
    pub server: std::result::Result<SocketAddr, String>,
}

/// A listener that accepts.
#[allow(missing_docs)]
pub enum Accepting {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, String),
}

impl Accepting {
    /// Of a bound address. Needs the runtime's context.
    pub fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(s, a) => Accepting::Tcp(TcpListener::from_std(s.into())?, a),
            Listener::Unix(s, f) => Accepting::Unix(UnixListener::from_std(s.into())?, f.path),
        })
    }

    fn as_socket(&self) -> SockRef<'_> {
        match self {
            Accepting::Tcp(l, _) => SockRef::from(l),
            Accepting::Unix(l, _) => SockRef::from(l),
        }
    }

    /// The next client, when one comes.
    pub async fn accept(&self) -> io::Result<(Socket, Peers)> {
        let socket = match self {
            Accepting::Tcp(l, _) => Socket::Tcp(l.accept().await?.0),
            Accepting::Unix(l, _) => Socket::Unix(l.accept().await?.0),
        };
        let peers = self.peers(&socket);
        Ok((socket, peers))
    }

    /// One that waits already, if any does.
    pub fn accept_now(&self) -> io::Result<(Socket, Peers)> {
        let (socket, _) = self.as_socket().accept()?;
        socket.set_nonblocking(true)?;
        let domain = match self {
            Accepting::Tcp(_, bound) => Domain::for_address(*bound),
            Accepting::Unix(..) => Domain::UNIX,
        };
        let socket = Socket::of(socket, domain)?;
        let peers = self.peers(&socket);
        Ok((socket, peers))
    }

    fn peers(&self, socket: &Socket) -> Peers {
        let (client, here) = match socket {
            Socket::Tcp(s) => (s.peer_addr().ok(), s.local_addr().ok()),
            Socket::Unix(_) | Socket::Given(_) => (None, None),
        };
        let server = match self {
            Accepting::Tcp(_, bound) => Ok(here.unwrap_or(*bound)),
            Accepting::Unix(_, path) => Err(path.clone()),
        };
        Peers { client, server }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        // A forked child may have a copy: nobody is to wait at it.
        let _ = self.as_socket().shutdown(Shutdown::Both);
    }
}
