//! PostgreSQL through other paths: writes through a pooler in transaction mode, reads from a replica.

use std::{env, time::Duration};

use base::postgres::PostgresConfig;
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;
use store::catalog::Catalog;
use tokio::time::{Instant, sleep};

use crate::util::{PATIENCE, TestMerchant, TestServers, alone, audit};

const ORDERS: usize = 40;
const STOCK: i64 = 1_000;

/// The deployment's database through the server in this variable; `None`, with the reason printed, if it is not set.
fn by(stage: &TestServers, variable: &str) -> Option<String> {
    let Ok(server) = env::var(variable) else {
        base::testing::skip(&format!("{variable} is not set"));
        return None;
    };
    let url = stage.database.url();
    let (_, database) = url.expose_secret().rsplit_once('/').expect("an address with a database");
    Some(format!("{}/{database}", server.rsplit_once('/')?.0))
}

/// Number of other sessions in the database of this address.
async fn sessions(url: &str) -> usize {
    let database = base::postgres::connect(&PostgresConfig::new(url.to_owned().into(), "looks")).await;
    let database = database.expect("connects");
    let sql = "SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut session = database.session().await.expect("connects");
    database.query(sql).fetch_all(&mut *session).await.expect("reads").len()
}

/// Polls the API until all orders of a shop are fulfilled.
async fn fulfilled(shop: &TestMerchant) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let orders = shop.client.all("/v1/orders").await;
        if orders.iter().filter(|order| order["status"] == "fulfilled").count() == ORDERS {
            return orders;
        }
        assert!(Instant::now() < deadline, "not all of {ORDERS} orders were fulfilled: {orders:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_through_a_pooler_and_looked_at_on_a_replica() {
    if env::var("ORDERWORKS_TEST_PGBOUNCER_URL").is_err() {
        base::testing::skip("ORDERWORKS_TEST_PGBOUNCER_URL is not set; see `ops/services up --pgbouncer`");
        return;
    }
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let pooled = by(&stage, "ORDERWORKS_TEST_PGBOUNCER_URL").expect("it is set");
    let replica = by(&stage, "ORDERWORKS_TEST_POSTGRES_REPLICA_URL");
    let replicas = replica.as_ref().map_or_else(|| "[]".to_owned(), |url| format!("[{url:?}]"));
    let direct = stage.database.url();
    let settings = [
        ("ORDERWORKS_POSTGRES_URL", pooled.as_str()),
        ("ORDERWORKS_POSTGRES_DIRECT_URL", direct.expose_secret()),
        ("ORDERWORKS_POSTGRES_PGBOUNCER", "true"),
        ("ORDERWORKS_POSTGRES_REPLICA_URLS", replicas.as_str()),
    ];
    let (api, base) = stage.api(&settings).await;
    let others = [&["worker"][..], &["relay"], &["scheduler"]].map(|role| stage.role_with(&settings, role));
    let shop = TestMerchant::open(&stage, &base, &["CUP"], STOCK).await;
    for n in 0..ORDERS {
        let order = shop.order("CUP", 1, "pm_card_visa");
        let (status, body) = shop.client.place(&format!("order-{n}"), &order).await.expect("answers");
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        // At once, on every path: a replica cannot have the order yet.
        let path = format!("/v1/orders/{}", body["id"].as_str().expect("an id"));
        assert_eq!(shop.client.get(&path).await["id"], body["id"]);
    }
    assert_eq!(fulfilled(&shop).await.len(), ORDERS);
    audit::right(async || stage.verify(&audit::FULL).await).await;
    let cup = stage.orders().await.product(shop.merchant, "CUP").await.expect("reads").expect("is there");
    let sold = i64::try_from(ORDERS).expect("small");
    assert_eq!((cup.on_hand, cup.reserved), (STOCK - sold, 0));
    if let Some(replica) = replica {
        assert!(sessions(&replica).await >= 2, "the API's look at the replica, and its reads");
    }
    assert!(!stage.log().contains(direct.expose_secret()), "no address in the log");
    for role in others.into_iter().chain([api]) {
        role.stop().await;
    }
    stage.close().await;
}
