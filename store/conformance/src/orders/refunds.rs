//! Cases of refunds of orders: requested, then recorded.

use std::sync::Arc;

use store::{
    OrderStore,
    domain::{EventKind, OrderId, OrderStatus, RefundId},
    orders::{RefundRequested, RequestedRefund, Transition},
    outbox::{OutboxBody, OutboxMessage},
};

use super::OrdersFixture;
use crate::race;

pub async fn a_refund_is_asked_for_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let order = world.order_in(OrderStatus::Paid).await;
    world.drain().await;
    let refund = world.refund_id();
    let answer = request(&world, order.id, refund, Some(100)).await;
    let RefundRequested::Accepted(accepted, asked) = answer else { panic!("not accepted: {answer:?}") };
    let open = RequestedRefund { id: refund, amount_minor: 100, done: false };
    assert_eq!((accepted.id, accepted.status, asked), (order.id, OrderStatus::Paid, open));
    let again = request(&world, order.id, refund, Some(100)).await;
    assert!(
        matches!(&again, RefundRequested::Already(o, known) if o.id == order.id && *known == open),
        "{again:?}"
    );
    assert_eq!(world.drained_refunds(order.id).await, [(refund, 100)], "one command");
    assert_eq!(world.read(order.id).await.refunded_minor, 0, "asked for is not given back");
}

/// Whatever became of the refund, and also where the amounts happen to be equal.
pub async fn another_amount_under_the_same_id_is_refused(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Fulfilled).await.id;
    world.drain().await;
    let (part, failed, rest) = (world.refund_id(), world.refund_id(), world.refund_id());
    assert!(matches!(request(&world, id, part, Some(100)).await, RefundRequested::Accepted(..)));
    assert!(matches!(request(&world, id, failed, Some(50)).await, RefundRequested::Accepted(..)));
    world.refund_fails(id, failed, 50).await;
    assert!(matches!(request(&world, id, rest, None).await, RefundRequested::Accepted(..)));
    for end in ["open", "done"] {
        for (refund, amount) in [(part, Some(99)), (part, None), (failed, Some(51)), (rest, Some(150))] {
            let answer = request(&world, id, refund, amount).await;
            assert_eq!(answer, RefundRequested::OtherAmount, "{end}: {amount:?}");
        }
        let answer = request(&world, id, rest, None).await;
        let known = RequestedRefund { id: rest, amount_minor: 150, done: end == "done" };
        assert!(matches!(&answer, RefundRequested::Already(_, asked) if *asked == known), "{answer:?}");
        world.refund(id, part, Some(100)).await;
        world.refund(id, rest, Some(150)).await;
    }
    assert_eq!(world.drained_refunds(id).await, [(part, 100), (failed, 50), (rest, 150)]);
}

pub async fn requested_refunds_count_against_the_total(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Fulfilled).await.id;
    world.drain().await;
    let (one, rest) = (world.refund_id(), world.refund_id());
    assert_eq!(
        request(&world, id, world.refund_id(), Some(251)).await,
        RefundRequested::TooMuch { refundable_minor: 250 }
    );
    assert!(matches!(request(&world, id, one, Some(100)).await, RefundRequested::Accepted(..)));
    let too_much = request(&world, id, world.refund_id(), Some(151)).await;
    assert_eq!(too_much, RefundRequested::TooMuch { refundable_minor: 150 });
    world.refund(id, one, Some(100)).await;
    let too_much = request(&world, id, world.refund_id(), Some(151)).await;
    assert_eq!(too_much, RefundRequested::TooMuch { refundable_minor: 150 }, "recorded, and counted once");
    assert!(matches!(request(&world, id, rest, None).await, RefundRequested::Accepted(..)));
    for amount in [None, Some(1)] {
        let none_left = request(&world, id, world.refund_id(), amount).await;
        assert_eq!(none_left, RefundRequested::TooMuch { refundable_minor: 0 }, "{amount:?}");
    }
    assert_eq!(world.drained_refunds(id).await, [(one, 100), (rest, 150)]);
}

pub async fn only_paid_and_fulfilled_orders_are_refunded(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    for status in OrderStatus::ALL {
        let before = world.order_in(status).await;
        world.drain().await;
        let answer = request(&world, before.id, world.refund_id(), Some(50)).await;
        let refundable = matches!(status, OrderStatus::Paid | OrderStatus::Fulfilled);
        let expected = if refundable {
            matches!(answer, RefundRequested::Accepted(..))
        } else {
            matches!(&answer, RefundRequested::Refused(order) if **order == before)
        };
        assert!(expected, "{status}: {answer:?}");
        assert_eq!(world.drained_refunds(before.id).await.len(), usize::from(refundable), "{status}");
    }
    let unknown = OrderId::fresh(&world.time.ambient);
    assert_eq!(request(&world, unknown, world.refund_id(), None).await, RefundRequested::NotFound);
}

/// It takes every transition, and no money goes either way.
pub async fn a_free_order_is_paid_and_has_nothing_to_refund(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 0, 50).await;
    for status in [OrderStatus::Paid, OrderStatus::Fulfilled] {
        let id = world.order_in(status).await.id;
        for amount in [None, Some(1)] {
            let answer = request(&world, id, world.refund_id(), amount).await;
            assert_eq!(answer, RefundRequested::Free, "{status}: {amount:?}");
        }
    }
    let (cancelled, late) =
        (world.order_in(OrderStatus::Paid).await.id, world.order_in(OrderStatus::Cancelled).await.id);
    assert!(matches!(world.cancel(cancelled).await, Transition::Now(_)));
    assert!(matches!(world.pay(late).await, Transition::Refused(_)));
    let messages = world.drain().await;
    let is_command = |message: &OutboxMessage| matches!(message.body, OutboxBody::Command { .. });
    assert!(!messages.iter().any(is_command), "{messages:?}");
    assert_eq!(world.stock("mug").await, (49, 1));
}

pub async fn partial_refunds_add_up_to_refunded(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Fulfilled).await.id;
    let before = world.kinds(id).await;
    for (amount, sum, status) in [
        (100, 100, OrderStatus::Fulfilled),
        (149, 249, OrderStatus::Fulfilled),
        (1, 250, OrderStatus::Refunded),
    ] {
        let moved = world.refund(id, world.refund_id(), Some(amount)).await;
        let Transition::Now(order) = moved else { panic!("not recorded: {moved:?}") };
        assert_eq!((order.refunded_minor, order.status), (sum, status));
        assert_eq!(world.read(id).await, *order);
    }
    let kinds = world.kinds(id).await;
    let refunded = EventKind::PaymentRefunded;
    assert_eq!(kinds[before.len()..], [refunded, refunded, refunded, EventKind::OrderRefunded]);
    assert_eq!(world.stock("mug").await, (4, 0), "what was shipped does not come back by itself");
}

pub async fn a_recorded_refund_changes_nothing_again(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Paid).await.id;
    let (first, second) = (world.refund_id(), world.refund_id());
    let answers = race(10, |_| {
        let world = world.clone();
        async move { world.refund(id, first, Some(100)).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Now(_))).count(), 1);
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Already(_))).count(), 9);
    assert!(matches!(world.refund(id, second, Some(150)).await, Transition::Now(_)));
    let before = world.read(id).await;
    assert_eq!((before.status, before.refunded_minor), (OrderStatus::Refunded, 250));
    // The last refund and an earlier one, after the order became `refunded`.
    for refund in [first, second] {
        let again = world.refund(id, refund, Some(100)).await;
        assert_eq!(again, Transition::Already(Box::new(before.clone())));
    }
    assert_eq!(world.read(id).await, before);
    world.kinds(id).await;
}

pub async fn refunding_a_paid_order_frees_its_stock(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Paid).await.id;
    world.refund(id, world.refund_id(), Some(100)).await;
    assert_eq!(world.stock("mug").await, (5, 1), "a part given back keeps the promise");
    world.refund(id, world.refund_id(), Some(150)).await;
    assert_eq!(world.read(id).await.status, OrderStatus::Refunded);
    assert_eq!(world.stock("mug").await, (5, 0));
}

pub async fn a_cancelled_order_stays_cancelled(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Paid).await.id;
    // A part was refunded before the cancellation; the cancellation refunds the rest.
    let part = world.refund_id();
    assert!(matches!(request(&world, id, part, Some(100)).await, RefundRequested::Accepted(..)));
    world.refund(id, part, Some(100)).await;
    world.drain().await;
    assert!(matches!(world.cancel(id).await, Transition::Now(_)));
    let commands = world.drained_refunds(id).await;
    assert_eq!(commands.iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [150], "what is left");
    assert!(matches!(world.refund(id, commands[0].0, Some(150)).await, Transition::Now(_)));
    let order = world.read(id).await;
    assert_eq!((order.status, order.refunded_minor), (OrderStatus::Cancelled, 250));
    assert!(!world.kinds(id).await.contains(&EventKind::OrderRefunded));
    assert_eq!(world.stock("mug").await, (5, 0));
}

pub async fn concurrent_requests_stay_within_the_total(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.order_in(OrderStatus::Paid).await.id;
    world.drain().await;
    let answers = race(30, |_| {
        let world = world.clone();
        async move { request(&world, id, world.refund_id(), Some(40)).await }
    })
    .await;
    let accepted = answers.iter().filter(|answer| matches!(answer, RefundRequested::Accepted(..))).count();
    assert_eq!(accepted, 6);
    let refused = RefundRequested::TooMuch { refundable_minor: 10 };
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 24);
    assert_eq!(world.drained_refunds(id).await.len(), 6);
}

pub(super) async fn request(
    world: &OrdersFixture,
    id: OrderId,
    refund: RefundId,
    amount_minor: Option<i64>,
) -> RefundRequested {
    let at = world.time.tick();
    world.store.request_refund(world.merchant, id, refund, amount_minor, at).await.expect("answers")
}
