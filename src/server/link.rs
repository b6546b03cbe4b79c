//! The socket while hyper has it, and the exchange on it: what the kernel took
//! of the response, whether the client has gone, and how long a write may wait.
//!
//! hyper says neither: it drops a body once it has it all in a buffer, and
//! takes a half-close for the end or does not look at all.

use super::lock;
use crate::conn::Conn;
use crate::core::limits;
use crate::net::transport::Transport;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One request and its ordinary response.
struct Exchange {
    conn: Arc<Conn>,
    head: Head,
    /// The kernel has some of the response.
    begun: bool,
    /// The application has not chosen, and the client knows interim responses.
    may_ask: bool,
    /// It has chosen an ordinary response.
    answering: bool,
    /// An event stream as an ordinary response: a half-close ends it.
    is_stream: bool,
    /// hyper has something that the kernel has not.
    buffered: bool,
    /// hyper has all.
    given: bool,
    /// Waits for `buffered` to end.
    waiting: Option<Waker>,
}

/// See the module.
pub struct Link {
    socket: Arc<dyn Transport>,
    usual: Duration,
    hurried: AtomicBool,
    timed_out: AtomicBool,
    broken: AtomicBool,
    exchange: Mutex<Option<Exchange>>,
    /// For who watches: look again.
    look: Notify,
    /// For the next request: none is in progress.
    quiet: Notify,
}

impl Link {
    pub fn new(socket: Arc<dyn Transport>, usual: Duration) -> Arc<Self> {
        Arc::new(Link {
            socket,
            usual,
            hurried: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            exchange: Mutex::new(None),
            look: Notify::new(),
            quiet: Notify::new(),
        })
    }

    pub fn socket(&self) -> Arc<dyn Transport> {
        self.socket.clone()
    }

    // ---- the exchange, from its request to its last byte

    /// Waits until the response before is with the kernel.
    pub async fn idle(&self) {
        while self.is_busy() {
            self.quiet.notified().await;
        }
    }

    pub fn is_busy(&self) -> bool {
        lock(&self.exchange).is_some()
    }

    /// A request for the application; `interim`: its client knows interim
    /// responses.
    pub fn begin(&self, conn: Arc<Conn>, interim: bool) {
        *lock(&self.exchange) = Some(Exchange {
            conn,
            head: Head::default(),
            begun: false,
            may_ask: interim,
            answering: false,
            is_stream: false,
            buffered: false,
            given: false,
            waiting: None,
        });
        self.look.notify_one();
    }

    /// The application has chosen an ordinary response.
    pub fn answer(&self, is_stream: bool) {
        if let Some(x) = &mut *lock(&self.exchange) {
            (x.may_ask, x.answering, x.is_stream) = (false, true, is_stream);
            x.buffered = true;
        }
        self.look.notify_one();
    }

    /// The request is no business of this any more.
    pub fn release(&self) {
        *lock(&self.exchange) = None;
        self.quiet.notify_one();
    }

    /// hyper has a piece more.
    pub fn took(&self) {
        if let Some(x) = &mut *lock(&self.exchange) {
            x.buffered = true;
        }
    }

    /// hyper wants no more of the body.
    pub fn gave(&self, conn: &Conn) {
        if let Some(x) = &mut *lock(&self.exchange)
            && conn.is_answered()
        {
            x.given = true;
        }
    }

    /// Waits until the kernel has what hyper has.
    pub fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *lock(&self.exchange) {
            Some(x) if x.buffered => {
                x.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// hyper has the whole response, and the kernel does not.
    pub fn is_unwritten(&self) -> bool {
        lock(&self.exchange).as_ref().is_some_and(|x| x.given)
    }

    /// The client does not take what it is given.
    pub fn is_stuck(&self) -> bool {
        self.is_unwritten() || self.timed_out.load(Ordering::Relaxed)
    }

    fn wrote(&self, slices: &[IoSlice<'_>], mut n: usize) {
        let mut exchange = lock(&self.exchange);
        let Some(x) = &mut *exchange else { return };
        let mut body = 0;
        for slice in slices {
            let taken = &slice[..slice.len().min(n)];
            n -= taken.len();
            body += x.head.pass(taken);
        }
        x.begun |= x.answering;
        x.conn.wrote(body);
    }

    /// hyper's buffer is empty.
    fn flushed(&self) {
        let mut exchange = lock(&self.exchange);
        let Some(x) = &mut *exchange else { return };
        x.buffered = false;
        let waiting = x.waiting.take();
        let over = if x.given { exchange.take() } else { None };
        drop(exchange);
        if let Some(w) = waiting {
            w.wake();
        }
        if let Some(x) = over {
            x.conn.written(true, true);
            x.conn.transport_ended();
            self.quiet.notify_one();
        }
    }

    /// The connection is over, whatever was in progress.
    pub fn end(&self, reason: &'static str) {
        let Some(x) = lock(&self.exchange).take() else {
            return;
        };
        let late = self.timed_out.load(Ordering::Relaxed);
        let reason = if late { "write_timeout" } else { reason };
        x.conn.written(false, x.begun);
        x.conn.disconnect(reason.into());
        x.conn.transport_ended();
    }

    // ---- the client's end

    /// Waits until the client has gone in the middle of an exchange, or the
    /// exchange was cut off; hyper sees what comes between two.
    pub async fn gone(&self) {
        let mut half_closed = false;
        loop {
            let answering = match &*lock(&self.exchange) {
                None => None,
                Some(x) => {
                    let over = x.is_stream || self.socket.is_dead();
                    if (half_closed && over) || self.broken.load(Ordering::Relaxed) {
                        return;
                    }
                    x.answering.then(|| x.conn.clone())
                }
            };
            let severed = poll_fn(|cx| match &answering {
                Some(conn) => conn.poll_severed(cx),
                None => Poll::Pending,
            });
            tokio::select! {
                () = severed => return,
                () = self.look.notified() => {}
                () = self.socket.half_closed(), if !half_closed => {
                    half_closed = true;
                    self.socket.doubt();
                }
                () = self.socket.failed(), if half_closed && !self.socket.is_dead() => {}
                // A Unix socket's other side closes without an error.
                () = sleep(Duration::from_secs(1)), if half_closed => {}
            }
        }
    }

    /// Asks a client that has ended its side, and waits for the answer of the
    /// application: has it closed the connection? Never returns.
    pub async fn doubt(&self) -> Infallible {
        self.socket.half_closed().await;
        for n in 0..limits::DOUBT_SECONDS.len() {
            self.ask(n).await;
        }
        pending().await
    }

    /// Asks it for the n-th time, from 0 on, when that is due, whatever it has
    /// ended: as its body is not read, nobody would know. `false`: it cannot be
    /// asked, or not any more.
    pub async fn ask(&self, n: usize) -> bool {
        let due = limits::DOUBT_SECONDS.get(n);
        let seconds = due.copied().unwrap_or(limits::DOUBT_PROBE_SECONDS);
        sleep(Duration::from_secs(seconds)).await;
        due.is_some() && self.say_continue()
    }

    fn say_continue(&self) -> bool {
        // Under the lock: no response begins meanwhile.
        let exchange = lock(&self.exchange);
        if !exchange.as_ref().is_some_and(|x| x.may_ask) {
            return false;
        }
        let is_there = match self.socket.try_write(&[IoSlice::new(CONTINUE)]) {
            Ok(n) => n == CONTINUE.len(),
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        };
        if !is_there {
            self.broken.store(true, Ordering::Relaxed);
            self.look.notify_one();
        }
        true
    }

    // ---- a client that takes nothing

    /// The server stops: it waits less.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Relaxed)
    }

    fn patience(&self) -> Duration {
        match self.is_hurried() {
            true => self.usual.min(limits::STOP_PATIENCE),
            false => self.usual,
        }
    }
}

/// Ends the exchange with the connection, whatever ends that.
pub struct Ends<F: Fn() -> &'static str>(pub Arc<Link>, pub F);

impl<F: Fn() -> &'static str> Drop for Ends<F> {
    fn drop(&mut self) {
        self.0.end(self.1());
    }
}

/// Finds the end of a response's head, behind interim ones.
#[derive(Default)]
struct Head {
    at: usize,
    last: u32,
    interim: bool,
    over: bool,
}

impl Head {
    /// Takes bytes that were written; how many of them are of the body.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        if self.over {
            return bytes.len();
        }
        for (i, &byte) in bytes.iter().enumerate() {
            if self.at == b"HTTP/1.1 ".len() {
                self.interim = byte == b'1';
            }
            self.at += 1;
            self.last = self.last << 8 | u32::from(byte);
            if self.last == u32::from_be_bytes(*b"\r\n\r\n") {
                if !self.interim {
                    self.over = true;
                    return bytes.len() - i - 1;
                }
                *self = Head::default();
            }
        }
        0
    }
}

/// What hyper reads and writes.
pub struct Wire {
    link: Arc<Link>,
    // While a write waits; whether it is the shorter time.
    late: Option<(Pin<Box<Sleep>>, bool)>,
}

impl Wire {
    pub fn new(link: Arc<Link>) -> Self {
        Wire { link, late: None }
    }

    /// Something has come that nobody has read.
    pub fn has_input(&self) -> bool {
        self.link.socket.has_input()
    }

    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let link = &self.link;
        if let Poll::Ready(done) = link.socket.poll_write(cx, slices) {
            self.late = None;
            if let Ok(n) = done {
                link.wrote(slices, n);
            }
            return Poll::Ready(done);
        }
        let hurried = link.is_hurried();
        if self.late.as_ref().is_none_or(|late| late.1 != hurried) {
            self.late = Some((Box::pin(sleep(link.patience())), hurried));
        }
        let Some((late, _)) = &mut self.late else {
            return Poll::Pending;
        };
        late.as_mut().poll(cx).map(|()| {
            link.timed_out.store(true, Ordering::Relaxed);
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.link.socket.poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls it when its own buffer is empty.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.socket.shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_begins_behind_the_head_however_it_is_cut() {
        let head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\n";
        let all = [&head[..], b"12\r\n\r\n5"].concat();
        for cut in 0..=all.len() {
            let (a, b) = all.split_at(cut);
            let mut h = Head::default();
            assert_eq!(h.pass(a) + h.pass(b), 7, "cut at {cut}");
        }
    }
}
