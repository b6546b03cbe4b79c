//! What a client tells its host program.

use crate::core::parse::Message;
use bytes::Bytes;
use http::HeaderMap;
use std::mem::size_of;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Item {
    /// A stream was opened; the first time, or again.
    Open(Head),
    /// An event.
    Event(Message),
    /// A comment: the text after its colon.
    Comment(String),
    /// The server has named the wait before a reconnection, milliseconds.
    Retry(u64),
    /// Something failed, or a stream that goes on has ended.
    Error(Trouble),
    /// The last item.
    End(ClientEnd),
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    /// Where it came from, after redirections.
    pub url: String,
}

/// What failed.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Which kind of failure.
    pub kind: TroubleKind,
    /// A sentence that names the URL, and the limit if it was one.
    pub text: String,
    /// Whether this ends the attempt: false for what was left out of a stream
    /// that goes on.
    pub is_end: bool,
    /// The next attempt begins so many milliseconds later; `None`: there is
    /// none, or the stream goes on.
    pub retry_in: Option<u64>,
    /// The answer that was no stream.
    pub answer: Option<Box<Refusal>>,
}

/// An answer that was no stream.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its head.
    pub head: Head,
    /// The beginning of its body, as it came.
    pub body: Bytes,
    /// That is all of it.
    pub is_whole: bool,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TroubleKind {
    /// The stream has ended.
    Ended = 1,
    /// The name has no address.
    Resolve = 2,
    /// No connection: refused, unreachable, no such socket.
    Connect = 3,
    /// No connection in time.
    ConnectTimeout = 4,
    /// The proxy does not do it.
    Proxy = 5,
    /// TLS failed.
    Tls = 6,
    /// The server's certificate does not fit. Final.
    Certificate = 7,
    /// The connection broke.
    Network = 8,
    /// What came is not HTTP, or its head is too long.
    Http = 9,
    /// No head in time.
    HeadTimeout = 10,
    /// A status that is neither 200 nor 204. Final unless in `retry_on`.
    Status = 11,
    /// Not text/event-stream. Final.
    ContentType = 12,
    /// A content coding other than gzip. Final.
    ContentEncoding = 13,
    /// The gzip data are broken.
    Gzip = 14,
    /// A redirection that cannot be followed. Final.
    Redirect = 15,
    /// More redirections than may be. Final.
    Redirects = 16,
    /// No byte for too long.
    Silence = 17,
    /// The client is as old as it may be. Final.
    Age = 18,
    /// A line over the limit was left out.
    LineTooLong = 19,
    /// An event over the limit was left out.
    EventTooLarge = 20,
    /// An id over the limit was left out.
    IdTooLong = 21,
    /// The last event id cannot be sent in a field.
    IdField = 22,
}

impl TroubleKind {
    /// Another attempt would fail as well.
    pub(super) fn is_final(self) -> bool {
        use TroubleKind::{
            Age, Certificate, ContentEncoding, ContentType, Redirect, Redirects, Status,
        };
        matches!(
            self,
            Age | Certificate | ContentEncoding | ContentType | Redirect | Redirects | Status
        )
    }
}

/// Why a client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ClientEnd {
    /// The server said so: 204.
    NoContent = 1,
    /// The stream has ended, and is not to be resumed.
    Ended = 2,
    /// The failure told before.
    Failed = 3,
    /// The host program closed it.
    Closed = 4,
    /// The runtime has stopped.
    Stopped = 5,
    /// A fault of ours.
    Panic = 6,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ClientState {
    /// It has no stream, and is about to get one.
    Connecting = 0,
    /// It has one.
    Open = 1,
    /// It has ended.
    Closed = 2,
}

impl Item {
    /// What it counts for in the limit of what waits.
    pub(super) fn cost(&self) -> usize {
        let fields = |head: &Head| {
            let each = head.fields.iter().map(|(n, v)| n.as_str().len() + v.len());
            head.url.len() + each.sum::<usize>()
        };
        size_of::<Item>()
            + match self {
                Item::Open(head) => fields(head),
                Item::Event(m) => m.event.len() + m.data.len() + m.last_event_id.len(),
                Item::Comment(text) => text.len(),
                Item::Error(t) => {
                    let answer = t.answer.as_ref();
                    t.text.len() + answer.map_or(0, |a| fields(&a.head) + a.body.len())
                }
                Item::Retry(_) | Item::End(_) => 0,
            }
    }
}
