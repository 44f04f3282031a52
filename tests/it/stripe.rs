//! Stripe behind the real binary: the settings reach the client, rejected credentials are reported to operators and use
//! no attempt, and work continues once they are corrected. Stripe's responses are tested with the client, in `workers`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::util::{Dev, ready, run};

const KEY: &str = "rk_test_canaryOfATest";
const SECRETS: &str = r#"["whsec_canaryOfATest"]"#;

/// Charges every payment method while the key is accepted.
async fn stripe(refused: Arc<AtomicU16>) -> String {
    let state = Stripe { refused, created: Arc::default() };
    let app = Router::new()
        .route("/v1/payment_intents", post(create))
        .route("/v1/payment_intents/{id}/confirm", post(confirm))
        .with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
    url
}

#[derive(Clone)]
struct Stripe {
    refused: Arc<AtomicU16>,
    created: Arc<Mutex<HashMap<String, Value>>>,
}

async fn create(State(stripe): State<Stripe>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    if stripe.refused.load(Ordering::SeqCst) > 0 {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": { "type": "invalid_request_error" } })));
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    let amount: i64 = form["amount"].parse().expect("an amount");
    let id = format!("pi_{}", form["metadata[order_id]"].replace('-', ""));
    let intent = json!({
        "id": id, "object": "payment_intent", "status": "requires_confirmation", "amount": amount,
        "currency": form["currency"],
    });
    stripe.created.lock().expect("whole").insert(id, intent.clone());
    (StatusCode::OK, Json(intent))
}

async fn confirm(State(stripe): State<Stripe>, Path(id): Path<String>) -> Json<Value> {
    let mut intent = stripe.created.lock().expect("whole")[&id].clone();
    intent["status"] = "succeeded".into();
    Json(intent)
}

fn settings(url: &str) -> [(&str, &str); 4] {
    [
        ("ORDERWORKS_PAYMENTS_PROVIDER", "stripe"),
        ("ORDERWORKS_PAYMENTS_STRIPE_KEY", KEY),
        ("ORDERWORKS_PAYMENTS_STRIPE_URL", url),
        ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", SECRETS),
    ]
}

#[tokio::test]
async fn an_order_is_charged_at_stripe_once_the_key_is_good() {
    let refused = Arc::new(AtomicU16::new(1));
    let (data, url) = (tempfile::tempdir().expect("a folder"), stripe(Arc::clone(&refused)).await);
    let settings = settings(&url);
    let dev = Dev::start_with(data.path(), &settings).await;
    let id = dev.merchant().accepted("first", "pm_card_visa").await;
    let address = dev.ready.url.strip_prefix("http://").expect("a URL");
    let report = ready(address, |report| report["status"] == "degraded").await;
    let provider =
        report["checks"].as_array().expect("checks").iter().find(|c| c["name"] == "payment_provider");
    let detail = provider.and_then(|check| check["detail"].as_str()).expect("a detail");
    assert!(detail.contains("credentials"), "{report}");

    refused.store(0, Ordering::SeqCst);
    let ended = dev.merchant().ended(&id).await;
    assert_eq!(
        (&ended["status"], &ended["payment"]["status"]),
        (&"fulfilled".into(), &"captured".into()),
        "{ended}"
    );
    ready(address, |report| report["status"] == "ok").await;

    let path = "/v1/provider_webhooks/stripe";
    let (status, problem) = dev.merchant().send(Method::POST, path, Some(&json!({}))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &"signature_invalid".into()), "{problem}");
    assert!(dev.stop().await.success());
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    assert!(!log.contains("canary"), "a secret is in the log");
    assert_eq!(log.matches("circuit breaker opened").count(), 1, "logged once: {log}");
    assert_eq!(log.matches("circuit breaker closed").count(), 1, "{log}");
}

#[tokio::test]
async fn no_worker_starts_while_open_payments_are_at_another_provider() {
    let refused = Arc::new(AtomicU16::new(1));
    let (data, url) = (tempfile::tempdir().expect("a folder"), stripe(Arc::clone(&refused)).await);
    let settings = settings(&url);
    let dev = Dev::start_with(data.path(), &settings).await;
    let id = dev.merchant().accepted("first", "pm_card_visa").await;
    // The payment is opened before the call that is refused.
    let address = dev.ready.url.strip_prefix("http://").expect("a URL");
    ready(address, |report| report["status"] == "degraded").await;
    assert!(dev.stop().await.success());

    let (ok, _, told) = run(data.path(), &["dev", "--json", "--listen", "127.0.0.1:0"]).await;
    assert!(!ok, "started with the sandbox");
    let expected = "payments.provider is \"sandbox\", but at least 1 undecided payments are at \"stripe\"";
    assert!(told.contains(expected), "{told}");

    refused.store(0, Ordering::SeqCst);
    let dev = Dev::start_with(data.path(), &settings).await;
    let ended = dev.merchant().ended(&id).await;
    assert_eq!(ended["payment"]["status"], "captured", "{ended}");
    assert!(dev.stop().await.success());
    let dev = Dev::start(data.path()).await;
    assert!(dev.stop().await.success(), "a decided payment prevents no start");
}
