//! Schemas of servers: their migration, and what an open does about a schema that does not fit.

use anyhow::Context;
use base::{Ambient, postgres::OpenError};
use store_cassandra::CassandraPayments;
use store_postgres::PostgresOrders;

use crate::config::{Engines, OrdersEngine, PaymentsEngine};

/// Name of the process to servers.
const NAME: &str = "orderworks migrate";
/// Connections while migrating.
const CONNECTIONS: u32 = 2;

/// Brings the schemas of the configured servers up to date; returns the names of the migrated stores.
pub(crate) async fn migrate(engines: &Engines, ambient: &Ambient) -> anyhow::Result<Vec<String>> {
    let mut migrated = Vec::new();
    if let OrdersEngine::Postgres(topology) = &engines.orders {
        let pool = topology.server.pool(NAME, CONNECTIONS);
        match engines.orders.shard_pools(NAME, CONNECTIONS) {
            None => PostgresOrders::migrate(&pool, ambient.clone()).await?,
            Some(shards) => {
                for (shard, pool) in shards {
                    let done = PostgresOrders::migrate(&pool, ambient.clone()).await;
                    done.with_context(|| format!("shard {shard}"))?;
                    migrated.push(format!("shard {shard}"));
                }
            }
        }
        jobs::postgres::migrate(&pool).await?;
        migrated.push("postgres".to_owned());
    }
    if let PaymentsEngine::Cassandra(config) = &engines.payments {
        CassandraPayments::migrate(config, ambient).await?;
        migrated.push("cassandra".to_owned());
    }
    Ok(migrated)
}

/// Ignores an unavailable server, which each call will try again; a wrong schema is an error at once.
pub(super) fn unless_transient(checked: Result<(), OpenError>) -> Result<(), OpenError> {
    match checked {
        Err(error) if error.is_transient() => Ok(()),
        checked => checked,
    }
}
