//! Fair share among merchants over all servers: the orders of a merchant that come behind another one's flood are
//! fulfilled, and their webhooks delivered, while most of the flood waits.
//!
//! Positions are compared, not times: no worker runs until the whole flood waits and the few orders behind it, so first
//! come, first served would end these last. The merchant's share of webhook slots is switched off: what is left is the
//! order of the queues. Latencies beside a flood are measured by `ops/bench fair_share`.

use std::collections::HashSet;

use base::Timestamp;
use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::util::{PATIENCE, Receiver, TestMerchant, TestServers, alone};

/// Orders of the flood: far more than the 64 jobs of a queue that the broker has before turns count.
const FLOOD: usize = 400;
/// Orders of the other merchant, placed behind the flood.
const FEW: usize = 10;
/// Orders of the flood that may be done before the last one of the few.
const BEFORE_MAX: usize = FLOOD / 2;
/// Concurrent requests.
const CALLERS: usize = 16;
const FAIR: [(&str, &str); 3] = [
    ("FAIR_SHARE_QUEUES", r#"["payments", "fulfilment", "email", "webhooks"]"#),
    ("WEBHOOKS_PER_MERCHANT", "16"),
    ("WEBHOOKS_PER_ENDPOINT", "16"),
];

/// Opens a shop whose fulfilled orders are told to `told`, too.
async fn open(stage: &TestServers, base: &str, told: &Receiver) -> TestMerchant {
    let shop = TestMerchant::open(stage, base, &["CUP"], 10_000).await;
    let endpoint = json!({ "url": told.url, "events": ["order.fulfilled"] });
    let (status, body) = shop.client.send(Method::POST, "/v1/webhook_endpoints", Some(&endpoint)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    shop
}

/// Places this many orders and returns their ids.
async fn place(shop: &TestMerchant, count: usize) -> HashSet<String> {
    let place = |n: usize| async move {
        let body = shop.order("CUP", 1, "pm_card_visa");
        let (status, order) = shop.client.place(&format!("order-{n}"), &body).await.expect("answers");
        assert_eq!(status, StatusCode::ACCEPTED, "{order}");
        order["id"].as_str().expect("an id").to_owned()
    };
    stream::iter(0..count).map(place).buffer_unordered(CALLERS).collect().await
}

/// Waits until this many payments wait for a worker.
async fn until_waiting(stage: &TestServers, payments: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let queues = stage.command(&[], &["--json", "inspect", "queues"]).await;
        let queues: Value = serde_json::from_str(&queues).expect("is JSON");
        let mut lines = queues.as_array().expect("a list").iter();
        // The relay declares it, a moment after its start.
        let line = lines.find(|line| line["queue"] == "payments").unwrap_or(&Value::Null);
        if line["ready"] == payments {
            assert!(line["fair"].is_array(), "{line}");
            return;
        }
        assert!(Instant::now() < deadline, "{payments} payments do not wait: {line}");
    }
}

/// Orders of webhooks, in the order of their first arrival.
fn orders_of(webhooks: &[(HeaderMap, Bytes)]) -> Vec<String> {
    let mut known = HashSet::new();
    let ids = webhooks.iter().map(|(_, body)| {
        let event: Value = serde_json::from_slice(body).expect("is JSON");
        event["data"]["id"].as_str().expect("an order").to_owned()
    });
    ids.filter(|id| known.insert(id.clone())).collect()
}

/// When an order was fulfilled; one worker has told all of these times.
fn shipped_at(order: &Value) -> Timestamp {
    order["shipment"]["shipped_at"].as_str().expect("a time").parse().expect("RFC 3339")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_behind_a_flood_of_another_merchant_are_done_before_half_of_it() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    for (key, value) in FAIR {
        stage.set(key, value);
    }
    let (api, base) = stage.api(&[]).await;
    let relay = stage.role(&["relay"]);
    let told = Receiver::start().await;
    let (loud, quiet) = (open(&stage, &base, &told).await, open(&stage, &base, &told).await);
    let flood = place(&loud, FLOOD).await;
    until_waiting(&stage, FLOOD).await;
    let few = place(&quiet, FEW).await;
    until_waiting(&stage, FLOOD + FEW).await;

    let worker = stage.role(&["worker"]);
    let has_few = |webhooks: &[(HeaderMap, Bytes)]| {
        orders_of(webhooks).iter().filter(|id| few.contains(*id)).count() == FEW
    };
    let webhooks = orders_of(&told.until(has_few).await);
    let last = webhooks.iter().rposition(|id| few.contains(id)).expect("they have come");
    let before = webhooks[..last].iter().filter(|id| flood.contains(*id)).count();
    assert!(before <= BEFORE_MAX, "{before} webhooks of {FLOOD} came before the last of {FEW}");

    let fulfilled = "&status=fulfilled";
    let ended = quiet.client.all_where("/v1/orders", fulfilled).await;
    assert_eq!(ended.len(), FEW);
    let last = ended.iter().map(shipped_at).max().expect("some");
    let ended = loud.client.all_where("/v1/orders", fulfilled).await;
    let before = ended.iter().filter(|order| shipped_at(order) <= last).count();
    assert!(before <= BEFORE_MAX, "{before} orders of {FLOOD} were fulfilled before the last of {FEW}");

    // The flood is fulfilled as well.
    let has_all = |webhooks: &[(HeaderMap, Bytes)]| {
        webhooks.len() >= FLOOD + FEW && orders_of(webhooks).len() == FLOOD + FEW
    };
    let told: HashSet<_> = orders_of(&told.until(has_all).await).into_iter().collect();
    assert_eq!(told, &flood | &few);
    for role in [worker, relay, api] {
        role.stop().await;
    }
    stage.close().await;
}
