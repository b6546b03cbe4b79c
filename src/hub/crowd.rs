//! A list that many are in, of which a snapshot costs next to nothing: it
//! stands in slices that are shared, and copied one by one when they change
//! while a snapshot is held.

use std::sync::Arc;

/// Items of a slice.
const SLICE: usize = 64;

/// In no order. Most have one item.
#[derive(Debug, Default)]
pub(super) enum Crowd<T> {
    #[default]
    None,
    One(T),
    /// All but the last are full.
    Many(Vec<Arc<Vec<T>>>),
}

/// Some items of a snapshot.
#[derive(Debug)]
pub(super) enum Part<T> {
    One(T),
    Slice(Arc<Vec<T>>),
}

impl<T> Part<T> {
    pub fn items(&self) -> &[T] {
        match self {
            Part::One(one) => std::slice::from_ref(one),
            Part::Slice(slice) => slice,
        }
    }
}

impl<T: Clone> Crowd<T> {
    pub fn len(&self) -> usize {
        match self {
            Crowd::None => 0,
            Crowd::One(_) => 1,
            Crowd::Many(slices) => match slices.last() {
                Some(last) => (slices.len() - 1) * SLICE + last.len(),
                None => 0,
            },
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one; its place.
    pub fn push(&mut self, item: T) -> usize {
        let place = self.len();
        match self {
            Crowd::None => *self = Crowd::One(item),
            Crowd::One(_) => {
                if let Crowd::One(first) = std::mem::take(self) {
                    *self = Crowd::Many(vec![Arc::new(vec![first, item])]);
                }
            }
            Crowd::Many(slices) => match slices.last_mut() {
                Some(last) if last.len() < SLICE => Arc::make_mut(last).push(item),
                _ => slices.push(Arc::new(vec![item])),
            },
        }
        place
    }

    /// Takes away the one at that place, which must be one; the last one, if
    /// it is another, is there from now on: `moved` says which.
    pub fn remove(&mut self, place: usize, moved: impl FnOnce(&T)) -> Option<T> {
        let Crowd::Many(slices) = self else {
            return match std::mem::take(self) {
                Crowd::One(one) => Some(one),
                _ => None,
            };
        };
        let last = slices.last_mut()?;
        let mut gone = Arc::make_mut(last).pop();
        if last.is_empty() {
            slices.pop();
        }
        let slot = slices.get_mut(place / SLICE);
        let slot = slot.filter(|slice| place % SLICE < slice.len());
        if let (Some(slice), Some(item)) = (slot, &mut gone) {
            moved(item);
            std::mem::swap(&mut Arc::make_mut(slice)[place % SLICE], item);
        }
        if let [only] = &slices[..]
            && let [one] = &only[..]
        {
            *self = Crowd::One(one.clone());
        }
        gone
    }

    /// All that are in it now.
    pub fn parts(&self, parts: &mut Vec<Part<T>>) {
        match self {
            Crowd::None => {}
            Crowd::One(one) => parts.push(Part::One(one.clone())),
            Crowd::Many(slices) => parts.extend(slices.iter().cloned().map(Part::Slice)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::rc::Rc;

    type Item = Rc<(usize, Cell<usize>)>;

    fn all(parts: &[Part<Item>]) -> Vec<usize> {
        let items = parts.iter().flat_map(super::Part::items);
        let mut all: Vec<_> = items.map(|i| i.0).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        /// Whoever comes and goes: each knows its place, and a snapshot stays
        /// as it was.
        #[test]
        fn it_has_those_who_came_and_have_not_gone(
            steps in prop::collection::vec(prop::option::weighted(0.4, any::<prop::sample::Index>()), 0..600)
        ) {
            let mut crowd = Crowd::<Item>::default();
            let mut there: Vec<Item> = Vec::new();
            let mut snapshots = Vec::new();
            for (n, step) in steps.iter().enumerate() {
                match step {
                    Some(which) if !there.is_empty() => {
                        let gone = there.swap_remove(which.index(there.len()));
                        let place = gone.1.get();
                        let taken = crowd.remove(place, |moved| moved.1.set(place));
                        prop_assert_eq!(taken.map(|item| item.0), Some(gone.0));
                    }
                    _ => {
                        let item = Rc::new((n, Cell::new(0)));
                        item.1.set(crowd.push(item.clone()));
                        there.push(item);
                    }
                }
                prop_assert_eq!(crowd.len(), there.len());
                if n % 50 == 0 {
                    let mut parts = Vec::new();
                    crowd.parts(&mut parts);
                    let before = all(&parts);
                    snapshots.push((parts, before));
                }
            }
            let mut parts = Vec::new();
            crowd.parts(&mut parts);
            let mut expected: Vec<_> = there.iter().map(|i| i.0).collect();
            expected.sort_unstable();
            prop_assert_eq!(all(&parts), expected);
            for (parts, before) in snapshots {
                prop_assert_eq!(all(&parts), before);
            }
        }
    }
}
