//! Customers of a fault run: they order at a constant rate, cancel or refund some orders, and retry until they have a
//! response.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};
use tokio_util::sync::CancellationToken;

use super::deployment::{Deployment, RARE, SKUS};

/// Unusual payment methods of the provider: a declined one, then three with late or unusual answers.
const SANDBOX_METHODS: [&str; 4] =
    ["pm_card_chargeDeclined", "pm_sandbox_flaky", "pm_sandbox_slow", "pm_sandbox_timeout"];
const STRIPE_METHODS: [&str; 4] = ["pm_declined", "pm_charged_500", "pm_slow", "pm_lost_500"];

/// Customers waiting for a response at most; no new customer starts beyond this.
const WAITING_MAX: usize = 200;

/// Responses that customers got.
pub(super) struct Traffic {
    town: Arc<Deployment>,
    seed: u64,
    /// Ids of accepted orders by shop and key.
    accepted: Mutex<BTreeMap<(usize, String), String>>,
    /// Ids of orders that were refunded by hand, and otherwise not asked to be.
    by_hand: Mutex<BTreeSet<String>>,
    /// Number of keys that were answered with two different ids.
    pub(super) answered_twice: AtomicUsize,
    pub(super) sold_out: AtomicUsize,
}

impl Traffic {
    pub(super) fn new(town: Arc<Deployment>, seed: u64) -> Self {
        let (answered_twice, sold_out) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (accepted, by_hand) = (Mutex::default(), Mutex::default());
        Self { town, seed, accepted, by_hand, answered_twice, sold_out }
    }

    /// Places orders at this rate until told to end; returns when every customer has a response.
    pub(super) async fn run(self: Arc<Self>, per_second: f64, end: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(per_second.recip()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (room, mut customers) = (Arc::new(Semaphore::new(WAITING_MAX)), JoinSet::new());
        for n in 0_u64.. {
            tokio::select! {
                () = end.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let place = Arc::clone(&room).acquire_owned().await.expect("never closed");
            let me = Arc::clone(&self);
            customers.spawn(async move {
                me.customer(n).await;
                drop(place);
            });
            while let Some(ended) = customers.try_join_next() {
                ended.expect("a customer is served");
            }
        }
        while let Some(ended) = customers.join_next().await {
            ended.expect("a customer is served");
        }
    }

    /// Places an order that no business rule prevents, and waits until it is fulfilled.
    pub(super) async fn probe(&self, key: String) {
        let mut rng = Rng::with_seed(0);
        let body = self.town.shops[0].order(SKUS[0], 1, "pm_card_visa");
        let id = self.insist(&mut rng, 0, key, &body).await.expect("there is plenty");
        loop {
            let client = self.town.client(0, rng.usize(..));
            let order = client.try_get(&format!("/v1/orders/{id}")).await;
            if order.is_some_and(|order| order["status"] == "fulfilled") {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn accepted(&self) -> BTreeMap<(usize, String), String> {
        self.accepted.lock().expect("not poisoned").clone()
    }

    pub(super) fn by_hand(&self) -> BTreeSet<String> {
        self.by_hand.lock().expect("not poisoned").clone()
    }

    async fn customer(&self, n: u64) {
        let mut rng = Rng::with_seed(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let shop = rng.usize(..self.town.shops.len());
        let unusual = if self.town.stripe.is_some() { STRIPE_METHODS } else { SANDBOX_METHODS };
        let method = method(&mut rng, unusual);
        let body = self.town.shops[shop].order(sku(&mut rng), rng.u32(1..=3), method);
        let Some(id) = self.insist(&mut rng, shop, format!("order-{n}"), &body).await else { return };
        match rng.u32(..100) {
            0..5 => {
                sleep(Duration::from_millis(rng.u64(..2_000))).await;
                self.change(&mut rng, shop, &format!("/v1/orders/{id}/cancel"), &[], &json!({})).await;
            }
            5..10 => {
                // Some ask for a refund at once, which may be too early; some wait until the order is paid.
                if rng.bool() {
                    self.until_not_pending(&mut rng, shop, &id).await;
                }
                let part = if rng.bool() { json!({}) } else { json!({ "amount_minor": 500 }) };
                let key = [("idempotency-key", "refund")];
                self.change(&mut rng, shop, &format!("/v1/orders/{id}/refund"), &key, &part).await;
            }
            10..13 => self.refund_by_hand(&mut rng, shop, &id).await,
            _ => {}
        }
    }

    /// Refunds a part in Stripe's dashboard. Few of these are reported.
    async fn refund_by_hand(&self, rng: &mut Rng, shop: usize, id: &str) {
        let Some(stripe) = &self.town.stripe else { return };
        self.until_not_pending(rng, shop, id).await;
        let captured =
            |intent: &Value| intent["status"] == "succeeded" && intent["metadata"]["order_id"] == *id;
        let Some(intent) = stripe.intents().into_iter().find(captured) else { return };
        if stripe.refund_by_hand(intent["id"].as_str().expect("an id"), rng.i64(1..=500)) {
            self.by_hand.lock().expect("not poisoned").insert(id.to_owned());
        }
    }

    async fn until_not_pending(&self, rng: &mut Rng, shop: usize, id: &str) {
        loop {
            let order = self.town.client(shop, rng.usize(..)).try_get(&format!("/v1/orders/{id}")).await;
            if order.is_some_and(|order| order["status"].is_string() && order["status"] != "pending") {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Sends the request under one key until there is a response: the order's id, or `None` when the product is sold
    /// out. Some customers send it once more after the response.
    async fn insist(&self, rng: &mut Rng, shop: usize, key: String, body: &Value) -> Option<String> {
        let mut answers_wanted = if rng.u32(..10) == 0 { 2 } else { 1 };
        loop {
            match self.town.client(shop, rng.usize(..)).place(&key, body).await {
                Ok((StatusCode::ACCEPTED, order)) => {
                    let id = order["id"].as_str().expect("an id").to_owned();
                    self.keep(shop, &key, &id);
                    answers_wanted -= 1;
                    if answers_wanted == 0 {
                        return Some(id);
                    }
                }
                Ok((StatusCode::CONFLICT, problem)) if problem["code"] == "out_of_stock" => {
                    self.sold_out.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Ok((status, problem)) if is_final(status) => panic!("{key}: {status} {problem}"),
                _ => sleep(Duration::from_millis(rng.u64(100..500))).await,
            }
        }
    }

    fn keep(&self, shop: usize, key: &str, id: &str) {
        let mut accepted = self.accepted.lock().expect("not poisoned");
        let before = accepted.insert((shop, key.to_owned()), id.to_owned());
        if before.is_some_and(|before| before != id) {
            self.answered_twice.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends the request until there is a response; the response that it is too late counts.
    async fn change(&self, rng: &mut Rng, shop: usize, path: &str, headers: &[(&str, &str)], body: &Value) {
        loop {
            let client = self.town.client(shop, rng.usize(..));
            match client.try_send(Method::POST, path, headers, Some(body)).await {
                Ok((status, _))
                    if status.is_success() || is_final(status) || status == StatusCode::CONFLICT =>
                {
                    return;
                }
                _ => sleep(Duration::from_millis(rng.u64(100..500))).await,
            }
        }
    }
}

/// Whether a retry is pointless. 409 is returned while the same key is in progress elsewhere.
fn is_final(status: StatusCode) -> bool {
    let passing = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];
    status.is_client_error() && !passing.contains(&status)
}

fn sku(rng: &mut Rng) -> &'static str {
    if rng.u32(..20) == 0 { RARE } else { SKUS[rng.usize(..SKUS.len())] }
}

/// One in eight uses an unusual payment method.
fn method(rng: &mut Rng, unusual: [&'static str; 4]) -> &'static str {
    match rng.u32(..100) {
        0..4 => unusual[0],
        4..7 => unusual[1],
        7..10 => unusual[2],
        10..12 => unusual[3],
        _ => "pm_card_visa",
    }
}
