//! Estimates that orders are told: of a load run nine of ten orders are fulfilled before.

use std::time::Instant;

use base::Timestamp;
use futures::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::Value;

use super::id_of;
use crate::util::{Client, Dev, PATIENCE, alone, order};

/// Orders of the load run.
const LOAD: usize = 600;
/// Concurrent requests.
const CALLERS: usize = 8;

/// Places orders one after the other until the process tells an estimate: the first ones that have ended are measured.
pub(super) async fn until_told(client: &Client, body: &Value, name: &str) {
    let began = Instant::now();
    for n in 0.. {
        let (_, order) = client.place(&format!("{name}-{n}"), body).await.expect("answers");
        assert_eq!(client.ended(id_of(&order)).await["status"], "fulfilled");
        if order["estimated_fulfilment_at"].is_string() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no estimate: {order}");
    }
}

/// Places so many orders, by the clients in turns: half of them at least are told an estimate, and nine of ten of these
/// are fulfilled before it.
pub(super) async fn nine_of_ten_are_on_time(clients: &[Client], body: &Value, orders: usize) {
    let place = |n: usize| {
        let client = &clients[n % clients.len()];
        async move {
            let (status, order) = client.place(&format!("load-{n}"), body).await.expect("answers");
            assert_eq!(status, StatusCode::ACCEPTED, "{order}");
            order
        }
    };
    let placed: Vec<Value> = stream::iter((0..orders).map(place)).buffer_unordered(CALLERS).collect().await;
    let time = |text: &Value| text.as_str().map(|text| text.parse::<Timestamp>().expect("RFC 3339"));
    let (mut told, mut on_time) = (0, 0);
    for order in &placed {
        let ended = clients[0].ended(id_of(order)).await;
        assert_eq!(ended["status"], "fulfilled", "{ended}");
        let shipped = time(&ended["shipment"]["shipped_at"]).expect("a time");
        if let Some(estimate) = time(&order["estimated_fulfilment_at"]) {
            told += 1;
            on_time += usize::from(shipped <= estimate);
        }
    }
    assert!(told * 2 >= orders, "{told} of {orders} were told");
    assert!(on_time * 10 >= told * 9, "{on_time} of {told} in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_of_ten_orders_of_a_load_run_are_fulfilled_before_what_they_were_told() {
    let _alone = alone().await;
    let data = tempfile::tempdir().expect("a folder");
    // Few slots, so that orders queue up.
    let few = [("ORDERWORKS_WORKERS_PAYMENTS", "2"), ("ORDERWORKS_WORKERS_FULFILMENT", "1")];
    let dev = Dev::start_with(data.path(), &few).await;
    let (merchant, body) = (dev.merchant(), order("CUP-ENAMEL", 1, "pm_card_visa"));
    until_told(&merchant, &body, "first").await;
    nine_of_ten_are_on_time(&[merchant], &body, LOAD).await;
    assert!(dev.stop().await.success());
}
