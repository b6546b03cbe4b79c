//! Properties over arbitrary events, bytes and chunk borders.

use pagi_sse::core::error::{Error, Result};
use pagi_sse::core::frame::{self, Event};
use pagi_sse::core::parse::{Message, Parsed, Parser};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

#[path = "../src/fuzz/naive.rs"]
mod naive;
use naive::naive;

/// Text rich in what could go wrong.
fn text() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "\r", "\n", "\r\n", "\0", ":", " ", "\t", "\u{FEFF}", "\u{2028}", "\u{2029}", "\u{85}",
        "\u{B}", "\u{C}", "é", "😀", "data", "data: x", "event: x", "id: x", "id", "retry: 1",
    ]);
    vec(
        prop_oneof![3 => odd.prop_map(str::to_owned), 1 => ".{0,5}"],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

/// Text for a type.
fn word() -> impl Strategy<Value = String> {
    text().prop_map(|t| t.replace(['\r', '\n', '\0'], ""))
}

/// Text for an id.
fn id() -> impl Strategy<Value = String> {
    let control = |c: char| c.is_ascii_control() && c != '\t';
    text().prop_map(move |t| t.replace(control, "").trim_matches([' ', '\t']).to_owned())
}

/// One thing to write: an event, or a comment.
#[derive(Clone, Debug)]
enum Item {
    Event(Option<String>, Option<String>, Option<String>, Option<u64>),
    Comment(String),
}

fn item() -> impl Strategy<Value = Item> {
    let retry = option::of(prop_oneof![0..5000u64, any::<u64>()]);
    prop_oneof![
        3 => (option::of(text()), option::of(word()), option::of(id()), retry)
            .prop_map(|(data, event, id, retry)| Item::Event(data, event, id, retry)),
        1 => text().prop_map(Item::Comment),
    ]
}

/// Bytes rich in fields, line ends, and parts of characters.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let odd = select(vec![
        &b"\r"[..],
        b"\n",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"data",
        b"data:",
        b"data: ",
        b"event:",
        b"id:",
        b"id",
        b"retry:",
        b"retry:12\n",
        b":",
        b" ",
        b"\0",
        b"x",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xBB",
        b"\xBF",
        b"\xE2\x82",
        b"\xF0\x9F\x98\x80",
        b"\xFF",
    ]);
    let part = prop_oneof![8 => odd.prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..4)];
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Sizes of the chunks, used over and over; 0 is an empty chunk.
fn chunk_sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(0..9usize, 1..6).prop_filter("no progress", |sizes| sizes.iter().any(|&s| s > 0))
}

fn feed(parser: &mut Parser, mut wire: &[u8], sizes: &[usize]) -> Vec<Result<Parsed>> {
    let mut items = Vec::new();
    for size in sizes.iter().cycle() {
        if wire.is_empty() {
            break;
        }
        let (chunk, rest) = wire.split_at(wire.len().min(*size));
        items.extend(parser.push(chunk));
        wire = rest;
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_parsed_back(items in vec(item(), 0..6), sizes in chunk_sizes()) {
        let (mut wire, mut events) = (Vec::new(), Vec::new());
        let (mut last, mut last_retry) = (String::new(), None);
        for item in &items {
            let before = wire.len();
            match item {
                Item::Comment(text) => {
                    frame::encode_comment(text, &mut wire);
                    prop_assert_eq!(wire.len() - before, frame::comment_len(text));
                }
                Item::Event(data, event, id, retry) => {
                    let frame = Event {
                        data: data.as_deref(),
                        event: event.as_deref(),
                        id: id.as_deref(),
                        retry: *retry,
                    };
                    prop_assert_eq!(frame.check(), Ok(()));
                    frame.encode(&mut wire);
                    prop_assert_eq!(wire.len() - before, frame.encoded_len());
                    last_retry = retry.or(last_retry);
                    last = id.clone().unwrap_or(last);
                    let name = event.clone().filter(|e| !e.is_empty());
                    events.extend(data.as_ref().map(|data| Message {
                        event: name.unwrap_or_else(|| "message".into()),
                        data: data.replace("\r\n", "\n").replace('\r', "\n"),
                        last_event_id: last.as_str().into(),
                    }));
                }
            }
        }
        let mut parser = Parser::new();
        let parsed = feed(&mut parser, &wire, &sizes).into_iter().filter_map(|item| match item {
            Ok(Parsed::Event(m)) => Some(m),
            Ok(Parsed::Comment(_)) => None,
            Err(e) => panic!("{e}"),
        });
        prop_assert_eq!(parsed.collect::<Vec<_>>(), events);
        prop_assert_eq!(parser.last_event_id(), last);
        prop_assert_eq!(parser.retry(), last_retry);
    }

    #[test]
    fn a_comment_never_creates_an_event(text in text(), sizes in chunk_sizes()) {
        let mut wire = Vec::new();
        frame::encode_comment(&text, &mut wire);
        prop_assert!(wire.ends_with(b"\n\n"));
        let mut parser = Parser::with_last_event_id("7");
        let items = feed(&mut parser, &wire, &sizes);
        prop_assert!(!items.is_empty());
        prop_assert!(items.iter().all(|i| matches!(i, Ok(Parsed::Comment(_)))), "{:?}", items);
        prop_assert_eq!((parser.retry(), parser.last_event_id()), (None, "7"));
    }

    #[test]
    fn check_refuses_exactly_what_does_not_come_back(event in text(), id in text()) {
        // Written without the check, by hand, would type and id survive?
        let wire = format!("event: {event}\nid: {id}\ndata: x\n\n");
        let items = feed(&mut Parser::new(), wire.as_bytes(), &[wire.len()]);
        let expected = Ok(Parsed::Event(Message {
            event: if event.is_empty() { "message".into() } else { event.clone() },
            data: "x".into(),
            last_event_id: id.as_str().into(),
        }));
        let through_a_header = http::HeaderValue::from_bytes(id.as_bytes()).is_ok();
        let trimmed = id.trim_matches([' ', '\t']) == id;
        let comes_back = items == [expected] && through_a_header && trimmed;
        let ok = frame::check(Some(&event), Some(&id)).is_ok();
        prop_assert_eq!(ok, comes_back, "{:?}", wire);
    }

    #[test]
    fn the_parser_agrees_with_a_naive_reading(wire in wire(), sizes in chunk_sizes()) {
        let (items, last, retry) = naive(&wire);
        let mut parser = Parser::new();
        let parsed: Result<Vec<_>> = feed(&mut parser, &wire, &sizes).into_iter().collect();
        prop_assert_eq!(parsed, Ok(items));
        prop_assert_eq!(parser.last_event_id(), last);
        prop_assert_eq!(parser.retry(), retry);
    }

    #[test]
    fn limits_hold_for_any_chunking(
        wire in wire(),
        sizes in chunk_sizes(),
        (line, event, id) in (0..16usize, 0..16usize, 0..4usize),
    ) {
        let mut whole = Parser::new();
        (whole.line_limit, whole.event_limit, whole.id_limit) = (line, event, id);
        let mut parts = whole.clone();
        let mut items = Vec::new();
        items.extend(whole.push(&wire));
        prop_assert_eq!(feed(&mut parts, &wire, &sizes), &items[..]);
        prop_assert_eq!(whole.last_event_id(), parts.last_event_id());
        prop_assert_eq!(whole.retry(), parts.retry());

        let all = naive(&wire).0;
        let mut rest = all.iter();
        for item in &items {
            match item {
                // No event is invented or changed but in its id, which a
                // dropped block may have set.
                Ok(found) => {
                    let same = |other: &&Parsed| match (found, *other) {
                        (Parsed::Event(a), Parsed::Event(b)) => {
                            (&a.event, &a.data) == (&b.event, &b.data)
                        }
                        (a, b) => a == b,
                    };
                    prop_assert!(rest.find(same).is_some(), "{:?} not in {:?}", found, all);
                    if let Parsed::Event(m) = found {
                        prop_assert!(m.data.len() <= event);
                        prop_assert!(m.last_event_id.len() <= id);
                    }
                }
                Err(e) => prop_assert!(matches!(
                    e,
                    Error::LineTooLong | Error::EventTooLarge | Error::IdTooLong
                )),
            }
        }
    }
}
