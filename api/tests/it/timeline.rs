//! The timeline of an order.

use std::time::Duration;

use base::Timestamp;
use jobs::{
    JobId,
    records::{AttemptOutcome, AttemptRecord},
};
use serde_json::{Value, json};
use store::{
    domain::{Decision, EndpointId, OrderId, PaymentId, RefundId},
    orders::{CaptureFacts, MailRecord, Mails, Orders},
    outbox::Outbox,
    payments::{Begun, NewPayment, PaymentStore},
    webhooks::{WebhookAttempt, Webhooks},
};

use crate::util::{TestApi, id_of};

/// Writes everything that workers write about a paid order.
async fn work(shop: &TestApi, id: OrderId) {
    let payment = PaymentId::of_order(id);
    let now = || shop.ambient.now();
    let new = NewPayment {
        id: payment,
        order: id,
        merchant: shop.own.id,
        amount_minor: 500,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "sandbox".to_owned(),
        at: now(),
    };
    shop.payments.open_payment(new).await.expect("opens");
    let begun = shop.payments.begin_attempt(payment, "worker-1", now()).await.expect("begins");
    assert_eq!(begun, Begun::Attempt { epoch: 1 });
    shop.payments.annotate_attempt(payment, 1, "captured", now()).await.expect("notes");
    let decision = Decision::Captured { provider_reference: "ch_1".to_owned() };
    shop.payments.record_decision(payment, 1, decision, now()).await.expect("decides");
    let facts = CaptureFacts { payment, provider_reference: "ch_1".to_owned(), amount_minor: 500 };
    shop.orders.mark_paid(id, facts, now()).await.expect("pays");
    let mail =
        MailRecord { template: "order_paid".to_owned(), message_id: "<x@y>".to_owned(), sent_at: now() };
    shop.orders.record_mail(id.into(), mail).await.expect("records");
    let event = shop.orders.order_events(id, 0).await.expect("events").remove(0);
    let attempt = WebhookAttempt {
        endpoint: EndpointId::fresh(&shop.ambient),
        event: event.id,
        order: Some(id),
        attempt: 1,
        at: now(),
        duration: Duration::from_millis(12),
        status: Some(500),
        error: Some("status".to_owned()),
    };
    shop.orders.record_attempt(attempt).await.expect("records");
    shop.payments.begin_refund(payment, RefundId::fresh(&shop.ambient), 100, now()).await.expect("begins");
    shop.records.append([record(shop, id)].into()).await.expect("appends");
}

fn record(shop: &TestApi, id: OrderId) -> AttemptRecord {
    AttemptRecord {
        job: JobId::fresh(&shop.ambient),
        kind: "charge_payment".to_owned(),
        queue: "payments".to_owned(),
        subject: Some(id.to_string()),
        attempt: 1,
        worker: "worker-1".to_owned(),
        created_at: shop.ambient.now(),
        started_at: shop.ambient.now(),
        duration: Duration::from_millis(30),
        outcome: AttemptOutcome::Retried,
        error: Some(format!("provider timed out\n{}", "at line".repeat(99))),
        trace: None,
    }
}

#[tokio::test]
async fn everything_that_happened_is_told_in_order() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let id = id_of(&shop.order("k1").await);
    let other = id_of(&shop.order("k2").await);
    shop.records.append([record(&shop, other)].into()).await.expect("appends");
    work(&shop, id).await;
    let answer = shop.get(&format!("/v1/orders/{id}/timeline")).send().await.expect_status(200);
    assert_eq!((&answer.json["has_more"], &answer.json["incomplete"]), (&json!(false), &json!([])));
    let entries = answer.list();
    let times: Vec<Timestamp> =
        entries.iter().map(|e| e["at"].as_str().expect("a time").parse().expect("a time")).collect();
    assert!(times.is_sorted());
    let of = |kind: &str| -> Vec<&Value> { entries.iter().filter(|entry| entry["type"] == kind).collect() };
    for (kind, count) in [
        ("request", 1),
        ("event", 3),
        ("payment_opened", 1),
        ("payment_attempt", 1),
        ("payment_decided", 1),
        ("refund", 1),
        ("job_attempt", 1),
        ("email", 1),
        ("webhook_attempt", 1),
    ] {
        assert_eq!(of(kind).len(), count, "{kind}: {}", answer.text);
    }
    assert_eq!(entries[0]["type"], "request");
    let kinds: Vec<_> = of("event").iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["order.placed", "payment.captured", "order.paid"]);
    assert_eq!(of("payment_attempt")[0]["note"], "captured");
    assert_eq!(of("payment_decided")[0]["outcome"], "captured");
    assert_eq!(of("refund")[0]["status"], "open");
    assert_eq!(of("job_attempt")[0]["error"], "provider timed out");
    assert_eq!(of("job_attempt")[0]["outcome"], "retried");
    assert_eq!(of("email")[0]["template"], "order_paid");
    let webhook = of("webhook_attempt")[0];
    assert_eq!((webhook["status"].as_i64(), webhook["delivered"].as_bool()), (Some(500), Some(false)));
    // The payment method and the names of workers are not shown.
    assert!(!answer.text.contains("worker-1") && !answer.text.contains("pm_card_visa"));
}

#[tokio::test]
async fn a_customer_is_told_of_the_order_and_of_nothing_behind_it() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let placed = shop.place("k1", &crate::util::order_body()).send().await.expect_status(202);
    let id = id_of(&placed.json);
    work(&shop, id).await;
    let path = format!("/v1/orders/{id}/timeline");
    let ask = shop.call(reqwest::Method::GET, &path).key(&shop.own.public);
    let token = placed.header("orderworks-order-token");
    let answer = ask.header("orderworks-order-token", token).send().await.expect_status(200);
    assert_eq!((&answer.json["has_more"], &answer.json["incomplete"]), (&json!(false), &json!([])));
    let mut types: Vec<_> =
        answer.list().iter().map(|entry| entry["type"].as_str().expect("a type")).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types, ["email", "event", "payment_decided", "refund", "request"]);
    assert!(answer.list().iter().all(|entry| entry["trace_id"].is_null()), "{}", answer.text);
}
