//! A client's model: whatever servers do, when, and in whatever pieces, it
//! comes to the same, within what the options allow.

use crate::client::item::{ClientState, Item, TroubleKind};
use crate::client::model::{Answered, Model, Request};
use crate::client::options::{ClientResume, Options};
use crate::client::url::Target;
use crate::core::limits;
use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    post: bool,
    body: bool,
    resume: u8,
    retry_503: bool,
    id: &'a str,
    /// Tens of milliseconds.
    retry: u16,
    backoff: u16,
    connect: u8,
    head: u8,
    silence: u8,
    age: u16,
    max_failures: u8,
    max_redirects: u8,
    /// Of a line, an event.
    limits: Option<[u8; 2]>,
    gzip: bool,
    seed: u64,
    attempts: Vec<Attempt<'a>>,
}

/// A redirection is the beginning of the next one.
#[derive(Arbitrary, Debug)]
struct Attempt<'a> {
    /// Tens of milliseconds until there is a connection, and an answer.
    waits: [u8; 2],
    fate: Fate<'a>,
}

#[derive(Arbitrary, Debug)]
enum Fate<'a> {
    NoConnection(Fault),
    NoAnswer(Fault),
    Answer {
        status: Status,
        fields: Vec<Field<'a>>,
        /// Of the pieces, used over and over; the time before each, as above.
        sizes: [u8; 4],
        pauses: [u8; 4],
        /// The host program takes nothing for a time.
        held: Option<u8>,
        body: &'a [u8],
        end: End,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fault {
    Connect,
    Certificate,
    Proxy,
    Http,
    /// As long as it takes.
    Late,
}

#[derive(Arbitrary, Debug)]
enum Status {
    Ok,
    Found(u8),
    Unavailable,
    Other(u16),
}

#[derive(Arbitrary, Debug)]
enum Field<'a> {
    EventStream,
    Type(&'a [u8]),
    Location(&'a [u8]),
    Path(u8),
    Encoding(&'a [u8]),
    RetryAfter(u32),
    RetryAt(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum End {
    Ended,
    Broken,
    Silent,
}

impl Fault {
    fn kind(self) -> Option<TroubleKind> {
        Some(match self {
            Fault::Connect => TroubleKind::Connect,
            Fault::Certificate => TroubleKind::Certificate,
            Fault::Proxy => TroubleKind::Proxy,
            Fault::Http => TroubleKind::Http,
            Fault::Late => return None,
        })
    }
}

fn tens(n: impl Into<u64>) -> Duration {
    Duration::from_millis(10 * n.into())
}

const URL: &str = "http://name:secret@h/";

impl Input<'_> {
    fn options(&self) -> Options {
        let mut o = Options::new(URL);
        if self.post {
            o.method = Method::POST;
        }
        o.body = self.body.then(|| Bytes::from_static(b"body"));
        o.resume = [ClientResume::Never, ClientResume::Get, ClientResume::Always]
            [usize::from(self.resume % 3)];
        o.retry_on = Vec::from_iter(self.retry_503.then_some(503));
        o.last_event_id = self.id.to_owned();
        (o.retry, o.backoff) = (tens(self.retry), tens(self.backoff));
        (o.connect_timeout, o.head_timeout) = (tens(self.connect), tens(self.head));
        (o.silence, o.max_age) = (tens(self.silence), 100 * tens(self.age));
        o.max_failures = self.max_failures.into();
        o.max_redirects = self.max_redirects.into();
        if let Some([line, event]) = self.limits {
            (o.max_line, o.max_event) = (line.into(), event.into());
        }
        o.gzip = self.gzip;
        for (name, value) in [
            (header::COOKIE, "c"),
            (header::CONTENT_TYPE, "text/plain"),
            (HeaderName::from_static("x"), "x"),
        ] {
            o.fields.insert(name, HeaderValue::from_static(value));
        }
        o
    }
}

impl Status {
    fn code(&self) -> StatusCode {
        let code = match self {
            Status::Ok => 200,
            Status::Found(n) => [301, 302, 303, 307, 308][usize::from(n % 5)],
            Status::Unavailable => 503,
            // hyper has no answer below, and looks at no more digits.
            Status::Other(n) => 200 + n % 800,
        };
        StatusCode::from_u16(code).expect("a status")
    }
}

fn fields(fields: &[Field<'_>]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields {
        let number;
        let (name, value): (_, &[u8]) = match field {
            Field::EventStream => (header::CONTENT_TYPE, b"text/event-stream"),
            Field::Type(value) => (header::CONTENT_TYPE, value),
            Field::Location(value) => (header::LOCATION, value),
            Field::Path(n) => {
                number =
                    ["/a", "//h/b", "http://other/", "https://h/"][usize::from(n % 4)].to_owned();
                (header::LOCATION, number.as_bytes())
            }
            Field::Encoding(value) => (header::CONTENT_ENCODING, value),
            Field::RetryAfter(seconds) => {
                number = seconds.to_string();
                (header::RETRY_AFTER, number.as_bytes())
            }
            Field::RetryAt(value) => (header::RETRY_AFTER, value),
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(name, value);
        }
    }
    map
}

/// Drives a model as a client's task does, by its clock.
struct Driver<'a> {
    input: &'a Input<'a>,
    options: Arc<Options>,
    model: Model,
    now: u64,
    /// Each byte of a stream alone.
    slow: bool,
    told: Vec<(u64, Item)>,
    home: Target,
    /// Requests with the body, at the first of their redirections.
    given: usize,
    hops: u32,
}

/// An attempt is over.
struct Over;

impl Driver<'_> {
    /// What is told now: no more than a few items, and within the limits.
    fn tell(&mut self) {
        let items: Vec<Item> = std::iter::from_fn(|| self.model.take()).collect();
        assert!(items.len() < 4, "{items:?}");
        items.into_iter().for_each(|item| self.told(item));
    }

    fn told(&mut self, item: Item) {
        let last = self.told.last();
        assert!(!matches!(last, Some((_, Item::End(_)))), "{item:?}");
        match &item {
            Item::Event(m) => {
                assert!(m.data.len() <= self.options.max_event);
                assert!(m.event.len() <= 3 * self.options.max_line + "message".len());
                let most = limits::PARSE_ID_BYTES.max(self.input.id.len());
                assert!(m.last_event_id.len() <= most);
            }
            Item::Comment(text) => assert!(text.len() <= 3 * self.options.max_line),
            Item::Error(t) => {
                assert!(t.text.ends_with(')'), "{}", t.text);
                assert!(t.is_end || t.retry_in.is_none());
                if let Some(wait) = t.retry_in {
                    assert!((limits::RETRY_MIN_MS..=limits::RETRY_MAX_MS / 4 * 5).contains(&wait));
                    assert_eq!(self.model.wait(), Some(self.now + wait));
                }
                if t.is_end && self.options.method != Method::GET {
                    let may = self.options.resume != ClientResume::Never
                        || !self.options.retry_on.is_empty();
                    assert!(may || t.retry_in.is_none());
                }
            }
            Item::Open(_) | Item::Retry(_) | Item::End(_) => {}
        }
        self.told.push((self.now, item));
    }

    /// Time passes, but not beyond a deadline: an error when one has come.
    fn pass(&mut self, ms: u64) -> Result<(), Over> {
        let then = self.now + ms;
        match self.model.deadline() {
            Some(by) if by <= then => {
                self.now = by.max(self.now);
                self.expire();
                Err(Over)
            }
            _ => {
                self.now = then;
                Ok(())
            }
        }
    }

    fn expire(&mut self) {
        self.model.expired(self.now);
        assert!(self.model.deadline().is_none_or(|by| by > self.now));
        self.tell();
    }

    fn fail(&mut self, fault: Fault) -> Result<(), Over> {
        let Some(kind) = fault.kind() else {
            // Nothing happens until its deadline, if it has one.
            self.pass(1 << 40)?;
            self.model
                .failed(self.now, TroubleKind::Network, "it broke");
            self.tell();
            return Err(Over);
        };
        self.model.failed(self.now, kind, "it failed");
        self.tell();
        Err(Over)
    }

    /// Waits for the next attempt: an error when there is none.
    fn wait(&mut self) -> Result<(), Over> {
        let begin = self.model.wait().ok_or(Over)?;
        let by = self.model.deadline().map_or(begin, |by| begin.min(by));
        self.now = self.now.max(by);
        self.expire();
        self.model
            .wait()
            .filter(|begin| *begin <= self.now)
            .map(|_| ())
            .ok_or(Over)
    }

    fn asks(&mut self, request: &Request) {
        let Request {
            target,
            method,
            fields,
            body,
        } = request;
        if self.hops == 0 && *method == Method::POST {
            self.given += 1;
        }
        let first = self.home.same_origin(target);
        assert!(first || !fields.contains_key(header::COOKIE));
        assert!(first || self.hops > 0 || !fields.contains_key(header::AUTHORIZATION));
        assert!(fields.contains_key(header::HOST) && fields.contains_key("x"));
        assert!(body.is_none() || (self.input.body && *method == self.options.method));
        let id = self.model.last_event_id();
        match fields.get("last-event-id") {
            Some(sent) => assert_eq!(sent.as_bytes(), id.as_bytes()),
            None => assert!(id.is_empty() || HeaderValue::from_bytes(id.as_bytes()).is_err()),
        }
    }

    fn attempt(&mut self, attempt: &Attempt<'_>) -> Result<(), Over> {
        let request = self.model.request(self.now);
        self.tell();
        self.asks(&request);
        let [connect, answer] = attempt.waits.map(|n| u64::from(n) * 10);
        if let Fate::NoConnection(fault) = attempt.fate {
            return self.fail(fault);
        }
        self.pass(connect)?;
        self.model.connected(self.now);
        match &attempt.fate {
            Fate::NoConnection(fault) | Fate::NoAnswer(fault) => self.fail(*fault),
            Fate::Answer {
                status,
                fields: given,
                sizes,
                pauses,
                held,
                body,
                end,
            } => {
                self.pass(answer)?;
                let (status, wall) = (status.code(), SystemTime::UNIX_EPOCH + tens(1u64 << 37));
                let answered = self.model.answered(self.now, wall, status, fields(given));
                self.tell();
                match answered {
                    Answered::Done => {
                        self.hops += u32::from(self.model.wait() == Some(self.now));
                        assert!(self.hops <= self.options.max_redirects);
                        Ok(())
                    }
                    Answered::Refused => {
                        let kept = &body[..body.len().min(self.model.refusal_bytes())];
                        let whole = matches!(end, End::Ended);
                        self.model
                            .refused(self.now, Bytes::copy_from_slice(kept), whole);
                        self.tell();
                        Err(Over)
                    }
                    Answered::Stream { .. } => {
                        let pieces = super::pieces(body, *sizes);
                        let mut pauses = pauses.iter().cycle();
                        let mut held = held.map(|n| u64::from(n) * 10);
                        for piece in pieces {
                            self.pass(pauses.next().map_or(0, |n| u64::from(*n) * 10))?;
                            self.model.received(self.now);
                            self.feed(piece);
                            if let Some(ms) = held.take() {
                                self.hold(ms)?;
                            }
                        }
                        self.stop(*end)
                    }
                }
            }
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        let size = if self.slow { 1 } else { piece.len().max(1) };
        for mut bytes in piece.chunks(size) {
            while let Some(item) = self.model.item(&mut bytes) {
                self.told(item);
            }
            assert!(bytes.is_empty());
        }
        assert!(self.model.take().is_none());
    }

    fn hold(&mut self, ms: u64) -> Result<(), Over> {
        self.model.hold();
        let passed = self.pass(ms);
        self.model.go_on(self.now);
        passed
    }

    fn stop(&mut self, end: End) -> Result<(), Over> {
        match end {
            End::Ended => self.model.ended(self.now),
            End::Broken => self
                .model
                .failed(self.now, TroubleKind::Network, "it broke"),
            End::Silent => {
                self.pass(1 << 40)?;
                self.model.ended(self.now);
            }
        }
        self.tell();
        Err(Over)
    }

    fn run(&mut self) {
        for attempt in &self.input.attempts {
            if self.wait().is_err() {
                break;
            }
            if self.attempt(attempt).is_err() {
                self.hops = 0;
            }
        }
        let closed = self.model.state() == ClientState::Closed;
        assert_eq!(closed, matches!(self.told.last(), Some((_, Item::End(_)))));
        assert!(!closed || (self.model.wait(), self.model.deadline()) == (None, None));
        let once = self.options.resume == ClientResume::Never && self.options.retry_on.is_empty();
        assert!(self.given <= 1 || !once);
    }
}

pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let options = Arc::new(input.options());
    let Ok(home) = options.check() else {
        return;
    };
    let [fast, slow] = [false, true].map(|slow| {
        let mut driver = Driver {
            input: &input,
            model: Model::new(options.clone(), home.clone(), input.seed, 0),
            options: options.clone(),
            now: 0,
            slow,
            told: Vec::new(),
            home: home.clone(),
            given: 0,
            hops: 0,
        };
        driver.run();
        driver
    });
    assert_eq!(format!("{:?}", fast.told), format!("{:?}", slow.told));
    assert_eq!(fast.model.last_event_id(), slow.model.last_event_id());
    assert_eq!(
        (fast.model.wait(), fast.model.deadline()),
        (slow.model.wait(), slow.model.deadline())
    );
}
