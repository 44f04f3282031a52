//! A storefront that follows its orders with the publishable key and the token of each order, as docs/API.md shows.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::util::{Dev, PATIENCE, http, order, run};

const TOKEN: &str = "orderworks-order-token";

/// A browser without a session.
struct Shopper<'a> {
    dev: &'a Dev,
    http: reqwest::Client,
}

impl<'a> Shopper<'a> {
    fn new(dev: &'a Dev) -> Self {
        Self { dev, http: http() }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let call = self.http.request(method, format!("{}{path}", self.dev.ready.url));
        call.bearer_auth(&self.dev.ready.publishable_key)
    }

    /// Sends an order or a checkout; its path and its token.
    async fn ordered(&self, path: &str, key: &str, body: &Value) -> (String, String) {
        let call = self.call(Method::POST, path).header("idempotency-key", key).json(body);
        let placed = call.send().await.expect("answers");
        assert_eq!(placed.status(), StatusCode::ACCEPTED);
        let header = |name: &str| placed.headers()[name].to_str().expect("text").to_owned();
        (header("location"), header(TOKEN))
    }
}

async fn answer(call: RequestBuilder, status: StatusCode) -> Value {
    let answer = call.send().await.expect("answers");
    let (told, text) = (answer.status(), answer.text().await.expect("a body"));
    assert_eq!(told, status, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn a_storefront_follows_its_order_with_the_publishable_key_and_the_orders_token() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&dev);
    let cart = answer(shopper.call(Method::POST, "/v1/carts"), StatusCode::CREATED).await;
    let cart = format!("/v1/carts/{}", cart["id"].as_str().expect("an id"));
    let put = shopper.call(Method::PUT, &format!("{cart}/items/CUP-ENAMEL")).json(&json!({"quantity": 2}));
    answer(put, StatusCode::OK).await;
    let body =
        json!({"customer": {"email": "ada@example.com", "name": "Ada"}, "payment_method": "pm_card_visa"});
    let (path, token) = shopper.ordered(&format!("{cart}/checkout"), "walk", &body).await;
    let with_token = |method, path: &str| shopper.call(method, path).header(TOKEN, &token);

    let events = with_token(Method::GET, &format!("{path}/events"));
    let mut stream = events.send().await.expect("answers").error_for_status().expect("a stream");
    let mut told = String::new();
    while !told.contains("event: order.fulfilled\n") {
        let chunk = timeout(PATIENCE, stream.chunk()).await.expect("goes on").expect("is whole");
        told.push_str(std::str::from_utf8(&chunk.expect("does not end before")).expect("text"));
    }
    let kinds: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(kinds, ["order.placed", "payment.captured", "order.paid", "order.fulfilled"]);

    let shown = answer(with_token(Method::GET, &path), StatusCode::OK).await;
    assert_eq!((&shown["status"], &shown["customer"]["name"]), (&json!("fulfilled"), &json!("Ada")));
    let timeline = answer(with_token(Method::GET, &format!("{path}/timeline")), StatusCode::OK).await;
    for entry in timeline["data"].as_array().expect("a list") {
        let kind = entry["type"].as_str().expect("a type");
        assert!(["request", "event", "payment_decided", "email"].contains(&kind), "{entry}");
    }
    for unproven in [format!("{path}/timeline"), format!("{path}/events")] {
        let refused = answer(shopper.call(Method::GET, &unproven), StatusCode::FORBIDDEN).await;
        assert_eq!(refused["code"], "order_access_required");
    }
    let late = answer(with_token(Method::POST, &format!("{path}/cancel")), StatusCode::CONFLICT).await;
    assert_eq!(late["code"], "order_state_conflict");
}

#[tokio::test]
async fn a_storefront_cancels_its_order_while_it_is_pending() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&dev);
    // Nothing is charged meanwhile.
    let (paused, _, error) = run(data.path(), &["control", "pause", "payments"]).await;
    assert!(paused, "{error}");
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    let (path, token) = shopper.ordered("/v1/orders", "walk", &body).await;
    let cancel = || shopper.call(Method::POST, &format!("{path}/cancel"));
    answer(cancel(), StatusCode::FORBIDDEN).await;
    for _ in 0..2 {
        let cancelled = answer(cancel().header(TOKEN, &token), StatusCode::OK).await;
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(cancelled["status_reason"], "requested_by_customer");
    }
    let seen = dev.merchant().get(&path).await;
    assert_eq!(seen["status"], "cancelled", "the merchant sees the same");
}
