//! Charges whose attempt, provider or account is not the one that may go on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::time::later;
use jobs::{Job, JobError};
use store::{
    PaymentStore,
    domain::{Decision, Order, OrderId, OrderStatus, PaymentId},
    payments::{Begun, ChargeRecorded, Decided, NewPayment},
};
use workers::{
    jobs::{ApplyProviderReport, ChargePayment},
    open_payments::{OpenElsewhere, open_elsewhere},
    provider::{
        CaptureRequest, ChargeOutcome, ChargeQuery, Created, PaymentProvider, ProviderError, RefundOutcome,
        RefundRequest,
    },
};

use super::{client_of, states::Counter};
use crate::util::{CrashAt, CrashingPayments, CrashingProvider, Step, StripeServer, context};

impl Counter {
    /// A payment opened at the sandbox and never decided.
    async fn opened_elsewhere(&self, order: &Order) -> PaymentId {
        let payment = NewPayment {
            id: PaymentId::of_order(order.id),
            order: order.id,
            merchant: order.merchant,
            amount_minor: order.total_minor,
            currency: order.currency,
            method: order.payment_method.clone(),
            provider: "sandbox".to_owned(),
            at: self.shop.ambient.now(),
        };
        self.shop.payments.open_payment(payment).await.expect("opens").id
    }

    /// A charge whose run crashes after this step.
    async fn crashed_after(&self, step: Step, order: OrderId) {
        let crash = CrashAt::new(step);
        let payments = CrashingPayments { inner: Arc::clone(&self.shop.payments), crash: crash.clone() };
        let provider = client_of(&self.stripe.url, Duration::from_secs(5), self.shop.ambient.clone());
        let provider = CrashingProvider { inner: Arc::new(provider), crash: crash.clone() };
        let env = self.shop.env_with(Arc::new(payments), Arc::new(provider));
        crash.run(&ChargePayment { order }, &context(env)).await;
    }
}

#[tokio::test]
async fn a_run_that_had_not_seen_the_cancellation_charges_nothing_and_no_clock_is_asked() {
    let counter = Counter::open(600).await;
    for step in [Step::Open, Step::Begin, Step::Create] {
        let order = counter.shop.place("pm_card_visa").await.id;
        counter.crashed_after(step, order).await;
        counter.cancel(order).await;
        counter.charge(order).await.expect("ends the payment at once");
        // What the paused run would do next.
        let (id, at) = (PaymentId::of_order(order), counter.shop.ambient.now());
        let begun = counter.shop.payments.begin_attempt(id, "paused", at).await.expect("answers");
        assert!(matches!(begun, Begun::Decided(Decision::Declined { .. })), "{step:?} {begun:?}");
        let recorded = counter.shop.payments.record_charge(id, 1, "pi_9", at).await.expect("answers");
        assert!(matches!(recorded, ChargeRecorded::Decided(_)), "{step:?} {recorded:?}");
    }
    assert_eq!(counter.captured(), 0);
}

#[tokio::test]
async fn a_charge_recorded_while_its_cancelled_order_is_closed_is_looked_up() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await.id;
    counter.crashed_after(Step::Create, order).await;
    counter.cancel(order).await;
    let pause = CrashAt::new(Step::Open);
    let payments = CrashingPayments { inner: Arc::clone(&counter.shop.payments), crash: pause.clone() };
    let provider = client_of(&counter.stripe.url, Duration::from_secs(5), counter.shop.ambient.clone());
    let env = counter.shop.env_with(Arc::new(payments), Arc::new(provider));
    // What the run that had not seen the cancellation does next.
    let goes_on = async {
        let (id, at) = (PaymentId::of_order(order), counter.shop.ambient.now());
        let recorded = counter.shop.payments.record_charge(id, 1, "pi_1", at).await.expect("records");
        assert_eq!(recorded, ChargeRecorded::Charge("pi_1".to_owned()));
        counter.stripe.change("pi_1", "status", "succeeded".into());
    };
    let closed = pause.interrupt(&ChargePayment { order }, &context(env), goes_on).await;
    closed.expect("finds the charge");
    counter.refund_asked_for().await;
    assert_eq!(counter.stripe.refunded().len(), 1);
}

#[tokio::test]
async fn a_charge_that_was_not_recorded_decides_nothing_when_it_is_cancelled() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await.id;
    counter.crashed_after(Step::Create, order).await;
    counter.crashed_after(Step::RecordCharge, order).await;
    counter.stripe.change("pi_1", "status", "canceled".into());
    let report = ApplyProviderReport { order, reference: "pi_1".to_owned() };
    report.run(&context(counter.env(Duration::from_secs(5)))).await.expect("changes nothing");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Pending);
    counter.charge(order).await.expect("charges the recorded one");
    assert_eq!((counter.shop.status(order).await, counter.captured()), (OrderStatus::Paid, 1));
}

#[tokio::test]
async fn a_payment_at_another_provider_waits_and_nothing_is_called() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await;
    let id = counter.opened_elsewhere(&order).await;
    let waits = counter.charge(order.id).await.expect_err("not here");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    counter.shop.payments.begin_attempt(id, "w", counter.shop.ambient.now()).await.expect("begins");
    counter.cancel(order.id).await;
    let waits = counter.charge(order.id).await.expect_err("nor is its charge looked for here");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    let report = ApplyProviderReport { order: order.id, reference: "pi_1".to_owned() };
    let waits = report.run(&context(counter.env(Duration::from_secs(5)))).await.expect_err("nor here");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    assert!(counter.stripe.calls().is_empty());
}

#[tokio::test]
async fn open_payments_of_pending_orders_at_another_provider_are_counted() {
    let counter = Counter::open(0).await;
    let (shop, at) = (&counter.shop, later(counter.shop.ambient.now(), Duration::from_mins(1)));
    let counted = async |provider: &str| {
        let found = open_elsewhere(shop.orders.as_ref(), shop.payments.as_ref(), provider, at).await;
        found.expect("reads").map(|OpenElsewhere { payments, provider }| (payments, provider))
    };
    let orders = [shop.place("pm_card_visa").await, shop.place("pm_card_visa").await];
    assert_eq!(counted("stripe").await, None, "no payment is opened");
    let decided = counter.opened_elsewhere(&orders[0]).await;
    counter.opened_elsewhere(&orders[1]).await;
    assert_eq!(counted("stripe").await, Some((2, "sandbox".to_owned())));
    assert_eq!(counted("sandbox").await, None);
    let begun = shop.payments.begin_attempt(decided, "w", at).await.expect("begins");
    assert_eq!(begun, Begun::Attempt { epoch: 1 });
    let decision = Decision::Declined { code: "card_declined".to_owned() };
    let recorded = shop.payments.record_decision(decided, 1, decision, at).await.expect("decides");
    assert_eq!(recorded, Decided::Recorded);
    assert_eq!(counted("stripe").await, Some((1, "sandbox".to_owned())));
    counter.cancel(orders[1].id).await;
    assert_eq!(counted("stripe").await, None, "an order that has ended prevents no start");
}

#[tokio::test]
async fn an_account_that_does_not_know_the_recorded_charge_is_an_outage() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_lost_500").await.id;
    counter.charge(order).await.expect_err("unknown");
    let other = StripeServer::start(counter.shop.ambient.clone(), 0).await;
    let provider = client_of(&other.url, Duration::from_secs(5), counter.shop.ambient.clone());
    let env = counter.shop.env_with(Arc::clone(&counter.shop.payments), Arc::new(provider));
    let waits = ChargePayment { order }.run(&context(env)).await.expect_err("the wrong account");
    assert!(matches!(waits, JobError::Snooze(_)), "{waits:?}");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Pending);
    counter.charge(order).await.expect("the right one");
    assert_eq!(counter.captured(), 1);
}

#[tokio::test]
async fn a_refund_at_an_account_that_does_not_know_its_charge_is_no_refusal() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await.id;
    counter.charge(order).await.expect("charges");
    counter.shop.drain_outbox().await;
    let refund = counter.shop.refund_job(order, None).await;
    let other = StripeServer::start(counter.shop.ambient.clone(), 0).await;
    let provider = client_of(&other.url, Duration::from_secs(5), counter.shop.ambient.clone());
    let env = counter.shop.env_with(Arc::clone(&counter.shop.payments), Arc::new(provider));
    let error = refund.run(&context(env)).await.expect_err("the wrong account");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    refund.run(&context(counter.env(Duration::from_secs(5)))).await.expect("the right one");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Refunded);
    assert_eq!(counter.stripe.refunded().len(), 1);
}

/// Answers a creation after another charge, `pi_1`, was recorded.
struct Late {
    payments: Arc<dyn PaymentStore>,
    created: Created,
}

#[async_trait]
impl PaymentProvider for Late {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn creates_first(&self) -> bool {
        true
    }

    async fn create(&self, request: &CaptureRequest) -> Result<Created, ProviderError> {
        let at = base::Timestamp::UNIX_EPOCH;
        let recorded = self.payments.record_charge(request.payment, request.attempt, "pi_1", at).await;
        assert_eq!(recorded.expect("records"), ChargeRecorded::Charge("pi_1".to_owned()));
        Ok(self.created.clone())
    }

    async fn capture(&self, _request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        panic!("captures nothing")
    }

    async fn find(&self, _charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        Ok(Some(ChargeOutcome::Captured { provider_reference: "pi_1".to_owned() }))
    }

    async fn refund(&self, _request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        panic!("refunds nothing")
    }
}

async fn only_the_recorded_charge_counts(created: Created) {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_card_visa").await.id;
    let late = Late { payments: Arc::clone(&counter.shop.payments), created };
    let env = counter.shop.env_with(Arc::clone(&counter.shop.payments), Arc::new(late));
    let error = ChargePayment { order }.run(&context(env.clone())).await.expect_err("looks again");
    assert_eq!(error.describe(), "another_charge_is_recorded");
    ChargePayment { order }.run(&context(env)).await.expect("found");
    assert_eq!(counter.shop.status(order).await, OrderStatus::Paid);
}

#[tokio::test]
async fn a_rejected_creation_declines_no_payment_that_has_a_charge() {
    only_the_recorded_charge_counts(Created::Declined { code: "invalid_payment_method".to_owned() }).await;
}

#[tokio::test]
async fn a_charge_created_beside_the_recorded_one_is_not_captured() {
    only_the_recorded_charge_counts(Created::Charge("pi_2".to_owned())).await;
}
