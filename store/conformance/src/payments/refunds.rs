//! Cases of refunds: never more than the captured amount, one recorded result each.

use std::sync::Arc;

use store::{
    domain::{PaymentId, PaymentState, RefundId, RefundState},
    payments::{Decided, PaymentStore, RefundBegun},
};

use super::{PaymentsFixture, decline};
use crate::race;

pub async fn a_refund_needs_captured_money(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.opened(100).await;
    assert_eq!(begin(&world, payment.id, fresh(&world), 10).await, RefundBegun::NotCaptured);
    let epoch = world.begun(payment.id).await;
    assert_eq!(begin(&world, payment.id, fresh(&world), 10).await, RefundBegun::NotCaptured);
    assert_eq!(world.decide(payment.id, epoch, decline("card_declined")).await, Decided::Recorded);
    assert_eq!(begin(&world, payment.id, fresh(&world), 10).await, RefundBegun::NotCaptured);
    assert!(world.read(payment.id).await.refunds.is_empty());
}

pub async fn refunds_fill_what_was_captured(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let (one, two) = (fresh(&world), fresh(&world));
    assert_eq!(begin(&world, payment.id, one, 60).await, RefundBegun::Open);
    // Begun before, without a result.
    assert_eq!(begin(&world, payment.id, one, 60).await, RefundBegun::Open);
    let too_much = RefundBegun::TooMuch { refundable_minor: 40 };
    assert_eq!(begin(&world, payment.id, two, 41).await, too_much);
    assert_eq!(end(&world, payment.id, one, true).await, Some(RefundState::Done));
    assert_eq!(begin(&world, payment.id, two, i64::MAX).await, too_much);
    assert_eq!(begin(&world, payment.id, two, 40).await, RefundBegun::Open);
    let read = world.read(payment.id).await;
    assert_eq!((read.state(), read.refunded_minor()), (PaymentState::Captured, 60));
    let refunds: Vec<_> = read.refunds.iter().map(|r| (r.id, r.amount_minor, r.state)).collect();
    assert_eq!(refunds, [(one, 60, RefundState::Done), (two, 40, RefundState::Open)]);
    assert_eq!(end(&world, payment.id, two, true).await, Some(RefundState::Done));
    let read = world.read(payment.id).await;
    assert_eq!((read.state(), read.refunded_minor()), (PaymentState::Refunded, 100));
}

pub async fn a_failed_refund_frees_its_amount(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let (failed, next) = (fresh(&world), fresh(&world));
    assert_eq!(begin(&world, payment.id, failed, 100).await, RefundBegun::Open);
    assert_eq!(begin(&world, payment.id, next, 1).await, RefundBegun::TooMuch { refundable_minor: 0 });
    assert_eq!(end(&world, payment.id, failed, false).await, Some(RefundState::Failed));
    assert_eq!(begin(&world, payment.id, failed, 100).await, RefundBegun::Ended(RefundState::Failed));
    assert_eq!(begin(&world, payment.id, next, 100).await, RefundBegun::Open);
    let read = world.read(payment.id).await;
    assert_eq!((read.refunded_minor(), read.refunds.len()), (0, 2));
}

pub async fn an_end_is_recorded_once(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let (done, failed) = (fresh(&world), fresh(&world));
    assert_eq!(end(&world, payment.id, done, true).await, None, "it was never begun");
    for (refund, as_done, state) in [(done, true, RefundState::Done), (failed, false, RefundState::Failed)] {
        assert_eq!(begin(&world, payment.id, refund, 30).await, RefundBegun::Open);
        assert_eq!(end(&world, payment.id, refund, as_done).await, Some(state));
        assert_eq!(end(&world, payment.id, refund, !as_done).await, Some(state));
        assert_eq!(begin(&world, payment.id, refund, 30).await, RefundBegun::Ended(state));
    }
    assert_eq!(world.read(payment.id).await.refunded_minor(), 30);
}

pub async fn amounts_without_value_are_refused(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    for amount in [0, -1, i64::MIN] {
        let answer = begin(&world, payment.id, fresh(&world), amount).await;
        assert_eq!(answer, RefundBegun::TooMuch { refundable_minor: 100 }, "amount {amount}");
    }
    assert!(world.read(payment.id).await.refunds.is_empty());
}

pub async fn concurrent_refunds_never_exceed_the_capture(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let answers = race(50, |_| {
        let world = world.clone();
        async move { begin(&world, payment.id, fresh(&world), 9).await }
    })
    .await;
    let opened = answers.iter().filter(|answer| **answer == RefundBegun::Open).count();
    assert_eq!(opened, 11, "as many as fit");
    for answer in answers {
        match answer {
            RefundBegun::Open => {}
            // Each rejected call saw eleven open refunds, so one unit was left.
            RefundBegun::TooMuch { refundable_minor } => assert_eq!(refundable_minor, 1),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(world.read(payment.id).await.refunds.iter().map(|r| r.amount_minor).sum::<i64>(), 99);
}

pub async fn the_same_refund_at_once_is_one(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let refund = fresh(&world);
    let answers = race(30, |_| {
        let world = world.clone();
        async move { begin(&world, payment.id, refund, 80).await }
    })
    .await;
    assert!(answers.iter().all(|answer| *answer == RefundBegun::Open), "{answers:?}");
    assert_eq!(world.read(payment.id).await.refunds.len(), 1);
}

pub async fn racing_ends_agree(store: Arc<dyn PaymentStore>) {
    let world = PaymentsFixture::new(store);
    let payment = world.captured(100).await;
    let refund = fresh(&world);
    assert_eq!(begin(&world, payment.id, refund, 80).await, RefundBegun::Open);
    let answers = race(40, |i| {
        let world = world.clone();
        async move { end(&world, payment.id, refund, i % 2 == 0).await }
    })
    .await;
    let recorded = world.read(payment.id).await.refunds[0].state;
    assert_ne!(recorded, RefundState::Open);
    assert!(answers.iter().all(|answer| *answer == Some(recorded)), "{answers:?}");
}

pub(super) fn fresh(world: &PaymentsFixture) -> RefundId {
    world.time.tick();
    RefundId::fresh(&world.time.ambient)
}

pub(super) async fn begin(
    world: &PaymentsFixture,
    id: PaymentId,
    refund: RefundId,
    amount_minor: i64,
) -> RefundBegun {
    world.store.begin_refund(id, refund, amount_minor, world.time.tick()).await.expect("answers")
}

pub(super) async fn end(
    world: &PaymentsFixture,
    id: PaymentId,
    refund: RefundId,
    done: bool,
) -> Option<RefundState> {
    let reference = format!("re_{refund}");
    world.store.end_refund(id, refund, done, &reference, world.time.tick()).await.expect("answers")
}
