//! The storefront without script: forms and links alone, from the first page to an order that is on its way.

use std::{collections::BTreeMap, time::Instant};

use reqwest::{Method, StatusCode, redirect::Policy};
use url::form_urlencoded;

use super::TYPED;
use crate::{
    admission::merchant_of,
    customers::token_of,
    util::{Dev, PATIENCE, http_builder, run_json},
};

/// A browser without script, which keeps cookies.
struct Visitor<'a> {
    dev: &'a Dev,
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl<'a> Visitor<'a> {
    fn new(dev: &'a Dev) -> Self {
        let http = http_builder().redirect(Policy::none()).build().expect("builds");
        Self { dev, http, cookies: BTreeMap::new() }
    }

    /// Status, address of a redirect, and text.
    async fn ask(&mut self, method: Method, path: &str, body: String) -> (StatusCode, String, String) {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.request(method, format!("{}{path}", self.dev.ready.url));
        let request = request.header("accept", "text/html").header("sec-fetch-site", "same-origin");
        let answer = request.header("cookie", cookies.join("; ")).body(body).send().await.expect("answers");
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().expect("text").split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.expect("a pair");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers().get("location").map_or("", |value| value.to_str().expect("text"));
        let location = location.to_owned();
        (answer.status(), location, answer.text().await.expect("text"))
    }

    async fn get(&mut self, path: &str) -> String {
        let (status, _, text) = self.ask(Method::GET, path, String::new()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    /// Sends a form; returns where it leads.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let (status, location, text) = self.ask(Method::POST, path, body).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {text}");
        location
    }

    /// Pays what is in the cart; returns the path of the order.
    async fn pay(&mut self, payment: &str) -> String {
        let page = self.get("/checkout").await;
        let hidden = ["key", "cart", "expected"].map(|name| (name, hidden(&page, name)));
        let mut fields: Vec<(&str, &str)> =
            hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.extend(TYPED);
        fields.push(("payment", payment));
        self.post("/checkout", &fields).await
    }

    /// Opens a page again until it leads to this one.
    async fn until_led(&mut self, path: &str, to: &str) {
        let start = Instant::now();
        loop {
            let (status, location, text) = self.ask(Method::GET, path, String::new()).await;
            if (status, location.as_str()) == (StatusCode::SEE_OTHER, to) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{path} does not lead to {to}: {text}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Loads the page of an order again until it shows this text.
    async fn until_shown(&mut self, path: &str, text: &str) -> String {
        let start = Instant::now();
        loop {
            let page = self.get(path).await;
            if page.contains(text) {
                return page;
            }
            assert!(start.elapsed() < PATIENCE, "{path} does not show {text}: {page}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// The value of a hidden field of a page.
fn hidden(page: &str, name: &str) -> String {
    let rest = page.split_once(&format!("name=\"{name}\" value=\"")).map(|(_, rest)| rest);
    let value = rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value.to_owned());
    value.unwrap_or_else(|| panic!("no field {name} in {page}"))
}

#[tokio::test]
async fn a_cart_becomes_a_fulfilled_order_without_script() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let mut visitor = Visitor::new(&dev);
    let home = visitor.get("/").await;
    assert!(home.contains("Harbour &#38; Pine") && home.contains("href=\"/p/CUP-ENAMEL\""), "{home}");
    visitor.get("/c/kitchen").await;
    let added = visitor.post("/cart", &[("sku", "CUP-ENAMEL"), ("quantity", "2")]).await;
    assert_eq!(added, "/cart");
    let order = visitor.pay("pm_card_visa").await;
    let page = visitor.until_shown(&order, "Your order is on its way.").await;
    assert!(page.contains("€25.00") && !page.contains("data-live"), "{page}");
    let id = order.trim_start_matches("/o/");
    let stored = dev.merchant().ended(id).await;
    assert_eq!((stored["status"].as_str(), stored["total_minor"].as_i64()), (Some("fulfilled"), Some(2_500)));
}

#[tokio::test]
async fn a_declined_payment_is_tried_again_with_another_card() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let mut visitor = Visitor::new(&dev);
    visitor.post("/cart", &[("sku", "CUP-ENAMEL"), ("quantity", "1")]).await;
    let declined = visitor.pay("pm_card_chargeDeclined").await;
    visitor.until_shown(&declined, "The payment was declined.").await;
    assert_eq!(visitor.post(&format!("{declined}/retry"), &[]).await, "/checkout");
    let paid = visitor.pay("pm_card_visa").await;
    assert_ne!(paid, declined);
    visitor.until_shown(&paid, "Your order is on its way.").await;
    // An order that is paid is not put into a cart again.
    assert_eq!(visitor.post(&format!("{paid}/retry"), &[]).await, paid);
    assert_eq!(dev.merchant().all("/v1/orders").await.len(), 2);
}

#[tokio::test]
async fn in_sale_mode_a_visitor_waits_before_the_checkout_and_keeps_the_place() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let merchant = merchant_of(data.path()).await;
    let mut visitor = Visitor::new(&dev);
    visitor.post("/cart", &[("sku", "CUP-ENAMEL"), ("quantity", "1")]).await;
    let sale = ["merchant", "sale", merchant.as_str(), "on", "--per-minute", "6000"];
    run_json(data.path(), &[&sale[..], &["--opens-at", "2099-01-01T08:00:00Z"]].concat()).await;
    visitor.until_led("/checkout", "/waiting").await;
    let place = visitor.cookies["orderworks_place"].clone();
    let page = visitor.get("/waiting").await;
    assert!(page.contains("The sale begins at 2099-01-01 08:00 UTC."), "{page}");
    assert_eq!(visitor.cookies["orderworks_place"], place);
    run_json(data.path(), &sale).await;
    visitor.until_led("/waiting", "/checkout").await;
    let order = visitor.pay("pm_card_visa").await;
    visitor.until_shown(&order, "Your order is on its way.").await;
    assert_eq!(visitor.cookies["orderworks_place"], place);
}

#[tokio::test]
async fn a_visitor_opens_an_account_by_the_mail_and_orders_with_it() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let mut visitor = Visitor::new(&dev);
    let (email, password) = (("email", "ada@example.com"), ("password", "canary correct horse"));
    let body = [("name", "Ada Lovelace"), email, password];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(body).finish();
    let (status, _, page) = visitor.ask(Method::POST, "/account/register", body).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let token = token_of(&dev.ready.mail_folder).await;
    let asked = visitor.get(&format!("/account/verify?token={token}")).await;
    assert!(asked.contains(&format!("value=\"{token}\"")), "{asked}");
    assert_eq!(visitor.post("/account/verify", &[("token", token.as_str()), password]).await, "/sign-in");
    visitor.post("/cart", &[("sku", "CUP-ENAMEL"), ("quantity", "1")]).await;
    assert_eq!(visitor.post("/sign-in", &[email, password, ("to", "checkout")]).await, "/checkout");
    let order = visitor.pay("pm_card_visa").await;
    visitor.until_shown(&order, "Your order is on its way.").await;
    let account = visitor.get("/account").await;
    assert!(account.contains(&format!("href=\"{order}\"")), "{account}");
    let stored = dev.merchant().ended(order.trim_start_matches("/o/")).await;
    assert_eq!(stored["customer"]["email"], "ada@example.com");
}
