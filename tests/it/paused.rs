//! Workers that are paused during a charge (SIGSTOP), lose the job to another worker, and resume: the epoch of their
//! state has passed, and they write nothing with it.
//!
//! The broker takes the job from a paused worker by itself: without a heartbeat (every 10 s unless the address says
//! otherwise, as it does here) it closes the connection after two to three intervals, and redelivers unacknowledged
//! messages to another consumer. With the queue in a file there is no other worker, as a second process over one folder
//! is rejected. There the test takes the job from the paused process, which gets it again and runs it after the run
//! that it still holds.

use std::time::Duration;

use base::Ambient;
use jobs::sqlite::SqliteEngine;
use reqwest::StatusCode;
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::{
    OrderStore, PaymentStore,
    domain::{Order, OrderId, OrderStatus, Payment, PaymentId},
};
use store_sqlite::SqlitePayments;

use crate::util::{Dev, PATIENCE, TestMerchant, TestServers, alone, audit};

/// Polls stored state, whose changes are not announced.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} does not happen"));
}

async fn placed(shop: &TestMerchant, key: &str, method: &str) -> OrderId {
    let (status, order) = shop.client.place(key, &shop.order("CUP", 1, method)).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{order}");
    order["id"].as_str().expect("an id").parse().expect("an order id")
}

async fn payment(payments: &dyn PaymentStore, order: OrderId) -> Option<Payment> {
    payments.payment(PaymentId::of_order(order)).await.expect("reads")
}

async fn epoch(payments: &dyn PaymentStore, order: OrderId) -> u64 {
    payment(payments, order).await.map_or(0, |payment| payment.epoch)
}

/// Number of ledger entries for an order.
async fn charges(ledger: &str, order: OrderId) -> usize {
    let entries = audit::ledger(ledger).await;
    entries.iter().filter(|entry| entry["order_id"] == order.to_string()).count()
}

async fn order(orders: &dyn OrderStore, id: OrderId) -> Order {
    orders.order_by_id(id).await.expect("reads").expect("is there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_after_another_has_its_job_writes_nothing() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (api, base) = stage.api(&[]).await;
    let relay = stage.role(&["relay"]);
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 100).await;
    let (orders, payments) = (stage.orders().await, stage.payments().await);

    // The sandbox answers a charge by this method after two seconds: time to pause the worker that sent it.
    let broker = format!("{}?heartbeat=3", stage.setting("RABBITMQ_URL"));
    let worker = || stage.role_with(&[("ORDERWORKS_RABBITMQ_URL", &broker)], &["worker"]);
    let first = worker();
    let id = placed(&shop, "slow", "pm_sandbox_slow").await;
    until("the first charge", async || epoch(&payments, id).await == 1).await;
    first.pause().await;
    let second = worker();
    until("the second charge", async || epoch(&payments, id).await == 2).await;
    second.pause().await;

    // The first worker resumes: it learns the result of its charge, but may not record it.
    let before = (payment(&payments, id).await, order(&orders, id).await);
    assert_eq!(before.0.as_ref().and_then(|payment| payment.decision.clone()), None);
    first.wake().await;
    until("the fence", async || stage.log().contains("fenced off by a newer attempt")).await;
    let after = (payment(&payments, id).await, order(&orders, id).await);
    assert_eq!(after, before, "it wrote nothing");

    // The second worker resumes, or its wait times out and the first gets the job again: either completes it, once.
    second.wake().await;
    until("the end", async || order(&orders, id).await.status == OrderStatus::Fulfilled).await;
    let ended = payment(&payments, id).await;
    // Both workers continue, so everything they still held is settled by now.
    for key in ["next", "and-next"] {
        let next = placed(&shop, key, "pm_card_visa").await;
        until("the next order", async || order(&orders, next).await.status == OrderStatus::Fulfilled).await;
    }
    assert_eq!(payment(&payments, id).await, ended, "one decision stands");
    assert_eq!(order(&orders, id).await.event_sequence, 4, "placed, captured, paid, fulfilled; each once");
    assert_eq!(charges(&stage.ledger_url(), id).await, 1);
    let (status, violations, summary) = stage.verify(&audit::FULL).await;
    let about_it = |violation: &&serde_json::Value| violation["ids"]["order"] == id.to_string();
    assert_eq!(violations.iter().filter(about_it).count(), 0, "{status:?} {violations:?} {summary}");
    for role in [first, second, relay, api] {
        role.stop().await;
    }
    stage.close().await;
}

#[tokio::test]
async fn a_process_that_loses_its_lease_asleep_charges_once() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start_with(data.path(), &[("ORDERWORKS_WORKERS_LEASE_SECONDS", "2")]).await;
    let merchant = dev.merchant();
    let payments =
        SqlitePayments::open(&data.path().join("payments.db"), Ambient::system()).await.expect("opens");
    let file = data.path().join("queue.db");
    let queue = SqliteEngine::open(&file, Ambient::system()).await.expect("opens");
    let mut writer = SqliteConnectOptions::new().filename(&file).connect().await.expect("opens");
    let id = merchant.accepted("slow", "pm_sandbox_slow").await.parse().expect("an order id");
    until("the charge", async || epoch(&payments, id).await == 1).await;

    // The write lock is held by the test meanwhile: a process paused with the lock would block every writer.
    writer.execute("BEGIN IMMEDIATE").await.expect("begins");
    dev.pause().await;
    writer.execute("COMMIT").await.expect("ends");
    // Its lease expires only if another process checks it before the renewal; after resuming, it may renew first.
    assert!(queue.recover_orphans().await.expect("writes") > 0, "the charge is taken from it");
    dev.wake().await;

    assert_eq!(merchant.ended(&id.to_string()).await["status"], "fulfilled");
    assert_eq!(charges(&dev.ready.ledger_url, id).await, 1);
    assert_eq!(epoch(&payments, id).await, 1, "the job waited for its run, which had decided the payment");
    assert!(dev.stop().await.success());
}
