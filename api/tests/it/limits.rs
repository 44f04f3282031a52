//! Rate limits of checkout.

use std::num::NonZeroU32;

use api::{ApiConfig, CartLimits, CheckoutLimits, ServerLimits};
use reqwest::Method;

use crate::util::{Answer, Shop, config, order_body};

fn limited(per_key_per_second: u32, per_ip_per_second: u32, burst: u32) -> ApiConfig {
    let number = |value| NonZeroU32::new(value).expect("not zero");
    let checkout = CheckoutLimits {
        per_key_per_second: number(per_key_per_second),
        per_ip_per_second: number(per_ip_per_second),
        burst: number(burst),
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
async fn a_key_has_its_own_allowance() {
    let shop = Shop::open_with(limited(1, 1_000_000, 3), ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    for (key, left) in [("k1", 2), ("k2", 1), ("k3", 0)] {
        let answer = shop.place(key, &order_body()).send().await.expect_status(202);
        assert_eq!(answer.header("ratelimit-policy"), "\"checkout-key\";q=3;w=3");
        assert_eq!(answer.header("ratelimit"), format!("\"checkout-key\";r={left};t=1"));
    }
    expect_limited(shop.place("k4", &order_body()).send().await, "checkout-key");
    // Reading is not limited, nor are other keys.
    shop.get("/v1/orders").send().await.expect_status(200);
    shop.place("k4", &order_body()).key(&shop.own.secret).send().await.expect_status(202);
    assert_eq!(shop.traces().await.0, 4);
}

#[tokio::test]
async fn an_address_is_limited_before_its_keys_are_looked_up() {
    let shop = Shop::open_with(limited(1_000_000, 1, 3), ServerLimits::default()).await;
    let guess = || shop.call(Method::POST, "/v1/orders").key("owk_sec_guess");
    for _ in 0..3 {
        guess().send().await.expect_problem(401, "unauthorized");
    }
    expect_limited(guess().send().await, "checkout-ip");
    let forged = guess().header("x-forwarded-for", "198.51.100.7");
    expect_limited(forged.send().await, "checkout-ip");
}

#[tokio::test]
async fn addresses_behind_a_trusted_proxy_are_apart() {
    let mut config = limited(1_000_000, 1, 3);
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let shop = Shop::open_with(config, ServerLimits::default()).await;
    let guess = |from: &str| {
        shop.call(Method::POST, "/v1/orders").key("owk_sec_guess").header("x-forwarded-for", from).send()
    };
    for last in 1..=3 {
        guess(&format!("2001:db8::{last}")).await.expect_problem(401, "unauthorized");
    }
    expect_limited(guess("2001:db8::4").await, "checkout-ip");
    guess("2001:db8:0:1::4").await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn carts_are_limited_by_address_apart_from_checkout() {
    let shop = Shop::open_with(limited(1_000_000, 1, 3), ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let cart = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).send().await.expect_status(201);
    let item = format!("/v1/carts/{}/items/mug", cart.json["id"].as_str().expect("an id"));
    let change = |quantity: u32| {
        shop.call(Method::PUT, &item).key(&shop.own.public).json(&serde_json::json!({"quantity": quantity}))
    };
    for quantity in 1..=3 {
        change(quantity).send().await.expect_status(200);
    }
    expect_limited(change(4).send().await, "cart-ip");
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
        let shop = Shop::open_with(ApiConfig { carts, ..config() }, ServerLimits::default()).await;
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
