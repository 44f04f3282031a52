//! Meaning of every answer that Stripe documents; no stand-in gives all of them.

use std::time::Duration;

use base::Ambient;
use store::domain::{Currency, OrderId, PaymentId};
use workers::provider::{
    CaptureRequest, ChargeOutcome, ChargeQuery, Created, PaymentProvider, ProviderError, RefundOutcome,
    RefundRequest, capture_key,
};

use super::client;
use crate::util::{Act, Front};

fn request(amount_minor: i64, currency: &str) -> CaptureRequest {
    let order = OrderId::fresh(&Ambient::system());
    let payment = PaymentId::of_order(order);
    let idempotency_key = capture_key(payment);
    let currency: Currency = currency.parse().expect("a currency");
    let (method, charge) = ("pm_1".to_owned(), Some("pi_1".to_owned()));
    CaptureRequest { idempotency_key, amount_minor, currency, method, order, payment, attempt: 1, charge }
}

fn intent(status: &str, amount: i64) -> String {
    format!(
        r#"{{"id":"pi_1","object":"payment_intent","status":"{status}","amount":{amount},"currency":"eur"}}"#
    )
}

fn error(fields: &str) -> String {
    format!(r#"{{"error":{{"message":"for people",{fields}}}}}"#)
}

/// The answer to the cancellation of a declined intent.
fn canceled() -> Act {
    Act::Answer(200, vec![], intent("canceled", 1250))
}

async fn capture(acts: impl IntoIterator<Item = Act>) -> Result<ChargeOutcome, ProviderError> {
    let front = Front::alone().await;
    front.then(acts);
    client(&front, Duration::from_millis(500), Ambient::system()).capture(&request(1250, "EUR")).await
}

#[tokio::test]
async fn errors_say_whether_money_may_have_moved() {
    let unknown = |cause| ProviderError::Unknown { cause };
    let limited = |seconds| ProviderError::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    for (status, headers, body, expected) in [
        (401, vec![], error(r#""type":"invalid_request_error""#), ProviderError::Authentication),
        (403, vec![], error(r#""type":"invalid_request_error""#), ProviderError::Authentication),
        (429, vec![("retry-after", "7")], error(r#""code":"rate_limit""#), limited(7)),
        (429, vec![], error(r#""code":"lock_timeout""#), ProviderError::RateLimited { retry_after: None }),
        (409, vec![], error(r#""code":"idempotency_key_in_use""#), limited(1)),
        (500, vec![], error(r#""type":"api_error""#), unknown("server_error")),
        (503, vec![("retry-after", "1")], String::new(), unknown("server_error")),
        (
            400,
            vec![],
            error(r#""type":"idempotency_error""#),
            ProviderError::Protocol { detail: "idempotency_key_reused" },
        ),
        (
            400,
            vec![],
            error(r#""type":"invalid_request_error","param":"confirm""#),
            ProviderError::Protocol { detail: "charge_refused" },
        ),
        (400, vec![], "not JSON".to_owned(), ProviderError::Protocol { detail: "undecodable_answer" }),
        (200, vec![], intent("succeeded", 1251), ProviderError::Protocol { detail: "another_charge" }),
        (200, vec![], "{}".to_owned(), ProviderError::Protocol { detail: "undecodable_answer" }),
    ] {
        let answered = capture([Act::Answer(status, headers, body.clone())]).await;
        assert_eq!(answered, Err(expected), "{status} {body}");
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut front = Front::alone().await;
    front.url = format!("http://{}", gone.local_addr().expect("bound"));
    let silent = client(&front, Duration::from_millis(300), Ambient::system());
    // The connection enters the backlog and is never answered.
    assert_eq!(silent.capture(&request(1, "EUR")).await, Err(unknown("timeout")));
    drop(gone);
    assert_eq!(
        silent.capture(&request(1, "EUR")).await,
        Err(ProviderError::Unavailable { retry_after: None })
    );
}

#[tokio::test]
async fn declines_have_stable_codes() {
    for (status, fields, code) in [
        (
            402,
            r#""type":"card_error","code":"card_declined","decline_code":"insufficient_funds""#,
            "insufficient_funds",
        ),
        (402, r#""type":"card_error","code":"card_declined","decline_code":"fraudulent""#, "card_declined"),
        (
            402,
            r#""type":"card_error","code":"authentication_required","decline_code":"authentication_required""#,
            "authentication_required",
        ),
        (
            400,
            r#""type":"invalid_request_error","code":"resource_missing","param":"payment_method""#,
            "invalid_payment_method",
        ),
        (400, r#""type":"invalid_request_error","param":"payment_method""#, "invalid_payment_method"),
        (
            400,
            r#""type":"invalid_request_error","code":"amount_too_small","param":"amount""#,
            "amount_too_small",
        ),
        (400, r#""type":"invalid_request_error","param":"currency""#, "currency_not_supported"),
    ] {
        let answered = capture([Act::Answer(status, vec![], error(fields)), canceled()]).await;
        assert_eq!(answered, Ok(ChargeOutcome::Declined { code: code.to_owned() }), "{fields}");
    }
}

#[tokio::test]
async fn only_a_final_intent_is_an_outcome() {
    let ok = |status: &str| Act::Answer(200, vec![], intent(status, 1250));
    let late = || Act::Answer(400, vec![], error(r#""code":"payment_intent_unexpected_state""#));
    let captured = ChargeOutcome::Captured { provider_reference: "pi_1".to_owned() };
    // Confirmed before: read.
    assert_eq!(capture([late(), ok("succeeded")]).await, Ok(captured));
    for status in ["processing", "requires_confirmation", "requires_payment_method"] {
        let pending = capture([ok(status)]).await;
        let expected = match pending {
            Err(ProviderError::Debit { .. }) => status == "processing",
            Err(ProviderError::Pending { .. }) => status != "processing",
            _ => false,
        };
        assert!(expected, "{status}: {pending:?}");
    }
    let ended = capture([ok("requires_action"), canceled()]).await;
    assert_eq!(ended, Ok(ChargeOutcome::Declined { code: "authentication_required".to_owned() }));
    // Cancelled by us before, or by hand at Stripe.
    let ours = r#"{"id":"pi_1","status":"canceled","amount":1250,"currency":"eur","cancellation_reason":"abandoned"}"#;
    let before = capture([Act::Answer(200, vec![], ours.to_owned())]).await;
    assert_eq!(before, Ok(ChargeOutcome::Declined { code: "authentication_required".to_owned() }));
    let theirs = capture([ok("canceled")]).await;
    assert_eq!(theirs, Ok(ChargeOutcome::Declined { code: "payment_canceled".to_owned() }));
    // The status changed during the cancellation: looked up again, never decided.
    let raced = capture([ok("requires_action"), late()]).await;
    assert!(matches!(raced, Err(ProviderError::Pending { .. })), "{raced:?}");
    let in_vain = capture([ok("requires_action"), ok("requires_action")]).await;
    assert_eq!(in_vain, Err(ProviderError::Protocol { detail: "cancelled_in_vain" }));
}

#[tokio::test]
async fn an_amount_that_stripe_cannot_take_is_declined_without_asking() {
    let front = Front::alone().await;
    let provider = client(&front, Duration::from_secs(1), Ambient::system());
    let answered = provider.create(&request(5124, "KWD")).await;
    assert_eq!(answered, Ok(Created::Declined { code: "amount_not_supported".to_owned() }));
    assert!(front.seen().is_empty());
    front.then([Act::Answer(402, vec![], error(r#""type":"card_error""#))]);
    provider.create(&request(5, "ISK")).await.expect("an outcome");
    assert!(front.seen()[0].body.starts_with("amount=500&currency=isk&"), "{}", front.seen()[0].body);
}

#[tokio::test]
async fn a_created_charge_is_checked_and_moves_no_money() {
    let front = Front::alone().await;
    let provider = client(&front, Duration::from_secs(1), Ambient::system());
    front.then([Act::Answer(200, vec![], intent("requires_confirmation", 1250))]);
    assert_eq!(provider.create(&request(1250, "EUR")).await, Ok(Created::Charge("pi_1".to_owned())));
    assert!(!front.seen()[0].body.contains("confirm="), "{}", front.seen()[0].body);
    front.then([Act::Answer(200, vec![], intent("requires_confirmation", 1251))]);
    let other = provider.create(&request(1250, "EUR")).await;
    assert_eq!(other, Err(ProviderError::Protocol { detail: "another_charge" }));
    // None recorded: nothing was ever confirmed.
    let calls = front.seen().len();
    let query = ChargeQuery { idempotency_key: "k".to_owned(), charge: None };
    assert_eq!(provider.find(&query).await, Ok(None));
    assert_eq!(provider.abandon(&query).await, Ok(None));
    assert_eq!(front.seen().len(), calls);
}

#[tokio::test]
async fn refunds_end_as_stripe_says() {
    let none = || Act::Answer(200, vec![], r#"{"object":"list","data":[],"has_more":false}"#.to_owned());
    let refund = |status: &str| {
        let body = format!(
            r#"{{"id":"re_1","amount":500,"status":"{status}","failure_reason":"expired_or_canceled_card"}}"#
        );
        Act::Answer(200, vec![], body)
    };
    let refused = |code: &str| RefundOutcome::Refused { code: code.to_owned() };
    let done = RefundOutcome::Done { reference: "re_1".to_owned() };
    for (answer, expected) in [
        (refund("succeeded"), Ok(done.clone())),
        (refund("pending"), Ok(done.clone())),
        (refund("failed"), Ok(refused("expired_or_canceled_card"))),
        (
            Act::Answer(400, vec![], error(r#""code":"charge_already_refunded""#)),
            Ok(refused("charge_already_refunded")),
        ),
        (Act::Answer(400, vec![], error(r#""code":"charge_disputed""#)), Ok(refused("charge_disputed"))),
        (
            Act::Answer(400, vec![], error(r#""type":"invalid_request_error","param":"amount""#)),
            Ok(refused("refund_exceeds_charge")),
        ),
        (Act::Answer(500, vec![], String::new()), Err(ProviderError::Unknown { cause: "server_error" })),
    ] {
        let front = Front::alone().await;
        front.then([none(), answer]);
        let order = OrderId::fresh(&Ambient::system());
        let request = RefundRequest {
            idempotency_key: "ref_1".to_owned(),
            charge: "pi_1".to_owned(),
            amount_minor: 500,
            currency: "EUR".parse().expect("a currency"),
            order,
        };
        let provider = client(&front, Duration::from_secs(1), Ambient::system());
        assert_eq!(provider.refund(&request).await, expected);
        assert_eq!(front.seen()[1].header("idempotency-key"), "ref_1");
    }
}
