//! Shapes of all requests, checked against Stripe's OpenAPI document by `stripe-mock`, which refuses unknown
//! parameters, wrong types and missing members. It stores nothing and invents answers, so outcomes mean nothing here.

use std::time::Duration;

use base::Ambient;
use store::domain::{OrderId, PaymentId, RefundId};
use workers::provider::{
    CaptureRequest, ChargeQuery, PaymentProvider, RefundRequest, capture_key, refund_key,
};

use super::{client, stand_in};
use crate::util::Front;

#[tokio::test]
async fn requests_have_the_shape_that_stripe_documents() {
    let remedy = "`ops/services up stripe` builds stripe-mock where a Go of its time is installed";
    let Some(mock) = stand_in("ORDERWORKS_TEST_STRIPE_MOCK_URL", remedy) else { return };
    let front = Front::of(&mock).await;
    let ambient = Ambient::system();
    let provider = client(&front, Duration::from_secs(10), ambient.clone());
    let (order, refund) = (OrderId::fresh(&ambient), RefundId::fresh(&ambient));
    let payment = PaymentId::of_order(order);
    let (idempotency_key, currency) = (capture_key(payment), "EUR".parse().expect("a currency"));
    let method = "pm_card_visa".to_owned();
    let mut capture = CaptureRequest {
        idempotency_key: idempotency_key.clone(),
        amount_minor: 1250,
        currency,
        method,
        order,
        payment,
        attempt: 1,
        charge: None,
    };
    let _ = provider.create(&capture).await;
    capture.charge = Some("pi_1PgafyB7WZ01zgkW".to_owned());
    // Has the intent cancelled, too.
    front.pretend("requires_action");
    let _ = provider.capture(&capture).await;
    let _ = provider.find(&ChargeQuery { idempotency_key, charge: capture.charge.clone() }).await;
    front.pretend("succeeded");
    let _ = provider.report("pi_1PgafyB7WZ01zgkW").await;
    let refund = RefundRequest {
        idempotency_key: refund_key(refund),
        charge: "pi_1PgafyB7WZ01zgkW".to_owned(),
        amount_minor: 500,
        currency,
        order,
    };
    let _ = provider.refund(&refund).await;
    let seen = front.seen();
    for call in &seen {
        assert_eq!(call.status, 200, "{call:?}");
    }
    let kinds: Vec<_> = seen.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    for kind in ["POST /v1/payment_intents", "GET /v1/refunds", "POST /v1/refunds"] {
        assert!(kinds.iter().any(|seen| seen == kind), "{kind} in {kinds:?}");
    }
    for (method, end) in [("GET", "pi_"), ("POST", "/confirm"), ("POST", "/cancel")] {
        let of = |kind: &&String| {
            kind.starts_with(method) && kind.contains("/v1/payment_intents/") && kind.contains(end)
        };
        assert!(kinds.iter().any(|kind| of(&kind)), "{method} …{end} in {kinds:?}");
    }
    // `stripe-mock` does refuse a wrong request.
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let wrong = http
        .post(format!("{mock}/v1/payment_intents"))
        .bearer_auth("sk_test_1")
        .body("amount=x&currency=eur");
    let wrong =
        wrong.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
    assert_eq!(wrong.status().as_u16(), 400);
}
