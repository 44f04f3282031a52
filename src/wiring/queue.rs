//! Queue and log of attempts: of a running server, and for inspection and control beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use base::{Ambient, postgres::PoolView};
use jobs::{
    Engine,
    job_store::{JobStore, PostgresJobStore, SqliteJobStore},
    rabbitmq::{RabbitEngine, RabbitServer},
    records::{PostgresRecords, RecordStore},
    sqlite::{SqliteEngine, SqliteRecords},
};
use secrecy::ExposeSecret;

use super::{folder, schema::unless_transient};
use crate::config::{Engines, OrdersEngine, QueueEngine, RabbitMq};

/// Connections of the job store and the log of attempts together.
const CONNECTIONS: u32 = 4;

#[derive(Clone)]
pub(crate) struct Jobs {
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) records: Arc<dyn RecordStore>,
}

impl Jobs {
    /// Opens both for inspection and control, with or without a running server; creates nothing in a folder without
    /// data.
    pub(crate) async fn open(engines: &Engines) -> anyhow::Result<Self> {
        if let QueueEngine::Sqlite { folder } = &engines.queue {
            folder::require(folder, &folder::queue(folder))?;
        }
        let name = format!("orderworks control {}", std::process::id());
        let (source, records) = open(&engines.queue, &name, &Ambient::system()).await?;
        Ok(Self { queue: source.engine(&name, &Ambient::system())?, records })
    }

    /// Fails for a queue that was never declared: every listing of it would be empty.
    pub(crate) async fn require_queue(&self, queue: Option<&String>) -> anyhow::Result<()> {
        let Some(queue) = queue else { return Ok(()) };
        let known = self.queue.queues().await?;
        if !known.contains(queue) {
            bail!("no queue {queue}; there are: {}", known.join(", "));
        }
        Ok(())
    }
}

/// What is kept beside a broker, and the pool of its connections where it is in a database.
type BrokerStores = (Arc<dyn JobStore>, Arc<dyn RecordStore>, Option<PoolView>);

/// Engine of the queue. One of a broker is not connected before it is needed.
pub(super) enum QueueSource {
    /// With the file of the job store, which this engine does not need.
    Sqlite(SqliteEngine, PathBuf),
    /// With the job store, and the pool of its connections where it is in a database.
    RabbitMq(RabbitMq, Arc<dyn JobStore>, Option<PoolView>),
}

impl QueueSource {
    /// Reclaims the jobs of a folder that this process has locked: every lease in it belongs to a dead process, so
    /// nothing waits for the leases to expire.
    pub(super) async fn recover(&self) -> anyhow::Result<()> {
        let Self::Sqlite(engine, _) = self else { return Ok(()) };
        let orphans = engine.recover_orphans().await?;
        if orphans > 0 {
            tracing::info!(jobs = orphans, "jobs of a dead process reclaimed");
        }
        Ok(())
    }

    pub(super) fn engine(&self, name: &str, ambient: &Ambient) -> anyhow::Result<Arc<dyn Engine>> {
        match self {
            Self::Sqlite(engine, _) => Ok(Arc::new(engine.clone())),
            Self::RabbitMq(server, store, _) => {
                let ca_pem = server.ca_file.as_deref().map(read_certificates).transpose()?;
                let server = RabbitServer { url: server.url.expose_secret(), ca_pem: ca_pem.as_deref() };
                Ok(Arc::new(RabbitEngine::new(server, name, Arc::clone(store), ambient.clone())?))
            }
        }
    }

    /// The pool of connections to the database of the job store.
    pub(super) fn pool(&self) -> Option<&PoolView> {
        match self {
            Self::Sqlite(..) => None,
            Self::RabbitMq(_, _, pool) => pool.as_ref(),
        }
    }

    /// The job store: that of the broker, or a file beside the queue's.
    pub(super) async fn job_store(&self, ambient: &Ambient) -> anyhow::Result<Arc<dyn JobStore>> {
        Ok(match self {
            Self::Sqlite(_, file) => Arc::new(SqliteJobStore::open(file, ambient.clone()).await?),
            Self::RabbitMq(_, store, _) => store.clone(),
        })
    }
}

pub(super) async fn open(
    engine: &QueueEngine,
    name: &str,
    ambient: &Ambient,
) -> anyhow::Result<(QueueSource, Arc<dyn RecordStore>)> {
    let (server, store) = match engine {
        QueueEngine::Sqlite { folder } => {
            let engine = SqliteEngine::open(&folder::queue(folder), ambient.clone()).await?;
            let records = Arc::new(engine.records());
            return Ok((QueueSource::Sqlite(engine, folder::job_store(folder)), records));
        }
        QueueEngine::RabbitMq { server, store } => (server, store),
    };
    let (jobs, records, pool): BrokerStores = match store {
        OrdersEngine::Sqlite { folder } => (
            Arc::new(SqliteJobStore::open(&folder::job_store(folder), ambient.clone()).await?),
            Arc::new(SqliteRecords::open(&folder.join("records.db")).await?),
            None,
        ),
        OrdersEngine::Postgres(topology) => {
            let database = base::postgres::connect(&topology.server.pool(name, CONNECTIONS)).await?;
            unless_transient(jobs::postgres::check(&database).await)?;
            let pool = Some(database.pool());
            (
                Arc::new(PostgresJobStore::new(database.clone(), ambient.clone())),
                Arc::new(PostgresRecords::new(database, ambient.clone()).await?),
                pool,
            )
        }
    };
    Ok((QueueSource::RabbitMq(server.clone(), jobs, pool), records))
}

/// Opens the job store beside running processes, also where the queue is in a file and needs none itself.
pub(crate) async fn open_job_store(
    engines: &Engines,
    ambient: &Ambient,
) -> anyhow::Result<Arc<dyn JobStore>> {
    let name = format!("orderworks job store {}", std::process::id());
    open(&engines.queue, &name, ambient).await?.0.job_store(ambient).await
}

/// Opens the job store for the reports of runs; `None` where there is no file yet, and so no report.
pub(crate) async fn open_reports(
    engines: &Engines,
    ambient: &Ambient,
) -> anyhow::Result<Option<Arc<dyn JobStore>>> {
    match &engines.queue {
        QueueEngine::Sqlite { folder } if !folder::job_store(folder).exists() => Ok(None),
        _ => Ok(Some(open_job_store(engines, ambient).await?)),
    }
}

fn read_certificates(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read the certificates in {}", file.display()))
}
