//! Cases of refunds that the provider refused, and of shipments that wait for refunds.

use std::sync::Arc;

use store::{
    OrderStore,
    domain::{EventKind, OrderId, OrderStatus, PaymentId, RefundId},
    orders::{DisputeFacts, RefundRequested, Transition},
};

use super::{OrdersFixture, fixture::outcome, refunds::request};
use crate::race;

/// An order of one mug at 250, in this status, with an empty outbox.
async fn order(store: Arc<dyn OrderStore>, status: OrderStatus) -> (OrdersFixture, OrderId) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(status).await.id;
    world.drain().await;
    (world, id)
}

async fn requested(world: &OrdersFixture, id: OrderId, amount_minor: Option<i64>) -> RefundId {
    let refund = world.refund_id();
    let answer = request(world, id, refund, amount_minor).await;
    assert!(matches!(answer, RefundRequested::Accepted(..)), "{answer:?}");
    refund
}

async fn amounts(world: &OrdersFixture, id: OrderId) -> Vec<i64> {
    world.drained_refunds(id).await.iter().map(|(_, amount)| *amount).collect()
}

pub async fn a_failed_refund_is_told_and_may_be_asked_for_again(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Fulfilled).await;
    let failed = requested(&world, id, None).await;
    let before = world.read(id).await;
    let answers = race(8, |_| {
        let world = world.clone();
        async move { world.refund_fails(id, failed, 250).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Now(_))).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Already(_))).count(), 7);
    assert_eq!(world.kinds(id).await.last(), Some(&EventKind::RefundFailed));
    let events = world.events(id).await;
    let data = &events.last().expect("an event").data;
    assert_eq!(data["refund_id"], failed.to_string());
    assert_eq!((&data["refund_amount_minor"], &data["refunded_minor"]), (&250.into(), &0.into()));
    assert_eq!((&data["code"], &data["status"]), (&"charge_disputed".into(), &"captured".into()));
    let after = world.read(id).await;
    assert_eq!((after.status, after.refunded_minor), (before.status, 0));

    let again = request(&world, id, failed, None).await;
    assert_eq!(again, RefundRequested::Failed { code: "charge_disputed".to_owned() });
    let next = requested(&world, id, None).await;
    assert_eq!(world.drained_refunds(id).await, [(failed, 250), (next, 250)]);
    assert!(matches!(world.refund(id, next, Some(250)).await, Transition::Now(_)));
    assert_eq!(world.read(id).await.status, OrderStatus::Refunded);

    let money = world.store.order_money(id).await.expect("reads").expect("is there");
    let mut ends: Vec<_> =
        money.refunds.iter().map(|r| (r.id, r.recorded_at.is_some(), r.failed_at.is_some())).collect();
    ends.sort_by_key(|(id, ..)| *id != failed);
    assert_eq!(ends, [(failed, false, true), (next, true, false)]);
}

pub async fn cancelling_asks_back_what_a_failed_refund_left(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Paid).await;
    let failed = requested(&world, id, Some(100)).await;
    requested(&world, id, Some(30)).await;
    assert!(matches!(world.refund_fails(id, failed, 100).await, Transition::Now(_)));
    world.drain().await;
    assert!(matches!(world.cancel(id).await, Transition::Now(_)));
    assert_eq!(amounts(&world, id).await, [220], "all but what is open");
}

pub async fn a_refund_that_fails_after_the_cancellation_is_asked_for_again_once(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Paid).await;
    let open = requested(&world, id, Some(100)).await;
    world.cancel(id).await;
    assert_eq!(amounts(&world, id).await, [100, 150]);
    assert!(matches!(world.refund_fails(id, open, 100).await, Transition::Now(_)));
    let again = world.drained_refunds(id).await;
    assert_eq!(again.iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [100]);
    // One that follows from the cancellation is not repeated by itself: the time for which it is refused is unknown.
    assert!(matches!(world.refund_fails(id, again[0].0, 100).await, Transition::Now(_)));
    assert_eq!(world.drained_refunds(id).await, []);
    // A person, or a repair, asks again.
    let asked = world.store.request_missing_refund(id, world.time.tick()).await.expect("answers");
    let repaired = world.drained_refunds(id).await;
    assert!(asked && repaired.len() == 1 && repaired[0].1 == 100, "{repaired:?}");
    assert!(matches!(world.refund_fails(id, repaired[0].0, 100).await, Transition::Now(_)));
    let by_merchant = requested(&world, id, None).await;
    assert_eq!(world.drained_refunds(id).await, [(by_merchant, 100)]);
    assert!(matches!(world.refund(id, by_merchant, Some(100)).await, Transition::Now(_)));
    let order = world.read(id).await;
    assert_eq!((order.status, order.refunded_minor), (OrderStatus::Cancelled, 100));
}

pub async fn a_late_capture_whose_refund_failed_is_asked_back_again(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::PaymentFailed).await;
    assert_eq!(outcome(&world.pay(id).await), "refused");
    let commands = world.drained_refunds(id).await;
    assert!(commands.len() == 1 && commands[0].1 == 250, "{commands:?}");
    assert!(matches!(world.refund_fails(id, commands[0].0, 250).await, Transition::Now(_)));
    assert_eq!(world.drained_refunds(id).await, []);
    assert!(world.store.request_missing_refund(id, world.time.tick()).await.expect("answers"));
    let again = world.drained_refunds(id).await;
    assert!(again.len() == 1 && again[0].1 == 250 && again[0].0 != commands[0].0, "{again:?}");
}

pub async fn money_that_moved_counts_after_a_failure(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Fulfilled).await;
    let refund = requested(&world, id, None).await;
    world.refund_fails(id, refund, 250).await;
    assert!(matches!(world.refund(id, refund, Some(250)).await, Transition::Now(_)));
    assert_eq!(world.read(id).await.refunded_minor, 250);
    assert!(matches!(world.refund_fails(id, refund, 250).await, Transition::Already(_)), "and stays");
    assert_eq!(world.read(id).await.status, OrderStatus::Refunded);
    world.kinds(id).await;
}

pub async fn a_refund_of_the_whole_price_holds_the_shipment(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Paid).await;
    let part = requested(&world, id, Some(100)).await;
    let rest = requested(&world, id, None).await;
    assert_eq!(outcome(&world.fulfil(id).await), "refused");
    world.refund(id, part, Some(100)).await;
    assert_eq!(outcome(&world.fulfil(id).await), "refused", "the rest is open");
    assert_eq!(world.read(id).await.status, OrderStatus::Paid);
    world.refund_fails(id, rest, 150).await;
    assert_eq!(outcome(&world.fulfil(id).await), "now");
    assert_eq!(world.stock("mug").await, (4, 0));

    let id = world.order_in(OrderStatus::Paid).await.id;
    requested(&world, id, Some(249)).await;
    assert_eq!(outcome(&world.fulfil(id).await), "now", "a part of the price is left");
}

pub async fn a_refund_that_fails_after_the_order_was_refunded_frees_no_stock(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Paid).await;
    let open = requested(&world, id, None).await;
    // By hand at the provider, before the requested one arrives there.
    assert!(matches!(world.refund(id, world.refund_id(), Some(250)).await, Transition::Now(_)));
    assert_eq!((world.read(id).await.status, world.stock("mug").await), (OrderStatus::Refunded, (5, 0)));
    assert!(matches!(world.refund_fails(id, open, 250).await, Transition::Now(_)));
    assert_eq!((world.read(id).await.refunded_minor, world.stock("mug").await), (250, (5, 0)));
}

pub async fn a_shipment_and_a_refund_of_the_whole_price_have_one_winner(store: Arc<dyn OrderStore>) {
    let (world, _) = order(store, OrderStatus::Paid).await;
    world.inventory("mug", 60).await;
    for _ in 0..20 {
        let id = world.order_in(OrderStatus::Paid).await.id;
        let answers = race(4, |number| {
            let world = world.clone();
            async move {
                if number % 2 == 0 {
                    Some(request(&world, id, world.refund_id(), None).await)
                } else {
                    world.fulfil(id).await;
                    None
                }
            }
        })
        .await;
        let accepted = |answer| match answer {
            RefundRequested::Accepted(order, _) => Some(order.status),
            _ => None,
        };
        let accepted: Vec<_> = answers.into_iter().flatten().filter_map(accepted).collect();
        assert_eq!(accepted, [world.read(id).await.status], "once, and what it found stays");
        assert_eq!(outcome(&world.fulfil(id).await) == "already", accepted == [OrderStatus::Fulfilled]);
        world.kinds(id).await;
    }
}

pub async fn each_state_of_a_dispute_is_told_once(store: Arc<dyn OrderStore>) {
    let (world, id) = order(store, OrderStatus::Fulfilled).await;
    let before = world.kinds(id).await;
    let dispute = |status: &str| DisputeFacts {
        payment: PaymentId::of_order(id),
        reference: "dp_1".to_owned(),
        status: status.to_owned(),
        reason: "fraudulent".to_owned(),
    };
    for (status, expected) in [
        ("needs_response", "now"),
        ("needs_response", "already"),
        ("lost", "now"),
        ("needs_response", "already"),
    ] {
        let told = world.store.record_dispute(id, dispute(status), world.time.tick()).await.expect("answers");
        assert_eq!(outcome(&told), expected, "{status}");
    }
    assert_eq!(world.kinds(id).await[before.len()..], [EventKind::PaymentDisputed; 2]);
    let data = world.events(id).await.pop().expect("an event").data;
    assert_eq!((&data["dispute_id"], &data["dispute_status"]), (&"dp_1".into(), &"lost".into()));
    assert_eq!((&data["reason"], &data["amount_minor"]), (&"fraudulent".into(), &250.into()));
    assert_eq!(world.read(id).await.status, OrderStatus::Fulfilled);

    let unpaid = world.order_in(OrderStatus::Pending).await.id;
    let told = world.store.record_dispute(unpaid, dispute("lost"), world.time.tick()).await.expect("answers");
    assert_eq!(outcome(&told), "refused");
    let unknown = OrderId::fresh(&world.time.ambient);
    let told = world.store.record_dispute(unknown, dispute("lost"), world.time.tick()).await;
    assert!(matches!(told, Ok(Transition::NotFound)));
}
