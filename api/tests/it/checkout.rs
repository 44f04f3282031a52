//! Checkout `POST /v1/carts/{id}/checkout`: one order at most, whatever happens.

use std::time::Duration;

use api::ServerLimits;
use base::Ambient;
use cache::{SessionKey, Sessions};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    carts::{body, cart, check_out, filled, orders, put, read},
    customers::{registered, sign_in},
    util::{TestApi, config, order_body},
};

#[tokio::test]
async fn ordering_again_answers_the_same_to_the_same_request_and_to_the_merchant() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let first = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    let id = first.json["id"].as_str().expect("an id");
    shop.post(&format!("/v1/orders/{id}/cancel"), &json!({})).send().await.expect_status(200);
    let mut other = body();
    other["payment_method"] = json!("pm_other");
    for (key, body) in [("k2", &body()), ("k3", &other)] {
        let refused = check_out(&shop, &cart, key, body).send().await.expect_problem(409, "cart_closed");
        assert!(!refused.text.contains("ord_"), "{}", refused.text);
    }
    let (public, secret) = (&shop.own.public, &shop.own.secret);
    for (api_key, key, body) in
        [(public, "k1", &body()), (secret, "k1", &other), (secret, "k2", &body()), (secret, "k3", &other)]
    {
        let again = check_out(&shop, &cart, key, body).key(api_key).send().await.expect_status(202);
        assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
        assert_eq!(again.header("location"), first.header("location"));
    }
    check_out(&shop, &cart, "k1", &other).send().await.expect_problem(422, "idempotency_key_reused");
    assert_eq!(orders(&shop).await, 1);
    // A client may use the same key for an order, and the cart's id as a key.
    shop.order("k1").await;
    shop.order(cart.rsplit('/').next().expect("an id")).await;
}

#[tokio::test]
async fn many_checkouts_at_once_place_one_order() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let cart = filled(&shop).await;
    let keys: Vec<String> = (0..12).map(|n| format!("k{}", n / 2)).collect();
    let mut ids = Vec::new();
    for answer in join_all(keys.iter().map(|key| check_out(&shop, &cart, key, &body()).send())).await {
        match answer.status {
            409 => {
                let code = answer.json["code"].as_str().expect("a code").to_owned();
                let codes = ["idempotency_key_in_flight", "cart_busy", "cart_in_checkout", "cart_closed"];
                assert!(codes.contains(&&*code), "{code}");
                if code == "cart_closed" {
                    continue;
                }
                assert_eq!(answer.header("retry-after"), "1");
            }
            _ => ids.push(answer.expect_status(202).json["id"].clone()),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(shop.traces().await.2, 2, "sold once");
    let again =
        check_out(&shop, &cart, "last", &body()).key(&shop.own.secret).send().await.expect_status(202);
    assert_eq!((&again.json["id"], again.header("idempotent-replayed")), (&ids[0], "true"));
}

/// A double click on the last item of the stock: whichever refusal comes last, the cart is open again.
#[tokio::test]
async fn refused_checkouts_at_once_leave_the_cart_open() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1).await;
    for keys in [&["k1", "k1"][..], &["k1", "k2"], &["k1", "k1", "k1", "k2"]] {
        for _ in 0..15 {
            let cart = filled(&shop).await;
            let body = body();
            let clicks = keys.iter().map(|key| check_out(&shop, &cart, key, &body).send());
            for answer in join_all(clicks).await {
                assert!(matches!(answer.status, 409 | 422), "{}", answer.text);
            }
            put(&shop, &cart, "mug", 1).send().await.expect_status(200);
        }
    }
}

/// Rewrites the stored cart as if the process had died before it could close the cart.
async fn reopen(shop: &TestApi, cart: &str, change: impl FnOnce(&mut Value)) {
    let id = cart.rsplit('/').next().expect("an id");
    let key = SessionKey::new("cart", format!("{}:{id}", shop.own.id));
    let session = shop.sessions.get(&key).await.expect("reads").expect("there");
    let mut data: Value = serde_json::from_slice(&session.data).expect("JSON");
    change(&mut data);
    shop.sessions
        .put(&key, data.to_string().as_bytes(), Duration::from_hours(24 * 14))
        .await
        .expect("writes");
}

#[tokio::test]
async fn a_crash_after_the_order_does_not_sell_twice_however_long_ago() {
    let (ambient, clock) = Ambient::steered(5, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let first = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    reopen(&shop, &cart, |data| data["checkout"]["placed"] = json!(false)).await;
    put(&shop, &cart, "mug", 5).send().await.expect_problem(409, "cart_in_checkout");
    clock.advance(Duration::from_mins(5));
    put(&shop, &cart, "mug", 5).send().await.expect_problem(409, "cart_closed");

    // By then the idempotency record has expired: a day before the newest.
    clock.advance(Duration::from_hours(7 * 24));
    shop.order("newest").await;
    let expired = store::orders::Orders::expire_idempotency(&*shop.orders, shop.ambient.now(), 100).await;
    assert_eq!(expired.expect("expires"), 1);
    check_out(&shop, &cart, "k2", &body()).send().await.expect_problem(409, "cart_closed");
    let again = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
    assert_eq!(read(&shop, &cart).await["status"], "closed");

    // If the session store has lost the record of the order, the idempotency key still stands.
    let cart = filled(&shop).await;
    let first = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    reopen(&shop, &cart, |data| data["checkout"] = json!(null)).await;
    put(&shop, &cart, "mug", 3).send().await.expect_status(200);
    // The comparison of requests does not cover the cart's lines: the request is the same.
    let again = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
    assert_eq!(shop.get(&cart).send().await.expect_status(200).json["order"], first.json["id"]);
    assert_eq!(orders(&shop).await, 3);
}

#[tokio::test]
async fn another_checkout_that_finds_no_note_of_the_order_is_not_shown_it() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let first = check_out(&shop, &cart, "k1", &body()).send().await.expect_status(202);
    reopen(&shop, &cart, |data| data["checkout"] = json!(null)).await;
    for _ in 0..2 {
        let refused = check_out(&shop, &cart, "k2", &body()).send().await.expect_problem(409, "cart_closed");
        assert!(!refused.text.contains("ord_") && refused.header("orderworks-order-token").is_empty());
    }
    reopen(&shop, &cart, |data| data["checkout"] = json!(null)).await;
    let eve = json!({"email": "eve@example.com", "name": "Eve", "password": "canary correct horse"});
    registered(&shop, &eve).await;
    let session =
        sign_in(&shop, "eve@example.com", "canary correct horse").send().await.expect_status(201).json;
    let session = session["token"].as_str().expect("a token");
    for key in ["k2", "k4"] {
        let taken = check_out(&shop, &cart, key, &body()).header("orderworks-session", session).send().await;
        let taken = taken.expect_problem(409, "cart_closed");
        assert!(!taken.text.contains("ada@") && taken.header("orderworks-order-token").is_empty());
    }
    reopen(&shop, &cart, |data| data["checkout"] = json!(null)).await;
    let again = check_out(&shop, &cart, "k3", &body()).key(&shop.own.secret).send().await.expect_status(202);
    assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
    assert_eq!(orders(&shop).await, 1);
}

#[tokio::test]
async fn a_checkout_under_way_keeps_others_waiting() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let held_until = shop.ambient.now() + Duration::from_secs(40);
    let checkout = json!({
        "order": "ord_0190a0b4-4242-7424-8242-424242424242", "held_until": held_until, "key": "k1",
        "fingerprint": vec![1; 32], "placed": false,
    });
    reopen(&shop, &cart, |data| data["checkout"] = checkout).await;
    for key in [&shop.own.public, &shop.own.secret] {
        let waits = check_out(&shop, &cart, "k2", &body()).key(key).send().await;
        assert_eq!(waits.expect_problem(409, "cart_in_checkout").header("retry-after"), "1");
    }
    assert_eq!(orders(&shop).await, 0);
}

#[tokio::test]
async fn a_crash_before_the_order_holds_the_cart_for_a_moment() {
    let (ambient, clock) = Ambient::steered(6, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let held_until = shop.ambient.now() + Duration::from_secs(40);
    let checkout = json!({
        "order": "ord_0190a0b4-4242-7424-8242-424242424242", "held_until": held_until, "key": "k1",
        "fingerprint": vec![1; 32], "placed": false,
    });
    reopen(&shop, &cart, |data| data["checkout"] = checkout).await;
    put(&shop, &cart, "mug", 5).send().await.expect_problem(409, "cart_in_checkout");
    check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(422, "idempotency_key_reused");
    clock.advance(Duration::from_secs(41));
    put(&shop, &cart, "mug", 5).send().await.expect_status(200);
    let order = check_out(&shop, &cart, "k2", &body()).send().await.expect_status(202);
    assert_eq!(order.json["id"], "ord_0190a0b4-4242-7424-8242-424242424242", "the id it was given");
    assert_eq!(order.json["items"][0]["quantity"], 5);
}

#[tokio::test]
async fn what_cannot_be_ordered_is_named_and_the_cart_stays_open() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1).await;
    shop.stock("pen", 10).await;
    let cart = cart(&shop).await;
    let empty = check_out(&shop, &cart, "k1", &body()).send().await;
    empty.expect_problem(422, "cart_empty");
    put(&shop, &cart, "pen", 1).send().await.expect_status(200);
    put(&shop, &cart, "mug", 2).send().await.expect_status(200);
    let refused = check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(409, "out_of_stock");
    assert_eq!(refused.faults(), ["/items/1/quantity out_of_stock"]);
    // A product that changed its currency is no longer sold in the cart's currency.
    let dollars = json!({"name": "Pen", "category": "mugs", "price_minor": 100, "currency": "USD"});
    shop.put("/v1/products/pen", &dollars).send().await.expect_status(200);
    let shown = read(&shop, &cart).await;
    assert_eq!(
        (&shown["items"][0]["price_minor"], &shown["items"][0]["available"]),
        (&json!(null), &json!(0))
    );
    let refused =
        check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(422, "validation_failed");
    assert_eq!(refused.faults(), ["/items/0/sku wrong_currency", "/items/1/quantity out_of_stock"]);
    assert_eq!(orders(&shop).await, 0);
    // After a rejection the key is not used up and the cart can be changed at once.
    put(&shop, &cart, "pen", 0).send().await.expect_status(200);
    put(&shop, &cart, "mug", 1).send().await.expect_status(200);
    let mut other = body();
    other["reference"] = json!("another body");
    check_out(&shop, &cart, "k1", &other).send().await.expect_status(202);
}

#[tokio::test]
async fn who_is_signed_in_need_not_say_who_orders() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let eve = json!({"email": "Eve@example.com", "name": "Eve", "password": "canary correct horse"});
    let customer = registered(&shop, &eve).await.json;
    let session =
        sign_in(&shop, "eve@example.com", "canary correct horse").send().await.expect_status(201).json;
    let token = session["token"].as_str().expect("a token");
    let cart = filled(&shop).await;
    assert_eq!(read(&shop, &cart).await["customer"], json!(null));
    let signed =
        put(&shop, &cart, "mug", 1).header("orderworks-session", token).send().await.expect_status(200);
    assert_eq!(signed.json["customer"], customer["id"]);
    let cart = signed.header("content-location").to_owned();
    let pay = json!({"payment_method": "pm_card_visa"});
    check_out(&shop, &cart, "k1", &pay).send().await.expect_problem(422, "validation_failed");
    check_out(&shop, &cart, "k1", &body()).send().await.expect_problem(404, "not_found");
    let wrong = check_out(&shop, &cart, "k1", &pay).header("orderworks-session", "ows_nonsense");
    wrong.send().await.expect_problem(401, "session_invalid");
    let order = check_out(&shop, &cart, "k1", &pay).header("orderworks-session", token);
    let order = order.send().await.expect_status(202).json;
    assert_eq!(order["customer"], json!({"email": "Eve@example.com", "name": "Eve"}));
    // The customer named in the body orders, whichever customer is signed in.
    let cart = filled(&shop).await;
    let order = check_out(&shop, &cart, "k2", &body()).header("orderworks-session", token);
    assert_eq!(order.send().await.expect_status(202).json["customer"], body()["customer"]);
    let read = shop.get(&cart).key(&shop.own.public).header("orderworks-session", token);
    assert_eq!(read.send().await.expect_status(200).json["customer"], customer["id"]);
}

/// The customer saw 500: what it costs by then is shown, not charged.
#[tokio::test]
async fn a_price_that_changed_needs_consent() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let cart = filled(&shop).await;
    let (mut agreed, mut order) = (body(), order_body());
    for body in [&mut agreed, &mut order] {
        body["expected_total_minor"] = json!(500);
    }
    let priced = |price_minor: i64| {
        let product =
            json!({"name": "Mug", "category": "mugs", "price_minor": price_minor, "currency": "EUR"});
        shop.put("/v1/products/mug", &product).send()
    };
    for price_minor in [750, 100] {
        priced(price_minor).await.expect_status(200);
        for refused in [check_out(&shop, &cart, "k1", &agreed), shop.place("k1", &order)] {
            let refused = refused.send().await.expect_problem(409, "price_changed");
            assert_eq!(refused.faults(), ["/expected_total_minor price_changed"]);
            assert_eq!(refused.json["total_minor"], 2 * price_minor);
        }
    }
    assert_eq!((orders(&shop).await, shop.traces().await.2), (0, 0));
    assert_eq!(read(&shop, &cart).await["status"], "open");
    priced(250).await.expect_status(200);
    for placed in [check_out(&shop, &cart, "k1", &agreed), shop.place("k2", &order)] {
        assert_eq!(placed.send().await.expect_status(202).json["total_minor"], 500);
    }
    for bad in [json!(-1), json!("500"), json!(1.5)] {
        order["expected_total_minor"] = bad;
        let refused = shop.place("k3", &order).send().await.expect_problem(422, "validation_failed");
        assert!(refused.faults()[0].starts_with("/expected_total_minor "), "{}", refused.text);
    }
}
