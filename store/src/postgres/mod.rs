//! Orders, catalog, outbox and webhooks in PostgreSQL 15 or later.
//!
//! Guarantees: those of the contracts. Every write is one transaction at READ COMMITTED that locks the rows it decides
//! on, in one order everywhere: an order, then its products by sku, then the idempotency key. So the writes of this
//! store do not deadlock with each other; if the server rolls one back all the same (40P01, 40001), it is repeated from
//! its start, a bounded number of times. A server that is unreachable, too busy or read-only is
//! [`StoreError::Unavailable`]; data that does not read back is [`StoreError::Corrupt`]. Works behind a pooler in
//! transaction mode when configured so.
//!
//! Does not migrate by itself: [`PostgresOrders::migrate`] does, called once per release and not by each process.
//!
//! A handle has one pool of connections. Roles that share a process use a handle each, so that jobs cannot starve
//! checkouts of connections.
//!
//! Start with `placement`, the hot path, and `group`, its group commit. Then: `unit`, the transaction; `outbox`, claims
//! by relays; `wake`, the notification of relays; `partitions`, one per month; `replicated`, reads from a replica;
//! [`sharded`], several databases; `fence`, which keeps a merchant's writes out of the wrong database. The schema is in
//! `migrations/postgres/orders`.

mod audit;
mod catalog;
mod customers;
mod fault;
mod fence;
mod group_commit;
mod mails;
mod merchants;
mod notify;
mod order_flow;
mod order_row;
mod outbox;
mod outbox_insert;
mod partitions;
mod place_order;
mod refunds;
mod replicated;
mod row;
pub mod sharded;
#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod statements;
mod stock;
mod timestamps;
mod transaction;
mod transitions;
mod verifications;
mod webhooks;

pub use replicated::{ReadStats, ReplicatedOrders};

use std::sync::Arc;

use base::{
    Ambient,
    ids::Uuid,
    postgres::{self, Database, OpenError, PostgresConfig},
};

use crate::{error::StoreError, partitions::Partitions, rules::in_flight::InFlight};

/// The table of applied migrations.
const HISTORY: &str = "order_store_migrations";
/// Months of partitions that [`PostgresOrders::migrate`] creates ahead.
const MONTHS_AHEAD: u32 = 3;

/// The order store in a PostgreSQL database. Clones share the connections.
#[derive(Clone)]
pub struct PostgresOrders {
    database: Database,
    ambient: Ambient,
    in_flight: InFlight,
    groups: group_commit::GroupCommit,
    wake: Arc<notify::Wake>,
    /// The merchant whose presence in this shard every write checks, see [`fence`].
    fenced: Option<Uuid>,
}

impl PostgresOrders {
    /// Connects, with a pool of its own.
    pub async fn connect(config: &PostgresConfig, ambient: Ambient) -> Result<Self, OpenError> {
        let listen = config.direct_options()?;
        let database = postgres::connect(&PostgresConfig { by_index: true, ..config.clone() }).await?;
        let wake = Arc::new(notify::Wake::start(database.clone(), listen, ambient.clone()));
        let (in_flight, groups) = (InFlight::default(), group_commit::GroupCommit::default());
        Ok(Self { database, ambient, in_flight, groups, wake, fenced: None })
    }

    /// Brings the schema up to date and creates the partitions of this and the coming months. Processes that start
    /// together take turns.
    pub async fn migrate(config: &PostgresConfig, ambient: Ambient) -> Result<(), MigrateError> {
        postgres::migrate(config, migrations(), HISTORY).await?;
        let now = ambient.now();
        let store = Self::connect(config, ambient).await?;
        store.create_partitions(now, MONTHS_AHEAD).await?;
        store.close();
        Ok(())
    }

    /// Fails when migrations of this release are missing, or the server cannot be asked.
    pub async fn check_schema(&self) -> Result<(), OpenError> {
        postgres::check(&self.database, &migrations(), HISTORY).await
    }

    /// Closes the connections once the statements in flight are done.
    pub fn close(&self) {
        self.database.close();
    }
}

/// All migrations of the schema, with their reversals.
pub fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!(
        "../migrations/postgres/orders",
        [
            "0001_merchants.down",
            "0001_merchants.up",
            "0002_products.down",
            "0002_products.up",
            "0003_orders.down",
            "0003_orders.up",
            "0004_idempotency_keys.down",
            "0004_idempotency_keys.up",
            "0005_outbox.down",
            "0005_outbox.up",
            "0006_webhooks.down",
            "0006_webhooks.up",
            "0007_shards.down",
            "0007_shards.up",
            "0008_customers.down",
            "0008_customers.up",
            "0009_audit.down",
            "0009_audit.up",
            "0010_order_access.down",
            "0010_order_access.up",
            "0011_verifications.down",
            "0011_verifications.up",
            "0012_disabled_endpoints.down",
            "0012_disabled_endpoints.up"
        ]
    )
}

/// The error for a schema that could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The server cannot be reached, or a migration failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The tables exist, but their partitions could not be created.
    #[error("cannot create partitions")]
    Partitions(#[from] StoreError),
}
