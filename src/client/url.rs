//! Where a stream is.
//!
//! `http://` and `https://` as everywhere; and a Unix socket:
//! `http+unix:/run/app.sock` asks it for `/`, `http+unix:/run/app.sock:/events?x=1`
//! for what stands after the first `:/`. In the socket's path `%3A` is a colon.
//! The request's host is `localhost` unless a field `host` says otherwise.
//! A URL has 65,534 bytes at most, and a host that a request can name.

use crate::core::error::{Error, Failure};
use crate::core::limits::{SOCKET_PATH_BYTES, URL_BYTES, URL_SHOWN};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use url::{Host, Url};

/// A URL that a request can go to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Without a name, a password and a fragment.
    url: Url,
    /// The path as it stood, and as the system wants it.
    socket: Option<(Arc<str>, Arc<Path>)>,
    login: Option<HeaderValue>,
}

const UNIX: &str = "http+unix:";

fn bad(text: &str, why: impl fmt::Display) -> Failure {
    let text = shown(text);
    Failure::new(Error::BadArgument, format!("the URL \"{text}\": {why}"))
}

/// What words say of a text that may be a URL: nobody is to read a password in
/// a log, nor all of what is too long.
fn shown(text: &str) -> String {
    let is_unix = text
        .get(..UNIX.len())
        .is_some_and(|s| s.eq_ignore_ascii_case(UNIX));
    let login = text.find(':').zip(text.rfind('@'));
    let text = match login.filter(|(colon, at)| colon < at && !is_unix) {
        Some((colon, at)) => &format!("{}…{}", &text[..=colon], &text[at..]),
        None => text,
    };
    match text.char_indices().nth(URL_SHOWN) {
        Some((at, _)) => format!("{}…", text[..at].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

impl Target {
    /// What the host program gives. [`Error::BadArgument`] with the reason.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text.contains(|c: char| c.is_control()) {
            return Err(bad(text, "it contains a control character"));
        }
        match text.get(..UNIX.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(UNIX) => Self::unix(&text[UNIX.len()..]),
            _ => Url::parse(text)
                .map_err(|why| why.to_string())
                .and_then(Self::web),
        }
        .map_err(|why| bad(text, why))
    }

    fn unix(rest: &str) -> Result<Self, String> {
        if !rest.starts_with('/') || rest.starts_with("//") {
            return Err("a socket is http+unix:/path or http+unix:/path:/request/path".into());
        }
        let (path, request) = rest.split_at(rest.find(":/").unwrap_or(rest.len()));
        let request = request.strip_prefix(':').unwrap_or("/");
        let bytes: Vec<u8> = percent_decode_str(path).collect();
        if bytes.len() > SOCKET_PATH_BYTES {
            return Err(format!(
                "the socket's path is longer than {SOCKET_PATH_BYTES} bytes"
            ));
        }
        if bytes.contains(&0) {
            return Err("the socket's path contains NUL".into());
        }
        // A request path may begin with two slashes.
        let mut url = Url::parse("http://localhost/").map_err(|e| e.to_string())?;
        let request = request.split('#').next().unwrap_or_default();
        let (path_of, query) = request.split_once('?').unzip();
        url.set_path(path_of.unwrap_or(request));
        url.set_query(query);
        let file = Path::new(OsStr::from_bytes(&bytes));
        Self::of(url, Some((path.into(), file.into())))
    }

    fn web(url: Url) -> Result<Self, String> {
        match url.scheme() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err("this library was built without TLS".into()),
            other => {
                return Err(format!(
                    "the scheme {other} is none of http, https, http+unix"
                ));
            }
        }
        Self::of(url, None)
    }

    fn of(mut url: Url, socket: Option<(Arc<str>, Arc<Path>)>) -> Result<Self, String> {
        let login = login_of(&url);
        url.set_fragment(None);
        // Neither fails where there is a host, and those schemes have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let len = url.as_str().len();
        if len > URL_BYTES {
            return Err(format!("it has {len} bytes, the limit is {URL_BYTES}"));
        }
        // WHATWG's hosts have signs that a request cannot.
        let uri = url.as_str().parse::<Uri>();
        uri.map_err(|why| why.to_string())?;
        Ok(Target { url, socket, login })
    }

    /// Where a `Location` in an answer from here leads to; else why not there.
    pub fn join(&self, location: &[u8], insecure: bool) -> Result<Self, String> {
        let location = String::from_utf8_lossy(location);
        let not = |why: String| format!("it leads to \"{}\"{why}", shown(&location));
        let url = self.url.join(&location);
        let url = url.map_err(|why| not(format!(": {why}")))?;
        if self.socket.is_some() {
            if url.origin() != self.url.origin() {
                return Err(not(", away from the socket".into()));
            }
            let there = Self::of(url, self.socket.clone());
            return there.map_err(|why| not(format!(": {why}")));
        }
        let there = Self::web(url).map_err(|why| not(format!(": {why}")))?;
        if self.is_https() && !there.is_https() && !insecure {
            return Err(format!("it leads from https to \"{there}\""));
        }
        Ok(there)
    }

    /// Scheme, host and port are the same, and the socket.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin() && self.socket() == other.socket()
    }

    /// It needs TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The Unix socket's file.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(|(_, file)| &**file)
    }

    /// A name or an address, an IPv6 address without its brackets.
    pub fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    /// The port, that of the scheme if none was named.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }

    /// `host`, with `:port` unless it is the scheme's.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// `host:port`.
    pub fn host_and_port(&self) -> String {
        format!(
            "{}:{}",
            self.url.host_str().unwrap_or_default(),
            self.port()
        )
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.url[url::Position::BeforePath..]
    }

    /// All of it, as a proxy wants it.
    pub fn absolute(&self) -> &str {
        self.url.as_str()
    }

    /// An `authorization` field, when the URL had a name or a password.
    pub fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }
}

fn login_of(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let text = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// As it was given, without a name, a password and a fragment.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            None => f.write_str(self.url.as_str()),
            Some((path, _)) if self.path() == "/" => write!(f, "{UNIX}{path}"),
            Some((path, _)) => write!(f, "{UNIX}{path}:{}", self.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn a_web_address_has_its_parts() {
        let t = target("http://Example.org:8080/a b?c=d#e");
        assert_eq!(t.to_string(), "http://example.org:8080/a%20b?c=d");
        assert_eq!((t.path(), t.port()), ("/a%20b?c=d", 8080));
        assert_eq!(t.authority(), "example.org:8080");
        let t = target("http://[::1]");
        assert_eq!((&*t.host(), &*t.host_and_port()), ("::1", "[::1]:80"));
        assert_eq!(t.path(), "/");
        assert_eq!(
            target("http://bücher.example/").host(),
            "xn--bcher-kva.example"
        );
    }

    #[test]
    fn a_name_and_a_password_become_a_field_and_are_not_shown() {
        let t = target("http://u%40x:p:q@h/");
        assert_eq!(t.to_string(), "http://h/");
        assert_eq!(t.login().unwrap(), "Basic dUB4OnA6cQ==");
        assert_eq!(
            target("http+unix:/s")
                .join(b"http://u:p@localhost/b", false)
                .unwrap()
                .absolute(),
            "http://localhost/b"
        );
        for text in [
            "http://me:secret@h:99999/",
            "http:me:secret@h:99999",
            "http://me:secret@h/\n",
        ] {
            let wrong = Target::parse(text).unwrap_err().to_string();
            assert!(wrong.contains("\"http:…@h"), "{wrong}");
            let wrong = target("http://h/").join(text.replace('h', "ftp").as_bytes(), false);
            assert!(!wrong.unwrap_err().contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_url_is_as_long_as_a_request_takes_and_an_error_shows_its_beginning() {
        let of = |n: usize| format!("http://h/{}", "x".repeat(n - 9));
        assert_eq!(target(&of(URL_BYTES)).absolute().len(), URL_BYTES);
        let shown = &of(URL_BYTES)[..URL_SHOWN];
        assert_eq!(
            Target::parse(&of(URL_BYTES + 1))
                .unwrap_err()
                .detail
                .unwrap()
                .as_ref(),
            format!("the URL \"{shown}…\": it has 65535 bytes, the limit is 65534")
        );
        let long = of(URL_BYTES + 1);
        for from in ["http://h/", "http+unix:/s"] {
            let why = target(from).join(&long.as_bytes()[8..], false).unwrap_err();
            assert!(why.ends_with("bytes, the limit is 65534"), "{why}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_path_and_perhaps_a_request_path() {
        let t = target("http+unix:/run/app.sock");
        assert_eq!(t.socket(), Some(Path::new("/run/app.sock")));
        assert_eq!((t.path(), &*t.authority()), ("/", "localhost"));
        assert_eq!(t.to_string(), "http+unix:/run/app.sock");
        let t = target("HTTP+unix:/run/a%3Ab%20c:/events?x=:/#y");
        assert_eq!(t.socket(), Some(Path::new("/run/a:b c")));
        assert_eq!(t.path(), "/events?x=:/");
        assert_eq!(t.to_string(), "http+unix:/run/a%3Ab%20c:/events?x=:/");
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused_with_the_reason() {
        let long = format!("http+unix:/{}", "x".repeat(107));
        let cases = [
            ("", "relative URL without a base"),
            ("events", "relative URL without a base"),
            ("/events", "relative URL without a base"),
            ("http://", "empty host"),
            ("http://a b/", "invalid international domain name"),
            ("http://h:70000/", "invalid port number"),
            ("http://a\"b/", "invalid"),
            (
                "ftp://h/",
                "the scheme ftp is none of http, https, http+unix",
            ),
            ("http://h/\n", "it contains a control character"),
            ("http+unix:run/x", "a socket is http+unix:/path"),
            ("http+unix://%2Frun%2Fx/", "a socket is http+unix:/path"),
            ("http+unix:/a%00b", "the socket's path contains NUL"),
            (&long, "longer than 107 bytes"),
        ];
        for (text, why) in cases {
            let failure = Target::parse(text).unwrap_err();
            assert_eq!(failure.error, Error::BadArgument);
            let detail = failure.detail.unwrap();
            let shown = text.escape_debug().to_string();
            assert!(detail.contains(why) && detail.contains(&shown), "{detail}");
        }
    }

    #[test]
    fn a_location_is_resolved_and_may_not_leave_a_socket() {
        let at = |from: &str, to: &str| target(from).join(to.as_bytes(), false);
        assert_eq!(
            at("http://h/a/b", "c?d").unwrap().to_string(),
            "http://h/a/c?d"
        );
        assert_eq!(at("http://h/a", "//i/").unwrap().to_string(), "http://i/");
        assert_eq!(
            at("http+unix:/s:/a/b", "c").unwrap().to_string(),
            "http+unix:/s:/a/c"
        );
        assert_eq!(
            at("http+unix:/s:/a", "http://localhost/b#x")
                .unwrap()
                .to_string(),
            "http+unix:/s:/b"
        );
        for (from, to) in [
            ("http+unix:/s", "http://other/"),
            ("http+unix:/s", "http+unix:/t"),
            ("http://h/", "http+unix:/t"),
            ("http://h/", "file:///etc/passwd"),
            ("http://h/", "http://:1/"),
        ] {
            assert!(at(from, to).is_err(), "{from} {to}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_location_leads_from_https_to_http_by_name_only() {
        let from = target("https://h/");
        let why = from.join(b"http://h/", false).unwrap_err();
        assert_eq!(why, "it leads from https to \"http://h/\"");
        assert!(from.join(b"http://h/", true).is_ok());
        assert!(from.join(b"/b", false).unwrap().is_https());
    }

    #[test]
    fn an_origin_is_scheme_host_port_and_socket() {
        let same = |a, b| target(a).same_origin(&target(b));
        assert!(same("http://h/a", "http://H:80/b"));
        assert!(!same("http://h/", "http://h:81/"));
        assert!(!same("http://h/", "http://i.h/"));
        assert!(same("http+unix:/a:/x", "http+unix:/a"));
        assert!(!same("http+unix:/a", "http+unix:/b"));
        assert!(!same("http+unix:/a", "http://localhost/"));
    }
}
