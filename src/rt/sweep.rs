//! The keepalive sweep: one task for all connections, no timer of their own.

use super::{ConnBell, instant, now_ms};
use crate::conn::Conn;
use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Default)]
struct Plan {
    by_time: BTreeMap<(u64, u64), Weak<Conn>>,
    time_of: HashMap<u64, u64>,
}

impl Plan {
    fn set(&mut self, conn: &Arc<Conn>) {
        let handle = conn.handle();
        if let Some(due) = self.time_of.remove(&handle) {
            self.by_time.remove(&(due, handle));
        }
        if let Some(due) = conn.keepalive_due() {
            self.time_of.insert(handle, due);
            self.by_time.insert((due, handle), Arc::downgrade(conn));
        }
    }

    fn next(&self) -> Option<u64> {
        self.by_time.keys().next().map(|&(due, _)| due)
    }

    fn pop(&mut self, now: u64) -> Option<Weak<Conn>> {
        let entry = self.by_time.first_entry()?;
        let &(due, handle) = entry.key();
        if due > now {
            return None;
        }
        self.time_of.remove(&handle);
        Some(entry.remove())
    }
}

/// See the module. All methods may be called from any thread.
#[derive(Default)]
pub struct Sweep {
    changed: ConnBell,
    /// The task's alone, and there if it has to start again.
    plan: Mutex<Plan>,
}

impl Sweep {
    /// That connection's setting has changed.
    pub fn add(&self, conn: &Arc<Conn>) {
        self.changed.add(conn.handle(), conn.clone());
    }

    /// Takes no more changes: the task has ended.
    pub fn close(&self) {
        self.changed.close();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until dropped: sends each connection's comment when it is due,
    /// which any write postpones.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.plan().next();
            let due = async {
                match next {
                    Some(ms) => tokio::time::sleep_until(instant(ms)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.rung() => {}
                () = due => {}
            }
            self.changed.each(|conn| self.plan().set(&conn));
            let now = now_ms();
            while let Some(conn) = self.pop(now) {
                let Some(conn) = conn.upgrade() else { continue };
                if conn.keepalive_due().is_some_and(|due| due <= now) {
                    conn.send_keepalive();
                }
                self.plan().set(&conn);
            }
        }
    }

    fn pop(&self, now: u64) -> Option<Weak<Conn>> {
        self.plan().pop(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{Framing, Host, Report, Sink};
    use crate::core::frame::Event;
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    struct Fake {
        sweep: Arc<Sweep>,
    }
    impl Host for Fake {
        fn output(&self, conn: &Arc<Conn>) {
            conn.flush();
        }
        fn keepalive(&self, conn: &Arc<Conn>) {
            self.sweep.add(conn);
        }
        fn now_ms(&self) -> u64 {
            now_ms()
        }
        fn ready(&self, _: u64) {}
        fn report(&self, _: &Conn, _: Report) {}
    }

    #[derive(Default)]
    struct Wire(Mutex<Vec<u8>>);
    impl Sink for Wire {
        fn try_write(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
            let mut wire = self.0.lock().unwrap();
            let before = wire.len();
            slices.iter().for_each(|s| wire.extend_from_slice(s));
            Ok(wire.len() - before)
        }
        fn attend(&self) {}
    }
    impl Wire {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn stream() -> (Arc<Conn>, Arc<Wire>, Arc<Sweep>) {
        let sweep = Arc::<Sweep>::default();
        let host = Arc::new(Fake {
            sweep: sweep.clone(),
        });
        let framing = Framing {
            wire: crate::wire::Wire::Http10,
            ..Framing::default()
        };
        let conn = Conn::hosted(host, framing);
        // A handle of 0 has no jitter.
        let wire = Arc::new(Wire::default());
        conn.attach(wire.clone());
        (conn, wire, sweep)
    }

    async fn pass(seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_goes_out_each_interval_and_traffic_postpones_it() {
        let (conn, wire, sweep) = stream();
        tokio::spawn(sweep.run());
        conn.set_keepalive(10000, "ping").unwrap();
        pass(30.0).await;
        assert_eq!(wire.take(), "", "not before the start");
        conn.start(200, []).unwrap();
        conn.flush();
        wire.take();
        pass(10.5).await;
        assert_eq!(wire.take(), ":ping\n\n");
        pass(9.0).await;
        conn.send(&Event {
            data: Some("x"),
            ..Event::default()
        })
        .unwrap();
        assert_eq!(wire.take(), "data: x\n\n");
        pass(9.0).await;
        assert_eq!(wire.take(), "", "the event postponed it");
        pass(1.5).await;
        assert_eq!(wire.take(), ":ping\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_setting_wins_and_zero_ends_it() {
        let (conn, wire, sweep) = stream();
        tokio::spawn(sweep.run());
        conn.start(200, []).unwrap();
        conn.flush();
        wire.take();
        conn.set_keepalive(1_000_000, "slow").unwrap();
        conn.set_keepalive(1000, "fast").unwrap();
        pass(1.1).await;
        assert_eq!(wire.take(), ":fast\n\n");
        conn.set_keepalive(0, "").unwrap();
        pass(5000.0).await;
        assert_eq!(wire.take(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_leaves_the_plan() {
        let (conn, wire, sweep) = stream();
        tokio::spawn(sweep.run());
        conn.start(200, []).unwrap();
        conn.set_keepalive(1000, "").unwrap();
        pass(0.1).await;
        conn.close(None);
        conn.transport_ended();
        wire.take();
        pass(5.0).await;
        assert_eq!(wire.take(), "");
        assert_eq!(Arc::strong_count(&conn), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_is_closed_keeps_no_connection_alive() {
        let (conn, _, sweep) = stream();
        conn.start(200, []).unwrap();
        conn.set_keepalive(1000, "").unwrap();
        sweep.close();
        conn.set_keepalive(2000, "").unwrap();
        let held = Arc::downgrade(&conn);
        drop(conn);
        assert!(held.upgrade().is_none());
    }
}
