//! What hyper sends as the body of a response.

use super::link::Link;
use crate::conn::Conn;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of an ordinary response.
pub enum Answer {
    /// The application's.
    Conn(Arc<Conn>, Arc<Link>),
    /// Ours.
    Fixed(Option<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Answer::Fixed(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Answer::Conn(conn, link) => match ready!(conn.poll_body(cx)) {
                Some(bytes) => {
                    link.took();
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                None if conn.is_cut() => {
                    // What was given goes out; but the client must not take a
                    // part for the whole.
                    ready!(link.poll_written(cx));
                    Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
                }
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Fixed(bytes) => bytes.is_none(),
            Answer::Conn(conn, _) => conn.body_left() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Answer::Fixed(bytes) => Some(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Answer::Conn(conn, _) => conn.body_left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // hyper drops it when it needs no more of it, or the client has gone.
        if let Answer::Conn(conn, link) = self {
            link.gave(conn);
        }
    }
}
