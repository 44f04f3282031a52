//! Load generator: orders over HTTP at little cost of its own, with one thread and one kept connection per caller.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use store::domain::MerchantId;

/// Number of products that orders are spread over, so that the figures are not those of one contended row.
pub(crate) const SKUS: usize = 64;
/// Longest wait for a response.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Address of the API, and the keys and merchant to place orders with.
pub(crate) struct Load {
    address: String,
    key: String,
    pub(crate) merchant: MerchantId,
    /// Number of orders so far: each has its own idempotency key.
    placed: AtomicUsize,
}

pub(crate) struct Placed {
    pub(crate) taken: Vec<Duration>,
    seconds: f64,
}

impl Placed {
    pub(crate) fn per_second(&self) -> f64 {
        number(self.taken.len()) / self.seconds
    }
}

impl Load {
    pub(crate) fn new(address: String, key: String, merchant: MerchantId) -> Self {
        Self { address, key, merchant, placed: AtomicUsize::new(0) }
    }

    /// Places `orders` orders from `callers` callers; an error if one is not accepted.
    pub(crate) fn place(&self, callers: usize, orders: usize) -> anyhow::Result<Placed> {
        let first = self.placed.fetch_add(orders, Ordering::Relaxed);
        let next = AtomicUsize::new(first);
        let call = || -> anyhow::Result<Vec<Duration>> {
            let (mut line, mut taken) = (Connection::open(&self.address)?, Vec::new());
            loop {
                let order = next.fetch_add(1, Ordering::Relaxed);
                if order >= first + orders {
                    return Ok(taken);
                }
                let began = Instant::now();
                let (status, body) = line.send("POST", "/v1/orders", &self.headers(order), &body(order))?;
                ensure!(status == 202, "order {order} was answered {status}: {body}");
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

    /// Whether a list has no items.
    pub(crate) fn is_empty(&self, path: &str) -> anyhow::Result<bool> {
        let (status, body) = Connection::open(&self.address)?.send("GET", path, &self.headers(0), "")?;
        ensure!(status == 200, "{path} was answered {status}: {body}");
        let page: serde_json::Value = serde_json::from_str(&body)?;
        Ok(page["data"].as_array().context("the list has no data")?.is_empty())
    }

    /// Sends a `PUT` that must succeed.
    pub(crate) fn put(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
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

fn body(order: usize) -> String {
    format!(
        r#"{{"customer":{{"email":"bench@example.com","name":"Bench"}},"currency":"EUR",
        "items":[{{"sku":"{}","quantity":1}}],"payment_method":"pm_card_visa"}}"#,
        sku(order)
    )
}

/// Whether the process at this address reports ready.
pub(crate) fn is_ready(address: &str) -> bool {
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

pub(crate) fn sku(order: usize) -> String {
    format!("SKU-{:02}", order % SKUS)
}

/// For counts, which are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}
