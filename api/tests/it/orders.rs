//! Placing, reading, listing and cancelling orders.

use std::{collections::BTreeSet, pin::pin};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    domain::PaymentId,
    orders::{CaptureFacts, Orders},
    payments::{NewPayment, PaymentStore},
};

use crate::util::{Answer, TestApi, id_of, order_body};

/// Transitions an order to `paid`, as the workers do.
pub(crate) async fn pay(shop: &TestApi, order: &Value) {
    let id = id_of(order);
    let amount_minor = order["total_minor"].as_i64().expect("a total");
    let facts = CaptureFacts {
        payment: PaymentId::of_order(id),
        provider_reference: "ch_1".to_owned(),
        amount_minor,
    };
    shop.orders.mark_paid(id, facts, shop.ambient.now()).await.expect("pays");
}

/// Ids are drawn before orders are committed, and in any order within a millisecond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_newest_orders_misses_none() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10_000).await;
    let read = async |known: &BTreeSet<String>| {
        let (mut found, mut query) = (BTreeSet::new(), String::new());
        loop {
            let page = shop.get(&format!("/v1/orders?limit=7{query}")).send().await.expect_status(200);
            for order in page.list() {
                let id = order["id"].as_str().expect("an id").to_owned();
                if known.contains(&id) {
                    return found;
                }
                query = format!("&starting_after={id}");
                found.insert(id);
            }
            if page.json["has_more"] != true {
                return found;
            }
        }
    };
    let shoppers = join_all((0..8).map(|shopper| {
        let shop = &shop;
        async move {
            for n in 0..25 {
                shop.order(&format!("k{shopper}-{n}")).await;
            }
        }
    }));
    let mut known = BTreeSet::new();
    let mut shoppers = pin!(shoppers);
    loop {
        let new = read(&known);
        tokio::select! {
            _ = &mut shoppers => break,
            new = new => known.extend(new),
        }
    }
    known.extend(read(&known).await);
    assert_eq!(known, read(&BTreeSet::new()).await);
    assert_eq!(known.len(), 200);
}

#[tokio::test]
async fn an_order_is_accepted_and_read_back() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let answer = shop.place("k1", &order_body()).send().await.expect_status(202);
    let order = &answer.json;
    let id = order["id"].as_str().expect("an id");
    assert!(id.starts_with("ord_"));
    assert_eq!(answer.header("location"), format!("/v1/orders/{id}"));
    let expected = json!({
        "object": "order", "id": id, "status": "pending", "currency": "EUR", "total_minor": 500,
        "refunded_minor": 0,
        "items": [
            {"sku": "mug", "name": "The mug", "quantity": 2, "price_minor": 250, "total_minor": 500}
        ],
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "payment": null,
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "12 St James's Square", "line2": null, "city": "London",
            "postal_code": "SW1Y 4JH", "country": "GB",
        },
        "reference": "A-1", "status_reason": null, "shipment": null,
        "created_at": order["created_at"], "updated_at": order["created_at"],
    });
    assert_eq!(order, &expected);
    assert!(order["created_at"].as_str().is_some_and(|at| at.parse::<base::Timestamp>().is_ok()));
    let read = || shop.get(answer.header("location")).key(&shop.own.public);
    let bearer = read().header("orderworks-order-token", answer.header("orderworks-order-token"));
    assert_eq!(&bearer.send().await.expect_status(200).json, &expected);
    let mut bare = expected.clone();
    for personal in ["customer", "shipping_address", "reference", "shipment"] {
        bare[personal] = json!(null);
    }
    assert_eq!(read().send().await.expect_status(200).json, bare);
    assert_eq!(shop.traces().await, (1, 2, 2), "the order, order.placed and inventory.updated, two units");
}

#[tokio::test]
async fn the_payment_is_shown_with_its_state() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let id = id_of(&order);
    let payment = NewPayment {
        id: PaymentId::of_order(id),
        order: id,
        merchant: shop.own.id,
        amount_minor: 500,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "sandbox".to_owned(),
        at: shop.ambient.now(),
    };
    shop.payments.open_payment(payment).await.expect("opens");
    let path = format!("/v1/orders/{id}");
    let read = shop.get(&path).send().await.expect_status(200).json;
    assert_eq!(read["payment"], json!({"id": PaymentId::of_order(id).to_string(), "status": "created"}));
    pay(&shop, &order).await;
    let read = shop.get(&path).send().await.expect_status(200).json;
    assert_eq!(
        (read["status"].as_str(), read["payment"]["status"].as_str()),
        (Some("paid"), Some("captured"))
    );
}

#[tokio::test]
async fn orders_are_listed_newest_first_in_pages() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(shop.order(&format!("k{number}")).await["id"].as_str().expect("an id").to_owned());
    }
    let mut seen = Vec::new();
    let mut path = "/v1/orders?limit=2".to_owned();
    loop {
        let page = shop.get(&path).send().await.expect_status(200);
        seen.extend(page.list().iter().map(|order| order["id"].as_str().expect("an id").to_owned()));
        if page.json["has_more"] == false {
            break;
        }
        path = format!("/v1/orders?limit=2&starting_after={}", seen.last().expect("one"));
    }
    seen.reverse();
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    shop.post(&format!("/v1/orders/{}/cancel", ids[0]), &json!({})).send().await.expect_status(200);
    let cancelled = shop.get("/v1/orders?status=cancelled").send().await.expect_status(200);
    assert_eq!((cancelled.list().len(), cancelled.list()[0]["id"].as_str()), (1, Some(ids[0].as_str())));
    for (query, fault) in
        [("status=lost", "?status wrong_format"), ("starting_after=pay_1", "?starting_after wrong_format")]
    {
        let answer = shop.get(&format!("/v1/orders?{query}")).send().await;
        assert_eq!(answer.expect_problem(422, "validation_failed").faults(), [fault]);
    }
}

#[tokio::test]
async fn a_customer_cancels_while_the_order_is_pending() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let mut placed = Vec::new();
    for key in ["k1", "k2"] {
        placed.push(shop.place(key, &order_body()).send().await.expect_status(202));
    }
    let cancel = |placed: &Answer, body: &Value| {
        let call = shop.post(&format!("{}/cancel", placed.header("location")), body);
        call.key(&shop.own.public).header("orderworks-order-token", placed.header("orderworks-order-token"))
    };
    let reasoned = cancel(&placed[0], &json!({"reason": "expired"})).send().await;
    assert_eq!(reasoned.expect_problem(422, "validation_failed").faults(), ["/reason secret_key_required"]);
    let cancelled = cancel(&placed[0], &json!({})).send().await.expect_status(200).json;
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["status_reason"], "requested_by_customer");
    assert_eq!(cancel(&placed[0], &json!({})).send().await.expect_status(200).json, cancelled);
    pay(&shop, &placed[1].json).await;
    cancel(&placed[1], &json!({})).send().await.expect_problem(409, "order_state_conflict");
    let paid = shop.get(placed[1].header("location")).send().await.expect_status(200).json;
    assert_eq!(paid["status"], "paid");
}

#[tokio::test]
async fn cancelling_is_idempotent_and_ends_with_shipping() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let path = format!("/v1/orders/{}/cancel", order["id"].as_str().expect("an id"));
    let cancelled = shop.post(&path, &json!({"reason": "changed_mind"})).send().await.expect_status(200).json;
    assert_eq!(
        (cancelled["status"].as_str(), cancelled["status_reason"].as_str()),
        (Some("cancelled"), Some("changed_mind"))
    );
    let traces = shop.traces().await;
    assert_eq!(traces.2, 0);
    // A request without a body is valid, too.
    let again = shop.call(Method::POST, &path).key(&shop.own.secret).send().await.expect_status(200).json;
    assert_eq!(again, cancelled);
    assert_eq!(shop.traces().await, traces);
    let answer = shop.post(&path, &json!({"reason": "Not A Code", "x": 1})).send().await;
    let faults = answer.expect_problem(422, "validation_failed").faults();
    assert_eq!(faults, ["/reason wrong_format", "/x unknown_field"]);

    let order = shop.order("k2").await;
    pay(&shop, &order).await;
    shop.orders.fulfil(id_of(&order), shop.ambient.now()).await.expect("ships");
    let path = format!("/v1/orders/{}/cancel", order["id"].as_str().expect("an id"));
    shop.post(&path, &json!({})).send().await.expect_problem(409, "order_state_conflict");
}
