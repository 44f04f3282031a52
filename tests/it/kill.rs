//! Crash test: `kill -9` at seeded moments with hundreds of orders in flight; no accepted order is lost, and no
//! customer is charged twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::util::{Client, Dev, Receiver, alone, audit, order, verify};

const ORDERS: usize = 500;
const KILLS: u32 = 24;
const SKUS: [&str; 3] = ["CUP-ENAMEL", "PEN-BRASS", "TEE-BLACK-M"];
const STOCK: i64 = 100_000;

/// The storefront's own records: key → body, and the id once accepted.
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

    /// Posts all orders not known to be accepted, concurrently, until done or the server is gone.
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
                    // Without a response the order may or may not exist. The same key tells after the restart.
                    Err(_) => return,
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_order_ends_once_whatever_dies() {
    let _alone = alone().await;
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
    let summary = audit::right(async || verify(data.path(), &[], &audit::FULL).await).await;
    assert_eq!((&summary["orders"], &summary["payments"]), (&ORDERS.into(), &ORDERS.into()), "{summary}");
    let sold = orders.iter().filter(|order| order["status"] == "fulfilled").count();
    assert_eq!(summary["ledger"], sold, "each was charged once, and no other");
    audit::stock(&orders, &merchant, &SKUS, STOCK).await;
    check_listing(&storefront, &merchant).await;
    audit::webhooks(&orders, &merchant, &receiver).await;
    assert!(dev.stop().await.success());
    check_mails(&orders, data.path());
}

/// Checks that every stored order is known to the storefront.
async fn check_listing(storefront: &Storefront, merchant: &Client) {
    let listed: BTreeSet<_> = merchant
        .all("/v1/orders")
        .await
        .iter()
        .map(|o| o["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(listed, storefront.accepted.values().cloned().collect::<BTreeSet<_>>());
}

/// I4, in the mail folder: one file per order. `verify` has checked that each mail is recorded once.
fn check_mails(orders: &[Value], data: &Path) {
    let files = std::fs::read_dir(data.join("mail")).expect("a mail folder");
    let mails = files.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "eml")));
    assert_eq!(mails.count(), orders.len());
}
