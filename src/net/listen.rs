//! Addresses to listen on, and who comes.

use super::socket::Socket;
use crate::core::error::{Error, Failure, reason};
use crate::core::limits;
use crate::sys;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, Type};
use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use tokio::io::unix::AsyncFd;

/// A bound address; clients wait in the kernel.
#[allow(missing_docs)]
pub enum Listener {
    Tcp(Raw, SocketAddr),
    Unix(Raw, SocketFile),
    /// The host program's: an address, or a Unix socket's path.
    Shared(Raw, std::result::Result<SocketAddr, String>),
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
            Listener::Tcp(_, a) | Listener::Shared(_, Ok(a)) => a.port(),
            Listener::Unix(..) | Listener::Shared(..) => 0,
        }
    }

    /// `HOST:PORT`, or `unix:PATH`.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(_, a) | Listener::Shared(_, Ok(a)) => a.to_string(),
            Listener::Unix(_, SocketFile { path, .. }) | Listener::Shared(_, Err(path)) => {
                format!("unix:{path}")
            }
        }
    }

    /// The Unix socket's file.
    pub fn file(&self) -> Option<SocketFile> {
        match self {
            Listener::Tcp(..) | Listener::Shared(..) => None,
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
    if let Some(number) = address.strip_prefix("fd:") {
        return adopt(number);
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
            match found.map_err(|e| unknown(address, &reason(&e)))? {
                Some(first) => bind_tcp(first),
                None => return Err(unknown(address, "it has no address")),
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

/// In the resolver's words.
fn unknown(address: &str, why: &str) -> Failure {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let why = why
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(why);
    Failure::new(Error::HostUnknown, format!("{host}: {why}"))
}

/// `fd:N`: a duplicate of the host program's listener.
fn adopt(number: &str) -> std::result::Result<Listener, Failure> {
    let wrong = |what: &str| Failure::new(Error::NotListening, format!("fd:{number} is {what}"));
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let Some(fd) = number.parse::<RawFd>().ok().filter(|_| is_number) else {
        return Err(Error::ListenAddress.into());
    };
    let copy = sys::duplicate(fd).map_err(|e| wrong(&format!("no descriptor: {}", reason(&e))))?;
    let socket = Raw::from(copy);
    let Ok(kind) = socket.r#type() else {
        return Err(wrong("no socket"));
    };
    if kind != Type::STREAM {
        return Err(wrong("a socket of another type than stream"));
    }
    if !listens(&socket) {
        return Err(wrong(match socket.peer_addr() {
            Ok(_) => "a connected socket",
            Err(_) => "a socket that does not listen",
        }));
    }
    let os = |e: io::Error| Failure::from(e);
    let bound = socket.local_addr().map_err(os)?;
    socket.set_nonblocking(true).map_err(os)?;
    let at = match (bound.as_socket(), bound.domain()) {
        (Some(address), _) => Ok(address),
        (None, Domain::UNIX) => {
            let path = bound.as_pathname();
            Err(path.map(|p| p.to_string_lossy().into()).unwrap_or_default())
        }
        (None, _) => return Err(wrong("a socket of another family than IP and Unix")),
    };
    Ok(Listener::Shared(socket, at))
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn listens(socket: &Raw) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// As far as that shows: accepting fails for others.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn listens(socket: &Raw) -> bool {
    socket.peer_addr().is_err()
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

impl Peers {
    /// Of a connection that the host program has accepted.
    pub fn of(fd: &OwnedFd) -> Self {
        let socket = SockRef::from(fd);
        let (client, server) = (socket.peer_addr().ok(), socket.local_addr().ok());
        let path = |a: &SockAddr| Some(a.as_pathname()?.to_string_lossy().into_owned());
        Peers {
            client: client.and_then(|a| a.as_socket()),
            server: match server.as_ref().and_then(SockAddr::as_socket) {
                Some(address) => Ok(address),
                None => Err(server.as_ref().and_then(path).unwrap_or_default()),
            },
        }
    }
}

/// A listener that accepts.
pub struct Accepting {
    io: AsyncFd<Raw>,
    /// Of a TCP socket the address, else the path.
    at: std::result::Result<SocketAddr, String>,
    /// The host program's, and other processes' perhaps.
    is_shared: bool,
}

impl Accepting {
    /// Of a bound address. Needs the runtime's context.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let is_shared = matches!(listener, Listener::Shared(..));
        let (socket, at) = match listener {
            Listener::Tcp(s, a) => (s, Ok(a)),
            Listener::Unix(s, f) => (s, Err(f.path)),
            Listener::Shared(s, at) => (s, at),
        };
        Ok(Accepting {
            io: sys::watch(socket).map_err(|(e, _)| e)?,
            at,
            is_shared,
        })
    }

    /// Others may accept at it: who waits there is not ours to turn away.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// A client waits.
    pub fn is_called(&self) -> bool {
        sys::is_readable(self.io.get_ref())
    }

    /// Returns when a client waits; another process that listens too may take
    /// it.
    pub async fn called(&self) -> io::Result<()> {
        loop {
            let mut ready = self.io.readable().await?;
            // What the runtime has seen may be over.
            if self.is_called() {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// The client that waits, if one does.
    pub fn accept(&self) -> io::Result<(Socket, Peers)> {
        let (socket, _) = self.io.get_ref().accept()?;
        socket.set_nonblocking(true)?;
        let domain = match self.at {
            Ok(bound) => Domain::for_address(bound),
            Err(_) => Domain::UNIX,
        };
        let socket = Socket::of(socket, domain)?;
        if self.is_shared {
            // Not inherited from a listener of ours.
            socket.limit_buffer();
        }
        let peers = self.peers(&socket);
        Ok((socket, peers))
    }

    fn peers(&self, socket: &Socket) -> Peers {
        let (client, here) = match socket {
            Socket::Tcp(s) => (s.peer_addr().ok(), s.local_addr().ok()),
            Socket::Unix(_) | Socket::Given(_) => (None, None),
        };
        let server = self.at.clone().map(|bound| here.unwrap_or(bound));
        Peers { client, server }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if self.is_shared {
            return;
        }
        // A forked child may have a copy: nobody is to wait at it.
        let _ = self.io.get_ref().shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    #[tokio::test]
    async fn nobody_calls_who_was_taken_already() {
        let bound = bind("127.0.0.1:0").unwrap();
        let port = bound.port();
        let listener = Accepting::new(bound).unwrap();
        let is_called = async || {
            let called = tokio::time::timeout(Duration::from_millis(20), listener.called());
            called.await.is_ok()
        };
        assert!(!is_called().await);
        for _ in 0..2 {
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            listener.called().await.unwrap();
            assert!(is_called().await, "as long as it waits");
            listener.accept().unwrap();
            assert!(!is_called().await);
        }
        let none = listener.accept().map(drop).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}
