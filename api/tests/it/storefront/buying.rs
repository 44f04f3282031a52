//! Carts and checkout of guests: one order, whatever is pressed, repeated or changed meanwhile.

use api::{ApiConfig, ServerLimits};
use futures::future::join_all;
use serde_json::json;
use store::{checkout::HookOtherwise, domain::AdjustmentKind};

use super::{Browser, filled_in, open, pages_of_shop, priced};
use crate::{
    hooks::{ShopServer, adjustments, reaching_this_machine},
    util::{Answer, TestApi},
};

async fn orders(shop: &TestApi) -> Answer {
    shop.get("/v1/orders?limit=100").send().await.expect_status(200)
}

#[tokio::test]
async fn a_guest_orders_without_script() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.get("/cart").await.expect_text("Your cart is empty.");
    assert_eq!(browser.get("/checkout").await.leads_to(), "/cart", "nothing to order");
    browser.get("/p/mug").await.expect_text("action=\"/cart\"");
    browser.add("mug", "1").await;
    browser.add("mug", "2").await;
    let cart = browser.get("/cart").await;
    cart.expect_text("€7.50");
    let changed = browser.post("/cart/items", &[("sku", "mug"), ("quantity", "2")]).await;
    assert_eq!(changed.leads_to(), "/cart");
    let page = browser.get("/checkout").await;
    page.expect_text("Pay €5.00");
    assert_eq!(page.hidden("expected"), "500");
    assert!(browser.cookies.contains_key("orderworks_device"), "unpaid orders count by device, too");
    let paid = browser.pay(&filled_in(&page, "pm_card_visa")).await;
    let order = paid.leads_to().to_owned();
    let shown = browser.get(&order).await.expect_status(200);
    shown.expect_text("The payment is under way.");
    shown.expect_text("12 St James&#39;s Square");
    shown.expect_text(&format!("data-live=\"{order}/events\""));
    browser.get("/cart").await.expect_text("Your cart is empty.");
    let id = order.trim_start_matches("/o/");
    let stored = shop.get(&format!("/v1/orders/{id}")).send().await.expect_status(200).json;
    assert_eq!((&stored["total_minor"], &stored["customer"]["name"]), (&json!(500), &json!("Ada Lovelace")));
    assert_eq!(stored["shipping_address"]["country"], "GB");

    // Another browser sees the state, and no personal data.
    let mut stranger = Browser::new(&shop);
    let seen = stranger.get(&order).await.expect_status(200);
    seen.expect_text("The payment is under way.");
    assert!(!seen.text.contains("St James") && !seen.text.contains("data-live"), "{}", seen.text);
    stranger.get(&format!("{order}/events")).await.expect_status(403);
    // The back button: the cart was ordered, and the page says no more.
    assert_eq!(browser.get("/checkout").await.leads_to(), "/cart");
}

#[tokio::test]
async fn events_of_an_order_reach_the_browser_that_placed_it() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let form = browser.checkout().await;
    let order = browser.pay(&form).await.leads_to().to_owned();
    let request = browser.request(reqwest::Method::GET, &format!("{order}/events"));
    let mut stream = request.send().await.expect("answers").error_for_status().expect("a stream");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = stream.chunk().await.expect("is whole").expect("an event");
    assert!(String::from_utf8_lossy(&first).contains("event: order.placed"));
}

#[tokio::test]
async fn a_form_sent_twice_places_one_order() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let form = browser.checkout().await;
    // At the same time, as by a double click; the later answer has the token that counts.
    let mut hands: Vec<Browser<'_>> = (0..4).map(|_| browser.clone()).collect();
    let answers = join_all(hands.iter_mut().map(|hand| hand.pay(&form))).await;
    let order = answers[0].leads_to().to_owned();
    assert!(answers.iter().all(|answer| answer.leads_to() == order), "{answers:?}");
    // And again later, such as by loading the page again.
    assert_eq!(browser.pay(&form).await.leads_to(), order);
    browser.get(&order).await.expect_text("12 St James&#39;s Square");
    assert_eq!(orders(&shop).await.list().len(), 1);
    assert_eq!(shop.traces().await.2, 1, "units are reserved once");
}

#[tokio::test]
async fn two_tabs_place_one_order() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let (one, other) = (browser.checkout().await, browser.checkout().await);
    assert_ne!(one[0], other[0], "each page has a key of its own");
    let order = browser.pay(&one).await.leads_to().to_owned();
    assert_eq!(browser.pay(&other).await.leads_to(), order, "the second tab is led to the order");
    // A browser without its cookies learns that there is an order, not which.
    let mut forgetful = Browser::new(&shop);
    let told = forgetful.pay(&other).await.expect_status(409);
    told.expect_text("This cart was ordered already.");
    assert!(!told.text.contains("ord_"), "{}", told.text);
    assert_eq!(orders(&shop).await.list().len(), 1);
}

#[tokio::test]
async fn a_changed_price_is_asked_for_again() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    let form = browser.checkout().await;
    let dearer = json!({"name": "Mug", "category": "mugs", "price_minor": 300, "currency": "EUR"});
    shop.put("/v1/products/mug", &dearer).send().await.expect_status(200);
    let asked = browser.pay(&form).await.expect_status(409);
    asked.expect_text("The price has changed: your order now comes to €6.00.");
    asked.expect_text("value=\"ada@example.com\"");
    assert!(orders(&shop).await.list().is_empty(), "nothing is ordered at a price that was not shown");
    let agreed = browser.pay(&filled_in(&asked, "pm_card_visa")).await;
    assert!(agreed.leads_to().starts_with("/o/ord_"));
    assert_eq!(orders(&shop).await.list()[0]["total_minor"], 600);
}

/// A shop whose server decides discounts and shipping.
async fn open_with_hooks() -> (TestApi, ShopServer) {
    let config = ApiConfig { storefront: Some(pages_of_shop()), ..reaching_this_machine() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let kinds = [AdjustmentKind::Discount, AdjustmentKind::Shipping];
    let server = ShopServer::of(&shop, &kinds, HookOtherwise::Refuse).await;
    server.set("discount", 200, &adjustments("Ten percent", -50));
    server.set("shipping", 200, &adjustments("Parcel <b>", 490));
    shop.stock("mug", 10).await;
    (shop, server)
}

#[tokio::test]
async fn discounts_and_shipping_are_shown_and_paid() {
    let (shop, server) = open_with_hooks().await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    let page = browser.get("/checkout").await.expect_status(200);
    for text in ["Ten percent", "-€0.50", "Parcel &#60;b&#62;", "€4.90", "Pay €9.40"] {
        page.expect_text(text);
    }
    assert_eq!(page.hidden("expected"), "940");
    // Dearer to the address that was typed in.
    server.set("shipping", 200, &adjustments("Island", 990));
    let asked = browser.pay(&filled_in(&page, "pm_card_visa")).await.expect_status(409);
    asked.expect_text("The price has changed: your order now comes to €14.40.");
    asked.expect_text("Island");
    assert_eq!(asked.hidden("expected"), "1440");
    assert!(orders(&shop).await.list().is_empty(), "nothing is ordered at a price that was not shown");
    let order = browser.pay(&filled_in(&asked, "pm_card_visa")).await.leads_to().to_owned();
    let shown = browser.get(&order).await.expect_status(200);
    for text in ["Ten percent", "-€0.50", "Island", "€9.90", "€14.40"] {
        shown.expect_text(text);
    }
    assert_eq!(orders(&shop).await.list()[0]["total_minor"], 1440);
}

#[tokio::test]
async fn a_price_that_the_shop_cannot_tell_is_told_and_the_form_stays() {
    let (shop, server) = open_with_hooks().await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    let page = browser.get("/checkout").await.expect_status(200);
    server.asked();
    server.set("shipping", 500, &json!({}));
    let told = browser.pay(&filled_in(&page, "pm_card_visa")).await.expect_status(503);
    told.expect_text("The shop cannot tell the price right now.");
    told.expect_text("value=\"ada@example.com\"");
    assert_eq!(told.hidden("expected"), "940", "the total that was agreed to");
    assert_eq!(server.asked().len(), 2, "for the order, and not again for the page");
    server.set("shipping", 200, &adjustments("Parcel", 490));
    let paid = browser.pay(&filled_in(&told, "pm_card_visa")).await;
    assert!(paid.leads_to().starts_with("/o/ord_"));
    assert_eq!(orders(&shop).await.list()[0]["total_minor"], 940);
}

#[tokio::test]
async fn a_product_that_sells_out_is_told_on_every_page() {
    let shop = open().await;
    shop.stock("mug", 1).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let form = browser.checkout().await;
    shop.put("/v1/inventory/mug", &json!({"on_hand": 0})).send().await.expect_status(200);
    let refused = browser.pay(&form).await.expect_status(409);
    refused.expect_text("A product has sold out meanwhile.");
    browser.get("/cart").await.expect_text("Sold out");
    let product = browser.get("/p/mug").await;
    product.expect_text("Sold out");
    assert!(!product.text.contains("action=\"/cart\""), "it cannot be added: {}", product.text);
    browser.get("/").await.expect_text("Sold out");
    let gone = browser.post("/cart/items", &[("sku", "mug"), ("quantity", "0")]).await;
    assert_eq!(gone.leads_to(), "/cart");
    browser.get("/cart").await.expect_text("Your cart is empty.");
}

#[tokio::test]
async fn what_is_wrong_is_marked_and_the_rest_stays() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let mut form = browser.checkout().await;
    for (name, value) in &mut form {
        match name.as_str() {
            "country" => "xx".clone_into(value),
            "payment" => "4242424242424242".clone_into(value),
            _ => {}
        }
    }
    let again = browser.pay(&form).await.expect_status(422);
    again.expect_text("value=\"London\"");
    assert!(!again.text.contains("4242"), "the number of a card is in no page");
    for (name, value) in &mut form {
        if name == "payment" {
            "pm_card_visa".clone_into(value);
        }
    }
    browser.pay(&form).await.expect_status(422).expect_text("id=\"country-wrong\"");
    assert!(orders(&shop).await.list().is_empty());
}

#[tokio::test]
async fn amounts_have_the_decimals_of_their_currency_from_the_cart_to_the_order() {
    let shop = open().await;
    for (sku, currency, english, german) in [
        ("bowl", "JPY", "¥2,500", "2.500\u{a0}¥"),
        ("cup", "EUR", "€25.00", "25,00\u{a0}€"),
        ("jug", "KWD", "KWD\u{a0}2.500", "2,500\u{a0}KWD"),
    ] {
        priced(&shop, sku, sku, 1_250, currency).await;
        let mut browser = Browser::new(&shop);
        browser.add(sku, "2").await;
        browser.get("/cart").await.expect_text(english);
        let page = browser.get("/checkout").await.expect_status(200);
        page.expect_text(&format!("Pay {english}"));
        assert_eq!(page.hidden("expected"), "2500", "{currency}: in minor units");
        let order = browser.pay(&filled_in(&page, "pm_card_visa")).await.leads_to().to_owned();
        browser.get(&order).await.expect_status(200).expect_text(english);
        browser.get(&format!("{order}?lang=de")).await.expect_status(200).expect_text(german);
        let stored = shop.get(&format!("/v1/orders/{}", order.trim_start_matches("/o/"))).send().await;
        let stored = stored.expect_status(200).json;
        assert_eq!((&stored["total_minor"], &stored["currency"]), (&json!(2_500), &json!(currency)));
    }
}

#[tokio::test]
async fn a_product_in_another_currency_needs_a_cart_of_its_own() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let yen = json!({"name": "Bowl", "category": "mugs", "price_minor": 900, "currency": "JPY"});
    shop.put("/v1/products/bowl", &yen).send().await.expect_status(201);
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let refused = browser.post("/cart", &[("sku", "bowl"), ("quantity", "1")]).await.expect_status(422);
    refused.expect_text("This product is sold in another currency");
    refused.expect_text("The mug");
    for quantity in ["", "0", "-1", "x", "99999"] {
        browser.post("/cart", &[("sku", "mug"), ("quantity", quantity)]).await.expect_status(404);
    }
}
