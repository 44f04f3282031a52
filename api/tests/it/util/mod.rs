//! Test harness of the API: a [`Shop`] is a running API with its stores and two merchants; [`Shop::call`] builds a
//! request; an [`Answer`] is a response that was read.

pub(crate) mod logs;
mod merchants;
pub(crate) mod raw;

use std::{num::NonZeroU32, sync::Arc};

use api::{
    AdmissionLimits, ApiConfig, ApiError, ApiParts, ApiState, CardTestingLimits, CartLimits, CheckoutLimits,
    DocsKeys, ReadLimits, ServerLimits, SignInLimits, WriteLimits,
};
use base::Ambient;
use cache::{LocalLimits, MemoryCache, MemoryConfig, SqliteSessions};
use jobs::{records::RecordStore, sqlite::SqliteEngine};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{domain::OrderId, merchants::KeyScope};
use store_sqlite::{SqliteOrders, SqlitePayments};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use webhooks::{HookCaller, UrlPolicy};

pub(crate) use self::merchants::Merchant;

/// A text that proves work of so many bits, eight at most, for this key.
pub(crate) fn proof(bits: u32, key: &str) -> String {
    let is_proof = |text: &String| Sha256::digest(format!("{key}:{text}"))[0].leading_zeros() >= bits;
    (0..u32::MAX).map(|n| n.to_string()).find(is_proof).expect("one in 256")
}

pub(crate) struct TestApi {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) http: reqwest::Client,
    /// For what the API counts itself.
    pub(crate) state: ApiState,
    pub(crate) orders: Arc<SqliteOrders>,
    pub(crate) payments: Arc<SqlitePayments>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) cache: MemoryCache,
    pub(crate) sessions: Arc<SqliteSessions>,
    pub(crate) ambient: Ambient,
    /// The merchant of most tests.
    pub(crate) own: Merchant,
    /// The other merchant.
    pub(crate) other: Merchant,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<Result<(), ApiError>>,
    pub(crate) folder: tempfile::TempDir,
}

/// A configuration whose limits no test reaches by accident.
pub(crate) fn config() -> ApiConfig {
    let plenty = NonZeroU32::new(1_000_000).expect("not zero");
    ApiConfig {
        checkout: CheckoutLimits {
            per_key_per_second: plenty,
            per_merchant_per_second: plenty,
            per_publishable_key_per_second: plenty,
            per_ip_per_second: plenty,
            invalid_per_ip_per_minute: plenty,
            burst: plenty,
        },
        reads: ReadLimits {
            per_ip_per_second: plenty,
            per_key_per_second: plenty,
            searches_per_ip_per_second: plenty,
            searches_per_key_per_second: plenty,
        },
        writes: WriteLimits {
            per_ip_per_second: plenty,
            per_key_per_second: plenty,
            per_merchant_per_second: plenty,
        },
        sign_in: SignInLimits { per_ip_per_minute: plenty, per_account_per_minute: plenty, burst: plenty },
        carts: CartLimits { new_per_ip_per_minute: plenty, new_per_merchant_per_day: plenty },
        card_testing: CardTestingLimits {
            unpaid_per_guest: plenty,
            unpaid_per_customer: plenty,
            unpaid_with_proof: plenty,
            declines_per_payment_method: plenty,
            declines_per_customer: plenty,
            alarm_payments: plenty,
            ..CardTestingLimits::default()
        },
        // No worker ends orders here, and clocks go on by days.
        admission: AdmissionLimits { order_age_max: None, cart_age_max: None, ..AdmissionLimits::default() },
        webhook_urls: UrlPolicy { allow_loopback: false },
        ..ApiConfig::default()
    }
}

impl TestApi {
    pub(crate) async fn open() -> Self {
        Self::open_with(config(), ServerLimits::default()).await
    }

    pub(crate) async fn open_with(config: ApiConfig, limits: ServerLimits) -> Self {
        Self::open_at(config, limits, Ambient::system()).await
    }

    /// The same with a given clock.
    pub(crate) async fn open_at(mut config: ApiConfig, limits: ServerLimits, ambient: Ambient) -> Self {
        logs::capture();
        // Fails if another test of this process has installed it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let orders =
            SqliteOrders::open(&folder.path().join("orders.db"), ambient.clone()).await.expect("opens");
        let payments =
            SqlitePayments::open(&folder.path().join("payments.db"), ambient.clone()).await.expect("opens");
        let engine =
            SqliteEngine::open(&folder.path().join("jobs.db"), ambient.clone()).await.expect("opens");
        let sessions =
            SqliteSessions::open(&folder.path().join("sessions.db"), ambient.clone()).await.expect("opens");
        let (orders, payments, sessions) = (Arc::new(orders), Arc::new(payments), Arc::new(sessions));
        let records: Arc<dyn RecordStore> = Arc::new(engine.records());
        let own = Merchant::create(&orders, &ambient, "own").await;
        let other = Merchant::create(&orders, &ambient, "other").await;
        // Forms of the reference act for the merchant of most tests.
        if let Some(keys) = config.docs.as_mut().and_then(|docs| docs.keys.as_mut()) {
            *keys = DocsKeys { publishable: own.public.clone().into(), secret: own.secret.clone().into() };
        }
        // So do pages of the storefront.
        if let Some(storefront) = config.storefront.as_mut() {
            storefront.key = own.public.clone().into();
        }
        let shutdown = CancellationToken::new();
        let cache = MemoryCache::new(MemoryConfig::default(), ambient.clone());
        let parts = ApiParts {
            orders: orders.clone(),
            payments: payments.clone(),
            cache: Arc::new(cache.clone()),
            shared_limits: None,
            card_limits: Arc::new(LocalLimits::new(10_000, ambient.clone())),
            sessions: sessions.clone(),
            hooks: HookCaller::new(config.webhook_urls).expect("a caller"),
            records: records.clone(),
            ambient: ambient.clone(),
            health: Vec::new(),
            shutdown: shutdown.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = ApiState::new(parts, config);
        let server = tokio::spawn(api::run(listener, api::app(state.clone()), shutdown.clone(), limits));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self {
            address,
            http,
            state,
            orders,
            payments,
            records,
            cache,
            sessions,
            ambient,
            own,
            other,
            shutdown,
            server,
            folder,
        }
    }

    /// A further secret key of `own`.
    pub(crate) async fn another_secret(&self) -> String {
        merchants::key(&self.orders, &self.ambient, self.own.id, KeyScope::Secret).await
    }

    /// A request; [`Call::send`] sends it.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call(self.http.request(method, format!("http://{}{path}", self.address)))
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path).key(&self.own.secret)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).key(&self.own.secret).json(body)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).key(&self.own.secret).json(body)
    }

    /// Adds a product of `own` with this much stock, at 250 minor units each.
    pub(crate) async fn stock(&self, sku: &str, on_hand: i64) {
        let product =
            json!({"name": format!("The {sku}"), "category": "mugs", "price_minor": 250, "currency": "EUR"});
        self.put(&format!("/v1/products/{sku}"), &product).send().await.expect_status(201);
        let counted = self.put(&format!("/v1/inventory/{sku}"), &json!({"on_hand": on_hand})).send().await;
        counted.expect_status(200);
    }

    /// Places an order of two mugs and returns it.
    pub(crate) async fn order(&self, key: &str) -> Value {
        self.place(key, &order_body()).send().await.expect_status(202).json
    }

    pub(crate) fn place(&self, key: &str, body: &Value) -> Call {
        self.call(Method::POST, "/v1/orders").key(&self.own.public).header("idempotency-key", key).json(body)
    }

    /// Number of `own`'s orders and events, and reserved units of `mug`: unchanged by a rejected request.
    pub(crate) async fn traces(&self) -> (usize, usize, i64) {
        let orders = self.get("/v1/orders?limit=100").send().await.expect_status(200);
        let events = self.get("/v1/events?limit=100").send().await.expect_status(200);
        let stock = self.get("/v1/inventory/mug").send().await.expect_status(200);
        (orders.list().len(), events.list().len(), stock.json["reserved"].as_i64().expect("a number"))
    }
}

/// A valid order of two mugs.
pub(crate) fn order_body() -> Value {
    json!({
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "currency": "EUR",
        "items": [{"sku": "mug", "quantity": 2}],
        "payment_method": "pm_card_visa",
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
            "postal_code": "SW1Y 4JH", "country": "GB",
        },
        "reference": "A-1",
    })
}

/// The id of an order in a response.
pub(crate) fn id_of(order: &Value) -> OrderId {
    order["id"].as_str().expect("an id").parse().expect("an order's id")
}

pub(crate) struct Call(reqwest::RequestBuilder);

impl Call {
    /// Replaces the API key.
    pub(crate) fn key(self, key: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {key}").parse().expect("a header value"));
        // `headers` replaces, `header` would add.
        Self(self.0.headers(headers))
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", "application/json").body(body))
    }

    /// A body without a media type.
    pub(crate) fn raw(self, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.body(body))
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.open().await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, json }
    }

    /// Sends the request without reading the body, for bodies that do not end.
    pub(crate) async fn open(self) -> reqwest::Response {
        self.0.send().await.expect("an answer")
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Expects a well-formed problem with this status and code.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect_status(status);
        assert_eq!(answer.json["code"], code, "{}", answer.text);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json["status"], status);
        assert_eq!(answer.json["request_id"], answer.header("x-request-id"));
        for text in ["type", "title", "detail"] {
            assert!(
                answer.json[text].as_str().is_some_and(|text| !text.is_empty()),
                "{text}: {}",
                answer.text
            );
        }
        assert!(answer.json["type"].as_str().is_some_and(|kind| kind.starts_with("https://")));
        assert!(answer.json["errors"].is_array());
        answer
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The values of a field that may be sent several times.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    pub(crate) fn list(&self) -> &Vec<Value> {
        assert_eq!(self.json["object"], "list", "{}", self.text);
        self.json["data"].as_array().expect("a list")
    }

    /// `pointer code` of each error, sorted.
    pub(crate) fn faults(&self) -> Vec<String> {
        let errors = self.json["errors"].as_array().expect("errors");
        let text = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let mut faults: Vec<_> = errors
            .iter()
            .map(|error| format!("{} {}", text(error, "pointer"), text(error, "code")))
            .collect();
        faults.sort();
        faults
    }
}
