//! Hostile requests, made to cost the server much, a thousand of each kind: memory stays bounded, and others are
//! answered meanwhile.
//!
//! `ops/bench hostile` runs this against the release build, with a target for the longest wait of others.

mod requests;

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{SocketAddr, TcpStream as BlockingStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use self::requests::Hostile;
use crate::util::{Dev, PATIENCE, alone, resident_kib};

const TIMES: usize = 1_000;
/// Few at once: the cost of each request is tested, not that of many.
const AT_ONCE: usize = 4;
/// Connections per address at once that send requests and read nothing.
const READERS: usize = 100;
/// Growth of memory at most, at any time.
const GROWTH_KIB_MAX: u64 = 32 * 1024;
/// Longest response to a hostile request.
const ANSWER_BYTES_MAX: usize = 66 * 1024;
/// Longest wait of others. Generous, because a debug build takes twenty times as long for the same work, on a machine
/// shared with other tests. `ops/bench hostile` sets the target.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Pause between two probes.
const PAUSE: Duration = Duration::from_millis(5);
const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn wait_max() -> Duration {
    let millis = std::env::var("BENCH_LIVE_MS").ok();
    millis.map_or(WAIT_MAX, |text| Duration::from_millis(text.parse().expect("milliseconds")))
}

/// A connection from this address of the loopback network.
async fn connect(from: &str, to: SocketAddr, buffer: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("binds");
    socket.set_recv_buffer_size(buffer).expect("a buffer");
    timeout(PATIENCE, socket.connect(to)).await.expect("connects in time").expect("connects")
}

/// Sends the request and reads until the server closes; a reset counts as a close.
async fn exchange(from: &str, to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(from, to, 64 * 1024).await;
    let mut answer = Vec::new();
    // The server may answer and close before the request was sent completely.
    let whole = async {
        drop(stream.write_all(request).await);
        drop(stream.read_to_end(&mut answer).await);
    };
    timeout(PATIENCE, whole).await.expect("an end in time");
    answer
}

/// Response times of other clients during some work.
struct Watched {
    waits: Vec<Duration>,
    resident_kib: u64,
}

impl Watched {
    fn at(&self, percent: usize) -> Duration {
        self.waits[(self.waits.len() - 1) * percent / 100]
    }
}

/// Requests `/livez` repeatedly during the work, each time on a new connection; from a separate thread, which no work
/// of this test delays.
#[expect(clippy::disallowed_methods, reason = "the thread is no runtime's")]
async fn watched(dev: &Dev, work: impl Future<Output = ()>) -> Watched {
    let (process, to, ended) = (dev.process(), dev.address(), Arc::new(AtomicBool::new(false)));
    let watch = thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let mut seen = Watched { waits: Vec::new(), resident_kib: 0 };
            while seen.waits.is_empty() || !ended.load(Ordering::SeqCst) {
                seen.waits.push(ask_live(to));
                seen.resident_kib = seen.resident_kib.max(resident_kib(process));
                thread::sleep(PAUSE);
            }
            seen.waits.sort_unstable();
            seen
        }
    });
    work.await;
    ended.store(true, Ordering::SeqCst);
    tokio::task::spawn_blocking(move || watch.join()).await.expect("joins").expect("is answered")
}

fn ask_live(to: SocketAddr) -> Duration {
    let (began, mut answer) = (Instant::now(), Vec::new());
    let mut stream = BlockingStream::connect(to).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(LIVE).expect("is taken");
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    began.elapsed()
}

async fn send(times: usize, to: SocketAddr, hostile: &Hostile) {
    let sent = (0..times).map(|_| exchange("127.0.0.2", to, &hostile.request));
    let mut answers = stream::iter(sent).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let (text, expected) = (String::from_utf8_lossy(&answer), format!("HTTP/1.1 {}", hostile.status));
        // Bytes sent after the server closed may cost the client the response.
        let is_answered = text.starts_with(&expected) || (text.is_empty() && hostile.is_cut);
        assert!(is_answered, "{}: {text:.300}", hostile.name);
        assert!(answer.len() <= ANSWER_BYTES_MAX, "{}: {} bytes came back", hostile.name, answer.len());
    }
}

/// Opens connections that request large responses and read none, as many at once as an address may have: the next one
/// is accepted when the server has closed one.
async fn read_nothing(to: SocketAddr) {
    let (requests, mut held) = (requests::pipelined(), VecDeque::new());
    for _ in 0..TIMES {
        let let_in = async {
            loop {
                let mut stream = connect("127.0.0.2", to, 4096).await;
                let is_taken = stream.write_all(&requests).await.is_ok();
                if is_taken && stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0) {
                    return stream;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        held.push_back(timeout(PATIENCE, let_in).await.expect("the server closes what reads nothing"));
        // The server closed the oldest one long ago.
        if held.len() > 2 * READERS {
            held.pop_front();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_cost_no_memory_and_others_are_answered() {
    let _turn = alone().await;
    let data = tempfile::tempdir().expect("a folder");
    let readers = READERS.to_string();
    let settings = [
        ("ORDERWORKS_SERVER_WRITE_SECONDS", "1"),
        // High enough that all of a thousand requests are processed.
        ("ORDERWORKS_CHECKOUT_INVALID_PER_IP_PER_MINUTE", "1000000"),
        ("ORDERWORKS_SERVER_CONNECTIONS_PER_ADDRESS_MAX", readers.as_str()),
    ];
    let dev = Dev::start_with(data.path(), &settings).await;
    let (to, hostile) = (dev.address(), requests::all(&dev.ready.publishable_key));
    // First the one-time costs of each request: threads, caches, buffers of the allocator.
    for hostile in &hostile {
        send(AT_ONCE, to, hostile).await;
    }
    let before = resident_kib(dev.process());
    let mut seen = Vec::new();
    for hostile in &hostile {
        let began = Instant::now();
        seen.push((hostile.name, watched(&dev, send(TIMES, to, hostile)).await, began.elapsed()));
    }
    let began = Instant::now();
    seen.push(("answers that are not read", watched(&dev, read_nothing(to)).await, began.elapsed()));
    println!(
        "{:<42}{:>9}{:>11}{:>11}{:>11}{:>12}",
        "1,000 of", "took s", "livez p50", "p95", "max ms", "growth KiB"
    );
    for (name, watched, took) in &seen {
        let millis = |percent| watched.at(percent).as_secs_f64() * 1e3;
        let (growth, took) = (watched.resident_kib.saturating_sub(before), took.as_secs_f64());
        let [half, most, all] = [50, 95, 100].map(millis);
        println!("{name:<42}{took:>9.1}{half:>11.2}{most:>11.2}{all:>11.2}{growth:>12}");
    }
    for (name, watched, _) in &seen {
        let growth = watched.resident_kib.saturating_sub(before);
        assert!(growth < GROWTH_KIB_MAX, "{name}: {growth} KiB more than before");
        assert!(watched.at(100) < wait_max(), "{name}: others waited {:?}", watched.at(100));
    }
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn idle_connections_leave_descriptors_for_others() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start_in_shell(data.path(), "ulimit -n 200").await;
    let to = dev.address();
    let mut idle = Vec::new();
    for _ in 0..230 {
        idle.push(connect("127.0.0.2", to, 4096).await);
    }
    let answer = exchange("127.0.0.3", to, LIVE).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    assert!(log.contains("fewer connections than set") && !log.contains("accept failed"), "{log}");
    drop(idle);
    assert!(dev.stop().await.success());
}
