//! Admission by backlog of real processes: refusals while no worker takes payments, estimates that hold, and waiting
//! rooms that outlast a kill.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use base::Timestamp;
use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::util::{Client, Dev, PATIENCE, TestMerchant, TestServers, alone, order, resident_kib, run_json};

/// More orders than may be stuck.
const WAITING: usize = 14;
/// Age from which on new orders are refused in these tests.
const AGE: [(&str, &str); 2] =
    [("ORDERWORKS_ADMISSION_ORDER_AGE_SECONDS", "2"), ("ORDERWORKS_ADMISSION_CART_AGE_SECONDS", "600")];
/// Orders of the load run, and those of them that are told an estimate at least.
const LOAD: usize = 600;
const TOLD_MIN: usize = 300;
/// Shoppers who wait at one process, those of them who ask again, and the memory they may take.
const SHOPPERS: usize = 50_000;
const ASKING_AGAIN: usize = 5_000;
const SHOPPERS_KIB_MAX: u64 = 100 * 1024;

/// Sends new orders until one is answered with this status; returns that answer.
async fn until_answered(client: &Client, body: &Value, name: &str, status: StatusCode) -> reqwest::Response {
    let began = Instant::now();
    for n in 0.. {
        let answer = client.place_whole(&format!("{name}-{n}"), body).await.expect("answers");
        if answer.status() == status {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{name}: {}", answer.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("the numbers do not end")
}

fn id_of(order: &Value) -> &str {
    order["id"].as_str().expect("an id")
}

fn retry_after(answer: &reqwest::Response) -> u64 {
    let value = answer.headers().get("retry-after").expect("is told").to_str().expect("text");
    value.parse().expect("seconds")
}

async fn refused(client: &Client, body: &Value) {
    let answer = until_answered(client, body, "new", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!((5..=300).contains(&retry_after(&answer)));
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "reduced_capacity", "{problem}");
    let kind = problem["type"].as_str().expect("a type");
    assert!(kind.ends_with("#temporary-reduced-capacity"), "{kind}");
}

#[tokio::test]
async fn orders_are_refused_while_payments_stand_still_and_accepted_again() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start_with(data.path(), &AGE).await;
    let (merchant, body) = (dev.merchant(), order("CUP-ENAMEL", 1, "pm_card_visa"));
    run_json(data.path(), &["control", "pause", "payments"]).await;
    let mut waiting = Vec::new();
    for n in 0..WAITING {
        waiting.push(merchant.accepted(&format!("waits-{n}"), "pm_card_visa").await);
    }
    refused(&merchant, &body).await;
    let (status, again) = merchant.place("waits-0", &body).await.expect("answers");
    assert_eq!((status, again["id"].as_str()), (StatusCode::ACCEPTED, Some(waiting[0].as_str())));
    run_json(data.path(), &["control", "resume", "payments"]).await;
    for id in &waiting {
        assert_eq!(merchant.ended(id).await["status"], "fulfilled");
    }
    until_answered(&merchant, &body, "drained", StatusCode::ACCEPTED).await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_api_processes_refuse_alike_while_no_worker_runs() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    for (key, value) in AGE {
        stage.set(key.trim_start_matches("ORDERWORKS_"), value);
    }
    let (first, base) = stage.api(&[]).await;
    let (second, second_base) = stage.api(&[]).await;
    let relay = stage.role(&["relay"]);
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 10_000).await;
    let body = shop.order("CUP", 1, "pm_card_visa");
    let clients = [shop.client.clone(), shop.client.at(&second_base)];
    let mut waiting = Vec::new();
    for n in 0..WAITING {
        let (status, order) = clients[n % 2].place(&format!("waits-{n}"), &body).await.expect("answers");
        assert_eq!(status, StatusCode::ACCEPTED, "{order}");
        waiting.push(id_of(&order).to_owned());
    }
    for client in &clients {
        refused(client, &body).await;
    }
    let worker = stage.role(&["worker"]);
    for id in &waiting {
        assert_eq!(clients[0].ended(id).await["status"], "fulfilled");
    }
    for (n, client) in clients.iter().enumerate() {
        until_answered(client, &body, &format!("drained-{n}"), StatusCode::ACCEPTED).await;
    }
    for role in [worker, relay, first, second] {
        role.stop().await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_of_ten_orders_of_a_load_run_are_fulfilled_before_what_they_were_told() {
    let _alone = alone().await;
    let data = tempfile::tempdir().expect("a folder");
    // Few slots, so that orders queue up.
    let few = [("ORDERWORKS_WORKERS_PAYMENTS", "2"), ("ORDERWORKS_WORKERS_FULFILMENT", "1")];
    let dev = Dev::start_with(data.path(), &few).await;
    let (merchant, body) = (dev.merchant(), order("CUP-ENAMEL", 1, "pm_card_visa"));
    // Until the first orders that have ended are measured.
    let began = Instant::now();
    for n in 0.. {
        let (_, order) = merchant.place(&format!("first-{n}"), &body).await.expect("answers");
        assert_eq!(merchant.ended(id_of(&order)).await["status"], "fulfilled");
        if order["estimated_fulfilment_at"].is_string() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "no estimate: {order}");
    }
    let place = |n: usize| {
        let (merchant, body) = (&merchant, &body);
        async move {
            let (status, order) = merchant.place(&format!("load-{n}"), body).await.expect("answers");
            assert_eq!(status, StatusCode::ACCEPTED, "{order}");
            order
        }
    };
    let placed: Vec<Value> = stream::iter((0..LOAD).map(place)).buffer_unordered(8).collect().await;
    let time = |text: &Value| text.as_str().map(|text| text.parse::<Timestamp>().expect("RFC 3339"));
    let (mut told, mut on_time) = (0, 0);
    for order in &placed {
        let ended = merchant.ended(id_of(order)).await;
        assert_eq!(ended["status"], "fulfilled", "{ended}");
        let shipped = time(&ended["shipment"]["shipped_at"]).expect("a time");
        if let Some(estimate) = time(&order["estimated_fulfilment_at"]) {
            told += 1;
            on_time += usize::from(shipped <= estimate);
        }
    }
    assert!(told >= TOLD_MIN, "{told} of {LOAD} were told");
    assert!(on_time * 10 >= told * 9, "{on_time} of {told} in time");
    assert!(dev.stop().await.success());
}

/// The merchant of the demo shop.
pub(crate) async fn merchant_of(data: &Path) -> String {
    let listed = run_json(data, &["merchant", "list"]).await;
    listed[0]["id"].as_str().expect("an id").to_owned()
}

async fn visit(client: &Client, headers: &[(&str, &str)]) -> Value {
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
async fn until_visited(client: &Client, place: &str, status: &str) {
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
