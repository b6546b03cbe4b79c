//! What reading costs: clients of a server on this machine, in one process.
//! `cargo bench --bench client [CLIENTS [EVENTS_A_SECOND [SECONDS]]]`; 0 events
//! a second: as fast as it goes. CPU is that of the runtime's threads, by
//! /proc, so Linux alone.

use pagi_sse::client::item::Item;
use pagi_sse::client::options::{Options, Proxy};
use pagi_sse::client::{Client, Host};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

struct Bell(usize, mpsc::Sender<usize>);

impl Host for Bell {
    fn look(&self) {
        let _ = self.1.send(self.0);
    }
}

/// Nanoseconds on a processor of the threads of that name, so far.
fn cpu_of(name: &str) -> u64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let path = task.ok()?.path();
        let comm = fs::read_to_string(path.join("comm")).ok()?;
        let stat = fs::read_to_string(path.join("schedstat")).ok()?;
        let first: u64 = stat.split(' ').next()?.parse().ok()?;
        (comm.trim() == name).then_some(first)
    };
    tasks.filter_map(of_task).sum::<u64>()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

/// Each connection gets events of 60 bytes.
fn serve(listener: &TcpListener, clients: usize, rate: u32, stop: &Arc<AtomicBool>) {
    let mut sockets: Vec<TcpStream> = Vec::new();
    for _ in 0..clients {
        let Ok((mut socket, _)) = listener.accept() else {
            return;
        };
        let mut head = [0; 4096];
        let _ = socket.read(&mut head);
        let _ = socket.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        sockets.push(socket);
    }
    let event = format!("id: 1234567\ndata: {}\n\n", "x".repeat(40));
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    let many = chunk.repeat(500);
    let (began, mut turn) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let bytes = match rate {
            0 => many.as_bytes(),
            _ => chunk.as_bytes(),
        };
        for socket in &mut sockets {
            if socket.write_all(bytes).is_err() {
                return;
            }
        }
        turn += 1;
        if let Some(wait) = rate
            .checked_sub(1)
            .map(|_| Duration::from_secs(1) * turn / rate)
        {
            thread::sleep((began + wait).saturating_duration_since(Instant::now()));
        }
    }
}

fn measure(clients: usize, rate: u32, seconds: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = stop.clone();
    let server = thread::spawn(move || serve(&listener, clients, rate, &is_over));
    let runtime = pagi_sse::rt::build(1).expect("threads");
    let before = resident_kib();
    let (bell, looks) = mpsc::channel();
    let open = |n| {
        let options = Options {
            proxy: Proxy::Off,
            ..Options::new(&url)
        };
        Client::open(runtime.handle(), options, Arc::new(Bell(n, bell.clone()))).expect("a client")
    };
    let all: Vec<Client> = (0..clients).map(open).collect();
    let mut events = 0_u64;
    let mut read_for = |time: Duration| {
        let until = Instant::now() + time;
        let before = events;
        while Instant::now() < until {
            let Ok(n) = looks.recv_timeout(Duration::from_millis(10)) else {
                continue;
            };
            while let Some(item) = all[n].take() {
                events += u64::from(matches!(item, Item::Event(_)));
            }
        }
        events - before
    };
    // All are connected then.
    read_for(Duration::from_secs(2));
    let cpu = cpu_of("pagi-sse");
    let events = read_for(Duration::from_secs(seconds));
    let cpu = cpu_of("pagi-sse") - cpu;
    let kib = resident_kib().saturating_sub(before) as f64 / clients as f64;
    let each = cpu as f64 / 1000.0 / events.max(1) as f64;
    let rate_got = events / seconds;
    println!(
        "{clients} clients: {rate_got} events a second, {each:.2} µs of CPU each, {kib:.1} KiB a client"
    );
    stop.store(true, Ordering::Relaxed);
    drop(all);
    drop(runtime);
    let _ = server.join();
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse::<u32>().ok());
    match numbers.next() {
        Some(clients) => {
            let (rate, seconds) = (numbers.next().unwrap_or(40), numbers.next().unwrap_or(5));
            measure(clients as usize, rate, u64::from(seconds));
        }
        None => {
            measure(1, 0, 5);
            measure(1, 40, 5);
            measure(100, 40, 5);
            measure(1000, 40, 10);
        }
    }
}
