//! Observers that are away, slow or greedy, over real servers: a console that is stopped while tabs wait for it,
//! readers of metrics and of the scaling signal that never read, and clients that ask the console for everything at
//! once.
//!
//! Guarantees: meanwhile the API accepts every order at its first request, every order is fulfilled, every health
//! listener answers, and no pool of API, relay or worker stays in full use. Judges by what happens, not by clocks. What
//! a page or a scrape costs is measured elsewhere: `ops/bench console`, `ops/bench orders`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::join_all;
use reqwest::StatusCode;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::util::{PATIENCE, Role, TestMerchant, TestServers, alone, fetch, free_port, http, ready};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ORDERS: usize = 30;
/// Orders that are placed at the same time; fewer than a pool of the API has connections.
const CALLERS: usize = 6;
const TABS: usize = 20;
/// Pause of a tab between two requests; that of a browser is a hundred times as long.
const TAB_PAUSE: Duration = Duration::from_millis(50);
/// Clients that ask the console for one page after the other.
const GREEDY: usize = 16;
/// Readers of one kind at one health listener.
const READERS: usize = 40;
/// Requests that such a reader sends at once: their answers are more than the buffers of both sides take.
const PIPELINED: usize = 64;
/// Each page of the console, and both other forms.
const PAGES: [&str; 13] = [
    "/",
    "/queues",
    "/queues/payments",
    "/jobs",
    "/jobs?state=dead&error=timeout",
    "/dead",
    "/workers",
    "/schedules",
    "/limits",
    "/operations",
    "/audit",
    "/jobs?format=csv",
    "/api/v1/overview",
];

/// A deployment with a console.
struct WatchedDeployment {
    stage: TestServers,
    /// API, relay and worker.
    roles: Vec<Role>,
    /// Their health listeners.
    health: [String; 3],
    console: Role,
    console_address: String,
    shop: TestMerchant,
}

impl WatchedDeployment {
    /// `None`, with the reason printed, if a server is missing.
    async fn open() -> Option<Self> {
        let stage = TestServers::open().await?;
        let [listen, api, relay, worker, console_address, console_health] =
            [(); 6].map(|()| format!("127.0.0.1:{}", free_port()));
        let roles = vec![
            stage.role(&["api", "--listen", &listen, "--health", &api]),
            stage.role(&["relay", "--health", &relay]),
            stage.role(&["worker", "--health", &worker]),
        ];
        let tokens = format!("{{ ada = \"viewer:{TOKEN}\" }}");
        let tokens = [("ORDERWORKS_CONSOLE_TOKENS", tokens.as_str())];
        let args = ["console", "--listen", &console_address, "--health", &console_health];
        let console = stage.role_with(&tokens, &args);
        for address in [&listen, &api, &relay, &worker, &console_health] {
            ready(address, |report| report["status"] == "ok").await;
        }
        let shop = TestMerchant::open(&stage, &format!("http://{listen}"), &["CUP"], 1_000).await;
        let deployment = Self { stage, roles, health: [api, relay, worker], console, console_address, shop };
        // Opens the connections of the pools: an unoptimised build computes long for each, longer than an order waits
        // for one where the readers have the processors.
        deployment.place_orders("first").await;
        Some(deployment)
    }

    /// Places orders and checks that they go their way as if there were no observer.
    async fn check_orders(&self) {
        let ids = self.place_orders("watched").await;
        for id in &ids {
            assert_eq!(self.shop.client.ended(id).await["status"], "fulfilled", "{id}");
        }
        for address in &self.health {
            let answer = timeout(PATIENCE, fetch(format!("http://{address}/livez"))).await;
            assert_eq!(answer.expect("answers in time").status(), StatusCode::OK, "{address}");
            free_pools(address).await;
        }
    }

    /// Places all orders under keys of this name, none of which may be refused; returns their ids.
    async fn place_orders(&self, name: &str) -> Vec<String> {
        let numbers: Vec<usize> = (0..ORDERS).collect();
        let mut ids = Vec::new();
        for chunk in numbers.chunks(CALLERS) {
            let placed = chunk.iter().map(async |number| {
                let order = self.shop.order("CUP", 1, "pm_card_visa");
                self.shop.client.place(&format!("{name}-{number}"), &order).await.expect("answers")
            });
            for (status, order) in join_all(placed).await {
                assert_eq!(status, StatusCode::ACCEPTED, "{order}");
                ids.push(order["id"].as_str().expect("an id").to_owned());
            }
        }
        ids
    }

    /// Asks the console for this path; whether it has shown it.
    async fn is_shown(&self, client: &reqwest::Client, path: &str) -> bool {
        let request = client.get(format!("http://{}{path}", self.console_address)).bearer_auth(TOKEN);
        let Ok(answer) = request.send().await else { return false };
        let status = answer.status();
        status == StatusCode::OK && answer.bytes().await.is_ok()
    }

    /// A tab that renews itself, and waits as long as the console lets it; counts the pages that it has shown.
    async fn keep_tab_open(&self, shown: &AtomicUsize) -> Infallible {
        let client = http();
        loop {
            if self.is_shown(&client, "/?live=on").await {
                shown.fetch_add(1, Ordering::Relaxed);
            }
            sleep(TAB_PAUSE).await;
        }
    }

    /// Asks for all pages again and again; counts those that were shown.
    async fn ask_for_all(&self, first: usize, shown: &AtomicUsize) -> Infallible {
        let client = http();
        loop {
            for number in 0..PAGES.len() {
                if self.is_shown(&client, PAGES[(first + number) % PAGES.len()]).await {
                    shown.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn close(self) {
        for role in self.roles.into_iter().chain([self.console]) {
            role.stop().await;
        }
        self.stage.close().await;
    }
}

/// Waits until the pools of the process with this health listener have connections to spare and no waiting request.
async fn free_pools(address: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reading = async { fetch(format!("http://{address}/metrics")).await.text().await };
        let text = timeout(PATIENCE, reading).await.expect("answers in time").expect("a text");
        let pools = pools(&text);
        assert!(!pools.is_empty(), "{address} shows no pool: {text}");
        let is_free = |states: &BTreeMap<&str, f64>| {
            let of = |state: &str| *states.get(state).expect("every state is shown");
            of("waiting") < 1.0 && of("busy") < of("max")
        };
        if pools.values().all(is_free) {
            return;
        }
        assert!(Instant::now() < deadline, "pools of {address} are in full use: {pools:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Connections by pool and state.
fn pools(text: &str) -> BTreeMap<&str, BTreeMap<&str, f64>> {
    let mut pools: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for line in text.lines() {
        let Some(sample) = line.strip_prefix(r#"orderworks_pool_connections{pool=""#) else { continue };
        let (pool, rest) = sample.split_once(r#"",state=""#).expect("the labels of the metric");
        let (state, value) = rest.split_once(r#""} "#).expect("a value");
        pools.entry(pool).or_default().insert(state, value.parse().expect("a number"));
    }
    pools
}

/// Waits until the console has shown more pages than so many.
async fn until_more(shown: &AtomicUsize, than: usize) {
    let deadline = Instant::now() + PATIENCE;
    while shown.load(Ordering::Relaxed) <= than {
        assert!(Instant::now() < deadline, "the console shows no page");
        sleep(TAB_PAUSE).await;
    }
}

/// A connection that sends this and never reads. From another address than that of the test: connections are counted by
/// address.
async fn open_unread(address: &str, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("sets the size");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("binds");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_console_with_open_tabs_slows_no_order() {
    let _alone = alone().await;
    let Some(deployment) = WatchedDeployment::open().await else { return };
    let shown = AtomicUsize::new(0);
    let tabs = join_all((0..TABS).map(|_| deployment.keep_tab_open(&shown)));
    let outage = async {
        until_more(&shown, TABS).await;
        deployment.console.pause().await;
        deployment.check_orders().await;
        deployment.console.wake().await;
        until_more(&shown, shown.load(Ordering::Relaxed)).await;
    };
    tokio::select! {
        () = outage => {}
        ended = tabs => panic!("tabs stay open: {ended:?}"),
    }
    deployment.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_slow_no_order() {
    let _alone = alone().await;
    let Some(deployment) = WatchedDeployment::open().await else { return };
    let mut unread = Vec::new();
    for address in &deployment.health {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        // The last one never ends its request.
        let texts = [
            request("/metrics").repeat(PIPELINED),
            request("/scaling").repeat(PIPELINED),
            format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n"),
        ];
        for text in &texts {
            for _ in 0..READERS {
                unread.push(open_unread(address, text).await);
            }
        }
    }
    deployment.check_orders().await;
    drop(unread);
    deployment.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_asked_for_every_page_at_once_slows_no_order() {
    let _alone = alone().await;
    let Some(deployment) = WatchedDeployment::open().await else { return };
    let shown = AtomicUsize::new(0);
    let asking = join_all((0..GREEDY).map(|first| deployment.ask_for_all(first, &shown)));
    let orders = async {
        until_more(&shown, GREEDY).await;
        deployment.check_orders().await;
    };
    tokio::select! {
        () = orders => {}
        ended = asking => panic!("no observer stops asking: {ended:?}"),
    }
    deployment.close().await;
}
