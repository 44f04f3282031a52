//! The shipped haproxy in front of a real process: the client address that the API sees, behind one proxy and behind
//! two.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use reqwest::{Client as Http, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::util::{Dev, Haproxy, PATIENCE, fetch};

/// Invalid orders that an address may send at once.
const ALLOWANCE: usize = 3;

/// A client at one of this machine's own addresses.
struct Visitor<'a> {
    http: Http,
    url: String,
    key: &'a str,
}

impl<'a> Visitor<'a> {
    fn at(last: u8, dev: &'a Dev, proxy: &Haproxy) -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let http = Http::builder().no_proxy().local_address(address).build().expect("a client");
        Self { http, url: format!("http://{}/v1/orders", proxy.address), key: &dev.ready.publishable_key }
    }

    /// Sends an invalid order, which counts against the allowance of the address; the header claims another address.
    async fn order(&self, forwarded_for: &str) -> StatusCode {
        let request = self.http.post(&self.url).bearer_auth(self.key).json(&json!({}));
        let request = request.header("idempotency-key", "k").header("x-forwarded-for", forwarded_for);
        request.send().await.expect("an answer").status()
    }

    /// Expects an allowance of its own for this client, whatever address it claims.
    async fn expect_own_allowance(&self) {
        for n in 0..ALLOWANCE {
            assert_eq!(self.order(&format!("198.51.100.{n}")).await, StatusCode::UNPROCESSABLE_ENTITY);
        }
        for forged in ["198.51.100.77", "127.0.0.99", "127.0.0.1, 198.51.100.78", "nonsense", ""] {
            assert_eq!(self.order(forged).await, StatusCode::TOO_MANY_REQUESTS, "{forged}");
        }
    }
}

/// The process and the program; `None` if there is no haproxy.
async fn shop(data: &tempfile::TempDir) -> Option<(Dev, String)> {
    let program = Haproxy::program()?;
    let allowance = ALLOWANCE.to_string();
    let settings = [
        ("ORDERWORKS_SERVER_TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
        ("ORDERWORKS_CHECKOUT_INVALID_PER_IP_PER_MINUTE", &allowance),
    ];
    Some((Dev::start_with(data.path(), &settings).await, program))
}

fn address(dev: &Dev) -> &str {
    dev.ready.url.trim_start_matches("http://").trim_end_matches('/')
}

#[tokio::test]
async fn behind_one_proxy_each_client_is_its_own_address() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, program)) = shop(&data).await else { return };
    let proxy = Haproxy::start(&program, address(&dev), None).await;
    for last in [21, 22] {
        Visitor::at(last, &dev, &proxy).expect_own_allowance().await;
    }
    dev.stop().await;
}

#[tokio::test]
async fn behind_two_proxies_each_client_is_its_own_address() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, program)) = shop(&data).await else { return };
    let inner = Haproxy::start(&program, address(&dev), Some("127.0.0.1 192.0.2.0/24")).await;
    let outer = Haproxy::start(&program, &inner.address, None).await;
    for last in [31, 32] {
        Visitor::at(last, &dev, &outer).expect_own_allowance().await;
    }
    // Past the outer proxy no claimed address is trusted.
    Visitor::at(33, &dev, &inner).expect_own_allowance().await;
    dev.stop().await;
}

#[tokio::test]
async fn a_proxy_closes_on_dripping_heads_and_hides_metrics() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((dev, program)) = shop(&data).await else { return };
    let proxy = Haproxy::start(&program, address(&dev), None).await;
    let metrics = fetch(format!("http://{}/metrics", proxy.address)).await;
    assert_eq!(metrics.status(), StatusCode::NOT_FOUND);
    let own = fetch(format!("http://{}/metrics", address(&dev))).await;
    let told = own.text().await.expect("a body");
    assert!(told.contains("orderworks_rate_limited_total{limit=\"checkout-invalid\"} 0"), "{told}");

    let mut stream = TcpStream::connect(&proxy.address).await.expect("connects");
    let mut answer = Vec::new();
    let (mut read, mut write) = stream.split();
    let drip = async {
        // One byte per second, until the connection is closed.
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ".iter().chain([b'a'; 60].iter()) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let closed = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer));
    tokio::select! {
        closed = closed => drop(closed.expect("closed in time")),
        () = drip => panic!("it took the whole head"),
    }
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    dev.stop().await;
}
