//! The engine of the embedded mode: all queues in one SQLite file.
//!
//! Guarantees the whole of [`crate::engine`] with [`Capabilities::FULL`], after a kill and a power cut, for any number
//! of processes on the same file. Does not scale beyond one machine.
//!
//! Read on in `driver` (loop of a consumer), `exchange` (its transaction), `lease` (ownership of running jobs),
//! `publish`, `control` and `inspect` (operator actions).

mod claim;
mod consumer;
mod control;
mod driver;
mod exchange;
mod fault;
mod inspect;
mod lease;
mod publish;
mod records;
mod row;
mod settle;
mod wake;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
pub use base::sqlite::OpenError;
use base::{Ambient, sqlite::Database};
use futures::future::BoxFuture;
use sqlx::SqliteConnection;

pub use self::records::SqliteRecords;
use self::{consumer::ConsumerShared, fault::QueueFault, wake::Wakes};
use crate::{
    engine::{
        Admin, Cancelled, Capabilities, Consume, ConsumeOptions, Consumer, ConsumerInfo, DeadFilter, Depth,
        EngineError, EngineInfo, InspectedJob, JobFilter, Publish, Published, QueueSpec,
    },
    envelope::{Envelope, JobId},
};

/// Read connections for listings and polls, beside the one writer.
const READERS_MAX: u32 = 5;
/// Longest wait for the result of a write; another process may hold the file's lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Queues in a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteEngine {
    inner: Arc<SqliteQueue>,
}

struct SqliteQueue {
    database: Database,
    ambient: Ambient,
    wakes: Wakes,
    /// Consumers of this handle, whose jobs get cancellations at once.
    consumers: Mutex<Vec<Weak<ConsumerShared>>>,
    /// Queues known to exist; a queue is never removed.
    declared: Mutex<HashSet<String>>,
}

impl SqliteEngine {
    /// Opens or creates the file and applies pending migrations. Must be called within a tokio runtime. Several
    /// processes may have the file open.
    pub async fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        let database = Database::open(path, &migrations(), READERS_MAX).await?;
        let inner = SqliteQueue {
            database,
            ambient,
            wakes: Wakes::default(),
            consumers: Mutex::default(),
            declared: Mutex::default(),
        };
        let engine = Self { inner: Arc::new(inner) };
        tokio::spawn(wake::watch_other_writers(Arc::downgrade(&engine.inner)));
        Ok(engine)
    }

    /// The attempt records in the same file.
    pub fn records(&self) -> SqliteRecords {
        SqliteRecords::new(self.inner.database.clone())
    }

    /// Releases at once the jobs held by consumers of earlier processes, each charged one crash, so that a restart need
    /// not wait for leases to expire. Returns how many.
    ///
    /// Only for a process that owns the data folder alone: it takes away the jobs of every other live handle.
    pub async fn recover_orphans(&self) -> Result<u64, EngineError> {
        let now = self.inner.now_ms();
        let mine: Vec<i64> = self.inner.live_consumers().iter().map(|c| c.session()).collect();
        let given = self
            .inner
            .write(move |c| {
                Box::pin(async move {
                    let mine = serde_json::Value::from(mine).to_string();
                    sqlx::query(
                        "DELETE FROM consumers WHERE session NOT IN (SELECT value FROM json_each(?1))",
                    )
                    .bind(mine)
                    .execute(&mut *c)
                    .await?;
                    lease::give_back_orphans(c, now).await
                })
            })
            .await?;
        self.inner.wakes.wake_all();
        if given > 0 {
            tracing::info!(jobs = given, "jobs of earlier processes released");
        }
        Ok(given)
    }
}

impl SqliteQueue {
    fn now_ms(&self) -> i64 {
        self.ambient.now().as_millisecond()
    }

    fn live_consumers(&self) -> Vec<Arc<ConsumerShared>> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|c| c.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Runs one write unit and returns its result within [`ANSWER_TIMEOUT`]; the unit itself runs to its end in any
    /// case.
    async fn write<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, QueueFault>> + Send + 'static,
    {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.database.write(work)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(fault::unavailable("no result of the write in time")),
        }
    }

    /// Returns [`EngineError::NoSuchQueue`] unless all queues are declared.
    async fn require_queues(&self, names: HashSet<&str>) -> Result<(), EngineError> {
        let unknown: Vec<String> = {
            let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
            names.into_iter().filter(|name| !declared.contains(*name)).map(str::to_owned).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let known: HashSet<String> = self.queue_names().await?.into_iter().collect();
        let missing = unknown.into_iter().find(|name| !known.contains(name));
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = known;
        missing.map_or(Ok(()), |name| Err(EngineError::NoSuchQueue(name)))
    }
}

impl EngineInfo for SqliteEngine {
    fn name(&self) -> &'static str {
        fault::ENGINE
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }
}

#[async_trait]
impl Publish for SqliteEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        self.inner.publish(envelopes).await
    }
}

#[async_trait]
impl Consume for SqliteEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        self.inner.declare(queues).await
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        self.inner.require_queues(HashSet::from([queue])).await?;
        driver::start(self.inner.clone(), queue, options).await
    }
}

#[async_trait]
impl Admin for SqliteEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.inner.depth(queue).await
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.inner.queue_names().await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        self.inner.consumers().await
    }

    async fn pause(&self, queue: &str) -> Result<(), EngineError> {
        self.inner.set_paused(queue, true).await
    }

    async fn resume(&self, queue: &str) -> Result<(), EngineError> {
        self.inner.set_paused(queue, false).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.inner.purge(queue).await
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        self.inner.cancel(id, reason).await
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        self.inner.retry_now(id).await
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        self.inner.list(filter).await
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        self.inner.find(id).await
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        self.inner.redrive(filter).await
    }
}

fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!("migrations/sqlite/queue", ["0001_jobs", "0002_attempts"])
}
