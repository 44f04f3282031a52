//! Waiting rooms of one process: a sale that is switched by the command, places that outlast a kill, and the memory of
//! many shoppers.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::util::{Client, Dev, PATIENCE, alone, order, resident_kib, run_json};

/// Shoppers who wait at one process, those of them who ask again, and the memory they may take.
const SHOPPERS: usize = 50_000;
const ASKING_AGAIN: usize = 5_000;
const SHOPPERS_KIB_MAX: u64 = 100 * 1024;

/// The merchant of the demo shop.
pub(crate) async fn merchant_of(data: &Path) -> String {
    let listed = run_json(data, &["merchant", "list"]).await;
    listed[0]["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn visit(client: &Client, headers: &[(&str, &str)]) -> Value {
    let (status, visit) = client.send_with(Method::GET, "/v1/waiting_room", headers, None).await;
    assert_eq!(status, StatusCode::OK, "{visit}");
    visit
}

/// The visit of one of many shoppers, at an address of its own; with the place of before, where there is one.
async fn shopper(client: &Client, n: usize, place: Option<&str>) -> (usize, Value) {
    let from = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
    let place = place.map(|place| ("orderworks-place", place));
    let headers: Vec<_> = std::iter::once(("x-forwarded-for", from.as_str())).chain(place).collect();
    (n, visit(client, &headers).await)
}

/// Waits until the waiting room has this status for a place.
pub(crate) async fn until_visited(client: &Client, place: &str, status: &str) {
    let began = Instant::now();
    loop {
        let visit = visit(client, &[("orderworks-place", place)]).await;
        if visit["status"] == status {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not {status}: {visit}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_sale_is_switched_by_the_command_and_places_outlast_a_kill() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (storefront, merchant) = (dev.storefront(), merchant_of(data.path()).await);
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    let sale = ["merchant", "sale", merchant.as_str(), "on", "--per-minute", "6", "--active-seconds", "600"];
    let told = run_json(data.path(), &sale).await;
    assert_eq!(
        (&told["mode"]["switch"], &told["mode"]["per_minute_max"]),
        (&"on".into(), &6.into()),
        "{told}"
    );
    until_visited(&storefront, "none", "waiting").await;
    // The first few are admitted; this shopper waits behind them.
    let mut place = String::new();
    for _ in 0..5 {
        place = visit(&storefront, &[]).await["place"].as_str().expect("a place").to_owned();
    }
    let headers = [("idempotency-key", "early"), ("orderworks-place", place.as_str())];
    let (status, problem) = storefront.send_with(Method::POST, "/v1/orders", &headers, Some(&body)).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &"waiting_room".into()),
        "{problem}"
    );

    dev.kill().await;
    let dev = Dev::start(data.path()).await;
    let storefront = dev.storefront();
    until_visited(&storefront, "none", "waiting").await;
    let again = visit(&storefront, &[("orderworks-place", place.as_str())]).await;
    assert_eq!(again["place"], place.as_str(), "{again}");
    run_json(data.path(), &["merchant", "sale", &merchant, "on", "--per-minute", "6000"]).await;
    until_visited(&storefront, &place, "admitted").await;
    let headers = [("idempotency-key", "in-turn"), ("orderworks-place", place.as_str())];
    let (status, placed) = storefront.send_with(Method::POST, "/v1/orders", &headers, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    run_json(data.path(), &["merchant", "sale", &merchant, "off"]).await;
    until_visited(&storefront, &place, "open").await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_shoppers_wait_in_little_memory() {
    let _alone = alone().await;
    let data = tempfile::tempdir().expect("a folder");
    let dev =
        Dev::start_with(data.path(), &[("ORDERWORKS_SERVER_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#)]).await;
    let (storefront, merchant) = (dev.storefront(), merchant_of(data.path()).await);
    run_json(data.path(), &["merchant", "sale", &merchant, "on", "--per-minute", "1"]).await;
    until_visited(&storefront, "none", "waiting").await;
    let before = resident_kib(dev.process());
    let come = (0..SHOPPERS).map(|n| shopper(&storefront, n, None));
    let came: Vec<_> = stream::iter(come).buffer_unordered(32).collect().await;
    let most = came.iter().filter_map(|(_, visit)| visit["ahead"].as_u64()).max().expect("waits");
    assert!(most >= u64::try_from(SHOPPERS).expect("fits") - 100, "{most}");
    let some = came.iter().step_by(SHOPPERS / ASKING_AGAIN);
    let ask = some.map(|(n, visit)| shopper(&storefront, *n, visit["place"].as_str()));
    let ask: Vec<_> = ask.collect();
    let asked: BTreeMap<_, _> = stream::iter(ask).buffer_unordered(32).collect().await;
    assert_eq!(asked.len(), ASKING_AGAIN);
    let kept =
        |(n, visit): &&(usize, Value)| asked.get(n).is_some_and(|again| again["place"] == visit["place"]);
    assert_eq!(came.iter().filter(kept).count(), ASKING_AGAIN, "places are kept");
    let taken = resident_kib(dev.process()).saturating_sub(before);
    assert!(taken <= SHOPPERS_KIB_MAX, "{taken} KiB");
    assert!(dev.stop().await.success());
}
