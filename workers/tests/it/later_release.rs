//! Rows as a later release writes them, read by this one: after a roll-back, or while both releases run.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use jobs::{Engine, JobError, JobId, engine::JobFilter};
use store::{
    domain::{EndpointId, EventId, MerchantId, Order, OrderId},
    outbox::Command,
    webhooks::{EndpointChange, Subscription},
};
use tokio_util::sync::CancellationToken;
use workers::{jobs::DeliverWebhook, relay::RelayHealth, subscriptions::job_id};

use crate::{
    relay::relay,
    util::{Receiver, TestMerchant, soon},
};

async fn report(shop: &TestMerchant, order: OrderId) -> EventId {
    let id = EventId::derived(order.0, "stripe:evt_1");
    let command = Command::ProviderReport { order, reference: "pi_1".to_owned() };
    shop.orders.submit(id, command, shop.ambient.now()).await.expect("submits");
    id
}

async fn held(engine: &dyn Engine) -> Vec<JobId> {
    let filter = JobFilter { limit: 1000, ..JobFilter::default() };
    engine.list(&filter).await.expect("lists").into_iter().map(|job| job.envelope.id).collect()
}

/// Runs a relay until its health is as wanted; returns it.
async fn relay_until(
    shop: &TestMerchant,
    engine: Arc<dyn Engine>,
    wanted: impl FnMut(&RelayHealth) -> bool,
) -> RelayHealth {
    let relay = relay(shop, engine);
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let check = async {
        let reached = soon("the relay's work", health.wait_for(wanted)).await.expect("runs").clone();
        stop.cancel();
        reached
    };
    tokio::join!(relay.run(stop.clone()), check).1
}

async fn first_event(shop: &TestMerchant, order: &Order) -> EventId {
    shop.orders.order_events(order.id, 0).await.expect("reads")[0].id
}

#[tokio::test]
async fn a_message_of_a_later_release_holds_up_its_subject_until_a_relay_reads_it() {
    let start = Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
    let (ambient, clock) = Ambient::steered(3, start);
    let shop = TestMerchant::open_with(ambient).await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    let [first, second, third] = [
        shop.place("pm_card_visa").await,
        shop.place("pm_card_visa").await,
        shop.place("pm_card_visa").await,
    ];
    let mut charges = Vec::new();
    for order in [&first, &second, &third] {
        charges.push(job_id(first_event(&shop, order).await.0, "charge_payment", ""));
    }
    shop.orders.cancel(shop.merchant, first.id, "changed_mind", shop.ambient.now()).await.expect("cancels");
    let after = report(&shop, first.id).await;
    let of_first = format!("order_id = '{}' AND sequence = 2", first.id);
    shop.plant("orders.db", &format!("UPDATE outbox SET kind = 'order.held' WHERE {of_first}")).await;
    let command = report(&shop, second.id).await;
    let sql = format!(r#"UPDATE outbox SET data = '{{"command":"release_hold"}}' WHERE id = '{command}'"#);
    shop.plant("orders.db", &sql).await;

    let relay = relay(&shop, engine.clone());
    let mut health = relay.health.subscribe();
    let stop = CancellationToken::new();
    let check = async {
        soon("setting aside", health.wait_for(|health| health.set_aside == 2)).await.expect("runs");
        assert_eq!(health.borrow().trouble, None);
        let mut found = held(engine.as_ref()).await;
        found.sort_unstable();
        charges.sort_unstable();
        assert_eq!(found, charges, "all that came before, and the other order");
        let backlog = shop.orders.backlog().await.expect("reads");
        assert_eq!((backlog.messages, backlog.set_aside), (3, 2));
        let listed = shop.orders.list_set_aside(10).await.expect("lists");
        let errors: Vec<_> = listed.iter().map(|one| one.error.as_deref().unwrap_or_default()).collect();
        let [kind, unknown] = errors[..] else { panic!("{listed:?}") };
        assert!(kind.contains("order.held") && unknown.contains("release_hold"), "{listed:?}");

        // What the first relay of the later release finds, as far as this one can stand for it.
        shop.plant("orders.db", &format!("UPDATE outbox SET kind = 'order.cancelled' WHERE {of_first}"))
            .await;
        clock.advance(Duration::from_mins(2));
        shop.place("pm_card_visa").await;
        soon("sending", health.wait_for(|health| health.messages_sent == 6)).await.expect("runs");
        let jobs = held(engine.as_ref()).await;
        assert!(jobs.contains(&job_id(after.0, "apply_provider_report", "pi_1")), "the one that waited");
        assert_eq!(shop.orders.backlog().await.expect("reads").set_aside, 1, "the command still is");
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), check);
}

#[tokio::test]
async fn a_subscription_of_a_later_release_is_kept_and_costs_no_event() {
    let shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let (listed, other) = (shop.endpoint(&receiver.url).await, shop.endpoint(&receiver.url).await);
    let plant = async |endpoint: EndpointId, events: &str| {
        let sql = format!("UPDATE webhook_endpoints SET events = '{events}' WHERE id = '{endpoint}'");
        shop.plant("orders.db", &sql).await;
    };
    plant(listed, r#"{"kinds":["order.placed","order.shipped_partially"]}"#).await;
    plant(other, r#"{"prefixes":["order."]}"#).await;
    let order = shop.place("pm_card_visa").await;
    let engine: Arc<dyn Engine> = shop.engine().await;
    relay_until(&shop, engine.clone(), |health| health.jobs_published == 3).await;

    let event = first_event(&shop, &order).await;
    let deliver = |endpoint| DeliverWebhook { endpoint, event, order: Some(order.id), again: false };
    shop.run(&deliver(listed)).await.expect("delivers");
    let error = shop.run(&deliver(other)).await.expect_err("waits for the release that reads it");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");

    let moved = EndpointChange { url: Some(format!("{}/moved", receiver.url)), ..EndpointChange::default() };
    let changed = shop.orders.update_endpoint(shop.merchant, listed, moved).await.expect("updates");
    let kinds = ["order.placed", "order.shipped_partially"].map(str::to_owned).to_vec();
    assert_eq!(changed.expect("is there").events, Subscription::Kinds(kinds), "unknown ones stay");
}

#[tokio::test]
async fn an_endpoint_that_does_not_read_back_holds_up_its_merchant_only() {
    let mut shop = TestMerchant::open().await;
    let receiver = Receiver::start().await;
    let endpoint = shop.endpoint(&receiver.url).await;
    shop.place("pm_card_visa").await;
    let sql = format!("UPDATE webhook_endpoints SET id = 'nonsense' WHERE id = '{endpoint}'");
    shop.plant("orders.db", &sql).await;
    shop.merchant = MerchantId::fresh(&shop.ambient);
    let at = shop.ambient.now();
    shop.orders.ensure_merchant(shop.merchant, "Cups", at).await.expect("a merchant");
    shop.price(1250).await;
    shop.orders.put_inventory(shop.merchant, "mug", 10, at, None).await.expect("stock");
    let order = shop.place("pm_card_visa").await;

    let engine: Arc<dyn Engine> = shop.engine().await;
    let both = |health: &RelayHealth| health.set_aside == 1 && health.jobs_published == 1;
    assert_eq!(relay_until(&shop, engine.clone(), both).await.trouble, None);
    let charge = job_id(first_event(&shop, &order).await.0, "charge_payment", "");
    assert_eq!(held(engine.as_ref()).await, [charge]);
}
