//! Binding and accepting.

use super::{Shared, Stage, http1};
use crate::core::error::{Error, Failure};
use crate::core::limits;
use crate::net::socket::Socket;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bound address.
pub enum Listener {
    Tcp(RawSocket, SocketAddr),
    Unix(RawSocket, SocketFile),
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
    pub fn port(&self) -> u16 {
        match self {
            Listener::Tcp(_, a) => a.port(),
            Listener::Unix(..) => 0,
        }
    }

    pub fn file(&self) -> Option<SocketFile> {
        match self {
            Listener::Tcp(..) => None,
            Listener::Unix(_, f) => Some(f.clone()),
        }
    }
}

/// Binds `HOST:PORT` or `unix:PATH`. A failure has the system's reason.
pub fn bind(address: &str) -> std::result::Result<Listener, Failure> {
    let failure = |error: Error| move |e: io::Error| Failure::new(error, reason(&e));
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
        io::ErrorKind::AddrInUse => Error::AddressInUse.into(),
        io::ErrorKind::InvalidInput => failure(Error::ListenAddress)(e),
        _ => failure(Error::BindFailed)(e),
    })
}

/// In the system's words, without Rust's number behind them.
fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
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
    socket.listen(limits::BACKLOG)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener::Tcp(socket, bound))
}

fn bind_unix(path: &str) -> io::Result<Listener> {
    let too_long = io::Error::new(io::ErrorKind::InvalidInput, "the path is too long");
    let address = SockAddr::unix(path).map_err(|_| too_long)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Ok(file) = std::fs::symlink_metadata(path) {
        if !file.file_type().is_socket() {
            return Err(io::Error::other("the file exists and is no socket"));
        }
        // A socket file that nobody answers is left over from a crash.
        let answer = RawSocket::new(Domain::UNIX, Type::STREAM, None)?.connect(&address);
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
#[derive(Clone)]
pub struct Peers {
    pub client: Option<SocketAddr>,
    pub server: std::result::Result<SocketAddr, String>,
}

enum Accepting {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, String),
}

impl Accepting {
    fn new(listener: Listener) -> io::Result<Self> {
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

    async fn accept(&self) -> io::Result<(Socket, Peers)> {
        Ok(match self {
            Accepting::Tcp(l, bound) => Self::tcp(l.accept().await?.0, bound),
            Accepting::Unix(l, path) => Self::unix(l.accept().await?.0, path),
        })
    }

    /// One that waits already, if any does.
    fn accept_now(&self) -> io::Result<(Socket, Peers)> {
        let (socket, _) = self.as_socket().accept()?;
        socket.set_nonblocking(true)?;
        Ok(match self {
            Accepting::Tcp(_, bound) => Self::tcp(TcpStream::from_std(socket.into())?, bound),
            Accepting::Unix(_, path) => Self::unix(UnixStream::from_std(socket.into())?, path),
        })
    }

    fn tcp(s: TcpStream, bound: &SocketAddr) -> (Socket, Peers) {
        let peers = Peers {
            client: s.peer_addr().ok(),
            server: Ok(s.local_addr().unwrap_or(*bound)),
        };
        (Socket::Tcp(s), peers)
    }

    fn unix(s: UnixStream, path: &str) -> (Socket, Peers) {
        let peers = Peers {
            client: None,
            server: Err(path.to_owned()),
        };
        (Socket::Unix(s), peers)
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        // A forked child may have a copy: nobody is to wait at it.
        let _ = self.as_socket().shutdown(std::net::Shutdown::Both);
    }
}

/// Accepts until the server drains.
pub async fn run(listener: Listener, shared: Arc<Shared>) {
    accept_until_drained(listener, &shared).await;
    shared.listening.store(false, Ordering::Release);
    shared.one_less();
}

async fn accept_until_drained(listener: Listener, shared: &Arc<Shared>) {
    let listener = match Accepting::new(listener) {
        Ok(l) => l,
        Err(e) => return shared.desk.notices().log(&format!("listening failed: {e}")),
    };
    let mut stage = shared.stage.subscribe();
    if stage.wait_for(|s| *s != Stage::Bound).await.is_err() {
        return;
    }
    let drained = async move {
        let _ = stage.wait_for(|s| *s == Stage::Draining).await;
    };
    tokio::select! {
        () = drained => {}
        () = accept_all(&listener, shared) => {}
    }
    // Who waits in the kernel's queue is told, not reset.
    for _ in 0..limits::BACKLOG {
        let place = shared.permits.clone().try_acquire_owned();
        let (Ok(permit), Ok((socket, peers))) = (place, listener.accept_now()) else {
            return;
        };
        let _ = socket.tune(shared.options.write_timeout);
        tokio::spawn(http1::serve(socket, peers, shared.clone(), permit));
    }
}

async fn accept_all(listener: &Accepting, shared: &Arc<Shared>) {
    let mut is_full = false;
    loop {
        // At the maximum, clients wait in the kernel's queue.
        let free = shared.permits.clone().try_acquire_owned();
        let was_full = std::mem::replace(&mut is_full, free.is_err());
        if is_full && !was_full {
            let max = shared.options.max_connections;
            shared.desk.notices().notice(
                "max_connections is reached",
                &format!(": {max} are open, others wait"),
            );
        }
        let permit = match free {
            Ok(permit) => permit,
            Err(_) => match shared.permits.clone().acquire_owned().await {
                Ok(permit) => permit,
                Err(_) => return,
            },
        };
        shared.desk.keeps_up().await;
        match listener.accept().await {
            Ok((socket, peers)) => {
                // A client may be gone already; its connection will say so.
                let _ = socket.tune(shared.options.write_timeout);
                tokio::spawn(http1::serve(socket, peers, shared.clone(), permit));
                // Its request first, so that `keeps_up` counts it.
                tokio::task::yield_now().await;
            }
            Err(e) => {
                shared
                    .desk
                    .notices()
                    .notice("accept failed", &format!(": {}", reason(&e)));
                // Out of descriptors: give others time to close some.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
