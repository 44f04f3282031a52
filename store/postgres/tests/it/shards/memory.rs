//! Reads by processes that have cached where a merchant lived, and have not noticed its migration.

use std::time::Duration;

use base::time::later;
use futures::future::join_all;
use store::{
    audit::Audit,
    domain::{EventKind, OrderStatus},
    merchants::Merchants,
    orders::{Mails, Orders, Stale},
    outbox::Outbox,
    webhooks::Webhooks,
};
use store_postgres::{PostgresOrders, merchant_migration::MoveOptions};

use super::{Scene, needs_postgres, worth};
use crate::util::shards::sharded;

/// Longer than any test.
const EVER: Duration = Duration::from_hours(1);

/// A store that has located the merchant and does not forget it by itself.
async fn remembering(scene: &Scene) -> PostgresOrders {
    let store = sharded(&scene.shards, &[(scene.shop.merchant, "a")], EVER).await;
    assert!(store.merchant_name(scene.shop.merchant).await.expect("reads").is_some());
    store
}

async fn reads_follow_a_migration(keep_source: bool) {
    let scene = Scene::open().await;
    let (shop, merchant) = (&scene.shop, scene.shop.merchant);
    let before = shop.place("before", &["mug"]).await;
    worth::drain(shop).await;
    // One for each read, as the first read that notices the migration corrects all later ones.
    let [order, by_id, unpaid, audited, event, events, endpoint, subscribers, mails, delivered] =
        join_all([(); 10].map(|()| remembering(&scene))).await.try_into().ok().expect("ten");
    let mover = scene.mover_with("b", |options| MoveOptions { keep_source, ..options });
    mover.run(&|_| {}).await.expect("moves");

    let placed = shop.place("after", &["mug"]).await;
    shop.pay(&before).await;
    let receiver = worth::endpoint(shop).await;
    worth::record(shop, &placed, receiver).await;
    let told = shop.store.order_events(placed.id, 0).await.expect("reads");

    assert_eq!(order.order(merchant, placed.id).await.expect("reads").as_ref(), Some(&placed));
    assert_eq!(by_id.order_by_id(placed.id).await.expect("reads").as_ref(), Some(&placed));
    let paid = unpaid.order_by_id(before.id).await.expect("reads").expect("is there");
    assert_eq!(paid.status, OrderStatus::Paid, "the left-over copy is pending");
    // Where a merchant has left meanwhile, orders are not read together.
    let records = audited.order_records(&[before.id]).await.expect("reads");
    let statuses = records.map(|records| records.iter().map(|one| one.order.status).collect::<Vec<_>>());
    assert!(statuses.is_none_or(|all| all == [OrderStatus::Paid]), "nor audited by its copy");
    assert_eq!(event.event_by_id(told[0].id).await.expect("reads").as_ref(), Some(&told[0]));
    assert_eq!(events.order_events(placed.id, 0).await.expect("reads"), told);
    assert!(endpoint.endpoint_by_id(receiver).await.expect("reads").is_some());
    let kind = EventKind::OrderPlaced;
    assert_eq!(subscribers.subscribers(merchant, kind).await.expect("reads"), [receiver]);
    assert_eq!(mails.mails(placed.id.into()).await.expect("reads").len(), 1);
    assert!(delivered.delivered(receiver, told[0].id).await.expect("reads"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_only_reads_finds_what_came_after_a_migration() {
    needs_postgres!();
    reads_follow_a_migration(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_only_reads_does_not_take_a_left_over_copy_for_the_record() {
    needs_postgres!();
    reads_follow_a_migration(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_over_copies_of_pending_orders_are_not_listed_to_expire() {
    needs_postgres!();
    let scene = Scene::open().await;
    let (store, shop) = (&scene.shop.store, &scene.shop);
    for n in 0..3 {
        shop.place(&format!("k{n}"), &["mug"]).await;
    }
    worth::drain(shop).await;
    let keeping = scene.mover_with("b", |options| MoveOptions { keep_source: true, ..options });
    keeping.run(&|_| {}).await.expect("moves");
    let before = later(shop.ambient.now(), Duration::from_mins(1));
    let stale = store.stale_orders(Stale::all(before), None, 100).await.expect("lists");
    assert_eq!(stale.len(), 3);
    for id in stale {
        assert!(store.expire_order(id, None, shop.ambient.now()).await.expect("answers"));
    }
    assert_eq!(store.stale_orders(Stale::all(before), None, 100).await.expect("lists"), []);
}
