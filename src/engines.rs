//! Which engine stands behind which contract, from the configuration.
//!
//! Guarantees: with the queue in a file, two servers never share a folder (an exclusive lock, released by the kernel
//! when its holder dies); looking at a folder creates nothing. Does not start anything, see [`crate::roles`].

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use base::Ambient;
use jobs::{
    Engine,
    job_store::SqliteJobStore,
    rabbitmq::{RabbitEngine, RabbitServer},
    records::RecordStore,
    sqlite::{SqliteEngine, SqliteRecords},
};
use secrecy::ExposeSecret;
use store::{
    OrderStore, PaymentStore,
    sqlite::{SqliteOrders, SqlitePayments},
};

use crate::config::{Config, QueueEngine};

/// Everything a role may need, opened.
pub(crate) struct Engines {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) jobs: Jobs,
    pub(crate) folder: PathBuf,
    /// Held as long as this lives.
    _lock: Option<File>,
}

/// The queue and what is known of finished attempts.
#[derive(Clone)]
pub(crate) struct Jobs {
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) records: Arc<dyn RecordStore>,
}

impl Engines {
    /// Opens what the configuration names, creating and migrating files where needed. `name` is how servers see this
    /// process.
    pub(crate) async fn open(config: &Config, name: &str, ambient: &Ambient) -> anyhow::Result<Self> {
        let folder = &config.data.folder;
        let writable = || format!("the data folder {} cannot be used", folder.display());
        fs::create_dir_all(folder).with_context(writable)?;
        let (jobs, lock) = match config.engines.queue {
            QueueEngine::Sqlite => {
                let lock = lock(folder)?;
                let queue = SqliteEngine::open(&queue_file(folder), ambient.clone()).await?;
                // The lock is ours, so whoever holds leases in this file is dead: no need to wait for them to run out.
                let orphans = queue.recover_orphans().await?;
                if orphans > 0 {
                    tracing::info!(jobs = orphans, "took back jobs of a process that died");
                }
                (Jobs::of_file(queue), Some(lock))
            }
            QueueEngine::RabbitMq => (rabbit(config, name, ambient).await?, None),
        };
        let orders = SqliteOrders::open(&folder.join("orders.db"), ambient.clone()).await?;
        let payments = SqlitePayments::open(&folder.join("payments.db"), ambient.clone()).await?;
        Ok(Self {
            orders: Arc::new(orders),
            payments: Arc::new(payments),
            jobs,
            folder: folder.clone(),
            _lock: lock,
        })
    }
}

impl Jobs {
    /// For looking and steering beside a running server, or without one.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let folder = &config.data.folder;
        match config.engines.queue {
            QueueEngine::Sqlite if !queue_file(folder).exists() => bail!(
                "there is no data in {}: start `orderworks dev` there first, or choose another --data",
                folder.display()
            ),
            QueueEngine::Sqlite => Ok(Self::of_file(SqliteEngine::open(&queue_file(folder), ambient).await?)),
            QueueEngine::RabbitMq => {
                let name = format!("orderworks control {}", std::process::id());
                rabbit(config, &name, &ambient).await
            }
        }
    }

    fn of_file(queue: SqliteEngine) -> Self {
        Self { records: Arc::new(queue.records()), queue: Arc::new(queue) }
    }
}

/// The broker, and beside it in the data folder what a broker cannot keep.
async fn rabbit(config: &Config, name: &str, ambient: &Ambient) -> anyhow::Result<Jobs> {
    let folder = &config.data.folder;
    let store = Arc::new(SqliteJobStore::open(&folder.join("jobs.db"), ambient.clone()).await?);
    let records = SqliteRecords::open(&folder.join("records.db")).await?;
    let ca_pem = config.rabbitmq.ca_file.as_deref().map(read_certificates).transpose()?;
    let server = RabbitServer { url: config.rabbitmq.url.expose_secret(), ca_pem: ca_pem.as_deref() };
    let queue = RabbitEngine::new(server, name, store, ambient.clone())?;
    Ok(Jobs { queue: Arc::new(queue), records: Arc::new(records) })
}

fn read_certificates(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read the certificates in {}", file.display()))
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let writable = || format!("the data folder {} cannot be used", folder.display());
    let lock = File::create(folder.join("orderworks.lock")).with_context(writable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another orderworks process runs over {}; stop it or choose another --data",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(writable),
    }
}

fn queue_file(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}
