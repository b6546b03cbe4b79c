//! What a hub says and does at its limits, to the byte and the one.

use super::tests::{Fixture, fixture, keep, read};
use super::*;
use crate::conn::Conn;
use crate::core::outbox::{Full, Policy};
use serde_json::json;
use std::cell::Cell;

fn hub() -> Fixture {
    fixture(keep(1000), 64 << 20)
}

fn event(data: &str) -> Event<'_> {
    Event {
        data: Some(data),
        ..Event::default()
    }
}

fn publish(f: &Fixture, topic: &str, data: &str) -> u64 {
    let put = Put::default();
    f.hub.publish(topic, &event(data), put).unwrap()
}

fn keyed(f: &Fixture, topic: &str, data: &str, key: &str) -> u64 {
    let put = Put {
        key: Some(key),
        ..Put::default()
    };
    f.hub.publish(topic, &event(data), put).unwrap()
}

fn join(f: &Fixture, topics: &[&str]) -> (Arc<Conn>, Arc<Subscription<Conn>>) {
    let conn = f.conn();
    let wish = Wish {
        policy: Policy {
            full: Full::Disconnect,
            max_bytes: 64 << 20,
            max_events: 1000,
        },
        ..Wish::default()
    };
    let (sub, _) = f.hub.subscribe(&conn, topics, &wish).unwrap();
    read(&conn);
    (conn, sub)
}

/// Data of an event that counts as `bytes`.
fn of_size(f: &Fixture, bytes: usize) -> String {
    // The length of a chunk is a number, too.
    publish(f, "measure", &"x".repeat(bytes / 2));
    let entries = f.hub.read("measure", false, 1).unwrap();
    let mut n = bytes - (entries[0].size() - bytes / 2);
    loop {
        publish(f, "measure", &"x".repeat(n));
        let size = f.hub.read("measure", false, 1).unwrap()[0].size();
        if size == bytes {
            return "x".repeat(n);
        }
        n = n + bytes - size;
    }
}

fn stat(f: &Fixture, name: &str) -> u64 {
    f.hub.stats()[name].as_u64().unwrap()
}

#[test]
fn what_is_replayed_counts_as_delivered_and_the_owner_is_told_how_many_it_were() {
    let f = hub();
    for _ in 0..3 {
        publish(&f, "a", "x");
    }
    let conn = f.conn();
    let wish = Wish {
        last_event_id: Some("e.1"),
        ..Wish::default()
    };
    let (sub, _) = f.hub.subscribe(&conn, &["a", "b"], &wish).unwrap();
    assert_eq!(sub.counts().delivered, 2);
    assert_eq!(conn.counters().events, 2);
    assert_eq!(f.joined(), [(2, Begin::Resumed, 2)]);
}

#[test]
fn the_last_events_are_looked_for_behind_all_that_a_state_has() {
    let f = hub();
    let on = TopicChange {
        state: Some(true),
        ..TopicChange::default()
    };
    f.hub.set_topic("s", &on).unwrap();
    publish(&f, "s", "plain");
    for n in 0..200 {
        keyed(&f, "s", "x", &n.to_string());
    }
    let conn = f.conn();
    let wish = Wish {
        last: 1,
        ..Wish::default()
    };
    f.hub.subscribe(&conn, &["s"], &wish).unwrap();
    let got = read(&conn);
    assert!(got.starts_with("#e.1 plain | #e.2 x | "), "{got}");
}

#[test]
fn whoever_delivers_is_told_of_each_event_that_somebody_is_to_get() {
    let f = hub();
    publish(&f, "a", "nobody");
    assert_eq!(f.told_pending(), 0);
    let (conn, _sub) = join(&f, &["a"]);
    publish(&f, "a", "1");
    publish(&f, "b", "nobody");
    let quiet = Put {
        quiet: true,
        ..Put::default()
    };
    f.hub.publish("a", &event("quiet"), quiet).unwrap();
    assert_eq!(f.told_pending(), 1);
    f.hub.deliver();
    assert_eq!(
        (read(&conn), stat(&f, "pending_bytes")),
        ("#e.2 1".into(), 0)
    );
}

#[test]
fn a_delivery_for_a_time_stops_in_it_and_says_whether_all_is_done() {
    let f = hub();
    let (conn, _sub) = join(&f, &["a"]);
    publish(&f, "a", "x");
    assert!(!f.hub.deliver_until(|| true));
    assert_eq!(read(&conn), "");
    assert!(f.hub.deliver_until(|| false));
    assert_eq!(read(&conn), "#e.1 x");
    assert!(!f.hub.deliver_until(|| true), "it has not looked");
}

#[test]
fn a_turn_serves_128_and_the_next_one_the_rest() {
    let f = hub();
    let all: Vec<_> = (0..192).map(|_| join(&f, &["a"])).collect();
    publish(&f, "a", "x");
    let turns = Cell::new(0);
    let served = || all.iter().filter(|(conn, _)| conn.buffered() > 0).count();
    // What is pending, who is to get it, and the first of them.
    let three = || turns.replace(turns.get() + 1) == 3;
    assert!(!f.hub.deliver_until(three));
    assert_eq!(served(), 128);
    assert!(f.hub.deliver_until(|| false));
    assert_eq!(served(), 192);
    assert!(all.iter().all(|(conn, _)| read(conn) == "#e.1 x"));
}

#[test]
fn a_publisher_lends_its_thread_for_a_turn_from_a_mebibyte_on() {
    let f = hub();
    let half = of_size(&f, limits::PENDING_BYTES / 2);
    let less = of_size(&f, limits::PENDING_BYTES / 2 - 1);
    for (second, turns) in [(&less, 0), (&half, 1)] {
        let (conn, sub) = join(&f, &["a"]);
        publish(&f, "a", &half);
        publish(&f, "a", second);
        let waiting = stat(&f, "pending_bytes");
        assert_eq!(waiting as usize, limits::PENDING_BYTES - 1 + turns);
        assert_eq!(conn.buffered(), 0, "that turn takes it off the list alone");
        // The event on the list makes one turn more than none.
        let left = Cell::new(0);
        let count = || left.replace(left.get() + 1) > 100;
        assert!(f.hub.deliver_until(count));
        assert_eq!(left.get(), 5 - turns, "turns that were left");
        assert_eq!(stat(&f, "pending_bytes"), 0);
        sub.unsubscribe();
    }
}

#[test]
fn a_hub_is_ready_below_64_kibibytes_undelivered_or_when_nobody_is_to_get_them() {
    let f = hub();
    let much = of_size(&f, limits::READY_PENDING_BYTES);
    let less = of_size(&f, limits::READY_PENDING_BYTES - 1);
    let (_conn, sub) = join(&f, &["a"]);
    publish(&f, "a", &less);
    assert!(f.hub.ready());
    f.hub.deliver();
    read(&sub.conn);
    publish(&f, "a", &much);
    assert!(!f.hub.ready());
    sub.conn.disconnect("client_closed".into());
    assert!(f.hub.ready(), "though it is still on the list");
}

#[test]
fn figures_are_of_each_topic_and_of_all() {
    let f = hub();
    let few = Policy {
        full: Full::Disconnect,
        max_bytes: 1 << 20,
        max_events: 1,
    };
    let (conn, _sub) = join(&f, &["a"]);
    for full in [Full::Disconnect, Full::DropNewest] {
        let wish = Wish {
            policy: Policy { full, ..few },
            ..Wish::default()
        };
        f.hub.subscribe(&f.conn(), &["b", "c"], &wish).unwrap();
    }
    publish(&f, "a", "1");
    assert_eq!(stat(&f, "connections"), 3);
    for _ in 0..3 {
        publish(&f, "b", "x");
        f.hub.deliver();
    }
    let stats = f.hub.stats();
    assert_eq!(
        (&stats["connections"], &stats["published"]),
        (&2.into(), &4.into())
    );
    assert_eq!(
        (&stats["overflows"], &stats["dropped"]),
        (&1.into(), &2.into())
    );
    assert_eq!((&stats["epoch"], f.hub.epoch()), (&"e".into(), "e"));
    let kept = |topic| f.hub.read(topic, false, 9).unwrap();
    let bytes = |topic| kept(topic).iter().map(|e| e.size()).sum::<usize>();
    assert_eq!(stats["kept_bytes"], bytes("a") + bytes("b"));
    let figures = |subscribers, published, bytes| {
        json!({
            "subscribers": subscribers, "published": published, "kept_events": published,
            "kept_bytes": bytes, "keys": 0, "state_bytes": 0, "refused_keys": 0,
        })
    };
    let topics = json!({
        "a": figures(1, 1, bytes("a")), "b": figures(1, 3, bytes("b")), "c": figures(1, 0, 0),
    });
    assert_eq!(stats["topics"], topics);
    conn.disconnect("client_closed".into());
    assert_eq!(stat(&f, "connections"), 1);
    assert_eq!(f.hub.close(None, "over"), Ok(1));
    assert_eq!(stat(&f, "connections"), 0);
    assert_eq!(f.hub.let_go(), (0, 0));
    f.pass(5001);
    f.hub.expire();
    assert_eq!(f.hub.let_go(), (4, 2), "events and topics");
}

#[test]
fn all_topics_are_named_however_many_they_are_and_in_order() {
    for n in [limits::EVICTED_AT_ONCE, 3 * limits::EVICTED_AT_ONCE + 1] {
        let f = hub();
        let names: Vec<String> = (0..n).map(|i| format!("{i:04}")).collect();
        for name in names.iter().rev() {
            publish(&f, name, "x");
        }
        let all = f.hub.topics();
        assert!(
            all.iter()
                .map(|name| &**name)
                .eq(names.iter().map(|name| &**name))
        );
        assert_eq!(f.hub.stats()["topics"].as_object().unwrap().len(), n);
        f.pass(5001);
        f.hub.expire();
        assert_eq!(
            (f.hub.topics().len(), f.hub.let_go()),
            (0, (n as u64, n as u64))
        );
    }
}

#[test]
fn a_topics_name_has_1_to_100_letters_digits_and_five_signs() {
    let f = hub();
    let longest = "x".repeat(limits::TOPIC_NAME_BYTES);
    for name in ["a", "Z9.-_:/", &longest] {
        assert_eq!(f.hub.has_topic(name), Ok(false), "{name}");
    }
    let longer = format!("{longest}x");
    for name in ["", "a b", "a\n", "ä", "a+", &longer] {
        assert_eq!(f.hub.has_topic(name), Err(Error::TopicName), "{name}");
        let put = Put::default();
        assert_eq!(f.hub.publish(name, &event("x"), put), Err(Error::TopicName));
    }
}

#[test]
fn a_subscription_names_one_topic_and_no_more_than_it_may() {
    let f = hub();
    let may = |names: &[&str], max_topics| {
        let wish = Wish {
            max_topics,
            ..Wish::default()
        };
        let begun = f.hub.subscribe(&f.conn(), names, &wish);
        begun.map(|(sub, _)| sub.unsubscribe()).err()
    };
    assert_eq!(may(&["a", "b"], 2), None);
    assert_eq!(may(&["a", "b"], 1), Some(Error::TopicCount));
    assert_eq!(may(&[], 9), Some(Error::TopicCount));
    let most = vec!["a"; limits::TOPICS_OF_ONE + 1];
    assert_eq!(may(&most, usize::MAX), Some(Error::TopicCount));
    assert_eq!(may(&most[1..], usize::MAX), None);
}
