//! Things to do, and the bell that says there are some.

use crate::sync::{Mutex, MutexGuard, Notify};
use std::collections::HashMap;
use std::collections::hash_map::IntoIter;
use std::hash::Hash;
use std::sync::PoisonError;

/// A set of things to do and a bell: rung once however many were added.
pub struct Bell<K: Hash + Eq, V> {
    /// `None` when it is closed.
    items: Mutex<Option<HashMap<K, V>>>,
    notify: Notify,
}

impl<K: Hash + Eq, V> Default for Bell<K, V> {
    fn default() -> Self {
        Bell {
            items: Mutex::new(Some(HashMap::new())),
            notify: Notify::new(),
        }
    }
}

impl<K: Hash + Eq, V> Bell<K, V> {
    fn items(&self) -> MutexGuard<'_, Option<HashMap<K, V>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; a second of the same key replaces it, so the set is bounded
    /// by the number of keys. After [`Bell::close`] it is dropped.
    pub fn add(&self, key: K, value: V) {
        let first = {
            let mut guard = self.items();
            let Some(items) = guard.as_mut() else {
                return;
            };
            let first = items.is_empty();
            items.insert(key, value);
            first
        };
        if first {
            self.notify.notify_one();
        }
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.items().as_ref().is_none_or(HashMap::is_empty)
    }

    /// Waits while there is nothing to do. For one task.
    pub async fn rung(&self) {
        while self.is_empty() {
            self.notify.notified().await;
        }
    }

    /// Does `work` for each that is there now. What a panic leaves undone is
    /// there again, but for the one that it came with.
    pub fn each(&self, mut work: impl FnMut(V)) {
        let items = self.items().as_mut().map(std::mem::take);
        let mut rest = Rest {
            bell: self,
            items: items.unwrap_or_default().into_iter(),
        };
        for (_, value) in rest.items.by_ref() {
            work(value);
        }
    }

    /// Forgets all, and takes nothing more: nobody will come for it.
    pub fn close(&self) {
        let items = self.items().take();
        // Not under the lock: a value's end may be long.
        drop(items);
    }
}

struct Rest<'a, K: Hash + Eq, V> {
    bell: &'a Bell<K, V>,
    items: IntoIter<K, V>,
}

impl<K: Hash + Eq, V> Drop for Rest<'_, K, V> {
    fn drop(&mut self) {
        for (key, value) in self.items.by_ref() {
            self.bell.add(key, value);
        }
    }
}
