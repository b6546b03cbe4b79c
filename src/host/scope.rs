//! From a host program's own 64-bit keys to connections, weakly: an entry
//! neither keeps its connection nor outlives it.

use crate::sys::PerProcess;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pairs of key and handle; each is in one pair at most. All methods may be
/// called from any thread.
#[derive(Default)]
pub struct Scopes(Mutex<Pairs>);

#[derive(Default)]
struct Pairs {
    handles: HashMap<u64, u64>,
    keys: HashMap<u64, u64>,
}

/// This process's.
pub fn scopes() -> &'static Scopes {
    static SCOPES: PerProcess<Scopes> = PerProcess::new(|_| Scopes::default());
    SCOPES.get()
}

impl Scopes {
    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pairs them; earlier pairs of either are gone.
    pub fn set(&self, key: u64, handle: u64) {
        let mut pairs = self.pairs();
        if let Some(other) = pairs.handles.insert(key, handle) {
            pairs.keys.remove(&other);
        }
        if let Some(other) = pairs.keys.insert(handle, key)
            && other != key
        {
            pairs.handles.remove(&other);
        }
    }

    /// The handle of that key.
    pub fn get(&self, key: u64) -> Option<u64> {
        self.pairs().handles.get(&key).copied()
    }

    /// Ends that key's pair; `true` if there was one.
    pub fn remove(&self, key: u64) -> bool {
        let mut pairs = self.pairs();
        let Some(handle) = pairs.handles.remove(&key) else {
            return false;
        };
        pairs.keys.remove(&handle);
        pairs.shrink();
        true
    }

    /// Ends that handle's pair: its connection was freed.
    pub fn forget(&self, handle: u64) {
        let mut pairs = self.pairs();
        if let Some(key) = pairs.keys.remove(&handle) {
            pairs.handles.remove(&key);
            pairs.shrink();
        }
    }
}

impl Pairs {
    /// None left: nor any memory.
    fn shrink(&mut self) {
        if self.handles.is_empty() {
            *self = Pairs::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_handle_and_a_handle_one_key() {
        let s = Scopes::default();
        s.set(1, 10);
        s.set(1, 10);
        assert_eq!(s.get(1), Some(10));
        s.set(1, 11);
        s.forget(10);
        assert_eq!(s.get(1), Some(11), "10 had lost its key");
        s.set(2, 11);
        assert_eq!((s.get(1), s.get(2)), (None, Some(11)));
        s.forget(11);
        assert_eq!(s.get(2), None);
        assert!(!s.remove(2));
        s.set(0, 12);
        assert!(s.remove(0));
        let pairs = s.pairs();
        assert!(pairs.handles.is_empty() && pairs.keys.is_empty());
    }
}
