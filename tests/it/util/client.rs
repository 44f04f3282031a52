//! HTTP client of the API for tests.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::PATIENCE;

/// Plain HTTP client without a limit on time, for what needs no API key.
pub(crate) fn http() -> reqwest::Client {
    http_builder().build().expect("builds")
}

/// The same to be completed. reqwest panics without a process-wide provider of cryptography.
pub(crate) fn http_builder() -> reqwest::ClientBuilder {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy()
}

/// Calls a URL without an API key.
pub(crate) async fn fetch(url: impl reqwest::IntoUrl) -> reqwest::Response {
    http().get(url).send().await.expect("answers")
}

/// A client with one API key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Client {
    pub(crate) fn new(base: &str, key: &str) -> Self {
        let http = http_builder().timeout(Duration::from_secs(20)).build().expect("builds");
        Self { http, base: base.to_owned(), key: key.to_owned() }
    }

    /// The same client for another server.
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same client with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.send_with(method, path, &[], body).await
    }

    /// The same with further headers.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        self.try_send(method, path, headers, body).await.expect("answers")
    }

    /// The same where a response may not come.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let request = self.request(method, path);
        let mut request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.json().await.unwrap_or(Value::Null)))
    }

    /// The response whatever its status; `None` if the server does not answer.
    pub(crate) async fn try_get(&self, path: &str) -> Option<Value> {
        self.request(Method::GET, path).send().await.ok()?.json().await.ok()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Places an order under a key; an error means that no response came.
    pub(crate) async fn place(&self, key: &str, body: &Value) -> Result<(StatusCode, Value), reqwest::Error> {
        let answer = self.place_whole(key, body).await?;
        Ok((answer.status(), answer.json().await?))
    }

    /// The same with the whole response.
    pub(crate) async fn place_whole(
        &self,
        key: &str,
        body: &Value,
    ) -> Result<reqwest::Response, reqwest::Error> {
        self.request(Method::POST, "/v1/orders").header("idempotency-key", key).json(body).send().await
    }

    /// Places an order, expects it to be accepted, and returns its id.
    pub(crate) async fn accepted(&self, key: &str, method: &str) -> String {
        let (status, body) = self.place(key, &order("CUP-ENAMEL", 1, method)).await.expect("answers");
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    /// Polls until the order has ended, and returns it. Plain HTTP has no push.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let start = Instant::now();
        loop {
            let order = self.get(&format!("/v1/orders/{id}")).await;
            if !matches!(order["status"].as_str(), Some("pending" | "paid")) {
                return order;
            }
            assert!(start.elapsed() < PATIENCE, "{id} does not end: {order}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One page of a list route.
    pub(crate) async fn get_list(&self, path: &str) -> Vec<Value> {
        self.get(path).await["data"].as_array().expect("a list").clone()
    }

    /// All items of a list route.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        self.all_where(path, "").await
    }

    /// All items that match further parameters, such as `&status=paid`.
    pub(crate) async fn all_where(&self, path: &str, parameters: &str) -> Vec<Value> {
        let mut items: Vec<Value> = Vec::new();
        loop {
            let after =
                items.last().map(|last| format!("&starting_after={}", last["id"].as_str().expect("an id")));
            let page = self.get(&format!("{path}?limit=100{parameters}{}", after.unwrap_or_default())).await;
            items.extend(page["data"].as_array().expect("a list").iter().cloned());
            if page["has_more"] != true {
                return items;
            }
        }
    }
}

/// Body of an order.
pub(crate) fn order(sku: &str, quantity: u32, method: &str) -> Value {
    json!({
        "customer": { "email": "ada@example.com", "name": "Ada Lovelace" },
        "currency": "EUR",
        "items": [{ "sku": sku, "quantity": quantity }],
        "payment_method": method,
    })
}
