//! `Orderworks-Order-Token`: issued with an order, gives access to it, ends.

use std::time::Duration;

use api::{ApiConfig, ServerLimits};
use base::Ambient;
use reqwest::Method;
use serde_json::json;

use crate::{
    carts::{body, check_out, filled},
    customers::{registered, sign_in},
    util::{Answer, TestApi, config, logs, order_body},
};

const TOKEN: &str = "orderworks-order-token";

/// The order as shown to a storefront without a session.
async fn read(shop: &TestApi, order: &str, tokens: &[&str]) -> Answer {
    let call = shop.call(Method::GET, order).key(&shop.own.public);
    tokens.iter().fold(call, |call, token| call.header(TOKEN, token)).send().await.expect_status(200)
}

async fn opens(shop: &TestApi, order: &str, token: &str) -> bool {
    read(shop, order, &[token]).await.json["customer"].is_object()
}

#[tokio::test]
async fn a_token_opens_its_order_until_it_expires() {
    let (ambient, clock) = Ambient::steered(9, Ambient::system().now());
    let config = ApiConfig { order_token_ttl: Duration::from_mins(10), ..config() };
    let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let placed = shop.place("k1", &order_body()).send().await.expect_status(202);
    let (order, token) = (placed.header("location"), placed.header(TOKEN));
    assert!(token.starts_with("owt_") && token.len() == 47, "{token}");
    assert!(!placed.text.contains("owt_"), "in the header only");
    let whole = shop.get(order).send().await.expect_status(200);
    assert_eq!(read(&shop, order, &[token]).await.json, whole.json);
    assert_eq!(whole.header(TOKEN), "", "shown once");
    let other = shop.place("k2", &order_body()).send().await.expect_status(202);
    assert_ne!(other.header(TOKEN), token);
    let stored = read(&shop, order, &[]).await.json["customer"].clone();
    assert_eq!(stored, json!(null));
    for bad in ["", "owt_", "nonsense", &token[4..], &format!("{token}x"), &token[..46], other.header(TOKEN)]
    {
        assert!(!opens(&shop, order, bad).await, "{bad}");
    }
    assert!(read(&shop, order, &[token, token]).await.json["customer"].is_null(), "two are none");
    clock.advance(Duration::from_mins(10) - Duration::from_millis(1));
    assert!(opens(&shop, order, token).await);
    clock.advance(Duration::from_millis(1));
    assert!(!opens(&shop, order, token).await);
}

#[tokio::test]
async fn a_repeated_request_gets_a_fresh_token_in_place_of_the_one_before() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let place = || shop.place("k1", &order_body());
    let order = || check_out(&shop, &cart, "k1", &body());
    for (first, again) in [(place(), place()), (order(), order())] {
        let first = first.send().await.expect_status(202);
        assert!(opens(&shop, first.header("location"), first.header(TOKEN)).await);
        let again = again.send().await.expect_status(202);
        assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
        assert_ne!(again.header(TOKEN), first.header(TOKEN));
        assert!(opens(&shop, again.header("location"), again.header(TOKEN)).await);
        assert!(!opens(&shop, first.header("location"), first.header(TOKEN)).await);
    }
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let placed = shop.place("k1", &order_body()).send().await.expect_status(202);
    let (order, token) = (placed.header("location"), placed.header(TOKEN));
    let revoke =
        |key: &str| shop.call(Method::DELETE, &format!("{order}/token")).key(key).header(TOKEN, token);
    revoke(&shop.own.public).send().await.expect_problem(403, "secret_key_required");
    revoke(&shop.other.secret).send().await.expect_problem(404, "not_found");
    assert!(opens(&shop, order, token).await);
    let before = shop.get(order).send().await.json;
    for _ in 0..2 {
        assert_eq!(revoke(&shop.own.secret).send().await.expect_status(204).text, "");
        assert!(!opens(&shop, order, token).await);
    }
    assert_eq!(shop.get(order).send().await.json, before, "the order is as it was");
    let again = shop.place("k1", &order_body()).send().await.expect_status(202);
    assert!(opens(&shop, order, again.header(TOKEN)).await);
}

#[tokio::test]
async fn tokens_are_neither_kept_nor_logged() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let placed = shop.place("k1", &order_body()).send().await.expect_status(202);
        let token = placed.header(TOKEN).to_owned();
        assert!(opens(&shop, placed.header("location"), &token).await);
        tokens.push(token);
    }
    let logged = logs::kept();
    for token in &tokens {
        assert!(!logged.contains(token), "a token was logged");
        for file in std::fs::read_dir(shop.folder.path()).expect("a folder") {
            let bytes = std::fs::read(file.expect("readable").path()).expect("reads");
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!found, "a token stands in a file");
        }
    }
}

#[tokio::test]
async fn a_session_makes_an_order_the_customers_and_orders_go_on_without_its_store() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let eve = json!({"email": "eve@example.com", "name": "Eve", "password": "canary correct horse"});
    registered(&shop, &eve).await;
    let session = sign_in(&shop, "eve@example.com", "canary correct horse").send().await.expect_status(201);
    let session = session.json["token"].as_str().expect("a token");
    let place = |key| shop.place(key, &order_body()).header("orderworks-session", session);
    let placed = place("k1").send().await.expect_status(202);
    let read = || shop.call(Method::GET, placed.header("location")).key(&shop.own.public);
    let in_session = read().header("orderworks-session", session).send().await.expect_status(200);
    assert_eq!(in_session.json["customer"], order_body()["customer"]);
    let ended = shop.place("k2", &order_body()).header("orderworks-session", "ows_ended");
    ended.send().await.expect_problem(401, "session_invalid");
    shop.sessions.close().await;
    let unproven = read().header("orderworks-session", session).send().await.expect_status(200);
    assert_eq!((&unproven.json["status"], &unproven.json["customer"]), (&json!("pending"), &json!(null)));
    let guest = place("k3").send().await.expect_status(202);
    assert!(opens(&shop, guest.header("location"), guest.header(TOKEN)).await, "the token opens it");
}
