//! What is framed is parsed back, as chunks too; what is refused would not be.

use crate::core::chunk::{Chunk, Meter};
use crate::core::frame::{Event, comment_len, encode_comment};
use crate::core::json;
use crate::core::parse::{Parsed, Parser};
use arbitrary::{Arbitrary, Unstructured};

#[derive(Arbitrary, Debug)]
enum Item<'a> {
    Event {
        data: Option<&'a str>,
        event: Option<&'a str>,
        id: Option<&'a str>,
        retry: Option<u64>,
    },
    Comment(&'a str),
    Json(&'a str),
}

pub fn run(data: &[u8]) {
    let Ok(items) = Vec::<Item<'_>>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut chunks = Vec::new();
    let mut expected = Vec::new();
    let (mut id, mut retry) = ("", None);
    for item in &items {
        match item {
            Item::Event {
                data,
                event,
                id: new_id,
                retry: new_retry,
            } => {
                let framed = Event {
                    data: *data,
                    event: *event,
                    id: *new_id,
                    retry: *new_retry,
                };
                let is_good = framed.check().is_ok();
                assert_eq!(is_good, fits(event.unwrap_or(""), new_id.unwrap_or("")));
                if !is_good {
                    continue;
                }
                chunks.push(Chunk::new(framed.encoded_len(), |b| framed.encode(b)));
                id = new_id.unwrap_or(id);
                retry = new_retry.or(retry);
                expected.extend(data.map(|data| {
                    let event = event.filter(|e| !e.is_empty()).unwrap_or("message");
                    let data = data.replace("\r\n", "\n").replace('\r', "\n");
                    (event.to_owned(), data, id.to_owned())
                }));
            }
            Item::Comment(text) => {
                chunks.push(Chunk::new(comment_len(text), |b| encode_comment(text, b)));
            }
            Item::Json(text) => compact(text),
        }
    }
    let all: Vec<&Chunk> = chunks.iter().collect();
    let joined = Chunk::join(&all);
    let wire = joined.bytes(false);
    assert_eq!(
        wire,
        all.iter()
            .map(|c| c.bytes(false))
            .collect::<Vec<_>>()
            .concat()
    );

    let mut parser = Parser::new();
    let found = parser.push(wire).filter_map(|item| match item {
        Ok(Parsed::Event(m)) => Some((m.event, m.data, m.last_event_id.to_string())),
        Ok(Parsed::Comment(_)) => None,
        Err(e) => panic!("{e}"),
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!((parser.last_event_id(), parser.retry()), (id, retry));

    let mut meter = Meter::new(false);
    let mut content = meter.pass(b"HTTP/1.1 200 OK\r\n\r\n", true);
    // An empty chunk would end the stream.
    for chunk in chunks.iter().filter(|c| !c.bytes(false).is_empty()) {
        content += meter.pass(chunk.bytes(true), true);
    }
    assert_eq!(content, wire.len() as u64);
}

/// A line each, and the id a field of a request.
fn fits(event: &str, id: &str) -> bool {
    let is_line = |text: &str| !text.contains(['\r', '\n']);
    let is_field = id.chars().all(|c| c == '\t' || !c.is_ascii_control());
    let has_no_space_around = id.trim_matches([' ', '\t']) == id;
    is_line(event) && is_line(id) && is_field && has_no_space_around && id.len() <= 4096
}

fn compact(text: &str) {
    let value: serde_json::Result<serde_json::Value> = serde_json::from_str(text);
    let Ok(short) = json::compact(text) else {
        // One that is too deep, or too large a number, is JSON too.
        assert!(value.is_err(), "{text:?}");
        return;
    };
    assert!(short.len() <= text.len() && !short.contains(['\r', '\n']));
    assert_eq!(json::compact(&short).as_deref(), Ok(&*short));
    let again: serde_json::Result<serde_json::Value> = serde_json::from_str(&short);
    assert_eq!(again.ok(), value.ok());
}
