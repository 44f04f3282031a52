//! Migration of a merchant to another shard while its customers order, by the operator's command.

use std::time::Duration;

use base::{postgres::PostgresConfig, testing::scratch::Scratch};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use store::domain::MerchantId;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::util::{TestMerchant, TestServers, alone, audit};

const STOCK: i64 = 100_000;
/// Longest time from the last order to the end of all; jobs that met the fence are postponed for some seconds.
const DRAIN_MAX: Duration = Duration::from_mins(2);

/// Places orders, one after another, until told to stop; retries a 503 under the same key. Returns the ids.
async fn order(shop: &TestMerchant, prefix: &str, stop: watch::Receiver<bool>) -> Vec<String> {
    let mut ids = Vec::new();
    while !*stop.borrow() {
        let (key, body) = (format!("{prefix}-{}", ids.len()), shop.order("CUP", 1, "pm_card_visa"));
        let id = loop {
            match shop.client.place(&key, &body).await.expect("answers") {
                (StatusCode::ACCEPTED, order) => break order["id"].as_str().expect("an id").to_owned(),
                (StatusCode::SERVICE_UNAVAILABLE, _) => sleep(Duration::from_millis(100)).await,
                (status, body) => panic!("{status} {body}"),
            }
        };
        // Reads work at all times.
        assert_eq!(shop.client.get(&format!("/v1/orders/{id}")).await["id"], id.as_str());
        ids.push(id);
        // The pace of a shop: an outbox without any pause is not tested here.
        sleep(Duration::from_millis(20)).await;
    }
    ids
}

async fn fulfilled(shop: &TestMerchant, wanted: usize) -> Vec<Value> {
    let deadline = Instant::now() + DRAIN_MAX;
    loop {
        let orders = shop.client.all("/v1/orders").await;
        if orders.iter().filter(|order| order["status"] == "fulfilled").count() == wanted {
            return orders;
        }
        assert!(Instant::now() < deadline, "not all of {wanted} orders were fulfilled: {orders:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Number of orders and messages of a merchant in a database.
async fn rows(url: SecretString, merchant: MerchantId) -> usize {
    let database = base::postgres::connect(&PostgresConfig::new(url, "looks")).await.expect("connects");
    let sql =
        "SELECT 1 FROM orders WHERE merchant_id = $1 UNION ALL SELECT 1 FROM outbox WHERE merchant_id = $1
        UNION ALL SELECT 1 FROM merchants WHERE id = $1";
    let mut session = database.session().await.expect("connects");
    database.query(sql).bind(merchant.0).fetch_all(&mut *session).await.expect("reads").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merchant_moves_to_another_shard_while_it_sells() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    // The existing database becomes the first of two shards.
    let second = Scratch::create().await;
    let (a, b) = (stage.database.url(), second.url());
    let urls = format!("{{ a = {:?}, b = {:?} }}", a.expose_secret(), b.expose_secret());
    let settings = [("ORDERWORKS_SHARDS_URLS", urls.as_str())];
    let said = stage.command(&settings, &["migrate"]).await;
    assert!(said.contains("shard a") && said.contains("shard b"), "{said}");
    let (api, base) = stage.api(&settings).await;
    let others = [&["worker"][..], &["relay"], &["scheduler"]].map(|role| stage.role_with(&settings, role));
    let (moving, staying) = (
        TestMerchant::open(&stage, &base, &["CUP"], STOCK).await,
        TestMerchant::open(&stage, &base, &["CUP"], STOCK).await,
    );

    let (stop, stopped) = watch::channel(false);
    let merchant = moving.merchant.to_string();
    let args = ["--json", "control", "move-merchant", &merchant, "--to", "b"];
    let (sold, sold_by_other, report) =
        tokio::join!(order(&moving, "moving", stopped.clone()), order(&staying, "staying", stopped), async {
            sleep(Duration::from_secs(1)).await;
            let preview: Value =
                serde_json::from_str(&stage.command(&settings, &[&args[..], &["--dry-run"]].concat()).await)
                    .expect("is JSON");
            assert_eq!((&preview["from"], &preview["next"]), (&"a".into(), &"copy".into()), "{preview}");
            let report = timeout(DRAIN_MAX, stage.command(&settings, &args)).await.expect("moves in time");
            sleep(Duration::from_secs(1)).await;
            stop.send_replace(true);
            serde_json::from_str::<Value>(&report).expect("is JSON")
        });

    let orders = fulfilled(&moving, sold.len()).await;
    let kept = fulfilled(&staying, sold_by_other.len()).await;
    assert_eq!((&report["from"], &report["to"]), (&"a".into(), &"b".into()), "{report}");
    let tables = report["tables"].as_array().expect("a list");
    assert!(
        tables.iter().any(|table| table["table"] == "orders" && table["rows"].as_u64() > Some(0)),
        "{report}"
    );
    assert_eq!(rows(a, moving.merchant).await, 0, "nothing is left on the old shard");
    assert!(rows(b.clone(), moving.merchant).await > 0);
    assert_eq!(rows(b, staying.merchant).await, 0, "the other stayed");
    // I1 to I5 over both shards, at the provider and in the queue.
    let summary = audit::right(async || stage.verify_with(&settings, &audit::FULL).await).await;
    assert_eq!(summary["orders"], orders.len() + kept.len(), "{summary}");
    for (shop, orders) in [(&moving, &orders), (&staying, &kept)] {
        audit::stock(orders, &shop.client, &["CUP"], STOCK).await;
        audit::webhooks(orders, &shop.client, &shop.receiver).await;
    }
    let again = stage.command(&settings, &args[1..]).await;
    assert!(again.contains("lives on b already"), "{again}");
    for role in others.into_iter().chain([api]) {
        role.stop().await;
    }
    stage.close().await;
}
