//! Stock reserved for carts, by the shop's choice.

use std::time::Duration;

use api::ServerLimits;
use base::Ambient;
use reqwest::Method;
use serde_json::json;
use store::{checkout::CheckoutSettings, merchants::Merchants};

use crate::{
    carts::{body, cart, check_out, filled, put, read},
    util::{Answer, Call, TestApi, config},
};

/// Lets the shop's carts reserve stock; its hooks stay.
pub(crate) async fn switch_on(shop: &TestApi) {
    let present = shop.orders.checkout_settings(shop.own.id).await.expect("reads").expect("a merchant");
    let settings = CheckoutSettings { reserve_minutes: Some(15), ..present };
    assert!(shop.orders.set_checkout_settings(shop.own.id, &settings).await.expect("sets"));
}

fn reserve(shop: &TestApi, cart: &str) -> Call {
    shop.call(Method::POST, &format!("{cart}/reservation")).key(&shop.own.public)
}

async fn release(shop: &TestApi, cart: &str) -> Answer {
    shop.call(Method::DELETE, &format!("{cart}/reservation")).key(&shop.own.public).send().await
}

/// Reserved units of `mug`.
pub(crate) async fn reserved(shop: &TestApi) -> i64 {
    let stock = shop.get("/v1/inventory/mug").send().await.expect_status(200);
    stock.json["reserved"].as_i64().expect("a number")
}

#[tokio::test]
async fn a_cart_reserves_only_where_the_shop_does() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    reserve(&shop, &cart).send().await.expect_problem(409, "reservations_off");
    assert_eq!((reserved(&shop).await, &read(&shop, &cart).await["reserved_until"]), (0, &json!(null)));
}

#[tokio::test]
async fn a_reserved_cart_is_ordered_though_the_rest_is_sold() {
    let shop = TestApi::open().await;
    switch_on(&shop).await;
    shop.stock("mug", 2).await;
    let (first, second) = (filled(&shop).await, filled(&shop).await);
    let held = reserve(&shop, &first).send().await.expect_status(200).json;
    assert!(held["reserved_until"].is_string(), "{held}");
    assert_eq!(held["items"][0]["available"], 2, "its own are among them");
    let again = reserve(&shop, &first).send().await.expect_status(200).json;
    assert_eq!(again["reserved_until"], held["reserved_until"], "asking again keeps nothing for longer");
    reserve(&shop, &second).send().await.expect_problem(409, "out_of_stock");
    check_out(&shop, &second, "k1", &body()).send().await.expect_problem(409, "out_of_stock");
    assert_eq!(reserved(&shop).await, 2);
    check_out(&shop, &first, "k2", &body()).send().await.expect_status(202);
    assert_eq!(reserved(&shop).await, 2, "the order's now");
    assert_eq!(read(&shop, &first).await["reserved_until"], json!(null));
    reserve(&shop, &first).send().await.expect_problem(409, "cart_closed");
    assert_eq!(reserved(&shop).await, 2);
}

#[tokio::test]
async fn a_change_and_a_release_give_the_reservation_up() {
    let shop = TestApi::open().await;
    switch_on(&shop).await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    reserve(&shop, &cart).send().await.expect_status(200);
    let changed = put(&shop, &cart, "mug", 3).send().await.expect_status(200).json;
    assert_eq!((reserved(&shop).await, &changed["reserved_until"]), (0, &json!(null)));
    reserve(&shop, &cart).send().await.expect_status(200);
    assert_eq!(reserved(&shop).await, 3);
    for _ in 0..2 {
        let released = release(&shop, &cart).await.expect_status(200);
        assert_eq!((reserved(&shop).await, &released.json["reserved_until"]), (0, &json!(null)));
    }
}

#[tokio::test]
async fn an_empty_cart_and_products_that_are_gone_reserve_nothing() {
    let shop = TestApi::open().await;
    switch_on(&shop).await;
    shop.stock("mug", 1).await;
    let cart = cart(&shop).await;
    reserve(&shop, &cart).send().await.expect_problem(422, "cart_empty");
    put(&shop, &cart, "mug", 2).send().await.expect_status(200);
    let short = reserve(&shop, &cart).send().await.expect_problem(409, "out_of_stock");
    assert_eq!(short.faults(), ["/items/0/quantity out_of_stock"]);
    reserve(&shop, "/v1/carts/cart_0190a0b4-4242-7424-8242-424242424242")
        .send()
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_reservation_that_ended_is_not_shown() {
    let (ambient, clock) = Ambient::steered(7, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    switch_on(&shop).await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    reserve(&shop, &cart).send().await.expect_status(200);
    clock.advance(Duration::from_mins(15));
    assert_eq!(read(&shop, &cart).await["reserved_until"], json!(null));
    reserve(&shop, &cart).send().await.expect_status(200);
    assert!(read(&shop, &cart).await["reserved_until"].is_string());
    assert_eq!(reserved(&shop).await, 2);
}

#[tokio::test]
async fn a_merge_gives_the_guests_reservation_up() {
    let shop = TestApi::open().await;
    switch_on(&shop).await;
    shop.stock("mug", 10).await;
    let guest = filled(&shop).await;
    reserve(&shop, &guest).send().await.expect_status(200);
    let ada = json!({"email": "ada@example.com", "name": "Ada", "password": "canary correct horse"});
    crate::customers::registered(&shop, &ada).await;
    let opened = crate::customers::sign_in(&shop, "ada@example.com", "canary correct horse").send().await;
    let session = opened.expect_status(201).json["token"].as_str().expect("a token").to_owned();
    let id = guest.rsplit('/').next().expect("an id");
    let merge = shop.call(Method::POST, "/v1/customers/current/cart").key(&shop.own.public);
    let merge = merge.header("orderworks-session", &session).json(&json!({"cart": id}));
    let merged = merge.send().await.expect_status(200);
    assert_eq!((reserved(&shop).await, &merged.json["items"][0]["quantity"]), (0, &json!(2)));
}
