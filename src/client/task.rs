//! A client's task: what the model wants, done.

use super::connect::{Fault, Ways};
use super::gzip::Gunzip;
use super::io::{self, Exchange};
use super::item::{ClientEnd, Item, TroubleKind};
use super::model::{Answered, Model};
use super::shelf::Shelf;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// Runs a client until it ends or is closed.
pub(super) async fn run(model: Model, ways: Ways, shelf: Arc<Shelf>) {
    let _ending = Ending(shelf.clone());
    let task = Task {
        model,
        ways,
        shelf: shelf.clone(),
        began: Instant::now(),
    };
    tokio::select! {
        biased;
        () = shelf.closing() => {}
        () = task.run() => {}
    }
}

/// However the task ends, the host program is told.
struct Ending(Arc<Shelf>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(match std::thread::panicking() {
            true => ClientEnd::Panic,
            false => ClientEnd::Stopped,
        });
    }
}

struct Task {
    model: Model,
    ways: Ways,
    shelf: Arc<Shelf>,
    began: Instant,
}

/// An attempt is over, and the model knows.
struct Over;

impl Task {
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The instant of a time of the model's; far away if there is none.
    fn instant(&self, ms: Option<u64>) -> Instant {
        const YEAR: u64 = 365 * 86_400_000;
        self.began + Duration::from_millis(ms.unwrap_or(u64::MAX).min(self.now() + YEAR))
    }

    async fn run(mut self) {
        loop {
            self.tell();
            // Attempts that nobody hears of are not made.
            if self.room().await.is_err() {
                continue;
            }
            let Some(begin) = self.model.wait() else {
                return;
            };
            let by = self.model.deadline();
            let until = by.map_or(begin, |by| begin.min(by));
            sleep_until(self.instant(Some(until))).await;
            self.model.expired(self.now());
            if self.model.wait().is_some_and(|begin| begin <= self.now()) {
                let Err(Over) = self.attempt().await;
            }
        }
    }

    fn tell(&mut self) {
        let items: Vec<Item> = std::iter::from_fn(|| self.model.take()).collect();
        let (id, state) = (self.model.last_event_id(), self.model.state());
        self.shelf.put(items, id, state);
    }

    /// Waits for room on the shelf; an error when the client gets too old.
    async fn room(&mut self) -> Result<(usize, usize), Over> {
        loop {
            if let Some(room) = self.shelf.free() {
                return Ok(room);
            }
            self.model.hold();
            let by = self.instant(self.model.deadline());
            let waited = timeout_at(by, self.shelf.wait_for_room()).await;
            let now = self.now();
            self.model.go_on(now);
            if waited.is_err() {
                self.model.expired(now);
                return Err(Over);
            }
        }
    }

    fn failed(&mut self, fault: &Fault) -> Over {
        self.model.failed(self.now(), fault.kind, &fault.words);
        Over
    }

    fn expired(&mut self) -> Over {
        self.model.expired(self.now());
        Over
    }

    async fn attempt(&mut self) -> Result<std::convert::Infallible, Over> {
        let request = self.model.request(self.now());
        let by = self.instant(self.model.deadline());
        let connected = timeout_at(by, self.ways.connect(&request.target)).await;
        let connected = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(fault)) => return Err(self.failed(&fault)),
            Err(_) => return Err(self.expired()),
        };
        self.model.connected(self.now());
        let by = self.instant(self.model.deadline());
        let mut exchange = match timeout_at(by, io::exchange(connected, request)).await {
            Ok(Ok(exchange)) => exchange,
            Ok(Err(fault)) => return Err(self.failed(&fault)),
            Err(_) => return Err(self.expired()),
        };
        let fields = std::mem::take(&mut exchange.fields);
        let (now, wall) = (self.now(), SystemTime::now());
        match self.model.answered(now, wall, exchange.status, fields) {
            Answered::Done => Err(Over),
            Answered::Refused => Err(self.refused(exchange).await),
            Answered::Stream { gzip } => {
                self.tell();
                Err(self.stream(exchange, gzip.then(Gunzip::default)).await)
            }
        }
    }

    /// Reads what is to be kept of an answer that is no stream.
    async fn refused(&mut self, mut exchange: Exchange) -> Over {
        let most = self.model.refusal_bytes();
        let (mut body, mut is_whole) = (BytesMut::new(), false);
        let by = self.instant(self.model.deadline());
        while body.len() < most {
            match timeout_at(by, poll_fn(|cx| exchange.poll_bytes(cx))).await {
                Ok(Some(Ok(bytes))) => {
                    let n = bytes.len().min(most - body.len());
                    is_whole = n == bytes.len();
                    body.extend_from_slice(&bytes[..n]);
                }
                Ok(None) => {
                    is_whole = true;
                    break;
                }
                Ok(Some(Err(_))) | Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        let now = self.now();
        self.model.refused(now, body.freeze(), is_whole);
        Over
    }

    async fn stream(&mut self, mut exchange: Exchange, mut gunzip: Option<Gunzip>) -> Over {
        let mut plain = Vec::new();
        let mut timer = pin!(sleep_until(self.instant(self.model.deadline())));
        loop {
            let bytes = match self.bytes(&mut exchange, timer.as_mut()).await {
                Some(Ok(bytes)) => bytes,
                Some(Err(fault)) => return self.failed(&fault),
                None => break,
            };
            let Some(bytes) = bytes else {
                return self.expired();
            };
            let Some(gunzip) = &mut gunzip else {
                if self.feed(&bytes).await.is_err() {
                    return Over;
                }
                continue;
            };
            gunzip.push(bytes);
            loop {
                if let Err(e) = gunzip.read(&mut plain) {
                    return self.failed(&broken(&e));
                }
                if plain.is_empty() {
                    break;
                }
                if self.feed(&plain).await.is_err() {
                    return Over;
                }
            }
        }
        if let Some(Err(e)) = gunzip.as_mut().map(Gunzip::finish) {
            return self.failed(&broken(&e));
        }
        self.model.ended(self.now());
        Over
    }

    /// The next bytes of a stream, `Some(Ok(None))` when a time is up. The
    /// timer is moved only when it rings: most often some bytes have come
    /// since it was set.
    async fn bytes(
        &mut self,
        exchange: &mut Exchange,
        mut timer: Pin<&mut Sleep>,
    ) -> Option<Result<Option<Bytes>, Fault>> {
        poll_fn(|cx| {
            if let Poll::Ready(next) = exchange.poll_bytes(cx) {
                let now = self.now();
                self.model.received(now);
                // A stream that never pauses may get too old as well.
                let is_over = self.model.deadline().is_some_and(|by| by <= now);
                return Poll::Ready(next.map(|next| next.map(|b| (!is_over).then_some(b))));
            }
            while timer.as_mut().poll(cx).is_ready() {
                let by = self.model.deadline();
                if by.is_some_and(|by| by <= self.now()) {
                    return Poll::Ready(Some(Ok(None)));
                }
                timer.as_mut().reset(self.instant(by));
            }
            Poll::Pending
        })
        .await
    }

    /// Parses, as far as there is room for what is found.
    async fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Over> {
        loop {
            let (items, mut room) = self.room().await?;
            let mut found = Vec::new();
            let all = loop {
                if found.len() == items || room == 0 {
                    break false;
                }
                let Some(item) = self.model.item(&mut bytes) else {
                    break true;
                };
                room = room.saturating_sub(item.cost());
                found.push(item);
            };
            let (id, state) = (self.model.last_event_id(), self.model.state());
            self.shelf.put(found, id, state);
            if all {
                return Ok(());
            }
        }
    }
}

fn broken(e: &std::io::Error) -> Fault {
    let words = format!(
        "the gzip data of the stream are broken: {}",
        super::words(e)
    );
    Fault::new(TroubleKind::Gzip, words)
}
