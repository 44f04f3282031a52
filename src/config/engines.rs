//! Engines: the engine behind each contract, with the settings of that engine only.
//!
//! Guarantees: the settings of every engine are checked; those of engines that are not in use are then left out, so no
//! code after this asks which engine is in use.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use base::postgres::PostgresConfig;
use cache::RedisConfig;
use store_cassandra::CassandraConfig;

use super::{
    network::PlainHosts,
    reader::Reader,
    servers::{self, Postgres, RabbitMq, bound_statements},
    shards::Shards,
};

#[derive(Debug, Clone)]
pub(crate) struct Engines {
    pub(crate) orders: OrdersEngine,
    pub(crate) payments: PaymentsEngine,
    pub(crate) queue: QueueEngine,
    pub(crate) cache: CacheEngine,
}

/// Store of orders and of everything that shares their transactions.
#[derive(Debug, Clone)]
pub(crate) enum OrdersEngine {
    Sqlite { folder: PathBuf },
    Postgres(Box<PostgresTopology>),
}

#[derive(Debug, Clone)]
pub(crate) struct PostgresTopology {
    /// The database of orders, or beside shards only the database of jobs.
    pub(crate) server: Postgres,
    /// `None`: orders are kept in one database.
    pub(crate) shards: Option<Shards>,
}

#[derive(Debug, Clone)]
pub(crate) enum PaymentsEngine {
    Sqlite { folder: PathBuf },
    Cassandra(Box<CassandraConfig>),
}

/// Engine of the job queues, and of the log of attempts. A broker keeps that log, and the jobs it does not hold itself,
/// where the orders are.
#[derive(Debug, Clone)]
pub(crate) enum QueueEngine {
    Sqlite { folder: PathBuf },
    RabbitMq { server: RabbitMq, store: OrdersEngine },
}

/// Cache of catalog reads, counters of checkouts, sessions and carts. Without a server, the latter two are in a file of
/// the folder.
#[derive(Debug, Clone)]
pub(crate) enum CacheEngine {
    Memory { folder: PathBuf },
    Redis(RedisConfig),
}

impl Engines {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts, folder: &Path) -> Self {
        let orders = OrdersEngine::read(r, plain, folder);
        let queue = QueueEngine::read(r, plain, folder, &orders);
        let payments = PaymentsEngine::read(r, plain, folder);
        let cache = CacheEngine::read(r, plain, folder);
        Self { orders, payments, queue, cache }
    }

    /// Bounds every statement of the PostgreSQL databases, for a process whose reads must never burden them.
    pub(crate) fn bound_statements(&mut self, most: Duration) {
        let of_queue = match &mut self.queue {
            QueueEngine::RabbitMq { store, .. } => Some(store),
            QueueEngine::Sqlite { .. } => None,
        };
        for store in of_queue.into_iter().chain([&mut self.orders]) {
            if let OrdersEngine::Postgres(topology) = store {
                bound_statements(&mut topology.server.database, most);
                topology.shards.iter_mut().for_each(|shards| shards.bound_statements(most));
            }
        }
    }
}

impl OrdersEngine {
    /// Pool configuration of each shard with this many connections; `None` for orders in one database.
    pub(crate) fn shard_pools(
        &self,
        name: &str,
        connections: u32,
    ) -> Option<BTreeMap<String, PostgresConfig>> {
        let Self::Postgres(topology) = self else { return None };
        let databases = topology.shards.as_ref()?.databases(name, connections);
        Some(databases.into_iter().map(|(shard, database)| (shard, database.primary)).collect())
    }

    fn read(r: &mut Reader, plain: &PlainHosts, folder: &Path) -> Self {
        let server = Postgres::read(r, plain);
        let shards = Shards::read(r, plain, &server);
        if r.either("engines", "orders", [("sqlite", false), ("postgres", true)]) {
            let url = &server.database.primary.url;
            r.require(("postgres", "url"), url, "engines.orders is \"postgres\"");
            let shards = Some(shards).filter(|shards| !shards.is_empty());
            return Self::Postgres(Box::new(PostgresTopology { server, shards }));
        }
        if !shards.is_empty() {
            r.fault("shards", "urls", "needs engines.orders = \"postgres\"");
        }
        Self::Sqlite { folder: folder.to_owned() }
    }
}

impl PaymentsEngine {
    fn read(r: &mut Reader, plain: &PlainHosts, folder: &Path) -> Self {
        let cassandra = servers::cassandra(r, plain);
        if !r.either("engines", "payments", [("sqlite", false), ("cassandra", true)]) {
            return Self::Sqlite { folder: folder.to_owned() };
        }
        if let Err(mistake) = cassandra.check() {
            r.fault("cassandra", mistake.setting, &mistake.why);
        }
        Self::Cassandra(Box::new(cassandra))
    }
}

impl QueueEngine {
    fn read(r: &mut Reader, plain: &PlainHosts, folder: &Path, orders: &OrdersEngine) -> Self {
        let server = servers::rabbitmq(r, plain);
        if !r.either("engines", "queue", [("sqlite", false), ("rabbitmq", true)]) {
            return Self::Sqlite { folder: folder.to_owned() };
        }
        r.require(("rabbitmq", "url"), &server.url, "engines.queue is \"rabbitmq\"");
        Self::RabbitMq { server, store: orders.clone() }
    }
}

impl CacheEngine {
    fn read(r: &mut Reader, plain: &PlainHosts, folder: &Path) -> Self {
        let redis = servers::redis(r, plain);
        if !r.either("engines", "cache", [("memory", false), ("redis", true)]) {
            return Self::Memory { folder: folder.to_owned() };
        }
        r.require(("redis", "url"), &redis.url, "engines.cache is \"redis\"");
        Self::Redis(redis)
    }
}
