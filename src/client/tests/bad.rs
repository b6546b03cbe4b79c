//! What goes wrong, and what is bounded.

use super::super::connect::{Dial, Dialing};
use super::super::item::{ClientEnd, ClientState, Item, Trouble, TroubleKind};
use super::super::options::Proxy;
use super::{Dialed, PATIENCE, Reader, STREAM, Server, field, options};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

async fn trouble(reader: &Reader) -> Trouble {
    match reader.next().await {
        Item::Error(trouble) => trouble,
        other => panic!("{}", super::short(&other)),
    }
}

/// The task of a client is gone, and so is what it had.
async fn gone(server: &Server) {
    let is_gone = async {
        while Arc::strong_count(&server.wire) > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, is_gone).await.expect("a task is left");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_told_at_once() {
    let runtime = tokio::runtime::Handle::current();
    let failure = |change: fn(&mut super::Options)| {
        let mut options = options("http://h/s");
        change(&mut options);
        let opened = super::Client::open(&runtime, options, Arc::<super::Looks>::default());
        opened
            .err()
            .expect("it began")
            .detail
            .unwrap()
            .into_string()
    };
    assert_eq!(
        failure(|o| o.url = "no url".into()),
        "the URL \"no url\": relative URL without a base"
    );
    assert_eq!(
        failure(|o| o.proxy = Proxy::At("socks5://p:1".into())),
        "a proxy of scheme socks5 is none of http, https"
    );
    assert_eq!(
        failure(|o| o.proxy = Proxy::At("p p".into())),
        "the proxy's URL is none"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endless_line_is_an_error_and_takes_no_memory() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        max_line: 100_000,
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
    for _ in 0..100 {
        conn.say("x".repeat(50_000)).await;
    }
    let trouble = trouble(&reader).await;
    assert_eq!(trouble.kind, TroubleKind::LineTooLong);
    let text = "a line over the limit of 100000 bytes was left out (http://h/s)";
    assert_eq!(trouble.text, text);
    assert!(!trouble.is_end);
    conn.say("\n\ndata: a\n\n").await;
    assert_eq!(reader.told().await, "message|a|");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_ten_megabytes_is_an_error() {
    let mut server = Server::new();
    let reader = server.open(options("http://h/s"));
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    for _ in 0..200 {
        conn.say(format!("data: {}\n", "x".repeat(50_000))).await;
    }
    conn.say("\ndata: a\n\n").await;
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
    let trouble = trouble(&reader).await;
    assert_eq!(trouble.kind, TroubleKind::EventTooLarge);
    let text = "an event over the limit of 4194304 bytes was left out (http://h/s)";
    assert_eq!(trouble.text, text);
    assert_eq!(reader.told().await, "message|a|");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_an_error() {
    let mut server = Server::new();
    let reader = server.open(options("http://h/s"));
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say("HTTP/1.1 200 OK\r\n").await;
    let mut said = 0;
    // Until the client hangs up.
    while conn.stream.write_all(b"x-more: and more\r\n").await.is_ok() {
        said += 18;
        assert!(said < 1 << 20);
    }
    let trouble = trouble(&reader).await;
    let text = "the head of the answer is over the limit of 65536 bytes (http://h/s)";
    assert_eq!(trouble.text, text);
    assert_eq!(trouble.kind, TroubleKind::Http);
    assert!(trouble.retry_in.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_an_error() {
    for said in [
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
    ] {
        let mut server = Server::new();
        let reader = server.open(options("http://h/s"));
        let mut conn = server.accept().await;
        conn.request().await;
        conn.say(said).await;
        let trouble = trouble(&reader).await;
        assert_eq!(trouble.kind, TroubleKind::Http, "{}", trouble.text);
        assert!(
            trouble.text.starts_with("the answer is no HTTP"),
            "{}",
            trouble.text
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_instead_of_a_stream_comes_with_its_body() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        max_refusal: 10,
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say("HTTP/1.1 429 Slowly\r\nx-a: b\r\ncontent-length: 12\r\n\r\n{\"error\":1}\n")
        .await;
    let answer = trouble(&reader).await.answer.unwrap();
    assert_eq!(
        (answer.head.status, &*answer.body),
        (429, &b"{\"error\":1"[..])
    );
    assert_eq!(answer.head.fields["x-a"], "b");
    assert!(!answer.is_whole);
    assert_eq!(reader.told().await, "END Failed");

    let mut server = Server::new();
    let reader = server.open(options("http://h/s"));
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    let answer = trouble(&reader).await.answer.unwrap();
    assert_eq!((&*answer.body, answer.is_whole), (&b"{}"[..], true));
}

const PACKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_packed_stream_comes_event_by_event() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        gzip: true,
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    let (head, _) = conn.request().await;
    assert_eq!(field(&head, "accept-encoding"), Some("gzip"));
    conn.say(PACKED).await;
    reader.next().await;
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    for i in 0..5 {
        // 100,000 bytes more than what is decompressed at once.
        let data = "x".repeat(i * 25_000);
        write!(gz, "data: {i}{data}\n\n").unwrap();
        gz.flush().unwrap();
        conn.say(std::mem::take(gz.get_mut())).await;
        assert_eq!(reader.told().await, format!("message|{i}{data}|"));
    }
    conn.say(gz.finish().unwrap()).await;
    drop(conn);
    assert_eq!(trouble(&reader).await.kind, TroubleKind::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_packed_stream_that_breaks_is_an_error() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(b"data: a\n\n").unwrap();
    let packed = packed.finish().unwrap();
    for said in [
        &b"data: a\n\n"[..],
        &packed[..packed.len() - 9],
        b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff\xff",
    ] {
        let mut server = Server::new();
        let reader = server.open(options("http://h/s"));
        let mut conn = server.accept().await;
        conn.request().await;
        conn.say(PACKED).await;
        conn.say(said).await;
        drop(conn);
        assert_eq!(reader.told().await, "OPEN 200 http://h/s");
        let mut next = reader.next().await;
        if let Item::Event(_) = next {
            next = reader.next().await;
        }
        let Item::Error(trouble) = next else { panic!() };
        assert_eq!(trouble.kind, TroubleKind::Gzip, "{}", trouble.text);
        assert!(
            trouble
                .text
                .starts_with("the gzip data of the stream are broken")
        );
        assert!(trouble.text.ends_with("(http://h/s)"));
        assert!(trouble.retry_in.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_without_a_server_is_no_storm() {
    let server = Server::new();
    *server.wire.fate.lock().unwrap() = vec![Dialed::Refused; 10_000];
    let reader = server.open(super::Options {
        retry: Duration::ZERO,
        ..options("http://h/s")
    });
    let day = async {
        loop {
            assert_eq!(trouble(&reader).await.kind, TroubleKind::Connect);
        }
    };
    assert!(timeout(Duration::from_secs(86_400), day).await.is_err());
    let dialed = server.dialed();
    assert!((1440..2200).contains(&dialed), "{dialed}");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_nobody_hears_of_are_not_made() {
    let server = Server::new();
    *server.wire.fate.lock().unwrap() = vec![Dialed::Refused; 10_000];
    let reader = server.open(super::Options {
        max_items: 10,
        ..options("http://h/s")
    });
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    assert_eq!((server.dialed(), reader.client.waiting().0), (10, 10));
    for _ in 0..10 {
        trouble(&reader).await;
    }
    trouble(&reader).await;
    assert_eq!(server.dialed(), 11);
}

#[tokio::test(start_paused = true)]
async fn what_the_host_does_not_take_stops_the_reading_and_is_no_silence() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        max_items: 100,
        silence: Duration::from_secs(10),
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    let mut said = 0_u32;
    let stuck = async {
        loop {
            let event = format!("data: {said}\n\n");
            conn.say(event).await;
            said += 1;
        }
    };
    assert!(timeout(Duration::from_secs(1000), stuck).await.is_err());
    assert_eq!(reader.client.waiting().0, 100);
    // What the wire and two buffers hold.
    assert!(said < 40_000, "{said}");
    assert_eq!(reader.client.state(), ClientState::Open);
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
    for i in 0..said {
        assert_eq!(reader.told().await, format!("message|{i}|"));
    }
    assert_eq!(trouble(&reader).await.kind, TroubleKind::Silence);
}

#[tokio::test(start_paused = true)]
async fn one_large_event_has_room_in_a_small_place() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        max_bytes: 1000,
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    let data = "x".repeat(20_000);
    conn.say(format!("data: {data}\n\ndata: b\n\n")).await;
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
    assert_eq!(reader.told().await, format!("message|{data}|"));
    assert_eq!(reader.told().await, "message|b|");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_pauses_gets_too_old_as_well() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        max_age: Duration::from_secs(5),
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    let flood = async {
        while conn.stream.write_all(b"data: a\n\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let read = async {
        loop {
            match reader.next().await {
                Item::Open(_) | Item::Event(_) => {}
                Item::Error(trouble) => assert_eq!(trouble.kind, TroubleKind::Age),
                Item::End(why) => return assert_eq!(why, ClientEnd::Failed),
                other => panic!("{}", super::short(&other)),
            }
        }
    };
    tokio::join!(flood, read);
    gone(&server).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_can_be_closed_wherever_it_is() {
    for place in [
        "dialing", "asking", "reading", "held", "waiting", "refusing",
    ] {
        let mut server = Server::new();
        if place == "dialing" {
            server.wire.fate.lock().unwrap().push(Dialed::Pending);
        }
        let reader = server.open(super::Options {
            max_items: 2,
            ..options("http://h/s")
        });
        let mut conn = None;
        if place != "dialing" {
            let mut next = server.accept().await;
            next.request().await;
            conn = Some(next);
        }
        match (place, &mut conn) {
            ("reading", Some(conn)) => conn.say(STREAM).await,
            ("held", Some(conn)) => conn.say(format!("{STREAM}:\n:\n:\n:\n")).await,
            ("refusing", Some(conn)) => conn.say("HTTP/1.1 500 Oh\r\n\r\n<").await,
            ("waiting", _) => conn = None,
            _ => {}
        }
        // It gets there.
        tokio::time::sleep(Duration::from_millis(1)).await;
        reader.client.close();
        assert_eq!(reader.client.state(), ClientState::Closed, "{place}");
        assert_eq!(reader.told().await, "END Closed", "{place}");
        assert!(reader.client.take().is_none(), "{place}");
        gone(&server).await;
        if let Some(conn) = &mut conn {
            assert!(conn.is_left().await, "{place}");
        }
        reader.client.close();
        assert!(reader.client.take().is_none(), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_leaves_nothing() {
    let mut server = Server::new();
    let reader = server.open(options("http://h/s"));
    let mut conn = server.accept().await;
    conn.request().await;
    conn.say(STREAM).await;
    drop(reader);
    gone(&server).await;
    assert!(conn.is_left().await);
}

/// A fault of ours.
struct Broken;

impl Dial for Broken {
    fn tcp<'a>(&'a self, _: &'a str, _: u16) -> Dialing<'a> {
        panic!("a test's")
    }

    fn unix<'a>(&'a self, _: &'a Path) -> Dialing<'a> {
        panic!("a test's")
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_is_told_as_well() {
    let reader = Reader::open_by(options("http://h/"), Arc::new(Broken), PATIENCE);
    assert_eq!(reader.told().await, "END Panic");
    assert_eq!(reader.client.state(), ClientState::Closed);
}

#[test]
fn the_end_of_the_runtime_is_the_clients() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    let mut server = Server::new();
    let reader = runtime.block_on(async {
        let reader = server.open(options("http://h/s"));
        server.accept().await.request().await;
        reader
    });
    drop(runtime);
    let end = std::iter::from_fn(|| reader.client.take()).last();
    assert!(
        matches!(end, Some(Item::End(ClientEnd::Stopped))),
        "{end:?}"
    );
    assert_eq!(reader.client.state(), ClientState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_request_has_what_a_stream_needs_and_the_hosts_fields_instead() {
    let mut server = Server::new();
    let _reader = server.open(options("http://me:x@h:81/s?a=b"));
    let (head, _) = server.accept().await.request().await;
    let mut expected = String::from("GET /s?a=b HTTP/1.1\r\n");
    let agent = concat!("pagi-sse/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("accept", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("user-agent", agent),
        ("authorization", "Basic bWU6eA=="),
        ("host", "h:81"),
    ] {
        let _ = write!(expected, "{name}: {value}\r\n");
    }
    assert_eq!(head, expected + "\r\n");

    let mut server = Server::new();
    let mut own = options("http+unix:/run/s:/x");
    for (name, value) in [
        ("accept", "a/b, text/event-stream"),
        ("host", "own"),
        ("x-k", "v"),
    ] {
        own.fields.insert(name, value.parse().unwrap());
    }
    let _reader = server.open(own);
    let mut conn = server.accept().await;
    assert_eq!(conn.at, "/run/s");
    let (head, _) = conn.request().await;
    assert_eq!(field(&head, "accept"), Some("a/b, text/event-stream"));
    assert_eq!(
        (field(&head, "host"), field(&head, "x-k")),
        (Some("own"), Some("v"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_body_goes_out_whole() {
    let mut server = Server::new();
    let mut post = options("http://h/s");
    post.method = http::Method::POST;
    post.body = Some("y".repeat(1 << 20).into());
    let reader = server.open(post);
    let mut conn = server.accept().await;
    let (head, body) = conn.request().await;
    assert_eq!(field(&head, "content-length"), Some("1048576"));
    assert!(body.bytes().all(|b| b == b'y'));
    conn.say(STREAM).await;
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_asked_for_the_whole_url() {
    let mut server = Server::new();
    let reader = server.open(super::Options {
        proxy: Proxy::At("http://u:p@proxy:3128".into()),
        ..options("http://h/s")
    });
    let mut conn = server.accept().await;
    assert_eq!(conn.at, "proxy:3128");
    let (head, _) = conn.request().await;
    assert!(head.starts_with("GET http://h/s HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "proxy-authorization"), Some("Basic dTpw"));
    assert_eq!(field(&head, "host"), Some("h"));
    conn.say(STREAM).await;
    assert_eq!(reader.told().await, "OPEN 200 http://h/s");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_not_there_is_named() {
    let server = Server::new();
    server.wire.fate.lock().unwrap().push(Dialed::Refused);
    let reader = server.open(super::Options {
        proxy: Proxy::At("proxy:3128".into()),
        ..options("http://h/s")
    });
    let trouble = trouble(&reader).await;
    assert_eq!(
        trouble.text,
        "the proxy proxy:3128: proxy:3128: refused (http://h/s)"
    );
}
