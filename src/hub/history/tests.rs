//! What is kept, to the byte and the millisecond.

use super::*;
use crate::core::frame::Event;

fn settings(events: usize, state: bool) -> TopicSettings {
    TopicSettings {
        keep: Keep {
            events,
            bytes: 1 << 20,
            age_ms: 1000,
        },
        state,
        ttl_ms: 1,
    }
}

/// All are of one size whose keys and numbers have as many digits.
fn entry(seq: u64, key: Option<&str>, deletes: bool) -> Arc<Entry> {
    let id = format!("e.{seq:06}");
    let event = Event {
        data: Some("x"),
        id: Some(&id),
        ..Event::default()
    };
    Arc::new(Entry::new(&"t".into(), seq, 5, key, deletes, None, &event))
}

fn keyed(seq: u64) -> Arc<Entry> {
    entry(seq, Some(&format!("{seq:06}")), false)
}

fn silent(seq: u64, key: &str) -> Arc<Entry> {
    let nothing = Event::default();
    let entry = Entry::new(&"t".into(), seq, 5, Some(key), true, None, &nothing);
    Arc::new(entry)
}

fn size() -> usize {
    keyed(1).size()
}

#[test]
fn a_state_takes_its_room_to_the_last_byte_and_refuses_what_is_beyond() {
    let mut state = State::default();
    for seq in 1..=3 {
        state.put(&keyed(seq), 2 * size());
    }
    assert_eq!(
        (state.newest.len(), state.bytes, state.refused),
        (2, 2 * size(), 1)
    );
    state.put(&entry(4, Some("000001"), true), 2 * size());
    assert_eq!((state.newest.len(), state.bytes), (1, size()));
    state.put(&keyed(5), 2 * size() - 1);
    assert_eq!((state.newest.len(), state.refused), (1, 2));
    state.put(&entry(6, None, false), 2 * size());
    assert_eq!((state.newest.len(), state.refused), (1, 2), "has no key");
}

#[test]
fn a_state_has_so_many_keys_and_a_new_value_for_each_of_them() {
    let mut state = State::default();
    let most = limits::STATE_KEYS as u64;
    for seq in 1..=most {
        state.put(&keyed(seq), usize::MAX);
    }
    assert_eq!((state.newest.len(), state.refused), (limits::STATE_KEYS, 0));
    state.put(&keyed(most + 1), usize::MAX);
    state.put(&entry(most + 2, Some("000001"), false), usize::MAX);
    assert_eq!((state.newest.len(), state.refused), (limits::STATE_KEYS, 1));
}

#[test]
fn the_oldest_is_over_when_it_is_older_than_its_age() {
    let mut history = History::new(settings(9, false), 0);
    assert_eq!(history.over_ms(), None);
    history.push(&keyed(1), 0);
    assert_eq!(history.over_ms(), Some(1006));
    assert!(!history.ring.is_over(&history.settings.keep, 1005));
    assert!(history.ring.is_over(&history.settings.keep, 1006));
}

#[test]
fn a_key_may_be_known_to_a_state_or_to_what_may_become_one() {
    let may = |state, events: u64, room, key| {
        let mut history = History::new(settings(9, state), 0);
        (1..=events).for_each(|seq| drop(history.push(&keyed(seq), room)));
        let with_events = history.may_have(key);
        while history.ring.evict().is_some() {}
        (with_events, history.may_have(key))
    };
    let (here, other) = ("000001", "other");
    assert_eq!(may(true, 1, size(), here), (true, true));
    assert_eq!(may(true, 1, size(), other), (false, false));
    assert_eq!(
        may(true, 2, size(), other),
        (true, false),
        "one was refused"
    );
    assert_eq!(may(false, 1, 0, other), (true, false));
}

#[test]
fn settings_change_one_by_one() {
    let old = settings(9, false);
    let of = |s: TopicSettings| {
        (
            s.keep.events,
            s.keep.bytes,
            s.keep.age_ms,
            s.state,
            s.ttl_ms,
        )
    };
    assert_eq!(of(old.with(&TopicChange::default())), of(old));
    let all = TopicChange {
        events: Some(1),
        bytes: Some(2),
        age_ms: Some(3),
        state: Some(true),
        ttl_ms: Some(4),
    };
    assert_eq!(of(old.with(&all)), (1, 2, 3, true, 4));
}

#[test]
fn half_of_all_that_is_kept_is_for_the_states_together() {
    let mut memory = Memory::new(6 * size());
    let (a, b) = (
        memory.open(settings(1, true), 0),
        memory.open(settings(1, true), 0),
    );
    memory.push(a, &keyed(1));
    memory.push(b, &keyed(2));
    memory.push(b, &keyed(3));
    memory.push(b, &keyed(4));
    assert_eq!(memory[a].state(), (1, size(), 0));
    assert_eq!(memory[b].state(), (2, 2 * size(), 1));
    assert_eq!(memory.bytes(), 5 * size(), "two are history");
    assert_eq!(memory.evicted(), 2);
    assert_eq!(memory.close(b), 4);
    assert_eq!((memory.bytes(), memory.evicted()), (2 * size(), 3));
    for seq in 5..=7 {
        memory.push(a, &keyed(seq));
    }
    assert_eq!(memory[a].state(), (3, 3 * size(), 1), "there is room again");
}

#[test]
fn all_may_be_kept_to_the_last_byte_and_then_the_oldest_of_all_goes() {
    let mut memory = Memory::new(3 * size());
    let (a, b) = (
        memory.open(settings(9, false), 0),
        memory.open(settings(9, false), 0),
    );
    memory.push(a, &keyed(1));
    memory.push(b, &keyed(2));
    memory.push(b, &keyed(3));
    assert_eq!((memory.bytes(), memory.evicted()), (3 * size(), 0));
    memory.push(b, &keyed(4));
    assert_eq!((memory.bytes(), memory.evicted()), (3 * size(), 1));
    assert_eq!((memory[a].ring.len(), memory[b].ring.len()), (0, 3));
}

#[test]
fn eviction_says_how_many_it_were_and_counts_events_alone() {
    let mut memory = Memory::new(1 << 20);
    let a = memory.open(settings(4, false), 0);
    for seq in 1..=5 {
        memory.push(a, &keyed(seq));
    }
    memory.push(a, &silent(6, "000001"));
    assert_eq!(memory[a].ring.len(), 4);
    assert_eq!((memory.trim(a, 1005, 9), memory.evicted()), (0, 1));
    assert_eq!((memory.trim(a, 1006, 1), memory.evicted()), (1, 2));
    assert_eq!((memory.drain(a, 0), memory.drain(a, 2)), (0, 2));
    assert_eq!((memory.drain(a, 9), memory.evicted()), (2, 5));
    assert_eq!((memory.bytes(), memory.drain(a, 9)), (0, 0));
}

/// A topic of those events that is to have a state from now on.
fn to_be_filled(total: usize, events: u64) -> (Memory, usize) {
    let mut memory = Memory::new(total);
    let a = memory.open(settings(1000, false), 0);
    (1..=events).for_each(|seq| memory.push(a, &keyed(seq)));
    assert!(memory.set(a, settings(1000, true)).is_none());
    (memory, a)
}

const FEW: u64 = limits::EVICTED_AT_ONCE as u64;

#[test]
fn a_state_of_a_few_events_is_made_at_once_and_of_more_beside_the_lock() {
    for (events, at_once, made) in [
        (FEW, false, true),
        (FEW + 1, false, false),
        (FEW + 1, true, true),
    ] {
        let (mut memory, a) = to_be_filled(1 << 20, events);
        let mut filling = Filling::default();
        let missing = memory.fill(a, &mut filling, at_once);
        assert_eq!(missing.is_none(), made, "{events}");
        if let Some(missing) = missing {
            assert_eq!(missing.events.iter().count() as u64, events);
            filling.take(&missing);
            assert!(memory.fill(a, &mut filling, false).is_none());
        }
        let bytes = events as usize * size();
        assert_eq!(memory[a].state(), (events as usize, bytes, 0));
        assert_eq!(memory.bytes(), 2 * bytes);
        let mut again = Filling::default();
        assert!(memory.fill(a, &mut again, false).is_none(), "it has one");
        assert_eq!(memory.bytes(), 2 * bytes);
    }
}

#[test]
fn a_state_is_made_afresh_when_what_it_has_not_seen_is_gone() {
    let (mut memory, a) = to_be_filled(1 << 20, 300);
    let mut filling = Filling::default();
    let missing = memory.fill(a, &mut filling, false).unwrap();
    filling.take(&missing);
    memory.drain(a, 300);
    memory.push(a, &keyed(301));
    memory.push(a, &keyed(302));
    memory.drain(a, 1);
    // What it has is too much to be dropped there.
    let missing = memory.fill(a, &mut filling, false).unwrap();
    assert!(missing.afresh);
    filling.take(&missing);
    assert!(memory.fill(a, &mut filling, false).is_none());
    assert_eq!(memory[a].state(), (1, size(), 0));
    // All that is gone has been seen.
    let (mut memory, a) = to_be_filled(1 << 20, 300);
    let mut filling = Filling::default();
    let missing = memory.fill(a, &mut filling, false).unwrap();
    filling.take(&missing);
    memory.drain(a, 300);
    assert!(memory.fill(a, &mut filling, false).is_none());
    assert_eq!(memory[a].state(), (300, 300 * size(), 0));
}

#[test]
fn a_state_is_made_afresh_when_others_have_taken_the_room() {
    // One that the state has no room for, which is counted once.
    let (mut memory, a) = to_be_filled(2 * 299 * size(), 300);
    let b = memory.open(settings(0, true), 0);
    let mut filling = Filling::default();
    let missing = memory.fill(a, &mut filling, false).unwrap();
    filling.take(&missing);
    let figures = |f: &Filling| (f.state.newest.len(), f.state.refused);
    assert_eq!(figures(&filling), (299, 1));
    memory.push(b, &keyed(301));
    let missing = memory.fill(a, &mut filling, false).unwrap();
    assert!(missing.afresh);
    filling.take(&missing);
    assert_eq!(figures(&filling), (298, 2));
    assert!(memory.fill(a, &mut filling, false).is_none());
    assert_eq!(memory[a].state(), (298, 298 * size(), 2));
}

#[test]
fn a_state_that_is_to_be_no_more_is_given_back_and_its_bytes_with_it() {
    let mut memory = Memory::new(1 << 20);
    let a = memory.open(settings(9, true), 0);
    memory.push(a, &keyed(1));
    assert!(memory.set(a, settings(9, true)).is_none());
    assert_eq!(memory.bytes(), 2 * size());
    let old = memory.set(a, settings(9, false)).unwrap();
    assert_eq!((old.bytes, memory.bytes()), (size(), size()));
    assert!(memory.fill(a, &mut Filling::default(), true).is_none());
    assert_eq!(memory[a].state(), (0, 0, 0));
}
