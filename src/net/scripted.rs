//! A transport for tests, whose other side does what the test says: takes so
//! many bytes, blocks, says something, ends its side, resets.

use super::transport::{Transport, Wait};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

#[derive(Default)]
struct State {
    /// Bytes that will be taken; then writes would block.
    room: usize,
    /// One write takes so many at the most.
    at_once: usize,
    interrupts: usize,
    taken: Vec<u8>,
    input: VecDeque<u8>,
    half_closed: bool,
    failure: Option<ErrorKind>,
    runtime_ended: bool,
    shut: Option<Shutdown>,
    doubted: bool,
    writes: usize,
    wakers: Vec<Waker>,
    dropped: bool,
}

/// The other side's end, and what the test looks at.
#[derive(Clone, Default)]
pub struct Peer(Arc<Mutex<State>>);

/// Our end.
pub struct Scripted(Peer);

/// Both: one that takes nothing yet.
pub fn pair() -> (Peer, Arc<Scripted>) {
    let peer = Peer::default();
    peer.lock().at_once = usize::MAX;
    (peer.clone(), Arc::new(Scripted(peer)))
}

impl Peer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.lock();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes so many bytes more.
    pub fn takes(&self, bytes: usize) {
        self.change(|s| s.room = s.room.saturating_add(bytes));
    }

    /// Takes so many with one write at the most.
    pub fn takes_at_once(&self, bytes: usize) {
        self.change(|s| s.at_once = bytes);
    }

    /// So many writes are interrupted first.
    pub fn interrupts(&self, writes: usize) {
        self.change(|s| s.interrupts = writes);
    }

    /// Sends something.
    pub fn says(&self, bytes: &[u8]) {
        self.change(|s| s.input.extend(bytes));
    }

    /// Ends its side.
    pub fn half_closes(&self) {
        self.change(|s| s.half_closed = true);
    }

    /// All fails from now on.
    pub fn fails(&self, kind: ErrorKind) {
        self.change(|s| s.failure = Some(kind));
    }

    /// There is no runtime any more.
    pub fn runtime_ends(&self) {
        self.change(|s| s.runtime_ended = true);
    }

    /// What it has got since the last call.
    pub fn got(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.lock().taken)).unwrap()
    }

    /// How often something was written, or tried.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// What nobody has read.
    pub fn unread(&self) -> usize {
        self.lock().input.len()
    }

    /// What our side has ended.
    pub fn shut(&self) -> Option<Shutdown> {
        self.lock().shut
    }

    /// Our side has doubted it.
    pub fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// Our side is gone.
    pub fn is_dropped(&self) -> bool {
        self.lock().dropped
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.0.change(|s| s.dropped = true);
    }
}

impl State {
    fn runtime(&self) -> io::Result<()> {
        match self.runtime_ended {
            true => Err(ErrorKind::Other.into()),
            false => Ok(()),
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(kind) = self.failure {
            return Err(kind.into());
        }
        let n = buf.len().min(self.input.len());
        if n == 0 && !self.half_closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(self.input.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes += 1;
        if self.interrupts > 0 {
            self.interrupts -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        if let Some(kind) = self.failure {
            return Err(kind.into());
        }
        let most = self.room.min(self.at_once);
        let before = self.taken.len();
        for slice in slices {
            let left = most - (self.taken.len() - before);
            self.taken
                .extend_from_slice(&slice[..slice.len().min(left)]);
        }
        let n = self.taken.len() - before;
        self.room -= n;
        match n {
            0 if slices.iter().any(|s| !s.is_empty()) => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Scripted {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        look: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        state.runtime()?;
        match look(&mut state) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                state.wakers.push(cx.waker().clone());
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }

    fn when(&self, is: fn(&State) -> bool) -> Wait<'_> {
        Box::pin(poll_fn(move |cx| {
            let mut state = self.0.lock();
            if is(&state) {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        }))
    }
}

fn block_unless(ready: bool) -> io::Result<()> {
    match ready {
        true => Ok(()),
        false => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Transport for Scripted {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |s| {
            let n = s.read(buf.initialize_unfilled())?;
            buf.advance(n);
            Ok(())
        })
    }

    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(cx, |s| s.write(slices))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |s| {
            block_unless(!s.input.is_empty() || s.half_closed || s.failure.is_some())
        })
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |s| block_unless(s.room > 0 || s.failure.is_some()))
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(buf)
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.lock().write(slices)
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn half_closed(&self) -> Wait<'_> {
        self.when(|s| s.half_closed || s.failure.is_some())
    }

    fn failed(&self) -> Wait<'_> {
        self.when(|s| s.failure.is_some())
    }

    fn is_dead(&self) -> bool {
        self.0.lock().failure.is_some()
    }

    fn has_input(&self) -> bool {
        !self.0.lock().input.is_empty()
    }

    fn doubt(&self) {
        self.0.lock().doubted = true;
    }

    fn shutdown(&self, how: Shutdown) {
        self.0.lock().shut = Some(how);
    }
}
