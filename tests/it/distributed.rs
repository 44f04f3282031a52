//! Distributed deployment: all servers and many processes, the main flow at real size, audited across every store,
//! while processes are killed and restarted.

use std::{collections::HashSet, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::util::{Client, Role, TestMerchant, TestServers, alone, audit};

const SHOPS: usize = 3;
const ORDERS: usize = 2_000;
const SKUS: [&str; 4] = ["CUP", "PEN", "TEE", "RUG"];
const STOCK: i64 = 100_000;
/// Concurrent requests.
const CALLERS: usize = 24;
/// Longest time from the last order until all orders have ended.
const DRAIN_MAX: Duration = Duration::from_mins(3);

/// The order with this number: shop, product, payment method. One in ten uses an unusual payment method.
fn wanted(n: usize, shops: &[TestMerchant]) -> (usize, Value) {
    let shop = n % shops.len();
    let method = match n % 50 {
        7 | 19 => "pm_card_chargeDeclined",
        11 => "pm_sandbox_flaky",
        23 => "pm_sandbox_slow",
        41 if n % 400 == 41 => "pm_sandbox_timeout",
        _ => "pm_card_visa",
    };
    let quantity = u32::try_from(n % 3 + 1).expect("small");
    (shop, shops[shop].order(SKUS[n % SKUS.len()], quantity, method))
}

/// Places one order as a storefront would: under the same key at the next server until there is a response.
async fn place(n: usize, shops: &[TestMerchant], bases: &[String]) -> (usize, String) {
    let (shop, body) = wanted(n, shops);
    for attempt in 0..40 {
        let client = shops[shop].client.at(&bases[(n + attempt) % bases.len()]);
        match client.place(&format!("order-{n}"), &body).await {
            Ok((StatusCode::ACCEPTED, order)) => {
                return (shop, order["id"].as_str().expect("an id").to_owned());
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _)) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok((status, body)) => panic!("order {n}: {status} {body}"),
        }
    }
    panic!("order {n} is accepted nowhere")
}

async fn place_all(
    range: std::ops::Range<usize>,
    shops: &[TestMerchant],
    bases: &[String],
) -> Vec<(usize, String)> {
    use futures::StreamExt;
    let placing = futures::stream::iter(range.map(|n| place(n, shops, bases)));
    placing.buffer_unordered(CALLERS).collect().await
}

/// Waits until no order of a shop is open; returns all of them.
async fn drained(client: &Client) -> Vec<Value> {
    let deadline = Instant::now() + DRAIN_MAX;
    for status in ["pending", "paid"] {
        let open = format!("/v1/orders?limit=1&status={status}");
        while let Some(order) = client.get_list(&open).await.pop() {
            assert!(Instant::now() < deadline, "orders stay {status}: {order}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    client.all("/v1/orders").await
}

/// I4, at the mail sink: as many mails as orders. The sink is a folder, so this polls.
async fn mailed(shop: &TestMerchant, wanted: usize) {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        let mails: HashSet<String> = shop.mails().into_iter().collect();
        if mails.len() == wanted {
            return;
        }
        assert!(mails.len() < wanted && Instant::now() < deadline, "{} mails, {wanted} orders", mails.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_orders_over_all_servers_while_processes_die_and_are_replaced() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (first, first_base) = stage.api(&[]).await;
    let (second, second_base) = stage.api(&[]).await;
    let bases = [first_base, second_base];
    let worker = || stage.role(&["worker", "--queues", "payments=12,fulfilment=6,email=6,webhooks=12"]);
    let (relay, scheduler) = (stage.role(&["relay"]), stage.role(&["scheduler"]));
    let mut workers = vec![worker(), worker(), worker()];
    let mut shops = Vec::new();
    for _ in 0..SHOPS {
        shops.push(TestMerchant::open(&stage, &bases[0], &SKUS, STOCK).await);
    }

    let mut accepted = place_all(0..ORDERS / 4, &shops, &bases).await;
    // A worker and the relay are killed while they are busy.
    let (placed, (relay, replacement)) =
        tokio::join!(place_all(ORDERS / 4..ORDERS / 2, &shops, &bases), async {
            workers.remove(0).kill().await;
            relay.kill().await;
            (stage.role(&["relay"]), worker())
        });
    accepted.extend(placed);
    workers.push(replacement);
    // A rolling restart: each process is stopped and replaced while orders arrive.
    let (placed, (second, workers)) = tokio::join!(
        place_all(ORDERS / 2..ORDERS, &shops, &bases),
        restart(&stage, second, &bases[1], workers)
    );
    accepted.extend(placed);

    audit_all(&stage, &shops, &bases[0], &accepted).await;
    for role in workers.into_iter().chain([relay, scheduler, first, second]) {
        role.stop().await;
    }
    let log = stage.log();
    assert!(!log.contains(shops[0].key.as_str()), "no key in the log");
    stage.close().await;
}

async fn restart(stage: &TestServers, api: Role, base: &str, workers: Vec<Role>) -> (Role, Vec<Role>) {
    api.stop().await;
    let address = base.trim_start_matches("http://");
    let api = stage.role(&["api", "--listen", address]);
    let mut fresh = Vec::new();
    for worker in workers {
        worker.stop().await;
        fresh.push(stage.role(&["worker"]));
    }
    (api, fresh)
}

async fn audit_all(stage: &TestServers, shops: &[TestMerchant], base: &str, accepted: &[(usize, String)]) {
    let known: HashSet<&str> = accepted.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(known.len(), ORDERS, "each key one order");
    // I1, before anything is compared: an order that is still open may yet be charged.
    let mut by_shop = Vec::new();
    for shop in shops {
        by_shop.push(drained(&shop.client.at(base)).await);
    }
    for (index, (shop, orders)) in shops.iter().zip(&by_shop).enumerate() {
        let client = shop.client.at(base);
        // I6: a merchant sees all of its own orders and no others.
        let mine: HashSet<&str> =
            accepted.iter().filter(|(of, _)| *of == index).map(|(_, id)| id.as_str()).collect();
        let ids: HashSet<&str> = orders.iter().map(|order| order["id"].as_str().expect("an id")).collect();
        assert_eq!(ids, mine);
        audit::stock(orders, &client, &SKUS, STOCK).await;
        audit::webhooks(orders, &client, &shop.receiver).await;
        mailed(shop, orders.len()).await;
    }
    // I1 to I5 in the stores and at the provider, for all these orders.
    let summary = audit::right(async || stage.verify(&audit::FULL).await).await;
    assert_eq!((&summary["orders"], &summary["payments"]), (&ORDERS.into(), &ORDERS.into()), "{summary}");
    let sold = by_shop.iter().flatten().filter(|order| order["status"] == "fulfilled").count();
    assert_eq!(summary["ledger"], sold, "each was charged once, and no other");
    let (status, _) = shops[1]
        .client
        .at(base)
        .send(
            reqwest::Method::GET,
            &format!("/v1/orders/{}", accepted.iter().find(|(of, _)| *of == 0).expect("one").1),
            None,
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "another merchant's order is not there");
}
