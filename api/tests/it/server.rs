//! Connections of the server: timeouts, bounds, stop.

use std::time::Duration;

use api::{ApiConfig, ApiError, ServerLimits};
use reqwest::Method;
use tokio::time::timeout;

use crate::util::{
    TestApi, config,
    raw::{self, PATIENCE},
};

const SHORT: Duration = Duration::from_millis(300);
const REQUEST: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_request_head_that_does_not_come_costs_the_connection() {
    let limits = ServerLimits { head_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    for begun in ["G", "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut stream = raw::sent(shop.address, begun).await;
        assert_eq!(raw::until_closed(&mut stream).await, "", "{begun}");
    }
    let mut stream = raw::sent(shop.address, REQUEST).await;
    answered(&mut stream).await;
    // The bound of a head does not hold while no head has begun.
    tokio::time::sleep(SHORT * 3).await;
    send(&mut stream, REQUEST).await;
    answered(&mut stream).await;
    send(&mut stream, "GET /livez").await;
    assert_eq!(raw::until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn idle_connections_are_closed_at_their_bound_and_streams_are_not_idle() {
    let limits = ServerLimits { idle_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let events = format!("/v1/orders/{}/events", order["id"].as_str().expect("an id"));
    let mut live = shop.get(&events).open().await;
    assert!(live.chunk().await.expect("a chunk").is_some());
    for (begun, answers) in [("", 0), (REQUEST, 1)] {
        let mut stream = raw::sent(shop.address, begun).await;
        assert_eq!(raw::until_closed(&mut stream).await.matches("HTTP/1.1 200").count(), answers, "{begun}");
    }
    shop.post(&format!("/v1/orders/{}/cancel", order["id"].as_str().expect("an id")), &serde_json::json!({}))
        .send()
        .await
        .expect_status(200);
    assert!(timeout(PATIENCE, live.chunk()).await.expect("the stream goes on").expect("is whole").is_some());
}

/// Reads the response to [`REQUEST`].
async fn answered(stream: &mut tokio::net::TcpStream) {
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n") {
        response.push(tokio::io::AsyncReadExt::read_u8(stream).await.expect("is served"));
    }
    assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
}

async fn send(stream: &mut tokio::net::TcpStream, text: &str) {
    tokio::io::AsyncWriteExt::write_all(stream, text.as_bytes()).await.expect("is open");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let config = ApiConfig { body_timeout: SHORT, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"curr",
        shop.own.public
    );
    let mut stream = raw::sent(shop.address, &head).await;
    let answer = raw::until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let limits = ServerLimits { connections_max: 1, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    let mut held = raw::sent(shop.address, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0_u8; 12];
    tokio::io::AsyncReadExt::read_exact(&mut held, &mut first).await.expect("is served");
    let second = shop.call(Method::GET, "/livez").send();
    tokio::pin!(second);
    assert!(timeout(SHORT, &mut second).await.is_err(), "the only slot is taken");
    drop(held);
    timeout(PATIENCE, second).await.expect("gets the slot").expect_status(200);
}

#[tokio::test]
async fn a_stop_closes_the_listener_and_finishes_what_is_open() {
    let shop = TestApi::open().await;
    shop.call(Method::GET, "/readyz").send().await.expect_status(200);
    shop.shutdown.cancel();
    let stopped = timeout(PATIENCE, shop.server).await.expect("stops in time").expect("does not panic");
    assert!(stopped.is_ok());
    assert!(tokio::net::TcpStream::connect(shop.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn what_does_not_finish_is_cut_at_the_deadline() {
    let limits = ServerLimits { drain_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n",
        shop.own.public
    );
    let mut stream = raw::sent(shop.address, &head).await;
    let mut asked = [0_u8; 21];
    // `100 Continue` shows that the handler reads the body.
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.expect("continues");
    shop.shutdown.cancel();
    let stopped = timeout(PATIENCE, shop.server).await.expect("stops in time").expect("does not panic");
    assert!(matches!(stopped, Err(ApiError::Cut { connections: 1 })), "{stopped:?}");
}

/// Requests large responses and reads none, until the server accepts no more bytes.
async fn ask_without_reading(shop: &TestApi) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = raw::sent(shop.address, "").await;
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    while let Ok(sent) = timeout(SHORT, stream.write_all(requests.as_bytes())).await {
        if sent.is_err() {
            break;
        }
    }
    stream
}

#[tokio::test]
async fn a_client_that_takes_no_answers_loses_its_connection() {
    // As a trusted proxy, so that the bound per address does not apply to the test's only address.
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let limits =
        ServerLimits { connections_max: 2, trusted_proxies, write_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    let _held = [ask_without_reading(&shop).await, ask_without_reading(&shop).await];
    timeout(PATIENCE, shop.call(Method::GET, "/livez").send())
        .await
        .expect("a slot is free")
        .expect_status(200);
}

#[tokio::test]
async fn an_exchange_has_a_deadline_and_an_event_stream_has_none() {
    let limits = ServerLimits { exchange_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let events = format!("/v1/orders/{}/events", order["id"].as_str().expect("an id"));
    let mut stream = shop.get(&events).open().await;
    assert!(stream.chunk().await.expect("a chunk").is_some());
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        shop.own.public
    );
    // The timeout of the body alone would be longer.
    let mut slow = raw::sent(shop.address, &head).await;
    assert_eq!(raw::until_closed(&mut slow).await, "");
    shop.post(&format!("/v1/orders/{}/cancel", order["id"].as_str().expect("an id")), &serde_json::json!({}))
        .send()
        .await
        .expect_status(200);
    let chunk = timeout(PATIENCE, stream.chunk()).await.expect("the stream goes on").expect("is whole");
    assert!(chunk.is_some());
}

#[tokio::test]
async fn a_connection_may_have_any_number_of_exchanges() {
    let limits = ServerLimits { exchange_timeout: SHORT, ..ServerLimits::default() };
    let shop = TestApi::open_with(config(), limits).await;
    let mut stream = raw::sent(shop.address, "").await;
    let began = std::time::Instant::now();
    let mut answer = vec![0; 64 * 1024];
    while began.elapsed() < SHORT * 3 {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .expect("is open");
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut answer).await.expect("is open");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(SHORT / 5).await;
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let limits = ServerLimits { connections_per_address_max: 2, ..ServerLimits::default() };
    for (trusted, is_served) in [(Vec::new(), false), (vec!["127.0.0.0/8".parse().expect("a network")], true)]
    {
        let limits = ServerLimits { trusted_proxies: trusted, ..limits.clone() };
        let shop = TestApi::open_with(config(), limits).await;
        let request = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let held = [raw::sent(shop.address, "").await, raw::sent(shop.address, "").await];
        let mut third = raw::sent(shop.address, request).await;
        let answer = raw::until_closed(&mut third).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), is_served, "{answer}");
        drop(held);
    }
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let shop = TestApi::open().await;
    for (version, hosts, status) in [
        ("1.1", "host: shop.example:8080\r\n", "200"),
        ("1.1", "", "400"),
        ("1.1", "host: a\r\nhost: a\r\n", "400"),
        ("1.1", "host: a b\r\n", "400"),
        ("1.0", "", "200"),
        ("1.0", "host: a\r\nhost: b\r\n", "400"),
    ] {
        let text = format!("GET /livez HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        let mut stream = raw::sent(shop.address, &text).await;
        let answer = raw::until_closed(&mut stream).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{text}: {answer}");
    }
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_order() {
    let shop = TestApi::open().await;
    let paths = ["/livez", "/nowhere", "/livez", "/v1/orders", "/livez"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).concat();
    let last = "GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = raw::sent(shop.address, &(requests + last)).await;
    let answers = raw::until_closed(&mut stream).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200", "401", "200", "404"]);
}
