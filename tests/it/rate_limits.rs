//! Rate limits over several API processes that share a Redis: whatever callers do, all processes together never allow
//! more than the quota; without the Redis each process applies it alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use base::{Ambient, testing::Proxy};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::util::{Client, TestMerchant, TestServers, alone, order, ready};

const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
const PROCESSES: usize = 4;
/// Callers of each process at once.
const CALLERS: usize = 3;
/// Time for which each limit is used up.
const FLOOD: Duration = Duration::from_secs(3);

/// A limit, and a request that takes one from it.
#[derive(Clone)]
struct Limit {
    name: &'static str,
    interval: Duration,
    burst: u32,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    /// In place of the merchant's.
    key: Option<&'static str>,
}

fn limits() -> Vec<Limit> {
    let limit = |name, per_second: f64, burst, method, path, body| Limit {
        name,
        interval: Duration::from_secs_f64(1.0 / per_second),
        burst,
        method,
        path,
        body,
        key: None,
    };
    let bought = order("CUP", 1, "pm_card_visa");
    let credentials = json!({ "email": "ada@example.com", "password": "not the password" });
    let guess = "owk_sec_0000000000000000000000000000000000000000";
    vec![
        // The first three are frequent enough to be leased.
        limit("read-key", 100.0, 100, Method::GET, "/v1/orders", None),
        limit("write-key", 50.0, 50, Method::DELETE, "/v1/webhook_endpoints/x", None),
        limit("checkout-merchant", 40.0, 40, Method::POST, "/v1/orders", Some(bought)),
        limit("new-cart-ip", 0.5, 30, Method::POST, "/v1/carts", None),
        limit("checkout-invalid", 0.5, 30, Method::POST, "/v1/orders", Some(json!({}))),
        limit("sign-in-ip", 1.0, 7, Method::POST, "/v1/sessions", Some(credentials)),
        Limit { key: Some(guess), ..limit("key-lookup", 100.0, 100, Method::GET, "/v1/products", None) },
    ]
}

fn settings(redis: &str, prefix: &str) -> Vec<(&'static str, String)> {
    let set = |key, value: &str| (key, value.to_owned());
    vec![
        set("ORDERWORKS_ENGINES_CACHE", "redis"),
        set("ORDERWORKS_REDIS_URL", redis),
        set("ORDERWORKS_REDIS_PREFIX", prefix),
        set("ORDERWORKS_REDIS_COMMAND_TIMEOUT_MS", "3000"),
        set("ORDERWORKS_READS_PER_KEY_PER_SECOND", "100"),
        set("ORDERWORKS_WRITES_PER_KEY_PER_SECOND", "50"),
        set("ORDERWORKS_CHECKOUT_PER_MERCHANT_PER_SECOND", "40"),
        set("ORDERWORKS_CHECKOUT_BURST", "40"),
        set("ORDERWORKS_CARTS_NEW_PER_IP_PER_MINUTE", "30"),
        set("ORDERWORKS_CHECKOUT_INVALID_PER_IP_PER_MINUTE", "30"),
        set("ORDERWORKS_SIGN_IN_PER_IP_PER_MINUTE", "60"),
        set("ORDERWORKS_SIGN_IN_PER_ACCOUNT_PER_MINUTE", "1000000"),
        set("ORDERWORKS_SIGN_IN_BURST", "7"),
    ]
}

/// Calls one process until the time is over, at a pace that the seed decides; counts requests that pass.
async fn flood(limit: &Limit, client: &Client, seed: u64, ends_at: Instant, passed: &AtomicU32) -> u32 {
    let (mut random, mut refused) = (fastrand::Rng::with_seed(seed), 0);
    while Instant::now() < ends_at {
        let key = Ambient::system().uuid().to_string();
        let headers = [("idempotency-key", key.as_str())];
        let (status, body) =
            client.send_with(limit.method.clone(), limit.path, &headers, limit.body.as_ref()).await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(body["violated-policies"], json!([limit.name]), "{body}");
            refused += 1;
        } else {
            assert!(!status.is_server_error(), "{status} {body}");
            passed.fetch_add(1, Ordering::Relaxed);
        }
        // Bursts and pauses: a caller's leases begin and end.
        let pause = if random.u8(..) < 16 { random.u64(50..250) } else { random.u64(0..4) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    refused
}

/// Requests of one limit that pass while all processes are flooded, and the most that the quota allows.
async fn flooded(limit: &Limit, clients: &[Client], seed: u64) -> (u32, u32) {
    let (began, passed) = (Instant::now(), Arc::new(AtomicU32::new(0)));
    let callers = clients.iter().cycle().take(clients.len() * CALLERS);
    let floods = callers.zip(seed..).map(|(client, seed)| {
        let passed = Arc::clone(&passed);
        async move { flood(limit, client, seed, began + FLOOD, &passed).await }
    });
    let refused: u32 = join_all(floods).await.into_iter().sum();
    assert!(refused > 0, "{}: the flood is larger than the quota", limit.name);
    let refilled = began.elapsed().as_nanos() / limit.interval.as_nanos() + 1;
    let allowed = limit.burst + u32::try_from(refilled).expect("a short flood");
    (passed.load(Ordering::Relaxed), allowed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_together_never_exceed_a_quota_and_apart_none_of_them_does() {
    let Ok(url) = std::env::var(URL) else {
        return base::testing::skip(&format!("{URL} is not set; see `ops/services up redis`"));
    };
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let line = Proxy::to(&url).await;
    let ambient = Ambient::system();
    // The form of name that the cleanup of the cache's own tests recognises.
    let prefix = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
    let settings = settings(&line.address(&url), &prefix);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let started = join_all((0..PROCESSES).map(|_| stage.api(&settings))).await;
    let (roles, bases): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let shop = TestMerchant::open(&stage, &bases[0], &["CUP"], 1_000).await;
    let clients = |limit: &Limit| -> Vec<Client> {
        let client = |base: &String| match limit.key {
            Some(key) => Client::new(base, key),
            None => shop.client.at(base),
        };
        bases.iter().map(client).collect()
    };
    for (seed, limit) in (1_000..).step_by(1_000).zip(limits()) {
        let (passed, allowed) = flooded(&limit, &clients(&limit), seed).await;
        assert!(passed <= allowed, "{}: {passed} of {allowed}, seed {seed}", limit.name);
        assert!(passed >= limit.burst / 2, "{}: {passed} of {allowed}, seed {seed}", limit.name);
    }

    line.sever();
    for base in &bases {
        ready(base.trim_start_matches("http://"), |report| report["status"] == "degraded").await;
    }
    // A limit that needs no Redis otherwise; each process has its own quota now.
    let limit = limits().into_iter().find(|limit| limit.name == "checkout-invalid").expect("is listed");
    for client in clients(&limit) {
        let (passed, allowed) = flooded(&limit, &[client], 7).await;
        assert!(passed <= allowed, "alone: {passed} of {allowed}");
    }
    line.restore();
    for role in roles {
        role.stop().await;
    }
    stage.close().await;
}
