//! Messages for the operator, bounded: what nobody reads is counted.

use super::mailbox::Mailbox;
use super::record::{self, Kind};
use crate::core::level::Level;
use crate::core::limits;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module. All methods may be called from any thread.
pub struct Notices {
    mailbox: Arc<Mailbox>,
    /// What the host program asks for.
    level: Level,
    /// Those that wait to be read.
    queued: AtomicUsize,
    /// Of all time, and since then.
    dropped: AtomicUsize,
    left_out: AtomicUsize,
    /// Kinds of messages that came lately, and how many more of each since.
    held: Mutex<HashMap<&'static str, u64>>,
}

impl Notices {
    /// For that mailbox, up to that level.
    pub fn new(mailbox: Arc<Mailbox>, level: Level) -> Arc<Self> {
        Arc::new(Notices {
            mailbox,
            level,
            queued: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            left_out: AtomicUsize::new(0),
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<&'static str, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a warning, or counts it when there are many.
    pub fn log(&self, text: &str) {
        self.push(record::log(Level::Warning, text));
    }

    /// The host program wants to know so much.
    pub fn want(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Queues a message if its level was asked for: the text is made only
    /// then. Those beside warnings leave half of the room to them.
    pub fn tell(&self, level: Level, text: fmt::Arguments<'_>) {
        if !self.want(level) {
            return;
        }
        let most = match level {
            Level::Warning => limits::LOG_RECORDS,
            Level::Info | Level::Debug => limits::LOG_RECORDS / 2,
        };
        self.push_up_to(most, || record::log(level, &text.to_string()));
    }

    /// Queues a record that no connection bounds, or counts it.
    pub fn push(&self, record: Vec<u8>) {
        self.push_up_to(limits::LOG_RECORDS, || record);
    }

    fn push_up_to(&self, most: usize, record: impl FnOnce() -> Vec<u8>) {
        if self.queue(most) {
            self.mailbox.push(record());
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The host program reads: what was left out is a message, for which there
    /// is one place more.
    pub fn make_room(&self) {
        if self.left_out.load(Ordering::Relaxed) == 0 || !self.queue(limits::LOG_RECORDS + 1) {
            return;
        }
        let dropped = self.left_out.swap(0, Ordering::Relaxed);
        let all = "log messages and answers of the server's own, as the host read none";
        let text = format!("dropped {dropped} {all}");
        self.mailbox.push(record::log(Level::Warning, &text));
    }

    /// It has read that record: if it was one of these, there is room for another.
    pub fn read(&self, record: &[u8]) {
        if let Some((Kind::Log | Kind::Answered, _)) = record::about(record) {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts one more, of so many.
    fn queue(&self, most: usize) -> bool {
        let more = |queued| (queued < most).then_some(queued + 1);
        let order = Ordering::Relaxed;
        self.queued.fetch_update(order, order, more).is_ok()
    }

    /// Those that were left out, since the beginning.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A message that clients can cause at will: the first of a kind at once,
    /// then one in a while, which counts the others; for the level of a fault
    /// that is looked for, each. Needs the runtime's
    /// context.
    pub fn notice(self: &Arc<Self>, kind: &'static str, detail: &str) {
        if self.want(Level::Debug) {
            return self.log(&format!("{kind}{detail}"));
        }
        match self.held().entry(kind) {
            Entry::Occupied(mut held) => return *held.get_mut() += 1,
            Entry::Vacant(first) => first.insert(0),
        };
        self.log(&format!("{kind}{detail}"));
        let notices = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(limits::NOTICE_MS)).await;
                let held = match notices.held().entry(kind) {
                    Entry::Occupied(held) if *held.get() == 0 => {
                        held.remove();
                        return;
                    }
                    Entry::Occupied(mut held) => std::mem::take(held.get_mut()),
                    Entry::Vacant(_) => return,
                };
                notices.log(&format!("{kind}: {held} more in the last second"));
            }
        });
    }
}
