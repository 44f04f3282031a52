//! Orders and carts of others on pages: what a visitor reaches who knows their ids.

use serde_json::json;
use store::{
    domain::{OrderId, PaymentId},
    orders::Orders,
};

use super::{Browser, filled_in, open};
use crate::{
    customers::registered,
    util::{TestApi, order_body},
};

const PASSWORD: &str = "canary correct horse";
const CART: &str = "orderworks_cart";

async fn sign_in(browser: &mut Browser<'_>, email: &str) {
    assert_eq!(
        browser.post("/sign-in", &[("email", email), ("password", PASSWORD)]).await.leads_to(),
        "/account"
    );
}

/// Ends the order's payment as a worker does whose provider declines it.
async fn decline(shop: &TestApi, id: &str) {
    let id: OrderId = id.parse().expect("an order's id");
    let failed =
        shop.orders.mark_payment_failed(id, PaymentId::of_order(id), "card_declined", shop.ambient.now());
    failed.await.expect("declines");
}

#[tokio::test]
async fn another_attempt_at_an_order_of_another_customer_is_an_order_of_ones_own() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut ada = Browser::new(&shop);
    ada.add("mug", "2").await;
    let form = ada.checkout().await;
    let order = ada.pay(&form).await.leads_to().to_owned();
    let (id, retry) = (order.trim_start_matches("/o/"), format!("{order}/retry"));
    let stored = async || shop.get(&format!("/v1/orders/{id}")).send().await.expect_status(200).json;

    let mut stranger = Browser::new(&shop);
    assert_eq!(stranger.post(&retry, &[]).await.leads_to(), order, "nothing has failed");
    assert!(!stranger.cookies.contains_key(CART));
    decline(&shop, id).await;
    let before = stored().await;
    assert_eq!(before["status"], "payment_failed");
    assert_eq!(stranger.post(&retry, &[]).await.leads_to(), "/checkout");
    let page = stranger.get("/checkout").await.expect_status(200);
    page.expect_text("Pay €5.00");
    for personal in ["ada@example.com", "Lovelace", "St James"] {
        assert!(!page.text.contains(personal), "{personal}: {}", page.text);
    }
    let paid = stranger.pay(&filled_in(&page, "pm_card_visa")).await;
    assert!(paid.leads_to().starts_with("/o/ord_") && paid.leads_to() != order, "{}", paid.leads_to());
    assert_eq!(stored().await, before);
    assert_eq!(ada.post(&retry, &[]).await.leads_to(), "/checkout", "its customer may still");
}

#[tokio::test]
async fn an_order_of_another_merchant_is_tried_again_as_one_that_is_none() {
    let shop = open().await;
    let product = json!({"name": "Mug", "category": "mugs", "price_minor": 100, "currency": "EUR"});
    for (path, body) in [("/v1/products/mug", product), ("/v1/inventory/mug", json!({"on_hand": 10}))] {
        shop.put(path, &body).key(&shop.other.secret).send().await;
    }
    let theirs = shop.place("k1", &order_body()).key(&shop.other.public).send().await.expect_status(202);
    let theirs = theirs.json["id"].as_str().expect("an id");
    decline(&shop, theirs).await;
    let mut visitor = Browser::new(&shop);
    for id in [theirs, "ord_0190a0b4-4242-7424-8242-424242424242", "nonsense"] {
        visitor.get(&format!("/o/{id}")).await.expect_status(404);
        visitor.get(&format!("/o/{id}/events")).await.expect_status(404);
        visitor.post(&format!("/o/{id}/retry"), &[]).await.expect_status(404);
    }
    assert!(!visitor.cookies.contains_key(CART), "{:?}", visitor.cookies);
}

#[tokio::test]
async fn the_cart_of_another_customer_is_none_to_a_visitor_who_has_its_cookie() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    for email in ["ada@example.com", "eve@example.com"] {
        registered(&shop, &json!({"email": email, "name": "Ada Lovelace", "password": PASSWORD})).await;
    }
    let mut ada = Browser::new(&shop);
    sign_in(&mut ada, "ada@example.com").await;
    ada.add("mug", "2").await;
    let (cart, form) = (ada.cookies[CART].clone(), ada.checkout().await);

    let guest = Browser::new(&shop);
    let (mut eve, mut late) = (guest.clone(), guest.clone());
    sign_in(&mut eve, "eve@example.com").await;
    late.cookies.insert(CART.to_owned(), cart.clone());
    sign_in(&mut late, "eve@example.com").await;
    for mut visitor in [guest, eve, late] {
        visitor.cookies.insert(CART.to_owned(), cart.clone());
        visitor.get("/cart").await.expect_text("Your cart is empty.");
        assert_eq!(visitor.get("/checkout").await.leads_to(), "/cart");
        visitor.post("/cart/items", &[("sku", "mug"), ("quantity", "0")]).await.expect_status(404);
        assert_eq!(visitor.pay(&form).await.leads_to(), "/cart", "with all that its own form sends");
        visitor.add("mug", "1").await;
        assert_ne!(visitor.cookies[CART], cart, "a cart of its own");
    }
    assert_eq!(shop.traces().await.0, 0);
    ada.get("/cart").await.expect_text("€5.00");
    assert!(ada.pay(&form).await.leads_to().starts_with("/o/ord_"));
}
