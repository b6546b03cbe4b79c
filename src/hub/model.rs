//! A hub against a model of it: whatever is published, delivered, subscribed,
//! left and read, in whatever order, each client gets the same bytes.

use super::tests::{Fixture, fixture, keep, read};
use super::*;
use crate::conn::Conn;
use crate::core::outbox::{Full, Policy};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::BTreeSet;

const KEEP: usize = 4;
const AGE_MS: u64 = 1000;
const MAX_EVENTS: usize = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 3;

type Subscribed = Arc<Subscription<Conn>>;

#[derive(Clone, Debug)]
enum Step {
    Publish {
        topic: usize,
        key: Option<u8>,
        quiet: bool,
    },
    Deliver,
    Subscribe {
        client: usize,
        topics: BTreeSet<usize>,
        id: Option<String>,
        full: Full,
    },
    Unsubscribe(usize),
    Send(usize),
    Read(usize),
    Leave(usize),
    Close(usize),
    Pass(u64),
}

#[derive(Clone, Debug)]
struct Logged {
    topic: usize,
    key: Option<u8>,
    quiet: bool,
    at: u64,
}

#[derive(Clone, Debug, Default)]
struct Client {
    open: bool,
    /// What it is subscribed to, and as what.
    topics: Option<(BTreeSet<usize>, Full)>,
    /// The first number that it has not got.
    next: usize,
    queue: Vec<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    text: String,
    /// Among the events that may wait.
    counts: bool,
    /// The number of what may be left out.
    n: Option<usize>,
    /// A newer one of its key replaces it. What waits from a subscription
    /// before, of another policy, is left alone.
    latest: bool,
}

fn waits(text: String) -> Waiting {
    Waiting {
        text,
        counts: false,
        n: None,
        latest: false,
    }
}

/// Number n is `log[n - 1]`.
#[derive(Clone, Debug)]
struct Model {
    log: Vec<Logged>,
    now: u64,
    clients: Vec<Client>,
    /// By the last one that read.
    read: String,
}

impl Model {
    /// What a topic has of its events after `since`, and whether it lost one.
    fn history(&self, topic: usize, since: usize) -> (Vec<usize>, bool) {
        let all = (1..=self.log.len()).filter(|n| self.log[n - 1].topic == topic);
        let all: Vec<usize> = all.collect();
        let fresh = |n: &usize| self.now - self.log[n - 1].at <= AGE_MS;
        let kept = all[all.len().saturating_sub(KEEP)..].iter().copied();
        let kept: Vec<usize> = kept.filter(fresh).collect();
        let gone = all[..all.len() - kept.len()].last().copied().unwrap_or(0);
        (
            kept.into_iter().filter(|&n| n > since).collect(),
            gone > since,
        )
    }

    fn begin(&self, topics: &BTreeSet<usize>, id: Option<&str>) -> Vec<String> {
        let newest = self.log.len();
        let since = match id.map(|id| id.strip_prefix("e.").and_then(|n| n.parse().ok())) {
            None => return vec![format!("#e.{newest}")],
            Some(since) => since.filter(|&n| n <= newest),
        };
        let of_all = |since| topics.iter().map(move |&t| self.history(t, since));
        let lost = since.is_some_and(|since| of_all(since).any(|(_, lost)| lost));
        let reset = match since {
            None => Some("unknown_id"),
            Some(_) => lost.then_some("too_old"),
        };
        let since = since.filter(|_| !lost).unwrap_or(0);
        let mut missed: Vec<usize> = of_all(since).flat_map(|(kept, _)| kept).collect();
        missed.sort_unstable();
        let reset = reset.map(|r| format!("event: reset {{\"reason\":\"{r}\"}}"));
        let cursor = (missed.last() != Some(&newest)).then(|| format!("#e.{newest}"));
        let missed = missed.iter().map(|n| format!("#e.{n} {n}"));
        reset.into_iter().chain(missed).chain(cursor).collect()
    }

    /// A client gets what it has not got.
    fn deliver(&mut self, client: usize) {
        let Model { log, clients, .. } = self;
        let client = &mut clients[client];
        let Some((topics, full)) = client.topics.clone() else {
            return;
        };
        let new = client.next..=log.len();
        let new: Vec<usize> = new
            .filter(|n| !log[n - 1].quiet && topics.contains(&log[n - 1].topic))
            .collect();
        let Some(last) = new.last() else { return };
        client.next = last + 1;
        let waiting = |c: &Client| c.queue.iter().filter(|w| w.counts).count();
        let overflows = waiting(client) > 0 && waiting(client) + new.len() > MAX_EVENTS;
        if full == Full::Disconnect && overflows {
            *client = Client::default();
            return;
        }
        for n in new {
            let same = |old: usize| {
                let (old, new) = (&log[old - 1], &log[n - 1]);
                old.topic == new.topic && old.key == new.key && new.key.is_some()
            };
            if full == Full::Latest {
                client
                    .queue
                    .retain(|w| !(w.latest && w.n.is_some_and(same)));
            }
            if full == Full::DropNewest && waiting(client) >= MAX_EVENTS {
                continue;
            }
            while full != Full::Disconnect
                && waiting(client) >= MAX_EVENTS
                && let Some(oldest) = client.queue.iter().position(|w| w.n.is_some())
            {
                client.queue.remove(oldest);
            }
            let n_or_none = (full != Full::Disconnect).then_some(n);
            client.queue.push(Waiting {
                text: format!("#e.{n} {n}"),
                counts: true,
                n: n_or_none,
                latest: full == Full::Latest,
            });
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let topics = prop::collection::btree_set(0..NAMES.len(), 1..=NAMES.len());
    let id = prop_oneof![
        Just(None),
        (0..30usize).prop_map(|n| Some(format!("e.{n}"))),
        Just(Some("f.1".to_owned())),
    ];
    let full = prop_oneof![
        Just(Full::Disconnect),
        Just(Full::DropOldest),
        Just(Full::DropNewest),
        Just(Full::Latest)
    ];
    prop_oneof![
        8 => (0..NAMES.len(), prop::option::of(0..2u8), prop::bool::weighted(0.1))
            .prop_map(|(topic, key, quiet)| Step::Publish { topic, key, quiet }),
        4 => Just(Step::Deliver),
        4 => (client.clone(), topics, id, full)
            .prop_map(|(client, topics, id, full)| Step::Subscribe { client, topics, id, full }),
        1 => client.clone().prop_map(Step::Unsubscribe),
        2 => client.clone().prop_map(Step::Send),
        3 => client.clone().prop_map(Step::Read),
        1 => client.clone().prop_map(Step::Leave),
        1 => (0..NAMES.len()).prop_map(Step::Close),
        1 => (1..AGE_MS).prop_map(Step::Pass),
    ]
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model {
            log: Vec::new(),
            now: 0,
            clients: vec![Client::default(); CLIENTS],
            read: String::new(),
        })
        .boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Step> {
        step().boxed()
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        match step.clone() {
            Step::Publish { topic, key, quiet } => {
                model.log.push(Logged {
                    topic,
                    key,
                    quiet,
                    at: model.now,
                });
            }
            Step::Deliver => (0..CLIENTS).for_each(|client| model.deliver(client)),
            Step::Subscribe {
                client,
                topics,
                id,
                full,
            } => {
                if model.clients[client].topics.is_some() {
                    return model;
                }
                let begin = model.begin(&topics, id.as_deref());
                let next = model.log.len() + 1;
                let client = &mut model.clients[client];
                if !client.open {
                    *client = Client {
                        open: true,
                        ..Client::default()
                    };
                }
                client.queue.extend(begin.into_iter().map(waits));
                (client.topics, client.next) = (Some((topics, full)), next);
            }
            Step::Unsubscribe(client) => {
                model.deliver(client);
                model.clients[client].topics = None;
            }
            Step::Send(client) => {
                model.deliver(client);
                let client = &mut model.clients[client];
                if client.open {
                    client.queue.push(waits("own".into()));
                }
            }
            Step::Read(client) => {
                let queue = std::mem::take(&mut model.clients[client].queue);
                let texts: Vec<_> = queue.into_iter().map(|w| w.text).collect();
                model.read = texts.join(" | ");
            }
            Step::Leave(client) => model.clients[client] = Client::default(),
            Step::Close(topic) => {
                for client in 0..CLIENTS {
                    let topics = &model.clients[client].topics;
                    if topics
                        .as_ref()
                        .is_some_and(|(topics, _)| topics.contains(&topic))
                    {
                        model.deliver(client);
                        (model.clients[client].open, model.clients[client].topics) = (false, None);
                    }
                }
            }
            Step::Pass(ms) => model.now += ms,
        }
        model
    }
}

/// The hub, and each client with its subscription.
struct Real {
    f: Fixture,
    clients: Vec<(Arc<Conn>, Option<Subscribed>)>,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        let f = fixture(keep(KEEP), 1 << 20);
        let clients = (0..CLIENTS).map(|_| f.conn()).collect::<Vec<_>>();
        // None is open at first.
        clients
            .iter()
            .for_each(|c| assert!(c.disconnect("new".into())));
        let clients = clients.into_iter().map(|c| (c, None)).collect();
        Real { f, clients }
    }

    fn apply(mut real: Real, model: &Model, step: Step) -> Real {
        match step {
            Step::Publish { topic, key, quiet } => {
                let n = model.log.len();
                let key = key.map(|key| key.to_string());
                let put = Put {
                    key: key.as_deref(),
                    quiet,
                    ..Put::default()
                };
                let data = n.to_string();
                let event = Event {
                    data: Some(&data),
                    ..Event::default()
                };
                assert_eq!(real.f.hub.publish(NAMES[topic], &event, put), Ok(n as u64));
            }
            Step::Deliver => real.f.hub.deliver(),
            Step::Subscribe {
                client,
                topics,
                id,
                full,
            } => {
                let f = &real.f;
                let (conn, sub) = &mut real.clients[client];
                if conn.reason().is_some() {
                    (*conn, *sub) = (f.conn(), None);
                }
                let policy = Policy {
                    full,
                    max_bytes: 1 << 20,
                    max_events: MAX_EVENTS,
                };
                let names: Vec<&str> = topics.iter().map(|&t| NAMES[t]).collect();
                match f.with_policy(conn, &names, id.as_deref(), policy) {
                    Ok((new, _)) => *sub = Some(new),
                    Err(e) => assert_eq!(e, Error::Subscribed),
                }
            }
            Step::Unsubscribe(client) => {
                if let Some(sub) = &real.clients[client].1 {
                    sub.unsubscribe();
                }
            }
            Step::Send(client) => {
                let event = Event {
                    data: Some("own"),
                    ..Event::default()
                };
                let sent = real.clients[client].0.send(&event);
                assert_eq!(sent.is_ok(), model.clients[client].open);
            }
            Step::Read(client) => assert_eq!(read(&real.clients[client].0), model.read),
            Step::Leave(client) => {
                real.clients[client].0.disconnect("client_closed".into());
            }
            Step::Close(topic) => {
                real.f.hub.close(Some(NAMES[topic]), "over").unwrap();
            }
            Step::Pass(ms) => {
                real.f.pass(ms);
                real.f.hub.expire();
            }
        }
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        for (topic, name) in NAMES.iter().enumerate() {
            let subscribed =
                |c: &&Client| c.topics.as_ref().is_some_and(|(t, _)| t.contains(&topic));
            let n = model.clients.iter().filter(subscribed).count();
            assert_eq!(real.f.hub.subscribers(name), Ok(n), "{name}");
        }
        for (real, model) in real.clients.iter().zip(&model.clients) {
            assert_eq!(real.0.reason().is_none(), model.open);
        }
    }

    /// In the end all get what is left.
    fn teardown(real: Real, mut model: Model) {
        real.f.hub.deliver();
        for (client, (conn, _)) in real.clients.iter().enumerate() {
            model.deliver(client);
            model = <Model as ReferenceStateMachine>::apply(model, &Step::Read(client));
            assert_eq!(read(conn), model.read);
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn a_hub_does_what_its_model_does(sequential 1..80 => Real);
}
