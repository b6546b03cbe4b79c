use super::*;
use crate::conn::{Conn, Framing, Host, Report};
use crate::core::outbox::{Full, Marks, Policy};
use crate::core::ring::Keep;
use crate::core::state::Phase;
use crate::wire::Wire;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// The hub's owner and the connections' host: a clock, and what it was told.
#[derive(Default)]
pub(super) struct World {
    now: AtomicU64,
    told_ready: AtomicUsize,
    told_drained: AtomicUsize,
    told_pending: AtomicUsize,
    /// Topics, the beginning, events.
    joined: Mutex<Vec<(usize, Begin, u64)>>,
    /// Whoever tells of output waits for it.
    gate: Mutex<()>,
    at_gate: AtomicBool,
}

impl Owner<Conn> for Arc<World> {
    fn pending(&self) {
        self.told_pending.fetch_add(1, Ordering::Relaxed);
    }
    fn ready(&self) {
        self.told_ready.fetch_add(1, Ordering::Relaxed);
    }
    fn joins(&self, _: &Conn) {}
    fn joined(&self, _: &Conn, topics: usize, begin: Begin, events: u64) {
        self.joined.lock().unwrap().push((topics, begin, events));
    }
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Host for World {
    fn output(&self, _: &Arc<Conn>) {
        self.at_gate.store(true, Ordering::Relaxed);
        drop(self.gate.lock().unwrap());
    }
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, what: Report) {
        let drained = usize::from(what == Report::Drained);
        self.told_drained.fetch_add(drained, Ordering::Relaxed);
    }
}

pub(super) struct Fixture {
    world: Arc<World>,
    pub hub: Arc<Hub<Conn>>,
}

pub(super) fn keep(events: usize) -> TopicSettings {
    TopicSettings {
        keep: Keep {
            events,
            bytes: 1 << 20,
            age_ms: 1000,
        },
        state: false,
        ttl_ms: 5000,
    }
}

pub(super) fn fixture(settings: TopicSettings, total_bytes: usize) -> Fixture {
    let world = Arc::<World>::default();
    let owner = Box::new(world.clone());
    let settings = Settings {
        topics: settings,
        total_bytes,
        ..Settings::default()
    };
    let hub = Arc::new(Hub::new(owner, "e", &settings));
    Fixture { world, hub }
}

fn plain() -> Fixture {
    fixture(keep(10), 1 << 20)
}

const POLICY: Policy = Policy {
    full: Full::Disconnect,
    max_bytes: 1 << 20,
    max_events: 1000,
};

impl Fixture {
    pub(super) fn conn(&self) -> Arc<Conn> {
        let framing = Framing {
            sse: true,
            wire: Wire::Events,
            pull: true,
            ..Framing::default()
        };
        Conn::hosted(self.world.clone(), framing)
    }

    /// Whose output is not the host program's to take.
    fn socket(&self) -> Arc<Conn> {
        let framing = Framing {
            sse: true,
            wire: Wire::Events,
            ..Framing::default()
        };
        Conn::hosted(self.world.clone(), framing)
    }

    pub(super) fn told_pending(&self) -> usize {
        self.world.told_pending.load(Ordering::Relaxed)
    }

    pub(super) fn joined(&self) -> Vec<(usize, Begin, u64)> {
        self.world.joined.lock().unwrap().clone()
    }

    pub(super) fn pass(&self, ms: u64) {
        self.world.now.fetch_add(ms, Ordering::Relaxed);
    }

    fn subscribe(
        &self,
        conn: &Arc<Conn>,
        topics: &[&str],
        id: Option<&str>,
    ) -> Result<(Arc<Subscription<Conn>>, Begin)> {
        self.with_policy(conn, topics, id, POLICY)
    }

    pub(super) fn with_policy(
        &self,
        conn: &Arc<Conn>,
        topics: &[&str],
        id: Option<&str>,
        policy: Policy,
    ) -> Result<(Arc<Subscription<Conn>>, Begin)> {
        let wish = Wish {
            last_event_id: id,
            policy,
            ..Wish::default()
        };
        self.hub.subscribe(conn, topics, &wish)
    }

    fn publish(&self, topic: &str, data: &str) -> u64 {
        self.publish_with(topic, data, None, None)
    }

    fn publish_with(&self, topic: &str, data: &str, id: Option<&str>, key: Option<&str>) -> u64 {
        let event = Event {
            data: Some(data),
            id,
            ..Event::default()
        };
        let put = Put {
            key,
            ..Put::default()
        };
        self.hub.publish(topic, &event, put).unwrap()
    }

    fn topic(&self, name: &str, change: TopicChange) {
        self.hub.set_topic(name, &change).unwrap();
    }

    /// What a client with that id gets at once.
    fn begin(&self, topics: &[&str], id: Option<&str>) -> (Begin, String) {
        let conn = self.conn();
        let (sub, begin) = self.subscribe(&conn, topics, id).unwrap();
        sub.unsubscribe();
        (begin, read(&conn))
    }

    fn topic_stats(&self, name: &str) -> serde_json::Value {
        self.hub.stats()["topics"][name].clone()
    }
}

/// What waits, a line for each block: its id, type and data.
pub(super) fn read(conn: &Arc<Conn>) -> String {
    let mut bytes = Vec::new();
    let _ = conn.pull(1 << 20, |b| bytes.extend_from_slice(b));
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator("\n\n")
        .map(|block| {
            block
                .replace("data: ", "")
                .replace('\n', " ")
                .replace("id: ", "#")
        })
        .collect::<Vec<_>>()
        .join(" | ")
}

const TOO_OLD: &str = "event: reset {\"reason\":\"too_old\"}";
const UNKNOWN: &str = "event: reset {\"reason\":\"unknown_id\"}";

#[test]
fn a_new_client_gets_an_id_at_once_and_then_what_is_published() {
    let f = plain();
    f.publish("a", "before");
    let conn = f.conn();
    f.subscribe(&conn, &["a"], None).unwrap();
    f.publish("a", "1");
    f.publish("b", "not for it");
    f.publish("a", "2");
    f.hub.deliver();
    assert_eq!(read(&conn), "#e.1 | #e.2 1 | #e.4 2");
}

#[test]
fn a_client_resumes_after_its_id() {
    let f = plain();
    for data in ["1", "2", "3"] {
        f.publish("a", data);
        f.publish("b", data);
    }
    assert_eq!(
        f.begin(&["a"], Some("e.3")),
        (Begin::Resumed, "#e.5 3 | #e.6".into())
    );
    assert_eq!(
        f.begin(&["a", "b", "a"], Some("e.4")),
        (Begin::Resumed, "#e.5 3 | #e.6 3".into())
    );
    assert_eq!(
        f.begin(&["a"], Some("e.6")),
        (Begin::Resumed, "#e.6".into())
    );
}

#[test]
fn too_old_is_of_the_topics_of_the_subscription() {
    let f = fixture(keep(2), 1 << 20);
    let quiet = f.publish("quiet", "q");
    for data in ["1", "2", "3"] {
        f.publish("busy", data);
    }
    let id = f.hub.id(quiet);
    assert_eq!(
        f.begin(&["quiet"], Some(&id)),
        (Begin::Resumed, "#e.4".into())
    );
    let (begin, got) = f.begin(&["quiet", "busy"], Some(&id));
    assert_eq!(begin, Begin::TooOld);
    assert_eq!(got, format!("{TOO_OLD} | #e.1 q | #e.3 2 | #e.4 3"));
    assert_eq!(f.begin(&["busy"], Some("e.2")).0, Begin::Resumed);
}

#[test]
fn an_id_of_another_epoch_of_the_future_or_garbage_is_unknown() {
    let f = plain();
    f.publish("a", "1");
    for id in [
        "d.1",
        "e.2",
        "e.01",
        "e.+1",
        "e.",
        "e.-1",
        "e.1x",
        "e.99999999999999999999",
        "x",
    ] {
        let (begin, got) = f.begin(&["a"], Some(id));
        assert_eq!(begin, Begin::Unknown, "{id}");
        assert_eq!(got, format!("{UNKNOWN} | #e.1 1"));
    }
    assert_eq!(f.begin(&["a"], Some("e.0")).0, Begin::Resumed);
    assert_eq!(f.begin(&["a"], Some("")).0, Begin::New);
}

#[test]
fn ids_of_the_application_are_looked_up_as_given() {
    let f = plain();
    f.publish_with("a", "a1", Some("1"), None);
    f.publish_with("b", "b1", Some("1"), None);
    f.publish_with("a", "a2", Some("e.1"), None);
    f.publish_with("a", "a3", Some("3"), None);
    assert_eq!(
        f.begin(&["a", "b"], Some("1")).1,
        "#1 b1 | #e.1 a2 | #3 a3",
        "on two topics: rather twice than never"
    );
    assert_eq!(
        f.begin(&["a"], Some("e.1")).1,
        "#e.1 a2 | #3 a3",
        "as one of the hub's: the older"
    );
    assert_eq!(f.begin(&["a"], Some("3")).1, "", "says where it is");
    assert_eq!(f.begin(&["b"], Some("1")).1, "");
    assert_eq!(
        f.begin(&["b"], Some("3")).0,
        Begin::Unknown,
        "not of its topics"
    );
}

#[test]
fn an_id_that_a_topic_uses_twice_stands_for_the_first() {
    let f = fixture(keep(3), 1 << 20);
    for id in ["x", "y", "x", "z"] {
        f.publish_with("a", id, Some(id), None);
    }
    assert_eq!(
        f.begin(&["a"], Some("x")),
        (Begin::Resumed, "#y y | #x x | #z z".into()),
        "though it has gone"
    );
    f.publish("a", "5");
    assert_eq!(f.begin(&["a"], Some("x")).0, Begin::TooOld);
}

fn own_ids() -> Fixture {
    let mut f = plain();
    let settings = Settings {
        topics: keep(10),
        own_ids: true,
        ..Settings::default()
    };
    f.hub = Arc::new(Hub::new(Box::new(f.world.clone()), "e", &settings));
    f
}

#[test]
fn with_ids_of_the_application_alone_none_of_the_hubs_is_sent() {
    let f = own_ids();
    let conn = f.conn();
    f.subscribe(&conn, &["a"], None).unwrap();
    f.publish_with("a", "1", Some("one"), None);
    f.publish("a", "2");
    f.hub.deliver();
    assert_eq!(read(&conn), "#one 1 | 2");
    assert_eq!(f.begin(&["a"], Some("one")), (Begin::Resumed, "2".into()));
    assert_eq!(
        f.begin(&["a"], Some("e.1")),
        (Begin::Unknown, format!("{UNKNOWN} | #one 1 | 2"))
    );
    let nothing = Event::default();
    let refused = f.hub.publish("a", &nothing, Put::default());
    assert_eq!(refused, Err(Error::BadArgument), "nothing to send");
}

fn put(f: &Fixture, data: &str, put: Put<'_>) -> u64 {
    let event = Event {
        data: Some(data).filter(|d| !d.is_empty()),
        ..Event::default()
    };
    f.hub.publish("s", &event, put).unwrap()
}

fn deletes(key: &str) -> Put<'_> {
    Put {
        key: Some(key),
        delete: true,
        ..Put::default()
    }
}

#[test]
fn a_key_is_deleted_with_an_event_or_without() {
    let f = fixture(keep(100), 1 << 20);
    state_topic(&f);
    let conn = f.conn();
    f.subscribe(&conn, &["s"], None).unwrap();
    for key in ["A", "B", "C"] {
        f.publish_with("s", key, None, Some(key));
    }
    assert_eq!(put(&f, "A went", deletes("A")), 4);
    assert_eq!(put(&f, "", deletes("B")), 0);
    f.hub.deliver();
    assert_eq!(read(&conn), "#e.0 | #e.1 A | #e.2 B | #e.3 C | #e.4 A went");
    assert_eq!(f.begin(&["s"], None).1, "#e.3 C | #e.5");
    assert_eq!(
        f.begin(&["s"], Some("?")).1,
        format!("{UNKNOWN} | #e.3 C | #e.4 A went | #e.5")
    );
    assert_eq!(
        f.begin(&["s"], Some("e.1")).1,
        "#e.2 B | #e.3 C | #e.4 A went | #e.5",
        "who resumes gets what others got"
    );
    // Neither here nor there: no number is used up.
    assert_eq!(put(&f, "", deletes("B")), 0);
    assert_eq!(put(&f, "", deletes("never")), 0);
    assert_eq!(f.hub.stats()["published"], 4);
    assert_eq!(f.publish("s", "6"), 6);
    f.publish_with("s", "A again", None, Some("A"));
    assert_eq!(
        f.begin(&["s"], Some("?")).1,
        format!("{UNKNOWN} | #e.3 C | #e.6 6 | #e.7 A again"),
        "a deletion, too, is replaced"
    );
    // Turned off and on: the history knows.
    for state in [false, true] {
        let state = Some(state);
        f.topic(
            "s",
            TopicChange {
                state,
                ..TopicChange::default()
            },
        );
    }
    assert_eq!(f.begin(&["s"], None).1, "#e.3 C | #e.7 A again");
    let no_key = Put {
        delete: true,
        ..Put::default()
    };
    let refused = f.hub.publish("s", &Event::default(), no_key);
    assert_eq!(refused, Err(Error::BadArgument));
    assert_eq!(
        f.hub.publish("none", &Event::default(), deletes("A")),
        Ok(0)
    );
    assert!(!f.hub.has_topic("none").unwrap(), "no topic for nothing");
}

#[test]
fn a_deletion_goes_with_the_history_and_takes_no_event_with_it() {
    let f = fixture(keep(2), 1 << 20);
    state_topic(&f);
    f.publish_with("s", "A", None, Some("A"));
    f.publish("s", "2");
    put(&f, "", deletes("A"));
    assert_eq!(f.topic_stats("s")["kept_events"], 2);
    f.publish("s", "4");
    assert_eq!(
        f.begin(&["s"], Some("e.1")),
        (Begin::Resumed, "#e.2 2 | #e.4 4".into())
    );
    f.publish("s", "5");
    f.publish("s", "6");
    assert_eq!(f.begin(&["s"], Some("e.4")).0, Begin::Resumed);
    f.pass(5001);
    f.hub.expire();
    assert_eq!(f.hub.stats()["kept_bytes"], 0);
    assert_eq!(f.hub.stats()["evicted"], 5);
}

#[test]
fn what_is_put_quietly_is_kept_and_not_delivered() {
    let f = plain();
    state_topic(&f);
    let conn = f.conn();
    f.subscribe(&conn, &["s"], None).unwrap();
    let quiet = Put {
        key: Some("A"),
        quiet: true,
        ..Put::default()
    };
    assert_eq!(put(&f, "1", quiet), 1);
    put(&f, "2", Put::default());
    f.hub.deliver();
    assert_eq!(read(&conn), "#e.0 | #e.2 2");
    assert_eq!(f.begin(&["s"], Some("e.0")).1, "#e.1 1 | #e.2 2");
    assert_eq!(f.begin(&["s"], None).1, "#e.1 1 | #e.2");
    let seqs = |state, last| -> Vec<u64> {
        let read = f.hub.read("s", state, last).unwrap();
        read.iter().map(|e| e.seq).collect()
    };
    assert_eq!(
        (seqs(false, 9), seqs(false, 1), seqs(true, 9)),
        (vec![1, 2], vec![2], vec![1])
    );
    assert!(f.hub.read("none", true, 1).unwrap().is_empty());
}

#[test]
fn a_new_client_gets_the_last_of_its_topics_in_all_and_the_state() {
    let f = fixture(keep(100), 1 << 20);
    state_topic(&f);
    f.publish_with("s", "A1", None, Some("A"));
    for data in ["1", "2"] {
        f.publish("a", data);
        f.publish("b", data);
    }
    f.publish_with("s", "A2", None, Some("A"));
    f.publish_with("s", "B", None, Some("B"));
    put(&f, "B went", deletes("B"));
    let last = |last, id| {
        let conn = f.conn();
        let wish = Wish {
            last,
            last_event_id: id,
            policy: POLICY,
            ..Wish::default()
        };
        let (sub, _) = f.hub.subscribe(&conn, &["a", "b", "s"], &wish).unwrap();
        sub.unsubscribe();
        read(&conn)
    };
    assert_eq!(last(3, None), "#e.4 2 | #e.5 2 | #e.6 A2 | #e.8 B went");
    assert_eq!(last(1, None), "#e.6 A2 | #e.8 B went");
    assert_eq!(last(0, None), "#e.6 A2 | #e.8");
    assert_eq!(
        last(1, Some("e.6")),
        "#e.7 B | #e.8 B went",
        "not who resumes"
    );
    assert_eq!(
        last(usize::MAX, None),
        "#e.2 1 | #e.3 1 | #e.4 2 | #e.5 2 | #e.6 A2 | #e.8 B went"
    );
}

#[test]
fn a_subscriber_may_be_kept_from_creating_topics() {
    let f = plain();
    let subscribes = |names: &[&str], create| {
        let wish = Wish {
            create,
            ..Wish::default()
        };
        let done = f.hub.subscribe(&f.conn(), names, &wish);
        done.map(|(sub, _)| sub.unsubscribe()).err()
    };
    assert_eq!(subscribes(&["a"], Some(false)), Some(Error::NoTopic));
    f.publish("a", "1");
    f.topic("set", TopicChange::default());
    assert_eq!(subscribes(&["a", "set"], Some(false)), None);
    assert_eq!(subscribes(&["a", "b"], Some(false)), Some(Error::NoTopic));
    assert_eq!(f.hub.topics().len(), 2, "nothing half done");
    assert_eq!(subscribes(&["b"], Some(true)), None);
    f.pass(5001);
    f.hub.expire();
    assert!(!f.hub.has_topic("a").unwrap());
    assert_eq!(subscribes(&["set"], Some(false)), None, "settings stay");
    let wish = Wish {
        max_topics: 1,
        ..Wish::default()
    };
    let many = f.hub.subscribe(&f.conn(), &["a", "b"], &wish);
    assert_eq!(many.err(), Some(Error::TopicCount));
}

#[test]
fn subscribers_leave_half_of_the_topics_to_the_application() {
    let f = plain();
    let names: Vec<String> = (0..limits::UNCLAIMED_TOPICS)
        .map(|n| n.to_string())
        .collect();
    let conns: Vec<_> = (0..50).map(|_| f.conn()).collect();
    for (conn, names) in conns.iter().zip(names.chunks(1000)) {
        let names: Vec<&str> = names.iter().map(|n| &**n).collect();
        f.subscribe(conn, &names, None).unwrap();
    }
    let one_more = f.subscribe(&f.conn(), &["more"], None);
    assert_eq!(one_more.err(), Some(Error::TooManyTopics));
    f.publish("more", "x");
    f.subscribe(&f.conn(), &["more"], None).unwrap();
    f.publish("0", "the application's from now on");
    f.subscribe(&f.conn(), &["another"], None).unwrap();
    drop(conns);
}

#[test]
fn a_topic_that_expired_is_too_old_for_those_who_missed_something_and_for_nobody_else() {
    let f = plain();
    f.publish("a", "1");
    f.publish("b", "2");
    f.pass(5001);
    f.hub.expire();
    assert!(f.hub.topics().is_empty());
    assert_eq!(f.begin(&["a"], Some("e.0")).0, Begin::TooOld);
    assert_eq!(f.begin(&["a"], Some("e.1")).0, Begin::Resumed);
    f.publish("a", "3");
    assert_eq!(
        f.begin(&["a"], Some("e.1")),
        (Begin::Resumed, "#e.3 3".into())
    );
    assert_eq!(f.begin(&["never"], Some("e.1")).0, Begin::Resumed);
}

#[test]
fn a_topic_outlives_its_subscribers_for_its_time() {
    let f = plain();
    f.publish("a", "1");
    f.pass(900);
    let conn = f.conn();
    let (sub, _) = f.subscribe(&conn, &["a"], None).unwrap();
    f.pass(6000);
    f.hub.expire();
    assert_eq!(f.hub.topics().len(), 1, "has a subscriber");
    sub.unsubscribe();
    f.pass(5000);
    f.hub.expire();
    assert_eq!(f.hub.topics().len(), 1);
    f.pass(1);
    f.hub.expire();
    assert!(f.hub.topics().is_empty());
}

#[test]
fn what_is_too_old_is_not_replayed_even_if_nothing_came_since() {
    let f = plain();
    f.publish("a", "1");
    f.pass(1001);
    let (begin, got) = f.begin(&["a"], Some("e.0"));
    assert_eq!((begin, got), (Begin::TooOld, format!("{TOO_OLD} | #e.1")));
    assert_eq!(f.hub.stats()["evicted"], 1);
    assert_eq!(f.hub.stats()["kept_bytes"], 0);
}

#[test]
fn all_histories_share_a_limit_and_the_oldest_go_first() {
    let f = fixture(keep(1000), 1000);
    let big = "x".repeat(150);
    f.publish("a", &big);
    f.publish("b", &big);
    f.publish("b", &big);
    assert_eq!(f.topic_stats("a")["kept_events"], 0);
    assert_eq!(f.topic_stats("b")["kept_events"], 2);
    assert_eq!(f.begin(&["a"], Some("e.0")).0, Begin::TooOld);
    assert_eq!(f.begin(&["a"], Some("e.1")).0, Begin::Resumed);
}

#[test]
fn settings_that_are_not_given_stay_as_they_are_and_at_first_are_the_hubs() {
    let f = fixture(keep(2), 1 << 20);
    f.topic(
        "a",
        TopicChange {
            state: Some(true),
            ..TopicChange::default()
        },
    );
    f.topic(
        "a",
        TopicChange {
            ttl_ms: Some(1),
            ..TopicChange::default()
        },
    );
    for key in ["k", "l", "m"] {
        f.publish_with("a", key, None, Some(key));
    }
    assert_eq!(f.topic_stats("a")["kept_events"], 2, "the hub's");
    assert_eq!(f.topic_stats("a")["keys"], 3, "still state");
    f.topic(
        "a",
        TopicChange {
            events: Some(1),
            ..TopicChange::default()
        },
    );
    assert_eq!(f.topic_stats("a")["kept_events"], 1, "at once");
}

fn state_topic(f: &Fixture) {
    f.topic(
        "s",
        TopicChange {
            state: Some(true),
            ..TopicChange::default()
        },
    );
}

#[test]
fn a_new_client_gets_the_newest_of_each_key_and_a_reset_one_all_that_is_kept() {
    let f = fixture(keep(3), 1 << 20);
    state_topic(&f);
    f.publish_with("s", "A1", None, Some("A"));
    f.publish_with("s", "B1", None, Some("B"));
    f.publish_with("s", "A2", None, Some("A"));
    f.publish("s", "no key");
    f.publish_with("s", "B2", None, Some("B"));
    assert_eq!(
        f.begin(&["s"], None),
        (Begin::New, "#e.3 A2 | #e.5 B2".into())
    );
    assert_eq!(
        f.begin(&["s"], Some("e.1")),
        (
            Begin::TooOld,
            format!("{TOO_OLD} | #e.3 A2 | #e.4 no key | #e.5 B2")
        )
    );
    assert_eq!(
        f.begin(&["s"], Some("e.3")),
        (Begin::Resumed, "#e.4 no key | #e.5 B2".into())
    );
}

#[test]
fn state_that_is_turned_off_is_forgotten_and_turned_on_comes_from_the_history() {
    let f = plain();
    state_topic(&f);
    f.publish_with("s", "A1", None, Some("A"));
    f.topic(
        "s",
        TopicChange {
            state: Some(false),
            ..TopicChange::default()
        },
    );
    f.publish_with("s", "A2", None, Some("A"));
    assert_eq!(f.begin(&["s"], None).1, "#e.2");
    state_topic(&f);
    assert_eq!(f.begin(&["s"], None).1, "#e.2 A2");
}

#[test]
fn state_is_bounded_and_what_it_refuses_is_counted_and_never_out_of_date() {
    let f = fixture(keep(1000), 2000);
    state_topic(&f);
    let big = "x".repeat(300);
    f.publish_with("s", "A1", None, Some("A"));
    f.publish_with("s", &big, None, Some("B"));
    f.publish_with("s", &big, None, Some("A"));
    let stats = f.topic_stats("s");
    assert_eq!(
        (&stats["keys"], &stats["refused_keys"]),
        (&1.into(), &1.into())
    );
    assert!(f.hub.stats()["kept_bytes"].as_u64().unwrap() <= 2000);
    assert_eq!(f.begin(&["s"], None).1, format!("#e.2 {big} | #e.3"));
    let (_, got) = f.begin(&["s"], Some("x"));
    assert!(
        got.contains(&format!("#e.3 {big}")),
        "the history has it: {got}"
    );
}

#[test]
fn a_topic_that_nobody_published_to_goes_with_its_last_subscriber() {
    let f = plain();
    f.begin(&["x", "y"], None);
    assert!(f.hub.topics().is_empty());
    f.topic("named", TopicChange::default());
    f.begin(&["named"], None);
    assert_eq!(f.hub.topics().len(), 1, "somebody has settings for it");
}

#[test]
fn a_connection_has_one_subscription_at_a_time() {
    let (f, g) = (plain(), plain());
    let conn = f.conn();
    let (sub, _) = f.subscribe(&conn, &["a"], None).unwrap();
    for hub in [&f, &g] {
        let second = hub.subscribe(&conn, &["b"], None);
        assert_eq!(second.err(), Some(Error::Subscribed));
        assert_eq!(hub.hub.subscribers("b"), Ok(0));
    }
    assert_eq!(f.hub.topics().len(), 1, "nothing half done");
    f.publish("a", "1");
    sub.unsubscribe();
    g.subscribe(&conn, &["b"], None).unwrap();
    assert_eq!(read(&conn), "#e.0 | #e.1 1 | #e.0");
    drop(g);
    f.subscribe(&conn, &["a"], None).unwrap();
}

#[test]
fn a_closed_connection_is_refused_and_nothing_stays() {
    let f = plain();
    let conn = f.conn();
    conn.disconnect("client_closed".into());
    let refused = f.subscribe(&conn, &["a"], None);
    assert_eq!(refused.err(), Some(Error::Closed));
    assert!(f.hub.topics().is_empty());
}

#[test]
fn what_was_published_goes_before_a_send_a_comment_and_the_end() {
    let f = plain();
    let conn = f.conn();
    f.subscribe(&conn, &["a"], None).unwrap();
    let own = Event {
        data: Some("own"),
        ..Event::default()
    };
    f.publish("a", "1");
    conn.send(&own).unwrap();
    f.publish("b", "not for it");
    f.publish("a", "2");
    conn.comment("c").unwrap();
    f.publish("a", "3");
    conn.catch_up();
    f.publish("a", "4");
    conn.close(None);
    f.hub.deliver();
    assert_eq!(
        read(&conn),
        "#e.0 | #e.1 1 | own | #e.3 2 | :c | #e.4 3 | #e.5 4"
    );
}

#[test]
fn nothing_published_before_the_end_of_a_subscription_is_lost_and_nothing_comes_after() {
    let f = plain();
    let conn = f.conn();
    let (sub, _) = f.subscribe(&conn, &["a"], None).unwrap();
    f.publish("a", "1");
    sub.unsubscribe();
    sub.unsubscribe();
    f.publish("a", "2");
    f.hub.deliver();
    assert_eq!(read(&conn), "#e.0 | #e.1 1");
    assert_eq!(sub.counts().active, 0);
    assert_eq!(sub.counts().delivered, 1);
}

#[test]
fn a_close_of_all_gives_each_what_it_has_not_got() {
    let (a, b, both) = (&["a"][..], &["b"][..], &["a", "b"][..]);
    for lists in [&[a, b, both][..], &[a, both], &[both, a]] {
        let f = plain();
        let conns: Vec<_> = lists.iter().map(|_| f.conn()).collect();
        for (topics, conn) in lists.iter().zip(&conns) {
            f.subscribe(conn, topics, None).unwrap();
        }
        f.publish("a", "1");
        f.publish("b", "2");
        f.hub.close(None, "over").unwrap();
        for (topics, conn) in lists.iter().zip(&conns) {
            let all = match **topics {
                ["a"] => "#e.0 | #e.1 1",
                ["b"] => "#e.0 | #e.2 2",
                _ => "#e.0 | #e.1 1 | #e.2 2",
            };
            assert_eq!(read(conn), all, "{topics:?}");
        }
    }
}

#[test]
fn latest_keeps_the_newest_of_each_topic_and_key() {
    let f = plain();
    let conn = f.conn();
    let latest = Policy {
        full: Full::Latest,
        ..POLICY
    };
    let (sub, _) = f
        .with_policy(&conn, &["price", "volume"], None, latest)
        .unwrap();
    f.publish_with("price", "p1", None, Some("A"));
    f.publish_with("volume", "v1", None, Some("A"));
    f.hub.deliver();
    f.publish_with("price", "p2", None, Some("A"));
    f.hub.deliver();
    assert_eq!(read(&conn), "#e.0 | #e.2 v1 | #e.3 p2");
    assert_eq!(sub.counts().dropped, 1);
    assert_eq!(conn.counters().events, 2);
}

#[test]
fn ready_is_told_once_the_last_slow_client_has_drained_or_gone() {
    let f = plain();
    let (slow, gone) = (f.conn(), f.conn());
    for conn in [&slow, &gone] {
        f.subscribe(conn, &["a"], None).unwrap();
    }
    assert!(f.hub.ready());
    f.publish("a", &"x".repeat(limits::HIGH_WATER_BYTES));
    f.hub.deliver();
    assert!(!f.hub.ready());
    gone.disconnect("client_closed".into());
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 0);
    read(&slow);
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 1);
    assert!(f.hub.ready());
}

#[test]
fn a_replay_and_sends_of_its_own_bring_a_client_above_the_mark_too() {
    let f = plain();
    let big = "x".repeat(limits::HIGH_WATER_BYTES);
    f.publish("a", &big);
    let replayed = f.conn();
    f.subscribe(&replayed, &["a"], Some("e.0")).unwrap();
    assert!(!f.hub.ready());
    read(&replayed);
    assert!(f.hub.ready());
    replayed.comment(&big).unwrap();
    assert!(!f.hub.ready());
    read(&replayed);
    assert!(f.hub.ready());
}

#[test]
fn nobody_who_has_ended_keeps_a_hub_from_being_ready() {
    let f = plain();
    let conn = f.conn();
    let (sub, _) = f.subscribe(&conn, &["a"], None).unwrap();
    f.publish("a", &"x".repeat(limits::HIGH_WATER_BYTES));
    f.hub.deliver();
    assert!(!f.hub.ready());
    assert_eq!(f.hub.stats()["high"], 1);
    sub.unsubscribe();
    assert!(conn.is_high(), "though it has not drained");
    assert_eq!(f.hub.stats()["high"], 0);
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 1);
    // A delivery that found it slow, and comes too late to say so.
    sub.set_high(true);
    assert_eq!(f.hub.stats()["high"], 0);
    assert!(f.hub.ready());
}

#[test]
fn ready_is_told_by_the_delivery_of_what_was_pending() {
    let f = plain();
    let conn = f.conn();
    f.subscribe(&conn, &["a"], None).unwrap();
    f.publish("a", &"x".repeat(limits::READY_PENDING_BYTES / 2));
    f.publish("a", &"x".repeat(limits::READY_PENDING_BYTES / 2));
    assert!(!f.hub.ready(), "much is pending");
    conn.set_marks(Marks {
        low: 1,
        high: 1 << 20,
        limit: 1 << 20,
    })
    .unwrap();
    f.hub.deliver();
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 1);
    f.hub.deliver();
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 1, "once");
}

#[test]
fn ready_and_drained_are_told_when_what_was_left_out_has_made_the_room() {
    let f = plain();
    let conn = f.conn();
    let latest = Policy {
        full: Full::Latest,
        ..POLICY
    };
    f.with_policy(&conn, &["a"], None, latest).unwrap();
    f.publish_with("a", &"x".repeat(limits::HIGH_WATER_BYTES), None, Some("k"));
    f.hub.deliver();
    assert!(!f.hub.ready());
    assert!(conn.is_high());
    f.publish_with("a", "small", None, Some("k"));
    f.hub.deliver();
    assert_eq!(f.world.told_ready.load(Ordering::Relaxed), 1);
    assert_eq!(f.world.told_drained.load(Ordering::Relaxed), 1);
}

/// Against time: every client gets each number once and in order, whenever it
/// comes, while publishing never pauses and sends of its own go between.
/// Is true when this goes, be it by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn replay_and_live_are_joined_without_a_gap() {
    let mut all = keep(100_000);
    all.keep.bytes = 64 << 20;
    let f = fixture(all, 64 << 20);
    let over = AtomicBool::new(false);
    let all_of_it = Policy {
        max_events: 100_000,
        ..POLICY
    };
    std::thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                f.hub.deliver();
                std::thread::yield_now();
            }
        });
        let publisher = s.spawn(|| {
            let _over = Over(&over);
            for _ in 0..20_000 {
                f.publish("a", "x");
            }
        });
        let mut last = 0;
        while !publisher.is_finished() {
            let conn = f.conn();
            let id = f.hub.id(last);
            f.with_policy(&conn, &["a", "b"], Some(&id), all_of_it)
                .unwrap();
            conn.comment("own").unwrap();
            std::thread::yield_now();
            conn.disconnect("client_closed".into());
            let conn = f.conn();
            let (_, begin) = f
                .with_policy(&conn, &["a", "b"], Some(&id), all_of_it)
                .unwrap();
            assert_eq!(begin, Begin::Resumed);
            std::thread::yield_now();
            conn.comment("own").unwrap();
            conn.close(None);
            for block in read(&conn).split(" | ").filter(|b| b.ends_with(" x")) {
                let seq: u64 = block[3..block.len() - 2].parse().unwrap();
                assert_eq!(seq, last + 1, "{block}");
                last = seq;
            }
        }
        publisher.join().unwrap();
    });
}

#[test]
fn nothing_stays_of_a_hub_that_goes() {
    let f = plain();
    let conn = f.conn();
    let subscribed = f.subscribe(&conn, &["a", "b"], None).unwrap();
    f.publish("a", "1");
    let (hub, sub) = (Arc::downgrade(&f.hub), Arc::downgrade(&subscribed.0));
    drop(subscribed);
    assert_eq!(sub.strong_count(), 1);
    drop(f);
    assert_eq!((hub.strong_count(), sub.strong_count()), (0, 0));
}

/// A delivery that stands still, in a system call say, is nobody else's business.
#[test]
fn nothing_that_is_asked_of_a_hub_waits_for_the_thread_that_delivers() {
    let f = plain();
    let (conn, other) = (f.conn(), f.conn());
    f.subscribe(&conn, &["a"], None).unwrap();
    f.subscribe(&other, &["b"], None).unwrap();
    read(&conn);
    f.publish("a", "1");
    let gate = f.world.gate.lock().unwrap();
    f.world.at_gate.store(false, Ordering::Relaxed);
    std::thread::scope(|s| {
        s.spawn(|| f.hub.deliver());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !f.world.at_gate.load(Ordering::Relaxed) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let (done, all) = std::sync::mpsc::channel();
        let hub = &f.hub;
        s.spawn(move || {
            let event = Event::default();
            done.send(hub.publish("a", &event, Put::default()).is_ok())
                .unwrap();
            done.send(hub.ready()).unwrap();
            done.send(hub.stats()["pending_bytes"].as_u64() > Some(0))
                .unwrap();
            done.send(hub.close(Some("b"), "over") == Ok(1)).unwrap();
            hub.expire();
            done.send(true).unwrap();
        });
        let patience = std::time::Duration::from_secs(20);
        let got: Vec<_> = (0..5).map(|_| all.recv_timeout(patience)).collect();
        drop(gate);
        assert_eq!(got, [Ok(true); 5]);
    });
    assert_eq!(read(&conn), "#e.1 1 | #e.2");
}

/// Against growth: who publishes faster than is delivered has to do it.
#[test]
fn what_is_undelivered_is_bounded_by_those_who_publish() {
    let f = fixture(keep(1), 64 << 20);
    let conn = f.conn();
    let latest = Policy {
        full: Full::DropOldest,
        ..POLICY
    };
    f.with_policy(&conn, &["a"], None, latest).unwrap();
    let most = (0..200).map(|_| {
        f.publish("a", &"x".repeat(300_000));
        f.hub.stats()["pending_bytes"].as_u64().unwrap() as usize
    });
    assert!(most.max().unwrap() < limits::PENDING_LIMIT_BYTES);
}

#[test]
fn what_all_have_got_and_the_history_has_forgotten_is_held_by_nobody() {
    let f = fixture(keep(1), 1 << 20);
    let conn = f.conn();
    let topics = ["a", "b"];
    f.subscribe(&conn, &topics, None).unwrap();
    let publish = |data| topics.map(|topic| f.publish(topic, data));
    publish("1");
    let first = topics.map(|topic| Arc::downgrade(&f.hub.read(topic, false, 1).unwrap()[0]));
    let held = || first.each_ref().map(std::sync::Weak::strong_count);
    assert_eq!(held(), [3, 3], "kept, pending, and in its topic's queue");
    f.hub.deliver();
    read(&conn);
    assert_eq!(held(), [1, 1]);
    publish("2");
    assert_eq!(held(), [0, 0]);
}

#[test]
fn closing_comes_after_the_beginning_of_whoever_is_found() {
    let f = fixture(keep(1000), 1 << 20);
    for _ in 0..1000 {
        f.publish("a", "x");
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                f.hub.close(Some("a"), "over").unwrap();
                f.hub.close(None, "over").unwrap();
            }
        });
        let over = Over(&over);
        let begun = (0..300).map(|_| f.subscribe(&f.conn(), &["a"], Some("?")));
        let failed = begun.filter(Result::is_err).count();
        drop(over);
        assert_eq!(failed, 0);
    });
}

#[test]
fn a_hub_that_parts_while_somebody_has_it_leaves_no_stream_without_an_end() {
    for _ in 0..200 {
        let f = fixture(keep(10), 1 << 20);
        let handed_over = |conn: Arc<Conn>| {
            let begun = f.subscribe(&conn, &["a"], None);
            // What C programs do: the number goes, begun or not.
            conn.hand_over();
            assert!(!matches!(begun, Err(e) if e != Error::HandleStale));
            conn
        };
        let conns = std::thread::scope(|s| {
            let begins = |_| s.spawn(|| [(); 10].map(|()| handed_over(f.socket())));
            let threads: Vec<_> = (0..2).map(begins).collect();
            f.hub.part();
            let joined = threads.into_iter().map(|t| t.join().unwrap());
            joined.flatten().collect::<Vec<_>>()
        });
        // The hub lives: `f` is the third who has it.
        assert_eq!(f.hub.stats()["connections"], 0);
        assert!(conns.iter().all(|c| c.phase() == Phase::Closed));
    }
}

/// Keys of a state, and what each has.
fn state_of(f: &Fixture, topic: &str) -> Vec<(String, u64)> {
    let entries = f.hub.read(topic, true, usize::MAX).unwrap();
    let key = |e: &Entry| e.key.as_deref().unwrap().to_owned();
    let mut state: Vec<_> = entries.iter().map(|e| (key(e), e.seq)).collect();
    state.sort_unstable();
    state
}

#[test]
fn a_state_that_is_turned_on_while_others_publish_misses_nothing() {
    const KEYS: usize = 900;
    for events in [10_000, 1000, 100] {
        let f = fixture(keep(events), 1 << 30);
        f.topic(
            "t",
            TopicChange {
                bytes: Some(1 << 30),
                ..TopicChange::default()
            },
        );
        let mut newest: Vec<Option<u64>> = vec![None; KEYS];
        let mut publish = |i: usize| {
            // Each key's turn comes again; now and then one goes without an event.
            let (k, key) = (i * 7 % KEYS, (i * 7 % KEYS).to_string());
            if i.is_multiple_of(13) {
                let put = Put {
                    key: Some(&key),
                    delete: true,
                    quiet: false,
                };
                f.hub.publish("t", &Event::default(), put).unwrap();
                newest[k] = None;
            } else {
                newest[k] = Some(f.publish_with("t", "x", None, Some(&key)));
            }
        };
        (0..10_000).for_each(&mut publish);
        let on = |state| {
            let state = Some(state);
            let change = TopicChange {
                state,
                ..TopicChange::default()
            };
            f.topic("t", change);
        };
        std::thread::scope(|s| {
            let turning = s.spawn(|| {
                (0..20).for_each(|_| {
                    on(false);
                    on(true);
                });
            });
            let mut i = 10_000;
            while !turning.is_finished() {
                publish(i);
                i += 1;
            }
            // All of the history is newer than the last turn, or in it.
            (i..i + KEYS).for_each(&mut publish);
        });
        let known = newest.iter().enumerate();
        let mut known: Vec<_> = known
            .filter_map(|(k, n)| Some((k.to_string(), (*n)?)))
            .collect();
        known.sort_unstable();
        assert_eq!(state_of(&f, "t"), known, "{events}");
        on(false);
        assert_eq!(f.topic_stats("t")["state_bytes"], 0);
        on(true);
        // Of what is kept, and in no more room than it takes.
        let kept = f.hub.read("t", false, usize::MAX).unwrap();
        let bytes = f.topic_stats("t")["state_bytes"].as_u64().unwrap();
        let entries = f.hub.read("t", true, usize::MAX).unwrap();
        assert_eq!(bytes, entries.iter().map(|e| e.size() as u64).sum::<u64>());
        assert!(entries.iter().all(|e| kept.iter().any(|k| k.seq == e.seq)));
    }
}
