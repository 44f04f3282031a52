//! Rows of the attempt log.

use std::time::Duration;

use base::{Timestamp, ids::Uuid};
use sqlx::{Row, postgres::PgRow};

use crate::{
    JobId,
    postgres::text,
    records::{AttemptOutcome, AttemptRecord},
};

/// Records as column arrays, the parameters of one statement.
pub(super) struct NewRows {
    pub(super) job: Vec<Uuid>,
    pub(super) attempt: Vec<i64>,
    pub(super) started_at: Vec<i64>,
    pub(super) kind: Vec<String>,
    pub(super) queue: Vec<String>,
    pub(super) subject: Vec<Option<String>>,
    pub(super) worker: Vec<String>,
    pub(super) created_at: Vec<i64>,
    pub(super) duration_ns: Vec<i64>,
    pub(super) outcome: Vec<&'static str>,
    pub(super) error: Vec<Option<String>>,
    pub(super) trace: Vec<Option<String>>,
}

impl NewRows {
    pub(super) fn of(batch: &[AttemptRecord]) -> Self {
        let owned = |value: &str| text(value).into_owned();
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self {
            job: batch.iter().map(|record| record.job.0).collect(),
            attempt: batch.iter().map(|record| record.attempt.into()).collect(),
            started_at: batch.iter().map(|record| record.started_at.as_millisecond()).collect(),
            kind: batch.iter().map(|record| owned(&record.kind)).collect(),
            queue: batch.iter().map(|record| owned(&record.queue)).collect(),
            subject: batch.iter().map(|record| record.subject.as_deref().map(owned)).collect(),
            worker: batch.iter().map(|record| owned(&record.worker)).collect(),
            created_at: batch.iter().map(|record| record.created_at.as_millisecond()).collect(),
            duration_ns: batch.iter().map(|record| nanos(record.duration)).collect(),
            outcome: batch.iter().map(|record| record.outcome.as_str()).collect(),
            error: batch.iter().map(|record| record.error.as_deref().map(owned)).collect(),
            trace: batch.iter().map(|record| record.trace.map(|trace| trace.to_string())).collect(),
        }
    }
}

pub(super) fn record(row: &PgRow) -> Result<AttemptRecord, sqlx::Error> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("attempt record: {what}").into());
    let time = |column| {
        Timestamp::from_millisecond(row.try_get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let trace: Option<String> = row.try_get("trace")?;
    Ok(AttemptRecord {
        job: JobId(row.try_get("job")?),
        kind: row.try_get("kind")?,
        queue: row.try_get("queue")?,
        subject: row.try_get("subject")?,
        attempt: u32::try_from(row.try_get::<i64, _>("attempt")?).map_err(|_| unreadable("attempt"))?,
        worker: row.try_get("worker")?,
        created_at: time("created_at")?,
        started_at: time("started_at")?,
        duration: Duration::from_nanos(row.try_get::<i64, _>("duration_ns")?.unsigned_abs()),
        outcome: AttemptOutcome::parse(row.try_get("outcome")?).ok_or_else(|| unreadable("outcome"))?,
        error: row.try_get("error")?,
        trace: trace.map(|t| t.parse().map_err(|_| unreadable("trace"))).transpose()?,
    })
}
