//! Cases of every transition of the state machine, allowed or not.

use std::{sync::Arc, time::Duration};

use base::TraceContext;
use store::{
    OrderStore,
    domain::{
        EventKind::{self, InventoryUpdated, OrderCancelled, OrderFulfilled, OrderPaid, OrderPlaced},
        OrderId,
        OrderStatus::{self, Cancelled, Fulfilled, Paid, PaymentFailed, Pending, Refunded},
        RefundId, ShipmentId,
    },
    orders::{Stale, Transition},
};

use super::{OrdersFixture, fixture::outcome};
use crate::race;

use EventKind::{OrderRefunded, PaymentCaptured, PaymentRefunded};

pub async fn a_paid_order_is_told(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let placed = world.placed(&[("mug", 2)]).await;
    let Transition::Now(order) = world.pay(placed.id).await else { panic!("not moved") };
    assert_eq!((order.status, order.event_sequence), (Paid, 3));
    assert!(order.updated_at > placed.updated_at && order.created_at == placed.created_at);
    assert_eq!(world.read(placed.id).await, *order);
    assert_eq!(world.kinds(placed.id).await, [OrderPlaced, PaymentCaptured, OrderPaid]);
    let traces = world
        .events(placed.id)
        .await
        .into_iter()
        .map(|event| event.trace.as_ref().map(TraceContext::trace_id));
    let trace = placed.trace.as_ref().map(TraceContext::trace_id);
    assert!(trace.is_some() && traces.into_iter().all(|of_event| of_event == trace), "one trace per order");
    assert_eq!(world.stock("mug").await, (5, 2), "still promised");
}

pub async fn a_failed_payment_is_told_and_frees_stock(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    let Transition::Now(order) = world.fail(id).await else { panic!("not moved") };
    assert_eq!((order.status, order.status_reason.as_deref()), (PaymentFailed, Some("card_declined")));
    assert_eq!(world.read(id).await, *order);
    assert_eq!(world.kinds(id).await, [OrderPlaced, EventKind::PaymentFailed]);
    let told = world.events(id).await[1].data.to_string();
    assert!(told.contains("card_declined"), "{told}");
    assert_eq!(world.stock("mug").await, (5, 0));
}

pub async fn a_fulfilled_order_leaves_stock(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    world.product("cup", 250, 5).await;
    let id = world.placed(&[("mug", 2), ("cup", 1)]).await.id;
    world.pay(id).await;
    let updates = |events: Vec<store::domain::Event>| {
        events.into_iter().filter(|e| e.kind == InventoryUpdated).collect::<Vec<_>>()
    };
    let before = updates(world.merchant_events().await).len();
    let Transition::Now(order) = world.fulfil(id).await else { panic!("not moved") };
    assert_eq!(order.status, Fulfilled);
    let shipment = order.shipment.as_ref().expect("has a shipment");
    assert_eq!((shipment.id, shipment.shipped_at), (ShipmentId::of_order(id), order.updated_at));
    assert_eq!(world.read(id).await, *order);
    assert_eq!((world.stock("mug").await, world.stock("cup").await), ((3, 0), (4, 0)));
    assert_eq!(world.kinds(id).await, [OrderPlaced, PaymentCaptured, OrderPaid, OrderFulfilled]);
    let told = updates(world.merchant_events().await);
    assert_eq!(told.len(), before + 2, "one per sku");
    assert!(told.iter().all(|event| event.order.is_none()), "catalog events are about no order");
}

pub async fn a_cancelled_order_frees_stock(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    let Transition::Now(order) = world.cancel(id).await else { panic!("not moved") };
    assert_eq!((order.status, order.status_reason.as_deref()), (Cancelled, Some("requested_by_customer")));
    assert_eq!(world.read(id).await, *order);
    assert_eq!(world.stock("mug").await, (5, 0));
    assert_eq!(world.kinds(id).await, [OrderPlaced, OrderCancelled]);
    assert_eq!(world.drained_refunds(id).await, [], "nothing was paid");
}

/// The accepted answers of a transition. For an order that went through `paid` and on, both "done earlier" and "not
/// allowed from here" are correct.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Now,
    Already,
    Refused,
    AlreadyOrRefused,
}

/// The states in the order of [`OrderStatus::ALL`]: pending, paid, fulfilled, `payment_failed`, cancelled, refunded.
const TABLE: [(&str, [Expected; 6]); 6] = {
    use Expected::{Already, AlreadyOrRefused as Past, Now, Refused};
    [
        ("mark_paid", [Now, Already, Past, Refused, Refused, Past]),
        ("mark_payment_failed", [Now, Refused, Refused, Already, Refused, Refused]),
        ("fulfil", [Refused, Now, Already, Refused, Refused, Refused]),
        ("cancel", [Now, Now, Refused, Refused, Already, Refused]),
        ("cancel_pending", [Now, Refused, Refused, Refused, Already, Refused]),
        ("record_refund", [Refused, Now, Now, Refused, Refused, Already]),
    ]
};

pub async fn the_whole_table_of_transitions(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 1000).await;
    for (name, row) in TABLE {
        for (status, expected) in OrderStatus::ALL.into_iter().zip(row) {
            let before = world.order_in(status).await;
            let stock = world.stock("mug").await;
            let moved = perform(&world, name, before.id).await;
            let context = format!("{name} of a {status} order: {moved:?}");
            let after = world.read(before.id).await;
            let fits = match expected {
                Expected::Now => outcome(&moved) == "now",
                Expected::Already => outcome(&moved) == "already",
                Expected::Refused => outcome(&moved) == "refused",
                Expected::AlreadyOrRefused => matches!(outcome(&moved), "already" | "refused"),
            };
            assert!(fits, "expected {expected:?} for {context}");
            // A capture for an order that ended otherwise is the one rejection that writes; it has cases of its own.
            let writes = name == "mark_paid" && matches!(status, Cancelled | PaymentFailed);
            if !matches!(expected, Expected::Now) && !writes {
                assert_eq!(after, before, "{context}");
                assert_eq!(world.stock("mug").await, stock, "{context}");
            }
            let (Transition::Now(told) | Transition::Already(told) | Transition::Refused(told)) = moved
            else {
                panic!("{context}")
            };
            assert_eq!(*told, after, "the answer is the order as it stands");
            world.kinds(before.id).await;
            repeated_transitions_write_nothing(&world, name, before.id, &context).await;
        }
    }
}

async fn repeated_transitions_write_nothing(world: &OrdersFixture, name: &str, id: OrderId, context: &str) {
    let before = world.read(id).await;
    let backlog = world.store.backlog().await.expect("reads");
    let moved = perform(world, name, id).await;
    assert!(
        matches!(moved, Transition::Already(_) | Transition::Refused(_)),
        "again: {moved:?}; first {context}"
    );
    assert_eq!(world.read(id).await, before, "again: {context}");
    assert_eq!(world.store.backlog().await.expect("reads"), backlog, "again: {context}");
}

async fn perform(world: &OrdersFixture, name: &str, id: OrderId) -> Transition {
    match name {
        "mark_paid" => world.pay(id).await,
        "mark_payment_failed" => world.fail(id).await,
        "fulfil" => world.fulfil(id).await,
        "cancel" => world.cancel(id).await,
        "cancel_pending" => {
            let at = world.time.tick();
            world
                .store
                .cancel_pending(world.merchant, id, "requested_by_customer", at)
                .await
                .expect("answers")
        }
        // The whole amount, under the id that `order_in` uses too.
        "record_refund" => world.refund(id, RefundId::derived(id.0, "all"), Some(250)).await,
        other => panic!("no move {other}"),
    }
}

pub async fn unknown_orders_are_not_found(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let id = OrderId::fresh(&world.time.ambient);
    for (name, _) in TABLE {
        assert_eq!(perform(&world, name, id).await, Transition::NotFound, "{name}");
    }
    assert_eq!(world.store.order_by_id(id).await.expect("reads"), None);
    assert_eq!(world.store.backlog().await.expect("reads").messages, 0);
}

pub async fn paying_a_cancelled_order_sends_the_money_back_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    world.cancel(id).await;
    world.drain().await;
    let answers = race(10, |_| {
        let world = world.clone();
        async move { world.pay(id).await }
    })
    .await;
    for moved in answers {
        let Transition::Refused(order) = moved else { panic!("unexpected {moved:?}") };
        assert_eq!(order.status, Cancelled);
    }
    assert_eq!(world.kinds(id).await, [OrderPlaced, OrderCancelled, PaymentCaptured]);
    let commands = world.drained_refunds(id).await;
    assert_eq!(commands.iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [500]);
    assert_eq!(world.stock("mug").await, (5, 0));
    // After the refund command was carried out, the order stays cancelled.
    assert!(matches!(world.refund(id, commands[0].0, Some(500)).await, Transition::Now(_)));
    let order = world.read(id).await;
    assert_eq!((order.status, order.refunded_minor), (Cancelled, 500));
    assert_eq!(world.kinds(id).await, [OrderPlaced, OrderCancelled, PaymentCaptured, PaymentRefunded]);
}

pub async fn cancelling_a_paid_order_sends_the_money_back_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    world.pay(id).await;
    world.drain().await;
    let answers = race(10, |_| {
        let world = world.clone();
        async move { world.cancel(id).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Now(_))).count(), 1);
    assert_eq!(answers.iter().filter(|moved| matches!(moved, Transition::Already(_))).count(), 9);
    let commands = world.drained_refunds(id).await;
    assert_eq!(commands.iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [500]);
    assert_eq!(world.stock("mug").await, (5, 0));
    // A repeated charge job requests no further refund.
    let again = world.pay(id).await;
    assert!(matches!(again, Transition::Refused(_) | Transition::Already(_)), "{again:?}");
    assert_eq!(world.drained_refunds(id).await, []);
    assert!(matches!(world.refund(id, commands[0].0, Some(500)).await, Transition::Now(_)));
    assert_eq!(world.read(id).await.status, Cancelled);
    let kinds = world.kinds(id).await;
    assert_eq!(kinds, [OrderPlaced, PaymentCaptured, OrderPaid, OrderCancelled, PaymentRefunded]);
    assert!(!kinds.contains(&OrderRefunded));
}

pub async fn concurrent_transitions_leave_no_gap_and_one_winner(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    for round in 0..5 {
        let order = world.placed(&[("mug", 1)]).await;
        let answers = race(40, |i| {
            let world = world.clone();
            async move {
                let name = TABLE[usize::try_from(i % 6).unwrap_or(0)].0;
                let moved = perform(&world, name, order.id).await;
                (name.trim_end_matches("_pending"), moved)
            }
        })
        .await;
        let mut won: Vec<&str> = answers
            .iter()
            .filter(|(_, moved)| matches!(moved, Transition::Now(_)))
            .map(|(name, _)| *name)
            .collect();
        won.sort_unstable();
        let status = world.read(order.id).await.status;
        // Each path through the state machine, by its transitions; an order that ended otherwise may be refunded, too.
        let ways: &[&[&str]] = match status {
            Pending => &[],
            Paid => &[&["mark_paid"]],
            Fulfilled => &[&["fulfil", "mark_paid"]],
            PaymentFailed => &[&["mark_payment_failed"], &["mark_payment_failed", "record_refund"]],
            Cancelled => &[
                &["cancel"],
                &["cancel", "mark_paid"],
                &["cancel", "record_refund"],
                &["cancel", "mark_paid", "record_refund"],
            ],
            Refunded => &[&["mark_paid", "record_refund"], &["fulfil", "mark_paid", "record_refund"]],
        };
        assert!(ways.contains(&won.as_slice()), "round {round}: {won:?} lead to {status}");
        world.kinds(order.id).await;
    }
}

/// A bank takes days. It changes nothing that a client sees, and a limit of its own ends it.
pub async fn a_debit_under_way_does_not_expire_with_the_others(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let (debit, card) = (world.order_in(Pending).await, world.order_in(Pending).await.id);
    for id in [debit.id, debit.id, OrderId::fresh(&world.time.ambient)] {
        world.store.note_debit(id, world.time.tick()).await.expect("notes");
    }
    assert_eq!(world.read(debit.id).await, debit);
    let before = world.time.pass(Duration::from_hours(24));
    for (debits_before, listed) in
        [(None, vec![card]), (Some(debit.created_at), vec![card]), (Some(before), vec![debit.id, card])]
    {
        let stale = world.store.stale_orders(Stale { before, debits_before }, None, 10).await;
        assert_eq!(stale.expect("lists"), listed, "{debits_before:?}");
    }
    let expire = |id, debits_before| world.store.expire_order(id, debits_before, world.time.tick());
    assert!(expire(card, None).await.expect("answers"));
    for kept in [None, Some(debit.created_at)] {
        assert!(!expire(debit.id, kept).await.expect("answers"), "{kept:?}");
    }
    assert_eq!(world.stock("mug").await, (5, 1));
    assert!(matches!(world.pay(debit.id).await, Transition::Now(_)), "days later");
    let slow = world.order_in(Pending).await.id;
    world.store.note_debit(slow, world.time.tick()).await.expect("notes");
    assert!(expire(slow, Some(world.time.pass(Duration::from_hours(1)))).await.expect("answers"));
}
