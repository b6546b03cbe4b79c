//! Answers of the server's own: the client, the access log and the operator
//! are told.

use super::answer::Answer;
use super::head::{Fault, Known};
use super::{Shared, record};
use crate::conn::Conn;
use crate::core::level::Level;
use crate::core::limits;
use crate::core::reason::Why;
use crate::net::listen::Peers;
use crate::net::transport::Transport;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Instant;

pub const WEBSOCKET: Fault =
    Fault::new(StatusCode::NOT_IMPLEMENTED, "WebSocket is not offered here");
pub const TOO_LARGE: Fault = Fault::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "the request body is too large",
);
pub const NO_HANDLE: Fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
const SLOW_HEAD: Fault = Fault::new(
    StatusCode::REQUEST_TIMEOUT,
    "a request head did not come in time",
);
pub const SLOW_BODY: Fault = Fault::new(
    StatusCode::REQUEST_TIMEOUT,
    "a request body did not come in time",
);
pub const BAD_BODY: Fault = Fault::new(StatusCode::BAD_REQUEST, "a malformed chunk");
pub const CUT_BODY: Fault = Fault::new(StatusCode::BAD_REQUEST, "the request body broke off");
pub const STOPPING: Fault = Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");

/// The reason that the access log has for an answer of ours.
pub fn reason(status: StatusCode) -> Why {
    match status {
        StatusCode::REQUEST_TIMEOUT => Why::ClientTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => Why::BodyTooLarge,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Why::HeadTooLarge,
        StatusCode::NOT_IMPLEMENTED => Why::NotImplemented,
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => Why::ServerShutdown,
        _ => Why::ProtocolError,
    }
}

struct Client<'a>(&'a Peers);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.client {
            Some(address) => address.fmt(f),
            None => f.write_str("the Unix socket"),
        }
    }
}

/// Who asked, and when.
pub struct Asker {
    pub peers: Peers,
    pub shared: Arc<Shared>,
    pub since: Instant,
}

impl Asker {
    pub fn refuse(&self, fault: Fault, known: &Known<'_>) -> Response<Answer> {
        self.write_down(fault.status, fault.why, known);
        self.notice(fault);
        let mut response = plain(fault.status, fault.why);
        close(&mut response);
        response
    }

    /// Without the query, which may have a secret.
    pub fn tell_begin(&self, conn: &Conn, parts: &Parts) {
        let (handle, method, path) = (conn.handle(), &parts.method, parts.uri.path());
        let (client, most) = (Client(&self.peers), limits::LOGGED_PATH);
        self.shared.desk.notices().tell(
            Level::Debug,
            format_args!("connection {handle}: {method} {path:.most$} from {client}"),
        );
    }

    /// Tells the operator.
    pub fn notice(&self, fault: Fault) {
        let detail = format!(" ({} to {})", fault.status.as_u16(), Client(&self.peers));
        self.shared.desk.notices().notice(fault.why, &detail);
    }

    /// For the access log.
    fn write_down(&self, status: StatusCode, text: &str, known: &Known<'_>) {
        let bytes = if known.is_head { 0 } else { text.len() as u64 };
        let answer = record::Answer {
            status: status.as_u16(),
            bytes,
            took: self.since.elapsed(),
            reason: reason(status),
        };
        let record = record::answered(&answer, known, &self.peers);
        self.shared.desk.notices().push(record);
    }

    /// The answer to a request that came while the server drains. A browser
    /// never reconnects after a 503, so a stream gets an empty one.
    pub fn too_late(&self, sse: bool, known: &Known<'_>) -> Response<Answer> {
        let (status, text, kind) = match sse {
            true => (StatusCode::OK, "", "text/event-stream"),
            false => (STOPPING.status, STOPPING.why, "text/plain"),
        };
        self.write_down(status, text, known);
        let mut response = plain(status, text);
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        close(&mut response);
        response
    }

    /// Refuses a head that hyper has given up.
    pub async fn too_slow(&self, socket: &dyn Transport, known: &Known<'_>) -> io::Result<()> {
        let (text, length) = (SLOW_HEAD.why, SLOW_HEAD.why.len());
        self.write_down(SLOW_HEAD.status, text, known);
        self.notice(SLOW_HEAD);
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let text = if known.is_head { "" } else { text };
        let answer = format!(
            "HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\nconnection: close\r\n\
             content-length: {length}\r\ndate: {date}\r\n\r\n{text}"
        );
        poll_fn(|cx| socket.poll_writable(cx)).await?;
        socket.try_write(&[io::IoSlice::new(answer.as_bytes())])?;
        Ok(())
    }
}

pub fn plain(status: StatusCode, text: &'static str) -> Response<Answer> {
    let bytes = Some(Bytes::from_static(text.as_bytes())).filter(|b| !b.is_empty());
    let mut response = Response::new(Answer::Fixed(bytes));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub fn close(response: &mut Response<Answer>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// What is known of a request that hyper has read.
pub fn known(parts: &Parts) -> Known<'_> {
    let target = parts.uri.path_and_query();
    let fields = parts.headers.iter();
    Known {
        is_head: parts.method == http::Method::HEAD,
        method: parts.method.as_str().as_bytes(),
        target: target.map_or(b"", |t| t.as_str().as_bytes()),
        version: match parts.version {
            Version::HTTP_10 => b"1.0",
            _ => b"1.1",
        },
        fields: fields
            .map(|(name, value)| (name.as_str().into(), value.as_bytes()))
            .collect(),
    }
}
