//! Cases of audit reads and repairs, and of expiring orders.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use store::{
    OrderStore,
    audit::{AuditMark, SETTLEMENTS_MAX, Settlement},
    domain::{
        EventId,
        EventKind::{OrderCancelled, OrderPlaced, PaymentCaptured, PaymentRefunded},
        OrderId,
        OrderStatus::{self, Cancelled, Fulfilled, Paid, Pending},
        PaymentId,
    },
    orders::{EXPIRED, Stale, Transition},
    outbox::OutboxBody,
    webhooks::{EndpointChange, Subscription},
};

use super::{OrdersFixture, fixture::LEASE};
use crate::race;

pub async fn stale_orders_expire_oldest_first(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let mut stale = Vec::new();
    for _ in 0..5 {
        stale.push(world.placed(&[("mug", 2)]).await.id);
    }
    let (paid, ended) = (world.order_in(Paid).await.id, world.order_in(Cancelled).await.id);
    let before = world.time.pass(Duration::from_hours(1));
    let young = world.placed(&[("mug", 1)]).await.id;
    let first = world.store.stale_orders(Stale::all(before), None, 3).await.expect("lists");
    assert_eq!(first, stale[..3]);
    let rest = world.store.stale_orders(Stale::all(before), first.last().copied(), 100).await.expect("lists");
    assert_eq!(rest, stale[3..], "pages on, whatever became of the page before");
    assert_eq!(world.expire(before, 3).await, 3);
    for (place, id) in stale.iter().enumerate() {
        let expected = if place < 3 { Cancelled } else { Pending };
        assert_eq!(world.read(*id).await.status, expected, "the {place}th");
    }
    assert_eq!(world.expire(before, 100).await, 2);
    assert_eq!(world.expire(before, 100).await, 0);
    for id in [stale[0], paid, ended, OrderId::fresh(&world.time.ambient)] {
        assert!(
            !world.store.expire_order(id, None, world.time.tick()).await.expect("answers"),
            "{id} is not pending"
        );
    }
    let order = world.read(stale[0]).await;
    assert_eq!((order.status, order.status_reason.as_deref()), (Cancelled, Some(EXPIRED)));
    assert_eq!(world.kinds(stale[0]).await, [OrderPlaced, OrderCancelled]);
    let told = world.events(stale[0]).await[1].data.clone();
    assert_eq!(
        (told["status"].as_str(), told["status_reason"].as_str()),
        (Some("cancelled"), Some("expired"))
    );
    assert_eq!(world.stock("mug").await, (50, 2), "the paid one's and the young one's");
    assert_eq!((world.read(paid).await.status, world.read(young).await.status), (Paid, Pending));
    assert_eq!(world.read(ended).await.status_reason.as_deref(), Some("requested_by_customer"));
}

pub async fn money_that_comes_after_expiry_goes_back_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    let before = world.time.pass(Duration::from_hours(1));
    assert_eq!(world.expire(before, 10).await, 1);
    for _ in 0..2 {
        assert!(matches!(world.pay(id).await, Transition::Refused(order) if order.status == Cancelled));
    }
    assert!(matches!(world.fail(id).await, Transition::Refused(_)), "a late decline changes nothing");
    let refunds = world.drained_refunds(id).await;
    assert_eq!(refunds.len(), 1, "asked for once");
    assert_eq!(refunds[0].1, 500, "all of it");
    assert!(matches!(world.refund(id, refunds[0].0, Some(500)).await, Transition::Now(_)));
    assert_eq!(world.read(id).await.status, Cancelled);
    assert_eq!(world.kinds(id).await, [OrderPlaced, OrderCancelled, PaymentCaptured, PaymentRefunded]);
    assert_eq!(world.stock("mug").await, (50, 0));
}

pub async fn expiry_and_payment_have_one_winner(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    for _ in 0..10 {
        let id = world.placed(&[("mug", 1)]).await.id;
        let before = world.time.pass(Duration::from_mins(1));
        let moves = race(4, |n| {
            let world = world.clone();
            async move {
                if n % 2 == 0 {
                    world.expire(before, 10).await
                } else {
                    u64::from(matches!(world.pay(id).await, Transition::Now(_)))
                }
            }
        });
        assert_eq!(moves.await.into_iter().sum::<u64>(), 1, "one of them moved it");
        let refunds = world.drained_refunds(id).await;
        let expired = world.read(id).await.status == Cancelled;
        assert_eq!(refunds.len(), usize::from(expired), "captured money goes back exactly when it expired");
        world.kinds(id).await;
        if !expired {
            assert!(matches!(world.fulfil(id).await, Transition::Now(_)));
        }
    }
    assert_eq!(world.stock("mug").await.1, 0);
}

pub async fn all_orders_of_all_merchants_are_scanned(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let mut placed = Vec::new();
    for world in [&world, &other] {
        world.product("mug", 250, 50).await;
        for _ in 0..7 {
            placed.push(world.placed(&[("mug", 1)]).await.id);
        }
    }
    placed.sort_unstable();
    for limit in [1, 4, 14, 100] {
        let mut seen: Vec<OrderId> = Vec::new();
        loop {
            let page = world.store.all_orders(seen.last().copied(), limit).await.expect("reads");
            assert!(page.len() <= usize::try_from(limit).expect("small"));
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, placed, "pages of {limit}");
    }
}

/// The time is that in a message's id, which an engine draws by its own clock.
pub async fn changes_are_found_by_their_time(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let (one, two) = (world.placed(&[("mug", 1)]).await.id, world.placed(&[("mug", 1)]).await.id);
    world.pay(one).await;
    let mut messages: Vec<_> = world.events(one).await.into_iter().map(|event| (event.id, one)).collect();
    messages.extend(world.events(two).await.into_iter().map(|event| (event.id, two)));
    messages.sort_unstable();
    let made = |place: usize| base::ids::timestamp_of(messages[place].0.0).expect("a time");
    let (first, last) = (made(0), made(messages.len() - 1));
    let after = last + Duration::from_millis(1);
    for limit in [1, 3, 100] {
        let mut seen: Vec<(EventId, OrderId)> = Vec::new();
        loop {
            let cursor = seen.last().map(|(id, _)| *id);
            let page = world.store.touched_orders(first, after, cursor, limit).await.expect("reads");
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, messages, "pages of {limit}; no product's event among them");
    }
    let empty = async |from, until| world.store.touched_orders(from, until, None, 100).await.expect("reads");
    assert_eq!(empty(after, after + Duration::from_hours(1)).await, []);
    assert_eq!(empty(first - Duration::from_hours(1), first).await, []);
}

pub async fn the_money_of_an_order_is_told(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let id = world.placed(&[("mug", 2)]).await.id;
    let money = async || world.store.order_money(id).await.expect("reads").expect("an order");
    let placed = money().await;
    assert_eq!((placed.capture, placed.refunds.len()), (None, 0));
    assert_eq!(placed.unsent_since, Some(world.read(id).await.created_at));
    world.drain().await;
    world.pay(id).await;
    let refund = world.refund_id();
    let asked = world.store.request_refund(world.merchant, id, refund, Some(100), world.time.tick()).await;
    asked.expect("asks");
    let messages = world.store.claim("one", 100, LEASE, world.time.tick()).await.expect("claims");
    let paid = money().await;
    let capture = paid.capture.expect("captured");
    assert_eq!((capture.payment, capture.amount_minor), (PaymentId::of_order(id), 500));
    assert_eq!(capture.provider_reference, format!("ch_{id}"));
    assert!(paid.unsent_since > placed.unsent_since, "claimed is not sent");
    assert_eq!(
        (paid.refunds[0].id, paid.refunds[0].amount_minor, paid.refunds[0].recorded_at),
        (refund, 100, None)
    );
    let mut ids = messages.iter().filter_map(|message| match &message.body {
        OutboxBody::Command { id, .. } => Some(*id),
        OutboxBody::Event(_) | OutboxBody::Unreadable(_) => None,
    });
    assert_eq!(paid.refunds[0].command, ids.next(), "the message that asked for it");
    world.sent(&messages).await;
    world.refund(id, refund, Some(100)).await;
    let refunded = money().await;
    assert!(refunded.refunds[0].recorded_at.is_some() && refunded.unsent_since.is_some());
    world.drain().await;
    assert_eq!(money().await.unsent_since, None);
    assert_eq!(world.store.order_money(OrderId::fresh(&world.time.ambient)).await.expect("reads"), None);
}

pub async fn stock_is_counted_beside_what_open_orders_hold(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    for sku in ["a", "b", "mug"] {
        world.product(sku, 250, 50).await;
        other.product(sku, 250, 9).await;
    }
    for status in OrderStatus::ALL {
        world.order_in(status).await;
    }
    world.placed(&[("a", 3), ("mug", 1)]).await;
    other.placed(&[("a", 1)]).await;
    for limit in [1, 4, 100] {
        let mut seen = Vec::new();
        loop {
            let after = seen.last().map(|last: &store::audit::StockCount| (last.merchant, last.sku.clone()));
            let page = world.store.stock_counts(after, limit).await.expect("reads");
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen.len(), 6, "pages of {limit}");
        assert!(seen.iter().all(|count| count.reserved == count.held), "{seen:?}");
        let held = |merchant, sku: &str| {
            let found = seen.iter().find(|count| count.merchant == merchant && count.sku == sku);
            found.map(|count| (count.on_hand, count.held))
        };
        assert_eq!(held(world.merchant, "a"), Some((50, 3)));
        assert_eq!(held(world.merchant, "b"), Some((50, 0)));
        assert_eq!(
            held(world.merchant, "mug"),
            Some((49, 3)),
            "one shipped; one pending, one paid, and the last"
        );
        assert_eq!(held(other.merchant, "a"), Some((9, 1)));
    }
}

pub async fn nothing_is_repaired_that_is_right(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    world.placed(&[("mug", 3)]).await;
    let repaired = world.store.repair_reservation(world.merchant, "mug", world.time.tick());
    assert!(!repaired.await.expect("answers"));
    assert_eq!(world.stock("mug").await, (50, 3));
    for status in OrderStatus::ALL {
        let id = world.order_in(status).await.id;
        assert!(
            !world.store.request_missing_refund(id, world.time.tick()).await.expect("answers"),
            "{status}"
        );
    }
    let cancelled = world.order_in(Cancelled).await.id;
    world.pay(cancelled).await;
    assert!(
        !world.store.request_missing_refund(cancelled, world.time.tick()).await.expect("answers"),
        "asked back already"
    );
    assert_eq!(world.drained_refunds(cancelled).await.len(), 1);
    assert!(
        !world
            .store
            .request_missing_refund(OrderId::fresh(&world.time.ambient), world.time.tick())
            .await
            .expect("answers")
    );
    world.order_in(Fulfilled).await;
}

pub async fn an_endpoint_tells_since_when_it_is_so(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let endpoint = world.new_endpoint(Subscription::All);
    let created = endpoint.created_at;
    let id = endpoint.id;
    assert!(world.store.create_endpoint(endpoint).await.expect("creates"));
    let told = async || world.store.audited_endpoints(world.merchant).await.expect("reads");
    assert_eq!(told().await.len(), 1);
    assert_eq!((told().await[0].id, told().await[0].enabled, told().await[0].since), (id, true, created));
    world.time.pass(Duration::from_mins(1));
    let change = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    world.store.update_endpoint(world.merchant, id, change).await.expect("changes");
    let changed = told().await.remove(0);
    assert!(!changed.enabled && changed.since >= created, "{changed:?}");
    assert!(
        world
            .neighbour()
            .await
            .store
            .audited_endpoints(store::domain::MerchantId::fresh(&world.time.ambient))
            .await
            .expect("reads")
            .is_empty()
    );
}

pub async fn a_mark_is_remembered(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    assert_eq!(world.store.audit_mark().await.expect("reads"), None);
    for ledger in [None, Some("ch_1".to_owned())] {
        let again = vec![OrderId::fresh(&world.time.ambient)];
        let mark = AuditMark { until: world.time.tick(), again, ledger };
        world.store.set_audit_mark(&mark).await.expect("stores");
        assert_eq!(world.store.audit_mark().await.expect("reads"), Some(mark));
    }
}

pub async fn a_settlement_is_remembered_with_its_order(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let order = world.order_in(OrderStatus::Paid).await;
    let settlement = |number: u32| Settlement {
        at: world.time.tick(),
        note: format!("note {number}, with \"quotes\" and ü"),
        violations: vec![format!("refund_stuck: {number}"), "money_kept".to_owned()],
    };
    let settlements = [settlement(1), settlement(2)];
    for settlement in &settlements {
        assert!(world.store.settle(order.id, settlement).await.expect("settles"));
    }
    let money = world.store.order_money(order.id).await.expect("reads").expect("is there");
    assert_eq!(money.settlements, settlements);
    assert_eq!(world.read(order.id).await, order, "nothing else changes");
    let unknown = OrderId::fresh(&world.time.ambient);
    assert!(!world.store.settle(unknown, &settlements[0]).await.expect("answers"));
    for number in 2..SETTLEMENTS_MAX {
        assert!(world.store.settle(order.id, &settlement(number)).await.expect("settles"));
    }
    assert!(!world.store.settle(order.id, &settlements[0]).await.expect("answers"), "they are bounded");
}

impl OrdersFixture {
    /// Expires up to `limit` of the stale orders, and returns how many.
    async fn expire(&self, before: Timestamp, limit: u32) -> u64 {
        let mut expired = 0;
        for id in self.store.stale_orders(Stale::all(before), None, limit).await.expect("lists") {
            let is_expired = self.store.expire_order(id, None, self.time.tick()).await.expect("expires");
            expired += u64::from(is_expired);
        }
        expired
    }
}
