//! Checks of the design's invariants against the public data of a shop and its provider.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::Value;
use store::domain::EventId;

use super::{Client, Receiver, VerifyReport, fetch};

/// Longest time from the end of all orders to the last webhook. A killed relay delays its messages by another half a
/// minute, and an endpoint that was too slow once is given fewer of them for a while.
const WEBHOOKS_MAX: Duration = Duration::from_mins(5);

/// All entries of the provider's ledger.
pub(crate) async fn ledger(url: &str) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let after = entries.last().map(|last| format!("&after={}", last["id"].as_str().expect("an id")));
        let page = fetch(format!("{url}?limit=100{}", after.unwrap_or_default())).await;
        let page: Value = page.json().await.expect("is JSON");
        entries.extend(page["data"].as_array().expect("a list").iter().cloned());
        if page["has_more"] != true {
            return entries;
        }
    }
}

/// Arguments of an immediate audit of everything.
pub(crate) const FULL: [&str; 3] = ["--full", "--grace", "0s"];

/// I1 to I5, as reported by the audit: repeats it until there is no violation and nothing waits for a job, because
/// mails, webhooks and the results of repairs take time. Returns the summary.
pub(crate) async fn right(mut audit: impl AsyncFnMut() -> VerifyReport) -> Value {
    let deadline = tokio::time::Instant::now() + WEBHOOKS_MAX;
    loop {
        let (status, violations, summary) = audit().await;
        match status {
            Some(0) if summary["open"] == 0 => return summary,
            Some(0 | 1) => assert!(tokio::time::Instant::now() < deadline, "{summary} {violations:#?}"),
            _ => panic!("cannot look: {summary}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// I3: shipped units equal those of fulfilled orders, and no units stay reserved.
pub(crate) async fn stock(orders: &[Value], merchant: &Client, skus: &[&str], at_first: i64) {
    for &sku in skus {
        let fulfilled = orders.iter().filter(|o| o["status"] == "fulfilled");
        let items =
            fulfilled.flat_map(|o| o["items"].as_array().expect("a list")).filter(|item| item["sku"] == sku);
        let sold: i64 = items.map(|item| item["quantity"].as_i64().expect("a number")).sum();
        let inventory = merchant.get(&format!("/v1/inventory/{sku}")).await;
        assert_eq!(inventory["on_hand"], at_first - sold, "{inventory}");
        assert_eq!(inventory["reserved"], 0, "{inventory}");
    }
}

/// I5: every event of every order reached the endpoint, in sequences without gaps.
pub(crate) async fn webhooks(orders: &[Value], merchant: &Client, receiver: &Receiver) {
    let sequences = |taken: &[(http::HeaderMap, bytes::Bytes)]| {
        let mut seen: HashMap<String, BTreeMap<u64, EventId>> = HashMap::new();
        for (_, body) in taken {
            let event: Value = serde_json::from_slice(body).expect("is JSON");
            let data = &event["data"];
            let Some(order) = [&data["order_id"], &data["id"]].into_iter().find_map(Value::as_str) else {
                continue;
            };
            let id = event["id"].as_str().expect("an id").parse().expect("an event id");
            let sequence = event["sequence"].as_u64().expect("a number");
            let before = seen.entry(order.to_owned()).or_default().insert(sequence, id);
            assert!(before.is_none_or(|before| before == id), "two events share a sequence: {event}");
        }
        seen
    };
    let expected = |order: &Value| if order["status"] == "fulfilled" { 4_u64 } else { 2 };
    let incomplete = |taken: &[(http::HeaderMap, bytes::Bytes)]| {
        let seen = sequences(taken);
        let missing = orders.iter().filter(move |order| {
            let of_order = seen.get(order["id"].as_str().expect("an id"));
            !of_order.is_some_and(|seen| seen.keys().copied().eq(1..=expected(order)))
        });
        missing.map(|order| order["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    // Counted first: parsing thousands of bodies at each arrival would keep the receiver from answering.
    let total = orders.iter().map(|order| usize::try_from(expected(order)).expect("small")).sum::<usize>();
    let all =
        |taken: &[(http::HeaderMap, bytes::Bytes)]| taken.len() >= total && incomplete(taken).is_empty();
    if !receiver.within(WEBHOOKS_MAX, all).await {
        let missing = incomplete(&receiver.taken());
        let timeline = merchant.get(&format!("/v1/orders/{}/timeline", missing[0])).await;
        panic!("events of {} orders are missing, such as: {timeline:#}", missing.len());
    }
}
