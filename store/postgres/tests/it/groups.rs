//! Group commit of orders. While a test locks the products, two transactions wait for them and further orders queue up.

use std::time::Duration;

use base::{postgres::PostgresConfig, testing::scratch::Scratch};
use futures::future::join_all;
use sqlx::{Executor, PgPool, Postgres};
use store::{
    domain::EventKind,
    error::StoreError,
    order_view::OrderView,
    orders::{Orders, PlaceOutcome, Refusal},
    outbox::Outbox,
};
use tokio::task::yield_now;

use super::{
    faults::until_waiting,
    needs_postgres,
    shop::{TestMerchant, shop},
};
use crate::util::postgres::{Lent, patient, pool};

/// Places one order for each list of skus, concurrently, under the keys `from`, `from + 1`, …
async fn at_once(
    shop: &TestMerchant,
    from: usize,
    wishes: &[&[&str]],
) -> Vec<Result<PlaceOutcome, StoreError>> {
    let keys: Vec<String> = (from..).take(wishes.len()).map(|key| key.to_string()).collect();
    join_all(keys.iter().zip(wishes).map(|(key, skus)| shop.try_place(key, skus))).await
}

fn placed(answers: &[Result<PlaceOutcome, StoreError>]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Ok(PlaceOutcome::Placed { .. }))).count()
}

/// A configuration whose lock timeout is longer than a test holds its locks.
fn waiting(database: &Scratch) -> PostgresConfig {
    PostgresConfig { lock_timeout: Duration::from_secs(5), ..patient(database) }
}

/// Locks all products until it is rolled back.
async fn hold_products(pool: &PgPool) -> sqlx::Transaction<'static, Postgres> {
    let mut held = pool.begin().await.expect("begins");
    held.execute("SELECT FROM products FOR UPDATE").await.expect("locks");
    held
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("counts")
}

#[tokio::test]
async fn orders_that_arrive_together_share_transactions_and_keep_their_own_events() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&waiting(&database)).await, pool(&database).await);
    shop.product("a", 50).await;
    shop.product_low_at("b", 100, 60).await;
    let wishes: Vec<&[&str]> = (0..40).map(|n| if n % 2 == 0 { &["b"][..] } else { &["a", "b"] }).collect();
    let held = hold_products(&pool).await;
    let (answers, ()) = tokio::join!(at_once(&shop, 0, &wishes), async {
        until_waiting(&pool, 2).await;
        held.rollback().await.expect("lets go");
    });
    assert_eq!(placed(&answers), 40, "{answers:?}");
    assert_eq!((shop.stock("a").await, shop.stock("b").await), ((50, 20), (100, 40)));
    // Two single orders, then batches of at most 32.
    assert_eq!(count(&pool, "SELECT count(DISTINCT xmin::text) FROM orders").await, 4);
    for answer in &answers {
        let Ok(PlaceOutcome::Placed { order, body }) = answer else { panic!("{answer:?}") };
        let stored = shop.store.order(shop.merchant, order.id).await.expect("reads").expect("is there");
        assert_eq!((&stored, body), (&**order, &OrderView::of_new(order)));
        let events = shop.store.order_events(order.id, 0).await.expect("reads");
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.sequence)).collect();
        assert_eq!(told, [(EventKind::OrderPlaced, 1)]);
    }
    let low = "SELECT count(*) FROM outbox WHERE kind = 'inventory.low'";
    assert_eq!(count(&pool, low).await, 1, "the threshold was crossed once, amid a group");
}

#[tokio::test]
async fn one_that_cannot_be_placed_hinders_no_other() {
    needs_postgres!();
    let database = Lent::new().await;
    let shop = shop(&database.config()).await;
    shop.product("a", 50).await;
    shop.product("few", 5).await;
    let first = shop.place("7", &["a"]).await;
    let wishes: Vec<&[&str]> =
        (0..30).map(|n| [&["a"][..], &["few"], &["none"]][if n < 5 { 0 } else { n % 3 }]).collect();
    let mut damaged = shop.new_order("damaged", &["a"]);
    damaged.customer.name = "Ada\0".to_owned();
    let (answers, damaged) = tokio::join!(at_once(&shop, 0, &wishes), shop.store.place_order(damaged));
    assert!(matches!(damaged, Err(StoreError::Defect { .. })), "{damaged:?}");
    let mut sold = 0;
    for (key, (answer, wish)) in answers.iter().zip(&wishes).enumerate() {
        match (wish, answer.as_ref().expect("answers")) {
            // The key of the earlier order: another request, but with the fingerprint that all requests have here.
            (_, PlaceOutcome::Replayed { order, .. }) => assert_eq!((key, *order), (7, first.id)),
            (["a"], PlaceOutcome::Placed { .. }) => {}
            (["few"], PlaceOutcome::Placed { .. }) => sold += 1,
            (["few"], PlaceOutcome::Refused(why)) => {
                assert_eq!(why[..], [Refusal::OutOfStock { line: 0, available: 0 }]);
            }
            (["none"], PlaceOutcome::Refused(why)) => assert_eq!(why[..], [Refusal::UnknownSku { line: 0 }]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sold, shop.stock("few").await), (5, (5, 5)));
    let reserved = wishes.iter().enumerate().filter(|(key, wish)| **wish == ["a"] && *key != 7).count() + 1;
    assert_eq!(shop.stock("a").await, (50, i64::try_from(reserved).expect("small")));
}

#[tokio::test]
async fn a_product_that_stays_locked_hinders_no_order_of_another() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&database.config()).await, pool(&database).await);
    let mut held = pool.begin().await.expect("begins");
    held.execute("SELECT FROM products WHERE sku = 'a' FOR UPDATE").await.expect("locks");
    let answers = at_once(&shop, 0, &[&["a"], &["a"], &["b"], &["a"], &["b"]]).await;
    held.rollback().await.expect("lets go");
    for (key, answer) in answers.iter().enumerate() {
        match key {
            2 | 4 => assert!(matches!(answer, Ok(PlaceOutcome::Placed { .. })), "{key}: {answer:?}"),
            _ => assert!(matches!(answer, Err(StoreError::Busy { .. })), "{key}: {answer:?}"),
        }
    }
    assert_eq!((shop.stock("a").await, shop.stock("b").await), ((10, 0), (10, 2)));
}

#[tokio::test]
async fn few_wait_for_a_large_group_until_they_are_half_as_many() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&waiting(&database)).await, pool(&database).await);
    let mut held = pool.begin().await.expect("begins");
    held.execute("SELECT FROM products WHERE sku = 'a' FOR UPDATE").await.expect("locks");
    let place = |key: usize, sku: &'static str| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.try_place(&key.to_string(), &[sku]).await })
    };
    let mut leaving = [place(0, "a"), place(1, "a")];
    until_waiting(&pool, 2).await;
    let large: Vec<_> = (2..10).map(|key| place(key, "a")).collect();
    for caller in &mut leaving {
        // Both callers leave while the eight wait: the eight start as one batch, and the other slot is free.
        yield_now().await;
        caller.abort();
        assert!(caller.await.is_err_and(|error| error.is_cancelled()));
    }
    let few: Vec<_> = (10..14).map(|key| place(key, "b")).collect();
    let placed_b = join_all(few).await;
    held.rollback().await.expect("lets go");
    for answer in placed_b.into_iter().chain(join_all(large).await) {
        assert!(matches!(answer, Ok(Ok(PlaceOutcome::Placed { .. }))), "{answer:?}");
    }
    assert_eq!(count(&pool, "SELECT count(DISTINCT xmin::text) FROM orders").await, 2);
}

#[tokio::test]
async fn callers_that_leave_give_up_their_place_and_pass_on_their_turn() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&waiting(&database)).await, pool(&database).await);
    let held = hold_products(&pool).await;
    let callers = ["1", "2", "3", "4"].map(|key| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.try_place(key, &["a"]).await })
    });
    until_waiting(&pool, 2).await;
    let [first, second, third, fourth] = callers;
    for leaving in [third, first] {
        leaving.abort();
        assert!(leaving.await.is_err_and(|error| error.is_cancelled()));
    }
    held.rollback().await.expect("lets go");
    let answers = [second.await.expect("runs"), fourth.await.expect("runs")];
    assert_eq!(placed(&answers), 2, "{answers:?}");
    // The aborted caller's transaction is rolled back concurrently.
    while shop.stock("a").await != (10, 2) {
        yield_now().await;
    }
    let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM idempotency_keys ORDER BY key")
        .fetch_all(&pool)
        .await
        .expect("reads");
    assert_eq!(keys, ["2", "4"]);
}
