//! Load generator: orders over HTTP at little cost of its own, with one thread and one kept connection per caller.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

/// Longest wait for a response.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Poll interval for unfinished orders. Bounds the error of the whole-order figures.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Longest run; a server that makes no progress is given up.
const RUN_MAX: Duration = Duration::from_mins(10);

/// Address of the API, and the key to call it with.
pub struct Load {
    address: String,
    key: String,
    /// Number of orders so far: each has its own idempotency key.
    placed: AtomicUsize,
}

/// Orders that were accepted.
pub struct Placed {
    /// Time from request to response, of each order.
    pub taken: Vec<Duration>,
    seconds: f64,
}

impl Placed {
    /// Orders per second.
    pub fn per_second(&self) -> f64 {
        number(self.taken.len()) / self.seconds
    }
}

impl Load {
    /// Calls the API at this host and port.
    pub fn new(address: impl Into<String>, key: impl Into<String>) -> Self {
        Self { address: address.into(), key: key.into(), placed: AtomicUsize::new(0) }
    }

    /// Places `orders` orders from `callers` callers, each with the body for its number; an error if one is not
    /// accepted.
    pub fn place<B: AsRef<str>>(
        &self,
        callers: usize,
        orders: usize,
        body: impl Fn(usize) -> B + Sync,
    ) -> anyhow::Result<Placed> {
        let first = self.placed.fetch_add(orders, Ordering::Relaxed);
        let next = AtomicUsize::new(first);
        let call = || -> anyhow::Result<Vec<Duration>> {
            let (mut line, mut taken) = (Connection::open(&self.address)?, Vec::new());
            loop {
                let order = next.fetch_add(1, Ordering::Relaxed);
                if order >= first + orders {
                    return Ok(taken);
                }
                let (headers, body) = (self.headers(order), body(order));
                let began = Instant::now();
                let (status, answer) = line.send("POST", "/v1/orders", &headers, body.as_ref())?;
                ensure!(status == 202, "order {order} was answered {status}: {answer}");
                taken.push(began.elapsed());
            }
        };
        let began = Instant::now();
        let taken = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
            let ended = callers.into_iter().map(|caller| caller.join().ok().context("a caller panicked")?);
            ended.collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(Placed { taken: taken.concat(), seconds: began.elapsed().as_secs_f64() })
    }

    /// Waits until no order of the key's merchant is open.
    pub async fn until_done(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        for status in ["pending", "paid"] {
            while !self.is_empty(&format!("/v1/orders?limit=1&status={status}"))? {
                ensure!(began.elapsed() < RUN_MAX, "orders are still {status} after {RUN_MAX:?}");
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Whether a list has no items.
    fn is_empty(&self, path: &str) -> anyhow::Result<bool> {
        let (status, body) = Connection::open(&self.address)?.send("GET", path, &self.headers(0), "")?;
        ensure!(status == 200, "{path} was answered {status}: {body}");
        let page: serde_json::Value = serde_json::from_str(&body)?;
        Ok(page["data"].as_array().context("the list has no data")?.is_empty())
    }

    /// Sends a `PUT` that must succeed.
    pub fn put(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
        let answer =
            Connection::open(&self.address)?.send("PUT", path, &self.headers(0), &body.to_string())?;
        ensure!(matches!(answer.0, 200 | 201), "{path} was answered {}: {}", answer.0, answer.1);
        Ok(())
    }

    fn headers(&self, order: usize) -> String {
        let (address, key) = (&self.address, &self.key);
        format!(
            "Host: {address}\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: order-{order}\r\n\
             Content-Type: application/json\r\n"
        )
    }
}

/// Whether the process at this address reports ready.
pub fn is_ready(address: &str) -> bool {
    let host = format!("Host: {address}\r\n");
    let answer = Connection::open(address).and_then(|mut line| line.send("GET", "/readyz", &host, ""));
    answer.is_ok_and(|(status, _)| status == 200)
}

/// One kept connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(self.0.read_line(&mut head)? > 0, "the server hung up");
        }
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).context("no status")?;
        let mut length = head.lines().filter_map(|line| line.split_once(": "));
        let length = length.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.context("an answer without a length")?.1.parse()?];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }
}

/// For counts, which are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn number(count: usize) -> f64 {
    count as f64
}
