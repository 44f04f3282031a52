//! Access matrix of orders and carts: the response to each caller, for objects of its own and of others. A [`Scene`] is
//! the shop with its callers; the tables of expected responses are in `orders` and `carts`.

mod carts;
mod orders;

use std::{collections::BTreeMap, future::Future, time::Duration};

use api::{ApiConfig, ServerLimits};
use base::Ambient;
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    checkout::CheckoutSettings,
    domain::PaymentId,
    merchants::Merchants,
    orders::{CaptureFacts, Orders},
};

use crate::{
    customers::{registered_at, sign_in},
    util::{Answer, Call, TestApi, config, id_of, order_body},
};

const TOKEN: &str = "orderworks-order-token";
const SESSION: &str = "orderworks-session";
const DAY: Duration = Duration::from_hours(24);

/// Owners of the objects; the last one belongs to another merchant.
const OWNERS: [&str; 4] = ["ada", "eve", "guest", "neighbour"];

/// Callers by name: API key, then header name and value.
type Callers = BTreeMap<&'static str, (Option<String>, Option<(&'static str, String)>)>;

/// A shop with two customers, a neighbouring merchant, and an order of each owner.
struct Scene {
    shop: TestApi,
    callers: Callers,
    orders: BTreeMap<&'static str, Value>,
}

/// A body whose personal data all contain this word.
fn body_of(owner: &str) -> Value {
    let mut body = order_body();
    body["customer"] =
        json!({"email": format!("canary-{owner}@example.com"), "name": format!("canary-{owner} name")});
    body["shipping_address"]["line1"] = json!(format!("canary-{owner} street"));
    body["reference"] = json!(format!("canary-{owner}-reference"));
    body
}

fn checkout_of(owner: &str) -> Value {
    let body = body_of(owner);
    json!({"customer": body["customer"], "payment_method": "pm_card_visa",
        "shipping_address": body["shipping_address"], "reference": body["reference"]})
}

/// Whether an answer shows an owner's personal data; all or none of them.
fn is_shown(answer: &Answer, owner: &str) -> bool {
    let parts = ["@example.com", " name", " street", "-reference"];
    let shown = parts.iter().filter(|part| answer.text.contains(&format!("canary-{owner}{part}"))).count();
    assert!([0, parts.len()].contains(&shown), "{owner}'s data in part: {}", answer.text);
    shown > 0
}

impl Scene {
    async fn open() -> Self {
        let (ambient, clock) = Ambient::steered(8, Ambient::system().now());
        let config = ApiConfig { order_token_ttl: DAY, ..config() };
        let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
        shop.stock("mug", 10_000).await;
        for (path, body) in [
            (
                "/v1/products/mug",
                json!({"name": "Mug", "category": "c", "price_minor": 1, "currency": "EUR"}),
            ),
            ("/v1/inventory/mug", json!({"on_hand": 10_000})),
        ] {
            shop.put(path, &body).key(&shop.other.secret).send().await;
        }
        // Before anything is ordered: for a moment a process goes by what it has read.
        let settings = CheckoutSettings { reserve_minutes: Some(15), ..CheckoutSettings::default() };
        for merchant in [&shop.own, &shop.other] {
            shop.orders.set_checkout_settings(merchant.id, &settings).await.expect("sets");
        }
        let (public, secret) = (shop.own.public.clone(), shop.own.secret.clone());
        let (other_public, other_secret) = (shop.other.public.clone(), shop.other.secret.clone());
        let mut scene = Self { shop, callers: BTreeMap::new(), orders: BTreeMap::new() };
        scene.caller("no key", None, None);
        scene.caller("public", Some(&public), None);
        scene.caller("secret", Some(&secret), None);
        scene.caller("ended session", Some(&public), Some((SESSION, "ows_ended".to_owned())));
        scene.caller("other public", Some(&other_public), None);
        scene.caller("other secret", Some(&other_secret), None);
        for (name, is_own) in [("ada", true), ("eve", true), ("neighbour", false)] {
            let merchant = if is_own { &scene.shop.own } else { &scene.shop.other };
            let key = if is_own { &public } else { &other_public };
            let account = json!({"email": format!("{name}@example.com"), "name": name, "password": "canary correct horse"});
            registered_at(&scene.shop, merchant, &account).await;
            let session =
                sign_in(&scene.shop, &format!("{name}@example.com"), "canary correct horse").key(key);
            let token =
                session.send().await.expect_status(201).json["token"].as_str().expect("a token").to_owned();
            scene.caller(name, Some(key), Some((SESSION, token)));
        }
        let elsewhere = scene.callers["ada"].1.clone();
        scene.caller("ada elsewhere", Some(&other_public), elsewhere);
        let expired = scene.placed("ada", "early").await;
        scene.caller("expired token", Some(&public), Some((TOKEN, expired.header(TOKEN).to_owned())));
        // All callers ask for the order whose token has expired.
        scene.orders.insert("ada", expired.json);
        clock.advance(2 * DAY);
        for (owner, caller, key) in [
            ("eve", "eve's token", &public),
            ("guest", "guest's token", &public),
            ("neighbour", "neighbour's token", &public),
        ] {
            let placed = scene.placed(owner, owner).await;
            scene.caller(caller, Some(key), Some((TOKEN, placed.header(TOKEN).to_owned())));
            scene.orders.insert(owner, placed.json);
        }
        for order in scene.orders.values() {
            ship(&scene.shop, order).await;
        }
        scene
    }

    fn caller(&mut self, name: &'static str, key: Option<&str>, header: Option<(&'static str, String)>) {
        self.callers.insert(name, (key.map(str::to_owned), header));
    }

    fn call(&self, caller: &str, method: Method, path: &str) -> Call {
        self.of(caller, self.shop.call(method, path))
    }

    fn of(&self, caller: &str, call: Call) -> Call {
        let (key, header) = &self.callers[caller];
        let call = if let Some(key) = key { call.key(key) } else { call };
        if let Some((name, value)) = header { call.header(name, value) } else { call }
    }

    /// The caller who creates an owner's objects.
    fn maker(owner: &str) -> &str {
        if owner == "guest" { "public" } else { owner }
    }

    async fn placed(&self, owner: &str, key: &str) -> Answer {
        let call = self.call(Self::maker(owner), Method::POST, "/v1/orders").header("idempotency-key", key);
        call.json(&body_of(owner)).send().await.expect_status(202)
    }

    /// A cart of this owner with one mug.
    async fn cart(&self, owner: &str) -> String {
        let items = json!({"items": [{"sku": "mug", "quantity": 1}]});
        let made = self.call(Self::maker(owner), Method::POST, "/v1/carts").json(&items).send().await;
        format!("/v1/carts/{}", made.expect_status(201).json["id"].as_str().expect("an id"))
    }

    async fn ordered(&self, owner: &str, key: &str) -> String {
        let cart = self.cart(owner).await;
        self.check_out(Self::maker(owner), &cart, key, &checkout_of(owner)).await.expect_status(202);
        cart
    }

    fn put(&self, caller: &str, cart: &str, quantity: u32) -> Call {
        self.call(caller, Method::PUT, &format!("{cart}/items/mug")).json(&json!({"quantity": quantity}))
    }

    async fn check_out(&self, caller: &str, cart: &str, key: &str, body: &Value) -> Answer {
        let call = self.call(caller, Method::POST, &format!("{cart}/checkout"));
        call.header("idempotency-key", key).json(body).send().await
    }
}

async fn ship(shop: &TestApi, order: &Value) {
    let id = id_of(order);
    let amount_minor = order["total_minor"].as_i64().expect("a total");
    let facts =
        CaptureFacts { payment: PaymentId::of_order(id), provider_reference: "ch".to_owned(), amount_minor };
    shop.orders.mark_paid(id, facts, shop.ambient.now()).await.expect("pays");
    shop.orders.fulfil(id, shop.ambient.now()).await.expect("ships");
}

/// One row per caller: the expected status for the object of each of [`OWNERS`], with `+` where personal data are
/// shown.
async fn expect_rows<F>(
    scene: &Scene,
    rows: &[(&'static str, &str)],
    ask: impl Fn(&'static str, &'static str) -> F,
) where
    F: Future<Output = Answer>,
{
    let named: Vec<_> = rows.iter().map(|(caller, _)| *caller).collect();
    assert!(scene.callers.keys().all(|caller| named.contains(caller)), "every caller has a row");
    for (caller, expected) in rows {
        let mut row = Vec::new();
        for owner in OWNERS {
            let answer = ask(caller, owner).await;
            assert!(answer.status < 500, "{caller} asks for {owner}'s: {}", answer.text);
            for stranger in OWNERS.iter().filter(|other| **other != owner) {
                assert!(!is_shown(&answer, stranger), "{caller} is shown {stranger}'s: {}", answer.text);
            }
            let plus = if is_shown(&answer, owner) { "+" } else { "" };
            row.push(format!("{}{plus}", answer.status));
        }
        assert_eq!(row.join(" "), *expected, "{caller}");
    }
}
