//! Between a socket and hyper: a head reaches hyper whole, and only a good one.
//! For a bad one hyper gets a request of ours, so that the refusal takes its
//! turn behind the answers before it.

use super::body::{Rest, Unfit};
use super::head::{self, Fault};
use super::link::Wire;
use crate::core::limits;
use bytes::{Buf, BytesMut};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head that was refused.
pub struct Refused {
    pub fault: Fault,
    pub head: Vec<u8>,
}

/// What the gate tells those behind hyper.
#[derive(Default)]
pub struct Told {
    refused: Mutex<Option<Refused>>,
    silent: AtomicBool,
    unfinished: AtomicBool,
    heads: AtomicU64,
    stopping: AtomicBool,
}

impl Told {
    /// Why the request that hyper has just read is to be refused. To be asked
    /// at once: hyper reads on while a request is answered.
    pub fn refused(&self) -> Option<Refused> {
        super::lock(&self.refused).take()
    }

    /// No more is awaited of a head than the kernel has.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A head is awaited, and nothing of it has come.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    /// A part of a head has come.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Acquire)
    }

    /// How many heads have come whole.
    pub fn heads(&self) -> u64 {
        self.heads.load(Ordering::Acquire)
    }
}

enum State {
    /// So much of `held` has been looked at, and is no head yet.
    Head(usize),
    /// So much of `held` is hyper's; then the body, unless it was refused.
    Pass(usize, Option<Rest>),
    Body(Rest),
    /// Nothing more of this client's is of interest.
    Refused,
}

pub struct Gate {
    socket: Wire,
    held: BytesMut,
    state: State,
    told: Arc<Told>,
    max_body: u64,
}

impl Gate {
    /// `held`: what was read before.
    pub fn new(socket: Wire, told: Arc<Told>, max_body: usize, held: BytesMut) -> Self {
        Gate {
            socket,
            held,
            state: State::Head(0),
            told,
            max_body: max_body as u64,
        }
    }

    /// The part of a head that has come.
    pub fn into_held(self) -> BytesMut {
        self.held
    }

    /// Reads into `held`; 0 at the end.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [MaybeUninit::<u8>::uninit(); 8192];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        self.held.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Waits for a head, of which so much has been looked at; `false` at the
    /// client's end.
    fn poll_head(&mut self, mut seen: usize, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            // Empty lines before a request do not count (RFC 9112, 2.2).
            while self.held.starts_with(b"\n") || self.held.starts_with(b"\r\n") {
                self.held.advance(if self.held[0] == b'\n' { 1 } else { 2 });
                seen = 0;
            }
            // A look for each line is enough, but for what is no HTTP at all.
            let new = &self.held[seen..];
            if !new.is_empty() && (seen == 0 || new.contains(&b'\n') || self.is_long(seen)) {
                match head::read(&self.held) {
                    Ok(None) => {}
                    Ok(Some((n, body))) => {
                        self.state = State::Pass(n, Some(Rest::new(body, self.max_body)));
                        break;
                    }
                    Err(fault) => {
                        self.refuse(fault);
                        break;
                    }
                }
            }
            seen = self.held.len();
            self.state = State::Head(seen);
            self.told.unfinished.store(seen > 0, Ordering::Release);
            self.told.silent.store(seen == 0, Ordering::Release);
            let filled = match self.fill(cx) {
                // Asked of the kernel: what has come may not have been noticed yet.
                Poll::Pending if self.told.is_stopping() && !self.socket.has_input() => 0,
                filled => ready!(filled)?,
            };
            if filled == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        self.told.unfinished.store(false, Ordering::Release);
        self.told.silent.store(false, Ordering::Release);
        self.told.heads.fetch_add(1, Ordering::Release);
        Poll::Ready(Ok(true))
    }

    /// Long enough to be too long, and so much longer than when so much was
    /// there: who sends single bytes has no look for each.
    fn is_long(&self, seen: usize) -> bool {
        self.held.len() > limits::TARGET_BYTES && self.held.len() >> 10 != seen >> 10
    }

    fn refuse(&mut self, fault: Fault) {
        // HEAD, so that the refusal has no body either.
        let stand_in: &[u8] = match self.held.starts_with(b"HEAD ") {
            true => b"HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n",
            false => b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
        };
        let head = self.held.split().to_vec();
        self.held.extend_from_slice(stand_in);
        *super::lock(&self.told.refused) = Some(Refused { fault, head });
        self.state = State::Pass(stand_in.len(), None);
    }

    /// Gives hyper so much of `held`.
    fn give(&mut self, n: usize, buf: &mut ReadBuf<'_>) {
        buf.put_slice(&self.held[..n]);
        self.held.advance(n);
        if self.held.is_empty() {
            // An idle connection has no buffer.
            self.held = BytesMut::new();
        }
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if let State::Head(seen) = gate.state
            && !ready!(gate.poll_head(seen, cx))?
        {
            return Poll::Ready(Ok(()));
        }
        if let State::Body(_) = gate.state
            && gate.held.is_empty()
            && ready!(gate.fill(cx))? == 0
        {
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining().min(gate.held.len());
        let n = match &mut gate.state {
            State::Pass(left, _) => {
                let n = room.min(*left);
                *left -= n;
                n
            }
            State::Body(rest) => match rest.take(&gate.held[..room]) {
                Ok(n) => n,
                Err(unfit) => {
                    gate.state = State::Refused;
                    return Poll::Ready(Err(match unfit {
                        Unfit::Malformed => io::ErrorKind::InvalidData.into(),
                        Unfit::TooLarge => io::ErrorKind::FileTooLarge.into(),
                    }));
                }
            },
            State::Head(_) | State::Refused => return Poll::Pending,
        };
        gate.give(n, buf);
        gate.state = match std::mem::replace(&mut gate.state, State::Refused) {
            State::Pass(0, None) => State::Refused,
            State::Pass(0, Some(rest)) | State::Body(rest) if rest.is_over() => State::Head(0),
            State::Pass(0, Some(rest)) => State::Body(rest),
            other => other,
        };
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
