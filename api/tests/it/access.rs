//! Access rules: which key may call which operation, and isolation of merchants.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::util::{Call, TestApi, order_body};

/// Every operation of the document: method, template, path with unknown ids in place of `{…}`.
fn operations() -> Vec<(Method, String, String)> {
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "patch", "delete"] {
            if item.get(method).is_some() {
                let id = if template.contains("webhook") {
                    "whe"
                } else if template.contains("carts") {
                    "cart"
                } else if template.starts_with("/v1/events/") {
                    "evt"
                } else {
                    "ord"
                };
                let id = format!("{id}_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e");
                let path = template.replace("{id}", &id).replace("{sku}", "nothing");
                let method = method.to_uppercase().parse().expect("a method");
                operations.push((method, template.clone(), path));
            }
        }
    }
    operations
}

/// A valid body for the operation.
fn body(method: &Method, template: &str) -> Option<Value> {
    match (method.as_str(), template) {
        ("POST", "/v1/orders") => Some(order_body()),
        ("PUT", "/v1/products/{sku}") => {
            Some(json!({"name": "n", "category": "c", "price_minor": 1, "currency": "EUR"}))
        }
        ("PUT", "/v1/inventory/{sku}") => Some(json!({"on_hand": 1})),
        ("POST", "/v1/webhook_endpoints") => Some(json!({"url": "https://shop.example/h", "events": ["*"]})),
        ("POST", "/v1/customers") => {
            Some(json!({"email": "ada@example.com", "name": "Ada", "password": "canary correct horse"}))
        }
        ("POST", "/v1/sessions") => {
            Some(json!({"email": "ada@example.com", "password": "canary correct horse"}))
        }
        ("POST", "/v1/customers/password_reset") => Some(json!({"email": "ada@example.com"})),
        ("POST", "/v1/customers/verify" | "/v1/customers/password_reset/confirm") => {
            Some(json!({"token": "owv_unknown", "password": "canary correct horse"}))
        }
        ("DELETE", "/v1/customers/current") => Some(json!({"password": "canary correct horse"})),
        ("PUT", "/v1/carts/{id}/items/{sku}") => Some(json!({"quantity": 1})),
        ("POST", "/v1/carts/{id}/checkout") => {
            Some(json!({"customer": order_body()["customer"], "payment_method": "pm_card_visa"}))
        }
        ("PATCH", _) => Some(json!({"enabled": false})),
        _ => None,
    }
}

#[tokio::test]
async fn every_operation_needs_a_key_and_every_bad_key_looks_the_same() {
    let shop = TestApi::open().await;
    let guarded = operations().into_iter().filter(|(_, template, _)| template.starts_with("/v1/"));
    for (method, _, path) in guarded {
        let mut answers = Vec::new();
        for authorization in [
            None,
            Some("Bearer owk_sec_00000000000000000000000000000000"),
            Some("Bearer owk_pub_x"),
            Some("Bearer nonsense"),
            Some("Basic b3drOg=="),
            Some("Bearer"),
        ] {
            let mut call = shop.call(method.clone(), &path).header("x-request-id", "same");
            if let Some(value) = authorization {
                call = call.header("authorization", value);
            }
            let answer = call.send().await.expect_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            answers.push(answer.text);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{method} {path}");
    }
}

/// Without the text of a key, here or in the stores, there is nothing that a guess could be compared with byte by byte;
/// `auth::tests` shows that digests do not tell how much of a guess is right.
#[tokio::test]
async fn a_key_is_known_by_its_digest_alone() {
    let shop = TestApi::open().await;
    for key in [&shop.own.public, &shop.own.secret] {
        // Known from the store, then from the cache.
        for _ in 0..2 {
            shop.call(Method::GET, "/v1/products").key(key).send().await.expect_status(200);
        }
        for at in [8, key.len() / 2, key.len() - 1] {
            let other = if key.as_bytes()[at] == b'0' { "1" } else { "0" };
            let guess = format!("{}{other}{}", &key[..at], &key[at + 1..]);
            let refused = shop.call(Method::GET, "/v1/products").key(&guess).send().await;
            refused.expect_problem(401, "unauthorized");
        }
    }
    let files = std::fs::read_dir(shop.folder.path()).expect("a folder");
    let files = files.map(|file| std::fs::read(file.expect("a file").path()).expect("reads"));
    let stored: Vec<u8> = files.flatten().collect();
    let holds = |bytes: &[u8]| stored.windows(bytes.len()).any(|window| window == bytes);
    for key in [&shop.own.public, &shop.own.secret] {
        let digest: [u8; 32] = Sha256::digest(key).into();
        assert!(holds(&digest) && !holds(&key.as_bytes()[8..]), "{key}");
    }
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let shop = TestApi::open().await;
    let bearer = format!("Bearer {}", shop.own.secret);
    let call = shop.call(Method::GET, "/v1/orders").header("authorization", &bearer);
    call.header("authorization", &bearer).send().await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_publishable_key_reads_the_catalog_places_orders_and_reads_one_order() {
    let shop = TestApi::open().await;
    let ada = json!({"email": "ada@example.com", "name": "Ada", "password": "canary correct horse"});
    crate::customers::registered(&shop, &ada).await;
    let open = [
        "GET /v1/products",
        "GET /v1/products/{sku}",
        "GET /v1/product_facets",
        "GET /v1/categories",
        "GET /v1/waiting_room",
        "POST /v1/orders",
        "GET /v1/orders/{id}",
        "GET /v1/orders/{id}/timeline",
        "GET /v1/orders/{id}/events",
        "POST /v1/orders/{id}/cancel",
        "POST /v1/carts",
        "GET /v1/carts/{id}",
        "PUT /v1/carts/{id}/items/{sku}",
        "POST /v1/carts/{id}/checkout",
        "POST /v1/carts/{id}/quote",
        "POST /v1/carts/{id}/reservation",
        "DELETE /v1/carts/{id}/reservation",
        "POST /v1/customers",
        "POST /v1/customers/verify",
        "POST /v1/customers/password_reset",
        "POST /v1/customers/password_reset/confirm",
        "POST /v1/sessions",
        "DELETE /v1/sessions/current",
    ];
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    for (method, template, path) in operations() {
        if !template.starts_with("/v1/") {
            continue;
        }
        let operation = &document["paths"][&template][method.as_str().to_lowercase()];
        let is_secret = operation["security"] == json!([{"secret_key": []}]);
        let mut call = shop.call(method.clone(), &path).key(&shop.own.public);
        if template == "/v1/sessions/current" {
            call = call.header("orderworks-session", "ows_ended");
        }
        if let Some(body) = body(&method, &template) {
            call = call.json(&body);
        }
        let answer = call.send().await;
        assert_eq!(
            answer.json["code"] == "secret_key_required",
            is_secret,
            "{method} {template} as described"
        );
        // Open to publishable keys, but only for signed-in customers.
        let signed_in = [
            "GET /v1/sessions",
            "DELETE /v1/sessions",
            "DELETE /v1/sessions/{id}",
            "GET /v1/customers/current",
            "DELETE /v1/customers/current",
            "GET /v1/customers/current/export",
            "GET /v1/customers/current/orders",
            "POST /v1/customers/current/cart",
        ]
        .map(str::to_owned);
        if signed_in.contains(&format!("{method} {template}")) {
            answer.expect_problem(401, "session_invalid");
        } else if open.contains(&format!("{method} {template}").as_str()) {
            assert!(![401, 403, 405].contains(&answer.status), "{method} {template}: {}", answer.text);
        } else {
            answer.expect_problem(403, "secret_key_required");
        }
    }
}

/// A thing of each kind that ids in paths name.
struct Things {
    order: String,
    endpoint: String,
    event: String,
    cart: String,
}

impl Things {
    /// Those of the merchant of most tests.
    async fn of(shop: &TestApi) -> Self {
        let id = |answer: &Value| answer["id"].as_str().expect("an id").to_owned();
        shop.stock("mug", 10).await;
        let order = id(&shop.order("k1").await);
        let endpoint = json!({"url": "https://shop.example/h", "events": ["*"]});
        let endpoint = shop.post("/v1/webhook_endpoints", &endpoint).send().await.expect_status(201);
        let events = shop.get("/v1/events").send().await.expect_status(200);
        let cart = shop.post("/v1/carts", &json!({})).send().await.expect_status(201);
        Self { order, endpoint: id(&endpoint.json), event: id(&events.list()[0]), cart: id(&cart.json) }
    }

    /// The path of one of them.
    fn path(&self, template: &str) -> String {
        let id = if template.contains("webhook") {
            &self.endpoint
        } else if template.contains("carts") {
            &self.cart
        } else if template.starts_with("/v1/events/") {
            &self.event
        } else {
            &self.order
        };
        template.replace("{id}", id).replace("{sku}", "mug")
    }
}

/// A call of the operation with a valid body and every header field that one of them needs.
fn call(shop: &TestApi, method: &Method, template: &str, path: &str) -> Call {
    let mut call = shop.call(method.clone(), path).header("x-request-id", "same");
    if template.ends_with("/checkout") || template.ends_with("/refund") {
        call = call.header("idempotency-key", "k");
    }
    match body(method, template) {
        Some(body) => call.json(&body),
        None => call,
    }
}

/// With either key of another merchant: nothing tells a thing of the neighbour's from one that does not exist.
#[tokio::test]
async fn ids_of_another_merchant_answer_as_ids_of_nothing_with_every_key() {
    let shop = TestApi::open().await;
    let things = Things::of(&shop).await;
    let named = operations().into_iter().filter(|(method, template, _)| {
        template.contains('{') && !(method == Method::PUT && template == "/v1/products/{sku}")
    });
    let mut checked = 0;
    for (method, template, missing) in named {
        for key in [&shop.other.public, &shop.other.secret] {
            let mut answers = Vec::new();
            for path in [missing.clone(), things.path(&template)] {
                let answer = call(&shop, &method, &template, &path).key(key).send().await;
                assert!((400..500).contains(&answer.status), "{method} {template}: {}", answer.text);
                answers.push((answer.status, answer.text));
            }
            assert_eq!(answers[0], answers[1], "{method} {template}");
            checked += 1;
        }
    }
    assert!(checked >= 40, "only {checked} calls name a thing");
    // None of the attempts took effect.
    let answer = shop.get(&format!("/v1/orders/{}", things.order)).send().await.expect_status(200);
    assert_eq!(answer.json["status"], "pending");
    shop.get(&format!("/v1/webhook_endpoints/{}", things.endpoint)).send().await.expect_status(200);
    shop.get(&format!("/v1/carts/{}", things.cart)).send().await.expect_status(200);
}

#[tokio::test]
async fn data_of_another_merchant_is_not_found() {
    let shop = TestApi::open().await;
    let things = Things::of(&shop).await;
    let named = operations().into_iter().filter(|(method, template, _)| {
        // A session is ended by its customer only, see the module `sessions`.
        template.contains('{')
            && template != "/v1/sessions/{id}"
            && !(method == Method::PUT && template == "/v1/products/{sku}")
    });
    let mut checked = 0;
    for (method, template, missing) in named {
        let mut texts = Vec::new();
        for path in [missing, things.path(&template)] {
            let call = call(&shop, &method, &template, &path).key(&shop.other.secret);
            texts.push(call.send().await.expect_problem(404, "not_found").text);
        }
        assert_eq!(texts[0], texts[1], "{method} {template}");
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} operations name a thing");
    for list in ["/v1/orders", "/v1/events", "/v1/webhook_endpoints", "/v1/products", "/v1/categories"] {
        let answer = shop.get(list).key(&shop.other.secret).send().await.expect_status(200);
        assert!(answer.list().is_empty(), "{list}: {}", answer.text);
        let answer = shop.get(list).send().await.expect_status(200);
        assert!(!answer.list().is_empty(), "{list}: {}", answer.text);
    }
    // None of the attempts took effect.
    let answer = shop.get(&format!("/v1/orders/{}", things.order)).send().await.expect_status(200);
    assert_eq!(answer.json["status"], "pending");
    shop.get(&format!("/v1/webhook_endpoints/{}", things.endpoint)).send().await.expect_status(200);
}

#[tokio::test]
async fn a_product_put_by_another_is_another_product() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let theirs = json!({"name": "Theirs", "category": "c", "price_minor": 1, "currency": "USD"});
    let call = shop.put("/v1/products/mug", &theirs).key(&shop.other.secret);
    call.send().await.expect_status(201);
    let own = shop.get("/v1/products/mug").send().await.expect_status(200);
    assert_eq!((own.json["name"].as_str(), own.json["available"].as_i64()), (Some("The mug"), Some(10)));
}
