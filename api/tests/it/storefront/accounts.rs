//! Accounts on pages: registering, signing in and out, the cart that comes along, own orders, own data and its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Browser, filled_in, open};
use crate::{
    customers::{mailed, registered},
    util::TestApi,
};

const PASSWORD: &str = "canary correct horse";
const CREDENTIALS: [(&str, &str); 2] = [("email", "ada@example.com"), ("password", PASSWORD)];

/// A browser in which a customer is signed in, who has just registered.
async fn signed_in(shop: &TestApi) -> Browser<'_> {
    registered(shop, &json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": PASSWORD}))
        .await;
    let mut browser = Browser::new(shop);
    assert_eq!(browser.post("/sign-in", &CREDENTIALS).await.leads_to(), "/account");
    browser
}

/// The id of an order that this browser places.
async fn ordered(browser: &mut Browser<'_>) -> String {
    browser.add("mug", "1").await;
    let form = browser.checkout().await;
    browser.pay(&form).await.leads_to().trim_start_matches("/o/").to_owned()
}

#[tokio::test]
async fn a_visitor_opens_an_account() {
    let shop = open().await;
    let mut browser = Browser::new(&shop);
    let name = ("name", "Ada Lovelace");
    let short = [name, CREDENTIALS[0], ("password", "short")];
    let again = browser.post("/account/register", &short).await.expect_status(422);
    again.expect_text("id=\"password-wrong\"");
    again.expect_text("value=\"ada@example.com\"");
    assert!(!again.text.contains("value=\"short\""), "a password is in no page");
    let whole = [name, CREDENTIALS[0], CREDENTIALS[1]];
    browser.post("/account/register", &whole).await.expect_status(200).expect_text("A mail is on its way.");
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    let wrong = [("token", token.expose()), ("password", "another pass of words")];
    browser.post("/account/verify", &wrong).await.expect_status(422);
    let right = [("token", token.expose()), ("password", PASSWORD)];
    assert_eq!(browser.post("/account/verify", &right).await.leads_to(), "/sign-in");
    assert_eq!(browser.post("/sign-in", &CREDENTIALS).await.leads_to(), "/account");
    browser.get("/account").await.expect_text("You are signed in as ada@example.com.");
}

#[tokio::test]
async fn a_customer_orders_with_the_cart_that_was_filled_before() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    registered(&shop, &json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": PASSWORD}))
        .await;
    let mut browser = Browser::new(&shop);
    assert_eq!(browser.get("/account").await.leads_to(), "/sign-in");
    browser.add("mug", "2").await;
    let wrong = [CREDENTIALS[0], ("password", "another pass of words")];
    let refused = browser.post("/sign-in", &wrong).await.expect_status(401);
    refused.expect_text("No account has this address and password.");
    let opened = browser.post("/sign-in", &[CREDENTIALS[0], CREDENTIALS[1], ("to", "checkout")]).await;
    assert_eq!(opened.leads_to(), "/checkout");
    let elsewhere =
        Browser::new(&shop).post("/sign-in", &[CREDENTIALS[0], CREDENTIALS[1], ("to", "//evil")]).await;
    assert_eq!(elsewhere.leads_to(), "/account", "signing in leads to no other site");

    let page = browser.get("/checkout").await.expect_status(200);
    page.expect_text("You are signed in as ada@example.com.");
    page.expect_text("Pay €5.00");
    assert!(!page.text.contains("name=\"email\""), "{}", page.text);
    let order = browser.pay(&filled_in(&page, "pm_card_visa")).await.leads_to().to_owned();
    browser.get("/account").await.expect_text(&format!("href=\"{order}\""));
    // On another device the session opens the order without its token.
    let mut device = Browser::new(&shop);
    device.post("/sign-in", &CREDENTIALS).await;
    device.get(&order).await.expect_text("12 St James&#39;s Square");

    assert_eq!(browser.post("/sign-out", &[]).await.leads_to(), "/");
    assert_eq!(browser.get("/account").await.leads_to(), "/sign-in");
    let after = browser.get(&order).await.expect_status(200);
    assert!(!after.text.contains("St James"), "{}", after.text);
}

#[tokio::test]
async fn signing_in_over_a_planted_session_ends_it() {
    let shop = open().await;
    for (email, name) in [("ada@example.com", "Ada Lovelace"), ("eve@example.com", "Eve")] {
        registered(&shop, &json!({"email": email, "name": name, "password": PASSWORD})).await;
    }
    let mut eve = Browser::new(&shop);
    let of_eve = [("email", "eve@example.com"), CREDENTIALS[1]];
    assert_eq!(eve.post("/sign-in", &of_eve).await.leads_to(), "/account");
    let planted = eve.cookies["orderworks_session"].clone();

    let mut ada = eve.clone();
    let wrong = [CREDENTIALS[0], ("password", "another pass of words")];
    ada.post("/sign-in", &wrong).await.expect_status(401);
    ada.get("/account").await.expect_text("You are signed in as eve@example.com.");
    assert_eq!(ada.post("/sign-in", &CREDENTIALS).await.leads_to(), "/account");
    assert_ne!(ada.cookies["orderworks_session"], planted);
    ada.get("/account").await.expect_text("You are signed in as ada@example.com.");
    // The browser forgets a session that has ended.
    assert_eq!(eve.get("/account").await.leads_to(), "/account");
    assert!(!eve.cookies.contains_key("orderworks_session"), "the planted one names no account");
}

#[tokio::test]
async fn a_session_that_has_ended_makes_a_guest_again() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = Browser::new(&shop);
    browser.cookies.insert("orderworks_session".to_owned(), "ows_none".to_owned());
    assert_eq!(browser.get("/account").await.leads_to(), "/account");
    assert_eq!(browser.get("/account").await.leads_to(), "/sign-in");
    browser.cookies.insert("orderworks_session".to_owned(), "ows_none".to_owned());
    let added = browser.post("/cart", &[("sku", "mug"), ("quantity", "1")]).await;
    assert_eq!(added.leads_to(), "/cart");
    assert!(!browser.cookies.contains_key("orderworks_session"));
    browser.add("mug", "1").await;
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_the_link_of_a_mail() {
    let shop = open().await;
    registered(&shop, &json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": PASSWORD}))
        .await;
    let mut browser = Browser::new(&shop);
    let sent = browser.post("/account/forgot", &[CREDENTIALS[0]]).await.expect_status(200);
    sent.expect_text("A code is sent to the address, if it has an account.");
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    let page = browser.get(&format!("/account/reset?token={}", token.expose())).await.expect_status(200);
    page.expect_text(&format!("value=\"{}\"", token.expose()));
    assert_eq!(page.text.matches(token.expose()).count(), 1, "it is in no link: {}", page.text);
    let new = "another pass of words";
    let wrong = [("token", "owv_none"), ("password", new)];
    browser.post("/account/reset", &wrong).await.expect_status(422).expect_text("The code is unknown");
    let right = [("token", token.expose()), ("password", new)];
    assert_eq!(browser.post("/account/reset", &right).await.leads_to(), "/sign-in");
    browser.post("/sign-in", &CREDENTIALS).await.expect_status(401);
    assert_eq!(browser.post("/sign-in", &[CREDENTIALS[0], ("password", new)]).await.leads_to(), "/account");
}

#[tokio::test]
async fn a_customer_downloads_the_own_data() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = signed_in(&shop).await;
    let order = ordered(&mut browser).await;
    browser.get("/account").await.expect_text("href=\"/account/export\"");
    let file = browser.get("/account/export").await.expect_status(200);
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"customer-export.json\"");
    assert_eq!((file.header("content-type"), file.header("cache-control")), ("application/json", "no-store"));
    let export: Value = serde_json::from_str(&file.text).expect("JSON");
    assert_eq!(
        (&export["customer"]["email"], &export["orders"][0]["id"]),
        (&json!("ada@example.com"), &json!(order))
    );
    assert_eq!(export["orders"][0]["shipping_address"]["city"], "London");
    assert_eq!(Browser::new(&shop).get("/account/export").await.leads_to(), "/sign-in");
}

#[tokio::test]
async fn a_customer_signs_out_on_all_devices_at_once() {
    let shop = open().await;
    let mut browser = signed_in(&shop).await;
    let mut device = Browser::new(&shop);
    device.post("/sign-in", &CREDENTIALS).await;
    let account = browser.get("/account").await.expect_status(200);
    let counted = ["Signed in on ", "this browser"].map(|text| account.text.matches(text).count());
    assert_eq!(counted, [2, 1], "{}", account.text);
    assert_eq!(browser.post("/account/sessions/end", &[]).await.leads_to(), "/");
    assert!(!browser.cookies.contains_key("orderworks_session"));
    assert_eq!(device.get("/account").await.leads_to(), "/account", "and its cookie is taken");
    assert_eq!(device.get("/account").await.leads_to(), "/sign-in");
    assert_eq!(device.get("/account/delete").await.leads_to(), "/sign-in");
    assert_eq!(device.post("/account/delete", &[CREDENTIALS[1]]).await.leads_to(), "/sign-in");
    device.post("/sign-in", &CREDENTIALS).await;
    device.get("/account").await.expect_status(200);
}

#[tokio::test]
async fn an_account_is_deleted_with_its_password_alone() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = signed_in(&shop).await;
    let order = ordered(&mut browser).await;
    browser.get("/account/delete").await.expect_status(200).expect_text("cannot be brought back");
    let erase = ("erase", "yes");
    for (password, status) in [("another pass of words", 401), ("", 422)] {
        let refused = browser.post("/account/delete", &[("password", password), erase]).await;
        let refused = refused.expect_status(status);
        refused.expect_text("This is not the password of the account.");
        refused.expect_text("value=\"yes\" checked");
        assert!(password.is_empty() || !refused.text.contains(password), "a password is in no page");
    }
    let refused = browser.post("/account/delete", &[CREDENTIALS[1], erase]).await.expect_status(409);
    refused.expect_text("Some orders are not completed yet");
    browser.get("/account").await.expect_status(200);

    let deleted = browser.post("/account/delete", &[CREDENTIALS[1]]).await.expect_status(200);
    deleted.expect_text("Your account is deleted.");
    assert!(!deleted.text.contains("href=\"/account\""), "{}", deleted.text);
    assert!(!browser.cookies.contains_key("orderworks_session"));
    browser.post("/sign-in", &CREDENTIALS).await.expect_status(401);
    let kept = shop.get(&format!("/v1/orders/{order}")).send().await.expect_status(200).json;
    assert_eq!(kept["customer"]["name"], "Ada Lovelace", "the shop's order stays");
}

#[tokio::test]
async fn a_customer_erases_the_own_name_from_orders_that_have_ended() {
    let shop = open().await;
    shop.stock("mug", 10).await;
    let mut browser = signed_in(&shop).await;
    let order = format!("/v1/orders/{}", ordered(&mut browser).await);
    shop.post(&format!("{order}/cancel"), &json!({})).send().await.expect_status(200);
    let form = [CREDENTIALS[1], ("erase", "yes")];
    browser.post("/account/delete", &form).await.expect_status(200).expect_text("Your account is deleted.");
    let kept = shop.get(&order).send().await.expect_status(200).json;
    assert_eq!((&kept["customer"], &kept["total_minor"]), (&json!(null), &json!(250)));
}
