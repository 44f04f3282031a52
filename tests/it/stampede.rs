//! Cached reads of several API processes that share a Redis: of a rush on a value that has expired one read goes to the
//! store, in all of them together; without the Redis, one of each process. A write shows in all of them within a
//! second.

use std::time::{Duration, Instant};

use base::{Ambient, testing::Proxy};
use futures::{StreamExt, future::join_all, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::util::{Client, PATIENCE, Role, TestMerchant, TestServers, alone, fetch, free_port, ready};

const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
const PRODUCT: &str = "/v1/products/CUP";
const PROCESSES: usize = 4;
const READS: usize = 1_000;
/// Reads under way at once, in all processes.
const AT_ONCE: usize = 400;
/// Age of a cached product at most; each lives for nine tenths of it at least, far longer than a rush lasts.
const AGE: Duration = Duration::from_secs(15);
/// Age of a value in memory while invalidations of other processes are not received.
const AGE_ALONE: Duration = Duration::from_secs(1);
/// A write shows in all processes within this time, as docs/CACHE.md promises. What is cached lives far longer, so that
/// a value which is gone in time was invalidated and has not expired.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// What a write of the product changes: itself, a list with it, the categories.
const CHANGED: [&str; 3] = [PRODUCT, "/v1/products?limit=1", "/v1/categories"];

struct Api {
    role: Role,
    base: String,
    health: String,
}

impl Api {
    async fn start(stage: &TestServers, settings: &[(&str, &str)]) -> Self {
        let [listen, health] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let role = stage.role_with(settings, &["api", "--listen", &listen, "--health", &health]);
        ready(&listen, |report| report["status"] == "ok").await;
        Self { role, base: format!("http://{listen}"), health }
    }

    /// Products that the process has loaded from the store since its start.
    async fn loads(&self) -> u64 {
        let text = fetch(format!("http://{}/metrics", self.health)).await.text().await.expect("a text");
        let series = r#"orderworks_cache_requests_total{cache="data",result="miss"} "#;
        let value = text.lines().find_map(|line| line.strip_prefix(series)).expect("is shown");
        value.parse().expect("a number")
    }
}

async fn loads(apis: &[Api]) -> Vec<u64> {
    join_all(apis.iter().map(Api::loads)).await
}

/// Reads the product a thousand times, by all processes in turns; returns how often each loaded it.
async fn rush(apis: &[Api], clients: &[Client]) -> Vec<u64> {
    let before = loads(apis).await;
    let reads = clients.iter().cycle().take(READS).map(|client| client.get(PRODUCT));
    let products: Vec<_> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
    assert!(products.iter().all(|product| product["sku"] == "CUP"));
    loads(apis).await.iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Each process writes once, and all of them show it in time: in the product, in a list and in the categories.
async fn a_write_shows_everywhere(clients: &[Client]) {
    for (n, writer) in clients.iter().enumerate() {
        for path in CHANGED {
            join_all(clients.iter().map(|client| client.get(path))).await;
        }
        let mark = format!("written-{n}");
        let body = json!({ "name": mark, "category": mark, "price_minor": 1250, "currency": "EUR" });
        let (status, answer) = writer.send(Method::PUT, PRODUCT, Some(&body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let written_at = Instant::now();
        let shown = clients.iter().map(|client| shows(client, &mark, written_at));
        let shown = tokio::time::timeout(PATIENCE, join_all(shown)).await.expect("all show it");
        assert!(
            shown.iter().all(|after| *after <= TOLD_WITHIN),
            "of {CHANGED:?} the last one after {shown:?}"
        );
    }
}

/// Reads until the process shows the write everywhere; returns the time that took.
async fn shows(client: &Client, mark: &str, written_at: Instant) -> Duration {
    for path in CHANGED {
        while !client.get(path).await.to_string().contains(mark) {}
    }
    written_at.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_on_an_expired_product_loads_it_once_for_all_processes() {
    let Ok(url) = std::env::var(URL) else {
        return base::testing::skip(&format!("{URL} is not set; see `ops/services up redis`"));
    };
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let line = Proxy::to(&url).await;
    let ambient = Ambient::system();
    // The form of name that the cleanup of the cache's own tests recognises.
    let prefix = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
    let (by_line, age) = (line.address(&url), AGE.as_millis().to_string());
    let settings = [
        ("ORDERWORKS_ENGINES_CACHE", "redis"),
        ("ORDERWORKS_REDIS_URL", by_line.as_str()),
        ("ORDERWORKS_REDIS_PREFIX", prefix.as_str()),
        ("ORDERWORKS_REDIS_COMMAND_TIMEOUT_MS", "3000"),
        ("ORDERWORKS_CACHE_PRODUCT_MS", age.as_str()),
        ("ORDERWORKS_CACHE_LIST_MS", age.as_str()),
        ("ORDERWORKS_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "1000"),
    ];
    let apis = join_all((0..PROCESSES).map(|_| Api::start(&stage, &settings))).await;
    let shop = TestMerchant::open(&stage, &apis[0].base, &["CUP"], 1_000).await;
    let clients: Vec<_> = apis.iter().map(|api| shop.client.at(&api.base)).collect();
    a_write_shows_everywhere(&clients).await;

    join_all(clients.iter().map(|client| client.get(PRODUCT))).await;
    // What is waited for is the time itself.
    tokio::time::sleep(AGE).await;
    let loaded = rush(&apis, &clients).await;
    assert_eq!(loaded.iter().sum::<u64>(), 1, "one load for all: {loaded:?}");

    line.sever();
    for api in &apis {
        let address = api.base.trim_start_matches("http://");
        ready(address, |report| report["status"] == "degraded").await;
    }
    let began = Instant::now();
    let loaded = rush(&apis, &clients).await;
    // Values live shorter now, so that a slow machine sees more than one of them expire.
    let expired = began.elapsed().as_secs() / AGE_ALONE.as_secs() + 1;
    assert!(loaded.iter().all(|loads| *loads <= 1 + expired), "one load of each: {loaded:?}");
    line.restore();
    for api in apis {
        api.role.stop().await;
    }
    stage.close().await;
}
