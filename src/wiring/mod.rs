//! Wiring of a process: opens what each of its roles works with, from the configuration.
//!
//! Guarantees: a process opens only what its roles need, and what several of them need once. A server that is
//! unavailable does not prevent a start; an error that waiting cannot fix (a wrong password, a missing schema) does.
//! With the queue in a file, two servers never share a folder (an exclusive lock, released by the kernel when its
//! holder dies). Inspecting a folder without data creates nothing. Starts no role, see [`crate::roles`].

mod caches;
mod folder;
mod orders;
mod queue;
mod schema;
mod watched;

use std::{fs::File, sync::Arc};

use anyhow::{Context, Result};
use api::{ApiParts, HealthCheck};
use base::Ambient;
use cache::Sessions;
use jobs::{
    Engine,
    engine::{EngineError, QueueSpec},
    job_store::JobStore,
    records::RecordStore,
};
use store::{OrderStore, PaymentStore};
use store_cassandra::CassandraPayments;
use store_sqlite::{SqliteOrders, SqlitePayments};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use webhooks::HookCaller;
use workers::{
    housekeeping::{HousekeepingParts, Partitions, ScheduledAudit},
    queues::HOUSEKEEPING,
    relay::Relay,
    verify::Verify,
};

use self::{
    caches::CacheSource,
    orders::{OpenOrders, Role},
    queue::QueueSource,
};
use crate::{
    config::{Config, OrdersEngine, PaymentsEngine, QueueEngine},
    health::Checks,
    housekeeping::StoredSessions,
    metrics::StoreViews,
};

pub(crate) use self::{
    folder::{create as create_folder, make_new_files_private},
    queue::{Jobs, open_job_store, open_reports},
    schema::migrate,
    watched::WatchedStores,
};

pub(crate) struct WorkerParts {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) jobs: Jobs,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) checks: Checks,
}

pub(crate) struct RelayParts {
    pub(crate) relay: Relay,
    /// The queue that the relay publishes to.
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) store: Arc<dyn JobStore>,
    /// Checks of its store.
    pub(crate) checks: Checks,
}

pub(crate) struct SchedulerParts {
    /// With an audit that has no provider and reports to nothing.
    pub(crate) house: HousekeepingParts,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) jobs: Jobs,
    pub(crate) checks: Checks,
}

pub(crate) struct ConsoleStores {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) jobs: Jobs,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) checks: Checks,
}

/// Opens the audit beside running processes, without a provider; creates nothing in a folder without data.
pub(crate) async fn open_audit(config: &Config, ambient: &Ambient) -> Result<Verify> {
    let jobs = Jobs::open(&config.engines).await?;
    let wiring = Wiring::beside(config, format!("orderworks verify {}", std::process::id()), ambient);
    let orders = wiring.open_orders(Role::Scheduler).await?;
    wiring.audit(&orders, jobs).await
}

/// Opens the order store beside running processes; creates nothing in a folder without data.
pub(crate) async fn open_orders(config: &Config, ambient: &Ambient) -> Result<Arc<dyn OrderStore>> {
    folder::require_orders(&config.engines.orders)?;
    let wiring = Wiring::beside(config, format!("orderworks inspect {}", std::process::id()), ambient);
    wiring.orders().await
}

/// Opens the payment store beside running processes.
pub(crate) async fn open_payments(config: &Config, ambient: &Ambient) -> Result<Arc<dyn PaymentStore>> {
    Wiring::beside(config, format!("orderworks inspect {}", std::process::id()), ambient).payments().await
}

/// Opens the parts of roles, and what they share once.
pub(crate) struct Wiring<'a> {
    pub(crate) config: &'a Config,
    /// Name of this process in leases and records, and to servers.
    pub(crate) name: String,
    pub(crate) ambient: &'a Ambient,
    /// What the stores that were opened show in metrics.
    pub(crate) views: StoreViews,
    shared: SharedParts,
    /// Of the folder of a server; held until this is dropped.
    lock: Option<File>,
}

/// Parts that several roles of a process use, opened at their first use.
#[derive(Default)]
struct SharedParts {
    /// Orders in a file. On a server each role has its own pool.
    orders: OnceCell<Arc<dyn OrderStore>>,
    payments: OnceCell<Arc<dyn PaymentStore>>,
    jobs: OnceCell<(QueueSource, Arc<dyn RecordStore>)>,
    queue: OnceCell<Arc<dyn Engine>>,
    job_store: OnceCell<Arc<dyn JobStore>>,
    declared: OnceCell<()>,
    cache: OnceCell<CacheSource>,
    sessions: OnceCell<Arc<dyn Sessions>>,
}

impl<'a> Wiring<'a> {
    /// Makes the data folder ready for a server, and locks it if it holds the queue.
    pub(crate) fn of_server(config: &'a Config, name: String, ambient: &'a Ambient) -> Result<Self> {
        folder::create(&config.folder)?;
        let lock = match &config.engines.queue {
            QueueEngine::Sqlite { folder } => Some(folder::lock(folder)?),
            QueueEngine::RabbitMq { .. } => None,
        };
        Ok(Self { lock, ..Self::beside(config, name, ambient) })
    }

    /// For a process beside servers, which shares the folder with them.
    pub(crate) fn beside(config: &'a Config, name: String, ambient: &'a Ambient) -> Self {
        let (views, shared) = (StoreViews::default(), SharedParts::default());
        Self { config, name, ambient, views, shared, lock: None }
    }

    /// Parts of the API, which ends its streams with `shutdown`.
    pub(crate) async fn api(&self, shutdown: CancellationToken) -> Result<ApiParts> {
        let orders = self.open_orders(Role::Api).await?;
        let caches = self.cache().await?.api(self.config.cache, self.ambient);
        Ok(ApiParts {
            orders: orders.store,
            payments: self.payments().await?,
            cache: caches.cache,
            shared_limits: caches.shared_limits,
            card_limits: caches.card_limits,
            sessions: self.sessions().await?,
            hooks: HookCaller::new(self.config.api.webhook_urls).context("cannot make an HTTP client")?,
            records: self.records().await?,
            ambient: self.ambient.clone(),
            health: orders.shards.into_iter().chain(caches.check).collect(),
            shutdown,
        })
    }

    pub(crate) async fn worker(&self) -> Result<WorkerParts> {
        let orders = self.open_orders(Role::Worker).await?;
        let payments = self.payments().await?;
        let mut checks = orders.checks();
        checks.push(HealthCheck::payments(Arc::clone(&payments)));
        let jobs = Jobs { queue: self.declared_queue().await?, records: self.records().await? };
        let store = self.job_store().await?;
        Ok(WorkerParts { orders: orders.store, payments, jobs, store, checks })
    }

    pub(crate) async fn relay(&self) -> Result<RelayParts> {
        let orders = self.open_orders(Role::Relay).await?;
        let (checks, queue) = (orders.checks(), self.declared_queue().await?);
        let relay = Relay {
            mail_domains: self.config.mail.per_domain.is_some(),
            ..Relay::new(orders.store, queue.clone(), self.ambient.clone(), self.name.clone())
        };
        Ok(RelayParts { relay, queue, store: self.job_store().await?, checks })
    }

    pub(crate) async fn scheduler(&self) -> Result<SchedulerParts> {
        let orders = self.open_orders(Role::Scheduler).await?;
        let jobs = Jobs { queue: self.queue().await?, records: self.records().await? };
        declare(jobs.queue.as_ref(), &[QueueSpec::new(HOUSEKEEPING)]).await?;
        let (config, checks) = (self.config, orders.checks());
        let audit = match config.verify_every {
            Some(every) => {
                let (verify, grace) = (self.audit(&orders, jobs.clone()).await?, config.verify_grace);
                Some(ScheduledAudit { verify, every, grace, report: Box::new(|_, _| {}) })
            }
            None => None,
        };
        let house = HousekeepingParts {
            orders: orders.store,
            sessions: Arc::new(StoredSessions(self.sessions().await?)),
            records: Arc::clone(&jobs.records),
            records_keep: config.records_keep,
            engine: Arc::clone(&jobs.queue),
            dead_keep: config.dead_keep,
            dead_most: config.dead_most,
            partitions: orders.partitions.map(|tables| Arc::new(tables) as Arc<dyn Partitions>),
            pending_expires: config.pending_expires,
            debit_expires: config.debit_expires,
            audit,
        };
        let store = self.job_store().await?;
        Ok(SchedulerParts { house, store, jobs, checks })
    }

    /// Parts of the console. Declares no queue: those that are there are shown.
    pub(crate) async fn console(&self) -> Result<ConsoleStores> {
        if self.lock.is_none() {
            folder::require_data(&self.config.engines.queue)?;
        }
        let orders = self.open_orders(Role::Console).await?;
        let checks = orders.checks();
        let jobs = Jobs { queue: self.queue().await?, records: self.records().await? };
        let (payments, store) = (self.payments().await?, self.job_store().await?);
        Ok(ConsoleStores { orders: orders.store, payments, jobs, store, checks })
    }

    /// The order store alone.
    pub(crate) async fn orders(&self) -> Result<Arc<dyn OrderStore>> {
        Ok(self.open_orders(Role::Scheduler).await?.store)
    }

    async fn audit(&self, orders: &OpenOrders, jobs: Jobs) -> Result<Verify> {
        Ok(Verify {
            orders: Arc::clone(&orders.store),
            payments: self.payments().await?,
            provider: None,
            engine: jobs.queue,
            records: jobs.records,
            ambient: self.ambient.clone(),
            kept: orders.retention,
        })
    }

    async fn open_orders(&self, role: Role) -> Result<OpenOrders> {
        match &self.config.engines.orders {
            OrdersEngine::Sqlite { folder } => {
                let store = self.shared.orders.get_or_try_init(async || {
                    let store = SqliteOrders::open(&folder.join("orders.db"), self.ambient.clone()).await?;
                    anyhow::Ok(Arc::new(store) as _)
                });
                Ok(OpenOrders::shared(Arc::clone(store.await?)))
            }
            OrdersEngine::Postgres(topology) => {
                let orders = Box::pin(OpenOrders::open(topology, role, &self.name, self.ambient)).await?;
                if let Some(postgres) = &orders.postgres {
                    self.views.add_orders(role.pool(), postgres);
                    if role == Role::Api {
                        self.views.show_reads(postgres);
                    }
                }
                Ok(orders)
            }
        }
    }

    async fn payments(&self) -> Result<Arc<dyn PaymentStore>> {
        let ambient = self.ambient.clone();
        let store = self.shared.payments.get_or_try_init(async || {
            anyhow::Ok(match &self.config.engines.payments {
                PaymentsEngine::Sqlite { folder } => {
                    Arc::new(SqlitePayments::open(&folder.join("payments.db"), ambient).await?) as _
                }
                PaymentsEngine::Cassandra(config) => {
                    Arc::new(CassandraPayments::connect_lazily((**config).clone(), ambient).await?) as _
                }
            })
        });
        Ok(Arc::clone(store.await?))
    }

    async fn jobs(&self) -> Result<&(QueueSource, Arc<dyn RecordStore>)> {
        let open = async || {
            let jobs = queue::open(&self.config.engines.queue, &self.name, self.ambient).await?;
            // Leases beside a running server are those of its workers.
            if self.lock.is_some() {
                jobs.0.recover().await?;
            }
            if let Some(pool) = jobs.0.pool() {
                self.views.add_pool("jobs".to_owned(), pool.clone());
            }
            Ok(jobs)
        };
        self.shared.jobs.get_or_try_init(open).await
    }

    async fn records(&self) -> Result<Arc<dyn RecordStore>> {
        Ok(Arc::clone(&self.jobs().await?.1))
    }

    async fn job_store(&self) -> Result<Arc<dyn JobStore>> {
        let open = async || self.jobs().await?.0.job_store(self.ambient).await;
        Ok(Arc::clone(self.shared.job_store.get_or_try_init(open).await?))
    }

    async fn queue(&self) -> Result<Arc<dyn Engine>> {
        let open = async || self.jobs().await?.0.engine(&self.name, self.ambient);
        Ok(Arc::clone(self.shared.queue.get_or_try_init(open).await?))
    }

    /// The queue, with the queues of the workers declared.
    async fn declared_queue(&self) -> Result<Arc<dyn Engine>> {
        let queue = self.queue().await?;
        let (queues, fair_share) = (&self.config.workers.queues, &self.config.fair_share);
        let queues: Vec<_> = queues.iter().map(|(name, _)| fair_share.spec(name)).collect();
        self.shared.declared.get_or_try_init(async || declare(queue.as_ref(), &queues).await).await?;
        Ok(queue)
    }

    async fn cache(&self) -> Result<&CacheSource> {
        self.shared
            .cache
            .get_or_try_init(async || CacheSource::open(&self.config.engines.cache, self.ambient))
            .await
    }

    async fn sessions(&self) -> Result<Arc<dyn Sessions>> {
        let open = async || self.cache().await?.sessions(self.ambient).await;
        Ok(Arc::clone(self.shared.sessions.get_or_try_init(open).await?))
    }
}

/// Declares queues if the engine is reachable. The users of an unreachable broker wait for it themselves; a broker that
/// rejects the login is an error at once.
async fn declare(engine: &dyn Engine, queues: &[QueueSpec]) -> Result<(), EngineError> {
    match engine.declare(queues).await {
        Err(error) if error.is_transient() => Ok(()),
        declared => declared,
    }
}
