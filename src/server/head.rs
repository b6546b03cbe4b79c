//! A request's head as RFC 9110 and 9112 have it, looked at before hyper reads
//! it: hyper takes some that must be refused, and does not say why it refuses
//! others.

use crate::core::limits;
use http::{StatusCode, Uri};
use httparse::{EMPTY_HEADER, Error, Header, Request, Status};
use std::net::Ipv6Addr;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    /// For the client, and for the operator.
    pub why: &'static str,
}

impl Fault {
    pub const fn new(status: StatusCode, why: &'static str) -> Self {
        Fault { status, why }
    }
}

const fn bad(why: &'static str) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, why)
}

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

/// Reads a head; `None` while it is not all there.
pub fn read(bytes: &[u8]) -> Result<Option<(usize, Body)>, Fault> {
    const LARGE: Fault = Fault::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "a request head is above 64 KiB",
    );
    const MANY: Fault = Fault::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "a request head has more than 128 fields",
    );
    // The sentences have the numbers.
    const { assert!(limits::HEAD_BYTES == 64 << 10 && limits::HEADERS == 128) };
    const { assert!(limits::TARGET_BYTES == 32 << 10) };
    const LONG: Fault = Fault::new(StatusCode::URI_TOO_LONG, "a request target is above 32 KiB");
    // Before the rest of the head, which need not come.
    if target_len(bytes) > limits::TARGET_BYTES {
        return Err(LONG);
    }
    let mut fields = [EMPTY_HEADER; limits::HEADERS];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(n)) if n > limits::HEAD_BYTES => Err(LARGE),
        Ok(Status::Complete(n)) => Ok(Some((n, check(&request)?))),
        Ok(Status::Partial) if bytes.len() < limits::HEAD_BYTES => Ok(None),
        Ok(Status::Partial) if line(bytes).is_some() => Err(LARGE),
        Ok(Status::Partial) => Err(LONG),
        Err(Error::TooManyHeaders) => Err(MANY),
        // Which version is known when the line is all there.
        Err(Error::Version) if line(bytes).is_some() => Err(version(bytes)),
        Err(Error::Version) if bytes.len() < limits::HEAD_BYTES => Ok(None),
        Err(Error::HeaderName) => Err(bad("a malformed header field")),
        Err(Error::HeaderValue) => Err(bad("a malformed value of a header field")),
        Err(_) if bytes.starts_with(b"\x16") => Err(bad("TLS on a port that speaks plain HTTP")),
        Err(_) => Err(bad("a malformed request line")),
    }
}

/// How long the target is, as far as it is there.
fn target_len(bytes: &[u8]) -> usize {
    let from = bytes.iter().position(|b| !b"\r\n".contains(b));
    let rest = &bytes[from.unwrap_or(bytes.len())..];
    let Some(at) = memchr::memchr(b' ', rest) else {
        return 0;
    };
    let target = &rest[at + 1..];
    memchr::memchr3(b' ', b'\r', b'\n', target).unwrap_or(target.len())
}

/// The request line, if it is all there.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let from = bytes.iter().position(|b| !b"\r\n".contains(b))?;
    let rest = &bytes[from..];
    let line = &rest[..memchr::memchr(b'\n', rest)?];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn version(bytes: &[u8]) -> Fault {
    let line = line(bytes).unwrap_or_default();
    let last = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    match last {
        _ if line == b"PRI * HTTP/2.0" => Fault::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "HTTP/2 on a port that speaks HTTP/1.1",
        ),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Fault::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "an HTTP version other than 1.1 and 1.0",
        ),
        _ => bad("a malformed request line"),
    }
}

fn check(request: &Request<'_, '_>) -> Result<Body, Fault> {
    target(
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    )?;
    let is_11 = request.version == Some(1);
    host(is_11, request.headers)?;
    body(is_11, request.headers)
}

fn target(method: &str, target: &str) -> Result<(), Fault> {
    const NONE: Fault = bad("a request target that is none");
    // A tunnel is for proxies; no resource of ours could have one (RFC 9110,
    // 9.1: 501 for a method that is not implemented at all).
    if method == "CONNECT" {
        return Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "CONNECT"));
    }
    let uri: Uri = target.parse().map_err(|_| NONE)?;
    match (uri.scheme_str(), target.as_bytes()[0]) {
        // What Uri leaves out would make two targets equal.
        _ if target.contains('#') => return Err(NONE),
        (None, b'/') => {}
        (None, b'*') if target == "*" && method == "OPTIONS" => {}
        (Some("http"), _) => {
            let authority = uri.authority().map_or("", |a| a.as_str());
            if authority.starts_with(':') || !is_host(authority.as_bytes()) || authority.is_empty()
            {
                return Err(NONE);
            }
        }
        (Some("https"), _) => {
            return Err(Fault::new(
                StatusCode::MISDIRECTED_REQUEST,
                "a request for https on a port that speaks plain HTTP",
            ));
        }
        _ => return Err(NONE),
    }
    escapes(uri.path().as_bytes())
}

/// A percent sign without its two digits would be taken as it is, and so
/// would `%25`: two paths, one after decoding.
fn escapes(path: &[u8]) -> Result<(), Fault> {
    let good = |at: usize| {
        let digits = path.get(at + 1..at + 3);
        digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    match memchr::memchr_iter(b'%', path).all(good) {
        true => Ok(()),
        false => Err(bad("a malformed percent escape")),
    }
}

fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = fields
        .iter()
        .filter(move |f| f.name.eq_ignore_ascii_case(name));
    named.map(|f| f.value)
}

fn host(is_11: bool, fields: &[Header<'_>]) -> Result<(), Fault> {
    let mut hosts = values(fields, "host");
    match (hosts.next(), hosts.next()) {
        (None, _) if is_11 => Err(bad("no Host field")),
        (Some(_), Some(_)) => Err(bad("two Host fields")),
        (Some(host), None) if !is_host(host) => Err(bad("a malformed Host field")),
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]`; the host may be empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    let (host_is_good, port) = match value.strip_prefix('[').map(|v| v.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
            let is_good = name.bytes().all(is_name) && escapes(name.as_bytes()).is_ok();
            (is_good, port)
        }
    };
    let port_is_good = match port.strip_prefix(':') {
        Some("") => true,
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    host_is_good && port_is_good
}

fn body(is_11: bool, fields: &[Header<'_>]) -> Result<Body, Fault> {
    let mut length = None;
    for value in values(fields, "content-length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(bad("a malformed Content-Length field"));
        }
        let digits = std::str::from_utf8(value).unwrap_or_default();
        // hyper keeps the largest numbers for itself.
        let n = digits.parse().ok().filter(|n| *n < u64::MAX - 7);
        let n = n.ok_or(Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request body is too large",
        ))?;
        if length.replace(n).is_some_and(|other| other != n) {
            return Err(bad("two Content-Length fields that differ"));
        }
    }
    let codings: Vec<&[u8]> = values(fields, "transfer-encoding")
        .flat_map(|v| v.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let Some((last, others)) = codings.split_last() else {
        return Ok(Body::Length(length.unwrap_or(0)));
    };
    let is_chunked = |c: &[u8]| c.eq_ignore_ascii_case(b"chunked");
    if !is_11 {
        return Err(bad("a Transfer-Encoding field in HTTP/1.0"));
    }
    if length.is_some() {
        // Two readers may disagree where such a request ends.
        return Err(bad("Transfer-Encoding and Content-Length in one request"));
    }
    if codings.contains(&&b""[..]) {
        return Err(bad("a malformed Transfer-Encoding field"));
    }
    if others.iter().any(|c| is_chunked(c)) {
        return Err(bad("a transfer coding after chunked"));
    }
    if !others.is_empty() || !is_chunked(last) {
        return Err(Fault::new(
            StatusCode::NOT_IMPLEMENTED,
            "a transfer coding other than chunked",
        ));
    }
    Ok(Body::Chunked)
}

/// What a refused head says, as far as it can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// It begins as a HEAD: no answer to it has a body.
    pub is_head: bool,
    /// Empty, like `version`, when the request line is malformed: then
    /// `target` is the line.
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub version: &'a [u8],
    pub fields: Vec<(Vec<u8>, &'a [u8])>,
}

/// Reads what can be read.
pub fn known(bytes: &[u8]) -> Known<'_> {
    let from = bytes.iter().position(|b| !b"\r\n".contains(b));
    let bytes = &bytes[from.unwrap_or(bytes.len())..];
    let mut lines = bytes.split(|b| *b == b'\n');
    let mut known = Known {
        is_head: bytes.starts_with(b"HEAD "),
        ..Known::default()
    };
    let line = lines.next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    match words[..] {
        [method, target, version] if !method.is_empty() && version.starts_with(b"HTTP/") => {
            known.method = method;
            known.target = target;
            known.version = &version[5..];
        }
        _ => known.target = line,
    }
    known.target = &known.target[..known.target.len().min(limits::REFUSED_TARGET_BYTES)];
    for line in lines.take(limits::HEADERS).map(<[u8]>::trim_ascii) {
        match memchr::memchr(b':', line) {
            Some(at) => known
                .fields
                .push((line[..at].to_ascii_lowercase(), line[at + 1..].trim_ascii())),
            None if line.is_empty() => break,
            None => {}
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str) -> u16 {
        match read(head.as_bytes()) {
            Ok(Some((n, _))) if n == head.len() => 200,
            Ok(Some(_)) => 1,
            Ok(None) => 0,
            Err(fault) => fault.status.as_u16(),
        }
    }

    fn with(field: &str) -> u16 {
        answer(&format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"))
    }

    #[test]
    fn request_lines() {
        for (line, status) in [
            ("GET / HTTP/1.1", 200),
            ("GET /a?b#c HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
            ("OPTIONS * HTTP/1.1", 200),
            ("OPTIONS *a HTTP/1.1", 400),
            ("CONNECT h:80 HTTP/1.1", 501),
            ("GET echo HTTP/1.1", 400),
            ("GET h:80 HTTP/1.1", 400),
            ("GET ?a HTTP/1.1", 400),
            ("GET http://h HTTP/1.1", 200),
            ("GET HTTP://h:80/a?b HTTP/1.1", 200),
            ("GET http://u@h/ HTTP/1.1", 400),
            ("GET http://:80/ HTTP/1.1", 400),
            ("GET http:///a HTTP/1.1", 400),
            ("GET https://h/ HTTP/1.1", 421),
            ("GET ftp://h/ HTTP/1.1", 400),
            ("GET /%2 HTTP/1.1", 400),
            ("GET /%zz HTTP/1.1", 400),
            ("GET /%25zz?%zz HTTP/1.1", 200),
            ("GET / HTTP/2.0", 505),
            ("GET / HTTP/1.2", 505),
            ("GET / HTTP/11", 400),
            ("GET /", 400),
            ("GET  / HTTP/1.1", 400),
            ("G\u{e9}T / HTTP/1.1", 400),
            ("NONSENSE", 400),
        ] {
            let head = format!("{line}\r\nHost: h\r\n\r\n");
            assert_eq!(answer(&head), status, "{line}");
        }
        assert_eq!(answer("\r\n\nGET / HTTP/1.0\n\n"), 200);
    }

    #[test]
    fn a_head_is_refused_as_soon_as_its_fault_is_there() {
        assert_eq!(answer("\x16\x03\x01\x02"), 400);
        assert_eq!(answer("PRI * HTTP/2.0\r\n"), 505);
        assert_eq!(answer("GET / HTTP/2"), 0);
        assert_eq!(answer("NONSENSE\r\n"), 400);
        assert_eq!(answer("GET / HTTP/1.1\r\nHost : h\r\n"), 400);
        assert_eq!(answer("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n"), 400);
        assert_eq!(answer("GET / HTTP/1.1\r\nHost: h\0\r\n"), 400);
        assert_eq!(answer("GET / HTTP/1.1\r\nHost: h\rx"), 400);
        assert_eq!(answer("GET / HTTP/1.1\r\nHost: h\r\n"), 0);
    }

    #[test]
    fn limits_hold() {
        let long = "x".repeat(limits::HEAD_BYTES);
        let target = "x".repeat(limits::TARGET_BYTES - 1);
        assert_eq!(answer(&format!("GET /{target}")), 0);
        assert_eq!(answer(&format!("GET /{target} HTTP/1.0\r\n\r\n")), 200);
        assert_eq!(answer(&format!("GET /{target}x")), 414);
        assert_eq!(answer(&format!("GET /{target}x HTTP/1.0\r\n\r\n")), 414);
        assert_eq!(answer(&format!("GET /{long}")), 414);
        assert_eq!(
            answer(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}")),
            431
        );
        assert_eq!(with(&format!("X: {long}")), 431);
        assert_eq!(with(&"a: b\r\n".repeat(limits::HEADERS)), 431);
    }

    #[test]
    fn host_fields() {
        for (host, good) in [
            ("", true),
            ("a_b.example:80", true),
            ("a:", true),
            ("127.0.0.1:65535", true),
            ("[::1]", true),
            ("[::1]:80", true),
            ("%41", true),
            ("a%4", false),
            ("a b", false),
            ("a/b", false),
            ("a@b", false),
            ("a\\b", false),
            ("a:b", false),
            ("a:65536", false),
            ("a:+1", false),
            ("a:80:80", false),
            ("[::1", false),
            ("[::1]80", false),
            ("[x]", false),
            ("::1", false),
            ("\u{e9}", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(answer(&head), if good { 200 } else { 400 }, "{host}");
        }
        assert_eq!(answer("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(answer("GET http://h/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(answer("GET / HTTP/1.0\r\n\r\n"), 200);
        assert_eq!(with("host: h"), 400);
    }

    #[test]
    fn bodies() {
        for (fields, status) in [
            ("Content-Length: 5", 200),
            ("Content-Length: 5\r\ncontent-length: 5", 200),
            ("Content-Length: 5\r\nContent-Length: 6", 400),
            ("Content-Length: 5, 5", 400),
            ("Content-Length: 5, 6", 400),
            ("Content-Length: +5", 400),
            ("Content-Length: -5", 400),
            ("Content-Length: 0x5", 400),
            ("Content-Length:", 400),
            ("Content-Length: 18446744073709551615", 413),
            ("Content-Length: 18446744073709551616", 413),
            ("Content-Length: 99999999999999999999999", 413),
            ("Transfer-Encoding: Chunked", 200),
            ("Transfer-Encoding: chunked, chunked", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                400,
            ),
            ("Transfer-Encoding: chunked, gzip", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
            ("Transfer-Encoding: gzip", 501),
            ("Transfer-Encoding: identity", 501),
            ("Transfer-Encoding:", 400),
            ("Transfer-Encoding: chunked,", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ] {
            assert_eq!(with(fields), status, "{fields}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(answer(old), 400);
    }

    #[test]
    fn what_is_known_of_a_refused_head() {
        let k = known(b"\r\nGET /a?b HTTP/1.1\r\nUser-Agent:  me \r\nbroken\r\nX:\r\n\r\nbody: x");
        assert_eq!(
            (k.method, k.target, k.version),
            (&b"GET"[..], &b"/a?b"[..], &b"1.1"[..])
        );
        let fields = vec![
            (b"user-agent".to_vec(), &b"me"[..]),
            (b"x".to_vec(), &b""[..]),
        ];
        assert_eq!(k.fields, fields);
        let k = known(b"\x16\x03 x");
        assert_eq!((k.method, k.target), (&b""[..], &b"\x16\x03 x"[..]));
        assert_eq!(known(b"").target, b"");
    }
}
