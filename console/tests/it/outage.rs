//! An order store that is away, PostgreSQL behind a line that is cut: its orders are missing, all else is shown and
//! sampled.

use std::sync::Arc;

use base::testing::{
    scratch::{self, Scratch},
    skip, until,
};
use console::access::Role;
use http::StatusCode;
use jobs::CancellationToken;
use serde_json::Value;
use store_postgres::PostgresOrders;

use crate::util::Deployment;

const TOLD: &str = "The order store does not answer";

impl Deployment {
    async fn json(&self, path: &str) -> Value {
        let reply = self.get(Role::Viewer, &format!("/api/v1{path}")).await;
        serde_json::from_str(&reply.body).expect("is JSON")
    }
}

#[tokio::test]
async fn queues_workers_and_charts_are_shown_while_the_order_store_is_away() {
    if let Some(why) = scratch::skipped() {
        skip(&why);
        return;
    }
    let (shop, database) = (Deployment::open().await, Scratch::create().await);
    let ambient = shop.parts.ambient.clone();
    PostgresOrders::migrate(&database.config(), ambient.clone()).await.expect("migrates");
    let (line, config) = database.behind_proxy().await;
    let orders = PostgresOrders::connect(&config, ambient).await.expect("connects");
    let shop = shop.altered(|parts| parts.orders = Arc::new(orders));

    line.sever();
    for path in ["/", "/queues", "/queues/email", "/workers", "/jobs"] {
        let reply = shop.get(Role::Viewer, path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
    }
    let (page, told) = (shop.get(Role::Viewer, "/").await.body, shop.json("/overview").await);
    assert!(page.contains(TOLD) && page.contains("not known"), "{page}");
    assert_eq!((told.get("outbox"), &told["queues"][0]["queue"]), (Some(&Value::Null), &"email".into()));
    let order = shop.get(Role::Viewer, &format!("/orders/{}", shop.order)).await;
    assert_eq!(order.status, StatusCode::SERVICE_UNAVAILABLE, "{}", order.body);

    let stop = CancellationToken::new();
    let kept = shop.keep_history(stop.clone());
    let is_sampled = async || {
        let queue = shop.json("/queues/email").await;
        queue["history"].as_array().is_some_and(|samples| !samples.is_empty())
    };
    until("the queue is sampled without the order store", is_sampled).await;
    stop.cancel();
    kept.await.expect("ends");

    line.restore();
    let is_back = async || {
        let page = shop.get(Role::Viewer, "/").await.body;
        !page.contains(TOLD) && page.contains("Messages set aside")
    };
    until("the outbox is shown again", is_back).await;
}
