//! Charges and refunds at a stand-in for Stripe, checked by its records afterwards.

use std::time::Duration;

use base::Ambient;
use jobs::{Job, JobError};
use store::domain::{Decision, OrderId, OrderStatus, PaymentId, RefundId};
use workers::{
    jobs::ChargePayment,
    provider::{PaymentProvider, RefundOutcome, RefundRequest, stripe::API_VERSION},
};

use super::{KEY, Till};
use crate::util::{Act, context, until};

/// Short, so that a lost answer is noticed soon; longer than the stand-in's own answers take.
const IMPATIENT: Duration = Duration::from_millis(700);

async fn assert_paid_once(till: &Till, order: OrderId) -> String {
    assert_eq!(till.shop.status(order).await, OrderStatus::Paid);
    let intents = till.intents(order).await;
    assert_eq!(intents.len(), 1, "{intents:?}");
    assert_eq!(intents[0]["status"], "succeeded");
    assert_eq!((&intents[0]["amount"], &intents[0]["currency"]), (&2500.into(), &"eur".into()));
    intents[0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_good_card_is_charged_once_under_the_payments_key() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    for _ in 0..3 {
        ChargePayment { order }.run(&context(till.env())).await.expect("runs");
    }
    let intent = assert_paid_once(&till, order).await;
    let payment = PaymentId::of_order(order);
    let found = till.shop.payments.by_provider_reference("stripe", &intent).await.expect("reads");
    assert_eq!(found, Some(payment));
    let [create, confirm] = &till.front.seen()[..] else { panic!("{:?}", till.front.seen()) };
    assert_eq!(confirm.path, format!("/v1/payment_intents/{intent}/confirm"));
    for (call, key, pairs) in [
        (create, format!("{payment}:create:1"), &["amount=2500", "currency=eur"][..]),
        (confirm, format!("{payment}:confirm:1"), &["off_session=true"]),
    ] {
        assert_eq!(call.header("idempotency-key"), key);
        assert_eq!(call.header("stripe-version"), API_VERSION);
        assert_eq!(call.header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(call.header("content-type"), "application/x-www-form-urlencoded");
        for pair in pairs {
            assert!(call.body.split('&').any(|sent| sent == *pair), "{pair}: {}", call.body);
        }
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_in_the_same_run() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    till.front.then([Act::Pass, Act::Swallow]);
    ChargePayment { order }.run(&context(till.env_waiting(IMPATIENT))).await.expect("found");
    assert_paid_once(&till, order).await;
}

#[tokio::test]
async fn a_charge_that_cannot_be_looked_for_is_found_by_the_next_attempt() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    till.front.then([Act::Pass, Act::Swallow, Act::Answer(500, Vec::new(), String::new())]);
    let error =
        ChargePayment { order }.run(&context(till.env_waiting(IMPATIENT))).await.expect_err("unknown");
    assert_eq!(error.describe(), "provider_unknown: server_error");
    assert_eq!(till.shop.status(order).await, OrderStatus::Pending);
    ChargePayment { order }.run(&context(till.env())).await.expect("found");
    assert_paid_once(&till, order).await;
}

#[tokio::test]
async fn a_charge_whose_key_is_forgotten_is_looked_for_first() {
    let start = Ambient::system().now();
    let (ambient, clock) = Ambient::steered(9, start);
    let Some(till) = Till::open_with(ambient).await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    till.front.then([Act::Pass, Act::Swallow, Act::Answer(500, Vec::new(), String::new())]);
    ChargePayment { order }.run(&context(till.env_waiting(IMPATIENT))).await.expect_err("unknown");
    // The job is redriven on the next day.
    till.front.forget();
    clock.advance(Duration::from_hours(30));
    ChargePayment { order }.run(&context(till.env())).await.expect("found");
    assert_paid_once(&till, order).await;
    // A charge that never arrived is made on the next day all the same.
    let order = till.shop.place("pm_card_visa").await.id;
    till.front.then([Act::Answer(500, Vec::new(), String::new())]);
    ChargePayment { order }.run(&context(till.env())).await.expect_err("unknown");
    clock.advance(Duration::from_hours(30));
    ChargePayment { order }.run(&context(till.env())).await.expect("charged");
    assert_paid_once(&till, order).await;
}

#[tokio::test]
async fn declines_end_the_order_with_a_stable_code() {
    let Some(till) = Till::open().await else { return };
    let card = |number| {
        [
            ("type", "card"),
            ("card[number]", number),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2030"),
            ("card[cvc]", "123"),
        ]
    };
    let secure = till.ask("POST", "/v1/payment_methods", &card("4000002500003155")).await;
    for (method, code, intent_status) in [
        ("pm_card_chargeCustomerFail", "card_declined", Some("canceled")),
        ("pm_of_nobody", "invalid_payment_method", None),
        // Requires the card holder, who is not present: it must not become money later.
        (secure["id"].as_str().expect("an id"), "authentication_required", Some("canceled")),
    ] {
        let order = till.shop.place(method).await.id;
        for _ in 0..2 {
            ChargePayment { order }.run(&context(till.env())).await.expect("a decline is an outcome");
        }
        let stored = till.shop.orders.order_by_id(order).await.expect("reads").expect("an order");
        let reason = stored.status_reason.as_deref();
        assert_eq!((stored.status, reason), (OrderStatus::PaymentFailed, Some(code)), "{method}");
        let intents = till.intents(order).await;
        assert_eq!(intents.first().and_then(|intent| intent["status"].as_str()), intent_status, "{method}");
    }
}

/// The stand-in completes good debits at once, so this debit is one that bounces.
#[tokio::test]
async fn a_bank_debit_is_waited_for_without_using_attempts() {
    let Some(till) = Till::open().await else { return };
    let form = [("type", "sepa_debit"), ("sepa_debit[iban]", "DE62370400440532013001")];
    let debit = till.ask("POST", "/v1/payment_methods", &form).await;
    let order = till.shop.place(debit["id"].as_str().expect("an id")).await.id;
    let error = ChargePayment { order }.run(&context(till.env())).await.expect_err("not yet");
    assert!(matches!(error, JobError::Snooze(_)), "{error:?}");
    assert_eq!(till.shop.status(order).await, OrderStatus::Pending);
    let bounced = async || till.intents(order).await[0]["status"] == "requires_payment_method";
    until("the debit", bounced).await;
    // The key still returns the first answer, `processing`.
    ChargePayment { order }.run(&context(till.env())).await.expect("read again");
    assert_eq!(till.shop.status(order).await, OrderStatus::PaymentFailed);
}

#[tokio::test]
async fn a_cancelled_order_is_not_charged_by_looking_for_its_charge() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    // Not even the creation arrives.
    till.front.then([Act::Answer(500, Vec::new(), String::new())]);
    ChargePayment { order }.run(&context(till.env())).await.expect_err("unknown");
    let at = till.shop.ambient.now();
    till.shop.orders.cancel(till.shop.merchant, order, "changed_mind", at).await.expect("cancels");
    ChargePayment { order }.run(&context(till.env())).await.expect("closes the payment");
    assert!(till.intents(order).await.is_empty());
    let payment = till.shop.payments.payment(PaymentId::of_order(order)).await.expect("reads");
    let decision = payment.expect("a payment").decision;
    assert_eq!(decision, Some(Decision::Declined { code: "order_ended".to_owned() }));
}

#[tokio::test]
async fn parts_are_given_back_each_once_even_when_their_keys_are_forgotten() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    ChargePayment { order }.run(&context(till.env())).await.expect("charges");
    let intent = assert_paid_once(&till, order).await;
    till.shop.drain_outbox().await;
    for amount in [Some(1000), None] {
        let job = till.shop.refund_job(order, amount).await;
        for _ in 0..2 {
            job.run(&context(till.env())).await.expect("refunds");
        }
        // The call of a job that does not know of its success.
        till.front.forget();
        let request = RefundRequest {
            idempotency_key: job.refund.to_string(),
            charge: intent.clone(),
            amount_minor: job.amount_minor,
            currency: "EUR".parse().expect("a currency"),
            order,
        };
        let again = till.provider().refund(&request).await;
        assert!(matches!(again, Ok(RefundOutcome::Done { .. })), "{again:?}");
    }
    let mut amounts: Vec<_> =
        till.refunds(&intent).await.iter().map(|refund| refund["amount"].as_i64()).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [Some(1000), Some(1500)]);
    assert_eq!(till.shop.status(order).await, OrderStatus::Refunded);
}

#[tokio::test]
async fn a_refund_of_nothing_is_refused_for_good() {
    let Some(till) = Till::open().await else { return };
    let request = RefundRequest {
        idempotency_key: RefundId::fresh(&till.shop.ambient).to_string(),
        charge: "pi_nowhere".to_owned(),
        amount_minor: 100,
        currency: "EUR".parse().expect("a currency"),
        order: OrderId::fresh(&till.shop.ambient),
    };
    let refused = till.provider().refund(&request).await.expect("an outcome");
    assert_eq!(refused, RefundOutcome::Refused { code: "charge_not_found".to_owned() });
}
