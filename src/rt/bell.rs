//! Things to do, and the bell that says there are some.

use crate::conn::Conn;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A set of things to do and a bell: rung once however many were added.
pub struct Bell<K, V> {
    items: Mutex<HashMap<K, V>>,
    notify: Notify,
}

impl<K: Hash + Eq, V> Default for Bell<K, V> {
    fn default() -> Self {
        Bell {
            items: Default::default(),
            notify: Notify::new(),
        }
    }
}

impl<K: Hash + Eq, V> Bell<K, V> {
    fn items(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; a second of the same key replaces it, so the set is bounded
    /// by the number of keys.
    pub fn add(&self, key: K, value: V) {
        let first = {
            let mut items = self.items();
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
        self.items().is_empty()
    }

    /// Waits until something was added.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Takes all.
    pub fn take(&self) -> HashMap<K, V> {
        std::mem::take(&mut *self.items())
    }
}

/// Connections that want attention, by handle.
pub type ConnBell = Bell<u64, Arc<Conn>>;
