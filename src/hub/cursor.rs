//! Where a client begins: what it has seen, what it missed, and the id that it
//! has from then on.

use super::history::{History, Look, View};
use super::ids::Ids;
use super::subscription::Wish;
use crate::core::chunk::Chunk;
use crate::core::error::Result;
use crate::core::frame::Event;
use crate::core::ring::Entry;
use crate::feed::Subscriber;
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

/// Where a client is: what is to be seen of that under the lock.
pub(super) struct Outset {
    pub begin: Begin,
    /// It has seen what has a number up to this.
    since: u64,
    /// Its id is one of the application's.
    by_own: bool,
    views: Vec<View>,
    /// The newest number of all, and of its topics.
    newest: u64,
    newest_kept: u64,
}

impl Outset {
    /// In those histories, of which no event is newer than `newest` and no one
    /// too old.
    pub fn new<'a, H>(histories: H, ids: &Ids, newest: u64, wish: &Wish<'_>) -> Self
    where
        H: Iterator<Item = &'a History> + Clone,
    {
        let (begin, since, by_own) = begin(histories.clone(), ids, newest, wish.last_event_id);
        let look = match begin {
            Begin::New => Look::Last(wish.last),
            Begin::Resumed => Look::After(since),
            Begin::TooOld | Begin::Unknown => Look::All,
        };
        let views = histories.clone().map(|h| h.look(look));
        Outset {
            begin,
            since,
            by_own,
            views: views.filter(|view| !view.is_empty()).collect(),
            newest,
            newest_kept: histories.map(|h| h.ring().newest()).max().unwrap_or(0),
        }
    }

    /// What it missed, in order; a new client the `last` of its topics beside
    /// the state.
    fn missed(&self, last: usize) -> Vec<&Arc<Entry>> {
        let mut entries: Vec<&Arc<Entry>> = Vec::new();
        let mut newest: Vec<&Arc<Entry>> = Vec::new();
        for view in &self.views {
            match self.begin {
                // To look for the rest costs more.
                Begin::New if last == 0 => entries.extend(view.present()),
                Begin::New => {
                    entries.extend(view.present());
                    newest.extend(view.rest().take(last));
                }
                Begin::Resumed => entries.extend(view.after(self.since)),
                Begin::TooOld | Begin::Unknown => entries.extend(view.kept()),
            }
        }
        newest.sort_unstable_by_key(|e| Reverse(e.seq));
        entries.extend(newest.into_iter().take(last));
        entries.sort_unstable_by_key(|e| e.seq);
        entries
    }
}

/// What a client gets before the live events.
pub(super) struct Cursor<'a> {
    begin: Begin,
    /// In order.
    missed: Vec<&'a Arc<Entry>>,
    /// Where it is then, unless what it missed says so.
    id: Option<String>,
}

impl<'a> Cursor<'a> {
    pub fn new(outset: &'a Outset, ids: &Ids, last: usize) -> Self {
        let missed = outset.missed(last);
        // An id at once, so that a client can resume before its first event;
        // and after a replay that ends with an older one. What the application
        // has given stays while it says as much.
        let has_id = match missed.last() {
            Some(e) if e.id.is_some() => outset.newest_kept <= e.seq,
            Some(e) => e.seq == outset.newest,
            None => outset.by_own,
        };
        Cursor {
            begin: outset.begin,
            missed,
            id: (!ids.are_own() && !has_id).then(|| ids.of(outset.newest)),
        }
    }

    /// How many events it missed.
    pub fn count(&self) -> u64 {
        self.missed.len() as u64
    }

    /// Queues it on the connection.
    pub fn replay<S: Subscriber>(&self, conn: &Arc<S>, reset_event: &str) -> Result<()> {
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
        conn.replay(&chunks, self.count())
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
