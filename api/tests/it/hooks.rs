//! Discounts, shipping and taxes decided by hooks of the shop.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{ApiConfig, HookCalls, ServerLimits};
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use base::Ambient;
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    admission::SaleSwitch,
    checkout::{CheckoutSettings, Hook, HookOtherwise},
    domain::AdjustmentKind,
    merchants::Merchants,
};
use tokio::net::TcpListener;
use webhooks::UrlPolicy;

use crate::{
    carts::{body, check_out, filled, orders, read},
    util::{TestApi, config, order_body},
    waiting_room::{mode, set_mode},
};

/// Status and body that a hook answers.
type Answer = (u16, String);

/// A server with one hook for each kind, whose answers a test sets.
#[derive(Clone, Default)]
pub(crate) struct ShopServer {
    answers: Arc<Mutex<BTreeMap<&'static str, Answer>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl ShopServer {
    /// Starts a server, whose hooks of these kinds are the shop's from then on.
    pub(crate) async fn of(shop: &TestApi, kinds: &[AdjustmentKind], otherwise: HookOtherwise) -> Self {
        let server = Self::default();
        let url = server.start().await;
        let hook =
            |kind: &AdjustmentKind| (*kind, Hook::fresh(format!("{url}/{kind}"), otherwise, &shop.ambient));
        let settings =
            CheckoutSettings { hooks: kinds.iter().map(hook).collect(), ..CheckoutSettings::default() };
        assert!(shop.orders.set_checkout_settings(shop.own.id, &settings).await.expect("sets"));
        server
    }

    pub(crate) fn set(&self, kind: &'static str, status: u16, body: &Value) {
        self.answers.lock().expect("not poisoned").insert(kind, (status, body.to_string()));
    }

    /// The questions since the last call.
    pub(crate) fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }

    fn answer(
        &self,
        kind: &'static str,
        headers: &HeaderMap,
        question: &Bytes,
    ) -> (axum::http::StatusCode, String) {
        assert!(headers.contains_key("webhook-signature") && headers.contains_key("webhook-id"));
        let question = serde_json::from_slice(question).expect("JSON");
        self.asked.lock().expect("not poisoned").push(question);
        let answers = self.answers.lock().expect("not poisoned");
        let (status, body) = answers.get(kind).cloned().unwrap_or((200, r#"{"adjustments":[]}"#.to_owned()));
        (status.try_into().expect("a status"), body)
    }

    /// Starts it; returns the address.
    async fn start(&self) -> String {
        let mut routes = Router::new();
        for kind in AdjustmentKind::ALL.map(AdjustmentKind::as_str) {
            let server = self.clone();
            let handle = move |headers: HeaderMap, body: Bytes| {
                let server = server.clone();
                async move { server.answer(kind, &headers, &body) }
            };
            routes = routes.route(&format!("/{kind}"), post(handle));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }
}

pub(crate) fn reaching_this_machine() -> ApiConfig {
    ApiConfig { webhook_urls: UrlPolicy { allow_loopback: true }, ..config() }
}

/// Calls of a hook by outcome, without those that did not occur, and how many of them took time.
fn calls(shop: &TestApi, kind: AdjustmentKind) -> (Vec<(&'static str, u64)>, u64) {
    let found = shop.state.hook_calls().find(|calls| calls.hook == kind.as_str());
    let HookCalls { outcomes, durations, .. } = found.expect("every kind is counted");
    (outcomes.into_iter().filter(|(_, count)| *count > 0).collect(), durations.count())
}

/// A shop with mugs at 2.50 and these hooks.
async fn shop_with(kinds: &[AdjustmentKind], otherwise: HookOtherwise) -> (TestApi, ShopServer) {
    let shop = TestApi::open_with(reaching_this_machine(), ServerLimits::default()).await;
    let server = ShopServer::of(&shop, kinds, otherwise).await;
    shop.stock("mug", 100).await;
    (shop, server)
}

pub(crate) fn adjustments(label: &str, amount_minor: i64) -> Value {
    json!({"adjustments": [{"label": label, "amount_minor": amount_minor}]})
}

async fn quote(shop: &TestApi, cart: &str) -> Value {
    let call = shop.call(Method::POST, &format!("{cart}/quote")).key(&shop.own.public);
    let address = order_body()["shipping_address"].clone();
    call.json(&json!({"shipping_address": address})).send().await.expect_status(200).json
}

#[tokio::test]
async fn an_order_comes_to_what_the_hooks_decide() {
    let (shop, server) = shop_with(&AdjustmentKind::ALL, HookOtherwise::Refuse).await;
    server.set("discount", 200, &adjustments("Ten percent", -50));
    server.set("shipping", 200, &adjustments("Parcel", 490));
    server.set("tax", 200, &adjustments("VAT 19 %", 179));
    let mut wanted = order_body();
    wanted["expected_total_minor"] = json!(1119);
    let placed = shop.place("k1", &wanted).send().await.expect_status(202).json;
    let expected = json!([
        {"kind": "discount", "label": "Ten percent", "amount_minor": -50},
        {"kind": "shipping", "label": "Parcel", "amount_minor": 490},
        {"kind": "tax", "label": "VAT 19 %", "amount_minor": 179},
    ]);
    assert_eq!((&placed["total_minor"], &placed["adjustments"]), (&json!(1119), &expected));
    let asked = server.asked();
    let kinds: Vec<&Value> = asked.iter().map(|question| &question["type"]).collect();
    assert_eq!(kinds, ["checkout.discount", "checkout.shipping", "checkout.tax"]);
    let tax = &asked[2]["data"];
    assert_eq!((&tax["subtotal_minor"], &tax["currency"]), (&json!(500), &json!("EUR")));
    assert_eq!(tax["adjustments"].as_array().map(Vec::len), Some(2), "what was decided before");
    assert_eq!(tax["lines"][0]["quantity"], 2);
    assert_eq!(tax["ship_to"], json!({"country": "GB", "postal_code": "SW1Y 4JH", "city": "London"}));
    for personal in ["Ada", "ada@example.com", "St James"] {
        assert!(!asked[2].to_string().contains(personal), "{personal}");
    }
    // Another total than the customer agreed to.
    server.set("shipping", 200, &adjustments("Parcel", 590));
    let dearer = shop.place("k2", &wanted).send().await.expect_problem(409, "price_changed");
    assert_eq!(dearer.json["total_minor"], 1219);
    // A repetition asks no hook.
    server.asked();
    server.set("shipping", 500, &json!({}));
    let replayed = shop.place("k1", &wanted).send().await.expect_status(202);
    assert_eq!((replayed.header("idempotent-replayed"), &replayed.json), ("true", &placed));
    assert!(server.asked().is_empty());
    for kind in AdjustmentKind::ALL {
        assert_eq!(calls(&shop, kind), (vec![("answered", 2)], 2), "{kind}");
    }
}

#[tokio::test]
async fn a_cart_is_quoted_and_ordered_at_the_same_total() {
    let (shop, server) = shop_with(&[AdjustmentKind::Shipping], HookOtherwise::Refuse).await;
    server.set("shipping", 200, &adjustments("Parcel", 490));
    let cart = filled(&shop).await;
    let quoted = quote(&shop, &cart).await;
    assert_eq!((&quoted["subtotal_minor"], &quoted["total_minor"]), (&json!(500), &json!(990)));
    assert_eq!(quoted["adjustments"][0]["label"], "Parcel");
    let mut wanted = body();
    wanted["expected_total_minor"] = quoted["total_minor"].clone();
    let placed = check_out(&shop, &cart, "k1", &wanted).send().await.expect_status(202).json;
    assert_eq!((&placed["total_minor"], &placed["adjustments"]), (&json!(990), &quoted["adjustments"]));
    let again = check_out(&shop, &cart, "k1", &wanted).send().await.expect_status(202);
    assert_eq!(again.json, placed);
    let call = shop.call(Method::POST, &format!("{cart}/quote")).key(&shop.own.public);
    call.send().await.expect_problem(409, "cart_closed");
}

#[tokio::test]
async fn without_an_answer_the_shops_choice_holds() {
    let wrong = [
        (500, json!({"adjustments": []})),
        (200, json!({"adjustments": [{"label": "Parcel", "amount_minor": -1}]})),
        (200, json!({"adjustments": [{"label": "Parcel", "amount_minor": 1.5}]})),
        (200, json!([])),
        (307, json!({})),
    ];
    for otherwise in HookOtherwise::ALL {
        let (shop, server) = shop_with(&[AdjustmentKind::Shipping], otherwise).await;
        for (number, (status, answer)) in wrong.iter().enumerate() {
            server.set("shipping", *status, answer);
            let placed = shop.place(&format!("k{number}"), &order_body()).send().await;
            if otherwise == HookOtherwise::Nothing {
                let placed = placed.expect_status(202).json;
                assert_eq!(
                    (&placed["total_minor"], placed.get("adjustments")),
                    (&json!(500), None),
                    "{answer}"
                );
            } else {
                let refused = placed.expect_problem(503, "pricing_unavailable");
                assert_eq!(refused.header("retry-after"), "2");
            }
        }
        let expected = if otherwise == HookOtherwise::Nothing { wrong.len() } else { 0 };
        assert_eq!(orders(&shop).await, expected);
        let counted = vec![("rejected", 2), ("invalid", 3)];
        assert_eq!(calls(&shop, AdjustmentKind::Shipping), (counted, 5), "whatever follows from it");
        assert_eq!(calls(&shop, AdjustmentKind::Tax), (Vec::new(), 0), "no such hook");
    }
}

#[tokio::test]
async fn a_rejected_checkout_leaves_the_cart_open() {
    let (shop, server) = shop_with(&[AdjustmentKind::Tax], HookOtherwise::Refuse).await;
    server.set("tax", 503, &json!({}));
    let cart = filled(&shop).await;
    check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(503, "pricing_unavailable");
    assert_eq!(read(&shop, &cart).await["status"], "open");
    server.set("tax", 200, &adjustments("VAT", 95));
    let placed = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202).json;
    assert_eq!(placed["total_minor"], 595);
}

#[tokio::test]
async fn a_silent_hook_delays_an_order_by_its_deadline_at_most() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/tax", silent.local_addr().expect("bound"));
    let config = ApiConfig { hook_deadline: Duration::from_millis(50), ..reaching_this_machine() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let hook = Hook::fresh(url, HookOtherwise::Nothing, &Ambient::system());
    let hooks = BTreeMap::from([(AdjustmentKind::Tax, hook)]);
    let settings = CheckoutSettings { hooks, ..CheckoutSettings::default() };
    assert!(shop.orders.set_checkout_settings(shop.own.id, &settings).await.expect("sets"));
    shop.stock("mug", 100).await;
    assert_eq!(shop.order("k1").await["total_minor"], 500);
    assert_eq!(calls(&shop, AdjustmentKind::Tax), (vec![("timeout", 1)], 1));
}

#[tokio::test]
async fn products_that_cannot_be_ordered_are_named_and_no_hook_is_asked() {
    let (shop, server) = shop_with(&[AdjustmentKind::Tax], HookOtherwise::Refuse).await;
    let mut wanted = order_body();
    wanted["items"] = json!([{"sku": "mug", "quantity": 1}, {"sku": "cup", "quantity": 1}]);
    let refused = shop.place("k1", &wanted).send().await.expect_problem(422, "unknown_sku");
    assert_eq!(refused.faults(), ["/items/1/sku unknown_sku"]);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn no_hook_is_asked_for_an_order_that_has_to_wait() {
    let (shop, server) = shop_with(&AdjustmentKind::ALL, HookOtherwise::Refuse).await;
    let cart = filled(&shop).await;
    let placed = shop.order("before-the-sale").await;
    assert_eq!(server.asked().len(), 3);
    set_mode(&shop, shop.own.id, &shop.own.public, &mode(SaleSwitch::On)).await;
    shop.place("k1", &order_body()).send().await.expect_problem(429, "waiting_room");
    check_out(&shop, &cart, "k2", &body()).send().await.expect_problem(429, "waiting_room");
    assert_eq!(read(&shop, &cart).await["status"], "open");
    // What was accepted is answered again.
    let again = shop.place("before-the-sale", &order_body()).send().await.expect_status(202);
    assert_eq!((again.json, server.asked()), (placed, Vec::new()));
}

#[tokio::test]
async fn a_shop_without_hooks_is_quoted_its_lines() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let quoted = quote(&shop, &filled(&shop).await).await;
    assert_eq!(quoted["adjustments"], json!([]));
    assert_eq!((&quoted["subtotal_minor"], &quoted["total_minor"]), (&json!(500), &json!(500)));
}
