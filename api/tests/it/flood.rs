//! Floods from one, two and a hundred thousand addresses with the publishable key, which every browser shows: customers
//! of the same shop can order meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use api::{ApiConfig, ServerLimits};
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
};

use crate::util::{TestApi, config, order_body};

const CUSTOMERS: usize = 500;
/// 1 % of the customers.
const HARMED_MAX: usize = 5;
const CONNECTIONS: usize = 8;
/// Requests sent in one write on a connection.
const BATCH: usize = 50;

/// A flood of invalid orders and, one in ten, of requests with a made-up key.
struct Flood {
    answered: Arc<AtomicUsize>,
    progress: Arc<Notify>,
    stop: Arc<AtomicBool>,
    connections: JoinSet<()>,
}

impl Flood {
    /// Sends from this many addresses, over and over.
    fn start(shop: &TestApi, addresses: usize) -> Self {
        let (answered, progress, stop) = (Arc::default(), Arc::new(Notify::new()), Arc::default());
        let mut flood = Self { answered, progress, stop, connections: JoinSet::new() };
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..CONNECTIONS {
            let (server, key, next) = (shop.address, shop.own.public.clone(), Arc::clone(&next));
            let (answered, progress, stop) =
                (Arc::clone(&flood.answered), Arc::clone(&flood.progress), Arc::clone(&flood.stop));
            flood.connections.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    let requests = (first..first + BATCH).map(|n| request(server, &key, n, n % addresses));
                    send(server, &requests.collect::<String>()).await;
                    answered.fetch_add(BATCH, Ordering::Relaxed);
                    progress.notify_one();
                }
            });
        }
        flood
    }

    /// Waits until this many requests have been answered.
    async fn answered(&self, wanted: usize) {
        while self.answered.load(Ordering::Relaxed) < wanted {
            self.progress.notified().await;
        }
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.connections.join_next().await {
            ended.expect("a flooding connection");
        }
    }
}

fn request(server: SocketAddr, key: &str, n: usize, address: usize) -> String {
    // One in ten with a made-up key.
    let key = if n.is_multiple_of(10) { "owk_pub_0000000000000000000000000000000000000000" } else { key };
    let from = format!("{}.{}.{}.{}", 11 + (address >> 14), address & 127, (address >> 7) & 127, n % 3);
    let from = if address < 2 { format!("11.0.0.{address}") } else { from };
    format!(
        "POST /v1/orders HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {key}\r\nx-forwarded-for: {from}\r\n\
         content-length: 0\r\n\r\n"
    )
}

/// Sends the requests in one write on a new connection and waits for all answers.
async fn send(server: SocketAddr, requests: &str) {
    let mut stream = TcpStream::connect(server).await.expect("connects");
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(requests.as_bytes()).await.expect("sends");
        write.shutdown().await.expect("closes its half");
    };
    let mut answers = Vec::new();
    let ((), read) = tokio::join!(sending, read.read_to_end(&mut answers));
    read.expect("answers");
    let starts = answers.windows(12).filter(|bytes| *bytes == b"HTTP/1.1 400" || *bytes == b"HTTP/1.1 429");
    assert_ne!(starts.count(), 0, "{}", String::from_utf8_lossy(&answers));
}

/// Whether every request of a customer is allowed: a read, a cart, an order.
async fn is_served(shop: &TestApi, customer: usize, round: usize) -> bool {
    let from = format!("198.{}.{}.7", 18 + customer / 256, customer % 256);
    let call = |call: crate::util::Call| call.key(&shop.own.public).header("x-forwarded-for", &from);
    let looked = call(shop.get("/v1/products/mug")).send().await;
    let cart = call(shop.call(reqwest::Method::POST, "/v1/carts")).send().await;
    let key = format!("{customer}-{round}");
    let placed = shop.place(&key, &order_body()).header("x-forwarded-for", &from).send().await;
    [looked.status, cart.status, placed.status] == [200, 201, 202]
}

async fn served(shop: &TestApi, round: usize) -> usize {
    let customers = stream::iter(0..CUSTOMERS).map(|customer| is_served(shop, customer, round));
    customers.buffer_unordered(16).filter(|is_served| std::future::ready(*is_served)).count().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_are_served_through_floods_from_one_two_and_many_addresses() {
    let limits = ApiConfig::default();
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let (checkout, carts, reads) = (limits.checkout, limits.carts, limits.reads);
    let config = ApiConfig { checkout, carts, reads, trusted_proxies, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 1_000_000).await;
    for (round, (addresses, before)) in [(1, 1_000), (2, 1_000), (100_000, 100_000)].into_iter().enumerate() {
        let flood = Flood::start(&shop, addresses);
        flood.answered(before).await;
        let served = served(&shop, round).await;
        flood.stop().await;
        assert!(served >= CUSTOMERS - HARMED_MAX, "{served} of {CUSTOMERS} beside {addresses} addresses");
    }
}
