//! `kill -9` at seeded moments with hundreds of orders under way: nothing accepted is lost, nobody is charged twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::Duration,
};

use base::Ambient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::{
    domain::{EventId, OrderId},
    orders::Mails,
    sqlite::SqliteOrders,
};

use crate::util::{Client, Dev, Receiver, order};

const ORDERS: usize = 500;
const KILLS: u32 = 24;
const SKUS: [&str; 3] = ["CUP-ENAMEL", "PEN-BRASS", "TEE-BLACK-M"];
const STOCK: i64 = 100_000;

/// What the storefront remembers: key → body, and the id once accepted.
struct Storefront {
    wanted: BTreeMap<String, Value>,
    accepted: HashMap<String, String>,
}

impl Storefront {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let methods =
            ["pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_sandbox_flaky"];
        let wanted = (0..ORDERS).map(|n| {
            let sku = SKUS[rng.usize(..SKUS.len())];
            (format!("kill-{n}"), order(sku, rng.u32(1..=3), methods[rng.usize(..methods.len())]))
        });
        Self { wanted: wanted.collect(), accepted: HashMap::new() }
    }

    /// Posts everything not yet known to be accepted, many at once, until done or the server is gone.
    async fn post_rest(&mut self, client: &Client) {
        let rest: Vec<_> = self.wanted.iter().filter(|(key, _)| !self.accepted.contains_key(*key)).collect();
        for chunk in rest.chunks(32) {
            let answers = chunk.iter().map(async |(key, body)| (*key, client.place(key, body).await));
            for (key, answer) in futures::future::join_all(answers).await {
                match answer {
                    Ok((StatusCode::ACCEPTED, order)) => {
                        let id = order["id"].as_str().expect("an id").to_owned();
                        self.accepted.insert(key.clone(), id);
                    }
                    Ok((status, body)) => panic!("{key}: {status} {body}"),
                    // No answer: the order may or may not stand. The same key will tell after the restart.
                    Err(_) => return,
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_order_ends_once_whatever_dies() {
    let seed = 0x5eed_0001;
    let mut rng = fastrand::Rng::with_seed(seed);
    let data = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut storefront = Storefront::new(&mut rng);
    let mut endpoint_made = false;

    for _ in 0..KILLS {
        let dev = Dev::start(data.path()).await;
        let merchant = dev.merchant();
        if !endpoint_made {
            let wanted = json!({ "url": receiver.url, "events": ["*"] });
            let (status, _) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
            assert_eq!(status, StatusCode::CREATED);
            endpoint_made = true;
        }
        // The moment of death is the feature under test: it comes from the seed, not from an event.
        let life = Duration::from_millis(rng.u64(20..400));
        drop(tokio::time::timeout(life, storefront.post_rest(&merchant)).await);
        tokio::time::sleep(Duration::from_millis(rng.u64(0..120))).await;
        dev.kill().await;
    }

    let dev = Dev::start(data.path()).await;
    let merchant = dev.merchant();
    storefront.post_rest(&merchant).await;
    assert_eq!(storefront.accepted.len(), ORDERS, "every order is accepted in the end (seed {seed:#x})");
    let mut orders = Vec::new();
    for id in storefront.accepted.values() {
        orders.push(merchant.ended(id).await);
    }
    let ledger = ledger(&dev.ready.ledger_url).await;
    check_money(&orders, &ledger);
    check_stock(&orders, &merchant).await;
    check_listing(&storefront, &merchant).await;
    check_webhooks(&orders, &receiver).await;
    assert!(dev.stop().await.success());
    check_mails(&orders, data.path()).await;
}

async fn ledger(url: &str) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let after = entries.last().map(|last| format!("&after={}", last["id"].as_str().expect("an id")));
        let page =
            reqwest::get(format!("{url}?limit=100{}", after.unwrap_or_default())).await.expect("answers");
        let page: Value = page.json().await.expect("is JSON");
        entries.extend(page["data"].as_array().expect("a list").iter().cloned());
        if page["has_more"] != true {
            return entries;
        }
    }
}

/// I2: one capture per fulfilled order, of its total; none for the others.
fn check_money(orders: &[Value], ledger: &[Value]) {
    let mut captured: HashMap<&str, Vec<i64>> = HashMap::new();
    for entry in ledger {
        let order = entry["order_id"].as_str().expect("an order");
        captured.entry(order).or_default().push(entry["amount_minor"].as_i64().expect("an amount"));
    }
    for order in orders {
        let charges = captured.remove(order["id"].as_str().expect("an id")).unwrap_or_default();
        match order["status"].as_str() {
            Some("fulfilled") => {
                assert_eq!(charges, [order["total_minor"].as_i64().expect("a total")], "{order}");
            }
            Some("payment_failed") => assert!(charges.is_empty(), "{order}"),
            _ => panic!("not an end of this test: {order}"),
        }
    }
    assert!(captured.is_empty(), "charges without an order: {captured:?}");
}

/// I3: what left the house is what was fulfilled, and nothing stays reserved.
async fn check_stock(orders: &[Value], merchant: &Client) {
    for sku in SKUS {
        let fulfilled = orders.iter().filter(|o| o["status"] == "fulfilled");
        let items =
            fulfilled.flat_map(|o| o["items"].as_array().expect("a list")).filter(|item| item["sku"] == sku);
        let sold: i64 = items.map(|item| item["quantity"].as_i64().expect("a number")).sum();
        let inventory = merchant.get(&format!("/v1/inventory/{sku}")).await;
        assert_eq!(inventory["on_hand"], STOCK - sold, "{inventory}");
        assert_eq!(inventory["reserved"], 0, "{inventory}");
    }
}

/// No order stands that the storefront does not know.
async fn check_listing(storefront: &Storefront, merchant: &Client) {
    let listed: BTreeSet<_> = merchant
        .all("/v1/orders")
        .await
        .iter()
        .map(|o| o["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(listed, storefront.accepted.values().cloned().collect::<BTreeSet<_>>());
}

/// I5: every event of every order reached the endpoint, in sequences without gaps.
async fn check_webhooks(orders: &[Value], receiver: &Receiver) {
    let sequences = |taken: &[(http::HeaderMap, bytes::Bytes)]| {
        let mut seen: HashMap<String, BTreeMap<u64, EventId>> = HashMap::new();
        for (_, body) in taken {
            let event: Value = serde_json::from_slice(body).expect("is JSON");
            let data = &event["data"];
            let Some(order) = [&data["order_id"], &data["id"]].into_iter().find_map(Value::as_str) else {
                continue;
            };
            let id = event["id"].as_str().expect("an id").parse().expect("an event id");
            let sequence = event["sequence"].as_u64().expect("a number");
            let before = seen.entry(order.to_owned()).or_default().insert(sequence, id);
            assert!(before.is_none_or(|before| before == id), "two events share a sequence: {event}");
        }
        seen
    };
    let expected = |order: &Value| if order["status"] == "fulfilled" { 4 } else { 2 };
    let complete = |seen: &HashMap<String, BTreeMap<u64, EventId>>| {
        orders.iter().all(|o| {
            let of_order = seen.get(o["id"].as_str().expect("an id"));
            of_order.is_some_and(|s| s.keys().copied().eq(1..=expected(o)))
        })
    };
    receiver.until(|taken| complete(&sequences(taken))).await;
}

/// I4: one mail per order, recorded once, one file each.
async fn check_mails(orders: &[Value], data: &Path) {
    let store = SqliteOrders::open(&data.join("orders.db"), Ambient::system()).await.expect("opens");
    for order in orders {
        let id: OrderId = order["id"].as_str().expect("an id").parse().expect("an order id");
        assert_eq!(store.mails(id).await.expect("reads").len(), 1, "{order}");
    }
    let files = std::fs::read_dir(data.join("mail")).expect("a mail folder");
    let mails = files.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "eml")));
    assert_eq!(mails.count(), orders.len());
}
