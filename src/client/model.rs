//! The processing model of the WHATWG's EventSource, for any method: what to
//! do next, given what happened. No I/O; times are milliseconds of the caller's
//! clock.
//!
//! Whoever drives it makes one attempt after the other: waits while
//! [`Model::wait`] says so; [`Model::request`], [`Model::connected`],
//! [`Model::answered`]; then [`Model::received`] and [`Model::item`] for the
//! stream's bytes and [`Model::ended`], or [`Model::refused`] with the body of
//! what was no stream. [`Model::failed`] at any point, and [`Model::expired`]
//! when [`Model::deadline`] has come. [`Model::take`] gives what to tell.

use super::item::{ClientEnd, ClientState, Head, Item, Refusal, Trouble, TroubleKind};
use super::options::{ClientResume, Options};
use super::url::Target;
use crate::core::error::Error;
use crate::core::limits;
use crate::core::parse::{Found, Parsed, Parser};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What to send, but for what framing and a proxy need.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// How.
    pub method: Method,
    /// All of its fields, `host` among them.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Option<Bytes>,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Read its body as a stream.
    Stream {
        /// After decompressing it.
        gzip: bool,
    },
    /// Read of its body what is to be kept, for [`Model::refused`].
    Refused,
    /// Drop it: there is another request to make, or nothing.
    Done,
}

/// What an attempt asks for, at one of its redirections.
#[derive(Clone, Debug)]
struct Asked {
    target: Target,
    method: Method,
    body: bool,
    /// Fields that are for the first origin alone.
    secrets: bool,
}

#[derive(Debug)]
enum Phase {
    /// Until then.
    Waiting(u64),
    /// Since then.
    Connecting(u64),
    Asking(u64),
    /// The last byte's time.
    Reading(u64),
    /// The host program does not take what came.
    Held,
    Refusing(u64, Refused),
    Closed,
}

/// An answer that is no stream, while its body is read.
#[derive(Debug)]
struct Refused {
    kind: TroubleKind,
    words: String,
    head: Head,
    wait: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Model {
    options: Arc<Options>,
    began: u64,
    phase: Phase,
    /// What an attempt begins with.
    home: Asked,
    /// Where this one is.
    at: Asked,
    hops: u32,
    /// All redirections were of the kind that is remembered.
    lasting: bool,
    opened: Option<u64>,
    was_open: bool,
    /// Attempts that got nothing, one after the other.
    failures: u32,
    /// This one got something.
    is_good: bool,
    parser: Parser,
    retry: u64,
    seed: u64,
    out: VecDeque<Item>,
}

impl Model {
    /// Before its first attempt. `seed` is any number.
    pub fn new(options: Arc<Options>, target: Target, seed: u64, now: u64) -> Self {
        let home = Asked {
            target,
            method: options.method.clone(),
            body: options.body.is_some(),
            secrets: true,
        };
        let mut parser = Parser::with_last_event_id(&*options.last_event_id);
        parser.line_limit = options.max_line;
        parser.event_limit = options.max_event;
        Model {
            began: now,
            phase: Phase::Waiting(now),
            at: home.clone(),
            home,
            hops: 0,
            lasting: true,
            opened: None,
            was_open: false,
            failures: 0,
            is_good: false,
            parser,
            retry: ms(options.retry),
            seed: seed | 1,
            out: VecDeque::new(),
            options,
        }
    }

    /// Where it is.
    pub fn state(&self) -> ClientState {
        match self.phase {
            Phase::Closed => ClientState::Closed,
            Phase::Reading(_) | Phase::Held => ClientState::Open,
            _ => ClientState::Connecting,
        }
    }

    /// The next attempt begins then.
    pub fn wait(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            _ => None,
        }
    }

    /// The id in force.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// How much of an answer that is no stream is kept.
    pub fn refusal_bytes(&self) -> usize {
        self.options.max_refusal
    }

    /// What to tell, in order.
    pub fn take(&mut self) -> Option<Item> {
        self.out.pop_front()
    }

    /// When [`Model::expired`] is due if nothing else happens.
    pub fn deadline(&self) -> Option<u64> {
        let (since, limit) = match self.phase {
            Phase::Connecting(since) => (since, self.options.connect_timeout),
            Phase::Asking(since) => (since, self.options.head_timeout),
            Phase::Reading(last) => (last, self.options.silence),
            Phase::Refusing(since, _) => (since, Duration::from_millis(limits::REFUSAL_MS)),
            Phase::Waiting(_) | Phase::Held | Phase::Closed => (0, Duration::ZERO),
        };
        let of = |since: u64, limit: Duration| {
            (!limit.is_zero()).then(|| since.saturating_add(ms(limit)))
        };
        let age = match self.phase {
            Phase::Closed => None,
            _ => of(self.began, self.options.max_age),
        };
        let phase = of(since, limit);
        phase.into_iter().chain(age).min()
    }

    /// A deadline may have come.
    pub fn expired(&mut self, now: u64) {
        if self.deadline().is_none_or(|by| now < by) {
            return;
        }
        let (kind, limit, words) = match self.phase {
            _ if self.is_too_old(now) => (
                TroubleKind::Age,
                self.options.max_age,
                "the client is at its age of",
            ),
            Phase::Connecting(_) => {
                let limit = self.options.connect_timeout;
                (
                    TroubleKind::ConnectTimeout,
                    limit,
                    "there was no connection after",
                )
            }
            Phase::Asking(_) => {
                let limit = self.options.head_timeout;
                (
                    TroubleKind::HeadTimeout,
                    limit,
                    "there was no head of an answer after",
                )
            }
            Phase::Reading(_) => (
                TroubleKind::Silence,
                self.options.silence,
                "the stream was silent for",
            ),
            Phase::Refusing(..) => return self.refused(now, Bytes::new(), false),
            _ => return,
        };
        let words = format!("{words} {} s, the limit", limit.as_secs_f64());
        self.failed(now, kind, &words);
    }

    fn is_too_old(&self, now: u64) -> bool {
        let limit = self.options.max_age;
        !limit.is_zero() && now >= self.began.saturating_add(ms(limit))
    }

    /// Begins an attempt, or follows a redirection.
    pub fn request(&mut self, now: u64) -> Request {
        if self.hops == 0 {
            self.at = self.home.clone();
            self.lasting = true;
        }
        self.phase = Phase::Connecting(now);
        Request {
            target: self.at.target.clone(),
            method: self.at.method.clone(),
            fields: self.fields(),
            body: self.options.body.clone().filter(|_| self.at.body),
        }
    }

    fn fields(&mut self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let agent = concat!("pagi-sse/", env!("CARGO_PKG_VERSION"));
        fields.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if self.options.gzip {
            fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(login) = self.at.target.login() {
            fields.insert(header::AUTHORIZATION, login.clone());
        }
        if let Ok(host) = HeaderValue::try_from(self.at.target.authority()) {
            fields.insert(header::HOST, host);
        }
        for name in self.options.fields.keys() {
            if !self.at.secrets && SECRETS.contains(name)
                || !self.at.body && self.home_has_body() && OF_BODY.contains(name)
            {
                continue;
            }
            fields.remove(name);
            for value in self.options.fields.get_all(name) {
                fields.append(name, value.clone());
            }
        }
        match HeaderValue::from_bytes(self.parser.last_event_id().as_bytes()) {
            Ok(id) if id.is_empty() => {}
            Ok(id) => {
                fields.insert("last-event-id", id);
            }
            Err(_) => self.complain(
                TroubleKind::IdField,
                "the last event id has control characters and is not sent",
            ),
        }
        fields
    }

    fn home_has_body(&self) -> bool {
        self.options.body.is_some()
    }

    /// There is a connection, and the request goes out.
    pub fn connected(&mut self, now: u64) {
        self.phase = Phase::Asking(now);
    }

    /// The head of the answer; `wall` is the time of day.
    pub fn answered(
        &mut self,
        now: u64,
        wall: SystemTime,
        status: StatusCode,
        fields: HeaderMap,
    ) -> Answered {
        let head = Head {
            status: status.as_u16(),
            url: self.at.target.to_string(),
            fields,
        };
        if status == StatusCode::NO_CONTENT {
            self.end(ClientEnd::NoContent);
            return Answered::Done;
        }
        if let (true, Some(location)) = (
            matches!(head.status, 301 | 302 | 303 | 307 | 308),
            head.fields.get(header::LOCATION),
        ) {
            self.follow(now, head.status, location.as_bytes());
            return Answered::Done;
        }
        let (kind, words, wait) = if status != StatusCode::OK {
            let wait = wait_of(&head.fields, wall);
            (TroubleKind::Status, format!("the answer is {status}"), wait)
        } else if !is_stream(&head.fields) {
            let found = match text_of(&head.fields, &header::CONTENT_TYPE) {
                Some(other) => format!("the answer is no event stream but {other:?}"),
                None => "the answer has no content type".to_owned(),
            };
            (TroubleKind::ContentType, found, None)
        } else {
            let coding = text_of(&head.fields, &header::CONTENT_ENCODING).unwrap_or_default();
            match &*coding.to_ascii_lowercase() {
                "" | "identity" => return self.open(now, head, false),
                "gzip" | "x-gzip" => return self.open(now, head, true),
                _ => {
                    let words = format!("the stream's content coding is {coding:?}, not gzip");
                    (TroubleKind::ContentEncoding, words, None)
                }
            }
        };
        let refused = Refused {
            kind,
            words,
            head,
            wait,
        };
        self.phase = Phase::Refusing(now, refused);
        Answered::Refused
    }

    fn open(&mut self, now: u64, head: Head, gzip: bool) -> Answered {
        if self.lasting {
            self.home = self.at.clone();
        }
        self.hops = 0;
        self.opened = Some(now);
        self.was_open = true;
        self.parser.reset();
        self.phase = Phase::Reading(now);
        self.out.push_back(Item::Open(head));
        Answered::Stream { gzip }
    }

    /// Fetch, "HTTP-redirect fetch".
    fn follow(&mut self, now: u64, status: u16, location: &[u8]) {
        if self.hops >= self.options.max_redirects {
            let most = self.options.max_redirects;
            let words = format!("more than {most} redirections, which is the limit");
            return self.failed(now, TroubleKind::Redirects, &words);
        }
        let target = match self.at.target.join(location, self.options.insecure) {
            Ok(target) => target,
            Err(why) => {
                let words = format!("a redirection ({status}) cannot be followed: {why}");
                return self.failed(now, TroubleKind::Redirect, &words);
            }
        };
        let to_get = match status {
            301 | 302 => self.at.method == Method::POST,
            303 => self.at.method != Method::GET,
            _ => false,
        };
        if to_get {
            self.at.method = Method::GET;
            self.at.body = false;
        }
        self.at.secrets &= self.at.target.same_origin(&target);
        self.lasting &= matches!(status, 301 | 307 | 308);
        self.at.target = target;
        self.hops += 1;
        self.phase = Phase::Waiting(now);
    }

    /// As much of a refused answer's body as was to be kept, and whether that
    /// is all.
    pub fn refused(&mut self, now: u64, body: Bytes, is_whole: bool) {
        let Phase::Refusing(_, refused) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return;
        };
        let again = self.options.retry_on.contains(&refused.head.status);
        let wait = again.then(|| self.next_wait(refused.wait)).flatten();
        let url = refused.head.url.clone();
        let answer = Refusal {
            head: refused.head,
            body,
            is_whole,
        };
        self.tell(
            now,
            refused.kind,
            &refused.words,
            &url,
            wait,
            Some(Box::new(answer)),
        );
    }

    /// Bytes of the stream have come.
    pub fn received(&mut self, now: u64) {
        if let Phase::Reading(last) = &mut self.phase {
            *last = now;
        }
    }

    /// The host program takes no more: the stream's silence is ours.
    pub fn hold(&mut self) {
        if let Phase::Reading(_) = self.phase {
            self.phase = Phase::Held;
        }
    }

    /// It does again.
    pub fn go_on(&mut self, now: u64) {
        if let Phase::Held = self.phase {
            self.phase = Phase::Reading(now);
        }
    }

    /// The next item in those bytes of the stream, which lose what was looked
    /// at.
    pub fn item(&mut self, bytes: &mut &[u8]) -> Option<Item> {
        let (found, left) = {
            let mut items = self.parser.push(bytes);
            (items.found(), items.left())
        };
        *bytes = &bytes[bytes.len() - left..];
        let found = found?;
        self.is_good = true;
        Some(match found {
            Ok(Found::Parsed(Parsed::Event(event))) => Item::Event(event),
            Ok(Found::Parsed(Parsed::Comment(text))) => Item::Comment(text),
            Ok(Found::Retry(ms)) => {
                self.retry = ms;
                Item::Retry(ms)
            }
            Err(error) => Item::Error(self.left_out(error)),
        })
    }

    fn left_out(&self, error: Error) -> Trouble {
        let (kind, what, limit) = match error {
            Error::EventTooLarge => (
                TroubleKind::EventTooLarge,
                "an event",
                self.parser.event_limit,
            ),
            Error::IdTooLong => (TroubleKind::IdTooLong, "an id", self.parser.id_limit),
            _ => (TroubleKind::LineTooLong, "a line", self.parser.line_limit),
        };
        let words = format!("{what} over the limit of {limit} bytes was left out");
        self.trouble(kind, &words)
    }

    fn trouble(&self, kind: TroubleKind, words: &str) -> Trouble {
        Trouble {
            kind,
            text: format!("{words} ({})", self.at.target),
            is_end: false,
            retry_in: None,
            answer: None,
        }
    }

    fn complain(&mut self, kind: TroubleKind, words: &str) {
        let trouble = self.trouble(kind, words);
        self.out.push_back(Item::Error(trouble));
    }

    /// The stream's end has come in order.
    pub fn ended(&mut self, now: u64) {
        if self.again().is_none() {
            return self.end(ClientEnd::Ended);
        }
        self.failed(now, TroubleKind::Ended, "the stream has ended");
    }

    /// This attempt is over.
    pub fn failed(&mut self, now: u64, kind: TroubleKind, words: &str) {
        if self.state() == ClientState::Closed {
            return;
        }
        let url = self.at.target.to_string();
        let again = match kind.is_final() {
            true => None,
            false => self.again(),
        };
        self.is_good |= self
            .opened
            .is_some_and(|at| now >= at + limits::STREAM_GOOD_MS);
        let wait = again.and_then(|asked| {
            let wait = self.next_wait(None);
            self.home = asked;
            wait
        });
        self.tell(now, kind, words, &url, wait, None);
    }

    /// What the next attempt would ask for.
    fn again(&self) -> Option<Asked> {
        let unsent = matches!(self.phase, Phase::Connecting(_));
        match self.options.resume {
            _ if self.options.is_plain() => Some(self.home.clone()),
            ClientResume::Always => Some(self.home.clone()),
            ClientResume::Get if self.was_open => Some(Asked {
                method: Method::GET,
                body: false,
                ..self.home.clone()
            }),
            ClientResume::Get if unsent && self.hops == 0 => Some(self.home.clone()),
            ClientResume::Get | ClientResume::Never => None,
        }
    }

    fn tell(
        &mut self,
        now: u64,
        kind: TroubleKind,
        words: &str,
        url: &str,
        retry_in: Option<u64>,
        answer: Option<Box<Refusal>>,
    ) {
        self.opened = None;
        self.hops = 0;
        self.out.push_back(Item::Error(Trouble {
            kind,
            text: format!("{words} ({url})"),
            is_end: true,
            retry_in,
            answer,
        }));
        match retry_in {
            Some(wait) => self.phase = Phase::Waiting(now.saturating_add(wait)),
            None => self.end(ClientEnd::Failed),
        }
    }

    fn end(&mut self, why: ClientEnd) {
        self.phase = Phase::Closed;
        self.out.push_back(Item::End(why));
    }

    /// Milliseconds until the next attempt, `asked` for by the server; `None`
    /// when there were enough. The wait doubles with each failure after the
    /// first; a part of it is chance, so that the clients of a server that was down do not come
    /// all at once.
    fn next_wait(&mut self, asked: Option<u64>) -> Option<u64> {
        let failures = match std::mem::take(&mut self.is_good) {
            true => 0,
            false => self.failures.saturating_add(1),
        };
        self.failures = failures;
        if self.options.max_failures != 0 && failures >= self.options.max_failures {
            return None;
        }
        let within = |wait: u64| wait.clamp(limits::RETRY_MIN_MS, limits::RETRY_MAX_MS);
        if let Some(wait) = asked.filter(|wait| *wait > 0) {
            let wait = within(wait);
            return Some(wait + self.chance(wait / 4));
        }
        let base = within(self.retry);
        let most = ms(self.options.backoff).max(base);
        let grown = base
            .saturating_mul(1 << failures.saturating_sub(1).min(20))
            .min(most);
        Some(match grown == base {
            true => base + self.chance(base / 4),
            false => (grown - self.chance(grown / 4)).max(base),
        })
    }

    /// From 0 to `most` (xorshift64).
    fn chance(&mut self, most: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % (most + 1)
    }
}

const SECRETS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHORIZATION,
];

const OF_BODY: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
];

fn ms(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

fn text_of(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = fields.get_all(name).iter().next_back()?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

/// H1: its parameters mean nothing.
fn is_stream(fields: &HeaderMap) -> bool {
    text_of(fields, &header::CONTENT_TYPE).is_some_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// Retry-After, seconds or a date; in milliseconds from now.
fn wait_of(fields: &HeaderMap, wall: SystemTime) -> Option<u64> {
    let text = text_of(fields, &header::RETRY_AFTER)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Digits fail to parse only when there are too many.
        let seconds: u64 = text.parse().unwrap_or(u64::MAX);
        return Some(seconds.saturating_mul(1000));
    }
    let then = httpdate::parse_http_date(&text).ok()?;
    Some(then.duration_since(wall).map_or(0, ms))
}
