//! A request as a record; see [`crate::host::record`].

use super::head::Known;
use crate::core::reason::Why;
use crate::host::record::{HAS_BODY, Kind, PATH_IS_TEXT, UNIX, plain, put, put_all, put_totals};
use crate::net::listen::Peers;
use http::request::Parts;
use http::{Version, header};
use percent_encoding::percent_decode;
use std::time::Duration;

/// A request, as a PAGI scope wants it.
pub fn request(handle: u64, parts: &Parts, peers: &Peers, sse: bool, body: bool) -> Vec<u8> {
    let raw_path = parts.uri.path();
    let path: Vec<u8> = percent_decode(raw_path.as_bytes()).collect();
    let mut flags = if body { HAS_BODY } else { 0 };
    if std::str::from_utf8(&path).is_ok() {
        flags |= PATH_IS_TEXT;
    }
    if peers.server.is_err() {
        flags |= UNIX;
    }
    let mut r = Vec::with_capacity(512);
    r.push(Kind::Request as u8);
    r.extend_from_slice(&handle.to_ne_bytes());
    r.push(u8::from(sse));
    r.push(flags);
    put(&mut r, &path);
    put(&mut r, parts.method.as_str().as_bytes());
    let version: &[u8] = match parts.version {
        Version::HTTP_10 => b"1.0",
        _ => b"1.1",
    };
    put(&mut r, version);
    put(&mut r, raw_path.as_bytes());
    put(&mut r, parts.uri.query().unwrap_or("").as_bytes());
    put_peers(&mut r, peers);
    put_all(&mut r, |r| put_fields(r, parts));
    r
}

fn put_fields(r: &mut Vec<u8>, parts: &Parts) {
    // The target's own host is the right one (RFC 9112, 3.2.2).
    let target_host = parts.uri.authority().map(|a| a.as_str().as_bytes());
    if let (Some(host), false) = (target_host, parts.headers.contains_key(header::HOST)) {
        put(r, b"host");
        put(r, host);
    }
    let mut cookies: Vec<&[u8]> = Vec::new();
    for (name, value) in &parts.headers {
        if name == header::COOKIE {
            cookies.push(value.as_bytes());
            continue;
        }
        let value = value.as_bytes();
        let host = target_host.filter(|_| name == header::HOST);
        put(r, name.as_str().as_bytes());
        put(r, host.unwrap_or(value));
    }
    if !cookies.is_empty() {
        // PAGI: several cookie fields are one.
        put(r, b"cookie");
        put(r, &cookies.join(&b"; "[..]));
    }
}

fn put_peers(r: &mut Vec<u8>, peers: &Peers) {
    let address = |a: &std::net::SocketAddr| (a.ip().to_string(), a.port());
    let (client, client_port) = peers.client.as_ref().map(address).unwrap_or_default();
    let (server, server_port) = match &peers.server {
        Ok(a) => address(a),
        Err(path) => (path.clone(), 0),
    };
    put(r, client.as_bytes());
    r.extend_from_slice(&client_port.to_ne_bytes());
    put(r, server.as_bytes());
    r.extend_from_slice(&server_port.to_ne_bytes());
}

/// An answer of the server's own.
pub struct Answer {
    pub status: u16,
    pub bytes: u64,
    pub took: Duration,
    pub reason: Why,
}

/// That, to a request of which so much is known.
pub fn answered(answer: &Answer, known: &Known<'_>, peers: &Peers) -> Vec<u8> {
    let mut r = plain(Kind::Answered, 0);
    put_totals(&mut r, answer.status, answer.bytes, answer.took);
    put(&mut r, answer.reason.word().as_bytes());
    put(&mut r, known.method);
    put(&mut r, known.version);
    let (path, query) = match known.target.iter().position(|b| *b == b'?') {
        Some(at) if !known.method.is_empty() => (&known.target[..at], &known.target[at + 1..]),
        _ => (known.target, &b""[..]),
    };
    put(&mut r, path);
    put(&mut r, query);
    put_peers(&mut r, peers);
    put_all(&mut r, |r| {
        for (name, value) in &known.fields {
            put(r, name);
            put(r, value);
        }
    });
    r
}
