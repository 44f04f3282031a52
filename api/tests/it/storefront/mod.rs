//! The storefront over real HTTP, by a browser without script: forms, redirects and cookies.

mod accounts;
mod buying;
mod cached_pages;
mod foreign;
mod pages;
mod protection;
mod reservations;

use std::collections::BTreeMap;

use api::{ApiConfig, ServerLimits, StorefrontConfig};
use reqwest::{Method, header::HeaderMap, redirect::Policy};
use serde_json::json;
use url::form_urlencoded;

use crate::util::{TestApi, config};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Settings of a storefront; the harness puts the key of its merchant in.
fn pages_of_shop() -> StorefrontConfig {
    StorefrontConfig {
        name: "Harbour & Pine".to_owned(),
        key: String::new().into(),
        host: None,
        https: false,
        payment_methods: vec!["pm_card_visa".to_owned(), "pm_card_chargeDeclined".to_owned()],
    }
}

async fn open() -> TestApi {
    open_with(pages_of_shop()).await
}

async fn open_with(storefront: StorefrontConfig) -> TestApi {
    let config = ApiConfig { storefront: Some(storefront), ..config() };
    TestApi::open_with(config, ServerLimits::default()).await
}

/// Creates a product of which three can be ordered.
async fn priced(shop: &TestApi, sku: &str, name: &str, price_minor: i64, currency: &str) {
    let product =
        json!({"name": name, "category": "table", "price_minor": price_minor, "currency": currency});
    shop.put(&format!("/v1/products/{sku}"), &product).send().await.expect_status(201);
    let stock = json!({"on_hand": 3});
    shop.put(&format!("/v1/inventory/{sku}"), &stock).send().await.expect_status(200);
}

/// A browser without script. It keeps cookies and follows no redirect by itself.
#[derive(Clone)]
struct Browser<'a> {
    shop: &'a TestApi,
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
    language: &'static str,
    /// Address that the proxy before the API tells.
    address: &'static str,
}

/// An answer as a browser sees it.
#[derive(Debug)]
struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl<'a> Browser<'a> {
    fn new(shop: &'a TestApi) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
        Self { shop, http, cookies: BTreeMap::new(), language: "en", address: "203.0.113.1" }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.request(method, format!("http://{}{path}", self.shop.address));
        let request = request.header("accept", "text/html").header("accept-language", self.language);
        let request = request.header("x-forwarded-for", self.address);
        if pairs.is_empty() { request } else { request.header("cookie", pairs.join("; ")) }
    }

    async fn page(&mut self, request: reqwest::RequestBuilder) -> Page {
        let response = request.send().await.expect("answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let text = cookie.to_str().expect("text");
            assert!(text.contains("; Path=/; ") && text.contains("; HttpOnly; SameSite=Lax"), "{text}");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let text = response.text().await.expect("text");
        Page { status, headers, text }
    }

    async fn get(&mut self, path: &str) -> Page {
        let request = self.request(Method::GET, path);
        self.page(request).await
    }

    /// Sends a form as a page of this host would.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin");
        self.page(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// Puts so many of a product into the cart.
    async fn add(&mut self, sku: &str, quantity: &str) {
        let added = self.post("/cart", &[("sku", sku), ("quantity", quantity)]).await;
        assert_eq!(added.leads_to(), "/cart");
    }

    /// The form of the checkout, filled in.
    async fn checkout(&mut self) -> Vec<(String, String)> {
        let page = self.get("/checkout").await.expect_status(200);
        filled_in(&page, "pm_card_visa")
    }

    async fn pay(&mut self, form: &[(String, String)]) -> Page {
        let fields: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post("/checkout", &fields).await
    }
}

/// The hidden fields of a checkout page with what a guest types.
fn filled_in(page: &Page, payment: &str) -> Vec<(String, String)> {
    let typed = [
        ("email", "ada@example.com"),
        ("name", "Ada Lovelace"),
        ("line1", "12 St James's Square"),
        ("postal_code", "SW1Y 4JH"),
        ("city", "London"),
        ("country", "gb"),
        ("payment", payment),
    ];
    let hidden = ["key", "cart", "expected"].map(|name| (name, page.hidden(name)));
    let fields = hidden.into_iter().chain(typed.map(|(name, value)| (name, value.to_owned())));
    fields.map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Page {
    #[track_caller]
    fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Where a redirect leads.
    #[track_caller]
    fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.header("location")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The value of a hidden field.
    #[track_caller]
    fn hidden(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let rest = self.text.split_once(&begin).map(|(_, rest)| rest);
        let value = rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value.to_owned());
        value.unwrap_or_else(|| panic!("no field {name} in {}", self.text))
    }

    #[track_caller]
    fn expect_text(&self, text: &str) {
        assert!(self.text.contains(text), "{text} is not in {}", self.text);
    }
}

/// What holds for every page.
#[track_caller]
fn expect_policy(path: &str, page: &Page) {
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
    assert_eq!(page.header("content-security-policy"), POLICY, "{path}");
    assert_eq!(page.header("x-frame-options"), "DENY", "{path}");
    assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
    for banned in
        ["style=", "onclick", "javascript:", "http-equiv", "src=\"http", "href=\"http", "owk_", "ows_"]
    {
        assert!(!page.text.contains(banned), "{path}: {banned}: {}", page.text);
    }
    assert_eq!(page.text.matches("<script").count(), 1, "{path}: its own file alone");
    assert_eq!(page.text.matches("<h1").count(), 1, "{path}");
}
