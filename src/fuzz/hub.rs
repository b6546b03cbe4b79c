//! A hub on a clock of ours: subscribers get what they are promised, in order,
//! and its figures are those of a model.

use crate::conn::{Conn, Framing, Host, Report};
use crate::core::error::Error;
use crate::core::frame::Event;
use crate::core::outbox::{Full, Policy};
use crate::core::parse::{Parsed, Parser};
use crate::core::ring::Keep;
use crate::hub::{
    Begin, Hub, Owner, Put, Settings, Subscription, TopicChange, TopicSettings, Wish,
};
use crate::wire::Wire;
use arbitrary::{Arbitrary, Unstructured};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: usize = 100;
const TOTAL_BYTES: usize = 6000;

#[derive(Arbitrary, Debug)]
struct Input {
    own_ids: bool,
    create: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Publish {
        topic: u8,
        key: Option<u8>,
        id: Option<u8>,
        delete: bool,
        quiet: bool,
        pad: u8,
    },
    Delete {
        topic: u8,
        key: u8,
    },
    Subscribe {
        topics: u8,
        from: From,
        full: Option<u8>,
        last: u8,
        create: Option<bool>,
    },
    Unsubscribe(u8),
    Hangup(u8),
    Close(u8),
    Read(u8),
    Deliver,
    Pass(u16),
    Expire,
    Topic {
        topic: u8,
        events: Option<u8>,
        bytes: Option<u16>,
        age: Option<u16>,
        state: Option<bool>,
        ttl: Option<u16>,
    },
    Kept {
        topic: u8,
        state: bool,
        last: u8,
    },
    CloseTopic(Option<u8>),
    Ready,
}

#[derive(Arbitrary, Debug)]
enum From {
    Nothing,
    Ours(u8),
    Own(u8),
    Text(String),
}

#[derive(Default)]
struct World {
    now: AtomicU64,
}

impl Owner<Conn> for Arc<World> {
    fn pending(&self) {}
    fn ready(&self) {}
    fn joins(&self, _: &Conn) {}
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Host for World {
    fn output(&self, _: &Arc<Conn>) {}
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, _: Report) {}
}

/// An event that subscribers may get; its data begins with its place among
/// them.
struct Sent {
    topic: &'static str,
    seq: u64,
    quiet: bool,
}

struct Client {
    conn: Arc<Conn>,
    sub: Arc<Subscription<Conn>>,
    topics: BTreeSet<&'static str>,
    drops: bool,
    /// The first event that it gets live, and, if it is over, the one that it
    /// does not get any more.
    first: usize,
    end: Option<usize>,
    parser: Parser,
    live: Vec<usize>,
    /// Events that it has got.
    count: usize,
}

struct Play {
    world: Arc<World>,
    hub: Arc<Hub<Conn>>,
    own_ids: bool,
    sent: Vec<Sent>,
    clients: Vec<Client>,
}

pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let world = Arc::<World>::default();
    let settings = Settings {
        topics: TopicSettings {
            keep: Keep {
                events: 8,
                bytes: 4000,
                age_ms: 1000,
            },
            state: false,
            ttl_ms: 5000,
        },
        total_bytes: TOTAL_BYTES,
        own_ids: input.own_ids,
        create: input.create,
    };
    let mut play = Play {
        hub: Arc::new(Hub::new(Box::new(world.clone()), "e", &settings)),
        world,
        own_ids: input.own_ids,
        sent: Vec::new(),
        clients: Vec::new(),
    };
    for step in input.steps.iter().take(STEPS) {
        play.step(step);
        play.check();
    }
    play.end();
}

fn name(topic: u8) -> &'static str {
    TOPICS[usize::from(topic) % TOPICS.len()]
}

impl Play {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish {
                topic,
                key,
                id,
                delete,
                quiet,
                pad,
            } => {
                let data = format!("{} {}", self.sent.len(), "x".repeat((*pad).into()));
                let key = key.map(|key| (key % 4).to_string());
                let id = id.map(|id| format!("own{}", id % 16));
                let event = Event {
                    data: Some(&data),
                    id: id.as_deref(),
                    ..Event::default()
                };
                let put = Put {
                    key: key.as_deref(),
                    delete: *delete,
                    quiet: *quiet,
                };
                match self.hub.publish(name(*topic), &event, put) {
                    Ok(seq) => {
                        assert!(self.sent.last().is_none_or(|last| last.seq < seq));
                        self.sent.push(Sent {
                            topic: name(*topic),
                            seq,
                            quiet: *quiet,
                        });
                    }
                    Err(e) => assert!(*delete && key.is_none() && e == Error::BadArgument),
                }
            }
            Step::Delete { topic, key } => {
                let key = (key % 4).to_string();
                let put = Put {
                    key: Some(&key),
                    delete: true,
                    quiet: false,
                };
                let done = self.hub.publish(name(*topic), &Event::default(), put);
                assert_eq!(done, Ok(0));
                let state = self.hub.read(name(*topic), true, 100).expect("a topic");
                assert!(state.iter().all(|e| e.key.as_deref() != Some(&*key)));
            }
            Step::Subscribe {
                topics,
                from,
                full,
                last,
                create,
            } => self.subscribe(*topics, from, *full, (*last).into(), *create),
            Step::Unsubscribe(which) => self.over(*which, |c| c.sub.unsubscribe()),
            Step::Hangup(which) => self.over(*which, |c| {
                c.conn.catch_up();
                c.conn.disconnect("client_closed".into());
            }),
            Step::Close(which) => self.over(*which, |c| {
                c.conn.close(None);
            }),
            Step::Read(which) => {
                let at = usize::from(*which) % self.clients.len().max(1);
                if let Some(client) = self.clients.get_mut(at) {
                    client.read(&self.sent);
                }
            }
            Step::Deliver => self.hub.deliver(),
            Step::Pass(ms) => {
                self.world.now.fetch_add((*ms).into(), Ordering::Relaxed);
            }
            Step::Expire => self.hub.expire(),
            Step::Topic {
                topic,
                events,
                bytes,
                age,
                state,
                ttl,
            } => {
                let change = TopicChange {
                    events: events.map(Into::into),
                    bytes: bytes.map(Into::into),
                    age_ms: age.map(Into::into),
                    state: *state,
                    ttl_ms: ttl.map(Into::into),
                };
                assert_eq!(self.hub.set_topic(name(*topic), &change), Ok(()));
                assert_eq!(self.hub.has_topic(name(*topic)), Ok(true));
            }
            Step::Kept { topic, state, last } => {
                let last = usize::from(*last);
                let kept = self.hub.read(name(*topic), *state, last).expect("a topic");
                assert!(kept.len() <= last);
                assert!(kept.is_sorted_by(|a, b| a.seq < b.seq));
                assert!(kept.iter().all(|e| &*e.topic == name(*topic)));
            }
            Step::CloseTopic(topic) => {
                let topic = topic.map(name);
                let closed = self.hub.close(topic, "closed").expect("a topic");
                let (mut count, sent) = (0, self.sent.len());
                for client in &mut self.clients {
                    if client.is_live() && topic.is_none_or(|t| client.topics.contains(t)) {
                        client.end = Some(sent);
                        count += 1;
                    }
                }
                assert_eq!(closed, count);
            }
            Step::Ready => {
                let is_high = |c: &Client| c.is_live() && c.conn.is_high();
                let any = self.clients.iter().any(is_high);
                assert_eq!(self.hub.ready(), !any);
            }
        }
    }

    fn over(&mut self, which: u8, end: impl FnOnce(&Client)) {
        let sent = self.sent.len();
        let at = usize::from(which) % self.clients.len().max(1);
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        end(client);
        client.end.get_or_insert(sent);
    }

    fn subscribe(
        &mut self,
        bits: u8,
        from: &From,
        full: Option<u8>,
        last: usize,
        create: Option<bool>,
    ) {
        let framing = Framing {
            sse: true,
            wire: Wire::Events,
            pull: true,
            ..Framing::default()
        };
        let conn = Conn::hosted(self.world.clone(), framing);
        let topics = (0..4).filter(|bit| bits >> bit & 1 == 1).map(name);
        let topics: BTreeSet<_> = topics.collect();
        let mut names: Vec<&str> = topics.iter().copied().collect();
        if bits & 16 != 0 {
            // In any order, and twice.
            names.reverse();
            names.extend(names.clone());
        }
        let id = match from {
            From::Nothing => None,
            From::Ours(back) => {
                let newest = self.sent.last().map_or(0, |s| s.seq);
                Some(self.hub.id(newest.saturating_sub((*back).into())))
            }
            From::Own(id) => Some(format!("own{}", id % 16)),
            From::Text(text) => Some(text.clone()),
        };
        let wish = Wish {
            last_event_id: id.as_deref(),
            policy: Policy {
                full: match full {
                    None => Full::Disconnect,
                    Some(n) => {
                        [Full::DropOldest, Full::DropNewest, Full::Latest][usize::from(n % 3)]
                    }
                },
                max_bytes: full.map_or(1 << 20, |n| usize::from(n) * 8),
                max_events: full.map_or(1 << 20, |n| usize::from(n / 8)),
            },
            last,
            create,
            ..Wish::default()
        };
        let (sub, begin) = match self.hub.subscribe(&conn, &names, &wish) {
            Ok(begun) => begun,
            Err(Error::TopicCount) => return assert!(names.is_empty()),
            Err(Error::NoTopic) => {
                let has = |t: &&&str| self.hub.has_topic(t) == Ok(true);
                return assert!(topics.iter().filter(has).count() < topics.len());
            }
            Err(e) => panic!("{e}"),
        };
        let mut client = Client {
            conn,
            sub,
            topics,
            drops: full.is_some(),
            first: self.sent.len(),
            end: None,
            parser: Parser::with_last_event_id(id.unwrap_or_default()),
            live: Vec::new(),
            count: 0,
        };
        let replayed = client.pull();
        self.check_replay(&client, begin, &replayed, from, last);
        client.count = replayed.iter().filter(|m| m.0 != "reset").count();
        self.clients.push(client);
    }

    fn check_replay(&self, client: &Client, begin: Begin, got: &[Got], from: &From, last: usize) {
        let (resets, events): (Vec<&Got>, Vec<&Got>) = got.iter().partition(|m| m.0 == "reset");
        assert_eq!(resets.len(), usize::from(begin.reason().is_some()));
        let places: Vec<usize> = events.iter().map(|m| m.1).collect();
        assert!(places.is_sorted_by(|a, b| a < b));
        assert!(
            places
                .iter()
                .all(|at| client.topics.contains(self.sent[*at].topic))
        );
        match (begin, from) {
            (Begin::New, From::Nothing) => {
                let keys = client.topics.iter().map(|t| self.hub.read(t, true, 1000));
                let keys: usize = keys.map(|kept| kept.expect("a topic").len()).sum();
                assert!(places.len() <= last + keys);
            }
            (Begin::New, From::Text(id)) => assert!(id.is_empty()),
            (Begin::New, _) => panic!("an id is none"),
            // All of it, or it would be too old.
            (Begin::Resumed, From::Ours(back)) if !self.own_ids => {
                let newest = self.sent.last().map_or(0, |s| s.seq);
                let since = newest.saturating_sub((*back).into());
                let missed = (self.sent.iter().enumerate())
                    .filter(|(_, s)| s.seq > since && client.topics.contains(s.topic));
                assert_eq!(places, missed.map(|(at, _)| at).collect::<Vec<_>>());
            }
            (Begin::Resumed, _) => {
                // To the newest, without a gap.
                let first = places.first().copied().unwrap_or(usize::MAX);
                let missed = (self.sent.iter().enumerate())
                    .filter(|(at, s)| *at >= first && client.topics.contains(s.topic));
                assert_eq!(places, missed.map(|(at, _)| at).collect::<Vec<_>>());
            }
            (Begin::TooOld | Begin::Unknown, _) => {}
        }
        // Whoever comes back knows where he is, and gets nothing twice.
        let id = client.parser.last_event_id();
        assert!(self.own_ids || !id.is_empty());
        if let Some(seq) = id.strip_prefix("e.").filter(|_| !self.own_ids) {
            let seq: u64 = seq.parse().expect("an id of the hub's");
            let later = |s: &&Sent| s.seq > seq && client.topics.contains(s.topic);
            assert_eq!(self.sent.iter().filter(later).count(), 0);
        }
    }

    fn check(&self) {
        let stats = self.hub.stats();
        let live = self.clients.iter().filter(|c| c.is_live());
        assert_eq!(stats["connections"], live.clone().count());
        assert!(
            stats["kept_bytes"].as_u64() <= Some(TOTAL_BYTES as u64),
            "{stats}"
        );
        assert_eq!(stats["published"], self.sent.len());
        let names = self.hub.topics();
        assert!(names.is_sorted());
        let topics = stats["topics"].as_object().expect("topics");
        assert_eq!(topics.len(), names.len());
        for name in &names {
            let subscribers = live.clone().filter(|c| c.topics.contains(&**name)).count();
            assert_eq!(topics[&**name]["subscribers"], subscribers, "{name}");
            assert_eq!(self.hub.subscribers(name), Ok(subscribers));
        }
        for client in live {
            assert!(client.topics.iter().all(|t| topics.contains_key(*t)));
        }
    }

    fn end(&mut self) {
        self.hub.deliver();
        assert_eq!(self.hub.stats()["pending_bytes"], 0);
        for client in &mut self.clients {
            client.read(&self.sent);
            let end = client.end.unwrap_or(self.sent.len());
            let due = (self.sent.iter().enumerate().take(end).skip(client.first))
                .filter(|(_, s)| !s.quiet && client.topics.contains(s.topic));
            let due: Vec<usize> = due.map(|(at, _)| at).collect();
            let is_cut = client.conn.is_severed();
            if !client.drops && !is_cut {
                assert_eq!(client.live, due);
            }
            assert!(client.live.iter().all(|at| due.contains(at)));
            if !is_cut {
                assert_eq!(client.sub.counts().delivered, client.count as u64);
            }
        }
        assert!(self.hub.ready(), "all is read");
        self.hub.close(None, "over").expect("no topic");
        for client in &mut self.clients {
            client.end.get_or_insert(self.sent.len());
        }
        self.check();
        // All of it goes with its time, but for what has settings.
        for topic in TOPICS {
            let change = TopicChange {
                ttl_ms: Some(0),
                age_ms: Some(0),
                ..TopicChange::default()
            };
            self.hub.set_topic(topic, &change).expect("room");
        }
        self.world.now.fetch_add(1 << 20, Ordering::Relaxed);
        self.hub.expire();
        let stats = self.hub.stats();
        assert_eq!(stats["kept_bytes"], 0, "{stats}");
        assert_eq!(stats["high"], 0);
        assert!(self.hub.topics().is_empty());
    }
}

/// Type, and place among what was sent.
type Got = (String, usize);

impl Client {
    fn is_live(&self) -> bool {
        self.end.is_none()
    }

    fn pull(&mut self) -> Vec<Got> {
        let mut bytes = Vec::new();
        let more = self.conn.pull(1 << 20, |b| bytes.extend_from_slice(b));
        assert!(more.is_ok());
        let items = self.parser.push(&bytes).map(|item| match item {
            Ok(Parsed::Event(m)) => {
                let place = m.data.split(' ').next().and_then(|at| at.parse().ok());
                (m.event, place.unwrap_or(usize::MAX))
            }
            Ok(Parsed::Comment(text)) => panic!("{text}"),
            Err(e) => panic!("{e}"),
        });
        items.collect()
    }

    /// Reads what waits: in order, of its topics, and nothing twice.
    fn read(&mut self, sent: &[Sent]) {
        for (event, at) in self.pull() {
            assert_eq!(event, "message");
            assert!(at >= self.first && self.live.last().is_none_or(|last| *last < at));
            assert!(self.topics.contains(sent[at].topic) && !sent[at].quiet);
            self.live.push(at);
            self.count += 1;
        }
    }
}
