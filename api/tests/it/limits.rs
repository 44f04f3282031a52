//! Rate limits: the requests that count, and for which caller.

use std::num::NonZeroU32;

use api::{ApiConfig, CartLimits, CheckoutLimits, ServerLimits};
use base::Ambient;
use reqwest::Method;
use store::domain::{EndpointId, OrderId};

use crate::util::{Answer, TestApi, config, order_body};

fn limited(per_key_per_second: u32, per_ip_per_second: u32, burst: u32) -> ApiConfig {
    let number = |value| NonZeroU32::new(value).expect("not zero");
    let checkout = CheckoutLimits {
        per_key_per_second: number(per_key_per_second),
        per_ip_per_second: number(per_ip_per_second),
        burst: number(burst),
        ..config().checkout
    };
    ApiConfig { checkout, ..config() }
}

fn expect_limited(answer: Answer, policy: &str) {
    let answer = answer.expect_problem(429, "rate_limited");
    assert_eq!(answer.json["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(answer.json["violated-policies"], serde_json::json!([policy]));
    assert_eq!(answer.header("ratelimit-policy"), format!("\"{policy}\";q=3;w=3"));
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=2).contains(&seconds));
    assert_eq!(answer.header("ratelimit"), format!("\"{policy}\";r=0;t={seconds}"));
}

#[tokio::test]
async fn a_secret_key_has_its_own_allowance() {
    let shop = TestApi::open_with(limited(1, 1_000_000, 3), ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let place = |key: &str| shop.place(key, &order_body()).key(&shop.own.secret).send();
    for (key, left) in [("k1", 2), ("k2", 1), ("k3", 0)] {
        let answer = place(key).await.expect_status(202);
        assert_eq!(answer.header("ratelimit-policy"), "\"checkout-key\";q=3;w=3");
        assert_eq!(answer.header("ratelimit"), format!("\"checkout-key\";r={left};t=1"));
    }
    expect_limited(place("k4").await, "checkout-key");
    // It limits neither reads nor other keys.
    shop.get("/v1/orders").send().await.expect_status(200);
    shop.place("k4", &order_body()).send().await.expect_status(202);
    assert_eq!(shop.traces().await.0, 4);
}

#[tokio::test]
async fn all_secret_keys_of_a_merchant_share_an_allowance_of_orders() {
    let mut config = limited(1_000_000, 1_000_000, 3);
    config.checkout.per_merchant_per_second = NonZeroU32::MIN;
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let place = |name: &str, key: &str| shop.place(name, &order_body()).key(key).send();
    for name in ["k1", "k2", "k3"] {
        let answer = place(name, &shop.another_secret().await).await.expect_status(202);
        assert_eq!(
            answer.header("ratelimit-policy"),
            "\"checkout-key\";q=3;w=1",
            "what the key may still do"
        );
    }
    expect_limited(place("k4", &shop.another_secret().await).await, "checkout-merchant");
    // It limits neither the merchant's customers nor other merchants, who have no such product.
    place("k4", &shop.own.public).await.expect_status(202);
    place("k4", &shop.other.secret).await.expect_status(422);
    assert_eq!(shop.traces().await.0, 4);
}

/// A shop behind a proxy on loopback, so that the test chooses the client's address.
async fn behind_proxy(config: ApiConfig) -> TestApi {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let shop = TestApi::open_with(ApiConfig { trusted_proxies, ..config }, ServerLimits::default()).await;
    shop.stock("mug", 1_000).await;
    shop
}

#[tokio::test]
async fn customers_of_one_shop_are_counted_by_address() {
    let shop = behind_proxy(limited(1, 1, 3)).await;
    let place = |key: &str, from: &str| shop.place(key, &order_body()).header("x-forwarded-for", from).send();
    for (key, left) in [("k1", 2), ("k2", 1), ("k3", 0)] {
        let answer = place(key, "2001:db8::1").await.expect_status(202);
        assert_eq!(answer.header("ratelimit"), format!("\"checkout-ip\";r={left};t=1"));
    }
    expect_limited(place("k4", "2001:db8::2").await, "checkout-ip");
    place("k4", "2001:db8:0:1::2").await.expect_status(202);
    place("k5", "198.51.100.1").await.expect_status(202);
}

#[tokio::test]
async fn a_publishable_key_guards_the_installation_with_valid_orders_only() {
    let mut config = limited(1_000_000, 1_000_000, 3);
    config.checkout.per_publishable_key_per_second = NonZeroU32::new(2).expect("not zero");
    let shop = behind_proxy(config).await;
    for n in 0..20 {
        let from = format!("198.51.100.{n}");
        let invalid = shop.place("k", &serde_json::json!({})).header("x-forwarded-for", &from);
        invalid.send().await.expect_problem(422, "validation_failed");
    }
    let mut refused = None;
    for n in 0..1_000 {
        let answer = shop.place(&format!("k{n}"), &order_body()).send().await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect_status(202);
    }
    let refused = refused.expect("two a second are not a thousand at once");
    assert_eq!(refused.json["violated-policies"], serde_json::json!(["checkout-key"]));
}

/// Whatever its balancer writes, one client has one allowance.
#[tokio::test]
async fn a_client_is_known_in_every_spelling_of_its_address() {
    let mut config = limited(1, 1, 3);
    config.checkout.invalid_per_ip_per_minute = NonZeroU32::MIN;
    let shop = behind_proxy(config).await;
    for spellings in [
        &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "203.0.113.7:50123")][..],
        &[
            ("x-forwarded-for", "[2001:db8::1]:443"),
            ("x-forwarded-for", "6.6.6.6, 2001:DB8::2, 127.0.0.2,"),
            ("forwarded", "for=\"[2001:db8::3]:4711\";proto=https"),
        ],
        &[
            ("forwarded", "for=198.51.100.1"),
            ("forwarded", "for=6.6.6.6, for=\"198.51.100.1:80\";by=_x, for=127.0.0.2"),
            ("x-forwarded-for", "::ffff:198.51.100.1"),
        ],
        // None of these tells an address that can be trusted: they count together, by the proxy's.
        &[("x-forwarded-for", "unknown"), ("x-forwarded-for", "6.6.6.6, _hidden"), ("forwarded", "for=_x")],
    ] {
        for (n, (header, value)) in spellings.iter().enumerate() {
            let answer = shop.place("k", &serde_json::json!({})).header(header, value).send().await;
            answer.expect_status(if n == 0 { 422 } else { 429 });
        }
    }
}

#[tokio::test]
async fn what_is_not_valid_takes_from_an_allowance_of_its_own() {
    let mut config = limited(1, 1, 3);
    config.checkout.invalid_per_ip_per_minute = NonZeroU32::new(3).expect("not zero");
    let shop = behind_proxy(config).await;
    let invalid = || shop.place("k", &serde_json::json!({"items": []})).send();
    for left in [2, 1, 0] {
        let answer = invalid().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.header("ratelimit-policy"), "\"checkout-invalid\";q=3;w=60");
        assert_eq!(answer.header("ratelimit"), format!("\"checkout-invalid\";r={left};t=1"));
    }
    let refused = invalid().await.expect_problem(429, "rate_limited");
    assert_eq!(refused.json["violated-policies"], serde_json::json!(["checkout-invalid"]));
    for body in ["", "[", "{\"a\":"] {
        let syntax = shop.place("k", &order_body()).body(body).send().await;
        syntax.expect_problem(429, "rate_limited");
    }
    shop.place("k", &order_body()).send().await.expect_status(202);
}

#[tokio::test]
async fn a_request_without_a_usable_key_is_told_so_before_any_limit() {
    let mut config = limited(1, 1, 1);
    config.sign_in.burst = NonZeroU32::MIN;
    config.sign_in.per_ip_per_minute = NonZeroU32::MIN;
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let posts = ["/v1/orders", "/v1/carts", "/v1/sessions", "/v1/customers", "/v1/customers/password_reset"];
    for path in posts {
        for _ in 0..3 {
            shop.call(Method::POST, path).send().await.expect_problem(401, "unauthorized");
            shop.call(Method::POST, path).key("nonsense").send().await.expect_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn guessing_keys_is_limited_by_address_and_harms_no_known_key() {
    let shop = behind_proxy(config()).await;
    let guess =
        |from: &str| shop.get("/v1/products").key("owk_sec_guess").header("x-forwarded-for", from).send();
    shop.get("/v1/products").send().await.expect_status(200);
    let mut refused = None;
    for _ in 0..1_000 {
        let answer = guess("127.0.0.1").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect_problem(401, "unauthorized");
    }
    let refused = refused.expect("a hundred a second are not a thousand at once");
    assert_eq!(refused.json["violated-policies"], serde_json::json!(["key-lookup"]));
    shop.get("/v1/products").send().await.expect_status(200);
    guess("198.51.100.7").await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn reading_is_limited_by_address_or_by_secret_key() {
    let mut config = config();
    config.reads.per_ip_per_second = NonZeroU32::MIN;
    config.reads.per_key_per_second = NonZeroU32::MIN;
    let shop = behind_proxy(config).await;
    let read =
        |path: &str, key: &str, from: &str| shop.get(path).key(key).header("x-forwarded-for", from).send();
    let missing = OrderId::fresh(&Ambient::system());
    let order = format!("/v1/orders/{missing}");
    let cart = format!("/v1/carts/{}", order.replace("/v1/orders/ord_", "cart_"));
    let paths = ["/v1/products", "/v1/products?q=mug", "/v1/products/mug", "/v1/categories", &order, &cart];
    for (n, path) in paths.into_iter().enumerate() {
        let from = format!("198.51.100.{n}");
        assert_ne!(read(path, &shop.own.public, &from).await.status, 429, "{path}");
        let refused = read(path, &shop.own.public, &from).await.expect_problem(429, "rate_limited");
        assert_eq!(refused.json["violated-policies"], serde_json::json!(["read-ip"]), "{path}");
    }
    let mut seen = Vec::new();
    for n in 0..3 {
        let answer = read("/v1/orders", &shop.other.secret, &format!("203.0.113.{n}")).await;
        seen.push(answer.status);
    }
    assert_eq!(seen, [200, 429, 429], "whatever the address");
}

/// Every route that writes and has no limit of its own.
#[tokio::test]
async fn writing_is_limited_by_secret_key_or_by_address() {
    let mut config = config();
    config.writes.per_ip_per_second = NonZeroU32::MIN;
    config.writes.per_key_per_second = NonZeroU32::new(2).expect("not zero");
    let shop = behind_proxy(config).await;
    let ambient = Ambient::system();
    let (order, endpoint) = (OrderId::fresh(&ambient), EndpointId::fresh(&ambient));
    let [cancel, refund, token] = ["cancel", "refund", "token"].map(|of| format!("/v1/orders/{order}/{of}"));
    let endpoint = format!("/v1/webhook_endpoints/{endpoint}");
    let secret = [
        (Method::PUT, "/v1/products/mug"),
        (Method::PUT, "/v1/inventory/mug"),
        (Method::POST, cancel.as_str()),
        (Method::POST, refund.as_str()),
        (Method::DELETE, token.as_str()),
        (Method::POST, "/v1/webhook_endpoints"),
        (Method::PATCH, endpoint.as_str()),
        (Method::DELETE, endpoint.as_str()),
    ];
    let public = [(Method::DELETE, "/v1/sessions"), (Method::DELETE, "/v1/sessions/current")];
    let of_secret = secret.into_iter().map(|route| (route, &shop.other.secret, "write-key"));
    let of_public = public.into_iter().map(|route| (route, &shop.own.public, "write-ip"));
    for ((method, path), key, policy) in of_secret.chain(of_public) {
        let mut answers = Vec::new();
        while answers.len() < 50 && !answers.contains(&429) {
            let answer = shop.call(method.clone(), path).key(key).body("{}").send().await;
            if answer.status == 429 {
                assert_eq!(answer.json["violated-policies"], serde_json::json!([policy]), "{path}");
            }
            answers.push(answer.status);
        }
        assert!(answers.contains(&429), "{method} {path}: {answers:?}");
    }
    // Reads have an allowance of their own.
    shop.get("/v1/orders").key(&shop.other.secret).send().await.expect_status(200);
}

#[tokio::test]
async fn all_secret_keys_of_a_merchant_share_an_allowance_of_writes() {
    let mut config = config();
    config.writes.per_merchant_per_second = NonZeroU32::new(2).expect("not zero");
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    let write = |key: &str| shop.call(Method::DELETE, "/v1/webhook_endpoints/x").key(key).send();
    let mut refused = None;
    for _ in 0..50 {
        let answer = write(&shop.another_secret().await).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect_status(404);
    }
    let refused = refused.expect("two a second are not fifty at once");
    assert_eq!(refused.json["violated-policies"], serde_json::json!(["write-merchant"]));
    assert_eq!(refused.header("ratelimit-policy"), "\"write-merchant\";q=2;w=1");
    write(&shop.other.secret).await.expect_status(404);
    shop.get("/v1/orders").send().await.expect_status(200);
}

#[tokio::test]
async fn carts_are_limited_by_address_apart_from_checkout() {
    let shop = TestApi::open_with(limited(1_000_000, 1, 3), ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let cart = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).send().await.expect_status(201);
    let item = format!("/v1/carts/{}/items/mug", cart.json["id"].as_str().expect("an id"));
    let change = |quantity: u32| {
        shop.call(Method::PUT, &item).key(&shop.own.public).json(&serde_json::json!({"quantity": quantity}))
    };
    // The new cart counts as well.
    for quantity in 1..=2 {
        change(quantity).send().await.expect_status(200);
    }
    expect_limited(change(3).send().await, "cart-ip");
    shop.order("k1").await;
}

#[tokio::test]
async fn new_carts_are_limited_by_address_and_by_merchant() {
    let number = |value| NonZeroU32::new(value).expect("not zero");
    for (per_ip, per_merchant, policy) in
        [(2, 1_000, "\"new-cart-ip\";q=2;w=60"), (1_000, 2, "\"new-cart-merchant\";q=2;w=86400")]
    {
        let carts = CartLimits {
            new_per_ip_per_minute: number(per_ip),
            new_per_merchant_per_day: number(per_merchant),
        };
        let shop = TestApi::open_with(ApiConfig { carts, ..config() }, ServerLimits::default()).await;
        let make = |key: &str| shop.call(Method::POST, "/v1/carts").key(key).send();
        for _ in 0..2 {
            make(&shop.own.public).await.expect_status(201);
        }
        let refused = make(&shop.own.public).await.expect_problem(429, "rate_limited");
        assert_eq!(refused.header("ratelimit-policy"), policy);
        let of_others = if per_merchant == 2 { 201 } else { 429 };
        make(&shop.other.public).await.expect_status(of_others);
    }
}

#[tokio::test]
async fn searching_is_limited_apart_from_reading() {
    let mut config = config();
    config.reads.searches_per_ip_per_second = NonZeroU32::MIN;
    config.reads.searches_per_key_per_second = NonZeroU32::MIN;
    let shop = behind_proxy(config).await;
    for (key, policy) in [(&shop.own.public, "search-ip"), (&shop.own.secret, "search-key")] {
        let list = |query: &str| shop.get(&format!("/v1/products{query}")).key(key).send();
        list("?q=mug").await.expect_status(200);
        for query in ["?q=cup", "?limit=5&q=", "?%71=cup"] {
            let refused = list(query).await.expect_problem(429, "rate_limited");
            assert_eq!(refused.json["violated-policies"], serde_json::json!([policy]));
        }
        list("?category=mugs").await.expect_status(200);
    }
}
