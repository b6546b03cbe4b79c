//! Records as the host program reads them: a type byte, the connection's
//! handle, then fields in native byte order, byte strings after a `u32` length.

use super::listen::Peers;
use crate::conn::Conn;
use http::request::Parts;
use http::{Version, header};
use percent_encoding::percent_decode;
use std::time::Duration;

/// A request arrived; the host program owns the handle from now on.
pub const REQUEST: u8 = 1;
/// Request body bytes, or the body's end, can be read.
pub const BODY: u8 = 2;
/// The output queue has fallen below the low mark.
pub const DRAINED: u8 = 3;
/// The connection closed, not by the host program.
pub const CLOSED: u8 = 4;
/// All is over for this request: for logs.
pub const ENDED: u8 = 5;
/// A message for the operator.
pub const LOG: u8 = 6;

/// Set when the request has a body to read.
const HAS_BODY: u8 = 1;
/// Set when the decoded path is well-formed UTF-8.
const PATH_IS_TEXT: u8 = 2;
/// Set when the listener is a Unix socket.
const UNIX: u8 = 4;

fn put(r: &mut Vec<u8>, bytes: &[u8]) {
    r.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
    r.extend_from_slice(bytes);
}

/// A record that says only what happened.
pub fn plain(kind: u8, handle: u64) -> Vec<u8> {
    let mut r = Vec::with_capacity(9);
    r.push(kind);
    r.extend_from_slice(&handle.to_ne_bytes());
    r
}

/// With the reason.
pub fn closed(conn: &Conn) -> Vec<u8> {
    let mut r = plain(CLOSED, conn.handle());
    put(&mut r, conn.reason().unwrap_or_default().as_bytes());
    r
}

/// Status, body bytes sent, milliseconds, reason.
pub fn ended(conn: &Conn, took: Duration) -> Vec<u8> {
    let mut r = plain(ENDED, conn.handle());
    let (status, bytes) = conn.totals();
    r.extend_from_slice(&status.to_ne_bytes());
    r.extend_from_slice(&bytes.to_ne_bytes());
    r.extend_from_slice(&(took.as_millis() as u64).to_ne_bytes());
    put(&mut r, conn.reason().unwrap_or_default().as_bytes());
    r
}

/// A line for the log.
pub fn log(text: &str) -> Vec<u8> {
    let mut r = plain(LOG, 0);
    put(&mut r, text.as_bytes());
    r
}

/// The handle that a request record gives away.
pub fn request_of(record: &[u8]) -> Option<u64> {
    let handle = record.get(1..9)?.try_into().ok()?;
    (record[0] == REQUEST).then(|| u64::from_ne_bytes(handle))
}

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
    r.push(REQUEST);
    r.extend_from_slice(&handle.to_ne_bytes());
    r.push(u8::from(sse));
    r.push(flags);
    put(&mut r, parts.method.as_str().as_bytes());
    let version: &[u8] = match parts.version {
        Version::HTTP_10 => b"1.0",
        _ => b"1.1",
    };
    put(&mut r, version);
    put(&mut r, &path);
    put(&mut r, raw_path.as_bytes());
    put(&mut r, parts.uri.query().unwrap_or("").as_bytes());
    let address = |a: &std::net::SocketAddr| (a.ip().to_string(), a.port());
    let (client, client_port) = peers.client.as_ref().map(address).unwrap_or_default();
    let (server, server_port) = match &peers.server {
        Ok(a) => address(a),
        Err(path) => (path.clone(), 0),
    };
    put(&mut r, client.as_bytes());
    r.extend_from_slice(&client_port.to_ne_bytes());
    put(&mut r, server.as_bytes());
    r.extend_from_slice(&server_port.to_ne_bytes());
    let mut cookies: Vec<&[u8]> = Vec::new();
    for (name, value) in &parts.headers {
        if name == header::COOKIE {
            cookies.push(value.as_bytes());
            continue;
        }
        put(&mut r, name.as_str().as_bytes());
        put(&mut r, value.as_bytes());
    }
    if !cookies.is_empty() {
        // PAGI: several cookie fields are one.
        put(&mut r, b"cookie");
        put(&mut r, &cookies.join(&b"; "[..]));
    }
    r
}
