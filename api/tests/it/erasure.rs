//! Export and erasure of a customer's data by the customer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    customers::{registered, sign_in},
    util::{Call, TestApi},
};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "canary correct horse";

fn delete(shop: &TestApi, session: &str, body: &Value) -> Call {
    let call = shop.call(Method::DELETE, "/v1/customers/current").key(&shop.own.public);
    call.header("orderworks-session", session).json(body)
}

#[tokio::test]
async fn a_customer_exports_then_erases_account_and_orders_once_all_have_ended() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    registered(&shop, &json!({"email": EMAIL, "name": "Ada Lovelace", "password": PASSWORD})).await;
    let opened = sign_in(&shop, EMAIL, PASSWORD).send().await.expect_status(201);
    let session = opened.json["token"].as_str().expect("a token");
    let order = json!({
        "customer": {"email": EMAIL, "name": "Ada Lovelace"}, "currency": "EUR", "reference": "A-17",
        "items": [{"sku": "mug", "quantity": 2}], "payment_method": "pm_card_visa",
    });
    let call = shop.call(Method::POST, "/v1/orders").key(&shop.own.public).header("idempotency-key", "k1");
    let placed = call.header("orderworks-session", session).json(&order).send().await.expect_status(202);
    let path = placed.header("location").to_owned();
    let call = shop.get("/v1/customers/current/export").key(&shop.own.public);
    let exported = call.header("orderworks-session", session).send().await.expect_status(200).json;
    assert_eq!(
        (&exported["customer"]["email"], &exported["has_more_orders"]),
        (&json!(EMAIL), &json!(false))
    );
    assert_eq!(exported["sessions"].as_array().map(Vec::len), Some(1));
    assert_eq!(exported["orders"][0]["id"], placed.json["id"]);
    assert_eq!(exported["orders"][0]["customer"], placed.json["customer"]);
    let signed_out = shop.get("/v1/customers/current/export").key(&shop.own.public).send().await;
    signed_out.expect_problem(401, "session_invalid");
    let request = json!({"password": PASSWORD, "erase_orders": true});
    delete(&shop, session, &request).send().await.expect_problem(409, "orders_open");
    assert_eq!(shop.get(&path).send().await.expect_status(200).json["customer"]["email"], EMAIL);

    shop.call(Method::POST, &format!("{path}/cancel")).key(&shop.own.secret).send().await.expect_status(200);
    let wrong = json!({"password": "canary wrong horse", "erase_orders": true});
    delete(&shop, session, &wrong).send().await.expect_problem(401, "wrong_credentials");
    delete(&shop, session, &request).send().await.expect_status(204);
    let kept = shop.get(&path).send().await.expect_status(200);
    assert!(!kept.text.contains(EMAIL) && !kept.text.contains("Lovelace"), "{}", kept.text);
    let none = json!(null);
    assert_eq!((&kept.json["customer"], &kept.json["reference"]), (&none, &none));
    assert_eq!((&kept.json["status"], &kept.json["total_minor"]), (&json!("cancelled"), &json!(500)));
    assert_eq!(kept.json["items"], placed.json["items"]);
    let events = shop.get("/v1/events?limit=100").send().await.expect_status(200);
    assert!(!events.text.contains(EMAIL) && !events.text.contains("Lovelace"), "{}", events.text);
    delete(&shop, session, &request).send().await.expect_problem(401, "session_invalid");
    sign_in(&shop, EMAIL, PASSWORD).send().await.expect_problem(401, "wrong_credentials");
}
