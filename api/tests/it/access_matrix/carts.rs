//! Access to carts, caller by caller.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::{OWNERS, Scene, TOKEN, checkout_of, expect_rows, is_shown};
use crate::carts::check_out;

/// The id of no cart.
const NONE: &str = "/v1/carts/cart_0190a0b4-4242-7424-8242-424242424242";
/// Routes of a cart that take no body.
const PRICE_AND_RESERVATION: [(Method, &str); 3] =
    [(Method::POST, "quote"), (Method::POST, "reservation"), (Method::DELETE, "reservation")];

/// Rows of a table for a cart route, in this order: secret key, Ada, Eve, publishable key, neighbour with session or
/// secret key. All other callers get 404.
fn cart_rows([secret, ada, eve, public, neighbour]: [&'static str; 5]) -> Vec<(&'static str, &'static str)> {
    vec![
        ("no key", "401 401 401 401"),
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
async fn a_cart_is_priced_and_reserved_for_its_customer_and_the_merchant() {
    let scene = Scene::open().await;
    let scene = &scene;
    let rows = cart_rows([
        "200 200 200 404",
        "200 404 200 404",
        "404 200 200 404",
        "404 404 200 404",
        "404 404 404 200",
    ]);
    for (method, route) in &PRICE_AND_RESERVATION {
        expect_rows(scene, &rows, |caller, owner| async move {
            let cart = scene.cart(owner).await;
            scene.call(caller, method.clone(), &format!("{cart}/{route}")).send().await
        })
        .await;
    }
}

#[tokio::test]
async fn a_reserved_cart_is_nothing_to_another_customer() {
    let scene = Scene::open().await;
    let cart = scene.cart("ada").await;
    let held = scene.call("ada", Method::POST, &format!("{cart}/reservation")).send().await;
    let held = held.expect_status(200).json;
    assert!(held["reserved_until"].is_string(), "{held}");
    let reserved = async || {
        let stock = scene.shop.get("/v1/inventory/mug").send().await.expect_status(200);
        stock.json["reserved"].as_i64().expect("a number")
    };
    let before = reserved().await;
    for caller in ["public", "eve", "eve's token", "neighbour"] {
        for (method, route) in &PRICE_AND_RESERVATION {
            let ask = async |cart: &str| {
                let call = scene.call(caller, method.clone(), &format!("{cart}/{route}"));
                call.header("x-request-id", "same").send().await.expect_problem(404, "not_found").text
            };
            assert_eq!(ask(&cart).await, ask(NONE).await, "{caller} {method} {route}");
        }
    }
    let read = scene.call("ada", Method::GET, &cart).send().await.expect_status(200).json;
    assert_eq!(reserved().await, before);
    assert_eq!(
        (&read["reserved_until"], &read["expires_at"]),
        (&held["reserved_until"], &held["expires_at"])
    );
}

#[tokio::test]
async fn a_cart_of_another_customer_is_merged_into_no_cart() {
    let scene = Scene::open().await;
    let scene = &scene;
    let id = |cart: &str| cart.rsplit('/').next().map(str::to_owned).expect("an id");
    let merge = |caller, cart: &str| {
        let call = scene.call(caller, Method::POST, "/v1/customers/current/cart");
        call.header("x-request-id", "same").json(&json!({"cart": id(cart)})).send()
    };
    let mut rows: Vec<(&'static str, &str)> =
        scene.callers.keys().map(|caller| (*caller, "401 401 401 401")).collect();
    for (caller, row) in &mut rows {
        match *caller {
            "ada" => *row = "200 404 200 404",
            "eve" => *row = "404 200 200 404",
            "neighbour" => *row = "404 404 404 200",
            _ => {}
        }
    }
    let merge = &merge;
    expect_rows(scene, &rows, |caller, owner| async move {
        let cart = scene.cart(owner).await;
        let answer = merge(caller, &cart).await;
        if answer.status != 200 {
            let kept = scene.call(Scene::maker(owner), Method::GET, &cart).send().await.expect_status(200);
            assert_eq!(kept.json["items"][0]["quantity"], 1, "{caller}: {owner}'s");
        }
        answer
    })
    .await;
    let of_eve = merge("ada", &scene.cart("eve").await).await.expect_problem(404, "not_found");
    assert_eq!(of_eve.text, merge("ada", NONE).await.text);
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
    // The same request gets its first response again; a guest has no other identification.
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
    // A different request does not, except from the customer and the merchant.
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
    for caller in ["public", "ada", "eve", "secret"] {
        for (old, unknown) in [
            (scene.call(caller, Method::GET, &planted), scene.call(caller, Method::GET, NONE)),
            (scene.put(caller, &planted, 1), scene.put(caller, NONE, 1)),
            (
                scene.of(caller, check_out(&scene.shop, &planted, "k", &checkout_of("stranger"))),
                scene.of(caller, check_out(&scene.shop, NONE, "k", &checkout_of("stranger"))),
            ),
        ] {
            let [old, unknown] = [old, unknown].map(|call| call.header("x-request-id", "same").send());
            let (old, unknown) = (old.await.expect_problem(404, "not_found"), unknown.await);
            assert_eq!(old.text, unknown.text, "{caller}");
        }
    }
    assert_eq!(scene.call("ada", Method::GET, &cart).send().await.expect_status(200).json, taken.json);
    // Once the cart belongs to the customer it keeps its id, whichever permitted caller changes it.
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
    // The customer, whose response may have been lost, gets it again under the same id.
    let again = scene.check_out("ada", &planted, "k", &checkout_of("ada")).await.expect_status(202);
    assert_eq!(again.header("idempotent-replayed"), "true");
}
