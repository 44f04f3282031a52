//! Schemas that are not this release's and permissions that are missing: every engine answers a defect, which is
//! neither retried in silence nor taken for corrupt data.

use std::{fmt::Debug, path::Path, time::Duration};

use base::Ambient;
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::{
    OrderStore, PaymentStore, StoreError,
    cache::{RedisConfig, RedisServer, RedisSessions, SessionError, SessionKey, Sessions, SqliteSessions},
    domain::{MerchantId, OrderId, PaymentId},
};

use crate::util::{self, cassandra::Keyspace, postgres, redis};

fn is_defect<T: Debug>(answer: Result<T, StoreError>, of: &str) {
    match answer {
        Err(StoreError::Defect { store, .. }) => assert_eq!(store, of),
        other => panic!("no defect: {other:?}"),
    }
}

async fn alter(file: &Path, statement: &'static str) {
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

/// A read, and a write that reads first.
async fn orders_that_do_not_fit(store: &dyn OrderStore) {
    let ambient = Ambient::system();
    let (merchant, order) = (MerchantId::fresh(&ambient), OrderId::fresh(&ambient));
    is_defect(store.order(merchant, order).await, "order");
    is_defect(store.cancel(merchant, order, "requested", ambient.now()).await, "order");
}

async fn payments_that_do_not_fit(store: &dyn PaymentStore) {
    let ambient = Ambient::system();
    let payment = PaymentId::of_order(OrderId::fresh(&ambient));
    is_defect(store.payment(payment).await, "payment");
    is_defect(store.begin_attempt(payment, "w-1", ambient.now()).await, "payment");
}

#[tokio::test]
async fn renamed_column_of_orders_in_sqlite() {
    let (store, folder) = util::orders().await;
    alter(&folder.path().join("orders.db"), "ALTER TABLE orders RENAME COLUMN merchant_id TO shop").await;
    orders_that_do_not_fit(&*store).await;
}

#[tokio::test]
async fn renamed_column_of_payments_in_sqlite() {
    let (store, folder) = util::payments().await;
    let rename = "ALTER TABLE payments RENAME COLUMN amount_minor TO amount";
    alter(&folder.path().join("payments.db"), rename).await;
    payments_that_do_not_fit(&*store).await;
}

#[tokio::test]
async fn renamed_column_of_orders_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    let store = postgres::open(&database.config()).await;
    let pool = postgres::pool(&database).await;
    pool.execute("ALTER TABLE orders RENAME COLUMN total_minor TO total").await.expect("renames");
    orders_that_do_not_fit(&store).await;
}

#[tokio::test]
async fn revoked_permission_in_postgres() {
    if postgres::skipped() {
        return;
    }
    let database = postgres::migrated().await;
    // Every later connection takes a role that may read nothing of the shop's.
    let sql = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET role = pg_signal_backend', current_database()); END $$";
    postgres::pool(&database).await.execute(sql).await.expect("sets");
    orders_that_do_not_fit(&postgres::open(&database.config()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_column_of_payments_in_cassandra() {
    let Some(keyspace) = Keyspace::migrated().await else { return };
    let (store, session) = (keyspace.store().await, keyspace.session().await);
    let table = format!("{}.payments", keyspace.config.keyspace);
    session.query_unpaged(format!("ALTER TABLE {table} DROP amount_minor"), ()).await.expect("drops");
    payments_that_do_not_fit(&store).await;
}

fn key() -> SessionKey {
    SessionKey::new("cart", 1)
}

#[tokio::test]
async fn renamed_column_of_sessions_in_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sessions.db");
    let store = SqliteSessions::open(&file, Ambient::system()).await.expect("opens");
    alter(&file, "ALTER TABLE sessions RENAME COLUMN data TO value").await;
    for answer in
        [store.get(&key()).await.map(drop), store.put(&key(), b"1", Duration::from_mins(1)).await.map(drop)]
    {
        assert!(matches!(answer, Err(SessionError::Defect { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn revoked_permission_in_redis() {
    if redis::skipped() {
        return;
    }
    let corner = redis::Corner::create().await;
    let user = redis::User::without("-set").await;
    let config = RedisConfig { url: user.url().into(), ..corner.config() };
    let server = RedisServer::new(&config, Ambient::system()).expect("an address");
    let sessions = RedisSessions::new(server, Ambient::system());
    assert_eq!(sessions.get(&key()).await.expect("reads"), None);
    let written = sessions.put(&key(), b"1", Duration::from_mins(1)).await;
    assert!(matches!(written, Err(SessionError::Defect { .. })), "{written:?}");
    // One command's defect does not make the server unreachable for the others.
    assert_eq!(sessions.get(&key()).await.expect("still reads"), None);
}
