//! Clients of a host program: a record says that one has something, and the
//! host program takes it from the client, as much as it likes. So what it does
//! not take stays on the client's shelf, which is bounded.

use super::desk::Desk;
use super::record::{self, EARLIER, Kind};
use super::runtime::Open;
use crate::client::item::{Head, Item, Refusal, Trouble};
use crate::client::options::Options;
use crate::client::{self, Client};
use crate::core::error::Failure;
use crate::core::parse::Message;
use bytes::BufMut as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In an ERROR's flags: it is the end of an attempt, or of a stream.
///
/// cbindgen:ignore
pub const IS_OVER: u8 = 1;
/// Another attempt follows.
///
/// cbindgen:ignore
pub const GOES_ON: u8 = 2;
/// The body of the answer is longer.
///
/// cbindgen:ignore
pub const IS_CUT: u8 = 4;

/// By which number the host program is told.
enum Name {
    /// None yet; whether there was something to tell.
    Unknown(bool),
    Is(u64),
    /// It has given the client back.
    Gone,
}

/// Tells the host program that a client has something.
struct Bell {
    desk: Arc<Desk>,
    name: Mutex<Name>,
}

impl Bell {
    fn name(&self) -> MutexGuard<'_, Name> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl client::Host for Bell {
    fn look(&self) {
        // Held, so that none is queued for one that has been given back.
        match &mut *self.name() {
            Name::Unknown(waits) => *waits = true,
            Name::Is(handle) => self.desk.push_soon(record::plain(Kind::Client, *handle)),
            Name::Gone => {}
        }
    }
}

/// A client whose host program reads records. It is closed when this is dropped.
pub struct Hosted {
    client: Client,
    bell: Arc<Bell>,
    user: u64,
}

impl Hosted {
    /// Begins; `user` is the host program's own number for it. After
    /// [`Hosted::set_handle`] it is told of what comes.
    pub fn open(runtime: &Open, options: Options, user: u64) -> Result<Self, Failure> {
        let bell = Arc::new(Bell {
            desk: runtime.desk().clone(),
            name: Mutex::new(Name::Unknown(false)),
        });
        let client = Client::open(&runtime.handle()?, options, bell.clone())?;
        Ok(Hosted { client, bell, user })
    }

    /// Tells its handle, once.
    pub fn set_handle(&self, handle: u64) {
        let before = std::mem::replace(&mut *self.bell.name(), Name::Is(handle));
        if let Name::Unknown(true) = before {
            self.bell.desk.push(record::plain(Kind::Client, handle));
        }
    }

    /// The host program has given it back.
    pub fn leave(&self) {
        let before = std::mem::replace(&mut *self.bell.name(), Name::Gone);
        if let Name::Is(handle) = before {
            self.bell.desk.forget_client(handle);
        }
        self.client.close();
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The host program's number.
    pub fn user(&self) -> u64 {
        self.user
    }

    /// Fills `buf` with whole records, as `super::mailbox::Mailbox::drain` does:
    /// returns the bytes used, or those needed when even the first does not fit.
    /// The id of several events is written once.
    pub fn next(&self, handle: u64, buf: &mut [u8]) -> usize {
        let mut used = 0;
        let mut last: Option<(Arc<str>, usize)> = None;
        loop {
            let room = buf.len() - used;
            let (mut needed, mut made, mut id_at) = (0, Vec::new(), None);
            let taken = self.client.take_if(|item| {
                needed = match item {
                    Item::Event(event) => {
                        id_at = id_before(last.as_ref(), event);
                        event_bytes(event, id_at.is_some())
                    }
                    other => {
                        made = packed(handle, other);
                        made.len()
                    }
                };
                needed += 4;
                needed <= room
            });
            let Some(item) = taken else {
                return if used == 0 { needed } else { used };
            };
            let mut to = &mut buf[used..used + needed];
            to.put_slice(&((needed - 4) as u32).to_ne_bytes());
            match item {
                Item::Event(event) => {
                    put_event(to, handle, &event, id_at.map(|at| used - at));
                    if id_at.is_none() {
                        let at = used + needed - id_bytes(&event, false);
                        last = Some((event.last_event_id, at));
                    }
                }
                _ => to.put_slice(&made),
            }
            used += needed;
        }
    }
}

/// Where the event's id stands already.
fn id_before(last: Option<&(Arc<str>, usize)>, event: &Message) -> Option<usize> {
    let (id, at) = last?;
    // By its place first: an id may be long.
    let same = Arc::ptr_eq(id, &event.last_event_id) || *id == event.last_event_id;
    same.then_some(*at)
}

fn id_bytes(event: &Message, is_shared: bool) -> usize {
    4 + if is_shared {
        0
    } else {
        event.last_event_id.len()
    }
}

fn event_bytes(event: &Message, is_shared: bool) -> usize {
    record::PLAIN + 8 + event.event.len() + event.data.len() + id_bytes(event, is_shared)
}

fn put_event(mut to: &mut [u8], handle: u64, event: &Message, back: Option<usize>) {
    to.put_u8(Kind::Event as u8);
    to.put_slice(&handle.to_ne_bytes());
    let mut field = |bytes: &[u8]| {
        to.put_slice(&(bytes.len() as u32).to_ne_bytes());
        to.put_slice(bytes);
    };
    field(event.event.as_bytes());
    field(event.data.as_bytes());
    match back {
        None => field(event.last_event_id.as_bytes()),
        Some(back) => to.put_slice(&(EARLIER | back as u32).to_ne_bytes()),
    }
}

/// A record of what is no event, without its length.
fn packed(handle: u64, item: &Item) -> Vec<u8> {
    match item {
        // Written by put_event.
        Item::Event(_) => Vec::new(),
        Item::Open(head) => {
            let mut r = record::plain(Kind::Open, handle);
            put_head(&mut r, head);
            r
        }
        Item::Comment(text) => {
            let mut r = record::plain(Kind::Comment, handle);
            record::put(&mut r, text.as_bytes());
            r
        }
        Item::Retry(ms) => {
            let mut r = record::plain(Kind::Retry, handle);
            r.extend_from_slice(&ms.to_ne_bytes());
            r
        }
        Item::Error(trouble) => {
            let mut r = record::plain(Kind::Error, handle);
            put_trouble(&mut r, trouble);
            r
        }
        Item::End(why) => {
            let mut r = record::plain(Kind::End, handle);
            r.extend_from_slice(&(*why as u32).to_ne_bytes());
            r
        }
    }
}

/// Status, URL, fields.
fn put_head(r: &mut Vec<u8>, head: &Head) {
    r.extend_from_slice(&head.status.to_ne_bytes());
    record::put(r, head.url.as_bytes());
    record::put_all(r, |r| {
        for (name, value) in &head.fields {
            record::put(r, name.as_str().as_bytes());
            record::put(r, value.as_bytes());
        }
    });
}

/// Kind, flags, wait, sentence; of an answer its head and body.
fn put_trouble(r: &mut Vec<u8>, trouble: &Trouble) {
    let answer = trouble.answer.as_deref();
    let flags = [
        (trouble.is_end, IS_OVER),
        (trouble.retry_in.is_some(), GOES_ON),
        (answer.is_some_and(|a| !a.is_whole), IS_CUT),
    ];
    let flags = flags.iter().filter(|(is_so, _)| *is_so);
    r.extend_from_slice(&(trouble.kind as u32).to_ne_bytes());
    r.push(flags.fold(0, |all, (_, flag)| all | flag));
    r.extend_from_slice(&trouble.retry_in.unwrap_or(0).to_ne_bytes());
    record::put(r, trouble.text.as_bytes());
    if let Some(Refusal { head, body, .. }) = answer {
        put_head(r, head);
        record::put(r, body);
    }
}
