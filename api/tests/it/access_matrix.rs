//! Who is answered what by the routes of orders and carts: caller by caller, for one's own and for others'.

use std::{collections::BTreeMap, future::Future, time::Duration};

use api::{ApiConfig, ServerLimits};
use base::Ambient;
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    domain::PaymentId,
    orders::{CaptureFacts, Orders},
};

use crate::{
    carts::check_out,
    customers::{register, sign_in},
    util::{Answer, Call, Shop, config, id_of, order_body},
};

const TOKEN: &str = "orderworks-order-token";
const SESSION: &str = "orderworks-session";
const DAY: Duration = Duration::from_hours(24);

/// Whose a thing is; the last is another merchant's.
const OWNERS: [&str; 4] = ["ada", "eve", "guest", "neighbour"];

/// Callers by name: API key, then header and value.
type Callers = BTreeMap<&'static str, (Option<String>, Option<(&'static str, String)>)>;

/// A shop with two customers, its neighbour, and an order of everybody.
struct Scene {
    shop: Shop,
    callers: Callers,
    orders: BTreeMap<&'static str, Value>,
}

/// A body whose personal data all hold this word.
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

/// How much of an owner's data an answer holds; all or nothing.
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
        let shop = Shop::open_at(config, ServerLimits::default(), ambient).await;
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
        let (public, secret) = (shop.own.public.clone(), shop.own.secret.clone());
        let (other_public, other_secret) = (shop.other.public.clone(), shop.other.secret.clone());
        let mut scene = Self { shop, callers: BTreeMap::new(), orders: BTreeMap::new() };
        scene.caller("nobody", None, None);
        scene.caller("public", Some(&public), None);
        scene.caller("secret", Some(&secret), None);
        scene.caller("ended session", Some(&public), Some((SESSION, "ows_ended".to_owned())));
        scene.caller("other public", Some(&other_public), None);
        scene.caller("other secret", Some(&other_secret), None);
        for (name, key) in [("ada", &public), ("eve", &public), ("neighbour", &other_public)] {
            let account =
                json!({"email": format!("{name}@example.com"), "name": name, "password": "correct horse"});
            register(&scene.shop, &account).key(key).send().await.expect_status(201);
            let session = sign_in(&scene.shop, &format!("{name}@example.com"), "correct horse").key(key);
            let token =
                session.send().await.expect_status(201).json["token"].as_str().expect("a token").to_owned();
            scene.caller(name, Some(key), Some((SESSION, token)));
        }
        let elsewhere = scene.callers["ada"].1.clone();
        scene.caller("ada elsewhere", Some(&other_public), elsewhere);
        let expired = scene.placed("ada", "early").await;
        scene.caller("expired token", Some(&public), Some((TOKEN, expired.header(TOKEN).to_owned())));
        // The order whose token has expired is that which everybody asks for.
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

    /// The caller who makes an owner's things.
    fn maker(owner: &str) -> &str {
        if owner == "guest" { "public" } else { owner }
    }

    async fn placed(&self, owner: &str, key: &str) -> Answer {
        let call = self.call(Self::maker(owner), Method::POST, "/v1/orders").header("idempotency-key", key);
        call.json(&body_of(owner)).send().await.expect_status(202)
    }

    /// A cart with a mug of this owner.
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

async fn ship(shop: &Shop, order: &Value) {
    let id = id_of(order);
    let amount_minor = order["total_minor"].as_i64().expect("a total");
    let facts =
        CaptureFacts { payment: PaymentId::of_order(id), provider_reference: "ch".to_owned(), amount_minor };
    shop.orders.mark_paid(id, facts, shop.ambient.now()).await.expect("pays");
    shop.orders.fulfil(id, shop.ambient.now()).await.expect("ships");
}

/// One row for each caller: what is expected of the things of [`OWNERS`], a status each, with `+` where personal data
/// are shown.
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
            for stranger in OWNERS.iter().filter(|other| **other != owner) {
                assert!(!is_shown(&answer, stranger), "{caller} is shown {stranger}'s: {}", answer.text);
            }
            let plus = if is_shown(&answer, owner) { "+" } else { "" };
            row.push(format!("{}{plus}", answer.status));
        }
        assert_eq!(row.join(" "), *expected, "{caller}");
    }
}

#[tokio::test]
async fn an_order_shows_personal_data_to_merchant_customer_and_bearer() {
    let scene = Scene::open().await;
    let rows = [
        ("nobody", "401 401 401 401"),
        ("public", "200 200 200 404"),
        ("secret", "200+ 200+ 200+ 404"),
        ("ada", "200+ 200 200 404"),
        ("eve", "200 200+ 200 404"),
        ("ended session", "401 401 401 404"),
        ("expired token", "200 200 200 404"),
        ("eve's token", "200 200+ 200 404"),
        ("guest's token", "200 200 200+ 404"),
        ("neighbour's token", "200 200 200 404"),
        ("neighbour", "404 404 404 200+"),
        ("ada elsewhere", "404 404 404 401"),
        ("other public", "404 404 404 200"),
        ("other secret", "404 404 404 200+"),
    ];
    let scene = &scene;
    let ask = |caller, owner| async move {
        let path = format!("/v1/orders/{}", scene.orders[owner]["id"].as_str().expect("an id"));
        let answer = scene.call(caller, Method::GET, &path).send().await;
        if answer.status == 200 {
            let order = &answer.json;
            // What is not personal is the same for all, and what is, is all there or null.
            assert_eq!(
                (&order["status"], &order["payment"]["status"]),
                (&json!("fulfilled"), &json!("captured"))
            );
            for field in ["id", "items", "total_minor", "currency", "created_at"] {
                assert_eq!(order[field], scene.orders[owner][field], "{field}");
            }
            let personal = ["customer", "shipping_address", "reference", "shipment"];
            let nulls = personal.iter().filter(|field| order[**field].is_null()).count();
            assert_eq!(nulls, if is_shown(&answer, owner) { 0 } else { personal.len() }, "{}", answer.text);
            assert!(personal.iter().all(|field| order.get(*field).is_some()), "{}", answer.text);
        }
        answer
    };
    expect_rows(scene, &rows, ask).await;
}

#[tokio::test]
async fn what_only_the_merchant_may_do_takes_a_secret_key() {
    let scene = Scene::open().await;
    for (method, route, done) in [
        (Method::GET, "/timeline", "200"),
        (Method::POST, "/refund", "202"),
        (Method::POST, "/cancel", "409"),
        (Method::DELETE, "/token", "204"),
    ] {
        let (own, theirs) = (format!("{done} {done} {done} 404"), format!("404 404 404 {done}"));
        let refused = "403 403 403 403";
        let mut rows: Vec<(&'static str, &str)> =
            scene.callers.keys().map(|caller| (*caller, refused)).collect();
        for row in &mut rows {
            match row.0 {
                "nobody" => row.1 = "401 401 401 401",
                "secret" => row.1 = &own,
                "other secret" => row.1 = &theirs,
                _ => {}
            }
        }
        let (scene, method) = (&scene, &method);
        let ask = |caller, owner| async move {
            let id = scene.orders[owner]["id"].as_str().expect("an id");
            scene.call(caller, method.clone(), &format!("/v1/orders/{id}{route}")).send().await
        };
        expect_rows(scene, &rows, ask).await;
    }
    for caller in scene.callers.keys() {
        for path in ["/v1/orders", "/v1/events"] {
            let answer = scene.call(caller, Method::GET, path).send().await;
            let expected = match *caller {
                "nobody" => 401,
                "secret" | "other secret" => 200,
                _ => 403,
            };
            assert_eq!(answer.status, expected, "{caller} {path}");
        }
    }
}

/// Rows of a table for a route of carts, in this order: secret key, Ada, Eve, publishable key, neighbour with session or secret key. Others find nothing.
fn cart_rows([secret, ada, eve, public, neighbour]: [&'static str; 5]) -> Vec<(&'static str, &'static str)> {
    vec![
        ("nobody", "401 401 401 401"),
        ("public", public),
        ("expired token", public),
        ("eve's token", public),
        ("guest's token", public),
        ("neighbour's token", public),
        ("secret", secret),
        ("ada", ada),
        ("eve", eve),
        ("ended session", "401 401 401 401"),
        ("ada elsewhere", "401 401 401 401"),
        ("neighbour", neighbour),
        ("other public", "404 404 404 404"),
        ("other secret", neighbour),
    ]
}

#[tokio::test]
async fn an_open_cart_answers_its_customer_and_the_merchant() {
    let scene = Scene::open().await;
    let scene = &scene;
    let rows = cart_rows([
        "200 200 200 404",
        "200 404 200 404",
        "404 200 200 404",
        "404 404 200 404",
        "404 404 404 200",
    ]);
    expect_rows(scene, &rows, |caller, owner| async move {
        let cart = scene.cart(owner).await;
        scene.call(caller, Method::GET, &cart).send().await
    })
    .await;
    expect_rows(scene, &rows, |caller, owner| async move {
        let cart = scene.cart(owner).await;
        scene.put(caller, &cart, 2).send().await
    })
    .await;
    let rows = cart_rows([
        "202 202 202 404",
        "202 404 202 404",
        "404 202 202 404",
        "404 404 202 404",
        "404 404 404 202",
    ]);
    expect_rows(scene, &rows, |caller, owner| async move {
        let cart = scene.cart(owner).await;
        scene.check_out(caller, &cart, &cart, &checkout_of("stranger")).await
    })
    .await;
}

#[tokio::test]
async fn a_closed_cart_shows_its_order_to_its_customer_and_the_merchant() {
    let scene = Scene::open().await;
    let scene = &scene;
    let mut carts = BTreeMap::new();
    for owner in OWNERS {
        carts.insert(owner, scene.ordered(owner, "checkout").await);
    }
    let carts = &carts;
    // The same request again is answered as it was; a guest is known by nothing else.
    let rows = cart_rows([
        "202+ 202+ 202+ 404",
        "202+ 404 202+ 404",
        "404 202+ 202+ 404",
        "404 404 202+ 404",
        "404 404 404 202+",
    ]);
    expect_rows(scene, &rows, |caller, owner| async move {
        scene.check_out(caller, &carts[owner], "checkout", &checkout_of(owner)).await
    })
    .await;
    // Another one is not, but for the customer and the merchant.
    let rows = cart_rows([
        "202+ 202+ 202+ 404",
        "202+ 404 409 404",
        "404 202+ 409 404",
        "404 404 409 404",
        "404 404 404 202+",
    ]);
    expect_rows(scene, &rows, |caller, owner| async move {
        let answer = scene.check_out(caller, &carts[owner], "another-key", &checkout_of("stranger")).await;
        if answer.status == 409 {
            assert_eq!(answer.json["code"], "cart_closed");
            assert!(!answer.text.contains("ord_"), "{}", answer.text);
        }
        answer
    })
    .await;
    for (caller, owner, is_told) in
        [("ada", "ada", true), ("secret", "ada", true), ("secret", "guest", true), ("public", "guest", false)]
    {
        let read = scene.call(caller, Method::GET, &carts[owner]).send().await.expect_status(200);
        assert_eq!((&read.json["status"], read.json["order"].is_string()), (&json!("closed"), is_told));
        let changed = scene.put(caller, &carts[owner], 2).send().await;
        let changed = changed.expect_problem(409, "cart_closed");
        assert_eq!(changed.text.contains("ord_"), is_told, "{}", changed.text);
    }
}

#[tokio::test]
async fn an_order_of_a_cart_is_its_customers() {
    let scene = Scene::open().await;
    for (maker, owner, is_whole) in
        [("ada", "ada", true), ("secret", "ada", true), ("public", "guest", false)]
    {
        let cart = scene.cart(owner).await;
        let placed = scene.check_out(maker, &cart, &cart, &checkout_of(owner)).await.expect_status(202);
        let read = scene.call("ada", Method::GET, placed.header("location")).send().await.expect_status(200);
        assert_eq!(is_shown(&read, owner), is_whole, "{maker}");
        let call = scene.call("public", Method::GET, placed.header("location"));
        let read = call.header(TOKEN, placed.header(TOKEN)).send().await.expect_status(200);
        assert!(is_shown(&read, owner), "its token opens it");
    }
}

#[tokio::test]
async fn a_cart_is_taken_over_under_a_new_id() {
    let scene = Scene::open().await;
    let planted = scene.cart("guest").await;
    let taken = scene.put("ada", &planted, 3).send().await.expect_status(200);
    let cart = taken.header("content-location").to_owned();
    assert_eq!(cart, format!("/v1/carts/{}", taken.json["id"].as_str().expect("an id")));
    assert_ne!(cart, planted);
    assert_eq!(taken.json["items"][0]["quantity"], 3);
    let none = "/v1/carts/cart_0190a0b4-4242-7424-8242-424242424242";
    for caller in ["public", "ada", "eve", "secret"] {
        for (old, unknown) in [
            (scene.call(caller, Method::GET, &planted), scene.call(caller, Method::GET, none)),
            (scene.put(caller, &planted, 1), scene.put(caller, none, 1)),
            (
                scene.of(caller, check_out(&scene.shop, &planted, "k", &checkout_of("stranger"))),
                scene.of(caller, check_out(&scene.shop, none, "k", &checkout_of("stranger"))),
            ),
        ] {
            let [old, unknown] = [old, unknown].map(|call| call.header("x-request-id", "same").send());
            let (old, unknown) = (old.await.expect_problem(404, "not_found"), unknown.await);
            assert_eq!(old.text, unknown.text, "{caller}");
        }
    }
    assert_eq!(scene.call("ada", Method::GET, &cart).send().await.expect_status(200).json, taken.json);
    // Once it is the customer's it keeps its id, whoever of those who may changes it.
    for caller in ["ada", "secret"] {
        let changed = scene.put(caller, &cart, 1).send().await.expect_status(200);
        assert_eq!(changed.header("content-location"), cart);
        assert_eq!(changed.json["customer"], taken.json["customer"]);
    }
}

#[tokio::test]
async fn a_planted_cart_that_is_ordered_shows_its_planter_nothing() {
    let scene = Scene::open().await;
    let planted = scene.cart("guest").await;
    scene.check_out("ada", &planted, "k", &checkout_of("ada")).await.expect_status(202);
    for caller in ["public", "eve"] {
        scene.call(caller, Method::GET, &planted).send().await.expect_problem(404, "not_found");
        for key in ["k", "another"] {
            let again = scene.check_out(caller, &planted, key, &checkout_of("ada")).await;
            again.expect_problem(404, "not_found");
        }
    }
    // The customer, whose answer may have been lost, is given it again under the same id.
    let again = scene.check_out("ada", &planted, "k", &checkout_of("ada")).await.expect_status(202);
    assert_eq!(again.header("idempotent-replayed"), "true");
}
