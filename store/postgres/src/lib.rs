#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

/// Selects the columns that `columns!` names in the module that uses this.
macro_rules! select {
    ($from:literal) => {
        concat!("SELECT ", columns!(), $from)
    };
}

mod admission;
mod audit;
mod catalog;
mod customers;
mod database;
mod erasures;
mod fault;
mod fence;
mod group_commit;
mod mails;
pub mod merchant_migration;
mod merchants;
mod notify;
mod order_flow;
mod order_records;
mod order_row;
mod outbox;
mod outbox_insert;
pub mod partitions;
mod place_order;
mod product_lists;
mod product_words;
mod refunds;
mod reservation_flow;
mod reservations;
mod router;
mod row;
#[doc(hidden)]
pub mod statements;
mod stock;
mod timestamps;
mod transaction;
mod transitions;
mod verifications;
mod webhooks;

pub use router::{
    DatabaseConfig, LOCATED_FOR, MapError, ReadStats, SHARDS_MAX, ShardMap, ShardingConfig, ShardsError,
};

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{
    Ambient,
    postgres::{self, OpenError, PoolView, PostgresConfig},
};
use futures::future::join_all;
use store::{error::StoreError, rules::in_flight::InFlight};

use self::{database::OrderDatabase, fault::PostgresFault, router::Router};

/// The table of applied migrations.
const HISTORY: &str = "order_store_migrations";
/// Months of partitions that [`PostgresOrders::migrate`] creates ahead.
const MONTHS_AHEAD: u32 = 3;
const PING: &str = "
    SELECT current_setting('transaction_read_only') = 'on' AS read_only, (SELECT id FROM merchants LIMIT 1) AS any";

/// The order store in PostgreSQL databases. Clones share the connections.
#[derive(Clone)]
pub struct PostgresOrders {
    router: Arc<Router>,
    in_flight: InFlight,
    groups: group_commit::GroupCommit,
}

impl PostgresOrders {
    /// Connects to one database, with a pool of its own.
    pub async fn connect(config: &PostgresConfig, ambient: Ambient) -> Result<Self, OpenError> {
        Self::replicated(&config.clone().into(), ambient).await
    }

    /// Connects to one database and reads from its replicas, each with a pool of its own. Waits for no replica.
    pub async fn replicated(config: &DatabaseConfig, ambient: Ambient) -> Result<Self, OpenError> {
        Ok(Self::over(Router::over(config, &ambient).await?))
    }

    /// Connects to several databases, by name, that share the merchants among them.
    pub async fn sharded(
        shards: BTreeMap<String, DatabaseConfig>,
        sharding: ShardingConfig,
        ambient: Ambient,
    ) -> Result<Self, ShardsError> {
        Ok(Self::over(Router::over_shards(shards, sharding, &ambient).await?))
    }

    fn over(router: Router) -> Self {
        let (in_flight, groups) = (InFlight::default(), group_commit::GroupCommit::default());
        Self { router: Arc::new(router), in_flight, groups }
    }

    /// Brings the schema up to date, creates the partitions of this and the coming months, and gives older products the
    /// words by which they are searched. Processes that start together take turns.
    pub async fn migrate(config: &PostgresConfig, ambient: Ambient) -> Result<(), MigrateError> {
        postgres::migrate(config, migrations(), HISTORY).await?;
        let now = ambient.now();
        let store = Self::connect(config, ambient).await?;
        store.create_partitions(now, MONTHS_AHEAD).await?;
        product_words::add_missing(store.router.first()).await.map_err(StoreError::from)?;
        store.close();
        Ok(())
    }

    /// Fails when migrations of this release are missing in a database, or its server cannot be asked.
    pub async fn check_schema(&self) -> Result<(), OpenError> {
        self.check_schemas().await.into_iter().try_for_each(|(_, checked)| checked)
    }

    /// The same for each database, by the name of its shard.
    pub async fn check_schemas(&self) -> Vec<(String, Result<(), OpenError>)> {
        let members = self.router.members();
        let checked = join_all(members.iter().map(|member| check_schema(&member.primary))).await;
        members.iter().map(|member| member.name.clone()).zip(checked).collect()
    }

    /// Whether several databases share the merchants.
    pub fn is_sharded(&self) -> bool {
        self.router.is_sharded()
    }

    /// The answer of each primary to a ping, by the name of its shard; for readiness.
    pub async fn health(&self) -> Vec<(String, Result<(), StoreError>)> {
        let members = self.router.members();
        let asked = members.iter().map(|member| ping(&member.primary));
        let answers = join_all(asked).await.into_iter().map(|answer| answer.map_err(StoreError::from));
        members.iter().map(|member| member.name.clone()).zip(answers).collect()
    }

    /// Upper bound of the replicas' lag; `None` without replicas, or when one is unavailable or its lag is not known
    /// yet.
    pub fn lag(&self) -> Option<Duration> {
        Some(self.router.fresh_until()?.elapsed())
    }

    /// Counts of reads since the start.
    pub fn read_stats(&self) -> ReadStats {
        self.router.read_stats()
    }

    /// Views of the pools of connections to primaries, by the name of the shard; it is empty for the only database.
    pub fn pools(&self) -> Vec<(String, PoolView)> {
        let members = self.router.members().iter();
        members.map(|member| (member.name.clone(), member.primary.reads().pool())).collect()
    }

    /// Closes the connections to primaries once the statements in flight are done.
    pub fn close(&self) {
        for member in self.router.members() {
            member.primary.close();
        }
    }
}

async fn check_schema(database: &OrderDatabase) -> Result<(), OpenError> {
    postgres::check(database.reads(), &migrations(), HISTORY).await
}

async fn ping(database: &OrderDatabase) -> Result<(), PostgresFault> {
    let row = database.reads().row(sqlx::query(PING)).await?;
    // A standby that can only be read is of no use to a checkout.
    let read_only = row.is_some_and(|row| row::get(&row, "read_only").unwrap_or(false));
    if read_only { Err(PostgresFault::ReadOnly) } else { Ok(()) }
}

/// All migrations of the schema, with their reversals.
pub fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!(
        "../../migrations/postgres/orders",
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
            "0012_disabled_endpoints.up",
            "0013_refund_ends.down",
            "0013_refund_ends.up",
            "0014_refund_requests.down",
            "0014_refund_requests.up",
            "0015_debits.down",
            "0015_debits.up",
            "0016_previous_secrets.down",
            "0016_previous_secrets.up",
            "0017_product_search.down",
            "0017_product_search.up",
            "0018_api_key_notes.down",
            "0018_api_key_notes.up",
            "0019_orders_by_customer.down",
            "0019_orders_by_customer.up",
            "0020_product_words.down",
            "0020_product_words.up",
            "0021_customer_erasures.down",
            "0021_customer_erasures.up",
            "0022_ended_orders.down",
            "0022_ended_orders.up",
            "0023_waiting_rooms.down",
            "0023_waiting_rooms.up",
            "0024_cart_reservations.down",
            "0024_cart_reservations.up",
            "0025_adjustments.down",
            "0025_adjustments.up",
            "0026_set_aside.down",
            "0026_set_aside.up"
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
    /// The tables exist, but partitions could not be created, or rows not brought up to date.
    #[error("cannot create partitions, or bring rows up to date")]
    Rows(#[from] StoreError),
}
