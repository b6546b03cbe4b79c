//! HTTP/1: hyper reads every request and writes every ordinary response. When
//! the application starts a stream, the socket is taken back from hyper.

use super::link::{Ends, Link, Wire};
use super::listen::Peers;
use super::{Shared, Stage, record};
use crate::conn::{Conn, Decision, Framing};
use crate::limits;
use crate::rt::{socket::Socket, stream};
use crate::state::Phase;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error as _;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

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
) -> Option<(Arc<Socket>, Arc<Conn>)> {
    let taken: TakeOver = Arc::default();
    let link = Link::new(socket, shared.options.write_timeout);
    // Dropped behind `http`.
    let _ends = Ends(link.clone(), || shared.reason_to_end());
    let service = service_fn(|request| {
        let (shared, peers, taken) = (shared.clone(), peers.clone(), taken.clone());
        let (place, link) = (place.clone(), link.clone());
        Box::pin(async move {
            Ok::<_, Infallible>(answer(request, peers, place, shared, taken, link).await)
        })
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HEAD_SECONDS))
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS)
        // Who ends his side may still want his answer; `Link::gone` watches.
        .half_close(true)
        .serve_connection(TokioIo::new(Wire::new(link.clone())), service);
    let mut stage = shared.stage.subscribe();
    let mut gone = pin!(link.gone());
    let mut draining = false;
    loop {
        let progress = poll_fn(|cx| {
            let over = match http.poll_without_shutdown(cx) {
                // To hyper it is over once all is in its buffer.
                Poll::Ready(Ok(())) => !link.is_unwritten(),
                // The client's (malformed, gone): hyper has answered.
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            };
            match super::lock(&taken).take() {
                Some(conn) => Poll::Ready(Some(conn)),
                None if over => Poll::Ready(None),
                None => Poll::Pending,
            }
        });
        let conn = tokio::select! {
            biased;
            conn = progress => conn,
            () = &mut gone => None,
            _ = stage.wait_for(|s| *s == Stage::Draining), if !draining => {
                draining = true;
                link.hurry();
                Pin::new(&mut http).graceful_shutdown();
                continue;
            }
            // A request of which only a part has come.
            () = sleep(limits::STOP_HEAD), if draining => match link.is_busy() {
                true => continue,
                false => None,
            }
        };
        return conn.map(|conn| (link.socket(), conn));
    }
}

async fn answer(
    request: Request<Incoming>,
    peers: Peers,
    place: Arc<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
    taken: TakeOver,
    link: Arc<Link>,
) -> Response<Answer> {
    link.idle().await;
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
    link.begin(conn.clone(), parts.version != Version::HTTP_10);
    let has_body = !body.is_end_stream();
    if has_body {
        conn.expect_body();
        let idle = shared.options.write_timeout;
        tokio::spawn(pump(body, conn.clone(), link.clone(), max_body, idle));
    }
    shared.desk.push(record::request(
        conn.handle(),
        &parts,
        &peers,
        sse,
        has_body,
    ));
    let decision = tokio::select! {
        biased;
        decision = poll_fn(|cx| conn.poll_decision(cx)) => decision,
        never = link.doubt() => match never {},
    };
    match decision {
        Decision::Response(status, headers) => {
            link.answer(is_event_stream(&headers));
            let mut response = Response::new(Answer::Conn(conn, link));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Decision::Stream => {
            link.release();
            *super::lock(&taken) = Some(conn);
            // The connection's task sees it and drops us.
            pending().await
        }
        Decision::Gone { died } => {
            link.release();
            conn.transport_ended();
            match died {
                true => refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"),
                false => refuse(StatusCode::SERVICE_UNAVAILABLE, "the request was dropped\n"),
            }
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], |v| v.as_bytes());
    let kind = kind.split(|&b| b == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Carries the request body to the connection.
async fn pump(body: Incoming, conn: Arc<Conn>, link: Arc<Link>, max: usize, idle: Duration) {
    let mut body = pin!(body);
    loop {
        let room = tokio::select! {
            biased;
            room = poll_fn(|cx| conn.poll_body_room(cx)) => room,
            never = link.ask() => match never {},
        };
        if !room {
            break;
        }
        match timeout(idle, poll_fn(|cx| body.as_mut().poll_frame(cx))).await {
            Ok(None) => return conn.finish_body(),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !conn.push_body(&data, max)
                {
                    give_up(&conn, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
                }
            }
            Ok(Some(Err(e))) => {
                broke_off(&conn, &e);
                break;
            }
            Err(_) => give_up(&conn, StatusCode::REQUEST_TIMEOUT, "client_timeout"),
        }
    }
    conn.break_body();
}

/// The client went in the middle of its body, or sent what is no body. Who has
/// an ordinary response under way may have it.
fn broke_off(conn: &Arc<Conn>, error: &hyper::Error) {
    let cause = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    let malformed = cause.is_some_and(|e| {
        matches!(
            e.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        )
    });
    let reason = if malformed {
        "protocol_error"
    } else {
        "client_closed"
    };
    match conn.phase() {
        Phase::Pending => give_up(conn, StatusCode::BAD_REQUEST, reason),
        Phase::Responding => {}
        Phase::Started | Phase::Closed => {
            conn.disconnect(reason.into());
        }
    }
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

/// Ends what the application has not answered, or not in whole.
pub fn refuse_all(conns: &[Arc<Conn>]) {
    for conn in conns.iter().filter(|c| c.is_cut()) {
        match conn.phase() {
            Phase::Pending => {
                give_up(conn, StatusCode::SERVICE_UNAVAILABLE, "server_shutdown");
            }
            Phase::Responding => {
                conn.shut_down("server_shutdown".into());
            }
            Phase::Started | Phase::Closed => {}
        }
    }
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
