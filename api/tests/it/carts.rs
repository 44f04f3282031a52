//! Carts from their creation to their order or expiry.

use std::time::Duration;

use api::ServerLimits;
use base::Ambient;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::util::{Answer, Call, TestApi, config};

pub(crate) async fn cart(shop: &TestApi) -> String {
    let made = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).send().await.expect_status(201);
    let id = made.json["id"].as_str().expect("an id");
    assert_eq!(made.header("location"), format!("/v1/carts/{id}"));
    format!("/v1/carts/{id}")
}

pub(crate) fn put(shop: &TestApi, cart: &str, sku: &str, quantity: impl Into<Value>) -> Call {
    let body = json!({"quantity": quantity.into()});
    shop.call(Method::PUT, &format!("{cart}/items/{sku}")).key(&shop.own.public).json(&body)
}

pub(crate) async fn read(shop: &TestApi, cart: &str) -> Value {
    shop.get(cart).key(&shop.own.public).send().await.expect_status(200).json
}

pub(crate) fn body() -> Value {
    json!({"customer": {"email": "ada@example.com", "name": "Ada Lovelace"}, "payment_method": "pm_card_visa"})
}

pub(crate) fn check_out(shop: &TestApi, cart: &str, key: &str, body: &Value) -> Call {
    let call = shop.call(Method::POST, &format!("{cart}/checkout")).key(&shop.own.public);
    call.header("idempotency-key", key).json(body)
}

/// A cart with two mugs.
pub(crate) async fn filled(shop: &TestApi) -> String {
    let cart = cart(shop).await;
    put(shop, &cart, "mug", 2).send().await.expect_status(200);
    cart
}

pub(crate) async fn orders(shop: &TestApi) -> usize {
    shop.get("/v1/orders?limit=100").send().await.expect_status(200).list().len()
}

#[tokio::test]
async fn a_cart_is_filled_changed_and_ordered() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    shop.stock("pen", 3).await;
    let cart = cart(&shop).await;
    let empty = read(&shop, &cart).await;
    for (field, value) in [
        ("items", json!([])),
        ("currency", json!(null)),
        ("total_minor", json!(0)),
        ("status", json!("open")),
    ] {
        assert_eq!(empty[field], value, "{empty}");
    }
    put(&shop, &cart, "mug", 1).send().await.expect_status(200);
    put(&shop, &cart, "pen", 5).send().await.expect_status(200);
    let changed = put(&shop, &cart, "mug", 2).send().await.expect_status(200).json;
    let items = json!([
        {"sku": "mug", "name": "The mug", "quantity": 2, "price_minor": 250, "line_total_minor": 500, "available": 10},
        {"sku": "pen", "name": "The pen", "quantity": 5, "price_minor": 250, "line_total_minor": 1250, "available": 3},
    ]);
    assert_eq!(
        (&changed["items"], &changed["total_minor"], &changed["currency"]),
        (&items, &json!(1750), &json!("EUR"))
    );
    assert_eq!(read(&shop, &cart).await, changed);
    for _ in 0..2 {
        let without = put(&shop, &cart, "pen", 0).send().await.expect_status(200).json;
        assert_eq!(
            (without["items"].as_array().map(Vec::len), &without["total_minor"]),
            (Some(1), &json!(500))
        );
    }

    // Prices are those at the time of ordering.
    let dearer = json!({"name": "Mug", "category": "mugs", "price_minor": 300, "currency": "EUR"});
    shop.put("/v1/products/mug", &dearer).send().await.expect_status(200);
    assert_eq!(read(&shop, &cart).await["total_minor"], 600);
    let mut full = body();
    full["reference"] = json!("A-17");
    let order = check_out(&shop, &cart, "k1", &full).send().await.expect_status(202);
    let id = order.json["id"].as_str().expect("an id");
    assert_eq!(order.header("location"), format!("/v1/orders/{id}"));
    assert_eq!((&order.json["status"], &order.json["total_minor"]), (&json!("pending"), &json!(600)));
    assert_eq!((&order.json["reference"], &order.json["customer"]), (&json!("A-17"), &full["customer"]));
    assert_eq!(order.json["items"][0]["quantity"], 2);
    let stored = shop.get(&format!("/v1/orders/{id}")).send().await.expect_status(200).json;
    assert_eq!(stored["items"], order.json["items"]);

    let closed = read(&shop, &cart).await;
    assert_eq!((&closed["status"], &closed["order"]), (&json!("closed"), &json!(null)));
    let closed = shop.get(&cart).send().await.expect_status(200).json;
    assert_eq!((&closed["status"], &closed["order"]), (&json!("closed"), &json!(id)));
    for quantity in [0, 3] {
        put(&shop, &cart, "mug", quantity).send().await.expect_problem(409, "cart_closed");
    }
}

#[tokio::test]
async fn a_cart_can_be_made_with_its_items() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let make = |body: Value| shop.call(Method::POST, "/v1/carts").key(&shop.own.public).json(&body).send();
    let items = json!([{"sku": "mug", "quantity": 1}, {"sku": "mug", "quantity": 2}]);
    let made = make(json!({"currency": "EUR", "items": items})).await.expect_status(201);
    assert_eq!((&made.json["items"][0]["quantity"], &made.json["total_minor"]), (&json!(3), &json!(750)));
    let wrong = make(
        json!({"currency": "USD", "items": [{"sku": "ghost", "quantity": 1}, {"sku": "mug", "quantity": 1}]}),
    );
    let faults = wrong.await.expect_problem(422, "validation_failed").faults();
    assert_eq!(faults, ["/items/0/sku unknown_sku", "/items/1/sku wrong_currency"]);
    let nonsense = make(json!({"currency": "euro", "items": [], "total_minor": 1})).await;
    let faults = nonsense.expect_problem(422, "validation_failed").faults();
    assert_eq!(faults, ["/currency wrong_format", "/items wrong_length", "/total_minor unknown_field"]);
}

#[tokio::test]
async fn nonsense_in_items_and_checkouts_is_refused() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let before = read(&shop, &cart).await;
    for bad in [json!(-1), json!(10_001), json!(1.5), json!("2"), json!(null), json!([1])] {
        let answer = put(&shop, &cart, "mug", bad).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.json["errors"][0]["pointer"], "/quantity");
    }
    for sku in ["ghost", "a%20b", "%F0%9F%8D%B5", &"x".repeat(65)] {
        put(&shop, &cart, sku, 1).send().await.expect_problem(422, "unknown_sku");
        put(&shop, &cart, sku, 0).send().await.expect_status(200);
    }
    let dollars = json!({"name": "Dollar", "category": "mugs", "price_minor": 100, "currency": "USD"});
    shop.put("/v1/products/dollar", &dollars).send().await.expect_status(201);
    put(&shop, &cart, "dollar", 1).send().await.expect_problem(422, "wrong_currency");

    let mut wrong =
        json!({"customer": {"email": "ada"}, "payment_method": "visa", "items": [], "total_minor": 1});
    let answer = check_out(&shop, &cart, "k1", &wrong).send().await.expect_problem(422, "validation_failed");
    assert_eq!(
        answer.faults(),
        [
            "/customer/email wrong_format",
            "/customer/name required",
            "/items unknown_field",
            "/payment_method wrong_format",
            "/total_minor unknown_field",
        ]
    );
    wrong = json!({"payment_method": "pm_card_visa"});
    let answer = check_out(&shop, &cart, "k1", &wrong).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/customer required"]);
    for (pointer, field) in
        [("/reference", "reference"), ("/payment_method", "payment_method"), ("/note", "note")]
    {
        let mut body = body();
        body[field] = json!("4242-4242-4242-4242");
        let answer = check_out(&shop, &cart, "k1", &body).send().await;
        let answer = answer.expect_problem(422, "card_number_not_accepted");
        assert_eq!(answer.json["errors"][0]["pointer"], pointer);
    }
    let keyless = shop.call(Method::POST, &format!("{cart}/checkout")).key(&shop.own.public).json(&body());
    keyless.send().await.expect_problem(400, "idempotency_key_required");
    let mut after = read(&shop, &cart).await;
    after["expires_at"] = before["expires_at"].clone();
    assert_eq!(after, before);
    assert_eq!(orders(&shop).await, 0);
}

#[tokio::test]
async fn another_merchants_cart_and_none_at_all_look_the_same() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let product = json!({"name": "Mug", "category": "mugs", "price_minor": 1, "currency": "EUR"});
    shop.put("/v1/products/mug", &product).key(&shop.other.secret).send().await.expect_status(201);
    let own = filled(&shop).await;
    let before = read(&shop, &own).await;
    let none = "/v1/carts/cart_0190a0b4-4242-7424-8242-424242424242";
    for cart in
        [own.as_str(), none, "/v1/carts/nonsense", "/v1/carts/ord_0190a0b4-4242-7424-8242-424242424242"]
    {
        for key in [&shop.other.public, &shop.other.secret] {
            shop.get(cart).key(key).send().await.expect_problem(404, "not_found");
            put(&shop, cart, "mug", 1).key(key).send().await.expect_problem(404, "not_found");
            check_out(&shop, cart, "k", &body()).key(key).send().await.expect_problem(404, "not_found");
        }
    }
    assert_eq!(read(&shop, &own).await, before);
    shop.call(Method::GET, &own).send().await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn concurrent_changes_are_all_kept() {
    let shop = TestApi::open().await;
    let skus: Vec<String> = (0..8).map(|n| format!("sku-{n}")).collect();
    for sku in &skus {
        shop.stock(sku, 10).await;
    }
    let cart = cart(&shop).await;
    let answers = join_all(skus.iter().map(|sku| put(&shop, &cart, sku, 1).send())).await;
    let mut kept = Vec::new();
    for (sku, answer) in skus.iter().zip(answers) {
        if answer.status == 409 {
            assert_eq!(answer.expect_problem(409, "cart_busy").header("retry-after"), "1");
        } else {
            answer.expect_status(200);
            kept.push(sku.clone());
        }
    }
    assert!(!kept.is_empty());
    let read = read(&shop, &cart).await;
    let mut there: Vec<_> =
        read["items"].as_array().expect("items").iter().map(|i| i["sku"].as_str().expect("text")).collect();
    there.sort_unstable();
    assert_eq!(there, kept, "what was answered is there, and nothing else");
}

#[tokio::test]
async fn a_cart_holds_a_hundred_products() {
    let shop = TestApi::open().await;
    let skus: Vec<String> = (0..101).map(|n| format!("sku-{n}")).collect();
    for sku in &skus {
        let name = "\u{1f375}".repeat(200);
        let product =
            json!({"name": name, "category": "mugs", "price_minor": 999_999_999_999_i64, "currency": "EUR"});
        shop.put(&format!("/v1/products/{sku}"), &product).send().await.expect_status(201);
    }
    let items: Vec<_> = skus[..100].iter().map(|sku| json!({"sku": sku, "quantity": 10_000})).collect();
    let made = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).json(&json!({"items": items}));
    let made = made.send().await.expect_status(201);
    assert_eq!(made.json["total_minor"], 999_999_999_999_i64 * 10_000 * 100);
    let cart = format!("/v1/carts/{}", made.json["id"].as_str().expect("an id"));
    put(&shop, &cart, "sku-100", 1).send().await.expect_problem(422, "cart_full");
    put(&shop, &cart, "sku-99", 1).send().await.expect_status(200);
    put(&shop, &cart, "sku-0", 0).send().await.expect_status(200);
    put(&shop, &cart, "sku-100", 1).send().await.expect_status(200);
}

#[tokio::test]
async fn a_cart_lives_two_weeks_from_its_last_change() {
    const DAY: Duration = Duration::from_hours(24);
    let (ambient, clock) = Ambient::steered(4, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    clock.advance(13 * DAY);
    let answer: Answer = put(&shop, &cart, "mug", 1).send().await.expect_status(200);
    let ends: base::Timestamp = answer.json["expires_at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(ends, shop.ambient.now() + 14 * DAY);
    clock.advance(13 * DAY);
    read(&shop, &cart).await;
    clock.advance(2 * DAY);
    shop.get(&cart).send().await.expect_problem(404, "not_found");
    put(&shop, &cart, "mug", 1).send().await.expect_problem(404, "not_found");
    check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_cart_that_was_never_changed_lives_a_day() {
    const HOUR: Duration = Duration::from_hours(1);
    let (ambient, clock) = Ambient::steered(5, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    let made = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).send().await.expect_status(201);
    let cart = format!("/v1/carts/{}", made.json["id"].as_str().expect("an id"));
    clock.advance(23 * HOUR);
    read(&shop, &cart).await;
    clock.advance(2 * HOUR);
    shop.get(&cart).send().await.expect_problem(404, "not_found");
}
