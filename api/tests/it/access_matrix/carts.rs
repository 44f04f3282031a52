//! Access to carts, caller by caller.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::{OWNERS, Scene, TOKEN, checkout_of, expect_rows, is_shown};
use crate::carts::check_out;

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
