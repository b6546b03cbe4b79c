//! What waits for the host program: bounded, and what makes it look.

use super::item::{ClientEnd, ClientState, Item};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The host program's side of a client.
pub trait Host: Send + Sync {
    /// There is something to take. Said once, and again only after nothing was
    /// left to take. From any thread; no lock is held.
    fn look(&self);
}

#[derive(Debug)]
struct Kept {
    item: Item,
    /// The id in force after it, if that is not what it was before.
    id: Option<Arc<str>>,
    cost: usize,
}

#[derive(Debug)]
struct Inner {
    kept: VecDeque<Kept>,
    bytes: usize,
    state: ClientState,
    /// As of what was taken.
    last_id: Arc<str>,
    /// The host program knows that there is something.
    told: bool,
    /// The client waits for room.
    is_full: bool,
    /// END is in it, or was.
    ended: bool,
}

/// Between a client's task and the host program.
pub(super) struct Shelf {
    inner: Mutex<Inner>,
    host: Arc<dyn Host>,
    max_items: usize,
    max_bytes: usize,
    room: Notify,
    closing: Notify,
}

impl Shelf {
    pub fn new(host: Arc<dyn Host>, max_items: usize, max_bytes: usize, id: &str) -> Self {
        Shelf {
            inner: Mutex::new(Inner {
                kept: VecDeque::new(),
                bytes: 0,
                state: ClientState::Connecting,
                last_id: id.into(),
                told: false,
                is_full: false,
                ended: false,
            }),
            host,
            max_items,
            max_bytes,
            room: Notify::new(),
            closing: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts items there, and the id in force after them. After the end nothing
    /// follows.
    pub fn put(&self, items: impl IntoIterator<Item = Item>, id: &str, state: ClientState) {
        let look = {
            let mut inner = self.lock();
            if inner.ended {
                return;
            }
            inner.state = state;
            for item in items {
                inner.keep(item);
            }
            inner.id_is(id);
            inner.news()
        };
        if look {
            self.host.look();
        }
    }

    /// How many items, and bytes, may be put there; none once it was full,
    /// until half is free.
    pub fn free(&self) -> Option<(usize, usize)> {
        let mut inner = self.lock();
        let items = self.max_items.saturating_sub(inner.kept.len());
        let bytes = self.max_bytes.saturating_sub(inner.bytes);
        inner.is_full |= items == 0 || bytes == 0;
        (!inner.is_full).then_some((items, bytes))
    }

    /// Waits for room. For the client's task.
    pub async fn wait_for_room(&self) {
        while self.free().is_none() {
            self.room.notified().await;
        }
    }

    /// Waits until the host program closes it. For the client's task.
    pub async fn closing(&self) {
        self.closing.notified().await;
    }

    /// The first item, if `wanted` wants it.
    pub fn take_if(&self, wanted: impl FnOnce(&Item) -> bool) -> Option<Item> {
        let (item, room) = {
            let mut inner = self.lock();
            let Some(first) = inner.kept.front() else {
                inner.told = false;
                return None;
            };
            if !wanted(&first.item) {
                return None;
            }
            let kept = inner.kept.pop_front()?;
            inner.bytes -= kept.cost;
            if let Some(id) = kept.id {
                inner.last_id = id;
            }
            let half = inner.kept.len() <= self.max_items / 2 && inner.bytes <= self.max_bytes / 2;
            let room = half && std::mem::take(&mut inner.is_full);
            if inner.kept.is_empty() {
                // After a burst: nor any memory.
                inner.kept.shrink_to(8);
            }
            (kept.item, room)
        };
        if room {
            self.room.notify_one();
        }
        Some(item)
    }

    pub fn state(&self) -> ClientState {
        self.lock().state
    }

    /// The id in force after what was taken.
    pub fn last_event_id(&self) -> Arc<str> {
        self.lock().last_id.clone()
    }

    pub fn waiting(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.kept.len(), inner.bytes)
    }

    /// Ends it if it has not ended.
    pub fn end(&self, why: ClientEnd) {
        let id = self.lock().newest_id();
        self.put([Item::End(why)], &id, ClientState::Closed);
    }

    /// The host program takes no more: but the end, what waits is dropped.
    pub fn close(&self) {
        {
            let mut inner = self.lock();
            if !inner.ended {
                inner.kept.clear();
                inner.bytes = 0;
            }
        }
        self.end(ClientEnd::Closed);
        self.closing.notify_one();
    }
}

impl Inner {
    fn keep(&mut self, item: Item) {
        let id = match &item {
            Item::Event(event) => Some(event.last_event_id.clone()),
            _ => None,
        };
        self.ended |= matches!(item, Item::End(_));
        let cost = item.cost();
        self.bytes += cost;
        self.kept.push_back(Kept { item, id, cost });
    }

    fn newest_id(&self) -> Arc<str> {
        let kept = self.kept.iter().rev().find_map(|k| k.id.as_ref());
        kept.unwrap_or(&self.last_id).clone()
    }

    /// A block may have had an id and no event.
    fn id_is(&mut self, id: &str) {
        if *self.newest_id() == *id {
            return;
        }
        match self.kept.back_mut() {
            Some(last) => last.id = Some(id.into()),
            None => self.last_id = id.into(),
        }
    }

    fn news(&mut self) -> bool {
        !self.kept.is_empty() && !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::parse::Message;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Looks(AtomicUsize);

    impl Host for Looks {
        fn look(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(data: &str, id: &str) -> Item {
        Item::Event(Message {
            event: "message".into(),
            data: data.into(),
            last_event_id: id.into(),
        })
    }

    fn shelf(items: usize, bytes: usize) -> (Arc<Looks>, Shelf) {
        let looks = Arc::<Looks>::default();
        (looks.clone(), Shelf::new(looks, items, bytes, ""))
    }

    fn take(shelf: &Shelf) -> Option<Item> {
        shelf.take_if(|_| true)
    }

    #[test]
    fn the_host_is_told_once_until_it_has_found_nothing() {
        let (looks, shelf) = shelf(9, 9999);
        for _ in 0..3 {
            shelf.put([event("x", "")], "", ClientState::Open);
        }
        assert_eq!(looks.0.load(Ordering::Relaxed), 1);
        while take(&shelf).is_some() {}
        shelf.put([], "7", ClientState::Open);
        assert_eq!(looks.0.load(Ordering::Relaxed), 1, "nothing to take");
        shelf.put([event("x", "")], "", ClientState::Open);
        assert_eq!(looks.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_full_one_has_room_again_when_half_is_taken() {
        let (_, shelf) = shelf(4, 9999);
        shelf.put((0..4).map(|_| event("x", "")), "", ClientState::Open);
        assert_eq!(shelf.free(), None);
        take(&shelf);
        assert_eq!(shelf.free(), None);
        take(&shelf);
        assert_eq!(shelf.free().unwrap().0, 2);
    }

    #[test]
    fn bytes_are_bounded_as_items_are() {
        let (_, shelf) = shelf(100, 1000);
        shelf.put([event(&"x".repeat(2000), "")], "", ClientState::Open);
        assert_eq!(shelf.free(), None);
        take(&shelf);
        assert_eq!(shelf.free(), Some((100, 1000)));
    }

    #[test]
    fn the_id_is_that_of_what_was_taken() {
        let (_, shelf) = shelf(9, 9999);
        shelf.put([event("a", "1"), event("b", "2")], "3", ClientState::Open);
        assert_eq!(&*shelf.last_event_id(), "");
        take(&shelf);
        assert_eq!(&*shelf.last_event_id(), "1");
        take(&shelf);
        assert_eq!(&*shelf.last_event_id(), "3", "of a block without an event");
        shelf.put([], "4", ClientState::Open);
        assert_eq!(&*shelf.last_event_id(), "4");
        shelf.put([event("c", "")], "", ClientState::Open);
        take(&shelf);
        assert_eq!(&*shelf.last_event_id(), "", "taken back");
    }

    #[test]
    fn one_that_is_closed_has_the_end_and_nothing_after_it() {
        let (_, shelf) = shelf(9, 9999);
        shelf.put([event("a", "1")], "1", ClientState::Open);
        shelf.close();
        shelf.put([event("b", "2")], "2", ClientState::Open);
        shelf.close();
        assert_eq!(shelf.state(), ClientState::Closed);
        assert!(matches!(take(&shelf), Some(Item::End(ClientEnd::Closed))));
        assert!(take(&shelf).is_none());
        assert_eq!(shelf.waiting(), (0, 0));
    }

    #[test]
    fn an_end_that_waits_stays_what_it_was() {
        let (_, shelf) = shelf(9, 9999);
        shelf.put([event("a", "1")], "1", ClientState::Open);
        shelf.end(ClientEnd::NoContent);
        shelf.close();
        assert!(matches!(take(&shelf), Some(Item::Event(_))));
        assert!(matches!(
            take(&shelf),
            Some(Item::End(ClientEnd::NoContent))
        ));
    }

    #[test]
    fn what_is_not_wanted_stays() {
        let (_, shelf) = shelf(9, 9999);
        shelf.put([event("a", "1")], "1", ClientState::Open);
        assert!(shelf.take_if(|_| false).is_none());
        assert!(shelf.take_if(|i| matches!(i, Item::Event(_))).is_some());
    }
}
