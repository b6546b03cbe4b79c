//! The clients that come.

use super::{Shared, Stage, http1};
use crate::core::error::{Error, Failure, reason};
use crate::core::limits;
use crate::net::listen::{Accepting, Listener, Peers};
use crate::net::socket::Socket;
use crate::rt::supervisor;
use bytes::BytesMut;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

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
    let tell = |text: &str| shared.desk.notices().log(text);
    tokio::select! {
        // Looked at first: who waits is not to be taken any more.
        biased;
        () = drained => {}
        () = supervisor::keep("accept", tell, || accept_all(&listener, shared)) => {}
    }
    if listener.is_shared() {
        return;
    }
    // Who waits in the kernel's queue is told, not reset.
    for _ in 0..limits::BACKLOG {
        let place = shared.permits.clone().try_acquire_owned();
        let (Ok(permit), Ok((socket, peers))) = (place, listener.accept()) else {
            return;
        };
        serve(socket, peers, shared, permit);
    }
}

fn serve(socket: Socket, peers: Peers, shared: &Arc<Shared>, place: OwnedSemaphorePermit) {
    // A client may be gone already; its connection will say so.
    let _ = socket.tune(shared.options.write_timeout);
    spawn(socket, peers, shared, place, BytesMut::new());
}

fn spawn(
    socket: Socket,
    peers: Peers,
    shared: &Arc<Shared>,
    place: OwnedSemaphorePermit,
    held: BytesMut,
) {
    let socket = Arc::new(socket);
    tokio::spawn(http1::serve(socket, peers, shared.clone(), place, held));
}

/// Serves a connection that the host program has accepted, and read so much of.
/// Needs the runtime's context. After an error the descriptor comes back.
pub fn adopt(
    fd: OwnedFd,
    held: &[u8],
    shared: &Arc<Shared>,
) -> std::result::Result<(), (Failure, OwnedFd)> {
    if let Err(e) = shared.desk.may_open() {
        return Err((e.into(), fd));
    }
    let Ok(place) = shared.permits.clone().try_acquire_owned() else {
        // Whether one leaves or not, the host asks again.
        let _ = shared.idle.call();
        return Err((Error::TooManyConnections.into(), fd));
    };
    let peers = Peers::of(&fd);
    let socket = Socket::take(fd, shared.options.write_timeout)?;
    spawn(socket, peers, shared, place, held.into());
    Ok(())
}

async fn accept_all(listener: &Accepting, shared: &Arc<Shared>) {
    let mut is_told = false;
    loop {
        if let Err(e) = accept_one(listener, shared, &mut is_told).await {
            let detail = format!(": {}", reason(&e));
            shared.desk.notices().notice("accept failed", &detail);
            // Out of descriptors: give others time to close some.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn accept_one(
    listener: &Accepting,
    shared: &Arc<Shared>,
    is_told: &mut bool,
) -> io::Result<()> {
    // At the maximum, clients wait in the kernel's queue.
    listener.called().await?;
    // First, so that none leaves for somebody who is not let in.
    shared.desk.keeps_up().await;
    let mut place = pin!(next_place(shared, || listener.called()));
    let soon = timeout(limits::ROOM_PATIENCE, &mut place).await;
    let is_full = soon.is_err() && listener.is_called();
    let was_told = std::mem::replace(is_told, is_full);
    if is_full && !was_told {
        let max = shared.options.max_connections;
        shared.desk.notices().notice(
            "max_connections is reached",
            &format!(": {max} are open, others wait"),
        );
    }
    let place = match soon {
        Ok(place) => place?,
        Err(_) => place.await?,
    };
    shared.desk.keeps_up().await;
    match listener.accept() {
        Ok((socket, peers)) => serve(socket, peers, shared, place),
        // Another process took it.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
        Err(e) => return Err(e),
    }
    // Its request first, so that `keeps_up` counts it.
    tokio::task::yield_now().await;
    Ok(())
}

/// Waits for a place for a client that waits, as `called` tells. While there is
/// none, idle connections make room, and those hurry who only see their last bytes
/// out.
pub(super) async fn next_place<F: Future<Output = io::Result<()>>>(
    shared: &Arc<Shared>,
    called: impl Fn() -> F,
) -> io::Result<OwnedSemaphorePermit> {
    let mut is_late = false;
    loop {
        // Each time, so that none leaves for somebody who has gone.
        called().await?;
        if let Ok(place) = shared.permits.clone().try_acquire_owned() {
            return Ok(place);
        }
        if std::mem::take(&mut is_late) {
            hurry_all(shared);
        }
        let room = async {
            match shared.idle.call() {
                // One at a time, so that none leaves for nobody.
                Ok(done) => drop(done.await),
                Err(Some(from)) => tokio::select! {
                    () = shared.idle.added() => {}
                    () = tokio::time::sleep_until(from) => {}
                },
                Err(None) => shared.idle.added().await,
            }
        };
        tokio::select! {
            biased;
            place = shared.permits.clone().acquire_owned() => {
                return place.map_err(io::Error::other);
            }
            () = room => {}
            () = tokio::time::sleep(limits::STOP_PATIENCE) => is_late = true,
        }
    }
}

fn hurry_all(shared: &Shared) {
    let registry = shared.desk.registry();
    let mut from = 0;
    while let Some(next) = registry.slice(from, |conn| conn.hurry()) {
        from = next;
    }
}
