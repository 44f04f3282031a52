//! Shards with replicas, and orders that arrive together, when their merchant was migrated.

use std::time::Duration;

use base::{Ambient, testing::until};
use futures::future::join_all;
use store::{
    domain::{MerchantId, PageRequest},
    orders::{OrderFilter, Orders, PlaceOutcome},
};
use store_postgres::merchant_migration::{Migrator, MoveOptions};

use super::{REMEMBERED, Scene, TestMerchant, needs_postgres, worth};
use crate::util::{
    replica::{Replay, caught_up, skipped},
    shards::{named, named_with_replicas, sharded, two},
};

/// Longer than any test.
const EVER: Duration = Duration::from_mins(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_of_the_new_shard_is_not_read_before_it_has_the_merchant() {
    if skipped() {
        return;
    }
    let (replay, databases, ambient) = (Replay::alone().await, two().await, Ambient::system());
    let merchant = MerchantId::fresh(&ambient);
    let store = sharded(&named_with_replicas(&databases, EVER), &[(merchant, "a")], REMEMBERED).await;
    let shop = TestMerchant::of(store.clone(), ambient.clone(), merchant).await;
    shop.product("mug", 10).await;
    let order = shop.place("k", &["mug"]).await;
    worth::drain(&shop).await;
    caught_up(&store, EVER).await;
    let listed = async || {
        let page = PageRequest { limit: 10, after: None };
        let orders = store.orders(merchant, OrderFilter::default(), page).await.expect("reads").items;
        orders.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let from_replica = async || {
        let before = store.read_stats().replica;
        listed().await == [order.id] && store.read_stats().replica > before
    };
    until("a replica answers", from_replica).await;

    replay.pause().await;
    let options = MoveOptions { settle: REMEMBERED * 2, ..MoveOptions::default() };
    let mover = Migrator::new(named(&databases), merchant, "b".to_owned(), options, ambient);
    mover.expect("is a shard").run(&|_| {}).await.expect("moves");
    assert_eq!(listed().await, [order.id], "the replica of the new shard has no order yet");
    replay.resume().await;
    until("the new replica answers", from_replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_arrive_together_follow_their_merchant() {
    needs_postgres!();
    let scene = Scene::open().await;
    let forever = Duration::from_hours(1);
    let stale = scene.shop.through(sharded(&scene.shards, &[(scene.shop.merchant, "a")], forever).await);
    stale.place("before", &["mug"]).await;
    worth::drain(&stale).await;
    scene.moved("b").await.expect("moves");
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    for answer in join_all(keys.iter().map(|key| stale.try_place(key, &["mug"]))).await {
        assert!(matches!(answer, Ok(PlaceOutcome::Placed { .. })), "{answer:?}");
    }
    assert_eq!(scene.rows("a").await, 0, "nothing was written to the old shard");
}
