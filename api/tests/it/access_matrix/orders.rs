//! Access to orders, caller by caller.

use reqwest::Method;
use serde_json::{Value, json};

use super::{OWNERS, Scene, body_of, expect_rows, is_shown};

/// Who is shown an order, by caller and owner; with `+`, whole.
const ROWS: [(&str, &str); 14] = [
    ("no key", "401 401 401 401"),
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

#[tokio::test]
async fn an_order_shows_personal_data_to_merchant_customer_and_bearer() {
    let scene = Scene::open().await;
    let scene = &scene;
    let ask = |caller, owner| async move {
        let path = format!("/v1/orders/{}", scene.orders[owner]["id"].as_str().expect("an id"));
        let answer = scene.call(caller, Method::GET, &path).send().await;
        if answer.status == 200 {
            let order = &answer.json;
            // Data that are not personal are the same for all callers; personal data are all there or all null.
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
    expect_rows(scene, &ROWS, ask).await;
}

#[tokio::test]
async fn what_only_the_merchant_may_do_takes_a_secret_key() {
    let scene = Scene::open().await;
    for (method, route, done) in [(Method::POST, "/refund", "202"), (Method::DELETE, "/token", "204")] {
        let (own, theirs) = (format!("{done} {done} {done} 404"), format!("404 404 404 {done}"));
        let refused = "403 403 403 403";
        let mut rows: Vec<(&'static str, &str)> =
            scene.callers.keys().map(|caller| (*caller, refused)).collect();
        for row in &mut rows {
            match row.0 {
                "no key" => row.1 = "401 401 401 401",
                "secret" => row.1 = &own,
                "other secret" => row.1 = &theirs,
                _ => {}
            }
        }
        let (scene, method) = (&scene, &method);
        let ask = |caller, owner| async move {
            let id = scene.orders[owner]["id"].as_str().expect("an id");
            let call = scene.call(caller, method.clone(), &format!("/v1/orders/{id}{route}"));
            let call = if route == "/refund" { call.header("idempotency-key", "back") } else { call };
            call.send().await
        };
        expect_rows(scene, &rows, ask).await;
    }
    for caller in scene.callers.keys() {
        let expected = match *caller {
            "no key" => 401,
            "secret" | "other secret" => 200,
            _ => 403,
        };
        for path in ["/v1/orders", "/v1/events"] {
            let answer = scene.call(caller, Method::GET, path).send().await;
            assert_eq!(answer.status, expected, "{caller} {path}");
        }
    }
}

/// Who is shown an order whole may follow it, too; others are told what proof is missing.
#[tokio::test]
async fn an_order_is_followed_by_merchant_customer_and_bearer() {
    let scene = Scene::open().await;
    for (method, route, done) in [
        (Method::GET, "/timeline", "200"),
        (Method::GET, "/events", "200"),
        // Too late: they are shipped.
        (Method::POST, "/cancel", "409"),
    ] {
        for (caller, shown) in ROWS {
            let mut row = Vec::new();
            for owner in OWNERS {
                let id = scene.orders[owner]["id"].as_str().expect("an id");
                let call = scene.call(caller, method.clone(), &format!("/v1/orders/{id}{route}"));
                // A stream that was opened does not end.
                row.push(call.open().await.status().as_u16().to_string());
            }
            let cell = |cell: &str| match cell {
                "200+" => done.to_owned(),
                "200" => "403".to_owned(),
                other => other.to_owned(),
            };
            assert_eq!(row, shown.split(' ').map(cell).collect::<Vec<_>>(), "{caller} {route}");
        }
    }
    let order = scene.orders["guest"]["id"].as_str().expect("an id");
    let unproven = scene.call("public", Method::GET, &format!("/v1/orders/{order}/timeline")).send().await;
    unproven.expect_problem(403, "order_access_required");
}

/// Placed in a session, by order or checkout; not what a guest placed with the same address.
#[tokio::test]
async fn customers_list_the_orders_of_their_sessions() {
    let scene = Scene::open().await;
    let path = "/v1/customers/current/orders";
    for (caller, _) in ROWS {
        let answer = scene.call(caller, Method::GET, path).send().await;
        if let Some(own) = scene.orders.get(caller) {
            let answer = answer.expect_status(200);
            let [order] = &answer.list()[..] else { panic!("{caller}: {}", answer.text) };
            let one = format!("/v1/orders/{}", own["id"].as_str().expect("an id"));
            let one = scene.call(caller, Method::GET, &one).send().await.expect_status(200);
            assert!(is_shown(&answer, caller) && *order == one.json, "{caller}: {}", answer.text);
        } else {
            let code = if caller == "no key" { "unauthorized" } else { "session_invalid" };
            answer.expect_problem(401, code);
        }
    }
    let guest = scene.call("public", Method::POST, "/v1/orders").header("idempotency-key", "as-ada");
    guest.json(&body_of("ada")).send().await.expect_status(202);
    scene.ordered("ada", "cart").await;
    let listed = async |query: &str| {
        let page = scene.call("ada", Method::GET, &format!("{path}?{query}")).send().await.expect_status(200);
        let ids: Vec<_> = page.list().iter().map(|order| order["id"].clone()).collect();
        (ids, page.json["has_more"] == true)
    };
    let (ids, has_more) = listed("limit=2").await;
    assert_eq!((ids.len(), &ids[1], has_more), (2, &scene.orders["ada"]["id"], false));
    let (newest, oldest) = (vec![ids[0].clone()], vec![ids[1].clone()]);
    assert_eq!(listed("limit=1").await, (newest.clone(), true));
    let after = format!("limit=1&starting_after={}", ids[0].as_str().expect("an id"));
    assert_eq!(listed(&after).await, (oldest.clone(), false));
    assert_eq!(listed("status=pending").await, (newest, false));
    assert_eq!(listed("status=fulfilled").await, (oldest, false));
}

#[tokio::test]
async fn a_repeated_order_shows_what_was_sent_and_nothing_else() {
    let scene = Scene::open().await;
    for caller in scene.callers.keys() {
        for owner in OWNERS {
            let place = |body: &Value| {
                let call = scene.call(caller, Method::POST, "/v1/orders").header("idempotency-key", owner);
                call.json(body).send()
            };
            let guess = place(&body_of("stranger")).await;
            assert!([202, 401, 422].contains(&guess.status), "{caller}: {}", guess.text);
            for other in OWNERS {
                assert!(!is_shown(&guess, other), "{caller} is shown {other}'s: {}", guess.text);
            }
        }
    }
}
