//! Every order of steps of the parts that threads share, with loom. The files
//! are the library's own, and `sync` has loom's types in place of std's. Built
//! without libtest, as these files' unit tests are none for loom.
// What stands in for the library's own keeps its signatures.
#![allow(unused, unsafe_code, clippy::unused_self, clippy::unnecessary_wraps)]

mod sync {
    pub use loom::sync::atomic::{AtomicBool, Ordering};
    pub use loom::sync::{Mutex, MutexGuard};

    /// tokio's, as far as one task waits on it.
    #[derive(Default)]
    pub struct Notify {
        permit: Mutex<bool>,
        waker: loom::future::AtomicWaker,
    }

    impl Notify {
        pub fn new() -> Self {
            Notify::default()
        }

        pub fn notify_one(&self) {
            *self.permit.lock().unwrap() = true;
            self.waker.wake();
        }

        pub async fn notified(&self) {
            std::future::poll_fn(|cx| {
                self.waker.register_by_ref(cx.waker());
                match std::mem::take(&mut *self.permit.lock().unwrap()) {
                    true => std::task::Poll::Ready(()),
                    false => std::task::Poll::Pending,
                }
            })
            .await;
        }
    }
}

#[path = "../src/sys.rs"]
mod real_sys;
mod sys {
    pub use crate::real_sys::*;

    use loom::sync::{Condvar, Mutex};

    /// A descriptor, and how often the kernel will have no memory for it.
    #[derive(Default)]
    struct Fd {
        readable: Mutex<bool>,
        raised: Condvar,
        refusals: Mutex<usize>,
    }

    loom::lazy_static! {
        static ref FD: Fd = Fd::default();
    }

    pub struct WakeFd;

    impl WakeFd {
        pub fn new() -> std::io::Result<Self> {
            Ok(WakeFd)
        }

        pub fn fd(&self) -> i32 {
            0
        }

        pub fn watched(&self) -> std::sync::Arc<std::os::unix::net::UnixStream> {
            std::sync::Arc::new(std::os::unix::net::UnixStream::pair().unwrap().0)
        }

        pub fn hang_up(&self) {}

        pub fn raise(&self) -> std::io::Result<()> {
            let mut refusals = FD.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(std::io::ErrorKind::OutOfMemory.into());
            }
            *FD.readable.lock().unwrap() = true;
            FD.raised.notify_all();
            Ok(())
        }

        pub fn lower(&self) {
            *FD.readable.lock().unwrap() = false;
        }
    }

    pub fn refuse_once() {
        *FD.refusals.lock().unwrap() = 1;
    }

    /// As the host's loop does.
    pub fn wait_until_readable() {
        let mut readable = FD.readable.lock().unwrap();
        while !*readable {
            readable = FD.raised.wait(readable).unwrap();
        }
    }
}

#[path = "../src/conn/mod.rs"]
mod conn;
#[path = "../src/core/mod.rs"]
mod core;
#[path = "../src/feed.rs"]
mod feed;
#[path = "../src/handle.rs"]
mod handle;
#[path = "../src/wire/mod.rs"]
mod wire;
#[path = "../src/host"]
mod host {
    pub mod mailbox;
    pub mod record;
    mod wake;
}
#[path = "../src/hub"]
mod hub {
    pub mod ready;
}
#[path = "../src/rt"]
mod rt {
    pub mod bell;
}

use self::core::chunk::Chunk;
use conn::{Conn, Framing, Host, Report, Sink};
use feed::Subscriber;
use host::mailbox::Mailbox;
use host::record::{Kind, plain};
use hub::ready::Ready;
use loom::future::block_on;
use loom::thread;
use rt::bell::Bell;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use sync::{AtomicBool, Mutex, Ordering};

/// All orders in which a thread is interrupted so often at most: with more,
/// they are too many to try.
fn model(interrupted: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interrupted);
    builder.check(f);
}

// ---- READY

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

/// Whoever asks beside those steps is told once they are over and nobody is high.
fn ready_is_told(steps: &'static [fn(&Slow)]) {
    ready_is_told_after(Slow::deliver, steps);
}

fn ready_is_told_after(first: fn(&Slow), steps: &'static [fn(&Slow)]) {
    model(3, move || {
        let slow = Arc::new(Slow::default());
        first(&slow);
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

fn with<T: Send + Sync + 'static>(
    of: &Arc<T>,
    step: impl FnOnce(&T) + 'static,
) -> thread::JoinHandle<()> {
    let of = of.clone();
    thread::spawn(move || step(&of))
}

fn ready_when_the_client_drains_meanwhile() {
    ready_is_told(&[Slow::drain]);
}

fn ready_though_another_finds_it_ready() {
    ready_is_told(&[Slow::drain, Slow::ask]);
}

fn ready_when_it_becomes_slow_and_drains_meanwhile() {
    ready_is_told_after(Slow::drain, &[Slow::deliver, Slow::drain]);
}

fn ready_when_it_drains_while_more_is_delivered() {
    ready_is_told(&[Slow::drain, Slow::deliver]);
}

fn ready_when_it_ends_while_more_is_delivered() {
    ready_is_told(&[Slow::end, Slow::deliver]);
}

// ---- the mailbox. A loop that is not woken waits for ever, which loom sees.

/// News, and the records that say so.
struct Post {
    mailbox: Mailbox,
    news: Mutex<u32>,
}

impl Post {
    fn new() -> Arc<Self> {
        Arc::new(Post {
            mailbox: Mailbox::new().unwrap(),
            news: Mutex::new(0),
        })
    }

    fn send(&self, kind: Kind) {
        *self.news.lock().unwrap() += 1;
        self.mailbox.push(plain(kind, 1));
    }

    fn see(&self, news: u32) {
        let mut buf = [0; 13];
        while *self.news.lock().unwrap() < news {
            sys::wait_until_readable();
            self.mailbox.drain(&mut buf, |_| true);
        }
    }

    /// All records, however few fit at a time.
    fn read(&self, records: usize) {
        let (mut buf, mut read) = ([0; 13], 0);
        while read < records {
            sys::wait_until_readable();
            read += self.mailbox.drain(&mut buf, |_| true) / 13;
        }
    }
}

fn the_host_sees_news_though_one_record_stands_for_two() {
    model(2, || {
        let post = Post::new();
        let threads = [1, 2].map(|_| with(&post, |p| p.send(Kind::Body)));
        post.see(2);
        threads.map(|t| t.join().unwrap());
    });
}

fn the_host_reads_every_record() {
    model(2, || {
        let post = Post::new();
        let threads = [Kind::Body, Kind::Drained].map(|kind| with(&post, move |p| p.send(kind)));
        post.read(2);
        threads.map(|t| t.join().unwrap());
    });
}

fn the_host_is_woken_though_the_kernel_refused_once() {
    model(2, || {
        let post = Post::new();
        sys::refuse_once();
        let threads = [
            with(&post, |p| p.send(Kind::Body)),
            with(&post, |p| p.send(Kind::Drained)),
            with(&post, |p| {
                block_on(p.mailbox.wake().failed());
                p.mailbox.wake().wake();
            }),
        ];
        post.read(2);
        threads.map(|t| t.join().unwrap());
    });
}

/// As a desk does: whoever comes second sees the other.
fn nothing_waits_of_whom_the_host_let_go() {
    model(3, || {
        let post = Post::new();
        let gone = Arc::new(AtomicBool::new(false));
        let (told, p) = (gone.clone(), post.clone());
        let thread = thread::spawn(move || {
            if !told.load(Ordering::Acquire) {
                p.send(Kind::Output);
                if told.load(Ordering::Acquire) {
                    p.mailbox.forget(1, &[Kind::Output]);
                }
            }
        });
        gone.store(true, Ordering::Release);
        post.mailbox.forget(1, &[Kind::Output]);
        thread.join().unwrap();
        assert!(post.mailbox.is_empty());
    });
}

// ---- the bell

fn the_bell_rings_for_all() {
    model(2, || {
        let bell = Arc::new(Bell::<u32, ()>::default());
        let threads = [1, 2].map(|key| with(&bell, move |b: &Bell<_, _>| b.add(key, ())));
        let mut seen = 0;
        while seen < 2 {
            block_on(bell.rung());
            bell.each(|()| seen += 1);
        }
        threads.map(|t| t.join().unwrap());
    });
}

// ---- output told

/// A connection's host and its socket.
#[derive(Default)]
struct World {
    output: Bell<u64, Arc<Conn>>,
    taken: AtomicUsize,
}

struct Of(Arc<World>);

impl Host for Of {
    fn output(&self, conn: &Arc<Conn>) {
        self.0.output.add(0, conn.clone());
    }
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        0
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, _: Report) {}
}

impl Sink for Of {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        let n = slices.iter().map(|s| s.len()).sum();
        self.0.taken.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }
    fn attend(&self) {}
}

/// Output that comes by these ways leaves without any more coming.
fn output_leaves(pull: bool, ways: [fn(&Arc<Conn>); 2]) {
    model(2, move || {
        let world = Arc::<World>::default();
        let framing = Framing {
            sse: true,
            wire: wire::Wire::Events,
            pull,
            ..Framing::default()
        };
        let conn = Conn::hosted(Arc::new(Of(world.clone())), framing);
        conn.start(200, []).unwrap();
        if !pull {
            conn.attach(Arc::new(Of(world.clone())));
        }
        let threads = ways.map(|way| {
            let conn = conn.clone();
            thread::spawn(move || way(&conn))
        });
        while world.taken.load(Ordering::Relaxed) < 8 {
            block_on(world.output.rung());
            world.output.each(|conn| match pull {
                false => conn.flush(),
                true => {
                    let taken = conn.pull(100, |_| ()).unwrap().unwrap();
                    world.taken.fetch_add(taken, Ordering::Relaxed);
                }
            });
        }
        threads.map(|t| t.join().unwrap());
    });
}

fn send(conn: &Arc<Conn>) {
    conn.comment("x").unwrap();
}

fn replay(conn: &Arc<Conn>) {
    let chunk = Chunk::new(4, |b| b.extend_from_slice(b":y\n\n"));
    conn.replay(&[&chunk], 1).unwrap();
}

fn output_of_two_senders_is_written() {
    output_leaves(false, [send, send]);
}

fn output_of_a_replay_is_written() {
    output_leaves(false, [send, replay]);
}

fn output_of_two_senders_can_be_pulled() {
    output_leaves(true, [send, send]);
}

fn output_of_a_replay_can_be_pulled() {
    output_leaves(true, [send, replay]);
}

fn main() {
    macro_rules! tests {
        ($($test:ident)*) => { [$((stringify!($test), $test as fn())),*] };
    }
    let tests = tests![
        ready_when_the_client_drains_meanwhile
        ready_though_another_finds_it_ready
        ready_when_it_becomes_slow_and_drains_meanwhile
        ready_when_it_drains_while_more_is_delivered
        ready_when_it_ends_while_more_is_delivered
        the_host_sees_news_though_one_record_stands_for_two
        the_host_reads_every_record
        nothing_waits_of_whom_the_host_let_go
        the_host_is_woken_though_the_kernel_refused_once
        the_bell_rings_for_all
        output_of_two_senders_is_written
        output_of_a_replay_is_written
        output_of_two_senders_can_be_pulled
        output_of_a_replay_can_be_pulled
    ];
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w)) {
            let began = std::time::Instant::now();
            test();
            println!("test {name} ... ok, {:.1} s", began.elapsed().as_secs_f64());
        }
    }
}
