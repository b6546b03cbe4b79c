//! Every failure the library reports: one variant, one number, one name.

use std::{fmt, io};

/// A failure. The number is the C result code; numbers come in blocks of 100
/// by module and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Error {
    /// A pointer was NULL where bytes or an output were due.
    NullPointer = -1,
    /// An argument is outside its documented range.
    BadArgument = -2,
    /// Text is not well-formed UTF-8.
    NotUtf8 = -3,
    /// The code panicked; the object concerned should be freed.
    Panic = -4,
    /// An operating-system call failed: pagi_sse_os_error says how.
    Os = -5,
    /// A buffer is too small: nothing was written to it, nothing was taken, and
    /// the `size_t` beside it has the size needed.
    BufferSmall = -6,

    /// An event type contains CR or LF.
    EventNewline = -100,
    /// An id contains CR or LF.
    IdNewline = -101,
    /// An id contains NUL, which makes clients ignore it.
    IdNul = -102,
    /// The text is not JSON (RFC 8259).
    Json = -103,
    /// An id would not come back through a header: a control character other
    /// than a tab inside it, white space at an end, or above 4096 bytes.
    IdHeader = -104,

    /// A line is longer than the parser's limit.
    LineTooLong = -200,
    /// An event is larger than the parser's limit.
    EventTooLarge = -201,
    /// An id is longer than the parser's limit.
    IdTooLong = -202,

    /// The connection is closed.
    Closed = -300,
    /// The stream has started, so an ordinary response is too late.
    AlreadyStarted = -301,
    /// An ordinary response was chosen, so the stream cannot start.
    Declined = -302,
    /// The output queue is full; nothing was queued.
    QueueOverflow = -303,
    /// A header name is not a token (RFC 9110).
    HeaderName = -304,
    /// A header value contains a control character (RFC 9110).
    HeaderValue = -305,
    /// A status code is outside 200 to 599.
    Status = -306,
    /// A keepalive interval is neither 0 nor 10 to 86400000 milliseconds.
    Interval = -307,
    /// The connection has no transport of ours: its host does the I/O.
    NotHosted = -308,
    /// Body bytes were given before the response head or after its end.
    NoResponse = -309,
    /// The connection's output is not the host program's to read.
    NotPulled = -310,
    /// The descriptor is not a connected stream socket.
    BadSocket = -311,

    /// An ordinary response's `content-length` is not one whole number, or not
    /// the length of the body that is given.
    ContentLength = -312,
    /// A stream cannot have a status that forbids a body.
    BodilessStatus = -313,
    /// The request body broke off: its client has gone, or sent no such body
    /// as it said.
    BodyIncomplete = -314,
    /// The reason of an end is longer than 1024 bytes.
    ReasonTooLong = -315,
    /// No hub publishes to the connection's stream, or the host carries its
    /// output, so that it cannot be handed over.
    NotSubscribed = -316,
    /// The host program has 65,536 ENDED records to read before it opens more.
    RecordsUnread = -317,

    /// The handle is zero or was never given out.
    HandleInvalid = -400,
    /// The handle's object was freed.
    HandleStale = -401,
    /// The handle belongs to an object of another kind.
    HandleKind = -402,
    /// The handle was made before a fork, by the parent process.
    HandleForked = -403,
    /// The handle table is full.
    HandlesExhausted = -404,

    /// The address to listen on is not `HOST:PORT`, `unix:PATH` or `fd:N`.
    ListenAddress = -500,
    /// The address is in use.
    AddressInUse = -501,
    /// The address cannot be bound: permission, or not of this machine.
    BindFailed = -502,
    /// The server or the runtime has been stopped.
    Stopped = -503,

    /// A host name does not resolve to an address.
    HostUnknown = -504,
    /// What `fd:N` names is no listening stream socket.
    NotListening = -505,
    /// As many connections are open as `max_connections` allows.
    TooManyConnections = -506,

    /// A topic's name is not 1 to 100 letters, digits and `.-_:/`.
    TopicName = -600,
    /// The hub has as many topics as it may have.
    TooManyTopics = -601,
    /// A subscription needs from 1 to 1000 topics.
    TopicCount = -602,
    /// The connection has a subscription.
    Subscribed = -603,
    /// A topic does not exist, and the subscriber may not create one.
    NoTopic = -604,
}

impl Error {
    /// Every variant, for tables and tests.
    pub const ALL: &'static [Error] = &[
        Error::NullPointer,
        Error::BadArgument,
        Error::NotUtf8,
        Error::Panic,
        Error::Os,
        Error::BufferSmall,
        Error::EventNewline,
        Error::IdNewline,
        Error::IdNul,
        Error::Json,
        Error::IdHeader,
        Error::LineTooLong,
        Error::EventTooLarge,
        Error::IdTooLong,
        Error::Closed,
        Error::AlreadyStarted,
        Error::Declined,
        Error::QueueOverflow,
        Error::HeaderName,
        Error::HeaderValue,
        Error::Status,
        Error::Interval,
        Error::NotHosted,
        Error::NoResponse,
        Error::NotPulled,
        Error::BadSocket,
        Error::ContentLength,
        Error::BodilessStatus,
        Error::BodyIncomplete,
        Error::ReasonTooLong,
        Error::NotSubscribed,
        Error::RecordsUnread,
        Error::HandleInvalid,
        Error::HandleStale,
        Error::HandleKind,
        Error::HandleForked,
        Error::HandlesExhausted,
        Error::ListenAddress,
        Error::AddressInUse,
        Error::BindFailed,
        Error::Stopped,
        Error::HostUnknown,
        Error::NotListening,
        Error::TooManyConnections,
        Error::TopicName,
        Error::TooManyTopics,
        Error::TopicCount,
        Error::Subscribed,
        Error::NoTopic,
    ];

    /// The C result code, always negative.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// A sentence fragment in plain English, without a final stop.
    pub const fn text(self) -> &'static std::ffi::CStr {
        match self {
            Error::NullPointer => c"a pointer is NULL",
            Error::BadArgument => c"an argument is outside its range",
            Error::NotUtf8 => c"the text is not well-formed UTF-8",
            Error::Panic => c"internal error (panic)",
            Error::Os => c"an operating-system call failed",
            Error::BufferSmall => c"the buffer is too small",
            Error::EventNewline => c"an event type must not contain CR or LF",
            Error::IdNewline => c"an id must not contain CR or LF",
            Error::IdNul => c"an id must not contain NUL",
            Error::Json => c"the text is not JSON",
            Error::IdHeader => {
                c"an id must fit a header: no control characters, no white space at its ends, at most 4096 bytes"
            }
            Error::LineTooLong => c"a line is longer than the parser's limit",
            Error::EventTooLarge => c"an event is larger than the parser's limit",
            Error::IdTooLong => c"an id is longer than the parser's limit",
            Error::Closed => c"the connection is closed",
            Error::AlreadyStarted => c"the event stream has already started",
            Error::Declined => c"an ordinary response was already chosen",
            Error::QueueOverflow => c"queue_overflow: the output queue is full",
            Error::HeaderName => c"a header name must be a token (RFC 9110)",
            Error::HeaderValue => c"a header value must not contain control characters",
            Error::Status => c"a status must be a whole number from 200 to 599",
            Error::Interval => {
                c"a keepalive interval must be 0 (off) or from 10 to 86400000 milliseconds"
            }
            Error::NotHosted => c"the connection is not hosted by this library",
            Error::NoResponse => c"no response is in progress",
            Error::NotPulled => c"the connection's output is written by this library",
            Error::BadSocket => c"the descriptor is not a connected stream socket",
            Error::ContentLength => {
                c"content-length must be one whole number, and that of the body's bytes"
            }
            Error::BodilessStatus => c"a stream cannot have status 204, 205 or 304: decline it",
            Error::BodyIncomplete => c"the request body broke off",
            Error::ReasonTooLong => c"a reason must not be longer than 1024 bytes",
            Error::NotSubscribed => {
                c"a connection cannot be handed over whose output the host carries, or that no hub publishes to: nobody could end it"
            },
            Error::RecordsUnread => c"65536 ENDED records wait: read them first",
            Error::HandleInvalid => c"the handle was never given out",
            Error::HandleStale => c"the handle's object was freed",
            Error::HandleKind => c"the handle belongs to another kind of object",
            Error::HandleForked => c"the handle belongs to the parent process (fork)",
            Error::HandlesExhausted => c"the handle table is full",
            Error::ListenAddress => c"the address must be HOST:PORT, unix:PATH or fd:NUMBER",
            Error::AddressInUse => c"the address is already in use",
            Error::BindFailed => c"the address cannot be bound",
            Error::Stopped => c"the server or runtime is stopped",
            Error::HostUnknown => c"the host name does not resolve",
            Error::NotListening => c"the descriptor is not a listening stream socket",
            Error::TooManyConnections => c"as many connections are open as max_connections allows",
            Error::TopicName => c"a topic must be 1 to 100 letters, digits and .-_:/",
            Error::TooManyTopics => {
                c"the hub has too many topics (100000, or 50000 that only subscribers have named)"
            }
            Error::TopicCount => c"a subscription must name from 1 to 1000 topics",
            Error::Subscribed => c"the connection has a subscription already",
            Error::NoTopic => c"a topic does not exist, and subscribers may not create one",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().to_string_lossy())
    }
}

impl std::error::Error for Error {}

/// What the operating system says, without its number.
pub fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A failure with what there is to say beyond its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub error: Error,
    /// Where, or in what.
    pub detail: Option<Box<str>>,
    /// The operating system's number, if it was that.
    pub os: Option<i32>,
}

impl Failure {
    /// With a detail: a sentence fragment.
    pub fn new(error: Error, detail: impl Into<Box<str>>) -> Self {
        let detail = Some(detail.into());
        Failure {
            error,
            detail,
            os: None,
        }
    }

    /// Of the operating system: with its reason.
    pub fn of(error: Error, e: &io::Error) -> Self {
        let os = e.raw_os_error();
        Failure {
            os,
            ..Failure::new(error, reason(e))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            error,
            detail: None,
            os: None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::of(Error::Os, &e)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_negative_and_unique() {
        let mut codes: Vec<i32> = Error::ALL.iter().map(|e| e.code()).collect();
        assert!(codes.iter().all(|&c| c < 0));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Error::ALL.len());
    }
}
