//! The conformance vectors of `sse-rules.md`. Each parser vector runs whole,
//! byte by byte, and split in two at every position, with one result (P2).

use pagi_sse::core::error::Result;
use pagi_sse::core::frame::{self, Event};
use pagi_sse::core::parse::{Parsed, Parser};

type Items = Vec<Result<Parsed>>;

/// Feeds the chunks; gives what came out and the parser.
fn run<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Items, Parser) {
    let mut parser = Parser::new();
    let mut items = Vec::new();
    for chunk in chunks {
        items.extend(parser.push(chunk));
    }
    (items, parser)
}

#[track_caller]
fn run_every_way(wire: &[u8]) -> (Items, Parser) {
    let (items, parser) = run([wire]);
    let same = |(other, p): (Items, Parser), how: &str| {
        assert_eq!(other, items, "{how}");
        assert_eq!(p.last_event_id(), parser.last_event_id(), "{how}");
        assert_eq!(p.retry(), parser.retry(), "{how}");
    };
    same(run(wire.chunks(1)), "byte by byte");
    same(
        run(wire.chunks(1).flat_map(|byte| [byte, b""])),
        "with empty chunks",
    );
    for at in 0..=wire.len() {
        let (left, right) = wire.split_at(at);
        same(run([left, right]), &format!("split at {at}"));
    }
    (items, parser)
}

/// Checks the events as (type, data, last id); gives the parser.
#[track_caller]
fn expect(wire: impl AsRef<[u8]>, events: &[(&str, &str, &str)]) -> Parser {
    let (items, parser) = run_every_way(wire.as_ref());
    let got: Vec<_> = items
        .iter()
        .filter_map(|item| match item.as_ref().expect("within the limits") {
            Parsed::Event(m) => Some((&*m.event, &*m.data, &*m.last_event_id)),
            Parsed::Comment(_) => None,
        })
        .collect();
    assert_eq!(got, events);
    parser
}

/// [`expect`] for events of the default type without an id.
#[track_caller]
fn expect_data(wire: impl AsRef<[u8]>, data: &[&str]) -> Parser {
    let events: Vec<_> = data.iter().map(|d| ("message", *d, "")).collect();
    expect(wire, &events)
}

// ---- The stream: BOM, lines, comments ----

#[test]
fn a_bom_at_the_start_is_dropped() {
    expect_data("\u{FEFF}data:1\n\ndata:2\n\n", &["1", "2"]);
}

#[test]
fn a_second_bom_is_part_of_the_field_name() {
    expect_data("\u{FEFF}\u{FEFF}data:1\n\ndata:2\n\n", &["2"]);
}

#[test]
fn a_later_bom_is_part_of_the_field_name() {
    expect_data(
        "\u{FEFF}data:1\n\n\u{FEFF}data:2\n\ndata:3\n\n",
        &["1", "3"],
    );
    expect_data("\n\u{FEFF}data:1\n\ndata:2\n\n", &["2"]);
}

#[test]
fn a_bom_inside_data_is_text() {
    expect_data("data:\u{FEFF}1\u{FEFF}\n\n", &["\u{FEFF}1\u{FEFF}"]);
}

#[test]
fn part_of_a_bom_is_no_bom() {
    expect_data(b"\xEF\xBBdata:1\n\ndata:2\n\n", &["2"]);
    expect_data(b"\xEF\n\ndata:2\n\n", &["2"]);
    expect_data(b"\xEF\xBB", &[]);
}

#[test]
fn a_lone_cr_ends_its_line() {
    expect_data("data:1\rdata:2\r\r", &["1\n2"]);
}

#[test]
fn a_lone_cr_ends_its_line_at_once() {
    let mut parser = Parser::new();
    assert_eq!(parser.push(b"data:1\r\r").count(), 1);
    assert_eq!(parser.push(b"\n").count(), 0);
}

#[test]
fn crlf_ends_one_line() {
    expect_data("data:1\r\ndata:2\r\n\r\ndata:3\r\n\r\n", &["1\n2", "3"]);
}

#[test]
fn lf_cr_is_two_line_ends() {
    expect_data("data:1\n\rdata:2\n\r", &["1", "2"]);
}

#[test]
fn line_ends_may_be_mixed() {
    expect_data("data:test\r\ndata\ndata:test\r\n\r", &["test\n\ntest"]);
    expect_data(
        "data:1\rdata:2\ndata:3\r\n\ndata:4\r\r\n",
        &["1\n2\n3", "4"],
    );
}

#[test]
fn other_breaks_of_unicode_are_text() {
    for text in ["\u{2028}", "\u{2029}", "\u{85}", "\u{B}", "\u{C}"] {
        let text = format!("a{text}b");
        expect_data(format!("data:{text}\n\n"), &[&text]);
    }
}

#[test]
fn comments_between_data_lines_are_ignored() {
    let long = "x".repeat(2048);
    expect_data(
        format!(
            "data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\r\ndata:4\n:{long}\n\n"
        ),
        &["1\n2\n3\n4"],
    );
}

#[test]
fn comments_are_reported_as_they_are() {
    let (items, _) = run_every_way(b": ping\r:\n::\0 a:b\r\n\n");
    let comments = [" ping", "", ":\0 a:b"];
    assert_eq!(items, comments.map(|c| Ok(Parsed::Comment(c.to_owned()))));
}

#[test]
fn a_comment_alone_dispatches_nothing() {
    expect_data(":data:1\n\n", &[]);
}

#[test]
fn invalid_utf8_is_replaced_by_maximal_parts() {
    // Table 3-8 of the Unicode standard, then a cut-off sequence at a line end.
    expect_data(
        b"data:\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64\n\n",
        &["a\u{FFFD}\u{FFFD}\u{FFFD}b\u{FFFD}c\u{FFFD}\u{FFFD}d"],
    );
    expect_data(b"data:\xE2\x82\n\n", &["\u{FFFD}"]);
    expect_data(b"data:\xC0\xAF\xED\xA0\x80\n\n", &[&"\u{FFFD}".repeat(5)]);
}

#[test]
fn invalid_utf8_in_an_id_and_a_type_is_replaced() {
    expect(
        b"id:\xFF\nevent:\xFF\ndata:\xFF\n\n",
        &[("\u{FFFD}", "\u{FFFD}", "\u{FFFD}")],
    );
}

#[test]
fn invalid_utf8_in_a_field_name_hides_the_field() {
    expect_data(b"\xFFdata:1\ndata\xC2:2\ndata:3\n\n", &["3"]);
}

#[test]
fn characters_of_every_length_survive() {
    expect_data("data:aé€😀\n\n", &["aé€😀"]);
}

// ---- Blocks ----

#[test]
fn an_unfinished_last_block_is_dropped() {
    let parser = expect_data("retry:1000\ndata:test1\n\nid:test\ndata:test2", &["test1"]);
    assert_eq!(parser.last_event_id(), "");
    let parser = expect_data("data:test1\n\nid:test\ndata:test2\n", &["test1"]);
    assert_eq!(parser.last_event_id(), "");
}

#[test]
fn blank_lines_alone_dispatch_nothing() {
    expect_data("\n\r\r\n\n", &[]);
    expect_data("data:\0\n\n\n\n", &["\0"]);
}

#[test]
fn a_block_without_data_dispatches_nothing_but_keeps_its_id() {
    let parser = expect("event:x\nid:7\n\ndata:1\n\n", &[("message", "1", "7")]);
    assert_eq!(parser.last_event_id(), "7");
    let parser = expect_data("id:7\n\n", &[]);
    assert_eq!(parser.last_event_id(), "7");
}

#[test]
fn the_last_field_of_a_kind_wins_and_order_is_free() {
    let parser = expect(
        "id:1\ndata:x\nevent:a\nretry:1\nretry:2\nevent:b\nid:2\n\n",
        &[("b", "x", "2")],
    );
    assert_eq!(parser.retry(), Some(2));
}

// ---- data ----

#[test]
fn data_may_be_empty_or_newline_only_or_plain() {
    expect_data("data:\n\ndata\ndata\n\ndata:test\n\n", &["", "\n", "test"]);
}

#[test]
fn a_leading_tab_is_kept_and_one_leading_space_dropped() {
    expect_data("data:\ttest\rdata: \ndata:test\n\n", &["\ttest\n\ntest"]);
    expect_data("data:  a \n\n", &[" a "]);
}

#[test]
fn nul_is_text_in_data_and_type() {
    expect("event:\0\ndata:a\0b\n\n", &[("\0", "a\0b", "")]);
}

#[test]
fn the_value_begins_after_the_first_colon() {
    expect_data("data::a:b\n\n", &[":a:b"]);
}

// ---- event ----

#[test]
fn a_type_holds_for_one_event() {
    expect(
        "event:test\ndata:x\n\ndata:x\n\n",
        &[("test", "x", ""), ("message", "x", "")],
    );
}

#[test]
fn a_type_without_data_is_forgotten() {
    expect_data("event:test\n\ndata:x\n\n", &["x"]);
}

#[test]
fn an_empty_type_is_message() {
    expect_data("event: \ndata:1\n\nevent\ndata:2\n\n", &["1", "2"]);
    expect_data("event:a\nevent:\ndata:1\n\n", &["1"]);
}

// ---- id ----

#[test]
fn an_id_is_kept_over_later_events() {
    expect(
        "id:1\ndata:a\n\ndata:b\n\ndata:c\n\n",
        &[
            ("message", "a", "1"),
            ("message", "b", "1"),
            ("message", "c", "1"),
        ],
    );
}

#[test]
fn an_empty_id_resets() {
    for reset in ["id:", "id", "id: "] {
        let parser = expect(
            format!("id:1\ndata:a\n\n{reset}\ndata:b\n\n"),
            &[("message", "a", "1"), ("message", "b", "")],
        );
        assert_eq!(parser.last_event_id(), "");
    }
}

#[test]
fn an_id_with_nul_anywhere_is_ignored() {
    for id in ["\0\0", "x\0", "\0x", "x\0x", " \0"] {
        expect_data(format!("id:{id}\ndata:a\n\n"), &["a"]);
        expect(
            format!("id:1\nid:{id}\ndata:a\n\n"),
            &[("message", "a", "1")],
        );
    }
}

#[test]
fn a_seeded_id_outlives_events_without_one() {
    let mut parser = Parser::with_last_event_id("41");
    let items: Vec<_> = parser.push(b"data:a\n\n").collect();
    assert!(matches!(&items[..], [Ok(Parsed::Event(m))] if &*m.last_event_id == "41"));
    assert_eq!(parser.last_event_id(), "41");
}

// ---- retry ----

#[test]
fn leading_zeros_in_retry_are_fine() {
    assert_eq!(expect_data("retry:03000\n", &[]).retry(), Some(3000));
    let zeros = "0".repeat(40);
    let parser = expect_data(format!("retry: {zeros}7\n"), &[]);
    assert_eq!(parser.retry(), Some(7));
}

#[test]
fn a_bogus_retry_leaves_the_old_one() {
    for bogus in [
        "1000x", "x", "+1", "-1", "1.5", "0x10", "1_000", "1e3", " 1", "1 ", "\t1", "٣", "1\0",
    ] {
        let parser = expect_data(format!("retry:3000\nretry: {bogus}\ndata:x\n\n"), &["x"]);
        assert_eq!(parser.retry(), Some(3000), "{bogus:?}");
    }
}

#[test]
fn an_empty_retry_is_no_number() {
    for empty in ["retry", "retry:", "retry: "] {
        let parser = expect_data(format!("{empty}\ndata:test\n\n"), &["test"]);
        assert_eq!(parser.retry(), None);
        let parser = expect_data(format!("retry:5\n{empty}\n"), &[]);
        assert_eq!(parser.retry(), Some(5));
    }
}

#[test]
fn a_retry_outlives_its_event_and_counts_without_data() {
    let parser = expect_data("retry:10\n\ndata:a\n\ndata:b\n\n", &["a", "b"]);
    assert_eq!(parser.retry(), Some(10));
}

#[test]
fn a_retry_too_big_for_a_number_is_the_biggest() {
    for (digits, ms) in [
        ("18446744073709551615", u64::MAX),
        ("18446744073709551616", u64::MAX),
        ("9999999999999999999999", u64::MAX),
    ] {
        let parser = expect_data(format!("retry:{digits}\n"), &[]);
        assert_eq!(parser.retry(), Some(ms));
    }
}

// ---- Field names ----

#[test]
fn field_names_are_taken_literally() {
    // Other cases, NUL, spaces, other characters.
    expect_data(
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r\
         data:\r\n data:32\ndata:4\n\n",
        &["\0\n 2\n1\n3\n\n4"],
    );
    let parser = expect_data(
        "ID:1\n id:1\nid :1\nEvent:x\nevent :x\nRETRY:1\nretry :1\nDATA:x\ndata :x\ndata:y\n\n",
        &["y"],
    );
    assert_eq!(parser.retry(), None);
    assert_eq!(parser.last_event_id(), "");
}

#[test]
fn unknown_fields_are_ignored() {
    expect_data(
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        &["test\n\ntest"],
    );
}

// ---- The encoder: event in, exact bytes out, event back ----

#[track_caller]
fn encodes(event: Event, wire: &str) -> Parser {
    let mut out = Vec::new();
    assert_eq!(event.check(), Ok(()));
    event.encode(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), wire);
    assert_eq!(event.encoded_len(), wire.len());

    let name = event.event.filter(|e| !e.is_empty()).unwrap_or("message");
    let data = event
        .data
        .map(|d| d.replace("\r\n", "\n").replace('\r', "\n"));
    let back = data.as_deref().map(|d| (name, d, event.id.unwrap_or("")));
    let parser = expect(wire, back.as_slice());
    assert_eq!(parser.retry(), event.retry);
    assert_eq!(parser.last_event_id(), event.id.unwrap_or(""));
    parser
}

#[track_caller]
fn encodes_data(data: &str, wire: &str) {
    let event = Event {
        data: Some(data),
        ..Event::default()
    };
    encodes(event, wire);
}

#[test]
fn plain_data_is_one_line() {
    encodes_data("hello", "data: hello\n\n");
}

#[test]
fn empty_data_is_one_empty_line() {
    encodes_data("", "data: \n\n");
}

#[test]
fn every_piece_of_data_has_a_line() {
    encodes_data("\n", "data: \ndata: \n\n");
    encodes_data("a\n", "data: a\ndata: \n\n");
    encodes_data("\na", "data: \ndata: a\n\n");
    encodes_data("a\nb\n\nc", "data: a\ndata: b\ndata: \ndata: c\n\n");
}

#[test]
fn crlf_in_data_is_one_break_and_cr_is_one_too() {
    encodes_data("a\r\nb\rc\nd", "data: a\ndata: b\ndata: c\ndata: d\n\n");
    encodes_data("\r\n", "data: \ndata: \n\n");
    encodes_data("\n\r", "data: \ndata: \ndata: \n\n");
    encodes_data("\r\r\n", "data: \ndata: \ndata: \n\n");
}

#[test]
fn data_cannot_forge_a_field_or_an_event() {
    encodes_data(
        "x\rid: 1\r\n\r\nevent: y",
        "data: x\ndata: id: 1\ndata: \ndata: event: y\n\n",
    );
}

#[test]
fn leading_white_space_and_colons_survive() {
    encodes_data(" a", "data:  a\n\n");
    encodes_data("\ta", "data: \ta\n\n");
    encodes_data(":a", "data: :a\n\n");
}

#[test]
fn nul_bom_and_breaks_of_unicode_survive_in_data() {
    let text = "\u{FEFF}\0\u{2028}\u{2029}\u{85}\u{B}\u{C}😀";
    encodes_data(text, &format!("data: {text}\n\n"));
}

#[test]
fn fields_come_in_a_fixed_order() {
    let event = Event {
        data: Some("a\nb"),
        event: Some("tick"),
        id: Some("7"),
        retry: Some(3000),
    };
    encodes(
        event,
        "event: tick\nid: 7\nretry: 3000\ndata: a\ndata: b\n\n",
    );
}

#[test]
fn an_empty_type_is_not_written() {
    let event = Event {
        data: Some("a"),
        event: Some(""),
        ..Event::default()
    };
    encodes(event, "data: a\n\n");
}

#[test]
fn type_and_id_keep_their_spaces_case_and_odd_characters() {
    let event = Event {
        data: Some("a"),
        event: Some(" T\0\u{2028}:"),
        id: Some(":x\u{FEFF}"),
        retry: Some(0),
    };
    encodes(
        event,
        "event:  T\0\u{2028}:\nid: :x\u{FEFF}\nretry: 0\ndata: a\n\n",
    );
}

#[test]
fn an_empty_id_is_written_and_resets() {
    let reset = Event {
        id: Some(""),
        ..Event::default()
    };
    encodes(reset, "id: \n\n");
    let parser = expect("id: 1\n\nid: \n\n", &[]);
    assert_eq!(parser.last_event_id(), "");
}

#[test]
fn id_and_retry_alone_are_legal_blocks() {
    let id = Event {
        id: Some("7"),
        ..Event::default()
    };
    encodes(id, "id: 7\n\n");
    let retry = Event {
        retry: Some(u64::MAX),
        ..Event::default()
    };
    encodes(retry, "retry: 18446744073709551615\n\n");
}

#[test]
fn an_event_without_fields_writes_nothing() {
    encodes(Event::default(), "");
    let unnamed = Event {
        event: Some(""),
        ..Event::default()
    };
    encodes(unnamed, "");
}

#[track_caller]
fn encodes_comment(text: &str, wire: &str) {
    let mut out = Vec::new();
    frame::encode_comment(text, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), wire);
    assert_eq!(frame::comment_len(text), wire.len());
    let parser = expect(wire, &[]);
    assert_eq!((parser.retry(), parser.last_event_id()), (None, ""));
}

#[test]
fn a_comment_gets_a_colon_without_a_space() {
    encodes_comment("ping", ":ping\n\n");
    encodes_comment(" ping", ": ping\n\n");
}

#[test]
fn a_comment_that_begins_with_a_colon_gets_no_other() {
    encodes_comment(":ping", ":ping\n\n");
    encodes_comment("::ping", "::ping\n\n");
}

#[test]
fn an_empty_comment_is_a_colon() {
    encodes_comment("", ":\n\n");
    encodes_comment(":", ":\n\n");
}

#[test]
fn each_line_of_a_comment_gets_its_colon() {
    encodes_comment("a\n:b\rc\r\n\r\nd", ":a\n:b\n:c\n:\n:d\n\n");
    encodes_comment("a\n", ":a\n:\n\n");
    encodes_comment("\ndata: x\n\n", ":\n:data: x\n:\n:\n\n");
}
