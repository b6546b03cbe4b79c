//! Generational handles: numbers that lead to objects and never to the wrong
//! one.
//!
//! Layout, from the top: 1 bit clear (so that a signed 64-bit integer holds
//! it), 7 bits kind, 8 bits process, 16 bits generation, 32 bits slot. The
//! process bits are the fork generation, so a child tells its parent's handles
//! from its own. A slot whose generations are used up is retired, so a number
//! is never given out twice: 40 bytes for every 65,535 objects.

use crate::core::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

struct Slot<T> {
    /// Of its object; without one, the next to be given out; 0: all were.
    generation: u16,
    object: Option<T>,
}

struct Slots<T> {
    slots: Vec<Slot<T>>,
    // First in, first out: a slot rests as long as possible.
    free: VecDeque<u32>,
    live: usize,
}

/// Kind tag of connections.
pub const CONN: u8 = 1;
/// Kind tag of servers.
pub const SERVER: u8 = 2;
/// Kind tag of runtimes.
pub const RUNTIME: u8 = 3;
/// Kind tag of parsers.
pub const PARSER: u8 = 4;
/// Kind tag of hubs.
pub const HUB: u8 = 5;
/// Kind tag of subscriptions.
pub const SUBSCRIPTION: u8 = 6;
/// Kind tag of clients.
pub const CLIENT: u8 = 7;

/// A table of objects of one kind. All methods may be called from any thread;
/// the table's lock is held only for the look-up itself.
pub struct Table<T> {
    kind: u8,
    process: u8,
    slots: RwLock<Slots<T>>,
}

impl<T: Clone> Table<T> {
    /// An empty table for objects of that kind (1..=127), in the process of
    /// that fork generation.
    pub fn new(kind: u8, process: u64) -> Self {
        Table {
            kind,
            process: process as u8,
            slots: RwLock::new(Slots {
                slots: Vec::new(),
                free: VecDeque::new(),
                live: 0,
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Slots<T>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots<T>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an object and returns its handle.
    pub fn insert(&self, object: T) -> Result<u64> {
        let mut t = self.write();
        let slot = match t.free.pop_front() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(t.slots.len()).map_err(|_| Error::HandlesExhausted)?;
                t.slots.push(Slot {
                    generation: 1,
                    object: None,
                });
                slot
            }
        };
        t.live += 1;
        let entry = &mut t.slots[slot as usize];
        entry.object = Some(object);
        Ok((u64::from(self.kind) << 56)
            | (u64::from(self.process) << 48)
            | (u64::from(entry.generation) << 32)
            | u64::from(slot))
    }

    fn check(&self, t: &Slots<T>, handle: u64) -> Result<usize> {
        let generation = (handle >> 32) as u16;
        let slot = handle as u32 as usize;
        if handle == 0 || handle >> 63 != 0 || generation == 0 {
            return Err(Error::HandleInvalid);
        }
        if (handle >> 56) as u8 != self.kind {
            return Err(Error::HandleKind);
        }
        if (handle >> 48) as u8 != self.process {
            return Err(Error::HandleForked);
        }
        let entry = t.slots.get(slot).ok_or(Error::HandleInvalid)?;
        match (&entry.object, entry.generation) {
            (Some(_), present) if present == generation => Ok(slot),
            (_, 0) => Err(Error::HandleStale),
            (_, present) if present <= generation => Err(Error::HandleInvalid),
            _ => Err(Error::HandleStale),
        }
    }

    /// The object of that handle.
    pub fn get(&self, handle: u64) -> Result<T> {
        let t = self.read();
        let slot = self.check(&t, handle)?;
        t.slots[slot].object.clone().ok_or(Error::HandleStale)
    }

    /// Takes the object out; the handle is stale from now on.
    pub fn remove(&self, handle: u64) -> Result<T> {
        let mut t = self.write();
        let slot = self.check(&t, handle)?;
        let entry = &mut t.slots[slot];
        let object = entry.object.take().ok_or(Error::HandleStale)?;
        entry.generation = entry.generation.wrapping_add(1);
        if entry.generation != 0 {
            t.free.push_back(slot as u32);
        }
        t.live -= 1;
        // The caller drops the object, outside the lock.
        Ok(object)
    }

    /// How many handles are live.
    pub fn live(&self) -> usize {
        self.read().live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_wrong_handle_has_its_own_error() {
        let t: Table<u32> = Table::new(CONN, 3);
        let h = t.insert(7).unwrap();
        assert_eq!(h >> 63, 0);
        assert_eq!(t.get(h), Ok(7));
        assert_eq!(t.get(0), Err(Error::HandleInvalid));
        assert_eq!(t.get(h | 1 << 63), Err(Error::HandleInvalid));
        assert_eq!(t.get(h + 1), Err(Error::HandleInvalid));
        assert_eq!(t.get(h + (1 << 32)), Err(Error::HandleInvalid));
        assert_eq!(t.get(h ^ (3 << 56)), Err(Error::HandleKind));
        assert_eq!(t.get(h ^ (1 << 48)), Err(Error::HandleForked));
        assert_eq!(t.remove(h), Ok(7));
        assert_eq!(t.get(h), Err(Error::HandleStale));
        assert_eq!(t.remove(h), Err(Error::HandleStale));
        assert_eq!(t.get(h + (1 << 32)), Err(Error::HandleInvalid), "the next");
        assert_eq!(t.live(), 0);
    }

    #[test]
    fn a_number_is_never_given_out_twice() {
        let t: Table<()> = Table::new(CONN, 0);
        let mut last = 0;
        for _ in 0..200_000 {
            let h = t.insert(()).unwrap();
            assert_ne!(h, last);
            t.remove(h).unwrap();
            assert_eq!(t.get(h), Err(Error::HandleStale));
            last = h;
        }
        let newest_of_a_retired_slot = u64::from(CONN) << 56 | 0xFFFF << 32;
        assert_eq!(t.get(newest_of_a_retired_slot), Err(Error::HandleStale));
        assert_eq!(t.read().slots.len(), 4, "one slot retired per 65,535");
    }

    #[test]
    fn eight_threads_drop_every_object_once() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let t: Table<Arc<Counted>> = Table::new(CONN, 0);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..2_000 {
                        let h = t.insert(Arc::new(Counted(drops.clone()))).unwrap();
                        assert!(t.get(h).is_ok());
                        t.remove(h).unwrap();
                        assert!(t.get(h).is_err());
                    }
                });
            }
        });
        assert_eq!(drops.load(Ordering::Relaxed), 16_000);
        assert_eq!(t.live(), 0);
    }
}
