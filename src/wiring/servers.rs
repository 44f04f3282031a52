//! Engines on servers: RabbitMQ, PostgreSQL, Cassandra, Redis. Opening an engine does not wait for its server.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use anyhow::Context;
use base::{Ambient, postgres::OpenError};
use jobs::{
    Engine,
    job_store::{JobStore, PostgresJobStore, SqliteJobStore},
    rabbitmq::{RabbitEngine, RabbitServer},
    records::{PostgresRecords, RecordStore},
    sqlite::SqliteRecords,
};
use secrecy::ExposeSecret;
use store::{
    OrderStore, PaymentStore,
    cache::RedisServer,
    cassandra::{CassandraPayments, LazySession},
    partitions::Partitions,
    postgres::{PostgresOrders, ReplicatedOrders, sharded::ShardedOrders},
};

use super::Role;
use crate::config::{Config, OrderEngine, PaymentEngine, Postgres};

/// Connections of the job store and the attempt log together.
const JOB_CONNECTIONS: u32 = 4;
/// Connections while migrating.
const MIGRATION_CONNECTIONS: u32 = 2;

/// The stores that a broker needs beside it.
pub(super) struct JobStores {
    pub(super) jobs: Arc<dyn JobStore>,
    pub(super) records: Arc<dyn RecordStore>,
}

/// The order store of one database, and its partitions.
pub(super) async fn orders(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    role: Role,
) -> anyhow::Result<(Arc<dyn OrderStore>, Arc<dyn Partitions>)> {
    let postgres = &config.postgres;
    let connections = connections(postgres, role);
    let pool = postgres.pool(name, connections);
    let primary = PostgresOrders::connect(&pool, ambient.clone()).await?;
    unless_passing(primary.check_schema().await)?;
    // Only the API reads from the replica: other roles decide by what they read.
    let replica = postgres.replica_pool(name, connections).filter(|_| role == Role::Api);
    let Some(replica) = replica else { return Ok((Arc::new(primary.clone()), Arc::new(primary))) };
    let (store, lag_max) = (primary.clone(), postgres.replica_lag_max);
    let replicated = ReplicatedOrders::new(store, &pool, replica, lag_max, ambient.clone())?;
    Ok((Arc::new(replicated), Arc::new(primary)))
}

fn connections(postgres: &Postgres, role: Role) -> u32 {
    match role {
        Role::Api => postgres.api_connections,
        Role::Worker => postgres.worker_connections,
        Role::Relay | Role::Scheduler => postgres.relay_connections,
    }
}

/// The order store over all shards; a shard that is unavailable now may join later.
pub(super) async fn shards(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    role: Role,
) -> anyhow::Result<ShardedOrders> {
    let mut stores = BTreeMap::new();
    let connections = connections(&config.postgres, role);
    for (shard, pool) in config.shards.pools(&config.postgres, name, connections) {
        let store = PostgresOrders::connect(&pool, ambient.clone()).await;
        let store = store.with_context(|| format!("shard {shard}"))?;
        unless_passing(store.check_schema().await).with_context(|| format!("shard {shard}"))?;
        stores.insert(shard, store);
    }
    Ok(ShardedOrders::new(stores, &config.shards.pins)?)
}

pub(super) async fn payments(config: &Config, ambient: &Ambient) -> anyhow::Result<Arc<dyn PaymentStore>> {
    Ok(Arc::new(LazySession::connect(config.cassandra.clone(), ambient.clone()).await?))
}

pub(super) fn redis(config: &Config, ambient: &Ambient) -> anyhow::Result<RedisServer> {
    Ok(RedisServer::new(&config.redis, ambient.clone())?)
}

/// The job stores: in the server of the orders, or in the data folder.
pub(super) async fn job_stores(config: &Config, name: &str, ambient: &Ambient) -> anyhow::Result<JobStores> {
    if config.engines.orders == OrderEngine::Postgres {
        let pool = config.postgres.pool(name, JOB_CONNECTIONS);
        let database = base::postgres::connect(&pool).await?;
        unless_passing(jobs::postgres::check(&database).await)?;
        let jobs = Arc::new(PostgresJobStore::new(database.clone(), ambient.clone()));
        return Ok(JobStores {
            jobs,
            records: Arc::new(PostgresRecords::new(database, ambient.clone()).await?),
        });
    }
    let folder = &config.data.folder;
    let jobs = Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await?);
    let records = Arc::new(SqliteRecords::open(&folder.join("records.db")).await?);
    Ok(JobStores { jobs, records })
}

pub(super) fn rabbit(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    store: Arc<dyn JobStore>,
) -> anyhow::Result<Arc<dyn Engine>> {
    let ca_pem = config.rabbitmq.ca_file.as_deref().map(read_certificates).transpose()?;
    let server = RabbitServer { url: config.rabbitmq.url.expose_secret(), ca_pem: ca_pem.as_deref() };
    Ok(Arc::new(RabbitEngine::new(server, name, store, ambient.clone())?))
}

/// Brings the schemas of the configured servers up to date; returns the names of the migrated stores.
pub(crate) async fn migrate(config: &Config, ambient: &Ambient) -> anyhow::Result<Vec<String>> {
    let mut migrated = Vec::new();
    if config.engines.orders == OrderEngine::Postgres {
        let pool = config.postgres.pool("orderworks migrate", MIGRATION_CONNECTIONS);
        if config.shards.is_empty() {
            PostgresOrders::migrate(&pool, ambient.clone()).await?;
        }
        for (shard, pool) in
            config.shards.pools(&config.postgres, "orderworks migrate", MIGRATION_CONNECTIONS)
        {
            let done = PostgresOrders::migrate(&pool, ambient.clone()).await;
            done.with_context(|| format!("shard {shard}"))?;
            migrated.push(format!("shard {shard}"));
        }
        jobs::postgres::migrate(&pool).await?;
        migrated.push("postgres".to_owned());
    }
    if config.engines.payments == PaymentEngine::Cassandra {
        CassandraPayments::migrate(&config.cassandra, ambient).await?;
        migrated.push("cassandra".to_owned());
    }
    Ok(migrated)
}

/// Ignores an unavailable server, which each call will try again; a wrong schema is an error at once.
fn unless_passing(checked: Result<(), OpenError>) -> Result<(), OpenError> {
    match checked {
        Err(error) if error.is_transient() => Ok(()),
        checked => checked,
    }
}

fn read_certificates(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read the certificates in {}", file.display()))
}
