//! Webhooks of payment providers: accepted signatures, stored and dropped events.

use std::time::Duration;

use api::{ApiConfig, ServerLimits};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use store::{
    domain::{Decision, EventKind, OrderId, PaymentId},
    orders::{CaptureFacts, Orders},
    outbox::{Command, Outbox, OutboxBody},
    payments::{NewPayment, PaymentStore},
};

use crate::util::{Answer, TestApi, config, id_of};

const PATH: &str = "/v1/provider_webhooks/stripe";
const SECRET: &str = "whsec_new";
const OLD_SECRET: &str = "whsec_old";

async fn shop() -> (TestApi, OrderId) {
    let secrets = [OLD_SECRET, SECRET].map(Into::into).into();
    let config = ApiConfig { stripe_webhook_secrets: secrets, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 10).await;
    let order = id_of(&shop.order("k1").await);
    shop.drain().await;
    (shop, order)
}

impl TestApi {
    /// The waiting commands, which are marked as sent.
    async fn drain(&self) -> Vec<Command> {
        let at = self.ambient.now();
        let messages = self.orders.claim("test", 256, Duration::from_secs(30), at).await.expect("claims");
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        self.orders.mark_sent(&positions, at).await.expect("marks");
        let command = |body| match body {
            OutboxBody::Command { command, .. } => Some(command),
            OutboxBody::Event(_) | OutboxBody::Unreadable(_) => None,
        };
        messages.into_iter().filter_map(|message| command(message.body)).collect()
    }

    /// Sends a webhook as Stripe does, signed `seconds` from now.
    async fn report(&self, secret: &str, event: &Value, seconds: i64) -> Answer {
        let (body, at) = (event.to_string(), self.ambient.now().as_second() + seconds);
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        let signature = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
        let hex = hex::encode(signature);
        let call = self.call(Method::POST, PATH).header("stripe-signature", &format!("t={at},v1={hex}"));
        call.body(body).send().await
    }
}

fn event(id: &str, kind: &str, object: Value) -> Value {
    json!({"id": id, "object": "event", "type": kind, "data": {"object": object}})
}

fn intent(order: &OrderId) -> Value {
    json!({"id": "pi_1", "object": "payment_intent", "metadata": {"order_id": order.to_string()}})
}

fn command(order: OrderId, reference: &str) -> Command {
    Command::ProviderReport { order, reference: reference.to_owned() }
}

#[tokio::test]
async fn a_signed_report_is_kept_once_whichever_secret_signed_it() {
    let (shop, order) = shop().await;
    let succeeded = event("evt_1", "payment_intent.succeeded", intent(&order));
    for secret in [SECRET, OLD_SECRET, SECRET] {
        shop.report(secret, &succeeded, -10).await.expect_status(200);
    }
    assert_eq!(shop.drain().await, [command(order, "pi_1")]);
    shop.report(SECRET, &succeeded, 0).await.expect_status(200);
    assert!(shop.drain().await.is_empty(), "known though sent");
    // Another event about the same charge is another webhook.
    let failed = event("evt_2", "payment_intent.payment_failed", intent(&order));
    shop.report(SECRET, &failed, 0).await.expect_status(200);
    assert_eq!(shop.drain().await, [command(order, "pi_1")]);
}

#[tokio::test]
async fn refunds_lead_to_their_charge() {
    let (shop, order) = shop().await;
    let metadata = json!({"order_id": order.to_string()});
    let refund = json!({"id": "re_1", "object": "refund", "payment_intent": "pi_7", "metadata": metadata});
    let charge = json!({"id": "ch_1", "object": "charge", "payment_intent": "pi_8", "metadata": metadata});
    for (kind, object, intent) in [
        ("charge.refunded", &charge, "pi_8"),
        ("charge.refund.updated", &refund, "pi_7"),
        ("refund.updated", &refund, "pi_7"),
        ("refund.failed", &refund, "pi_7"),
    ] {
        shop.report(SECRET, &event(kind, kind, object.clone()), 0).await.expect_status(200);
        assert_eq!(shop.drain().await, [command(order, intent)], "{kind}");
    }
}

#[tokio::test]
async fn a_dispute_is_recorded_with_the_order_that_was_paid() {
    let (shop, order) = shop().await;
    let id = PaymentId::of_order(order);
    let at = shop.ambient.now();
    let amount_minor = 500;
    let payment = NewPayment {
        id,
        order,
        merchant: shop.own.id,
        amount_minor,
        currency: "EUR".parse().expect("a currency"),
        method: "pm_card_visa".to_owned(),
        provider: "stripe".to_owned(),
        at,
    };
    shop.payments.open_payment(payment).await.expect("opens");
    shop.payments.begin_attempt(id, "worker", at).await.expect("begins");
    let provider_reference = "pi_1".to_owned();
    let captured = Decision::Captured { provider_reference: provider_reference.clone() };
    shop.payments.record_decision(id, 1, captured, at).await.expect("decides");
    let dispute = |intent: &str, status: &str| json!({"id": "dp_1", "payment_intent": intent, "status": status, "reason": "fraudulent"});
    let early = event("evt_0", "charge.dispute.created", dispute("pi_1", "needs_response"));
    let again_later = shop.report(SECRET, &early, 0).await;
    assert_eq!(again_later.expect_problem(503, "temporarily_unavailable").header("retry-after"), "60");
    let facts = CaptureFacts { payment: id, provider_reference, amount_minor };
    shop.orders.mark_paid(order, facts, at).await.expect("pays");
    for (intent, status) in
        [("pi_1", "needs_response"), ("pi_1", "needs_response"), ("pi_1", "lost"), ("pi_other", "lost")]
    {
        let event = event("evt_1", "charge.dispute.updated", dispute(intent, status));
        shop.report(SECRET, &event, 0).await.expect_status(200);
    }
    let events = shop.orders.order_events(order, 0).await.expect("reads");
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.kind == EventKind::PaymentDisputed)
        .map(|event| event.data["dispute_status"].as_str().expect("a status"))
        .collect();
    assert_eq!(told, ["needs_response", "lost"]);
    let timeline = shop.get(&format!("/v1/orders/{order}/timeline")).send().await.expect_status(200);
    assert_eq!(timeline.text.matches("payment.disputed").count(), 2, "{}", timeline.text);
    let read = shop.get(&format!("/v1/orders/{order}")).send().await.expect_status(200).json;
    assert_eq!((&read["status"], &read["refunded_minor"]), (&json!("paid"), &json!(0)), "untouched");
}

#[tokio::test]
async fn what_is_not_ours_is_answered_and_dropped() {
    let (shop, order) = shop().await;
    let stranger = OrderId::fresh(&shop.ambient);
    for (kind, object) in [
        ("customer.created", json!({"id": "cus_1"})),
        ("some.new.kind", json!(["of", "another", "shape"])),
        ("payment_intent.succeeded", json!({"id": "pi_1", "metadata": {}})),
        ("payment_intent.succeeded", json!({"id": "pi_1", "metadata": null})),
        ("payment_intent.succeeded", json!({"id": "pi_1", "metadata": {"order_id": "A-1"}})),
        ("payment_intent.succeeded", intent(&stranger)),
        ("charge.refunded", json!({"id": "ch_1", "payment_intent": null, "metadata": {"order_id": order}})),
        ("payment_intent.succeeded", json!({"id": "p".repeat(300), "metadata": {"order_id": order}})),
    ] {
        shop.report(SECRET, &event("evt_1", kind, object.clone()), 0).await.expect_status(200);
        assert!(shop.drain().await.is_empty(), "{kind} {object}");
    }
}

#[tokio::test]
async fn what_is_not_signed_now_by_a_known_secret_is_refused() {
    let (shop, order) = shop().await;
    let good = event("evt_1", "payment_intent.succeeded", intent(&order));
    for (secret, seconds) in [("whsec_stranger", 0), ("", 0), (SECRET, -310), (SECRET, 310)] {
        shop.report(secret, &good, seconds).await.expect_problem(400, "signature_invalid");
    }
    let unsigned = shop.call(Method::POST, PATH).body(good.to_string());
    unsigned.send().await.expect_problem(400, "signature_invalid");
    // An API key does not help, and an unsigned body is not read.
    let keyed = shop.call(Method::POST, PATH).key(&shop.own.secret).body("not JSON");
    keyed.send().await.expect_problem(400, "signature_invalid");
    shop.report(SECRET, &json!({"type": "payment_intent.succeeded"}), 0)
        .await
        .expect_problem(400, "invalid_json");
    let large =
        shop.call(Method::POST, PATH).header("stripe-signature", "t=1,v1=00").body("x".repeat(300_000));
    large.send().await.expect_problem(413, "body_too_large");
    shop.call(Method::GET, PATH).send().await.expect_problem(405, "method_not_allowed");
    assert!(shop.drain().await.is_empty());
}

#[tokio::test]
async fn without_a_secret_there_is_no_such_route() {
    let shop = TestApi::open().await;
    let event = event("evt_1", "payment_intent.succeeded", json!({"id": "pi_1"}));
    shop.report("", &event, 0).await.expect_problem(404, "route_not_found");
}

/// `localstripe` signs and sends webhooks as Stripe does.
#[tokio::test]
async fn a_report_signed_elsewhere_is_taken() {
    let Ok(stripe) = std::env::var("ORDERWORKS_TEST_STRIPE_URL") else {
        say_skipped();
        return;
    };
    let (shop, order) = shop().await;
    let hook = format!("{stripe}/_config/webhooks/{order}");
    let target = json!({"url": format!("http://{}{PATH}", shop.address), "secret": SECRET});
    let registered = shop.http.post(hook).json(&target).send().await.expect("an answer");
    assert_eq!(registered.status().as_u16(), 200);
    let charge = json!({
        "amount": 500, "currency": "eur", "payment_method": "pm_card_visa", "confirm": true,
        "metadata": {"order_id": order.to_string()},
    });
    let charged =
        shop.http.post(format!("{stripe}/v1/payment_intents")).bearer_auth("sk_test_1").json(&charge);
    let charged: Value = charged.send().await.expect("an answer").json().await.expect("JSON");
    let intent = charged["id"].as_str().expect("an id");
    let mut arrivals = shop.orders.arrivals();
    let taken = async {
        loop {
            arrivals.borrow_and_update();
            let commands = shop.drain().await;
            if !commands.is_empty() {
                return commands;
            }
            arrivals.changed().await.expect("the store is open");
        }
    };
    let commands = tokio::time::timeout(Duration::from_secs(20), taken).await.expect("a report comes");
    assert_eq!(commands, [command(order, intent)]);
}

#[expect(clippy::print_stderr, reason = "for who reads the test run")]
fn say_skipped() {
    eprintln!("skipped: ORDERWORKS_TEST_STRIPE_URL is not set; see `ops/services up stripe`");
}

#[tokio::test]
async fn webhooks_of_one_address_are_limited_before_they_are_read() {
    let (shop, _) = shop().await;
    for _ in 0..5_000 {
        let answer = shop.call(Method::POST, PATH).body("{}").send().await;
        if answer.status == 429 {
            assert_eq!(answer.json["violated-policies"], json!(["provider-webhook"]));
            return;
        }
        assert!(answer.status < 500, "{}", answer.text);
    }
    panic!("two hundred a second are not five thousand");
}
