//! Order store of a role, and what else comes from its databases: health of the shards, partitions, retention.

use std::sync::Arc;

use anyhow::Context;
use api::HealthCheck;
use base::Ambient;
use store::OrderStore;
use store_postgres::{DatabaseConfig, PostgresOrders};
use workers::verify::Retention;

use super::schema::unless_transient;
use crate::{
    config::PostgresTopology,
    health::{self, Checks},
    housekeeping::Partitioning,
};

/// Role of a process, which determines its connections to the databases of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Api,
    Worker,
    Relay,
    Scheduler,
    Console,
}

impl Role {
    /// Name of its pool of connections in metrics.
    pub(super) const fn pool(self) -> &'static str {
        match self {
            Self::Api => "orders_api",
            Self::Worker => "orders_worker",
            Self::Relay => "orders_relay",
            Self::Scheduler => "orders_scheduler",
            Self::Console => "orders_console",
        }
    }
}

pub(super) struct OpenOrders {
    pub(super) store: Arc<dyn OrderStore>,
    /// `None` for stores without shards.
    pub(super) shards: Option<HealthCheck>,
    /// `None` for stores without partitions.
    pub(super) partitions: Option<Partitioning>,
    pub(super) retention: Retention,
    /// The store itself, where it is in databases.
    pub(super) postgres: Option<PostgresOrders>,
}

impl OpenOrders {
    /// A store in a file, shared by all roles, which keeps everything.
    pub(super) fn shared(store: Arc<dyn OrderStore>) -> Self {
        let retention = Retention::default();
        Self { store, shards: None, partitions: None, retention, postgres: None }
    }

    /// A store with the pools of the role. A server that is unavailable now may join later.
    pub(super) async fn open(
        topology: &PostgresTopology,
        role: Role,
        name: &str,
        ambient: &Ambient,
    ) -> anyhow::Result<Self> {
        let store = open(topology, role, name, ambient).await?;
        let shards = store.is_sharded().then(|| health::shards(store.clone()));
        let partitions = Partitioning { tables: Arc::new(store.clone()), keep: topology.server.keep.clone() };
        let retention = topology.server.retention;
        let postgres = Some(store.clone());
        Ok(Self { store: Arc::new(store), shards, partitions: Some(partitions), retention, postgres })
    }

    /// Checks of a role that uses this store.
    pub(super) fn checks(&self) -> Checks {
        let store = HealthCheck::orders(Arc::clone(&self.store));
        std::iter::once(store).chain(self.shards.clone()).collect()
    }
}

async fn open(
    topology: &PostgresTopology,
    role: Role,
    name: &str,
    ambient: &Ambient,
) -> anyhow::Result<PostgresOrders> {
    let server = &topology.server;
    let connections = match role {
        Role::Api => server.api_connections,
        Role::Worker => server.worker_connections,
        Role::Relay | Role::Scheduler | Role::Console => server.relay_connections,
    };
    // Only the API reads from replicas: other roles decide by what they read.
    let readable = |database: DatabaseConfig| match role {
        Role::Api => database,
        _ => database.primary.into(),
    };
    let Some(shards) = &topology.shards else {
        let database = readable(server.database(name, connections));
        let store = PostgresOrders::replicated(&database, ambient.clone()).await?;
        unless_transient(store.check_schema().await)?;
        return Ok(store);
    };
    let databases = shards.databases(name, connections);
    let databases = databases.into_iter().map(|(shard, database)| (shard, readable(database))).collect();
    let store = PostgresOrders::sharded(databases, shards.sharding.clone(), ambient.clone()).await?;
    for (shard, checked) in store.check_schemas().await {
        unless_transient(checked).with_context(|| format!("shard {shard}"))?;
    }
    Ok(store)
}
