//! Server-sent events of an order.

use std::{collections::VecDeque, time::Duration};

use api::{ApiConfig, ServerLimits};
use base::Ambient;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::merchants::Merchants;
use tokio::time::timeout;

use crate::{
    customers::{registered, sign_in},
    util::{Answer, Call, TestApi, config, order_body, raw::PATIENCE},
};

/// Reader of the frames of an open stream.
struct Frames {
    response: reqwest::Response,
    text: String,
    ready: VecDeque<Frame>,
}

#[derive(Debug)]
struct Frame {
    id: String,
    event: String,
    data: Value,
}

impl Frames {
    async fn open(call: Call) -> Self {
        let response = call.open().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), ready: VecDeque::new() }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something happens in time");
            let chunk = chunk.expect("a whole stream")?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
            while let Some(end) = self.text.find("\n\n") {
                let frame: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    frame
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .map(str::to_owned)
                };
                // Comments keep the connection open and are no events.
                if let (Some(id), Some(event), Some(data)) = (field("id"), field("event"), field("data")) {
                    let data = serde_json::from_str(&data).expect("JSON");
                    self.ready.push_back(Frame { id, event, data });
                }
            }
        }
    }
}

#[tokio::test]
async fn past_events_come_first_and_live_ones_follow() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let id = order["id"].as_str().expect("an id");
    let path = format!("/v1/orders/{id}/events");
    let mut frames = Frames::open(shop.get(&path)).await;
    let placed = frames.next().await.expect("an event");
    assert_eq!((placed.id.as_str(), placed.event.as_str()), ("1", "order.placed"));
    assert_eq!(placed.data["object"], "event");
    assert_eq!(placed.data["type"], "order.placed");
    assert_eq!(placed.data["sequence"], 1);
    assert_eq!(placed.data["order"], id);
    shop.post(&format!("/v1/orders/{id}/cancel"), &json!({})).send().await.expect_status(200);
    let cancelled = frames.next().await.expect("an event");
    assert_eq!((cancelled.id.as_str(), cancelled.event.as_str()), ("2", "order.cancelled"));
    // A client that reconnects continues where it was.
    let mut resumed = Frames::open(shop.get(&path).header("last-event-id", "1")).await;
    assert_eq!(resumed.next().await.expect("an event").id, "2");
    let mut from_start = Frames::open(shop.get(&path).header("last-event-id", "nonsense")).await;
    assert_eq!(from_start.next().await.expect("an event").id, "1");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let path = format!("/v1/orders/{}/events", order["id"].as_str().expect("an id"));
    let mut frames = Frames::open(shop.get(&path)).await;
    frames.next().await.expect("an event");
    shop.shutdown.cancel();
    assert!(frames.next().await.is_none());
    let stopped = timeout(PATIENCE, shop.server).await.expect("stops in time").expect("does not panic");
    assert!(stopped.is_ok());
}

#[tokio::test]
async fn streams_are_bounded() {
    let config = ApiConfig { streams_max: 1, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let path = format!("/v1/orders/{}/events", order["id"].as_str().expect("an id"));
    let mut frames = Frames::open(shop.get(&path)).await;
    frames.next().await.expect("an event");
    let refused = shop.get(&path).send().await.expect_problem(503, "stream_limit_reached");
    assert_eq!(refused.header("retry-after"), "10");
}

#[tokio::test]
async fn one_customer_cannot_take_the_streams_of_the_others() {
    let config = ApiConfig { streams_per_address_max: 1, streams_per_merchant_max: 1, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let placed = shop.place("k1", &order_body()).send().await.expect_status(202);
    let path = format!("{}/events", placed.header("location"));
    let token = placed.header("orderworks-order-token");
    let follow = || shop.get(&path).key(&shop.own.public).header("orderworks-order-token", token);
    let mut frames = Frames::open(follow()).await;
    assert_eq!(frames.next().await.expect("an event").event, "order.placed");
    follow().send().await.expect_problem(503, "stream_limit_reached");
    // The merchant's own servers are counted apart.
    Frames::open(shop.get(&path)).await.next().await.expect("an event");
}

#[tokio::test]
async fn one_merchant_cannot_take_all_streams() {
    let config = ApiConfig { streams_per_merchant_max: 1, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let path = format!("/v1/orders/{}/events", order["id"].as_str().expect("an id"));
    let mut frames = Frames::open(shop.get(&path)).await;
    frames.next().await.expect("an event");
    shop.get(&path).send().await.expect_problem(503, "stream_limit_reached");
    let product = json!({"name": "Cup", "category": "mugs", "price_minor": 250, "currency": "EUR"});
    shop.put("/v1/products/mug", &product).key(&shop.other.secret).send().await.expect_status(201);
    let stock = json!({"on_hand": 10});
    shop.put("/v1/inventory/mug", &stock).key(&shop.other.secret).send().await.expect_status(200);
    let placed = shop.place("k1", &order_body()).key(&shop.other.public).send().await;
    let placed = placed.expect_status(202).json;
    let path = format!("/v1/orders/{}/events", placed["id"].as_str().expect("an id"));
    let mut others = Frames::open(shop.get(&path).key(&shop.other.secret)).await;
    others.next().await.expect("an event");
}

#[tokio::test]
async fn a_stream_ends_with_the_access_that_opened_it() {
    let (ambient, clock) = Ambient::steered(9, Ambient::system().now());
    let config = ApiConfig { streams_check: Duration::from_millis(20), ..config() };
    let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let ada = json!({"email": "ada@example.com", "name": "Ada", "password": "canary correct horse"});
    registered(&shop, &ada).await;
    let session = sign_in(&shop, "ada@example.com", "canary correct horse").send().await.expect_status(201);
    let session = session.json["token"].as_str().expect("a token");
    let mut placed = Vec::new();
    for key in ["k1", "k2"] {
        let call = shop.place(key, &order_body()).header("orderworks-session", session);
        placed.push(call.send().await.expect_status(202));
    }
    let path = |order: &Answer| format!("{}/events", order.header("location"));
    let by_token = |order: &Answer| {
        let call = shop.get(&path(order)).key(&shop.own.public);
        call.header("orderworks-order-token", order.header("orderworks-order-token"))
    };
    let by_session = shop.get(&path(&placed[0])).key(&shop.own.public).header("orderworks-session", session);
    let mut streams = Vec::new();
    for call in [by_token(&placed[0]), by_session, by_token(&placed[1]), shop.get(&path(&placed[1]))] {
        let mut frames = Frames::open(call).await;
        assert_eq!(frames.next().await.expect("an event").event, "order.placed");
        streams.push(frames);
    }

    let token = format!("{}/token", placed[0].header("location"));
    shop.call(Method::DELETE, &token).key(&shop.own.secret).send().await.expect_status(204);
    assert!(streams[0].next().await.is_none());
    let sign_out = shop.call(Method::DELETE, "/v1/sessions/current").key(&shop.own.public);
    sign_out.header("orderworks-session", session).send().await.expect_status(204);
    assert!(streams[1].next().await.is_none());

    // The streams of the other order were checked as often and go on, until their keys end.
    shop.post(&format!("{}/cancel", placed[1].header("location")), &json!({}))
        .send()
        .await
        .expect_status(200);
    for frames in &mut streams[2..] {
        assert_eq!(frames.next().await.expect("an event").event, "order.cancelled");
    }
    for key in [&shop.own.public, &shop.own.secret] {
        let key = shop.orders.key_by_hash(Sha256::digest(key).into()).await.expect("reads").expect("a key");
        shop.orders.revoke_key(key.id, shop.ambient.now()).await.expect("revokes").expect("a key");
    }
    clock.advance(Duration::from_secs(5));
    for frames in &mut streams[2..] {
        assert!(frames.next().await.is_none());
    }
}
