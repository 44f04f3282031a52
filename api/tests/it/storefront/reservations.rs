//! Stock that the checkout reserves, where the shop has switched that on.

use std::time::Duration;

use api::{ApiConfig, ServerLimits};
use base::{Ambient, Timestamp, ambient::ManualClock};
use store::{checkout::HookOtherwise, domain::AdjustmentKind};

use super::{Browser, filled_in, open, pages_of_shop};
use crate::{
    cart_reservations::{reserved, switch_on},
    carts::read,
    hooks::{ShopServer, reaching_this_machine},
    util::{TestApi, config},
};

/// A shop with two mugs, which carts reserve for a quarter of an hour.
async fn open_reserving() -> (TestApi, ManualClock) {
    let (ambient, clock) = Ambient::steered(23, Ambient::system().now());
    let config = ApiConfig { storefront: Some(pages_of_shop()), ..config() };
    let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
    switch_on(&shop).await;
    shop.stock("mug", 2).await;
    (shop, clock)
}

/// When the reservation of the browser's cart ends, as pages write it.
async fn end(shop: &TestApi, browser: &Browser<'_>) -> String {
    let cart = read(shop, &format!("/v1/carts/{}", browser.cookies["orderworks_cart"])).await;
    let until: Timestamp = cart["reserved_until"].as_str().expect("is reserved").parse().expect("a time");
    until.strftime("%R UTC").to_string()
}

#[tokio::test]
async fn the_checkout_reserves_the_cart_and_tells_until_when() {
    let (shop, clock) = open_reserving().await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    browser.get("/cart").await.expect_status(200);
    assert_eq!(reserved(&shop).await, 0, "a cart that is not checked out reserves nothing");
    let page = browser.get("/checkout").await.expect_status(200);
    assert_eq!(reserved(&shop).await, 2);
    let until = end(&shop, &browser).await;
    let held = format!("The goods are held for you until {until}.");
    page.expect_text(&held);
    assert!(!page.text.contains("class=\"wrong\""), "its own units can be ordered: {}", page.text);

    // Loading the page again keeps them for no longer.
    clock.advance(Duration::from_mins(5));
    for (language, text) in [
        ("de", format!("Die Produkte sind bis {until} für")),
        ("ja", format!("商品は{until}までお取り置きしています。")),
        ("en", held.clone()),
    ] {
        browser.language = language;
        browser.get("/checkout").await.expect_status(200).expect_text(&text);
    }
    let again = browser.pay(&filled_in(&page, "4242424242424242")).await.expect_status(422);
    again.expect_text(&held);
    let paid = browser.pay(&filled_in(&again, "pm_card_visa")).await;
    assert!(paid.leads_to().starts_with("/o/ord_"));
    assert_eq!(reserved(&shop).await, 2, "the order's now");
}

#[tokio::test]
async fn a_reservation_that_has_ended_begins_again_with_the_page() {
    let (shop, clock) = open_reserving().await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    browser.get("/checkout").await.expect_status(200);
    let first = end(&shop, &browser).await;
    clock.advance(Duration::from_mins(15));
    let page = browser.get("/checkout").await.expect_status(200);
    let second = end(&shop, &browser).await;
    assert_ne!(first, second);
    page.expect_text(&format!("The goods are held for you until {second}."));
    assert_eq!(reserved(&shop).await, 2);
}

#[tokio::test]
async fn what_others_have_reserved_is_told_before_the_form_and_no_hook_is_asked() {
    let config = ApiConfig { storefront: Some(pages_of_shop()), ..reaching_this_machine() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let server = ShopServer::of(&shop, &[AdjustmentKind::Shipping], HookOtherwise::Refuse).await;
    switch_on(&shop).await;
    shop.stock("mug", 2).await;
    let (mut first, mut second) = (Browser::new(&shop), Browser::new(&shop));
    first.add("mug", "2").await;
    second.add("mug", "1").await;
    first.get("/checkout").await.expect_status(200);
    assert_eq!(server.asked().len(), 1);
    let told = second.get("/checkout").await.expect_status(409);
    told.expect_text("A product has sold out meanwhile.");
    told.expect_text("Sold out");
    told.expect_text("action=\"/cart/items\"");
    assert!(!told.text.contains("action=\"/checkout\""), "{}", told.text);
    assert!(server.asked().is_empty(), "nothing to price");

    // A change of the cart gives its units up, for others to buy.
    let changed = first.post("/cart/items", &[("sku", "mug"), ("quantity", "1")]).await;
    assert_eq!((changed.leads_to(), reserved(&shop).await), ("/cart", 0));
    for browser in [&mut second, &mut first] {
        browser.get("/checkout").await.expect_status(200).expect_text("The goods are held for you until");
    }
    assert_eq!(reserved(&shop).await, 2);
}

#[tokio::test]
async fn a_shop_that_does_not_reserve_promises_nothing() {
    let shop = open().await;
    shop.stock("mug", 2).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    let page = browser.get("/checkout").await.expect_status(200);
    assert!(!page.text.contains("held for you"), "{}", page.text);
    assert_eq!(reserved(&shop).await, 0);
}
