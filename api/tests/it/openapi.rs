//! Agreement of the OpenAPI document with the routes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::util::TestApi;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// After an intended change: `UPDATE_OPENAPI=1 cargo test -p orderworks-api --test it openapi`, and read the
/// difference.
#[test]
fn the_document_is_the_one_that_was_agreed_on() {
    let mut now = api::openapi().to_pretty_json().expect("JSON");
    now.push('\n');
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(SNAPSHOT, &now).expect("writes the snapshot");
    }
    let agreed = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    assert!(now == agreed, "api/openapi.json differs from the routes; see the comment of this test");
}

#[tokio::test]
async fn the_document_is_served_and_each_operation_is_routed() {
    let shop = TestApi::open().await;
    let answer = shop.call(Method::GET, "/openapi.json").send().await.expect_status(200);
    assert_eq!(answer.json, serde_json::to_value(api::openapi()).expect("JSON"));
    assert!(answer.json["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let paths = answer.json["paths"].as_object().expect("paths");
    for (template, item) in paths {
        for method in ["get", "post", "put", "patch", "delete"].iter().filter(|m| item.get(**m).is_some()) {
            let path = template.replace("{id}", "x").replace("{sku}", "x");
            let method: Method = method.to_uppercase().parse().expect("a method");
            let answer = shop.call(method.clone(), &path).send().await;
            assert!(answer.status != 405 && answer.json["code"] != "route_not_found", "{method} {template}");
        }
    }
    // The contract's routes of this crate, so that none is lost.
    for (path, methods) in [
        ("/v1/orders", "get post"),
        ("/v1/orders/{id}", "get"),
        ("/v1/orders/{id}/timeline", "get"),
        ("/v1/orders/{id}/events", "get"),
        ("/v1/orders/{id}/cancel", "post"),
        ("/v1/orders/{id}/refund", "post"),
        ("/v1/orders/{id}/token", "delete"),
        ("/v1/payments", "get"),
        ("/v1/products", "get"),
        ("/v1/product_facets", "get"),
        ("/v1/products/{sku}", "get put"),
        ("/v1/categories", "get"),
        ("/v1/inventory/{sku}", "get put"),
        ("/v1/customers", "post"),
        ("/v1/customers/current", "delete get"),
        ("/v1/customers/current/cart", "post"),
        ("/v1/customers/current/export", "get"),
        ("/v1/customers/current/orders", "get"),
        ("/v1/customers/password_reset", "post"),
        ("/v1/customers/password_reset/confirm", "post"),
        ("/v1/customers/verify", "post"),
        ("/v1/sessions", "delete get post"),
        ("/v1/sessions/{id}", "delete"),
        ("/v1/sessions/current", "delete"),
        ("/v1/carts", "post"),
        ("/v1/carts/{id}", "get"),
        ("/v1/carts/{id}/items/{sku}", "put"),
        ("/v1/carts/{id}/quote", "post"),
        ("/v1/carts/{id}/reservation", "delete post"),
        ("/v1/carts/{id}/checkout", "post"),
        ("/v1/waiting_room", "get"),
        ("/v1/webhook_endpoints", "get post"),
        ("/v1/webhook_endpoints/{id}", "get patch delete"),
        ("/v1/webhook_endpoints/{id}/rotate_secret", "post"),
        ("/v1/events", "get"),
        ("/v1/events/{id}/resend", "post"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/openapi.json", "get"),
        ("/", "get"),
    ] {
        for method in methods.split(' ') {
            assert!(paths[path].get(method).is_some(), "{method} {path}");
        }
    }
}

#[test]
fn every_problem_code_and_object_is_described() {
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in ["Order", "Product", "Event", "Problem", "OrderCreate", "WebhookEndpoint", "TimelineEntry"] {
        assert!(schemas.contains_key(name), "{name}");
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        let public = !path.starts_with("/v1/");
        for operation in
            item.as_object().expect("operations").values().filter(|op| op.get("responses").is_some())
        {
            let open =
                operation["security"].as_array().is_some_and(|list| list == &vec![serde_json::json!({})]);
            assert_eq!(public, open, "{path}");
        }
    }
}

#[test]
fn every_operation_tells_its_problems_and_their_headers() {
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    let resolve = |response: &Value| match response["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).expect("is there").clone(),
        None => response.clone(),
    };
    for (path, item) in
        document["paths"].as_object().expect("paths").iter().filter(|(p, _)| p.starts_with("/v1/"))
    {
        for (method, operation) in item.as_object().expect("operations") {
            let mut expected = vec!["401", "429", "500", "503", "504"];
            let has_body = !operation["requestBody"].is_null();
            expected.extend(if has_body { &["400", "408", "413", "415", "422"][..] } else { &[] });
            expected.extend(path.contains('{').then_some("404"));
            expected.extend((!operation["security"].is_null()).then_some("403"));
            for status in expected {
                let response = resolve(&operation["responses"][status]);
                assert!(
                    !response["content"]["application/problem+json"].is_null(),
                    "{method} {path} {status}"
                );
                let needed = match status {
                    "401" => "WWW-Authenticate",
                    "429" | "503" => "Retry-After",
                    _ => "X-Request-Id",
                };
                assert!(!response["headers"][needed].is_null(), "{method} {path} {status}: {needed}");
            }
        }
    }
}

/// Whatever the routes reject in every request is excluded by the document.
#[test]
fn requests_are_described_as_narrowly_as_they_are_read() {
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() {
                let name = body["$ref"].as_str().expect("never null, so one schema");
                let schema = document.pointer(name.trim_start_matches('#')).expect("is there");
                assert_eq!(schema["additionalProperties"], false, "{path}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let schema = &parameter["schema"];
                assert!(schema["type"].is_string(), "{path}: a parameter is never null: {parameter}");
                match parameter["name"].as_str().expect("a name") {
                    "limit" => assert_eq!((&schema["minimum"], &schema["maximum"]), (&json!(1), &json!(100))),
                    "Idempotency-Key" | "sku" => {
                        assert!(schema["pattern"].is_string(), "{path}: {parameter}");
                    }
                    _ => {}
                }
            }
        }
    }
    let stream = &document["paths"]["/v1/orders/{id}/events"]["get"]["responses"]["200"]["content"];
    assert!(stream["text/event-stream"].is_object() && stream["text/event-stream"]["schema"].is_null());
    let names = &document["components"]["schemas"]["WebhookEndpointCreate"]["properties"]["events"]["items"];
    assert_eq!(names["enum"].as_array().map(Vec::len), Some(16), "{names}");
    let schemas = &document["components"]["schemas"];
    for amount in [
        &schemas["ProductPut"]["properties"]["price_minor"],
        &schemas["RefundCreate"]["properties"]["amount_minor"],
        &schemas["OrderCreate"]["properties"]["expected_total_minor"],
        &schemas["CartCheckout"]["properties"]["expected_total_minor"],
    ] {
        assert_eq!(amount["maximum"], store::domain::AMOUNT_MINOR_MAX);
    }
    let url = &schemas["WebhookEndpointCreate"]["properties"]["url"];
    assert_eq!(url["maxLength"], webhooks::URL_LEN_MAX);
}
