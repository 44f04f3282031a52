//! The storefront in real use, with workers behind it: without script over HTTP, and in a browser.

mod accessibility;
mod journey;
mod without_script;

use serde_json::json;

use crate::util::{Browser, Dev};

/// What a guest types at checkout: names of fields and their values.
const TYPED: [(&str, &str); 6] = [
    ("email", "ada@example.com"),
    ("name", "Ada Lovelace"),
    ("line1", "12 St James's Square"),
    ("postal_code", "SW1Y 4JH"),
    ("city", "London"),
    ("country", "GB"),
];

/// A visitor in a browser.
struct Shopper<'a> {
    browser: &'a Browser,
    base: &'a str,
}

impl<'a> Shopper<'a> {
    fn new(browser: &'a Browser, dev: &'a Dev) -> Self {
        Self { browser, base: &dev.ready.url }
    }

    async fn visit(&self, path: &str) {
        self.browser.visit(&format!("{}{path}", self.base)).await;
    }

    /// Waits until the address has a path that begins so, and its page is there.
    async fn until_at(&self, path: &str) {
        let script =
            "return location.pathname.startsWith(arguments[0]) && document.readyState === 'complete'";
        self.browser.until(path, script, json!([path])).await;
    }

    async fn path(&self) -> String {
        self.browser.address().await.path().to_owned()
    }

    /// Puts one piece into the cart, and goes to checkout.
    async fn to_checkout(&self, sku: &str) {
        self.visit(&format!("/p/{sku}")).await;
        self.browser.click("main form button").await;
        self.until_at("/cart").await;
        self.browser.click("main a.button.main").await;
        self.until_at("/checkout").await;
    }

    /// Fills the form of the checkout in.
    async fn fill_in(&self, payment: &str) {
        for (name, value) in TYPED {
            self.browser.fill(&format!("#{name}"), value).await;
        }
        self.choose(payment).await;
    }

    async fn choose(&self, payment: &str) {
        self.browser.click(&format!("input[value={payment}]")).await;
    }

    async fn pay(&self) {
        self.browser.click("form[action='/checkout'] button").await;
    }

    /// Pays, and returns the path of the order.
    async fn order(&self) -> String {
        self.pay().await;
        self.until_at("/o/").await;
        self.path().await
    }
}
