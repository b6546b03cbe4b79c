//! One request and its answer, on hyper.

use super::connect::{Connected, Fault};
use super::item::TroubleKind;
use super::model::Request;
use super::words;
use crate::core::limits;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

/// A body that is there.
pub(super) struct Whole(pub Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.take().map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |b| b.len() as u64))
    }
}

type Conn = http1::Connection<TokioIo<super::connect::Stream>, Whole>;

/// An answer whose body comes. It reads from the connection only while it is
/// polled.
pub struct Exchange {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: HeaderMap,
    conn: Pin<Box<Conn>>,
    /// hyper is done with the connection.
    ended: bool,
    body: Incoming,
}

fn fault(e: &hyper::Error) -> Fault {
    // hyper has a method that says so for its server alone.
    if e.is_parse() && e.to_string().contains("too large") {
        let most = limits::CLIENT_READ_BYTES;
        let words = format!("the head of the answer is over the limit of {most} bytes");
        return Fault::new(TroubleKind::Http, words);
    }
    if e.is_parse() {
        return Fault::new(
            TroubleKind::Http,
            format!("the answer is no HTTP: {}", words(e)),
        );
    }
    Fault::new(
        TroubleKind::Network,
        format!("the connection broke: {}", words(e)),
    )
}

/// Sends a request, and reads the head of its answer.
pub async fn exchange(connected: Connected, request: Request) -> Result<Exchange, Fault> {
    let target = match connected.proxied {
        Some(_) => request.target.absolute(),
        None => request.target.path(),
    };
    let mut asked = http::Request::builder()
        .method(request.method)
        .uri(target)
        .body(Whole(request.body))
        .map_err(|e| Fault::new(TroubleKind::Http, e.to_string()))?;
    *asked.headers_mut() = request.fields;
    if let Some(Some(login)) = connected.proxied {
        asked
            .headers_mut()
            .insert(header::PROXY_AUTHORIZATION, login);
    }
    let (mut sender, conn) = http1::Builder::new()
        .max_buf_size(limits::CLIENT_READ_BYTES)
        .handshake(TokioIo::new(connected.stream))
        .await
        .map_err(|e| fault(&e))?;
    let mut conn = Box::pin(conn);
    let mut asking = pin!(sender.send_request(asked));
    let mut ended = false;
    let answer = poll_fn(|cx| {
        if !ended {
            ended = conn.as_mut().poll(cx).is_ready();
        }
        asking.as_mut().poll(cx)
    });
    let (head, body) = answer.await.map_err(|e| fault(&e))?.into_parts();
    Ok(Exchange {
        status: head.status,
        fields: head.headers,
        conn,
        ended,
        body,
    })
}

impl Exchange {
    /// The next bytes of the body; `None` at its end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let mut frame = Pin::new(&mut self.body).poll_frame(cx);
            if frame.is_pending() && !self.ended {
                self.ended = self.conn.as_mut().poll(cx).is_ready();
                frame = Pin::new(&mut self.body).poll_frame(cx);
            }
            match ready!(frame) {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(fault(&e)))),
                Some(Ok(frame)) => {
                    // Trailers mean nothing here.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
            }
        }
    }
}
