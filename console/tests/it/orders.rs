//! The page of an order: what waits in the outbox, when refunds ended, and what is left out.

use std::time::Duration;

use base::{Ambient, time::later};
use console::access::Role;
use jobs::{
    Envelope,
    envelope::EnqueueOptions,
    records::{AttemptOutcome, AttemptRecord},
};
use store::{
    domain::{PaymentId, RefundId},
    orders::{CaptureFacts, RefundFacts, Transition},
};

use crate::util::{Deployment, Mail, attempt};

/// Jobs of an order that its page asks for by id.
const JOBS_MAX: usize = 20;

impl Deployment {
    /// The page of the order.
    async fn order_page(&self) -> String {
        self.get(Role::Viewer, &format!("/orders/{}", self.order)).await.body
    }
}

#[tokio::test]
async fn messages_that_wait_in_the_outbox_are_told_until_a_relay_has_published_them() {
    let shop = Deployment::open().await;
    let order = shop.parts.orders.order_by_id(shop.order).await.expect("reads").expect("an order");
    let note = |class: &str| format!("<p class=\"note {class}\" role=\"status\">Messages of this order wait");
    let (ambient, clock) = Ambient::steered(1, order.created_at);
    let shop = shop.altered(|parts| parts.ambient = ambient);
    let page = shop.order_page().await;
    assert!(page.contains(&note("info")) && !page.contains(&note("bad")), "just written: {page}");
    clock.advance(Duration::from_mins(1));
    let page = shop.order_page().await;
    assert!(page.contains(&note("bad")) && !page.contains("all messages are published"), "{page}");

    let (orders, now) = (&shop.parts.orders, shop.parts.ambient.now());
    let messages = orders.claim("relay", 100, Duration::from_secs(30), now).await.expect("claims");
    let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
    orders.mark_sent(&positions, now).await.expect("marks");
    let page = shop.order_page().await;
    assert!(!page.contains("wait in the outbox") && page.contains("all messages are published"), "{page}");
}

#[tokio::test]
async fn a_refund_is_told_from_its_request_to_its_end() {
    let shop = Deployment::open().await;
    let (orders, ambient, id) = (&shop.parts.orders, &shop.parts.ambient, shop.order);
    let order = orders.order_by_id(id).await.expect("reads").expect("an order");
    let (payment, refund) = (PaymentId::of_order(id), RefundId::fresh(ambient));
    let provider_reference = "ch_1".to_owned();
    let capture = CaptureFacts { payment, provider_reference, amount_minor: order.total_minor };
    let paid = orders.mark_paid(id, capture, ambient.now()).await.expect("marks");
    assert!(matches!(paid, Transition::Now(_)), "{paid:?}");
    orders.request_refund(order.merchant, id, refund, Some(100), ambient.now()).await.expect("asks");
    let page = shop.order_page().await;
    assert!(page.contains("100 EUR in minor units: requested"), "{page}");
    assert!(!page.contains("recorded as"), "it has not ended: {page}");

    let failure = Some("charge_disputed".to_owned());
    let end = RefundFacts { payment, refund, amount_minor: 100, failure };
    orders.record_refund(id, end, ambient.now()).await.expect("records");
    let page = shop.order_page().await;
    assert!(page.contains("100 EUR in minor units: recorded as failed"), "{page}");
}

#[tokio::test]
async fn jobs_beyond_those_that_are_shown_are_told_with_a_link_to_all() {
    let shop = Deployment::open().await;
    let (ambient, order) = (&shop.parts.ambient, shop.order);
    let due = later(ambient.now(), Duration::from_hours(1));
    let job = || {
        let mail = Mail { text: "a retry".to_owned(), order: Some(order) };
        let options = EnqueueOptions { run_at: Some(due), ..EnqueueOptions::default() };
        Envelope::new(&mail, options, ambient).expect("an envelope")
    };
    let more = format!("/jobs?q={order}");
    // Beside the dead one.
    let jobs: Vec<Envelope> = (0..JOBS_MAX).map(|_| job()).collect();
    let retried = |job: &Envelope| AttemptRecord {
        outcome: AttemptOutcome::Retried,
        ..attempt(job.id, order, ambient)
    };
    let records: Vec<AttemptRecord> = jobs.iter().map(retried).collect();
    shop.parts.engine.publish(jobs).await.expect("publishes");
    let (all_but_one, last) = records.split_at(JOBS_MAX - 1);
    shop.parts.records.append(all_but_one.into()).await.expect("records");
    let page = shop.get(Role::Viewer, &format!("/orders/{order}")).await;
    assert!(!page.links().contains(&more), "all are shown: {}", page.body);
    shop.parts.records.append(last.into()).await.expect("records");
    let page = shop.get(Role::Viewer, &format!("/orders/{order}")).await;
    assert!(page.body.contains("There are more than 20 of them"), "{}", page.body);
    assert!(page.links().contains(&more), "{}", page.body);
    let listed = shop.get(Role::Viewer, &more).await;
    assert!(records.iter().all(|record| listed.body.contains(&record.job.to_string())), "{}", listed.body);
}

#[tokio::test]
async fn attempts_beyond_those_that_are_shown_are_told() {
    let shop = Deployment::open().await;
    let told = "There may be more than 1000 attempts of its jobs";
    let first = attempt(shop.ready, shop.order, &shop.parts.ambient);
    let records: Vec<AttemptRecord> =
        (2..1001).map(|number| AttemptRecord { attempt: number, ..first.clone() }).collect();
    shop.parts.records.append(records.into()).await.expect("records");
    // With that of the dead job.
    let page = shop.order_page().await;
    assert!(page.contains(told), "{page}");
}
