//! Tests of concurrent order placement.

use futures::{FutureExt, future::join_all};
use store::{
    catalog::Catalog,
    domain::EventKind,
    orders::{Orders, PlaceOutcome, Refusal},
    outbox::Outbox,
};

use super::TestMerchant;

#[tokio::test]
async fn the_last_units_are_sold_once() {
    let shop = TestMerchant::open().await;
    shop.product("last", 50, 0).await;
    let orders = (0..200).map(|n| shop.store.place_order(shop.new_order(&format!("k{n}"), &[("last", 1)])));
    let answers = join_all(orders).await;
    let placed = answers.iter().filter(|a| matches!(a, Ok(PlaceOutcome::Placed { .. }))).count();
    let refusal = vec![Refusal::OutOfStock { line: 0, available: 0 }];
    let refused =
        answers.iter().filter(|a| matches!(a, Ok(PlaceOutcome::Refused(r)) if *r == refusal)).count();
    assert_eq!((placed, refused), (50, 150));
    let stock = shop.stock("last").await;
    assert_eq!((stock.on_hand, stock.reserved, stock.available()), (50, 50, 0));
}

#[tokio::test]
async fn a_refused_order_leaves_nothing_beside_accepted_ones_of_its_group() {
    let shop = TestMerchant::open().await;
    shop.product("plenty", 1000, 0).await;
    shop.product("none", 0, 0).await;
    shop.drain().await;
    // Every third order is rejected after it has reserved "plenty", which it must release.
    let lines =
        |n: usize| if n.is_multiple_of(3) { vec![("plenty", 2), ("none", 1)] } else { vec![("plenty", 2)] };
    let orders = (0..90).map(|n| shop.store.place_order(shop.new_order(&format!("k{n}"), &lines(n))));
    let answers = join_all(orders).await;
    assert_eq!(answers.iter().filter(|a| matches!(a, Ok(PlaceOutcome::Placed { .. }))).count(), 60);
    assert_eq!(shop.stock("plenty").await.reserved, 120);
    assert_eq!(shop.store.backlog().await.expect("reads").messages, 60);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotency_keys")
        .fetch_one(shop.store.database.readers())
        .await
        .expect("counts");
    assert_eq!(kept, 60);
}

#[tokio::test]
async fn a_key_under_way_is_in_flight_and_replays_once_it_is_stored() {
    let shop = TestMerchant::open().await;
    shop.product("a", 1, 0).await;
    let (first, second) = tokio::join!(
        shop.store.place_order(shop.new_order("k", &[("a", 1)])),
        shop.store.place_order(shop.new_order("k", &[("a", 1)])),
    );
    let Ok(PlaceOutcome::Placed { order, body }) = first else { panic!("not placed: {first:?}") };
    assert_eq!(second.expect("answers"), PlaceOutcome::InFlight);
    // The stock is sold out by now: the record must be read before the stock.
    let again = shop.store.place_order(shop.new_order("k", &[("a", 1)])).await.expect("answers");
    assert_eq!(again, PlaceOutcome::Replayed { order: order.id, body });
    let mut other = shop.new_order("k", &[("a", 1)]);
    other.idempotency.fingerprint = [2; 32];
    let refused = shop.store.place_order(other).await.expect("answers");
    assert_eq!(refused, PlaceOutcome::KeyReused { order: order.id });
}

#[tokio::test]
async fn a_key_stays_held_when_its_caller_leaves() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 0).await;
    // Polled once, so that the unit is queued, then dropped.
    assert!(shop.store.place_order(shop.new_order("k", &[("a", 1)])).now_or_never().is_none());
    let meanwhile = shop.store.place_order(shop.new_order("k", &[("a", 1)])).now_or_never();
    assert_eq!(meanwhile.expect("answers at once").expect("answers"), PlaceOutcome::InFlight);
    // A unit queued behind the placement ends after it.
    shop.store.ping().await.expect("answers");
    let later = shop.store.place_order(shop.new_order("k", &[("a", 1)])).await.expect("answers");
    assert!(matches!(later, PlaceOutcome::Replayed { .. }), "{later:?}");
    assert_eq!(shop.stock("a").await.reserved, 1);
}

#[tokio::test]
async fn every_lines_trouble_is_named_and_a_sku_twice_is_counted_in_full() {
    let shop = TestMerchant::open().await;
    shop.product("a", 3, 0).await;
    shop.product("b", 3, 0).await;
    let lines = [("a", 1), ("gone", 1), ("b", 2), ("b", 2)];
    let answer = shop.store.place_order(shop.new_order("k", &lines)).await.expect("answers");
    let expected = vec![
        Refusal::UnknownSku { line: 1 },
        Refusal::OutOfStock { line: 2, available: 3 },
        Refusal::OutOfStock { line: 3, available: 3 },
    ];
    assert_eq!(answer, PlaceOutcome::Refused(expected));
    assert_eq!(shop.stock("a").await.reserved, 0);
}

#[tokio::test]
async fn crossing_the_threshold_is_told_once_and_in_the_products_sequence() {
    let shop = TestMerchant::open().await;
    shop.product("a", 5, 3).await;
    shop.drain().await;
    for (key, quantity) in [("k1", 1), ("k2", 1), ("k3", 1)] {
        shop.place(key, &[("a", quantity)]).await;
    }
    let told = super::kinds(&shop.claim("r", 100).await);
    let placed = Some((EventKind::OrderPlaced, 1));
    // The first event of the product was the inventory set by the fixture.
    assert_eq!(told, [placed, placed, Some((EventKind::InventoryLow, 2)), placed]);
    let set = shop.store.put_inventory(shop.merchant, "a", 2, shop.ambient.now(), None).await;
    let below = store::catalog::InventoryPut::BelowReserved { reserved: 3 };
    assert_eq!(set.expect("answers"), below);
}
