//! Engines on servers: RabbitMQ, PostgreSQL, Cassandra, Redis. Opening an engine does not wait for its server.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use base::{Ambient, postgres::OpenError};
use cache::RedisServer;
use jobs::{
    Engine,
    job_store::{JobStore, PostgresJobStore, SqliteJobStore},
    rabbitmq::{RabbitEngine, RabbitServer},
    records::{PostgresRecords, RecordStore},
    sqlite::SqliteRecords,
};
use secrecy::ExposeSecret;
use store::PaymentStore;
use store_cassandra::CassandraPayments;
use store_postgres::{DatabaseConfig, PostgresOrders};

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

/// The order store: over one database or over shards. A server that is unavailable now may join later.
pub(super) async fn orders(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    role: Role,
) -> anyhow::Result<PostgresOrders> {
    let connections = connections(&config.postgres, role);
    // Only the API reads from replicas: other roles decide by what they read.
    let readable = |database: DatabaseConfig| match role {
        Role::Api => database,
        _ => database.primary.into(),
    };
    if config.shards.is_empty() {
        let database = readable(config.postgres.database(name, connections));
        let store = PostgresOrders::replicated(&database, ambient.clone()).await?;
        unless_transient(store.check_schema().await)?;
        return Ok(store);
    }
    let databases = config.shards.databases(&config.postgres, name, connections);
    let databases = databases.into_iter().map(|(shard, database)| (shard, readable(database))).collect();
    let store = PostgresOrders::sharded(databases, config.shards.sharding(), ambient.clone()).await?;
    for (shard, checked) in store.check_schemas().await {
        unless_transient(checked).with_context(|| format!("shard {shard}"))?;
    }
    Ok(store)
}

fn connections(postgres: &Postgres, role: Role) -> u32 {
    match role {
        Role::Api => postgres.api_connections,
        Role::Worker => postgres.worker_connections,
        Role::Relay | Role::Scheduler => postgres.relay_connections,
    }
}

pub(super) async fn payments(config: &Config, ambient: &Ambient) -> anyhow::Result<Arc<dyn PaymentStore>> {
    Ok(Arc::new(CassandraPayments::connect_lazily(config.cassandra.clone(), ambient.clone()).await?))
}

pub(super) fn redis(config: &Config, ambient: &Ambient) -> anyhow::Result<RedisServer> {
    Ok(RedisServer::new(&config.redis, ambient.clone())?)
}

/// The job stores: in the server of the orders, or in the data folder.
pub(super) async fn job_stores(config: &Config, name: &str, ambient: &Ambient) -> anyhow::Result<JobStores> {
    if config.engines.orders == OrderEngine::Postgres {
        let pool = config.postgres.pool(name, JOB_CONNECTIONS);
        let database = base::postgres::connect(&pool).await?;
        unless_transient(jobs::postgres::check(&database).await)?;
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
fn unless_transient(checked: Result<(), OpenError>) -> Result<(), OpenError> {
    match checked {
        Err(error) if error.is_transient() => Ok(()),
        checked => checked,
    }
}

fn read_certificates(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read the certificates in {}", file.display()))
}
