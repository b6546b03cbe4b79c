//! A measure, not a test: `cargo test --release --test slow_latest -- --ignored --nocapture`.
//!
//! What a publisher pays for slow clients with the policy `latest`.

use pagi_sse::conn::{Conn, Framing, Host, Report};
use pagi_sse::core::frame::Event;
use pagi_sse::core::outbox::{Full, Policy};
use pagi_sse::hub::{Hub, Owner, Put, Settings, Wish};
use pagi_sse::wire::Wire;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Nobody;

impl Owner<Conn> for Nobody {
    fn pending(&self) {}
    fn ready(&self) {}
    fn joins(&self, _: &Conn) {}
    fn now_ms(&self) -> u64 {
        0
    }
}

impl Host for Nobody {
    fn output(&self, _: &Arc<Conn>) {}
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        0
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, _: Report) {}
}

/// The processor's time of this thread: others may be at work on the machine.
fn cpu() -> Duration {
    let all = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(all.split(' ').next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "a measure"]
fn slow_clients_with_many_keys() {
    let number = |name: &str, default: usize| {
        let given = std::env::var(name).ok();
        given.map_or(default, |n| n.parse().unwrap())
    };
    // Events that are delivered together, as when the hub's thread is behind.
    let batch = number("BATCH", 1) as u32;
    let (clients, keys) = (number("CLIENTS", 500), number("KEYS", 10_000));
    let hub = Arc::new(Hub::new(Box::new(Nobody), "e", &Settings::default()));
    let host: Arc<dyn Host> = Arc::new(Nobody);
    let framing = Framing {
        sse: true,
        wire: Wire::Events,
        pull: true,
        ..Framing::default()
    };
    let policy = Policy {
        full: Full::Latest,
        max_bytes: 64 << 20,
        max_events: 2 * keys,
    };
    let wish = Wish {
        policy,
        ..Wish::default()
    };
    let conns: Vec<_> = (0..clients)
        .map(|_| {
            let conn = Conn::hosted(host.clone(), framing);
            let (sub, _) = hub.subscribe(&conn, &["prices"], &wish).unwrap();
            (conn, sub)
        })
        .collect();
    let round = |what: &str, events: usize| {
        let (began, busy) = (Instant::now(), cpu());
        let mut published = 0;
        for i in 0..events {
            let key = format!("key-{}", i * 7919 % keys);
            let event = Event {
                data: Some("a price"),
                ..Event::default()
            };
            let put = Put {
                key: Some(&key),
                ..Put::default()
            };
            hub.publish("prices", &event, put).unwrap();
            published += 1;
            if published % batch == 0 {
                hub.deliver();
            }
            if began.elapsed() > Duration::from_secs(40) {
                break;
            }
        }
        let took = cpu().checked_sub(busy).unwrap();
        println!(
            "{what}: {published} events to {clients} clients in {took:?} of its thread: {:?} an event, {:?} an event and client",
            took / published,
            took / published / clients as u32
        );
    };
    round("first of each key", keys);
    round("replacing", keys);
    round("replacing again", keys);
    let mut read = 0;
    for (conn, _) in &conns {
        while conn
            .pull(1 << 20, |b| read += b.len())
            .unwrap()
            .unwrap_or(0)
            > 0
        {}
    }
    println!("read {read} bytes");
}
