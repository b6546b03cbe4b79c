//! What a hub's own work costs, and how long others wait for it meanwhile:
//! `cargo bench --bench hub [-- NAME...]`. Each line names what it measures.
use pagi_sse::conn::{Conn, Framing, Host, Report};
use pagi_sse::core::frame::Event;
use pagi_sse::host::runtime::{Open, Options};
use pagi_sse::hub::{Hub, Owner, Put, Settings, Subscription, TopicChange, Wish};
use pagi_sse::wire::Wire;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct World(Instant);

struct Owned(Arc<World>);

impl Owner<Conn> for Owned {
    fn pending(&self) {}
    fn ready(&self) {}
    fn joins(&self, _: &Conn) {}
    fn now_ms(&self) -> u64 {
        Host::now_ms(&*self.0)
    }
}

impl Host for World {
    fn output(&self, _: &Arc<Conn>) {}
    fn keepalive(&self, _: &Arc<Conn>) {}
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
    fn ready(&self, _: u64) {}
    fn report(&self, _: &Conn, _: Report) {}
}

type Sub = (Arc<Conn>, Arc<Subscription<Conn>>);

fn hub() -> (Arc<World>, Arc<Hub<Conn>>) {
    let world = Arc::new(World(Instant::now()));
    let settings = Settings {
        total_bytes: 1 << 30,
        ..Settings::default()
    };
    let hub = Hub::new(Box::new(Owned(world.clone())), "e", &settings);
    (world, Arc::new(hub))
}

/// Takes no byte, so that what is left is the hub's own part.
fn nobody(world: &Arc<World>) -> Arc<Conn> {
    let framing = Framing {
        sse: true,
        wire: Wire::Events,
        head: true,
        ..Framing::default()
    };
    Conn::hosted(world.clone(), framing)
}

fn subscribe(hub: &Arc<Hub<Conn>>, conn: Arc<Conn>, names: &[&str]) -> Sub {
    let (sub, _) = hub.subscribe(&conn, names, &Wish::default()).unwrap();
    (conn, sub)
}

fn crowd(hub: &Arc<Hub<Conn>>, n: usize, own: bool, conn: impl Fn() -> Arc<Conn>) -> Vec<Sub> {
    let user = |i: usize| format!("user:{}", if own { i } else { 0 });
    let each = (0..n).map(|i| subscribe(hub, conn(), &["all", &user(i)]));
    each.collect()
}

fn publish(hub: &Hub<Conn>, topic: &str) {
    put(hub, topic, None);
}

fn put(hub: &Hub<Conn>, topic: &str, key: Option<&str>) {
    let event = Event {
        data: Some("0123456789012345678901234567890123456789"),
        ..Event::default()
    };
    let put = Put {
        key,
        ..Put::default()
    };
    hub.publish(topic, &event, put).unwrap();
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

/// The longest that a publisher waited while something was done.
fn longest_wait(hub: &Arc<Hub<Conn>>, work: impl FnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        let publisher = s.spawn(|| {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                publish(hub, "elsewhere");
                longest = longest.max(began.elapsed());
                std::thread::sleep(Duration::from_micros(200));
            }
            longest
        });
        std::thread::sleep(Duration::from_millis(20));
        work();
        over.store(true, Ordering::Relaxed);
        publisher.join().unwrap()
    })
}

/// The least of `n` times.
fn least(n: usize, mut work: impl FnMut() -> Duration) -> Duration {
    (0..n).map(|_| work()).min().unwrap_or_default()
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn burst() {
    for (what, own) in [("one set", false), ("a set each", true)] {
        let (world, hub) = hub();
        let _crowd = crowd(&hub, 5000, own, || nobody(&world));
        let took = least(9, || {
            (0..250).for_each(|_| publish(&hub, "all"));
            timed(|| hub.deliver())
        });
        println!("burst of 250 to 5,000, {what}: {:.2} ms", ms(took));
        let waited = longest_wait(&hub, || {
            for _ in 0..20 {
                (0..250).for_each(|_| publish(&hub, "all"));
                hub.deliver();
            }
        });
        println!("  a publisher waited {:.2} ms", ms(waited));
        if own {
            let took = timed(|| {
                (0..5000).for_each(|i| publish(&hub, &format!("user:{i}")));
                hub.deliver();
            });
            println!("  one event to each user: {:.2} ms", ms(took));
        }
    }
}

fn ahead() {
    let (world, hub) = hub();
    let (conn, _sub) = subscribe(&hub, nobody(&world), &["all"]);
    let _other = subscribe(&hub, nobody(&world), &["elsewhere"]);
    (0..3000).for_each(|_| publish(&hub, "elsewhere"));
    let took = least(9, || timed(|| (0..100).for_each(|_| conn.catch_up())));
    println!(
        "catch up, 3,000 pending elsewhere: {:.2} us",
        ms(took) * 10.0
    );
}

fn coming() {
    for (what, own) in [("one set", false), ("a set each", true)] {
        let (world, hub) = hub();
        let crowd = crowd(&hub, 10_000, own, || nobody(&world));
        let over = AtomicBool::new(false);
        let took = std::thread::scope(|s| {
            // A delivery looks at the lists all the time.
            s.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    publish(&hub, "all");
                    hub.deliver();
                }
            });
            let took = least(20, || {
                timed(|| {
                    for _ in 0..20 {
                        let (_, sub) = subscribe(&hub, nobody(&world), &["all", "user:0"]);
                        sub.unsubscribe();
                    }
                })
            });
            over.store(true, Ordering::Relaxed);
            took
        });
        println!(
            "come and go among 10,000, {what}: {:.1} us",
            ms(took) * 50.0
        );
        let took = timed(|| {
            for (_, sub) in &crowd {
                sub.unsubscribe();
            }
        });
        println!("  all go: {:.1} ms", ms(took));
    }
}

fn topics() {
    let (_world, hub) = hub();
    for i in 0..99_000 {
        publish(&hub, &format!("topic/{i}"));
        if i % 1000 == 0 {
            hub.deliver();
        }
    }
    hub.deliver();
    let waited = longest_wait(&hub, || drop(hub.stats()));
    println!(
        "stats of 99,000 topics: a publisher waited {:.2} ms",
        ms(waited)
    );
    let waited = longest_wait(&hub, || hub.expire());
    println!(
        "expire, nothing to do: a publisher waited {:.2} ms",
        ms(waited)
    );
    let took = timed(|| hub.expire());
    println!("  it took {:.2} ms", ms(took));
}

/// 99,000 topics expire at once, and again: the names of the first are given up.
fn expiring() {
    let world = Arc::new(World(Instant::now()));
    let mut settings = Settings {
        total_bytes: 1 << 30,
        ..Settings::default()
    };
    settings.topics.ttl_ms = 1;
    let hub = Hub::new(Box::new(Owned(world)), "e", &settings);
    let hub = Arc::new(hub);
    for round in 0..4 {
        (0..99_000).for_each(|i| publish(&hub, &format!("topic/{round}/{i}")));
        std::thread::sleep(Duration::from_millis(20));
        let mut took = Duration::ZERO;
        let waited = longest_wait(&hub, || took = timed(|| hub.expire()));
        println!(
            "99,000 topics expire, round {round}: {:.2} ms, a publisher waited {:.2} ms",
            ms(took),
            ms(waited)
        );
    }
}

/// 50 clients one after the other, to a topic with a long history: what it is,
/// with what id, of how many of the newest events.
fn resuming() {
    let cases = [
        (1000, "resume", "e.0", 0),
        (100_000, "resume", "e.0", 0),
        (100_000, "unknown id", "x", 0),
        (100_000, "new, the last 10", "", 10),
        (100_000, "state, new", "", 0),
        (100_000, "state, unknown id", "x", 0),
    ];
    for (n, what, id, last) in cases {
        let (world, hub) = hub();
        let state = what.starts_with("state");
        let change = TopicChange {
            events: Some(n),
            bytes: Some(1 << 30),
            state: Some(state),
            ..TopicChange::default()
        };
        hub.set_topic("long", &change).unwrap();
        for i in 0..n {
            let key = (i % 10_000).to_string();
            put(&hub, "long", state.then_some(&*key));
        }
        let mut took = Duration::ZERO;
        let waited = longest_wait(&hub, || {
            took = least(50, || {
                let wish = Wish {
                    last_event_id: Some(id),
                    last,
                    ..Wish::default()
                };
                let conn = nobody(&world);
                timed(|| drop(hub.subscribe(&conn, &["long"], &wish).unwrap()))
            });
        });
        println!(
            "{what}, of {n} events: {:.2} ms, a publisher waited {:.2} ms",
            ms(took),
            ms(waited)
        );
    }
}

/// Four publishers at once, each to a topic of its own.
fn publishers() {
    let rounds = [
        (1 << 10, 1 << 10, 30_000),
        (100 << 10, 100 << 10, 500),
        (1 << 20, 40, 100),
    ];
    for (size, last, n) in rounds {
        let (_world, hub) = hub();
        let few = TopicChange {
            events: Some(10),
            ..TopicChange::default()
        };
        let names = ["a", "b", "c", "d"];
        names.iter().for_each(|t| hub.set_topic(t, &few).unwrap());
        let running = AtomicUsize::new(3);
        let work = |i: usize| {
            let bytes = if i == 3 { last } else { size };
            let data = "x".repeat(bytes);
            let event = Event {
                data: Some(&data),
                ..Event::default()
            };
            let (mut waits, mut done) = (Vec::new(), 0);
            let all = |done| {
                if bytes == size {
                    done == n
                } else {
                    running.load(Ordering::Relaxed) == 0
                }
            };
            while !all(done) {
                let began = Instant::now();
                hub.publish(names[i], &event, Put::default()).unwrap();
                waits.push(began.elapsed());
                done += 1;
            }
            running.fetch_sub(usize::from(i < 3), Ordering::Relaxed);
            waits.sort_unstable();
            (waits[waits.len() * 999 / 1000], waits[waits.len() - 1])
        };
        let began = Instant::now();
        let waits = std::thread::scope(|s| {
            let work = &work;
            let threads: Vec<_> = (0..4).map(|i| s.spawn(move || work(i))).collect();
            let joined = threads.into_iter().map(|t| t.join().unwrap());
            joined.collect::<Vec<_>>()
        });
        let took = began.elapsed().as_secs_f64();
        let longest = waits[..3].iter().map(|w| w.1).max().unwrap();
        println!(
            "3 publish {n} events of {size} bytes each, a 4th of {last}: {:.0} a second of these, \
             longest {:.2} ms; the 4th's longest {:.2} ms, 999 of 1000 within {:.3} ms",
            3.0 * f64::from(n) / took,
            ms(longest),
            ms(waits[3].1),
            ms(waits[3].0)
        );
    }
}

/// A topic with a long history becomes one with state, and one without.
fn state() {
    let (_world, hub) = hub();
    let change = |state| TopicChange {
        events: Some(100_000),
        bytes: Some(1 << 30),
        state: Some(state),
        ..TopicChange::default()
    };
    hub.set_topic("long", &change(false)).unwrap();
    (0..100_000).for_each(|i| put(&hub, "long", Some(&(i % 10_000).to_string())));
    for on in [true, false, true, false] {
        let mut took = Duration::ZERO;
        let waited = longest_wait(&hub, || {
            took = timed(|| hub.set_topic("long", &change(on)).unwrap());
        });
        println!(
            "state of 10,000 keys, {on}: {:.2} ms, a publisher waited {:.2} ms",
            ms(took),
            ms(waited)
        );
    }
}

/// The longest step of a loop while 99,000 topics are looked at, and while
/// something is computed: which of it is the machine's.
fn stalls() {
    let (_world, hub) = hub();
    (0..99_000).for_each(|i| publish(&hub, &format!("topic/{i}")));
    let spin = |time| {
        let began = Instant::now();
        while began.elapsed() < time {}
    };
    let stats = || drop(hub.stats());
    let expire = || (0..20).for_each(|_| hub.expire());
    let nothing = || spin(Duration::from_millis(200));
    let works: [(&str, &(dyn Fn() + Sync)); 3] = [
        ("stats", &stats),
        ("expire", &expire),
        ("nothing", &nothing),
    ];
    let publishes = || publish(&hub, "elsewhere");
    let steps: [(&str, &(dyn Fn() + Sync)); 2] =
        [("publishing", &publishes), ("the clock", &|| ())];
    for (what, work) in works {
        for (step, once) in steps {
            let mut longest: Vec<f64> = Vec::new();
            for _ in 0..5 {
                let over = AtomicBool::new(false);
                let most = std::thread::scope(|s| {
                    let stepping = s.spawn(|| {
                        let mut most = Duration::ZERO;
                        while !over.load(Ordering::Relaxed) {
                            most = most.max(timed(once));
                        }
                        most
                    });
                    work();
                    over.store(true, Ordering::Relaxed);
                    stepping.join().unwrap()
                });
                longest.push(ms(most));
            }
            println!("{what}, {step}: longest of each of 5 runs, ms: {longest:.2?}");
        }
    }
}

/// The records of 5,000 queues, each of which has output.
fn queues() {
    let runtime = Open::start(Options::default()).unwrap();
    let framing = Framing {
        sse: true,
        wire: Wire::Events,
        ..Framing::default()
    };
    let (_world, hub) = hub();
    let crowd = crowd(&hub, 5000, false, || runtime.pulled(framing).unwrap());
    let mut buf = vec![0; 1 << 20];
    let (mut told, mut read) = (Duration::MAX, Duration::MAX);
    for _ in 0..30 {
        for (conn, _) in &crowd {
            conn.pull(usize::MAX, |_| ()).unwrap();
        }
        (0..250).for_each(|_| publish(&hub, "all"));
        told = told.min(timed(|| hub.deliver()));
        read = read.min(timed(|| while runtime.desk().next(&mut buf) > 0 {}));
    }
    println!(
        "burst of 250 to 5,000 queues: {:.2} ms, records read {:.2} ms",
        ms(told),
        ms(read)
    );
}

/// A child with `n` clients that read what comes.
fn clients(port: u16, n: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..n {
            let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
            tasks.push(tokio::spawn(async move {
                let mut buf = [0; 4096];
                while tokio::io::AsyncReadExt::read(&mut socket, &mut buf)
                    .await
                    .is_ok_and(|n| n > 0)
                {}
            }));
        }
        println!("{n}");
        for task in tasks {
            let _ = task.await;
        }
    });
}

/// Of this process: the 14th and 15th field, hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(10 * ticks)
}

fn sockets() {
    const CLIENTS: usize = 3000;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for round in 0..3 {
        for (what, own) in [("one set", false), ("a set each", true)] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["clients", &port.to_string(), &CLIENTS.to_string()])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let accepted: Vec<TcpStream> =
                (0..CLIENTS).map(|_| listener.accept().unwrap().0).collect();
            let _ = child.stdout.as_mut().unwrap().read(&mut [0; 16]);
            let runtime = Open::start(Options::default()).unwrap();
            let (_world, hub) = hub();
            let framing = Framing {
                sse: true,
                wire: Wire::Events,
                ..Framing::default()
            };
            let accepted = std::sync::Mutex::new(accepted);
            let _crowd = crowd(&hub, CLIENTS, own, || {
                let socket = accepted.lock().unwrap().pop().unwrap();
                runtime.on_socket(socket.into(), framing).unwrap()
            });
            std::thread::sleep(Duration::from_millis(200));
            let before = cpu();
            for _ in 0..10 {
                (0..250).for_each(|_| publish(&hub, "all"));
                hub.deliver();
                std::thread::sleep(Duration::from_millis(20));
            }
            let took = cpu().checked_sub(before).unwrap();
            println!(
                "{round}: 10 bursts to {CLIENTS} sockets, {what}: {:.0} ms CPU",
                ms(took)
            );
            runtime.end(Duration::from_secs(1));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [child, port, n] = &args[..]
        && child == "clients"
    {
        return clients(port.parse().unwrap(), n.parse().unwrap());
    }
    let all: [(&str, fn()); 11] = [
        ("burst", burst),
        ("ahead", ahead),
        ("coming", coming),
        ("topics", topics),
        ("expiring", expiring),
        ("resuming", resuming),
        ("publishers", publishers),
        ("state", state),
        ("stalls", stalls),
        ("queues", queues),
        ("sockets", sockets),
    ];
    for (name, measure) in all {
        if args.is_empty() || args.iter().any(|a| a == name) {
            measure();
        }
    }
}
