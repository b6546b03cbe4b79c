//! A hub with a thread that delivers.

use crate::conn::{Conn, Host};
use crate::core::level::Level;
use crate::hub::{self, Begin, Owner, Settings};
use crate::rt::{build, now_ms, supervisor};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// A hub of connections.
pub type Hub = hub::Hub<Conn>;

/// One's subscription.
pub type Subscription = hub::Subscription<Conn>;

/// How often what is too old is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How long it delivers before it looks whether the hub is to end.
const SLICE: Duration = Duration::from_millis(10);

/// An epoch that no other hub has: six letters and digits by chance. Short, as
/// each event has it.
pub fn new_epoch() -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // The system's randomness; a forked process inherits it, so who and when.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut n = RandomState::new().hash_one((std::process::id(), now.unwrap_or_default()));
    let mut epoch = String::new();
    for _ in 0..6 {
        epoch.push(char::from(DIGITS[(n % 62) as usize]));
        n /= 62;
    }
    epoch
}

#[derive(Default)]
struct Signals {
    pending: Notify,
    handle: AtomicU64,
    hosts: Mutex<Vec<Weak<dyn Host>>>,
    let_go: Mutex<(u64, u64)>,
}

impl Signals {
    /// The operator is to know: by the log of a host, any of them.
    fn tell(&self, level: Level, text: fmt::Arguments<'_>) {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.iter().find_map(Weak::upgrade) {
            host.log(level, text);
        }
    }

    /// The host program has no number for it any more: nobody is told of it.
    fn end(&self) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        for host in hosts.drain(..).filter_map(|h| h.upgrade()) {
            host.hub_let_go(self.handle.load(Ordering::Relaxed));
        }
    }

    /// What the hub's limits have cost since this was called last.
    fn tell_let_go(&self, now: (u64, u64)) {
        let mut told = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, topics) = (now.0 - told.0, now.1 - told.1);
        *told = now;
        if (events, topics) != (0, 0) {
            let hub = self.handle.load(Ordering::Relaxed);
            self.tell(
                Level::Info,
                format_args!("hub {hub}: {events} events evicted, {topics} topics expired"),
            );
        }
    }
}

impl Owner<Conn> for Arc<Signals> {
    fn pending(&self) {
        self.pending.notify_one();
    }

    fn ready(&self) {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        for host in hosts.iter().filter_map(Weak::upgrade) {
            host.ready(self.handle.load(Ordering::Relaxed));
        }
    }

    fn joins(&self, conn: &Conn) {
        let Some(host) = conn.host() else { return };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::downgrade(host);
        hosts.retain(|h| h.strong_count() > 0);
        if !hosts.iter().any(|h| h.ptr_eq(&new)) {
            hosts.push(new);
        }
    }

    fn joined(&self, conn: &Conn, topics: usize, begin: Begin, events: u64) {
        let Some(host) = conn.host() else { return };
        let handle = conn.handle();
        let how = begin.reason().unwrap_or(match begin {
            Begin::Resumed => "resumed",
            _ => "new",
        });
        host.log(
            Level::Debug,
            format_args!("connection {handle}: subscribed to {topics} topics, {how}, {events} events sent again"),
        );
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

/// See the module. All methods may be called from any thread.
pub struct RunningHub {
    hub: Arc<Hub>,
    signals: Arc<Signals>,
    runtime: Mutex<Option<Runtime>>,
}

impl RunningHub {
    /// Starts the thread.
    pub fn start(epoch: &str, settings: &Settings) -> std::io::Result<Self> {
        let runtime = build(1)?;
        let signals = Arc::new(Signals::default());
        let hub = Arc::new(Hub::new(Box::new(signals.clone()), epoch, settings));
        runtime.spawn(deliver(hub.clone(), signals.clone()));
        Ok(RunningHub {
            hub,
            signals,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// The hub.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Tells its handle, once, for the records that name it.
    pub fn set_handle(&self, handle: u64) {
        self.signals.handle.store(handle, Ordering::Relaxed);
    }

    /// Delivers what is pending, as far as `deadline` allows, and ends the
    /// thread. Connections stay open, but those that nobody else has: the handed
    /// over ones.
    pub fn stop(&self, deadline: Duration) {
        let runtime = self
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            let by = Instant::now() + deadline;
            self.hub.deliver_until(|| Instant::now() >= by);
            self.hub.part();
            self.signals.end();
            // Its tasks wait for nothing.
            runtime.shutdown_timeout(by.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

async fn deliver(hub: Arc<Hub>, signals: Arc<Signals>) {
    let work = async || {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        // After a panic: what it was at.
        deliver_in_slices(&hub).await;
        loop {
            tokio::select! {
                () = signals.pending.notified() => deliver_in_slices(&hub).await,
                _ = housekeeping.tick() => {
                    hub.expire();
                    signals.tell_let_go(hub.let_go());
                }
            }
        }
    };
    supervisor::keep(
        "deliver",
        |text| signals.tell(Level::Warning, format_args!("{text}")),
        work,
    )
    .await;
}

async fn deliver_in_slices(hub: &Hub) {
    let mut until = Instant::now() + SLICE;
    while !hub.deliver_until(|| Instant::now() >= until) {
        tokio::task::yield_now().await;
        until = Instant::now() + SLICE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{Framing, Report};
    use crate::core::frame::Event;
    use crate::hub::{Put, Wish};
    use crate::wire::Wire;

    #[test]
    fn epochs_differ() {
        let all: std::collections::HashSet<_> = (0..1000).map(|_| new_epoch()).collect();
        assert_eq!(all.len(), 1000);
        let fine = |e: &String| e.len() == 6 && e.bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(all.iter().all(fine));
    }

    /// Whose first word of output is its last thought.
    #[derive(Default)]
    struct Fragile {
        output: AtomicU64,
        log: Mutex<String>,
    }

    impl Host for Fragile {
        fn output(&self, _: &Arc<Conn>) {
            let before = self.output.fetch_add(1, Ordering::Relaxed);
            assert_ne!(before, 1, "a fault of ours");
        }
        fn keepalive(&self, _: &Arc<Conn>) {}
        fn now_ms(&self) -> u64 {
            now_ms()
        }
        fn ready(&self, _: u64) {}
        fn log(&self, level: Level, text: fmt::Arguments<'_>) {
            if level == Level::Warning {
                self.log.lock().unwrap().push_str(&text.to_string());
            }
        }
        fn report(&self, _: &Conn, _: Report) {}
    }

    #[test]
    fn a_delivery_that_panics_is_logged_and_the_next_is_made() {
        let hub = RunningHub::start("e", &Settings::default()).unwrap();
        let host = Arc::<Fragile>::default();
        let framing = Framing {
            sse: true,
            wire: Wire::Events,
            pull: true,
            ..Framing::default()
        };
        let conn = Conn::hosted(host.clone(), framing);
        hub.hub()
            .subscribe(&conn, &["t"], &Wish::default())
            .unwrap();
        let read_until = |text: &str| {
            let deadline = Instant::now() + Duration::from_secs(30);
            let mut all = Vec::new();
            while !String::from_utf8_lossy(&all).contains(text) {
                assert!(Instant::now() < deadline, "{text}");
                conn.pull(usize::MAX, |b| all.extend_from_slice(b)).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        read_until("id: e.0");
        for data in ["1", "2"] {
            let event = Event {
                data: Some(data),
                ..Event::default()
            };
            hub.hub().publish("t", &event, Put::default()).unwrap();
            read_until(&format!("data: {data}"));
        }
        let log = host.log.lock().unwrap();
        assert!(
            log.contains("\"deliver\"") && log.contains("a fault of ours"),
            "{log}"
        );
    }
}
