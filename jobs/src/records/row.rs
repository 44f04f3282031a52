//! Rows of attempt records, alike in both databases but for the type of the id.

use std::time::Duration;

use base::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{AttemptOutcome, AttemptRecord};
use crate::envelope::JobId;

/// Columns read by [`record`], and the id. Named, because a prepared `SELECT *` fails for the lifetime of a connection
/// once a column is added.
macro_rules! columns {
    () => {
        "job, kind, queue, subject, attempt, worker, created_at, started_at, duration_ns, outcome, error, trace"
    };
}
pub(crate) use columns;

pub(crate) fn record<'r, R: Row>(row: &'r R, job: JobId) -> Result<AttemptRecord, sqlx::Error>
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let time = |column: &'static str| {
        Timestamp::from_millisecond(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let outcome: String = row.try_get("outcome")?;
    let trace: Option<String> = row.try_get("trace")?;
    Ok(AttemptRecord {
        job,
        kind: row.try_get("kind")?,
        queue: row.try_get("queue")?,
        subject: row.try_get("subject")?,
        attempt: u32::try_from(row.try_get::<i64, _>("attempt")?).map_err(|_| unreadable("attempt"))?,
        worker: row.try_get("worker")?,
        created_at: time("created_at")?,
        started_at: time("started_at")?,
        duration: Duration::from_nanos(row.try_get::<i64, _>("duration_ns")?.unsigned_abs()),
        outcome: AttemptOutcome::parse(&outcome).ok_or_else(|| unreadable("outcome"))?,
        error: row.try_get("error")?,
        trace: trace.map(|t| t.parse().map_err(|_| unreadable("trace"))).transpose()?,
    })
}

pub(crate) fn unreadable(column: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("attempt record: {column}").into())
}
