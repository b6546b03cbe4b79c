//! The head of a stream as HTTP/1.1 has it (RFC 9112).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The fields that frame the message are ours (RFC 9112, 6): an application's
/// own are left out. What a stream needs stands beside its others, unless it
/// has its own value.
pub(super) fn head(status: StatusCode, mut fields: HeaderMap, chunked: bool) -> Vec<u8> {
    for ours in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        fields.remove(ours);
    }
    let defaults = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // Asks nginx and others not to hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in defaults {
        fields
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if !fields.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        if let Ok(now) = HeaderValue::from_str(&now) {
            fields.insert(header::DATE, now);
        }
    }
    let mut head = Vec::with_capacity(256);
    let reason = status.canonical_reason().unwrap_or("");
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
    for (name, value) in &fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_the_message_is_ours_and_the_rest_the_applications() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("connection", "keep-alive"),
            ("transfer-encoding", "gzip"),
            ("content-length", "7"),
            ("cache-control", "private"),
            ("x-accel-buffering", "yes"),
            ("set-cookie", "a=1"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        fields.append("set-cookie", HeaderValue::from_static("b=2"));
        let text = |chunked| {
            let head = head(StatusCode::CREATED, fields.clone(), chunked);
            String::from_utf8(head).unwrap()
        };
        let mut lines: Vec<_> = text(true).lines().map(str::to_owned).collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 201 Created");
        assert_eq!(lines.pop().as_deref(), Some(""));
        assert_eq!(lines.pop().as_deref(), Some("connection: close"));
        assert_eq!(lines.pop().as_deref(), Some("transfer-encoding: chunked"));
        lines.sort();
        let own = [
            "cache-control: private",
            "content-type: text/event-stream",
            "date: Thu, 01 Jan 1970 00:00:00 GMT",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "x-accel-buffering: yes",
        ];
        assert_eq!(lines, own);
        assert!(!text(false).contains("chunked"));
    }

    #[test]
    fn a_stream_has_its_fields_and_a_date() {
        let text = String::from_utf8(head(StatusCode::OK, HeaderMap::new(), false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
        for field in [
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache\r\n",
            "x-accel-buffering: no\r\n",
            "date: ",
        ] {
            assert!(text.contains(field), "{field}");
        }
    }
}
