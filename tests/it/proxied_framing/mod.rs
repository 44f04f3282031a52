//! Request smuggling through the shipped haproxy in front of a real process: whatever end of a request proxy and API
//! see, no hidden request reaches the API, and every other request gets its own answer.
//!
//! A hidden request is of one of two kinds. One asks for a path that the proxy refuses and the API does not have: the
//! API counts it only if it was smuggled. The other, used where the standard leaves no reading in which it is a
//! request, would put a product into the catalog. The attacks are in `attacks`; those on the API alone, in `framing` of
//! its own tests.

mod attacks;

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use self::attacks::{Attack, Hidden};
use crate::util::{Client, Dev, Haproxy, PATIENCE, fetch, http};

/// What the request of an attack asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// A cart, with the secret key.
    Write,
    /// A product, with the publishable key: the proxy's cache looks up and stores the answer.
    Catalog,
}

/// The product of the request that follows an attack on its connection, and that of other clients.
const FOLLOWING: &str = "KNIFE-CHEF";
const OTHERS: [&str; 2] = ["POT-CAST-24", "LAMP-DESK"];
/// The proxy refuses all below `/metrics`; the API has no such route.
const REFUSED_PATH: &str = "/metrics-smuggled";
const SMUGGLED_PRODUCT: &str = "/v1/products/SMUGGLED";
/// The API's count of requests to paths that no route has.
const UNMATCHED: &str = r#"orderworks_http_requests_total{route="unmatched",method="GET",status="404"} "#;

/// A process behind the proxy.
struct ProxiedShop {
    dev: Dev,
    proxy: Haproxy,
    address: SocketAddr,
    /// Keeps one connection to the proxy: only its first request cannot come on a connection that others have used.
    others: reqwest::Client,
    merchant: Client,
}

impl ProxiedShop {
    /// `None` if there is no haproxy.
    async fn open(data: &tempfile::TempDir) -> Option<Self> {
        let program = Haproxy::program()?;
        let settings = [
            ("ORDERWORKS_SERVER_TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
            ("ORDERWORKS_CACHE_PRODUCT_PAGE_SECONDS", "60"),
            ("ORDERWORKS_READS_PER_IP_PER_SECOND", "100000"),
            ("ORDERWORKS_CARTS_NEW_PER_IP_PER_MINUTE", "100000"),
        ];
        let dev = Dev::start_with(data.path(), &settings).await;
        let proxy = Haproxy::start(&program, &dev.address().to_string(), None).await;
        let address = proxy.address.parse().expect("an address");
        let merchant = dev.merchant();
        Some(Self { dev, proxy, address, others: http(), merchant })
    }

    fn put(&self, path: &str, id: &str) -> String {
        let body = product("Smuggled").to_string();
        format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nx-request-id: {id}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.dev.ready.secret_key,
            body.len()
        )
    }

    fn get(&self, path: &str, lines: &str) -> String {
        let key = &self.dev.ready.secret_key;
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{lines}\r\n\r\n")
    }

    /// The requests that are hidden in an attack, one after the other.
    fn hidden(&self, attack: &Attack) -> Vec<String> {
        let refused = self.get(REFUSED_PATH, "x-request-id: smuggled");
        match attack.hidden {
            Hidden::Behind => vec![refused],
            Hidden::Within | Hidden::Valid => vec![refused, self.put(SMUGGLED_PRODUCT, "smuggled")],
        }
    }

    /// Sends an attack and a further request on one connection; checks what comes back. Returns whether the further
    /// request was answered.
    async fn attack(&self, attack: &Attack, carrier: Carrier, sku: &str, hidden: &str) -> bool {
        let ready = &self.dev.ready;
        let (target, key) = match carrier {
            Carrier::Write => ("POST /v1/carts".to_owned(), &ready.secret_key),
            Carrier::Catalog => (format!("GET /v1/products/{sku}"), &ready.publishable_key),
        };
        let harmless = format!("authorization: Bearer {key}\r\ncontent-type: application/json");
        let text = attack.text((target.as_str(), harmless.as_str()), hidden);
        let following =
            self.get(&format!("/v1/products/{FOLLOWING}"), "x-request-id: following\r\nconnection: close");
        let came = exchange(self.address, &(text + &following)).await;
        let name = attack.name;
        assert!(!came.to_lowercase().contains("smuggled"), "{name}: {came}");
        let answers = answers(&came);
        let own = answers.iter().position(|answer| answer.id == "following");
        let Some(own) = own else { return false };
        assert_eq!(own + 1, answers.len(), "{name}: {came}");
        let Answer { status, body, .. } = &answers[own];
        assert!(*status == 200 && body.contains(&format!("\"sku\":\"{FOLLOWING}\"")), "{name}: {came}");
        true
    }

    /// Requests of other clients: each gets its own answer, from the API and from the proxy's cache.
    async fn expect_own_answers(&self, name: &str, sku: &str) {
        for number in 0..4 {
            let (wanted, id) = (OTHERS[number % 2], format!("other-{number}"));
            let (of_api, told) = self.read(wanted, &self.dev.ready.secret_key, &id).await;
            assert_eq!((of_api.as_str(), told.as_str()), (wanted, id.as_str()), "{name}");
        }
        for _ in 0..2 {
            for wanted in [sku, OTHERS[0]] {
                let (of_cache, _) = self.read(wanted, &self.dev.ready.publishable_key, "other").await;
                assert_eq!(of_cache, wanted, "{name}");
            }
        }
    }

    /// The sku in the answer, and the request id that it tells.
    async fn read(&self, sku: &str, key: &str, id: &str) -> (String, String) {
        let url = format!("http://{}/v1/products/{sku}", self.address);
        let answer = self.others.get(url).bearer_auth(key).header("x-request-id", id).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{sku}");
        let told = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
        let body: serde_json::Value = answer.json().await.expect("JSON");
        (body["sku"].as_str().expect("a sku").to_owned(), told)
    }

    /// Requests for paths without a route that the API has seen.
    async fn unmatched(&self) -> Option<String> {
        let metrics = fetch(format!("{}/metrics", self.dev.ready.url)).await.text().await.expect("a text");
        metrics.lines().find_map(|line| line.strip_prefix(UNMATCHED)).map(str::to_owned)
    }

    /// That the API has seen no hidden request, and that it would have been noticed.
    async fn expect_nothing_smuggled(self) {
        let product = || self.merchant.send(Method::GET, SMUGGLED_PRODUCT, None);
        assert_eq!(product().await.0, StatusCode::NOT_FOUND);
        assert_eq!(self.unmatched().await, None);
        let refused = fetch(format!("http://{}{REFUSED_PATH}", self.address)).await;
        assert_eq!((refused.status(), self.unmatched().await), (StatusCode::NOT_FOUND, None));
        // Past the proxy, and through it as requests of their own, the hidden requests have their effects.
        exchange(self.dev.address(), &self.get(REFUSED_PATH, "connection: close")).await;
        assert_eq!(self.unmatched().await.as_deref(), Some("1"));
        let put = self.put(SMUGGLED_PRODUCT, "open") + &self.get("/livez", "connection: close");
        let put = exchange(self.address, &put).await;
        assert_eq!((answers(&put)[0].status, product().await.0), (201, StatusCode::OK), "{put}");
        drop(self.proxy);
        assert!(self.dev.stop().await.success());
    }
}

fn product(name: &str) -> serde_json::Value {
    json!({ "name": name, "category": "mugs", "price_minor": 100, "currency": "EUR" })
}

/// Sends the text and returns all that comes until the connection is closed; a reset counts as a close.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut came = Vec::new();
    let whole = async {
        drop(stream.write_all(text.as_bytes()).await);
        drop(stream.read_to_end(&mut came).await);
    };
    timeout(PATIENCE, whole).await.unwrap_or_else(|_| panic!("no end after {text:?}"));
    String::from_utf8_lossy(&came).into_owned()
}

/// An answer on a connection with several.
#[derive(Debug)]
struct Answer {
    status: u16,
    id: String,
    body: String,
}

fn answers(mut came: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some((head, rest)) = came.split_once("\r\n\r\n") {
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.trim()).to_owned()
        };
        let status: u16 = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        // Without a length all that comes is the body, but for interim answers, which have none.
        let length = field("content-length").parse().unwrap_or(if status < 200 { 0 } else { rest.len() });
        let (body, next) = rest.split_at_checked(length).unwrap_or((rest, ""));
        answers.push(Answer { status, id: field("x-request-id"), body: body.to_owned() });
        came = next;
    }
    answers
}

#[tokio::test]
async fn no_request_is_smuggled_through_the_proxy() {
    let data = tempfile::tempdir().expect("a folder");
    let Some(shop) = ProxiedShop::open(&data).await else { return };
    for attack in attacks::all() {
        for hidden in shop.hidden(&attack) {
            let went_on = shop.attack(&attack, Carrier::Write, "", &hidden).await;
            assert!(went_on || attack.hidden != Hidden::Valid, "{}: the connection goes on", attack.name);
            shop.expect_own_answers(attack.name, OTHERS[1]).await;
        }
    }
    shop.expect_nothing_smuggled().await;
}

/// Each attack asks for a product of its own, first while no answer is stored, then with one.
#[tokio::test]
async fn no_request_is_smuggled_past_the_cache_of_the_proxy() {
    let data = tempfile::tempdir().expect("a folder");
    let Some(shop) = ProxiedShop::open(&data).await else { return };
    let mut went_on = 0;
    for (number, attack) in attacks::all().iter().enumerate() {
        for (kind, hidden) in shop.hidden(attack).iter().enumerate() {
            let sku = format!("CUP-{number}-{kind}");
            let path = format!("/v1/products/{sku}");
            let (status, told) = shop.merchant.send(Method::PUT, &path, Some(&product(&sku))).await;
            assert_eq!(status, StatusCode::CREATED, "{told}");
            for _ in 0..2 {
                went_on += usize::from(shop.attack(attack, Carrier::Catalog, &sku, hidden).await);
                shop.expect_own_answers(attack.name, &sku).await;
            }
            let stored = shop.others.get(format!("http://{}{path}", shop.address));
            let stored = stored.bearer_auth(&shop.dev.ready.publishable_key).send().await.expect("an answer");
            assert!(stored.headers().contains_key("age"), "{}: {:?}", attack.name, stored.headers());
        }
    }
    assert!(went_on > 0, "connections go on after what is valid");
    shop.expect_nothing_smuggled().await;
}
