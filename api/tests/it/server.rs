//! Connections: timeouts, bounds, stopping.

use std::time::Duration;

use api::{ApiConfig, ApiError, ServerLimits};
use reqwest::Method;
use tokio::time::timeout;

use crate::util::{
    Shop, config,
    raw::{self, PATIENCE},
};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_request_head_that_does_not_come_costs_the_connection() {
    let limits = ServerLimits { head_timeout: SHORT, ..ServerLimits::default() };
    let shop = Shop::open_with(config(), limits).await;
    for begun in ["", "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut stream = raw::sent(shop.address, begun).await;
        assert!(!raw::until_closed(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    // Idle after an answer.
    let mut stream = raw::sent(shop.address, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(raw::until_closed(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let config = ApiConfig { body_timeout: SHORT, ..config() };
    let shop = Shop::open_with(config, ServerLimits::default()).await;
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
    let shop = Shop::open_with(config(), limits).await;
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
async fn a_stop_says_so_first_then_finishes_what_is_open() {
    let limits = ServerLimits { readiness_lead: SHORT, ..ServerLimits::default() };
    let shop = Shop::open_with(config(), limits).await;
    shop.call(Method::GET, "/readyz").send().await.expect_status(200);
    shop.shutdown.cancel();
    let ready = shop.call(Method::GET, "/readyz").send().await.expect_status(503).json;
    assert_eq!((ready["status"].as_str(), ready["draining"].as_bool()), (Some("down"), Some(true)));
    shop.call(Method::GET, "/livez").send().await.expect_status(200);
    let stopped = timeout(PATIENCE, shop.server).await.expect("stops in time").expect("does not panic");
    assert!(stopped.is_ok());
    assert!(tokio::net::TcpStream::connect(shop.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn what_does_not_finish_is_cut_at_the_deadline() {
    let limits = ServerLimits { drain_timeout: SHORT, ..ServerLimits::default() };
    let shop = Shop::open_with(config(), limits).await;
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
