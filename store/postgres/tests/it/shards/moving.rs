//! Migration of a merchant that is in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::Ambient;
use sqlx::Executor;
use store::{
    domain::{EventId, MerchantId, Order, OrderId, OrderStatus, PageRequest, PaymentId},
    error::StoreError,
    orders::{CaptureFacts, OrderFilter, Orders, PlaceOutcome},
    outbox::{Outbox, OutboxBody},
};
use store_postgres::{
    LOCATED_FOR, PostgresOrders,
    merchant_migration::{MoveError, MoveOptions, Step},
};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    super::faults::until_one_waits, REMEMBERED, Scene, TestMerchant, needs_postgres, sharded, worth,
};
use crate::util::{
    postgres::{migrated, pool},
    shards::NAMES,
};

/// Retries an operation while the store is unavailable, as it may be for a merchant in migration.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(mut act: impl FnMut() -> F) -> T {
    loop {
        match act().await {
            Ok(answer) => return answer,
            Err(error) if error.class().is_transient() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Places, pays and fulfils orders one after another until told to stop; returns their ids.
async fn trade(name: usize, shop: TestMerchant, stop: Arc<AtomicBool>) -> Vec<OrderId> {
    let mut orders = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let key = format!("t{name}-{}", orders.len());
        // The same request on every retry, as a client sends it: one key and one id.
        let wish = shop.new_order(&key, &["mug", "pen"]);
        let order: Order = match patiently(|| shop.store.place_order(wish.clone())).await {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("{other:?}"),
        };
        let facts = CaptureFacts {
            payment: PaymentId::of_order(order.id),
            provider_reference: "ch".to_owned(),
            amount_minor: order.total_minor,
        };
        let now = shop.ambient.now();
        patiently(|| shop.store.mark_paid(order.id, facts.clone(), now)).await;
        patiently(|| shop.store.fulfil(order.id, now)).await;
        orders.push(order.id);
    }
    orders
}

/// Events that a relay sent, in total order and per order.
#[derive(Default)]
struct Sent {
    events: Vec<EventId>,
    sequences: BTreeMap<OrderId, Vec<u64>>,
}

async fn relay(store: PostgresOrders, ambient: Ambient, stop: Arc<AtomicBool>, sent: Arc<Mutex<Sent>>) {
    let mut arrivals = store.arrivals();
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        arrivals.borrow_and_update();
        let lease = Duration::from_secs(30);
        let messages = store.claim("relay", 40, lease, ambient.now()).await.expect("claims");
        if messages.is_empty() {
            if stopping {
                return;
            }
            drop(tokio::time::timeout(Duration::from_millis(50), arrivals.changed()).await);
            continue;
        }
        {
            let mut sent = sent.lock().expect("whole");
            for message in &messages {
                let OutboxBody::Event(event) = &message.body else { continue };
                sent.events.push(event.id);
                if let Some(order) = event.order {
                    sent.sequences.entry(order).or_default().push(event.sequence);
                }
            }
        }
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        store.mark_sent(&positions, ambient.now()).await.expect("marks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merchant_moves_under_traffic_and_loses_and_doubles_nothing() {
    needs_postgres!();
    let scene = Scene::open().await;
    let shop = &scene.shop;
    worth::settle(shop).await;
    let neighbour = MerchantId::fresh(&shop.ambient);
    let store = sharded(&scene.shards, &[(shop.merchant, "a"), (neighbour, "a")], REMEMBERED).await;
    let neighbour = TestMerchant::of(store.clone(), shop.ambient.clone(), neighbour).await;
    for sku in ["mug", "pen"] {
        neighbour.product(sku, 10_000).await;
    }
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Sent::default())));
    let relays = Arc::new(AtomicBool::new(false));
    let relaying =
        tokio::spawn(relay(store.clone(), shop.ambient.clone(), Arc::clone(&relays), Arc::clone(&sent)));
    let mut traders = JoinSet::new();
    for n in 0..3 {
        // Each through a process of its own, with its own cached locations.
        let through = sharded(&scene.shards, &[(shop.merchant, "a")], REMEMBERED).await;
        traders.spawn(trade(n, shop.through(through), Arc::clone(&stop)));
    }
    let neighbours = tokio::spawn(trade(9, neighbour.clone(), Arc::clone(&stop)));

    let mover = scene.mover_with("b", |options| MoveOptions { batch_rows: 40, ..options });
    let report = mover.run(&|_| {}).await.expect("moves");
    // The traffic goes on for a while after the migration.
    let newest = async || {
        let page = shop
            .store
            .orders(shop.merchant, OrderFilter::default(), PageRequest { limit: 1, after: None })
            .await;
        page.expect("reads").items[0].id
    };
    let before = newest().await;
    base::testing::until("orders are placed after the move", async || newest().await != before).await;
    stop.store(true, Ordering::SeqCst);
    let orders: BTreeSet<OrderId> = traders.join_all().await.into_iter().flatten().collect();
    let others = neighbours.await.expect("trades");
    relays.store(true, Ordering::SeqCst);
    relaying.await.expect("runs");

    assert_eq!(scene.rows("a").await, 0, "nothing is left behind");
    assert_eq!(report.from.as_deref(), Some("a"));
    assert!(report.tables.iter().any(|table| table.table == "orders" && table.rows > 13), "{report:?}");
    let sent = std::mem::take(&mut *sent.lock().expect("whole"));
    let unique: BTreeSet<EventId> = sent.events.iter().copied().collect();
    assert_eq!(unique.len(), sent.events.len(), "an event was sent twice");
    for id in orders.iter().chain(&others) {
        let order = shop.store.order_by_id(*id).await.expect("reads").expect("is there");
        assert_eq!(order.status, OrderStatus::Fulfilled);
        let events = shop.store.order_events(*id, 0).await.expect("reads");
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        let expected: Vec<u64> = (1..=order.event_sequence).collect();
        assert_eq!(sequences, expected, "{id}: no gap");
        assert_eq!(sent.sequences[id], expected, "{id}: sent in order, each once");
    }
    let sold = i64::try_from(orders.len()).expect("few") + 12;
    assert_eq!(shop.stock("mug").await, (10_000 - sold, 0));
    assert_eq!(neighbour.stock("mug").await, (10_000 - i64::try_from(others.len()).expect("few"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_migrations_at_once_one_runs() {
    needs_postgres!();
    let scene = Scene::open().await;
    let whole = scene.rows("a").await;
    worth::drain(&scene.shop).await;
    let (one, two) = tokio::join!(scene.moved("b"), scene.moved("b"));
    let reports = [one.expect("moves"), two.expect("finds it done")];
    assert_eq!(reports.iter().filter(|report| report.from.is_some()).count(), 1, "{reports:?}");
    assert_eq!((scene.rows("a").await, scene.rows("b").await), (0, whole));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_an_old_memory_writes_where_the_merchant_is() {
    needs_postgres!();
    let scene = Scene::open().await;
    let forever = Duration::from_hours(1);
    let stale = scene.shop.through(sharded(&scene.shards, &[(scene.shop.merchant, "a")], forever).await);
    let order = stale.place("before", &["mug"]).await;
    worth::drain(&stale).await;
    scene.moved("b").await.expect("moves");
    assert_eq!(scene.rows("a").await, 0);
    // By order, by merchant, and by the idempotency key of an earlier order.
    stale.pay(&order).await;
    let placed = stale.place("after", &["mug"]).await;
    let again = stale.try_place("before", &["mug"]).await.expect("answers");
    assert!(matches!(again, PlaceOutcome::Replayed { order: id, .. } if id == order.id), "{again:?}");
    assert_eq!(scene.rows("a").await, 0, "nothing was written to the old shard");
    let seen = scene.shop.store.order_by_id(placed.id).await.expect("reads");
    assert_eq!(seen.map(|order| order.id), Some(placed.id));
}

/// Runs `act` once when the migration begins the step, and waits for both to end.
async fn at_step<T>(
    scene: &Scene,
    step: Step,
    act: impl AsyncFnOnce() -> T,
) -> (Result<store_postgres::merchant_migration::MoveReport, MoveError>, T) {
    let (reached, mover) = (Notify::new(), scene.mover("b"));
    let progress = |now| {
        if now == step {
            reached.notify_one();
        }
    };
    tokio::join!(mover.run(&progress), async {
        reached.notified().await;
        act().await
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_passed_the_fence_are_waited_for() {
    needs_postgres!();
    let scene = Scene::open().await;
    worth::drain(&scene.shop).await;
    let source = scene.pool("a").await;
    // A write that has passed the fence and has not committed yet.
    let mut passed = source.begin().await.expect("begins");
    sqlx::query("SELECT 1 FROM merchants WHERE id = $1 AND state = 'active' FOR KEY SHARE")
        .bind(scene.shop.merchant.0)
        .execute(&mut *passed)
        .await
        .expect("locks");
    let (moved, ()) = at_step(&scene, Step::Fencing, async || {
        until_one_waits(&source).await;
        // New writes are rejected already.
        let refused = scene.shop.try_place("k", &["mug"]).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        passed
            .execute(sqlx::query("UPDATE products SET name = 'late' WHERE sku = 'mug'"))
            .await
            .expect("writes");
        passed.commit().await.expect("commits");
    })
    .await;
    moved.expect("moves");
    let name: String = sqlx::query_scalar("SELECT name FROM products WHERE sku = 'mug'")
        .fetch_one(&scene.pool("b").await)
        .await
        .expect("reads");
    assert_eq!(name, "late", "the write came along");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_relay_the_move_is_given_up_and_the_merchant_goes_on() {
    needs_postgres!();
    let scene = Scene::open().await;
    let order = scene.shop.place("k", &["mug"]).await;
    let mover = scene.mover_with("b", |options| MoveOptions { drain_max: REMEMBERED, ..options });
    let failed = mover.run(&|_| {}).await;
    assert!(matches!(failed, Err(MoveError::Undrained { messages: 3, .. })), "{failed:?}");
    scene.shop.pay(&order).await;
    assert_eq!(worth::drain(&scene.shop).await.len(), 5);
    scene.moved("b").await.expect("moves");
    assert_eq!(scene.rows("a").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_equal_stays_where_it_is() {
    needs_postgres!();
    let databases = [migrated().await, migrated().await];
    let configs =
        NAMES.iter().zip(&databases).map(|(name, database)| ((*name).to_owned(), database.config()));
    let configs: BTreeMap<_, _> = configs.collect();
    let spoil = "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.name := NEW.name || '!'; RETURN NEW; END $$;
        CREATE TRIGGER spoiling BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION spoil()";
    pool(&databases[1]).await.execute(spoil).await.expect("prepares");
    let ambient = Ambient::system();
    let merchant = MerchantId::fresh(&ambient);
    let store = sharded(&configs, &[(merchant, "a")], LOCATED_FOR).await;
    let shop = TestMerchant::of(store, ambient.clone(), merchant).await;
    shop.product("mug", 10).await;
    worth::drain(&shop).await;
    let mover = store_postgres::merchant_migration::Migrator::new(
        configs,
        merchant,
        "b".to_owned(),
        MoveOptions::default(),
        ambient,
    );
    let failed = mover.expect("is a shard").run(&|_| {}).await;
    let Err(MoveError::Differs { table: "products", chunk }) = &failed else { panic!("{failed:?}") };
    assert!(chunk.contains("the start"), "{chunk}");
    shop.place("k", &["mug"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_months_come_along() {
    needs_postgres!();
    let databases = [migrated().await, migrated().await];
    let configs =
        NAMES.iter().zip(&databases).map(|(name, database)| ((*name).to_owned(), database.config()));
    let configs: BTreeMap<_, _> = configs.collect();
    let (past, _) = Ambient::steered(5, super::super::shop::at("2024-03-10T12:00:00Z"));
    let merchant = MerchantId::fresh(&past);
    let store = sharded(&configs, &[(merchant, "a")], LOCATED_FOR).await;
    let of_source = crate::util::postgres::open(&configs["a"]).await;
    of_source.create_partitions(past.now(), 0).await.expect("creates");
    let shop = TestMerchant::of(store, past.clone(), merchant).await;
    shop.product("mug", 10).await;
    let order = shop.place("k", &["mug"]).await;
    worth::drain(&shop).await;
    let options = MoveOptions { settle: Duration::ZERO, ..MoveOptions::default() };
    let mover =
        store_postgres::merchant_migration::Migrator::new(configs, merchant, "b".to_owned(), options, past);
    mover.expect("is a shard").run(&|_| {}).await.expect("moves");
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM orders_y2024m03 WHERE id = $1")
        .bind(order.id.0)
        .fetch_one(&pool(&databases[1]).await)
        .await
        .expect("the month is there");
    assert_eq!(found, 1);
}
