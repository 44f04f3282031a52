//! Whole flow: an order is placed, and relay and workers do the rest.

use std::{collections::BTreeSet, sync::Arc};

use jobs::{
    Engine, Envelope,
    engine::{DeadReason, JobFilter, JobState},
    envelope::EnqueueOptions,
    worker::Workers,
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::domain::{Order, OrderStatus};
use tokio_util::sync::CancellationToken;
use workers::{jobs::FulfilOrder, queues::QUEUES, registry::registry, relay::Relay};

use crate::util::{Receiver, TestMerchant, soon, until};

struct Running {
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
    engine: Arc<dyn Engine>,
}

impl Running {
    async fn start(shop: &TestMerchant) -> Self {
        let engine: Arc<dyn Engine> = shop.engine().await;
        let registry = Arc::new(registry().expect("distinct kinds"));
        let mut workers = Workers::new(engine.clone(), registry, shop.env(), shop.ambient.clone());
        for (queue, concurrency) in QUEUES {
            workers = workers.queue(queue, concurrency);
        }
        let relay = Relay::new(Arc::clone(&shop.orders), engine.clone(), shop.ambient.clone(), "relay");
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        let (first, second) = (stop.clone(), stop.clone());
        tasks.spawn(async move { relay.run(first).await });
        tasks.spawn(async move { workers.run(second).await.expect("runs") });
        Self { stop, tasks, engine }
    }

    async fn halt(&mut self) {
        self.stop.cancel();
        while let Some(ended) = soon("stopping", self.tasks.join_next()).await {
            ended.expect("no task panics");
        }
    }

    async fn stop(mut self) {
        self.halt().await;
        for (queue, _) in QUEUES {
            assert_eq!(self.engine.depth(queue).await.expect("reads").dead, 0, "{queue}");
        }
    }
}

async fn settled(shop: &TestMerchant, orders: &[Order], status: OrderStatus, mail: &str) {
    for order in orders {
        until("the end of an order", || async {
            let mails = shop.orders.mails(order.id.into()).await.expect("reads");
            shop.status(order.id).await == status && mails.iter().any(|sent| sent.template == mail)
        })
        .await;
    }
}

#[tokio::test]
async fn orders_are_charged_shipped_mailed_and_published_in_full() {
    let shop = TestMerchant::open().await;
    let mut receiver = Receiver::start().await;
    shop.endpoint(&receiver.url).await;
    let running = Running::start(&shop).await;
    let methods = ["pm_card_visa", "pm_sandbox_flaky", "pm_sandbox_slow", "pm_card_visa"];
    let good = futures::future::join_all(methods.map(|method| shop.place(method))).await;
    let declined = [shop.place("pm_card_chargeDeclined").await];
    settled(&shop, &good, OrderStatus::Fulfilled, "order_confirmation").await;
    settled(&shop, &declined, OrderStatus::PaymentFailed, "payment_failed").await;

    for order in good.iter().chain(&declined) {
        assert_eq!(shop.orders.mails(order.id.into()).await.expect("reads").len(), 1, "one mail per order");
    }
    let summary = shop.ledger_summary().await;
    assert_eq!((summary.charges, summary.orders_charged, summary.orders_charged_more_than_once), (4, 4, 0));

    // Every event of every order reaches the receiver; catalog events come in between.
    let mut wanted = BTreeSet::new();
    for order in good.iter().chain(&declined) {
        let events = shop.orders.order_events(order.id, 0).await.expect("reads");
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=u64::try_from(events.len()).expect("fits")).collect::<Vec<_>>());
        wanted.extend(events.iter().map(|event| event.id.to_string()));
    }
    while !wanted.is_empty() {
        wanted.remove(receiver.next().await.header("webhook-id"));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_refund_asked_for_is_done_and_mailed() {
    let shop = TestMerchant::open().await;
    let running = Running::start(&shop).await;
    let order = shop.place("pm_card_visa").await;
    let orders = [order];
    settled(&shop, &orders, OrderStatus::Fulfilled, "order_confirmation").await;
    shop.ask_refund(orders[0].id, None).await;
    settled(&shop, &orders, OrderStatus::Refunded, "order_refunded").await;
    assert_eq!(shop.ledger(orders[0].id).await.len(), 2);
    running.stop().await;
}

/// A column that the release before this one called otherwise: its jobs fail for good, and say why.
#[tokio::test]
async fn a_schema_that_does_not_fit_ends_in_a_dead_letter_that_names_its_cause() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let mut running = Running::start(&shop).await;
    let file = SqliteConnectOptions::new().filename(shop.folder.path().join("orders.db"));
    let mut other = file.connect().await.expect("a second connection");
    other.execute("ALTER TABLE orders RENAME COLUMN total_minor TO total").await.expect("renames");
    let job = FulfilOrder { order: order.id };
    let envelope = Envelope::new(&job, EnqueueOptions::default(), &shop.ambient).expect("an envelope");
    let last = Envelope { max_attempts: 2, ..envelope };
    running.engine.publish(vec![last.clone()]).await.expect("publishes");
    let dead = JobFilter { state: Some(JobState::Dead), limit: 10, ..JobFilter::default() };
    let found = || async { running.engine.list(&dead).await.expect("lists") };
    until("a dead letter", || async { found().await.iter().any(|job| job.envelope.id == last.id) }).await;
    let job = found().await.into_iter().find(|job| job.envelope.id == last.id).expect("is dead");
    assert_eq!(job.dead.expect("a reason").reason, DeadReason::Exhausted);
    let error = job.last_error.expect("a cause");
    assert!(error.contains("order store does not work") && error.contains("total_minor"), "{error}");
    running.halt().await;
}
