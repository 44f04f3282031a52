//! The reference at `/docs`: complete, without script, and with forms that act for the demo shop only.

use api::{ApiConfig, DocsConfig, DocsKeys, ServerLimits};
use reqwest::Method;
use serde_json::Value;

use crate::util::{Answer, Call, TestApi, config};

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

async fn shop_with_pages(keys: Option<DocsKeys>) -> TestApi {
    let config = ApiConfig { docs: Some(DocsConfig { keys }), ..config() };
    TestApi::open_with(config, ServerLimits::default()).await
}

/// A shop whose forms act for its own merchant.
async fn shop_with_forms() -> TestApi {
    // The harness puts the merchant's keys in their place.
    shop_with_pages(Some(DocsKeys { publishable: String::new().into(), secret: String::new().into() })).await
}

/// Each operation with its page.
fn pages(document: &Value) -> Vec<(String, Value)> {
    let items = document["paths"].as_object().expect("paths").values();
    let operations = items.flat_map(|item| item.as_object().expect("operations").values());
    let page = |operation: &Value| {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        format!("/docs/{}/{}", text(&operation["tags"][0]), text(&operation["operationId"]))
    };
    operations.map(|operation| (page(operation), operation.clone())).collect()
}

fn form(shop: &TestApi, page: &str, fields: &str) -> Call {
    let call = shop.call(Method::POST, page).header("sec-fetch-site", "same-origin");
    call.header("content-type", "application/x-www-form-urlencoded").raw(fields.to_owned())
}

fn url_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn expect_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("content-security-policy"), POLICY);
    for banned in ["<script", "style=", "src=", "http-equiv", "url(", "onclick"] {
        assert!(!answer.text.contains(banned), "{banned}: {}", answer.text);
    }
    // The one address with a host is that of examples.
    assert!(!answer.text.contains("href=\"http"), "{}", answer.text);
}

#[tokio::test]
async fn every_operation_has_a_page_that_tells_all_of_it() {
    let shop = shop_with_pages(None).await;
    let document = serde_json::to_value(api::openapi()).expect("JSON");
    let index = shop.call(Method::GET, "/docs").send().await.expect_status(200);
    expect_page(&index);
    for (page, operation) in pages(&document) {
        assert!(index.text.contains(&format!("href=\"{page}\"")), "{page}");
        let answer = shop.call(Method::GET, &page).send().await.expect_status(200);
        expect_page(&answer);
        assert!(!answer.text.contains("<form"), "no keys, no forms: {page}");
        assert!(answer.text.contains("curl "), "{page}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().expect("a name");
            assert!(answer.text.contains(&format!("<code>{name}</code>")), "{page}: {name}");
        }
        for status in operation["responses"].as_object().expect("responses").keys() {
            assert!(
                status == "default" || answer.text.contains(&format!("<h3>{status} ")),
                "{page}: {status}"
            );
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = body.as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
        for name in
            schema.into_iter().flat_map(|schema| schema["properties"].as_object().expect("members").keys())
        {
            assert!(answer.text.contains(&format!("<code>{name}</code>")), "{page}: {name}");
        }
    }
    shop.call(Method::GET, "/docs/orders/no_such").send().await.expect_status(404);
    let styles = shop.call(Method::GET, "/docs/docs.css").send().await.expect_status(200);
    assert_eq!(styles.header("content-type"), "text/css; charset=utf-8");
    assert!(!styles.text.contains("url(") && !styles.text.contains("@import"));
}

#[tokio::test]
async fn pages_are_served_only_where_they_are_wanted() {
    let shop = TestApi::open().await;
    shop.call(Method::GET, "/docs").send().await.expect_problem(404, "route_not_found");
    let shop = shop_with_pages(None).await;
    form(&shop, "/docs/catalog/list_categories", "key=secret").send().await.expect_status(404);
}

#[tokio::test]
async fn a_form_places_an_order_and_shows_the_answer() {
    let shop = shop_with_forms().await;
    shop.stock("CUP-ENAMEL", 10).await;
    let page = shop.call(Method::GET, "/docs/orders/place_order").send().await.expect_status(200);
    expect_page(&page);
    for key in [&shop.own.public, &shop.own.secret] {
        assert!(!page.text.contains(key.as_str()), "no page holds a key");
    }
    assert!(page.text.contains("name=\"Idempotency-Key\" value=\"docs-"), "{}", page.text);
    let order = r#"{"customer":{"email":"ada@example.com","name":"Ada"},"currency":"EUR",
        "items":[{"sku":"CUP-ENAMEL","quantity":2}],"payment_method":"pm_card_visa"}"#;
    let fields = format!("key=publishable&Idempotency-Key=docs-1&body={}", url_encoded(order));
    let sent = form(&shop, "/docs/orders/place_order", &fields).send().await.expect_status(200);
    assert_eq!(sent.header("content-security-policy"), POLICY);
    assert!(sent.text.contains("202 Accepted") && sent.text.contains("orderworks-order-token: owt_"));
    for key in [&shop.own.public, &shop.own.secret] {
        assert!(!sent.text.contains(key.as_str()), "no page holds a key");
    }
    assert_eq!(shop.get("/v1/orders").send().await.expect_status(200).list().len(), 1);
    let again = form(&shop, "/docs/orders/place_order", &fields).send().await.expect_status(200);
    assert!(again.text.contains("idempotent-replayed: true"), "{}", again.text);
    let listed = form(&shop, "/docs/orders/list_orders", "status=pending").send().await.expect_status(200);
    assert!(listed.text.contains("200 OK") && listed.text.contains("ada@example.com"), "{}", listed.text);
    let unsent = form(&shop, "/docs/orders/place_order", "Idempotency-Key=%0A&body=x");
    let unsent = unsent.send().await.expect_status(200);
    assert!(unsent.text.contains("Nothing was sent."), "{}", unsent.text);
}

#[tokio::test]
async fn forms_of_other_sites_do_nothing() {
    let shop = shop_with_forms().await;
    let page = "/docs/catalog/put_inventory";
    let of_site = |site: &str, host: &str| {
        let call = shop.call(Method::POST, page).header("sec-fetch-site", site).header("host", host);
        call.header("content-type", "application/x-www-form-urlencoded").raw("sku=CUP-ENAMEL&body=%7B%7D")
    };
    for (site, host) in [("cross-site", "127.0.0.1"), ("none", "127.0.0.1"), ("same-origin", "shop.example")]
    {
        let refused = of_site(site, host).send().await.expect_status(403);
        assert!(refused.text.contains("Nothing was done."), "{}", refused.text);
    }
    of_site("same-origin", "localhost").send().await.expect_status(200);
}

/// An event stream does not end by itself; the page shows what has come so far.
#[tokio::test]
async fn a_form_shows_the_events_so_far() {
    let shop = shop_with_forms().await;
    shop.stock("mug", 10).await;
    let order = shop.order("k1").await;
    let fields = format!("key=secret&id={}", order["id"].as_str().expect("an id"));
    let sent = form(&shop, "/docs/orders/stream_events", &fields).send().await.expect_status(200);
    assert!(sent.text.contains("event: order.placed") && sent.text.contains("not read any further"));
}
