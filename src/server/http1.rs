//! HTTP/1: hyper reads every request and writes every ordinary response. When
//! the application starts a stream, the socket is taken back from hyper.

use super::listen::Peers;
use super::timed::Timed;
use super::{Shared, Stage, record};
use crate::conn::{Conn, Decision, Framing};
use crate::limits;
use crate::rt::{socket::Socket, stream};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Where the request handler leaves a connection whose stream has begun.
type TakeOver = Arc<Mutex<Option<Arc<Conn>>>>;

/// Serves one accepted connection to its end, or to its stream.
pub async fn serve(socket: Socket, peers: Peers, shared: Arc<Shared>, place: OwnedSemaphorePermit) {
    let place = Arc::new(place);
    // Boxed, so that the task of a stream does not stay as large as hyper's.
    let taken = {
        let _open = Open::new(&shared);
        Box::pin(serve_http(socket, peers, &place, shared.clone())).await
    };
    if let Some((socket, conn)) = taken {
        let timeout = shared.options.write_timeout;
        // The connection has its place.
        tokio::spawn(stream::run(socket, conn, timeout));
    }
}

/// Counts a connection while hyper has it.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.http.fetch_add(1, Ordering::AcqRel);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.http.fetch_sub(1, Ordering::AcqRel);
        if *self.0.stage.borrow() == Stage::Draining {
            self.0.desk.wake();
            self.0.desk.one_less();
        }
    }
}

async fn serve_http(
    socket: Socket,
    peers: Peers,
    place: &Arc<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
) -> Option<(Socket, Arc<Conn>)> {
    let taken: TakeOver = Arc::default();
    let service = service_fn(|request| {
        let (shared, peers, taken) = (shared.clone(), peers.clone(), taken.clone());
        let place = place.clone();
        Box::pin(
            async move { Ok::<_, Infallible>(answer(request, peers, place, shared, taken).await) },
        )
    });
    let timed = Timed::new(socket, shared.options.write_timeout);
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HEAD_SECONDS))
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS)
        .serve_connection(TokioIo::new(timed), service);
    let mut stage = shared.stage.subscribe();
    let mut draining = false;
    loop {
        let progress = poll_fn(|cx| {
            // An error is the client's (malformed, gone): hyper has answered.
            let over = http.poll_without_shutdown(cx).is_ready();
            match super::lock(&taken).take() {
                Some(conn) => Poll::Ready(Some(conn)),
                None if over => Poll::Ready(None),
                None => Poll::Pending,
            }
        });
        let conn = tokio::select! {
            conn = progress => conn,
            _ = stage.wait_for(|s| *s == Stage::Draining), if !draining => {
                draining = true;
                Pin::new(&mut http).graceful_shutdown();
                continue;
            }
        };
        return conn.map(|conn| (http.into_parts().io.into_inner().into_inner(), conn));
    }
}

/// Says to the application that the client has gone, unless disarmed.
struct Abandoned(Option<Arc<Conn>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            conn.disconnect("client_closed".into());
            conn.transport_ended();
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    peers: Peers,
    place: Arc<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
    taken: TakeOver,
) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let max_body = shared.options.max_body;
    if parts.headers.contains_key(header::UPGRADE) && is_websocket(&parts.headers) {
        return refuse(StatusCode::NOT_IMPLEMENTED, "WebSocket is not offered here");
    }
    if body.size_hint().lower() > max_body as u64 {
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request body is too large",
        );
    }
    let sse = accepts_event_stream(&parts.headers);
    if *shared.stage.borrow() == Stage::Draining {
        return too_late(sse);
    }
    let framing = Framing {
        sse,
        chunked: parts.version != Version::HTTP_10,
        head: parts.method == http::Method::HEAD,
        ..Framing::default()
    };
    let Ok(conn) = shared.desk.open(framing) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
    };
    conn.hold(place);
    let mut abandoned = Abandoned(Some(conn.clone()));
    let has_body = !body.is_end_stream();
    if has_body {
        conn.expect_body();
        let idle = shared.options.write_timeout;
        tokio::spawn(pump(body, conn.clone(), max_body, idle));
    }
    shared.desk.push(record::request(
        conn.handle(),
        &parts,
        &peers,
        sse,
        has_body,
    ));
    match poll_fn(|cx| conn.poll_decision(cx)).await {
        Decision::Response(status, headers) => {
            abandoned.0 = None;
            let mut response = Response::new(Answer::Conn(conn));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Decision::Stream => {
            abandoned.0 = None;
            *super::lock(&taken) = Some(conn);
            // The connection's task sees it and drops us.
            pending().await
        }
        Decision::Gone { died: true } => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n")
        }
        Decision::Gone { died: false } => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the request was dropped\n")
        }
    }
}

/// Carries the request body to the connection.
async fn pump(body: Incoming, conn: Arc<Conn>, max: usize, idle: Duration) {
    let mut body = pin!(body);
    while poll_fn(|cx| conn.poll_body_room(cx)).await {
        match timeout(idle, poll_fn(|cx| body.as_mut().poll_frame(cx))).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !conn.push_body(&data, max)
                {
                    give_up(&conn, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
                }
            }
            Ok(Some(Err(_))) => {
                conn.disconnect("client_closed".into());
            }
            Err(_) => give_up(&conn, StatusCode::REQUEST_TIMEOUT, "client_timeout"),
        }
    }
    conn.finish_body();
}

/// That status if nothing has been answered; then the connection is over.
fn give_up(conn: &Arc<Conn>, status: StatusCode, reason: &'static str) {
    let close = [(&b"connection"[..], &b"close"[..])];
    if conn.respond(status.as_u16(), close).is_ok() {
        let text = status.canonical_reason().unwrap_or_default();
        let _ = conn.body(format!("{text}\n").as_bytes(), false);
    }
    conn.shut_down(reason.into());
}

/// The answer to a request that came while the server drains. A browser never
/// reconnects after a 503, so a stream gets an empty one.
fn too_late(sse: bool) -> Response<Answer> {
    if !sse {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    let mut response = refuse(StatusCode::OK, "");
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .iter()
        .any(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// PAGI: the `Accept` field includes the media type, whatever the method.
fn accepts_event_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT);
    let mut ranges = values
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("");
        let refused = parts.any(|p| {
            let q = p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="));
            q.is_some_and(|q| q.parse() == Ok(0.0))
        });
        kind.eq_ignore_ascii_case("text/event-stream") && !refused
    })
}

fn refuse(status: StatusCode, why: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Fixed(Some(Bytes::from_static(why.as_bytes()))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    response
}

/// The body of an ordinary response.
enum Answer {
    /// The application's.
    Conn(Arc<Conn>),
    /// Ours.
    Fixed(Option<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Answer::Fixed(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Answer::Conn(conn) => match ready!(conn.poll_body(cx)) {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None if conn.is_cut() => {
                    // The client must not take a part for the whole.
                    Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())))
                }
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Fixed(bytes) => bytes.is_none(),
            Answer::Conn(conn) => conn.body_left() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Answer::Fixed(bytes) => Some(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Answer::Conn(conn) => conn.body_left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Answer::Conn(conn) = self else { return };
        // hyper drops it when it needs no more of it, or the client has gone.
        if !conn.is_answered() {
            conn.disconnect("client_closed".into());
        }
        conn.transport_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&str]) -> bool {
        let mut map = HeaderMap::new();
        for v in values {
            map.append(header::ACCEPT, v.parse().unwrap());
        }
        accepts_event_stream(&map)
    }

    #[test]
    fn a_request_is_sse_by_its_accept_field() {
        assert!(accepts(&["text/event-stream"]));
        assert!(accepts(&["text/html, Text/Event-Stream;q=0.9"]));
        assert!(accepts(&["text/html", "text/event-stream; charset=utf-8"]));
        assert!(!accepts(&["text/event-stream;q=0"]));
        assert!(!accepts(&["*/*"]));
        assert!(!accepts(&["text/event-streams"]));
        assert!(!accepts(&[]));
    }
}
