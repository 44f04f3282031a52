//! Provider webhooks of a fault run: late, repeated and out of order, until each is accepted.
//!
//! They have the form and signature of Stripe's webhooks, which the API accepts; the charges that they point to are
//! those of the provider's ledger.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use fastrand::Rng;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Client;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::deployment::{Deployment, REPORT_SECRET};
use crate::util::http;

/// One ledger entry in this many is reported.
const REPORTED_ONE_IN: u32 = 10;

/// Sends webhooks until told to end, and then until everything due was accepted.
pub(super) async fn run(town: Arc<Deployment>, seed: u64, end: CancellationToken) {
    let (mut rng, http) = (Rng::with_seed(seed), http());
    let (mut last, mut due) = (None, Vec::new());
    while !end.is_cancelled() || !due.is_empty() {
        if !end.is_cancelled() {
            for entry in news(&http, &town.ledger, &mut last).await {
                if rng.u32(..REPORTED_ONE_IN) == 0 {
                    due.extend(std::iter::repeat_n(event(&entry), rng.usize(1..=3)));
                }
            }
        }
        rng.shuffle(&mut due);
        // Some are sent later than events that came after them.
        for event in due.split_off(due.len() / 4) {
            let base = &town.bases[rng.usize(..town.bases.len())];
            if !told(&http, base, &event).await {
                due.push(event);
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Ledger entries after the last one; empty while the sandbox is down.
async fn news(http: &Client, ledger: &str, last: &mut Option<String>) -> Vec<Value> {
    let after = last.as_ref().map(|id| format!("&after={id}")).unwrap_or_default();
    let Ok(answer) = http.get(format!("{ledger}?limit=1000{after}")).send().await else { return Vec::new() };
    let Ok(page) = answer.json::<Value>().await else { return Vec::new() };
    let entries = page["data"].as_array().cloned().unwrap_or_default();
    if let Some(id) = entries.last().and_then(|entry| entry["id"].as_str()) {
        *last = Some(id.to_owned());
    }
    entries
}

fn event(entry: &Value) -> Value {
    let metadata = json!({ "order_id": entry["order_id"] });
    let (kind, object) = if entry["type"] == "charge" {
        ("payment_intent.succeeded", json!({ "id": entry["id"], "metadata": metadata }))
    } else {
        let refund = json!({ "id": entry["id"], "payment_intent": entry["reference"], "metadata": metadata });
        ("refund.created", refund)
    };
    json!({ "id": format!("evt_{}", entry["id"].as_str().expect("an id")), "type": kind, "data": { "object": object } })
}

async fn told(http: &Client, base: &str, event: &Value) -> bool {
    let (body, second) = (event.to_string(), Ambient::system().now().as_second());
    let mac = Hmac::<Sha256>::new_from_slice(REPORT_SECRET.as_bytes()).expect("takes any key");
    let mac = mac.chain_update(format!("{second}.{body}")).finalize().into_bytes();
    let request = http.post(format!("{base}/v1/provider_webhooks/stripe")).body(body);
    let request = request.header("stripe-signature", format!("t={second},v1={}", hex::encode(mac)));
    let request = request.header("content-type", "application/json").timeout(Duration::from_secs(10));
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}
