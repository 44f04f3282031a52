//! The log of attempts in PostgreSQL, one partition a day.
//!
//! Guarantees: a batch is one statement; listings read an index in its order; expiry drops whole days
//! ([`RecordStore::expiry_grain`]) and deletes no row. Partitions are created ahead of time, when the store is opened
//! and at each expiry, and by an insert that lacks one. Read on in `partitions`.

mod partitions;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{
    Ambient, Timestamp, ids,
    postgres::{Database, OpenError, PostgresConfig, classify, connect, retry_serialization},
};
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};

use crate::{
    JobId,
    engine::{EngineError, LIST_MAX},
    postgres::{PostgresFault, column, text},
    records::{
        AttemptRecord, RecordFilter, RecordStore,
        row::{self, columns},
    },
};

const ENGINE: &str = "attempt records";
/// Largest clock difference between publishers and workers.
const CLOCK_SKEW: Duration = Duration::from_hours(24);

const APPEND: &str = "
    INSERT INTO jobs.attempts (job, attempt, started_at, kind, queue, subject, worker, created_at, duration_ns,
      outcome, error, trace)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
      $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[])
    ON CONFLICT DO NOTHING";

const LIST: &str = concat!("SELECT ", columns!(), " FROM jobs.attempts WHERE started_at < ");

/// A [`RecordStore`] over the schema `jobs`. Clones share the connections.
#[derive(Debug, Clone)]
pub struct PostgresRecords {
    database: Database,
    ambient: Ambient,
}

impl PostgresRecords {
    /// Connects to a server whose schema [`crate::postgres::migrate`] has brought up to date.
    pub async fn open(config: &PostgresConfig, ambient: Ambient) -> Result<Self, OpenError> {
        Self::new(connect(config).await?, ambient).await.map_err(OpenError::Connect)
    }

    /// A store over a connection pool shared with others. Creates the partitions of the coming days; while the server
    /// is unavailable that is left to the first batch.
    pub async fn new(database: Database, ambient: Ambient) -> Result<Self, sqlx::Error> {
        let records = Self { database, ambient };
        match partitions::prepare_coming_days(&records.database, records.ambient.now()).await {
            Err(error) if !classify(&error).error_class().is_transient() => Err(error),
            _ => Ok(records),
        }
    }

    async fn try_append(&self, batch: &[AttemptRecord]) -> Result<(), PostgresFault> {
        match self.insert(batch).await {
            Err(error) if partitions::is_missing(&error) => {
                partitions::prepare_days_of(&self.database, batch).await?;
                Ok(self.insert(batch).await?)
            }
            result => Ok(result?),
        }
    }

    async fn insert(&self, batch: &[AttemptRecord]) -> Result<(), sqlx::Error> {
        let owned = |value: &str| text(value).into_owned();
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let insert = sqlx::query(APPEND)
            .bind(column(batch, |record| record.job.0))
            .bind(column(batch, |record| i64::from(record.attempt)))
            .bind(column(batch, |record| record.started_at.as_millisecond()))
            .bind(column(batch, |record| owned(&record.kind)))
            .bind(column(batch, |record| owned(&record.queue)))
            .bind(column(batch, |record| record.subject.as_deref().map(owned)))
            .bind(column(batch, |record| owned(&record.worker)))
            .bind(column(batch, |record| record.created_at.as_millisecond()))
            .bind(column(batch, |record| nanos(record.duration)))
            .bind(column(batch, |record| record.outcome.as_str()))
            .bind(column(batch, |record| record.error.as_deref().map(owned)))
            .bind(column(batch, |record| record.trace.as_ref().map(ToString::to_string)));
        self.database.run(insert).await.map(drop)
    }
}

fn record(row: &PgRow) -> Result<AttemptRecord, sqlx::Error> {
    row::record(row, JobId(row.try_get("job")?))
}

/// The listing statement of a filter. Contains only the conditions set, so that each combination has its own plan.
fn select(filter: &RecordFilter) -> QueryBuilder<Postgres> {
    let mut select = QueryBuilder::new(LIST);
    select.push_bind(filter.before.map_or(i64::MAX, Timestamp::as_millisecond));
    if let Some(job) = filter.job {
        select.push(" AND job = ").push_bind(job.0);
        if let Some(made) = ids::timestamp_of(job.0) {
            // No attempt starts before the job's id was created: earlier days need not be searched.
            let made = made.checked_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
            select.push(" AND started_at >= ").push_bind(made.as_millisecond());
        }
    }
    if let Some(outcome) = filter.outcome {
        // A literal, so that the planner can use the partial index.
        select.push(" AND outcome = '").push(outcome.as_str()).push("'");
    }
    let texts = [("subject", &filter.subject), ("queue", &filter.queue), ("kind", &filter.kind)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            select.push(" AND ").push(column).push(" = ").push_bind(text(wanted).into_owned());
        }
    }
    select
        .push(" ORDER BY started_at DESC, attempt DESC LIMIT ")
        .push_bind(i64::from(filter.limit.min(LIST_MAX)));
    select
}

#[async_trait]
impl RecordStore for PostgresRecords {
    async fn append(&self, batch: Arc<[AttemptRecord]>) -> Result<(), EngineError> {
        let mut batch = batch.to_vec();
        // Sorted, so that two writers of one batch wait for each other instead of deadlocking.
        batch.sort_by_key(|record| (record.job, record.attempt, record.started_at));
        let appended = retry_serialization(&self.ambient, || self.try_append(&batch)).await;
        appended.map_err(|fault| fault.of(ENGINE))
    }

    async fn list(&self, filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError> {
        let rows = self.database.rows(select(filter).build()).await;
        let records = rows.and_then(|rows| rows.iter().map(record).collect());
        records.map_err(|error| PostgresFault::from(error).of(ENGINE))
    }

    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64, EngineError> {
        let expired = retry_serialization(&self.ambient, async || {
            partitions::prepare_coming_days(&self.database, self.ambient.now()).await?;
            partitions::drop_days_before(&self.database, before, limit).await
        });
        expired.await.map_err(|error| PostgresFault::from(error).of(ENGINE))
    }

    fn expiry_grain(&self) -> Duration {
        partitions::WIDTH
    }
}
