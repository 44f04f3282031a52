//! The engine of the embedded mode: all queues in one SQLite file.
//!
//! Guarantees the whole of [`crate::engine`] with [`Capabilities::FULL`], after a kill and a power cut, for any number
//! of processes on the same file. Does not scale beyond one machine.
//!
//! Read on in `publish`, `driver` (loop of a consumer), `exchange` (its transaction), `fair` (clocks of fair queues),
//! `order` (jobs behind their order key), `lease` (ownership of running jobs), `admin` and `control` (operator actions
//! and their transactions).

mod admin;
mod claim;
mod consumer;
mod control;
mod driver;
mod exchange;
mod fair;
pub(crate) mod fault;
mod file;
mod lease;
mod order;
mod other_writers;
mod publish;
mod records;
mod row;
mod settle;
mod suspect;
mod unique;
mod wake;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
pub use base::sqlite::OpenError;
use base::{Ambient, sqlite::Database};

use self::file::QueueFile;
pub use self::{file::SqliteEngine, records::SqliteRecords};
use crate::engine::{Capabilities, Consume, ConsumeOptions, Consumer, EngineError, EngineInfo, QueueSpec};

/// Read connections for listings and polls, beside the one writer.
const READERS_MAX: u32 = 5;

impl SqliteEngine {
    /// Opens or creates the file and applies pending migrations. Must be called within a tokio runtime. Several
    /// processes may have the file open.
    pub async fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        let database = Database::open(path, &file::migrations(), READERS_MAX).await?;
        let file = Arc::new(QueueFile::new(database, ambient));
        tokio::spawn(other_writers::watch(Arc::downgrade(&file)));
        Ok(Self { file })
    }

    /// The attempt records in the same file.
    pub fn records(&self) -> SqliteRecords {
        SqliteRecords { database: self.file.database.clone() }
    }

    /// Releases at once the jobs held by consumers of earlier processes, each charged one crash, so that a restart need
    /// not wait for leases to expire. Returns how many.
    ///
    /// Only for a process that owns the data folder alone: it takes away the jobs of every other live handle.
    pub async fn recover_orphans(&self) -> Result<u64, EngineError> {
        let now = self.file.now_ms();
        let mine = self.file.live_sessions();
        let given = self.file.write(move |c| Box::pin(lease::release_others(c, mine, now))).await?;
        self.file.wakes.wake_all();
        if given > 0 {
            tracing::info!(jobs = given, "jobs of earlier processes released");
        }
        Ok(given)
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
impl Consume for SqliteEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        queues.iter().try_for_each(QueueSpec::check)?;
        let names: Vec<String> = queues.iter().map(|q| q.name.clone()).collect();
        let queues = queues.to_vec();
        self.file.write(move |c| Box::pin(fair::declare(c, queues))).await?;
        self.file.declared.lock().extend(names);
        Ok(())
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        self.file.require_queues([queue].into()).await?;
        driver::start(self.file.clone(), queue, options).await
    }
}
