//! How a client gets a connection: to a Unix socket, to the addresses of a
//! name, through a proxy; with TLS on it.

use super::item::TroubleKind;
use super::options::{Options, Proxy};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::url::Target;
use super::words;
use crate::core::error::{Error, Failure};
use crate::core::limits;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep_until};

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection.
pub type Stream = Box<dyn Io>;

/// ClientEnd there is none.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which kind.
    pub kind: TroubleKind,
    /// A clause.
    pub words: String,
}

impl Fault {
    /// With those words.
    pub fn new(kind: TroubleKind, words: impl Into<String>) -> Self {
        let words = words.into();
        Fault { kind, words }
    }
}

/// A connection that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send + 'a>>;

/// Makes plain connections.
pub trait Dial: Send + Sync {
    /// To a name or an address.
    fn tcp<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a>;
    /// To a Unix socket.
    fn unix<'a>(&'a self, path: &'a Path) -> Dialing<'a>;
}

/// By the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Dial for System {
    fn tcp<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a> {
        Box::pin(async move {
            let found = lookup_host((host, port)).await;
            let found = found.map_err(|e| {
                let why = words(&e);
                Fault::new(
                    TroubleKind::Resolve,
                    format!("the name {host} has no address: {why}"),
                )
            })?;
            let stream = first(in_turns(found), TcpStream::connect).await;
            let (stream, _) = stream.map_err(|(e, at)| match at {
                Some(at) => Fault::new(TroubleKind::Connect, format!("{at}: {}", words(&e))),
                None => Fault::new(
                    TroubleKind::Resolve,
                    format!("the name {host} has no address"),
                ),
            })?;
            let _ = tune(&stream);
            Ok(Box::new(stream) as Stream)
        })
    }

    fn unix<'a>(&'a self, path: &'a Path) -> Dialing<'a> {
        Box::pin(async move {
            let stream = UnixStream::connect(path).await.map_err(|e| {
                let file = path.display();
                Fault::new(TroubleKind::Connect, format!("{file}: {}", words(&e)))
            })?;
            Ok(Box::new(stream) as Stream)
        })
    }
}

/// A peer that vanishes says nothing else.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let patience = Duration::from_secs(limits::WRITE_TIMEOUT_SECONDS);
    let keepalive = TcpKeepalive::new().with_time(patience);
    socket.set_tcp_keepalive(&keepalive.with_interval(patience / 3))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience * 2))?;
    Ok(())
}

/// Both families, one after the other, the first one's first (RFC 8305, 4).
fn in_turns(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let all: Vec<_> = found.take(4 * limits::ADDRESSES).collect();
    let is_first = |a: &SocketAddr| a.is_ipv6() == all[0].is_ipv6();
    let (one, other): (Vec<_>, Vec<_>) = all.iter().copied().partition(|a| is_first(a));
    let mut turns = VecDeque::new();
    for i in 0..one.len().max(other.len()) {
        turns.extend(one.get(i).into_iter().chain(other.get(i)));
    }
    turns.truncate(limits::ADDRESSES);
    turns
}

/// The first connection, each address with a head start over the next
/// (RFC 8305, 5). An error is that of the first address.
async fn first<T, F: Future<Output = io::Result<T>>>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(T, SocketAddr), (io::Error, Option<SocketAddr>)> {
    let head_start = Duration::from_millis(limits::HEAD_START_MS);
    let mut tries: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut error = (io::ErrorKind::NotFound.into(), None);
    let mut next = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let mut i = 0;
            while i < tries.len() {
                let (at, connecting) = &mut tries[i];
                let at = *at;
                match connecting.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok((stream, at))),
                    Poll::Ready(Err(e)) => {
                        if error.1.is_none() {
                            error = (e, Some(at));
                        }
                        drop(tries.swap_remove(i));
                        // Nothing to wait for.
                        next.as_mut().reset(Instant::now());
                    }
                    Poll::Pending => i += 1,
                }
            }
            if addresses.is_empty() {
                return match tries.is_empty() {
                    true => {
                        let none = (io::ErrorKind::NotFound.into(), None);
                        Poll::Ready(Err(std::mem::replace(&mut error, none)))
                    }
                    false => Poll::Pending,
                };
            }
            if !tries.is_empty() && next.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(at) = addresses.pop_front() {
                tries.push((at, Box::pin(connect(at))));
                next.as_mut().reset(Instant::now() + head_start);
            }
        }
    })
    .await
}

/// What a client goes by.
pub struct Ways {
    dial: Arc<dyn Dial>,
    proxy: Option<Matcher>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "tls")]
    trust: (Option<std::path::PathBuf>, bool),
}

/// A connection and what the request has to say on it.
pub struct Connected {
    /// The bytes.
    pub stream: Stream,
    /// Through a proxy that reads the request: its `proxy-authorization`.
    pub proxied: Option<Option<HeaderValue>>,
}

impl Ways {
    /// As the options want it. The environment is read here, on the caller's
    /// thread, and so are certificates if the target needs them.
    pub fn new(options: &Options, target: &Target, dial: Arc<dyn Dial>) -> Result<Self, Failure> {
        let proxy = match &options.proxy {
            Proxy::Off => None,
            Proxy::Environment => Some(Matcher::from_env()),
            Proxy::At(url) => {
                let all = Matcher::builder().all(url.as_str()).build();
                let example = Uri::from_static("http://example.org/");
                if all.intercept(&example).is_none() {
                    return Err(Failure::new(Error::BadArgument, "the proxy's URL is none"));
                }
                Some(all)
            }
        };
        let mut ways = Ways {
            dial,
            proxy,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            trust: (options.ca_file.clone(), options.insecure),
        };
        let wants = target.is_https() || options.ca_file.is_some();
        #[cfg(feature = "tls")]
        if wants {
            ways.tls()?;
        }
        #[cfg(not(feature = "tls"))]
        if wants || options.insecure {
            let why = "this library was built without TLS";
            return Err(Failure::new(Error::BadArgument, why));
        }
        // A proxy that we cannot speak to is the caller's to hear of now.
        if let Some(proxy) = ways.proxy_for(target) {
            let scheme = proxy.uri().scheme();
            if scheme != Some(&Scheme::HTTP) && scheme != Some(&Scheme::HTTPS) {
                let scheme = proxy.uri().scheme_str().unwrap_or_default();
                let why = format!("a proxy of scheme {scheme} is none of http, https");
                return Err(Failure::new(Error::BadArgument, why));
            }
        }
        let _ = &mut ways;
        Ok(ways)
    }

    #[cfg(feature = "tls")]
    fn tls(&mut self) -> Result<Tls, Failure> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let tls = Tls::new(self.trust.0.as_deref(), self.trust.1)?;
        self.tls = Some(tls.clone());
        Ok(tls)
    }

    fn proxy_for(&self, target: &Target) -> Option<Intercept> {
        if target.socket().is_some() {
            return None;
        }
        let uri = target.absolute().parse().ok()?;
        self.proxy.as_ref()?.intercept(&uri)
    }

    /// A connection for a request to there.
    pub async fn connect(&mut self, target: &Target) -> Result<Connected, Fault> {
        let plain = |stream| Connected {
            stream,
            proxied: None,
        };
        if let Some(path) = target.socket() {
            return self.dial.unix(path).await.map(plain);
        }
        let host = target.host();
        let Some(proxy) = self.proxy_for(target) else {
            let stream = self.dial.tcp(&host, target.port()).await?;
            return match target.is_https() {
                true => self.secure(stream, &host).await.map(plain),
                false => Ok(plain(stream)),
            };
        };
        let stream = self.reach_proxy(&proxy).await.map_err(|fault| {
            let at = proxy.uri().authority().map_or("", |a| a.as_str());
            Fault::new(fault.kind, format!("the proxy {at}: {}", fault.words))
        })?;
        if !target.is_https() {
            let login = proxy.basic_auth().cloned();
            return Ok(Connected {
                stream,
                proxied: Some(login),
            });
        }
        let stream = tunnel(stream, &target.host_and_port(), proxy.basic_auth()).await?;
        self.secure(stream, &host).await.map(plain)
    }

    async fn reach_proxy(&mut self, proxy: &Intercept) -> Result<Stream, Fault> {
        let uri = proxy.uri();
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                let scheme = other.unwrap_or_default();
                return Err(Fault::new(
                    TroubleKind::Proxy,
                    format!("no scheme of ours: {scheme}"),
                ));
            }
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(match is_https {
            true => 443,
            false => 80,
        });
        let stream = self.dial.tcp(host, port).await?;
        match is_https {
            true => self.secure(stream, host).await,
            false => Ok(stream),
        }
    }

    #[cfg(feature = "tls")]
    async fn secure(&mut self, stream: Stream, host: &str) -> Result<Stream, Fault> {
        let tls = self.tls();
        let tls = tls.map_err(|e| Fault::new(TroubleKind::Tls, e.to_string()))?;
        tls.connect(stream, host).await
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, clippy::unused_self)]
    async fn secure(&mut self, _: Stream, _: &str) -> Result<Stream, Fault> {
        Err(Fault::new(
            TroubleKind::Tls,
            "this library was built without TLS",
        ))
    }
}

/// Has a proxy connect to there (RFC 9110, 9.3.6).
async fn tunnel(stream: Stream, to: &str, login: Option<&HeaderValue>) -> Result<Stream, Fault> {
    let broken =
        |e: hyper::Error| Fault::new(TroubleKind::Proxy, format!("the proxy: {}", words(&e)));
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(to)
        .header(header::HOST, to);
    if let Some(login) = login {
        request = request.header(header::PROXY_AUTHORIZATION, login);
    }
    let request = request
        .body(super::io::Whole(None::<Bytes>))
        .map_err(|e| Fault::new(TroubleKind::Proxy, e.to_string()))?;
    let (mut sender, conn) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut conn = pin!(conn.with_upgrades());
    let mut asking = pin!(async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        match status.is_success() {
            true => Ok(Ok(hyper::upgrade::on(answer).await?)),
            false => Ok(Err(status)),
        }
    });
    // It ends before it has handed the connection over.
    let mut ended = false;
    let tunnel = poll_fn(|cx| {
        if !ended {
            ended = conn.as_mut().poll(cx).is_ready();
        }
        asking.as_mut().poll(cx)
    });
    match tunnel.await.map_err(broken)? {
        Ok(upgraded) => Ok(Box::new(TokioIo::new(upgraded))),
        Err(status) => Err(Fault::new(
            TroubleKind::Proxy,
            format!("the proxy answers {status}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::Mutex;

    fn addresses(list: &str) -> Vec<SocketAddr> {
        let with_port = |a: &str| SocketAddr::new(a.parse().unwrap(), 80);
        list.split(' ').map(with_port).collect()
    }

    #[test]
    fn families_take_turns() {
        let turns = in_turns(addresses("::1 ::2 ::3 1.1.1.1").into_iter());
        assert_eq!(turns, addresses("::1 1.1.1.1 ::2 ::3"));
        let turns = in_turns(addresses("1.1.1.1 ::1 ::2").into_iter());
        assert_eq!(turns, addresses("1.1.1.1 ::1 ::2"));
        assert_eq!(in_turns([].into_iter()), []);
        let many = addresses("1.1.1.1").repeat(1000);
        assert_eq!(in_turns(many.into_iter()).len(), limits::ADDRESSES);
    }

    /// What comes of addresses of which those do that; when each was tried.
    async fn tried(
        list: &str,
        refused: &str,
        pending_: &str,
    ) -> (Result<String, String>, Vec<u128>) {
        let (refused, silent) = (addresses(refused), addresses(pending_));
        let (began, times) = (Instant::now(), Mutex::new(Vec::new()));
        let connect = |at: SocketAddr| {
            times.lock().unwrap().push(began.elapsed().as_millis());
            let answer = match refused.contains(&at) {
                true => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                false => Ok(()),
            };
            let is_silent = silent.contains(&at);
            async move {
                if is_silent {
                    pending::<()>().await;
                }
                ready(answer).await
            }
        };
        let got = first(addresses(list).into(), connect).await;
        let got = got
            .map(|((), at)| at.ip().to_string())
            .map_err(|(_, at)| at.unwrap().ip().to_string());
        (got, times.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_after_a_head_start_or_a_refusal() {
        let ok = |a: &str| Ok(a.to_owned());
        let none = "9.9.9.9";
        assert_eq!(
            tried("1.1.1.1 ::2", none, none).await,
            (ok("1.1.1.1"), vec![0])
        );
        let all = "1.1.1.1 ::2 ::3";
        assert_eq!(tried(all, "1.1.1.1", none).await, (ok("::2"), vec![0, 0]));
        assert_eq!(tried(all, none, "1.1.1.1").await, (ok("::2"), vec![0, 250]));
        let got = tried(all, "::2", "1.1.1.1").await;
        assert_eq!(got, (ok("::3"), vec![0, 250, 250]));
        let got = tried(all, all, none).await;
        assert_eq!(got, (Err("1.1.1.1".to_owned()), vec![0, 0, 0]));
    }
}
