//! The socket while hyper has it, and the exchange on it: what the kernel took
//! of the response, whether the client has gone, and how long a write may wait.
//!
//! hyper says neither: it drops a body once it has it all in a buffer, and
//! takes a half-close for the end or does not look at all.

use super::lock;
use crate::conn::Conn;
use crate::core::limits;
use crate::core::reason::Why;
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
    /// An answer of the server's own is on its way.
    own: AtomicBool,
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
            own: AtomicBool::new(false),
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

    /// hyper gets an answer of the server's own.
    pub fn answer_own(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// The kernel does not have all of that yet.
    pub fn is_answering_own(&self) -> bool {
        self.own.load(Ordering::Relaxed)
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
        self.own.store(false, Ordering::Relaxed);
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
    pub fn end(&self, reason: Why) {
        let Some(x) = lock(&self.exchange).take() else {
            return;
        };
        let late = self.timed_out.load(Ordering::Relaxed);
        let reason = if late { Why::WriteTimeout } else { reason };
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

    fn patience(&self) -> Duration {
        // An event stream that the host has closed, as elsewhere.
        let usual = match &*lock(&self.exchange) {
            Some(x) if x.is_stream => x.conn.patience(self.usual),
            _ => self.usual,
        };
        match self.hurried.load(Ordering::Relaxed) {
            true => usual.min(limits::STOP_PATIENCE),
            false => usual,
        }
    }
}

/// Ends the exchange with the connection, whatever ends that.
pub struct Ends<F: Fn() -> Why>(pub Arc<Link>, pub F);

impl<F: Fn() -> Why> Drop for Ends<F> {
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
    // While a write waits; how long it may.
    late: Option<(Pin<Box<Sleep>>, Duration)>,
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
        let patience = link.patience();
        if self.late.as_ref().is_none_or(|late| late.1 != patience) {
            self.late = Some((Box::pin(sleep(patience)), patience));
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

    use crate::conn::fake::FakeHost;
    use crate::conn::{Framing, Report};
    use crate::net::scripted::{self, Peer};
    use std::io::ErrorKind;
    use tokio::io::AsyncWriteExt;

    const USUAL: u64 = 30;
    const LONG: Duration = Duration::from_secs(1000);

    struct Play {
        peer: Peer,
        link: Arc<Link>,
        host: Arc<FakeHost>,
        conn: Arc<Conn>,
    }

    /// A request that waits for its answer, of a client that takes so many
    /// bytes.
    fn play(room: usize, interim: bool) -> Play {
        let (peer, ours) = scripted::pair();
        peer.takes(room);
        let link = Link::new(ours, Duration::from_secs(USUAL));
        let (host, conn) = FakeHost::conn(Framing::default());
        link.begin(conn.clone(), interim);
        Play {
            peer,
            link,
            host,
            conn,
        }
    }

    impl Play {
        /// As hyper does: the head, and what there is of the body, which ends.
        fn answers(&self, body: &str) {
            self.conn.respond(200, []).unwrap();
            self.conn.body(body.as_bytes(), false).unwrap();
            self.link.answer(self.conn.streams());
            let taken = self.conn.poll_body(&mut Context::from_waker(Waker::noop()));
            assert!(taken.is_ready());
            self.link.took();
            self.link.gave(&self.conn);
        }

        async fn writes(&self, text: &str) -> io::Result<()> {
            let mut wire = Wire::new(self.link.clone());
            wire.write_all(text.as_bytes()).await?;
            wire.flush().await
        }

        /// Ends so many seconds from now, and not before.
        async fn is_gone_after(&self, seconds: u64) {
            let started = tokio::time::Instant::now();
            let gone = tokio::time::timeout(LONG, self.link.gone());
            assert!(gone.await.is_ok());
            assert_eq!(started.elapsed().as_secs(), seconds);
        }

        /// Not for long.
        async fn stays(&self) {
            let gone = tokio::time::timeout(LONG, self.link.gone());
            assert!(gone.await.is_err());
        }
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_response_is_over_when_the_kernel_has_it() {
        let p = play(0, true);
        p.answers("body");
        assert!(p.link.is_unwritten() && p.link.is_stuck() && p.link.is_busy());
        let written = async {
            assert!(p.writes(&format!("{HEAD}body")).await.is_ok());
        };
        let watches = async {
            for (step, body) in [(10, 0), (HEAD.len() - 10, 0), (3, 3)] {
                p.peer.takes(step);
                sleep(Duration::from_secs(1)).await;
                assert_eq!(p.conn.totals(), (200, body));
                assert_eq!(p.host.told(), []);
            }
            p.peer.takes(1);
        };
        tokio::join!(written, watches, p.link.idle());
        assert_eq!(p.conn.totals(), (200, 4));
        assert_eq!(p.host.told(), [Report::Ended]);
        assert_eq!(p.conn.reason(), None);
        assert!(!p.link.is_busy() && !p.link.is_unwritten());
        p.link.end(Why::ClientClosed);
        assert_eq!(p.conn.reason(), None, "nothing is in progress any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_of_a_part_is_no_end() {
        let p = play(1000, true);
        p.conn.respond(200, []).unwrap();
        p.conn.body(b"part", true).unwrap();
        p.link.answer(false);
        let written = poll_fn(|cx| p.link.poll_written(cx));
        let both = async { tokio::join!(written, p.writes(HEAD)) };
        let soon = tokio::time::timeout(Duration::from_secs(1), both);
        assert!(soon.await.is_ok(), "who waits for it is woken");
        assert!(p.link.is_busy());
        assert_eq!(p.host.told(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_late_and_a_stop_waits_less() {
        for (hurried, seconds) in [(false, USUAL), (true, 1)] {
            let p = play(HEAD.len() + 2, true);
            p.answers("body");
            if hurried {
                p.link.hurry();
            }
            let started = tokio::time::Instant::now();
            let failed = p.writes(&format!("{HEAD}body")).await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::TimedOut);
            assert_eq!(started.elapsed().as_secs(), seconds);
            assert!(p.link.is_stuck());
            p.link.end(Why::ClientClosed);
            assert_eq!(p.conn.reason().as_deref(), Some("write_timeout"));
            assert_eq!(p.conn.totals(), (200, 2));
            assert_eq!(p.host.told(), [Report::Closed, Report::Ended]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_shortens_a_wait_that_is_on() {
        let p = play(0, true);
        p.answers("body");
        let stop = async {
            sleep(Duration::from_secs(5)).await;
            p.link.hurry();
            // hyper polls, as the stop is news to it.
            p.peer.takes(1);
        };
        let started = tokio::time::Instant::now();
        let (done, ()) = tokio::join!(p.writes(HEAD), stop);
        assert!(done.is_err());
        assert_eq!(started.elapsed().as_secs(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_stream_that_is_closed_waits_less_while_its_place_is_wanted() {
        for (is_stream, seconds) in [(true, 6), (false, USUAL)] {
            let p = play(0, true);
            p.answers("body");
            p.link.answer(is_stream);
            let wanted = async {
                sleep(Duration::from_secs(5)).await;
                p.conn.close(None);
                p.conn.hurry();
            };
            let served = async {
                tokio::select! {
                    () = p.link.gone() => unreachable!(),
                    done = p.writes(HEAD) => done,
                }
            };
            let started = tokio::time::Instant::now();
            let (done, ()) = tokio::join!(served, wanted);
            assert!(done.is_err());
            assert_eq!(started.elapsed().as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_that_is_taken_gives_the_whole_time_again() {
        let p = play(0, true);
        p.answers("body");
        let takes = async {
            for _ in 0..HEAD.len() {
                sleep(Duration::from_secs(USUAL - 1)).await;
                p.peer.takes(1);
            }
        };
        let (done, ()) = tokio::join!(p.writes(HEAD), takes);
        assert!(done.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_that_is_cut_off_is_over_while_the_client_takes_nothing() {
        let p = play(10, true);
        p.answers("body");
        let cut = async {
            sleep(Duration::from_secs(3)).await;
            p.conn.disconnect("queue_overflow".into());
        };
        tokio::join!(p.is_gone_after(3), cut);
        p.link.end(Why::ClientClosed);
        assert_eq!(p.conn.reason().as_deref(), Some("queue_overflow"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_close_ends_a_stream_and_nothing_else() {
        let p = play(1000, true);
        p.peer.half_closes();
        p.stays().await;
        assert!(p.peer.is_doubted());
        p.conn
            .respond(200, [(&b"content-type"[..], &b"text/event-stream"[..])])
            .unwrap();
        p.link.answer(true);
        p.is_gone_after(0).await;
        let p = play(1000, true);
        p.answers("body");
        p.peer.half_closes();
        p.stays().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_ends_all() {
        for half_closed in [true, false] {
            let p = play(1000, true);
            if half_closed {
                p.peer.half_closes();
            }
            let resets = async {
                sleep(Duration::from_secs(7)).await;
                p.peer.fails(ErrorKind::ConnectionReset);
            };
            tokio::join!(p.is_gone_after(7), resets);
        }
        // Between two requests hyper sees it.
        let p = play(1000, true);
        p.link.release();
        p.peer.fails(ErrorKind::ConnectionReset);
        p.stays().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_half_closed_is_asked_three_times_and_found_out() {
        let p = play(1000, true);
        p.peer.half_closes();
        let doubt = tokio::time::timeout(LONG, p.link.doubt());
        assert!(doubt.await.is_err());
        let asked = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(p.peer.got(), asked.repeat(3));
        let p = play(1000, true);
        p.peer.half_closes();
        let leaves = async {
            sleep(Duration::from_millis(1500)).await;
            assert_eq!(p.peer.got(), asked);
            p.peer.fails(ErrorKind::BrokenPipe);
        };
        tokio::select! {
            never = p.link.doubt() => match never {},
            ((), ()) = async { tokio::join!(p.is_gone_after(1), leaves) } => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_no_interim_response_or_has_its_answer_is_not_asked() {
        let p = play(1000, false);
        assert!(!p.link.ask(0).await);
        let q = play(1000, true);
        assert!(q.link.ask(0).await && q.link.ask(2).await);
        assert!(!q.link.ask(3).await, "that is enough");
        q.peer.got();
        q.answers("x");
        assert!(!q.link.ask(0).await);
        q.link.release();
        assert!(!q.link.ask(0).await);
        assert_eq!((p.peer.got(), q.peer.got()), Default::default());
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_window_is_closed_is_there_and_one_that_fails_is_not() {
        let p = play(0, true);
        assert!(p.link.ask(0).await);
        p.stays().await;
        p.peer.takes(5);
        assert!(p.link.ask(0).await, "half of it would spoil the answer");
        p.is_gone_after(0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_ends_with_its_connection() {
        let p = play(1000, true);
        drop(Ends(p.link.clone(), || Why::ServerShutdown));
        assert_eq!(p.conn.reason().as_deref(), Some("server_shutdown"));
        assert_eq!(p.host.told(), [Report::Closed, Report::Ended]);
        assert_eq!(p.conn.totals().0, 0);
    }

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
