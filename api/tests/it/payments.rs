//! Listing a merchant's payments by day.

use base::{Timestamp, time::later};
use serde_json::json;
use std::time::Duration;
use store::{
    domain::{OrderId, PaymentId},
    payments::{NewPayment, PaymentStore},
};

use crate::util::TestApi;

/// Opens a payment at this time.
async fn opened(shop: &TestApi, merchant: store::domain::MerchantId, at: Timestamp) -> String {
    let order = OrderId::fresh(&shop.ambient);
    let new = NewPayment {
        id: PaymentId::of_order(order),
        order,
        merchant,
        amount_minor: 500,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "sandbox".to_owned(),
        at,
    };
    shop.payments.open_payment(new).await.expect("opens").id.to_string()
}

#[tokio::test]
async fn a_merchant_lists_the_payments_of_a_day_in_pages() {
    let shop = TestApi::open().await;
    let midnight: Timestamp = "2026-03-10T00:00:00Z".parse().expect("a time");
    let at = |seconds| later(midnight, Duration::from_secs(seconds));
    let mut ids = Vec::new();
    for seconds in [0, 1, 1, 60, 86_399] {
        ids.push(opened(&shop, shop.own.id, at(seconds)).await);
    }
    // Two share a time, and are then listed by id.
    ids[1..3].sort();
    let next_day = opened(&shop, shop.own.id, at(86_400)).await;
    opened(&shop, shop.other.id, at(2)).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/payments?day=2026-03-10&limit=2{after}");
        let page = shop.get(&path).send().await.expect_status(200);
        assert!(page.list().len() <= 2);
        seen.extend(page.list().iter().map(|payment| payment["id"].as_str().expect("an id").to_owned()));
        if page.json["has_more"] == false {
            break;
        }
        after = format!("&starting_after={}", seen.last().expect("a page with more is not empty"));
    }
    assert_eq!(seen, ids);
    let page = shop.get("/v1/payments?day=2026-03-11").send().await.expect_status(200);
    let payment = &page.list()[0];
    assert_eq!(
        (page.list().len(), &payment["id"], &payment["object"]),
        (1, &json!(next_day), &json!("payment"))
    );
    assert_eq!((&payment["status"], &payment["amount_minor"]), (&json!("created"), &json!(500)));
    assert_eq!(
        (&payment["currency"], &payment["created_at"]),
        (&json!("EUR"), &json!("2026-03-11T00:00:00Z"))
    );
    // Without a day, those of today.
    let now = opened(&shop, shop.own.id, shop.ambient.now()).await;
    assert_eq!(shop.get("/v1/payments").send().await.expect_status(200).list()[0]["id"], json!(now));
    let foreign = shop.get("/v1/payments?day=2026-03-10").key(&shop.other.secret).send().await;
    assert_eq!(foreign.expect_status(200).list().len(), 1);
}

#[tokio::test]
async fn a_day_that_is_none_is_refused() {
    let shop = TestApi::open().await;
    for (query, fault) in [
        ("day=2026-02-30", "?day wrong_format"),
        ("day=today", "?day wrong_format"),
        ("day=", "?day wrong_format"),
        ("day=2026-03-10&day=2026-03-11", "?day repeated_parameter"),
        ("starting_after=ord_1", "?starting_after wrong_format"),
        ("status=captured", "?status unknown_parameter"),
    ] {
        let answer = shop.get(&format!("/v1/payments?{query}")).send().await;
        assert_eq!(answer.expect_problem(422, "validation_failed").faults(), [fault], "{query}");
    }
    let far = shop.get("/v1/payments?day=0001-01-01").send().await.expect_status(200);
    assert!(far.list().is_empty());
    shop.get("/v1/payments").key(&shop.own.public).send().await.expect_problem(403, "secret_key_required");
}
