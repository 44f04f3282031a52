//! Failures of a PostgreSQL transaction: deadlock, serialization failure, lock timeout, lost connection, absent server.

use std::time::Duration;

use base::{Ambient, postgres::PostgresConfig};
use sqlx::{Executor, PgPool};
use store::{
    error::StoreError,
    orders::{Orders, PlaceOutcome},
};

use super::{needs_postgres, shop::shop};
use crate::util::postgres::{Lent, migrated, open, patient, pool};

/// Longest wait for a state of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until a connection of the store waits for a lock.
pub(super) async fn until_one_waits(pool: &PgPool) {
    until_waiting(pool, 1).await;
}

/// Waits until this many connections of the store wait for a lock; polls, since the server sends no event.
pub(super) async fn until_waiting(pool: &PgPool, connections: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let wait = async {
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.expect("looks") < connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("they wait");
}

#[tokio::test]
async fn a_deadlock_is_repeated() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&patient(&database)).await, pool(&database).await);
    // A foreign transaction that locks products in the opposite order, as the store never does.
    let mut stranger = pool.begin().await.expect("begins");
    // The session whose deadlock check runs first is aborted; a long timeout here makes that the store.
    stranger.execute("SET LOCAL deadlock_timeout = '60s'").await.expect("sets");
    stranger.execute("SELECT 1 FROM products WHERE sku = 'b' FOR UPDATE").await.expect("locks");
    let placing = {
        let shop = shop.clone();
        tokio::spawn(async move { shop.try_place("k", &["a", "b"]).await })
    };
    until_one_waits(&pool).await;
    stranger.execute("SELECT 1 FROM products WHERE sku = 'a' FOR UPDATE").await.expect("the store gave way");
    stranger.commit().await.expect("commits");
    let placed = placing.await.expect("runs").expect("answers");
    assert!(matches!(placed, PlaceOutcome::Placed { .. }), "{placed:?}");
    assert_eq!((shop.stock("a").await, shop.stock("b").await), ((10, 1), (10, 1)), "reserved once");
}

/// Makes the first `times` inserts of an order fail with a serialization failure.
async fn refuse(pool: &PgPool, times: i64) {
    let sql = format!(
        "CREATE SEQUENCE refusals;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('refusals') <= {times} THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER refusing BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    pool.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.expect("prepares");
}

async fn attempts(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT last_value FROM refusals").fetch_one(pool).await.expect("counts")
}

#[tokio::test]
async fn a_serialization_failure_is_repeated() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (shop(&database.config()).await, pool(&database).await);
    refuse(&pool, 3).await;
    shop.place("k", &["a"]).await;
    assert_eq!((attempts(&pool).await, shop.stock("a").await), (4, (10, 1)));
}

#[tokio::test]
async fn repeating_is_bounded() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (shop(&database.config()).await, pool(&database).await);
    refuse(&pool, 1000).await;
    let answer = shop.try_place("k", &["a"]).await;
    assert!(matches!(answer, Err(StoreError::Busy { .. })), "{answer:?}");
    assert!((2..20).contains(&attempts(&pool).await));
    assert_eq!(shop.stock("a").await, (10, 0), "nothing stays");
    // The key is free, and the next attempt places the order.
    pool.execute("DROP TRIGGER refusing ON orders").await.expect("drops");
    shop.place("k", &["a"]).await;
}

#[tokio::test]
async fn a_lock_is_not_waited_for_without_end() {
    needs_postgres!();
    let database = Lent::new().await;
    let config = PostgresConfig { lock_timeout: Duration::from_millis(50), ..database.config() };
    let (shop, pool) = (shop(&config).await, pool(&database).await);
    let mut stranger = pool.begin().await.expect("begins");
    stranger.execute("SELECT 1 FROM products WHERE sku = 'a' FOR UPDATE").await.expect("locks");
    let answer = shop.try_place("k", &["a"]).await;
    assert!(matches!(answer, Err(StoreError::Busy { .. })), "{answer:?}");
    stranger.rollback().await.expect("rolls back");
    shop.place("k", &["a"]).await;
}

#[tokio::test]
async fn broken_connections_are_put_aside() {
    needs_postgres!();
    let database = Lent::new().await;
    let config = PostgresConfig { pool_max: 2, application_name: "victim".to_owned(), ..database.config() };
    let (shop, pool) = (shop(&config).await, pool(&database).await);
    let (one, two) = tokio::join!(shop.try_place("1", &["a"]), shop.try_place("2", &["b"]));
    assert!(one.is_ok() && two.is_ok(), "both connections are in use");
    let sql = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'victim'";
    let ended: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("ends them");
    assert!(ended >= 1);
    shop.place("3", &["a"]).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_the_password() {
    let url = "postgres://user:pa55word@127.0.0.1:1/orders";
    let config = PostgresConfig {
        acquire_timeout: Duration::from_millis(200),
        ..PostgresConfig::new(url.to_owned().into(), "test")
    };
    let store = store_postgres::PostgresOrders::connect(&config, Ambient::system()).await.expect("may come");
    let error = store.ping().await.expect_err("is away");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let told = format!("{error:?} {error} {config:?}");
    assert!(!told.contains("pa55word"), "{told}");
    assert!(store.check_schema().await.is_err_and(|error| error.is_transient()));
}

#[tokio::test]
async fn a_server_that_can_only_be_read_is_not_ready() {
    needs_postgres!();
    let database = migrated().await;
    open(&database.config()).await.ping().await.expect("can be used");
    let sql = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
        current_database()); END $$";
    pool(&database).await.execute(sql).await.expect("sets");
    let answer = open(&database.config()).await.ping().await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_is_a_defect_and_not_repeated() {
    needs_postgres!();
    let database = Lent::new().await;
    let shop = shop(&database.config()).await;
    let mut order = shop.new_order("k", &["a"]);
    order.customer.name = "Ada\0".to_owned();
    let answer = shop.store.place_order(order).await;
    assert!(matches!(answer, Err(StoreError::Defect { .. })), "{answer:?}");
    assert_eq!(shop.stock("a").await, (10, 0));
}

#[tokio::test]
async fn damaged_rows_are_named_and_do_not_panic() {
    needs_postgres!();
    let database = Lent::new().await;
    let (shop, pool) = (shop(&database.config()).await, pool(&database).await);
    let order = shop.place("k", &["a"]).await;
    for damage in ["currency = 'eur'", "lines = '[{}]'", "created_at = 'infinity'", "trace = 'x'"] {
        let sql = sqlx::AssertSqlSafe(format!("UPDATE orders SET {damage}"));
        sqlx::query(sql).execute(&pool).await.expect("damages");
        match shop.store.order(shop.merchant, order.id).await {
            Err(StoreError::Corrupt { detail, .. }) => assert!(detail.contains(&order.id.to_string())),
            other => panic!("read in spite of {damage}: {other:?}"),
        }
    }
}
