//! Order stores on a real PostgreSQL server, each in a database of its own.
//!
//! Databases are reused: the next test empties the database of an earlier one, since creating one takes longer than
//! most tests. A failed test does not return its database; a later run sweeps it.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{
    Ambient,
    postgres::PostgresConfig,
    testing::{
        scratch::{self, Scratch},
        skip,
    },
};
use secrecy::ExposeSecret;
use sqlx::{Executor, PgPool};
use store::OrderStore;
use store_postgres::PostgresOrders;

const POOLER: &str = "ORDERWORKS_TEST_PGBOUNCER_URL";
const EMPTY: &str = "
    DELETE FROM webhook_attempts; DELETE FROM webhook_endpoints; DELETE FROM outbox_unsent; DELETE FROM outbox;
    DELETE FROM idempotency_keys; DELETE FROM mails; DELETE FROM refunds; DELETE FROM orders; DELETE FROM product_words;
    DELETE FROM cart_reservations; DELETE FROM products;
    DELETE FROM customer_mails; DELETE FROM customers; DELETE FROM verifications; DELETE FROM customer_erasures;
    DELETE FROM waiting_rooms; DELETE FROM api_keys; DELETE FROM merchants;
    DELETE FROM audit_mark";

/// Tests do not cut the server's power, so commits need not wait for the disk.
const UNHURRIED: &str = "
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";

static FREE: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

/// A migrated, empty database; on drop it returns to the free list.
pub(crate) struct Lent(Option<Scratch>);

impl Deref for Lent {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        self.0.as_ref().expect("it is there until the end")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let database = self.0.take();
        if !std::thread::panicking() {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).extend(database);
        }
    }
}

impl Lent {
    /// Empties a free database, or creates one.
    pub(crate) async fn new() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(database) = free else { return Self(Some(migrated().await)) };
        let lent = Self(Some(database));
        pool(&lent).await.execute(EMPTY).await.expect("empties");
        lent
    }
}

/// A migrated database, dropped at the end of the test: for tests that change the schema.
pub(crate) async fn migrated() -> Scratch {
    let database = Scratch::create().await;
    PostgresOrders::migrate(&database.config(), Ambient::system()).await.expect("migrates");
    pool(&database).await.execute(UNHURRIED).await.expect("sets");
    database
}

/// Whether tests with the server are skipped; prints the reason.
pub(crate) fn skipped() -> bool {
    let why = scratch::skipped();
    if let Some(why) = &why {
        skip(why);
    }
    why.is_some()
}

/// A configuration for cases that race hundreds of tasks over a few connections.
pub(crate) fn patient(database: &Scratch) -> PostgresConfig {
    PostgresConfig { acquire_timeout: Duration::from_secs(30), ..database.config() }
}

pub(crate) async fn open(config: &PostgresConfig) -> PostgresOrders {
    PostgresOrders::connect(config, Ambient::system()).await.expect("connects")
}

/// Connections that bypass the store.
pub(crate) async fn pool(database: &Scratch) -> PgPool {
    database.pool().await
}

/// Opener of orders.
pub(crate) async fn orders() -> Option<(Arc<dyn OrderStore>, Lent)> {
    opened(|config| config).await
}

/// Opener of orders behind a pooler in transaction mode if one runs; otherwise directly on the server, with the
/// settings that are safe behind such a pooler.
pub(crate) async fn orders_pooled() -> Option<(Arc<dyn OrderStore>, Lent)> {
    opened(pooled).await
}

/// The database behind a pooler in transaction mode if one runs; otherwise with the settings that are safe behind one.
pub(crate) fn pooled(config: PostgresConfig) -> PostgresConfig {
    let direct = config.url.expose_secret().to_owned();
    let (_, name) = direct.rsplit_once('/').expect("an address with a database");
    let pooled =
        std::env::var(POOLER).ok().and_then(|url| Some(format!("{}/{name}", url.rsplit_once('/')?.0)));
    let url = pooled.unwrap_or_else(|| direct.clone()).into();
    PostgresConfig { url, direct_url: Some(direct.into()), pgbouncer: true, ..config }
}

async fn opened(
    change: impl FnOnce(PostgresConfig) -> PostgresConfig,
) -> Option<(Arc<dyn OrderStore>, Lent)> {
    if skipped() {
        return None;
    }
    let database = Lent::new().await;
    Some((Arc::new(open(&change(patient(&database))).await), database))
}
