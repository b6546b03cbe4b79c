//! HTTP/1: hyper reads every request and writes every ordinary response. When
//! the application starts a stream, the socket is taken back from hyper.

use super::answer::Answer;
use super::gate::{Gate, Told};
use super::head::{self, Fault};
use super::idle;
use super::link::{Ends, Link, Wire};
use super::refusal::{self, Asker};
use super::waits::{Over, Standing, Waits};
use super::{Shared, Stage, record};
use crate::conn::{self, Conn, Decision, Framing};
use crate::core::limits;
use crate::core::reason::Why;
use crate::core::state::Phase;
use crate::net::listen::Peers;
use crate::net::transport::{self, Transport};
use crate::rt::stream;
use crate::wire;
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{timeout, timeout_at};

/// Where the request handler leaves a connection whose stream has begun.
type TakeOver = Arc<Mutex<Option<Arc<Conn>>>>;

/// What comes of a connection that hyper is done with.
enum After {
    Stream(Arc<dyn Transport>, Arc<Conn>),
    /// The client may not have read the last answer.
    Answered(Arc<dyn Transport>),
    /// It was idle, and its place is wanted.
    Room(idle::Called),
    Nothing,
}

/// Serves one accepted connection to its end, or to its stream. `held` was read
/// from it before.
pub fn serve(
    socket: Arc<dyn Transport>,
    peers: Peers,
    shared: Arc<Shared>,
    place: OwnedSemaphorePermit,
    held: BytesMut,
) -> impl Future<Output = ()> {
    // Counts from now on, not when it is polled first.
    let waits = Waits::new(&shared);
    run(socket, peers, shared, place, held, waits)
}

async fn run(
    socket: Arc<dyn Transport>,
    peers: Peers,
    shared: Arc<Shared>,
    place: OwnedSemaphorePermit,
    held: BytesMut,
    waits: Waits,
) {
    let place = Arc::new(place);
    // Boxed, so that the task of a stream does not stay as large as hyper's.
    let after = Box::pin(serve_http(
        socket,
        peers,
        &place,
        shared.clone(),
        held,
        waits,
    ))
    .await;
    match after {
        After::Stream(socket, conn) => {
            let timeout = shared.options.write_timeout;
            // The connection has its place.
            tokio::spawn(stream::run(socket, conn, timeout));
        }
        After::Answered(socket) => Box::pin(transport::see_off(&*socket)).await,
        After::Room(called) => {
            drop(place);
            drop(called);
        }
        After::Nothing => {}
    }
}

async fn serve_http(
    socket: Arc<dyn Transport>,
    peers: Peers,
    place: &Arc<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
    held: BytesMut,
    mut waits: Waits,
) -> After {
    let taken: TakeOver = Arc::default();
    let told = Arc::new(Told::default());
    let link = Link::new(socket, shared.options.write_timeout);
    // Dropped behind `http`.
    let _ends = Ends(link.clone(), || shared.reason_to_end());
    let asker = |since| Asker {
        peers: peers.clone(),
        shared: shared.clone(),
        since,
    };
    let service = service_fn(|request| {
        let asker = asker(Instant::now());
        let (place, link, taken) = (place.clone(), link.clone(), taken.clone());
        let refused = told.refused();
        Box::pin(async move {
            // The response before is with the kernel, then.
            link.idle().await;
            let own = link.clone();
            let response = match refused {
                Some(refused) => asker.refuse(refused.fault, &head::known(&refused.head)),
                None => answer(request, asker, place, taken, link).await,
            };
            if matches!(response.body(), Answer::Fixed(_)) {
                own.answer_own();
            }
            Ok::<_, Infallible>(response)
        })
    });
    let gate = Gate::new(
        Wire::new(link.clone()),
        told.clone(),
        shared.options.max_body,
        held,
    );
    let mut http = http1::Builder::new()
        // `Waits` has the times.
        .header_read_timeout(None)
        // The gate is what bounds a head.
        .max_buf_size(limits::HEAD_BYTES + 1)
        .max_headers(limits::HEADERS)
        // Who ends his side may still want his answer; `Link::gone` watches.
        .half_close(true)
        .serve_connection(TokioIo::new(gate), service);
    let mut stage = shared.stage.subscribe();
    let mut gone = pin!(link.gone());
    let mut draining = false;
    loop {
        let before = waits.standing();
        let progress = poll_fn(|cx| {
            let over = http.poll_without_shutdown(cx);
            match (super::lock(&taken).take(), over) {
                (Some(conn), _) => Poll::Ready(Ok(Ok(Some(conn)))),
                // To hyper it is over once all is in its buffer.
                (None, Poll::Ready(Ok(()))) if link.is_unwritten() => Poll::Pending,
                (None, Poll::Ready(over)) => Poll::Ready(Ok(over.map(|()| None))),
                (None, Poll::Pending) => match (Standing::of(&link, &told), told.heads()) {
                    now if now != before => Poll::Ready(Err(now)),
                    _ => Poll::Pending,
                },
            }
        });
        let over = tokio::select! {
            biased;
            over = progress => match over {
                Ok(over) => over,
                Err((standing, heads)) => {
                    waits.stand(standing, heads);
                    continue;
                }
            },
            () = &mut gone => return After::Nothing,
            _ = stage.wait_for(|s| *s == Stage::Draining), if !draining => {
                draining = true;
                link.hurry();
                told.stop();
                // hyper knows nothing of what the gate has or may still read.
                let comes = !link.is_busy() && link.socket().has_input();
                if !told.is_unfinished() && !comes {
                    std::pin::Pin::new(&mut http).graceful_shutdown();
                }
                continue;
            }
            over = waits.over() => match over {
                Over::Head => break,
                // A request has come just now.
                _ if link.socket().has_input() => {
                    waits.a_little();
                    continue;
                }
                Over::Silent => return After::Nothing,
                Over::Called(called) => return After::Room(called),
            },
        };
        return match over {
            Ok(Some(conn)) => After::Stream(link.socket(), conn),
            Ok(None) | Err(_) if link.is_stuck() => After::Nothing,
            Ok(None) | Err(_) => After::Answered(link.socket()),
        };
    }
    waits.stand(Standing::Own, told.heads());
    let now = Instant::now();
    let asker = asker(now.checked_sub(shared.options.head_timeout).unwrap_or(now));
    let held = http.into_parts().io.into_inner().into_held();
    let known = head::known(&held);
    // A client that takes nothing is told nothing.
    let wait = shared.options.write_timeout;
    let _ = timeout(wait, asker.too_slow(&*link.socket(), &known)).await;
    After::Answered(link.socket())
}

async fn answer(
    request: Request<Incoming>,
    asker: Asker,
    place: Arc<OwnedSemaphorePermit>,
    taken: TakeOver,
    link: Arc<Link>,
) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let shared = asker.shared.clone();
    if is_websocket(&parts.headers) {
        return asker.refuse(refusal::WEBSOCKET, &refusal::known(&parts));
    }
    if body.size_hint().lower() > shared.options.max_body as u64 {
        return asker.refuse(refusal::TOO_LARGE, &refusal::known(&parts));
    }
    let sse = accepts_event_stream(&parts.headers);
    let framing = Framing {
        sse,
        wire: match parts.version {
            Version::HTTP_10 => wire::Wire::Http10,
            _ => wire::Wire::Http11,
        },
        head: parts.method == http::Method::HEAD,
        ..Framing::default()
    };
    let Ok(conn) = shared.desk.make(framing) else {
        return asker.refuse(refusal::NO_HANDLE, &refusal::known(&parts));
    };
    conn.hold(place);
    link.begin(conn.clone(), parts.version != Version::HTTP_10);
    let has_body = !body.is_end_stream();
    let record = record::request(conn.handle(), &parts, &asker.peers, sse, has_body);
    if has_body {
        conn.expect_body();
    }
    if !shared.desk.admit(&conn, Some(record)) {
        link.release();
        return asker.too_late(sse, &refusal::known(&parts));
    }
    asker.tell_begin(&conn, &parts);
    if has_body {
        tokio::spawn(pump(body, conn.clone(), link.clone(), asker));
    }
    let decision = tokio::select! {
        biased;
        decision = poll_fn(|cx| conn.poll_decision(cx)) => decision,
        never = link.doubt() => match never {},
    };
    match decision {
        Decision::Response(status, headers) => {
            link.answer(conn.streams());
            let mut response = Response::new(Answer::Conn(conn, link));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Decision::Stream => {
            // Begun by a hub's replay, which cannot.
            conn.end_if_late();
            link.release();
            *super::lock(&taken) = Some(conn);
            // The connection's task sees it and drops us.
            pending().await
        }
        Decision::Gone { died } => {
            conn.end_if_late();
            let (status, text) = match (died, conn.fault()) {
                (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"),
                (false, Some(fault)) => (StatusCode::BAD_REQUEST, fault.why),
                (false, None) if conn.reason().as_deref() == Some("server_shutdown") => {
                    (refusal::STOPPING.status, refusal::STOPPING.why)
                }
                (false, None) => (StatusCode::SERVICE_UNAVAILABLE, "the request was dropped\n"),
            };
            link.release();
            // Its ENDED record says so.
            conn.answered(status, text.len() as u64);
            conn.transport_ended();
            let mut response = refusal::plain(status, text);
            if conn.is_severed() {
                // The host says that this client has gone.
                refusal::close(&mut response);
            }
            response
        }
    }
}

/// Carries the request body to the connection.
async fn pump(body: Incoming, conn: Arc<Conn>, link: Arc<Link>, asker: Asker) {
    let options = &asker.shared.options;
    let refuse = |fault| {
        asker.notice(fault);
        give_up(&conn, fault, refusal::reason(fault.status));
    };
    let mut until = tokio::time::Instant::now() + options.body_timeout;
    let mut body = pin!(body);
    let mut doubts = 0;
    loop {
        let full = tokio::time::Instant::now();
        let room = loop {
            tokio::select! {
                biased;
                room = poll_fn(|cx| conn.poll_body_room(cx)) => break room,
                asked = link.ask(doubts) => {
                    doubts += 1;
                    if !asked {
                        // Its end is behind what it has sent.
                        conn.widen_body();
                    }
                }
            }
        };
        if !room {
            break;
        }
        // While nobody reads it is not the client who is slow.
        let now = tokio::time::Instant::now();
        until += now - full;
        let by = until.min(now + options.write_timeout);
        match timeout_at(by, poll_fn(|cx| body.as_mut().poll_frame(cx))).await {
            Ok(None) => return conn.finish_body(),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !conn.push_body(&data, options.max_body)
                {
                    refuse(refusal::TOO_LARGE);
                }
            }
            Ok(Some(Err(e))) => {
                match fault_of(&e) {
                    Some(refusal::TOO_LARGE) => refuse(refusal::TOO_LARGE),
                    Some(fault) => {
                        let (why, mut reason) = (fault.why, Why::ClientClosed);
                        if fault == refusal::BAD_BODY {
                            reason = refusal::reason(fault.status);
                            asker.notice(fault);
                            refuse_pending(&conn, fault, reason);
                        }
                        return conn.spoil_body(conn::Fault { why, reason });
                    }
                    // `Link::gone` sees a reset.
                    None => {}
                }
                break;
            }
            Err(_) => refuse(refusal::SLOW_BODY),
        }
    }
    conn.break_body();
}

/// What the client has done wrong in its body; `None`: it has gone.
fn fault_of(error: &hyper::Error) -> Option<Fault> {
    let cause = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Some(refusal::BAD_BODY),
        Some(io::ErrorKind::FileTooLarge) => Some(refusal::TOO_LARGE),
        None | Some(io::ErrorKind::UnexpectedEof) => Some(refusal::CUT_BODY),
        Some(_) => None,
    }
}

/// That answer if nothing has been answered; then the connection is over.
fn give_up(conn: &Arc<Conn>, fault: Fault, reason: Why) {
    if !refuse_pending(conn, fault, reason) {
        conn.shut_down(reason.into());
    }
}

fn refuse_pending(conn: &Arc<Conn>, fault: Fault, reason: Why) -> bool {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CONNECTION, "close"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    conn.refuse(fault.status, fields, fault.why.as_bytes(), reason.into())
}

/// Ends what the application has not answered, or not in whole.
pub fn refuse_all(conns: &[Arc<Conn>]) {
    for conn in conns.iter().filter(|c| c.is_cut()) {
        match conn.phase() {
            Phase::Pending => {
                give_up(conn, refusal::STOPPING, Why::ServerShutdown);
            }
            Phase::Responding => {
                conn.shut_down(Why::ServerShutdown.into());
            }
            Phase::Started | Phase::Closed => {}
        }
    }
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
    values.iter().any(|v| {
        let text = String::from_utf8_lossy(v.as_bytes());
        split_unquoted(&text, ',').any(|range| {
            let mut parts = split_unquoted(range, ';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let refused = parts.any(|p| {
                let q = p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="));
                q.is_some_and(|q| q.parse() == Ok(0.0))
            });
            kind.eq_ignore_ascii_case("text/event-stream") && !refused
        })
    })
}

/// Splits where the character is in no quoted string (RFC 9110, 5.6.4).
fn split_unquoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        quoted ^= c == '"';
        escaped = quoted && c == '\\';
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&str]) -> bool {
        let mut map = HeaderMap::new();
        for v in values {
            let value = header::HeaderValue::from_bytes(v.as_bytes());
            map.append(header::ACCEPT, value.unwrap());
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
        assert!(accepts(&["x/y", "text/event-stream;x=\"\u{e9}, q=0\""]));
        assert!(accepts(&["a/b; c=\"\\\"\", text/event-stream"]));
        assert!(!accepts(&["a/b; note=\"a, text/event-stream\""]));
        assert!(!accepts(&["a/b; note=\"\\\", text/event-stream\""]));
        assert!(!accepts(&["text/event-stream; x=\";\"; q=0.000"]));
        assert!(!accepts(&[]));
    }
}
