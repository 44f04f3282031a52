//! Refunds made by hand at the provider, and disputes: recorded, and never refunded again.

use std::time::Duration;

use jobs::{Job, JobError};
use store::{
    domain::{EventKind, Order, OrderId, OrderStatus},
    outbox::Command,
};
use workers::jobs::{ApplyProviderReport, RefundPayment};

use super::states::Counter;
use crate::util::context;

impl Counter {
    /// A paid order; its charge is `pi_1`.
    async fn paid(&self) -> OrderId {
        let order = self.shop.place("pm_card_visa").await.id;
        self.charge(order).await.expect("charges");
        self.shop.drain_outbox().await;
        order
    }

    async fn report(&self, order: OrderId) -> Result<(), JobError> {
        let report = ApplyProviderReport { order, reference: "pi_1".to_owned() };
        report.run(&context(self.env(Duration::from_secs(5)))).await
    }

    async fn refund(&self, job: &RefundPayment) -> Result<(), JobError> {
        job.run(&context(self.env(Duration::from_secs(5)))).await
    }

    async fn stored(&self, order: OrderId) -> Order {
        self.shop.orders.order_by_id(order).await.expect("reads").expect("an order")
    }

    fn given_back(&self) -> i64 {
        self.stripe.refunded().iter().filter_map(|refund| refund["amount"].as_i64()).sum()
    }
}

#[tokio::test]
async fn a_refund_made_by_hand_is_recorded_by_its_report_and_never_made_again() {
    for skew in [600, -600] {
        let counter = Counter::open(skew).await;
        let order = counter.paid().await;
        assert!(counter.stripe.refund_by_hand("pi_1", 2500));
        for _ in 0..2 {
            counter.report(order).await.expect("records");
            counter.stripe.forget();
        }
        let stored = counter.stored(order).await;
        assert_eq!((stored.status, stored.refunded_minor), (OrderStatus::Refunded, 2500), "{skew}");
        assert!(counter.shop.commands().await.is_empty(), "{skew}");
        assert_eq!(counter.stripe.refunded().len(), 1, "{skew}");
    }
}

#[tokio::test]
async fn a_refund_made_by_hand_beside_one_of_ours_gives_back_no_more_than_was_captured() {
    let counter = Counter::open(0).await;
    let order = counter.paid().await;
    let ours = counter.shop.refund_job(order, None).await;
    assert!(counter.stripe.refund_by_hand("pi_1", 1000), "and no report is sent");
    for _ in 0..2 {
        counter.refund(&ours).await.expect_err("more than is left at Stripe");
    }
    assert_eq!(counter.stored(order).await.refunded_minor, 0);
    counter.report(order).await.expect("records");
    assert_eq!(counter.stored(order).await.refunded_minor, 1000);
    let rest = counter.shop.refund_job(order, None).await;
    assert_eq!(rest.amount_minor, 1500);
    counter.refund(&rest).await.expect("refunds");
    assert_eq!(counter.stored(order).await.status, OrderStatus::Refunded);
    assert_eq!(counter.given_back(), 2500);
}

#[tokio::test]
async fn of_a_late_capture_what_a_refund_made_by_hand_left_goes_back() {
    let counter = Counter::open(0).await;
    let order = counter.shop.place("pm_declined").await.id;
    counter.charge(order).await.expect("a decline is an outcome");
    counter.stripe.change("pi_1", "status", "succeeded".into());
    assert!(counter.stripe.refund_by_hand("pi_1", 1000));
    for _ in 0..2 {
        counter.report(order).await.expect("gives the rest back");
        counter.stripe.forget();
    }
    assert_eq!((counter.stripe.refunded().len(), counter.given_back()), (2, 2500));
}

#[tokio::test]
async fn cancelling_asks_back_what_a_refund_made_by_hand_left() {
    let counter = Counter::open(0).await;
    let order = counter.paid().await;
    assert!(counter.stripe.refund_by_hand("pi_1", 1000));
    counter.report(order).await.expect("records");
    let at = counter.shop.ambient.now();
    counter.shop.orders.cancel(counter.shop.merchant, order, "changed_mind", at).await.expect("cancels");
    let commands = counter.shop.commands().await;
    let [Command::Refund { order, refund, amount_minor }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(amount_minor, 1500);
    counter.refund(&RefundPayment { order, refund, amount_minor }).await.expect("refunds");
    let stored = counter.stored(order).await;
    assert_eq!((stored.status, stored.refunded_minor), (OrderStatus::Cancelled, 2500));
    assert_eq!(counter.given_back(), 2500);
}

#[tokio::test]
async fn nothing_of_a_disputed_charge_goes_back_before_the_dispute_is_won() {
    let counter = Counter::open(0).await;
    let order = counter.paid().await;
    counter.stripe.dispute("pi_1");
    assert!(!counter.stripe.refund_by_hand("pi_1", 2500), "nor by hand");
    let refused = counter.shop.refund_job(order, None).await;
    for _ in 0..2 {
        let error = counter.refund(&refused).await.expect_err("refused");
        assert!(matches!(error, JobError::Cancel(_)), "{error:?}");
    }
    assert_eq!(counter.shop.event_kinds(order).await.last(), Some(&EventKind::RefundFailed));
    counter.stripe.win_dispute("pi_1");
    let again = counter.shop.refund_job(order, None).await;
    counter.refund(&again).await.expect("refunds");
    assert_eq!(counter.stored(order).await.status, OrderStatus::Refunded);
    assert_eq!(counter.given_back(), 2500);
}
