//! A queue of which a snapshot costs next to nothing: all but its ends stands
//! in slices that are shared, and none of them ever changes.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// Items of a slice.
const SLICE: usize = 128;

/// What was added first comes first.
#[derive(Debug)]
pub struct Slices<T> {
    /// What is left of a slice: whoever goes is gone at once.
    front: VecDeque<T>,
    /// All are full.
    middle: VecDeque<Arc<Vec<T>>>,
    /// Less than a slice.
    back: VecDeque<T>,
}

impl<T> Default for Slices<T> {
    fn default() -> Self {
        Slices {
            front: VecDeque::new(),
            middle: VecDeque::new(),
            back: VecDeque::new(),
        }
    }
}

impl<T: Clone> Slices<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.front.len() + self.middle.len() * SLICE + self.back.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one.
    pub fn push(&mut self, item: T) {
        self.back.push_back(item);
        if self.back.len() == SLICE {
            let full = mem::take(&mut self.back);
            self.middle.push_back(Arc::new(full.into()));
        }
    }

    /// Takes the first one.
    pub fn pop(&mut self) -> Option<T> {
        if self.front.is_empty() {
            let Some(slice) = self.middle.pop_front() else {
                return self.back.pop_front();
            };
            self.front = Arc::unwrap_or_clone(slice).into();
        }
        self.front.pop_front()
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let middle = self.middle.iter().flat_map(|slice| slice.iter());
        self.front.iter().chain(middle).chain(&self.back)
    }

    /// How many there are before the first one of which it is not true.
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        if self.front.back().is_some_and(|item| !is_before(item)) {
            return self.front.partition_point(is_before);
        }
        let full = |slice: &Arc<Vec<T>>| slice.last().is_some_and(&mut is_before);
        let slices = self.middle.partition_point(full);
        let within = match self.middle.get(slices) {
            Some(slice) => slice.partition_point(is_before),
            None => self.back.partition_point(is_before),
        };
        self.front.len() + slices * SLICE + within
    }

    /// A snapshot of those from that place on, and of less than a slice of
    /// those before it.
    pub fn share(&self, from: usize) -> Shared<T> {
        let own = |items: &VecDeque<T>| {
            let any = !items.is_empty();
            any.then(|| Arc::new(items.iter().cloned().collect()))
        };
        let behind = from.checked_sub(self.front.len());
        let first = behind.unwrap_or(0) / SLICE;
        let middle = self.middle.iter().skip(first);
        let mut slices = Vec::with_capacity(middle.len() + 2);
        if behind.is_none() {
            slices.extend(own(&self.front));
        }
        slices.extend(middle.cloned());
        slices.extend(own(&self.back));
        Shared(slices)
    }
}

/// A snapshot.
#[derive(Debug)]
pub struct Shared<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared(Vec::new())
    }
}

impl<T> Shared<T> {
    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter().flat_map(|slice| slice.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It has what was added and has not gone, nothing else lives on, and
        /// snapshots stay as they were.
        #[test]
        fn it_is_a_queue(
            steps in prop::collection::vec((1..300_usize, 0..300_usize), 0..20),
            from in any::<prop::sample::Index>(),
        ) {
            let mut slices = Slices::default();
            let mut queue = VecDeque::new();
            let mut snapshots = Vec::new();
            let mut n = 0;
            prop_assert!(slices.share(0).is_empty());
            for (pushed, popped) in steps {
                for _ in 0..pushed {
                    slices.push(Arc::new(n));
                    queue.push_back(n);
                    n += 1;
                }
                let from = from.index(queue.len());
                let shared = slices.share(from);
                let seen: Vec<i32> = shared.iter().map(|n| **n).collect();
                let before = seen.len() - (queue.len() - from);
                prop_assert!(before < SLICE, "{before}");
                prop_assert!(!shared.is_empty());
                prop_assert_eq!(&seen[before..], &queue.make_contiguous()[from..]);
                snapshots.push((shared, seen));
                for _ in 0..popped {
                    prop_assert_eq!(slices.pop().map(|n| *n), queue.pop_front());
                }
                prop_assert_eq!((slices.len(), slices.is_empty()), (queue.len(), queue.is_empty()));
                prop_assert!(slices.iter().map(|n| **n).eq(queue.iter().copied()));
                prop_assert!(slices.iter().rev().map(|n| **n).eq(queue.iter().rev().copied()));
                for at in [0, n / 2, n - 1, n] {
                    prop_assert_eq!(
                        slices.partition_point(|n| **n < at),
                        queue.partition_point(|n| *n < at)
                    );
                }
            }
            for (shared, seen) in snapshots {
                prop_assert!(shared.iter().map(|n| **n).eq(seen));
            }
            prop_assert!(slices.iter().all(|n| Arc::strong_count(n) == 1));
        }
    }

    #[test]
    fn what_is_taken_is_held_no_longer() {
        let mut slices = Slices::default();
        (0..1000).for_each(|n| slices.push(Arc::new(n)));
        while let Some(n) = slices.pop() {
            assert_eq!(Arc::strong_count(&n), 1, "{n}");
        }
    }
}
