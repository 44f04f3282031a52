//! Cases of listing orders and events: no gap, no repetition, newest first.

use std::sync::Arc;

use store::{
    OrderStore,
    domain::{CustomerId, EventId, EventKind, OrderId, OrderStatus, PageRequest},
    orders::{NewOrder, OrderFilter, PlaceOutcome},
};

use super::OrdersFixture;

pub async fn orders_are_paged_newest_first(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.insert(0, world.placed(&[("mug", 1)]).await.id);
    }
    for (limit, pages) in [(1, 20), (7, 3), (10, 2), (20, 1), (100, 1)] {
        assert_eq!(
            orders(&world, OrderFilter::default(), limit).await,
            (expected.clone(), pages),
            "pages of {limit}"
        );
    }
    // An order placed between two pages is newer than both and in neither.
    let page = PageRequest { limit: 5, after: None };
    let first = world.store.orders(world.merchant, OrderFilter::default(), page).await.expect("reads");
    world.placed(&[("mug", 1)]).await;
    let after = first.items.last().map(|order| order.id);
    let second = world
        .store
        .orders(world.merchant, OrderFilter::default(), PageRequest { limit: 5, after })
        .await
        .expect("reads");
    let both: Vec<OrderId> = first.items.iter().chain(&second.items).map(|order| order.id).collect();
    assert_eq!(both, expected[..10]);
    assert_eq!(first.items[0], world.read(expected[0]).await, "whole orders, lines included");
}

pub async fn orders_are_filtered_by_status(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let mut placed: Vec<(OrderStatus, OrderId)> = Vec::new();
    for _ in 0..3 {
        for status in OrderStatus::ALL {
            placed.insert(0, (status, world.order_in(status).await.id));
        }
    }
    for status in OrderStatus::ALL {
        let filter = OrderFilter { status: Some(status), ..OrderFilter::default() };
        let expected: Vec<_> = placed.iter().filter(|(s, _)| *s == status).map(|(_, id)| *id).collect();
        assert_eq!(orders(&world, filter, 2).await, (expected.clone(), 2), "{status}");
        assert_eq!(orders(&world, filter, 3).await, (expected, 1), "{status}");
    }
    assert_eq!(orders(&world, OrderFilter::default(), 100).await.0.len(), 18);
}

pub async fn orders_are_filtered_by_customer(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let ada = CustomerId::fresh(&world.time.ambient);
    let mut own = Vec::new();
    for number in 0..12 {
        // Ada's, another customer's and a guest's, all under one name and address.
        let account = [Some(ada), Some(CustomerId::fresh(&world.time.ambient)), None][number % 3];
        let new = NewOrder { account, ..world.new_order(&[("mug", 1)]) };
        let PlaceOutcome::Placed { order, .. } = world.place(new).await else { panic!("not placed") };
        if account == Some(ada) {
            own.insert(0, order.id);
        }
        if number % 2 == 0 {
            world.cancel(order.id).await;
        }
    }
    let of_ada = OrderFilter { customer: Some(ada), ..OrderFilter::default() };
    for (limit, pages) in [(1, 4), (3, 2), (4, 1)] {
        assert_eq!(orders(&world, of_ada, limit).await, (own.clone(), pages), "pages of {limit}");
    }
    let filter = OrderFilter { status: Some(OrderStatus::Cancelled), ..of_ada };
    assert_eq!(orders(&world, filter, 1).await, (vec![own[1], own[3]], 2));
    let of_stranger = OrderFilter { customer: Some(CustomerId::fresh(&world.time.ambient)), ..of_ada };
    assert_eq!(orders(&world, of_stranger, 10).await, (Vec::new(), 1));
}

pub async fn events_are_paged_newest_first(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    for status in OrderStatus::ALL {
        world.order_in(status).await;
    }
    let page = PageRequest { limit: 100, after: None };
    let all = world.store.events(world.merchant, page).await.expect("reads");
    assert!(!all.has_more && all.items.is_sorted_by(|a, b| a.at >= b.at), "newest first");
    let ids: Vec<EventId> = all.items.iter().map(|event| event.id).collect();
    for limit in [1, 4, u32::try_from(ids.len()).expect("few")] {
        let mut seen: Vec<EventId> = Vec::new();
        loop {
            let page = PageRequest { limit, after: seen.last().copied() };
            let found = world.store.events(world.merchant, page).await.expect("reads");
            seen.extend(found.items.iter().map(|event| event.id));
            if !found.has_more {
                break;
            }
        }
        assert_eq!(seen, ids, "pages of {limit}");
    }
    for event in all.items {
        assert_eq!(world.store.event_by_id(event.id).await.expect("reads").as_ref(), Some(&event));
    }
    let unknown = EventId::fresh(&world.time.ambient);
    assert_eq!(world.store.event_by_id(unknown).await.expect("reads"), None);
}

pub async fn order_events_follow_a_sequence(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    let id = world.order_in(OrderStatus::Fulfilled).await.id;
    world.order_in(OrderStatus::Cancelled).await;
    let all = world.events(id).await;
    assert_eq!(all.len(), 4);
    assert_eq!(all[3].kind, EventKind::OrderFulfilled);
    for after in 0..=5_usize {
        let tail = world.store.order_events(id, u64::try_from(after).expect("small")).await.expect("reads");
        assert_eq!(tail, all[after.min(4)..], "after {after}");
    }
    assert!(world.events(OrderId::fresh(&world.time.ambient)).await.is_empty());
}

/// All ids, read page by page, and the number of pages.
async fn orders(world: &OrdersFixture, filter: OrderFilter, limit: u32) -> (Vec<OrderId>, u32) {
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = PageRequest { limit, after: seen.last().copied() };
        let found = world.store.orders(world.merchant, filter, page).await.expect("reads");
        pages += 1;
        assert!(found.items.len() <= usize::try_from(limit).expect("small"));
        assert!(found.items.iter().all(|order| filter.status.is_none_or(|status| order.status == status)));
        seen.extend(found.items.iter().map(|order| order.id));
        if !found.has_more {
            return (seen, pages);
        }
    }
}
