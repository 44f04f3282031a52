//! The job store in a SQLite file, for one machine.

mod control;
mod dead;
mod fair;
mod keys;
mod limits;
mod notes;
mod operations;
mod order;
mod reports;
mod schedule;
mod schedules;
mod workers;

use std::path::Path;

use base::{
    Ambient,
    sqlite::{Database, OpenError, Query},
};
use futures::future::BoxFuture;
use sqlx::SqliteConnection;

use crate::{engine::EngineError, sqlite::fault::SqliteFault};

/// Read connections beside the one writer.
const READERS_MAX: u32 = 3;

/// Scheduled and dead jobs, schedules, bulk operations, limits, run reports, cancel requests, pauses, unique and order
/// keys in a file. Clones share it.
#[derive(Clone)]
pub struct SqliteJobStore {
    database: Database,
    ambient: Ambient,
}

impl SqliteJobStore {
    /// Opens or creates the file and brings its schema up to date. Must be called within a tokio runtime.
    pub async fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(path, &migrations(), READERS_MAX).await?, ambient })
    }

    async fn write<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, SqliteFault>> + Send + 'static,
    {
        self.database.write(work).await.map_err(engine_error)
    }

    /// Runs a statement that changes one row or none; returns whether it did.
    async fn changes(&self, statement: Query<'static>) -> Result<bool, EngineError> {
        self.write(move |c| Box::pin(async move { Ok(statement.execute(c).await?.rows_affected() == 1) }))
            .await
    }

    async fn execute(&self, statement: Query<'static>) -> Result<(), EngineError> {
        self.write(move |c| Box::pin(async move { Ok(statement.execute(c).await.map(drop)?) })).await
    }
}

fn engine_error(error: impl Into<SqliteFault>) -> EngineError {
    error.into().of("job store")
}

fn ids_json(ids: &[crate::JobId]) -> String {
    ids.iter().map(ToString::to_string).collect::<serde_json::Value>().to_string()
}

fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!(
        "migrations/sqlite/job_store",
        [
            "0001_job_store",
            "0002_inspection",
            "0003_unique_keys",
            "0004_dead_jobs",
            "0005_schedules",
            "0006_run_reports",
            "0007_unique",
            "0008_worker_notes",
            "0009_operations",
            "0010_limits",
            "0011_fair",
            "0012_order"
        ]
    )
}
