//! A conversation with a client, on the paused clock: what the server does,
//! what must be asked of it, and what the client must tell.

use super::super::item::{Item, TroubleKind};
use super::{Conn, Dialed, Options, STREAM, Server, field, short};
use tokio::time::Instant;

pub enum Step {
    /// The next connection is refused, or never there.
    Fate(Dialed),
    /// A request must come: `METHOD host:port path`, then what it has of
    /// ` id=…`, ` auth`, ` cookie`, ` type`, ` body=…`.
    Asked(&'static str),
    /// The server says so, on the newest connection.
    Say(&'static str),
    /// It answers so: status and words, fields, body.
    Answer(&'static str, &'static str, &'static str),
    /// It sends the client elsewhere: a status, a location.
    Redirect(&'static str, &'static str),
    /// The head of a stream.
    Stream,
    /// The connection ends in order, or breaks within its body.
    Close,
    /// So many seconds pass.
    Pass(u64),
    /// The client must tell that.
    Told(&'static str),
    /// It must tell of a stream that has opened at that path of the host `h`.
    Opened(&'static str),
    /// It must tell of an error: its kind, a part of its words, and after how
    /// many milliseconds it tries again.
    Error(TroubleKind, &'static str, Option<(u64, u64)>),
    /// Nobody comes within a year, and nothing is told.
    Nobody,
}

/// What a request is, in short.
async fn asked(conn: &mut Conn) -> String {
    let (head, body) = conn.request().await;
    let mut words = head.lines().next().unwrap().split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut text = vec![format!("{method} {} {path}", conn.at)];
    text.extend(field(&head, "last-event-id").map(|id| format!("id={id}")));
    for (name, of) in [
        ("auth", "authorization"),
        ("cookie", "cookie"),
        ("type", "content-type"),
    ] {
        text.extend(field(&head, of).map(|_| name.to_owned()));
    }
    text.extend((!body.is_empty()).then(|| format!("body={body}")));
    text.join(" ")
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    let n = body.len();
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {n}\r\n\r\n{body}")
}

/// Runs it; `name` is for the failure's message.
pub async fn run(name: &str, options: Options, steps: &[Step]) {
    let mut server = Server::new();
    let first = steps.iter().map_while(|s| match s {
        Step::Fate(fate) => Some(*fate),
        _ => None,
    });
    server.wire.fate.lock().unwrap().extend(first);
    let fates = steps.iter().take_while(|s| matches!(s, Step::Fate(_)));
    let skip = fates.count();
    let reader = server.open(options);
    let mut conn: Option<Conn> = None;
    // When the next attempt is due.
    let mut due: Option<(Instant, Instant)> = None;
    for (i, step) in steps.iter().enumerate().skip(skip) {
        let at = format!("{name}, step {i}");
        match step {
            Step::Fate(fate) => server.wire.fate.lock().unwrap().push(*fate),
            Step::Asked(expected) => {
                drop(conn.take());
                let mut next = server.accept().await;
                if let Some((from, until)) = due.take() {
                    let now = Instant::now();
                    assert!(from <= now && now <= until, "{at}: {:?}", now - from);
                }
                assert_eq!(asked(&mut next).await, *expected, "{at}");
                conn = Some(next);
            }
            Step::Say(text) => conn.as_mut().unwrap().say(text).await,
            Step::Answer(status, fields, body) => {
                let text = answer(status, fields, body);
                conn.as_mut().unwrap().say(&text).await;
            }
            Step::Redirect(status, to) => {
                let (status, to) = (format!("{status} There"), format!("location: {to}\r\n"));
                let text = answer(&status, &to, "");
                conn.as_mut().unwrap().say(&text).await;
            }
            Step::Stream => conn.as_mut().unwrap().say(STREAM).await,
            Step::Close => conn = None,
            Step::Pass(seconds) => {
                tokio::time::sleep(std::time::Duration::from_secs(*seconds)).await;
            }
            Step::Told(expected) => assert_eq!(reader.told().await, *expected, "{at}"),
            Step::Opened(path) => {
                let expected = format!("OPEN 200 http://h/{path}");
                assert_eq!(reader.told().await, expected, "{at}");
            }
            Step::Error(kind, words, wait) => {
                let item = reader.next().await;
                let Item::Error(trouble) = &item else {
                    panic!("{at}: {}", short(&item));
                };
                assert_eq!(trouble.kind, *kind, "{at}: {}", trouble.text);
                assert!(trouble.text.contains(words), "{at}: {}", trouble.text);
                let in_range = match (wait, trouble.retry_in) {
                    (Some((least, most)), Some(ms)) => (*least..=*most).contains(&ms),
                    (None, None) => true,
                    _ => false,
                };
                assert!(in_range, "{at}: {:?}", trouble.retry_in);
                due = trouble.retry_in.map(|ms| {
                    let due = Instant::now() + std::time::Duration::from_millis(ms);
                    (due, due + std::time::Duration::from_millis(5))
                });
            }
            Step::Nobody => {
                let year = std::time::Duration::from_secs(365 * 86_400);
                let came = tokio::time::timeout(year, server.from.recv()).await;
                assert!(came.is_err(), "{at}: another connection");
                assert!(reader.client.take().is_none(), "{at}");
                // Its task is gone: nothing else holds the other end.
                assert_eq!(std::sync::Arc::strong_count(&server.wire), 1, "{at}");
            }
        }
    }
    drop(conn);
    assert!(reader.client.take().is_none(), "{name}: more was told");
}

/// A table of them.
pub struct Talk {
    pub name: &'static str,
    pub options: fn(&mut Options),
    pub steps: Vec<Step>,
}
