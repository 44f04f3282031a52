//! Refunds on request: keys, amounts, and orders that have nothing to refund.

use api::{ApiConfig, ServerLimits};
use serde_json::{Value, json};
use store::{
    domain::{OrderId, PaymentId},
    orders::{Orders, RefundFacts},
};

use crate::{
    orders::pay,
    util::{Answer, TestApi, config, id_of},
};

/// Records the end of the refund of this answer, as the workers do.
async fn record(shop: &TestApi, order: OrderId, refund: &Answer, amount_minor: i64, failure: Option<&str>) {
    let facts = RefundFacts {
        payment: PaymentId::of_order(order),
        refund: refund.json["id"].as_str().expect("an id").parse().expect("a refund"),
        amount_minor,
        failure: failure.map(str::to_owned),
    };
    shop.orders.record_refund(order, facts, shop.ambient.now()).await.expect("records");
}

/// A shop with an order that is paid.
async fn paid(config: ApiConfig) -> (TestApi, Value) {
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    pay(&shop, &order).await;
    (shop, order)
}

#[tokio::test]
async fn refunds_are_accepted_once_per_key_and_never_too_much() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let id = id_of(&order);
    let path = format!("/v1/orders/{id}/refund");
    let refund = |body: Value, key: &'static str| shop.post(&path, &body).header("idempotency-key", key);
    refund(json!({}), "r").send().await.expect_problem(409, "order_state_conflict");
    pay(&shop, &order).await;
    let answer = refund(json!({"amount_minor": 501}), "r0").send().await;
    assert_eq!(answer.expect_problem(422, "refund_too_large").faults(), ["/amount_minor refund_too_large"]);
    let part = json!({"amount_minor": 100, "reason": "scratched"});
    let first = refund(part.clone(), "r1").send().await.expect_status(202);
    assert_eq!(
        (&first.json["object"], &first.json["amount_minor"], &first.json["status"]),
        (&json!("refund"), &json!(100), &json!("requested"))
    );
    assert_eq!(first.header("location"), format!("/v1/orders/{id}"));
    let again = refund(part.clone(), "r1").send().await.expect_status(202);
    assert_eq!((&again.json, again.header("idempotent-replayed")), (&first.json, "true"));
    let second = refund(part.clone(), "r2").send().await.expect_status(202);
    assert_ne!(second.json["id"], first.json["id"]);
    for refund in [&first, &second] {
        record(&shop, id, refund, 100, None).await;
    }
    let read = shop.get(&format!("/v1/orders/{id}")).send().await.expect_status(200).json;
    assert_eq!(read["refunded_minor"], 200);
    let done = refund(part.clone(), "r1").send().await.expect_status(202);
    assert_eq!((&done.json["id"], &done.json["status"]), (&first.json["id"], &json!("done")));
    let rest = refund(json!({}), "rest").send().await.expect_status(202);
    assert_eq!(rest.json["amount_minor"], 300);
    let again = refund(json!({}), "rest").send().await.expect_status(202);
    assert_eq!(rest.json, again.json);
    refund(json!({}), "r4").send().await.expect_problem(409, "order_state_conflict");
    for bad in [json!({"amount_minor": 0}), json!({"amount_minor": -1}), json!({"amount_minor": 1.5})] {
        let answer = refund(bad, "r3").send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["/amount_minor out_of_range"]);
    }
}

#[tokio::test]
async fn a_refund_needs_a_key_that_no_other_amount_was_requested_under() {
    let (shop, order) = paid(config()).await;
    let id = id_of(&order);
    let path = format!("/v1/orders/{id}/refund");
    let (part, other, rest) = (json!({"amount_minor": 100}), json!({"amount_minor": 200}), json!({}));
    for body in [&part, &rest] {
        shop.post(&path, body).send().await.expect_problem(400, "idempotency_key_required");
        let call = shop.post(&path, body).header("idempotency-key", "two words");
        call.send().await.expect_problem(400, "idempotency_key_invalid");
    }
    let refund = |body: &Value, key: &str| shop.post(&path, body).header("idempotency-key", key).send();
    let first = refund(&part, "return-1").await.expect_status(202);
    for body in [&other, &rest] {
        refund(body, "return-1").await.expect_problem(422, "idempotency_key_reused");
    }
    let all = refund(&rest, "return-2").await.expect_status(202);
    assert_eq!(all.json["amount_minor"], 400);
    refund(&json!({"amount_minor": 400}), "return-2").await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(refund(&part, "return-1").await.expect_status(202).json, first.json);
}

#[tokio::test]
async fn a_refund_that_failed_is_asked_for_again_with_a_new_key() {
    let (shop, order) = paid(config()).await;
    let id = id_of(&order);
    let path = format!("/v1/orders/{id}/refund");
    let refund = |key: &'static str| shop.post(&path, &json!({})).header("idempotency-key", key).send();
    let first = refund("r1").await.expect_status(202);
    refund("r2").await.expect_problem(409, "order_state_conflict");
    let total = order["total_minor"].as_i64().expect("a total");
    record(&shop, id, &first, total, Some("charge_disputed")).await;
    let replayed = refund("r1").await.expect_problem(409, "refund_failed");
    assert!(replayed.json["detail"].as_str().is_some_and(|detail| detail.contains("charge_disputed")));
    let again = refund("r2").await.expect_status(202);
    assert_ne!(again.json["id"], first.json["id"]);
}

#[tokio::test]
async fn an_amount_that_the_provider_cannot_take_is_rejected_before_it_is_accepted() {
    let config = ApiConfig { provider_takes: |amount_minor, _| amount_minor % 10 == 0, ..config() };
    let (shop, order) = paid(config).await;
    let id = id_of(&order);
    let path = format!("/v1/orders/{id}/refund");
    let refund =
        |body: Value, key: &'static str| shop.post(&path, &body).header("idempotency-key", key).send();
    let answer = refund(json!({"amount_minor": 101}), "r1").await;
    let answer = answer.expect_problem(422, "amount_not_supported");
    assert_eq!(answer.faults(), ["/amount_minor amount_not_supported"]);
    refund(json!({"amount_minor": 100}), "r1").await.expect_status(202);
    refund(json!({}), "r2").await.expect_status(202);
}

#[tokio::test]
async fn a_free_order_has_nothing_to_refund() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let free = json!({"name": "Sample", "category": "mugs", "price_minor": 0, "currency": "EUR"});
    shop.put("/v1/products/mug", &free).send().await.expect_status(200);
    let order = shop.order("k1").await;
    pay(&shop, &order).await;
    let path = format!("/v1/orders/{}/refund", id_of(&order));
    for body in [json!({}), json!({"amount_minor": 1})] {
        let refund = shop.post(&path, &body).header("idempotency-key", "r1");
        let refused = refund.send().await.expect_problem(409, "order_state_conflict");
        assert!(
            refused.json["detail"].as_str().is_some_and(|detail| detail.contains("free")),
            "{}",
            refused.text
        );
    }
}
