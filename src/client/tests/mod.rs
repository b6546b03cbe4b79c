//! A client against a server that does what the test says, and what it tells
//! in a short form.

mod bad;
mod cases;
mod dialogue;
mod real;
mod reconnect;

use super::connect::{Dial, Dialing, Fault, Stream};
use super::item::{Item, TroubleKind};
use super::options::{Options, Proxy};
use super::{Client, Host};
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// On the paused clock, where it comes only when nothing else happens.
const PATIENCE: Duration = Duration::from_secs(1_000_000);
/// Enough on a busy machine.
const REAL_PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a connection that the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialed {
    Refused,
    Pending,
}

/// Connections to a test.
struct Wire {
    to: mpsc::UnboundedSender<(String, DuplexStream)>,
    /// Those first.
    fate: Mutex<Vec<Dialed>>,
    dialed: Mutex<u32>,
}

impl Wire {
    fn dial(&self, at: String) -> Dialing<'_> {
        Box::pin(async move {
            *self.dialed.lock().unwrap() += 1;
            let fate = {
                let mut fate = self.fate.lock().unwrap();
                (!fate.is_empty()).then(|| fate.remove(0))
            };
            match fate {
                Some(Dialed::Refused) => {
                    Err(Fault::new(TroubleKind::Connect, format!("{at}: refused")))
                }
                Some(Dialed::Pending) => pending().await,
                None => {
                    let (ours, theirs) = duplex(64 << 10);
                    let gone = |_| Fault::new(TroubleKind::Connect, "the test is over");
                    self.to.send((at, theirs)).map_err(gone)?;
                    Ok(Box::new(ours) as Stream)
                }
            }
        })
    }
}

impl Dial for Wire {
    fn tcp<'a>(&'a self, host: &'a str, port: u16) -> Dialing<'a> {
        self.dial(format!("{host}:{port}"))
    }

    fn unix<'a>(&'a self, path: &'a Path) -> Dialing<'a> {
        self.dial(path.display().to_string())
    }
}

/// The test's side of the server.
struct Server {
    wire: Arc<Wire>,
    from: mpsc::UnboundedReceiver<(String, DuplexStream)>,
}

impl Server {
    fn new() -> Self {
        let (to, from) = mpsc::unbounded_channel();
        let wire = Arc::new(Wire {
            to,
            fate: Mutex::default(),
            dialed: Mutex::default(),
        });
        Server { wire, from }
    }

    fn dialed(&self) -> u32 {
        *self.wire.dialed.lock().unwrap()
    }

    async fn accept(&mut self) -> Conn {
        let next = timeout(PATIENCE, self.from.recv()).await;
        let (at, stream) = next.expect("no connection came").unwrap();
        Conn { at, stream }
    }

    fn open(&self, options: Options) -> Reader {
        Reader::open_by(options, self.wire.clone(), PATIENCE)
    }
}

/// A connection, as the server has it.
struct Conn {
    at: String,
    stream: DuplexStream,
}

impl Conn {
    /// A request: its head, and its body by its length.
    async fn request(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.expect("no whole head"));
        }
        let head = String::from_utf8(head).unwrap();
        let length = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The client has closed its side.
    async fn is_left(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read(&mut [0; 64])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// The value of a field of a head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (n, value) = line.split_once(": ")?;
        n.eq_ignore_ascii_case(name).then_some(value)
    })
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// A host program that waits for what comes.
struct Reader {
    client: Client,
    looks: Arc<Looks>,
    patience: Duration,
}

#[derive(Default)]
struct Looks(Notify);

impl Host for Looks {
    fn look(&self) {
        self.0.notify_one();
    }
}

/// Options of a test: no proxy of the environment.
fn options(url: &str) -> Options {
    Options {
        proxy: Proxy::Off,
        ..Options::new(url)
    }
}

impl Reader {
    fn open_by(options: Options, dial: Arc<dyn Dial>, patience: Duration) -> Self {
        let looks = Arc::<Looks>::default();
        let runtime = tokio::runtime::Handle::current();
        let client = Client::open_by(&runtime, options, looks.clone(), dial).unwrap();
        Reader {
            client,
            looks,
            patience,
        }
    }

    async fn next(&self) -> Item {
        let taken = async {
            loop {
                match self.client.take() {
                    Some(item) => return item,
                    None => self.looks.0.notified().await,
                }
            }
        };
        timeout(self.patience, taken).await.expect("nothing came")
    }

    async fn told(&self) -> String {
        short(&self.next().await)
    }
}

/// An item in one line.
fn short(item: &Item) -> String {
    match item {
        Item::Open(head) => format!("OPEN {} {}", head.status, head.url),
        Item::Event(m) => format!("{}|{}|{}", m.event, m.data, m.last_event_id),
        Item::Comment(text) => format!(":{text}"),
        Item::Retry(ms) => format!("RETRY {ms}"),
        Item::Error(t) => format!("ERROR {:?} {}", t.kind, t.text),
        Item::End(why) => format!("END {why:?}"),
    }
}
