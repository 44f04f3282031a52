//! Webhook endpoints: creation, changes, deletion, accepted addresses.

use std::time::Duration;

use api::{ApiConfig, ServerLimits};
use base::Ambient;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;
use store::outbox::{Command, Outbox, OutboxBody};
use webhooks::UrlPolicy;

use crate::util::{TestApi, config};

const ROUTE: &str = "/v1/webhook_endpoints";

#[tokio::test]
async fn an_endpoint_lives_from_create_to_delete() {
    let shop = TestApi::open().await;
    let body =
        json!({"url": "https://shop.example/hooks", "events": ["order.paid", "order.placed", "order.paid"]});
    let created = shop.post(ROUTE, &body).send().await.expect_status(201);
    let id = created.json["id"].as_str().expect("an id");
    let path = format!("{ROUTE}/{id}");
    assert_eq!(created.header("location"), path);
    assert_eq!(created.json["object"], "webhook_endpoint");
    assert_eq!(created.json["events"], json!(["order.placed", "order.paid"]));
    assert_eq!(created.json["enabled"], true);
    let secret =
        created.json["secret"].as_str().and_then(|text| text.strip_prefix("whsec_")).expect("a secret");
    assert_eq!(STANDARD.decode(secret).expect("base64").len(), 32);
    let read = shop.get(&path).send().await.expect_status(200);
    assert!(read.json.get("secret").is_none());
    assert_eq!(read.json["url"], "https://shop.example/hooks");
    let change = json!({"enabled": false, "events": ["*"]});
    let patch = shop.call(Method::PATCH, &path).key(&shop.own.secret).json(&change);
    let changed = patch.send().await.expect_status(200).json;
    assert_eq!((&changed["enabled"], &changed["events"]), (&json!(false), &json!(["*"])));
    assert_eq!(changed["url"], "https://shop.example/hooks");
    assert_eq!(shop.get(ROUTE).send().await.expect_status(200).list(), &vec![changed]);
    let delete = || shop.call(Method::DELETE, &path).key(&shop.own.secret);
    assert_eq!(delete().send().await.expect_status(204).text, "");
    delete().send().await.expect_problem(404, "not_found");
    shop.get(&path).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn secrets_differ() {
    let shop = TestApi::open().await;
    let body = json!({"url": "https://shop.example/hooks", "events": ["*"]});
    let mut secrets = Vec::new();
    for _ in 0..2 {
        secrets.push(shop.post(ROUTE, &body).send().await.expect_status(201).json["secret"].clone());
    }
    assert_ne!(secrets[0], secrets[1]);
}

#[tokio::test]
async fn a_secret_is_rotated_with_an_overlap_and_shown_once() {
    let shop = TestApi::open().await;
    let body = json!({"url": "https://shop.example/hooks", "events": ["*"]});
    let created = shop.post(ROUTE, &body).send().await.expect_status(201).json;
    assert_eq!(created["previous_secret_until"], json!(null));
    let path = format!("{ROUTE}/{}", created["id"].as_str().expect("an id"));
    let rotate = format!("{path}/rotate_secret");
    let without_body = shop.call(Method::POST, &rotate).key(&shop.own.secret);
    let first = without_body.send().await.expect_status(200).json;
    assert!(first["secret"] != created["secret"] && first["previous_secret_until"].is_string(), "{first}");
    let read = shop.get(&path).send().await.expect_status(200).json;
    assert!(read.get("secret").is_none() && read["previous_secret_until"] == first["previous_secret_until"]);
    for _ in 0..3 {
        shop.post(&rotate, &json!({"overlap_hours": 168})).send().await.expect_status(200);
    }
    shop.post(&rotate, &json!({})).send().await.expect_problem(409, "secret_limit_reached");
    let last = shop.post(&rotate, &json!({"overlap_hours": 0})).send().await.expect_status(200).json;
    assert_eq!(last["previous_secret_until"], json!(null));
    for hours in [json!(-1), json!(169), json!("1")] {
        let answer = shop.post(&rotate, &json!({"overlap_hours": hours})).send().await;
        answer.expect_problem(422, "validation_failed");
    }
    let publishable = shop.call(Method::POST, &rotate).key(&shop.own.public).send().await;
    publishable.expect_problem(403, "secret_key_required");
    let unknown = format!("{ROUTE}/whe_0193e4a0-0000-7000-8000-000000000000/rotate_secret");
    shop.post(&unknown, &json!({})).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn an_event_is_sent_again_on_request_once_a_minute() {
    let (ambient, clock) = Ambient::steered(21, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient.clone()).await;
    shop.stock("mug", 10).await;
    shop.order("k1").await;
    let events = shop.get("/v1/events").send().await.expect_status(200);
    let placed = events.list().iter().find(|event| event["type"] == "order.placed").expect("order.placed");
    let event = placed["id"].as_str().expect("an id").to_owned();
    let resend = || shop.call(Method::POST, &format!("/v1/events/{event}/resend")).key(&shop.own.secret);
    resend().send().await.expect_problem(409, "no_endpoint_subscribed");
    let mut ids = Vec::new();
    for (kind, enabled) in [("*", true), ("order.paid", true), ("*", false)] {
        let body = json!({"url": "https://shop.example/hooks", "events": [kind], "enabled": enabled});
        ids.push(shop.post(ROUTE, &body).send().await.expect_status(201).json["id"].clone());
    }
    let commands = async || {
        let lease = Duration::from_secs(30);
        let messages = shop.orders.claim("test", 256, lease, ambient.now()).await.expect("claims");
        let commands = messages.iter().filter(|message| match &message.body {
            OutboxBody::Command { command: Command::Resend { event: of, endpoints, .. }, .. } => {
                of.to_string() == event && json!(endpoints) == json!([ids[0]])
            }
            _ => false,
        });
        commands.count()
    };
    // Two at the same instant are within a minute.
    for _ in 0..2 {
        let answer = resend().send().await.expect_status(202).json;
        assert_eq!(answer["endpoints"], json!([ids[0]]), "enabled and subscribed");
    }
    assert_eq!(commands().await, 1);
    clock.advance(Duration::from_mins(1));
    resend().send().await.expect_status(202);
    assert_eq!(commands().await, 2);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused() {
    let shop = TestApi::open().await;
    let urls = [
        "http://shop.example/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:pass@shop.example/",
        "https://shop.example:22/",
        "file:///etc/passwd",
        "shop.example",
    ];
    for url in urls {
        let body = json!({"url": url, "events": ["*"]});
        let answer = shop.post(ROUTE, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.json["errors"][0]["pointer"], "/url", "{url}");
        assert!(answer.json["errors"][0]["code"].as_str().is_some_and(|code| code.starts_with("url_")));
    }
    assert!(shop.get(ROUTE).send().await.expect_status(200).list().is_empty());
    let open = ApiConfig { webhook_urls: UrlPolicy { allow_loopback: true }, ..config() };
    let shop = TestApi::open_with(open, ServerLimits::default()).await;
    let body = json!({"url": "http://127.0.0.1:9/hook", "events": ["*"]});
    shop.post(ROUTE, &body).send().await.expect_status(201);
}

#[tokio::test]
async fn every_fault_is_told() {
    let shop = TestApi::open().await;
    let body = json!({"events": ["order.paid", "order.lost"], "enabled": "yes", "secret": "whsec_mine"});
    let answer = shop.post(ROUTE, &body).send().await.expect_problem(422, "validation_failed");
    let expected =
        ["/enabled wrong_type", "/events/1 wrong_format", "/secret unknown_field", "/url required"];
    assert_eq!(answer.faults(), expected);
    let body = json!({"url": "https://shop.example/", "events": ["*", "order.paid"]});
    let answer = shop.post(ROUTE, &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/events wrong_format"]);
}

#[tokio::test]
async fn a_merchant_has_fifty_at_most() {
    let shop = TestApi::open().await;
    let body = json!({"url": "https://shop.example/hooks", "events": ["*"]});
    for _ in 0..50 {
        shop.post(ROUTE, &body).send().await.expect_status(201);
    }
    shop.post(ROUTE, &body).send().await.expect_problem(409, "endpoint_limit_reached");
}
