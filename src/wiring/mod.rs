//! Wiring of engines: opens the engine behind each contract, from the configuration.
//!
//! Guarantees: a process opens only what its roles need. A server that is unavailable does not prevent a start; an
//! error that waiting cannot fix (a wrong password, a missing schema) does. With the queue in a file, two servers never
//! share a folder (an exclusive lock, released by the kernel when its holder dies). Inspecting a folder creates nothing
//! in it. Starts no role, see [`crate::roles`].

mod files;
mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use base::Ambient;
use cache::{
    Cache, Limits, LocalLimits, MemoryCache, MemoryConfig, RateLimits, RedisCache, RedisLimits, RedisServer,
    RedisSessions, Sessions,
};
use jobs::{Engine, records::RecordStore, sqlite::SqliteEngine};
use store::{OrderStore, PaymentStore};
use store_postgres::{PostgresOrders, partitions::Partitions};
use store_sqlite::SqliteOrders;

use crate::config::{CacheEngine, Config, OrderEngine, PaymentEngine, QueueEngine};

/// Role of a process, which determines the engines it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Api,
    Worker,
    Relay,
    Scheduler,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Api, Self::Worker, Self::Relay, Self::Scheduler];

    fn needs_queue(self, config: &Config) -> bool {
        matches!(self, Self::Worker | Self::Relay) || self.audits(config)
    }

    fn needs_payments(self, config: &Config) -> bool {
        matches!(self, Self::Api | Self::Worker) || self.audits(config)
    }

    fn audits(self, config: &Config) -> bool {
        self == Self::Scheduler && config.verify.every.is_some()
    }

    /// The API serves sessions, the scheduler deletes ended ones.
    fn needs_sessions(self) -> bool {
        matches!(self, Self::Api | Self::Scheduler)
    }
}

/// The opened engines that the roles of a process need.
pub(crate) struct Engines {
    /// A handle per role: with a server, each role has its own connection pool.
    orders: Vec<(Role, Arc<dyn OrderStore>)>,
    payments: Option<Arc<dyn PaymentStore>>,
    shared: Option<SharedCaches>,
    sessions: Option<Arc<dyn Sessions>>,
    queue: Option<Arc<dyn Engine>>,
    pub(crate) records: Arc<dyn RecordStore>,
    /// `None` for order stores without partitions.
    pub(crate) partitions: Option<Arc<dyn Partitions>>,
    /// The order store, if it is sharded.
    pub(crate) shards: Option<PostgresOrders>,
    pub(crate) folder: PathBuf,
    /// Held until this is dropped.
    _lock: Option<fs::File>,
}

/// Parts that API processes may share.
#[derive(Clone)]
pub(crate) struct SharedCaches {
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) limits: Arc<dyn RateLimits>,
}

/// API keys counted in memory at most. Only known keys are counted, so clients cannot add made-up ones.
const LIMITED_KEYS_MAX: usize = 100_000;

/// The queue and the log of finished attempts.
#[derive(Clone)]
pub(crate) struct Jobs {
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) records: Arc<dyn RecordStore>,
}

impl Engines {
    /// Opens the configured engines, creating and migrating files where needed. `name` identifies this process to
    /// servers.
    pub(crate) async fn open(
        config: &Config,
        name: &str,
        ambient: &Ambient,
        roles: &[Role],
    ) -> anyhow::Result<Self> {
        let folder = &config.data.folder;
        files::make_folder(folder)?;
        let lock = (config.engines.queue == QueueEngine::Sqlite).then(|| files::lock(folder)).transpose()?;
        let Orders { by_role: orders, partitions, shards } =
            Box::pin(open_orders(config, name, ambient, roles)).await?;
        let mut payments = None;
        if roles.iter().any(|role| role.needs_payments(config)) {
            payments = Some(open_payments(config, ambient).await?);
        }
        let (queue, records) = open_jobs(config, name, ambient, roles).await?;
        let (mut shared, mut sessions) = (None, None);
        if roles.iter().any(|role| role.needs_sessions()) {
            // One connection for cache, limits and sessions.
            let redis = (config.engines.cache == CacheEngine::Redis).then(|| servers::redis(config, ambient));
            let redis = redis.transpose()?;
            shared = roles.contains(&Role::Api).then(|| open_shared(redis.as_ref(), ambient));
            sessions = Some(open_sessions(&config.data.folder, redis, ambient).await?);
        }
        let folder = folder.clone();
        Ok(Self {
            orders,
            payments,
            shared,
            sessions,
            queue,
            records,
            partitions,
            shards,
            folder,
            _lock: lock,
        })
    }

    /// The order store with this role's pool.
    pub(crate) fn orders(&self, role: Role) -> anyhow::Result<Arc<dyn OrderStore>> {
        let found = self.orders.iter().find(|(of, _)| *of == role);
        found.map(|(_, store)| Arc::clone(store)).context("the order store was not opened for this role")
    }

    pub(crate) fn payments(&self) -> anyhow::Result<Arc<dyn PaymentStore>> {
        self.payments.clone().context("the payment store was not opened")
    }

    pub(crate) fn shared(&self) -> anyhow::Result<SharedCaches> {
        self.shared.clone().context("the cache was not opened")
    }

    pub(crate) fn sessions(&self) -> anyhow::Result<Arc<dyn Sessions>> {
        self.sessions.clone().context("the session store was not opened")
    }

    pub(crate) fn queue(&self) -> anyhow::Result<Arc<dyn Engine>> {
        self.queue.clone().context("the queue was not opened")
    }
}

/// All stores, for audits beside running processes.
pub(crate) struct AuditStores {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) jobs: Jobs,
}

impl AuditStores {
    /// Opens the stores; creates nothing in a folder without data.
    pub(crate) async fn open(config: &Config, ambient: &Ambient) -> anyhow::Result<Self> {
        let jobs = Jobs::open(config).await?;
        let name = format!("orderworks verify {}", std::process::id());
        let mut orders = Box::pin(open_orders(config, &name, ambient, &[Role::Scheduler])).await?.by_role;
        let (_, orders) = orders.pop().context("the order store was not opened")?;
        Ok(Self { orders, payments: open_payments(config, ambient).await?, jobs })
    }
}

impl Jobs {
    /// Opens queue and records for inspection and control, with or without a running server.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let folder = &config.data.folder;
        match config.engines.queue {
            QueueEngine::Sqlite if !files::queue(folder).exists() => bail!(
                "there is no data in {}: start `orderworks dev` there first, or choose another --data",
                folder.display()
            ),
            QueueEngine::Sqlite => {
                let queue = SqliteEngine::open(&files::queue(folder), ambient).await?;
                Ok(Self { records: Arc::new(queue.records()), queue: Arc::new(queue) })
            }
            QueueEngine::RabbitMq => {
                let name = format!("orderworks control {}", std::process::id());
                let stores = servers::job_stores(config, &name, &ambient).await?;
                let queue = servers::rabbit(config, &name, &ambient, stores.jobs)?;
                Ok(Self { queue, records: stores.records })
            }
        }
    }
}

pub(crate) use servers::migrate;

/// The opened order store.
struct Orders {
    by_role: Vec<(Role, Arc<dyn OrderStore>)>,
    partitions: Option<Arc<dyn Partitions>>,
    shards: Option<PostgresOrders>,
}

async fn open_orders(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    roles: &[Role],
) -> anyhow::Result<Orders> {
    let mut opened = Orders { by_role: Vec::with_capacity(roles.len()), partitions: None, shards: None };
    match config.engines.orders {
        OrderEngine::Sqlite => {
            let file = config.data.folder.join("orders.db");
            let store: Arc<dyn OrderStore> = Arc::new(SqliteOrders::open(&file, ambient.clone()).await?);
            opened.by_role.extend(roles.iter().map(|role| (*role, Arc::clone(&store))));
        }
        OrderEngine::Postgres => {
            for role in roles {
                let store = servers::orders(config, name, ambient, *role).await?;
                opened.shards = store.is_sharded().then(|| store.clone());
                opened.partitions = Some(Arc::new(store.clone()));
                opened.by_role.push((*role, Arc::new(store)));
            }
        }
    }
    Ok(opened)
}

async fn open_payments(config: &Config, ambient: &Ambient) -> anyhow::Result<Arc<dyn PaymentStore>> {
    match config.engines.payments {
        PaymentEngine::Sqlite => files::payments(&config.data.folder, ambient).await,
        PaymentEngine::Cassandra => servers::payments(config, ambient).await,
    }
}

fn open_shared(redis: Option<&RedisServer>, ambient: &Ambient) -> SharedCaches {
    // The limits of this process also count while Redis is unavailable.
    let limits = LocalLimits::new(LIMITED_KEYS_MAX, ambient.clone());
    let near = MemoryConfig::default();
    match redis {
        None => SharedCaches {
            cache: Arc::new(MemoryCache::new(near, ambient.clone())),
            limits: Arc::new(limits),
        },
        Some(server) => SharedCaches {
            cache: Arc::new(RedisCache::new(server.clone(), near, ambient.clone())),
            limits: Arc::new(Limits::new(RedisLimits::new(server.clone()), limits)),
        },
    }
}

async fn open_sessions(
    folder: &Path,
    redis: Option<RedisServer>,
    ambient: &Ambient,
) -> anyhow::Result<Arc<dyn Sessions>> {
    match redis {
        None => files::sessions(folder, ambient).await,
        Some(server) => Ok(Arc::new(RedisSessions::new(server, ambient.clone()))),
    }
}

async fn open_jobs(
    config: &Config,
    name: &str,
    ambient: &Ambient,
    roles: &[Role],
) -> anyhow::Result<(Option<Arc<dyn Engine>>, Arc<dyn RecordStore>)> {
    let needed = roles.iter().any(|role| role.needs_queue(config));
    match config.engines.queue {
        QueueEngine::Sqlite => {
            let queue = files::open_queue(&config.data.folder, ambient).await?;
            let records = Arc::new(queue.records());
            Ok((Some(Arc::new(queue)), records))
        }
        QueueEngine::RabbitMq => {
            let stores = servers::job_stores(config, name, ambient).await?;
            let queue = needed.then(|| servers::rabbit(config, name, ambient, stores.jobs)).transpose()?;
            Ok((queue, stores.records))
        }
    }
}
