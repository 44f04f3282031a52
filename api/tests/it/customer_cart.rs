//! The customer's own cart, and guests' carts merged into it.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    carts::{cart, check_out, filled, put, read},
    customers::{registered, sign_in},
    util::{Answer, Call, TestApi},
};

const PATH: &str = "/v1/customers/current/cart";
const PASSWORD: &str = "canary correct horse";

async fn customer(shop: &TestApi, email: &str) -> String {
    registered(shop, &json!({"email": email, "name": "Ada", "password": PASSWORD})).await;
    session(shop, email).await
}

async fn session(shop: &TestApi, email: &str) -> String {
    let opened = sign_in(shop, email, PASSWORD).send().await.expect_status(201);
    opened.json["token"].as_str().expect("a token").to_owned()
}

fn in_session(call: Call, session: &str) -> Call {
    call.header("orderworks-session", session)
}

fn open(shop: &TestApi, session: &str, body: &Value) -> Call {
    in_session(shop.call(Method::POST, PATH).key(&shop.own.public).json(body), session)
}

/// The id in the path of a cart.
fn id(cart: &str) -> &str {
    cart.rsplit('/').next().expect("an id")
}

fn quantities(answer: &Answer) -> Vec<(String, u64)> {
    let items = answer.json["items"].as_array().expect("items").iter();
    let item = |item: &Value| {
        (item["sku"].as_str().unwrap_or_default().to_owned(), item["quantity"].as_u64().unwrap_or_default())
    };
    items.map(item).collect()
}

#[tokio::test]
async fn a_guests_cart_is_merged_at_sign_in_once() {
    let shop = TestApi::open().await;
    for sku in ["mug", "pen"] {
        shop.stock(sku, 10).await;
    }
    let session = customer(&shop, "ada@example.com").await;
    let own = open(&shop, &session, &json!({})).send().await.expect_status(200);
    assert!(quantities(&own).is_empty());
    let path = own.header("content-location").to_owned();
    in_session(put(&shop, &path, "pen", 1), &session).send().await.expect_status(200);
    let guest = filled(&shop).await;
    put(&shop, &guest, "pen", 3).send().await.expect_status(200);
    for _ in 0..3 {
        let merged = open(&shop, &session, &json!({"cart": id(&guest)})).send().await.expect_status(200);
        assert_eq!(merged.header("content-location"), path);
        assert_eq!(quantities(&merged), [("pen".to_owned(), 4), ("mug".to_owned(), 2)]);
    }
    shop.get(&guest).key(&shop.own.public).send().await.expect_problem(404, "not_found");
    shop.get(&path).key(&shop.own.public).send().await.expect_problem(404, "not_found");
    // The same cart elsewhere, until it is ordered.
    let elsewhere = self::session(&shop, "ada@example.com").await;
    let same = open(&shop, &elsewhere, &json!({"cart": id(&path)})).send().await.expect_status(200);
    assert_eq!(same.header("content-location"), path);
    let body = json!({"payment_method": "pm_card_visa"});
    in_session(check_out(&shop, &path, "k1", &body), &session).send().await.expect_status(202);
    let next = open(&shop, &elsewhere, &json!({})).send().await.expect_status(200);
    assert_ne!(next.header("content-location"), path);
    assert!(quantities(&next).is_empty());
}

#[tokio::test]
async fn merges_at_once_add_each_item_once() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let session = customer(&shop, "ada@example.com").await;
    let guest = filled(&shop).await;
    let body = json!({"cart": id(&guest)});
    let answers = join_all((0..8).map(|_| open(&shop, &session, &body).send())).await;
    for answer in &answers {
        // One that lost every try is repeated by the client.
        assert!(matches!(answer.status, 200 | 409), "{}", answer.text);
    }
    let own = open(&shop, &session, &body).send().await.expect_status(200);
    assert_eq!(quantities(&own), [("mug".to_owned(), 2)]);
}

#[tokio::test]
async fn a_cart_that_cannot_be_merged_stays_as_it_is() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let dollars = json!({"name": "Ball", "category": "balls", "price_minor": 100, "currency": "USD"});
    shop.put("/v1/products/ball", &dollars).send().await.expect_status(201);
    let (ada, eve) = (customer(&shop, "ada@example.com").await, customer(&shop, "eve@example.com").await);
    let of_eve =
        open(&shop, &eve, &json!({"cart": id(&filled(&shop).await)})).send().await.expect_status(200);
    let guest = cart(&shop).await;
    put(&shop, &guest, "ball", 1).send().await.expect_status(200);
    let before = read(&shop, &guest).await;
    open(&shop, &ada, &json!({"cart": id(&filled(&shop).await)})).send().await.expect_status(200);
    open(&shop, &ada, &json!({"cart": id(&guest)})).send().await.expect_problem(422, "wrong_currency");
    assert_eq!(read(&shop, &guest).await, before);
    for foreign in [of_eve.json["id"].as_str().expect("an id"), "cart_x", "mug"] {
        open(&shop, &ada, &json!({"cart": foreign})).send().await.expect_problem(404, "not_found");
    }
    let ordered = filled(&shop).await;
    check_out(&shop, &ordered, "k1", &crate::carts::body()).send().await.expect_status(202);
    open(&shop, &ada, &json!({"cart": id(&ordered)})).send().await.expect_problem(409, "cart_closed");
    let signed_out = shop.call(Method::POST, PATH).key(&shop.own.public).send().await;
    signed_out.expect_problem(401, "session_invalid");
}
