//! Attempt records in the queue's file.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use base::{
    Timestamp,
    ids::Uuid,
    sqlite::{Database, OpenError, Query},
};
use sqlx::{AssertSqlSafe, Row, Sqlite, sqlite::SqliteRow};

use super::fault::SqliteFault;
use crate::{
    JobId,
    engine::{EngineError, LIST_MAX},
    records::{
        AttemptOutcome, AttemptRecord, RecordFilter, RecordStore,
        row::{self, columns},
    },
};

/// Records per statement; each statement occupies the thread that holds the file. The full statement is kept prepared;
/// for other sizes there would be too many.
const RECORDS_PER_STATEMENT: usize = 1024;
/// Read connections when the file holds records alone.
const READERS_MAX: u32 = 2;

const LIST: &str = concat!("SELECT ", columns!(), " FROM attempts WHERE started_at < ");

/// A [`RecordStore`] over a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteRecords {
    pub(super) database: Database,
}

impl SqliteRecords {
    /// Opens or creates a file for attempt records alone, for engines that keep their jobs elsewhere. Must be called
    /// within a tokio runtime.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        // Creates the queue's tables too, which stay empty: both uses share one history of migrations.
        Ok(Self { database: Database::open(path, &super::file::migrations(), READERS_MAX).await? })
    }
}

#[async_trait]
impl RecordStore for SqliteRecords {
    async fn append(&self, batch: Arc<[AttemptRecord]>) -> Result<(), EngineError> {
        let written: Result<(), SqliteFault> = self
            .database
            .write(move |c| {
                Box::pin(async move {
                    let mut records: Vec<&AttemptRecord> = batch.iter().collect();
                    records.sort_by_key(|record| common(record));
                    for alike in records.chunk_by(|one, next| common(one) == common(next)) {
                        for records in alike.chunks(RECORDS_PER_STATEMENT) {
                            insert(records).execute(&mut *c).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await;
        Ok(written?)
    }

    async fn list(&self, filter: &RecordFilter) -> Result<Vec<AttemptRecord>, EngineError> {
        let mut select = sqlx::QueryBuilder::<Sqlite>::new(LIST);
        select.push_bind(filter.before.map_or(i64::MAX, Timestamp::as_millisecond));
        if let Some(job) = filter.job {
            select.push(" AND job = ").push_bind(job.0.as_bytes().to_vec());
        }
        let (subject, queue) = (filter.subject.as_deref(), filter.queue.as_deref());
        let (kind, outcome) = (filter.kind.as_deref(), filter.outcome.map(AttemptOutcome::as_str));
        let wanted = [("subject", subject), ("queue", queue), ("kind", kind), ("outcome", outcome)];
        super::row::only(&mut select, &wanted);
        select.push(" ORDER BY started_at DESC, attempt DESC LIMIT ").push_bind(filter.limit.min(LIST_MAX));
        let rows = select.build().fetch_all(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(rows.iter().map(record).collect::<Result<_, _>>().map_err(SqliteFault::from)?)
    }

    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64, EngineError> {
        let expire = sqlx::query(
            "DELETE FROM attempts WHERE (started_at, job, attempt) IN (
               SELECT started_at, job, attempt FROM attempts WHERE started_at < ?1
               ORDER BY started_at LIMIT ?2)",
        );
        let expire = expire.bind(before.as_millisecond()).bind(limit);
        Ok(self.database.run(expire).await.map_err(SqliteFault::from)?)
    }
}

/// Values that many records of a batch have in common; bound once per statement.
fn common(record: &AttemptRecord) -> [&str; 4] {
    [&record.kind, &record.queue, &record.worker, record.outcome.as_str()]
}

/// Statement for records with equal [`common`] values. Bound values rather than one JSON array, which SQLite would
/// parse again for every column of every record, and no text twice: at full speed the records are among the largest
/// costs of a worker.
fn insert<'q>(records: &[&'q AttemptRecord]) -> Query<'q> {
    static FULL: LazyLock<String> = LazyLock::new(|| insertion(RECORDS_PER_STATEMENT));
    let insert = if records.len() == RECORDS_PER_STATEMENT {
        sqlx::query(FULL.as_str())
    } else {
        sqlx::query(AssertSqlSafe(insertion(records.len()))).persistent(false)
    };
    let insert = records.iter().take(1).flat_map(|record| common(record)).fold(insert, Query::bind);
    records.iter().fold(insert, |insert, record| {
        insert
            .bind(record.job.0.as_bytes().as_slice())
            .bind(record.subject.as_deref())
            .bind(record.attempt)
            .bind(record.created_at.as_millisecond())
            .bind(record.started_at.as_millisecond())
            .bind(i64::try_from(record.duration.as_nanos()).unwrap_or(i64::MAX))
            .bind(record.error.as_deref())
            .bind(record.trace.as_ref().map(ToString::to_string))
    })
}

fn insertion(records: usize) -> String {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; records].join(", ");
    format!(
        "INSERT INTO attempts (kind, queue, worker, outcome, job, subject, attempt, created_at, started_at, duration_ns,
           error, trace)
         SELECT ?, ?, ?, ?, own.* FROM (VALUES {rows}) AS own WHERE true ON CONFLICT DO NOTHING"
    )
}

fn record(row: &SqliteRow) -> Result<AttemptRecord, sqlx::Error> {
    let job = Uuid::from_slice(row.try_get("job")?).map_err(|_| row::unreadable("job"))?;
    row::record(row, JobId(job))
}
