//! Accounts on pages: registering, signing in and out, the cart that comes along, own orders.

use std::time::Duration;

use serde_json::json;

use super::{Browser, filled_in, open};
use crate::customers::{mailed, registered};

const PASSWORD: &str = "canary correct horse";
const CREDENTIALS: [(&str, &str); 2] = [("email", "ada@example.com"), ("password", PASSWORD)];

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
