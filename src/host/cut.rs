//! Who is cut off when all queues together take too much: those that take most.

use super::notices::Notices;
use super::registry::Registry;
use crate::conn::Conn;
use crate::core::level::Level;
use crate::core::limits;
use crate::core::reason::Why;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// Runs until dropped: looks when the account's alarm has rung.
pub async fn run(registry: Arc<Registry>, notices: Arc<Notices>) {
    loop {
        registry.rung().await;
        for _ in 0..largest(&registry, &notices).await {
            let detail = ", the largest queue is cut off";
            notices.notice("max_queued_bytes is reached", detail);
        }
        tokio::time::sleep(Duration::from_millis(limits::CUT_MS)).await;
    }
}

/// Cuts off the largest queues until the rest may stay; how many.
async fn largest(registry: &Registry, notices: &Notices) -> usize {
    let mut conns: Vec<Arc<Conn>> = Vec::new();
    // By what a queue takes: at the most first, exactly once it has come up.
    let mut order = BinaryHeap::new();
    let mut from = 0;
    while let Some(next) = registry.slice(from, |conn| {
        let bound = conn.cost_bound();
        if bound > 0 {
            order.push((bound, false, conns.len()));
            conns.push(conn.clone());
        }
    }) {
        from = next;
        tokio::task::yield_now().await;
    }
    let mut cut = 0;
    while let (true, Some((bytes, exact, at))) = (registry.account().is_over(), order.pop()) {
        let conn = &conns[at];
        if !exact {
            order.push((conn.cost().min(bytes), true, at));
            continue;
        }
        // What it took may have gone by itself.
        if conn.cost_bound() > 0 {
            // First, as who reads of the end may ask.
            registry.count_cut();
            let (handle, memory) = (conn.handle(), conn.cost());
            notices.tell(
                Level::Debug,
                format_args!("connection {handle}: cut off, its queue takes {memory} bytes"),
            );
            conn.disconnect(Why::QueueOverflow.into());
            cut += 1;
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Framing;
    use crate::core::chunk::Chunk;
    use crate::core::state::Phase;
    use crate::feed::Subscriber;
    use crate::host::desk::Desk;
    use crate::wire::Wire;

    const MIB: usize = 1 << 20;

    struct Fixture(Arc<Desk>);

    fn fixture(max_queued_bytes: usize) -> Fixture {
        let desk = Desk::new(max_queued_bytes, Level::Warning).unwrap();
        tokio::spawn(run(desk.registry().clone(), desk.notices().clone()));
        Fixture(desk)
    }

    impl Fixture {
        fn conn(&self) -> Arc<Conn> {
            let framing = Framing {
                sse: true,
                wire: Wire::Events,
                pull: true,
                ..Framing::default()
            };
            let conn = self.0.open(framing).unwrap();
            conn.start(200, []).unwrap();
            conn
        }

        /// One that an awaited send of so many bytes waits on.
        fn with(&self, bytes: usize) -> Arc<Conn> {
            let conn = self.conn();
            conn.comment(&"x".repeat(bytes)).unwrap();
            conn
        }

        fn stats(&self, name: &str) -> u64 {
            self.0.counts().json()[name].as_u64().unwrap()
        }

        fn records(&self) -> String {
            let mut buf = vec![0; MIB];
            let used = self.0.next(&mut buf);
            String::from_utf8_lossy(&buf[..used]).into_owned()
        }
    }

    async fn settle() {
        tokio::time::sleep(Duration::from_millis(3 * limits::CUT_MS)).await;
    }

    fn open(conns: &[Arc<Conn>]) -> Vec<bool> {
        let is_open = |c: &Arc<Conn>| c.phase() != Phase::Closed;
        conns.iter().map(is_open).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn above_the_limit_the_largest_are_cut_off_and_no_more_than_needed() {
        let f = fixture(10 * MIB);
        let conns = [2, 4, 3].map(|mib| f.with(mib * MIB));
        settle().await;
        assert_eq!(open(&conns), [true; 3], "9 of 10");
        f.conn().comment("idle").unwrap();
        conns[0].comment(&"x".repeat(MIB)).unwrap_err();
        let more = f.with(2 * MIB);
        settle().await;
        assert_eq!(open(&conns), [true, false, true]);
        assert_eq!(open(&[more]), [true]);
        assert_eq!(conns[1].reason().as_deref(), Some("queue_overflow"));
        assert_eq!(f.stats("cut"), 1);
        assert!(f.stats("queued_memory") >= 7 * MIB as u64);
        assert!(f.stats("queued_memory") <= 8 * MIB as u64);
        let records = f.records();
        assert!(records.contains("max_queued_bytes is reached, the largest queue is cut off"));
        assert!(records.contains("queue_overflow"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_send_of_any_size_is_taken_unless_it_alone_is_above_the_limit() {
        let f = fixture(10 * MIB);
        let (fits, huge) = (f.with(9 * MIB), f.with(11 * MIB));
        settle().await;
        assert_eq!(open(&[fits, huge]), [true, false]);
        assert_eq!(f.stats("cut"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_many_have_waiting_is_nobodys_fault() {
        let f = fixture(4 * MIB);
        let shared = Chunk::new(MIB, |b| b.resize(b.len() + MIB, b'x'));
        let innocent = [(); 100].map(|()| f.conn());
        for conn in &innocent {
            conn.replay(&[&shared], 1).unwrap();
        }
        settle().await;
        assert_eq!(open(&innocent), [true; 100]);
        assert!(f.stats("queued_memory") < 2 * MIB as u64);
        assert_eq!(f.stats("queued_bytes"), 100 * MIB as u64);
        // Each smaller than any of those queues.
        let own = [(); 10].map(|()| f.with(MIB * 9 / 10));
        settle().await;
        assert_eq!(open(&innocent), [true; 100]);
        let left = open(&own).iter().filter(|is_open| **is_open).count();
        assert_eq!((left, f.stats("cut")), (3, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_each_has_alone_counts_though_it_could_be_shared() {
        let f = fixture(4 * MIB);
        let conns = [(); 5].map(|()| f.conn());
        for conn in &conns {
            let topic = Chunk::new(MIB, |b| b.resize(b.len() + MIB, b'x'));
            conn.replay(&[&topic], 1).unwrap();
        }
        settle().await;
        let left = open(&conns).iter().filter(|is_open| **is_open).count();
        assert_eq!((left, f.stats("cut")), (3, 2));
    }

    #[tokio::test]
    async fn who_has_sent_it_all_meanwhile_is_not_cut_off() {
        let f = Fixture(Desk::new(10 * MIB, Level::Warning).unwrap());
        let _all = [(); limits::SLICE + 2].map(|()| f.conn());
        let some = f.0.registry().conns();
        let (small, large) = (some[0].clone(), some[1].clone());
        large.comment(&"x".repeat(11 * MIB)).unwrap();
        // After the first slice: both have been looked at.
        let meanwhile = async {
            large.pull(usize::MAX, |_| ()).unwrap();
            small.comment(&"x".repeat(11 * MIB)).unwrap();
        };
        let (registry, notices) = (f.0.registry(), f.0.notices());
        let (cut, ()) = tokio::join!(largest(registry, notices), meanwhile);
        assert_eq!((cut, open(&[small, large])), (0, vec![true; 2]));
        assert!(registry.account().is_over());
        assert_eq!(largest(registry, notices).await, 1);
    }
}
