//! Reports: the effect of a message from the provider about a charge.

use std::time::Duration;

use jobs::{Job, JobError};
use store::domain::{EventKind, OrderId, OrderStatus};
use workers::jobs::{ApplyProviderReport, ChargePayment};

use super::Till;
use crate::util::{Act, context};

impl Till {
    async fn report(&self, order: OrderId, reference: &str) -> Result<(), JobError> {
        let job = ApplyProviderReport { order, reference: reference.to_owned() };
        job.run(&context(self.env())).await
    }

    /// An order that is charged at the provider without a record here.
    async fn charged_unawares(&self, method: &str) -> (OrderId, String) {
        let order = self.shop.place(method).await.id;
        self.front.then([Act::Pass, Act::Swallow, Act::Answer(500, Vec::new(), String::new())]);
        let env = self.env_waiting(Duration::from_millis(700));
        ChargePayment { order }.run(&context(env)).await.expect_err("unknown");
        assert_eq!(self.shop.status(order).await, OrderStatus::Pending);
        let intent = self.intents(order).await[0]["id"].as_str().expect("an id").to_owned();
        (order, intent)
    }
}

#[tokio::test]
async fn a_charge_that_was_unknown_here_is_recorded_once() {
    let Some(till) = Till::open().await else { return };
    let (order, intent) = till.charged_unawares("pm_card_visa").await;
    for _ in 0..2 {
        till.report(order, &intent).await.expect("applies");
    }
    assert_eq!(till.shop.status(order).await, OrderStatus::Paid);
    // The job that charges comes too late for any effect, and makes no call.
    let calls = till.front.seen().len();
    ChargePayment { order }.run(&context(till.env())).await.expect("nothing to do");
    assert_eq!(till.front.seen().len(), calls);
    let paid = [EventKind::OrderPlaced, EventKind::PaymentCaptured, EventKind::OrderPaid];
    assert_eq!(till.shop.event_kinds(order).await, paid);
}

#[tokio::test]
async fn a_decline_that_was_unknown_here_ends_the_order() {
    let Some(till) = Till::open().await else { return };
    let (order, intent) = till.charged_unawares("pm_card_chargeCustomerFail").await;
    till.report(order, &intent).await.expect("applies");
    let stored = till.shop.orders.order_by_id(order).await.expect("reads").expect("an order");
    assert_eq!(
        (stored.status, stored.status_reason.as_deref()),
        (OrderStatus::PaymentFailed, Some("card_declined"))
    );
}

#[tokio::test]
async fn a_charge_for_an_order_cancelled_meanwhile_goes_back() {
    let Some(till) = Till::open().await else { return };
    let (order, intent) = till.charged_unawares("pm_card_visa").await;
    let at = till.shop.ambient.now();
    till.shop.orders.cancel(till.shop.merchant, order, "changed_mind", at).await.expect("cancels");
    till.shop.drain_outbox().await;
    till.report(order, &intent).await.expect("applies");
    let commands = till.shop.commands().await;
    assert!(
        matches!(commands[..], [store::outbox::Command::Refund { amount_minor: 2500, .. }]),
        "{commands:?}"
    );
}

#[tokio::test]
async fn a_refund_made_by_hand_at_the_provider_reaches_the_order() {
    let Some(till) = Till::open().await else { return };
    let order = till.shop.place("pm_card_visa").await.id;
    ChargePayment { order }.run(&context(till.env())).await.expect("charges");
    let intent = till.intents(order).await[0]["id"].as_str().expect("an id").to_owned();
    for (amount, refunded) in [("500", 500), ("2000", 2500)] {
        till.ask("POST", "/v1/refunds", &[("payment_intent", &intent), ("amount", amount)]).await;
        for _ in 0..2 {
            till.report(order, &intent).await.expect("applies");
        }
        let stored = till.shop.orders.order_by_id(order).await.expect("reads").expect("an order");
        assert_eq!(stored.refunded_minor, refunded);
    }
    assert_eq!(till.shop.status(order).await, OrderStatus::Refunded);
    // More than the captured sum: Stripe refuses that, the stand-in does not. Nothing of it is recorded.
    till.ask("POST", "/v1/refunds", &[("payment_intent", &intent), ("amount", "1")]).await;
    till.report(order, &intent).await.expect("an alarm, and no end of retries");
    let stored = till.shop.orders.order_by_id(order).await.expect("reads").expect("an order");
    assert_eq!(stored.refunded_minor, 2500);
}

#[tokio::test]
async fn a_report_about_another_order_or_no_charge_changes_nothing() {
    let Some(till) = Till::open().await else { return };
    let (order, intent) = till.charged_unawares("pm_card_visa").await;
    let (other, _) = till.charged_unawares("pm_card_visa").await;
    for (about, reference, why) in [
        (other, intent.as_str(), "another_charge"),
        (order, "pi_nowhere", "charge_not_found"),
        (order, "../customers", "charge_not_found"),
    ] {
        let error = till.report(about, reference).await.expect_err("nothing to apply");
        assert!(matches!(error, JobError::Cancel(_)), "{error:?}");
        assert_eq!(error.describe(), why);
    }
    let unknown = till.report(OrderId::fresh(&till.shop.ambient), &intent).await.expect_err("no payment");
    assert!(matches!(unknown, JobError::RetryAfter(..)), "{unknown:?}");
    for order in [order, other] {
        assert_eq!(till.shop.status(order).await, OrderStatus::Pending);
    }
}
