//! Idempotency keys of `POST /v1/orders`.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::util::{TestApi, order_body};

#[tokio::test]
async fn a_repetition_is_answered_with_the_bytes_of_then() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let first = shop.place("k1", &order_body()).send().await.expect_status(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    let id = first.json["id"].as_str().expect("an id");
    shop.post(&format!("/v1/orders/{id}/cancel"), &json!({})).send().await.expect_status(200);
    for key in ["k1", "\"k1\""] {
        let again = shop.place(key, &order_body()).send().await.expect_status(202);
        assert_eq!(again.text, first.text);
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("content-type"), "application/json");
    }
    // The same body with its members in another order is the same.
    let text = r#"{"reference":"A-1","payment_method":"pm_card_visa","items":[{"quantity":2,"sku":"mug"}],
        "currency":"EUR","customer":{"name":"Ada Lovelace","email":"ada@example.com"},"shipping_address":{
        "country":"GB","postal_code":"SW1Y 4JH","city":"London","line1":"12 St James's Square","name":"Ada Lovelace"}}"#;
    let call = shop.call(Method::POST, "/v1/orders").key(&shop.own.public).header("idempotency-key", "k1");
    assert_eq!(call.body(text).send().await.expect_status(202).text, first.text);
    assert_eq!(shop.traces().await.0, 1);
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    shop.order("k1").await;
    let before = shop.traces().await;
    let mut body = order_body();
    body["items"][0]["quantity"] = json!(3);
    shop.place("k1", &body).send().await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(shop.traces().await, before);
}

#[tokio::test]
async fn keys_are_a_merchants_own() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let own = shop.order("k1").await;
    let product = json!({"name": "Mug", "category": "mugs", "price_minor": 1, "currency": "EUR"});
    shop.put("/v1/products/mug", &product).key(&shop.other.secret).send().await.expect_status(201);
    let stock = shop.put("/v1/inventory/mug", &json!({"on_hand": 5})).key(&shop.other.secret);
    stock.send().await.expect_status(200);
    let theirs = shop.place("k1", &order_body()).key(&shop.other.public).send().await.expect_status(202);
    assert_eq!(theirs.header("idempotent-replayed"), "");
    assert_ne!(theirs.json["id"], own["id"]);
}

#[tokio::test]
async fn a_key_of_the_storefront_is_not_the_servers() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1_000).await;
    let mut other = order_body();
    other["items"][0]["quantity"] = json!(3);
    for key in ["A-1001", &"k".repeat(255)] {
        let stranger = shop.place(key, &order_body()).send().await.expect_status(202);
        let server = || shop.place(key, &other).key(&shop.own.secret).send();
        let placed = server().await.expect_status(202);
        assert_ne!(placed.json["id"], stranger.json["id"]);
        let again = server().await.expect_status(202);
        assert_eq!((&again.text, again.header("idempotent-replayed")), (&placed.text, "true"));
        let again = shop.place(key, &order_body()).send().await.expect_status(202);
        assert_eq!((&again.text, again.header("idempotent-replayed")), (&stranger.text, "true"));
        for (api_key, body) in [(&shop.own.public, &other), (&shop.own.secret, &order_body())] {
            let reused = shop.place(key, body).key(api_key).send().await;
            reused.expect_problem(422, "idempotency_key_reused");
        }
    }
    // Nor is it the key of a registration.
    let customer = |email: &str| json!({"email": email, "name": "Ada", "password": "canary correct horse"});
    for (api_key, email) in [(&shop.own.public, "ada@example.com"), (&shop.own.secret, "eve@example.com")] {
        let call = shop.post("/v1/customers", &customer(email)).key(api_key).header("idempotency-key", "k1");
        assert_eq!(call.send().await.expect_status(202).header("idempotent-replayed"), "");
    }
}

#[tokio::test]
async fn the_key_is_required_and_checked() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let post = || shop.call(Method::POST, "/v1/orders").key(&shop.own.public).json(&order_body());
    post().send().await.expect_problem(400, "idempotency_key_required");
    for bad in ["", "\"\"", "a b", "\"a", &"k".repeat(256)] {
        let answer = post().header("idempotency-key", bad).send().await;
        answer.expect_problem(400, "idempotency_key_invalid");
    }
    let twice = post().header("idempotency-key", "a").header("idempotency-key", "b");
    twice.send().await.expect_problem(400, "idempotency_key_invalid");
    assert_eq!(shop.traces().await.0, 0);
    post().header("idempotency-key", &"k".repeat(255)).send().await.expect_status(202);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_key() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1).await;
    shop.place("k1", &order_body()).send().await.expect_problem(409, "out_of_stock");
    shop.put("/v1/inventory/mug", &json!({"on_hand": 2})).send().await.expect_status(200);
    let answer = shop.place("k1", &order_body()).send().await.expect_status(202);
    assert_eq!(answer.header("idempotent-replayed"), "");
}

#[tokio::test]
async fn a_key_sent_many_times_at_once_places_one_order() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let answers = join_all((0..16).map(|_| shop.place("k1", &order_body()).send())).await;
    let mut ids = Vec::new();
    for answer in answers {
        if answer.status == 409 {
            let answer = answer.expect_problem(409, "idempotency_key_in_flight");
            assert_eq!(answer.header("retry-after"), "1");
        } else {
            ids.push(answer.expect_status(202).json["id"].clone());
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(shop.traces().await.2, 2);
}
