//! Where a client begins: what it has seen, what it missed, and the id that it
//! has from then on.

use super::history::History;
use super::ids::Ids;
use super::subscription::Wish;
use crate::conn::Conn;
use crate::core::chunk::Chunk;
use crate::core::error::Result;
use crate::core::frame::Event;
use crate::core::ring::Entry;
use serde_json::json;
use std::cmp::Reverse;
use std::sync::Arc;

/// How a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Begin {
    /// Without an id: live events only, and the state of state topics.
    New = 0,
    /// After the client's id, with all that it missed.
    Resumed = 1,
    /// The client missed events that are gone: a topic of its own has evicted
    /// one after its id.
    TooOld = 2,
    /// The id is of another epoch (the hub has restarted since) or was never
    /// given out.
    Unknown = 3,
}

impl Begin {
    /// What the reset event says, where there is one.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Begin::New | Begin::Resumed => None,
            Begin::TooOld => Some("too_old"),
            Begin::Unknown => Some("unknown_id"),
        }
    }
}

/// What a client gets before the live events.
pub(super) struct Cursor {
    pub begin: Begin,
    /// In order.
    pub missed: Vec<Arc<Entry>>,
    /// Where it is then, unless what it missed says so.
    id: Option<String>,
}

impl Cursor {
    /// In those histories, of which no event is newer than `newest` and no one
    /// too old.
    pub fn new<'a, H>(histories: H, ids: &Ids, newest: u64, wish: &Wish<'_>) -> Self
    where
        H: Iterator<Item = &'a History> + Clone,
    {
        let (begin, since, by_own) = begin(histories.clone(), ids, newest, wish.last_event_id);
        let missed = missed(histories.clone(), begin, since, wish.last);
        // An id at once, so that a client can resume before its first event;
        // and after a replay that ends with an older one. What the application
        // has given stays while it says as much.
        let has_id = match missed.last() {
            Some(e) if e.id.is_some() => histories.map(|h| h.ring().newest()).max() <= Some(e.seq),
            Some(e) => e.seq == newest,
            None => by_own,
        };
        let id = (!ids.are_own() && !has_id).then(|| ids.of(newest));
        Cursor { begin, missed, id }
    }

    /// Queues it on the connection.
    pub fn replay(&self, conn: &Arc<Conn>, reset_event: &str) -> Result<()> {
        let mut chunks = Vec::with_capacity(self.missed.len() + 2);
        let framed = |event: Event<'_>| Chunk::new(event.encoded_len(), |b| event.encode(b));
        let reset = self.begin.reason().map(|reason| {
            framed(Event {
                data: Some(&json!({ "reason": reason }).to_string()),
                event: Some(reset_event),
                ..Event::default()
            })
        });
        chunks.extend(&reset);
        chunks.extend(self.missed.iter().map(|e| e.chunk()));
        let id = self.id.as_deref().map(|id| {
            framed(Event {
                id: Some(id),
                ..Event::default()
            })
        });
        chunks.extend(&id);
        conn.replay(&chunks, self.missed.len() as u64)
    }
}

/// How a client with that id begins, after which number, and whether the id is
/// one of the application's.
fn begin<'a, H>(histories: H, ids: &Ids, newest: u64, id: Option<&str>) -> (Begin, u64, bool)
where
    H: Iterator<Item = &'a History> + Clone,
{
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return (Begin::New, newest, false);
    };
    let mut rings = histories.map(History::ring);
    // The same id twice, on two topics or as one of the hub's: rather an
    // event twice than one never.
    let given = rings.clone().filter_map(|ring| ring.find(id)).min();
    match given.into_iter().chain(ids.seq(id, newest)).min() {
        None => (Begin::Unknown, 0, false),
        Some(since) if rings.any(|ring| ring.evicted() > since) => (Begin::TooOld, 0, false),
        Some(since) => (Begin::Resumed, since, given.is_some()),
    }
}

/// What it missed, in order; a new client the `last` of its topics beside the
/// state.
fn missed<'a>(
    histories: impl Iterator<Item = &'a History>,
    begin: Begin,
    since: u64,
    last: usize,
) -> Vec<Arc<Entry>> {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut newest: Vec<&Arc<Entry>> = Vec::new();
    for history in histories {
        match begin {
            Begin::New => {
                entries.extend(history.present().cloned());
                newest.extend(history.rest().take(last));
            }
            Begin::Resumed => entries.extend(history.ring().after(since).cloned()),
            Begin::TooOld | Begin::Unknown => entries.extend(history.kept().cloned()),
        }
    }
    newest.sort_unstable_by_key(|e| Reverse(e.seq));
    entries.extend(newest.into_iter().take(last).cloned());
    entries.sort_unstable_by_key(|e| e.seq);
    entries
}
