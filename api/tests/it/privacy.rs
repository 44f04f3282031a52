//! Logs without secrets, card numbers and bodies.

use reqwest::Method;
use serde_json::json;

use crate::util::{TestApi, logs, order_body};

#[tokio::test]
async fn logs_hold_ids_and_no_secrets() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let mut body = order_body();
    body["customer"]["name"] = json!("Canary Name");
    body["reference"] = json!("canary-reference");
    let call = shop.place("canary-idempotency-key", &body).header("x-request-id", "canary-request-1");
    let placed = call.send().await.expect_status(202);
    body["customer"]["name"] = json!("4000 0566 5566 5556");
    shop.place("k2", &body).send().await.expect_problem(422, "card_number_not_accepted");
    body["customer"]["name"] = json!(["Canary Name"]);
    shop.place("k3", &body).send().await.expect_problem(422, "validation_failed");
    let call = shop.place("k4", &json!({})).body("{\"canary-body\": 4000056655665556");
    call.send().await.expect_problem(400, "invalid_json");
    shop.call(Method::GET, "/v1/orders?q=canary-query").key("owk_sec_canary-unknown-key").send().await;
    let endpoint = json!({"url": "https://shop.example/canary-path", "events": ["*"]});
    let endpoint = shop.post("/v1/webhook_endpoints", &endpoint).send().await.expect_status(201);

    let kept = logs::kept();
    let own: String = kept.lines().collect::<Vec<_>>().join("\n");
    assert!(own.contains("canary-request-1"), "the request id is what people search for");
    assert!(own.contains("/v1/orders"), "the path template is logged");
    let secrets = [
        "Canary Name",
        "canary-reference",
        "canary-idempotency-key",
        "canary-body",
        "canary-unknown-key",
        "canary-query",
        "canary-path",
        "4000056655665556",
        "4000 0566",
        "ada@example.com",
        "pm_card_visa",
        &shop.own.public,
        &shop.own.secret,
        endpoint.json["secret"].as_str().expect("a secret"),
        placed.header("orderworks-order-token"),
    ];
    for secret in secrets {
        assert!(!own.contains(secret), "{secret} was logged");
    }
}
