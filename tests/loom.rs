//! Every order of steps of the parts that threads share, with loom. The files
//! are the library's own; `sync` is what differs.
#![allow(dead_code)]

mod sync {
    pub use loom::sync::atomic::{AtomicBool, Ordering};
    pub use loom::sync::{Mutex, MutexGuard};
}
#[path = "../src/hub/ready.rs"]
mod ready;

use loom::sync::Arc;
use loom::thread;
use ready::Ready;
use std::sync::atomic::AtomicUsize;
use sync::{AtomicBool, Mutex, Ordering};

/// A hub with one subscriber, as far as READY goes.
#[derive(Default)]
struct Slow {
    ready: Ready,
    mark: AtomicBool,
    over: AtomicBool,
    is_high: Mutex<bool>,
    // For the check alone.
    refused: AtomicUsize,
    told: AtomicUsize,
}

impl Slow {
    fn is_high(&self) -> bool {
        !self.over.load(Ordering::Acquire) && *self.is_high.lock().unwrap()
    }

    fn set_high(&self, high: bool) {
        let told = self
            .ready
            .mark(&self.mark, high, || self.is_high(), || true);
        self.told.fetch_add(told.into(), Ordering::Relaxed);
    }

    fn ask(&self) {
        let refused = !self.ready.ask(|| true);
        self.refused.fetch_add(refused.into(), Ordering::Relaxed);
    }

    fn deliver(&self) {
        *self.is_high.lock().unwrap() = true;
        if !self.mark.load(Ordering::Acquire) {
            self.set_high(true);
        }
    }

    fn drain(&self) {
        let was = std::mem::replace(&mut *self.is_high.lock().unwrap(), false);
        if was {
            self.set_high(false);
        }
    }

    fn end(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            self.set_high(false);
        }
    }
}

fn with(slow: &Arc<Slow>, step: impl FnOnce(&Slow) + 'static) -> thread::JoinHandle<()> {
    let slow = slow.clone();
    thread::spawn(move || step(&slow))
}

/// Whoever asks beside those steps is told once they are over and nobody is high.
fn ready_is_never_lost(steps: &'static [fn(&Slow)]) {
    loom::model(move || {
        let slow = Arc::new(Slow::default());
        slow.deliver();
        let threads: Vec<_> = steps.iter().map(|step| with(&slow, step)).collect();
        slow.ask();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let (is_high, mark) = (slow.is_high(), slow.mark.load(Ordering::Acquire));
        assert_eq!((slow.ready.high(), mark), (is_high.into(), is_high));
        slow.drain();
        let refused = slow.refused.load(Ordering::Relaxed);
        let told = slow.told.load(Ordering::Relaxed);
        assert!(
            told <= refused && (told > 0) == (refused > 0),
            "told {told} of {refused}"
        );
    });
}

#[test]
fn ready_is_told_when_the_client_drains_meanwhile() {
    ready_is_never_lost(&[Slow::drain]);
}

#[test]
fn ready_is_told_though_another_finds_it_ready() {
    ready_is_never_lost(&[Slow::drain, Slow::ask]);
}

#[test]
fn ready_is_told_when_it_drains_while_more_is_delivered() {
    ready_is_never_lost(&[Slow::drain, Slow::deliver]);
}

#[test]
fn ready_is_told_when_it_ends_while_more_is_delivered() {
    ready_is_never_lost(&[Slow::end, Slow::deliver]);
}
