//! Messages for the operator, bounded: what nobody reads is counted.

use super::mailbox::Mailbox;
use super::record;
use crate::core::limits;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module. All methods may be called from any thread.
pub struct Notices {
    mailbox: Arc<Mailbox>,
    /// Since the host program last read.
    queued: AtomicUsize,
    dropped: AtomicUsize,
    /// Kinds of messages that came lately, and how many more of each since.
    held: Mutex<HashMap<&'static str, u64>>,
}

impl Notices {
    /// For that mailbox.
    pub fn new(mailbox: Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Notices {
            mailbox,
            queued: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<&'static str, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message, or counts it when there are many.
    pub fn log(&self, text: &str) {
        self.push(record::log(text));
    }

    /// Queues a record that no connection bounds, or counts it.
    pub fn push(&self, record: Vec<u8>) {
        if self.queued.fetch_add(1, Ordering::Relaxed) < limits::LOG_RECORDS {
            self.mailbox.push(record);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The host program reads: there is room again, and what was left out is a
    /// message.
    pub fn make_room(&self) {
        let queued = self.queued.swap(0, Ordering::Relaxed);
        if let Some(dropped @ 1..) = queued.checked_sub(limits::LOG_RECORDS) {
            let all = "log messages and answers of the server's own, as the host read none";
            let text = format!("dropped {dropped} {all}");
            self.mailbox.push(record::log(&text));
        }
    }

    /// Those that were left out, since the beginning.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A message that clients can cause at will: the first of a kind at once,
    /// then one in a while, which counts the others. Needs the runtime's
    /// context.
    pub fn notice(self: &Arc<Self>, kind: &'static str, detail: &str) {
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
