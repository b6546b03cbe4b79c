//! A request from its bytes to its record, and where its body ends.

use super::body::{Rest, Unfit};
use super::head::{self, Body};
use super::listen::Peers;
use super::record;
use crate::core::limits;
use crate::core::reason::Why;
use crate::ffi::fuzz::asked;
use crate::fuzz::pieces;
use arbitrary::{Arbitrary, Unstructured};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    split: u16,
    sizes: [u8; 4],
    max_body: u16,
    bytes: &'a [u8],
}

pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    refused(input.bytes);
    let whole = head::read(input.bytes);
    let split = usize::from(input.split).min(input.bytes.len());
    match (head::read(&input.bytes[..split]), &whole) {
        (early @ Ok(Some((n, _))), _) => assert!(n <= split && early == whole),
        (Ok(None), Ok(Some((n, _)))) => assert!(*n > split),
        (Ok(None), _) => {}
        // What is refused is refused whatever comes.
        (Err(_), _) => assert!(whole.is_err()),
    }
    agreed(&input);
    if let Ok(Some((n, body))) = whole {
        let (head, rest) = input.bytes.split_at(n);
        record(head);
        ends(body, rest, &input);
    }
}

fn peers() -> Peers {
    Peers {
        client: Some(([127, 0, 0, 1], 1).into()),
        server: Err("/a".into()),
    }
}

/// What is known of any head becomes a record that reads the same.
fn refused(bytes: &[u8]) {
    let known = head::known(bytes);
    assert!(known.target.len() <= limits::REFUSED_TARGET_BYTES);
    assert!(known.fields.len() <= limits::HEADERS);
    let answer = record::Answer {
        status: 400,
        bytes: 0,
        took: Duration::ZERO,
        reason: Why::ProtocolError,
    };
    let seen = asked(&record::answered(&answer, &known, &peers()));
    assert_eq!(seen.conn, 0);
    assert_eq!(
        (&*seen.method, &*seen.version),
        (known.method, known.version)
    );
    let joined = match seen.query.is_empty() {
        true => known.target.starts_with(&seen.raw_path),
        false => [&seen.raw_path[..], b"?", &seen.query].concat() == known.target,
    };
    assert!(joined);
    let fields = known.fields.iter().map(|(n, v)| (n.clone(), v.to_vec()));
    assert_eq!(seen.headers, fields.collect::<Vec<_>>());
}

/// A head that is taken is one that `http` takes, and its record says the same.
fn record(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; limits::HEADERS];
    let mut parsed = httparse::Request::new(&mut fields);
    assert!(parsed.parse(head).is_ok_and(|status| status.is_complete()));
    let (method, target) = (parsed.method.unwrap_or(""), parsed.path.unwrap_or(""));
    let mut request = Request::builder().method(method).uri(target);
    for field in parsed.headers.iter() {
        request = request.header(field.name, field.value);
    }
    let (parts, ()) = request.body(()).expect("what http takes").into_parts();
    let seen = asked(&record::request(7, &parts, &peers(), true, true));
    assert_eq!(seen.conn, 7);
    assert_eq!(seen.method, method.as_bytes());
    assert!(seen.path.len() <= seen.raw_path.len());
    let joined = [&seen.raw_path[..], b"?", &seen.query].concat();
    assert!(joined.len() <= target.len() + 2);
    assert!(target.as_bytes().ends_with(&seen.query));
    let count = |name: &str| {
        let named = |f: &&httparse::Header<'_>| f.name.eq_ignore_ascii_case(name);
        parsed.headers.iter().filter(named).count()
    };
    let others = parsed.headers.len() - count("cookie");
    let own_host = usize::from(parts.uri.authority().is_some() && count("host") == 0);
    let cookies = usize::from(count("cookie") > 0);
    assert_eq!(seen.headers.len(), others + own_host + cookies);
}

/// Where a body ends does not depend on how it comes; in chunks it ends where
/// another reader finds the end.
fn ends(body: Body, bytes: &[u8], input: &Input<'_>) {
    let feed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut rest = Rest::new(body, input.max_body.into());
        let mut used = 0;
        for mut piece in pieces {
            while !piece.is_empty() && !rest.is_over() {
                match rest.take(piece) {
                    Ok(n) => {
                        assert!(n > 0);
                        used += n;
                        piece = &piece[n..];
                    }
                    Err(unfit) => return (used, Err(unfit)),
                }
            }
        }
        (used, Ok(rest.is_over()))
    };
    let whole = feed(&mut std::iter::once(bytes));
    assert_eq!(feed(&mut pieces(bytes, input.sizes)), whole);
    match (body, whole) {
        (Body::Length(n), (used, over)) => {
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            assert_eq!(used, n.min(bytes.len()));
            assert_eq!(over, Ok(used == n));
        }
        (Body::Chunked, (used, Ok(true))) => assert_eq!(chunked_end(bytes), Some(used)),
        (Body::Chunked, _) => {}
    }
}

/// A request: its method and target, and the bytes of its body, without what
/// frames chunks.
type Seen = (String, String, u64);

/// hyper finds the requests, and the ends of their bodies, that we have found:
/// or one could be hidden in another.
fn agreed(input: &Input<'_>) {
    let (mut ours, mut end) = (Vec::new(), 0);
    while let Ok(Some((n, body))) = head::read(&input.bytes[end..]) {
        let from = end + n;
        let mut rest = Rest::new(body, input.max_body.into());
        let mut used = 0;
        while !rest.is_over() && from + used < input.bytes.len() {
            match rest.take(&input.bytes[from + used..]) {
                Ok(n) => used += n,
                Err(Unfit::Malformed | Unfit::TooLarge) => break,
            }
        }
        if !rest.is_over() {
            break;
        }
        let mut fields = [httparse::EMPTY_HEADER; limits::HEADERS];
        let mut parsed = httparse::Request::new(&mut fields);
        assert!(parsed.parse(&input.bytes[end..]).is_ok());
        let size = match body {
            Body::Length(n) => n,
            Body::Chunked => content(&input.bytes[from..from + used]),
        };
        let method = parsed.method.unwrap_or_default().to_owned();
        let target = parsed.path.unwrap_or_default();
        let uri: http::Uri = target.parse().expect("a target");
        ours.push((method, uri.to_string(), size));
        end = from + used;
    }
    let theirs = hyper_finds(&input.bytes[..end]);
    // It ends after one that says so, or is of HTTP/1.0.
    assert!(theirs.len() <= ours.len() && theirs.is_empty() == ours.is_empty());
    assert_eq!(theirs, ours[..theirs.len()]);
}

fn hyper_finds(bytes: &[u8]) -> Vec<Seen> {
    let all = Arc::<Mutex<Vec<Seen>>>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let all = all.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            let mut size = 0;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                let frame = frame.expect("a whole body");
                size += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            let seen = (parts.method.to_string(), parts.uri.to_string(), size);
            all.lock().expect("no panic").push(seen);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits::HEAD_BYTES + 1)
        .max_headers(limits::HEADERS)
        .half_close(true);
    let served = builder.serve_connection(Wire(bytes.to_vec()), service);
    let mut served = pin!(served);
    // The wire is always ready: a few turns for each request.
    let mut context = Context::from_waker(Waker::noop());
    let turns = 10 + bytes.len();
    let over = (0..turns).any(|_| served.as_mut().poll(&mut context).is_ready());
    assert!(over);
    all.lock().expect("no panic").clone()
}

/// Bytes to read, and then an end; what is written is gone.
struct Wire(Vec<u8>);

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let n = buf.remaining().min(self.0.len());
        buf.put_slice(&self.0[..n]);
        self.0.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How much a chunked body has in its chunks.
fn content(body: &[u8]) -> u64 {
    let (mut at, mut all) = (0, 0);
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&body[at..])
        && size > 0
    {
        all += size;
        at += line + usize::try_from(size).expect("of memory") + 2;
    }
    all
}

fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(&bytes[at..]).ok()? {
            httparse::Status::Complete((line, 0)) => {
                at += line;
                break;
            }
            httparse::Status::Complete((line, size)) => {
                at += line + usize::try_from(size).ok()?;
                at = bytes.get(at..)?.starts_with(b"\r\n").then_some(at + 2)?;
            }
            httparse::Status::Partial => return None,
        }
    }
    loop {
        let line = memchr::memmem::find(bytes.get(at..)?, b"\r\n")?;
        at += line + 2;
        if line == 0 {
            return Some(at);
        }
    }
}
