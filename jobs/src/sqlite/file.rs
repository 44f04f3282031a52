//! The queue file as opened by one engine handle, shared by publishing, consuming and administration.

use std::{
    collections::HashSet,
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Duration,
};

use base::{
    Ambient,
    sqlite::{Database, Query},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::SqliteConnection;

use super::{
    consumer::ConsumerShared,
    fault::{SqliteFault, unavailable},
    wake::Wakes,
};
use crate::engine::EngineError;

/// Longest wait for the result of a write; another process may hold the file's lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Queues in a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteEngine {
    pub(super) file: Arc<QueueFile>,
}

pub(super) struct QueueFile {
    pub(super) database: Database,
    pub(super) ambient: Ambient,
    pub(super) wakes: Wakes,
    /// Names this handle in the rows of its consumers.
    pub(super) process: String,
    /// Whether suspects held up the last claim, see [`super::suspect`]: then the end of any job wakes all consumers.
    pub(super) held_up: AtomicBool,
    /// Consumers of this handle, whose jobs get cancellations at once.
    consumers: Mutex<Vec<Weak<ConsumerShared>>>,
    /// Queues known to exist; a queue is never removed.
    pub(super) declared: Mutex<HashSet<String>>,
}

impl QueueFile {
    pub(super) fn new(database: Database, ambient: Ambient) -> Self {
        let process = ambient.uuid().to_string();
        Self {
            database,
            ambient,
            wakes: Wakes::default(),
            process,
            held_up: AtomicBool::new(false),
            consumers: Mutex::default(),
            declared: Mutex::default(),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.ambient.now().as_millisecond()
    }

    pub(super) fn add_consumer(&self, shared: &Arc<ConsumerShared>) {
        self.consumers.lock().push(Arc::downgrade(shared));
    }

    pub(super) fn live_consumers(&self) -> Vec<Arc<ConsumerShared>> {
        let mut consumers = self.consumers.lock();
        consumers.retain(|c| c.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Sessions of the consumers of this handle that run.
    pub(super) fn live_sessions(&self) -> Vec<i64> {
        self.live_consumers().iter().map(|consumer| consumer.session()).collect()
    }

    pub(super) async fn queue_names(&self) -> Result<Vec<String>, EngineError> {
        let names = sqlx::query_scalar("SELECT name FROM queues ORDER BY name");
        Ok(names.fetch_all(self.database.readers()).await.map_err(SqliteFault::from)?)
    }

    /// Runs one write unit and returns its result within [`ANSWER_TIMEOUT`]; the unit itself runs to its end in any
    /// case.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, SqliteFault>> + Send + 'static,
    {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.database.write(work)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(unavailable("no result of the write in time")),
        }
    }

    /// Runs one statement as a write unit; returns the number of rows changed.
    pub(super) async fn execute(&self, statement: Query<'static>) -> Result<u64, EngineError> {
        self.write(move |c| Box::pin(async move { Ok(statement.execute(c).await?.rows_affected()) })).await
    }

    /// Returns [`EngineError::NoSuchQueue`] unless all queues are declared.
    pub(super) async fn require_queues(&self, names: HashSet<&str>) -> Result<(), EngineError> {
        if names.iter().all(|name| self.declared.lock().contains(*name)) {
            return Ok(());
        }
        let known: HashSet<String> = self.queue_names().await?.into_iter().collect();
        let missing = names.into_iter().find(|name| !known.contains(*name)).map(str::to_owned);
        *self.declared.lock() = known;
        missing.map_or(Ok(()), |name| Err(EngineError::NoSuchQueue(name)))
    }
}

pub(super) fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!(
        "migrations/sqlite/queue",
        [
            "0001_jobs",
            "0002_attempts",
            "0003_suspects",
            "0005_dead_age",
            "0006_unique",
            "0007_fair",
            "0008_order"
        ]
    )
}
