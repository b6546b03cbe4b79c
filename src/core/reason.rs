//! Why connections end, as far as the engine says it by itself.

use super::state::Reason;

/// Why a connection ended: its word, the record's `text`, as a number. Other
/// numbers may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Why {
    /// No reason: `text` is empty. An ordinary response went out in whole.
    None = 0,
    /// A word of the host's own, given to a function that ends connections.
    Other = 1,
    /// `client_closed`: the client has gone, in a request's body too; or
    /// pagi_sse_conn_disconnect without a reason.
    ClientClosed = 2,
    /// `app_closed`: pagi_sse_conn_close or pagi_sse_hub_close_streams without a
    /// reason, pagi_sse_conn_free, a stream in answer to HEAD, or nobody was left
    /// who could end it.
    AppClosed = 3,
    /// `server_error`: pagi_sse_conn_abort without a reason, or a bug in here.
    ServerError = 4,
    /// `server_shutdown`: the server or the runtime stops.
    ServerShutdown = 5,
    /// `queue_overflow`: the client was too slow for what a hub publishes, or
    /// all queues took more than `max_queued_bytes`.
    QueueOverflow = 6,
    /// `write_timeout`: the client took nothing for `write_timeout_ms`.
    WriteTimeout = 7,
    /// `write_error`: the system did not send, for another reason than the
    /// client's end.
    WriteError = 8,
    /// `read_error`: the same of receiving.
    ReadError = 9,
    /// `client_timeout`: the network gave the client up, or a request's head or
    /// body did not come in time (408).
    ClientTimeout = 10,
    /// `protocol_error`: the client has sent what it must not, as a malformed
    /// request (400) or more than PAGI_SSE_FORGOTTEN_BYTES behind one.
    ProtocolError = 11,
    /// `body_too_large`: a request's body is above `max_body` (413).
    BodyTooLarge = 12,
    /// `head_too_large`: a request's head is too large (414, 431).
    HeadTooLarge = 13,
    /// `not_implemented`: the request asks for what the server does not have
    /// (501).
    NotImplemented = 14,
}

impl Why {
    const ALL: [Why; 15] = [
        Why::None,
        Why::Other,
        Why::ClientClosed,
        Why::AppClosed,
        Why::ServerError,
        Why::ServerShutdown,
        Why::QueueOverflow,
        Why::WriteTimeout,
        Why::WriteError,
        Why::ReadError,
        Why::ClientTimeout,
        Why::ProtocolError,
        Why::BodyTooLarge,
        Why::HeadTooLarge,
        Why::NotImplemented,
    ];

    /// As records and PAGI have it; nothing for [`Why::None`], nor for
    /// [`Why::Other`], whose words are not ours.
    pub const fn word(self) -> &'static str {
        match self {
            Why::None | Why::Other => "",
            Why::ClientClosed => "client_closed",
            Why::AppClosed => "app_closed",
            Why::ServerError => "server_error",
            Why::ServerShutdown => "server_shutdown",
            Why::QueueOverflow => "queue_overflow",
            Why::WriteTimeout => "write_timeout",
            Why::WriteError => "write_error",
            Why::ReadError => "read_error",
            Why::ClientTimeout => "client_timeout",
            Why::ProtocolError => "protocol_error",
            Why::BodyTooLarge => "body_too_large",
            Why::HeadTooLarge => "head_too_large",
            Why::NotImplemented => "not_implemented",
        }
    }

    /// Whose word that is.
    pub fn of(word: &[u8]) -> Why {
        let known = Why::ALL.into_iter().find(|w| w.word().as_bytes() == word);
        known.unwrap_or(Why::Other)
    }
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        why.word().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_again_and_others_are_the_hosts() {
        for (number, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number);
            if why != Why::Other {
                assert_eq!(Why::of(why.word().as_bytes()), why);
            }
        }
        for other in ["Client_closed", "client_closed ", "maintenance"] {
            assert_eq!(Why::of(other.as_bytes()), Why::Other);
        }
    }
}
