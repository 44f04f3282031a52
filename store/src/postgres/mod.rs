//! Orders, catalog, outbox and webhooks in PostgreSQL 15 or later.
//!
//! Guarantees: what the contracts say. Every write is one transaction at READ COMMITTED that locks the rows it decides
//! on, in one order everywhere: an order, then its products by sku, then the idempotency key. So none deadlocks with
//! another of this store; should the server break one off all the same (40P01, 40001), it is repeated from its start, a
//! bounded number of times. A server that is away, too busy or read-only is [`StoreError::Unavailable`]; data that
//! breaks a rule is [`StoreError::Damaged`]. Works behind a pooler in transaction mode when told so.
//!
//! Does not migrate by itself: [`PostgresOrders::migrate`] does, called once per release and not by each process.
//!
//! A handle has one pool of connections. Roles that share a process take a handle each, so that jobs cannot starve
//! checkouts of connections.
//!
//! Start with `placement`, the hot path; `unit` is the transaction, `outbox` the relay's side, `wake` how a relay
//! learns of messages, `partitions` the months. The schema is in `migrations/postgres/orders`.

mod catalog;
mod config;
mod emit;
mod fault;
mod mails;
mod merchants;
mod moment;
mod moves;
mod order_flow;
mod order_row;
mod outbox;
mod partitions;
mod placement;
mod refunds;
mod row;
#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod statements;
mod stock;
mod unit;
mod wake;
mod webhooks;

use std::sync::Arc;

use base::Ambient;
use sqlx::{Connection, PgPool, migrate::Migrator};

pub use config::{ConfigError, PostgresConfig};

use crate::{
    engine::{STORE, in_flight::InFlight},
    error::StoreError,
    partitions::Partitions,
};

/// Months of partitions made ahead by [`PostgresOrders::migrate`].
const MONTHS_AHEAD: u32 = 3;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres/orders");

/// The order store in a PostgreSQL database. Clones share the connections.
#[derive(Clone)]
pub struct PostgresOrders {
    pool: PgPool,
    ambient: Ambient,
    in_flight: InFlight,
    wake: Arc<wake::Wake>,
    pgbouncer: bool,
    /// Begins a transaction, with the limits a pooler does not let through at login.
    begin: Arc<str>,
}

impl PostgresOrders {
    /// A handle with a pool of its own. Must be called within a tokio runtime; does not wait for the server, which may
    /// be down: [`crate::orders::Orders::ping`] tells.
    pub fn connect(config: &PostgresConfig, ambient: Ambient) -> Result<Self, ConfigError> {
        let pool = config.pool()?;
        let wake = wake::Wake::start(pool.clone(), config.listener()?, ambient.clone(), !config.pgbouncer);
        Ok(Self {
            pool,
            ambient,
            in_flight: InFlight::default(),
            wake: Arc::new(wake),
            pgbouncer: config.pgbouncer,
            begin: config.begin().into(),
        })
    }

    /// Brings the schema up to date and makes the partitions of this and the coming months. Several processes may call
    /// it at once: an advisory lock of the session lets one after another do it, so it goes to
    /// [`PostgresConfig::direct_url`] when there is one.
    pub async fn migrate(config: &PostgresConfig, ambient: Ambient) -> Result<(), MigrateError> {
        let options = config.direct(config::Limits::None)?;
        let mut connection =
            sqlx::PgConnection::connect_with(&options).await.map_err(MigrateError::Connect)?;
        MIGRATIONS.run_direct(None, &mut connection, false).await?;
        connection.close().await.map_err(MigrateError::Connect)?;
        let now = ambient.now();
        Self::connect(config, ambient)?.create_partitions(now, MONTHS_AHEAD).await?;
        Ok(())
    }

    /// Undoes all migrations: the data is gone. For tests and for taking the store out of a database.
    pub async fn unmigrate(config: &PostgresConfig) -> Result<(), MigrateError> {
        let options = config.direct(config::Limits::None)?;
        let mut connection =
            sqlx::PgConnection::connect_with(&options).await.map_err(MigrateError::Connect)?;
        MIGRATIONS.undo(&mut connection, 0).await?;
        connection.close().await.map_err(MigrateError::Connect)
    }

    /// Closes the connections once they are idle; waits for work under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server did not answer.
    #[error("cannot connect to PostgreSQL to migrate")]
    Connect(#[source] sqlx::Error),
    /// A migration failed.
    #[error("cannot migrate the {STORE} store")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is there, its partitions are not.
    #[error("cannot create partitions")]
    Partitions(#[from] StoreError),
}
