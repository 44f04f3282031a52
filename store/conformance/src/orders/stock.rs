//! Cases of stock under concurrent orders.

use std::sync::Arc;

use store::{
    OrderStore,
    orders::{PlaceOutcome, Refusal},
};

use super::OrdersFixture;
use crate::race;

pub async fn three_hundred_buyers_share_the_last_fifty(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 50).await;
    let answers = race(300, |_| {
        let world = world.clone();
        async move { world.place(world.new_order(&[("mug", 1)])).await }
    })
    .await;
    let sold = answers.iter().filter(|answer| matches!(answer, PlaceOutcome::Placed { .. })).count();
    assert_eq!(sold, 50);
    let out_of_stock = PlaceOutcome::Refused(vec![Refusal::OutOfStock { line: 0, available: 0 }]);
    assert_eq!(answers.iter().filter(|answer| **answer == out_of_stock).count(), 250);
    assert_eq!(world.stock("mug").await, (50, 50));
    let product = world.store.product(world.merchant, "mug").await.expect("reads").expect("is stored");
    assert_eq!(product.available(), 0);
}

pub async fn orders_over_the_same_products_never_lock_each_other_out(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for sku in ["a", "b", "c"] {
        world.product(sku, 100, 1000).await;
    }
    let answers = race(60, |i| {
        let world = world.clone();
        // The lines come in different orders, so an engine that locks rows in the order of the lines would deadlock.
        let lines = match i % 3 {
            0 => [("a", 1), ("b", 1), ("c", 1)],
            1 => [("c", 1), ("b", 1), ("a", 1)],
            _ => [("b", 1), ("c", 1), ("a", 1)],
        };
        async move {
            let order = world.placed(&lines).await;
            if i % 2 == 0 {
                world.cancel(order.id).await;
            }
            order.lines.into_iter().map(|line| line.sku).collect::<Vec<_>>() == lines.map(|(sku, _)| sku)
        }
    })
    .await;
    assert!(answers.into_iter().all(|kept| kept), "lines keep the order they were given in");
    for sku in ["a", "b", "c"] {
        assert_eq!(world.stock(sku).await, (1000, 30), "{sku}");
    }
}

pub async fn an_order_takes_all_its_lines_or_none(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("common", 100, 100).await;
    world.product("scarce", 100, 7).await;
    let answers = race(40, |i| {
        let world = world.clone();
        let lines = if i % 2 == 0 { [("common", 2), ("scarce", 1)] } else { [("scarce", 1), ("common", 2)] };
        async move { world.place(world.new_order(&lines)).await }
    })
    .await;
    let sold = answers.iter().filter(|answer| matches!(answer, PlaceOutcome::Placed { .. })).count();
    assert_eq!(sold, 7);
    assert_eq!((world.stock("scarce").await, world.stock("common").await), ((7, 7), (100, 14)));
}
