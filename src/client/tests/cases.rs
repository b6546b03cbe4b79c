//! The processing model as a table: bytes with their chunks, and what must
//! come out of them, from the parser and from a client on a socket.

use super::super::connect::System;
use super::super::item::{ClientEnd, Item};
use super::super::model::Model;
use super::{Options, REAL_PATIENCE, Reader, options, short};
use http::Method;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

struct Case {
    name: &'static str,
    chunks: &'static [&'static [u8]],
    /// `type|data|id`, `:comment`, `RETRY ms`, `ERROR kind`.
    items: &'static [&'static str],
    /// The id in force at the end.
    id: &'static str,
}

const LINE: usize = 40;
const EVENT: usize = 60;

macro_rules! case {
    ($name:literal, [$($chunk:expr),* $(,)?], [$($item:literal),* $(,)?], $id:literal) => {
        Case { name: $name, chunks: &[$($chunk as &[u8]),*], items: &[$($item),*], id: $id }
    };
    ($name:literal, [$($chunk:expr),* $(,)?], [$($item:literal),* $(,)?]) => {
        case!($name, [$($chunk),*], [$($item),*], "")
    };
}

const CASES: &[Case] = &[
    // Events.
    case!("one line of data", [b"data: a\n\n"], ["message|a|"]),
    case!("no space after the colon", [b"data:a\n\n"], ["message|a|"]),
    case!("one space goes, a second stays", [b"data:  a\n\n"], ["message| a|"]),
    case!("a space at the end stays", [b"data: a \n\n"], ["message|a |"]),
    case!("a tab is no space", [b"data:\ta\n\n"], ["message|\ta|"]),
    case!("lines of data are joined", [b"data: a\ndata: b\n\n"], ["message|a\nb|"]),
    case!("data without a value", [b"data\n\n"], ["message||"]),
    case!("data without a value, with a colon", [b"data:\n\n"], ["message||"]),
    case!("two empty lines of data", [b"data\ndata\n\n"], ["message|\n|"]),
    case!("an empty line of data at the end", [b"data: a\ndata\n\n"], ["message|a\n|"]),
    case!("a colon in the data", [b"data: a:b: c\n\n"], ["message|a:b: c|"]),
    case!("data that looks like a comment", [b"data::a\n\n"], ["message|:a|"]),
    case!("two events", [b"data: a\n\ndata: b\n\n"], ["message|a|", "message|b|"]),
    case!("JSON stays as it is", [b"data: {\"a\": [1,\ndata: 2]}\n\n"], ["message|{\"a\": [1,\n2]}|"]),
    case!("blank lines between events", [b"\n\n\ndata: a\n\n\n\n\n"], ["message|a|"]),
    case!("nothing at all", [], []),
    case!("blank lines alone", [b"\n\r\n\r\n"], []),
    case!("an event that is not finished", [b"data: a\n\ndata: b\n"], ["message|a|"]),
    case!("a line that is not finished", [b"data: a\n\ndata: b"], ["message|a|"]),
    // Types.
    case!("a type", [b"event: x\ndata: a\n\n"], ["x|a|"]),
    case!("a type after the data", [b"data: a\nevent: x\n\n"], ["x|a|"]),
    case!("a type is for one event", [b"event: x\ndata: a\n\ndata: b\n\n"], ["x|a|", "message|b|"]),
    case!("a type without data", [b"event: x\n\ndata: b\n\n"], ["message|b|"]),
    case!("the last type counts", [b"event: x\nevent: y\ndata: a\n\n"], ["y|a|"]),
    case!("an empty type is the usual one", [b"event: x\nevent:\ndata: a\n\n"], ["message|a|"]),
    case!("types differ by case", [b"event: X\ndata: a\n\n"], ["X|a|"]),
    case!("a type with spaces", [b"event:  a b \ndata: a\n\n"], [" a b |a|"]),
    // Line ends.
    case!("CR", [b"data: a\rdata: b\r\r"], ["message|a\nb|"]),
    case!("CRLF", [b"data: a\r\ndata: b\r\n\r\n"], ["message|a\nb|"]),
    case!("mixed", [b"data: a\r\ndata: b\ndata: c\r\r\n"], ["message|a\nb\nc|"]),
    case!("LF and CR are two line ends", [b"data: a\n\rdata: b\n\n"], ["message|a|", "message|b|"]),
    case!("CRLF in two chunks", [b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"], ["message|a\nb|"]),
    case!("CR ends a line before more comes", [b"data: a\r\r", b"data: b\r\r"], ["message|a|", "message|b|"]),
    case!("an empty chunk between CR and LF", [b"data: a\r", b"", b"\n\r", b"", b"\n"], ["message|a|"]),
    case!("other breaks of Unicode are text", ["data: a\u{2028}b\u{85}c\u{b}d\n\n".as_bytes()], ["message|a\u{2028}b\u{85}c\u{b}d|"]),
    // Chunks.
    case!("a field name in two chunks", [b"da", b"ta: a\n\n"], ["message|a|"]),
    case!("the colon alone", [b"data", b":", b" ", b"a\n\n"], ["message|a|"]),
    case!("a blank line in its own chunk", [b"data: a\n", b"\n"], ["message|a|"]),
    case!("two events in one and a half", [b"data: a\n\ndata: b\n\nda", b"ta: c\n\n"], ["message|a|", "message|b|", "message|c|"]),
    case!("a character in four chunks", [b"data: \xF0", b"\x9F", b"\x98", b"\x80\n\n"], ["message|\u{1F600}|"]),
    // BOM and encoding.
    case!("a BOM at the start", [b"\xEF\xBB\xBFdata: a\n\n"], ["message|a|"]),
    case!("a BOM in three chunks", [b"\xEF", b"\xBB", b"\xBFdata: a\n\n"], ["message|a|"]),
    case!("a second BOM belongs to the name", [b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\ndata: b\n\n"], ["message|b|"]),
    case!("a later BOM belongs to the name", [b"data: a\n\n\xEF\xBB\xBFdata: b\n\n"], ["message|a|"]),
    case!("a BOM before a comment", [b"\xEF\xBB\xBF:x\n\n"], [":x"]),
    case!("half a BOM is none", [b"\xEF\xBBdata: a\n\ndata: b\n\n"], ["message|b|"]),
    case!("broken UTF-8 is replaced", [b"data: a\xFFb\n\n"], ["message|a\u{FFFD}b|"]),
    case!("half a character at a line's end", [b"data: \xE2\x82\ndata: b\n\n"], ["message|\u{FFFD}\nb|"]),
    case!("NUL is text", [b"data: a\0b\n\n"], ["message|a\0b|"]),
    // Comments.
    case!("a comment", [b": hello\n"], [": hello"]),
    case!("an empty comment", [b":\n\n"], [":"]),
    case!("comments within an event", [b"data: a\n:x\ndata: b\n:y\n\n"], [":x", ":y", "message|a\nb|"]),
    case!("a comment is told before its block ends", [b":x\n", b"data: a\n\n"], [":x", "message|a|"]),
    case!("a comment that looks like data", [b":data: a\n\n"], [":data: a"]),
    case!("a comment in two chunks", [b": he", b"llo\n"], [": hello"]),
    case!("a comment that is not finished", [b"data: a\n\n: hel"], ["message|a|"]),
    // Ids.
    case!("an id", [b"id: 1\ndata: a\n\n"], ["message|a|1"], "1"),
    case!("an id stays for later events", [b"id: 1\ndata: a\n\ndata: b\n\n"], ["message|a|1", "message|b|1"], "1"),
    case!("the last id counts", [b"id: 1\nid: 2\ndata: a\n\n"], ["message|a|2"], "2"),
    case!("an empty id takes it back", [b"id: 1\ndata: a\n\nid\ndata: b\n\n"], ["message|a|1", "message|b|"]),
    case!("an empty id with a colon does", [b"id: 1\ndata: a\n\nid:\ndata: b\n\n"], ["message|a|1", "message|b|"]),
    case!("a block with an id alone", [b"id: 7\n\n"], [], "7"),
    case!("and an event after it", [b"id: 7\n\ndata: a\n\n"], ["message|a|7"], "7"),
    case!("an id with NUL is none", [b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"], ["message|a|1", "message|b|1"], "1"),
    case!("an id of an event that is cut off", [b"id: 1\ndata: a\n\nid: 2\ndata: b\n"], ["message|a|1"], "1"),
    case!("an id without any data but a type", [b"event: x\nid: 3\n\n"], [], "3"),
    case!("an id with spaces", [b"id:  4 \ndata: a\n\n"], ["message|a| 4 "], " 4 "),
    case!("an id that is no ASCII", ["id: ü\ndata: a\n\n".as_bytes()], ["message|a|ü"], "ü"),
    // retry.
    case!("a retry", [b"retry: 100\n\n"], ["RETRY 100"]),
    case!("a retry counts before its block ends", [b"retry: 100\n"], ["RETRY 100"]),
    case!("a retry comes before its event", [b"data: a\nretry: 5\n\n"], ["RETRY 5", "message|a|"]),
    case!("each retry is told", [b"retry: 5\nretry: 5\n\nretry: 6\n\n"], ["RETRY 5", "RETRY 5", "RETRY 6"]),
    case!("zeros before a retry", [b"retry: 0070\n\n"], ["RETRY 70"]),
    case!("a retry that is no number", [b"retry: 1s\nretry: -1\nretry: 1.5\nretry: +1\n\n"], []),
    case!("an empty retry", [b"retry\nretry:\nretry: \n\n"], []),
    case!("a retry with a second space", [b"retry:  1\n\n"], []),
    // Other fields.
    case!("fields that nobody knows", [b"foo: x\ndata: a\nbar\n\n"], ["message|a|"]),
    case!("names differ by case", [b"Data: a\nDATA: b\ndata: c\n\n"], ["message|c|"]),
    case!("a space before the colon", [b"data : a\n\ndata: b\n\n"], ["message|b|"]),
    case!("a space before the name", [b" data: a\n\ndata: b\n\n"], ["message|b|"]),
    case!("a longer name", [b"datas: a\ndata: b\n\n"], ["message|b|"]),
    // Limits: 40 bytes of a line, 60 of an event.
    case!("a line at the limit", [b"data: 7890123456789012345678901234567890\n\n"], ["message|7890123456789012345678901234567890|"]),
    case!("a line over the limit", [b"data: 78901234567890123456789012345678901\n\ndata: a\n\n"], ["ERROR LineTooLong", "message|a|"]),
    case!("a comment over the limit", [b"data: a\n:2345678901234567890123456789012345678901\ndata: b\n\n"], ["ERROR LineTooLong", "message|a\nb|"]),
    case!("a line over the limit in chunks", [b"data: 789012345678901234567890", b"123456789012345678901234567890", b"x\n\n", b"data: a\n\n"], ["ERROR LineTooLong", "message|a|"]),
    case!("an event over the limit", [b"data: 789012345678901234567890\ndata: 789012345678901234567890\ndata: 789012345678901234567890\n\ndata: a\n\n"], ["ERROR EventTooLarge", "message|a|"]),
    case!("the id of an event over the limit", [b"id: 1\ndata: a\n\nid: 2\ndata: 78901234567890123456789012345678901\n\n"], ["message|a|1", "ERROR LineTooLong"], "1"),
];

/// An error by its kind alone.
fn item_of(item: &Item) -> String {
    match item {
        Item::Error(t) => format!("ERROR {:?}", t.kind),
        item => short(item),
    }
}

fn of_case(url: &str) -> Options {
    Options {
        // The stream's end is the client's.
        method: Method::POST,
        max_line: LINE,
        max_event: EVENT,
        ..options(url)
    }
}

/// What the model finds in such chunks.
fn found<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, String) {
    let options = Arc::new(of_case("http://h/"));
    let target = options.check().unwrap();
    let mut model = Model::new(options, target, 1, 0);
    let mut items = Vec::new();
    for mut chunk in chunks {
        items.extend(std::iter::from_fn(|| model.item(&mut chunk)).map(|i| item_of(&i)));
        assert!(chunk.is_empty());
    }
    (items, model.last_event_id().to_owned())
}

#[test]
fn there_are_enough_cases_and_each_has_a_name() {
    let mut names: Vec<_> = CASES.iter().map(|c| c.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
    assert!(names.len() >= 60, "{}", names.len());
}

#[test]
fn the_table_holds_for_the_parser_however_the_bytes_come() {
    for case in CASES {
        let expected = (
            case.items.iter().map(|i| (*i).to_owned()).collect(),
            case.id.to_owned(),
        );
        let whole = case.chunks.concat();
        assert_eq!(
            found(case.chunks.iter().copied()),
            expected,
            "{}",
            case.name
        );
        assert_eq!(
            found(whole.chunks(1)),
            expected,
            "{}: byte by byte",
            case.name
        );
        assert_eq!(
            found([&whole[..]].into_iter()),
            expected,
            "{}: whole",
            case.name
        );
        for at in 0..whole.len() {
            let (left, right) = whole.split_at(at);
            assert_eq!(
                found([left, right].into_iter()),
                expected,
                "{}: at {at}",
                case.name
            );
        }
    }
}

/// Answers `/N` with case N, each of its chunks a chunk of HTTP's.
async fn serve(mut socket: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let path = String::from_utf8(head).unwrap();
    let path = path.split(' ').nth(1).unwrap();
    let case = &CASES[path[1..].parse::<usize>().unwrap()];
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for chunk in case.chunks.iter().filter(|c| !c.is_empty()) {
        let mut size = String::new();
        let _ = write!(size, "{:x}\r\n", chunk.len());
        answer.extend_from_slice(size.as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
        socket.write_all(&answer).await.unwrap();
        answer.clear();
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    socket.write_all(&answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_holds_for_a_client_on_a_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket));
        }
    });
    for (i, case) in CASES.iter().enumerate() {
        let url = format!("http://127.0.0.1:{port}/{i}");
        let reader = Reader::open_by(of_case(&url), Arc::new(System), REAL_PATIENCE);
        assert_eq!(
            reader.told().await,
            format!("OPEN 200 {url}"),
            "{}",
            case.name
        );
        let mut items = Vec::new();
        let end = loop {
            match reader.next().await {
                Item::End(why) => break why,
                item => items.push(item_of(&item)),
            }
        };
        assert_eq!(items, case.items, "{}", case.name);
        assert_eq!(end, ClientEnd::Ended, "{}", case.name);
        assert_eq!(&*reader.client.last_event_id(), case.id, "{}", case.name);
    }
    server.abort();
}
