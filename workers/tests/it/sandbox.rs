//! Sandbox server by itself: idempotency, durability, the ledger.

use base::Ambient;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use workers::provider::{
    ChargeOutcome, PaymentProvider,
    sandbox_server::{CurrencySum, SandboxServer},
};

use crate::util::{TestMerchant, sandbox_client, soon};

fn charge(amount_minor: i64, method: &str) -> Value {
    json!({ "amount_minor": amount_minor, "currency": "EUR", "payment_method": method,
            "metadata": { "order_id": "ord_1" } })
}

#[tokio::test]
async fn a_key_answers_the_same_bytes_and_refuses_another_body() {
    let shop = TestMerchant::open().await;
    let (status, first) = shop.sandbox_post("/v1/charges", "k1", charge(100, "pm_card_visa")).await;
    assert_eq!(status, 200);
    let again = shop.sandbox_post("/v1/charges", "k1", charge(100, "pm_card_visa")).await;
    assert_eq!(again, (200, first.clone()));
    let (status, body) = shop.sandbox_post("/v1/charges", "k1", charge(101, "pm_card_visa")).await;
    assert_eq!(status, 422);
    assert!(body.contains("idempotency_key_reused"), "{body}");
    let found: Value = shop.sandbox_get("/v1/charges?idempotency_key=k1").await;
    assert_eq!(found["data"][0], serde_json::from_str::<Value>(&first).expect("JSON"));
    let none: Value = shop.sandbox_get("/v1/charges?idempotency_key=k2").await;
    assert_eq!(none["data"], json!([]));
    assert_eq!(shop.ledger_summary().await.charges, 1);
}

#[tokio::test]
async fn declines_are_answers_and_no_ledger_entries() {
    let shop = TestMerchant::open().await;
    let (status, body) = shop.sandbox_post("/v1/charges", "d1", charge(100, "pm_card_chargeDeclined")).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &body["status"], &body["decline_code"]),
        (200, &json!("declined"), &json!("card_declined"))
    );
    assert_eq!(shop.ledger_summary().await.charges, 0);
}

#[tokio::test]
async fn refunds_are_idempotent_and_never_exceed_their_charge() {
    let shop = TestMerchant::open().await;
    let (_, body) = shop.sandbox_post("/v1/charges", "c1", charge(1000, "pm_card_visa")).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let refund = |amount: i64| json!({ "charge": body["id"], "amount_minor": amount });
    let first = shop.sandbox_post("/v1/refunds", "r1", refund(700)).await;
    assert_eq!(first.0, 200);
    assert_eq!(shop.sandbox_post("/v1/refunds", "r1", refund(700)).await, first);
    assert_eq!(shop.sandbox_post("/v1/refunds", "r1", refund(1)).await.0, 422, "another body");
    let (status, problem) = shop.sandbox_post("/v1/refunds", "r2", refund(301)).await;
    assert_eq!(status, 422);
    assert!(problem.contains("refund_exceeds_charge"), "{problem}");
    assert_eq!(shop.sandbox_post("/v1/refunds", "r3", refund(300)).await.0, 200);
    let other = json!({ "charge": "ch_none", "amount_minor": 1 });
    assert_eq!(shop.sandbox_post("/v1/refunds", "r4", other).await.0, 404);
    let summary = shop.ledger_summary().await;
    assert_eq!((summary.charges, summary.refunds), (1, 2));
    let sum = CurrencySum { currency: "EUR".to_owned(), captured_minor: 1000, refunded_minor: 1000 };
    assert_eq!(summary.by_currency, [sum]);
}

#[tokio::test]
async fn the_ledger_is_listed_in_pages() {
    let shop = TestMerchant::open().await;
    for n in 0..5 {
        shop.sandbox_post("/v1/charges", &format!("p{n}"), charge(100 + n, "pm_card_visa")).await;
    }
    let mut after = String::new();
    let mut amounts = Vec::new();
    loop {
        let page: Value = shop.sandbox_get(&format!("/v1/ledger?limit=2&order=ord_1{after}")).await;
        let data = page["data"].as_array().expect("a list");
        amounts.extend(data.iter().map(|entry| entry["amount_minor"].as_i64().expect("an amount")));
        if page["has_more"] == json!(false) {
            break;
        }
        after = format!("&after={}", data.last().expect("not empty")["id"].as_str().expect("an id"));
    }
    assert_eq!(amounts, [100, 101, 102, 103, 104]);
    let summary = shop.ledger_summary().await;
    assert_eq!((summary.orders_charged, summary.orders_charged_more_than_once), (1, 1));
}

#[tokio::test]
async fn a_key_and_a_token_are_required() {
    let shop = TestMerchant::open().await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/v1/charges", shop.sandbox_url);
    let anonymous = client.post(&url).json(&charge(1, "pm_card_visa")).send().await.expect("an answer");
    assert_eq!(anonymous.status().as_u16(), 401);
    let keyless = client.post(&url).bearer_auth("sk_sandbox_test").json(&charge(1, "pm_card_visa"));
    assert_eq!(keyless.send().await.expect("an answer").status().as_u16(), 400);
    let huge = client.post(&url).bearer_auth("sk_sandbox_test").header("idempotency-key", "h");
    let huge = huge.header("content-type", "application/json").body("x".repeat(20_000));
    assert_eq!(huge.send().await.expect("an answer").status().as_u16(), 413);
}

#[tokio::test]
async fn ledger_and_flakiness_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let ambient = Ambient::system();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let key = SecretString::from("sk_sandbox_test");
        let path = folder.path().join("sandbox.db");
        let server = SandboxServer::open(&path, key, ambient.clone()).await.expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(listener, stop.clone().cancelled_owned()));
        let provider = sandbox_client(&url, std::time::Duration::from_secs(5), ambient.clone());
        let order = store::domain::OrderId::fresh(&Ambient::steered(1, base::Timestamp::UNIX_EPOCH).0);
        let request = workers::provider::CaptureRequest {
            idempotency_key: "f1".to_owned(),
            amount_minor: 5,
            currency: "EUR".parse().expect("a currency"),
            method: "pm_sandbox_flaky".to_owned(),
            order,
            payment: store::domain::PaymentId::of_order(order),
            attempt: 1,
            charge: None,
        };
        outcomes.push(provider.capture(&request).await);
        drop(provider);
        stop.cancel();
        soon("the server's end", running).await.expect("joins").expect("serves");
    }
    assert!(outcomes[0].is_err() && outcomes[1].is_err(), "{outcomes:?}");
    assert!(matches!(outcomes[2], Ok(ChargeOutcome::Captured { .. })), "{outcomes:?}");
    assert_eq!(outcomes[2], outcomes[3]);
}
