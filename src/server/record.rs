//! A request as a record; see [`crate::rt::record`].

use super::listen::Peers;
use crate::rt::record::{HAS_BODY, Kind, PATH_IS_TEXT, UNIX, put};
use http::request::Parts;
use http::{Version, header};
use percent_encoding::percent_decode;

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
