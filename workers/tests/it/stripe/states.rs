//! Charges at a stand-in with Stripe's states and a clock of its own: no outcome is concluded from an intent that is
//! not final, no charge is looked for by a clock, and late money goes back.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use jobs::{Job, JobError};
use serde_json::json;
use store::{
    domain::{Decision, Order, OrderId, OrderStatus, PaymentId},
    outbox::Command,
    payments::{Begun, Decided, NewPayment},
};
use workers::{
    Env,
    jobs::{ApplyProviderReport, ChargePayment, RefundPayment},
};

use super::client_of;
use crate::util::{
    CrashAt, CrashingPayments, CrashingProvider, Step, StripeServer, TestMerchant, context, soon,
};

/// Ten minutes ahead, behind, and none.
const SKEWS: [i64; 3] = [600, -600, 0];
/// Shorter than a held answer.
const IMPATIENT: Duration = Duration::from_millis(300);

pub(super) struct Counter {
    pub(super) shop: TestMerchant,
    pub(super) stripe: StripeServer,
}

impl Counter {
    pub(super) async fn open(skew_seconds: i64) -> Self {
        Self::open_with(Ambient::system(), skew_seconds).await
    }

    async fn open_with(ambient: Ambient, skew_seconds: i64) -> Self {
        let stripe = StripeServer::start(ambient.clone(), skew_seconds).await;
        Self { shop: TestMerchant::open_with(ambient).await, stripe }
    }

    pub(super) fn env(&self, timeout: Duration) -> Env {
        let provider = client_of(&self.stripe.url, timeout, self.shop.ambient.clone());
        self.shop.env_with(Arc::clone(&self.shop.payments), Arc::new(provider))
    }

    pub(super) async fn charge(&self, order: OrderId) -> Result<(), JobError> {
        ChargePayment { order }.run(&context(self.env(Duration::from_secs(5)))).await
    }

    /// A charge that gives up before the bank answers.
    async fn charge_impatiently(&self, order: OrderId) -> JobError {
        ChargePayment { order }.run(&context(self.env(IMPATIENT))).await.expect_err("no outcome")
    }

    pub(super) async fn cancel(&self, order: OrderId) {
        let at = self.shop.ambient.now();
        self.shop.orders.cancel(self.shop.merchant, order, "changed_mind", at).await.expect("cancels");
        self.shop.drain_outbox().await;
    }

    /// Lets the bank conclude a charge that is held.
    async fn release_capture(&self) {
        self.stripe.release();
        soon("the capture", async {
            while self.captured() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Makes the one refund that was asked for.
    pub(super) async fn refund_asked_for(&self) {
        let commands = self.shop.commands().await;
        let [Command::Refund { order, refund, amount_minor }] = commands[..] else { panic!("{commands:?}") };
        let refund = RefundPayment { order, refund, amount_minor };
        refund.run(&context(self.env(Duration::from_secs(5)))).await.expect("refunds");
    }

    pub(super) fn captured(&self) -> usize {
        self.stripe.intents().iter().filter(|intent| intent["status"] == "succeeded").count()
    }
}

#[tokio::test]
async fn a_charge_is_recorded_before_it_is_confirmed_and_only_that_one() {
    let counter = Counter::open(0).await;
    for step in [Step::Create, Step::RecordCharge, Step::Capture] {
        let order = counter.shop.place("pm_card_visa").await.id;
        let crash = CrashAt::new(step);
        let payments = CrashingPayments { inner: Arc::clone(&counter.shop.payments), crash: crash.clone() };
        let provider = client_of(&counter.stripe.url, Duration::from_secs(5), counter.shop.ambient.clone());
        let provider = CrashingProvider { inner: Arc::new(provider), crash: crash.clone() };
        let env = counter.shop.env_with(Arc::new(payments), Arc::new(provider));
        let before = counter.captured();
        crash.run(&ChargePayment { order }, &context(env)).await;
        assert_eq!(counter.captured() - before, usize::from(step == Step::Capture), "{step:?}");
        counter.stripe.forget();
        counter.charge(order).await.expect("the next delivery ends it");
        assert_eq!(counter.captured() - before, 1, "{step:?}");
        let payment = counter.shop.payments.payment(PaymentId::of_order(order)).await.expect("reads");
        let payment = payment.expect("a payment");
        let Some(Decision::Captured { provider_reference }) = payment.decision else { panic!("{payment:?}") };
        assert_eq!(payment.charge, Some(provider_reference));
        assert_eq!(counter.shop.status(order).await, OrderStatus::Paid);
    }
}

#[tokio::test]
async fn a_charge_without_an_answer_is_found_whatever_the_clocks_say() {
    for skew in SKEWS {
        let counter = Counter::open(skew).await;
        let order = counter.shop.place("pm_charged_500").await.id;
        counter.charge(order).await.expect("found in the same run");
        assert_eq!(counter.shop.status(order).await, OrderStatus::Paid, "{skew}");
        assert_eq!((counter.captured(), counter.stripe.intents().len()), (1, 1), "{skew}");
    }
}

#[tokio::test]
async fn a_charge_found_on_the_next_day_is_not_made_again() {
    for skew in SKEWS {
        let (ambient, clock) = Ambient::steered(21, Ambient::system().now());
        let counter = Counter::open_with(ambient, skew).await;
        let order = counter.shop.place("pm_held").await.id;
        counter.charge_impatiently(order).await;
        counter.release_capture().await;
        counter.stripe.forget();
        clock.advance(Duration::from_hours(30));
        counter.charge(order).await.expect("found");
        assert_eq!((counter.captured(), counter.stripe.intents().len()), (1, 1), "{skew}");
        assert_eq!(counter.shop.status(order).await, OrderStatus::Paid, "{skew}");
    }
}

#[tokio::test]
async fn money_captured_for_an_order_cancelled_meanwhile_goes_back_whatever_the_clocks_say() {
    for skew in SKEWS {
        let counter = Counter::open(skew).await;
        let order = counter.shop.place("pm_held").await.id;
        counter.charge_impatiently(order).await;
        counter.cancel(order).await;
        let waits = counter.charge(order).await.expect_err("the bank is still asked");
        assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
        counter.release_capture().await;
        counter.charge(order).await.expect("finds the charge");
        counter.refund_asked_for().await;
        assert_eq!(counter.stripe.refunded().len(), 1, "{skew}");
        assert_eq!(counter.stripe.refunded()[0]["amount"], 2500);
    }
}

#[tokio::test]
async fn a_charge_of_a_cancelled_order_is_not_given_up_while_another_provider_is_set() {
    let (ambient, clock) = Ambient::steered(22, Ambient::system().now());
    let counter = Counter::open_with(ambient, 0).await;
    let order = counter.shop.place("pm_held").await.id;
    counter.charge_impatiently(order).await;
    counter.release_capture().await;
    counter.cancel(order).await;
    clock.advance(Duration::from_hours(1));
    let waits = counter.shop.run(&ChargePayment { order }).await.expect_err("the sandbox does not have it");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    counter.charge(order).await.expect("finds the charge");
    counter.refund_asked_for().await;
    assert_eq!(counter.stripe.refunded().len(), 1);
}

#[tokio::test]
async fn a_refund_of_a_charge_at_another_provider_waits_and_nothing_is_called() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await.id;
    counter.shop.run(&ChargePayment { order }).await.expect("charges at the sandbox");
    counter.shop.drain_outbox().await;
    let refund = counter.shop.refund_job(order, None).await;
    let waits = refund.run(&context(counter.env(Duration::from_secs(5)))).await.expect_err("not here");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    assert!(counter.stripe.calls().is_empty());
    counter.shop.run(&refund).await.expect("refunds at the sandbox");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Refunded);
}

#[tokio::test]
async fn an_unconfirmed_charge_of_a_cancelled_order_is_ended_at_the_provider() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_lost_500").await.id;
    counter.charge(order).await.expect_err("unknown");
    counter.cancel(order).await;
    counter.charge(order).await.expect("ended");
    assert_eq!(counter.stripe.intents()[0]["status"], "canceled");
    let payment = counter.shop.payments.payment(PaymentId::of_order(order)).await.expect("reads");
    let decision = payment.expect("a payment").decision;
    assert!(matches!(decision, Some(Decision::Declined { .. })), "{decision:?}");
    assert!(counter.shop.commands().await.is_empty(), "nothing to give back");
}

#[tokio::test]
async fn an_intent_whose_bank_is_still_asked_is_no_decline() {
    for shown in ["requires_confirmation", "requires_payment_method"] {
        let counter = Counter::open(0).await;
        counter.stripe.show(shown);
        let order = counter.shop.place("pm_held").await.id;
        counter.charge_impatiently(order).await;
        counter.charge(order).await.expect_err("still asked");
        assert_eq!(counter.shop.status(order).await, OrderStatus::Pending, "{shown}");
        assert!(counter.stripe.calls().iter().all(|call| !call.starts_with("cancel")), "{shown}");
        counter.release_capture().await;
        counter.charge(order).await.expect("captured");
        assert_eq!(counter.shop.status(order).await, OrderStatus::Paid, "{shown}");
    }
}

#[tokio::test]
async fn a_declined_intent_is_cancelled_before_the_order_ends() {
    for (method, code) in [("pm_declined", "insufficient_funds"), ("pm_action", "authentication_required")] {
        let counter = Counter::open(0).await;
        let order = counter.shop.place(method).await.id;
        counter.charge(order).await.expect("a decline is an outcome");
        let stored = counter.shop.orders.order_by_id(order).await.expect("reads").expect("an order");
        let ended = (stored.status, stored.status_reason.as_deref());
        assert_eq!(ended, (OrderStatus::PaymentFailed, Some(code)), "{method}");
        assert_eq!(counter.stripe.intents()[0]["status"], "canceled", "it must not become money later");
    }
}

#[tokio::test]
async fn an_error_that_stripe_keeps_under_its_key_ends_with_the_attempt() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_lost_500").await.id;
    counter.charge(order).await.expect_err("unknown");
    counter.charge(order).await.expect("another key");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Paid);
    assert_eq!((counter.captured(), counter.stripe.intents().len()), (1, 1));
}

#[tokio::test]
async fn a_bank_debit_is_waited_for_and_then_concluded() {
    let counter = Counter::open(0).await;
    for (end, status) in [("succeeded", OrderStatus::Paid), ("canceled", OrderStatus::PaymentFailed)] {
        let order = counter.shop.place("pm_debit").await.id;
        for _ in 0..2 {
            let waits = counter.charge(order).await.expect_err("on its way");
            assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
        }
        let at = counter.shop.ambient.now();
        let expired = counter.shop.orders.expire_order(order, None, at).await;
        assert!(!expired.expect("answers"), "the shop's own clock does not end it");
        let intents = counter.stripe.intents();
        let id = intents.last().and_then(|intent| intent["id"].as_str()).expect("an intent");
        counter.stripe.change(id, "status", end.into());
        counter.charge(order).await.expect("concluded");
        assert_eq!(counter.shop.status(order).await, status);
    }
}

#[tokio::test]
async fn money_that_arrives_after_a_decline_goes_back_once() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_declined").await.id;
    counter.charge(order).await.expect("declined");
    counter.stripe.change("pi_1", "status", "succeeded".into());
    for _ in 0..2 {
        let report = ApplyProviderReport { order, reference: "pi_1".to_owned() };
        report.run(&context(counter.env(Duration::from_secs(5)))).await.expect("gives it back");
        counter.stripe.forget();
    }
    let refunds: Vec<_> = counter.stripe.refunded().iter().map(|refund| refund["amount"].clone()).collect();
    assert_eq!(refunds, [json!(2500)]);
    assert_eq!(counter.shop.status(order).await, OrderStatus::PaymentFailed);
}

#[tokio::test]
async fn a_capture_of_an_order_that_failed_otherwise_goes_back() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await;
    let (id, at) = (counter.opened_at_stripe(&order).await, counter.shop.ambient.now());
    let failed = counter.shop.orders.mark_payment_failed(order.id, id, "card_declined", at).await;
    failed.expect("fails");
    counter.shop.drain_outbox().await;
    for _ in 0..2 {
        counter.charge(order.id).await.expect("applies the capture");
    }
    counter.refund_asked_for().await;
    let stored = counter.shop.orders.order_by_id(order.id).await.expect("reads").expect("an order");
    assert_eq!((stored.status, stored.refunded_minor), (OrderStatus::PaymentFailed, 2500));
}

impl Counter {
    /// A payment captured at Stripe, of which the order does not know.
    async fn opened_at_stripe(&self, order: &Order) -> PaymentId {
        let intent = self.stripe.charge_by_hand(&json!({ "order_id": order.id.to_string() }), 2500);
        let (id, at) = (PaymentId::of_order(order.id), self.shop.ambient.now());
        let payment = NewPayment {
            id,
            order: order.id,
            merchant: order.merchant,
            amount_minor: order.total_minor,
            currency: order.currency,
            method: order.payment_method.clone(),
            provider: "stripe".to_owned(),
            at,
        };
        let payments = &self.shop.payments;
        payments.open_payment(payment).await.expect("opens");
        assert_eq!(payments.begin_attempt(id, "w", at).await.expect("begins"), Begun::Attempt { epoch: 1 });
        let captured = Decision::Captured { provider_reference: intent };
        assert_eq!(payments.record_decision(id, 1, captured, at).await.expect("decides"), Decided::Recorded);
        id
    }
}
