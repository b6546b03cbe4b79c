//! What the host program wants.

use super::url::Target;
use crate::core::error::{Error, Failure};
use crate::core::limits;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use std::path::PathBuf;
use std::time::Duration;

/// Whether a request that is more than a GET is made again. Nothing of this
/// concerns a GET without a body, which always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum ClientResume {
    /// It is made once; the stream's end is the client's.
    #[default]
    Never = 0,
    /// Once a stream has been opened, a GET without the body follows it up at
    /// the same URL. Until then the request is made again only when no
    /// connection was got, so none of it can have arrived.
    Get = 1,
    /// It is repeated as it was.
    Always = 2,
}

/// Which proxy. Unix sockets never have one.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in either case,
    /// as curl understands them.
    #[default]
    Environment,
    /// None.
    Off,
    /// This one, for all.
    At(String),
}

/// How a client is to run. A time of zero is no limit.
#[derive(Clone, Debug)]
pub struct Options {
    /// See [`super::url`].
    pub url: String,
    /// Any but CONNECT, HEAD and TRACE.
    pub method: Method,
    /// They replace ours: `accept`, `cache-control`, `user-agent`, `host`.
    pub fields: HeaderMap,
    /// The request's body.
    pub body: Option<Bytes>,
    /// Where to begin; empty: nowhere.
    pub last_event_id: String,
    /// See there.
    pub resume: ClientResume,
    /// Statuses after which the request is made again, whatever `resume` says:
    /// the server has refused it.
    pub retry_on: Vec<u16>,
    /// Wait before a reconnection, until the server names another.
    pub retry: Duration,
    /// What the wait grows to while nothing is got.
    pub backoff: Duration,
    /// Failures one after the other, after which the client gives up; 0: never.
    pub max_failures: u32,
    /// Redirections of one request.
    pub max_redirects: u32,
    /// Time to get a connection: name, TCP, proxy, TLS.
    pub connect_timeout: Duration,
    /// Time from there to the answer's head; sending the body is in it.
    pub head_timeout: Duration,
    /// A stream without a byte for so long is cut, and the client reconnects.
    pub silence: Duration,
    /// The client ends when it is so old.
    pub max_age: Duration,
    /// Longest line of a stream, bytes.
    pub max_line: usize,
    /// Most data of an event, bytes.
    pub max_event: usize,
    /// Items that may wait for the host program.
    pub max_items: usize,
    /// Bytes of items that may wait; the last may go beyond.
    pub max_bytes: usize,
    /// Of an answer that is no stream: bytes of its body to keep.
    pub max_refusal: usize,
    /// Asks for gzip. A stream that has it is decompressed in any case.
    pub gzip: bool,
    /// See there.
    pub proxy: Proxy,
    /// Certificates to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Any certificate will do, and a redirection from https to http.
    pub insecure: bool,
}

impl Options {
    /// A GET of that URL.
    pub fn new(url: impl Into<String>) -> Self {
        let ms = Duration::from_millis;
        Options {
            url: url.into(),
            method: Method::GET,
            fields: HeaderMap::new(),
            body: None,
            last_event_id: String::new(),
            resume: ClientResume::Never,
            retry_on: Vec::new(),
            retry: ms(limits::RETRY_MS),
            backoff: ms(limits::BACKOFF_MS),
            max_failures: 0,
            max_redirects: limits::REDIRECTS,
            connect_timeout: ms(limits::CONNECT_MS),
            head_timeout: ms(limits::ANSWER_MS),
            silence: Duration::ZERO,
            max_age: Duration::ZERO,
            max_line: limits::PARSE_LINE_BYTES,
            max_event: limits::PARSE_EVENT_BYTES,
            max_items: limits::CLIENT_ITEMS,
            max_bytes: limits::CLIENT_BYTES,
            max_refusal: limits::REFUSAL_BYTES,
            gzip: false,
            proxy: Proxy::Environment,
            ca_file: None,
            insecure: false,
        }
    }

    /// Where it goes, if all of it can be done; [`Error::BadArgument`] with
    /// the reason otherwise.
    pub fn check(&self) -> Result<Target, Failure> {
        let bad = |why: String| Err(Failure::new(Error::BadArgument, why));
        let target = Target::parse(&self.url)?;
        if [Method::CONNECT, Method::HEAD, Method::TRACE].contains(&self.method) {
            return bad(format!("the method {} has no stream", self.method));
        }
        let own = |name: &&HeaderName| FORBIDDEN.contains(&name.as_str());
        if let Some(name) = self.fields.keys().find(own) {
            return bad(format!("the field {name} is the client's to set"));
        }
        if self.last_event_id.contains(['\0', '\r', '\n']) {
            return bad("the last event id contains NUL, CR or LF".into());
        }
        if self.last_event_id.len() > limits::ID_BYTES {
            let most = limits::ID_BYTES;
            return bad(format!("the last event id is longer than {most} bytes"));
        }
        for (name, limit) in [("line", self.max_line), ("event", self.max_event)] {
            if !(1..=limits::PARSE_MOST_BYTES).contains(&limit) {
                let most = limits::PARSE_MOST_BYTES;
                return bad(format!(
                    "the limit of the {name}, {limit}, is not from 1 to {most} bytes"
                ));
            }
        }
        if self.max_items == 0 || self.max_bytes == 0 {
            return bad("a client that may keep nothing gets nothing".into());
        }
        Ok(target)
    }

    /// A repetition can do no harm.
    pub(super) fn is_plain(&self) -> bool {
        self.method == Method::GET && self.body.is_none()
    }
}

/// What frames a message or belongs to one connection, and what the client
/// keeps account of.
const FORBIDDEN: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "last-event-id",
    "proxy-connection",
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        let refused = |change: fn(&mut Options), why: &str| {
            let mut options = Options::new("http://h/");
            change(&mut options);
            let detail = options.check().unwrap_err().detail.unwrap();
            assert_eq!(&*detail, why);
        };
        refused(|o| o.method = Method::HEAD, "the method HEAD has no stream");
        refused(
            |o| {
                let value = HeaderValue::from_static("5");
                o.fields.insert(header::CONTENT_LENGTH, value);
            },
            "the field content-length is the client's to set",
        );
        refused(
            |o| o.last_event_id = "a\nb".into(),
            "the last event id contains NUL, CR or LF",
        );
        refused(
            |o| o.last_event_id = "x".repeat(4097),
            "the last event id is longer than 4096 bytes",
        );
        refused(
            |o| o.max_event = 0,
            "the limit of the event, 0, is not from 1 to 134217728 bytes",
        );
        refused(
            |o| o.max_items = 0,
            "a client that may keep nothing gets nothing",
        );
        assert!(Options::new("http://h/").check().is_ok());
    }
}
