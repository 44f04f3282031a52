//! A caller's trace, followed from its request over outbox and jobs to the webhooks.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Dev, Receiver, order};

/// A version, flags and a field that are not known yet (W3C Trace Context, "Versioning of traceparent").
const PARENT: &str = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-added";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/// Places an order with a trace and expects it unchanged in all its webhooks.
pub(crate) async fn trace_reaches_webhooks(dev: &Dev) {
    let (merchant, receiver) = (dev.merchant(), Receiver::start().await);
    let wanted = json!({ "url": receiver.url, "events": ["*"] });
    let (status, _) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED);
    let headers = [("idempotency-key", "traced"), ("traceparent", PARENT), ("tracestate", STATE)];
    let body = order("CUP-ENAMEL", 1, "pm_card_visa");
    let (status, placed) = merchant.send_with(Method::POST, "/v1/orders", &headers, Some(&body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    let is_ours = |body: &[u8]| {
        let data = serde_json::from_slice::<Value>(body).expect("is JSON")["data"].take();
        data["id"] == placed["id"] || data["order_id"] == placed["id"]
    };
    let taken = receiver.until(|taken| taken.iter().filter(|(_, body)| is_ours(body)).count() >= 4).await;
    for (headers, _) in taken.iter().filter(|(_, body)| is_ours(body)) {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!((header("traceparent"), header("tracestate")), (Some(PARENT), Some(STATE)));
    }
}
