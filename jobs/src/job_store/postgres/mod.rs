//! The job store in PostgreSQL, for many processes on many machines.
//!
//! Guarantees: claims of several processes never overlap and do not wait for each other; every method may be repeated
//! after an error, also when the outcome is unknown: writes are keyed by the job, and a claim whose reply was lost
//! expires. Claims are in `schedule`.

mod control;
mod dead;
mod fair;
mod keys;
mod limits;
mod limits_in_use;
mod notes;
mod operations;
mod order;
mod page;
mod reports;
mod schedule;
mod schedules;
#[cfg(test)]
mod tests;
mod workers;

use std::future::Future;

use base::{
    Ambient,
    postgres::{Database, OpenError, PostgresConfig, Query, connect, retry_serialization},
};
use sqlx::{Row, postgres::PgRow};

use crate::{engine::EngineError, postgres::PostgresFault};

/// Scheduled and dead jobs, schedules, bulk operations, limits, run reports, cancel requests, pauses, unique and order
/// keys in the schema `jobs`. Clones share the connections.
#[derive(Debug, Clone)]
pub struct PostgresJobStore {
    database: Database,
    ambient: Ambient,
}

impl PostgresJobStore {
    /// Connects to a server whose schema [`crate::postgres::migrate`] has brought up to date.
    pub async fn open(config: &PostgresConfig, ambient: Ambient) -> Result<Self, OpenError> {
        Ok(Self::new(connect(config).await?, ambient))
    }

    /// A store over a connection pool shared with others.
    pub fn new(database: Database, ambient: Ambient) -> Self {
        Self { database, ambient }
    }

    /// Runs a transaction; repeats it after a serialization failure or a deadlock.
    async fn run<T, F>(&self, unit: impl FnMut() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        retry_serialization(&self.ambient, unit).await.map_err(engine_error)
    }

    /// Runs one statement as a transaction.
    async fn execute<'q>(&self, statement: impl Fn() -> Query<'q>) -> Result<(), EngineError> {
        self.run(async || Ok(self.database.run(statement()).await.map(drop)?)).await
    }

    async fn rows<'q>(&self, statement: impl Fn() -> Query<'q>) -> Result<Vec<PgRow>, EngineError> {
        self.run(async || Ok(self.database.rows(statement()).await?)).await
    }

    async fn number<'q>(&self, statement: impl Fn() -> Query<'q>) -> Result<i64, EngineError> {
        self.run(async || {
            let row = self.database.row(statement()).await?;
            Ok(row.ok_or(sqlx::Error::RowNotFound)?.get(0))
        })
        .await
    }
}

fn engine_error(error: impl Into<PostgresFault>) -> EngineError {
    error.into().of("job store")
}
